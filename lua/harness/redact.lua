--- Keeps secrets out of what we write or send on: errors, logs, spans, records.
---
---   redact.text("Incorrect API key: sk-abc123")     --> "Incorrect API key: [redacted]"
---   redact.value{ api_key = "k", n = 1 }            --> { api_key = "[redacted]", n = 1 }
---
--- Two rules. A value under a secret key goes as a whole: a key is secret when its name, in lower
--- case and without punctuation, is or ends with one of SECRET_KEYS. In every other string, what
--- looks like a credential is masked. `value` also bounds what it returns (depth, items, length), so
--- that it is safe to write; `mask` bounds nothing and gives back its argument when it is clean.
---
--- Same input, same output: nothing here depends on the order of `pairs` or on an address.

local M = {}

M.MARK = "[redacted]"
M.TRUNCATED = "[truncated]"
M.CIRCULAR = "[circular]"

-- Limits of `value`, and of a message that a model provider sent us.
M.MAX_DEPTH = 4
M.MAX_ITEMS = 20
M.MAX_ENTRIES = 40
M.MAX_STRING = 4000
M.MAX_PROVIDER_MESSAGE = 500
M.MAX_HEADER = 2000

local MARK = M.MARK

local SECRET_KEYS = {
  "apikey", "authorization", "token", "secret", "password", "passwd", "cookie", "privatekey", "credentials",
}

-- What carries the conversation itself in a provider's error body.
local CONTENT_KEYS = {
  prompt = true, prompts = true, messages = true, input = true, inputs = true, output = true, outputs = true,
  content = true, contents = true, text = true, data = true, body = true,
}

