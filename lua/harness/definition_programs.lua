--- Checks `programs` of a definition: what programs of the tool `lua` may use, and what protects from them.
---
---     programs = { limits = { cpu_ms = 2000 }, without = { "namespaces" } }

local fields = require "harness.definition_fields"
local nearest = require "harness.nearest"

local MB <const> = 1024 * 1024
local PROTECTIONS <const> = { "namespaces" } -- program_start.lua, which is loaded when it is needed

local function limit(min, max) return { fields.integer { min = min, max = max, reason = "invalid_limit" } } end

local function protection(problems, at, name)
  if name == PROTECTIONS[1] then return name end
  problems:add(at, "unknown_protection", ('there is no protection "%s"%s'):format(tostring(name),
    nearest.hint(tostring(name), PROTECTIONS, "protections")), name)
  return nil
end

local protections = fields.list(protection, "a list of names")

local function without(problems, path, value)
  local set = {}
  for _, name in ipairs(protections(problems, path, value) or {}) do
    if name then set[name] = true end
  end
  return set
end

local LIMITS <const> = {
  cpu_ms = limit(1, 3600000), memory_bytes = limit(MB, 1024 * MB), calls = limit(1, 1000000),
}

return fields.record({ limits = { fields.record(LIMITS, "a table of limits") }, without = { without } },
  "a table { limits?, without? }")
