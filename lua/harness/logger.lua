--- The logger: JSON Lines, one object a line, on standard error.
---
---   local log = logger.new{ fields = { harness = "support" } }
---   log:warn("slow model", { alias = "fast", duration_ms = 9120 })
---   --> {"level":"warn","time":"2026-11-22T10:32:57.123Z","msg":"slow model","alias":"fast",...}
---   log:child{ run_id = id }:error("run failed", { error = err })
---
--- The least level is the option `level`, else HARNESS_LOG_LEVEL, else "warn". Keys are level, time,
--- msg, then the fields in byte order. Everything is redacted and bounded (harness.redact). Logging
--- never raises: a line that cannot be written is counted, and the next one that can be is preceded
--- by a line that says how many were lost.
---
--- A logger of the user's own is a table with the methods METHODS; `adapt` puts it behind the same
--- redaction, and keeps what it raises away from the run.

local errors = require "harness.errors"
local redact = require "harness.redact"

local M = {}

---@alias harness.LogLevel "trace"|"debug"|"info"|"warn"|"error"|"fatal"

local LEVELS = { "trace", "debug", "info", "warn", "error", "fatal" }
local RANK = {}
for rank, level in ipairs(LEVELS) do RANK[level] = rank end

--- Least to most severe.
M.LEVELS = LEVELS
--- What a logger must have; `enabled(self, level)` is optional for one of the user's own.
M.METHODS = { "trace", "debug", "info", "warn", "error", "fatal", "child" }
M.DEFAULT_LEVEL = "warn"
M.ENV = "HARNESS_LOG_LEVEL"

---@class harness.Logger
---@field level harness.LogLevel
---@field trace fun(self, msg: string, fields?: table)
---@field debug fun(self, msg: string, fields?: table)
---@field info fun(self, msg: string, fields?: table)
---@field warn fun(self, msg: string, fields?: table)
---@field error fun(self, msg: string, fields?: table)
---@field fatal fun(self, msg: string, fields?: table)
local Logger = { __name = "harness.logger" }
Logger.__index = Logger

-- Lines -------------------------------------------------------------------------------------------

