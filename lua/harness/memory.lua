--- Memory as code sees it: `session.memory`, and `ctx.memory` with its scopes.
---
---     session.memory:write("name", "Ada", { tags = { "user" } })
---     ctx.memory.run:read "draft"
---     ctx.memory:user():search "likes"            -- the user of metadata.user_id
---     ctx.memory:scope { kind = "agent", agent_id = "helper" }:list { prefix = "note." }
---
--- Each call is checked as a whole before anything reaches the adapter (memory_check.lua); what the
--- adapter raises that is not an error of ours becomes STATE_ERROR. The adapter is the storage, unless
--- the definition has a `memory` of its own: any table with the methods memory_get, memory_put,
--- memory_delete, memory_list and, for search, memory_search.

local check = require "harness.memory_check"
local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"

local M = {}

-- The id that a kind of scope needs.
local NEEDS <const> = {
  session = "session_id", run = "run_id", agent = "agent_id", user = "user_id", tenant = "tenant_id",
}

---@class harness.Memory
local Memory = {}
Memory.__index = Memory
Memory.__name = "harness.Memory"

-- ---- before the adapter -------------------------------------------------------------------

local function adapter_of(harness)
  return harness.definition.memory or harness.storage
end

-- What an adapter declares, a list or a set, as a set.
local function capabilities_of(adapter)
  local set = {}
  for key, value in pairs(adapter.capabilities or {}) do
    if type(value) == "string" then set[value] = true elseif value == true then set[key] = true end
  end
  return set
end

local function scope_error(issues, message)
  check.bad("memory_scope", issues, message)
end

local function check_scope(self, capabilities)
  local scope = self._scope
  local field = NEEDS[scope.kind]
  if not field then
    scope_error({ reason = "unknown_scope", scope = tostring(scope.kind) },
      ("there is no memory scope %q; there are agent, run, session, tenant, user"):format(tostring(scope.kind)))
  end
  local capability = "memory." .. scope.kind
  if not capabilities[capability] then
    scope_error({ reason = "scope_unsupported", capability = capability, method = scope.kind },
      ("this memory has no scope %q (capability %s)"):format(scope.kind, capability))
  end
  local id = scope[field]
  if type(id) ~= "string" or id == "" then
    scope_error({ reason = "missing_scope_identifier", field = field, scope = scope.kind },
      ("the memory of a %s needs its id: give it, or %s"):format(scope.kind,
        (scope.kind == "user" or scope.kind == "tenant") and ("put %s into the run's metadata"):format(field)
        or "use it where there is one"))
  end
end

-- Everything that holds for each operation. Returns the adapter and its capabilities.
local function begin(self)
  self._check_open()
  local adapter = adapter_of(self._harness)
  local capabilities = capabilities_of(adapter)
  check_scope(self, capabilities)
  return adapter, capabilities
end

-- ---- the call -----------------------------------------------------------------------------

local function missing_capability(adapter, method, reason)
  errors.raise("MODEL_CAPABILITY_ERROR", ("memory %q cannot %s"):format(adapter.id or "memory", method),
    { alias = adapter.id or "memory", method = "memory." .. method, reason = reason })
end

local function normalised(adapter, operation, err)
  if errors.is(err) then return err end
  local why = errors.serialize(err).message
  return errors.new("STATE_ERROR", ("the memory %q failed at %s: %s"):format(adapter.id or "memory", operation, why),
    { op = "memory." .. operation, adapter = "memory", memory_provider = adapter.id }, err)
end

local function attributes(self, adapter, operation)
  local scope = self._scope
  return {
    ["harness.name"] = self._harness.name, ["harness.memory.provider"] = adapter.id,
    ["harness.memory.operation"] = operation, ["harness.memory.scope"] = scope.kind,
    ["harness.memory.capability"] = operation == "search" and "memory.search" or "memory." .. scope.kind,
    ["harness.session.id"] = scope.session_id, ["harness.run.id"] = scope.run_id,
    ["harness.agent.id"] = scope.agent_id, ["harness.workflow.id"] = scope.workflow_id,
    ["harness.memory.content_captured"] = false,
  }
end

local function measure(self, adapter, operation, span, from_us, result, err)
  local telemetry = self._harness.telemetry
  local attrs = {
    ["harness.memory.provider"] = adapter.id, ["harness.memory.operation"] = operation,
    ["harness.memory.scope"] = self._scope.kind, ["error.type"] = err and errors.serialize(err).code or nil,
  }
  if not err then
    if operation == "get" then attrs["harness.memory.hit"] = result ~= nil end
    local count = (operation == "list" or operation == "search") and #result or nil
    if count then span:set("harness.memory.result_count", count) end
    if attrs["harness.memory.hit"] ~= nil then span:set("harness.memory.hit", attrs["harness.memory.hit"]) end
    if operation == "search" then telemetry:histogram("harness.memory.search.results", count, attrs) end
  end
  telemetry:counter("harness.memory.operations", 1, attrs)
  telemetry:histogram("harness.memory.operation.duration", (core.now_us() - from_us) / 1e6, attrs)
  span:finish(err)
