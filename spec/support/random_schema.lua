--- Random JSON Schemas (2020-12) and values that have something to do with them.
---
---   local random = require("spec.support.random_schema").new(seed)
---   local schema = random:schema()
---   local value = random:value(schema)
---
--- Keys, strings and numbers come from small sets, so that keywords meet each other. References lead to
--- $defs and never go in circles at one value.
---
--- What Ajv 8 gets wrong is left out:
--- - `contains` of an empty array (left over from an earlier one; so minItems stands beside it), beside
---   prefixItems, and minContains above maxContains (fails for objects too)
--- - properties that an `if` looked at before it failed (stay evaluated)
--- - unevaluatedItems (`contains` evaluates all items; so does a failed alternative with `items`)
--- - unevaluatedProperties around alternatives with additionalProperties, with another unevaluatedProperties
---   or with alternatives of their own (failed ones evaluate too)
--- - numbers beyond 2^53; and multipleOf is a power of two, where binary and decimal arithmetic agree

local json = require("harness.core").json

local M = {}

---@class spec.RandomSchema
---@field private state integer
local Random = {}
Random.__index = Random

local KEYS <const> = { "a", "b", "c", "aa", "x-1", "ö" }
local STRINGS <const> = { "", "a", "b", "ab", "abc", "äöü", "😀", "A1", "1", "a\nb" }
local NUMBERS <const> = { 0, 1, -1, 2, 3, 1.5, -2.25, 10, 1e6, 1.0, 123456789012 }
local PATTERNS <const> = { "^a", "b$", "^[a-z]*$", "^.$", "\\d", "^$", "ö|1", "^(a|ab)(c|bcd)?$" }
local TYPES <const> = { "null", "boolean", "integer", "number", "string", "array", "object" }

---@param seed integer
---@return spec.RandomSchema
function M.new(seed)
  return setmetatable({ state = seed }, Random)
end

-- A generator of its own (splitmix64): math.random belongs to busted.
function Random:below(n)
  self.state = self.state + 0x9E3779B97F4A7C15
  local x = self.state
  x = (x ~ (x >> 30)) * 0xBF58476D1CE4E5B9
  x = (x ~ (x >> 27)) * 0x94D049BB133111EB
  return ((x ~ (x >> 31)) >> 1) % n
end

