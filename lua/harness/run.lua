--- The life of a run, from its record to its one end (design 03 "Life of a run").
---
--- The run is a task. Its result is decided once, its terminal commit (messages, run, session and
--- run.finished in one storage transaction) happens under a shield, and only then do readers see
--- run.finished; nothing comes after it. Should the task be ended by force (code that is not ours
--- swallowed the abort), another task makes the end.

local core = require "harness.core"
local errors = require "harness.errors"
local events = require "harness.events"
local messages = require "harness.messages"
local signals = require "harness.signal"
local task = require "harness.task"
local run_telemetry = require "harness.run_telemetry"

local M = {}

local timestamp, ulid = core.timestamp, core.ulid.next
local new_events, add_event = core.store.event_list, core.store.add_event

local FLUSH_AT <const> = 16 -- events that may wait to be stored
local COMMIT_MS <const> = 60000

---@class harness.Run
local Run = {}
Run.__index = Run
Run.__name = "harness.Run"
run_telemetry.extend(Run)

-- ---- events -------------------------------------------------------------------------------

local function not_stored(run, err, count)
  run:count("harness.events.persist_errors", count)
  run:logger():error("events could not be stored", { error = errors.serialize(err), count = count })
end

-- The events as tables, with those that were put back before them.
local function take_records(run)
  local list, before = run.pending:records(), run.put_back
  run.pending:clear()
  if not before then return list end
  run.put_back = nil
  return table.move(list, 1, #list, #before + 1, before)
end

-- Storages of others may wait, and meanwhile further events come.
local function append_records(run)
  local list = take_records(run)
  local ok, err = pcall(run.harness.storage.append_events, run.harness.storage, run.id, list)
  if ok then return end
  local t = task.current()
  if t and core.signal_aborted(t.scope) then -- who stores was stopped: the next to store takes them, too
    local later = run.put_back or {}
    run.put_back = table.move(later, 1, #later, #list + 1, list)
    return
  end
  not_stored(run, err, #list)
end

--- Stores the events that wait to be. A failure is logged and counted, the run goes on.
function Run:flush()
  local list = self.pending
  local count = list:count()
  if count == 0 and not self.put_back then return end
  if task.closing then return end -- a task that is ended by force cannot wait for a storage
  if not self.harness.takes_event_lists then return append_records(self) end
  local ok, err = pcall(self.harness.storage.append_events, self.harness.storage, self.id, list)
  list:clear()
  if not ok then not_stored(self, err, count) end
end

local function deliver(run, event)
  local readers = run.readers
  local n = #readers
  for i = 1, n do
    local copy = event
    if i < n then copy = messages.copy(event) end -- each reader has an event of its own
    readers[i]:push(copy)
  end
end

--- Makes an event of the type with these values (events.lua says of which fields): readers get it,
--- then it is stored with the next flush. After the end of the run nothing is made any more.
---@param type string
function Run:emit(type, ...)
  if self.sealed then return end
  local seq, at = self.seq + 1, nil
  self.seq = seq
  if self.readers[1] then
    at = timestamp()
    deliver(self, events.make[type](type, self.id, self.attempt, seq, at, ...))
  end
  local shape = self.harness.event_shapes[type]
  if not shape then return end
  local ok, count = pcall(add_event, self.pending, shape, seq, at, ...)
  if not ok then return not_stored(self, count, 1) end
  if count >= FLUSH_AT then self:flush() end
end

--- A value as events show it, when user code has it, too, and may go on with it: a copy, if anybody looks.
---@param value any
---@return any
function Run:shown(value)
  if type(value) ~= "table" or not self.readers[1] then return value end
  return messages.copy(value)
end

local DELTA_TYPES <const> = { delta = "model.delta", reasoning = "model.reasoning" }
local make_delta = events.make["model.delta"] -- they have the same fields

--- A piece of what the model says. It is not stored, so without readers it is only counted.
function Run:delta(kind, agent_id, invocation_id, call_id, text)
  if self.sealed then return end
  local seq, reader = self.seq + 1, self.readers[1]
  self.seq = seq
  if not reader then return end
  local event = make_delta(DELTA_TYPES[kind], self.id, self.attempt, seq, timestamp(), agent_id, invocation_id, call_id,
    text)
  if self.readers[2] then return deliver(self, event) end
  reader:push(event)
end

-- ---- stopping -----------------------------------------------------------------------------

--- The conversation as an agent that begins now sees it: what is stored, and in a workflow the turns of
--- its agents that have ended.
---@return table[]
function Run:history_messages()
  local stored, turns = self.session:history_messages(), self.turns
  if not turns or #turns == 0 then return stored end
  local list = table.move(stored, 1, #stored, 1, core.list(#stored + #turns))
  return table.move(turns, 1, #turns, #list + 1, list)
end

--- Raises when the run's end is being made, or is made: a context that was kept is of no use any more.
function Run:check_open()
  if not self.sealed then return end
  errors.raise("VALIDATION_ERROR", ("run %s has ended; its context cannot be used any more"):format(self.id),
    { where = "context", reason = "run_ended", run_id = self.id })
end

--- Was the run told to stop?
---@return boolean
function Run:aborted()
  local t = self.task
  return t.state ~= "done" and core.signal_aborted(t.signal)
end

--- The error that something ends with for what escaped from it, when it was told to stop for a reason
--- (reference A 5.4): a timeout wins over all; a cancellation is told as one.
---@param reason any? nil: it was not, and the error stays what it is
---@param err any
---@param scope "run"|"workflow"|"agent"
---@return any
function M.final_error(reason, err, scope)
  if reason == nil then return err end
  if errors.is(reason, "OPERATION_TIMEOUT") then return reason end
  if errors.is(err, "OPERATION_CANCELLED") or errors.is(err, "OPERATION_TIMEOUT") then return err end
  return errors.new("OPERATION_CANCELLED", ("the %s was cancelled"):format(scope), { scope = scope }, reason)
end

--- The error that the run ends with.
---@param err any what escaped from its work
---@return any
function Run:final_error(err)
  return M.final_error(self.forced_reason or core.signal_reason(self.task.signal), err, "run")
end

--- Asks the run to stop; harmless when it has ended.
---@param reason any?
function Run:cancel(reason)
  local t = self.task
  if self.ended or t.state == "done" then return end
  core.signal_abort(t.signal, task.cancelled("run", "the run was cancelled", reason))
end

-- A caller's signal is not an ancestor in the tree: its reason is put in order on the way (A 5.1).
local function link_signal(run, signal)
  if not signal then return end
  run.unlink = signals.follow(signal, function() run:cancel(signal.reason) end)
end

-- ---- the end ------------------------------------------------------------------------------

-- The messages of the turn as they are stored. Each role has a table of just its own size.
local STAMP <const> = {
  user = function(id, session_id, run_id, m, at)
    return { id = id, session_id = session_id, run_id = run_id, role = "user", content = m.content, timestamp = at }
  end,
  tool = function(id, session_id, run_id, m, at)
    return {
      id = id, session_id = session_id, run_id = run_id, role = "tool", content = m.content,
      tool_call_id = m.tool_call_id, timestamp = at,
    }
  end,
  assistant = function(id, session_id, run_id, m, at)
    return {
      id = id, session_id = session_id, run_id = run_id, role = "assistant", content = m.content,
      tool_calls = m.tool_calls, provider = m.provider, timestamp = at,
    }
  end,
}

local function stamped(run, list)
  local at, session_id, run_id = timestamp(), run.session.id, run.id
  for i = 1, #list do
    local message = list[i]
    list[i] = STAMP[message.role](ulid(), session_id, run_id, message, at)
  end
  return list
end

-- Release in the reverse order of taking; no step of it waits.
local function release(run, err)
  for _, reader in ipairs(run.readers) do reader:finish(err) end
  if run.unlink then run.unlink() end
  run.options.signal = nil -- the run may be kept for long, by its stream, the signal need not
  run.harness.live_runs[run.id] = nil
  run.session:run_ended(run)
  run.done = true
  for _, token in ipairs(run.waiters) do core.push(token) end
  run.waiters = nil -- nobody waits for a run that is done
end

-- Makes run.finished, numbered but not yet seen by anybody.
local function finished_event(run, status, err, output)
  local seq, at = run.seq + 1, timestamp()
  run.seq = seq
  local serialized = err ~= nil and errors.serialize(err) or nil
  return events.make["run.finished"]("run.finished", run.id, run.attempt, seq, at, status, serialized, output)
end

-- The event as a storage takes it.
local function finished_record(run, event)
  local list = new_events(run.id)
  list:add(run.harness.event_shapes["run.finished"], event.seq, event.at, event.status, event.error, event.output)
  return run.harness.takes_event_lists and list or list:records()[1]
end

local function commit(run, status, output, err, list)
  run:flush()
  local event = finished_event(run, status, err, output)
  local session = run.session:next_record(event.at)
  run.harness.storage:finish_run(run.id, {
    status = status, finished_at = event.at, output = output, error = event.error, messages = list,
    session = session, event = finished_record(run, event),
  })
  run.session:committed(session, list)
  return event
end

local function status_of(err)
  if err == nil then return "succeeded" end
  return errors.is(err, "OPERATION_CANCELLED") and "cancelled" or "failed"
end

-- Best effort: a failure to store the end of a failed run never hides why it failed.
local function commit_failure(run, err)
  local status, seq = status_of(err), run.seq
  local ok, event = pcall(task.shield, commit, COMMIT_MS, run, status, nil, err)
  if ok then return event end
  run:count("harness.runs.terminalization_errors", 1)
  run:logger():error("the end of the run could not be stored", { error = errors.serialize(event) })
  run.seq = seq
  return finished_event(run, status, err)
end

local function log_failure(run, err, trace)
  local level = status_of(err) == "cancelled" and "warn" or "error"
  local fields = { error = errors.serialize(err) }
  if not errors.is(err) then fields.traceback = trace end
  local log = run:logger()
  log[level](log, "run " .. status_of(err), fields)
end

-- Decides the result, commits it, tells everybody. Called once.
local function terminate(run, ok, output, list, trace)
  run.sealed = true -- tasks that are not the run's may still hold its context while the end is stored
  local err, event
  if ok then
    local seq = run.seq
    local committed
    committed, event = pcall(task.shield, commit, COMMIT_MS, run, "succeeded", output, nil, stamped(run, list))
    if not committed then err, ok, run.seq = event, false, seq end
  else
    err = run:final_error(output)
  end
  if not ok then
    log_failure(run, err, trace)
    event = commit_failure(run, err)
  end
  run.ended = true
  run.error, run.failed = err, not ok
  if ok then run.output = output end -- which may be false
  run:end_span_run(err)
  local told, problem = pcall(deliver, run, event)
  release(run, not ok and err or nil)
  if not told then error(problem, 0) end -- for want of memory; readers see the end all the same
end

-- ---- the run ------------------------------------------------------------------------------

local function create_record(run, input)
  run.harness.storage:create_run {
    id = run.id, session_id = run.session.id, kind = run.kind, target = run.target,
    harness = run.harness.name, started_at = timestamp(), status = "running", attempt = run.attempt,
    input = input, metadata = run.options.metadata,
  }
end

-- Before the record exists there is no run: no event, only the error.
local function never_began(run, err)
  run.sealed, run.ended, run.failed, run.error = true, true, true, run:final_error(err)
  release(run, run.error)
end

local function with_trace(err)
  if type(err) == "table" and errors.is(err) then return { err } end
  return { err, trace = debug.traceback("", 2) }
end

local function body(run, work, input)
  local ok, err = pcall(create_record, run, input)
  if not ok then return never_began(run, err) end
  run.began = true
  run:start_span_run()
  run:emit("run.started", run.kind, run.target, run.session.id)
  local done, output, list = xpcall(work, with_trace, run, input, run.options)
  if done then return terminate(run, true, output, list) end
  -- For lack of memory Lua calls no message handler: then it is the message itself.
  if type(output) ~= "table" then return terminate(run, false, output) end
  terminate(run, false, output[1], nil, output.trace)
end

-- The task of the run was closed by force before the end was made: make it now.
local function after_force(run, t)
  if run.done then return end
  if not run.began then return never_began(run, t.value) end
  if t.unsettled then run.forced_reason = t.value end
  local ender = task.make({ root = true }, function()
    if run.ended then return release(run, run.error) end
    terminate(run, false, t.value)
  end)
  ender.on_end = function() -- should even that fail (for want of memory), nobody waits for ever
    if run.done then return end
    run.ended, run.failed, run.error = true, true, run.error or ender.value
    release(run, run.error)
  end
end

--- Starts a run in the session; the caller has checked the options and that the session is free.
---@param session table the session's state
---@param kind "agent"|"workflow"
---@param target string
---@param work fun(run: harness.Run, input: any, options: table): any, table[]
---@param input any
---@param options table
---@param reader? userdata a relay that gets the events from the first
---@return harness.Run
function M.start(session, kind, target, work, input, options, reader)
  local harness = session.harness
  local defaults = harness.definition.defaults
  local caller = task.waiting_task()
  local id = ulid()
  local run = setmetatable({
    id = id, session = session, harness = harness, definition = harness.definition, kind = kind,
    target = target, options = options, attempt = 1, seq = 0, readers = { reader }, pending = new_events(id),
    waiters = {}, caller = caller, sealed = false, ended = false, done = false, began = false, failed = false,
    task = false, error = nil, output = nil, unlink = nil, span = nil,
  }, Run)
  local timeout_ms = options.timeout_ms or defaults.run_timeout_ms
  run.task = task.make({
    timeout_ms = timeout_ms > 0 and timeout_ms or nil, scope = "run",
    grace_ms = defaults.cancel_grace_ms ~= task.CANCEL_GRACE_MS and defaults.cancel_grace_ms or nil,
  }, body, run, work, input)
  run.task.waiter = 0 -- its outcome is the run's, which has its own ways out
  run.task.on_end = function(t) after_force(run, t) end
  session:run_began(run)
  harness.live_runs[run.id] = run
  link_signal(run, options.signal)
  return run
end

--- Waits for the end of the run; returns its output or raises its error. When the task that started
--- the run is aborted here, the run has been too, and is joined; any other task just stops waiting.
function Run:result()
  if not self.done then
    local t = task.waiting_task()
    local owner = t == self.caller
    while not self.done do
      self.waiters[#self.waiters + 1] = t.token
      task.park(t, owner)
    end
  end
  if self.failed then error(self.error, 0) end
  return self.output
end

return M
