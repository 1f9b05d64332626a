--- One model call: capabilities, defaults, deadline, retry, fallback, events, usage.
---
--- A provider maps one request to one reply and knows nothing of this:
---     provider:generate(request, on_event) -> reply          (may wait; raises MODEL_ERROR)
--- request: { model, messages, tools?, schema?, schema_name?, tool_choice?, options, provider_options,
---            stream, call_id }
--- reply:   { text?, object?, tool_calls? = {{id, name, arguments}}, finish_reason, usage?, provider? }
--- on_event("delta" | "reasoning", text) for what a model says while it speaks.
---
--- Only this layer retries (design 06): before the first delta was delivered, for errors that are
--- retriable, with full jitter, within a budget of attempts and of time.

local budget = require "harness.budget"
local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"
local throttle = require "harness.throttle"

local M = {}

local MAX_ATTEMPTS <const> = 3
local MIN_DELAY_MS <const> = 500
local MAX_DELAY_MS <const> = 8000
local MAX_SERVER_DELAY_MS <const> = 20000 -- a server that asks for more gets the error reported instead
local RETRY_BUDGET_MS <const> = 60000

local EMPTY <const> = {}

-- The operations that are no conversation: the provider's method, and what it needs.
local NEEDS <const> = { embed = "embeddings", rerank = "rerank" }

local PART_CAPABILITY <const> = { image = "vision_input", audio = "audio_input", file = "file_input" }

local function missing(alias, capability)
  errors.raise("MODEL_CAPABILITY_ERROR", ("model alias %q has not the capability %q; its capabilities are: %s"):format(
    alias.id, capability, table.concat(alias.capability_list, ", ")),
    { alias = alias.id, method = capability, reason = "missing_capability" })
end

local function missing_method(alias, method)
  errors.raise("MODEL_CAPABILITY_ERROR", ("the provider %q of model alias %q has no method %q"):format(
    alias.provider.id, alias.id, method), { alias = alias.id, method = method, reason = "method_missing" })
end

-- Checked before anything reaches the provider, in the order of reference B, MOD-1.
local function check_capabilities(alias, method, request)
  local has = alias.capabilities
  local needed = NEEDS[method] or method
  if not has[needed] then missing(alias, needed) end
  local messages = request.messages
  if not messages then return end
  if request.tools and #request.tools > 0 and not has.tool_use then missing(alias, "tool_use") end
  if has.vision_input and has.audio_input and has.file_input then return end
  for i = 1, #messages do
    local content = messages[i].content
    if type(content) == "table" then
      for _, part in ipairs(content) do
        local capability = PART_CAPABILITY[part.type]
        if capability and not has[capability] then missing(alias, capability) end
      end
    end
  end
end

-- Alias defaults overlaid by the call's options; provider_options are merged one level deep.
local function merge(base, over)
  if not over or next(over) == nil then return base or EMPTY end
  if not base or next(base) == nil then return over end
  local merged = {}
  for key, value in pairs(base) do merged[key] = value end
  for key, value in pairs(over) do merged[key] = value end
  return merged
end

local function wire_request(alias, method, call)
  if NEEDS[method] then
    return {
      model = alias.model, method = method, input = call.input, dimensions = call.dimensions, query = call.query,
      documents = call.documents, top_n = call.top_n, call_id = call.call_id,
      provider_options = merge(alias.provider_options, call.provider_options),
    }
  end
  local defaults, options = alias.defaults or EMPTY, call.options
  local provider_options = alias.provider_options
  if defaults.provider_options then provider_options = merge(provider_options, defaults.provider_options) end
  if options and options.provider_options then provider_options = merge(provider_options, options.provider_options) end
  return {
    model = alias.model, method = method, messages = call.messages, count = #call.messages, tools = call.tools,
    schema = call.schema, schema_name = call.schema_name, tool_choice = call.tool_choice,
    options = merge(defaults, options), provider_options = provider_options or EMPTY,
    stream = call.stream and method ~= "text",
    call_id = call.call_id,
  }
end

local USAGE <const> = {
  "input_tokens", "output_tokens", "total_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens",
}

