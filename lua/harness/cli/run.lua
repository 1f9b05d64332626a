--- harness-lua run FILE TARGET [INPUT]: runs one agent or workflow of the harness that FILE returns.

local chat_input = require "harness.cli.chat_input"
local commands = require "harness.cli.command"
local consent = require "harness.cli.consent"
local json = require "harness.json"
local load_file = require "harness.cli.load"
local loggers = require "harness.logger"
local options = require "harness.cli.options"
local progress = require "harness.cli.progress"
local targets = require "harness.cli.target"

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

local running -- the stream of the run

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
  if targets.takes_string(definition) then return text end
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

local function execute(given, rest, out, native)
  local options_of_run = {
    timeout_ms = given.timeout and options.duration(given.timeout, "--timeout"),
    metadata = read_metadata(given.metadata),
    durable = given.durable and { run_id = given.durable },
  }
  local live = given.progress or out:is_terminal()
  native.stop_on_terminate()
  loggers.DEFAULT_LEVEL = "fatal" -- what fails is told in one line, unless HARNESS_LOG_LEVEL asks for more
  local harness <close> = load_file.harness(rest[1])
  local kind, definition = targets.find(harness.definition, rest[2])
  local input = read_input(rest[3], definition, native)
  if live then consent.offer(harness, chat_input.questions(native, out)) end
  local session <close> = harness:session(given.session)
  local target = session[kind][rest[2]]
  local stream = target:stream(input, options_of_run)
  running = stream
  if given.stream then show_events(stream, out) else show_progress(stream, out, live) end
  return 0
end

return commands.new {
  usage = USAGE,
  expected = "FILE TARGET [INPUT]",
  options = {
    session = "value", stream = "flag", progress = "flag", timeout = "value", metadata = "value", durable = "value",
  },
  fits = function(rest) return #rest == 2 or #rest == 3 end,
  execute = execute,
  -- The first Ctrl-C stops the run and waits for its end.
  on_interrupt = function(t)
    if running then running:cancel "interrupted" else commands.stop(t) end
  end,
}
