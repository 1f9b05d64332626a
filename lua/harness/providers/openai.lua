--- Chat Completions: OpenAI, and whatever speaks the same (vLLM, llama.cpp, Ollama, OpenRouter, Azure).
---
---     local provider = harness.providers.openai { api_key = os.getenv "OPENAI_API_KEY" }
---     local local_one = harness.providers.openai { base_url = "http://127.0.0.1:8080/v1" }
---     local azure = harness.providers.openai {        -- the model of an alias is the deployment's name
---       api_key = key, dialect = "azure", base_url = "https://NAME.openai.azure.com",
---     }
---
--- It maps one request to one reply. Retry, fallback, deadlines and events are harness.model's.
--- Its options: openai_options.lua. What is sent: openai_wire.lua. What comes back: openai_stream.lua.
--- What goes wrong: http_error.lua.

local errors = require "harness.errors"
local http = require "harness.http"
local http_error = require "harness.providers.http_error"
local json = require "harness.json"
local openai_options = require "harness.providers.openai_options"
local stream = require "harness.providers.openai_stream"
local wires = require "harness.providers.openai_wire"

local MAX_ERROR_BODY <const> = 64 * 1024

local CAPABILITIES <const> = {
  "text", "text_stream", "object", "object_stream", "tool_use", "vision_input", "audio_input", "file_input",
  "embeddings",
}

---@class harness.Openai
local Openai = {}
Openai.__index = Openai
Openai.__name = "harness.providers.openai"

-- By provider. Not in the provider itself, so that a dump of it shows no key.
local SETTINGS <const> = setmetatable({}, { __mode = "k" })

-- ---- one exchange -------------------------------------------------------------------------

