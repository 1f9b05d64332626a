--- Checks what memory calls are given, before anything reaches an adapter (reference C 1.3, 1.5): the
--- scope, the key, the value, options and queries. Each mistake is a VALIDATION_ERROR whose `where` names
--- the argument.

local adapters = require "harness.adapter"
local errors = require "harness.errors"
local json = require "harness.json"
local nearest = require "harness.nearest"
local redact = require "harness.redact"

local M = {}

local MAX_KEY <const> = 256
local MAX_TAG <const> = 64
local MAX_LIMIT <const> = 1000
local DEFAULT_LIMIT <const> = 100
local MAX_TEXT <const> = 8000

local function bad(where, issues, message)
  errors.raise("VALIDATION_ERROR", message, { where = where, issues = issues })
end

-- ---- scopes -------------------------------------------------------------------------------

-- The id that a kind of scope needs, and what else a scope may say.
local ID_OF <const> = {
  session = "session_id", run = "run_id", agent = "agent_id", user = "user_id", tenant = "tenant_id",
}
local KINDS <const> = { "agent", "run", "session", "tenant", "user" }
local SCOPE_FIELDS <const> = { "agent_id", "kind", "run_id", "session_id", "tenant_id", "user_id", "workflow_id" }
local IS_SCOPE_FIELD <const> = {}
for _, name in ipairs(SCOPE_FIELDS) do IS_SCOPE_FIELD[name] = true end

--- Raises that the scope's id is not there.
---@param kind string
---@param field string
function M.missing_id(kind, field)
  local in_metadata = kind == "user" or kind == "tenant"
  bad("memory_scope", { reason = "missing_scope_identifier", field = field, scope = kind },
    ("the memory of the scope %q needs %s, text that is not empty: %s"):format(kind, field,
      in_metadata and ("give it, or put %s into the run's metadata"):format(field)
      or ("give it with ctx.memory:scope{ kind = %q, %s = … }"):format(kind, field)))
end

--- A scope is a table; a copy of it.
---@param scope any
---@return table
function M.scope_table(scope)
  if type(scope) ~= "table" then
    bad("memory_scope", { reason = "unknown_scope", scope = type(scope) },
      "ctx.memory:scope{...} takes a table { kind = …, … }, got " .. type(scope))
  end
  local copy = {}
  for name, value in pairs(scope) do copy[name] = value end
  return copy
end

local function check_scope_fields(scope)
  for name, value in pairs(scope) do
    if not IS_SCOPE_FIELD[name] then
      bad("memory_scope", { reason = "unknown_key", field = tostring(name) },
        ("a memory scope has no field %q%s"):format(tostring(name),
          nearest.hint(tostring(name), SCOPE_FIELDS, "fields")))
    end
    if type(value) ~= "string" then
      bad("memory_scope", { reason = "wrong_type", field = name },
        ("the field %s of a memory scope must be text, got %s"):format(name, type(value)))
    end
  end
end

--- The scope of a call, against what the adapter knows.
---@param adapter table|userdata
---@param scope table
function M.scope(adapter, scope)
  local kind = scope.kind
  local field = ID_OF[kind]
  if not field then
    bad("memory_scope", { reason = "unknown_scope", scope = tostring(kind) },
      ("there is no memory scope %q%s"):format(tostring(kind), nearest.hint(tostring(kind), KINDS, "scopes")))
  end
  local capability = "memory." .. kind
  if not adapters.has(adapter, capability) then
    bad("memory_scope", { reason = "scope_unsupported", capability = capability, method = kind },
      ("this memory has no scope %q: the adapter does not have the capability %s"):format(kind, capability))
  end
  local id = scope[field]
  if type(id) ~= "string" or id == "" then M.missing_id(kind, field) end
  check_scope_fields(scope)
end

-- ---- keys and values ----------------------------------------------------------------------

local function is_word(text, most)
  return type(text) == "string" and #text >= 1 and #text <= most and text:find "^[%w_.:%-]+$" ~= nil
end

-- A text in one line of a message.
local function shown(text)
  local quoted = ("%q"):format(redact.cut(text, 40)):gsub("\\\n", "\\n")
  return #text > 40 and ("%s… (%d bytes)"):format(quoted, #text) or quoted
end

---@param key any
function M.key(key)
  if is_word(key, MAX_KEY) then return end
  local is_text = type(key) == "string"
  bad("memory_key", { key = is_text and redact.cut(key, MAX_KEY) or type(key) },
    ("a memory key is 1 to %d letters, digits and _ . : -, got %s"):format(MAX_KEY,
      is_text and shown(key) or type(key)))
end

---@param value any
function M.value(value)
  if value == nil then
    bad("memory_value", { path = "$", reason = "nil" }, "a memory value must not be nil; delete the key instead")
  end
  local ok, err = pcall(json.encode, value)
  if ok then return end
  if not errors.is(err, "VALIDATION_ERROR") then error(err, 0) end -- out of memory is no mistake of the caller's
  bad("memory_value", { path = err.meta.path or "$", reason = err.message },
    "a memory value must be what JSON can hold: " .. err.message)