function Random:chance(percent) return self:below(100) < percent end
function Random:pick(list) return list[self:below(#list) + 1] end

function Random:list(least, most, make)
  local list = json.array {}
  for i = 1, least + self:below(most - least + 1) do list[i] = make(i) end
  return list
end

function Random:map(most, make)
  local map = {}
  for _ = 1, 1 + self:below(most) do map[self:pick(KEYS)] = make() end
  return map
end

-- Values -------------------------------------------------------------------------------------------

---Any value, at most `depth` levels of it.
function Random:any(depth)
  local kind = self:below(depth > 0 and 10 or 6)
  if kind == 0 then return json.null end
  if kind == 1 then return self:chance(50) end
  if kind <= 3 then return self:pick(NUMBERS) end
  if kind <= 5 then return self:pick(STRINGS) end
  if kind <= 7 then return self:list(0, 3, function() return self:any(depth - 1) end) end
  if self:chance(10) then return {} end
  return self:map(3, function() return self:any(depth - 1) end)
end

function Random:of_type(schema, depth)
  local kind = type(schema.type) == "table" and self:pick(schema.type) or schema.type
  if kind == nil and schema.properties then kind = "object" end
  if kind == nil and (schema.items ~= nil or schema.prefixItems) then kind = "array" end
  if kind == "null" then return json.null end
  if kind == "boolean" then return self:chance(50) end
  if kind == "integer" then return self:below(5) end
  if kind == "number" then return self:pick(NUMBERS) end
  if kind == "string" then return self:pick(STRINGS) end
  if kind == "array" then
    return self:list(0, 4, function(i)
      return self:like(schema.prefixItems and schema.prefixItems[i] or schema.items, depth - 1)
    end)
  end
  if kind ~= "object" then return self:any(depth) end
  local value = {}
  for name, field in pairs(schema.properties or {}) do value[name] = name end
  local names = {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names) -- the order of pairs must not reach the generator
  for _, name in ipairs(names) do
    value[name] = nil
    if self:chance(70) then value[name] = self:like(schema.properties[name], depth - 1) end
  end
  for _, name in ipairs(schema.required or {}) do
    if value[name] == nil and self:chance(70) then value[name] = self:any(1) end
  end
  if self:chance(40) then value[self:pick(KEYS)] = self:any(1) end
  return value
end

---A value that has a chance to fit the schema.
function Random:like(schema, depth)
  if type(schema) ~= "table" or depth <= 0 or self:chance(10) then return self:any(2) end
  if schema.const ~= nil and self:chance(80) then return schema.const end
  if schema.enum and self:chance(80) then return self:pick(schema.enum) end
  local name = schema["$ref"] and schema["$ref"]:match "^#/%$defs/(.*)$"
  if name and self:chance(70) then return self:like(self.defs[name], depth - 1) end
  for _, keyword in ipairs { "anyOf", "oneOf", "allOf" } do
    if schema[keyword] and self:chance(60) then return self:like(self:pick(schema[keyword]), depth - 1) end
  end
  return self:of_type(schema, depth)
end

---@param schema table|boolean one that this generator made last
function Random:value(schema)
  return self:chance(75) and self:like(schema, 4) or self:any(3)
end

-- Schemas ------------------------------------------------------------------------------------------

-- Each adds its keyword to s. part() is a schema for a part of the value, same() one for the same value.
local KEYWORDS <const> = {
  function(r, s) s.type = r:pick(TYPES) end,
  function(r, s) s.type = r:pick(TYPES) end,
  function(r, s) s.type = json.array { "null", r:pick { "string", "object", "array", "integer" } } end,
  function(r, s) s.enum = r:list(1, 4, function() return r:any(2) end) end,
  function(r, s) s.const = r:any(2) end,
  function(r, s) s.multipleOf = r:pick { 1, 2, 0.5, 0.25 } end,
  function(r, s) s.maximum = r:pick(NUMBERS) end,
  function(r, s) s.minimum = r:pick(NUMBERS) end,
  function(r, s) s.exclusiveMaximum = r:pick(NUMBERS) end,
  function(r, s) s.exclusiveMinimum = r:pick(NUMBERS) end,
  function(r, s) s.maxLength = r:below(4) end,
  function(r, s) s.minLength = r:below(4) end,
  function(r, s) s.pattern = r:pick(PATTERNS) end,
  function(r, s) s.maxItems = r:below(4) end,
  function(r, s) s.minItems = r:below(4) end,
  function(r, s) s.uniqueItems = r:chance(80) end,
  function(r, s, part) s.items = part() end,
  function(r, s, part) s.prefixItems = r:list(1, 3, part) end,
  function(r, s, part)
    s.contains = part()
    if r:chance(40) then s.minContains = 1 + r:below(2) end
    if r:chance(40) then s.maxContains = (s.minContains or 1) + r:below(2) end
  end,
  function(r, s) s.maxProperties = r:below(4) end,
  function(r, s) s.minProperties = r:below(4) end,
  function(r, s)
    s.required = json.array { KEYS[1 + r:below(3)], r:chance(30) and KEYS[4 + r:below(3)] or nil }
  end,
  function(r, s, part) s.properties = r:map(3, part) end,
  function(r, s, part) s.properties = r:map(3, part) end,
  function(r, s, part) s.patternProperties = { [r:pick(PATTERNS)] = part() } end,
  function(_, s, part) s.additionalProperties = part() end,
  function(r, s) s.additionalProperties = r:chance(20) end,
  function(r, s)
    s.propertyNames = r:pick { { pattern = "^a" }, { maxLength = 1 }, { enum = { "a", "b" } } }
  end,
  function(r, s) s.dependentRequired = r:map(2, function() return json.array { r:pick(KEYS) } end) end,
  function(r, s, _, same) s.dependentSchemas = r:map(2, same) end,
  function(r, s, _, same) s.allOf = r:list(1, 3, same) end,
  function(r, s, _, same) s.anyOf = r:list(1, 3, same) end,
  function(r, s, _, same) s.oneOf = r:list(1, 3, same) end,
  function(_, s, _, same) s["not"] = same() end,
  function(r, s, _, same)
    s["if"] = r:test()
    if r:chance(70) then s["then"] = same() end
    if r:chance(70) then s["else"] = same() end
  end,
  function(r, s) s["$ref"] = "#/$defs/d" .. r:below(3) end,
  function(r, s, part) s.unevaluatedProperties = r:chance(30) and part() or false end,
}

---A schema for `if`, which looks at no part of the value.
function Random:test()
  return self:pick {
    { type = self:pick(TYPES) }, { required = json.array { self:pick(KEYS) } }, { const = self:any(1) },
    { minItems = self:below(3) }, { minimum = self:pick(NUMBERS) }, { ["not"] = { type = self:pick(TYPES) } },
  }
end

---@param depth integer levels left
---@param first integer the first of the definitions that may be referred to from here
---@param inner boolean? it is applied to the same value as the schema around it
function Random:subschema(depth, first, inner)
  if depth <= 0 or self:chance(8) then
    if self:chance(30) then return self:chance(70) end
    return { type = self:pick(TYPES) }
  end
  local schema = {}
  local function part() return self:subschema(depth - 1, 0) end
  local function same() return self:subschema(depth - 1, first, true) end
  for _ = 1, 1 + self:below(4) do self:pick(KEYWORDS)(self, schema, part, same) end
  if schema.prefixItems then schema.contains = nil end
  if schema.contains ~= nil then schema.minItems = math.max(1, schema.minItems or 1) end
  if self.unevaluated then schema.additionalProperties = nil end
  if self.unevaluated and inner then schema.anyOf, schema.oneOf = nil, nil end
  if inner or not self.unevaluated then schema.unevaluatedProperties = nil end
  -- At the same value references lead only to later definitions, so they end.
  if schema["$ref"] and tonumber(schema["$ref"]:match "%d") < first then schema["$ref"] = nil end
  return schema
end

---A schema of up to `depth` levels; $defs d0 to d2 are its own.
---@param depth integer?
---@return table
function Random:schema(depth)
  depth = depth or 3
  local defs = {}
  self.unevaluated = self:chance(40)
  for i = 0, 2 do defs["d" .. i] = self:subschema(depth - 1, i + 1, true) end
  self.defs = defs
  local schema = self:subschema(depth, 0)
  if type(schema) ~= "table" then schema = { allOf = { schema } } end
  schema["$defs"] = defs
  return schema
end

return M
