--- The contexts that handlers get: plain fields, and what costs something only when it is asked for.

local core = require "harness.core"
local messages = require "harness.messages"
local signals = require "harness.signal"

local M = {}

local function late(module, make)
  return function(ctx) return require(module)[make](rawget(ctx, "_run"), rawget(ctx, "_who")) end
end

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
    return rawget(ctx, "_who").metadata
  end,
  memory = function(ctx)
    return require("harness.memory").for_run(rawget(ctx, "_run"), rawget(ctx, "_who"), rawget(ctx, "_span"))
  end,
  sandbox = late("harness.session_sandbox", "for_run"),
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

local models = late("harness.model_handle", "for_run")

-- A snapshot of the conversation as it was when the agent began.
local function history(ctx)
  local list = rawget(ctx, "_history")
  return { list = function() return messages.copy(list) end }
end

local ToolContext = class("harness.ToolContext", {
  idempotency_key = function(ctx)
    return rawget(ctx, "run_id") .. ":" .. rawget(ctx, "call_id")
  end,
})
local InstructionsContext = class("harness.InstructionsContext", { history = history })
local AgentContext = class("harness.AgentContext", { history = history, models = models })
local WorkflowContext = class("harness.WorkflowContext", {
  models = models,
  agents = late("harness.nested", "for_run"),
  step = function() return require("harness.step").run end,
  sleep = function() return require("harness.step").sleep end,
  sleep_until = function() return require("harness.step").sleep_until end,
  wait = function() return require("harness.step").wait end,
})

---@class harness.ToolContext
---@field signal harness.Signal aborted when the call is to stop
---@field logger harness.Logger
---@field metrics table
---@field metadata table what the caller of the run gave
---@field memory harness.MemoryScopes
---@field sandbox table the session's sandbox, opened at the first use
---@field run_id string
---@field session_id string
---@field agent_id string
---@field tool_id string
---@field call_id string
---@field idempotency_key string the same for every attempt of this call
---@field abort_reason fun(self: harness.ToolContext): any

--- The context of a tool call. `_task` is set once its task exists, `_span` where somebody listens.
---@param run harness.Run
---@param who harness.Invocation
---@param tool_id string
---@param call_id string
---@return harness.ToolContext
function M.tool(run, who, tool_id, call_id)
  return setmetatable({
    _run = run, _who = who, run_id = run.id, agent_id = who.agent_id, tool_id = tool_id, call_id = call_id,
  }, ToolContext)
end

--- Completes the context for a tool that calls the agent's other tools itself.
---@param ctx harness.ToolContext
---@param agent table its definition
---@param timeout_ms integer how long the call may take; 0: for ever
function M.with_tools(ctx, agent, timeout_ms)
  rawset(ctx, "_agent", agent)
  rawset(ctx, "_timeout_ms", timeout_ms)
end

---@class harness.InstructionsContext
---@field input any
---@field history { list: fun(self: table): table[] } a snapshot
---@field signal harness.Signal
---@field logger harness.Logger
---@field metrics table
---@field metadata table
---@field memory harness.MemoryScopes
---@field sandbox table the session's sandbox, opened at the first use
---@field run_id string
---@field session_id string
---@field agent_id string
---@field abort_reason fun(self: harness.InstructionsContext): any

--- The context of an `instructions` function.
---@param run harness.Run
---@param who harness.Invocation
---@param input any
---@param history_list table[] the conversation
---@return harness.InstructionsContext
function M.instructions(run, who, input, history_list)
  return setmetatable({
    _run = run, _who = who, _history = history_list, run_id = run.id, agent_id = who.agent_id, input = input,
  }, InstructionsContext)
end

---@class harness.AgentContext: harness.InstructionsContext
---@field models table<string, harness.ModelHandle>

--- The context of a hand-written agent.
---@param run harness.Run
---@param who harness.Invocation
---@param input any the handler's own copy
---@param history_list table[] the conversation
---@return harness.AgentContext
function M.agent(run, who, input, history_list)
  return setmetatable({
    _run = run, _who = who, _history = history_list, run_id = run.id, agent_id = who.agent_id, input = input,
  }, AgentContext)
end

---@class harness.WorkflowContext
---@field input any
---@field agents table<string, harness.NestedAgent>
---@field models table<string, harness.ModelHandle>
---@field signal harness.Signal
---@field logger harness.Logger
---@field metrics table
---@field metadata table
---@field memory harness.MemoryScopes
---@field sandbox table the session's sandbox, opened at the first use
---@field run_id string
---@field session_id string
---@field workflow_id string
---@field step fun(self: table, id: string, fn: fun(info: harness.StepInfo): any, options?: harness.StepOptions): any
---@field sleep fun(self: harness.WorkflowContext, ms: number)
---@field sleep_until fun(self: harness.WorkflowContext, ms: number) until so many milliseconds since the epoch
---@field wait fun(self: harness.WorkflowContext, name: string, options?: table): any needs a durable run
---@field abort_reason fun(self: harness.WorkflowContext): any

--- The context of a workflow.
---@param run harness.Run
---@param who harness.Invocation
---@param input any the handler's own copy
---@return harness.WorkflowContext
function M.workflow(run, who, input)
  return setmetatable({
    _run = run, _who = who, run_id = run.id, workflow_id = run.target, input = input,
  }, WorkflowContext)
end

return M
