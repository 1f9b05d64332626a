--- From schema objects to JSON Schema tables. Only schema.lua and schema_strict.lua use this.
---
---   local tree, order = render.tree(schema, { show = true })
---   render.ordered(tree, order)     --> a value that json.encode writes in the order of the schema
---
--- A tree is made of plain tables; `order` says for each table of it in which order its keys were given.
--- With show, the tree is what others see; without, it is what the checker gets: an object that drops
--- unknown keys has additionalProperties = core.schema.drop there, which no JSON can say.
---
--- References are resolved from the top of the document. So `defs` of inner schemas move to the top, and
--- inner schemas given by json(t) get their "#/..." references rewritten to where they stand now.

local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"

local M = {}

-- The order in which keywords are written; what is not here does not occur.
local KEYWORDS <const> = {
  "$ref", "type", "title", "description", "$comment", "enum", "const", "default", "examples", "deprecated",
  "readOnly", "writeOnly", "format", "pattern", "minLength", "maxLength", "contentEncoding",
  "contentMediaType", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf",
  "properties", "patternProperties", "required", "additionalProperties", "propertyNames", "minProperties",
  "maxProperties", "dependentRequired", "dependentSchemas", "prefixItems", "items", "contains",
  "minContains", "maxContains", "minItems", "maxItems", "uniqueItems", "anyOf",
}

local ONE <const> = { items = true, additionalProperties = true, propertyNames = true, contains = true }
local LIST <const> = { anyOf = true, prefixItems = true }
local MAP <const> = { properties = true, patternProperties = true, dependentSchemas = true }

-- Where references of inner JSON Schema may stand, that is: everywhere but in plain data.
local DATA <const> = { const = true, enum = true, default = true, examples = true }

---@class harness.SchemaNode what a schema object is made of; never changed once made
---@field keywords table<string, any> keyword -> plain value, schema, list of schemas or list of pairs
---@field optional boolean
---@field policy? true|"drop"|"error" of an object with fields
---@field defs? { [1]: string, [2]: table }[]
---@field json? table|boolean of json(t): the schema as it was given
---@field text? string of json(t): the same as JSON

---The node of a schema object; schema.lua sets it.
---@type fun(schema: table): harness.SchemaNode
function M.node_of(_) error("schema.lua sets this") end

local function escape(token)
  return (token:gsub("~", "~0"):gsub("/", "~1"))
end

-- Inner JSON Schema ---------------------------------------------------------------------------------

-- A copy with references of the document made to start at the pointer. $id starts a document of its own.
local function rebase(value, pointer, is_map)
  if type(value) ~= "table" or not is_map and type(value["$id"]) == "string" then return value end
  local copy = setmetatable({}, getmetatable(value))
  for key, item in pairs(value) do
    if key == "$ref" and not is_map and type(item) == "string" and (item == "#" or item:find("^#/")) then
      copy[key] = "#" .. pointer:gsub("%%", "%%25") .. item:sub(2)
    elseif DATA[key] and not is_map then
      copy[key] = item
    else
      copy[key] = rebase(item, pointer, not is_map and (MAP[key] or key == "$defs" or key == "definitions"))
    end
  end
  return copy
end

-- Trees ---------------------------------------------------------------------------------------------

---@class harness.SchemaRendering
---@field show boolean
---@field order table<table, string[]>
---@field defs { [1]: string, [2]: table }[] found so far
---@field def_of table<string, table>

local render

local function collect_defs(rendering, defs)
  for _, pair in ipairs(defs) do
    local name, schema = pair[1], pair[2]
    local known = rendering.def_of[name]
    if known and not rawequal(known, schema) then
      errors.raise("HARNESS_CONFIG_ERROR", ('two different schemas are called "%s" in defs'):format(name),
        { reason = "invalid_schema", path = "$defs." .. name })
    end
    if not known then
      rendering.def_of[name] = schema
      rendering.defs[#rendering.defs + 1] = pair
    end
  end
end

local function render_map(rendering, list, pointer)
  local map, names = {}, {}
  for i, pair in ipairs(list) do
    map[pair[1]] = render(rendering, pair[2], pointer .. "/" .. escape(pair[1]))
    names[i] = pair[1]
  end
  rendering.order[map] = names
  return map
end

local function render_keyword(rendering, keyword, value, pointer)
  pointer = pointer .. "/" .. keyword
  if MAP[keyword] then return render_map(rendering, value, pointer) end
  if ONE[keyword] and type(value) == "table" then return render(rendering, value, pointer) end
  if keyword == "dependentRequired" then
    local map = {}
    for _, pair in ipairs(value) do map[pair[1]] = json.array(table.move(pair[2], 1, #pair[2], 1, {})) end
    return map
  end
  if not LIST[keyword] then return value end
  local list = {}
  for i, schema in ipairs(value) do list[i] = render(rendering, schema, pointer .. "/" .. (i - 1)) end
  return list
end

-- What is said about keys that an object does not declare.
local function additional(rendering, node)
  if node.policy == true then return true end
  if rendering.show or node.policy == "error" then return false end
  return core.schema.drop
end

local function render_node(rendering, node, pointer)
  local tree, names = {}, {}
  for _, keyword in ipairs(KEYWORDS) do
    local value = node.keywords[keyword]
    if keyword == "additionalProperties" and node.policy then value = additional(rendering, node) end
    if value ~= nil then
      tree[keyword] = render_keyword(rendering, keyword, value, pointer)
      names[#names + 1] = keyword
    end
  end
  rendering.order[tree] = names
  return tree
end

function render(rendering, schema, pointer)
  local node = M.node_of(schema)
  if node.defs then collect_defs(rendering, node.defs) end
  if node.json == nil then return render_node(rendering, node, pointer) end
  if pointer == "" then return node.json end
  return rebase(node.json, pointer)
end

local function add_defs(rendering, tree)
  local map, names = {}, {}
  local i = 1
  while rendering.defs[i] do -- rendering one may add more
    local name, schema = rendering.defs[i][1], rendering.defs[i][2]
    map[name] = render(rendering, schema, "/$defs/" .. escape(name))
    names[i] = name
    i = i + 1
  end
  if i == 1 then return end
  tree["$defs"] = map
  rendering.order[map] = names
  local order = rendering.order[tree]
  order[#order + 1] = "$defs"
end

---The schema as plain tables, and the order of their keys. The tables belong to the caller, but for
---those of json(t), which must not be changed.
---@param schema table
---@param options { show: boolean }
---@return table|boolean tree
---@return table<table, string[]> order
function M.tree(schema, options)
  local rendering = { show = options.show, order = {}, defs = {}, def_of = {} }
  local tree = render(rendering, schema, "")
  if type(tree) == "table" and rendering.order[tree] then add_defs(rendering, tree) end
  return tree, rendering.order
end

---A value that json.encode writes with the keys in the given order (byte order where none is given).
---@param tree any
---@param order table<table, string[]>
---@return any
function M.ordered(tree, order)
  if type(tree) ~= "table" then return tree end
  local names = order[tree]
  if names then
    local list = {}
    for i, name in ipairs(names) do list[i] = { name, M.ordered(tree[name], order) } end
    return json.ordered(list)
  end
  local copy = setmetatable({}, getmetatable(tree))
  for key, value in pairs(tree) do copy[key] = M.ordered(value, order) end
  return copy
end

return M
