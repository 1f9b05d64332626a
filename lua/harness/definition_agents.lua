--- Checks the `agents` and `workflows` of a definition, and what they refer to.

local budget = require "harness.definition_budget"
local builtin = require "harness.builtin"
local fields = require "harness.definition_fields"
local names = require "harness.definition_names"
local nearest = require "harness.nearest"
local permissions = require "harness.definition_permissions"
local tools = require "harness.definition_tools"

local M = {}

local STRUCTURED_RETRY <const> = 1

-- Fields ------------------------------------------------------------------------------------------

local function limit(min) return { fields.integer { min = min, reason = "invalid_agent" } } end

local function instructions(problems, path, value)
  if type(value) == "string" then return value end
  return fields.callable("a string or a function(ctx) that returns one")(problems, path, value)
end

local function builtin_tool(problems, at, name)
  if builtin.traits(name) then return name end
  if type(name) ~= "string" then
    problems:wrong_type(at, "the name of a built-in tool", name)
  else
    problems:add(at, "unknown_reference", ('there is no built-in tool "%s"%s')
      :format(name, nearest.hint(name, names.BUILTIN_TOOLS, "built-in tools")), name)
  end
  return nil
end

local builtin_list = fields.list(builtin_tool, "a list of built-in tools")

local function builtin_tools(problems, path, value)
  if value == false then return {} end
  if value == true then return table.move(builtin.NAMES, 1, #builtin.NAMES, 1, {}) end
  if type(value) ~= "table" then
    return problems:wrong_type(path, "a list of built-in tools, or true for all but lua", value)
  end
  local list, seen = builtin_list(problems, path, value), {}
  for i, name in ipairs(list or {}) do
    if name and seen[name] then
      problems:add(fields.at(path, i), "invalid_agent", ('the built-in tool "%s" is listed twice'):format(name), name)
    end
    if name then seen[name] = true end
  end
  return list
end

local skill_list = fields.list(fields.string { not_empty = true, allowed = "the id of a skill" }, "a list of skill ids")

local function skills(problems, path, value)
  if value == true then return true end
  if value == false then return {} end
  if type(value) == "table" then return skill_list(problems, path, value) end
  return problems:wrong_type(path, "a list of skill ids, or true for all skills", value)
end

local HANDLER <const> = "a function run(ctx, input)"

local function agent_fields()
  return {
    model = { fields.string { not_empty = true, allowed = "the alias of a model" }, required = true },
    instructions = { instructions, required = true },
    input = { tools.schema },
    output = { tools.schema },
    tools = { fields.list(fields.string { allowed = "the id of a tool" }, "a list of tool ids") },
    builtin_tools = { builtin_tools },
    max_steps = limit(1),
    history_window = limit(0),
    structured_retry = limit(0),
    budget = { budget },
    description = { fields.string() },
    run = { fields.callable(HANDLER) },
    skills = { skills },
    permissions = { permissions.check },
    on_permission = { fields.callable "a function on_permission(request)" },
    context = { fields.not_available "`context` of an agent" },
  }
end

-- A hand-written agent asks its models itself.
local function handler_fields()
  local spec = agent_fields()
  spec.run.required = true
  spec.instructions = { instructions }
  return spec
end

-- References --------------------------------------------------------------------------------------

local function check_model_reference(problems, path, entry, aliases)
  if not entry.model or not aliases or aliases[entry.model] then return end
  problems:add(fields.at(path, "model"), "unknown_reference", ('there is no model "%s"%s')
    :format(entry.model, nearest.hint(entry.model, aliases.names, "models")), entry.model)
end

local function tool_problem(id, seen, tool_ids)
  if seen[id] then return "invalid_agent", ('the tool "%s" is listed twice'):format(id) end
  if tool_ids[id] then return nil end
  if names.IS_BUILTIN[id] then
    return "unknown_reference", ('"%s" is a built-in tool: it belongs into builtin_tools'):format(id)
  end
  local hint = nearest.hint(id, tool_ids.names, "tools")
  return "unknown_reference", ('there is no tool "%s"%s'):format(id, hint)
end

local function check_tool_references(problems, path, list, tool_ids)
  local seen, at = {}, fields.at(path, "tools")
  for i, id in ipairs(list) do
    if id then
      local reason, text = tool_problem(id, seen, tool_ids)
      if reason then problems:add(fields.at(at, i), reason, text, id) end
      seen[id] = true
    end
  end
end

-- The given order, without what was wrong.
local function kept(list)
  local names_given = {}
  for _, name in ipairs(list or {}) do names_given[#names_given + 1] = name or nil end
  return names_given
end

-- The reason and the path are those of reference B, BUILD-4. Takes what is wrong out of the list.
local function check_skill_references(problems, path, list, skill_ids)
  local seen, at = {}, fields.at(path, "skills")
  for i, id in ipairs(list) do
    if id and (seen[id] or not skill_ids[id]) then
      problems:add(at, "invalid_agent", seen[id] and ('the skill "%s" is listed twice'):format(id)
        or ('there is no skill "%s"%s'):format(id, nearest.hint(id, skill_ids.names, "skills")), id)
      list[i] = false
    end
    if id then seen[id] = true end
  end
end

local function has(list, wanted)
  for _, one in ipairs(list or {}) do
    if one == wanted then return true end
  end
  return false
end

-- A model opens skills with `read`; a handler uses the sandbox.
local function check_skills(c, path, id, entry, given)
  local list = entry.skills
  if list == true then list = c.skills.ids and c.skills.ids.names or {} end
  if not list then return end
  if entry.skills ~= true and c.skills.ids then check_skill_references(c.problems, path, list, c.skills.ids) end
  local is_known = given.builtin_tools == nil or entry.builtin_tools and not has(entry.builtin_tools, false)
  if #kept(list) == 0 or given.run or not is_known or has(entry.builtin_tools, "read") then return end
  c.problems:add(fields.at(path, "skills"), "skill_read_tool_missing",
    'an agent opens its skills with the built-in tool read: builtin_tools = { "read" }', id, "SKILL_MANIFEST_ERROR")
end

-- Capabilities ------------------------------------------------------------------------------------

local function has_any(capabilities, ...)
  for _, name in ipairs { ... } do
    if capabilities[name] then return true end
  end
  return false
end

-- What the agent needs and the model cannot, in words; nil when all is well.
local function lacking(entry, capabilities)
  if entry.string_output and not has_any(capabilities, "text", "text_stream", "object") then
    return "text, text_stream or object, since the agent's output is a string"
  end
  if not entry.string_output and not has_any(capabilities, "object", "tool_use") then
    return "object or tool_use, since the agent's output is not a string"
  end
  if #entry.tools + #entry.builtin_tools > 0 and not capabilities.tool_use then
    return "tool_use, since the agent has tools"
  end
  return nil
end

local function check_capabilities(problems, path, id, entry, models)
  local alias = models[entry.model]
  if not alias then return end
  local candidates = table.move(alias.fallback, 1, #alias.fallback, 2, { alias.id })
  for i, name in ipairs(candidates) do
    local model = name and models[name]
    local need = model and model.capability_list and lacking(entry, model.capabilities)
    if need then
      local who = i == 1 and ('the model "%s"'):format(name)
        or ('the model "%s", a fallback of "%s",'):format(name, alias.id)
      problems:add(fields.at(path, "model"), "agent_model_capability_mismatch",
        ("%s lacks %s; it can do: %s"):format(who, need, table.concat(model.capability_list, ", ")), id)
    end
  end
end

-- Agents ------------------------------------------------------------------------------------------

-- A plain string, and not a choice from given ones: that is asked for as a structured object.
local function is_string_schema(schema)
  local json = tools.json_schema(schema)
  return type(json) == "table" and json.type == "string" and json.enum == nil and json.const == nil
end

local function string_schema()
  return require("harness.schema").string()
end

-- What a model is shown must not depend on the order of a list: byte order.
local function sorted_ids(list)
  local ids = {}
  for _, id in ipairs(list or {}) do ids[#ids + 1] = id or nil end
  table.sort(ids)
  return ids
end

local function settle(entry, id, given, defaults)
  entry.id = id
  entry.string_output = given.output == nil or entry.output ~= nil and is_string_schema(entry.output)
  entry.input = entry.input or string_schema()
  entry.output = entry.output or string_schema()
  entry.tools = sorted_ids(entry.tools)
  entry.builtin_tools = kept(entry.builtin_tools)
  if entry.skills ~= true then entry.skills = kept(entry.skills) end
  entry.max_steps = entry.max_steps or defaults.max_steps
  entry.history_window = entry.history_window or defaults.history_window
  entry.structured_retry = entry.structured_retry or STRUCTURED_RETRY
end

---@class harness.DefinitionContext
---@field problems harness.Problems
---@field namespace harness.Namespace
---@field defaults table
---@field models table<string, table> the clean ones
---@field aliases table? of the models given at all; nil: cannot be known
---@field tool_ids table? likewise
---@field skills harness.CheckedSkills

local function check_agent(c, path, id, given, spec)
  local problems = c.problems
  local entry = fields.check(problems, path, given, spec)
  local output_is_known = given.output == nil or entry.output ~= nil
  check_model_reference(problems, path, entry, c.aliases)
  if c.tool_ids then
    check_tool_references(problems, path, entry.tools or {}, c.tool_ids)
    permissions.check_ids(problems, path, entry.permissions, c.tool_ids)
  end
  check_skills(c, path, id, entry, given)
  settle(entry, id, given, c.defaults)
  if output_is_known and not given.run then check_capabilities(problems, path, id, entry, c.models) end
  return entry
end

---Checks the agents.
---@param c harness.DefinitionContext
---@param agents any
---@return table<string, table> clean
function M.check_agents(c, agents)
  local loop, handler = agent_fields(), handler_fields()
  return (names.check_map(c.problems, c.namespace, "agents", "agent", agents, function(path, id, given)
    return check_agent(c, path, id, given, given.run and handler or loop)
  end))
end

---Has one of the agents built-in tools or skills, which need a sandbox?
---@param agents table<string, table> clean
---@return boolean
function M.need_sandbox(agents)
  for _, agent in pairs(agents) do
    if agent.skills == true or #agent.skills > 0 then return true end
    for _, name in ipairs(agent.builtin_tools) do
      if not builtin.traits(name).no_sandbox then return true end
    end
  end
  return false
end

-- How the model is asked for the output: as text where it is a string, else as an object of the schema
-- (by a forced tool call where the model has no structured output).
local function method_of(entry, capabilities)
  if entry.string_output and capabilities.text_stream then return "text_stream" end
  if entry.string_output and capabilities.text then return "text" end
  return capabilities.object and "object" or "tool_use"
end

-- Without those that a lenient reading has left out; a run of the agent tells of them.
local function usable_skills(ids, skill_map)
  local list = {}
  for _, id in ipairs(ids) do list[#list + 1] = skill_map[id] end
  return list
end

local function add_tool(entry, tool)
  entry.tool_set[tool.id] = tool
  table.insert(entry.tool_names, tool.id)
  local spec = { name = tool.id, description = tool.description, parameters = tools.shown_schema(tool.input) }
  table.insert(entry.tool_specs, spec)
  if not tool.needs_executor then table.insert(entry.file_tool_specs, spec) end
end

-- What a model is told of `lua` names the other tools that it has, so it is each agent's own.
local function describe_programs(entry)
  local describe = require("harness.program_tools").describe
  for _, key in ipairs { "tool_specs", "file_tool_specs" } do
    local others, at = {}, nil
    for i, spec in ipairs(entry[key]) do
      if spec.name == "lua" then at = i else others[#others + 1] = entry.tool_set[spec.name] end
    end
    local spec = entry[key][at]
    entry[key][at] = { name = spec.name, description = describe(others), parameters = spec.parameters }
  end
end

---Adds what the loop needs of agents that are known to be right: `method` (a capability), `text_output`,
---`output_schema`, `tool_set` (id -> tool), `tool_names`, `tool_specs`: what the model is shown, built-in tools
---as they are listed, then the others in byte order of the ids; `file_tool_specs`, the same where the
---sandbox runs no commands; and `skill_catalogue`, what its model is told of its skills, nil without any. Its
---`skills` become a list.
---@param agents table<string, table>
---@param models table<string, table>
---@param tool_map table<string, table>
---@param skill_map table<string, harness.Skill>
function M.prepare(agents, models, tool_map, skill_map)
  for _, entry in pairs(agents) do
    entry.skills = entry.skills == true and fields.sorted_keys(skill_map) or entry.skills
    if #entry.skills > 0 then
      entry.skill_catalogue = require("harness.skill_catalogue").text(usable_skills(entry.skills, skill_map))
    end
    entry.method = method_of(entry, models[entry.model].capabilities)
    entry.text_output = entry.method == "text" or entry.method == "text_stream"
    entry.output_schema = not entry.text_output and entry.output or nil
    entry.tool_set, entry.tool_names, entry.tool_specs, entry.file_tool_specs = {}, {}, {}, {}
    for _, name in ipairs(entry.builtin_tools) do add_tool(entry, builtin.get(name)) end
    for _, id in ipairs(entry.tools) do add_tool(entry, tool_map[id]) end
    if entry.tool_set.lua then describe_programs(entry) end
  end
end

-- Workflows ---------------------------------------------------------------------------------------

local function version(problems, path, value)
  if type(value) == "string" and value ~= "" or math.type(value) == "integer" then return value end
  problems:wrong_type(path, "a string that is not empty, or an integer", value)
  return nil
end

local WORKFLOW = {
  input = { tools.schema },
  output = { tools.schema },
  run = { fields.callable(HANDLER), required = true },
  version = { version },
  description = { fields.string() },
}

---Checks the workflows. Without a schema, what goes in or comes out is not checked when one runs.
---@param c harness.DefinitionContext
---@param workflows any
---@return table<string, table> clean
function M.check_workflows(c, workflows)
  local function check_one(path, id, given)
    local entry = fields.check(c.problems, path, given, WORKFLOW)
    entry.id = id
    return entry
  end
  return (names.check_map(c.problems, c.namespace, "workflows", "workflow", workflows, check_one))
end

return M
