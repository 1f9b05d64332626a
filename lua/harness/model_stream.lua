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

-- Whoever waits looks again; who finds nothing waits on.
local function wake(stream)
  local waiting = stream._waiting
  if not waiting[1] then return end
  stream._waiting = {}
  for _, token in ipairs(waiting) do core.push(token) end
end

local function add_piece(stream, kind, text)
  local last = stream._pieces[#stream._pieces]
  if last and last.kind == kind then
    last[#last + 1] = text
  else
    table.insert(stream._pieces, { kind = kind, text })
  end
  wake(stream)
end

local function release_held(stream)
  add_piece(stream, "delta", table.concat(stream._held))
  stream._held = {}
end

-- Everybody sees the object grow, but not at each token of a long one, which would be read anew each time.
local function add_to_object(stream, request, who, run, text)
  table.insert(stream._all, text)
  table.insert(stream._held, text)
  local size = stream._size + #text
  stream._size = size
  if size < stream._next_size then return end
  stream._next_size = size + size // GROWTH + 1
  release_held(stream)
  if not run.readers[1] then return end
  local value = partial.decode(table.concat(stream._all))
  if value ~= nil then run:emit("model.object.partial", who.agent_id, who.invocation_id, request.call_id, value) end
end

local function receiver(stream, request, who, run)
  local is_object = request.schema ~= nil
  return function(kind, text)
    stream._spoke = stream._spoke or kind == "delta"
    if is_object and kind == "delta" then return add_to_object(stream, request, who, run, text) end
    add_piece(stream, kind, text)
    run:delta(kind, who.agent_id, who.invocation_id, request.call_id, text)
  end
end

local function chunk_of(stream, piece)
  local text = table.concat(piece)
  if not stream._is_object or piece.kind ~= "delta" then return { type = piece.kind, text = text } end
  local so_far = stream._spoke and table.concat(stream._all) or text
  return { type = "partial", partial = partial.decode(so_far), text = text }
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

local function wait_for_more(stream)
  local t = task.waiting_task()
  table.insert(stream._waiting, t.token)
  task.park(t)
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
    if not self._task:done() then
      wait_for_more(self)
    elseif self._held[1] then
      release_held(self)
    else
      return take_end(self)
    end
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
    _pieces = {}, _all = {}, _size = 0, _next_size = 1, _given = 0, _held = {},
    _is_object = request.schema ~= nil, _waiting = {}, _spoke = false,
  }, Stream)
  handle._run:check_open()
  local on_event = receiver(stream, request, handle._who, handle._run)
  task.waiting_task()
  stream._task = task.spawn(function()
    local reply = handles.ask(handle, method, request, on_event)
    -- A fallback that cannot stream says all at once, and nothing while it speaks.
    if not stream._spoke and reply.text ~= "" then add_piece(stream, "delta", reply.text) end
    return reply
  end)
  stream._task.on_end = function() wake(stream) end -- also of a task that is stopped before it starts
  return stream
end

return M
