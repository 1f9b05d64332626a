--- Checks the `permissions` of an agent: tool id -> "allow" | "ask" | "deny", or { mode?, allow?, deny? }
--- with patterns. Without a mode it is "allow": the patterns decide.

local builtin = require "harness.builtin"
local fields = require "harness.definition_fields"
local names = require "harness.definition_names"
local nearest = require "harness.nearest"
local permissions = require "harness.permissions"

local M = {}

local function mode(problems, path, value)
  for _, known in ipairs(permissions.MODES) do
    if value == known then return value end
  end
  if type(value) ~= "string" then return problems:wrong_type(path, '"allow", "ask" or "deny"', value) end
  problems:add(path, "invalid_agent", ('there is no permission "%s"%s')
    :format(value, nearest.hint(value, permissions.MODES, "permissions")), value)
end

local patterns = fields.list(fields.string { not_empty = true, allowed = "a pattern, not empty" }, "a list of patterns")

local RULE = { mode = { mode }, allow = { patterns }, deny = { patterns } }

-- The clean rule: { mode, allow, deny (compiled), allow_text, deny_text }.
local function rule(problems, path, value)
  local given = {}
  if type(value) == "table" then
    given = fields.check(problems, path, value, RULE)
  elseif type(value) == "string" then
    given.mode = mode(problems, path, value)
  else
    return problems:wrong_type(path, '"allow", "ask", "deny" or a table { mode?, allow?, deny? }', value)
  end
  local function texts(list)
    local kept = {}
    for _, text in ipairs(list or {}) do kept[#kept + 1] = text or nil end
    return kept
  end
  local allow, deny = texts(given.allow), texts(given.deny)
  return {
    mode = given.mode or "allow", allow_text = allow, deny_text = deny,
    allow = permissions.compile(allow), deny = permissions.compile(deny),
  }
end

---Checks the permissions of an agent; the ids are checked by `check_ids`, once all tools are known.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return table<string, table>?
function M.check(problems, path, value)
  if type(value) ~= "table" then return problems:wrong_type(path, "a table tool id -> permission", value) end
  local clean = {}
  for _, id in ipairs(fields.sorted_keys(value)) do
    local at = fields.at(path, id)
    if type(id) ~= "string" then
      problems:add(at, "wrong_type", "must have the id of a tool as its key, found " .. fields.found(id))
    else
      clean[id] = rule(problems, at, value[id])
    end
  end
  return clean
end

---Checks that the tools of the permissions exist: a rule for a misspelt tool would protect nothing.
---@param problems harness.Problems
---@param path (string|integer)[] of the agent
---@param rules table<string, table>?
---@param tool_ids table see definition_names.check_map
function M.check_ids(problems, path, rules, tool_ids)
  local known = table.move(tool_ids.names, 1, #tool_ids.names, 1, {})
  table.move(names.BUILTIN_TOOLS, 1, #names.BUILTIN_TOOLS, #known + 1, known)
  for _, id in ipairs(fields.sorted_keys(rules or {})) do
    if not tool_ids[id] and not names.IS_BUILTIN[id] then
      problems:add(fields.at(fields.at(path, "permissions"), id), "unknown_reference",
        ('there is no tool "%s"%s'):format(id, nearest.hint(id, known, "tools")), id)
    end
  end
end

---The rules that have no effect, since their tools only read.
---@param rules table<string, table>?
---@return string[] ids
function M.without_effect(rules)
  local ids = {}
  for _, id in ipairs(fields.sorted_keys(rules or {})) do
    local traits = builtin.traits(id)
    local changes = rules[id].mode ~= "allow" or #rules[id].allow + #rules[id].deny > 0
    if traits and traits.read_only and changes then ids[#ids + 1] = id end
  end
  return ids
end

return M
