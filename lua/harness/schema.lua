--- Schemas: what agents, tools and workflows take and give, written in Lua and shown to models as JSON
--- Schema (2020-12).
---
---   local s = harness.schema
---   local order = s.object {
---     id = s.string { pattern = "^[0-9]+$", description = "order number" },
---     count = s.integer { minimum = 1 }:default(1),
---     note = s.string():optional(),
---   }
---   order:check { id = "7" }                 --> true, { id = "7", count = 1 }
---   order:check { id = 7 }                   --> false, { { path = "$.id", message = "expected ..." } }
---   json.encode(order)                       --> {"type":"object","properties":{...},...}
---
--- A schema never changes: methods return a changed copy. It is compiled at its first check.
---
--- Checking. All problems are reported, up to 50, with the place as Lua would index it (`$.items[1]` is the
--- first item). The checked value is a copy where something had to change: defaults are filled in, and
--- keys that an object does not declare are dropped; the rest of it is shared with what was given. `{}` is
--- an empty object and, where a schema takes arrays only, an empty array, and marked as one (json.array) in
--- the checked value. Patterns are ECMA-262 regular expressions as JSON Schema has them; formats are not
--- checked. A check that takes too many steps fails and says so.
---
--- Options are the keywords of JSON Schema in snake_case:
---   all          title description comment default examples deprecated read_only write_only defs
---   string       min_length max_length pattern format content_encoding content_media_type
---   number, integer  minimum maximum exclusive_minimum exclusive_maximum multiple_of format
---   array        min_items max_items unique_items prefix_items contains min_contains max_contains
---   object       additional min_properties max_properties property_names pattern_properties
---                dependent_required dependent_schemas
---   record       min_properties max_properties property_names
---
--- json(t) takes JSON Schema as it is: nothing is dropped, additionalProperties means what it says. A draft
--- that $schema names is followed (draft-04 to 2020-12); without one it is 2020-12, and the forms of older
--- drafts that mean nothing there are taken as they were meant (a list in `items` with `additionalItems`,
--- `exclusiveMaximum: true`, `dependencies`). References stay within the document. Defaults are filled in,
--- but decide nothing: a missing required key is missing, and a default that its own schema does not allow
--- is left out.

local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local nearest = require "harness.nearest"
local options = require "harness.schema_options"
local render = require "harness.schema_render"

local M = {}

---@class harness.Schema
---@field optional fun(self: harness.Schema): harness.Schema the field may be absent
---@field nullable fun(self: harness.Schema): harness.Schema null is allowed too
---@field default fun(self: harness.Schema, value: any): harness.Schema filled in where the field is absent
---@field describe fun(self: harness.Schema, text: string): harness.Schema
---@field check fun(self: harness.Schema, value: any): boolean, any

---@class harness.SchemaProblem
---@field path string such as $.items[1].id
---@field message string what was found, what is allowed

local Schema = { __name = "harness.schema" }
local methods = {}

-- Nodes are kept outside of the objects, so that nobody can change them.
local NODES <const> = setmetatable({}, { __mode = "k" })

local refuse, shown = options.refuse, options.shown

---@param value any
---@return boolean
function M.is(value)
  return NODES[value] ~= nil
end

options.is_schema = M.is

function render.node_of(schema)
  return NODES[schema]
end

local function new(node)
  local schema = setmetatable({}, Schema)
  NODES[schema] = node
  return schema
end

local function check_self(value, method)
  local node = NODES[value]
  if node then return node end
  return error(("schema:%s(...) is a method of a schema; call it with a colon"):format(method), 3)
end

-- A copy of the node with one change in its keywords.
local function changed(node, keyword, value)
  local copy = {}
  for name, field in pairs(node) do copy[name] = field end
  copy.text, copy.compiled, copy.keywords = node.json ~= nil and node.text or nil, nil, {}
  for name, field in pairs(node.keywords) do copy.keywords[name] = field end
  if keyword then copy.keywords[keyword] = value end
  return copy
end

-- A value that becomes part of a schema, as JSON has it, and a copy.
local function plain(builder, value)
  local ok, text = pcall(json.encode, value)
  if ok then return json.decode(text) end
  if not errors.is(text) then error(text, 0) end
  return refuse("invalid_schema", builder, "this is no JSON: " .. text.message)
end

local function takes_arrays_only(keywords)
  local kind = keywords.type
  return kind == "array" or type(kind) == "table" and kind[1] == "array"
end

-- {} as the default of an array is [].
local function default_of(builder, keywords, value)
  local copy = plain(builder, value)
  local empty = type(copy) == "table" and next(copy) == nil
  return empty and takes_arrays_only(keywords) and json.array(copy) or copy
