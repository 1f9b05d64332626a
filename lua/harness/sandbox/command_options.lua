--- The options of exec, spawn and limits, checked.

local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local signals = require "harness.signal"

local M = {}

local MB <const> = 1024 * 1024

--- What a command may use unless the sandbox, or the command itself, says otherwise.
M.DEFAULT_LIMITS = {
  wall_ms = 120000, cpu_ms = 120000, memory_bytes = 512 * MB, processes = 256, file_bytes = 100 * MB, output_bytes = MB,
}

local function limit(min) return { fields.integer { min = min, reason = "invalid_limit" } } end

local LIMITS <const> = {
  wall_ms = limit(1), cpu_ms = limit(1), memory_bytes = limit(MB), processes = limit(1), file_bytes = limit(1),
  output_bytes = limit(2),
}

--- The checker of a table of limits.
M.limits = fields.record(LIMITS, "a table of limits")

--- A copy of limits with others over them.
---@param base table
---@param over? table
---@return table
function M.merge(base, over)
  local merged = {}
  for name, value in pairs(base) do merged[name] = over and over[name] or value end
  return merged
end

local function text(allowed)
  return function(problems, path, value)
    if type(value) == "string" and not value:find("\0", 1, true) then return value end
    problems:wrong_type(path, allowed, value)
    return nil
  end
end

--- The checker of environments: names to strings.
---@param problems harness.Problems
---@param path (string|integer)[]
---@param value any
---@return table<string, string>?
function M.env(problems, path, value)
  if type(value) ~= "table" then
    problems:wrong_type(path, "a table of strings by name", value)
    return nil
  end
  local clean = {}
  for _, name in ipairs(fields.sorted_keys(value)) do
    local found = value[name]
    if type(name) ~= "string" or name == "" or name:find "[=%z]" then
      problems:add(path, "wrong_type", ("a variable's name is text without \"=\", found %s"):format(fields.found(name)))
    elseif type(found) ~= "string" or found:find("\0", 1, true) then
      problems:wrong_type(fields.at(path, name), "a string without NUL", found)
    else
      clean[name] = found
    end
  end
  return clean
end

local function cwd(problems, path, value)
  if type(value) == "string" and value:sub(1, 1) == "/" and not value:find("\0", 1, true) then return value end
  problems:wrong_type(path, "an absolute path", value)
  return nil
end

local function signal(problems, path, value)
  if signals.is(value) then return value end
  problems:wrong_type(path, "a signal (abort_controller().signal or ctx.signal)", value)
  return nil
end

local function args(problems, path, value)
  return fields.list(text "a string without NUL", "a list of strings")(problems, path, value)
end

local COMMON <const> = { cwd = { cwd }, env = { M.env }, signal = { signal }, limits = { M.limits } }
local EXEC <const> = { stdin = { fields.string() }, timeout_ms = { fields.integer { min = 0, reason = "wrong_type" } } }
local SPAWN <const> = { args = { args } }
for name, field in pairs(COMMON) do EXEC[name], SPAWN[name] = field, field end

local function check(what, command, options, spec)
  local problems = fields.problems()
  local clean = {}
  if type(command) ~= "string" or command == "" or command:find("\0", 1, true) then
    problems:wrong_type({ what, "command" }, "text that is not empty and has no NUL", command)
  end
  if options ~= nil and type(options) ~= "table" then
    problems:wrong_type({ what, "options" }, "a table", options)
  else
    clean = fields.check(problems, { what }, options or {}, spec)
  end
  local list = problems:list()
  if #list == 0 then return clean end
  local texts = {}
  for i, problem in ipairs(list) do texts[i] = problem.message end
  errors.raise("VALIDATION_ERROR", table.concat(texts, "; "), { where = "sandbox", issues = list })
end

local function checked(what, command, options, spec)
  local clean = check(what, command, options, spec)
  if clean.signal and clean.signal.aborted then
    errors.raise("OPERATION_CANCELLED", "the command was not started: its signal was aborted before",
      { scope = "sandbox" }, clean.signal.reason)
  end
  clean.cwd = clean.cwd or "/workspace"
  return clean
end

--- Those of exec; raises VALIDATION_ERROR, or OPERATION_CANCELLED when the signal is aborted already.
---@param command any
---@param options any
---@return table clean
function M.exec(command, options) return checked("exec", command, options, EXEC) end

--- Those of spawn.
---@param command any
---@param options any
---@return table clean
function M.spawn(command, options) return checked("spawn", command, options, SPAWN) end


return M
