--- How a model is told of the tools that its programs can call: the description of the tool `lua`.
---
---     tools.find_order{ id: string } -> { status: "open" | "shipped", total: number }
---
--- Types are read out of JSON Schema. What has no short form is shown as the schema itself, so nothing is
--- said that is not so; limits such as maxLength are left to the tool's own schema, which the model has, too.

local definition_tools = require "harness.definition_tools"
local json = require "harness.json"

local M = {}

local type_of

local NAMES <const> = { string = true, number = true, integer = true, boolean = true, null = true }

local function as_schema(schema)
  return "JSON Schema " .. json.encode(schema)
end

local function is_name(text)
  return text:find "^[%a_][%w_]*$" ~= nil
end

local function sorted(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function alternatives(list)
  local texts, seen = {}, {}
  for _, item in ipairs(list) do
    local text = type_of(item)
    if not seen[text] then texts[#texts + 1] = text end
    seen[text] = true
  end
  return table.concat(texts, " | ")
end

local function literals(list)
  local texts = {}
  for i, value in ipairs(list) do texts[i] = json.encode(value) end
  return table.concat(texts, " | ")
end

-- Required fields first: they are what a call must have.
local function fields_of(schema)
  local required, texts = {}, {}
  for _, name in ipairs(schema.required or {}) do required[name] = true end
  for _, wanted in ipairs { true, false } do
    for _, name in ipairs(sorted(schema.properties)) do
      if (required[name] or false) == wanted then
        local shown = is_name(name) and name or ("[%s]"):format(json.encode(name))
        texts[#texts + 1] = ("%s%s: %s"):format(shown, wanted and "" or "?", type_of(schema.properties[name]))
      end
    end
  end
  return texts
end

local function object_of(schema)
  if schema.patternProperties or schema.allOf then return as_schema(schema) end
  local extra = schema.additionalProperties
  local texts = schema.properties and fields_of(schema) or {}
  if type(extra) == "table" and next(extra) then texts[#texts + 1] = "[string]: " .. type_of(extra) end
  if #texts == 0 then return extra == false and "{}" or "table" end
  return "{ " .. table.concat(texts, ", ") .. " }"
end

local function array_of(schema)
  if schema.prefixItems then return as_schema(schema) end
  local item = schema.items and type_of(schema.items) or "any"
  return (item:find " | " and not item:find "^{" and "(" .. item .. ")" or item) .. "[]"
end

local function kind_of(schema, kind)
  if kind == "object" then return object_of(schema) end
  if kind == "array" then return array_of(schema) end
  return NAMES[kind] and kind or as_schema(schema)
end

-- Keywords whose meaning is lost in a short form.
local function has_no_short_form(schema)
  return schema["$ref"] or schema.allOf or schema.oneOf or schema["not"] or schema["if"]
end

local function without_type(schema)
  if schema.anyOf then return alternatives(schema.anyOf) end
  if schema.properties then return object_of(schema) end
  return next(schema) and not schema.description and as_schema(schema) or "any"
end

---@param schema table|boolean JSON Schema
---@return string
function type_of(schema)
  if type(schema) ~= "table" then return schema == false and "nothing" or "any" end
  if has_no_short_form(schema) then return as_schema(schema) end
  if schema.enum then return literals(schema.enum) end
  if schema.const ~= nil then return json.encode(schema.const) end
  local kind = schema.type
  if kind == nil then return without_type(schema) end
  if type(kind) == "string" then return kind_of(schema, kind) end
  local texts = {}
  for i, one in ipairs(kind) do texts[i] = kind_of(schema, one) end
  return table.concat(texts, " | ")
end

--- A tool as a function of a program, in one line.
---@param tool table as a definition holds it; `returns` stands for an output schema
---@return string
function M.signature(tool)
  local input = type_of(definition_tools.json_schema(tool.input))
  local call = is_name(tool.id) and "tools." .. tool.id or ("tools[%q]"):format(tool.id)
  local output = tool.returns or tool.output and type_of(definition_tools.json_schema(tool.output))
  return ("%s%s%s"):format(call, input:sub(1, 1) == "{" and input or "(" .. input .. ")",
    output and " -> " .. output or "")
end

local ABOUT <const> = table.concat({
  "Runs a Lua 5.4 program that calls your other tools as functions and returns one value. Use it for several calls, "
    .. "a loop, or a small part of large outputs: whatever the program does costs one step.",
  "tools.NAME{...} takes the input of the tool NAME and returns its output: JSON objects and arrays become tables, "
    .. "a null in them `null`. When the call fails it raises an error; pcall catches it. parallel{ {tools.A, {...}}, "
    .. "{tools.B, {...}} } runs calls side by side and returns the list of outputs.",
  "End with `return VALUE`, a value that JSON can hold. You also see what is printed. There is no os, io or require, "
    .. "and nothing is left for the next program; json.encode and json.decode are there.",
}, "\n")

local EXAMPLE <const> = [[
Example, were there a tool find_order:
local late = {}
for _, id in ipairs{ "7", "8", "9" } do
  local ok, order = pcall(tools.find_order, { id = id })
  if ok and order.status == "late" then late[#late + 1] = id end
end
return late]]

--- The description of `lua` for an agent with these tools.
---@param tools table[] without `lua`
---@return string
function M.describe(tools)
  local lines = { ABOUT, #tools > 0 and "Your tools:" or "You have no other tools: the program can only compute." }
  for _, tool in ipairs(tools) do lines[#lines + 1] = M.signature(tool) end
  if #tools > 0 then lines[#lines + 1] = EXAMPLE end
  return table.concat(lines, "\n")
end

return M
