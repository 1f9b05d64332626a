--- Leak check: what the engine holds before and after.
---
---     local before = live.now()
---     …
---     live.check(before)          -- raises, naming what is left

local core = require "harness.core"
local task = require "harness.task"

local M = {}

local MOST_FILES <const> = 256 -- far above what any spec holds

--- How many files this process has open. Asked of the kernel one by one: a child that lists them
--- would see those of its own start, or not, as the scheduler likes.
---@return integer
function M.open_files()
  local n = 0
  for fd = 0, MOST_FILES - 1 do
    local file = io.open("/proc/self/fdinfo/" .. fd)
    if file then
      n = n + 1
      file:close()
    end
  end
  return n
end

--- Counts of operations, timers, signals, tasks, handles and open files.
---@return table<string, integer>
function M.now()
  local counts = core.live()
  counts.files = M.open_files()
  return counts
end

--- Raises unless all counts are what they were; what is only being closed gets a few turns.
---@param before table<string, integer>
function M.check(before)
  local after
  for _ = 1, 50 do
    task.settle()
    after = M.now()
    local same = true
    for name, count in pairs(before) do same = same and after[name] <= count end
    if same then return end
    if core.now_ms() > 0 then task.pause() end
  end
  local problems = {}
  for name, count in pairs(before) do
    if after[name] > count then
      problems[#problems + 1] = ("%s: %d before, %d after"):format(name, count, after[name])
    end
  end
  table.sort(problems)
  error("left open: " .. table.concat(problems, "; "), 2)
end

return M