-- What is wrong with a reply of somebody's provider, in words; nil when nothing is.
local function reply_problem(reply)
  if type(reply) ~= "table" then return "it returned " .. type(reply) .. ", not a table" end
  if reply.text ~= nil and type(reply.text) ~= "string" then return "`text` is a " .. type(reply.text) end
  local usage, calls = reply.usage, reply.tool_calls
  if usage ~= nil and type(usage) ~= "table" then return "`usage` is a " .. type(usage) end
  for _, field in ipairs(usage and USAGE or EMPTY) do
    local n = usage[field]
    if n ~= nil and type(n) ~= "number" then return ("`usage.%s` is a %s"):format(field, type(n)) end
  end
  if calls == nil then return nil end
  if type(calls) ~= "table" or #calls == 0 and next(calls) ~= nil then return "`tool_calls` is no list" end
  for i, call in ipairs(calls) do
    if type(call) ~= "table" then return ("`tool_calls[%d]` is a %s"):format(i, type(call)) end
    if type(call.name) ~= "string" then return ("`tool_calls[%d].name` is a %s"):format(i, type(call.name)) end
    local arguments = call.arguments
    if arguments ~= nil and type(arguments) ~= "table" then
      return ("`tool_calls[%d].arguments` is a %s"):format(i, type(arguments))
    end
  end
end

-- The reply of a provider that is not ours, checked, and a table of our own: the provider may give the
-- same one each time.
local function checked_reply(reply, provider, alias, method)
  local problem = reply_problem(reply)
  if problem then
    return false, errors.new("MODEL_ERROR", ("provider %q gave a reply that is none: %s"):format(provider.id, problem),
      { provider = provider.id, model = alias.model, method = method, reason = "malformed_response" })
  end
  local own, calls = {}, reply.tool_calls
  for key, value in pairs(reply) do own[key] = value end
  if not calls then return true, own end
  own.tool_calls = {}
  for i, call in ipairs(calls) do
    own.tool_calls[i] = {
      id = call.id, name = call.name, arguments = call.arguments or {}, invalid_arguments = call.invalid_arguments,
    }
  end
  return true, own
end

-- Like pcall. Code that is not ours may swallow an abort: it gets a task that can be ended by force.
local function generate(alias, request, on_event, timeout_ms)
  local provider, method = alias.provider, request.method
  local perform = provider[NEEDS[method] and method or "generate"]
  if provider.cooperative then return task.deadline(timeout_ms, "model", perform, provider, request, on_event) end
  local options = timeout_ms > 0 and { timeout_ms = timeout_ms, scope = "model" } or EMPTY
  local ok, reply = pcall(task.join, task.make(options, perform, provider, request, on_event))
  if not ok then return false, reply end
  return checked_reply(reply, provider, alias, method)
end

local function is_retriable(err)
  if not errors.is(err) then return false end
  if err.code == "OPERATION_TIMEOUT" then return err.meta.scope == "model" end
  return err.code == "MODEL_ERROR" and err.retriable
end

local function asked_delay(err)
  local asked = err.meta.retry_after_ms
  return type(asked) == "number" and asked == asked and asked or nil
end

-- How long to wait before the next attempt, or nil when there is to be none (reference B 6.7).
local function retry_delay(err, attempt, started_ms)
  if attempt >= MAX_ATTEMPTS or not is_retriable(err) then return nil end
  local asked = asked_delay(err)
  if asked and asked > MAX_SERVER_DELAY_MS then return nil end
  local jitter = math.random(0, math.min(MAX_DELAY_MS, MIN_DELAY_MS << (attempt - 1)))
  local delay = asked and math.max(asked, 0) or jitter
  if core.now_ms() - started_ms + delay > RETRY_BUDGET_MS then return nil end
  return math.ceil(delay)
end

local function model_error(err, provider, alias, method)
  if errors.is(err) then return err end
  return errors.new("MODEL_ERROR", ("provider %q failed: %s"):format(provider.id, errors.serialize(err).message),
    { provider = provider.id, model = alias.model, method = method, reason = "provider_failed" }, err)
end

-- A provider that asked for a long pause is not asked before its end: the call fails as it would there.
local function paused(provider, alias, method, pause_ms)
  return errors.new("MODEL_ERROR", ("provider %q has said that it gets too many requests, and asked for a pause; "
    .. "%d s of it are left"):format(provider.id, pause_ms // 1000), { provider = provider.id, model = alias.model,
    method = method, status = 429, reason = "http_error", retry_after_ms = pause_ms })
end

-- All attempts with one alias. Returns the reply, or nil, the error and whether a delta had been delivered.
local function call_alias(run, who, alias, method, request, on_event)
  local provider, started_ms = alias.provider, core.now_ms()
  local delivered = false
  local function deliver(kind, text)
    delivered = true
    return on_event(kind, text)
  end
  local wire = wire_request(alias, method, request)
  for attempt = 1, MAX_ATTEMPTS do
    local pause_ms = throttle.wait(provider, alias.model)
    if pause_ms then return nil, paused(provider, alias, method, pause_ms), delivered end
    local ok, reply = generate(alias, wire, on_event and deliver, run.definition.defaults.model_timeout_ms)
    if ok then return reply end
    local err = model_error(reply, provider, alias, method)
    task.check() -- the run itself may have been stopped: that reason goes first
    local delay = not delivered and retry_delay(err, attempt, started_ms) or nil
    if err.code == "MODEL_ERROR" and err.meta.status == 429 then
      throttle.hold(provider, alias.model, asked_delay(err))
    end
    if not delay then return nil, err, delivered end
    run:emit("model.retry", who.agent_id, who.invocation_id, alias.id, request.call_id, attempt, delay,
      errors.serialize(err))
    task.sleep(delay)
  end
