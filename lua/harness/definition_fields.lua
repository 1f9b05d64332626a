--- Checking tables field by field, with all problems at once and a path for each.
---
---   local problems = fields.problems()
---   local clean = fields.check(problems, { "defaults" }, t, {
---     max_steps = { fields.integer{ min = 1, reason = "invalid_defaults" } },
---     name = { fields.string(), required = true },
---   })
---   problems:list()   --> { { path = "defaults.max_step", reason = "unknown_key", ... }, ... }
---
--- A checker is a function (problems, path, value) -> clean value; it adds what is wrong to the problems
--- and then returns nil. A path is a list of keys. What is returned is a copy: the given table may be
--- changed afterwards without effect.

local nearest = require "harness.nearest"

local M = {}

-- Paths -------------------------------------------------------------------------------------------

---The path one step further in.
---@param path (string|integer)[]
---@param key any
function M.at(path, key)
  local longer = table.move(path, 1, #path, 1, {})
  longer[#longer + 1] = math.type(key) == "integer" and key or tostring(key)
  return longer
end

---`agents.helper.tools[2]`, `models["gpt-5.1"]`
---@param path (string|integer)[]
---@return string
function M.path_text(path)
  local out = {}
  for i, key in ipairs(path) do
    if math.type(key) == "integer" then
      out[i] = ("[%d]"):format(key)
    elseif key:find("^[^%s%c.%[%]\"]+$") then
      out[i] = (i > 1 and "." or "") .. key
    else
      out[i] = ('["%s"]'):format(key:gsub('[%c"\\]', function(c) return ("\\%d"):format(c:byte()) end))
    end
  end
  return #out > 0 and table.concat(out) or "definition"
end

-- Integers before strings, each in its order; a path before what is inside of it.
local function path_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a[i], b[i]
    if x ~= y then
      local x_is_number, y_is_number = math.type(x) == "integer", math.type(y) == "integer"
      if x_is_number ~= y_is_number then return x_is_number end
      return x < y
    end
  end
  return #a < #b
end

-- What was found ----------------------------------------------------------------------------------

local LONGEST_SHOWN <const> = 40

---What a value is, for a message: `nothing`, `the number 0`, `the string "x"`, `a table`.
---@param value any
---@return string
function M.found(value)
  local kind = type(value)
  if kind == "nil" then return "nothing" end
  if kind == "number" or kind == "boolean" then return ("the %s %s"):format(kind, tostring(value)) end
  if kind ~= "string" then return "a " .. kind end
  if #value > LONGEST_SHOWN then return ("a string of %d bytes"):format(#value) end
  return ('the string "%s"'):format((value:gsub("%c", "?")))
end

-- Problems ----------------------------------------------------------------------------------------

---@class harness.Problem
---@field path string
---@field code string
---@field reason string
---@field message string begins with the path
---@field id string?
---@field directory string? of a skill
---@field source string?

---@class harness.Problems
local Problems = {}
Problems.__index = Problems

---@param sections string[]? the order of the first keys of paths; what is not in it comes first
---@return harness.Problems
function M.problems(sections)
  local rank = {}
  for i, name in ipairs(sections or {}) do rank[name] = i end
  return setmetatable({ items = {}, rank = rank }, Problems)
end

---Adds a problem.
---@param path (string|integer)[]
---@param reason string
---@param text string what is wrong and what is allowed, without the path
---@param id string? the name it is about
---@param code string? default HARNESS_CONFIG_ERROR
---@param more { directory?: string, source?: string }? of a skill
function Problems:add(path, reason, text, id, code, more)
  local where = M.path_text(path)
  self.items[#self.items + 1] = {
    at = path,
    order = #self.items,
    problem = {
      path = where,
      code = code or "HARNESS_CONFIG_ERROR",
      reason = reason,
      message = where .. ": " .. text,
      id = id,
      directory = more and more.directory,
      source = more and more.source,
    },
  }
end

---Wrong type: names what was found and what is allowed.
---@param path (string|integer)[]
---@param allowed string
---@param value any
function Problems:wrong_type(path, allowed, value)
  local found = value == nil and "but is missing" or "found " .. M.found(value)
  self:add(path, "wrong_type", ("must be %s, %s"):format(allowed, found))
end

---All problems in the order of the document: sections in their given order, then by path.
---@return harness.Problem[]
function Problems:list()
  table.sort(self.items, function(a, b)
    local rank_a, rank_b = self.rank[a.at[1]] or 0, self.rank[b.at[1]] or 0
    if rank_a ~= rank_b then return rank_a < rank_b end
    if path_before(a.at, b.at) then return true end
    if path_before(b.at, a.at) then return false end
    return a.order < b.order
  end)
  local out = {}
  for i, item in ipairs(self.items) do out[i] = item.problem end
  return out
end

-- Tables ------------------------------------------------------------------------------------------

---The keys of a table: integers first, then strings, then anything else; each kind sorted.
---@param t table
---@return any[]
function M.sorted_keys(t)
  local ranks = { integer = 1, float = 2, string = 3 }
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  local function rank(key) return ranks[math.type(key) or type(key)] or 4 end
  table.sort(keys, function(a, b)
    local rank_a, rank_b = rank(a), rank(b)
    if rank_a ~= rank_b then return rank_a < rank_b end
    if rank_a == 4 then return tostring(a) < tostring(b) end
    return a < b
  end)
  return keys
end

local function unknown_key(problems, path, key, allowed)
  if type(key) ~= "string" then
    problems:add(M.at(path, key), "unknown_key",
      ("this table has named fields only, found a %s as key"):format(math.type(key) or type(key)))
    return nil
  end
  local near = nearest.find(key, allowed)
  problems:add(M.at(path, key), "unknown_key", "there is no such field"
    .. nearest.hint(key, allowed, "fields"), key)
  return near
end

---Checks a table against its fields: name -> { checker, required = true or nil }. Unknown keys and
---missing required fields are problems; a required field that a misspelt key stands for is not
---reported twice. Returns the clean copy, and the set of fields that misspelt keys stand for.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param t table
---@param spec table<string, table>
---@return table clean
---@return table<string, true> meant
function M.check(problems, path, t, spec)
  local allowed, clean, meant = M.sorted_keys(spec), {}, {}
  for _, key in ipairs(M.sorted_keys(t)) do
    if not spec[key] then
      local near = unknown_key(problems, path, key, allowed)
      if near then meant[near] = true end
    end
  end
  for _, key in ipairs(allowed) do
    local field, value = spec[key], t[key]
    if value ~= nil or field.required and not meant[key] then
      clean[key] = field[1](problems, M.at(path, key), value)
    end
  end
  return clean, meant
end

-- Checkers ----------------------------------------------------------------------------------------

---A string. options: allowed (words for the message), not_empty.
---@param options { allowed?: string, not_empty?: boolean }?
function M.string(options)
  options = options or {}
  local allowed = options.allowed or options.not_empty and "a string that is not empty" or "a string"
  return function(problems, path, value)
    if type(value) == "string" and (value ~= "" or not options.not_empty) then return value end
    problems:wrong_type(path, allowed, value)
    return nil
  end
end

---True or false: itself a checker.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return boolean?
function M.boolean(problems, path, value)
  if type(value) == "boolean" then return value end
  problems:wrong_type(path, "true or false", value)
  return nil
end

-- The largest integer that JSON numbers and Lua floats both hold exactly.
local MAX_INTEGER <const> = 1 << 53

local function range_text(what, options)
  if options.max then return ("%s from %s to %s"):format(what, options.min, options.max) end
  return ("%s of at least %s"):format(what, options.min)
end

---A number within bounds. options: min, max?, integer?, reason of a number out of bounds, type_reason
---(default "wrong_type").
---@param options { min: number, max?: number, integer?: boolean, reason: string, type_reason?: string }
function M.number(options)
  local allowed = range_text(options.integer and "an integer" or "a number", options)
  return function(problems, path, value)
    local number = value
    if options.integer then number = math.tointeger(value) end
    local usable = type(value) == "number" and number and number >= options.min
      and number <= (options.max or MAX_INTEGER)
    if usable then return number end
    local reason = type(value) == "number" and options.reason or options.type_reason or "wrong_type"
    problems:add(path, reason, ("must be %s, found %s"):format(allowed, M.found(value)))
    return nil
  end
end

---An integer within bounds.
---@param options { min: integer, max?: integer, reason: string, type_reason?: string }
function M.integer(options)
  return M.number { min = options.min, max = options.max, integer = true, reason = options.reason,
    type_reason = options.type_reason }
end

---Whether a value can be called.
---@param value any
---@return boolean
function M.is_callable(value)
  if type(value) == "function" then return true end
  local meta = getmetatable(value)
  return type(meta) == "table" and type(rawget(meta, "__call")) == "function"
end

---A function, or something that can be called like one: the clean value is always a function.
---@param allowed string words for the message
function M.callable(allowed)
  return function(problems, path, value)
    if type(value) == "function" then return value end
    if M.is_callable(value) then return function(...) return value(...) end end
    problems:wrong_type(path, allowed, value)
    return nil
  end
end

---A list: 1..n without holes or other keys. Each item goes through the checker.
---@param item function a checker
---@param allowed string words for the message
function M.list(item, allowed)
  return function(problems, path, value)
    if type(value) ~= "table" then
      problems:wrong_type(path, allowed, value)
      return nil
    end
    local clean, keys = {}, M.sorted_keys(value)
    for i, key in ipairs(keys) do
      if key ~= i then
        problems:add(path, "wrong_type", ("must be %s, found the key %s"):format(allowed, tostring(key)))
        return nil
      end
      -- false holds the place of a wrong item, so that later checks name the right place of the others
      clean[i] = item(problems, M.at(path, i), value[i]) or false
    end
    return clean
  end
end

---A table with fields of its own.
---@param spec table<string, table>
---@param allowed string
function M.record(spec, allowed)
  return function(problems, path, value)
    if type(value) ~= "table" then
      problems:wrong_type(path, allowed, value)
      return nil
    end
    return (M.check(problems, path, value, spec))
  end
end

local function copy_plain(problems, path, value, on_path)
  local kind = type(value)
  if kind == "function" or kind == "thread" then
    problems:wrong_type(path, "plain data", value)
    return nil
  end
  if kind ~= "table" then return value end
  if on_path[value] then
    problems:add(path, "wrong_type", "must be plain data, found a table that contains itself")
    return nil
  end
  on_path[value] = true
  local copy = {}
  for _, key in ipairs(M.sorted_keys(value)) do
    copy[key] = copy_plain(problems, M.at(path, key), value[key], on_path)
  end
  on_path[value] = nil
  -- What marks an empty table as a list must not get lost.
  local meta = getmetatable(value)
  return type(meta) == "table" and setmetatable(copy, meta) or copy
end

---A table of plain data with any keys: copied through and through.
---@param allowed string
function M.plain(allowed)
  return function(problems, path, value)
    if type(value) == "table" then return copy_plain(problems, path, value, {}) end
    problems:wrong_type(path, allowed, value)
    return nil
  end
end

---Something that comes with a later version: any value but nil, false and an empty table is refused.
---@param what string
function M.not_available(what)
  return function(problems, path, value)
    if value == false or type(value) == "table" and next(value) == nil then return nil end
    problems:add(path, "not_available", ("%s is not available in this version; leave it out"):format(what))
    return nil
  end
end

return M
