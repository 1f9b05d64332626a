--- Telemetry: spans and metrics for whoever listens, and nothing at all when nobody does.
---
---   local tel = telemetry.new{ listener = recorder.new() }
---   local span <close> = tel:span(telemetry.tool_span(id), { ["harness.tool.id"] = id }, parent)
---   span:set("harness.tool.call_id", "call_1")
---   tel:counter(telemetry.METRIC.run_errors, 1, { ["error.type"] = "MODEL_ERROR" })
---
--- A span ends by span:finish(err), or by the end of the scope of its to-be-closed variable.
---
--- Without a listener `tel.enabled` is false, every span is one shared object and every call returns at
--- once; where building attributes costs something, ask `enabled` first. There is no current span: tasks
--- run side by side, so a parent is always named.
---
--- A listener is a table of plain functions, each optional: on_span_start(span), on_span_end(record),
--- on_metric(metric). What they raise is counted (tel.listener_errors), told once to the logger, and harms
--- no run.

local errors = require "harness.errors"
local names = require "harness.telemetry_names"
local redact = require "harness.redact"
local trace_context = require "harness.trace_context"

local M = {
  SPAN = names.SPAN, METRIC = names.METRIC, ATTRIBUTE = names.ATTRIBUTE, OPERATION = names.OPERATION,
  KIND = names.KIND, INSTRUMENT = names.INSTRUMENT,
  agent_span = names.agent_span, model_span = names.model_span, tool_span = names.tool_span,
  parse = trace_context.parse, format = trace_context.format,
}

local ATTRIBUTE <const> = names.ATTRIBUTE

--- What a listener may have.
M.LISTENER = { "on_metric", "on_span_end", "on_span_start" }

-- Attributes --------------------------------------------------------------------------------------

-- Which names a flavor leaves out.
local OPENINFERENCE = {
  "^llm%.", "^tool%.", "^retrieval%.", "^embedding%.", "^reranker%.", "^guardrail%.", "^evaluator%.",
  "^openinference%.span%.kind$", "^input%.value$", "^output%.value$",
}
local LEFT_OUT = { dual = {}, gen_ai_only = OPENINFERENCE, openinference_only = { "^gen_ai%." } }

--- Which attributes are given out: both conventions, or one of them.
M.FLAVORS = { "dual", "gen_ai_only", "openinference_only" }

local function is_left_out(flavor, name)
  for _, pattern in ipairs(LEFT_OUT[flavor]) do
    if name:find(pattern) then return true end
  end
  return false
end

local function is_finite(n)
  return n == n and n ~= math.huge and n ~= -math.huge
end

local function safe_list(list)
  local out = {}
  for i, item in ipairs(list) do
    if type(item) ~= "string" then return nil end
    out[i] = redact.value(item)
  end
  return out
end

-- The value as an attribute: string, finite number, boolean or list of strings; nil for the rest.
local function safe_attribute(name, value)
  if redact.is_secret_key(name) then return redact.MARK end
  local kind = type(value)
  if kind == "string" then return redact.value(value) end
  if kind == "boolean" then return value end
  if kind == "number" then return is_finite(value) and value or nil end
  if kind == "table" then return safe_list(value) end
  return nil
end

local function add_attributes(flavor, target, attributes)
  for name, value in pairs(attributes or {}) do
    if type(name) == "string" and not is_left_out(flavor, name) then
      target[name] = safe_attribute(name, value)
    end
  end
  return target
end

-- Errors in attributes, from the meta of our errors: attribute -> meta key.
local ERROR_TEXTS = {
  [ATTRIBUTE.error_scope] = "scope",
  [ATTRIBUTE.error_provider] = "provider",
  [ATTRIBUTE.error_model] = "model",
  [ATTRIBUTE.error_provider_code] = "provider_code",
  [ATTRIBUTE.error_provider_type] = "provider_type",
  [ATTRIBUTE.error_provider_param] = "provider_param",
  [ATTRIBUTE.error_provider_request_id] = "provider_request_id",
  [ATTRIBUTE.error_provider_message] = "provider_message",
}
local ERROR_NUMBERS = {
  [ATTRIBUTE.error_timeout_ms] = "timeout_ms",
  [ATTRIBUTE.error_provider_status] = "status",
}
local MAX_BODY <const> = 8000

local function body_text(body)
  if body == nil then return nil end
  if type(body) == "string" then return redact.cut(redact.text(body), MAX_BODY) end
  local json = require("harness.core").json
  return redact.cut(json.encode(redact.provider_body(body), { invalid_utf8 = "replace" }), MAX_BODY)
end

