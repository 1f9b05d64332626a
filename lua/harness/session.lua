--- Sessions: one conversation, one run at a time.
---
--- A session's state is shared by all its facades (what `h:session(id)` returns); it lives as long as
--- one of them, or a run, does.

local agents = require "harness.agents"
local chain = require "harness.chain"
local core = require "harness.core"
local errors = require "harness.errors"
local events = require "harness.events"
local invoke = require "harness.invoke"
local lookup = require "harness.lookup"
local messages = require "harness.messages"
local runs = require "harness.run"
local sandboxes = require "harness.session_sandbox"
local streams = require "harness.stream"
local task = require "harness.task"

local M = {}

-- ---- the shared state ---------------------------------------------------------------------

---@class harness.SessionState
local State = {}
State.__index = State

function State:busy_error(reason)
  errors.raise("SESSION_BUSY", ("session %q has a run in progress; wait for its end, or use another session")
    :format(self.id), { session_id = self.id, reason = reason })
end

function State:check_open()
  if not self.closed then return end
  local why = self.harness.shut_down and "session %q was closed: its harness was shut down"
    or "session %q was closed; open it again with h:session(%q)"
  errors.raise("SESSION_NOT_FOUND", why:format(self.id, self.id), { session_id = self.id, reason = "closed" })
end

function State:run_began(run)
  self.busy, self.run = true, run
end

function State:run_ended()
  self.busy, self.run = false, nil
  if self.closed then self:leave() end
end

-- Takes a flag back at the end of a scope, also when its task is ended by force.
local Guard = { __close = function(guard)
  local state = guard.state
  state[guard.flag] = false
  state:leave()
end }

-- What a memory of the definition's own holds goes first: should that fail, the session is still there
-- to be opened and deleted again.
local function remove_data(state)
  if state.harness.definition.memory then require("harness.memory").forget_session(state) end
  state.harness.storage:delete_session(state.id)
end

-- What fails when the session has gone already can only be logged.
local function close_sandbox(state)
  local ok, err = pcall(sandboxes.close, state)
  if not ok then
    state.harness.logger:error("the sandbox of a session could not be closed",
      { session_id = state.id, error = errors.serialize(err) })
  end
end

local function close_sandbox_later(state)
  local _ <close> = setmetatable({ state = state, flag = "held" }, Guard)
  close_sandbox(state)
end

local function remove(state)
  local _ <close> = setmetatable({ state = state, flag = "held" }, Guard)
  remove_data(state)
end

-- Goes on with the end of the session in a task of its own, which the harness waits for when it is shut down.
local function later(state, fn)
  state.held = true
  local leaving = state.harness.leaving
  local t = task.make({ root = true }, fn, state)
  leaving[t] = true
  t.on_end = function() leaving[t] = nil end
end

-- A closed session gives its place to a new one of its id once nothing of it goes on any more.
function State:leave()
  if not self.closed or self.busy or self.held then return end
  if self.sandbox then return later(self, close_sandbox_later) end
  if not self.doomed then return self.harness:forget_session(self) end
  self.doomed = false
  later(self, remove)
end

-- The session's record as a run's end leaves it.
function State:next_record(at)
  local harness, record = self.harness, self.record
  if harness:shares_storage() then record = harness.storage:get_session(self.id) or record end
  return {
    id = record.id, created_at = record.created_at, updated_at = at, run_count = record.run_count + 1,
    harness = record.harness, metadata = record.metadata,
  }
end

