--- What we send in Chat Completions: a request of ours as the body of one.
---
---     local wire = openai_wire.new { max_tokens_field = "max_tokens" }
---     wire:body(request)   --> '{"model":"m","stream":true,...,"messages":[...]}'
---
--- Providers price a prefix that they have seen at a tenth, so bodies are byte-stable: the model, then
--- the other fields by name, the messages last. The body of the next turn begins with the one before, up to
--- where the new messages begin.
---
--- The JSON of a message is kept beside it (a weak table), so a turn costs its new messages and copying
--- the rest. So a message must not be changed in depth once it was sent; replacing its content or
--- tool_calls by others is noticed.

local errors = require "harness.errors"
local json = require "harness.json"
local schema = require "harness.schema"
local schema_strict = require "harness.schema_strict"

local M = {}

local REPLACE <const> = { invalid_utf8 = "replace" }

local function encode(value)
  return json.encode(value, REPLACE)
end

---@class harness.OpenaiWire
---@field max_tokens_field string "max_tokens" or "max_completion_tokens"
---@field include_usage boolean ask for usage in streams
---@field carry_fields string[] fields of a reply that go back with the assistant's message
---@field private cache table<table, table> by message
---@field private tool_lists table<table, table> by list of tools
---@field private outputs table<table, table> by output schema
local Wire = {}
Wire.__index = Wire

-- ---- parts of a message -------------------------------------------------------------------

local function bad_message(at, what)
  local path = ("$.messages[%d]%s"):format(at.message, at.part and (".content[%d]"):format(at.part) or "")
  errors.raise("VALIDATION_ERROR", ("%s: %s"):format(path, what),
    { where = "message", issues = { { path = path, message = what } } })
end

local function data_url(part)
  return ("data:%s;base64,%s"):format(part.mime_type or "application/octet-stream", part.data_base64)
end

local PART <const> = {}

function PART.text(part, at)
  if type(part.text) ~= "string" then bad_message(at, "a part of type text needs the field text") end
  return '{"type":"text","text":' .. encode(part.text) .. "}"
end

function PART.image(part, at)
  if not part.url and not part.data_base64 then bad_message(at, "an image needs data_base64 or url") end
  local url = encode(part.url or data_url(part))
  local detail = part.detail and ',"detail":' .. encode(part.detail) or ""
  return ('{"type":"image_url","image_url":{"url":%s%s}}'):format(url, detail)
end

local AUDIO_FORMAT <const> = { mpeg = "mp3", wave = "wav", ["vnd.wave"] = "wav", [""] = "wav" }

function PART.audio(part, at)
  if not part.data_base64 then bad_message(at, "audio needs data_base64; its URL is not taken here") end
  local kind = (part.mime_type or "audio/wav"):lower():match "^[^/]*/?([^;%s]*)":gsub("^x%-", "")
  local format = AUDIO_FORMAT[kind] or kind
  return ('{"type":"input_audio","input_audio":{"data":%s,"format":%s}}'):format(encode(part.data_base64),
    encode(format))
end

function PART.file(part, at)
  if not part.data_base64 then bad_message(at, "a file needs data_base64; its URL is not taken here") end
  return ('{"type":"file","file":{"filename":%s,"file_data":%s}}'):format(encode(part.filename or "file"),
    encode(data_url(part)))
end

local function encode_part(part, at)
  local encoder = type(part) == "table" and PART[part.type]
  if not encoder then bad_message(at, "the type of a part must be text, image, audio or file") end
  return encoder(part, at)
end

local function check_list(content, index)
  if type(content) == "table" then return end
  bad_message({ message = index }, "content must be text or a list of parts, got " .. type(content))
end

