--- The harness-lua command: finds out which of its commands is meant and runs it as a task.
--- Called by bindings/main.c with the arguments; returns the exit status.

local task = require "harness.task"
local chain = require "harness.chain"
local interpreter = require "harness.cli.interpreter"

---@class harness.cli.Native what bindings/main.c gives
---@field call function does what xpcall does, without a name for tracebacks
---@field leave fun(status: integer) ends the program
---@field take_stdout fun(): file*?, string? what other code writes to it goes to standard error then
---@field leave_on_interrupt fun() Ctrl-C ends the program at once, until forgive_interrupt
---@field forgive_interrupt fun() Ctrl-C was answered, and the next one is a first one again
---@field stop_on_terminate fun() SIGTERM and SIGHUP are from now on what Ctrl-C is
---@field line_editor fun(out: file*): userdata?, string? a line of the terminal, edited (bindings/line_editor.c)
---@field stop_status fun(): integer? the exit status after a signal asked to stop; nil: none did

local COMMANDS <const> = {
  run = "run", chat = "chat", inspect = "inspect", runs = "runs", help = "help", ["--help"] = "help",
}

-- What os.exit's argument means as an exit status; raises as os.exit does.
local function exit_status(code)
  if code == nil or code == true then return 0 end
  if code == false then return 1 end
  local number = tonumber(code)
  if not number then error(("bad argument #1 to 'exit' (number expected, got %s)"):format(type(code)), 3) end
  return math.tointeger(number) or error("bad argument #1 to 'exit' (number has no integer representation)",
    3)
end

-- os.exit ends the program in order: what is open in tasks and coroutines is closed first, and so is
-- the Lua state, as by os.exit(code, true) of lua5.4. Where it cannot wait for that (in a comparison of
-- table.sort, say), the state is closed at once.
local function install_exit(leave)
  os.exit = function(code)
    local status = exit_status(code)
    if task.current() and chain.can_wait() then chain.raw_yield(chain.EXIT, status) end
    leave(status)
  end
end

-- The coroutine that a script takes for its main thread.
local function is_main(co)
  return co == interpreter.thread or task.is_base(co)
end

---@param argv string[] from index 0
---@param native harness.cli.Native
---@return integer status
return function(argv, native)
  argv[0] = argv[0] or "harness-lua"
  local name = COMMANDS[argv[1]]
  local command = name and require("harness.cli." .. name) or interpreter
  install_exit(native.leave)
  chain.install(is_main)
  local main = task.run(function() return command.main(argv, native) end, command.on_interrupt)
  if task.exit_request then return task.exit_request[1] end
  if not main.failed then return main.value end
  io.stderr:write(argv[0], ": ", tostring(main.value), "\n")
  return 1
end
