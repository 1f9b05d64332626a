--- Runs an agent once within a run, whichever kind it is.

local agent_run = require "harness.agent_run"

local M = {}

---@param run harness.Run
---@param agent table the agent's definition
---@param input any
---@param options harness.InvocationOptions checked
---@return any output
---@return table[] messages of the turn
function M.run(run, agent, input, options)
  if agent.run then return require("harness.handler_agent").run(run, agent, input, options) end
  return agent_run.run(run, agent, input, options)
end

return M