-- The text parts of a content joined, and the JSON of its other parts in a list. Only a user may send
-- other parts; most servers take nothing but a string from anybody else.
local function split_content(content, index)
  if type(content) == "string" then return content, nil end
  check_list(content, index)
  local texts, media = {}, nil
  for i, part in ipairs(content) do
    local encoded = encode_part(part, { message = index, part = i })
    if part.type == "text" then
      texts[#texts + 1] = part.text
    else
      media = media or {}
      media[#media + 1] = encoded
    end
  end
  return table.concat(texts, "\n"), media
end

local function text_only(message, index)
  local text, media = split_content(message.content, index)
  if media then
    bad_message({ message = index }, ("a message of the role %s may hold text only"):format(message.role))
  end
  return encode(text)
end

-- ---- messages -----------------------------------------------------------------------------

-- Arguments that were no JSON object went back to the model as an error. Servers that render calls
-- into a template refuse the whole conversation over them, so they are wrapped into an object.
local function arguments_text(call)
  if call.invalid_arguments then return encode { invalid_arguments = call.invalid_arguments } end
  return encode(call.arguments or {})
end

local function encode_calls(calls)
  local out = {}
  for i, call in ipairs(calls) do
    out[i] = ('{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}'):format(encode(call.id),
      encode(call.name), encode(arguments_text(call)))
  end
  return table.concat(out, ",")
end

local ROLE <const> = {}

function ROLE.system(_, message, index)
  return '{"role":"system","content":' .. text_only(message, index) .. "}"
end

function ROLE.user(_, message, index)
  local content, parts = message.content, {}
  if type(content) == "string" then return '{"role":"user","content":' .. encode(content) .. "}" end
  check_list(content, index)
  for i, part in ipairs(content) do parts[i] = encode_part(part, { message = index, part = i }) end
  return '{"role":"user","content":[' .. table.concat(parts, ",") .. "]}"
end

function ROLE.assistant(wire, message, index)
  local calls = message.tool_calls
  local has_calls = calls and #calls > 0
  local content = text_only(message, index)
  if has_calls and content == '""' then content = "null" end
  local out = { '{"role":"assistant","content":', content }
  if has_calls then
    out[#out + 1] = ',"tool_calls":['
    out[#out + 1] = encode_calls(calls)
    out[#out + 1] = "]"
  end
  local kept = message.provider and message.provider.name == "openai" and message.provider.data
  for _, field in ipairs(kept and wire.carry_fields or {}) do
    if kept[field] ~= nil then out[#out + 1] = ("," .. encode(field) .. ":" .. encode(kept[field])) end
  end
  out[#out + 1] = "}"
  return table.concat(out)
end

-- Images and the like in a tool's result go into a user message behind the results.
function ROLE.tool(_, message, index)
  local text, media = split_content(message.content, index)
  if media and text == "" then text = "(attached below)" end
  local id = message.tool_call_id
  local encoded = ('{"role":"tool","tool_call_id":%s,"content":%s}'):format(encode(id), encode(text))
  if not media then return encoded end
  local heading = PART.text { text = ("Attached to the result of the tool call %s:"):format(id) }
  return encoded, heading .. "," .. table.concat(media, ",")
end

-- {json, attached?} of a message, from beside it or made new.
function Wire:encoded(message, index)
  local entry = self.cache[message]
  local content, calls, role = message.content, message.tool_calls, message.role
  if entry and entry.content == content and entry.calls == calls and entry.role == role then return entry end
  local encoder = ROLE[role]
  if not encoder then
    bad_message({ message = index }, "role must be system, user, assistant or tool, got " .. tostring(role))
  end
  entry = { content = content, calls = calls, role = role }
  entry.json, entry.attached = encoder(self, message, index)
  self.cache[message] = entry
  return entry
end

-- Appends the messages, with a comma before each but the first.
function Wire:add_messages(out, messages, count)
  local n, attached, comma = #out, nil, ""
  local function add(text)
    out[n + 1], out[n + 2] = comma, text
    n, comma = n + 2, ","
  end
  local function add_attached()
    add('{"role":"user","content":[' .. table.concat(attached, ",") .. "]}")
    attached = nil
  end
  for i = 1, count do
    local message = messages[i]
    local entry = self:encoded(message, i)
    if attached and message.role ~= "tool" then add_attached() end
    add(entry.json)
    if entry.attached then
      attached = attached or {}
      attached[#attached + 1] = entry.attached
    end
  end
  if attached then add_attached() end
end

-- ---- tools and output ---------------------------------------------------------------------

local NO_PARAMETERS <const> = json.raw '{"type":"object","properties":{}}'

local function encode_tool(name, description, parameters)
  return ('{"type":"function","function":{"name":%s%s,"parameters":%s}}'):format(encode(name),
    description and ',"description":' .. encode(description) or "", encode(parameters or NO_PARAMETERS))
end

local function is_same_list(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end

-- The JSON of the tools, without brackets; kept beside the list, as long as it holds the same tools.
function Wire:tools_json(tools)
  local entry = self.tool_lists[tools]
  if entry and is_same_list(entry, tools) then return entry.json end
  local out = {}
  entry = table.move(tools, 1, #tools, 1, {})
  for i, tool in ipairs(tools) do out[i] = encode_tool(tool.name, tool.description, tool.parameters) end
  entry.json = table.concat(out, ",")
  self.tool_lists[tools] = entry
  return entry.json
end

---The name of an output schema on the wire: letters, digits, _ and -, at most 64.
---@param request table
---@return string
function M.output_name(request)
  local name = (request.schema_name or "output"):gsub("[^%w_%-]", "_"):sub(1, 64)
  return name ~= "" and name or "output"
end

-- The root of an output must be an object: anything else is asked for as {value: ...}. Definitions move up
-- with it, since references name them from the root.
local function wrapped(plain)
  local root = { type = "object", required = { "value" }, additionalProperties = false }
  for _, name in ipairs { "$defs", "definitions" } do
    root[name], plain[name] = plain[name], nil
  end
  root.properties = { value = plain }
  return root
end

---An output schema as it is sent: strict (what the provider then guarantees) where the schema allows it.
---Kept beside the schema.
---@param given harness.Schema|table|userdata
---@return { json: string, strict: boolean, wrapped: boolean, source: table }
function Wire:output(given)
  local entry = self.outputs[given]
  if entry then return entry end
  local plain = json.decode(encode(given))
  if type(plain) ~= "table" then plain = {} end -- the schema `true`
  local is_wrapped = plain.type ~= "object"
  local source = is_wrapped and wrapped(plain) or schema.is(given) and given or plain
  local adapted, is_strict = schema_strict.strict(source)
  entry = {
    json = encode(is_strict and adapted or source), strict = is_strict, wrapped = is_wrapped, source = source,
  }
  self.outputs[given] = entry
  return entry
end

---What a model answered to an output schema, as that schema means it.
---@param given harness.Schema|table|userdata the schema
---@param value any
---@return any
function Wire:restored(given, value)
  local output = self:output(given)
  if output.strict then value = schema_strict.strict_restore(value, output.source) end
  if output.wrapped and type(value) == "table" then return value.value end
  return value
end

local function encode_choice(choice)
  if type(choice) == "table" then
    return ('{"type":"function","function":{"name":%s}}'):format(encode(choice.name))
  end
  return encode(choice == "any" and "required" or choice)
end

-- ---- the body -----------------------------------------------------------------------------

local OPTION_FIELD <const> = {
  temperature = "temperature", top_p = "top_p", stop_sequences = "stop", seed = "seed",
  presence_penalty = "presence_penalty", frequency_penalty = "frequency_penalty",
  reasoning_effort = "reasoning_effort",
}

-- What we set ourselves from the request; anything else may come from provider_options.
local RESERVED <const> = { messages = true, model = true, stream = true, tools = true }

function Wire:add_options(fields, request)
  local options = request.options or {}
  for name, field in pairs(OPTION_FIELD) do
    if options[name] ~= nil then fields[field] = encode(options[name]) end
  end
  if options.max_tokens then fields[self.max_tokens_field] = encode(options.max_tokens) end
  if request.stream then
    fields.stream = "true"
    if self.include_usage then fields.stream_options = '{"include_usage":true}' end
  end
end

local function add_provider_options(fields, request)
  for name, value in pairs(request.provider_options or {}) do
    if RESERVED[name] then
      errors.raise("HARNESS_CONFIG_ERROR",
        ("provider_options.%s cannot be set: it comes from the request"):format(name),
        { reason = "invalid_provider_option", path = "provider_options." .. name, id = name })
    end
    fields[name] = encode(value)
  end
end

-- A structured output is asked for by response_format, or (method "tool_use") by a call that the model
-- has to make.
function Wire:add_output(fields, tools, request)
  local output, name = self:output(request.schema), M.output_name(request)
  if request.method == "tool_use" then
    fields.tool_choice = tools[1] and '"required"' or encode_choice { name = name }
    tools[#tools + 1] = encode_tool(name, "Gives the final answer.", json.raw(output.json))
    return
  end
  fields.response_format = ('{"type":"json_schema","json_schema":{"name":%s,"schema":%s,"strict":%s}}')
    :format(encode(name), output.json, tostring(output.strict))
end

function Wire:add_tools(fields, request)
  local given, tools, options = request.tools, {}, request.options or {}
  if given and #given > 0 then
    tools[1] = self:tools_json(given)
    if request.tool_choice then fields.tool_choice = encode_choice(request.tool_choice) end
    local parallel = options.parallel_tool_calls
    if parallel ~= nil then fields.parallel_tool_calls = encode(parallel) end
  end
  if request.schema then self:add_output(fields, tools, request) end
  if tools[1] then fields.tools = "[" .. table.concat(tools, ",") .. "]" end
end

local function sorted_names(fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  return names
end

---The body of a chat completion request.
---@param request table as in harness.model
---@return string
function Wire:body(request)
  local fields = {}
  self:add_options(fields, request)
  self:add_tools(fields, request)
  add_provider_options(fields, request)
  local out = { '{"model":', encode(request.model) }
  for _, name in ipairs(sorted_names(fields)) do
    out[#out + 1] = "," .. encode(name) .. ":"
    out[#out + 1] = fields[name]
  end
  out[#out + 1] = ',"messages":['
  self:add_messages(out, request.messages, request.count or #request.messages)
  out[#out + 1] = "]}"
  return table.concat(out)
end

---The body of a request for embeddings.
---@param request table { model, input = text or list of texts, dimensions?, provider_options? }
---@return string
function M.embedding_body(request)
  local fields = { model = encode(request.model), encoding_format = '"float"', input = encode(request.input) }
  if request.dimensions then fields.dimensions = encode(request.dimensions) end
  for name, value in pairs(request.provider_options or {}) do fields[name] = encode(value) end
  local out = {}
  for i, name in ipairs(sorted_names(fields)) do out[i] = encode(name) .. ":" .. fields[name] end
  return "{" .. table.concat(out, ",") .. "}"
end

---Makes what maps requests.
---@param settings { max_tokens_field: string, include_usage: boolean, carry_fields: string[] }
---@return harness.OpenaiWire
function M.new(settings)
  return setmetatable({
    max_tokens_field = settings.max_tokens_field, include_usage = settings.include_usage,
    carry_fields = settings.carry_fields, cache = setmetatable({}, { __mode = "k" }),
    tool_lists = setmetatable({}, { __mode = "k" }), outputs = setmetatable({}, { __mode = "k" }),
  }, Wire)
end

return M