end

-- ---- options ------------------------------------------------------------------------------

local function check_table(where, options, known)
  if options == nil then return {} end
  if type(options) ~= "table" then bad(where, {}, ("%s: must be a table, got %s"):format(where, type(options))) end
  for name in pairs(options) do
    local is_known = false
    for _, one in ipairs(known) do is_known = is_known or one == name end
    if not is_known then
      bad(where, { [tostring(name)] = "unknown" }, ("%s: there is no option %q%s"):format(where, tostring(name),
        nearest.hint(tostring(name), known, "options")))
    end
  end
  return options
end

local function check_tags(where, tags)
  if tags == nil then return end
  local count = 0
  for _ in pairs(type(tags) == "table" and tags or {}) do count = count + 1 end
  if type(tags) ~= "table" or count ~= #tags then
    bad(where, { tags = type(tags) }, where .. ": tags must be a list of texts")
  end
  for _, tag in ipairs(tags) do
    if not is_word(tag, MAX_TAG) then
      bad(where, { tag = type(tag) == "string" and redact.cut(tag, MAX_TAG) or type(tag) },
        ("%s: a tag is 1 to %d letters, digits and _ . : -"):format(where, MAX_TAG))
    end
  end
end

local function check_metadata(where, metadata)
  if metadata == nil then return end
  local ok, text = pcall(json.encode, metadata)
  if type(metadata) == "table" and ok and text:sub(1, 1) == "{" then return end
  bad(where, { metadata = "not an object" }, where .. ": metadata must be a table with names that JSON can hold")
end

-- A float that is whole counts as what it is: 1e3, 60 * 1000.0.
local function whole(value)
  return type(value) == "number" and math.tointeger(value) or nil
end

local function check_limit(where, limit)
  if limit == nil then return DEFAULT_LIMIT end
  local n = whole(limit)
  if n and n >= 1 and n <= MAX_LIMIT then return n end
  return bad(where, { limit = tostring(limit) },
    ("%s: limit must be a whole number from 1 to %d"):format(where, MAX_LIMIT))
end

local function check_ttl(where, ttl_ms, has_ttl)
  if ttl_ms == nil then return nil end
  local n = whole(ttl_ms)
  if not n or n < 1 then
    bad(where, { ttl_ms = tostring(ttl_ms) }, where .. ": ttl_ms must be a whole number above 0")
  end
  if has_ttl then return n end
  return bad(where, { reason = "ttl_unsupported" }, where .. ": this memory has no times to live (memory.ttl)")
end

--- Options of a write.
---@param options any
---@param has_ttl boolean does the adapter know times to live?
---@return harness.MemoryPut
function M.write_options(options, has_ttl)
  local where <const> = "memory_write_options"
  options = check_table(where, options, { "metadata", "tags", "ttl_ms" })
  local ttl_ms = check_ttl(where, options.ttl_ms, has_ttl)
  check_tags(where, options.tags)
  check_metadata(where, options.metadata)
  return { ttl_ms = ttl_ms, tags = options.tags, metadata = options.metadata }
end

--- Options of a list.
---@param options any
---@return harness.MemoryList
function M.list_options(options)
  local where <const> = "memory_list_options"
  options = check_table(where, options, { "cursor", "limit", "prefix" })
  for _, name in ipairs { "cursor", "prefix" } do
    if options[name] ~= nil and type(options[name]) ~= "string" then
      bad(where, { [name] = type(options[name]) }, ("%s: %s must be text"):format(where, name))
    end
  end
  return { limit = check_limit(where, options.limit), prefix = options.prefix, cursor = options.cursor }
end

-- Without the white space around it. No pattern that could go back over a long text.
local function trimmed(text)
  local first = text:find "%S"
  return first and text:sub(first):match ".*%S" or ""
end

local function check_text(where, given)
  if type(given) ~= "string" then
    bad(where, { text_length = 0 }, ("%s: text must be text, got %s"):format(where, type(given)))
  end
  local text = trimmed(given)
  local length = utf8.len(text)
  if not length then bad(where, { text_length = #text }, where .. ": text must be valid UTF-8") end
  if length >= 1 and length <= MAX_TEXT then return text end
  return bad(where, { text_length = length },
    ("%s: text must have 1 to %d characters, got %d"):format(where, MAX_TEXT, length))
end

--- A query: text, or a table with one.
---@param query any
---@return harness.MemoryQuery
function M.query(query)
  local where <const> = "memory_search_query"
  if type(query) == "string" then query = { text = query } end
  if query == nil then
    bad(where, { text_length = 0 }, where .. ": takes text, or a table { text, limit?, tags?, metadata? }")
  end
  query = check_table(where, query, { "limit", "metadata", "tags", "text" })
  local text = check_text(where, query.text)
  local limit = check_limit(where, query.limit)
  check_tags(where, query.tags)
  check_metadata(where, query.metadata)
  return { text = text, limit = limit, tags = query.tags, metadata = query.metadata }
end

return M