end

-- Builders ------------------------------------------------------------------------------------------

local function build(builder, given, own)
  local keywords = options.read(builder, given)
  for name, value in pairs(own) do keywords[name] = value end
  if keywords.default ~= nil then keywords.default = default_of(builder, keywords, keywords.default) end
  if keywords.examples then keywords.examples = json.array(plain(builder, keywords.examples)) end
  local node = { keywords = keywords, optional = false, defs = keywords["$defs"] }
  keywords["$defs"] = nil
  return node
end

local function check_schema(builder, place, value)
  if M.is(value) then return value end
  return refuse("wrong_type", builder, ("%s must be a schema, got %s"):format(place, shown(value)))
end

---@param opts table? min_length, max_length (in characters), pattern, format, ...
---@return harness.Schema
function M.string(opts)
  return new(build("string", opts, { type = "string" }))
end

---@param opts table? minimum, maximum, exclusive_minimum, exclusive_maximum, multiple_of, ...
---@return harness.Schema
function M.number(opts)
  return new(build("number", opts, { type = "number" }))
end

---A number without a fraction; 1.0 is one.
---@param opts table? as for number
---@return harness.Schema
function M.integer(opts)
  return new(build("integer", opts, { type = "integer" }))
end

---@param opts table?
---@return harness.Schema
function M.boolean(opts)
  return new(build("boolean", opts, { type = "boolean" }))
end

---@param opts table?
---@return harness.Schema
function M.null(opts)
  return new(build("null", opts, { type = "null" }))
end

---Any JSON value.
---@param opts table?
---@return harness.Schema
function M.any(opts)
  return new(build("any", opts, {}))
end

local TYPE_OF <const> = { string = "string", boolean = "boolean", number = "number" }

-- The JSON type that all values have, if there is one: models follow a schema better that names it.
local function common_type(values)
  local found
  for _, value in ipairs(values) do
    local kind = value == json.null and "null" or math.type(value) == "integer" and "integer"
      or TYPE_OF[type(value)]
    if not kind or found and found ~= kind then return nil end
    found = kind
  end
  return found
end

---One of the values.
---@param values any[]
---@param opts table?
---@return harness.Schema
function M.enum(values, opts)
  if type(values) ~= "table" or #values == 0 then
    refuse("wrong_type", "enum", "expected a list of at least one value, got " .. shown(values))
  end
  local copy = plain("enum", values)
  return new(build("enum", opts, { enum = copy, type = common_type(copy) }))
end

---Exactly this value.
---@param value any
---@param opts table?
---@return harness.Schema
function M.literal(value, opts)
  if value == nil then refuse("wrong_type", "literal", "expected a value, got nil; null is harness.null") end
  local copy = plain("literal", value)
  return new(build("literal", opts, { const = copy, type = common_type { copy } }))
end

---@param item harness.Schema?
---@param opts table? min_items, max_items, unique_items, prefix_items, contains, ...
---@return harness.Schema
function M.array(item, opts)
  if item ~= nil then check_schema("array", "the item", item) end
  return new(build("array", opts, { type = "array", items = item }))
end

