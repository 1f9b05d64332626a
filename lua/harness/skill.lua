--- A skill: a directory of the host with a SKILL.md (reference B 5). What is in it is read at `define`; its
--- files are mounted when a session needs them (skill_mount.lua).

local core = require "harness.core"
local errors = require "harness.errors"
local files = require "harness.builtin.files"
local manifests = require "harness.skill_manifest"

local M = {}

local FILE <const> = "SKILL.md"

--- Below it skills are mounted.
M.ROOT = "/skills"

---@class harness.Skill
---@field id string
---@field name string
---@field description string
---@field directory string absolute
---@field mount_path string /skills/<name>
---@field license? string
---@field compatibility? string
---@field allowed_tools? string as the file says; it allows nothing
---@field metadata? table<string, string>
---@field trust "trusted"|"project"|"user"
---@field source? string
---@field diagnostics harness.SkillDiagnostic[]

---@class harness.SkillSource where a skill is looked for, and how
---@field directory string
---@field validation_mode? "strict"|"lenient" default "strict"
---@field trust? "trusted"|"project"|"user" default "trusted"
---@field source? string
---@field id? string what its name must be; nil: what its directory is called

--- The absolute path of a directory that need not be there; links in it stay.
---@param directory string
---@return string
function M.absolute(directory)
  if directory:sub(1, 1) == "/" then return files.normalise(directory) end
  local here, _, why = core.folder.real "."
  if here then return files.normalise(here .. "/" .. directory) end
  errors.raise("SKILL_MANIFEST_ERROR", ("%s is a relative path, and the current directory cannot be told: %s"):format(
    directory, why), { reason = "directory_missing", directory = directory })
end

-- Why the file cannot be read, as a diagnostic's code and message.
local function why_unreadable(directory, code, message)
  if code == "ENOTDIR" then return "directory_missing", "it is not a directory" end
  if code == "NOFILE" then return "missing_skill_md", FILE .. " is no regular file; links are not followed" end
  if code ~= "ENOENT" then return "missing_skill_md", ("%s cannot be read: %s"):format(FILE, message) end
  if not core.folder.real(directory) then return "directory_missing", "there is no such directory" end
  local other = core.folder.read(directory, "skill.md", 0, 0)
  return "missing_skill_md", "it has no " .. FILE .. (other and ", but a skill.md: the name is in capitals" or "")
end

-- A diagnostic, if the name is another one than it must be.
local function name_mismatch(given, name, lenient)
  local expected, what = given.id, "the key that it has in `skills`"
  if not expected then expected, what = given.directory:match "([^/]*)$", "the name of its directory" end
  if expected == name then return nil end
  return {
    level = lenient and "warn" or "error", code = "name_mismatch",
    message = ('name is "%s", but %s is "%s"'):format(name, what, expected),
  }
end

-- Everything that was found is said of this skill.
local function label(found, given, name)
  for _, one in ipairs(found) do
    one.skill_name, one.directory, one.source = name or given.id, given.directory, given.source
  end
  return found
end

--- Reads what is in the directory.
---@param source harness.SkillSource
---@return harness.Skill? skill nil: there is an error among what was found
---@return harness.SkillDiagnostic[] found
function M.load(source)
  local given = { directory = M.absolute(source.directory), id = source.id, source = source.source }
  local lenient = source.validation_mode == "lenient"
  local text, code, message = core.folder.read(given.directory, FILE, 0, manifests.MAX_BYTES)
  if not text then
    code, message = why_unreadable(given.directory, code, message)
    return nil, label({ { level = "error", code = code, message = message } }, given)
  end
  local manifest, found = manifests.parse(text, { lenient = lenient })
  if not manifest then return nil, label(found, given) end
  found[#found + 1] = name_mismatch(given, manifest.name, lenient)
  label(found, given, manifest.name)
  if manifests.has_error(found) then return nil, found end
  local skill = {
    id = given.id or manifest.name, directory = given.directory, mount_path = M.ROOT .. "/" .. manifest.name,
    trust = source.trust or "trusted", source = given.source, diagnostics = found,
  }
  for field, value in pairs(manifest) do skill[field] = value end
  return skill, found
end

--- A diagnostic as one sentence that says where.
---@param one harness.SkillDiagnostic
---@return string
function M.sentence(one)
  return ("%s: %s"):format(one.directory, one.message)
end

--- The error of a skill that cannot be used.
---@param one harness.SkillDiagnostic
---@return harness.Error
function M.manifest_error(one)
  return errors.new("SKILL_MANIFEST_ERROR", M.sentence(one),
    { reason = one.code, directory = one.directory, skill_id = one.skill_name, source = one.source })
end

return M
