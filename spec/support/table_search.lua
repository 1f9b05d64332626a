--- The memory group of table_storage: values under keys in scopes, and a plain full-text search.

local core = require "harness.core"
local json = require "harness.json"

local M = {}

local ID_FIELDS <const> = {
  run = "run_id", session = "session_id", agent = "agent_id", user = "user_id", tenant = "tenant_id",
}
local SCOPE_FIELDS <const> = {
  kind = true, run_id = true, session_id = true, agent_id = true, user_id = true, tenant_id = true,
  workflow_id = true,
}

local function scope_name(kind, id) return kind .. ":" .. id end

function M.forget(storage, kind, id) storage.scopes[scope_name(kind, id)] = nil end

-- Only the letters that the suite uses beyond ASCII.
local SMALL <const> = { ["Ł"] = "ł", ["Ó"] = "ó", ["Ź"] = "ź" }

local function words(value)
  local found = {}
  local plain = value:lower():gsub("[\xC3-\xC5][\x80-\xBF]", SMALL)
  for word in plain:gmatch "[%w\x80-\xFF]+" do found[#found + 1] = word end
  return found
end

local function strings_in(value, out)
  if type(value) == "table" then
    for key, item in pairs(value) do
      if type(key) == "string" then out[#out + 1] = key end
      strings_in(item, out)
    end
  elseif value ~= json.null then
    out[#out + 1] = tostring(value)
  end
  return out
end

local function score(entry, query)
  local counts, distinct, matched, further = {}, 0, 0, 0
  for _, word in ipairs(words(entry.key .. " " .. table.concat(strings_in(entry.value, {}), " "))) do
    counts[word] = (counts[word] or 0) + 1
  end
  local seen = {}
  for _, word in ipairs(words(query)) do
    if not seen[word] then
      seen[word], distinct = true, distinct + 1
      if counts[word] then matched, further = matched + 1, further + counts[word] - 1 end
    end
  end
  return matched > 0 and (matched + further / (further + 1)) / (distinct + 1) or 0
end

local function holds(entry, query)
  for _, tag in ipairs(query.tags or {}) do
    local found = false
    for _, has in ipairs(entry.tags or {}) do found = found or has == tag end
    if not found then return false end
  end
  for name, value in pairs(query.metadata or {}) do
    local has = (entry.metadata or {})[name]
    if has == nil or json.encode(has) ~= json.encode(value) then return false end
  end
  return true
end

local function copy(value) return json.decode(json.encode(value)) end

local function shown(entry, with_value)
  return {
    key = entry.key, tags = entry.tags and copy(entry.tags),
      metadata = entry.metadata and copy(entry.metadata),
    created_at = entry.created_at, updated_at = entry.updated_at, expires_at = entry.expires_at,
    value = with_value and copy(entry.value) or nil, score = entry.score,
  }
end

-- Whole numbers of at least `least`.
local function whole(least)
  return function(value) return math.type(value) == "integer" and value >= least end
end

local function text(value) return type(value) == "string" end

local function tags(value)
  if type(value) ~= "table" then return false end
  for _, tag in ipairs(value) do
    if not text(tag) then return false end
  end
  return true
end

local function metadata(value) return type(value) == "table" and value[1] == nil end

local OPTIONS <const> = {
  memory_put = { ttl_ms = whole(1), tags = tags, metadata = metadata },
  memory_list = { prefix = text, limit = whole(0), cursor = text },
  memory_search = { text = text, limit = whole(0), tags = tags, metadata = metadata },
}

---Adds the methods; invalid(op, problem) raises.
function M.extend(Storage, invalid)
  local function scope_of(storage, op, scope)
    if type(scope) ~= "table" or not ID_FIELDS[scope.kind] then invalid(op, "the scope is wrong") end
    for name in pairs(scope) do
      if not SCOPE_FIELDS[name] then invalid(op, name .. " is not a field of a scope") end
    end
    local id = scope[ID_FIELDS[scope.kind]]
    if not text(id) then invalid(op, ID_FIELDS[scope.kind] .. " is missing") end
    local name = scope_name(scope.kind, id)
    storage.scopes[name] = storage.scopes[name] or {}
    return storage.scopes[name]
  end

  local function checked(op, options)
    for name, value in pairs(options or {}) do
      local is_right = OPTIONS[op][name]
      if not is_right or not is_right(value) then invalid(op, name .. " is wrong") end
    end
    return options or {}
  end

  local function live(storage, entries, key)
    local entry = entries[key]
    if entry and entry.expires_at and entry.expires_at <= core.timestamp(storage.now()) then return nil end
    return entry
  end

  function Storage:memory_get(scope, key)
    local entries = scope_of(self, "memory_get", scope)
    if not text(key) then invalid("memory_get", "the key is wrong") end
    local entry = live(self, entries, key)
    if entry then return copy(entry.value) end
    return nil
  end

  function Storage:memory_put(scope, key, value, options)
    local entries = scope_of(self, "memory_put", scope)
    options = checked("memory_put", options)
    if not text(key) or value == nil then invalid("memory_put", "key or value is missing") end
    local now, old = self.now(), live(self, entries, key) or {}
    entries[key] = {
      key = key, value = copy(value),
      tags = options.tags and { table.unpack(options.tags) } or old.tags,
      metadata = options.metadata and copy(options.metadata) or old.metadata,
      created_at = old.created_at or core.timestamp(now), updated_at = core.timestamp(now),
      expires_at = options.ttl_ms and core.timestamp(now + options.ttl_ms),
    }
  end

  function Storage:memory_delete(scope, key)
    local entries = scope_of(self, "memory_delete", scope)
    if not text(key) then invalid("memory_delete", "the key is wrong") end
    entries[key] = nil
  end

  local function cut(list, limit)
    return { table.unpack(list, 1, math.min(limit or #list, #list)) }
  end

  function Storage:memory_list(scope, options)
    local entries = scope_of(self, "memory_list", scope)
    options = checked("memory_list", options)
    local prefix, out = options.prefix or "", {}
    for key in pairs(entries) do
      local entry = live(self, entries, key)
      if entry and key:sub(1, #prefix) == prefix and (not options.cursor or key > options.cursor) then
        out[#out + 1] = shown(entry)
      end
    end
    table.sort(out, function(a, b) return a.key < b.key end)
    return cut(out, options.limit)
  end

  function Storage:memory_search(scope, query)
    local entries = scope_of(self, "memory_search", scope)
    query = checked("memory_search", query)
    if not query.text then invalid("memory_search", "text is missing") end
    local out = {}
    for key in pairs(entries) do
      local entry = live(self, entries, key)
      local points = entry and holds(entry, query) and score(entry, query.text) or 0
      if points > 0 then
        out[#out + 1] = shown(entry, true)
        out[#out].score = points
      end
    end
    table.sort(out, function(a, b)
      if a.score ~= b.score then return a.score > b.score end
      return a.key < b.key
    end)
    return cut(out, query.limit)
  end
end

return M
