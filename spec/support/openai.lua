--- A Chat Completions server that says what a spec tells it to, and the provider that asks it.
---
---   local peer = openai.start()                       -- in setup(); peer:close() in teardown()
---   local reply, deltas = peer:ask(openai.stream(openai.text "a", openai.text("b", "stop"), openai.DONE))
---   local err = peer:fails(openai.body("no", "HTTP/1.1 500 X"))

local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local make = require "harness.providers.openai"
local servers = require "spec.support.server"
local task = require "harness.task"

local M = {}

--- The key that `ask` uses: nothing masks it by its looks.
M.KEY = "a-key-that-looks-like-none"

-- ---- answers, as steps of the server ------------------------------------------------------

--- The head of a stream.
M.SSE = servers.head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")

--- One event. A table is encoded, text is taken as it is.
function M.data(value)
  return "data: " .. (type(value) == "string" and value or json.encode(value)) .. "\n\n"
end

M.DONE = M.data "[DONE]"

--- A chunk with this delta.
function M.delta(fields, finish)
  return M.data { id = "r1", choices = { { index = 0, delta = fields, finish_reason = finish
    or json.null } } }
end

function M.text(content, finish)
  return M.delta({ content = content }, finish)
end

function M.usage(input, output)
  return M.data { choices = json.array {}, usage = { prompt_tokens = input, completion_tokens = output } }
end

--- A whole stream.
function M.stream(...)
  return { { "send", M.SSE .. servers.chunk(table.concat { ... }) .. servers.chunk() } }
end

--- The same, but the connection is closed instead of a proper end.
function M.cut_stream(...)
  return { { "send", M.SSE .. servers.chunk(table.concat { ... }) }, { "end" } }
end

--- A response with this body; further arguments are header lines.
function M.body(value, status_line, ...)
  local bytes = type(value) == "string" and value or json.encode(value)
  local head = table.concat({ status_line or "HTTP/1.1 200 OK", "Content-Type: application/json",
    "Content-Length: " .. #bytes, ... }, "\r\n")
  return { { "send", head .. "\r\n\r\n" .. bytes } }
end

--- A whole answer with this message.
function M.answer(message, finish, more)
  local choice = { index = 0, message = message, finish_reason = finish or "stop" }
  local value = { id = "r2", choices = { choice } }
  for name, field in pairs(more or {}) do value[name] = field end
  return M.body(value)
end

-- ---- asking -------------------------------------------------------------------------------

--- A request as harness.model makes it.
function M.request(fields)
  local full = {
    model = "m", method = "text", messages = { { role = "user", content = "hi" } }, count = 1, options = {},
    provider_options = {}, stream = true, call_id = "call",
  }
  for name, value in pairs(fields or {}) do full[name] = value end
  return full
end

local Peer = {}
Peer.__index = Peer

function M.start()
  local server = servers.start()
  return setmetatable({ server = server, http = server.http }, Peer)
end

function Peer:close()
  self.server:close()
end

function Peer:get(path)
  return self.server:get(path)
end

--- A provider whose requests are answered by these steps of the server.
function Peer:provider(steps, options)
  local settings = { base_url = self.http, api_key = M.KEY }
  for name, value in pairs(options or {}) do settings[name] = value end
  settings.headers = servers.script(steps, options and options.headers)
  return make(settings)
end

--- The reply, the deltas and the pieces of reasoning.
function Peer:ask(steps, fields, options)
  local heard = { delta = {}, reasoning = {} }
  local reply = self:provider(steps, options):generate(M.request(fields), function(kind, text)
    table.insert(heard[kind], text)
  end)
  return reply, heard.delta, heard.reasoning
end

--- The error that asking raises. No form of it may show the key.
function Peer:fails(steps, fields, options)
  local ok, err = pcall(self.ask, self, steps, fields, options)
  assert(not ok, "it did not fail")
  assert(errors.is(err), tostring(err))
  assert(not tostring(err):find(M.KEY, 1, true) and not json.encode(err):find(M.KEY, 1, true),
    "it shows the key")
  return err
end

-- ---- leaks --------------------------------------------------------------------------------

--- What is open. Idle connections, which stay for the next request, are no handles.
function M.open_things()
  local live = core.live()
  live.transfers = core.http.stats().transfers
  return live
end

--- Raises when more or less is open than before.
function M.check_nothing_open(before)
  task.sleep(5) -- a handle is gone one turn after it was closed
  local after = M.open_things()
  for name, count in pairs(before) do
    assert(after[name] == count, ("%s: %s before, %s after"):format(name, count, tostring(after[name])))
  end
end

return M
