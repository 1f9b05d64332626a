--- Checks the `tools` of a definition: id -> { description, input, output?, run, timeout_ms?,
--- max_result_bytes? }, and schemas wherever a definition has one.

local fields = require "harness.definition_fields"
local names = require "harness.definition_names"

local M = {}

local MAX_RESULT_BYTES <const> = 65536

-- A problem's message is one line and begins with the path: what the schema module says follows it.
local function schema_problem(err)
  local text = type(err) == "table" and type(err.message) == "string" and err.message or tostring(err)
  return "is no schema: " .. text:gsub("%s+", " ")
end

---A schema: one of the builders, or JSON Schema as a table. The clean value is the compiled schema.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return table?
function M.schema(problems, path, value)
  if type(value) ~= "table" and type(value) ~= "userdata" then
    problems:wrong_type(path, "a schema such as harness.schema.object{...}", value)
    return nil
  end
  local ok, compiled = pcall(require("harness.schema").of, value)
  if ok then return compiled end
  problems:add(path, "invalid_schema", schema_problem(compiled))
  return nil
end

---The JSON Schema of a schema, as a plain table (or boolean).
---@param schema harness.Schema
---@return table|boolean
function M.json_schema(schema)
  return require("harness.schema").to_json_schema(schema)
end

---The same, to be shown to a model: encodes to the very text of the schema, with its order of fields.
---@param schema harness.Schema
---@return table|boolean
function M.shown_schema(schema)
  local json, plain = require("harness.core").json, M.json_schema(schema)
  if type(plain) ~= "table" then return plain end
  local raw = json.raw(json.encode(schema))
  return setmetatable(plain, { __tojson = function() return raw end })
end

-- Models call tools with an object of named arguments, and providers refuse any other schema.
local function input_schema(problems, path, value)
  local schema = M.schema(problems, path, value)
  if not schema then return nil end
  local json = M.json_schema(schema)
  local kind = type(json) == "table" and json.type or nil
  if kind ~= nil and kind ~= "object" then
    problems:add(path, "invalid_tool", ('must be the schema of an object, found one of type "%s"; '
      .. "a model calls a tool with named arguments"):format(tostring(kind)))
    return nil
  end
  return schema
end

local description = fields.string { not_empty = true, allowed = "a text for the model, not empty" }

local TOOL = {
  description = { description, required = true },
  input = { input_schema, required = true },
  output = { M.schema },
  run = { fields.callable "a function run(ctx, input)", required = true },
  timeout_ms = { fields.integer { min = 0, reason = "invalid_tool" } },
  max_result_bytes = { fields.integer { min = 1, reason = "invalid_tool" } },
  effect = { fields.not_available "`effect` of a tool" },
  reconcile = { fields.not_available "`reconcile` of a tool" },
}

---Checks the tools.
---@param problems harness.Problems
---@param namespace harness.Namespace
---@param tools any
---@param defaults table
---@return table<string, table> clean
---@return table? ids see definition_names.check_map
function M.check(problems, namespace, tools, defaults)
  return names.check_map(problems, namespace, "tools", "tool", tools, function(path, id, given)
    local tool = fields.check(problems, path, given, TOOL)
    tool.id = id
    tool.timeout_ms = tool.timeout_ms or defaults.tool_timeout_ms
    tool.max_result_bytes = tool.max_result_bytes or MAX_RESULT_BYTES
    return tool
  end)
end

return M
