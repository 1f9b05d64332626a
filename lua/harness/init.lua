--- `require "harness"`: the public names (design 02). What is costly to load is loaded on first use.

local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local task = require "harness.task"

---@class harness.Module what each name is: types.lua
local M = {}

M.version = core.version
M.json = json
M.null, M.array, M.ordered = json.null, json.array, json.ordered

M.error = errors.raise
M.new_error = errors.new
M.is_error = errors.is

M.spawn = task.spawn
M.sleep = task.sleep
M.timeout = task.timeout
M.shield = task.shield

--- Milliseconds since the epoch.
M.now = core.wall_ms

--- Milliseconds on a clock that only moves forward; with fractions.
---@return number
function M.clock()
  return core.now_us() / 1000
end

M.ulid = core.ulid.next
M.glob = core.glob.compile

--- Runs the loop until fn(...) has ended as a task; returns its results or raises its error. Only
--- outside of tasks: under a stock lua5.4, where the main chunk is none.
---@param fn function
function M.run(fn, ...)
  if type(fn) ~= "function" then
    errors.raise("VALIDATION_ERROR", "harness.run(fn, ...) takes a function, got " .. type(fn), { where = "run" })
  end
  require("harness.chain").install(task.is_base)
  return task.outcome(task.run(fn, nil, ...))
end

-- Modules that are loaded when their name is used first.
local LATE <const> = {
  define = { "harness.harness", "define" },
  schema = { "harness.schema" },
  providers = { "harness.providers" },
  storage = { "harness.storage" },
  sandbox = { "harness.sandbox" },
  testing = { "harness.testing" },
  all = { "harness.join", "all" },
  race = { "harness.join", "race" },
  map = { "harness.join", "map" },
  abort_controller = { "harness.signal", "controller" },
  relay = { "harness.relay", "new" },
  discover_skills = { "harness.skill_discovery", "discover" },
}

-- Names of the design that come with a later version: a clear word instead of a nil.
local NOT_YET <const> = { memory = true, mcp = true }

return setmetatable(M, {
  __index = function(self, name)
    local late = LATE[name]
    if not late then
      if not NOT_YET[name] then return nil end
      errors.raise("HARNESS_CONFIG_ERROR", ("harness.%s is not available in this version"):format(name),
        { reason = "not_available", id = name })
    end
    local value = require(late[1])
    if late[2] then value = value[late[2]] end
    rawset(self, name, value)
    return value
  end,
})
