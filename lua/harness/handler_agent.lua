--- Hand-written agents: `{ model, run(ctx, input), … }`. The handler does what it likes; input, output,
--- events, deadline and messages are those of any agent.

local context = require "harness.context"
local errors = require "harness.errors"
local invocation = require "harness.invocation"
local messages = require "harness.messages"

local M = {}

local function call_handler(agent, ctx, budget)
  local wall_ms = budget and budget.max_wall_ms
  local ok, output, late = invocation.call_handler(agent.run, ctx, wall_ms, "agent")
  if ok then return output end
  if not late then error(output, 0) end
  local message = ("agent %q took longer than the %d ms that its budget allows"):format(agent.id, wall_ms)
  local meta = { agent_id = agent.id, reason = "max_wall_ms", limit = wall_ms }
  return errors.raise("AGENT_LOOP_BUDGET_EXCEEDED", message, meta)
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
  if #agent.skills > 0 then require("harness.skill_mount").for_agent(run, agent) end
  local who, budget = invocation.new(run, agent, options), options.budget or agent.budget
  who.spending = invocation.spending(run, agent, budget)
  local window = options.history_window or agent.history_window
  local history = messages.complete(messages.window(run:history_messages(), window))
  local ctx = context.agent(run, who, messages.copy(input), history)
  return invocation.perform(run, agent, who, perform, agent, ctx, budget, turn), turn
end

return M
