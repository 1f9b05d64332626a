--- A storage in a plain Lua table: the slow and obvious way to keep to the storage contract. It is the
--- model that the engines are compared with, and an example of a storage written in Lua.

local errors = require "harness.errors"
local json = require "harness.json"
local search = require "spec.support.table_search"

local M = {}

local Storage = {}
Storage.__index = Storage
Storage.id = "table"
Storage.capabilities = { "memory.kv", "memory.list", "memory.delete", "memory.search", "memory.ttl" }

-- Arguments ---------------------------------------------------------------------------------------

local function invalid(op, problem)
  errors.raise("VALIDATION_ERROR", ("storage:%s: %s"):format(op, problem), { where = "storage", op = op })
end

local function fail(op, reason)
  errors.raise("STATE_ERROR", ("storage:%s: %s"):format(op, reason), { op = op, reason = reason })
end

local function text(value) return type(value) == "string" end
local function any(value) return value ~= nil end
local function object(value) return type(value) == "table" end

local function whole(least)
  return function(value) return math.type(value) == "integer" and value >= least end
end

local function word(...)
  local words = {}
  for _, name in ipairs { ... } do words[name] = true end
  return function(value) return words[value] == true end
end

local STATUS = word("queued", "running", "waiting", "succeeded", "failed", "cancelled")
local TERMINAL = word("succeeded", "failed", "cancelled")

-- Field -> check; the names in `required` must be there; `open`: others are kept as JSON.
local SHAPES <const> = {
  session = {
    required = { "id", "created_at", "updated_at", "run_count" },
    fields = {
      id = text, created_at = text, updated_at = text, run_count = whole(0), harness = text, metadata = any,
    },
  },
  message = {
    required = { "id", "role", "timestamp" }, open = true,
    fields = {
      id = text, role = word("system", "user", "assistant", "tool"), timestamp = text, session_id = text,
      run_id = text, tool_call_id = text,
    },
  },
  run = {
    required = { "id", "session_id", "kind", "target", "started_at", "status" }, open = true,
    fields = {
      id = text, session_id = text, kind = word("agent", "workflow"), target = text, started_at = text,
      status = STATUS, harness = text, finished_at = text, attempt = whole(1),
    },
  },
  event = {
    required = { "id", "seq", "at", "type" },
    fields = { id = text, seq = whole(1), at = text, type = text, run_id = text, payload = any },
  },
  patch = {
    required = { "status", "finished_at" },
    fields = {
      status = TERMINAL, finished_at = text, output = any, error = any, messages = object, session = object,
      event = object, lease_id = text,
    },
  },
  options = {
    required = {},
    fields = {
      limit = whole(0), before = text, after_seq = whole(0), session_id = text, harness = text,
      status = STATUS,
    },
  },
}

local function check(op, shape, value)
  if type(value) ~= "table" then invalid(op, "a table is wanted, not a " .. type(value)) end
  for name, field in pairs(value) do
    local is_right = SHAPES[shape].fields[name]
    if not is_right and not SHAPES[shape].open then invalid(op, ("%s is not known"):format(name)) end
    if is_right and not is_right(field) then invalid(op, ("%s is wrong"):format(name)) end
  end
  for _, name in ipairs(SHAPES[shape].required) do
    if value[name] == nil then invalid(op, name .. " is missing") end
  end
end

local function check_text(op, value)
  if not text(value) then invalid(op, "a string is wanted, not a " .. type(value)) end
end

local function check_options(op, options, ...)
  if options == nil then return {} end
  check(op, "options", options)
  local allowed = word(...)
  for name in pairs(options) do
    if not allowed(name) then invalid(op, name .. " is not an option") end
  end
  return options
end

local function check_list(op, shape, list, owner_field, owner)
  if type(list) ~= "table" then invalid(op, "a list is wanted") end
  for _, record in ipairs(list) do
    check(op, shape, record)
    local said = record[owner_field]
    if said and owner and said ~= owner then invalid(op, owner_field .. " is another") end
  end
end

-- Ids may be any bytes; what JSON holds is copied by way of JSON.
local function copy(record)
  if type(record) ~= "table" then return record end
  local out = {}
  for name, value in pairs(record) do
    out[name] = type(value) == "table" and json.decode(json.encode(value)) or value
  end
  return out
end

local function copies(list)
  local out = {}
  for i, record in ipairs(list) do out[i] = copy(record) end
  return out
end

-- Lists -------------------------------------------------------------------------------------------

local function by(field, descending)
  return function(a, b)
    if descending then a, b = b, a end
    if a[field] ~= b[field] then return a[field] < b[field] end
    return a.id < b.id
  end
end

local function place(list, id)
  for i, record in ipairs(list) do
    if record.id == id then return i end
  end
end

