--- What specs of commands leave to run: programs that sleep for a number of seconds that nobody else sleeps,
--- and so can be found among all processes of the machine. `eventually` only inside a task.

local core = require "harness.core"
local task = require "harness.task"

local M = {}

local EVENTUALLY_MS <const>, EACH_MS <const> = 4000, 5

local serial = math.random(1 << 20) -- files of specs run side by side

--- A number of seconds that no other process sleeps.
---@return string
function M.odd_seconds()
  serial = serial + 1
  return ("%d.%d"):format(7000 + serial, core.wall_ms())
end

-- The processes whose command line `fits`.
local function processes(fits)
  local found = {}
  for _, pid in ipairs(core.jail.entries "/proc") do
    local file = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/cmdline")
    if file then
      if fits(file:read "a" or "") then found[#found + 1] = pid end
      file:close()
    end
  end
  return found
end

--- The processes of this machine in whose arguments the text is.
---@param text string
---@return string[] pids
function M.processes_with(text)
  return processes(function(line) return line:find(text, 1, true) end)
end

--- How many of them are a sleep, so that all around it is there.
---@param seconds string
---@return integer
function M.sleeping(seconds)
  return #processes(function(line) return line == ("sleep\0%s\0"):format(seconds) end)
end

--- Waits until fn says true; false: it never did.
---@param fn fun(): boolean
---@return boolean
function M.eventually(fn)
  for _ = 1, EVENTUALLY_MS // EACH_MS do
    if fn() then return true end
    task.sleep(EACH_MS)
  end
  return false
end

return M
