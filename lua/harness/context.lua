--- The contexts that handlers get: plain fields, and what costs something only when it is asked for.

local core = require "harness.core"
local signals = require "harness.signal"

local M = {}

-- What all contexts have, made at the first access and kept.
local COMMON <const> = {
  signal = function(ctx)
    return signals.of_task(rawget(ctx, "_task"))
  end,
  logger = function(ctx)
    return rawget(ctx, "_run"):logger(rawget(ctx, "agent_id"), rawget(ctx, "tool_id"))
  end,
  metrics = function(ctx)
    return rawget(ctx, "_run"):metrics(rawget(ctx, "agent_id"), rawget(ctx, "tool_id"))
  end,
  metadata = function(ctx)
    return rawget(ctx, "_run"):metadata()
  end,
  session_id = function(ctx)
    return rawget(ctx, "_run").session.id
  end,
}

-- Why the handler is to stop; nil while it is not. The signal object, if there is one, still knows
-- when the task has ended.
local function abort_reason(ctx)
  local t, signal = rawget(ctx, "_task"), rawget(ctx, "signal")
  if signal then return signal.reason end
  return t and core.signal_reason(t.signal) or nil
end

local function class(name, getters)
  local methods = { abort_reason = abort_reason }
  return {
    __name = name,
    __index = function(ctx, key)
      local getter = getters[key] or COMMON[key]
      if not getter then return methods[key] end
      local value = getter(ctx)
      rawset(ctx, key, value)
      return value
    end,
  }
end

local ToolContext = class("harness.ToolContext", {
  idempotency_key = function(ctx)
    return rawget(ctx, "run_id") .. ":" .. rawget(ctx, "call_id")
  end,
})
local InstructionsContext = class("harness.AgentContext", {
  history = function(ctx)
    local list = rawget(ctx, "_history")
    return { list = function() return rawget(ctx, "_run").session:copy_messages(list) end }
  end,
})

---@class harness.ToolContext
---@field signal harness.Signal aborted when the call is to stop
---@field logger table
---@field metrics table
---@field metadata table what the caller of the run gave
---@field run_id string
---@field session_id string
---@field agent_id string
---@field tool_id string
---@field call_id string
---@field idempotency_key string the same for every attempt of this call
---@field abort_reason fun(self): any

--- The context of a tool call. `_task` is set once its task exists.
---@param run harness.Run
---@param agent_id string
---@param tool_id string
---@param call_id string
---@return harness.ToolContext
function M.tool(run, agent_id, tool_id, call_id)
  return setmetatable({
    _run = run, run_id = run.id, agent_id = agent_id, tool_id = tool_id, call_id = call_id,
  }, ToolContext)
end

--- The context of an `instructions` function: input, history (a snapshot) and the common fields.
---@param run harness.Run
---@param agent_id string
---@param input any
---@param history table[] the stored messages
---@return table
function M.instructions(run, agent_id, input, history)
  return setmetatable({
    _run = run, _history = history, run_id = run.id, agent_id = agent_id, input = input,
  }, InstructionsContext)
end

return M
