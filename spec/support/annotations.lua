-- Lists the public functions of Lua modules (`function M.name`, `function M:name`) that carry no
-- doc comment, or whose annotations leave out a parameter. Usage: lua5.4 annotations.lua DIR

---The comment lines right above a line.
local function comment_above(lines, index)
  local found = {}
  for i = index - 1, 1, -1 do
    if not lines[i]:find "^%s*%-%-%-" then break end
    table.insert(found, 1, lines[i])
  end
  return table.concat(found, "\n")
end

local function check(path, report)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  for number, line in ipairs(lines) do
    local name, params = line:match "^function M[.:]([%w_.:]+)%s*%(([^)]*)%)"
    if name and not name:find "^_" then
      local comment = comment_above(lines, number)
      if comment == "" then report(path, number, name .. " has no doc comment") end
      for param in params:gmatch "[%w_.]+" do
        local listed = comment:find("@param " .. param:gsub("%.", "%%."), 1, false)
        if comment ~= "" and not param:find "^[_.]" and not listed then
          report(path, number, ("%s: no ---@param %s"):format(name, param))
        end
      end
    end
  end
end

local bad = 0
local files = assert(io.popen(("find '%s' -name '*.lua' | sort"):format(arg[1])))
for path in files:lines() do
  check(path, function(where, line, message)
    print(("%s:%d: %s"):format(where, line, message))
    bad = bad + 1
  end)
end
os.exit(bad == 0 and 0 or 1)