local function timestamp(ms)
  local seconds = ms // 1000
  return os.date("!%Y-%m-%dT%H:%M:%S", math.tointeger(seconds)) .. (".%03dZ"):format(ms % 1000 // 1)
end

-- The line's own keys; a field of that name gets another one instead of hiding it.
local OWN_KEYS = { level = true, time = true, msg = true }

local function sorted_names(fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function format_line(sink, level, msg, fields)
  local encode = sink.encode
  local parts = {
    ('{"level":"%s","time":"%s","msg":'):format(level, timestamp(sink.now())), encode(msg),
  }
  for _, name in ipairs(sorted_names(fields)) do
    local key = OWN_KEYS[name] and "fields." .. name or name
    parts[#parts + 1] = "," .. encode(key) .. ":" .. encode(fields[name])
  end
  parts[#parts + 1] = "}\n"
  return table.concat(parts)
end

local function write(sink, line)
  local ok, written = pcall(sink.write, line)
  return ok and written ~= nil and written ~= false
end

local function write_line(sink, level, msg, fields)
  local ok, line = pcall(format_line, sink, level, msg, fields)
  if not ok then
    line = format_line(sink, level, msg, { log_error = "the fields cannot be written: " .. tostring(line) })
  end
  if sink.lost > 0 then
    local notice = format_line(sink, "warn", "log lines could not be written", { lost = sink.lost })
    if write(sink, notice) then sink.lost = 0 end
  end
  if not write(sink, line) then sink.lost = sink.lost + 1 end
end

-- What may be written of the fields, with string keys.
local function clean(fields)
  if fields == nil then return {} end
  local safe = redact.value(fields)
  if type(safe) ~= "table" then return { value = safe } end
  local out = {}
  for key, value in pairs(safe) do out[tostring(key)] = value end
  return out
end

local function message_text(msg)
  if type(msg) == "string" then return redact.value(msg) end
  return errors.serialize(msg).message
end

local function merged(bindings, fields)
  local extra = clean(fields)
  for key, value in pairs(bindings) do
    if extra[key] == nil then extra[key] = value end
  end
  return extra
end

-- The logger --------------------------------------------------------------------------------------

for _, level in ipairs(LEVELS) do
  local rank = RANK[level]
  Logger[level] = function(self, msg, fields)
    if rank < self.rank then return end
    write_line(self.sink, level, message_text(msg), merged(self.bindings, fields))
  end
end

---Whether a line of this level would be written: asked before building costly fields.
---@param level harness.LogLevel
---@return boolean
function Logger:enabled(level)
  local rank = RANK[level]
  if not rank then error(('there is no log level "%s"'):format(tostring(level)), 2) end
  return rank >= self.rank
end

---A logger that adds these fields to each line; its own fields win over inherited ones.
---@param fields table
---@return harness.Logger
function Logger:child(fields)
  return setmetatable({
    level = self.level, rank = self.rank, sink = self.sink, bindings = merged(self.bindings, fields),
  }, Logger)
end

-- io.stderr is not buffered: one write keeps a line in one piece.
local function to_stderr(line)
  return io.stderr:write(line)
end

local function core_encode()
  local json = require("harness.core").json
  local options = { invalid_utf8 = "replace" }
  return function(value) return json.encode(value, options) end
end

local function chosen_level(option)
  if option ~= nil then
    if not RANK[option] then error(('there is no log level "%s"'):format(tostring(option)), 3) end
    return option
  end
  local named = not M.hosted and os.getenv(M.ENV) or nil
  if named == nil or named == "" then return M.DEFAULT_LEVEL end
  local level = named:lower()
  if RANK[level] then return level end
  return M.DEFAULT_LEVEL, named
end

---@class harness.LoggerOptions
---@field level? harness.LogLevel default: HARNESS_LOG_LEVEL, else "warn"
---@field fields? table in every line
---@field write? fun(line: string): any gets whole lines; nil, false or an error means not written
---@field now? fun(): number milliseconds since the epoch; default: the engine's clock
---@field encode? fun(value: any): string JSON

---Makes a logger. A wrong HARNESS_LOG_LEVEL is told in one warning, and the default taken.
---@param options? harness.LoggerOptions
---@return harness.Logger
function M.new(options)
  options = options or {}
  local level, unknown = chosen_level(options.level)
  local sink = {
    write = options.write or M.write or to_stderr,
    now = options.now or require("harness.core").wall_ms,
    encode = options.encode or core_encode(),
    lost = 0,
  }
  local self = setmetatable({ level = level, rank = RANK[level], sink = sink, bindings = {} }, Logger)
  self.bindings = clean(options.fields)
  if unknown then
    local text = ('%s is "%s", which is no log level; using "%s" (allowed: %s)')
    self:warn(text:format(M.ENV, unknown, level, table.concat(LEVELS, ", ")))
  end
  return self
end

-- Loggers of the user's own -----------------------------------------------------------------------

local Adapted = { __name = "harness.logger" }
Adapted.__index = Adapted

-- What a foreign logger raises must not fail the run that logs; it is told once, on standard error.
local function complain(self, method, err)
  local state = self.state
  if state.complained then return end
  state.complained = true
  state.fallback = state.fallback or M.new(state.options)
  state.fallback:error(("the logger of the definition raised in its method %s; what it raises is "
    .. "ignored from now on"):format(method), { error = errors.serialize(err) })
end

local function call(self, method, ...)
  local own = self.own
  local ok, result = pcall(own[method], own, ...)
  if ok then return result end
  -- A logger that waits is interrupted when its task is; the task's own next wait tells the task.
  local cancelled = errors.is(result) and result.category == "cancelled"
  if not cancelled then complain(self, method, result) end
  return nil
end

for _, level in ipairs(LEVELS) do
  Adapted[level] = function(self, msg, fields)
    call(self, level, message_text(msg), clean(fields))
  end
end

function Adapted:enabled(level)
  if self.own.enabled == nil then return true end
  return call(self, "enabled", level) and true or false
end

function Adapted:child(fields)
  local own = call(self, "child", clean(fields))
  if own == nil then return self end
  return setmetatable({ own = own, state = self.state }, Adapted)
end

---The methods that a value lacks to be a logger: empty when it is one.
---@param value table
---@return string[]
function M.missing_methods(value)
  local missing = {}
  for _, name in ipairs(M.METHODS) do
    local ok, method = pcall(function() return value[name] end)
    if not ok or type(method) ~= "function" then missing[#missing + 1] = name end
  end
  return missing
end

---Puts a user's logger behind redaction; a logger of ours is returned as it is.
---@param own table has METHODS (see missing_methods)
---@param options? harness.LoggerOptions for the logger that tells of its errors
---@return harness.Logger
function M.adapt(own, options)
  local meta = getmetatable(own)
  if meta == Logger or meta == Adapted then return own end
  return setmetatable({ own = own, state = { options = options } }, Adapted)
end

return M
