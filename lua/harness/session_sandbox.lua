--- The sandbox of a session: opened by whoever needs it first, shared by all runs of the session, closed
--- with it.

local chain = require "harness.chain"
local locks = require "harness.locks"
local signals = require "harness.signal"
local task = require "harness.task"

local M = {}

-- The sandbox of the harness; the default one when its definition has none, made at its first use.
local function adapter_of(harness)
  local adapter = harness.definition.sandbox or harness.default_sandbox
  if not adapter then
    adapter = require("harness.sandbox").auto()
    harness.default_sandbox = adapter
  end
  return adapter
end

--- The sandbox session of a run's session. Several first callers share one opening; a failed one is
--- forgotten, so the next call tries again.
---@param run harness.Run
---@return table
function M.for_run(run)
  local state = run.session
  if state.sandbox and not state.sandbox_closing then return state.sandbox end
  local adapter = adapter_of(state.harness)
  local _ <close> = locks.take(state, "sandbox")
  if state.sandbox then return state.sandbox end
  state:check_open()
  state.sandbox = adapter:open {
    session_id = state.id, run_id = run.id, signal = signals.of_task(task.current()),
  }
  state.harness.open_sandboxes[state] = true -- what is open is closed, also when nobody holds the session
  return state.sandbox
end

local function close(state)
  local _ <close> = locks.take(state, "sandbox")
  local sandbox = state.sandbox
  if not sandbox then return end -- somebody else has closed it meanwhile
  state.sandbox_closing = true
  local ok, err = pcall(sandbox.close, sandbox)
  state.sandbox, state.sandbox_closing = nil, false
  state.harness.open_sandboxes[state] = nil
  if not ok then error(err, 0) end
end

--- Closes the session's sandbox, if it is open, and returns once it is closed, whoever began with it. An
--- abort of the task does not keep it from closing.
---@param state harness.SessionState
function M.close(state)
  if not state.sandbox then return end
  if task.current() and chain.can_wait() then task.shield(close, nil, state) else close(state) end
end

return M
