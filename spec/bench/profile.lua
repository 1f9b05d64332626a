--- Where the instructions of a run go (two model calls, one tool call), function by function of C, by
--- callgrind. Run by `make profile`, with stock Lua, from the top of the repository. Two counts are made,
--- and what both have in common, the start, is taken off. Figures of two profiles differ by about 1 % for
--- nothing: the seed of Lua's string hashes is another one each time.

local FEW <const>, MANY <const> = 200, 1200
local COMMAND <const> = "LUA_PATH='./?.lua;;' valgrind --tool=callgrind --callgrind-out-file=build/bench/callgrind.%d "
  .. "build/harness-lua spec/bench/ours/runs.lua %d 2>&1"
local SHOWN <const> = 40

-- Name -> instructions of its own, and name -> calls. The format is that of the manual, "Callgrind Format
-- Specification": names are numbered at their first use, and a line after calls= is the callee's cost.
local function read(path)
  local names, cost, calls = {}, {}, {}
  local current, callee, is_callee = nil, nil, false
  for line in io.lines(path) do
    local which, id, name = line:match "^(c?fn)=(%b())%s*(.*)$"
    local count = line:match "^calls=(%d+)"
    local own = line:match "^[+*%-%d]%S* (%d+)$"
    if which then
      if name ~= "" then names[id] = name:gsub("'%d+$", "") end -- the levels of a recursion are one
      if which == "fn" then current = names[id] else callee = names[id] end
    elseif count then
      calls[callee] = (calls[callee] or 0) + tonumber(count)
      is_callee = true
    elseif own then
      if not is_callee then cost[current] = (cost[current] or 0) + tonumber(own) end
      is_callee = false
    end
  end
  return cost, calls
end

local function profile(runs)
  local pipe = assert(io.popen(COMMAND:format(runs, runs)))
  local said = pipe:read "a"
  if not pipe:close() then
    io.stderr:write(said)
    os.exit(1)
  end
  return read("build/bench/callgrind." .. runs)
end

os.execute "mkdir -p build/bench"
local before, calls_before = profile(FEW)
local after, calls_after = profile(MANY)
local list, total = {}, 0
for name, cost in pairs(after) do
  local each = (cost - (before[name] or 0)) / (MANY - FEW)
  list[#list + 1] = { name = name, each = each }
  total = total + each
end
table.sort(list, function(a, b) return a.each > b.each end)
print(("%9.0f instructions a run; of these:"):format(total))
for i = 1, math.min(SHOWN, #list) do
  local name, each = list[i].name, list[i].each
  local calls = ((calls_after[name] or 0) - (calls_before[name] or 0)) / (MANY - FEW)
  print(("%9.0f %5.1f %%  %-40s %8.1f calls"):format(each, 100 * each / total, name, calls))
end
