--- What subcommands have in common: arguments are read, `--help` shows the usage, what fails is told in one
--- line (failure.lua), Ctrl-C stops the task.

local failure = require "harness.cli.failure"
local options = require "harness.cli.options"
local output = require "harness.cli.output"

local M = {}

---@class harness.cli.Command
---@field usage string with %s for the name of the program
---@field expected string what the arguments are, for the message when `fits` says no
---@field options table<string, "value"|"flag"> without help
---@field fits fun(rest: string[]): boolean are these the right arguments, options apart?
---@field execute fun(given: table, rest: string[], out: harness.cli.Output, native: harness.cli.Native): integer
---       the exit status
---@field on_interrupt? fun(t: harness.Task)

local function run(command, argv, native)
  local usage = command.usage:gsub("%%s", function() return argv[0] end)
  local given, rest = options.parse(argv, 2, command.options)
  if not given.help and not command.fits(rest) then
    options.fail_with_usage("expected " .. command.expected, usage)
  end
  local out = output.take(native)
  if not given.help then return command.execute(given, rest, out, native) end
  out:write(usage)
  return 0
end

--- Makes what cli.lua runs of it.
---@param command harness.cli.Command
---@return { main: fun(argv: string[], native: harness.cli.Native): integer, on_interrupt: fun(t: harness.Task) }
function M.new(command)
  command.options.help = "flag"
  return {
    main = function(argv, native)
      return failure.guard(argv, native, function() return run(command, argv, native) end)
    end,
    on_interrupt = command.on_interrupt or M.stop,
  }
end

--- What Ctrl-C does where nothing better is known.
---@param t harness.Task
function M.stop(t)
  t:cancel "interrupted"
end

return M
