--- Sums up what coverage.c has written: lines of our Lua modules that ran, of those that can.
---   lua5.4 coverage.lua DIRECTORY      (V=1 lists the lines that never ran)

local directory = arg[1]
local TARGET <const> = 95

local function lines_of(command)
  local pipe <close> = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return lines
end

---Lines of a file that have code, by what the compiler lists. A line that only closes something
---counts for nothing: the compiler puts a return there that an earlier one may make unreachable.
local function lines_with_code(path)
  local found, number = {}, 0
  local closes = {}
  for line in io.lines(path) do
    number = number + 1
    closes[number] = line:match "^%s*[%]})]*%s*e?n?d?[%]}),;]*%s*$" ~= nil
  end
  for _, line in ipairs(lines_of("luac5.4 -p -l " .. path)) do
    local at = math.tointeger(line:match "^%s+%d+%s+%[(%d+)%]")
    if at and not closes[at] then found[at] = true end
  end
  return found
end

local ran = {}
for _, line in ipairs(lines_of(("sort -u '%s'/*.lines"):format(directory))) do
  local path, number = line:match "^(%S+) (%d+)$"
  ran[path] = ran[path] or {}
  ran[path][math.tointeger(number)] = true
end

local function percent(part, whole) return whole == 0 and 100 or 100 * part / whole end

local all_hit, all = 0, 0
for _, path in ipairs(lines_of "find lua -name '*.lua' | sort") do
  local hit, count, missing = 0, 0, {}
  local with_code = {}
  for number in pairs(lines_with_code(path)) do with_code[#with_code + 1] = number end
  table.sort(with_code)
  for _, number in ipairs(with_code) do
    count = count + 1
    if ran[path] and ran[path][number] then hit = hit + 1 else missing[#missing + 1] = number end
  end
  all_hit, all = all_hit + hit, all + count
  print(("%-46s %5d lines %6.1f %%"):format(path, count, percent(hit, count)))
  if os.getenv "V" and #missing > 0 then print("    never: " .. table.concat(missing, " ")) end
end
print(("lua/: %.1f %% of %d lines (target %d)"):format(percent(all_hit, all), all, TARGET))