end

local function cost_of(prices, usage)
  if not usage then return nil end
  local cached, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
  local plain, input = math.max((usage.input_tokens or 0) - cached - written, 0), prices.input or 0
  local cost = plain * input + cached * (prices.cached_input or input) + written * (prices.cache_write or input)
    + (usage.output_tokens or 0) * (prices.output or 0)
  return cost / 1000000 -- prices are for a million tokens
end

local function completed(run, who, alias, request, reply, started_us)
  if request.completed then return request.completed(reply) end
  run:emit("model.completed", who.agent_id, who.invocation_id, alias.id, alias.model, request.call_id, reply.usage,
    reply.finish_reason, (core.now_us() - started_us) // 1000)
end

local function failed(run, who, alias, request, err, started_us)
  run:emit("model.failed", who.agent_id, who.invocation_id, alias.id, alias.model, request.call_id,
    errors.serialize(err), (core.now_us() - started_us) // 1000)
end

---@class harness.ModelRequest
---@field messages table[]
---@field tools? table[] {name, description, parameters}
---@field schema? table JSON Schema of the output
---@field schema_name? string
---@field options? table temperature, max_tokens, …
---@field stream? boolean
---@field call_id string
---@field check? fun(reply: table) raises what is wrong with a reply that was paid for: the call has failed
---@field completed? fun(reply: table) emits another event than model.completed

-- A call that has begun and has no end yet: it gets one when its task is ended by force.
local Open = { __close = function(open)
  if open.done then return end
  local reason = core.signal_reason(open.task.signal) or task.cancelled("model", "the model call was ended by force")
  if open.span then open.run:end_span_model(open.span, open.alias, nil, reason) end
  failed(open.run, open.who, open.alias, open.request, reason, open.started_us)
end }

-- What a reply costs is spent, whether it is of use or not.
local function pay(who, alias, reply)
  if alias.prices then reply.cost = cost_of(alias.prices, reply.usage) end
  if who.spending then budget.add_reply(who.spending, reply) end
end

-- A fallback that cannot stream is asked for the whole text.
local function method_of(alias, method)
  local has = alias.capabilities
  return method == "text_stream" and not has.text_stream and has.text and "text" or method
end

--- Calls the model of an alias, then of its fallbacks. Emits model.started and model.completed or
--- model.failed for each alias that is tried.
---@param run table the run, for events, usage and definition
---@param who harness.Invocation
---@param alias_id string
---@param method "text"|"text_stream"|"object"|"object_stream"|"tool_use"|"embed"|"rerank"
---@param request harness.ModelRequest
---@param on_event? fun(kind: string, text: string)
---@return table reply
function M.call(run, who, alias_id, method, request, on_event)
  local models = run.definition.models
  local alias, next_fallback = models[alias_id], 1
  local fallback = alias.fallback or EMPTY
  while true do
    local asked = next_fallback == 1 and method or method_of(alias, method)
    check_capabilities(alias, asked, request)
    if NEEDS[asked] and not alias.provider[asked] then missing_method(alias, asked) end
    if who.spending then
      budget.check(who.spending)
      budget.add_call(who.spending)
    end
    local started_us = core.now_us()
    run:emit("model.started", who.agent_id, who.invocation_id, alias.id, alias.model, request.call_id)
    local open <close> = setmetatable({
      run = run, who = who, alias = alias, request = request, started_us = started_us, task = task.current(),
      done = false,
    }, Open)
    local span = run:span_model(alias, asked, who)
    open.span = span
    local ok, reply, err, delivered = pcall(call_alias, run, who, alias, asked, request, asked ~= "text" and on_event)
    open.done = true
    if not ok then reply, err, delivered = nil, reply, true end
    if reply then
      pay(who, alias, reply)
      if request.check then
        local fits, problem = pcall(request.check, reply)
        if not fits then reply, err, delivered = nil, problem, true end
      end
    end
    if span then run:end_span_model(span, alias, reply, err) end
    if reply then
      completed(run, who, alias, request, reply, started_us)
      return reply
    end
    failed(run, who, alias, request, err, started_us)
    alias = not delivered and models[fallback[next_fallback]] or nil
    if not alias then error(err, 0) end
    next_fallback = next_fallback + 1
  end
end

return M
