--- Memory as code sees it: `session.memory`, and `ctx.memory` with its scopes.
---
---     session.memory:write("name", "Ada", { tags = { "user" } })
---     ctx.memory.run:read "draft"
---     ctx.memory:user():search "likes"            -- the user of metadata.user_id
---     ctx.memory:scope { kind = "agent", agent_id = "helper" }:list { prefix = "note." }
---
--- Each call is checked as a whole (memory_check.lua) before anything reaches the adapter
--- (memory_call.lua). The adapter is the storage, unless the definition has a `memory` of its own: any
--- table with the methods memory_get, memory_put, memory_delete, memory_list and, for search,
--- memory_search.

local adapters = require "harness.adapter"
local calls = require "harness.memory_call"
local check = require "harness.memory_check"

local M = {}

local has = adapters.has

---@class harness.Memory
local Memory = {}
Memory.__index = Memory
Memory.__name = "harness.Memory"

-- Everything that holds for each operation, before its arguments: is it open, and is the scope right?
local function begin(self, operation, key)
  self._check_open()
  local harness, scope = self._harness, self._scope
  local adapter = harness.definition.memory or harness.storage
  check.scope(adapter, scope)
  return {
    harness = harness, adapter = adapter, operation = operation, scope = scope, key = key, parent = self._span(),
  }
end

--- The value of a key; nil when there is none.
---@param key string
function Memory:read(key)
  local call = begin(self, "get", key)
  check.key(key)
  return calls.perform(call, key)
end

--- Keeps a value that JSON can hold.
---@param key string 1 to 256 letters, digits and _ . : -
---@param value any
---@param options? harness.MemoryPut
function Memory:write(key, value, options)
  local call = begin(self, "set", key)
  check.key(key)
  check.value(value)
  calls.perform(call, key, value, check.write_options(options, has(call.adapter, "memory.ttl")))
end

--- Forgets a key; harmless when there is none.
---@param key string
function Memory:delete(key)
  local call = begin(self, "delete", key)
  check.key(key)
  calls.perform(call, key)
end

--- The keys, in byte order: at most `limit` (default 100) of those that begin with `prefix` and come
--- after `cursor`.
---@param options? harness.MemoryList
---@return string[]
function Memory:list(options)
  local call = begin(self, "list")
  local entries = calls.perform(call, check.list_options(options))
  local keys = {}
  for i, entry in ipairs(entries) do keys[i] = entry.key end
  table.sort(keys)
  return keys
end

--- What holds words of the query, best first.
---@param query string|harness.MemoryQuery
---@return { key: string, score: number?, value: any, tags: string[]?, metadata: table? }[]
function Memory:search(query)
  local call = begin(self, "search")
  if not has(call.adapter, "memory.search") then calls.incapable(call.adapter, "search", "missing_capability") end
  local entries = calls.perform(call, check.query(query))
  local found = {}
  for i, entry in ipairs(entries) do
    found[i] = {
      key = entry.key, score = entry.score, value = entry.value, tags = entry.tags, metadata = entry.metadata,
    }
  end
  return found
end

-- ---- the session's ------------------------------------------------------------------------

local function nothing() return nil end

local function handle(harness, scope, span, check_open)
  return setmetatable({
    _harness = harness, _scope = scope, _span = span or nothing, _check_open = check_open or nothing,
  }, Memory)
end

--- `session.memory`.
---@param state harness.SessionState
---@return harness.Memory
function M.for_session(state)
  return handle(state.harness, { kind = "session", session_id = state.id }, nil,
    function() return state:check_open() end)
end

local PAGE <const> = 1000

local function forget(memory)
  local cursor
  repeat
    local keys = memory:list { limit = PAGE, cursor = cursor }
    for _, key in ipairs(keys) do memory:delete(key) end
    local last = keys[#keys]
    local is_over = #keys < PAGE or cursor and last <= cursor
    cursor = last
  until is_over
end

local function forget_runs(harness, session_id)
  local before
  repeat
    local runs = harness.storage:list_runs { session_id = session_id, limit = PAGE, before = before }
    for _, run in ipairs(runs) do
      forget(handle(harness, { kind = "run", session_id = session_id, run_id = run.id }))
    end
    before = runs[#runs] and runs[#runs].id
  until #runs < PAGE
end

--- Removes what a memory of the definition's own holds of a session that is being deleted, and of its
--- runs, as far as it can list and delete. (The storage removes its own with the session.)
---@param state harness.SessionState
function M.forget_session(state)
  local harness = state.harness
  local adapter = harness.definition.memory
  if not adapter or rawequal(adapter, harness.storage) then return end
  if not (has(adapter, "memory.list") and has(adapter, "memory.delete")) then return end
  if has(adapter, "memory.session") then forget(handle(harness, { kind = "session", session_id = state.id })) end
  if has(adapter, "memory.run") then forget_runs(harness, state.id) end
end

-- ---- the scopes of a run ------------------------------------------------------------------

---@class harness.MemoryScopes
---@field session harness.Memory
---@field run harness.Memory
---@field agent harness.Memory? of agents and tools; to touch it elsewhere is a VALIDATION_ERROR
local Scopes = {}
Scopes.__name = "harness.MemoryScopes"

-- What is known of where the code is, overridden by what the scope itself says.
local function open_scope(self, scope)
  local run, who, full = self._run, self._who, {}
  full.session_id, full.run_id, full.agent_id = run.session.id, run.id, who.agent_id
  full.workflow_id = run.kind == "workflow" and run.target or nil
  if scope.kind == "user" then full.user_id = who.metadata.user_id end
  if scope.kind == "tenant" then full.tenant_id = who.metadata.tenant_id end
  for key, value in pairs(scope) do full[key] = value end
  local span = self._span
  return handle(run.harness, full, function() return span or who.span or run.workflow_span or run.span end)
end

local methods = {}

--- The memory of a user across sessions: of the id given, else of metadata.user_id.
---@param id? string
---@return harness.Memory
function methods:user(id)
  return open_scope(self, { kind = "user", user_id = id })
end

--- The memory that a tenant's users share: of the id given, else of metadata.tenant_id.
---@param id? string
---@return harness.Memory
function methods:tenant(id)
  return open_scope(self, { kind = "tenant", tenant_id = id })
end

--- Any scope.
---@param scope harness.Scope
---@return harness.Memory
function methods:scope(scope)
  return open_scope(self, check.scope_table(scope))
end

local KINDS <const> = { session = true, run = true, agent = true }

Scopes.__index = function(self, key)
  if not KINDS[key] then return methods[key] end
  if key == "agent" and not self._who.agent_id then check.missing_id("agent", "agent_id") end
  local memory = open_scope(self, { kind = key })
  rawset(self, key, memory)
  return memory
end

--- `ctx.memory` of tools, agents and workflows.
---@param run harness.Run
---@param who harness.Invocation
---@param span? harness.Span what the spans of its calls go below; default: the invocation's
---@return harness.MemoryScopes
function M.for_run(run, who, span)
  return setmetatable({ _run = run, _who = who, _span = span }, Scopes)
end

return M
