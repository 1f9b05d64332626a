--- What a run, or a hand-written agent, may spend in all: over nested agents and direct model calls.
---
---     local spending = budget.new({ max_model_calls = 10 }, "the workflow")
---     budget.check(spending)             -- before each model call; raises AGENT_LOOP_BUDGET_EXCEEDED
---     budget.add_reply(spending, reply)
---
--- A spending may lie in another one (`parent`), which is charged as well. The loop of an agent counts
--- what its own budget allows itself (agent.lua), since that is part of its state.

local errors = require "harness.errors"

local M = {}

---@class harness.Spending
---@field limits harness.Budget
---@field subject string whose budget it is, for messages
---@field meta table
---@field parent harness.Spending?
---@field model_calls integer
---@field tool_calls integer
---@field total_tokens integer
---@field cost number

---@param limits harness.Budget? nil: only the parent's limits hold
---@param subject string
---@param parent harness.Spending?
---@param meta table? of the error
---@return harness.Spending?
function M.new(limits, subject, parent, meta)
  if not limits then return parent end
  return {
    limits = limits, subject = subject, parent = parent, meta = meta or {}, model_calls = 0, tool_calls = 0,
    total_tokens = 0, cost = 0,
  }
end

--- Raises the error of a limit that is used up.
---@param spending harness.Spending
---@param reason string the limit's name
---@param spent string what was spent, in words
function M.exceeded(spending, reason, spent)
  local limit, meta = spending.limits[reason], { reason = reason, limit = spending.limits[reason] }
  for key, value in pairs(spending.meta) do meta[key] = value end
  errors.raise("AGENT_LOOP_BUDGET_EXCEEDED", ("%s has %s; its budget allows %s (%s)"):format(spending.subject, spent,
    tostring(limit), reason), meta)
end

--- Before a model call: raises when there is nothing left for it.
---@param spending harness.Spending?
function M.check(spending)
  while spending do
    local limits = spending.limits
    if limits.max_model_calls and spending.model_calls >= limits.max_model_calls then
      M.exceeded(spending, "max_model_calls", ("made %d model calls"):format(spending.model_calls))
    end
    if limits.max_total_tokens and spending.total_tokens >= limits.max_total_tokens then
      M.exceeded(spending, "max_total_tokens", ("used %d tokens"):format(spending.total_tokens))
    end
    if limits.max_cost and spending.cost >= limits.max_cost then
      M.exceeded(spending, "max_cost", ("cost %g"):format(spending.cost))
    end
    spending = spending.parent
  end
end

--- A model call is about to be made: it counts, however it ends.
---@param spending harness.Spending?
function M.add_call(spending)
  while spending do
    spending.model_calls = spending.model_calls + 1
    spending = spending.parent
  end
end

---@param spending harness.Spending?
---@param reply table its usage and cost
function M.add_reply(spending, reply)
  local tokens = reply.usage and reply.usage.total_tokens or 0
  while spending do
    spending.total_tokens = spending.total_tokens + tokens
    spending.cost = spending.cost + (reply.cost or 0)
    spending = spending.parent
  end
end

--- Before the calls of a reply are started: raises when they are more than the budget allows.
---@param spending harness.Spending?
---@param n integer
function M.add_tools(spending, n)
  while spending do
    spending.tool_calls = spending.tool_calls + n
    local most = spending.limits.max_tool_calls
    if most and spending.tool_calls > most then
      M.exceeded(spending, "max_tool_calls", ("asked for %d tool calls"):format(spending.tool_calls))
    end
    spending = spending.parent
  end
end

return M