-- The fields as a list of {name, schema}: in byte order of a map, or as they are listed.
local function read_fields(fields)
  local list, seen = {}, {}
  if type(fields) ~= "table" or M.is(fields) then
    refuse("wrong_type", "object", "expected a table of fields, got " .. shown(fields))
  end
  if fields[1] == nil then
    for name, schema in pairs(fields) do list[#list + 1] = { name, schema } end
    table.sort(list, function(a, b) return tostring(a[1]) < tostring(b[1]) end)
  else
    for i, pair in ipairs(fields) do
      if type(pair) ~= "table" or M.is(pair) then
        refuse("wrong_type", "object", ("field %d must be {name, schema}, got %s"):format(i, shown(pair)))
      end
      list[i] = { pair[1], pair[2] }
    end
  end
  for i, pair in ipairs(list) do
    if type(pair[1]) ~= "string" then
      refuse("wrong_type", "object",
        ("the name of field %d must be a string, got %s"):format(i, shown(pair[1])))
    end
    check_schema("object", ('the field "%s"'):format(pair[1]), pair[2])
    if seen[pair[1]] then
      refuse("invalid_schema", "object", ('the field "%s" is there twice'):format(pair[1]))
    end
    seen[pair[1]] = true
  end
  return list
end

---An object with these fields: a table from name to schema, or a list of {name, schema} to keep that
---order. `additional`: what becomes of other keys, "drop" (default), true (kept), "error", or a schema
---that they must fit.
---@param fields table<string, harness.Schema> | { [1]: string, [2]: harness.Schema }[]
---@param opts table?
---@return harness.Schema
function M.object(fields, opts)
  local list = read_fields(fields)
  local required = {}
  for _, pair in ipairs(list) do
    local field = NODES[pair[2]]
    if not field.optional and field.keywords.default == nil then required[#required + 1] = pair[1] end
  end
  local node = build("object", opts, {
    type = "object", properties = list, required = required[1] and required or nil,
  })
  local additional = node.keywords.additionalProperties
  node.policy = not M.is(additional) and (additional or "drop") or nil
  node.keywords.additionalProperties = additional or "drop"
  return new(node)
end

---An object whose keys are not known beforehand, with values of one schema.
---@param value_schema harness.Schema
---@param opts table? min_properties, max_properties, property_names
---@return harness.Schema
function M.record(value_schema, opts)
  check_schema("record", "the value", value_schema)
  return new(build("record", opts, { type = "object", additionalProperties = value_schema }))
end

---Any one of the schemas. Defaults come from the first that fits, but one that has to drop no key goes
---before one that has to.
---@param schemas harness.Schema[]
---@param opts table?
---@return harness.Schema
function M.union(schemas, opts)
  if type(schemas) ~= "table" or M.is(schemas) or #schemas == 0 then
    refuse("wrong_type", "union", "expected a list of at least one schema, got " .. shown(schemas))
  end
  for i, schema in ipairs(schemas) do check_schema("union", ("alternative %d"):format(i), schema) end
  return new(build("union", opts, { anyOf = table.move(schemas, 1, #schemas, 1, {}) }))
end

---The schema that `defs` of this schema, or of one around it, calls by this name.
---@param name string
---@param opts table?
---@return harness.Schema
function M.ref(name, opts)
  if type(name) ~= "string" or name == "" then
    refuse("wrong_type", "ref", "expected the name of a schema in defs, got " .. shown(name))
  end
  local token = name:gsub("~", "~0"):gsub("/", "~1"):gsub("%%", "%%25")
  return new(build("ref", opts, { ["$ref"] = "#/$defs/" .. token }))
end

-- JSON Schema as it is --------------------------------------------------------------------------------

-- Keywords that hold lists: an empty Lua table means [] there.
local LISTS <const> = {
  allOf = true, anyOf = true, oneOf = true, prefixItems = true, enum = true, required = true, examples = true,
  type = true,
}
local MAPS <const> = {
  properties = true, patternProperties = true, ["$defs"] = true, definitions = true, dependentSchemas = true,
  dependentRequired = true,
}
local DATA <const> = { const = true, default = true, enum = true, examples = true }

-- Marks the empty lists in a decoded schema; true when there were any.
local function mark_lists(schema, is_map, is_list_map)
  local any = false
  for key, value in pairs(schema) do
    if type(value) == "table" then
      if next(value) == nil and (is_list_map or not is_map and LISTS[key]) and getmetatable(value) == nil then
        json.array(value)
        any = true
      elseif is_map or not DATA[key] then
        any = mark_lists(value, not is_map and MAPS[key], not is_map and key == "dependentRequired") or any
      end
    end
  end
  return any
end

---JSON Schema as it is: a table, a boolean, or what json.ordered or json.raw made. It is copied.
---@param t table|boolean|userdata
---@return harness.Schema
function M.json(t)
  if type(t) ~= "table" and type(t) ~= "boolean" and type(t) ~= "userdata" then
    refuse("wrong_type", "json", "expected JSON Schema as a table or boolean, got " .. shown(t))
  end
  local value = plain("json", t)
  local text = json.encode(t)
  if type(value) ~= "boolean" and (type(value) ~= "table" or #value > 0 or getmetatable(value)) then
    refuse("wrong_type", "json", "expected JSON Schema as an object or a boolean, got " .. text:sub(1, 60))
  end
  if type(value) == "table" and mark_lists(value) then text = json.encode(value) end
  return new { keywords = {}, optional = false, json = value, text = text }
end

-- A field map where JSON Schema was expected would be a schema that allows everything.
local function check_no_fields(t)
  for key, value in pairs(t) do
    if M.is(value) and type(key) == "string" then
      local text = '"%s" is no keyword of JSON Schema; did you mean schema.object{ %s = ... }?'
      refuse("invalid_schema", "of", text:format(key, key))
    end
  end
end

---A compiled schema from what a definition may have: a schema, or JSON Schema as for json(t), or nil.
---Raises HARNESS_CONFIG_ERROR (reason invalid_schema, meta.path) when it cannot be checked.
---@param value any
---@return harness.Schema?
function M.of(value)
  if value == nil then return nil end
  if not M.is(value) then
    if type(value) == "table" then check_no_fields(value) end
    value = M.json(value)
  end
  M.compiled(value)
  return value
end

-- Methods -------------------------------------------------------------------------------------------

---A copy that may be absent where it is a field.
---@return harness.Schema
function methods:optional()
  local copy = changed(check_self(self, "optional"))
  copy.optional = true
  return new(copy)
end

-- Puts the schema into a list of alternatives; what is said about the field stays outside.
local function wrapped(node, alternatives)
  local inner, outer = changed(node), { keywords = {}, optional = node.optional, defs = node.defs }
  inner.optional, inner.defs = false, nil
  for _, keyword in ipairs { "title", "description", "default" } do
    outer.keywords[keyword] = inner.keywords[keyword]
    inner.keywords[keyword] = nil
  end
  table.insert(alternatives, 1, new(inner))
  outer.keywords.anyOf = alternatives
  return outer
end

local function has_null(list)
  for _, value in ipairs(list) do
    if value == json.null then return true end
  end
  return false
end

---A copy that allows null too.
---@return harness.Schema
function methods:nullable()
  local node = check_self(self, "nullable")
  local keywords = node.keywords
  if keywords.enum or keywords.const ~= nil then
    local values = keywords.enum or { keywords.const }
    if has_null(values) then return self end
    local copy = changed(node, "enum", table.move(values, 1, #values, 1, {}))
    copy.keywords.const = nil
    table.insert(copy.keywords.enum, json.null)
    if keywords.type then copy.keywords.type = { keywords.type, "null" } end
    return new(copy)
  end
  if type(keywords.type) == "table" or keywords.type == "null" then return self end
  if keywords.type then return new(changed(node, "type", { keywords.type, "null" })) end
  if keywords.anyOf then
    local list = {}
    for i, schema in ipairs(keywords.anyOf) do
      if NODES[schema].keywords.type == "null" then return self end
      list[i] = schema
    end
    list[#list + 1] = M.null()
    return new(changed(node, "anyOf", list))
  end
  if node.json == nil and not keywords["$ref"] then return self end -- any
  return new(wrapped(node, { M.null() }))
end

-- What json(t) says stays as it is; what is added is said around it.
local function annotated(node, keyword, value)
  if node.json == nil then return changed(node, keyword, value) end
  local inner = changed(node)
  inner.optional = false
  return { keywords = { anyOf = { new(inner) }, [keyword] = value }, optional = node.optional }
end

---A copy with a default: filled in where the field is absent, which it then may be.
---@param value any
---@return harness.Schema
function methods:default(value)
  local node = check_self(self, "default")
  if value == nil then refuse("wrong_type", "default", "expected a value, got nil; null is harness.null") end
  return new(annotated(node, "default", default_of("default", node.keywords, value)))
end

---A copy with a description, for the model.
---@param text string
---@return harness.Schema
function methods:describe(text)
  local node = check_self(self, "describe")
  if type(text) ~= "string" then refuse("wrong_type", "describe", "expected a text, got " .. shown(text)) end
  return new(annotated(node, "description", text))
end

---The schema as the checker has it; compiled at the first call.
---@param schema harness.Schema
---@return userdata
function M.compiled(schema)
  local node = check_self(schema, "check")
  if not node.compiled then
    local tree = render.tree(schema, { show = false })
    node.compiled = core.schema.compile(tree, { strict_defaults = node.json == nil })
  end
  return node.compiled
end

---Checks a value: true and the value with defaults filled in, or false and the list of problems.
---nil is what an optional schema allows, becomes the default if there is one, and else counts as null.
---@param value any
---@return boolean
---@return any|harness.SchemaProblem[]
function methods:check(value)
  local node = check_self(self, "check")
  if value == nil and node.optional and node.keywords.default == nil then return true, nil end
  return (node.compiled or M.compiled(self)):check(value)
end

Schema.__index = function(_, name)
  local method = methods[name]
  if method then return method end
  local names = { "optional", "nullable", "default", "describe", "check" }
  local hint = nearest.hint(tostring(name), names, "methods")
  return error(("a schema has no %s%s"):format(tostring(name), hint), 2)
end

function Schema.__newindex()
  error("a schema cannot be changed; its methods return a changed copy", 2)
end

function Schema:__tojson()
  local node = NODES[self]
  node.text = node.text or json.encode(render.ordered(render.tree(self, { show = true })))
  return json.raw(node.text)
end

function Schema:__tostring()
  return "schema " .. json.encode(self)
end

---The JSON Schema that models are shown, as a plain value (a fresh one at each call).
---@param schema harness.Schema
---@return table|boolean
function M.to_json_schema(schema)
  check_self(schema, "to_json_schema")
  return json.decode(json.encode(schema))
end

return M
