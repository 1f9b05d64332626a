--- Checks what a definition has one of: defaults, storage, logger, telemetry, requires.

local adapters = require "harness.adapter"
local fields = require "harness.definition_fields"
local logger = require "harness.logger"
local nearest = require "harness.nearest"
local telemetry = require "harness.telemetry"

local M = {}

-- Defaults ----------------------------------------------------------------------------------------

--- The defaults' defaults. Times are milliseconds; 0 turns a timeout off. history_window: nil is all.
M.DEFAULTS = {
  max_steps = 16,
  run_timeout_ms = 600000,
  tool_timeout_ms = 120000,
  skill_timeout_ms = 60000,
  model_timeout_ms = 300000,
  max_parallel_tool_calls = 8,
  cancel_grace_ms = 1000,
}

local function default(min)
  return { fields.integer { min = min, reason = "invalid_defaults", type_reason = "invalid_defaults" } }
end

local DEFAULT_FIELDS = {
  max_steps = default(1),
  run_timeout_ms = default(0),
  tool_timeout_ms = default(0),
  skill_timeout_ms = default(0),
  model_timeout_ms = default(0),
  max_parallel_tool_calls = default(1),
  cancel_grace_ms = default(0),
  history_window = default(0),
}

---Checks the defaults.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return table defaults all filled in
function M.defaults(problems, path, value)
  local given = {}
  if type(value) == "table" then
    given = fields.check(problems, path, value, DEFAULT_FIELDS)
  elseif value ~= nil then
    problems:wrong_type(path, "a table", value)
  end
  for name, number in pairs(M.DEFAULTS) do
    if given[name] == nil then given[name] = number end
  end
  return given
end

-- Storage -----------------------------------------------------------------------------------------

--- What a storage must have as of this version; the other groups of the port come with what uses them.
M.STORAGE_METHODS = {
  "get_session", "upsert_session", "delete_session", "list_sessions",
  "append_messages", "list_messages", "clear_messages", "replace_messages",
  "create_run", "get_run", "list_runs", "finish_run",
  "append_events", "list_events",
}

local function missing_methods(object, names)
  local missing = {}
  for _, name in ipairs(names) do
    if not fields.is_callable(adapters.field(object, name)) then missing[#missing + 1] = name end
  end
  return missing
end

-- Something with methods: is it an object that lacks none? `missing(value)` names those that it lacks.
local function has_methods(problems, path, value, allowed, missing)
  if type(value) ~= "table" and type(value) ~= "userdata" then
    problems:wrong_type(path, allowed, value)
    return false
  end
  local lacking = missing(value)
  if #lacking == 0 then return true end
  problems:add(path, "wrong_type", ("must be %s; it lacks %s %s"):format(allowed,
    #lacking == 1 and "the method" or "the methods", table.concat(lacking, ", ")))
  return false
end

-- Kept as it is, if it has the methods.
local function adapter(problems, path, value, allowed, names)
  local ok = has_methods(problems, path, value, allowed, function(object) return missing_methods(object, names) end)
  return ok and value or nil
end

---A storage of ours, or a table with the methods of one: kept as it is.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return any?
function M.storage(problems, path, value)
  return adapter(problems, path, value, "a storage, harness.storage.memory() or a table with the methods of one",
    M.STORAGE_METHODS)
end

--- What a memory of one's own must have; memory_search only with the capability memory.search.
M.MEMORY_METHODS = { "memory_get", "memory_put", "memory_delete", "memory_list" }

---A memory adapter: a table with the memory methods of a storage; an id and capabilities may be left out.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return any?
function M.memory(problems, path, value)
  if not adapter(problems, path, value, "a memory, a table with the memory methods of a storage", M.MEMORY_METHODS) then
    return nil
  end
  local id = adapters.field(value, "id")
  if id ~= nil and (type(id) ~= "string" or not id:find "^[a-z][a-z0-9_.-]+$" or #id > 64) then
    problems:add(fields.at(path, "id"), "invalid_memory_adapter",
      "must be 2 to 64 lower-case letters, digits and _ . -, beginning with a letter")
    return nil
  end
  if adapters.has(value, "memory.kv") then return value end
  problems:add(fields.at(path, "capabilities"), "invalid_memory_adapter",
    "must hold memory.kv, and memory.session, memory.run, … for the scopes that it knows; "
    .. "without the field, all that its methods can do is assumed", id)
  return nil
end

---A sandbox: a table with the method open, and capabilities.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return any?
function M.sandbox(problems, path, value)
  return adapter(problems, path, value, "a sandbox, a table with the method open", { "open" })
end

-- Logger and telemetry ----------------------------------------------------------------------------

---A logger: the clean value is it behind redaction (logger.adapt).
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return harness.Logger?
function M.logger(problems, path, value)
  local allowed = "a logger, a table with the methods " .. table.concat(logger.METHODS, ", ")
  return has_methods(problems, path, value, allowed, logger.missing_methods) and logger.adapt(value) or nil
end

-- A listener may have more than its hooks: a recorder keeps what it heard.
local function listener(problems, path, value)
  local hooks = table.concat(telemetry.LISTENER, ", ")
  if type(value) ~= "table" then
    problems:wrong_type(path, "a table with some of the functions " .. hooks, value)
    return nil
  end
  local count = 0
  for _, name in ipairs(telemetry.LISTENER) do
    local hook = value[name]
    if hook ~= nil then
      count = count + 1
      if not fields.is_callable(hook) then problems:wrong_type(fields.at(path, name), "a function", hook) end
    end
  end
  if count > 0 then return value end
  problems:add(path, "wrong_type", "must have at least one of the functions " .. hooks)
  return nil
end

local function flavor(problems, path, value)
  for _, name in ipairs(telemetry.FLAVORS) do
    if value == name then return value end
  end
  if type(value) ~= "string" then
    problems:wrong_type(path, "one of " .. table.concat(telemetry.FLAVORS, ", "), value)
  else
    problems:add(path, "invalid_telemetry", ('there is no flavor "%s"%s')
      :format(value, nearest.hint(value, telemetry.FLAVORS, "flavors")), value)
  end
  return nil
end

M.telemetry = fields.record({
  store_content = { fields.boolean },
  listener = { listener },
  flavor = { flavor },
  endpoint = { fields.not_available "the export of telemetry" },
}, "a table { store_content?, listener?, flavor? }")

-- Requirements ------------------------------------------------------------------------------------

M.requires = fields.list(fields.string { not_empty = true, allowed = "the name of a capability" },
  "a list of capabilities")

---Checks that what is required is there; what is missing is one problem.
---@param problems harness.Problems
---@param required string[]
---@param storage any? nil: it is wrong itself, and its capabilities cannot be known
---@param memory any? the adapter that stands in for the storage's memory
---@param sandbox any?
function M.check_requires(problems, required, storage, memory, sandbox)
  if storage == nil then return end
  local available, missing, seen = {}, {}, {}
  for _, name in ipairs(adapters.all_capabilities(storage, memory, sandbox)) do available[name] = true end
  for _, name in ipairs(required) do
    if name and not available[name] and not seen[name] then missing[#missing + 1] = name end
    if name then seen[name] = true end
  end
  if #missing == 0 then return end
  local names = {}
  for name in pairs(available) do names[#names + 1] = tostring(name) end
  table.sort(names)
  problems:add({ "requires" }, "missing_required_capability",
    ("the adapters of this harness lack %s; they have: %s")
    :format(table.concat(missing, ", "), #names > 0 and table.concat(names, ", ") or "none"),
    table.concat(missing, ","))
end

return M
