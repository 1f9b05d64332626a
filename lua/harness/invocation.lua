--- One call of an agent within a run, whoever does the work: the loop (agent_run.lua) or a handler
--- (handler_agent.lua). Its agent.started and agent.finished are always a pair, also when its task is
--- ended by force.

local budget = require "harness.budget"
local core = require "harness.core"
local errors = require "harness.errors"
local issues = require "harness.issues"
local json = require "harness.json"
local runs = require "harness.run"
local task = require "harness.task"

local M = {}

--- Who asks a model or calls a tool: told apart by invocation_id where agents run side by side. The
--- workflow itself, which asks models directly, has none.
---@class harness.Invocation
---@field agent_id? string
---@field invocation_id? string
---@field span? table the span that those of its models and tools go below
---@field spending? harness.Spending what its model calls are charged to, beside the loop's own budget
---@field loop? harness.AgentState of an agent with a loop: what its tools call themselves is counted there
---@field metadata table

---@class harness.InvocationOptions
---@field history_window? integer
---@field budget? harness.Budget
---@field metadata? table
---@field timeout_ms? integer
---@field signal? harness.Signal

--- The value as the schema gives it back, or a VALIDATION_ERROR.
---@param schema harness.Schema? nil: anything goes
---@param value any
---@param where string such as agent_input
---@param subject string for the message: `the input of agent "x"`
---@param meta table? of the error
---@return any
function M.checked(schema, value, where, subject, meta)
  if not schema then return value end
  local ok, result = schema:check(value)
  if ok then return result end
  meta = meta or {}
  meta.where, meta.issues = where, result
  local message = ("%s does not fit its schema: %s"):format(subject, issues.first(result))
  return errors.raise("VALIDATION_ERROR", message, meta)
end

--- The value as JSON, since it will be stored; or a VALIDATION_ERROR that says whose it is.
---@param value any
---@param where string
---@param subject string
---@param meta table? of the error
---@return string
function M.as_json(value, where, subject, meta)
  if value == nil then return "null" end
  local ok, text = pcall(json.encode, value)
  if ok then return text end
  meta = meta or {}
  meta.where = where
  return errors.raise("VALIDATION_ERROR", ("%s %s"):format(subject, text.message), meta, text)
end

--- Is it the timeout of a deadline that was set here, in the running task, with this scope?
---@param err any
---@param scope string
---@return boolean
function M.is_late(err, scope)
  return errors.is(err, "OPERATION_TIMEOUT") and err.meta.scope == scope
    and not core.signal_aborted(task.current().signal)
end

--- Calls a handler of the user's with its context, in a task of its own: when it swallows an abort, that is
--- ended by force, and the run still comes to its one end.
---@param handler fun(ctx: table, input: any): any
---@param ctx table
---@param wall_ms integer? how long its budget lets it take
---@param scope "agent"|"workflow"
---@return boolean ok
---@return any output or what it raised
---@return boolean late did wall_ms end it?
function M.call_handler(handler, ctx, wall_ms, scope)
  local child = task.make(wall_ms and { timeout_ms = wall_ms, scope = scope } or nil, handler, ctx, ctx.input)
  rawset(ctx, "_task", child)
  local ok, output = pcall(task.join, child)
  return ok, output, not ok and wall_ms ~= nil and M.is_late(output, scope)
end

--- The input of an agent, checked.
---@param agent table
---@param input any
function M.agent_input(agent, input)
  return M.checked(agent.input, input, "agent_input", ("the input of agent %q"):format(agent.id),
    { agent_id = agent.id })
end

-- The end of the invocation, once: by its work, or when its task is closed under it.
local End = {}
End.__index = End

local function finish(ending, err, output)
  if ending.done then return end
  ending.done = true
  local who, run = ending.who, ending.run
  if ending.span then ending.span:finish(err) end
  local serialized = err ~= nil and errors.serialize(err) or nil
  run:emit("agent.finished", who.agent_id, who.invocation_id, serialized, run:shown(output))
end

End.__close = function(ending)
  if ending.done then return end
  local forced = task.cancelled("agent", "the agent was ended by force")
  finish(ending, runs.final_error(core.signal_reason(ending.signal), forced, "agent"))
end

--- What the model calls of an agent are charged to.
---@param run harness.Run
---@param agent table
---@param limits harness.Budget? its own, where its work does not count itself
---@return harness.Spending?
function M.spending(run, agent, limits)
  return budget.new(limits, ("agent %q"):format(agent.id), run.spending, { agent_id = agent.id })
end

--- Makes the identity of one call of an agent.
---@param run harness.Run
---@param agent table
---@param options harness.InvocationOptions
---@return harness.Invocation
function M.new(run, agent, options)
  return {
    agent_id = agent.id, invocation_id = core.ulid.next(), spending = run.spending,
    metadata = options.metadata or run:metadata(), span = nil,
  }
end

--- Does the work between agent.started and agent.finished. `work(...)` returns the output; what it
--- raises is raised here as the error that the invocation ends with.
---@param run harness.Run
---@param agent table
---@param who harness.Invocation
---@param work fun(...): any
---@return any output
function M.perform(run, agent, who, work, ...)
  local signal = task.current().signal
  run:emit("agent.started", who.agent_id, who.invocation_id)
  local span = run:span_agent(agent, run.workflow_span)
  who.span = span
  local ending <close> = setmetatable({ run = run, who = who, span = span, signal = signal, done = false }, End)
  local ok, output = pcall(work, ...)
  if ok then
    finish(ending, nil, output)
    return output
  end
  local err = runs.final_error(core.signal_reason(signal), output, "agent")
  finish(ending, err)
  error(err, 0)
end

return M
