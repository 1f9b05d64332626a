--- The sandbox of a session: opened by whoever needs it first, shared by all runs of the session, closed
--- with it.

local errors = require "harness.errors"
local locks = require "harness.locks"
local signals = require "harness.signal"
local task = require "harness.task"

local M = {}

--- The sandbox session of a run's session. Several first callers share one opening; a failed one is
--- forgotten, so the next call tries again.
---@param run harness.Run
---@return table
function M.for_run(run)
  local state = run.session
  if state.sandbox then return state.sandbox end
  local adapter = run.definition.sandbox
  if not adapter then
    errors.raise("HARNESS_CONFIG_ERROR", "this harness has no sandbox; give `sandbox` in its definition",
      { reason = "missing_sandbox", path = "sandbox" })
  end
  local _ <close> = locks.take(state, "sandbox")
  if state.sandbox then return state.sandbox end
  state:check_open()
  state.sandbox = adapter:open {
    session_id = state.id, run_id = run.id, signal = signals.of_task(task.current()),
  }
  state.harness.open_sandboxes[state] = true -- what is open is closed, also when nobody holds the session
  return state.sandbox
end

--- Closes the session's sandbox, if it is open.
---@param state harness.SessionState
function M.close(state)
  local sandbox = state.sandbox
  if not sandbox then return end
  state.sandbox = nil
  state.harness.open_sandboxes[state] = nil
  sandbox:close()
end

return M
