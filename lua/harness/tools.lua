--- Runs the tool calls of one model reply: side by side, checked, timed, each with exactly one result.
---
--- A failing call is a result that the model sees (reference B 3.3); only a cancellation ends the run.
--- What the handlers do happens in tasks of their own, so one that does not stop when it is told to is
--- ended after its grace, and its result says that it may have had its effect (`meta.settlement`).

local builtin = require "harness.builtin"
local core = require "harness.core"
local errors = require "harness.errors"
local issues = require "harness.issues"
local join = require "harness.join"
local json = require "harness.json"
local messages = require "harness.messages"
local permissions = require "harness.permissions"
local task = require "harness.task"
local context = require "harness.context"

local M = {}

local DEFAULT_RESULT_BYTES <const> = 64 * 1024

-- Cuts a long result to head and tail, at character boundaries, and says so (design 05).
local function cut(text, most)
  if #text <= most then return text end
  local half = most // 2
  local head_end, tail_start = half, #text - half + 1
  while head_end > 0 and (text:byte(head_end + 1) or 0) & 0xC0 == 0x80 do head_end = head_end - 1 end
  while tail_start <= #text and text:byte(tail_start) & 0xC0 == 0x80 do tail_start = tail_start + 1 end
  return ("%s\n[... %d bytes of %d were cut here ...]\n%s"):format(
    text:sub(1, head_end), tail_start - 1 - head_end, #text, text:sub(tail_start))
end

-- What the model reads: text as it is, anything else as JSON. Raises for what JSON cannot hold.
local function content_of(output, most)
  if output == nil then return "null" end
  if type(output) == "string" then
    if utf8.len(output) then return cut(output, most) end
    return cut(json.decode(json.encode(output, { invalid_utf8 = "replace" })), most)
  end
  return cut(json.encode(output, { invalid_utf8 = "replace" }), most)
end

-- What a program of the tool `lua` gets: all of it, as JSON; nil for nothing.
local function whole_content_of(output)
  if output == nil then return nil end
  return json.encode(output, { invalid_utf8 = "replace" })
end

local function checked_input(tool, call)
  if call.invalid_arguments then
    errors.raise("VALIDATION_ERROR", "the arguments of the call are not valid JSON: " .. call.invalid_arguments,
      { where = "tool_input", reason = "malformed_response", tool_id = call.name })
  end
  if not tool.input then return call.arguments end
  local ok, value = tool.input:check(call.arguments)
  if ok then return value end
  errors.raise("VALIDATION_ERROR", ("the arguments do not fit the tool's schema: %s"):format(issues.first(value)),
    { where = "tool_input", issues = value, tool_id = tool.id })
end

local function checked_output(tool, output)
  if not tool.output then return output end
  local ok, value = tool.output:check(output)
  if ok then return value end
  errors.raise("VALIDATION_ERROR", ("tool %q returned what does not fit its output schema: %s"):format(tool.id,
    issues.first(value)), { where = "tool_output", issues = value, tool_id = tool.id })
end

local function find_tool(agent, call)
  local tool = agent.tool_set[call.name]
  if tool then return tool end
  errors.raise("TOOL_NOT_FOUND", ("there is no tool %q for this agent; it has: %s"):format(call.name,
    #agent.tool_names > 0 and table.concat(agent.tool_names, ", ") or "none"),
    { tool_id = call.name, where = "agent_allowlist" })
end

-- Models also say Bash or LS for the built-in tools; events and results have the one name.
local function with_its_name(agent, call)
  if agent.tool_set[call.name] then return call end
  local name = builtin.meant(call.name)
  if not name or not agent.tool_set[name] then return call end
  return { id = call.id, name = name, arguments = call.arguments, invalid_arguments = call.invalid_arguments }
end

-- What a failure is called in the tool's result. `child` is the handler's task.
local function tool_error(run, tool, err, child)
  local code = errors.is(err) and err.code
  if code == "OPERATION_CANCELLED" or code == "OPERATION_TIMEOUT" then
    local settlement = child and (child.unsettled and "unsettled" or "settled") or nil
    local meta = { settlement = settlement, tool_id = tool and tool.id }
    for key, value in pairs(err.meta) do meta[key] = value end
    if code == "OPERATION_CANCELLED" and run:aborted() then meta.scope = "run" end
    return errors.new(code, err.message, meta, err)
  end
  if code then return err end
  return errors.new("TOOL_ERROR", ("tool %q failed: %s"):format(tool and tool.id or "?", errors.serialize(err).message),
    { tool_id = tool and tool.id, tool_kind = tool and tool.kind or "lua" }, err)
end

-- The model is told of a failure in one line; whoever wrote the tool wants to know where it was.
local function log_failure(self, child)
  if not child.failed or errors.is(child.value) then return end
  self.run:logger(self.who.agent_id, self.tool.id):warn("a tool raised an error",
    { call_id = self.call.id, error = errors.serialize(child.value), traceback = child.traceback })
end

-- One call from its start to its end. The arguments are part of the conversation: readers of events and
-- the handler get copies, so that what they do to them is not what the model is said to have asked.
---@class harness.ToolCall
local Call = {}
Call.__index = Call

function Call:emit_started()
  local run, who, parent = self.run, self.who, self.parent
  self.started_us = core.now_us()
  run:emit("tool.started", who.agent_id, who.invocation_id, self.call.name, self.call.id,
    run:shown(self.call.arguments), parent and parent.call_id)
  self.span = run:span_tool(self.call, who, parent and parent.span)
end

-- Ends the call with an output (whose content for the model has been made) or an error.
function Call:finish(output, err)
  local run, who = self.run, self.who
  self.finished = true
  if self.span then self.span:finish(err) end
  local serialized = err and errors.serialize(err)
  run:emit("tool.finished", who.agent_id, who.invocation_id, self.call.name, self.call.id, serialized,
    (core.now_us() - self.started_us) // 1000, run:shown(output), -- the handler may keep its own, and go on with it
    self.parent and self.parent.call_id)
  if err then
    self.failure, self.content = err, json.encode(serialized, { invalid_utf8 = "replace" })
  end
end

-- Finds the tool and checks the call. What is denied anyway is denied first, as the model gave it; only
-- a call that could run is asked for.
local function prepare(self)
  local call = self.call
  self.tool = find_tool(self.agent, call)
  local decision = not call.invalid_arguments and permissions.decide(self.agent, self.tool, call.arguments)
  return checked_input(self.tool, call), decision
end

local function timeout_of(self)
  return self.tool.timeout_ms or self.run.definition.defaults.tool_timeout_ms
end

local function start_child(self, group, timeout_ms, fn, ...)
  local child = join.start_child_with(group, timeout_ms > 0 and { timeout_ms = timeout_ms, scope = "tool" } or nil,
    fn, ...)
  child.tool_call = self
  return child
end

-- Asks on_permission, which may wait for a person, in a task of its own.
function Call:start_asking(group)
  local run, call = self.run, self.call
  self.asking = true
  start_child(self, group, timeout_of(self), self.agent.on_permission, {
    tool_id = self.tool.id, input = messages.copy(call.arguments), agent_id = self.who.agent_id, run_id = run.id,
    session_id = run.session.id, call_id = call.id,
  })
end

function Call:start_handler(group)
  local ctx = context.tool(self.run, self.who, self.tool.id, self.call.id)
  if self.span then rawset(ctx, "_span", self.span) end
  local timeout_ms = timeout_of(self)
  if self.tool.calls_tools then -- it watches over its time itself, without that of the tools that it calls
    context.with_tools(ctx, self.agent, timeout_ms)
    timeout_ms = 0
  end
  self.child = start_child(self, group, timeout_ms, self.tool.run, ctx, messages.copy(self.input))
  rawset(ctx, "_task", self.child)
end

-- Starts the handler, or asks first, as a task of the group; false when the call failed before that.
function Call:start(group)
  self:emit_started()
  local ok, input, decision = pcall(prepare, self)
  if not ok then
    self:finish(nil, input)
    return false
  end
  self.input = input
  if decision == "ask" then self:start_asking(group) else self:start_handler(group) end
  return true
end

-- Why the call may not run after on_permission has ended; nil when it may.
local function refusal(self, child, stop_reason)
  local agent, tool = self.agent, self.tool
  if stop_reason then return tool_error(self.run, tool, child.failed and child.value or stop_reason) end
  if not child.failed then return permissions.refusal(agent, tool, join.first_result(child)) end
  local err = child.value
  if errors.is(err, "OPERATION_TIMEOUT") and err.meta.scope == "tool" then return tool_error(self.run, tool, err) end
  self.run:logger(self.who.agent_id, tool.id):error("on_permission raised an error; the call is denied",
    { call_id = self.call.id, error = errors.serialize(err), traceback = child.traceback })
  return permissions.denied(agent, tool, "hook_failed", "whoever decides about it failed", err)
end

-- on_permission has ended: the handler is started, or the call is over. Nothing is started once the batch
-- is to stop, for `stop_reason`.
function Call:answered(child, group, stop_reason)
  self.asking = false
  local err = refusal(self, child, stop_reason)
  if not err then return self:start_handler(group) end
  self:finish(nil, err)
  if err.code == "OPERATION_CANCELLED" then return err end
end

-- Makes the content of an output; returns the output.
function Call:take_output(output)
  local ok, content
  if self.parent then ok, content = pcall(whole_content_of, output)
  else ok, content = pcall(content_of, output, self.tool.max_result_bytes or DEFAULT_RESULT_BYTES) end
  if not ok then
    errors.raise("VALIDATION_ERROR", ("tool %q returned what JSON cannot hold: %s"):format(self.tool.id,
      errors.serialize(content).message), { where = "tool_output", tool_id = self.tool.id }, content)
  end
  self.content = content
  return output
end

-- The handler's task has ended. Returns the error that must end the run, if it is such.
function Call:ended(child)
  local output, err
  if child.failed then
    err = tool_error(self.run, self.tool, child.value, child)
    log_failure(self, child)
  else
    local ok
    ok, output = pcall(checked_output, self.tool, join.first_result(child))
    if ok then ok, output = pcall(self.take_output, self, output) end
    if not ok then err = tool_error(self.run, self.tool, output, child) end
  end
  if err then output = nil end
  self:finish(output, err)
  if err and err.code == "OPERATION_CANCELLED" then return child.failed and child.value or err end
end

function Call:child_ended(child, batch)
  if not self.asking then return self:ended(child) end
  return self:answered(child, batch.group, batch.fatal or core.signal_reason(batch.task.scope))
end

-- All calls of one reply. `fatal` is the error of a call that must end the run.
---@class harness.ToolBatch
local Batch = {}
Batch.__index = Batch

function Batch:start_more()
  local group, calls = self.group, self.calls
  while not self.fatal and self.next_call <= #calls and group.started - self.ended < self.most do
    local i = self.next_call
    self.next_call = i + 1
    local state = setmetatable({
      run = self.run, agent = self.agent, who = self.who, call = with_its_name(self.agent, calls[i]), tool = nil,
      input = nil, started_us = 0, content = nil, asking = false, finished = false, child = nil,
      parent = self.parent,
    }, Call)
    self.states[i] = state
    state:start(group)
  end
end

function Batch:on_end(child)
  self.ended = self.ended + 1
  local must_end = child.tool_call:child_ended(child, self)
  if must_end and not self.fatal then
    self.fatal = must_end
    return "stop"
  end
  if not core.signal_aborted(self.task.scope) then self:start_more() end
end

-- The task that waits for the calls is ended by force: those that have no end yet get one.
Batch.__close = function(batch)
  local reason
  for _, call in pairs(batch.states) do
    if not call.finished then
      reason = reason or core.signal_reason(batch.task.signal) or task.cancelled("run", "the call was ended by force")
      call:finish(nil, tool_error(batch.run, call.tool, reason, call.child))
    end
  end
end

-- Runs the calls, side by side; returns their states once all have ended. Raises when the run is stopped or
-- a tool raises a cancellation: then no further call is started, and those that run are cancelled and joined,
-- each with its tool.finished.
local function run_batch(run, agent, who, calls, parent)
  local t = task.waiting_task()
  task.check()
  local group = join.new_group(t)
  local batch <close> = setmetatable({
    run = run, task = t, agent = agent, who = who, calls = calls, group = group, states = core.list(#calls),
    next_call = 1, parent = parent,
    ended = 0, most = run.definition.defaults.max_parallel_tool_calls, fatal = false,
  }, Batch)
  batch:start_more()
  run:flush() -- what happened so far waits in storage, not as tables, while the tools work
  local ok, err = pcall(join.supervise, t, group, batch, true)
  if batch.fatal then error(batch.fatal, 0) end
  if not ok then error(err, 0) end
  task.check() -- the abort may have ended the last call that ran, while others were not even started
  return batch.states
end

--- Runs the calls of a model's reply, at most `max_parallel_tool_calls` at once; gives each result to
--- on_result(call, content) in the order of the calls once all are there.
---@param run table
---@param agent table the agent's definition
---@param who harness.Invocation
---@param calls table[]
---@param on_result fun(call: table, content: string)
function M.run(run, agent, who, calls, on_result)
  local states = run_batch(run, agent, who, calls)
  for i = 1, #calls do on_result(calls[i], states[i].content) end
end

--- Runs calls that a tool makes, in the same way; returns what came of each: its output as JSON (nothing for
--- nil), or why it failed, in one line.
---@param run table
---@param agent table with the tools that may be called
---@param who harness.Invocation
---@param calls table[]
---@param parent { call_id: string, span: table? } the tool's own call
---@return { value?: string, error?: string }[]
function M.run_inner(run, agent, who, calls, parent)
  local answers = {}
  for i, state in ipairs(run_batch(run, agent, who, calls, parent)) do
    answers[i] = state.failure and { error = tostring(state.failure) } or { value = state.content }
  end
  return answers
end

return M
