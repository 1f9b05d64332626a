--- The value of a JSON text that is still arriving: what is open is closed, what is half there left out.
---
---     partial.decode '{"city": "Ber'          --> { city = "Ber" }
---     partial.decode '{"city": "Berlin", "t'  --> { city = "Berlin" }
---
--- A string value shows as far as it has come; a number, a word, a key only when it is certain.

local json = require "harness.json"

local M = {}

-- Behind the string that begins at `at`, or nil and how far whole characters and escapes go.
local function string_end(text, at)
  local i, whole = at + 1, at
  while i <= #text do
    local c = text:byte(i)
    if c == 34 then return i + 1 end
    if c == 92 then
      local pair = text:match('^\\u[dD][89aAbB]%x%x\\u%x%x%x%x', i)
      local high = text:match('^\\u[dD][89aAbB]', i)
      local escape = pair or not high and (text:match('^\\u%x%x%x%x', i) or text:match('^\\[^u]', i))
      if not escape then return nil, whole end
      i = i + #escape
    else
      local character = text:match("^" .. utf8.charpattern, i)
      local length = c < 0x80 and 1 or c < 0xE0 and 2 or c < 0xF0 and 3 or 4
      if not character or #character < length then return nil, whole end
      i = i + length
    end
    whole = i - 1
  end
  return nil, whole
end

-- Goes over the text; returns the part that is certain, and what closes it.
local function complete(text)
  local closers, wants_key = {}, {} -- by depth: "}" or "]", and whether a key comes next
  local i, certain, certain_depth = 1, 0, 0
  local tail = ""
  local function settle(at)
    certain, certain_depth, tail = at, #closers, ""
  end
  while i <= #text do
    local c = text:sub(i, i)
    local depth = #closers
    if c == "{" or c == "[" then
      closers[depth + 1] = c == "{" and "}" or "]"
      wants_key[depth + 1] = c == "{"
      settle(i)
      i = i + 1
    elseif c == "}" or c == "]" then
      closers[depth] = nil
      settle(i)
      i = i + 1
    elseif c == '"' then
      local past, whole = string_end(text, i)
      local is_key = wants_key[depth] and closers[depth] == "}"
      if not past then
        if not is_key then certain, certain_depth, tail = whole, depth, '"' end
        break
      end
      if is_key then wants_key[depth] = false else settle(past - 1) end
      i = past
    elseif c == "," then
      wants_key[depth] = closers[depth] == "}"
      i = i + 1
    elseif c:find "[%s:]" then
      i = i + 1
    else -- a number or a word: certain once something follows it
      local past = text:find("[%s,%]}]", i)
      if not past then break end
      settle(past - 1)
      i = past
    end
  end
  local closing = { tail }
  for d = certain_depth, 1, -1 do closing[#closing + 1] = closers[d] end
  return text:sub(1, certain) .. table.concat(closing)
end

--- The value as far as the text goes; nil when there is none yet, or it is no JSON.
---@param text string
---@return any?
function M.decode(text)
  local closed = complete(text)
  if closed == "" then return nil end
  local ok, value = pcall(json.decode, closed)
  if ok then return value end
  return nil
end

return M
