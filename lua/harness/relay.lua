--- The bounded event queue by itself: a producer that never waits, and one reader.
---
---     local relay = require("harness.relay").new { capacity = 1024 }
---     harness.spawn(function()
---       for i = 1, 5000 do relay:push { type = "tick", n = i } end
---       relay:finish()
---     end)
---     for event in relay do print(event.type) end
---
--- When the queue is full, the oldest unread event that is not terminal goes; before its next event
--- the reader then gets one `stream.overflow` with the number it has missed. The queue itself is in
--- C (bindings/relay.c); what waits is here.

local core = require "harness.core"
local task = require "harness.task"

local M = {}

---@class harness.Relay
---@field push fun(self: harness.Relay, event: any): boolean false when it came after the end
---@field next fun(self: harness.Relay): any waits; nil at the end, or raises its error
---@field finish fun(self: harness.Relay, err: any?) the end; err is raised after the last event
---@field take fun(self: harness.Relay): any, string?, any the next event; or nil, "empty" or "end", the error
---@field len fun(self: harness.Relay): integer unread events
---@field stats fun(self: harness.Relay): harness.RelayStats
---@field arm fun(self: harness.Relay, token: integer): boolean
---@field disarm fun(self: harness.Relay, token: integer?)
local Relay = core.relay.class
local methods = Relay.__index
local take = methods.take

--- produced = delivered + dropped + merged + unread, at all times.
---@class harness.RelayStats
---@field produced integer
---@field delivered integer
---@field dropped integer
---@field merged integer events that live on in another one
---@field late integer pushed after the end: ignored, and not in `produced`

---@class harness.RelayOptions
---@field capacity? integer the most unread events, default 1024
---@field terminal? string[] event types that are never dropped, default run.finished and agent.finished
---@field merge? boolean join adjacent text deltas of one call before anything is dropped

-- A task that is ended by force while it waits lets go of its place here.
function Relay:__close()
  local current = task.current()
  self:disarm(current and current.token)
end

local function wait(self)
  local _ <close> = self
  task.wait(self)
end

--- The next event, waiting for it. At the end nil, or the error that was given to finish.
---@return any event
function methods:next()
  while true do
    local event, state, err = take(self)
    if event ~= nil then return event end
    if state == "end" then
      if err ~= nil then error(err, 0) end
      return nil
    end
    wait(self)
  end
end

-- `for event in relay do`: each turn asks for the next event, so a loop can be left and entered again.
Relay.__call = methods.next

local OPTIONS <const> = { capacity = true, terminal = true, merge = true }

--- A new relay.
---@param options harness.RelayOptions?
---@return harness.Relay
function M.new(options)
  if type(options) == "table" then
    for name in pairs(options) do
      if not OPTIONS[name] then
        error(("relay: unknown option '%s' (there are: capacity, merge, terminal)"):format(tostring(name)), 2)
      end
    end
  end
  return core.relay.new(options)
end

return M
