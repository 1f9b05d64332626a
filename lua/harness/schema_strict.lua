--- JSON Schema for providers that accept only some of it ("strict mode"): every property is required, no
--- other is allowed, and few keywords are understood. In return the model cannot leave the schema.
---
---   local adapted, ok, why = strict.strict(schema)       -- for the model
---   local value = strict.strict_restore(reply, schema)   -- before schema:check(value)
---
--- What is validated stays the schema itself. A property that may be absent is required in the adapted copy
--- but may be null there; strict_restore takes such nulls out again. Keywords that are not understood and
--- only narrow a value move into its description. Where the adapted copy could not say what the schema
--- means, ok is false and why says where: then the schema is sent as it is, without strict mode.

local core = require "harness.core"
local json = require "harness.json"
local render = require "harness.schema_render"
local schema = require "harness.schema"

local M = {}

-- Limits that OpenAI documents for structured outputs.
local MAX_LEVELS <const> = 10
local MAX_PROPERTIES <const> = 5000
local MAX_ENUM_VALUES <const> = 1000

-- Keywords that are kept as they are.
local KEPT <const> = {
  type = true, title = true, description = true, pattern = true, minimum = true, maximum = true,
  exclusiveMinimum = true, exclusiveMaximum = true, multipleOf = true, minItems = true, maxItems = true,
}

local FORMATS <const> = {
  ["date-time"] = true, time = true, date = true, duration = true, email = true, hostname = true,
  ipv4 = true, ipv6 = true, uuid = true,
}

-- Keywords that only narrow: said in words.
local NOTED <const> = {
  "default", "minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties", "examples", "format",
  "contentEncoding", "contentMediaType",
}

-- Keywords that adapt() handles by name.
local HANDLED <const> = {
  ["$ref"] = true, enum = true, const = true, properties = true, required = true, additionalProperties = true,
  items = true, anyOf = true, oneOf = true, allOf = true,
}
for _, keyword in ipairs(NOTED) do HANDLED[keyword] = true end

-- Keywords of JSON Schema that change what is valid and cannot be said in strict mode. Anything else that
-- is not known is an annotation.
local REFUSED <const> = {
  "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
  "dependencies", "prefixItems", "additionalItems", "contains", "minContains", "maxContains",
  "unevaluatedProperties", "unevaluatedItems", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef",
}

local KEY_ORDER <const> = {
  "$ref", "type", "title", "description", "enum", "format", "pattern", "minimum", "exclusiveMinimum",
  "maximum", "exclusiveMaximum", "multipleOf", "properties", "required", "additionalProperties", "items",
  "minItems", "maxItems", "anyOf", "$defs",
}

---@class harness.StrictAdapter
---@field order table<table, string[]> of the given tables and of the made ones
---@field properties integer
---@field enum_values integer

-- Adapting ------------------------------------------------------------------------------------------

local adapt

-- Left by error() with a table that only M.strict catches.
local function give_up(path, why)
  error({ strict = ("%s: %s"):format(path, why) }, 0)
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- The keys of a map in the order in which the schema gave them.
local function keys_of(adapter, t)
  return adapter.order[t] or sorted_keys(t)
end

