--- What a subcommand says when it fails, and its exit status: 1 something failed, 2 wrong usage,
--- 128 + signal asked to stop (130 for Ctrl-C).

local errors = require "harness.errors"
local options = require "harness.cli.options"
local printable = require("harness.cli.output").printable
local task = require "harness.task"

local M = {}

-- The mistakes of a definition, one a line when there are several.
local function problem_lines(err)
  local problems = err.code == "HARNESS_CONFIG_ERROR" and err.meta.problems
  if type(problems) ~= "table" or #problems < 2 then return nil end
  local lines = { ("%s: the definition has %d problems:"):format(err.code, #problems) }
  for i, problem in ipairs(problems) do
    lines[i + 1] = "  " .. problem.message:gsub("%s*[\r\n]+%s*", " ")
  end
  for i, line in ipairs(lines) do lines[i] = printable(line) end
  return table.concat(lines, "\n")
end

--- An error as the user reads it: code and message in one line.
---@param err any
---@return string
function M.text(err)
  if not errors.is(err) then
    local record = errors.serialize(err)
    err = errors.new(record.code, (record.message:gsub("\nstack traceback:.*", "")))
  end
  return problem_lines(err) or printable(tostring(err))
end

--- Runs a subcommand; tells on standard error what it raises.
---@param argv string[]
---@param native harness.cli.Native
---@param fn fun(): integer returns the exit status
---@return integer status
function M.guard(argv, native, fn)
  local ok, result = pcall(fn)
  if ok then return result end
  if task.exit_request then return task.exit_request[1] end -- the script called os.exit
  local stopped = native.stop_status()
  local message = options.is_usage_error(result) and result.message or M.text(result)
  io.stderr:write(argv[0], ": ", stopped and "interrupted" or message, "\n")
  return stopped or options.is_usage_error(result) and 2 or 1
end

return M
