--- What goes wrong between a provider and its server, as errors of a model: MODEL_ERROR and
--- OPERATION_TIMEOUT. Shared by every provider that speaks HTTP.
---
---     local who = { provider = "openai", model = "gpt-5-mini", method = "text", host = "api.openai.com",
---                   secrets = { key } }
---     error(http_error.of_status(who, 429, response.headers, body), 0)
---
--- meta.reason tells the kinds apart: http_error (with status), context_length_exceeded, network
--- (with phase), stream_truncated, malformed_response, response_too_big, request, unavailable.
--- Nothing that is put into an error has a secret in it, not even when the server echoes one.

local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local redact = require "harness.redact"

local M = {}

---@class harness.ModelPeer who is asked, for errors
---@field provider string its id
---@field model? string
---@field method? string
---@field host string for people: "127.0.0.1:8080"
---@field secrets string[] texts that no error may hold
---@field has_key boolean was a key sent?

local PREFIX <const> = "model request failed"
local BEGINNING <const> = 200 -- bytes shown of what should have been JSON

-- ---- texts from the server ----------------------------------------------------------------

-- A key that does not look like one is masked too: the server may repeat what it was sent.
local function scrub(who, text)
  for _, secret in ipairs(who.secrets) do
    if text:find(secret, 1, true) then text = text:gsub(secret:gsub("%W", "%%%0"), redact.MARK) end
  end
  text = text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  return redact.provider_message(text)
end

local function beginning(who, text)
  local shown = redact.cut(scrub(who, text:sub(1, BEGINNING * 16)), BEGINNING)
  shown = shown:gsub("[^\x20-\x7e\x80-\xff]", "?")
  return utf8.len(shown) and shown or shown:gsub("[\x80-\xff]", "?")
end

local function text_field(value)
  return type(value) == "string" and value ~= "" and value or nil
end

-- The fields of an error in any of the shapes that servers use: {error: {message, type, code,
-- param}}, {error: "text"}, {message, code, ...}, {detail: ...}, and one of these in a list.
local function fields_of(value)
  if type(value) ~= "table" then return { message = text_field(value) } end
  if type(value[1]) == "table" then value = value[1] end
  local inner = value.error
  if type(inner) == "string" then return { message = inner, type = text_field(value.type) } end
  if type(inner) ~= "table" then inner = value end
  local detail = inner.detail
  if type(detail) == "table" then detail = json.encode(detail, { invalid_utf8 = "replace" }) end
  return {
    message = text_field(inner.message) or text_field(detail), type = text_field(inner.type),
    code = inner.code, status = inner.status, param = text_field(inner.param),
  }
end

local function parse_body(who, body)
  local ok, value = pcall(json.decode, body, { lone_surrogates = "wtf8" })
  local fields = ok and fields_of(value) or {}
  if not fields.message and body:find("%S") then fields.message = beginning(who, body) end
  return fields
end

-- ---- what the server means ----------------------------------------------------------------

local CONTEXT_CODES <const> = { context_length_exceeded = true, exceed_context_size_error = true }

-- As OpenAI, llama.cpp, vLLM, OpenRouter, Mistral and others put it.
local CONTEXT_TEXTS <const> = {
  "maximum context length", "context length exceeded", "context_length_exceeded", "context window",
  "exceeds the available context", "exceed context", "prompt is too long", "prompt too long",
  "input is too long", "too large for model with",
}

local function is_context_overflow(status, fields)
  if CONTEXT_CODES[fields.code] or CONTEXT_CODES[fields.type] then return true end
  if status ~= 400 and status ~= 413 and status ~= 422 then return false end
  local text = (fields.message or ""):lower()
  for _, phrase in ipairs(CONTEXT_TEXTS) do
    if text:find(phrase, 1, true) then return true end
  end
  return false
end

-- An account without money is a 429 too, but waiting does not help it.
local NEVER_RETRY <const> = { insufficient_quota = true, billing_hard_limit_reached = true }

