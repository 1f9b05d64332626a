--- harness-lua run FILE TARGET [INPUT]: runs one agent or workflow of the harness that FILE returns.

local chat_input = require "harness.cli.chat_input"
local consent = require "harness.cli.consent"
local failure = require "harness.cli.failure"
local json = require "harness.json"
local load_file = require "harness.cli.load"
local loggers = require "harness.logger"
local nearest = require "harness.nearest"
local options = require "harness.cli.options"
local output = require "harness.cli.output"
local progress = require "harness.cli.progress"

local M = {}

local USAGE <const> = [=[
usage: %s run FILE TARGET [INPUT] [options]
  FILE returns a harness, TARGET is one of its agents or workflows
  INPUT is text where TARGET takes a string, else JSON; - reads standard input
  --session ID      run in this session (default: a new one)
  --stream          write the events to standard output, as JSON Lines
  --progress        show text and tools as they come, as on a terminal
  --timeout TIME    500ms, 30s, 2m, 1h
  --metadata JSON   an object that handlers see as ctx.metadata
  --durable RUN_ID  of a workflow: go on where a run of that id has stopped
]=]

local SPEC <const> = {
  session = "value", stream = "flag", progress = "flag", timeout = "value", metadata = "value", durable = "value",
  help = "flag",
}

local function unknown_target(definition, target)
  local names = {}
  for id in pairs(definition.agents) do names[#names + 1] = id end
  for id in pairs(definition.workflows) do names[#names + 1] = id end
  table.sort(names)
  local meant = nearest.find(target, names)
  local hint = "there are: " .. (#names > 0 and table.concat(names, ", ") or "none")
  if meant then hint = ("did you mean %q?"):format(meant) end
  options.fail(("there is no agent or workflow %q; %s"):format(target, hint))
end

-- Is it an agent or a workflow, and what is its definition?
local function find_target(definition, target)
  for _, kind in ipairs { "agents", "workflows" } do
    if definition[kind][target] then return kind, definition[kind][target] end
  end
  unknown_target(definition, target)
end

--- Does the agent or workflow take text?
---@param definition table
---@return boolean
function M.takes_string(definition)
  if not definition.input then return false end
  local schema = require("harness.schema").to_json_schema(definition.input)
  return type(schema) == "table" and schema.type == "string"
end

-- While it waits for input nothing is under way that would have to be stopped.
local function read_stdin(native)
  native.leave_on_interrupt()
  local text, problem = io.read "a"
  native.forgive_interrupt()
  return text or options.fail("standard input cannot be read: " .. tostring(problem))
end

local function read_input(given, definition, native)
  if given == nil then
    if not definition.input then return nil end
    options.fail "INPUT is missing (- reads standard input)"
  end
  local text = given == "-" and read_stdin(native) or given
  if M.takes_string(definition) then return text end
  local ok, value = pcall(json.decode, text)
  if ok then return value end
  if not definition.input then return text end -- a workflow without a schema takes either
  options.fail("INPUT must be JSON for this target: " .. value.message)
end

local function read_metadata(text)
  if not text then return nil end
  local ok, value = pcall(json.decode, text)
  if not ok then options.fail("--metadata must be a JSON object: " .. value.message) end
  if not text:find "^%s*{" then options.fail("--metadata must be a JSON object, got " .. text) end
  return value
end

local function show_events(stream, out)
  for event in stream do out:write(json.encode(event, { invalid_utf8 = "replace" }) .. "\n") end
end

local function show_progress(stream, out, live)
  local shown <close> = progress.new(out, live)
  for event in stream do shown:event(event) end
  shown:finish(stream:result())
end

local function parse(argv)
  local given, rest = options.parse(argv, 2, SPEC)
  if given.help then return given end
  if #rest < 2 or #rest > 3 then
    options.fail_with_usage("expected FILE TARGET [INPUT]", USAGE:format(argv[0]))
  end
  given.file, given.target, given.input = rest[1], rest[2], rest[3]
  given.timeout_ms = given.timeout and options.duration(given.timeout, "--timeout")
  given.metadata = read_metadata(given.metadata)
  return given
end

local function execute(argv, native)
  local given = parse(argv)
  local out = output.take(native)
  local live = given.progress or out:is_terminal()
  if given.help then
    out:write(USAGE:format(argv[0]))
    return 0
  end
  native.stop_on_terminate()
  loggers.DEFAULT_LEVEL = "fatal" -- what fails is told in one line, unless HARNESS_LOG_LEVEL asks for more
  local harness <close> = load_file.harness(given.file)
  local kind, definition = find_target(harness.definition, given.target)
  local input = read_input(given.input, definition, native)
  if live then consent.offer(harness, chat_input.questions(native, out)) end
  local session <close> = harness:session(given.session)
  local target = session[kind][given.target]
  local stream = target:stream(input, {
    timeout_ms = given.timeout_ms, metadata = given.metadata, durable = given.durable and { run_id = given.durable },
  })
  M.running = stream
  if given.stream then show_events(stream, out) else show_progress(stream, out, live) end
  return 0
end

---@param argv string[]
---@param native harness.cli.Native
---@return integer status
function M.main(argv, native)
  return failure.guard(argv, native, function() return execute(argv, native) end)
end

--- The first Ctrl-C stops the run and waits for its end.
---@param t harness.Task
function M.on_interrupt(t)
  if M.running then M.running:cancel "interrupted" else t:cancel "interrupted" end
end

return M
