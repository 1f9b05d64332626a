--- Checks what memory calls are given, before anything reaches an adapter (reference C 1.5): the key,
--- the value, options and queries. Each mistake is a VALIDATION_ERROR whose `where` names the argument.

local errors = require "harness.errors"
local json = require "harness.json"
local nearest = require "harness.nearest"

local M = {}

local MAX_KEY <const> = 256
local MAX_TAG <const> = 64
local MAX_LIMIT <const> = 1000
local DEFAULT_LIMIT <const> = 100
local MAX_TEXT <const> = 8000

local function bad(where, issues, message)
  errors.raise("VALIDATION_ERROR", message, { where = where, issues = issues })
end
M.bad = bad

local function is_word(text, most)
  return type(text) == "string" and #text >= 1 and #text <= most and text:find "^[%w_.:%-]+$" ~= nil
end

---@param key any
function M.key(key)
  if is_word(key, MAX_KEY) then return end
  bad("memory_key", { key = type(key) == "string" and key:sub(1, MAX_KEY) or type(key) },
    ("a memory key is 1 to %d letters, digits and _ . : -, got %s"):format(MAX_KEY,
      type(key) == "string" and ("%q"):format(key:sub(1, 40)) or type(key)))
end

---@param value any
function M.value(value)
  if value == nil then
    bad("memory_value", { path = "$", reason = "nil" }, "a memory value must not be nil; delete the key instead")
  end
  local ok, err = pcall(json.encode, value)
  if ok then return end
  bad("memory_value", { path = err.meta.path or "$", reason = err.message },
    "a memory value must be what JSON can hold: " .. err.message)
end

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
  if type(tags) ~= "table" or #tags == 0 and next(tags) ~= nil then
    bad(where, { tags = type(tags) }, where .. ": tags must be a list of texts")
  end
  for _, tag in ipairs(tags) do
    if not is_word(tag, MAX_TAG) then
      bad(where, { tag = type(tag) == "string" and tag:sub(1, MAX_TAG) or type(tag) },
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

local function check_limit(where, limit)
  if limit == nil then return DEFAULT_LIMIT end
  if math.type(limit) == "integer" and limit >= 1 and limit <= MAX_LIMIT then return limit end
  return bad(where, { limit = tostring(limit) },
    ("%s: limit must be a whole number from 1 to %d"):format(where, MAX_LIMIT))
end

--- Options of a write.
---@param options any
---@param has_ttl boolean does the adapter know times to live?
---@return harness.MemoryPut
function M.write_options(options, has_ttl)
  local where <const> = "memory_write_options"
  options = check_table(where, options, { "metadata", "tags", "ttl_ms" })
  local ttl = options.ttl_ms
  if ttl ~= nil then
    if math.type(ttl) ~= "integer" or ttl < 1 then
      bad(where, { ttl_ms = tostring(ttl) }, where .. ": ttl_ms must be a whole number above 0")
    end
    if not has_ttl then
      bad(where, { reason = "ttl_unsupported" }, where .. ": this memory has no times to live (memory.ttl)")
    end
  end
  check_tags(where, options.tags)
  check_metadata(where, options.metadata)
  return { ttl_ms = ttl, tags = options.tags, metadata = options.metadata }
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

--- A query: text, or a table with one.
---@param query any
---@return harness.MemoryQuery
function M.query(query)
  local where <const> = "memory_search_query"
  if type(query) == "string" then query = { text = query } end
  if query == nil then bad(where, {}, where .. ": takes text, or a table { text, limit?, tags?, metadata? }") end
  query = check_table(where, query, { "limit", "metadata", "tags", "text" })
  local text = type(query.text) == "string" and query.text:match "^%s*(.-)%s*$" or ""
  local length = utf8.len(text)
  if not length or length < 1 or length > MAX_TEXT then
    bad(where, { text_length = length or 0 }, ("%s: text must have 1 to %d characters, got %d"):format(where, MAX_TEXT,
      length or 0))
  end
  local limit = check_limit(where, query.limit)
  check_tags(where, query.tags)
  check_metadata(where, query.metadata)
  return { text = text, limit = limit, tags = query.tags, metadata = query.metadata }
end

return M
