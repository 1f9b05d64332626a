--- Drives the agent loop (agent.lua) of one agent: calls its model, runs its tools, checks its output.
---
--- It runs in the task of the run. What is not ours (instructions functions, tool handlers, other
--- people's providers) runs in child tasks, so it can be ended by force without ending the run badly.

local agent_loop = require "harness.agent"
local context = require "harness.context"
local budgets = require "harness.budget"
local core = require "harness.core"
local errors = require "harness.errors"
local invocation = require "harness.invocation"
local json = require "harness.json"
local messages = require "harness.messages"
local model = require "harness.model"
local session_sandbox = require "harness.session_sandbox"
local task = require "harness.task"
local tools = require "harness.tools"

local M = {}

local ulid = core.ulid.next

local function instructions_of(run, agent, who, input, history)
  local given = agent.instructions
  if type(given) ~= "function" then return given end
  local ctx = context.instructions(run, who, input, history)
  local child = task.make(nil, given, ctx)
  rawset(ctx, "_task", child)
  local text = task.join(child)
  if type(text) == "string" then return text end
  errors.raise("VALIDATION_ERROR", ("the instructions function of agent %q must return text, it returned %s"):format(
    agent.id, type(text)), { where = "agent_instructions", agent_id = agent.id })
end

-- Instructions first, then system messages and the window of the history, then the new input.
local function first_messages(run, agent, who, input, options)
  local history = run:history_messages()
  local window = options.history_window or agent.history_window
  local list = messages.complete(messages.window(history, window))
  local all, text = core.list(#list + 8), instructions_of(run, agent, who, input, history)
  if agent.skill_catalogue then text = require("harness.skill_catalogue").append(text, agent.skill_catalogue) end
  if text and text ~= "" then all[1] = { role = "system", content = text } end
  table.move(list, 1, #list, #all + 1, all)
  local first_new = #all + 1
  all[first_new] = { role = "user", content = type(input) == "string" and input or json.encode(input) }
  return all, first_new
end

local function repair_text(issues)
  local lines = { "Your answer does not fit the required JSON Schema. Problems:" }
  for i = 1, math.min(#issues, 10) do lines[#lines + 1] = ("- %s: %s"):format(issues[i].path, issues[i].message) end
  lines[#lines + 1] = "Answer again with the corrected JSON only."
  return table.concat(lines, "\n")
end

-- The value of a structured reply: what the provider parsed, else the JSON that its text is.
local function object_of(reply)
  if reply.object ~= nil then return true, reply.object end
  local ok, value = pcall(json.decode, reply.text or "")
  if ok then return true, value end
  return false, { { path = "$", message = "the answer is not valid JSON: " .. value.message } }
end

---@class harness.AgentDriver
local Driver = {}
Driver.__index = Driver

-- Checks the final reply against the output schema; the output, or nil after a repair was asked for.
function Driver:take_output(reply)
  local agent = self.agent
  if agent.text_output then
    return invocation.checked(agent.output, reply.text or "", "agent_output",
      ("the answer of agent %q"):format(agent.id), { agent_id = agent.id })
  end
  local ok, value = object_of(reply)
  if ok then ok, value = agent.output:check(value) end
  if ok then
    self.run:emit("model.object", agent.id, self.who.invocation_id, self.call_id, self.run:shown(value))
    return value
  end
  agent_loop.apply(self.state, {
    type = "invalid", issues = value, repair = repair_text(value),
    message = ("the answer of agent %q does not fit its schema: %s: %s"):format(agent.id, value[1].path,
      value[1].message),
  })
  return nil
end

-- A model without structured output is made to call this tool, whose arguments are the output.
local OUTPUT_TOOL <const> = "final_output"

local function forced_output(agent, specs)
  local all = table.move(specs, 1, #specs, 1, {})
  all[#all + 1] = {
    name = OUTPUT_TOOL, description = "Gives the final answer. Call it once, when the answer is complete.",
    parameters = agent.output_schema,
  }
  return all, #specs == 0 and { name = OUTPUT_TOOL } or "required"
end

-- Takes the output out of a reply that calls the output tool; with other calls beside it, those go first.
local function take_forced(reply)
  local calls, output = reply.tool_calls, nil
  if not calls then return end
  local others = {}
  for _, call in ipairs(calls) do
    if call.name ~= OUTPUT_TOOL then others[#others + 1] = call else output = call end
  end
  if not output then return end
  reply.tool_calls = #others > 0 and others or nil
  if #others > 0 then return end
  reply.object = not output.invalid_arguments and output.arguments or nil
  reply.text = output.invalid_arguments or json.encode(output.arguments)
end

function Driver:call_model()
  local run, agent, state = self.run, self.agent, self.state
  self.call_id = ulid()
  if agent.tool_set.lua then require("harness.program").of(run.harness):warm() end -- ready when the model has answered
  local forced, streams = agent.method == "tool_use", agent.method == "text_stream"
  local reply = model.call(run, self.who, agent.model, agent.method, {
    messages = state.messages, tools = self.tool_specs, tool_choice = self.tool_choice,
    schema = not forced and agent.output_schema or nil,
    schema_name = agent.id, stream = streams, call_id = self.call_id,
  }, streams and self.on_event or nil)
  if forced then take_forced(reply) end
  agent_loop.apply(state, { type = "model", reply = reply })
end

local function failure_of(agent, failure)
  failure.meta.agent_id = agent.id
  return errors.new(failure.code, failure.message, failure.meta)
end

-- What the model is shown: without the tools that run commands where the sandbox runs none.
local function offered_tools(run, agent)
  if #agent.file_tool_specs == #agent.tool_specs then return agent.tool_specs end
  local sandbox = session_sandbox.for_run(run)
  return sandbox.executor == "available" and agent.tool_specs or agent.file_tool_specs
end

-- The loop itself. Returns the output.
function Driver:loop()
  local run, agent, state = self.run, self.agent, self.state
  self.tool_specs = offered_tools(run, agent)
  if agent.method == "tool_use" then self.tool_specs, self.tool_choice = forced_output(agent, self.tool_specs) end
  local function on_result(call, content)
    agent_loop.apply(state, { type = "tool", id = call.id, content = content })
  end
  while true do
    local action = agent_loop.next(state)
    if action.type == "model" then
      task.check() -- a tool may have swallowed the abort, and no model is asked after it
      self:call_model()
    elseif action.type == "tools" then
      budgets.add_tools(self.who.spending, #action.calls)
      tools.run(run, agent, self.who, action.calls, on_result)
    elseif action.type == "done" then
      local output = self:take_output(action.reply)
      if output ~= nil then return output end
    else
      error(failure_of(agent, action.error), 0)
    end
  end
end

-- The messages of this turn as they are to be stored. The exchange about an invalid output stays out.
function Driver:new_messages(output)
  local state, list = self.state, {}
  local all = state.messages
  for i = state.first_new, #all do
    local message = all[i]
    local next_message = all[i + 1]
    if not message.repair and not (next_message and next_message.repair) then list[#list + 1] = message end
  end
  if not self.agent.text_output then
    list[#list] = { role = "assistant", content = json.encode(output), provider = list[#list].provider }
  end
  return list
end

-- Runs the loop within the budget's time.
local function perform(driver, budget)
  local wall_ms = budget and budget.max_wall_ms
  if not wall_ms then return driver:loop() end
  local ok, output = task.deadline(wall_ms, "agent", driver.loop, driver)
  if ok then return output end
  if not invocation.is_late(output, "agent") then error(output, 0) end
  error(failure_of(driver.agent, {
    code = "AGENT_LOOP_BUDGET_EXCEEDED", message = ("the agent took longer than the %d ms that its budget allows")
      :format(wall_ms), meta = { reason = "max_wall_ms", limit = wall_ms },
  }), 0)
end

--- Runs the agent once within the run. Emits agent.started and agent.finished, always both.
---@param run harness.Run
---@param agent table the agent's definition
---@param input any
---@param options harness.InvocationOptions checked
---@return any output
---@return table[] messages of the turn, to be appended to the history
function M.run(run, agent, input, options)
  input = invocation.agent_input(agent, input)
  if #agent.skills > 0 then require("harness.skill_mount").for_agent(run, agent) end
  local who, budget = invocation.new(run, agent, options), options.budget or agent.budget
  local list, first_new = first_messages(run, agent, who, input, options)
  local driver = setmetatable({ run = run, agent = agent, who = who }, Driver)
  driver.state = agent_loop.new {
    messages = list, first_new = first_new, max_steps = agent.max_steps,
    structured_retry = agent.structured_retry, budget = budget,
  }
  who.loop = driver.state
  driver.on_event = function(kind, text)
    return run:delta(kind, agent.id, who.invocation_id, driver.call_id, text)
  end
  local output = invocation.perform(run, agent, who, perform, driver, budget)
  return output, driver:new_messages(output)
end

return M
