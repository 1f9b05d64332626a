--- A call with a deadline and a signal of its own, below the task that makes it: nested agents, models
--- asked directly.

local core = require "harness.core"
local signals = require "harness.signal"
local task = require "harness.task"

local M = {}

-- While the child runs, the caller's signal reaches it, too.
local function follow(child, signal, scope)
  if not signal then return nil end
  local detach = signals.follow(signal, function()
    core.signal_abort(child.signal, task.cancelled(scope, ("the %s was cancelled"):format(scope), signal.reason))
  end)
  return setmetatable({}, { __close = detach })
end

--- Calls fn(...) in a child task and waits for it. Raises OPERATION_TIMEOUT when it takes longer than
--- `timeout_ms`, OPERATION_CANCELLED when the signal is aborted, both with this scope.
---@param limits { timeout_ms?: integer, signal?: harness.Signal } checked; 0 ms is no deadline
---@param scope "agent"|"model"
---@param fn function
---@return any its first result
function M.call(limits, scope, fn, ...)
  local timeout_ms = limits.timeout_ms or 0
  local deadline = timeout_ms > 0 and { timeout_ms = timeout_ms, scope = scope } or nil
  local caller = task.waiting_task()
  local child = task.make(deadline, fn, ...)
  local _ <close> = follow(child, limits.signal, scope)
  return (task.join(child, caller))
end

return M
