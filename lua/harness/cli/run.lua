--- harness-lua run FILE TARGET [INPUT]: runs one agent or workflow of the harness that FILE returns.

local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local load_file = require "harness.cli.load"
local loggers = require "harness.logger"
local options = require "harness.cli.options"
local progress = require "harness.cli.progress"

local M = {}

local USAGE <const> = [=[
usage: %s run FILE TARGET [INPUT] [options]
  INPUT is text where TARGET takes a string, else JSON; - reads standard input
  --session ID      run in this session (default: a new one)
  --stream          write the events to standard output, as JSON Lines
  --timeout TIME    500ms, 30s, 2m, 1h
  --metadata JSON   an object that handlers see as ctx.metadata
]=]

local SPEC <const> = { session = "value", stream = "flag", timeout = "value", metadata = "value", help = "flag" }

local function runnable(harness, session, target)
  local definition = harness.definition
  if definition.agents[target] then return session.agents[target], definition.agents[target] end
  if definition.workflows[target] then return session.workflows[target], definition.workflows[target] end
  local names = {}
  for id in pairs(definition.agents) do names[#names + 1] = id end
  for id in pairs(definition.workflows) do names[#names + 1] = id end
  table.sort(names)
  options.fail(("there is no agent or workflow %q; there are: %s"):format(target,
    #names > 0 and table.concat(names, ", ") or "none"))
end

local function takes_string(definition)
  if not definition.input then return false end
  local schema = require("harness.schema").to_json_schema(definition.input)
  return type(schema) == "table" and schema.type == "string"
end

local function read_input(given, definition)
  if given == nil then options.fail "INPUT is missing (- reads standard input)" end
  local text = given == "-" and io.read "a" or given
  if takes_string(definition) then return text end
  local ok, value = pcall(json.decode, text)
  if ok then return value end
  if not definition.input then return text end -- a workflow without a schema takes either
  options.fail("INPUT must be JSON for this target: " .. value.message)
end

local function read_metadata(text)
  if not text then return nil end
  local ok, value = pcall(json.decode, text)
  if ok and type(value) == "table" then return value end
  options.fail("--metadata must be a JSON object: " .. (ok and "got " .. type(value) or value.message))
end

local Writer = {}
Writer.__index = Writer

-- A full disk or a closed pipe is an error like any other.
function Writer:write(text)
  local ok, err = self.file:write(text)
  if ok then ok, err = self.file:flush() end
  if not ok then errors.raise("INTERNAL_ERROR", "standard output cannot be written: " .. tostring(err)) end
end

local function consume(stream, out, opts)
  local shown = opts.stream and nil or progress.new(out, opts.terminal)
  for event in stream do
    if opts.stream then out:write(json.encode(event, { invalid_utf8 = "replace" }) .. "\n")
    else shown:event(event) end
  end
  local output = stream:result()
  if not opts.stream then shown:finish(output) end
end

local function execute(argv, take_stdout)
  local given, rest = options.parse(argv, 2, SPEC)
  if given.help then
    io.stdout:write((USAGE:format(argv[0])))
    return 0
  end
  local file, target = rest[1], rest[2]
  if not file or not target or #rest > 3 then
    options.fail("expected FILE TARGET [INPUT]\n" .. USAGE:format(argv[0]):gsub("\n$", ""))
  end
  local timeout_ms = given.timeout and options.duration(given.timeout, "--timeout")
  local metadata = read_metadata(given.metadata)
  local terminal = core.is_terminal(1)
  local out = setmetatable({ file = take_stdout() }, Writer)
  loggers.DEFAULT_LEVEL = "fatal" -- what fails is told in one line, unless HARNESS_LOG_LEVEL asks for more
  local harness <close> = load_file.harness(file)
  local session <close> = harness:session(given.session)
  local target_handle, definition = runnable(harness, session, target)
  local stream = target_handle:stream(read_input(rest[3], definition), { timeout_ms = timeout_ms, metadata = metadata })
  M.running = stream
  consume(stream, out, { stream = given.stream, terminal = terminal })
  return 0
end

local function one_line(err)
  if errors.is(err) then return tostring(err) end
  local text = errors.serialize(err).message
  return (text:gsub("%s*\n.*", ""))
end

---@param argv string[]
---@param native table take_stdout, forgive_interrupt
---@return integer status
function M.main(argv, native)
  local ok, status = pcall(execute, argv, native.take_stdout)
  if ok then return status end
  if options.is_usage_error(status) then
    io.stderr:write(argv[0], ": ", status.message, "\n")
    return 2
  end
  if M.interrupted then
    io.stderr:write(argv[0], ": interrupted\n")
    return 130
  end
  io.stderr:write(argv[0], ": ", one_line(status), "\n")
  return 1
end

--- The first Ctrl-C stops the run and waits for its end.
function M.on_interrupt(t)
  M.interrupted = true
  if M.running then M.running:cancel "interrupted" else t:cancel "interrupted" end
end

return M