---The attributes that describe an error on a span (`error.type` alone is for metrics).
---@param err any
---@return table<string, string|number|boolean>
function M.error_attributes(err)
  local plain = errors.serialize(err)
  local out = {
    [ATTRIBUTE.error_type] = plain.code,
    [ATTRIBUTE.error_code] = plain.code,
    [ATTRIBUTE.error_category] = plain.category,
    [ATTRIBUTE.error_retriable] = plain.retriable,
  }
  local meta = errors.is(err) and err.meta or {}
  for name, key in pairs(ERROR_TEXTS) do
    if type(meta[key]) == "string" and meta[key] ~= "" then out[name] = meta[key] end
  end
  for name, key in pairs(ERROR_NUMBERS) do
    if type(meta[key]) == "number" and is_finite(meta[key]) then out[name] = meta[key] end
  end
  out[ATTRIBUTE.error_provider_body] = body_text(meta.provider_body)
  return out
end

---What of a run's metadata goes on its spans, as harness.metadata.<key>: short strings, finite numbers
---and booleans under plain keys.
---@param metadata table?
---@return table<string, string|number|boolean>
function M.metadata_attributes(metadata)
  local out = {}
  for key, value in pairs(metadata or {}) do
    local plain_key = type(key) == "string" and #key <= 64 and key:find("^%a[%w_.-]*$")
    local kind = type(value)
    local fits = kind == "boolean" or kind == "string" and #value <= 256
      or kind == "number" and is_finite(value)
    if plain_key and fits then out[ATTRIBUTE.metadata_prefix .. key] = value end
  end
  return out
end

-- Nobody listens ----------------------------------------------------------------------------------

local function nothing() end

local NO_SPAN = { set = nothing, set_all = nothing, event = nothing, finish = nothing, traceparent = nothing }
NO_SPAN.__index = NO_SPAN
NO_SPAN.__close = nothing
local no_span = setmetatable({}, NO_SPAN)

local NO_METRICS <const> = {
  counter = nothing,
  histogram = nothing,
  duration = function(_, _, attributes, fn) return (fn or attributes)() end,
}

---@class harness.Telemetry
---@field enabled boolean whether anybody listens
---@field store_content boolean whether stored events keep inputs and outputs
---@field listener_errors integer
local Off = { counter = nothing, histogram = nothing }
Off.__index = Off

function Off.span() return no_span end

function Off.metrics() return NO_METRICS end

--- Telemetry that is off.
M.NOOP = setmetatable({ enabled = false, store_content = false, listener_errors = 0 }, Off)

-- Spans -------------------------------------------------------------------------------------------

local On = {}
On.__index = On

local function tell(self, hook, value)
  local fn = self.listener[hook]
  if fn == nil then return end
  local ok, err = pcall(fn, value)
  if ok then return end
  self.listener_errors = self.listener_errors + 1
  if self.listener_errors > 1 or not self.logger then return end
  self.logger:error("a telemetry listener raised; what it raises is counted and ignored",
    { listener = hook, error = errors.serialize(err) })
end

---@class harness.Span
---@field name string
---@field trace_id string
---@field span_id string
---@field parent_span_id string?
---@field flags string
---@field tracestate string?
---@field attributes table<string, any>
local Span = {}
Span.__index = Span

---Sets an attribute: string, finite number, boolean or list of strings; others are dropped. Secrets are
---masked, strings cut at 4000 bytes. After the end of the span nothing happens.
---@param name string
---@param value any
function Span:set(name, value)
  if self.finished or is_left_out(self.telemetry.flavor, name) then return end
  self.attributes[name] = safe_attribute(name, value)
end

---@param attributes table<string, any>
function Span:set_all(attributes)
  if self.finished then return end
  add_attributes(self.telemetry.flavor, self.attributes, attributes)
end

---Notes that something happened within the span.
---@param name string
---@param attributes table<string, any>?
function Span:event(name, attributes)
  if self.finished then return end
  self.events[#self.events + 1] = {
    name = name,
    at_ms = self:elapsed_ms() + self.start_ms,
    attributes = add_attributes("dual", {}, attributes),
  }
end

---@return number
function Span:elapsed_ms()
  return (self.telemetry.now_us() - self.start_us) / 1000
end

---The `traceparent` that makes this span the parent of what another process does.
---@return string
function Span:traceparent()
  return trace_context.format(self)
end

---Ends the span, once. With an error its status is "error" and its attributes say which.
---@param err any nil or false: all went well
function Span:finish(err)
  if self.finished then return end
  local status = { code = "ok" }
  if err then
    self:set_all(M.error_attributes(err))
    local message = errors.serialize(err).message
    self:event("exception", { ["exception.type"] = self.attributes[ATTRIBUTE.error_type],
      ["exception.message"] = message })
    status = { code = "error", message = message }
  end
  self.finished = true
  local elapsed_ms = self:elapsed_ms()
  tell(self.telemetry, "on_span_end", {
    name = self.name, trace_id = self.trace_id, span_id = self.span_id, parent_span_id = self.parent_span_id,
    flags = self.flags, tracestate = self.tracestate, attributes = self.attributes, events = self.events,
    status = status, start_ms = self.start_ms, end_ms = self.start_ms + elapsed_ms, duration_ms = elapsed_ms,
  })
end

Span.__close = Span.finish

