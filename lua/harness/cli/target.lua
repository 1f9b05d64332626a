--- The agent or workflow that the arguments name.

local nearest = require "harness.nearest"
local options = require "harness.cli.options"

local M = {}

local function names_of(definition, kinds)
  local names = {}
  for _, kind in ipairs(kinds) do
    for id in pairs(definition[kind]) do names[#names + 1] = id end
  end
  table.sort(names)
  return names
end

--- Finds out what it is; a usage error when there is none of that name.
---@param definition harness.Definition
---@param name string
---@return "agents"|"workflows" kind
---@return table its definition
function M.find(definition, name)
  local kinds = { "agents", "workflows" }
  for _, kind in ipairs(kinds) do
    if definition[kind][name] then return kind, definition[kind][name] end
  end
  local names = names_of(definition, kinds)
  local meant = nearest.find(name, names)
  local hint = "there are: " .. (#names > 0 and table.concat(names, ", ") or "none")
  if meant then hint = ("did you mean %q?"):format(meant) end
  return options.fail(("there is no agent or workflow %q; %s"):format(name, hint))
end

--- Does the agent or workflow take text?
---@param target table its definition
---@return boolean
function M.takes_string(target)
  if not target.input then return false end
  local schema = require("harness.schema").to_json_schema(target.input)
  return type(schema) == "table" and schema.type == "string"
end

--- Checks that it is an agent that takes text, or raises a usage error.
---@param definition harness.Definition
---@param name string
function M.check_chat(definition, name)
  local agent = definition.agents[name]
  if not agent then
    options.fail(("there is no agent %q%s"):format(name,
      nearest.hint(name, names_of(definition, { "agents" }), "agents")))
  end
  if not M.takes_string(agent) then
    options.fail(("agent %q takes no text: run it with `harness-lua run`"):format(name))
  end
end

return M
