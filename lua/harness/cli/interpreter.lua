--- harness-lua as a Lua 5.4 interpreter: the arguments, messages and exit statuses of lua5.4 (lua.c of
--- Lua 5.4), with the chunks running inside a task.
---
--- Each chunk runs in a coroutine of its own, with `call` of bindings/main.c below it. So the stack that
--- it sees, in tracebacks and through debug, is that of a main chunk of lua5.4: one C function below it.

local chain = require "harness.chain"
local task = require "harness.task"

local M = {}

local USAGE <const> = [=[
usage: %s [options] [script [args]]
       %s run FILE TARGET [INPUT]
       %s chat FILE AGENT
       %s runs FILE [SESSION | show RUN_ID]
       %s inspect FILE
       %s help [COMMAND]
Available options are:
  -e stat   execute string 'stat'
  -i        enter interactive mode after executing 'script'
  -l mod    require library 'mod' into global 'mod'
  -l g=mod  require library 'mod' into global 'g'
  -v        show version information
  -E        ignore environment variables
  -W        turn warnings on
  --        stop handling options
  -         stop handling options and execute stdin
]=]

--- How the command is used.
---@param progname string
---@return string
function M.usage(progname)
  return (USAGE:gsub("%%s", (progname:gsub("%%", "%%%%"))))
end

local TAKES_VALUE <const> = { e = true, l = true }
local FLAGS <const> = { i = true, v = true, E = true, W = true }

-- Splits the arguments as lua.c does: options first, then the script, whose index is returned. -E was
-- already heeded in bindings/main.c, before the libraries were opened.
local function parse(argv)
  local options, i = {}, 1
  while argv[i] do
    local arg = argv[i]
    if arg:sub(1, 1) ~= "-" or arg == "-" then break end
    if arg == "--" then
      i = i + 1
      break
    end
    local letter = arg:sub(2, 2)
    if TAKES_VALUE[letter] then
      local value = #arg > 2 and arg:sub(3) or argv[i + 1]
      local is_next = #arg == 2
      if not value or is_next and value:sub(1, 1) == "-" then
        return nil, ("'-%s' needs argument"):format(letter)
      end
      if is_next then i = i + 1 end
      options[#options + 1] = { letter, value }
    elseif FLAGS[letter] and #arg == 2 then
      options[letter] = true
      if letter == "W" then options[#options + 1] = { "W" } end
    else
      return nil, ("unrecognized option '%s'"):format(arg)
    end
    i = i + 1
  end
  return options, i
end

-- ---- running chunks -----------------------------------------------------------------------

--- The coroutine of the chunk that runs, which for a script is its main thread.
---@type thread?
M.thread = nil

-- A Ctrl-C came as a cancelled error; on its way out it reads as in lua5.4.
local function is_interrupt(err)
  local meta = type(err) == "table" and err.code == "OPERATION_CANCELLED" and err.meta
  return type(meta) == "table" and meta.reason == "interrupted"
end

-- With the stack. Only for tail calls of the message handler: level 2 is then what raised the error.
local function traced(message)
  return (debug.traceback(message, 2))
end

-- The message handler of lua.c: texts get a traceback, objects with __tostring speak for themselves.
local function message_of(err)
  if type(err) == "string" or type(err) == "number" then return traced(tostring(err)) end
  if is_interrupt(err) then return traced "interrupted!" end
  local mt = debug.getmetatable(err)
  local to_text = mt and rawget(mt, "__tostring")
  if to_text then
    local text = to_text(err)
    if type(text) == "string" then return text end
  end
  return traced(("(error object is a %s value)"):format(type(err)))
end

local protected_call = xpcall

--- Calls fn(...) with nothing of ours on its stack.
---@param fn function
---@return string? message of its error
---@return table? results packed, the first of them at 3
function M.call(fn, ...)
  local co = coroutine.create(protected_call)
  M.thread = co
  local results = table.pack(chain.resume(co, fn, message_of, ...))
  M.thread = nil
  if results[1] and results[2] then return nil, results end
  return tostring(results[1] and results[3] or results[2])
end

local call = M.call

local function call_loaded(chunk, problem, ...)
  if not chunk then return problem end
  return (call(chunk, ...))
end

-- -l mod, -l global=mod
local function require_library(spec)
  local global, module = spec:match "^([^=]*)=(.*)$"
  local message, results = call(require, module or spec)
  if results then _G[global or spec] = results[3] end
  return message
end

local function run_init()
  local name = "LUA_INIT_5_4"
  local init = os.getenv(name)
  if not init then
    name = "LUA_INIT"
    init = os.getenv(name)
  end
  if not init then return nil end
  if init:sub(1, 1) == "@" then return call_loaded(loadfile(init:sub(2))) end
  return call_loaded(load(init, "=" .. name))
end

local function run_options(options)
  for _, option in ipairs(options) do
    local letter, value = option[1], option[2]
    local message
    if letter == "e" then
      message = call_loaded(load(value, "=(command line)"))
    elseif letter == "l" then
      message = require_library(value)
    else
      warn "@on"
    end
    if message then return message end
  end
end

-- The script's arguments are what the global `arg` holds by now.
local function run_script(argv, script)
  local file = argv[script]
  if file == "-" and argv[script - 1] ~= "--" then file = nil end
  local chunk, problem = loadfile(file)
  if not chunk then return problem end
  local arg = _G.arg
  if type(arg) ~= "table" then return "'arg' is not a table" end
  return call_loaded(chunk, nil, table.unpack(arg, 1, #arg))
end

-- The `arg` table of lua.c: the script at 0, what stood before it at negative places.
local function make_arg(argv, script)
  local arg = {}
  local base = argv[script] and script or 0
  for i = 0, #argv do arg[i - base] = argv[i] end
  return arg
end

local function report(progname, message)
  local is_news = not task.exit_request -- else it failed because another task called os.exit
  if is_news then io.stderr:write(progname, ": ", message, "\n") end
  return 1
end

-- Without a script and without -e, -i or -v, the program is read from standard input. As in lua5.4 its
-- failure is told, and the exit status stays 0.
local function run_stdin(options, progname)
  for _, option in ipairs(options) do
    if option[1] == "e" then return nil end
  end
  if options.v or options.i then return nil end
  if require("harness.core").is_terminal(0) then
    require("harness.cli.version").print()
    options.i = true
    return nil
  end
  local message = call_loaded(loadfile())
  if message then report(progname, message) end
end

--- Ctrl-C: what the chunk waits for raises an error, as in lua5.4 what it does.
---@param t harness.Task
function M.on_interrupt(t)
  local errors = require "harness.errors"
  t = require("harness.cli.repl").running or t
  t:cancel(errors.new("OPERATION_CANCELLED", "interrupted", { scope = "task", reason = "interrupted" }))
end

---@param argv string[]
---@param native harness.cli.Native
---@return integer status
function M.main(argv, native)
  local progname = argv[0]
  protected_call = native.call
  local options, script = parse(argv)
  if not options then
    io.stderr:write(progname, ": ", script, "\n", M.usage(progname))
    return 1
  end
  if options.v or options.i then require("harness.cli.version").print(options.v) end
  _G.arg = make_arg(argv, script)
  local message = not options.E and run_init()
  message = message or run_options(options)
  if not message then
    if argv[script] then message = run_script(argv, script) else run_stdin(options, progname) end
  end
  if message then return report(progname, message) end
  if options.i then return require("harness.cli.repl").run(call, native) end
  return 0
end

return M