end

-- Runs one method of the adapter, under a span when somebody listens.
local function perform(self, adapter, operation, method, ...)
  if not method then missing_capability(adapter, operation, "method_missing") end
  task.check()
  local telemetry, span = self._harness.telemetry, nil
  local from_us = telemetry.enabled and core.now_us() or nil
  if from_us then
    span = telemetry:span("harness.memory." .. operation, attributes(self, adapter, operation), self._span())
  end
  local ok, result = pcall(method, adapter, self._scope, ...)
  local err = nil
  if not ok then err = normalised(adapter, operation, result) end
  if span then measure(self, adapter, operation, span, from_us, result, err) end
  if err ~= nil then error(err, 0) end
  return result
end

--- The value of a key; nil when there is none.
---@param key string
function Memory:read(key)
  local adapter = begin(self)
  check.key(key)
  return perform(self, adapter, "get", adapter.memory_get, key)
end

--- Keeps a value that JSON can hold.
---@param key string 1 to 256 letters, digits and _ . : -
---@param value any
---@param options? harness.MemoryPut
function Memory:write(key, value, options)
  local adapter, capabilities = begin(self)
  check.key(key)
  check.value(value)
  options = check.write_options(options, capabilities["memory.ttl"])
  perform(self, adapter, "set", adapter.memory_put, key, value, options)
end

--- Forgets a key; harmless when there is none.
---@param key string
function Memory:delete(key)
  local adapter = begin(self)
  check.key(key)
  perform(self, adapter, "delete", adapter.memory_delete, key)
end

--- The keys, in byte order: at most `limit` (default 100) of those that begin with `prefix` and come
--- after `cursor`.
---@param options? harness.MemoryList
---@return string[]
function Memory:list(options)
  local adapter = begin(self)
  local entries = perform(self, adapter, "list", adapter.memory_list, check.list_options(options))
  local keys = {}
  for i, entry in ipairs(entries) do keys[i] = entry.key end
  table.sort(keys)
  return keys
end

--- What holds words of the query, best first.
---@param query string|harness.MemoryQuery
---@return { key: string, score: number?, value: any, metadata: table? }[]
function Memory:search(query)
  local adapter, capabilities = begin(self)
  if not capabilities["memory.search"] then missing_capability(adapter, "search", "missing_capability") end
  query = check.query(query)
  local found = {}
  for i, entry in ipairs(perform(self, adapter, "search", adapter.memory_search, query)) do
    found[i] = {
      key = entry.key, score = entry.score, value = entry.value, metadata = entry.metadata, tags = entry.tags,
    }
  end
  return found
end

-- ---- the facades --------------------------------------------------------------------------

local function nothing() return nil end

--- `session.memory`.
---@param state harness.SessionState
---@return harness.Memory
function M.for_session(state)
  return setmetatable({
    _harness = state.harness, _scope = { kind = "session", session_id = state.id }, _span = nothing,
    _check_open = function() return state:check_open() end,
  }, Memory)
end

---@class harness.MemoryScopes
---@field session harness.Memory
---@field run harness.Memory
---@field agent harness.Memory? of agents and tools
local Scopes = {}
Scopes.__name = "harness.MemoryScopes"

local function open_scope(self, scope)
  local run, who, full = self._run, self._who, {}
  full.session_id, full.run_id, full.agent_id = run.session.id, run.id, who.agent_id
  full.workflow_id = run.kind == "workflow" and run.target or nil
  for key, value in pairs(scope) do full[key] = value end
  return setmetatable({
    _harness = run.harness, _scope = full, _span = function() return who.span or run.span end, _check_open = nothing,
  }, Memory)
end

local methods = {}

--- The memory of a user across sessions: of the id given, else of metadata.user_id.
---@param id? string
---@return harness.Memory
function methods:user(id)
  return open_scope(self, { kind = "user", user_id = id or self._who.metadata.user_id })
end

--- The memory that a tenant's users share: of the id given, else of metadata.tenant_id.
---@param id? string
---@return harness.Memory
function methods:tenant(id)
  return open_scope(self, { kind = "tenant", tenant_id = id or self._who.metadata.tenant_id })
end

--- Any scope.
---@param scope harness.Scope
---@return harness.Memory
function methods:scope(scope)
  if type(scope) ~= "table" then
    scope_error({ reason = "unknown_scope" }, "scope{...} takes a table { kind, … }, got " .. type(scope))
  end
  return open_scope(self, scope)
end

local KINDS <const> = { session = true, run = true, agent = true }

Scopes.__index = function(self, key)
  if not KINDS[key] then return methods[key] end
  if key == "agent" and not self._who.agent_id then return nil end
  local memory = open_scope(self, { kind = key })
  rawset(self, key, memory)
  return memory
end

--- `ctx.memory` of tools, agents and workflows.
---@param run harness.Run
---@param who harness.Invocation
---@return harness.MemoryScopes
function M.for_run(run, who)
  return setmetatable({ _run = run, _who = who }, Scopes)
end

return M
