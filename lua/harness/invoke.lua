--- Checks the options of a run (`run(input, options)`), before anything is created.

local definition_budget = require "harness.definition_budget"
local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local json = require "harness.json"
local nearest = require "harness.nearest"
local signals = require "harness.signal"

local M = {}

local KNOWN <const> = {
  "budget", "durable", "history_window", "metadata", "signal", "timeout_ms", "traceparent", "tracestate",
}
local IS_KNOWN <const> = {}
for _, name in ipairs(KNOWN) do IS_KNOWN[name] = true end

local EMPTY <const> = {}

local function bad(name, message)
  errors.raise("VALIDATION_ERROR", ("option %s: %s"):format(name, message),
    { where = "invoke_options", issues = { [name] = message } })
end

local function check_count(options, name)
  local value = options[name]
  if value == nil then return end
  if math.type(value) ~= "integer" or value < 0 then
    bad(name, "it must be an integer of at least 0, got " .. tostring(value))
  end
end

local function check_known(options, known)
  for name in pairs(options) do
    if not IS_KNOWN[name] then
      local near = type(name) == "string" and nearest.find(name, known)
      bad(tostring(name), ("there is no such option%s; there are: %s"):format(
        near and (", did you mean %q?"):format(near) or "", table.concat(known, ", ")))
    end
  end
end

-- The rules are those of a definition.
local function check_budget(budget)
  if budget == nil then return nil end
  local problems = fields.problems()
  local clean = definition_budget(problems, { "budget" }, budget)
  local first = problems:list()[1]
  if first then bad("budget", first.message) end
  return clean
end

local function check_metadata(metadata)
  if metadata == nil then return nil end
  if type(metadata) ~= "table" then bad("metadata", "it must be a table, got " .. type(metadata)) end
  local ok, text = pcall(json.encode, metadata)
  if not ok then bad("metadata", "it must be plain data that JSON can hold: " .. text.message) end
  return json.decode(text) -- a copy: what the caller changes later does not reach the run
end

local function check_table(options)
  if type(options) == "table" then return end
  errors.raise("VALIDATION_ERROR", "the options of a run must be a table, got " .. type(options),
    { where = "invoke_options", issues = EMPTY })
end

-- What the options of a run and of a nested agent have in common, as a copy.
local function check_common(options, known)
  check_count(options, "history_window")
  check_count(options, "timeout_ms")
  check_known(options, known)
  local signal = options.signal
  if signal ~= nil and not signals.is(signal) then
    bad("signal", "it must be a signal (abort_controller().signal or ctx.signal), got " .. type(signal))
  end
  return {
    history_window = options.history_window, timeout_ms = options.timeout_ms, signal = signal,
    metadata = check_metadata(options.metadata), budget = check_budget(options.budget),
  }
end

local function check_not_aborted(signal, what, scope)
  if not signal or not signal.aborted then return end
  errors.raise("OPERATION_CANCELLED", ("%s was not started: its signal was aborted before"):format(what),
    { scope = scope }, signal.reason)
end

--- Checks the options and returns a copy of them. Raises VALIDATION_ERROR (where "invoke_options"),
--- or OPERATION_CANCELLED (scope "run") when the given signal is aborted already.
---@param options table?
---@param kind "agent"|"workflow"
---@return table
function M.check(options, kind)
  if options == nil then return {} end
  check_table(options)
  local checked = check_common(options, KNOWN)
  if options.durable ~= nil then
    if kind == "agent" then bad("durable", "agent_run: only a workflow can be durable") end
    bad("durable", "durable runs need a durable storage, which is not available yet")
  end
  checked.traceparent, checked.tracestate = options.traceparent, options.tracestate
  check_not_aborted(checked.signal, "the run", "run")
  return checked
end

local OF_THE_RUN <const> = { "durable", "traceparent", "tracestate" }
local NESTED <const> = { "budget", "history_window", "metadata", "signal", "timeout_ms" }

--- The same for an agent that a workflow calls. What belongs to the run as a whole is refused.
---@param options table?
---@return table
function M.check_nested(options)
  if options == nil then return EMPTY end
  check_table(options)
  local checked = check_common(options, NESTED)
  for _, name in ipairs(OF_THE_RUN) do
    if options[name] ~= nil then bad(name, "it belongs to the run; a nested agent is part of its workflow's") end
  end
  check_not_aborted(checked.signal, "the agent", "agent")
  return checked
end

return M