local function ends_in_secret_word(key)
  local name = key:lower():gsub("[%p%s]", "")
  for _, word in ipairs(SECRET_KEYS) do
    if name:sub(-#word) == word then return true end
  end
  return false
end

-- What was found of keys, since the same few come again and again; begun anew when it is full.
local known_keys, known_count = {}, 0
local MOST_KNOWN <const> = 1000
local LONGEST_KNOWN <const> = 64

---Whether a value under this key is a secret by the key's name alone.
---@param key any
---@return boolean
function M.is_secret_key(key)
  local known = known_keys[key]
  if known ~= nil then return known end
  if type(key) ~= "string" then return false end
  local is_secret = ends_in_secret_word(key)
  if #key <= LONGEST_KNOWN then
    if known_count >= MOST_KNOWN then known_keys, known_count = {}, 0 end
    known_keys[key], known_count = is_secret, known_count + 1
  end
  return is_secret
end

-- Words that follow "Bearer" or "Basic" in prose and are no credentials.
local SCHEME_PROSE = {
  token = true, tokens = true, auth = true, authentication = true, authorization = true, scheme = true,
  credentials = true, header = true, headers = true, realm = true, error = true,
}

local function mask_bearer(scheme_and_space, credential)
  local word = credential:lower():gsub("[^%a]+$", "")
  if SCHEME_PROSE[word] then return scheme_and_space .. credential end
  return MARK
end

-- "basic usage" is prose: Base64 of "user:password" has a digit, a sign, or a capital after its first letter.
local function mask_basic(scheme_and_space, credential)
  if #credential < 4 or not credential:find("[%u%d+/=]", 2) then return scheme_and_space .. credential end
  if SCHEME_PROSE[credential:lower()] then return scheme_and_space .. credential end
  return MARK
end

local function mask_sk(_, tail)
  return #tail >= 3 and MARK or nil
end

local function mask_long_word(_, tail)
  return #tail >= 8 and MARK or nil
end

-- key_, token_ and secret_ begin ordinary identifiers too (key_not_found): only with a digit.
local function mask_numbered_word(_, tail)
  return #tail >= 8 and tail:find("%d") and MARK or nil
end

-- PEM blocks, from BEGIN to the matching END line; one that was cut off goes to the end of the text.
local function mask_pem(text)
  local out, from = {}, 1
  while true do
    local first = text:find("-----BEGIN ", from, true)
    if not first then break end
    out[#out + 1] = text:sub(from, first - 1)
    out[#out + 1] = MARK
    local last = text:find("-----END ", first, true)
    if not last then return table.concat(out) end
    local _, stop = text:find("-----", last + 9, true)
    if not stop then return table.concat(out) end
    from = stop + 1
  end
  out[#out + 1] = text:sub(from)
  return table.concat(out)
end

-- A mask runs only when its hint occurs in the text in lower case: nearly every text is left after
-- the hints. A credential does not end in a full stop, but a sentence does.
local function words(hint, prefix, replace)
  local pattern = "%f[%w_%-](" .. prefix .. ")([%w._*%-]*[%w_*%-])"
  return { hint = hint, apply = function(text) return (text:gsub(pattern, replace)) end }
end

local SCHEMES = {
  {
    hint = "bearer",
    apply = function(text)
      local pattern = "%f[%a]([Bb][Ee][Aa][Rr][Ee][Rr]%s+)([%w._~+/=%-]*[%w_~+/=%-])"
      return (text:gsub(pattern, mask_bearer))
    end,
  },
  {
    hint = "basic",
    apply = function(text)
      return (text:gsub("%f[%a]([Bb][Aa][Ss][Ii][Cc]%s+)([%w+/=_%-]+)", mask_basic))
    end,
  },
}

-- These have a - or _ or : in them.
local MARKED = {
  { hint = "-----begin ", apply = mask_pem },
  words("sk-", "[Ss][Kk]%-", mask_sk),
  words("k_", "[spr]k_", mask_long_word),
  words("sess_", "sess_", mask_long_word),
  words("key_", "key_", mask_numbered_word),
  words("token_", "token_", mask_numbered_word),
  words("secret_", "secret_", mask_numbered_word),
  { -- https://user:password@host
    hint = "://",
    apply = function(text) return (text:gsub("://[^/%s@:]*:[^/%s@]+@", "://" .. MARK .. "@")) end,
  },
}

local function apply_masks(masks, text, lower)
  for i = 1, #masks do
    local mask = masks[i]
    if lower:find(mask.hint, 1, true) then text = mask.apply(text) end
  end
  return text
end

---Masks what looks like a credential in a text; the rest stays. A clean text comes back as it is.
---@param text string
---@return string
function M.text(text)
  if #text < 6 then return text end -- the shortest secret is "sk-abc"
  local lower = text:lower()
  local is_marked = lower:find("[_:%-]")
  text = apply_masks(SCHEMES, text, lower)
  return is_marked and apply_masks(MARKED, text, lower) or text
end

---Cuts a text to at most `limit` bytes, never within a UTF-8 character.
---@param text string
---@param limit integer
---@return string
function M.cut(text, limit)
  if #text <= limit then return text end
  local stop = limit
  -- At most three continuation bytes can precede the cut in valid UTF-8.
  for _ = 1, 3 do
    local byte = text:byte(stop + 1)
    if byte < 0x80 or byte >= 0xC0 or stop == 0 then break end
    stop = stop - 1
  end
  return text:sub(1, stop)
end

-- Masking a huge text only to cut it would stall the loop; 16 times the limit leaves room for masks
-- that shorten what precedes the cut.
local function text_within(text, limit)
  if #text > limit * 16 then text = text:sub(1, limit * 16) end
  return M.cut(M.text(text), limit)
end

---Masks and cuts a message that came from a model provider (500 bytes at most).
---@param text string
---@return string
function M.provider_message(text)
  return text_within(text, M.MAX_PROVIDER_MESSAGE)
end

-- Lists and objects -------------------------------------------------------------------------------

-- What stands for null, and marks an empty table as a list, once harness.core is there (this module
-- works without it too).
local json_null, json_list_mark

local function learn_json()
  local core = package.loaded["harness.core"]
  local json = type(core) == "table" and core.json
  if not json or json_list_mark then return end
  json_null, json_list_mark = json.null, getmetatable(json.array({}))
end

local function keep_list_mark(from, to)
  if json_list_mark and getmetatable(from) == json_list_mark then setmetatable(to, json_list_mark) end
  return to
end

-- The method by which a value says what it is as JSON: an error shows its serialised form.
local function tojson_of(value)
  local meta = getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__tojson") or nil
end

local function is_list(t)
  local count = 0
  for _ in next, t do count = count + 1 end
  if count ~= rawlen(t) then return false end
  for i = 1, count do
    if rawget(t, i) == nil then return false end
  end
  return true
end

-- Each byte that is no part of UTF-8 becomes U+FFFD: what is written is JSON, which cannot hold it.
local function valid_text(text)
  local length, bad = utf8.len(text)
  if length then return text end
  local out, from = {}, 1
  while not length do
    out[#out + 1] = text:sub(from, bad - 1)
    from = bad + 1
    length, bad = utf8.len(text, from)
  end
  out[#out + 1] = text:sub(from)
  return table.concat(out, "\u{FFFD}")
end

local function key_text(key)
  local kind = math.type(key) or type(key)
  if kind == "string" then return valid_text(key) end
  if kind == "integer" or kind == "float" or kind == "boolean" then return tostring(key) end
  return "[" .. kind .. "]"
end

local function sorted_entries(t)
  local entries = {}
  for key, item in next, t do
    entries[#entries + 1] = { text = key_text(key), rank = type(key), value = item }
  end
  table.sort(entries, function(a, b)
    if a.text ~= b.text then return a.text < b.text end
    return a.rank < b.rank
  end)
  return entries
end

local walk

local function walk_list(t, depth, state)
  local out = {}
  for i = 1, math.min(#t, M.MAX_ITEMS) do out[i] = walk(t[i], depth + 1, state) end
  return keep_list_mark(t, out)
end

local function walk_object(t, depth, state)
  local out, entries = {}, sorted_entries(t)
  for i = 1, math.min(#entries, M.MAX_ENTRIES) do
    local entry = entries[i]
    local hidden = M.is_secret_key(entry.text) or state.hide_content and CONTENT_KEYS[entry.text:lower()]
    out[entry.text] = hidden and MARK or walk(entry.value, depth + 1, state)
  end
  return out
end

local function walk_table(t, depth, state)
  if state.on_path[t] then return M.CIRCULAR end
  if depth >= M.MAX_DEPTH then return M.TRUNCATED end
  state.on_path[t] = true
  local out = (is_list(t) and walk_list or walk_object)(t, depth, state)
  state.on_path[t] = nil
  return out
end

local function walk_number(n)
  local finite = n == n and n ~= math.huge and n ~= -math.huge
  return finite and n or tostring(n)
end

function walk(value, depth, state)
  local kind = type(value)
  if kind == "string" then return M.cut(valid_text(text_within(value, M.MAX_STRING)), M.MAX_STRING) end
  if kind == "boolean" or kind == "nil" then return value end
  if kind == "number" then return walk_number(value) end
  if json_null ~= nil and rawequal(value, json_null) then return value end
  local tojson = tojson_of(value)
  if tojson then
    local ok, plain = pcall(tojson, value)
    if not ok or tojson_of(plain) then return "[" .. kind .. "]" end
    return walk(plain, depth, state)
  end
  if kind == "table" then return walk_table(value, depth, state) end
  return "[" .. kind .. "]"
end

---A copy that is safe to write: secrets masked; tables deeper than 4 levels, items after the 20th,
---entries after the 40th (by key) and what follows 4000 bytes of a string left out; cycles,
---functions and the like replaced by a word in brackets, bytes that are not UTF-8 by U+FFFD. Always
---JSON-able. Never raises.
---@param value any
---@return any
function M.value(value)
  learn_json()
  return walk(value, 0, { on_path = {} })
end

---As `value`, for the error body of a model provider: what may carry the conversation (keys like
---`messages`, `input`, `content`) is redacted too; code, type, param and message stay.
---@param body any
---@return any
function M.provider_body(body)
  learn_json()
  return walk(body, 0, { on_path = {}, hide_content = true })
end

---A copy of HTTP headers (name -> text or list of texts) with secret ones masked, each cut at 2000
---bytes.
---@param headers table<string, string|string[]>
---@return table<string, string|string[]>
function M.headers(headers)
  local out = {}
  for name, content in pairs(headers) do
    if M.is_secret_key(name) then
      out[name] = MARK
    elseif type(content) == "table" then
      out[name] = {}
      for i, line in ipairs(content) do out[name][i] = text_within(tostring(line), M.MAX_HEADER) end
    else
      out[name] = text_within(tostring(content), M.MAX_HEADER)
    end
  end
  return out
end

-- Masks without limits ----------------------------------------------------------------------------

-- Deeper than any meta of ours, and a bound for what others hand in.
local MASK_DEPTH <const> = 32

-- `seen` is made when the first table within a table is met.
local function has_secret(t, depth, seen)
  if depth >= MASK_DEPTH then return true end
  for key, item in next, t do
    if M.is_secret_key(key) and item ~= MARK then return true end
    local kind = type(item)
    if kind == "string" and M.text(item) ~= item then return true end
    if kind == "table" and not tojson_of(item) then
      seen = seen or {}
      seen[t] = true
      if not seen[item] and has_secret(item, depth + 1, seen) then return true end
    end
  end
  return false
end

local function masked_copy(value, depth, copies)
  if type(value) == "string" then return M.text(value) end
  if type(value) ~= "table" or tojson_of(value) then return value end
  if copies[value] then return copies[value] end
  if depth >= MASK_DEPTH then return M.TRUNCATED end
  local copy = {}
  copies[value] = copy
  for key, item in next, value do
    copy[key] = M.is_secret_key(key) and MARK or masked_copy(item, depth + 1, copies)
  end
  return keep_list_mark(value, copy)
end

---Masks secrets and leaves all else as it is: no limits on size. A value without a secret is
---returned itself, otherwise a copy. Values with a `__tojson` (errors, schemas) are not looked into.
---@generic T
---@param value T
---@return T
function M.mask(value)
  if type(value) == "string" then return M.text(value) end
  if type(value) ~= "table" or tojson_of(value) or not has_secret(value, 0) then return value end
  learn_json()
  return masked_copy(value, 0, {})
end

return M
