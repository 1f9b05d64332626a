--- Hand-written agents: `{ model, run(ctx, input), … }`. The handler does what it likes; input, output,
--- events, deadline and messages are those of any agent.

local context = require "harness.context"
local core = require "harness.core"
local errors = require "harness.errors"
local invocation = require "harness.invocation"
local messages = require "harness.messages"
local task = require "harness.task"

local M = {}

local MAX_WALL_MS <const> = 1 << 52

-- In a task of its own, since it may swallow an abort.
local function call_handler(agent, ctx, budget)
  local wall_ms = budget and budget.max_wall_ms
  local ms = wall_ms and math.max(1, math.ceil(math.min(wall_ms, MAX_WALL_MS)))
  local child = task.make(ms and { timeout_ms = ms, scope = "agent" } or nil, agent.run, ctx, ctx.input)
  rawset(ctx, "_task", child)
  local ok, output = pcall(task.join, child)
  if ok then return output end
  local mine = wall_ms and not core.signal_aborted(task.current().signal)
  if mine and errors.is(output, "OPERATION_TIMEOUT") and output.meta.scope == "agent" and child.failed then
    errors.raise("AGENT_LOOP_BUDGET_EXCEEDED", ("agent %q took longer than the %s ms that its budget allows"):format(
      agent.id, wall_ms), { agent_id = agent.id, reason = "max_wall_ms", limit = wall_ms })
  end
  error(output, 0)
end

-- As a message of the conversation has it.
local function content_of(value, agent, where, subject)
  if type(value) == "string" then return value end
  return invocation.as_json(value, where, subject, { agent_id = agent.id })
end

-- The handler's output, checked; `turn` gets what the agent said.
local function perform(agent, ctx, budget, turn)
  local output, subject = call_handler(agent, ctx, budget), ("what agent %q returned"):format(agent.id)
  output = invocation.checked(agent.output, output, "agent_output", subject, { agent_id = agent.id })
  turn[2] = { role = "assistant", content = content_of(output, agent, "agent_output", subject) }
  return output
end

--- Runs the agent once within the run, as agent_run.run does.
---@param run harness.Run
---@param agent table the agent's definition
---@param input any
---@param options harness.InvocationOptions checked
---@return any output
---@return table[] messages of the turn: what it was asked, and its answer
function M.run(run, agent, input, options)
  input = invocation.agent_input(agent, input)
  local asked = content_of(input, agent, "agent_input", ("the input of agent %q"):format(agent.id))
  local turn = { { role = "user", content = asked } }
  local who, budget = invocation.new(run, agent, options), options.budget or agent.budget
  who.spending = invocation.spending(run, agent, budget)
  local window = options.history_window or agent.history_window or run.definition.defaults.history_window
  local history = messages.complete(messages.window(run:history_messages(), window))
  local ctx = context.agent(run, who, messages.copy(input), history)
  return invocation.perform(run, agent, who, perform, agent, ctx, budget, turn), turn
end

return M
