--- What the front matter of a SKILL.md says (reference B 5.3; agentskills.io).
---
---     local manifest, found = skill_manifest.parse(text, { lenient = false })
---     manifest  --> { name, description, license?, compatibility?, allowed_tools?, metadata? }, or nil
---     found     --> { { level = "error", code = "invalid_name", message = "name must …" }, … }
---
--- A diagnostic of the level "error" means that there is no skill. A strict reader takes the first of them for an
--- error, a lenient one leaves the skill out; it also mends what people get wrong most often: text with a
--- colon that needs quotes, a byte order mark.

local core = require "harness.core"
local fields = require "harness.definition_fields"
local json = require "harness.json"

local M = {}

--- How much of a SKILL.md is looked at: front matter ends before that.
M.MAX_BYTES = 64 * 1024

local MAX_NAME <const> = 64
local MAX_DESCRIPTION <const> = 1024
local MAX_COMPATIBILITY <const> = 500
local BOM <const> = "\u{FEFF}"

local KNOWN <const> = {
  name = true, description = true, license = true, compatibility = true, metadata = true, ["allowed-tools"] = true,
}

--- What was found about a skill, or on the way to skills.
---@class harness.SkillDiagnostic
---@field level "warn"|"error"
---@field code string a reason of SKILL_MANIFEST_ERROR, or unknown_field
---@field message string
---@field skill_name? string
---@field directory? string
---@field source? string

---@class harness.SkillManifest
---@field name string
---@field description string
---@field license? string
---@field compatibility? string
---@field allowed_tools? string
---@field metadata? table<string, string>

-- ---- the block ----------------------------------------------------------------------------

