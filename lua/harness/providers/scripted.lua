--- The scripted provider: canned turns, for tests and for examples that run offline (design 06).
---
---     local model = harness.providers.scripted {
---       { tool_calls = { { name = "find_order", arguments = { id = "7" } } } },
---       { text = "It is on its way." },
---     }
---
--- A turn: { text | chunks | object | tool_calls | embeddings | results | error, usage?, finish_reason?,
--- delay_ms?, chunk_delay_ms?, reasoning? } or a function(request, n) that returns one. Turns are used in order;
--- one call too many is a MODEL_ERROR with reason "script_exhausted".

local errors = require "harness.errors"
local task = require "harness.task"

local RECORD <const> = 1000 -- requests that are kept

local Scripted = {}

local function of_type(expected)
  return function(value)
    if type(value) ~= expected then return ("expected a %s, got %s"):format(expected, type(value)) end
  end
end

local function milliseconds(value)
  if type(value) ~= "number" or value ~= value or value < 0 then return "expected milliseconds, 0 or more" end
end

local function strings(value)
  if type(value) ~= "table" then return "expected a list of strings, got " .. type(value) end
  for i, item in ipairs(value) do
    if type(item) ~= "string" then return ("item %d: expected a string, got %s"):format(i, type(item)) end
  end
end

local CALL_FIELDS <const> = { name = true, arguments = true, id = true, invalid_arguments = true }

local function tool_calls(value)
  if type(value) ~= "table" or #value == 0 and next(value) ~= nil then
    return "expected a list of calls {name, arguments?, id?}"
  end
  for i, call in ipairs(value) do
    if type(call) ~= "table" or type(call.name) ~= "string" then
      return ("call %d: expected a table {name, arguments?, id?}"):format(i)
    end
    for field in pairs(call) do
      if not CALL_FIELDS[field] then
        return ("call %d: there is no field %q; a call has name, arguments, id"):format(i, tostring(field))
      end
    end
    if call.arguments ~= nil and type(call.arguments) ~= "table" then
      return ("call %d: expected arguments as a table, got %s"):format(i, type(call.arguments))
    end
  end
end

-- What an embed call gets: one vector for each input.
local function vectors(value)
  if type(value) ~= "table" or #value == 0 then return "expected a list of vectors" end
  for i, vector in ipairs(value) do
    if type(vector) ~= "table" or type(vector[1]) ~= "number" then
      return ("vector %d: expected a list of numbers"):format(i)
    end
  end
end

-- What a rerank call gets: scores of documents, by their 1-based index.
local function scores(value)
  if type(value) ~= "table" then return "expected a list of {index, score}, got " .. type(value) end
  for i, result in ipairs(value) do
    if type(result) ~= "table" or math.type(result.index) ~= "integer" or type(result.score) ~= "number" then
      return ("result %d: expected a table {index, score}"):format(i)
    end
  end
end

-- Field -> what is wrong with its value.
local TURN_FIELDS <const> = {
  text = of_type "string", chunks = strings, object = function() end, tool_calls = tool_calls,
  error = of_type "table", usage = of_type "table", finish_reason = of_type "string", delay_ms = milliseconds,
  chunk_delay_ms = milliseconds, reasoning = of_type "string", embeddings = vectors, results = scores,
}

local CAPABILITIES <const> = {
  "text", "text_stream", "object", "object_stream", "tool_use", "vision_input", "audio_input", "file_input",
  "embeddings", "rerank",
}

local function bad_turn(n, what)
  errors.raise("HARNESS_CONFIG_ERROR", ("scripted provider, turn %s: %s"):format(tostring(n), what),
    { reason = "invalid_turn", id = tostring(n) })
end

local function check_turn(turn, n)
  if type(turn) == "function" then return end
  if type(turn) ~= "table" then bad_turn(n, "expected a table or a function, got " .. type(turn)) end
  for field, value in pairs(turn) do
    local problem_of = TURN_FIELDS[field]
    if not problem_of then
      bad_turn(n, ("there is no field %q; a turn has one of text, chunks, object, tool_calls, embeddings, results, "
        .. "error, and usage, finish_reason, delay_ms, chunk_delay_ms, reasoning"):format(tostring(field)))
    end
    local problem = problem_of(value)
    if problem then bad_turn(n, ("%s: %s"):format(field, problem)) end
  end
end

local function check_turns(turns)
  for key in pairs(turns) do
    if math.type(key) ~= "integer" then
      bad_turn("list", ("expected a list of turns, got a table with the field %q"):format(tostring(key)))
    end
  end
  for n, turn in ipairs(turns) do check_turn(turn, n) end
end

local function record_option(options)
  local record = options and options.record
  if record == nil then return RECORD end
  if math.type(record) == "integer" and record >= 0 then return record end
  return bad_turn("options", "record: expected how many requests to keep, 0 or more")
end

-- Errors go the way of a real HTTP error.
local function raise_error(self, request, given)
  local status = given.status
  local message = given.message or "scripted error"
  errors.raise(given.code or "MODEL_ERROR",
    status and ("the model provider answered HTTP %d: %s"):format(status, message) or message, {
      provider = self.id, model = request.model, method = request.method, status = status,
      reason = given.reason or (status and "http_error" or "network"), retry_after_ms = given.retry_after_ms,
      provider_message = given.message,
    })
