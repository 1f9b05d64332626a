--- `ctx.agents.NAME:run(input, options?)`: an agent as a part of a workflow's run. It has a deadline, a
--- signal and an invocation id of its own; its turn is kept with the run when both succeed (D1).

local agents = require "harness.agents"
local bounded = require "harness.bounded"
local invoke = require "harness.invoke"
local lookup = require "harness.lookup"
local task = require "harness.task"

local M = {}

---@class harness.NestedAgent
local Nested = {}
Nested.__index = Nested
Nested.__name = "harness.NestedAgent"

-- The run's metadata, overlaid by what the call gives.
local function overlaid(base, over)
  if not over then return base end
  local all = {}
  for key, value in pairs(base) do all[key] = value end
  for key, value in pairs(over) do all[key] = value end
  return all
end

local function keep_turn(run, list)
  local turns = run.turns
  table.move(list, 1, #list, #turns + 1, turns)
end

local function work(run, agent, input, options)
  local output, list = agents.run(run, agent, input, options)
  run:check_open() -- a task that is not the run's may have called it, and the turn would be lost
  keep_turn(run, list)
  return output
end

--- Runs the agent and waits; returns its output or raises its error.
---@param input any
---@param options? harness.InvokeOptions
function Nested:run(input, options)
  local run, checked = self._run, invoke.check_nested(options)
  task.waiting_task()
  task.check()
  run:check_open()
  return bounded.call(checked, "agent", work, run, self._agent, input, {
    history_window = checked.history_window or run.options.history_window, budget = checked.budget,
    metadata = overlaid(self._metadata, checked.metadata),
  })
end

--- The agents of a run's workflow; an unknown name is an error.
---@param run harness.Run
---@param who harness.Invocation
---@return table<string, harness.NestedAgent>
function M.for_run(run, who)
  return lookup.handles(run.definition.agents, "agent", "AGENT_NOT_FOUND", function(agent)
    return setmetatable({ _run = run, _agent = agent, _metadata = who.metadata }, Nested)
  end)
end

return M
