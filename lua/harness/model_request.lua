--- Checks what `ctx.models.ALIAS:text{...}` and its siblings are given, before anything reaches a provider.
---
--- A mistake is a VALIDATION_ERROR (where = "model_request") that names the field and what is allowed.

local errors = require "harness.errors"
local messages = require "harness.messages"
local nearest = require "harness.nearest"
local schemas = require "harness.schema"
local signals = require "harness.signal"

local M = {}

local CHAT <const> = { "messages", "prompt", "tools", "tool_choice", "options", "signal", "timeout_ms" }
local OBJECT <const> = {
  "messages", "prompt", "tools", "tool_choice", "options", "schema", "schema_name", "signal", "timeout_ms",
}

local FIELDS <const> = {
  text = CHAT, text_stream = CHAT, object = OBJECT, object_stream = OBJECT,
  embed = { "input", "dimensions", "provider_options", "signal", "timeout_ms" },
  rerank = { "query", "documents", "top_n", "provider_options", "signal", "timeout_ms" },
}

local OPTIONS <const> = {
  temperature = "number", top_p = "number", max_tokens = "integer", stop_sequences = "table",
  parallel_tool_calls = "boolean", provider_options = "table",
}

local OPTION_NAMES <const> = {
  "max_tokens", "parallel_tool_calls", "provider_options", "stop_sequences", "temperature", "top_p",
}

local function bad(path, message)
  errors.raise("VALIDATION_ERROR", ("model request: %s: %s"):format(path, message),
    { where = "model_request", issues = { { path = "$." .. path, message = message } } })
end

local function type_of(value)
  return math.type(value) == "integer" and "integer" or type(value)
end