local function first(list, limit)
  return copies { table.unpack(list, 1, math.min(limit or #list, #list)) }
end

function M.new()
  return setmetatable({
    sessions = {}, messages = {}, runs = {}, events = {}, scopes = {},
      now = function() return os.time() * 1000 end,
  }, Storage)
end

-- Sessions ----------------------------------------------------------------------------------------

function Storage:get_session(id)
  check_text("get_session", id)
  return copy(self.sessions[id])
end

function Storage:upsert_session(record)
  check("upsert_session", "session", record)
  self.sessions[record.id] = copy(record)
end

function Storage:delete_session(id)
  check_text("delete_session", id)
  self.sessions[id], self.messages[id] = nil, nil
  search.forget(self, "session", id)
  for run_id, run in pairs(self.runs) do
    if run.session_id == id then
      self.runs[run_id], self.events[run_id] = nil, nil
      search.forget(self, "run", run_id)
    end
  end
end

local function sorted(map, field, keep)
  local list = {}
  for _, record in pairs(map) do
    if not keep or keep(record) then list[#list + 1] = record end
  end
  table.sort(list, by(field, true))
  return list
end

function Storage:list_sessions(options)
  options = check_options("list_sessions", options, "limit", "before")
  local list = sorted(self.sessions, "created_at")
  local at = place(list, options.before)
  return first({ table.unpack(list, at and at + 1 or 1) }, options.limit)
end

-- Messages ----------------------------------------------------------------------------------------

local function joined(op, old, new, session_id)
  local list, seen = { table.unpack(old) }, {}
  for _, message in ipairs(old) do seen[message.id] = true end
  for _, message in ipairs(new) do
    if seen[message.id] then fail(op, "duplicate_message_id") end
    seen[message.id] = true
    list[#list + 1] = copy(message)
    list[#list].session_id = session_id
  end
  table.sort(list, by "timestamp")
  return list
end

function Storage:append_messages(session_id, list)
  check_text("append_messages", session_id)
  check_list("append_messages", "message", list, "session_id", session_id)
  self.messages[session_id] = joined("append_messages", self.messages[session_id] or {}, list, session_id)
end

function Storage:replace_messages(session_id, list)
  check_text("replace_messages", session_id)
  check_list("replace_messages", "message", list, "session_id", session_id)
  self.messages[session_id] = joined("replace_messages", {}, list, session_id)
end

function Storage:clear_messages(session_id)
  check_text("clear_messages", session_id)
  self.messages[session_id] = nil
end

function Storage:list_messages(session_id, options)
  check_text("list_messages", session_id)
  options = check_options("list_messages", options, "limit", "before")
  local list = self.messages[session_id] or {}
  local last = (place(list, options.before) or #list + 1) - 1
  local from = math.max(1, options.limit and last - options.limit + 1 or 1)
  return copies { table.unpack(list, from, last) }
end

-- Runs --------------------------------------------------------------------------------------------

function Storage:create_run(record)
  check("create_run", "run", record)
  local old = self.runs[record.id]
  if not old then
    self.runs[record.id] = copy(record)
    return
  end
  local same = old.session_id == record.session_id and old.kind == record.kind and old.target == record.target
  if not same or TERMINAL(old.status) then fail("create_run", "run_exists") end
end

function Storage:get_run(run_id)
  check_text("get_run", run_id)
  return copy(self.runs[run_id])
end

local function passes(run, options)
  return (not options.session_id or run.session_id == options.session_id)
    and (not options.harness or run.harness == options.harness)
    and (not options.status or run.status == options.status)
end

function Storage:list_runs(options)
  options = check_options("list_runs", options, "session_id", "harness", "status", "limit", "before")
  local list = sorted(self.runs, "started_at", function(run)
    return not options.session_id or run.session_id == options.session_id
  end)
  local out = {}
  for i = (place(list, options.before) or 0) + 1, #list do
    if passes(list[i], options) then out[#out + 1] = list[i] end
  end
  return first(out, options.limit)
end

-- Events ------------------------------------------------------------------------------------------

local function with_events(op, old, new, run_id)
  local list, seen = { table.unpack(old) }, {}
  for _, event in ipairs(old) do seen[event.seq] = true end
  for _, event in ipairs(new) do
    if seen[event.seq] then fail(op, "duplicate_event_seq") end
    seen[event.seq] = true
    list[#list + 1] = copy(event)
    list[#list].run_id = run_id
  end
  table.sort(list, by "seq")
  return list
end

function Storage:append_events(run_id, list)
  check_text("append_events", run_id)
  check_list("append_events", "event", list, "run_id", run_id)
  self.events[run_id] = with_events("append_events", self.events[run_id] or {}, list, run_id)
end

function Storage:list_events(run_id, options)
  check_text("list_events", run_id)
  options = check_options("list_events", options, "limit", "after_seq")
  local out = {}
  for _, event in ipairs(self.events[run_id] or {}) do
    if event.seq > (options.after_seq or 0) then out[#out + 1] = event end
  end
  return first(out, options.limit)
end

-- The end of a run: all that may fail comes first.
function Storage:finish_run(run_id, patch)
  local op = "finish_run"
  check_text(op, run_id)
  check(op, "patch", patch)
  check_list(op, "message", patch.messages or {}, "session_id")
  if patch.session then check(op, "session", patch.session) end
  check_list(op, "event", { patch.event }, "run_id", run_id)
  local run = self.runs[run_id]
  if not run then fail(op, "run_not_found") end
  if TERMINAL(run.status) then fail(op, "run_finished") end
  local session_id = run.session_id
  for _, record in ipairs(patch.messages or {}) do
    if (record.session_id or session_id) ~= session_id then fail(op, "session_mismatch") end
  end
  if patch.session and patch.session.id ~= session_id then fail(op, "session_mismatch") end
  local events = with_events(op, self.events[run_id] or {}, { patch.event }, run_id)
  local messages = joined(op, self.messages[session_id] or {}, patch.messages or {}, session_id)
  local ended = copy(patch)
  run.status, run.finished_at = ended.status, ended.finished_at
  if ended.output ~= nil then run.output = ended.output end
  if ended.error ~= nil then run.error = ended.error end
  self.events[run_id], self.messages[session_id] = events, messages
  if ended.session then self.sessions[session_id] = ended.session end
end

function Storage:close()
  self.sessions, self.messages, self.runs, self.events, self.scopes = {}, {}, {}, {}, {}
end

search.extend(Storage, invalid)

return M
