--- Checks the `skills` of a definition: id -> directory, or id -> { directory, validation_mode?, trust?, source? };
--- an entry of a list takes its name as its id. Every skill is read here, used or not.
---
--- What is wrong with a strict skill is a problem of the definition, with the code SKILL_MANIFEST_ERROR and the
--- skill's directory; a lenient one is left out, and what was found is kept.

local fields = require "harness.definition_fields"
local manifests = require "harness.skill_manifest"
local nearest = require "harness.nearest"
local skill = require "harness.skill"

local M = {}

--- The __name of what harness.discover_skills returns; its metatable holds the diagnostics, too.
M.DISCOVERED = "harness.DiscoveredSkills"

M.VALIDATION_MODES = { "strict", "lenient" }
M.TRUST = { "trusted", "project", "user" }

--- One of several words.
---@param words string[]
---@param what string in the plural
---@param reason string
---@return function checker
function M.word(words, what, reason)
  return function(problems, path, value)
    for _, word in ipairs(words) do
      if value == word then return value end
    end
    if type(value) ~= "string" then return problems:wrong_type(path, "one of " .. table.concat(words, ", "), value) end
    problems:add(path, reason, ('there is no "%s"%s'):format(value, nearest.hint(value, words, what)), value)
  end
end

--- The path of a directory.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return string?
function M.directory(problems, path, value)
  if type(value) == "string" and value ~= "" and not value:find("\0", 1, true) then return value end
  return problems:wrong_type(path, "the path of a directory", value)
end

local ENTRY <const> = {
  directory = { M.directory, required = true },
  validation_mode = { M.word(M.VALIDATION_MODES, "modes", "invalid_skill") },
  trust = { M.word(M.TRUST, "kinds of trust", "invalid_skill") },
  source = { fields.string { not_empty = true } },
}

-- Where the skill is, or nil after a problem.
local function source_of(problems, path, given)
  if type(given) == "string" then
    local directory = M.directory(problems, path, given)
    return directory and { directory = directory }
  end
  if type(given) ~= "table" then
    problems:wrong_type(path, "the path of a directory, or a table { directory = path }", given)
    return nil
  end
  local source = fields.check(problems, path, given, ENTRY)
  return source.directory and source or nil
end

---@class harness.SkillCheck
---@field problems harness.Problems
---@field namespace harness.Namespace
---@field skills table<string, harness.Skill>
---@field skipped table<string, harness.SkillDiagnostic[]>
---@field ids table? see definition_names.check_map
---@field mounts table<string, string> mount path -> id
local Check = {}
Check.__index = Check

function Check:know(id)
  if self.ids[id] then return false end
  self.ids[id] = true
  table.insert(self.ids.names, id)
  return true
end

function Check:refuse(path, id, reason, text, where)
  self.problems:add(path, reason, text, id, "SKILL_MANIFEST_ERROR",
    { directory = where.directory, source = where.source })
end

-- A lenient one of a list is known by its directory's name.
function Check:failed(path, id, found, is_lenient)
  if is_lenient then
    id = id or found[1].directory:match "[^/]*$"
    self:know(id)
    self.skipped[id] = found
    return
  end
  for _, one in ipairs(found) do
    if one.level == "error" then self:refuse(path, id or one.skill_name, one.code, skill.sentence(one), one) end
  end
end

-- Two names for one place can only be those of lenient skills: the later one is left out.
function Check:is_shadowed(one)
  local other = self.mounts[one.mount_path]
  if not other then
    self.mounts[one.mount_path] = one.id
    return false
  end
  table.insert(one.diagnostics, {
    level = "error", code = "collision_shadowed", skill_name = one.name, directory = one.directory, source = one.source,
    message = ('"%s" has the name "%s", too, and is used instead'):format(other, one.name),
  })
  self.skipped[one.id] = one.diagnostics
  return true
end

function Check:take(path, key, given)
  local source = source_of(self.problems, path, given)
  local id = type(key) == "string" and key or nil
  if id then self:know(id) end
  if not source then return end
  source.id = id
  local one, found = skill.load(source)
  local is_lenient = source.validation_mode == "lenient"
  if id and not manifests.is_name(id) then
    self:refuse(path, id, "invalid_name", "the id of a skill is its name, and this is none: lower-case letters, digits "
      .. "and single hyphens, 64 at most", source)
  elseif not one then
    self:failed(path, id, found, is_lenient)
  elseif not id and not self:know(one.id) then
    self.problems:add(path, "invalid_skill", ('the skill "%s" is listed twice'):format(one.id), one.id)
  elseif self.namespace:take(self.problems, path, one.id, "skill") and not self:is_shadowed(one) then
    self.skills[one.id] = one
  end
end

-- What discovery told of skills that are there goes to them, unless reading them again has told it, too.
local function share_out(check, discovered)
  local rest = {}
  for _, one in ipairs(discovered) do
    local owner, told = check.skills[one.skill_name], false
    if owner and owner.directory == one.directory then
      for _, other in ipairs(owner.diagnostics) do told = told or other.message == one.message end
      if not told then table.insert(owner.diagnostics, one) end
    else
      rest[#rest + 1] = one
    end
  end
  return rest
end

---@class harness.CheckedSkills
---@field skills table<string, harness.Skill> by id
---@field skipped table<string, harness.SkillDiagnostic[]> by id: lenient ones that cannot be used
---@field diagnostics harness.SkillDiagnostic[] of a discovery, about what is not among the skills
---@field ids table? the ids that were given, as definition_names.check_map has them; nil: not all can be known

---Checks the skills.
---@param problems harness.Problems
---@param namespace harness.Namespace
---@param given any
---@return harness.CheckedSkills
function M.check(problems, namespace, given)
  local check = setmetatable({
    problems = problems, namespace = namespace, skills = {}, skipped = {}, ids = { names = {} }, mounts = {},
  }, Check)
  local checked = { skills = check.skills, skipped = check.skipped, diagnostics = {}, ids = check.ids }
  if type(given) ~= "table" then
    problems:wrong_type({ "skills" }, "a table id -> directory, or what harness.discover_skills returns", given)
    checked.ids = nil
    return checked
  end
  for _, key in ipairs(fields.sorted_keys(given)) do
    local path = fields.at({ "skills" }, key)
    if type(key) == "string" or math.type(key) == "integer" then
      local before = #problems.items
      check:take(path, key, given[key])
      if math.type(key) == "integer" and #problems.items > before then checked.ids = nil end
    else
      problems:add(path, "wrong_type", "must have the id of a skill as its key, found " .. fields.found(key))
    end
  end
  local meta = getmetatable(given)
  local is_discovery = type(meta) == "table" and meta.__name == M.DISCOVERED
  checked.diagnostics = share_out(check, is_discovery and meta.diagnostics or {})
  return checked
end

return M
