--- Turns: tasks that change the same thing do so one after another, in the order in which they came.
---
---     local _ <close> = locks.take(session, "/workspace/a")     -- until the end of the block

local core = require "harness.core"
local task = require "harness.task"

local M = {}

local owners = setmetatable({}, { __mode = "k" }) -- owner -> name -> its lock

local Lock = { __close = function(lock)
  local following = table.remove(lock.waiting, 1)
  if not following then
    lock.held[lock.name] = nil
  else
    lock.holder = following
    core.push(following)
  end
end }

local function leave(lock, token)
  for i, waiting in ipairs(lock.waiting) do
    if waiting == token then return table.remove(lock.waiting, i) end
  end
  if lock.holder == token then Lock.__close(lock) end -- its turn came as it was stopped
end

local function wait(lock)
  local t = task.waiting_task()
  local token = t.token
  local left <close> = setmetatable({}, { __close = function(self)
    if not self.has_lock then leave(lock, token) end
  end })
  table.insert(lock.waiting, token)
  while lock.holder ~= token do task.park(t) end
  left.has_lock = true
end

--- Takes the lock of a name that belongs to something; waits until who has it lets go. To be closed.
---@param owner table
---@param name string
---@return table lock
function M.take(owner, name)
  local held = owners[owner]
  if not held then
    held = {}
    owners[owner] = held
  end
  local lock = held[name]
  if lock then
    wait(lock)
    return lock
  end
  lock = setmetatable({ held = held, name = name, waiting = {}, holder = nil }, Lock)
  held[name] = lock
  return lock
end

return M
