--- What `text_stream` and `object_stream` of a model handle give: chunks while the model speaks.
---
---     for chunk in stream do
---       if chunk.type == "delta" then io.write(chunk.text) end    -- also "reasoning", "partial", "tool_call"
---     end                                                         -- the last one is { type = "finish", … }
---     local reply = stream:result()                               -- waits; raises the call's error
---
--- The call runs in a child task of whoever began it. What is not read yet is kept joined, so that a
--- reader that is slow gets fewer, longer chunks and loses nothing.

local handles -- harness.model_handle, which loads this file
local partial = require "harness.json_partial"
local task = require "harness.task"
local core = require "harness.core"

local M = {}

---@class harness.ModelStream
---@operator call: table?
local Stream = {}
Stream.__index = Stream
Stream.__name = "harness.ModelStream"

local GROWTH <const> = 8 -- a partial object is made anew when its text has grown by an eighth

local function wake(stream)
  local waiting = stream._waiting
  if waiting then
    stream._waiting = nil
    core.push(waiting)
  end
end

-- Readers of the run's events see the object grow, but not at each token of a long one.
local function emit_partial(stream, request, who, run)
  local size = stream._size
  if not run.readers[1] or size < stream._next_size then return end
  stream._next_size = size + size // GROWTH + 1
  local value = partial.decode(table.concat(stream._all))
  if value ~= nil then run:emit("model.object.partial", who.agent_id, who.invocation_id, request.call_id, value) end
end

local function receiver(stream, request, who, run)
  local is_object = request.schema ~= nil
  return function(kind, text)
    local last = stream._pieces[#stream._pieces]
    if last and last.kind == kind then
      last[#last + 1] = text
    else
      table.insert(stream._pieces, { kind = kind, text })
    end
    if not is_object or kind ~= "delta" then
      run:delta(kind, who.agent_id, who.invocation_id, request.call_id, text)
    else
      table.insert(stream._all, text)
      stream._size = stream._size + #text
      emit_partial(stream, request, who, run)
    end
    wake(stream)
  end
end

local function chunk_of(stream, piece)
  local text = table.concat(piece)
  if not stream._is_object or piece.kind ~= "delta" then return { type = piece.kind, text = text } end
  return { type = "partial", partial = partial.decode(table.concat(stream._all)), text = text }
end

-- After the pieces: the tool calls, then one finish.
local function take_end(stream)
  local reply = stream._task:await()
  local calls = reply.tool_calls or {}
  stream._given = stream._given + 1
  if stream._given <= #calls then return { type = "tool_call", call = calls[stream._given] } end
  if stream._given > #calls + 1 then return nil end
  return { type = "finish", usage = reply.usage, finish_reason = reply.finish_reason, object = reply.object }
end

--- The next chunk, waiting for it; nil after the last one. Raises the call's error.
---@return table?
function Stream:next()
  while true do
    local piece = self._pieces[1]
    if piece then
      table.remove(self._pieces, 1)
      return chunk_of(self, piece)
    end
    if self._task:done() then return take_end(self) end
    local t = task.waiting_task()
    self._waiting = t.token
    task.park(t)
  end
end

Stream.__call = Stream.next

--- The whole reply, once it is there; raises the call's error. Needs no reading of chunks.
---@return harness.ModelReply
function Stream:result()
  return self._task:await()
end

--- Stops the call; the connection is closed.
---@param reason any?
function Stream:cancel(reason)
  self._task:cancel(reason)
end

Stream.__close = function(self) self:cancel "its stream was closed" end

--- Begins the call.
---@param handle harness.ModelHandle
---@param method "text_stream"|"object_stream"
---@param request table checked
---@return harness.ModelStream
function M.start(handle, method, request)
  handles = handles or require "harness.model_handle"
  local stream = setmetatable({
    _pieces = {}, _all = {}, _size = 0, _next_size = 1, _given = 0, _is_object = request.schema ~= nil, _waiting = nil,
  }, Stream)
  local on_event = receiver(stream, request, handle._who, handle._run)
  task.waiting_task()
  stream._task = task.spawn(function()
    local _ <close> = setmetatable({}, { __close = function() wake(stream) end })
    return handles.ask(handle, method, request, on_event)
  end)
  return stream
end

return M
