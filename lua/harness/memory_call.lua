--- One call of a memory adapter, whose arguments have been checked: under a span and with metrics when
--- somebody listens, its failures put in order (reference C 1.6, 1.8).
---
--- No content is told: of the key its SHA-256 only, of value, query, tags and metadata nothing.

local adapters = require "harness.adapter"
local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"
local telemetry = require "harness.telemetry"

local M = {}

local METRIC <const>, SPAN <const> = telemetry.METRIC, telemetry.SPAN

-- Operation -> the adapter's method.
local METHOD <const> = {
  get = "memory_get", set = "memory_put", delete = "memory_delete", list = "memory_list", search = "memory_search",
}
local GIVES_ENTRIES <const> = { list = true, search = true }

local function id_of(adapter)
  return adapters.field(adapter, "id") or "memory"
end

---@class harness.MemoryCall what is called
---@field harness harness.Harness
---@field adapter table|userdata
---@field operation "get"|"set"|"delete"|"list"|"search"
---@field scope harness.Scope
---@field key? string
---@field parent? harness.Span

-- ---- errors -------------------------------------------------------------------------------

--- Raises that the memory cannot do this.
---@param adapter table|userdata
---@param operation string
---@param reason "missing_capability"|"method_missing"
function M.incapable(adapter, operation, reason)
  local why = reason == "missing_capability" and "it does not declare memory." .. operation
    or "it has no method " .. METHOD[operation]
  errors.raise("MODEL_CAPABILITY_ERROR", ("memory %q cannot %s: %s"):format(id_of(adapter), operation, why),
    { alias = id_of(adapter), method = "memory." .. operation, reason = reason })
end

local function state_error(call, why, cause)
  local id = id_of(call.adapter)
  return errors.new("STATE_ERROR", ("the memory %q failed at %s: %s"):format(id, call.operation, why),
    { op = "memory." .. call.operation, adapter = "memory", memory_provider = id }, cause)
end

-- What is raised for what the adapter raised: errors of ours as they are.
local function normalised(call, err)
  if errors.is(err) then return err end
  return state_error(call, errors.serialize(err).message, err)
end

-- The entries of a list or search must be a list of tables with keys.
local function check_entries(call, list)
  local ok = type(list) == "table"
  if ok then
    for _, entry in ipairs(list) do ok = ok and type(entry) == "table" and type(entry.key) == "string" end
  end
  if not ok then error(state_error(call, "it must give a list of entries { key = text, … }"), 0) end
end

-- ---- telemetry ----------------------------------------------------------------------------

local Timed = {}
Timed.__index = Timed

local function begin(call)
  local scope = call.scope
  local span = call.harness.telemetry:span(SPAN["memory_" .. call.operation], {
    ["harness.name"] = call.harness.name,
    ["harness.memory.provider"] = id_of(call.adapter),
    ["harness.memory.operation"] = call.operation,
    ["harness.memory.scope"] = scope.kind,
    ["harness.memory.capability"] = call.operation == "search" and "memory.search" or "memory." .. scope.kind,
    ["harness.memory.key_hash"] = call.key and core.sha256(call.key) or nil,
    ["harness.memory.content_captured"] = false,
    ["harness.session.id"] = scope.session_id, ["harness.run.id"] = scope.run_id,
    ["harness.agent.id"] = scope.agent_id, ["harness.workflow.id"] = scope.workflow_id,
  }, call.parent)
  return setmetatable({ call = call, span = span, from_us = core.now_us(), finished = false }, Timed)
end

function Timed:finish(result, err)
  self.finished = true
  local call, span, metrics = self.call, self.span, self.call.harness.telemetry
  local attributes = {
    ["harness.memory.provider"] = id_of(call.adapter), ["harness.memory.operation"] = call.operation,
    ["harness.memory.scope"] = call.scope.kind, ["error.type"] = err and err.code or nil,
  }
  if not err and call.operation == "get" then
    attributes["harness.memory.hit"] = result ~= nil
    span:set("harness.memory.hit", result ~= nil)
  elseif not err and GIVES_ENTRIES[call.operation] then
    span:set("harness.memory.result_count", #result)
    if call.operation == "search" then metrics:histogram(METRIC.memory_search_results, #result, attributes) end
  end
  metrics:counter(METRIC.memory_operations, 1, attributes)
  metrics:histogram(METRIC.memory_duration, (core.now_us() - self.from_us) / 1e6, attributes)
  span:finish(err)
end

-- The task was closed within the call.
Timed.__close = function(timed)
  if not timed.finished then timed:finish(nil, task.cancelled("memory", "the call was ended by force")) end
end

-- ---- the call -----------------------------------------------------------------------------

local function invoke(call, ...)
  task.check()
  local adapter, scope = call.adapter, {}
  local method = adapters.field(adapter, METHOD[call.operation])
  if not method then M.incapable(adapter, call.operation, "method_missing") end
  for name, value in pairs(call.scope) do scope[name] = value end -- the adapter may keep it
  local result = method(adapter, scope, ...)
  if GIVES_ENTRIES[call.operation] then check_entries(call, result) end
  return result
end

--- Makes the call with these arguments behind the scope; returns what the method returns.
---@param call harness.MemoryCall
---@return any
function M.perform(call, ...)
  local timed <close> = call.harness.telemetry.enabled and begin(call) or nil
  local ok, result = pcall(invoke, call, ...)
  local err = not ok and normalised(call, result) or nil
  if timed then timed:finish(result, err) end
  if err then error(err, 0) end
  return result
end

return M