-- The beginning of the body of an error. That it breaks off matters less than what the error says.
local function error_body(response)
  local parts, size = {}, 0
  local ok, err = pcall(function()
    while size < MAX_ERROR_BODY do
      local bytes = response:read()
      if not bytes then return end
      parts[#parts + 1] = bytes
      size = size + #bytes
    end
  end)
  if not ok and not http_error.is_transport(err) then error(err, 0) end
  return table.concat(parts):sub(1, MAX_ERROR_BODY)
end

local function post(settings, who, operation, body, is_stream)
  return http.request {
    url = openai_options.url(settings, operation, who.model), method = "POST", body = body,
    headers = is_stream and settings.stream_headers or settings.headers, stream = is_stream or nil,
    connect_timeout_ms = settings.connect_timeout_ms, first_byte_timeout_ms = settings.first_byte_timeout_ms,
    idle_timeout_ms = settings.idle_timeout_ms, ca_file = settings.ca_file, proxy = settings.proxy,
  }
end

-- Posts a body and has the answer read by take(response); what goes wrong is a model's error.
local function exchange(settings, who, operation, body, is_stream, take)
  local answering = false
  local ok, result = pcall(function()
    local response <close> = post(settings, who, operation, body, is_stream)
    answering = true
    if response.status >= 200 and response.status <= 299 then return take(response) end
    error(http_error.of_status(who, response.status, response.headers, error_body(response)), 0)
  end)
  if ok then return result end
  error(http_error.of_transport(who, result, answering), 0)
end

local function peer(self, settings, request)
  return {
    provider = self.id, model = request.model, method = request.method, host = settings.host,
    secrets = settings.secrets, has_key = settings.has_key,
  }
end

-- ---- structured output --------------------------------------------------------------------

-- Models that are only told to write JSON like to put it into a code block.
local function decode_object(text)
  local ok, value = pcall(json.decode, text)
  if ok then return true, value end
  local inner = text:match "^%s*```%w*%s*\n(.*)\n%s*```%s*$"
  return pcall(json.decode, inner or "")
end

-- The forced call is the output, not a call that somebody runs. Where there are others beside it, those
-- are run first, and the model is asked again.
local function take_output_call(settings, request, reply)
  local name = wires.output_name(request)
  local others, found = {}, nil
  for _, call in ipairs(reply.tool_calls or {}) do
    if call.name == name then found = found or call else others[#others + 1] = call end
  end
  reply.tool_calls = others[1] and others or nil
  if not found or others[1] then return end
  reply.finish_reason = reply.finish_reason == "tool_calls" and "stop" or reply.finish_reason
  reply.text = found.invalid_arguments or json.encode(found.arguments)
  if found.invalid_arguments then return end
  reply.object = settings.wire:restored(request.schema, found.arguments)
end

local function take_object(settings, request, reply)
  if request.method == "tool_use" then return take_output_call(settings, request, reply) end
  if reply.tool_calls or reply.finish_reason == "content_filter" then return end
  local ok, value = decode_object(reply.text)
  if ok then reply.object = settings.wire:restored(request.schema, value) end
end

-- ---- the provider -------------------------------------------------------------------------

--- Asks the model. Waits; raises MODEL_ERROR, OPERATION_TIMEOUT, or why the task was stopped.
---@param request table
---@param on_event? fun(kind: "delta"|"reasoning", text: string) called when request.stream
---@return table reply { text, object?, tool_calls?, finish_reason, usage?, response_id?, provider? }
function Openai:generate(request, on_event)
  local settings = SETTINGS[self]
  local who, is_stream = peer(self, settings, request), request.stream == true
  local body = settings.wire:body(request)
  local reply = exchange(settings, who, "/chat/completions", body, is_stream, function(response)
    local listener = is_stream and on_event or nil
    local collector = stream.collector(who, response.headers, listener, settings.carry_fields)
    if response.is_events then
      collector:read(response)
    else
      collector:read_answer(response:text())
    end
    return collector:reply()
  end)
  if request.schema then take_object(settings, request, reply) end
  return reply
end

-- {embeddings, usage} of an answer: in the order of the inputs, whatever order the server gave them in.
local function embeddings_of(who, value, text, wanted)
  local data = type(value) == "table" and value.data
  if type(data) ~= "table" then error(http_error.malformed(who, "it has no embeddings", text), 0) end
  local list, usage = {}, type(value.usage) == "table" and value.usage or {}
  for i, item in ipairs(data) do
    local index = math.type(item.index) == "integer" and item.index + 1 or i
    list[index] = { index = index, vector = item.embedding }
  end
  if #list ~= wanted or #data ~= wanted then
    errors.raise("MODEL_ERROR", ("%s gave %d embeddings for %d inputs"):format(who.host, #data, wanted), {
      provider = who.provider, model = who.model, method = who.method, reason = "embedding_count_mismatch",
    })
  end
  local input = math.tointeger(usage.prompt_tokens) or 0
  local total = math.tointeger(usage.total_tokens) or input
  return { embeddings = list, usage = { input_tokens = input, output_tokens = 0, total_tokens = total } }
end

--- Embeds texts. Waits, and raises as `generate`.
---@param request { model: string, input: string|string[], dimensions?: integer, provider_options?: table }
---@return { embeddings: { index: integer, vector: number[] }[], usage: table }
function Openai:embed(request)
  local settings = SETTINGS[self]
  local who = peer(self, settings, { model = request.model, method = "embed" })
  local wanted = type(request.input) == "table" and #request.input or 1
  return exchange(settings, who, "/embeddings", wires.embedding_body(request), false, function(response)
    local text = response:text()
    local ok, value = pcall(json.decode, text)
    if not ok then error(http_error.malformed(who, "it is not JSON", text), 0) end
    if value.error then error(http_error.in_stream(who, response.headers, value), 0) end
    return embeddings_of(who, value, text, wanted)
  end)
end

function Openai:__tostring()
  return ("openai provider (%s)"):format(SETTINGS[self].host)
end

--- Makes the provider.
---@param options harness.OpenaiOptions
---@return harness.Openai
return function(options)
  local settings = openai_options.settings(options)
  settings.wire = wires.new(settings)
  local self = setmetatable({ id = "openai", cooperative = true, capabilities = CAPABILITIES }, Openai)
  SETTINGS[self] = settings
  return self
end
