--- harness.discover_skills{...}: looks for skills where agents keep them, in the project and with the user.
---
---     local skills, diagnostics = harness.discover_skills { trusted_project_roots = { "." } }
---     harness.define { skills = skills, … }      -- the diagnostics go with them, to `inspect`
---
--- Skills tell a model what to do: those of a project count only when its root is trusted, by name. Of equal
--- names the first counts: the project's before the user's.

local core = require "harness.core"
local definition_skills = require "harness.definition_skills"
local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local skill = require "harness.skill"

local M = {}

local DEFAULT_DEPTH <const> = 6
local DEFAULT_DIRECTORIES <const> = 2000

-- Never looked into; of directories that begin with a dot only those that agents use are.
local SKIPPED <const> = { node_modules = true, dist = true, build = true }

---@class harness.DiscoveryOptions
---@field project_root? string default: the current directory
---@field trusted_project_roots? string[] default: none
---@field client_name? string whose directories .<client_name>/skills are
---@field include_project_agents_dir? boolean <project>/.agents/skills, default true
---@field include_project_client_dir? boolean <project>/.<client_name>/skills
---@field include_claude_compat_dir? boolean <project>/.claude/skills
---@field include_user_agents_dir? boolean ~/.agents/skills
---@field include_user_client_dir? boolean ~/.<client_name>/skills
---@field user_home? string default: $HOME
---@field validation_mode? "lenient"|"strict" default "lenient"
---@field max_depth? integer directories below each of these, default 6
---@field max_directories? integer that are looked at below each of these, default 2000

local function client_name(problems, path, value)
  if type(value) ~= "string" then return problems:wrong_type(path, "a name such as my-agent", value) end
  if value:find "^[%w_][%w._-]*$" then return value end
  problems:add(path, "invalid_options", "must be letters, digits and . _ -, not beginning with a dot, found "
    .. fields.found(value), value)
end

local flag = { fields.boolean }
local count = { fields.integer { min = 0, reason = "invalid_options" } }

local OPTIONS <const> = {
  project_root = { definition_skills.directory },
  trusted_project_roots = { fields.list(definition_skills.directory, "a list of directories") },
  client_name = { client_name },
  include_project_agents_dir = flag, include_project_client_dir = flag, include_claude_compat_dir = flag,
  include_user_agents_dir = flag, include_user_client_dir = flag,
  user_home = { definition_skills.directory },
  validation_mode = { definition_skills.word(definition_skills.VALIDATION_MODES, "modes", "invalid_options") },
  max_depth = count, max_directories = count,
}

local function checked(options)
  local problems, at = fields.problems(), { "discover_skills" }
  if options ~= nil and type(options) ~= "table" then problems:wrong_type(at, "a table of options", options) end
  local given = type(options) == "table" and fields.check(problems, at, options, OPTIONS) or {}
  local needs_name = given.include_project_client_dir or given.include_user_client_dir
  if needs_name and not given.client_name and options.client_name == nil then
    problems:add(fields.at(at, "client_name"), "invalid_options", "must be given with include_*_client_dir")
  end
  local list = problems:list()
  if #list == 0 then return given end
  local first = list[1]
  errors.raise("HARNESS_CONFIG_ERROR", first.message,
    { reason = first.reason, path = first.path, id = first.id, problems = list })
end

-- ---- one discovery ------------------------------------------------------------------------

---@class harness.Discovery
---@field options harness.DiscoveryOptions
---@field skills table<string, table> by name, for a definition
---@field found harness.SkillDiagnostic[]
local Discovery = {}
Discovery.__index = Discovery

function Discovery:tell(level, code, message, directory, source)
  self.found[#self.found + 1] = {
    level = level, code = code, message = message, directory = directory, source = source,
  }
end