-- The status that an error inside a stream stands for.
local STATUS_OF <const> = {
  rate_limit_error = 429, rate_limit_exceeded = 429, insufficient_quota = 429, too_many_requests = 429,
  authentication_error = 401, invalid_api_key = 401, permission_error = 403, permission_denied = 403,
  not_found_error = 404, model_not_found = 404, invalid_request_error = 400, invalid_prompt = 400,
  context_length_exceeded = 400, exceed_context_size_error = 400, content_filter = 400,
  request_too_large = 413, timeout_error = 504, overloaded_error = 529, unavailable_error = 503,
  server_error = 500, api_error = 500, internal_server_error = 500, internal_error = 500,
}

local function http_status(value)
  local number = math.tointeger(tonumber(value))
  return number and number >= 400 and number <= 599 and number or nil
end

local function status_in_stream(fields)
  return http_status(fields.code) or http_status(fields.status) or STATUS_OF[fields.code]
    or STATUS_OF[fields.type] or 500
end

-- ---- retry-after --------------------------------------------------------------------------

local MONTHS <const> = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9,
  Oct = 10, Nov = 11, Dec = 12 }

-- Seconds since the epoch of "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), or nil.
local function http_date(text)
  local day, month, year, time = text:match "(%d%d) (%a%a%a) (%d%d%d%d) (%d%d:%d%d:%d%d) GMT"
  local m, y = MONTHS[month], tonumber(year)
  if not m then return nil end
  local hour, minute, second = time:match "(%d+):(%d+):(%d+)"
  -- Days since 1970-03-01 in years that begin in March, so that the leap day comes last.
  local shifted = m <= 2 and y - 1 or y
  local days = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400
    + (153 * ((m + 9) % 12) + 2) // 5 + tonumber(day) - 719469
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

local function milliseconds(text, factor)
  local number = text and tonumber(text:match "^%s*(%d+%.?%d*)%s*$")
  return number and math.ceil(number * factor) or nil
end

-- A date counts from the server's own clock, when it sent one.
local function until_date(text, headers)
  local at = http_date(text)
  if not at then return nil end
  local now = headers.date and http_date(headers.date) or core.wall_ms() / 1000
  return math.max(0, math.ceil((at - now) * 1000))
end

---How long the server asks to wait, in milliseconds: retry-after-ms, or retry-after as seconds or a
---date. Nil when it does not say.
---@param headers table<string, string>
---@return integer?
function M.retry_after_ms(headers)
  local after = headers["retry-after"]
  return milliseconds(headers["retry-after-ms"], 1) or milliseconds(after, 1000)
    or after and until_date(after, headers)
end

-- ---- making errors ------------------------------------------------------------------------

local function meta_of(who, reason)
  return { provider = who.provider, model = who.model, method = who.method, reason = reason }
end

local function sentence(text)
  return text:find "[.!?]$" and text or text .. "."
end

local function advice(who, status, headers)
  if status == 401 then
    local text = who.has_key and " %s refused the key that was given as the option api_key."
      or " No key was sent to %s: give the option api_key."
    return text:format(who.host)
  end
  if status == 404 then return (" Check the model's name and base_url (host %s)."):format(who.host) end
  if status >= 300 and status < 400 and headers.location then
    local target = scrub(who, headers.location):gsub("[?#].*", "")
    return (" Redirects are not followed; is base_url right? It leads to %s."):format(target)
  end
  return ""
end

