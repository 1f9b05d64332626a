--- Storages: where sessions, messages, runs, events and memory are kept.
---
---   local storage = require("harness").storage.memory()
---   storage:upsert_session { id = "s", created_at = at, updated_at = at, run_count = 0 }
---   storage:append_messages("s", { { id = "m1", role = "user", content = "Hi", timestamp = at } })
---   storage:list_messages("s", { limit = 10 })
---   storage:close()
---
--- A storage is one of ours or a Lua table with the same methods, each of which may wait; the suite in
--- harness.testing.storage_contract shows whether it keeps to the rules:
---
--- - Records go in and come out as copies. JSON null (harness.null) and an absent field are two things.
--- - A call happens as a whole or not at all, and then raises: STATE_ERROR with meta.op and
---   meta.reason, or VALIDATION_ERROR with meta.where = "storage" for wrong arguments.
--- - Lists: `limit` (0 or more; default: all), `before` excludes its own row, and a cursor that is not
---   in the list is ignored. Ids and times are compared as bytes.
--- - Messages are sorted by (timestamp, id), and `limit` keeps the last. Runs and sessions come newest
---   first, events by seq, and `limit` keeps the first.

local core = require "harness.core"
local errors = require "harness.errors"

local M = {}

---@class harness.SessionRecord
---@field id string
---@field created_at string ISO 8601, as all times
---@field updated_at string
---@field run_count integer
---@field harness? string
---@field metadata? table JSON

---@class harness.MessageRecord further fields that JSON can hold are kept
---@field id string unique in its session
---@field session_id? string
---@field run_id? string
---@field role "system"|"user"|"assistant"|"tool"
---@field content any JSON: a string or a list of parts
---@field tool_calls? table JSON
---@field tool_call_id? string
---@field provider? table JSON
---@field timestamp string

---@class harness.RunRecord further fields that JSON can hold are kept
---@field id string
---@field session_id string
---@field kind "agent"|"workflow"
---@field target string
---@field harness? string
---@field started_at string
---@field finished_at? string
---@field status "queued"|"running"|"waiting"|"succeeded"|"failed"|"cancelled"
---@field attempt? integer
---@field input any JSON
---@field output any JSON
---@field error? table JSON
---@field metadata? table JSON

---@class harness.EventRecord
---@field id string
---@field run_id? string
---@field seq integer 1 or more, unique in its run
---@field at string
---@field type string
---@field payload any JSON

---@class harness.FinishPatch
---@field status "succeeded"|"failed"|"cancelled"
---@field finished_at string
---@field output any JSON
---@field error? table JSON
---@field messages? harness.MessageRecord[] for the run's session
---@field session? harness.SessionRecord the run's session
---@field event? harness.EventRecord
---@field lease_id? string of a durable run: fails unless the lease is held

---@class harness.Scope
---@field kind "run"|"session"|"agent"|"user"|"tenant"
---@field run_id? string the id of the kind is required and tells scopes apart, the others do not
---@field session_id? string
---@field agent_id? string
---@field user_id? string
---@field tenant_id? string
---@field workflow_id? string

---@class harness.MemoryEntry
---@field key string
---@field created_at string
---@field updated_at string
---@field expires_at? string
---@field tags? string[]
---@field metadata? table
---@field value any found by memory_search only
---@field score number? of memory_search: above 0, at most 1

---@class harness.MemoryPut
---@field ttl_ms? integer 1 or more; default: for ever
---@field tags? string[] default: those that are there
---@field metadata? table JSON object; default: the one that is there

---@class harness.MemoryList
---@field prefix? string
---@field limit? integer
---@field cursor? string a key: what follows it

---@class harness.MemoryQuery
---@field text string words; an entry is found that holds one of them, better ones first
---@field limit? integer
---@field tags? string[] all of which the entry has
---@field metadata? table all of whose fields the entry's metadata has

---@class harness.Storage
---@field id string
---@field capabilities string[]
---@field get_session fun(self, id: string): harness.SessionRecord?
---@field upsert_session fun(self, record: harness.SessionRecord)
---@field delete_session fun(self, id: string) its messages, runs, events and memory go too
---@field list_sessions fun(self, options?: { limit?: integer, before?: string }): harness.SessionRecord[]
---@field append_messages fun(self, session_id: string, list: harness.MessageRecord[])
---@field list_messages fun(self, session_id: string, options?: table): harness.MessageRecord[]
---@field clear_messages fun(self, session_id: string)
---@field replace_messages fun(self, session_id: string, list: harness.MessageRecord[])
---@field create_run fun(self, record: harness.RunRecord)
---@field get_run fun(self, run_id: string): harness.RunRecord?
---@field list_runs fun(self, options?: table): harness.RunRecord[] session_id, harness, status, limit, before
---@field finish_run fun(self, run_id: string, patch: harness.FinishPatch)
---@field append_events fun(self, run_id: string, list: harness.EventRecord[])
---@field list_events fun(self, run_id: string, options?: table): harness.EventRecord[] limit, after_seq
---@field memory_get fun(self, scope: harness.Scope, key: string): any
---@field memory_put fun(self, scope: harness.Scope, key: string, value: any, options?: harness.MemoryPut)
---@field memory_delete fun(self, scope: harness.Scope, key: string)
---@field memory_list fun(self, scope: harness.Scope, options?: harness.MemoryList): harness.MemoryEntry[]
---@field memory_search fun(self, scope: harness.Scope, query: harness.MemoryQuery): harness.MemoryEntry[]
---@field sweep fun(self, options?: { now?: integer }): table removes what is over, counts {memory, runs, …}
---@field close fun(self) may be called twice; then every other call is a STATE_ERROR (closed)

---A storage that keeps everything in the memory of the process and loses it with close. It does not
---offer durable runs, waits, work, workspaces and blobs: STATE_ERROR, reason "not_available".
---@return harness.Storage
function M.memory()
  return core.store.memory()
end

local function not_available(name)
  return function()
    errors.raise("HARNESS_CONFIG_ERROR",
      ("harness.storage.%s is not available in this version; harness.storage.memory() is"):format(name),
      { reason = "not_available", path = "storage", id = name })
  end
end

---A storage in an SQLite file. Not available yet.
---@type fun(options: string|{ path: string }): harness.Storage
M.sqlite = not_available "sqlite"

---A storage in PostgreSQL. Not available yet.
---@type fun(options: string|{ url: string }): harness.Storage
M.postgres = not_available "postgres"

return M
