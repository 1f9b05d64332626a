--- Checks the options of a run (`run(input, options)`), before anything is created.

local errors = require "harness.errors"
local json = require "harness.json"
local nearest = require "harness.nearest"
local signals = require "harness.signal"

local M = {}

local KNOWN <const> = {
  "budget", "durable", "history_window", "metadata", "signal", "timeout_ms", "traceparent", "tracestate",
}
local IS_KNOWN <const> = {}
for _, name in ipairs(KNOWN) do IS_KNOWN[name] = true end

local BUDGET <const> = {
  max_total_tokens = true, max_model_calls = true, max_tool_calls = true, max_cost = true, max_wall_ms = true,
}

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

local function check_known(options)
  for name in pairs(options) do
    if not IS_KNOWN[name] then
      local near = type(name) == "string" and nearest.find(name, KNOWN)
      bad(tostring(name), ("there is no such option%s; there are: %s"):format(
        near and (", did you mean %q?"):format(near) or "", table.concat(KNOWN, ", ")))
    end
  end
end

local function check_budget(budget)
  if budget == nil then return end
  if type(budget) ~= "table" then bad("budget", "it must be a table, got " .. type(budget)) end
  for name, value in pairs(budget) do
    if not BUDGET[name] then bad("budget", ("there is no limit %q"):format(tostring(name))) end
    if type(value) ~= "number" or value ~= value or value < 0 then
      bad("budget", name .. " must be a number of at least 0")
    end
  end
end

local function check_metadata(metadata)
  if metadata == nil then return nil end
  if type(metadata) ~= "table" then bad("metadata", "it must be a table, got " .. type(metadata)) end
  local ok, text = pcall(json.encode, metadata)
  if not ok then bad("metadata", "it must be plain data that JSON can hold: " .. text.message) end
  return json.decode(text) -- a copy: what the caller changes later does not reach the run
end

--- Checks the options and returns a copy of them. Raises VALIDATION_ERROR (where "invoke_options"),
--- or OPERATION_CANCELLED (scope "run") when the given signal is aborted already.
---@param options table?
---@param kind "agent"|"workflow"
---@return table
function M.check(options, kind)
  if options == nil then return { } end
  if type(options) ~= "table" then
    errors.raise("VALIDATION_ERROR", "the options of a run must be a table, got " .. type(options),
      { where = "invoke_options", issues = EMPTY })
  end
  check_count(options, "history_window")
  check_count(options, "timeout_ms")
  check_known(options)
  check_budget(options.budget)
  if options.durable ~= nil then
    if kind == "agent" then bad("durable", "agent_run: only a workflow can be durable") end
    bad("durable", "durable runs need a durable storage, which is not available yet")
  end
  local signal = options.signal
  if signal ~= nil and not signals.is(signal) then
    bad("signal", "it must be a signal (abort_controller().signal or ctx.signal), got " .. type(signal))
  end
  local checked = {
    history_window = options.history_window, timeout_ms = options.timeout_ms, signal = signal,
    metadata = check_metadata(options.metadata), budget = options.budget,
    traceparent = options.traceparent, tracestate = options.tracestate,
  }
  if signal and signal.aborted then
    errors.raise("OPERATION_CANCELLED", "the run was not started: its signal was aborted before", { scope = "run" },
      signal.reason)
  end
  return checked
end

return M
