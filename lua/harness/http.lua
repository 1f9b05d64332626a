--- The HTTP client as a task sees it.
---
---   local response <close> = http.request { url = "https://api.example.com/v1/x", body = text }
---   if response.status ~= 200 then error(response:text()) end
---   for data, type in response:events() do print(type, data) end
---
--- `request` waits for the head of the response; the body is pulled. Leaving the scope closes the
--- response, and with it the socket when the body was not complete, so that the server notices.
---
--- What goes wrong in the world is raised as HTTP_ERROR (meta.reason: request, unavailable, resolve,
--- connect, tls, network, protocol, too_big, no_memory) or OPERATION_TIMEOUT (meta.scope "http",
--- meta.phase: connect, first_byte, idle, total). A status of 400 or 500 is not an error here.
--- Neither headers nor the query of a URL appear in any error.

local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"

local open = core.http.open
local wait, waiting_task = task.wait, task.waiting_task

local M = {}

---@class harness.HttpRequest
---@field url string http:// or https://
---@field method? string default GET, with a body POST
---@field headers? table<string, string|number>|[string, string|number][] a map, or a list of pairs
---@field body? string
---@field stream? boolean true: a 2xx response is a stream of events, unless it is JSON; false: never;
---default: when its content-type is text/event-stream
---@field connect_timeout_ms? integer resolving, connecting, TLS: default 10000. 0, here and below: none
---@field first_byte_timeout_ms? integer from there to the end of the response's head: default 120000
---@field idle_timeout_ms? integer between two pieces of the body, or two `alive` of a stream: default 90000
---@field timeout_ms? integer all in all: default none
---@field max_body_bytes? integer default 64 MiB; not for streams of events
---@field max_event_bytes? integer default 4 MiB
---@field ca_file? string PEM file with the certificates to trust, instead of the system's
---@field proxy? string|false a proxy's URL, false: none; default: as the environment says

---@class harness.HttpResponse
---@field status integer
---@field headers table<string, string> by lower-case name; several of one name are joined by ", "
---@field is_events boolean is it a stream of events?
---@field package transfer userdata
---@field package url string fit for errors
local Response = {}
Response.__index = Response
Response.__name = "harness.HttpResponse"

-- ---- errors -------------------------------------------------------------------------------

-- Without credentials, query and fragment.
local function public_url(url)
  if type(url) ~= "string" then return nil end
  local scheme, rest = url:match "^(%a+)://([^?#%c]*)"
  return scheme and scheme .. "://" .. rest:gsub("^[^/]*@", "")
end

local function fail(info, url)
  if info.kind == "timeout" then
    errors.raise("OPERATION_TIMEOUT", info.message,
      { scope = "http", phase = info.phase, timeout_ms = info.timeout_ms, url = url })
  end
  errors.raise("HTTP_ERROR", info.message, { reason = info.kind, url = url })
end

local function misuse(message, ...)
  errors.raise("VALIDATION_ERROR", "http.request: " .. message:format(...), { where = "http" })
end

-- ---- options ------------------------------------------------------------------------------

local TYPES <const> = {
  url = "string", method = "string", headers = "table", body = "string", stream = "boolean",
  connect_timeout_ms = "integer", first_byte_timeout_ms = "integer", idle_timeout_ms = "integer",
  timeout_ms = "integer", max_body_bytes = "integer", max_event_bytes = "integer",
  ca_file = "string", proxy = "string",
}

local function check_types(options)
  if type(options) ~= "table" then misuse("takes a table of options, got %s", type(options)) end
  for name, value in pairs(options) do
    local wanted = TYPES[name]
    if not wanted then misuse("unknown option %q", tostring(name)) end
    local found = math.type(value) or type(value)
    local fits = found == wanted or name == "proxy" and value == false
    if not fits then misuse("%s must be of type %s, got %s", name, wanted, found) end
    if wanted == "integer" and value < 0 then misuse("%s must be at least 0, got %d", name, value) end
  end
  if not options.url then misuse "url is missing" end
end

