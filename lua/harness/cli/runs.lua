--- harness-lua runs FILE [SESSION]: what has run, out of the harness's storage; `show RUN_ID` one of it.

local commands = require "harness.cli.command"
local json = require "harness.json"
local load_file = require "harness.cli.load"
local options = require "harness.cli.options"
local output = require "harness.cli.output"

local USAGE <const> = [=[
usage: %s runs FILE [SESSION] [--limit N] [--json]
       %s runs FILE show RUN_ID [--json]
  FILE returns a harness with a storage that is kept
  --limit N         the newest N runs (default 50)
  --json            as JSON Lines
]=]

local DEFAULT_LIMIT <const> = 50

local function line_of(run)
  local target = ("%s %s"):format(run.kind, run.target)
  return ("%-27s %-10s %-24s %-24s %s"):format(run.id, run.status, target, run.started_at, run.session_id)
end

local function list(harness, out, given, session_id)
  local limit = given.limit and (math.tointeger(tonumber(given.limit)) or -1) or DEFAULT_LIMIT
  if limit < 1 then options.fail("--limit must be a whole number above 0, got " .. given.limit) end
  local runs = harness.storage:list_runs { harness = harness.name, session_id = session_id, limit = limit }
  for _, run in ipairs(runs) do
    out:write((given.json and json.encode(run) or output.printable(line_of(run))) .. "\n")
  end
  if #runs > 0 or given.json then return end
  local in_memory = harness:inspect().adapters[1].id == "memory"
  io.stderr:write(in_memory and "There are no runs: the storage is in memory, and knows of none of another process.\n"
    or "There are no runs.\n")
end

local function show(harness, out, given, run_id)
  local run = harness.storage:get_run(run_id)
  if not run then options.fail(("there is no run %q"):format(run_id)) end
  if given.json then out:write(json.encode(run) .. "\n") else out:write(json.encode(run, { pretty = true }) .. "\n") end
  for _, event in ipairs(harness.storage:list_events(run_id)) do
    local text = ("%5d %s %-16s %s"):format(event.seq, event.at, event.type, json.encode(event.payload))
    out:write((given.json and json.encode(event) or output.printable(text)) .. "\n")
  end
end

local function execute(given, rest, out)
  local harness <close> = load_file.harness(rest[1])
  if rest[2] == "show" then show(harness, out, given, rest[3]) else list(harness, out, given, rest[2]) end
  return 0
end

return commands.new {
  usage = USAGE,
  expected = "FILE [SESSION] or FILE show RUN_ID",
  options = { limit = "value", json = "flag" },
  fits = function(rest)
    if rest[2] == "show" then return #rest == 3 end
    return #rest == 1 or #rest == 2
  end,
  execute = execute,
}
