--- What we get in Chat Completions: chunks of a stream, or one whole answer, as a reply of ours.
---
---     local c = openai_stream.collector(who, headers, on_event, {})
---     c:read(response)                    -- a stream, or:  c:read_answer(response:text())
---     return c:reply()
---
--- Text is the hot path: its chunks are picked in C, and no table is made of them. Whatever is more than
--- text (tool calls, usage, errors) is decoded exactly. Servers differ in much: null for absent, a usage
--- object in each chunk or in one without choices behind the finish reason, no [DONE], ids or indexes
--- of calls left out, halves of a surrogate pair in different chunks. All of that is taken here.

local core = require "harness.core"
local http_error = require "harness.providers.http_error"
local json = require "harness.json"
local task = require "harness.task"

local whole = core.text.whole

local M = {}

-- Once the model has finished, usage and [DONE] may still come, but nobody waits long for them.
local TAIL_MS <const> = 2000
-- After [DONE] only the end of the body is missing, which lets the connection be used again.
local END_MS <const> = 100

local WTF8 <const> = { lone_surrogates = "wtf8" }

-- In the order of the results of next_pick. The last two are named because they are never scalars: a
-- chunk that has one takes the exact way.
local PICKER <const> = json.picker {
  "choices.0.delta.content", "choices.0.delta.reasoning_content", "choices.0.delta.reasoning",
  "choices.0.delta.refusal", "choices.0.finish_reason", "id", "error", "message",
  "choices.0.delta.tool_calls", "usage",
}

---@class harness.OpenaiCollector
---@field private who harness.ModelPeer
---@field finish_reason? string as the server says it
---@field done boolean [DONE] has come
local Collector = {}
Collector.__index = Collector

-- ---- text ---------------------------------------------------------------------------------

local function is_text(value)
  return type(value) == "string" and value ~= ""
end

-- Adds a piece to one of the two texts; what is given on never ends inside a character.
function Collector:say(kind, piece, last)
  local voice = self[kind]
  piece, voice.held = whole(voice.held, piece, last)
  self.life = true
  if piece == "" then return end
  local n = voice.n + 1
  voice.n = n
  voice[n] = piece
  local on_event = self.on_event
  if on_event then on_event(kind, piece) end
end

-- A content that is a list of parts (Mistral's way): {type = "text", text} or {type = "thinking",
-- thinking = list}.
function Collector:say_parts(parts, kind)
  for _, part in ipairs(parts) do
    if type(part) == "table" and part.type == "thinking" and type(part.thinking) == "table" then
      self:say_parts(part.thinking, "reasoning")
    elseif type(part) == "table" and is_text(part.text) then
      self:say(kind, part.text)
    end
  end
end

-- ---- tool calls ---------------------------------------------------------------------------

local function name_of(fragment)
  local fn = fragment["function"]
  return type(fn) == "table" and is_text(fn.name) and fn.name or nil
end