local function is_list(value)
  return type(value) == "table" and (#value > 0 or next(value) == nil)
end

local function check_known(method, request)
  if type(request) ~= "table" then bad(method, "takes a table, got " .. type(request)) end
  local known = FIELDS[method]
  for key in pairs(request) do
    local is_known = false
    for _, name in ipairs(known) do is_known = is_known or name == key end
    if not is_known then
      local near = type(key) == "string" and nearest.find(key, known)
      bad(tostring(key), ("there is no such field%s; there are: %s"):format(
        near and (", did you mean %q?"):format(near) or "", table.concat(known, ", ")))
    end
  end
end

-- What bounds the call, as bounded.lua takes it; nil when nothing does.
local function limits_of(request)
  local signal, timeout_ms = request.signal, request.timeout_ms
  if signal == nil and timeout_ms == nil then return nil end
  if signal ~= nil and not signals.is(signal) then
    bad("signal", "must be a signal (abort_controller().signal or ctx.signal), got " .. type(signal))
  end
  if timeout_ms ~= nil and (math.type(timeout_ms) ~= "integer" or timeout_ms < 0) then
    bad("timeout_ms", "must be a whole number of at least 0, got " .. tostring(timeout_ms))
  end
  if signal and signal.aborted then
    errors.raise("OPERATION_CANCELLED", "the model was not asked: its signal was aborted before", { scope = "model" },
      signal.reason)
  end
  return { signal = signal, timeout_ms = timeout_ms }
end

local function message_list(request)
  if request.prompt ~= nil then
    if request.messages ~= nil then bad("prompt", "give messages or a prompt, not both") end
    if type(request.prompt) ~= "string" then bad("prompt", "must be text, got " .. type(request.prompt)) end
    return { { role = "user", content = request.prompt } }
  end
  if not is_list(request.messages) or #request.messages == 0 then
    bad("messages", "must be a list of at least one message {role, content}")
  end
  messages.check(request.messages, "model_request")
  return messages.copy(request.messages)
end

local function tool_list(list)
  if list == nil then return {} end
  if not is_list(list) then bad("tools", "must be a list of {name, description, parameters}") end
  for i, tool in ipairs(list) do
    local at = ("tools[%d]"):format(i)
    if type(tool) ~= "table" then bad(at, "must be a table {name, description, parameters}") end
    if type(tool.name) ~= "string" or tool.name == "" then bad(at .. ".name", "must be text") end
    if tool.description ~= nil and type(tool.description) ~= "string" then bad(at .. ".description", "must be text") end
    if type(tool.parameters) ~= "table" and type(tool.parameters) ~= "userdata" then
      bad(at .. ".parameters", "must be the schema of an object")
    end
  end
  return list
end

local function check_options(options)
  if options == nil then return end
  if type(options) ~= "table" then bad("options", "must be a table, got " .. type(options)) end
  for name, value in pairs(options) do
    local wanted = OPTIONS[name]
    if not wanted then
      local hint = nearest.hint(tostring(name), OPTION_NAMES, "options")
      bad("options." .. tostring(name), "there is no such option" .. hint)
    end
    local got = type_of(value)
    if got ~= wanted and not (wanted == "number" and got == "integer") then
      bad("options." .. name, ("must be %s %s, got %s"):format(wanted == "integer" and "an" or "a", wanted, got))
    end
  end
end

local function schema_of(value)
  if value == nil then bad("schema", "is missing: a schema such as harness.schema.object{...}") end
  local ok, schema = pcall(schemas.of, value)
  if ok and schema then return schema end
  local why = errors.is(schema) and schema.message or tostring(schema)
  return bad("schema", "is no schema: " .. why)
end

--- A checked request for text or an object, as harness.model takes it.
---@param method "text"|"text_stream"|"object"|"object_stream"
---@param request table
---@return table
function M.chat(method, request)
  check_known(method, request)
  check_options(request.options)
  local checked = {
    messages = message_list(request), tools = tool_list(request.tools), tool_choice = request.tool_choice,
    options = request.options, limits = limits_of(request),
  }
  if FIELDS[method] == OBJECT then
    checked.schema = schema_of(request.schema)
    checked.schema_name = request.schema_name or "object"
    if type(checked.schema_name) ~= "string" then bad("schema_name", "must be text") end
  end
  return checked
end

local function check_provider_options(request)
  local options = request.provider_options
  if options == nil or type(options) == "table" then return end
  bad("provider_options", "must be a table, got " .. type(options))
end

local function positive(request, name)
  local value = request[name]
  if value == nil or math.type(value) == "integer" and value > 0 then return value end
  return bad(name, "must be a whole number above 0")
end

--- A checked request for embeddings.
---@param request table
---@return table
function M.embed(request)
  check_known("embed", request)
  local input = request.input
  if type(input) == "string" then input = { input } end
  if not is_list(input) or #input == 0 then bad("input", "must be a text or a list of at least one") end
  for i, text in ipairs(input) do
    if type(text) ~= "string" then bad(("input[%d]"):format(i), "must be text, got " .. type(text)) end
  end
  check_provider_options(request)
  return {
    input = input, dimensions = positive(request, "dimensions"), provider_options = request.provider_options,
    limits = limits_of(request),
  }
end

--- A checked request for a ranking of documents.
---@param request table
---@return table
function M.rerank(request)
  check_known("rerank", request)
  if type(request.query) ~= "string" or request.query == "" then bad("query", "must be text, not empty") end
  local documents, seen = request.documents, {}
  if not is_list(documents) or #documents == 0 then bad("documents", "must be a list of at least one {id, text}") end
  for i, document in ipairs(documents) do
    local at = ("documents[%d]"):format(i)
    if type(document) ~= "table" or type(document.text) ~= "string" then bad(at, "must be a table {id, text}") end
    if type(document.id) ~= "string" then bad(at .. ".id", "must be text") end
    if seen[document.id] then bad(at .. ".id", ("is used twice: %q"):format(document.id)) end
    seen[document.id] = true
  end
  local top_n = positive(request, "top_n")
  if top_n and top_n > #documents then bad("top_n", ("must be at most the %d documents"):format(#documents)) end
  check_provider_options(request)
  return {
    query = request.query, documents = documents, top_n = top_n, provider_options = request.provider_options,
    limits = limits_of(request),
  }
end

return M
