--- Keeps many calls that share a key and a model from storming a provider that said 429.
---
--- After a 429 the calls of that provider object and model wait until the time it asked for, and are
--- then let through one after another, each `SPACING_MS` after the one before, until `CALM_MS` have
--- gone by without another 429, which lets those that wait begin to wait anew. Without a 429 it costs
--- one table look-up.

local core = require "harness.core"
local task = require "harness.task"

local M = {}

local SPACING_MS <const> = 100
local CALM_MS <const> = 10000
local MIN_HOLD_MS <const> = 500
local MAX_HOLD_MS <const> = 8000
local MAX_PAUSE_MS <const> = 60000
local LONGEST_MS <const> = 86400000 -- a day; what a provider asks for may be any number

local gates = setmetatable({}, { __mode = "k" }) -- by provider, then by model

--- Waits until a call to this model may be made. Does not wait when the provider asked for a pause of
--- which more than MAX_PAUSE_MS are left: then those milliseconds are returned, and the call may not be
--- made.
---@param provider table
---@param model string
---@return integer? pause_ms
function M.wait(provider, model)
  local of_provider = gates[provider]
  local gate = of_provider and of_provider[model]
  while gate do
    local now = core.now_ms()
    if now >= gate.calm_at_ms then
      of_provider[model] = nil
      return nil
    end
    if gate.until_ms - now > MAX_PAUSE_MS then return gate.until_ms - now end
    local at = math.max(now, gate.next_ms)
    gate.next_ms = at + SPACING_MS
    if at <= now then return nil end
    task.sleep(at - now)
    if gate.until_ms <= core.now_ms() then return nil end -- else there was another 429 meanwhile
  end
end

-- Where the provider does not say how long, each further refusal doubles the time. Those of calls that
-- were on their way already count as one.
local function own_delay(gate, now)
  if now >= gate.until_ms then gate.refusals = gate.refusals + 1 end
  return math.min(MIN_HOLD_MS << math.min(gate.refusals - 1, 10), MAX_HOLD_MS)
end

--- Notes that the provider said 429: nobody calls this model for asked_ms, or, where the provider did
--- not ask for a time, for one that grows from 500 ms to 8 s.
---@param provider table
---@param model string
---@param asked_ms number?
function M.hold(provider, model, asked_ms)
  gates[provider] = gates[provider] or {}
  local gate, now = gates[provider][model] or { next_ms = 0, until_ms = 0, refusals = 0 }, core.now_ms()
  local until_ms = now + math.ceil(math.min(asked_ms or own_delay(gate, now), LONGEST_MS))
  gate.until_ms = math.max(gate.until_ms, until_ms)
  gate.next_ms = math.max(gate.next_ms, until_ms)
  gate.calm_at_ms = gate.until_ms + CALM_MS
  gates[provider][model] = gate
end

return M
