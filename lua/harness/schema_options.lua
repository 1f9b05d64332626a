--- The options of the schema builders: which keyword each one is, and what values it takes.
---
---   options.read("string", { min_length = 1 })   --> { minLength = 1 }
---
--- Only schema.lua uses this. An option is a JSON Schema keyword in snake_case. What an option must be
--- is checked here, so that the mistake is found where it is made; the schema engine checks the rest
--- when the whole schema is compiled.

local errors = require "harness.errors"
local json = require "harness.json"
local nearest = require "harness.nearest"

local M = {}

---Whether a value is a schema; schema.lua sets it.
---@type fun(value: any): boolean
function M.is_schema(_)
  return false
end

---Raises HARNESS_CONFIG_ERROR about the arguments of a builder.
---@param reason string
---@param place string
---@param message string
function M.refuse(reason, place, message)
  local text = ("schema.%s: %s"):format(place, message)
  errors.raise("HARNESS_CONFIG_ERROR", text, { reason = reason, path = "schema." .. place })
end

---A value as it is shown in messages.
---@param value any
---@return string
function M.shown(value)
  if value == json.null then return "null" end
  if M.is_schema(value) then return "a schema" end
  if type(value) == "string" then return ('"%s"'):format(value:sub(1, 60)) end
  if type(value) == "number" or type(value) == "boolean" then return ("%s %s"):format(type(value), value) end
  return type(value)
end

-- Kinds of values: a function from the value to what the keyword gets, or nil when it is not allowed,
-- and the words for it.

local function kind(allowed, convert)
  return { allowed = allowed, convert = convert }
end

local function only(allowed, test)
  return kind(allowed, function(value)
    if test(value) then return value end
  end)
end

local function is_list(value)
  return type(value) == "table" and not M.is_schema(value) and (#value > 0 or next(value) == nil)
end

local function is_list_of_strings(value)
  if not is_list(value) then return false end
  for _, item in ipairs(value) do
    if type(item) ~= "string" then return false end
  end
  return true
end

-- A map of schemas or lists, as a list of pairs in byte order of the names.
local function sorted_pairs(value, test)
  if type(value) ~= "table" or M.is_schema(value) then return nil end
  local list = {}
  for name, entry in pairs(value) do
    if type(name) ~= "string" or not test(entry) then return nil end
    list[#list + 1] = { name, entry }
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

local function map_of(what, test)
  return kind("a table from name to " .. what, function(value) return sorted_pairs(value, test) end)
end

local function schemas_only(list)
  for _, item in ipairs(list) do
    if not M.is_schema(item) then return false end
  end
  return #list > 0
end

local function is_schema(value)
  return M.is_schema(value)
end

local STRING = only("a string", function(v) return type(v) == "string" end)
local BOOLEAN = only("true or false", function(v) return type(v) == "boolean" end)
local NUMBER = only("a number", function(v) return type(v) == "number" and v - v == 0 end)
local COUNT = only("a whole number, 0 or more", function(v) return math.type(v) == "integer" and v >= 0 end)
local STEP = only("a number above 0", function(v) return type(v) == "number" and v > 0 and v - v == 0 end)
local VALUE = kind("a JSON value", function(v) return v end)
local VALUES = only("a list of values", is_list)
local SCHEMA = only("a schema", is_schema)
local SCHEMAS = only("a list of schemas", function(v) return is_list(v) and schemas_only(v) end)

-- option -> { keyword, kind }
local COMMON <const> = {
  title = { "title", STRING },
  description = { "description", STRING },
  comment = { "$comment", STRING },
  default = { "default", VALUE },
  examples = { "examples", VALUES },
  deprecated = { "deprecated", BOOLEAN },
  read_only = { "readOnly", BOOLEAN },
  write_only = { "writeOnly", BOOLEAN },
  defs = { "$defs", map_of("schema", is_schema) },
}

local NUMERIC <const> = {
  minimum = { "minimum", NUMBER },
  maximum = { "maximum", NUMBER },
  exclusive_minimum = { "exclusiveMinimum", NUMBER },
  exclusive_maximum = { "exclusiveMaximum", NUMBER },
  multiple_of = { "multipleOf", STEP },
  format = { "format", STRING },
}

local MEMBERS <const> = {
  min_properties = { "minProperties", COUNT },
  max_properties = { "maxProperties", COUNT },
  property_names = { "propertyNames", SCHEMA },
}

-- What `additional` of an object may be; the schema engine and the model are told different things of
-- the default, see schema.lua.
local function read_additional(value)
  if value == true or value == "drop" or value == "error" or M.is_schema(value) then return value end
  if value == false then return "error" end
  return nil
end

local OPTIONS <const> = {
  string = {
    min_length = { "minLength", COUNT },
    max_length = { "maxLength", COUNT },
    pattern = { "pattern", STRING },
    format = { "format", STRING },
    content_encoding = { "contentEncoding", STRING },
    content_media_type = { "contentMediaType", STRING },
  },
  number = NUMERIC,
  integer = NUMERIC,
  array = {
    min_items = { "minItems", COUNT },
    max_items = { "maxItems", COUNT },
    unique_items = { "uniqueItems", BOOLEAN },
    prefix_items = { "prefixItems", SCHEMAS },
    contains = { "contains", SCHEMA },
    min_contains = { "minContains", COUNT },
    max_contains = { "maxContains", COUNT },
  },
  object = {
    min_properties = MEMBERS.min_properties,
    max_properties = MEMBERS.max_properties,
    property_names = MEMBERS.property_names,
    pattern_properties = { "patternProperties", map_of("schema", is_schema) },
    dependent_required = { "dependentRequired", map_of("list of names", is_list_of_strings) },
    dependent_schemas = { "dependentSchemas", map_of("schema", is_schema) },
    additional = { "additionalProperties", kind('true, "drop", "error" or a schema', read_additional) },
  },
  record = MEMBERS,
}

local function names_of(builder)
  local names = {}
  for name in pairs(COMMON) do names[#names + 1] = name end
  for name in pairs(OPTIONS[builder] or {}) do names[#names + 1] = name end
  return names
end

---Reads the options of a builder: a table from JSON Schema keyword to value. Maps of schemas become
---lists of {name, schema} pairs in byte order.
---@param builder string
---@param given table?
---@return table<string, any>
function M.read(builder, given)
  local keywords = {}
  if given == nil then return keywords end
  if type(given) ~= "table" or M.is_schema(given) then
    M.refuse("wrong_type", builder, "options must be a table, got " .. M.shown(given))
  end
  local own = OPTIONS[builder] or {}
  for name, value in pairs(given) do
    local option = own[name] or COMMON[name]
    if not option then
      local hint = nearest.hint(tostring(name), names_of(builder), "options")
      M.refuse("unknown_key", builder, ('unknown option "%s"%s'):format(tostring(name), hint))
    end
    local converted = option[2].convert(value)
    if converted == nil then
      M.refuse("wrong_type", builder .. "." .. name,
        ("the option must be %s, got %s"):format(option[2].allowed, M.shown(value)))
    end
    keywords[option[1]] = converted
  end
  return keywords
end

return M