-- Where the closing line begins, and whether there is text in front of it.
local function find_end(text, from)
  local at = from
  while true do
    local line_end = text:find("\n", at, true)
    local line = text:sub(at, (line_end or #text + 1) - 1)
    if line:find "^%-%-%-[ \t]*\r?$" then return at end
    if not line_end then return nil end
    at = line_end + 1
  end
end

--- The YAML between two lines of three dashes, the first of which begins the file; or nil and why not.
---@param text string
---@return string? block
---@return string? why
function M.split(text)
  if text == "" then return nil, "the file is empty" end
  if text:sub(1, #BOM) == BOM then return nil, "the file begins with a byte order mark; save it without one" end
  local _, opening = text:find "^%-%-%-[ \t]*\r?\n"
  if not opening then return nil, "the file must begin with a line of three dashes, ---" end
  local closing = find_end(text, opening + 1)
  if closing then return text:sub(opening + 1, closing - 1) end
  if #text < M.MAX_BYTES then return nil, "the front matter has no end: a line of three dashes, ---, is missing" end
  return nil, ("the front matter has no end within the first %d bytes"):format(M.MAX_BYTES)
end

-- Quotes around each value of `key: value` that holds a colon. Nil when there is none to mend.
local function mended(block)
  local count = 0
  local text = block:gsub("([^\n]*)", function(line)
    local key, value = line:match "^([%w_-]+):[ \t]+(.-)[ \t]*\r?$"
    if not value or not value:find(":", 1, true) or value:find "^[\"'|>{%[]" or not utf8.len(value) then return nil end
    count = count + 1
    return ("%s: %s"):format(key, json.encode(value))
  end)
  return count > 0 and text or nil
end

-- ---- fields -------------------------------------------------------------------------------

-- Lists are marked as such; what YAML gives has no other metatables.
local function is_map(value)
  return type(value) == "table" and getmetatable(value) == nil
end

-- A value in words.
local function in_words(value)
  if value == nil or value == json.null then return "nothing" end
  if type(value) == "table" then return is_map(value) and "fields" or "a list" end
  return fields.found(value)
end

---@class harness.SkillReading
---@field lenient boolean
---@field found harness.SkillDiagnostic[]
local Reading = {}
Reading.__index = Reading

function Reading:tell(level, code, message)
  self.found[#self.found + 1] = { level = level, code = code, message = message }
end

-- The first line of the block is the second one of the file.
function Reading:refuse_yaml(why, line, column)
  local hint = why:find("mapping values", 1, true) and '; text with ": " in it needs quotes' or ""
  self:tell("error", "invalid_frontmatter", ("line %d, column %d: %s%s"):format(line + 1, column, why, hint))
end

-- The map that the block is, or nil after a diagnostic.
function Reading:decode(block)
  local value, why, line, column = core.yaml.decode(block)
  if value == nil and self.lenient then
    local text = mended(block)
    local again = text and core.yaml.decode(text)
    if again then
      self:tell("warn", "invalid_frontmatter", ('line %d: text with ": " in it needs quotes; they were added')
        :format(line + 1))
      value = again
    end
  end
  if value == nil then return self:refuse_yaml(why, line, column) end
  if value == json.null then return self:tell("error", "invalid_frontmatter", "the front matter is empty") end
  if is_map(value) then return value end
  self:tell("error", "invalid_frontmatter", "the front matter must be fields, such as name: pdf-tools, it is "
    .. in_words(value))
end

local function trimmed(value)
  if type(value) ~= "string" then return nil end
  local text = value:match "^%s*(.-)%s*$"
  return text ~= "" and text or nil
end

-- In the units that the format counts in: those of UTF-16.
local function length(text)
  local n = utf8.len(text)
  for _, code in utf8.codes(text) do
    if code > 0xFFFF then n = n + 1 end
  end
  return n
end

--- Is it a name of the format?
---@param name any
---@return boolean
function M.is_name(name)
  return type(name) == "string" and #name <= MAX_NAME and name:find "^[a-z0-9-]+$" ~= nil
    and not name:find "^%-" and not name:find "%-$" and not name:find("--", 1, true)
end

function Reading:name(map)
  local name = trimmed(map.name)
  if M.is_name(name) then return name end
  self:tell("error", "invalid_name", ("name must be 1 to %d lower-case letters, digits and single hyphens, none of "
    .. "them at an end, found %s"):format(MAX_NAME, in_words(name or map.name)))
end

function Reading:description(map)
  local text = trimmed(map.description)
  local size = text and length(text) or 0
  if text and size <= MAX_DESCRIPTION then return text end
  self:tell("error", "missing_description", ("description must be text of 1 to %d characters, found %s"):format(
    MAX_DESCRIPTION, text and ("%d characters"):format(size) or in_words(map.description)))
end

-- It goes into the prompt, so a strict reader takes it at its word.
function Reading:compatibility(map)
  local value = map.compatibility
  if value == nil or value == json.null then return nil end
  local text = trimmed(value)
  local size = text and length(text) or 0
  if text and size <= MAX_COMPATIBILITY then return text end
  self:tell(self.lenient and "warn" or "error", "invalid_frontmatter", ("compatibility must be text of 1 to %d "
    .. "characters, found %s%s"):format(MAX_COMPATIBILITY, text and ("%d characters"):format(size)
    or in_words(value), self.lenient and "; it was left out" or ""))
end

-- What nothing depends on.
function Reading:optional(map, field)
  local value = map[field]
  local text = trimmed(value)
  if value ~= nil and value ~= json.null and not text then
    self:tell("warn", "invalid_frontmatter", ("%s must be text, found %s; it was left out"):format(field,
      in_words(value)))
  end
  return text
end

function Reading:metadata(map)
  local given, kept = map.metadata, {}
  if given == nil or given == json.null then return nil end
  if not is_map(given) then
    self:tell("warn", "invalid_frontmatter", ("metadata must be fields with text, found %s; it was left out"):format(
      in_words(given)))
    return nil
  end
  for _, key in ipairs(fields.sorted_keys(given)) do
    if type(given[key]) == "string" then
      kept[key] = given[key]
    else
      self:tell("warn", "invalid_frontmatter", ("metadata.%s must be text; it was left out"):format(key))
    end
  end
  return next(kept) and kept or nil
end

function Reading:unknown(map)
  for _, key in ipairs(fields.sorted_keys(map)) do
    if not KNOWN[key] then
      self:tell("warn", "unknown_field", ('the format has no field "%s"; it was left out'):format(key))
    end
  end
end

-- ---- all of it ----------------------------------------------------------------------------

--- Is there an error among what was found?
---@param found harness.SkillDiagnostic[]
---@return boolean
function M.has_error(found)
  for _, one in ipairs(found) do
    if one.level == "error" then return true end
  end
  return false
end

--- Reads the beginning of a SKILL.md.
---@param text string at most MAX_BYTES of it
---@param options { lenient?: boolean }
---@return harness.SkillManifest? manifest nil: there is an error among what was found
---@return harness.SkillDiagnostic[] found
function M.parse(text, options)
  local reading = setmetatable({ lenient = options.lenient or false, found = {} }, Reading)
  if reading.lenient and text:sub(1, #BOM) == BOM then
    text = text:sub(#BOM + 1)
    reading:tell("warn", "invalid_frontmatter", "the file begins with a byte order mark; it was passed over")
  end
  local block, why = M.split(text)
  if not block then reading:tell("error", "invalid_frontmatter", why) end
  local map = block and reading:decode(block)
  if not map then return nil, reading.found end
  local manifest = {
    name = reading:name(map), description = reading:description(map), license = reading:optional(map, "license"),
    compatibility = reading:compatibility(map), allowed_tools = reading:optional(map, "allowed-tools"),
    metadata = reading:metadata(map),
  }
  reading:unknown(map)
  return not M.has_error(reading.found) and manifest or nil, reading.found
end

return M