function State:committed(record, list)
  self.record = record
  local cache = self.cache.history
  if cache and list then table.move(list, 1, #list, #cache + 1, cache) end
end

-- All stored messages. The list is kept between runs as long as memory allows, so that a turn costs
-- its own messages; the newest id tells whether somebody else wrote meanwhile.
function State:history_messages()
  local storage, cache = self.harness.storage, self.cache.history
  if cache then
    local newest = storage:list_messages(self.id, { limit = 1 })[1]
    local last = cache[#cache]
    if (newest and newest.id) == (last and last.id) then return cache end
  end
  local list = storage:list_messages(self.id)
  self.cache.history = list
  return list
end

-- Holds the session while its history is changed: a run cannot start meanwhile.
function State:exclusively(reason, fn, ...)
  self:check_open()
  if self.busy then self:busy_error(reason) end
  self.busy = true
  local _ <close> = setmetatable({ state = self, flag = "busy" }, Guard)
  fn(...)
end

-- ---- runs ---------------------------------------------------------------------------------

local function start(state, kind, target, work, input, options, reader)
  state:check_open()
  state.harness:check_open()
  local checked = invoke.check(options, kind)
  state.harness:trace_options(checked)
  if state.busy then state:busy_error "concurrent_run" end
  return runs.start(state, kind, target, work, input, checked, reader)
end

---@class harness.Runnable
local Runnable = {}
Runnable.__index = Runnable
Runnable.__name = "harness.Runnable"

--- Starts it at once; for those who wait in their own way.
---@param input any
---@param options? table
---@param reader? userdata a queue that gets the events from the first
---@return harness.Run
function Runnable:start(input, options, reader)
  return start(self._state, self._kind, self._id, self._work, input, options, reader)
end

--- Runs it and waits; returns the output or raises the run's error.
---@param input any
---@param options? table
function Runnable:run(input, options)
  return self:start(input, options):result()
end

--- Starts it at once and returns a stream of its events.
---@param input any
---@param options? table
---@return harness.Stream
function Runnable:stream(input, options)
  local queue = streams.new_queue()
  local run = self:start(input, options, queue)
  return streams.of_run(run, queue)
end

local function agent_work(agent)
  return function(run, input, options)
    return agents.run(run, agent, input, options)
  end
end

local function workflow_work(workflow)
  return function(run, input, options)
    return require("harness.workflow").run(run, workflow, input, options)
  end
end

local function runnables(state, kind, definitions, code, make_work)
  return lookup.handles(definitions, kind, code, function(definition, id)
    definition.work = definition.work or make_work(definition)
    return setmetatable({ _state = state, _kind = kind, _id = id, _work = definition.work }, Runnable)
  end)
end

-- ---- history ------------------------------------------------------------------------------

---@class harness.History
local History = {}
History.__index = History
History.__name = "harness.History"

--- The stored messages, oldest first; `limit` keeps the newest, `before` is a message id.
---@param options? { limit?: integer, before?: string }
---@return table[]
function History:list(options)
  local state = self._state
  state:check_open()
  return state.harness.storage:list_messages(state.id, options)
end

--- Forgets the conversation.
function History:clear()
  local state = self._state
  state:exclusively("history_clear_during_run", function()
    state.harness.storage:clear_messages(state.id)
    state.cache.history = nil
  end)
end

--- Replaces the conversation, all or nothing. Each message gets a new id and the current time.
---@param list table[] {role, content, tool_calls?, tool_call_id?}
function History:replace(list)
  local state = self._state
  messages.check(list)
  local at, fresh = core.timestamp(), {}
  for i, message in ipairs(list) do
    local stored = messages.copy(message)
    stored.id, stored.session_id, stored.timestamp = core.ulid.next(), state.id, at
    fresh[i] = stored
  end
  state:exclusively("history_replace_during_run", function()
    state.harness.storage:replace_messages(state.id, fresh)
    state.cache.history = nil
  end)
end

-- ---- the facade ---------------------------------------------------------------------------

---@class harness.Session
---@field id string
---@field agents table<string, harness.Runnable>
---@field workflows table<string, harness.Runnable>
---@field history harness.History
---@field memory harness.Memory
local Session = {}
Session.__name = "harness.Session"

-- A run of this session; nil when there is none of that id, or it is another session's (D17).
local function own_run(state, run_id)
  local record = state.harness.storage:get_run(run_id)
  return record and record.session_id == state.id and record or nil
end

local function flush_live(state, run_id)
  local run = state.harness.live_runs[run_id]
  if run then run:flush() end
  return run
end

--- The session's runs, newest first.
---@param options? { limit?: integer, before?: string, status?: string }
---@return table[]
function Session:runs(options)
  local state = self._state
  state:check_open()
  options = options or {}
  return state.harness.storage:list_runs {
    session_id = state.id, limit = options.limit, before = options.before, status = options.status,
  }
end

--- The stored events of a run of this session.
---@param run_id string
---@param options? { limit?: integer, after_seq?: integer }
---@return table[] {id, run_id, seq, at, type, payload}
function Session:events(run_id, options)
  local state = self._state
  state:check_open()
  if not own_run(state, run_id) then return {} end
  flush_live(state, run_id)
  return state.harness.storage:list_events(run_id, options)
end

local function summarize(record, list)
  local totals = { input_tokens = 0, output_tokens = 0, total_tokens = 0 }
  local summary = {
    run_id = record.id, session_id = record.session_id, status = record.status, started_at = record.started_at,
    finished_at = record.finished_at, error = record.error, token_totals = totals, model_calls = 0, tool_calls = 0,
    agent_calls = 0, kind = record.kind, target = record.target,
  }
  for _, event in ipairs(list) do
    if event.type == "agent.started" then summary.agent_calls = summary.agent_calls + 1 end
    if event.type == "tool.started" then summary.tool_calls = summary.tool_calls + 1 end
    if event.type:find "^model%..*completed$" then summary.model_calls = summary.model_calls + 1 end
    local usage = event.payload.usage
    if type(usage) == "table" then
      for field in pairs(totals) do totals[field] = totals[field] + (usage[field] or 0) end
    end
  end
  return summary
end

--- Counters of a run of this session, or nil when it has no such run.
---@param run_id string
---@return table?
function Session:run_summary(run_id)
  local state = self._state
  state:check_open()
  local record = own_run(state, run_id)
  if not record then return nil end
  flush_live(state, run_id)
  return summarize(record, state.harness.storage:list_events(run_id))
end

local function backlog_of(state, record, after_seq)
  local backlog = {}
  for i, stored in ipairs(state.harness.storage:list_events(record.id, { after_seq = after_seq })) do
    backlog[i] = events.from_record(stored, record.attempt or 1)
  end
  return backlog
end

-- The stream on a run in flight: first becomes a reader, then sees what was stored before. Nothing
-- when the run has ended meanwhile.
local function follow_live(state, run, after_seq)
  local queue = streams.new_queue()
  table.insert(run.readers, queue)
  local stream = streams.of_run(run, queue)
  local ok, backlog = pcall(function()
    run:flush()
    return backlog_of(state, { id = run.id }, after_seq)
  end)
  if ok and not run.done then return streams.following(stream, backlog, after_seq) end
  stream:close()
  if not ok then error(backlog, 0) end
end

local function check_from_seq(options)
  local from_seq = 1
  if type(options) == "table" and options.from_seq ~= nil then from_seq = options.from_seq end
  local is_right = math.type(from_seq) == "integer" and from_seq >= 1
  if is_right and (options == nil or type(options) == "table") then return from_seq end
  errors.raise("VALIDATION_ERROR", "follow(run_id, { from_seq = n }) takes a seq to begin at, an integer from 1",
    { where = "follow" })
end

--- Another stream on a run of this session, in flight or ended.
---@param run_id string
---@param options? { from_seq?: integer }
---@return harness.Stream
function Session:follow(run_id, options)
  local state = self._state
  state:check_open()
  local after_seq = check_from_seq(options) - 1
  local run = state.harness.live_runs[run_id]
  if run and run.session == state then
    local stream = follow_live(state, run, after_seq)
    if stream then return stream end
  end
  local record = own_run(state, run_id)
  if not record then
    errors.raise("VALIDATION_ERROR", ("session %q has no run %q"):format(state.id, tostring(run_id)),
      { where = "follow", run_id = tostring(run_id) })
  end
  return streams.of_record(record, backlog_of(state, record, after_seq))
end

local function stop_run(state, why)
  local run = state.run
  if not run then return end
  run:cancel(why)
  if task.current() and chain.can_wait() then pcall(run.result, run) end
end

--- Stops the session's run and keeps its data; afterwards every call on it is SESSION_NOT_FOUND.
function Session:close()
  local state = self._state
  if state.closed then return end
  state.closed = true
  stop_run(state, "the session was closed")
  if not state.busy and task.current() and chain.can_wait() then close_sandbox(state) end
  state:leave()
end

--- Like close, and removes the session's data: at once, or, when its run cannot be waited for here (a
--- tool of it is asking), with the end of the run.
function Session:delete()
  local state = self._state
  state:check_open()
  state.closed, state.held = true, true
  local _ <close> = setmetatable({ state = state, flag = "held" }, Guard)
  stop_run(state, "the session was deleted")
  if state.busy then
    state.doomed = true
    return
  end
  if task.current() and chain.can_wait() then close_sandbox(state) end
  remove_data(state)
end

Session.__close = Session.close
Session.__tostring = function(self) return ("harness.Session %s"):format(self.id) end

-- ---- opening ------------------------------------------------------------------------------

--- The state of a session, whose record is read or made by `open`.
---@param harness harness.Harness
---@param id string
---@return harness.SessionState
function M.new_state(harness, id)
  return setmetatable({
    harness = harness, id = id, busy = false, closed = false, cache = setmetatable({}, { __mode = "v" }),
  }, State)
end

--- Reads the session's record, or makes it.
---@param state harness.SessionState
function M.open(state)
  local storage = state.harness.storage
  local record = storage:get_session(state.id)
  if not record then
    local at = core.timestamp()
    record = { id = state.id, created_at = at, updated_at = at, run_count = 0, harness = state.harness.name }
    storage:upsert_session(record)
  end
  state.record = record
end

-- What few calls need is made when it is asked for.
local LATE <const> = {
  agents = function(state)
    return runnables(state, "agent", state.harness.definition.agents, "AGENT_NOT_FOUND", agent_work)
  end,
  workflows = function(state)
    return runnables(state, "workflow", state.harness.definition.workflows, "WORKFLOW_NOT_FOUND", workflow_work)
  end,
  history = function(state) return setmetatable({ _state = state }, History) end,
  memory = function(state) return require("harness.memory").for_session(state) end,
}

Session.__index = function(self, key)
  local make = LATE[key]
  if not make then return Session[key] end
  local value = make(self._state)
  rawset(self, key, value)
  return value
end

--- What `h:session(id)` returns.
---@param state harness.SessionState
---@return harness.Session
function M.facade(state)
  return setmetatable({ id = state.id, _state = state, agents = nil, history = nil }, Session)
end

return M