local function add_header(flat, name, value)
  local kind = type(value)
  if type(name) ~= "string" or kind ~= "string" and kind ~= "number" then
    misuse("headers must be a map of names to text, or a list of {name, text}")
  end
  flat[#flat + 1] = name
  flat[#flat + 1] = kind == "string" and value or tostring(value)
end

-- {name1, value1, name2, value2, ...}: a list of pairs in its order, a map in byte order.
local function flatten(headers)
  if not headers then return nil end
  local flat = {}
  if headers[1] ~= nil then
    for _, pair in ipairs(headers) do
      if type(pair) ~= "table" then misuse("a list of headers must hold pairs, got %s", type(pair)) end
      add_header(flat, pair[1], pair[2])
    end
    return flat
  end
  local names = {}
  for name in pairs(headers) do
    if type(name) ~= "string" then misuse("the names of headers must be strings, got %s", type(name)) end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do add_header(flat, name, headers[name]) end
  return flat
end

local function events_mode(stream)
  if stream == nil then return "auto" end
  return stream and "on" or "off"
end

local function core_options(options)
  return {
    url = options.url,
    method = options.method and options.method:upper(),
    headers = flatten(options.headers),
    body = options.body,
    events = events_mode(options.stream),
    connect_ms = options.connect_timeout_ms,
    first_byte_ms = options.first_byte_timeout_ms,
    idle_ms = options.idle_timeout_ms,
    total_ms = options.timeout_ms,
    max_body = options.max_body_bytes,
    max_event = options.max_event_bytes,
    ca_file = options.ca_file,
    proxy = options.proxy or options.proxy == false and "" or nil,
  }
end

-- ---- requests -----------------------------------------------------------------------------

-- Closes the transfer unless it was handed over, however the scope is left.
local Guard = {
  __close = function(guard)
    if guard.transfer then guard.transfer:close() end
  end,
}

local function await_head(transfer, url)
  while true do
    local status, headers, more = transfer:status()
    if status then return status, headers, more end
    if headers == "failed" then fail(more, url) end
    wait(transfer)
  end
end

--- Sends a request and waits for the head of the response.
---@param options harness.HttpRequest
---@return harness.HttpResponse response close it: `local response <close> = http.request {...}`
function M.request(options)
  check_types(options)
  waiting_task()
  local url = public_url(options.url)
  local transfer, info = open(core_options(options))
  if not transfer then fail(info, url) end
  local guard <close> = setmetatable({ transfer = transfer }, Guard)
  local status, headers, is_events = await_head(transfer, url)
  guard.transfer = nil
  return setmetatable({
    status = status, headers = headers, is_events = is_events, transfer = transfer, url = url,
  }, Response)
end

-- ---- responses ----------------------------------------------------------------------------

-- Returns what there is, waits when there is nothing yet, returns nothing at the end.
local function give(response, method, argument, first, ...)
  if first ~= nil then return first, ... end
  local state, info = ...
  if state == "end" then return nil end
  if state == "failed" then fail(info, response.url) end
  local transfer = response.transfer
  wait(transfer)
  return give(response, method, argument, transfer[method](transfer, argument))
end

local function need_events(response)
  if response.is_events then return end
  local kind = response.headers["content-type"] or "no content-type"
  local message = ("the response is not a stream of events (status %d, %s)"):format(response.status, kind)
  errors.raise("HTTP_ERROR", message, { reason = "protocol", status = response.status, url = response.url })
end

local function need_bytes(response)
  if not response.is_events then return end
  misuse "the body of this response is a stream of events: use events(), or ask with stream = false"
end

--- The next piece of the body, as it came: it may end inside a character. Nil at the end.
---@return string?
function Response:read()
  need_bytes(self)
  return give(self, "read", nil, self.transfer:read())
end

--- `for bytes in response:chunks() do`
---@return fun(): string?
function Response:chunks()
  return function() return self:read() end
end

--- The whole body, or what is left of it.
---@return string
function Response:text()
  local parts = {}
  for bytes in self:chunks() do parts[#parts + 1] = bytes end
  return table.concat(parts)
end

--- The next event of a stream: its data, type ("message" when it names none) and last id. Nil at
--- the end. Does not count as a sign of life: say `alive` for what is content.
---@return string? data, string type, string id
function Response:next_event()
  need_events(self)
  return give(self, "event", nil, self.transfer:event())
end

--- `for data, type, id in response:events() do`; each event counts as a sign of life.
---@return fun(): string?, string, string
function Response:events()
  need_events(self)
  return function()
    self.transfer:alive()
    return self:next_event()
  end
end

--- Picks fields straight out of the next event's JSON: true and the values that the picker names,
--- or false, the event's data and its type, when it has to be decoded exactly. Nil at the end.
---@param picker userdata from core.json.picker
---@return boolean?, any ...
function Response:next_pick(picker)
  if not self.is_events then need_events(self) end
  return give(self, "pick", picker, self.transfer:pick(picker))
end

--- Says that the last event was content: the clock between two events starts anew.
function Response:alive()
  self.transfer:alive()
end

--- Ends it; may be called again. Everything else on a closed response is an error.
function Response:close()
  self.transfer:close()
end

Response.__close = Response.close

return M