-- Keeps a skill, unless one of its name was found before.
function Discovery:keep(one, mode)
  local name = one.name
  local first = self.skills[name]
  if not first then
    self.skills[name] = { directory = one.directory, validation_mode = mode, trust = one.trust, source = one.source }
    return
  end
  self:tell("warn", "collision_shadowed", ('"%s" is left out: the one in %s comes first'):format(name,
    first.directory), one.directory, one.source)
  self.found[#self.found].skill_name = name
end

function Discovery:load(directory, root)
  local mode = self.options.validation_mode or "lenient"
  local one, found = skill.load {
    directory = directory, validation_mode = mode, trust = root.trust, source = root.source,
  }
  for _, said in ipairs(found) do
    if not one and mode == "strict" and said.level == "error" then error(skill.manifest_error(said), 0) end
    self.found[#self.found + 1] = said
  end
  if one then self:keep(one, mode) end
end

local function is_looked_into(self, name)
  if name:sub(1, 1) == "." then
    local client = self.options.client_name
    return name == ".agents" or name == ".claude" or client ~= nil and name == "." .. client
  end
  return not SKIPPED[name]
end

local function has_skill(entries)
  for _, entry in ipairs(entries) do
    if entry.name == "SKILL.md" then return entry.kind == "file" end
  end
  return false
end

-- What is in a directory; nil once as many have been looked at as may be.
function Discovery:entries(directory, root)
  if root.visited >= (self.options.max_directories or DEFAULT_DIRECTORIES) then
    if not root.is_full then
      self:tell("error", "scan_limit_reached", ("not all of it was looked at: it has more than %d directories")
        :format(root.visited), root.path, root.source)
    end
    root.is_full = true
    return nil
  end
  root.visited = root.visited + 1
  local entries, _, message = core.folder.list(directory)
  if entries then return entries end
  self:tell("warn", "unreadable", "it cannot be looked into: " .. message, directory, root.source)
end

-- In byte order, depth first. A directory with a SKILL.md is one skill, and nothing below it is another.
function Discovery:walk(directory, depth, root)
  local entries = self:entries(directory, root)
  if not entries then return end
  if has_skill(entries) then return self:load(directory, root) end
  for _, entry in ipairs(entries) do
    local path = directory .. "/" .. entry.name
    if entry.kind == "link" then
      self:tell("warn", "link_skipped", "it is a symbolic link, which is not followed", path, root.source)
    elseif entry.kind == "directory" and depth < root.max_depth and is_looked_into(self, entry.name) then
      self:walk(path, depth + 1, root)
    end
  end
end

-- ---- where --------------------------------------------------------------------------------

-- Compared as the kernel sees them, so a link to a project is that project.
local function real(directory)
  return core.folder.real(directory) or skill.absolute(directory)
end

local function is_trusted(options, project)
  for _, root in ipairs(options.trusted_project_roots or {}) do
    if real(root) == real(project) then return true end
  end
  return false
end

-- In the order in which they count.
local function roots_of(options)
  local project, home, list = skill.absolute(options.project_root or "."), options.user_home or os.getenv "HOME", {}
  local client = "/." .. (options.client_name or "") .. "/skills"
  local function add(wanted, base, below, trust, source)
    if wanted and base and base ~= "" then
      list[#list + 1] = { path = skill.absolute(base .. below), trust = trust, source = source }
    end
  end
  add(options.include_project_agents_dir ~= false, project, "/.agents/skills", "project", "project_agents")
  add(options.include_project_client_dir, project, client, "project", "project_client")
  add(options.include_claude_compat_dir, project, "/.claude/skills", "project", "project_claude")
  add(options.include_user_agents_dir, home, "/.agents/skills", "user", "user_agents")
  add(options.include_user_client_dir, home, client, "user", "user_client")
  return list, project
end

--- Looks for skills. In strict mode the first that cannot be used is a SKILL_MANIFEST_ERROR; else it is left
--- out and told of.
---@param options? harness.DiscoveryOptions
---@return table<string, table> skills for a definition: name -> { directory, validation_mode, trust, source }
---@return harness.SkillDiagnostic[] diagnostics
function M.discover(options)
  options = checked(options)
  local self = setmetatable({ options = options, skills = {}, found = {} }, Discovery)
  local roots, project = roots_of(options)
  local trusted = is_trusted(options, project)
  for _, root in ipairs(roots) do
    root.visited, root.is_full, root.max_depth = 0, false, options.max_depth or DEFAULT_DEPTH
    if core.folder.real(root.path) then
      if root.trust == "project" and not trusted then
        self:tell("warn", "untrusted_project_skill", ("its skills are left out: %s is not among trusted_project_roots")
          :format(project), root.path, root.source)
      else
        self:walk(root.path, 0, root)
      end
    end
  end
  return setmetatable(self.skills, { __name = definition_skills.DISCOVERED, diagnostics = self.found }), self.found
end

return M