local function in_key_order(adapter, made)
  local order = {}
  for _, keyword in ipairs(KEY_ORDER) do
    if made[keyword] ~= nil then order[#order + 1] = keyword end
  end
  adapter.order[made] = order
  return made
end

-- What the description has to say for the keywords that are left out.
local function note_keywords(node, made)
  local notes = {}
  for _, keyword in ipairs(NOTED) do
    local value = node[keyword]
    if value ~= nil and not (keyword == "format" and FORMATS[value]) then
      notes[#notes + 1] = ("%s: %s"):format(keyword, json.encode(value))
    end
  end
  if FORMATS[node.format] then made.format = node.format end
  if not notes[1] then return end
  local text = ("(%s)"):format(table.concat(notes, "; "))
  made.description = made.description and made.description .. " " .. text or text
end

local function is_null_schema(node)
  return type(node) == "table" and node.type == "null"
end

-- Adds null to what an adapted schema allows; nil when it allows null already.
local function with_null(adapter, made)
  if made.enum then
    for _, value in ipairs(made.enum) do
      if value == json.null then return made end
    end
    made.enum[#made.enum + 1] = json.null
  end
  if type(made.type) == "string" then
    if made.type ~= "null" then made.type = { made.type, "null" } end
  elseif type(made.type) == "table" then
    for _, name in ipairs(made.type) do
      if name == "null" then return made end
    end
    made.type[#made.type + 1] = "null"
  elseif made.anyOf then
    for _, branch in ipairs(made.anyOf) do
      if is_null_schema(branch) then return made end
    end
    made.anyOf[#made.anyOf + 1] = { type = "null" }
  elseif not made.enum then
    return in_key_order(adapter, { anyOf = { made, { type = "null" } } })
  end
  return made
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list or {}) do set[name] = true end
  return set
end

local function adapt_object(adapter, node, made, path, level)
  local properties = node.properties
  if node.additionalProperties == true or type(node.additionalProperties) == "table" then
    give_up(path, "it takes keys that are not known beforehand")
  end
  if properties == nil and node.additionalProperties ~= false then
    give_up(path, "it is an object of any keys")
  end
  local required, names = set_of(node.required), {}
  made.properties = {}
  for i, name in ipairs(keys_of(adapter, properties or {})) do
    local property = adapt(adapter, properties[name], path .. "." .. name, level + 1)
    if not required[name] then property = with_null(adapter, property) end
    made.properties[name] = property
    names[i] = name
  end
  for name in pairs(required) do
    if made.properties[name] == nil then
      give_up(path, ('it requires "%s" and does not say what that is'):format(name))
    end
  end
  adapter.properties = adapter.properties + #names
  adapter.order[made.properties] = names
  made.required = json.array(table.move(names, 1, #names, 1, {}))
  made.additionalProperties = false
end

local function adapt_alternatives(adapter, node, made, path, level)
  local list = node.anyOf or node.oneOf
  if node.anyOf and node.oneOf then give_up(path, "it has anyOf and oneOf") end
  if not list then return end
  made.anyOf = {}
  for i, branch in ipairs(list) do
    made.anyOf[i] = adapt(adapter, branch, ("%s|%d"):format(path, i), level)
  end
end

local function takes(node, kind)
  if node.type == kind then return true end
  return type(node.type) == "table" and set_of(node.type)[kind] == true
end

local function adapt_enum(adapter, node, made, path)
  local values = node.enum
  if node.const ~= nil then values = { node.const } end
  if not values then return end
  for _, value in ipairs(values) do
    if type(value) == "table" then give_up(path, "one of its values is an array or object") end
  end
  made.enum = table.move(values, 1, #values, 1, {})
  adapter.enum_values = adapter.enum_values + #values
end

-- A reference may have no company; what stood beside it and narrows cannot be said.
local function adapt_reference(adapter, node, path)
  local target = node["$ref"]
  if target ~= "#" and not target:find("^#/%$defs/[^/]*$") and not target:find("^#/definitions/[^/]*$") then
    give_up(path, ("the reference %s does not lead to a definition"):format(target))
  end
  for keyword in pairs(node) do
    if HANDLED[keyword] and keyword ~= "$ref" and keyword ~= "default" or KEPT[keyword] and keyword ~= "title"
      and keyword ~= "description" then
      give_up(path, ("%s stands beside a reference"):format(keyword))
    end
  end
  target = target:gsub("^#/definitions/", "#/$defs/")
  return in_key_order(adapter, { ["$ref"] = target })
end

-- allOf of one schema is what some generators write around a reference.
local function unwrap(node, path)
  local list = node.allOf
  if not list then return node end
  local inner = list[1]
  if #list ~= 1 or type(inner) ~= "table" then give_up(path, "allOf cannot be said") end
  local merged = {}
  for keyword, value in pairs(inner) do merged[keyword] = value end
  for keyword, value in pairs(node) do
    if keyword ~= "allOf" and merged[keyword] ~= nil and keyword ~= "description" and keyword ~= "title" then
      give_up(path, ("%s is there twice"):format(keyword))
    end
    if keyword ~= "allOf" then merged[keyword] = value end
  end
  return merged
end

local function check_keywords(node, path)
  for _, keyword in ipairs(REFUSED) do
    if node[keyword] ~= nil then give_up(path, keyword .. " cannot be said") end
  end
  if type(node["$id"]) == "string" and path ~= "$" then give_up(path, "$id cannot be said") end
end

function adapt(adapter, node, path, level)
  if type(node) ~= "table" then give_up(path, "it takes any value or none") end
  if level > MAX_LEVELS then give_up(path, ("more than %d levels"):format(MAX_LEVELS)) end
  node = unwrap(node, path)
  check_keywords(node, path)
  if node["$ref"] then return adapt_reference(adapter, node, path) end
  local made = {}
  for keyword in pairs(KEPT) do made[keyword] = node[keyword] end
  if type(made.type) == "table" then made.type = table.move(made.type, 1, #made.type, 1, {}) end
  adapt_enum(adapter, node, made, path)
  adapt_alternatives(adapter, node, made, path, level)
  if not made.type and not made.enum and not made.anyOf then give_up(path, "it takes any value") end
  if takes(node, "object") or node.properties then adapt_object(adapter, node, made, path, level) end
  if takes(node, "array") then
    if node.items == nil then give_up(path, "it is an array of anything") end
    made.items = adapt(adapter, node.items, path .. "[]", level + 1)
  end
  note_keywords(node, made)
  return in_key_order(adapter, made)
end

local function adapt_defs(adapter, root, made)
  local defs = {}
  for _, keyword in ipairs { "$defs", "definitions" } do
    for _, name in ipairs(keys_of(adapter, root[keyword] or {})) do
      if defs[name] then give_up("$", ('"%s" is defined twice'):format(name)) end
      defs[name] = adapt(adapter, root[keyword][name], "$." .. keyword .. "." .. name, 1)
    end
  end
  if next(defs) == nil then return end
  made["$defs"] = defs
  in_key_order(adapter, made)
end

-- A tree of a schema object or of plain JSON Schema, and the order of its keys.
local function tree_of(given)
  if schema.is(given) then return render.tree(given, { show = true }) end
  return given, {}
end

---The schema in the form of OpenAI's strict mode.
---@param given harness.Schema|table|boolean a schema, or JSON Schema as a plain table
---@return any adapted to be encoded by json.encode; nil when ok is false
---@return boolean ok
---@return string? why not
function M.strict(given)
  local root, order = tree_of(given)
  local adapter = { order = setmetatable({}, { __index = order }), properties = 0, enum_values = 0 }
  local ok, made = pcall(function()
    if type(root) ~= "table" or root.type ~= "object" or root.anyOf or root.oneOf then
      give_up("$", "the whole must be an object")
    end
    local adapted = adapt(adapter, root, "$", 1)
    adapt_defs(adapter, root, adapted)
    if adapter.properties > MAX_PROPERTIES then give_up("$", "it has too many properties") end
    if adapter.enum_values > MAX_ENUM_VALUES then give_up("$", "it has too many enum values") end
    return adapted
  end)
  if ok then return render.ordered(made, adapter.order), true end
  if type(made) ~= "table" or not made.strict then error(made, 0) end
  return nil, false, made.strict
end

-- Restoring -----------------------------------------------------------------------------------------

-- Compiled parts of a schema, by their pointer: to see which alternative a value belongs to.
local PARTS <const> = setmetatable({}, { __mode = "k" })

local function part(restorer, pointer)
  local compiled = restorer.parts[pointer]
  if not compiled then
    compiled = core.schema.compile(restorer.root, { at = pointer })
    restorer.parts[pointer] = compiled
  end
  return compiled
end

local function fits(restorer, pointer, value)
  return (part(restorer, pointer):check(value))
end

local function token(name)
  return (name:gsub("~", "~0"):gsub("/", "~1"):gsub("%%", "%%25"))
end

-- What a reference leads to: the table and its pointer.
local function follow(restorer, reference)
  local at = restorer.root
  local pointer = reference:sub(2)
  for step in pointer:gmatch("/([^/]*)") do
    step = step:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
    step = step:gsub("~1", "/"):gsub("~0", "~")
    if type(at) ~= "table" then return nil end
    at = at[step]
  end
  return at, pointer
end

local restore

-- A copy of an object with some fields changed; ABSENT takes one out.
local ABSENT <const> = {}

local function with_changes(value, changes)
  local copy = {}
  for name, field in pairs(value) do
    if changes[name] == nil then copy[name] = field end
  end
  for name, field in pairs(changes) do
    if field ~= ABSENT then copy[name] = field end
  end
  return copy
end

local function restore_object(restorer, node, pointer, value)
  local required, changes = set_of(node.required), {}
  for name, property in pairs(node.properties) do
    local field = value[name]
    if field ~= nil then
      local at = pointer .. "/properties/" .. token(name)
      local stands_for_absent = field == json.null and not required[name] and not fits(restorer, at, field)
      local restored = stands_for_absent and ABSENT or restore(restorer, property, at, field)
      if not rawequal(restored, field) then changes[name] = restored end
    end
  end
  return next(changes) == nil and value or with_changes(value, changes)
end

local function restore_items(restorer, node, pointer, value)
  local copy
  for i, item in ipairs(value) do
    local restored = restore(restorer, node.items, pointer .. "/items", item)
    if not rawequal(restored, item) then
      copy = copy or table.move(value, 1, #value, 1, {})
      copy[i] = restored
    end
  end
  return copy or value
end

-- The first alternative that the restored value fits.
local function restore_alternative(restorer, node, pointer, value)
  local keyword = node.anyOf and "anyOf" or "oneOf"
  for i, branch in ipairs(node[keyword]) do
    local at = ("%s/%s/%d"):format(pointer, keyword, i - 1)
    local restored = restore(restorer, branch, at, value)
    if fits(restorer, at, restored) then return restored end
  end
  return value
end

function restore(restorer, node, pointer, value)
  if type(node) ~= "table" or type(value) ~= "table" then return value end
  if node["$ref"] then
    local target, at = follow(restorer, node["$ref"])
    value = restore(restorer, target, at, value)
  end
  if node.allOf and node.allOf[1] then
    value = restore(restorer, node.allOf[1], pointer .. "/allOf/0", value)
  end
  if node.anyOf or node.oneOf then value = restore_alternative(restorer, node, pointer, value) end
  if type(value) == "table" and node.properties and value[1] == nil then
    value = restore_object(restorer, node, pointer, value)
  end
  if type(value) == "table" and type(node.items) == "table" and value[1] ~= nil then
    value = restore_items(restorer, node, pointer, value)
  end
  return value
end

---A model's answer to the adapted schema, as the schema itself means it: without the nulls that stand for
---absent properties. The given value is not changed. It may still break the schema: check it afterwards.
---@param value any
---@param given harness.Schema|table|boolean the schema that was given to strict
---@return any
function M.strict_restore(value, given)
  if type(given) ~= "table" then return value end
  local restorer = PARTS[given]
  if not restorer then
    restorer = { root = schema.is(given) and schema.to_json_schema(given) or given, parts = {} }
    PARTS[given] = restorer
  end
  return restore(restorer, restorer.root, "", value)
end

return M
