--- The harness-lua command: finds out which of its commands is meant and runs it as a task.
--- Called by bindings/main.c with the arguments; returns the exit status.

local task = require "harness.task"
local chain = require "harness.chain"
local core = require "harness.core"

local COMMANDS <const> = { run = true, inspect = true }

-- os.exit inside a task closes the task's variables first: the scheduler does it for us.
local function install_exit()
  local raw_exit = os.exit
  os.exit = function(code, close)
    if task.current() and chain.can_wait() then chain.raw_yield(chain.EXIT, code, close) end
    raw_exit(code, close)
  end
end

local function exit_status(code)
  if code == nil or code == true then return 0 end
  if code == false then return 1 end
  return math.tointeger(code) or 1
end

---@param argv string[] from index 0
---@param native { forgive_interrupt: function, take_stdout: fun(): file* }
---@return integer
return function(argv, native)
  local command = COMMANDS[argv[1]] and require("harness.cli." .. argv[1]) or require "harness.cli.interpreter"
  install_exit()
  chain.install(task.is_base)
  local main = task.run(function() return command.main(argv, native) end, function(t)
    if command.on_interrupt then return command.on_interrupt(t) end
    t:cancel("interrupted")
  end)
  if task.exit_request then return exit_status(task.exit_request[1]) end
  if not main.failed then return main.value or 0 end
  io.stderr:write(argv[0], ": ", tostring(main.value), "\n")
  if core.interrupted_ever() then return 130 end
  return 1
end
