--- harness-lua as a Lua 5.4 interpreter: the arguments, messages and exit statuses of lua5.4
--- (lua.c of Lua 5.4), with the main chunk running as a task.

local M = {}

local USAGE <const> = [=[
usage: %s [options] [script [args]]
       %s run FILE TARGET [INPUT]
       %s inspect FILE
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

local TAKES_VALUE <const> = { e = true, l = true }
local FLAGS <const> = { i = true, v = true, E = true, W = true }

-- Splits the arguments as lua.c does: options first, then the script.
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
      if not value or (#arg == 2 and value:sub(1, 1) == "-") then return nil, ("'-%s' needs argument"):format(letter) end
      if #arg == 2 then i = i + 1 end
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

local function message_handler(err)
  if type(err) ~= "string" then
    local mt = getmetatable(err)
    if mt and mt.__tostring then return tostring(err) end
    err = ("(error object is a %s value)"):format(type(err))
  end
  return debug.traceback(err, 2)
end

local function report(progname, message)
  io.stderr:write(progname, ": ", message, "\n")
  return 1
end

-- Runs a loaded chunk; nil, or the message of its error.
local function call(chunk, ...)
  local result = table.pack(xpcall(chunk, message_handler, ...))
  if not result[1] then return result[2] end
  return nil, result
end

local function require_library(spec)
  local global, module = spec:match "^([^=]+)=(.*)$"
  global, module = global or spec, module or spec
  return call(function() _G[global] = require(module) end)
end

local function run_init()
  local init = os.getenv "LUA_INIT_5_4"
  local name = init and "=LUA_INIT_5_4" or "=LUA_INIT"
  init = init or os.getenv "LUA_INIT"
  if not init then return nil end
  local chunk, err
  if init:sub(1, 1) == "@" then chunk, err = loadfile(init:sub(2)) else chunk, err = load(init, name) end
  if not chunk then return err end
  return (call(chunk))
end

local function print_results(result)
  if result.n <= 1 then return nil end
  return (call(print, table.unpack(result, 2, result.n)))
end

-- Reads one statement or expression, over several lines when it is not complete yet.
local function read_chunk()
  io.write(_G._PROMPT or "> ")
  io.flush()
  local text = io.read "L"
  if not text then return nil end
  local chunk = load("return " .. text, "=stdin")
  if chunk then return chunk end
  while true do
    local err
    chunk, err = load(text, "=stdin")
    if chunk or not err:find "<eof>$" then return chunk, err end
    io.write(_G._PROMPT2 or ">> ")
    io.flush()
    local more = io.read "L"
    if not more then return nil, err end
    text = text .. more
  end
end

local function interact(progname)
  while true do
    local chunk, err = read_chunk()
    if not chunk and not err then break end
    local result
    if chunk then err, result = call(chunk) end
    if result then err = print_results(result) end
    if err then report(progname, err) end
  end
  io.write "\n"
  return 0
end

local function is_terminal()
  return require("harness.core").is_terminal(0)
end

-- The `arg` table of lua.c: the script at 0, what stood before it at negative places.
local function make_arg(argv, script)
  local arg = {}
  local base = argv[script] and script or 0
  for i = 0, #argv do arg[i - base] = argv[i] end
  return arg
end

---@param argv string[]
---@return integer status
function M.main(argv)
  local progname = argv[0]
  local options, script = parse(argv)
  if not options then
    io.stderr:write(progname, ": ", script, "\n", (USAGE:gsub("%%s", progname)))
    return 1
  end
  if options.v then require("harness.cli.version").print() end
  _G.arg = make_arg(argv, script)
  local err = not options.E and run_init()
  if err then return report(progname, err) end
  for _, option in ipairs(options) do
    local letter, value = option[1], option[2]
    if letter == "e" then
      local chunk, problem = load(value, "=(command line)")
      err = problem or call(chunk)
    elseif letter == "l" then
      err = require_library(value)
    else
      warn "@on"
    end
    if err then return report(progname, err) end
  end
  if argv[script] then
    local file = argv[script]
    local chunk, problem
    if file == "-" and argv[script - 1] ~= "--" then chunk, problem = loadfile() else chunk, problem = loadfile(file) end
    err = problem or call(chunk, table.unpack(argv, script + 1))
    if err then return report(progname, err) end
    if options.i then return interact(progname) end
    return 0
  end
  if options.i then return interact(progname) end
  if #options > 0 or options.v then return 0 end
  if is_terminal() then
    require("harness.cli.version").print()
    return interact(progname)
  end
  local chunk, problem = loadfile()
  err = problem or call(chunk)
  return err and report(progname, err) or 0
end

return M
