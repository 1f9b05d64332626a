--- What an adapter (a storage, a memory, a sandbox) can do: the capabilities that it declares, as a list or as a
--- set. One of the user's own that declares none at all is taken at its methods.

local is_callable = require "harness.definition_fields".is_callable

local M = {}

-- Capability -> the methods of the storage port that it means.
local SCOPED <const> = { "memory_get", "memory_put" }
local METHODS <const> = {
  ["memory.kv"] = SCOPED, ["memory.list"] = { "memory_list" }, ["memory.delete"] = { "memory_delete" },
  ["memory.search"] = { "memory_search" }, ["memory.ttl"] = SCOPED, ["memory.run"] = SCOPED,
  ["memory.session"] = SCOPED, ["memory.agent"] = SCOPED, ["memory.user"] = SCOPED, ["memory.tenant"] = SCOPED,
}

-- The names of METHODS, as a list of capabilities gives them.
local MEMORY <const> = {
  "memory.kv", "memory.list", "memory.delete", "memory.search", "memory.ttl", "memory.run", "memory.session",
  "memory.agent", "memory.user", "memory.tenant",
}

local function index(adapter, name) return adapter[name] end

--- A field of the adapter; nil when it has none, or its own __index raises.
---@param adapter table|userdata
---@param name string
---@return any
function M.field(adapter, name)
  local ok, value = pcall(index, adapter, name)
  return ok and value or nil
end

local field = M.field

local function has_methods(adapter, names)
  for _, name in ipairs(names or {}) do
    if not is_callable(field(adapter, name)) then return false end
  end
  return names ~= nil
end

--- Has the adapter the capability?
---@param adapter table|userdata
---@param capability string
---@return boolean
function M.has(adapter, capability)
  local declared = field(adapter, "capabilities")
  if declared == nil then return has_methods(adapter, METHODS[capability]) end
  if type(declared) ~= "table" then return false end
  if declared[capability] == true then return true end
  for _, name in ipairs(declared) do
    if name == capability then return true end
  end
  return false
end

local function names_of_set(set)
  local names = {}
  for name, is_there in pairs(set) do
    if type(name) == "string" and is_there == true then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- All its capabilities: a list in its order, a set in byte order.
---@param adapter table|userdata
---@return string[]
function M.capabilities(adapter)
  local declared = field(adapter, "capabilities")
  if declared ~= nil and type(declared) ~= "table" then return {} end
  local names = declared and names_of_set(declared) or {}
  for _, name in ipairs(declared or MEMORY) do
    if type(name) == "string" and (declared or M.has(adapter, name)) then names[#names + 1] = name end
  end
  return names
end

--- What they offer together: for memory, the memory's are all there are.
---@param storage table|userdata
---@param memory? table|userdata the adapter that stands in for the storage's memory
---@param sandbox? table|userdata
---@return string[]
function M.all_capabilities(storage, memory, sandbox)
  local names, seen = {}, {}
  local function add(name)
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  for _, name in ipairs(M.capabilities(storage)) do
    if not memory or not name:find "^memory%." then add(name) end
  end
  for _, name in ipairs(memory and M.capabilities(memory) or {}) do add(name) end
  for _, name in ipairs(sandbox and M.capabilities(sandbox) or {}) do add(name) end
  return names
end

return M
