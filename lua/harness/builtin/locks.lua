--- Calls of one reply run side by side: those that change the same file take turns, in their order, so
--- that an edit does not undo another one.

local core = require "harness.core"
local task = require "harness.task"

local M = {}

local sessions = setmetatable({}, { __mode = "k" }) -- session -> path -> its lock

local Lock = { __close = function(lock)
  local following = table.remove(lock.waiting, 1)
  if not following then
    lock.held[lock.path] = nil
  else
    lock.owner = following
    core.push(following)
  end
end }

local function leave(lock, token)
  for i, waiting in ipairs(lock.waiting) do
    if waiting == token then return table.remove(lock.waiting, i) end
  end
  if lock.owner == token then Lock.__close(lock) end -- its turn came as it was stopped
end

local function wait(lock)
  local t = task.waiting_task()
  local token = t.token
  local left <close> = setmetatable({}, { __close = function(self)
    if not self.has_lock then leave(lock, token) end
  end })
  table.insert(lock.waiting, token)
  while lock.owner ~= token do task.park(t) end
  left.has_lock = true
end

--- Takes the lock of a path in the session's sandbox; waits until who has it lets go. To be closed.
---@param ctx harness.ToolContext
---@param path string normalised
---@return table lock
function M.take(ctx, path)
  local key = rawget(ctx, "_run") and rawget(ctx, "_run").session or ctx.sandbox
  local held = sessions[key]
  if not held then
    held = {}
    sessions[key] = held
  end
  local lock = held[path]
  if lock then
    wait(lock)
    return lock
  end
  lock = setmetatable({ held = held, path = path, waiting = {}, owner = nil }, Lock)
  held[path] = lock
  return lock
end

return M