local function refused(who, status, headers, fields, in_stream)
  local code, message = text_field(fields.code), fields.message and scrub(who, fields.message)
  local parts = { ("HTTP %d"):format(status), code, fields.type }
  if fields.type and not code then parts[2], parts[3] = fields.type, nil end
  if fields.param then parts[#parts + 1] = "param " .. fields.param end
  local text = ("%s (%s)"):format(PREFIX, scrub(who, table.concat(parts, ", ")))
  text = sentence(message and text .. ": " .. message or text) .. advice(who, status, headers)
  local is_overflow = is_context_overflow(status, fields)
  local meta = meta_of(who, is_overflow and "context_length_exceeded" or "http_error")
  meta.status, meta.in_stream = status, in_stream
  meta.provider_code, meta.provider_type, meta.provider_param = code, fields.type, fields.param
  meta.provider_message, meta.retry_after_ms = message, M.retry_after_ms(headers)
  meta.provider_request_id = headers["x-request-id"] or headers["request-id"]
  local err = errors.new("MODEL_ERROR", text, meta)
  if is_overflow or NEVER_RETRY[code] or NEVER_RETRY[fields.type] then
    err.retriable = false
  elseif headers["x-should-retry"] == "false" then -- the server knows better than its status
    err.retriable = false
  elseif headers["x-should-retry"] == "true" then
    err.retriable = true
  end
  return err
end

---A response whose status is not 2xx.
---@param who harness.ModelPeer
---@param status integer
---@param headers table<string, string>
---@param body string what was read of it
---@return harness.Error
function M.of_status(who, status, headers, body)
  return refused(who, status, headers, parse_body(who, body))
end

---An error inside a response with status 200: treated as the HTTP error that it names.
---@param who harness.ModelPeer
---@param headers table<string, string>
---@param value any what was decoded: {error = ...}, or something like it
---@return harness.Error
function M.in_stream(who, headers, value)
  local fields = fields_of(value)
  return refused(who, status_in_stream(fields), headers, fields, true)
end

---A response that is not what the protocol allows.
---@param who harness.ModelPeer
---@param what string what is wrong with it
---@param text? string the text at fault, whose beginning is shown
---@return harness.Error
function M.malformed(who, what, text)
  local message = ("the answer of %s cannot be used: %s"):format(who.host, what)
  if text then message = ('%s; it begins with "%s"'):format(message, beginning(who, text)) end
  return errors.new("MODEL_ERROR", message, meta_of(who, "malformed_response"))
end

---A stream that ended without its finish marker.
---@param who harness.ModelPeer
---@param cause? any
---@return harness.Error
function M.truncated(who, cause)
  local why = errors.is(cause) and " (" .. cause.message .. ")" or ""
  local meta = meta_of(who, "stream_truncated")
  meta.phase = "stream"
  local text = ("the stream of %s was cut off before its end%s"):format(who.host, why)
  return errors.new("MODEL_ERROR", text, meta, cause)
end

-- ---- transport ----------------------------------------------------------------------------

local PHASE_OF <const> = { resolve = "resolve", connect = "connect", tls = "tls", network = "first_byte" }

local CHECK <const> = {
  resolve = "check the host name in base_url, and the network",
  connect = "check base_url, that the server runs, and what the proxy settings are",
  tls = "check base_url, and which certificates are trusted (option ca_file)",
}

---Whether an error comes from the HTTP client itself.
---@param err any
---@return boolean
function M.is_transport(err)
  if errors.is(err, "HTTP_ERROR") then return true end
  return errors.is(err, "OPERATION_TIMEOUT") and err.meta.scope == "http"
end

local function timed_out(who, err)
  local meta = meta_of(who, nil)
  meta.scope, meta.phase, meta.timeout_ms = "model", err.meta.phase, err.meta.timeout_ms
  return errors.new("OPERATION_TIMEOUT", ("%s was too slow: %s"):format(who.host, err.message), meta, err)
end

local function unreachable(who, err, kind)
  local meta = meta_of(who, "network")
  meta.phase = PHASE_OF[kind]
  local text = ("cannot reach %s: %s"):format(who.host, err.message)
  if kind == "network" then
    text = ("the connection to %s broke before it answered: %s"):format(who.host, err.message)
  end
  if CHECK[kind] then text = ("%s; %s"):format(text, CHECK[kind]) end
  return errors.new("MODEL_ERROR", text, meta, err)
end

---What the HTTP client raised, as an error of the model. Anything else comes back as it is.
---@param who harness.ModelPeer
---@param err any
---@param answering boolean had the head of the answer come?
---@return any
function M.of_transport(who, err, answering)
  if not M.is_transport(err) then return err end
  if err.code == "OPERATION_TIMEOUT" then return timed_out(who, err) end
  local kind = err.meta.reason
  if kind == "network" and answering then return M.truncated(who, err) end
  if PHASE_OF[kind] then return unreachable(who, err, kind) end
  if kind == "protocol" then return M.malformed(who, err.message) end
  local reason = kind == "too_big" and "response_too_big" or kind
  return errors.new("MODEL_ERROR", ("%s: %s"):format(PREFIX, err.message), meta_of(who, reason), err)
end

return M
