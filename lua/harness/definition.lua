--- Checks a whole definition: `harness.define(t)` begins here.
---
---   local definition = definition.check(t)     -- or raises one HARNESS_CONFIG_ERROR
---
--- All problems are reported at once. The error's meta.problems is a list of { path, code, reason,
--- message, id? }, in the order of the document: unknown fields of the definition itself, then section
--- after section (SECTIONS), within each by path. meta.reason, meta.path and meta.id are those of the
--- first. A mistake is reported where it was made and not again where it has consequences: a misspelt
--- `models` is no missing model, a wrong tool is no unknown reference.
---
--- What comes back is a copy with defaults filled in and schemas compiled; later changes of the given
--- table have no effect on it. Lists that reach a model are in byte order.

local agents = require "harness.definition_agents"
local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local models = require "harness.definition_models"
local names = require "harness.definition_names"
local options = require "harness.definition_options"
local programs = require "harness.definition_programs"
local tools = require "harness.definition_tools"

local M = {}

M.DEFAULT_NAME = "agent-harness"

--- The fields of a definition, in the order in which their problems are reported.
M.SECTIONS = {
  "name", "models", "tools", "mcp", "skills", "agents", "workflows", "storage", "memory", "sandbox",
  "workspaces", "programs", "requires", "defaults", "logger", "telemetry",
}

-- Checked on their own, one after another, since they refer to each other.
local function later(_, _, value) return value end

local FIELDS = {
  name = { fields.string { not_empty = true } },
  models = { later },
  tools = { later },
  agents = { later },
  workflows = { later },
  defaults = { later },
  storage = { options.storage },
  requires = { options.requires },
  logger = { options.logger },
  telemetry = { options.telemetry },
  mcp = { fields.not_available "`mcp`" },
  skills = { later },
  memory = { options.memory },
  sandbox = { options.sandbox },
  workspaces = { fields.not_available "`workspaces`" },
  programs = { programs },
}

local MOST_SHOWN <const> = 10

-- One line with all problems, or with the first ones of many.
local function summary(list)
  if #list == 1 then return list[1].message end
  local parts = {}
  for i = 1, math.min(#list, MOST_SHOWN) do parts[i] = ("%d) %s"):format(i, list[i].message) end
  if #list > MOST_SHOWN then parts[#parts + 1] = ("and %d more"):format(#list - MOST_SHOWN) end
  return ("the definition has %d problems: %s"):format(#list, table.concat(parts, "  "))
end

local function raise(list)
  local first = list[1]
  errors.raise("HARNESS_CONFIG_ERROR", summary(list), {
    reason = first.reason, path = first.path, id = first.id, problems = list,
  })
end

local function check_models(problems, clean, meant)
  if clean.models == nil and meant.models then return {} end
  return models.check(problems, clean.models)
end

-- What a definition without skills does not load.
local function check_skills(problems, namespace, given)
  if given == nil then return { skills = {}, skipped = {}, diagnostics = {}, ids = { names = {} } } end
  return require("harness.definition_skills").check(problems, namespace, given)
end

---@class harness.Definition
---@field name string
---@field models table<string, table> { id, provider, model, capabilities (set), capability_list, defaults,
---  provider_options, fallback, prices? }
---@field tools table<string, table> { id, description, input, output?, run, timeout_ms, max_result_bytes }
---@field agents table<string, table> { id, model, instructions, input, output, tools, builtin_tools,
---  max_steps, history_window?, structured_retry, budget?, description?, run? } and what
---  definition_agents.prepare adds
---@field workflows table<string, table> { id, input?, output?, run, version?, description? }
---@field storage any? nil: the default is still to be made
---@field memory any? nil: the storage keeps it
---@field sandbox any? nil: none was given, and no built-in tool needs one; a handler that asks gets sandbox.auto()
---@field programs harness.ProgramSettings? nil: defaults
---@field logger harness.Logger? nil: the default is to be made
---@field telemetry harness.TelemetryOptions
---@field requires string[]
---@field defaults table
---@field skills table<string, harness.Skill>
---@field skipped_skills table<string, harness.SkillDiagnostic[]> lenient ones that cannot be used
---@field skill_diagnostics harness.SkillDiagnostic[] of a discovery

-- The sandbox of a definition that names none: made where something is known to need one, so that whoever does
-- not pays nothing for it.
local function default_sandbox(agent_map, requires)
  local is_needed = agents.need_sandbox(agent_map)
  for _, name in ipairs(requires) do is_needed = is_needed or name and name:find "^sandbox%." ~= nil end
  return is_needed and require("harness.sandbox").auto() or nil
end

---Checks a definition. Raises HARNESS_CONFIG_ERROR with all its problems.
---@param t table
---@return harness.Definition
function M.check(t)
  local problems = fields.problems(M.SECTIONS)
  if type(t) ~= "table" then
    problems:wrong_type({}, "a table", t)
    raise(problems:list())
  end
  local clean, meant = fields.check(problems, {}, t, FIELDS)
  local c = {
    problems = problems, namespace = names.namespace(),
    defaults = options.defaults(problems, { "defaults" }, clean.defaults),
  }
  local tool_map
  c.models, c.aliases = check_models(problems, clean, meant)
  tool_map, c.tool_ids = tools.check(problems, c.namespace, clean.tools, c.defaults)
  if meant.tools then c.tool_ids = nil end
  c.skills = check_skills(problems, c.namespace, clean.skills)
  if meant.skills then c.skills.ids = nil end
  local agent_map = agents.check_agents(c, clean.agents)
  local workflow_map = agents.check_workflows(c, clean.workflows)
  local requires, storage, sandbox = clean.requires or {}, clean.storage, clean.sandbox
  if t.sandbox == nil then sandbox = default_sandbox(agent_map, requires) end
  if #requires > 0 then
    -- What is required may be what the default has.
    if t.storage == nil then storage = require("harness.storage").memory() end
    options.check_requires(problems, requires, storage, clean.memory, sandbox)
  end

  local list = problems:list()
  if #list > 0 then raise(list) end
  agents.prepare(agent_map, c.models, tool_map, c.skills.skills)
  return {
    name = clean.name or M.DEFAULT_NAME,
    models = c.models, tools = tool_map, agents = agent_map, workflows = workflow_map,
    storage = storage, memory = clean.memory, sandbox = sandbox,
    programs = clean.programs, logger = clean.logger, telemetry = clean.telemetry or {},
    requires = requires, defaults = c.defaults,
    skills = c.skills.skills, skipped_skills = c.skills.skipped, skill_diagnostics = c.skills.diagnostics,
  }
end

return M
