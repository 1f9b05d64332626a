--- The ids of a definition: tools, skills, agents, workflows and the built-in tools share one namespace, since a
--- model, or a server that offers them all as tools, must be able to tell them apart.

local fields = require "harness.definition_fields"

local M = {}

--- The built-in tools.
M.BUILTIN_TOOLS = { "bash", "read", "write", "edit", "glob", "grep", "list", "lua" }
M.IS_BUILTIN = {}
for _, name in ipairs(M.BUILTIN_TOOLS) do M.IS_BUILTIN[name] = true end

local LONGEST_ID <const> = 64

---@class harness.Namespace
local Namespace = {}
Namespace.__index = Namespace

---@return harness.Namespace
function M.namespace()
  local owners = {}
  for _, name in ipairs(M.BUILTIN_TOOLS) do owners[name] = "built-in tool" end
  return setmetatable({ owners = owners }, Namespace)
end

---Checks the form of an id and takes it; a name that is taken is `reserved_name`.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param id any
---@param kind string "tool", "agent" or "workflow"; "skill" whose name has been checked
---@return boolean usable
function Namespace:take(problems, path, id, kind)
  if kind ~= "skill" and (type(id) ~= "string" or #id > LONGEST_ID or not id:find("^[a-z][a-z0-9_]*$")) then
    local reason = kind == "tool" and "invalid_tool_id" or "invalid_" .. kind
    local text = "the id of a tool, an agent or a workflow begins with a lower-case letter, goes on with "
      .. "lower-case letters, digits and _, and is at most %d long"
    problems:add(path, reason, text:format(LONGEST_ID), tostring(id))
    return false
  end
  local owner = self.owners[id]
  if owner then
    -- The one reason that reference A 1.5 gives another code.
    problems:add(path, "reserved_name", ('the name "%s" is taken by the %s of that name; tools, skills, '
      .. "agents, workflows and built-in tools share one namespace"):format(id, owner), id, "SKILL_MANIFEST_ERROR")
    return false
  end
  self.owners[id] = kind
  return true
end

---Checks a map id -> definition: each entry through check_one(path, id, given), ids through the namespace.
---Returns the clean entries by id, and the ids that were given at all, as a set with the list `names`.
---@param problems harness.Problems
---@param namespace harness.Namespace
---@param section string the field of the definition: "tools"
---@param kind string
---@param given any
---@param check_one fun(path: table, id: string, entry: table): table?
---@return table<string, table> clean
---@return table? ids nil when they cannot be known
function M.check_map(problems, namespace, section, kind, given, check_one)
  local path, ids, clean = { section }, { names = {} }, {}
  if given == nil then return clean, ids end
  if type(given) ~= "table" then
    problems:wrong_type(path, ("a table id -> %s"):format(kind), given)
    return clean
  end
  for _, id in ipairs(fields.sorted_keys(given)) do
    local at, entry = fields.at(path, id), given[id]
    if type(id) == "string" then
      ids[id] = true
      table.insert(ids.names, id)
    end
    local usable = namespace:take(problems, at, id, kind)
    if type(entry) ~= "table" then
      problems:wrong_type(at, "a table", entry)
    else
      local one = check_one(at, tostring(id), entry)
      if usable then clean[id] = one end
    end
  end
  return clean, ids
end

return M