end

-- A tool call has its id, made up when the turn has none.
local function calls_of(turn, n)
  local calls = {}
  for i, call in ipairs(turn.tool_calls) do
    calls[i] = {
      id = call.id or ("call_%d_%d"):format(n, i), name = call.name, arguments = call.arguments or {},
      invalid_arguments = call.invalid_arguments,
    }
  end
  return calls
end

local function usage_of(turn)
  local usage = turn.usage
  if not usage then return { input_tokens = 0, output_tokens = 0, total_tokens = 0 } end
  local full = { total_tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) }
  for key, value in pairs(usage) do full[key] = value end
  return full
end

local function speak(turn, on_event)
  local text = turn.text
  if turn.chunks then
    for i, chunk in ipairs(turn.chunks) do
      if i > 1 and turn.chunk_delay_ms then task.sleep(turn.chunk_delay_ms) end
      if on_event then on_event("delta", chunk) end
    end
    return table.concat(turn.chunks)
  end
  if text and text ~= "" and on_event then on_event("delta", text) end
  return text
end

-- A list that only grows is remembered as the list and its length, and copied when somebody looks.
local function remember(self, request)
  local kept = self._kept
  if self._record <= 0 then return end
  local n = self._count
  kept[(n - 1) % self._record + 1] = {
    model = request.model, list = request.messages or {}, n = request.count or #(request.messages or ""),
    tools = request.tools, input = request.input, query = request.query, documents = request.documents,
    schema = request.schema, options = request.options, provider_options = request.provider_options,
    tool_choice = request.tool_choice,
  }
end

local function recorded(self)
  local out, kept = {}, self._kept
  local first = math.max(1, self._count - self._record + 1)
  for n = first, self._count do
    local entry = kept[(n - 1) % self._record + 1]
    if entry then
      out[#out + 1] = {
        model = entry.model, messages = table.move(entry.list, 1, entry.n, 1, {}), tools = entry.tools or {},
        schema = entry.schema, options = entry.options, provider_options = entry.provider_options,
        tool_choice = entry.tool_choice, input = entry.input, query = entry.query, documents = entry.documents,
      }
    end
  end
  return out
end

-- A function may give the same turn again and again.
local function check_once(self, turn, n)
  if self._checked[turn] then return end
  if type(turn) ~= "table" then bad_turn(n, "the function must return a turn, got " .. type(turn)) end
  check_turn(turn, n)
  self._checked[turn] = true
end

-- The turn of this call: its delay has passed, and it is no error.
local function take_turn(self, request)
  local n = self._count + 1
  self._count = n
  remember(self, request)
  local turn = self._next or self._turns[n]
  if type(turn) == "function" then
    turn = turn(request, n)
    check_once(self, turn, n)
  end
  if not turn then
    errors.raise("MODEL_ERROR", ("the scripted model has %d turns, and this is call %d"):format(#self._turns, n),
      { provider = self.id, model = request.model, method = request.method, reason = "script_exhausted" })
  end
  if turn.delay_ms then task.sleep(turn.delay_ms) end
  if turn.error then raise_error(self, request, turn.error) end
  return turn, n
end

function Scripted:generate(request, on_event)
  local turn, n = take_turn(self, request)
  if turn.reasoning and on_event then on_event("reasoning", turn.reasoning) end
  local text = speak(turn, on_event)
  local calls = turn.tool_calls and calls_of(turn, n) or nil
  return {
    text = text, object = turn.object, tool_calls = calls, usage = usage_of(turn),
    finish_reason = turn.finish_reason or (calls and "tool_calls") or "stop",
  }
end

function Scripted:embed(request)
  local turn, n = take_turn(self, request)
  if not turn.embeddings then bad_turn(n, "it was asked for embeddings, and the turn has none") end
  local list = {}
  for i, vector in ipairs(turn.embeddings) do list[i] = { index = i, vector = vector } end
  return { embeddings = list, usage = usage_of(turn) }
end

function Scripted:rerank(request)
  local turn, n = take_turn(self, request)
  if not turn.results then bad_turn(n, "it was asked to rank documents, and the turn has no results") end
  local list = {}
  for i, result in ipairs(turn.results) do
    local document = request.documents[result.index]
    list[i] = { index = result.index, score = result.score, id = document and document.id }
  end
  return { results = list, usage = usage_of(turn) }
end

Scripted.__index = function(self, key)
  if key == "requests" then return recorded(self) end
  return Scripted[key]
end
Scripted.__name = "harness.providers.scripted"

--- Makes a scripted provider. `requests` of it are the last 1,000 requests (option `record`), in order.
---@param turns table[]|fun(request: table, n: integer): table
---@param options? { record?: integer }
return function(turns, options)
  if type(turns) ~= "table" and type(turns) ~= "function" then
    bad_turn("list", "expected a list of turns or a function(request, n), got " .. type(turns))
  end
  if type(turns) == "table" then
    check_turns(turns)
  end
  return setmetatable({
    id = "scripted", cooperative = true, capabilities = CAPABILITIES,
    _turns = type(turns) == "table" and turns or {}, _next = type(turns) == "function" and turns or nil, _count = 0,
    _checked = setmetatable({}, { __mode = "k" }), _kept = {}, _record = record_option(options),
  }, Scripted)
end
