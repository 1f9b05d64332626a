--- `ctx.models.ALIAS`: models asked directly, by workflows and hand-written agents.
---
---     local reply = ctx.models.fast:text { prompt = "Say hello." }          -- reply.text, reply.usage, …
---     local reply = ctx.models.fast:object { messages = list, schema = s.object { … } }   -- reply.object
---     for chunk in ctx.models.fast:text_stream { prompt = "Tell me." } do io.write(chunk.text or "") end
---     ctx.models.embedder:embed { input = { "a", "b" } }.embeddings[1].vector
---     ctx.models.ranker:rerank { query = "q", documents = { { id = "1", text = "…" } } }.results
---
--- Retry, fallback, deadlines, events, usage and budgets are those of any model call (model.lua). A
--- request may have a `timeout_ms` for all of it, and a `signal` that stops it alone.

local bounded = require "harness.bounded"
local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local lookup = require "harness.lookup"
local model = require "harness.model"
local requests = require "harness.model_request"

local M = {}

---@class harness.ModelReply
---@field text string
---@field content string the same, by the name that messages use
---@field tool_calls table[]? {id, name, arguments}
---@field usage table?
---@field finish_reason string
---@field object any of object and object_stream
---@field provider table? what only this provider understands; give it back with the message

---@class harness.ModelHandle
---@field text fun(self: harness.ModelHandle, request: table): harness.ModelReply the whole answer
---@field object fun(self: harness.ModelHandle, request: table): harness.ModelReply an object of the schema
---@field text_stream fun(self: harness.ModelHandle, request: table): harness.ModelStream while it is spoken
---@field object_stream fun(self: harness.ModelHandle, request: table): harness.ModelStream while it grows
local Handle = {}
Handle.__index = Handle
Handle.__name = "harness.ModelHandle"

local function public_reply(reply)
  return {
    text = reply.text or "", content = reply.text or "", tool_calls = reply.tool_calls, usage = reply.usage,
    finish_reason = reply.finish_reason, object = reply.object, provider = reply.provider,
  }
end

-- What the model gave as the object, checked. A reply that asks for tools has none yet.
local function take_object(handle, reply, request)
  if reply.tool_calls and #reply.tool_calls > 0 then return end
  local value, problem = reply.object, nil
  if value == nil then
    local ok
    ok, value = pcall(json.decode, reply.text or "")
    if not ok then problem = { { path = "$", message = "the answer is not valid JSON: " .. value.message } } end
  end
  if not problem then
    local ok, checked = request.schema:check(value)
    if ok then
      reply.object = checked
      handle._run:emit("model.object", handle._who.agent_id, handle._who.invocation_id, request.call_id,
        handle._run:shown(checked))
      return
    end
    problem = checked
  end
  errors.raise("VALIDATION_ERROR", ("the object of model %q does not fit its schema: %s: %s"):format(handle._alias,
    problem[1].path, problem[1].message), { where = "model_object", issues = problem, alias = handle._alias })
end

local function call(handle, method, request, on_event)
  local run = handle._run
  run:check_open()
  if not request.limits then return model.call(run, handle._who, handle._alias, method, request, on_event) end
  return bounded.call(request.limits, "model", model.call, run, handle._who, handle._alias, method, request, on_event)
end

--- Asks the model of the handle: the shared part of its methods.
---@param handle harness.ModelHandle
---@param method string
---@param request table checked
---@param on_event? fun(kind: string, text: string)
---@return harness.ModelReply
function M.ask(handle, method, request, on_event)
  local reply = call(handle, method, request, on_event)
  if request.schema then take_object(handle, reply, request) end
  return public_reply(reply)
end

local function chat(method)
  return function(self, request)
    local checked = requests.chat(method, request)
    checked.call_id = core.ulid.next()
    return M.ask(self, method, checked)
  end
end

local function stream(method)
  return function(self, request)
    local checked = requests.chat(method, request)
    checked.call_id, checked.stream = core.ulid.next(), true
    return require("harness.model_stream").start(self, method, checked)
  end
end

-- They raise MODEL_ERROR, MODEL_CAPABILITY_ERROR, OPERATION_TIMEOUT, …; streams do so while they are read.
Handle.text, Handle.object = chat "text", chat "object"
Handle.text_stream, Handle.object_stream = stream "text_stream", stream "object_stream"

local function mismatch(handle, reason, message)
  errors.raise("MODEL_ERROR", ("model %q: %s"):format(handle._alias, message),
    { reason = reason, alias = handle._alias })
end

local function is_vector(vector)
  return type(vector) == "table" and type(vector[1]) == "number"
end

--- Vectors of texts, in the order of the texts.
---@param request { input: string|string[], dimensions?: integer, provider_options?: table }
---@return { embeddings: { index: integer, vector: number[] }[], usage: table? }
function Handle:embed(request)
  local checked, run, who = requests.embed(request), self._run, self._who
  checked.call_id = core.ulid.next()
  checked.check = function(reply)
    local list = reply.embeddings
    if type(list) ~= "table" or #list ~= #checked.input then
      mismatch(self, "embedding_count_mismatch", ("it gave %s embeddings for %d inputs"):format(
        type(list) == "table" and #list or "no", #checked.input))
    end
    for i, item in ipairs(list) do
      if type(item) ~= "table" or item.index ~= i or not is_vector(item.vector) then
        mismatch(self, "embedding_count_mismatch", ("embedding %d is out of order, or no vector"):format(i))
      end
    end
  end
  checked.completed = function(reply)
    local list = reply.embeddings
    run:emit("model.embedding.completed", who.agent_id, who.invocation_id, #list, #list[1].vector, reply.usage)
  end
  local reply = call(self, "embed", checked)
  return { embeddings = reply.embeddings, usage = reply.usage }
end

local function check_ranking(handle, results, checked)
  if type(results) ~= "table" then mismatch(handle, "rerank_result_mismatch", "it gave no results") end
  for i, result in ipairs(results) do
    local document = type(result) == "table" and checked.documents[result.index]
    local score = document and result.score
    if not document or document.id ~= result.id or type(score) ~= "number" or score ~= score then
      mismatch(handle, "rerank_result_mismatch", ("result %d names no document that was given"):format(i))
    end
  end
  table.sort(results, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.index < b.index
  end)
end

--- Documents by how well they answer the query, best first.
---@param request table query, documents = {{id, text}, ...}, top_n?, provider_options?
---@return { results: { id: string, index: integer, score: number }[], usage: table? }
function Handle:rerank(request)
  local checked, run, who = requests.rerank(request), self._run, self._who
  checked.call_id = core.ulid.next()
  checked.check = function(reply) check_ranking(self, reply.results, checked) end
  checked.completed = function(reply)
    run:emit("model.rerank.completed", who.agent_id, who.invocation_id, #reply.results, checked.top_n, reply.usage)
  end
  local reply = call(self, "rerank", checked)
  return { results = reply.results, usage = reply.usage }
end

--- The models of a harness as a run's code asks them; an unknown alias is an error.
---@param run harness.Run
---@param who harness.Invocation
---@return table<string, harness.ModelHandle>
function M.for_run(run, who)
  return lookup.handles(run.definition.models, "model", "VALIDATION_ERROR", function(_, alias)
    return setmetatable({ _run = run, _who = who, _alias = alias }, Handle)
  end)
end

return M
