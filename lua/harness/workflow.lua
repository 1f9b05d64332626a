--- Runs a workflow: checks its input, calls its handler with a context, checks its output.

local budget = require "harness.budget"
local context = require "harness.context"
local invocation = require "harness.invocation"
local messages = require "harness.messages"

local M = {}

local function call_handler(run, workflow, who, input)
  local wall_ms = run.spending and run.spending.limits.max_wall_ms
  local ctx = context.workflow(run, who, messages.copy(input))
  local ok, output, late = invocation.call_handler(workflow.run, ctx, wall_ms, "workflow")
  if ok then return output end
  if late then budget.exceeded(run.spending, "max_wall_ms", ("taken longer than %d ms"):format(wall_ms)) end
  return error(output, 0)
end

local function perform(run, workflow, who, input)
  input = invocation.checked(workflow.input, input, "workflow_input",
    ("the input of workflow %q"):format(workflow.id), { workflow_id = workflow.id })
  local output = call_handler(run, workflow, who, input)
  local subject = ("what workflow %q returned"):format(workflow.id)
  output = invocation.checked(workflow.output, output, "workflow_output", subject, { workflow_id = workflow.id })
  invocation.as_json(output, "workflow_output", subject, { workflow_id = workflow.id })
  return output
end

--- Runs the workflow as the work of the run.
---@param run harness.Run
---@param workflow table the workflow's definition
---@param input any
---@param options table checked invoke options
---@return any output
---@return table[] messages: the turns of the nested agents that succeeded, in the order of their ends
function M.run(run, workflow, input, options)
  run.turns = {}
  run.spending = budget.new(options.budget, ("workflow %q"):format(workflow.id), nil, { workflow_id = workflow.id })
  run.workflow_span = run:span_workflow()
  local who = { spending = run.spending, metadata = run:metadata(), span = run.workflow_span }
  local ok, output = pcall(perform, run, workflow, who, input)
  if run.workflow_span then
    run.workflow_span:finish(not ok and run:final_error(output) or nil)
  end
  if not ok then error(output, 0) end
  return output, run.turns
end

return M
