--- Checks a budget, that of an agent in a definition or that of a run: what it may spend.

local fields = require "harness.definition_fields"

local MAX_WALL_MS <const> = 1 << 52

local function limit(min) return { fields.integer { min = min, reason = "invalid_agent" } } end

-- Any number from 1; more than a clock can count is as good as no limit.
local function wall_ms(problems, path, value)
  if type(value) == "number" and value >= 1 then return math.ceil(math.min(value, MAX_WALL_MS)) end
  problems:add(path, "invalid_agent", "must be a number of milliseconds, at least 1, found " .. fields.found(value))
  return nil
end

--- A checker of definition_fields: the clean value is a copy.
return fields.record({
  max_total_tokens = limit(1),
  max_model_calls = limit(1),
  max_tool_calls = limit(0),
  max_wall_ms = { wall_ms },
  max_cost = { fields.number { min = 0, reason = "invalid_agent" } },
}, "a table of limits")
