--- The processes that a process has started, and theirs, through /proc.
---
---     for _, pid in ipairs(descendants.of "self") do … end
---     descendants.await_none(list)        -- waits until none of them runs any more

local core = require "harness.core"
local task = require "harness.task"

local M = {}

local PATIENCE_S <const> = 10

--- Reads a file of /proc; "" when the process is gone.
---@param pid integer|string
---@param name string
---@return string
function M.read(pid, name)
  local file <close> = io.open(("/proc/%s/%s"):format(pid, name))
  return file and file:read "a" or ""
end

--- The pids, parents before their children.
---@param pid integer|string or "self"
---@return string[]
function M.of(pid)
  local list, next_one = { tostring(pid) }, 1
  while list[next_one] do
    for _, thread in ipairs(core.jail.entries(("/proc/%s/task"):format(list[next_one]))) do
      for child in M.read(list[next_one], "task/" .. thread .. "/children"):gmatch "%d+" do list[#list + 1] = child end
    end
    next_one = next_one + 1
  end
  return table.move(list, 2, #list + 1, 1)
end

--- Does it run? What only waits to be asked for its exit status does not.
---@param pid integer|string
function M.is_running(pid)
  local state = M.read(pid, "stat"):match "%) (%a)"
  return state ~= nil and state ~= "Z" and state ~= "X"
end

--- Waits until none of them runs; raises after ten seconds.
---@param list string[]
function M.await_none(list)
  local until_s = os.time() + PATIENCE_S
  for _, pid in ipairs(list) do
    while M.is_running(pid) do
      if os.time() > until_s then
        local command = M.read(pid, "cmdline"):gsub("%z", " ")
        error(("process %s is left: %s"):format(pid, command), 2)
      end
      task.pause()
    end
  end
end

return M