---Begins a span.
---@param name string
---@param attributes table<string, any>?
---@param parent harness.Span|harness.TraceContext|nil none: the root of a new trace
---@return harness.Span
function On:span(name, attributes, parent)
  local trace_id = parent and parent.trace_id
  local span = setmetatable({
    telemetry = self,
    name = name,
    trace_id = trace_id or trace_context.new_id(self.random, 16),
    span_id = trace_context.new_id(self.random, 8),
    parent_span_id = trace_id and parent.span_id or nil,
    flags = trace_id and parent.flags or "01",
    tracestate = trace_id and parent.tracestate or nil,
    attributes = add_attributes(self.flavor, {}, attributes),
    events = {},
    start_ms = self.now_ms(),
    start_us = self.now_us(),
  }, Span)
  tell(self, "on_span_start", span)
  return span
end

-- Metrics -----------------------------------------------------------------------------------------

local function record(self, kind, name, value, attributes)
  if type(value) ~= "number" or not is_finite(value) then
    error(("the value of metric %s must be a finite number"):format(name), 3)
  end
  local instrument = names.INSTRUMENT[name]
  tell(self, "on_metric", {
    kind = kind,
    name = name,
    unit = instrument and instrument.unit or "1",
    value = value,
    attributes = add_attributes(self.flavor, {}, attributes),
    at_ms = self.now_ms(),
  })
end

---Adds to a counter.
---@param name string
---@param value number? default 1
---@param attributes table<string, any>?
function On:counter(name, value, attributes)
  record(self, "counter", name, value or 1, attributes)
end

---Records a value in a histogram. Durations are in seconds.
---@param name string
---@param value number
---@param attributes table<string, any>?
function On:histogram(name, value, attributes)
  record(self, "histogram", name, value, attributes)
end

-- The helper that contexts carry: the same instruments with attributes of their own.
---@class harness.Metrics
local Metrics = {}
Metrics.__index = Metrics

local function with_defaults(self, attributes)
  if next(self.defaults) == nil then return attributes end
  local all = {}
  for name, value in pairs(self.defaults) do all[name] = value end
  for name, value in pairs(attributes or {}) do all[name] = value end
  return all
end

---@param name string
---@param value number? default 1
---@param attributes table<string, any>?
function Metrics:counter(name, value, attributes)
  self.telemetry:counter(name, value, with_defaults(self, attributes))
end

---@param name string
---@param value number
---@param attributes table<string, any>?
function Metrics:histogram(name, value, attributes)
  self.telemetry:histogram(name, value, with_defaults(self, attributes))
end

local Timer = {}

function Timer.__close(timer, err)
  local attributes = with_defaults(timer.metrics, timer.attributes)
  if err ~= nil then
    local failed = { [ATTRIBUTE.error_type] = errors.serialize(err).code }
    attributes = with_defaults({ defaults = attributes or {} }, failed)
  end
  local telemetry = timer.metrics.telemetry
  telemetry:histogram(timer.name, (telemetry.now_us() - timer.start_us) / 1e6, attributes)
end

---Runs fn and records how long it took, in seconds, also when it fails. Returns what fn returns.
---@param name string
---@param attributes table<string, any>? may be left out: duration(name, fn)
---@param fn function
function Metrics:duration(name, attributes, fn)
  if fn == nil then attributes, fn = nil, attributes end
  local _ <close> = setmetatable({
    metrics = self, name = name, attributes = attributes, start_us = self.telemetry.now_us(),
  }, Timer)
  return fn()
end

---The metrics helper of a context.
---@param defaults table<string, any>? attributes of everything it records; a call's own win
---@return harness.Metrics
function On:metrics(defaults)
  local own = {}
  for name, value in pairs(defaults or {}) do own[name] = value end
  return setmetatable({ telemetry = self, defaults = own }, Metrics)
end

-- Making ------------------------------------------------------------------------------------------

---@class harness.TelemetryOptions
---@field listener? table on_span_start, on_span_end, on_metric; without it telemetry is off
---@field store_content? boolean default false
---@field flavor? "dual"|"gen_ai_only"|"openinference_only" default "dual"
---@field logger? harness.Logger told of the first error of a listener
---@field now_ms? fun(): number since the epoch; default: the engine's clock
---@field now_us? fun(): number monotonic; default: the engine's clock
---@field random? fun(count: integer): string random bytes; default: the kernel's

---@param options? harness.TelemetryOptions
---@return harness.Telemetry
function M.new(options)
  options = options or {}
  local store_content = options.store_content == true
  if options.listener == nil then
    if not store_content then return M.NOOP end
    return setmetatable({ enabled = false, store_content = true, listener_errors = 0 }, Off)
  end
  return setmetatable({
    enabled = true,
    store_content = store_content,
    listener_errors = 0,
    listener = options.listener,
    flavor = options.flavor or "dual",
    logger = options.logger,
    now_ms = options.now_ms or require("harness.core").wall_ms,
    now_us = options.now_us or require("harness.core").now_us,
    random = options.random or trace_context.random_source(),
  }, On)
end

return M