-- The call that a fragment belongs to, if it was begun: by index, else by id, else the last one. Another id
-- under the same index is another call, since some servers number all of them 0; and so is a name when
-- the last call has its arguments already.
function Collector:begun_call(fragment, index, id)
  local call
  if index then call = self.by_index[index] elseif id then call = self.by_id[id] end
  if not index and not id then
    call = self.calls[#self.calls]
    if call and name_of(fragment) and #call.arguments > 0 then call = nil end
  end
  if call and id and call.id and call.id ~= id then return nil end
  return call
end

function Collector:call_of(fragment, is_whole)
  local calls = self.calls
  local id = is_text(fragment.id) and fragment.id or nil
  local index = math.type(fragment.index) == "integer" and fragment.index or nil
  local call = not is_whole and self:begun_call(fragment, index, id)
  if not call then
    call = { name = "", arguments = {} }
    calls[#calls + 1] = call
  end
  if index then self.by_index[index] = call end
  if id then
    call.repeated = call.id == id
    call.id = id
    self.by_id[id] = call
  end
  return call
end

function Collector:add_call(fragment, is_whole)
  if type(fragment) ~= "table" then return end
  local call, fn, name = self:call_of(fragment, is_whole), fragment["function"], name_of(fragment)
  self.life = true
  if type(fn) ~= "table" then return end
  local arguments = call.arguments
  -- Names may come in pieces; or whole, again with each fragment.
  local again = name == call.name and (call.repeated or #arguments > 0)
  if name and not again then call.name = call.name .. name end
  if is_text(fn.arguments) then
    arguments[#arguments + 1] = fn.arguments
  elseif type(fn.arguments) == "table" then -- some servers give the object itself
    call.object = fn.arguments
  end
end

local function is_object(value)
  return type(value) == "table" and value[1] == nil and getmetatable(value) == nil
end

-- {id, name, arguments, invalid_arguments?}: no arguments are {}, broken ones are never guessed.
local function finished_call(call)
  local out = { id = call.id or "call_" .. core.ulid.next(), name = call.name, arguments = {} }
  local text = whole("", table.concat(call.arguments), true)
  if is_object(call.object) then
    out.arguments = call.object
  elseif text:find "%S" then
    local ok, value = pcall(json.decode, text)
    if ok and is_object(value) then out.arguments = value else out.invalid_arguments = text end
  end
  return out
end

-- ---- chunks -------------------------------------------------------------------------------

local function count(value)
  return math.type(value) and math.tointeger(value) or nil
end

local function sub_count(usage, group, field)
  local details = usage[group]
  return type(details) == "table" and count(details[field]) or nil
end

-- https://platform.openai.com/docs/api-reference/chat/object, and DeepSeek's prompt_cache_hit_tokens.
local function usage_of(usage)
  local input, output = count(usage.prompt_tokens) or 0, count(usage.completion_tokens) or 0
  return {
    input_tokens = input, output_tokens = output, total_tokens = count(usage.total_tokens) or input + output,
    cached_input_tokens = sub_count(usage, "prompt_tokens_details", "cached_tokens")
      or count(usage.prompt_cache_hit_tokens),
    reasoning_tokens = sub_count(usage, "completion_tokens_details", "reasoning_tokens"),
  }
end

-- Fields that go back to the server unchanged with the next turn: texts are joined, lists appended.
function Collector:carry(delta)
  for _, field in ipairs(self.carry_fields) do
    local value, kept = delta[field], self.carried[field]
    if type(value) == "string" then
      self.carried[field] = (kept or "") .. value
    elseif type(value) == "table" and type(kept) == "table" then
      table.move(value, 1, #value, #kept + 1, kept)
    elseif type(value) == "table" then
      self.carried[field] = value
    end
  end
end

-- A delta of a stream, or (is_whole) a message.
function Collector:take_delta(delta, is_whole)
  if is_text(delta.reasoning_content) then
    self:say("reasoning", delta.reasoning_content)
  elseif is_text(delta.reasoning) then
    self:say("reasoning", delta.reasoning)
  end
  if is_text(delta.content) then
    self:say("delta", delta.content)
  elseif type(delta.content) == "table" then
    self:say_parts(delta.content, "delta")
  end
  if is_text(delta.refusal) then
    self.refused = true
    self:say("delta", delta.refusal)
  end
  if type(delta.tool_calls) == "table" then
    for _, fragment in ipairs(delta.tool_calls) do self:add_call(fragment, is_whole) end
  end
  if self.carry_fields[1] then self:carry(delta) end
end

local function is_error(value, event_type)
  if is_text(value.error) or type(value.error) == "table" then return true end
  return type(value.choices) ~= "table" and (event_type == "error" or is_text(value.message))
end

-- A decoded chunk or answer. Raises what it says has gone wrong.
function Collector:take(value, event_type)
  if is_error(value, event_type) then error(http_error.in_stream(self.who, self.headers, value), 0) end
  if type(value.usage) == "table" then self.usage = usage_of(value.usage) end
  if is_text(value.id) then self.id = value.id end
  local choice = type(value.choices) == "table" and value.choices[1]
  if type(choice) ~= "table" then return false end
  if type(choice.delta) == "table" then
    self:take_delta(choice.delta, false)
  elseif type(choice.message) == "table" then
    self:take_delta(choice.message, true)
  end
  if is_text(choice.finish_reason) then
    self.finish_reason, self.life = choice.finish_reason, true
  end
  return true
end

-- The data of an event, decoded.
function Collector:take_exact(data, event_type)
  if data:find "^%s*%[DONE%]%s*$" then
    self.done = true
    return
  end
  if not data:find "%S" then return end
  local ok, value = pcall(json.decode, data, WTF8)
  if not ok or type(value) ~= "table" then
    error(http_error.malformed(self.who, "an event is not a JSON object", data), 0)
  end
  self:take(value, event_type)
end

-- ---- the stream ---------------------------------------------------------------------------

-- Comments, pings and empty deltas are no sign of life.
local function note_life(collector, response)
  if not collector.life then return end
  collector.life = false
  response:alive()
end

local function next_exact(collector, response)
  local data, event_type = response:next_event()
  if not data then return false end
  collector.seen = true
  collector:take_exact(data, event_type)
  note_life(collector, response)
  return true
end

-- What was picked of a chunk beside its text; `failure` is an error that is no object.
function Collector:take_picked(thought, refusal, finish, failure)
  if is_text(failure) then error(http_error.in_stream(self.who, self.headers, { error = failure }), 0) end
  if is_text(thought) then self:say("reasoning", thought) end
  if is_text(refusal) then
    self.refused = true
    self:say("delta", refusal)
  end
  if is_text(finish) then
    self.finish_reason, self.life = finish, true
  end
end

-- Takes one event; false at the end of the stream.
local function next_picked(collector, response)
  local picked, content, thought, other_thought, refusal, finish, id, failure, message =
    response:next_pick(PICKER)
  if picked == nil then return false end
  if not collector.seen then collector.seen = true end
  if not picked then
    collector:take_exact(content, thought) -- the event's data and type
  else
    if content and content ~= "" and type(content) == "string" then collector:say("delta", content) end
    if not collector.id and is_text(id) then collector.id = id end
    thought = thought or other_thought
    if thought or refusal or finish or failure or message then
      local is_answer = content or thought or refusal or finish
      collector:take_picked(thought, refusal, finish, failure or not is_answer and message)
    end
  end
  note_life(collector, response)
  return true
end

-- Runs fn(...) for at most so long. What the connection does then is no mistake any more, nor that it
-- takes too long: the answer is complete.
local function at_leisure(ms, fn, ...)
  local ok, err = task.deadline(ms, "http", fn, ...)
  if ok then return end
  task.check()
  if not http_error.is_transport(err) then error(err, 0) end
end

local function read_tail(collector, response)
  while not collector.done and collector:next(response) do end -- luacheck: ignore 542
end

local function read_end(_, response)
  while response:next_event() do end -- luacheck: ignore 542
end

---Reads a stream to its end. Raises when it ends before the model has finished.
---@param response harness.HttpResponse
function Collector:read(response)
  while not self.finish_reason and not self.done do
    if not self:next(response) then
      if self.seen or self.events_expected then error(http_error.truncated(self.who), 0) end
      local kind = self.headers["content-type"] or "no content-type"
      error(http_error.malformed(self.who, ("it is no stream of events (%s)"):format(kind)), 0)
    end
  end
  at_leisure(TAIL_MS, read_tail, self, response)
  if self.done then at_leisure(END_MS, read_end, self, response) end
end

---Takes a whole answer that was no stream.
---@param text string
function Collector:read_answer(text)
  local ok, value = pcall(json.decode, text, WTF8)
  local wrong = (not ok or type(value) ~= "table") and "it is not a JSON object"
    or not self:take(value) and "it has no choices"
  if wrong then error(http_error.malformed(self.who, wrong, text), 0) end
end

-- ---- the reply ----------------------------------------------------------------------------

local FINISH <const> = {
  stop = "stop", length = "length", tool_calls = "tool_calls", content_filter = "content_filter",
  error = "error", function_call = "tool_calls", max_tokens = "length", model_length = "length",
  refusal = "content_filter",
}

function Collector:finish(has_calls)
  if self.refused then return "content_filter" end
  local reason = FINISH[self.finish_reason] or "stop"
  if has_calls and reason == "stop" then return "tool_calls" end
  return reason
end

function Collector:finished_calls()
  local out = {}
  for _, call in ipairs(self.calls) do
    if call.name ~= "" then
      out[#out + 1] = finished_call(call)
    elseif self.finish_reason ~= "length" then
      error(http_error.malformed(self.who, "a tool call has no name"), 0)
    end
  end
  return out[1] and out or nil
end

function Collector:text_of(kind)
  local voice = self[kind]
  if voice.held ~= "" then self:say(kind, "", true) end
  return table.concat(voice)
end

---What was gathered, as a reply. Delivers what was held back of an incomplete character.
---@return table
function Collector:reply()
  self:text_of "reasoning"
  local text, calls = self:text_of "delta", self:finished_calls()
  return {
    text = text, tool_calls = calls, finish_reason = self:finish(calls ~= nil), usage = self.usage,
    response_id = self.id, provider = next(self.carried) and { name = "openai", data = self.carried } or nil,
  }
end

---@param who harness.ModelPeer
---@param headers table<string, string> of the response
---@param on_event? fun(kind: "delta"|"reasoning", text: string)
---@param carry_fields string[]
---@return harness.OpenaiCollector
function M.collector(who, headers, on_event, carry_fields)
  local kind = headers["content-type"] or ""
  return setmetatable({
    who = who, headers = headers, on_event = on_event, carry_fields = carry_fields, carried = {},
    done = false, life = false,
    next = carry_fields[1] and next_exact or next_picked,
    events_expected = kind:lower():find("text/event-stream", 1, true) ~= nil,
    delta = { n = 0, held = "" }, reasoning = { n = 0, held = "" }, calls = {}, by_index = {}, by_id = {},
  }, Collector)
end

return M
