--- The agent loop as a state machine over plain data: no waiting, no I/O, no clock.
---
--- `next(state)` says what is to be done, `apply(state, result)` takes in one result. Everything in
--- a state can be encoded as JSON, so it can be tested without a loop, fuzzed, stored and resumed.
---
---     local state = agent.new { messages = history, max_steps = 16 }
---     while true do
---       local action = agent.next(state)
---       if action.type == "model" then
---         agent.apply(state, { type = "model", reply = call_model(state.messages) })
---       elseif action.type == "tools" then for _, call in ipairs(action.calls) do start(call) end
---       elseif action.type == "wait" then agent.apply(state, { type = "tool", id = …, content = … })
---       elseif action.type == "done" then return action.output
---       else error(action.error) end
---     end
---
--- A step is a model reply that asks for tools. At most `max_steps` model calls are made: the tools
--- of the last reply are still run, then the loop fails (reference B, LOOP-1).

local M = {}

---@class harness.AgentState
---@field messages table[] the conversation as the model sees it; only ever appended to
---@field first_new integer where this turn begins in messages
---@field steps integer model replies that asked for tools
---@field max_steps integer
---@field repairs_left integer how often an invalid output may still be shown to the model
---@field calls? table[] the tool calls of the last reply, while they are open
---@field results? table<string, table> by call id
---@field open integer calls without a result
---@field next_call integer the first call that was not handed out yet
---@field reply? table the final reply, when there is one
---@field failure? table {code, message, meta}
---@field model_calls integer
---@field tool_calls integer
---@field usage table
---@field budget? table

local DETAILS <const> = { "cached_input_tokens", "cache_write_tokens", "reasoning_tokens" }

---@class harness.AgentOptions
---@field messages table[]
---@field max_steps integer
---@field first_new? integer
---@field structured_retry? integer
---@field budget? table

---@param options harness.AgentOptions
---@return harness.AgentState
function M.new(options)
  return {
    messages = options.messages,
    first_new = options.first_new or #options.messages + 1,
    max_steps = options.max_steps,
    repairs_left = options.structured_retry or 0,
    budget = options.budget,
    steps = 0, open = 0, next_call = 1, model_calls = 0, tool_calls = 0, cost = 0,
    usage = { input_tokens = 0, output_tokens = 0, total_tokens = 0 },
  }
end

local function fail(state, reason, limit, message)
  state.failure = {
    code = "AGENT_LOOP_BUDGET_EXCEEDED", message = message, meta = { reason = reason, limit = limit },
  }
  return { type = "fail", error = state.failure }
end

-- The first budget that is used up before another model call, as a failure.
local function over_budget(state)
  local budget, usage = state.budget, state.usage
  if not budget then return nil end
  if budget.max_model_calls and state.model_calls >= budget.max_model_calls then
    return fail(state, "max_model_calls", budget.max_model_calls,
      ("the agent has made the %d model calls that its budget allows"):format(budget.max_model_calls))
  end
  if budget.max_total_tokens and (usage.total_tokens or 0) >= budget.max_total_tokens then
    return fail(state, "max_total_tokens", budget.max_total_tokens,
      ("the agent has used %d tokens; its budget allows %d"):format(usage.total_tokens, budget.max_total_tokens))
  end
  if budget.max_cost and state.cost >= budget.max_cost then
    return fail(state, "max_cost", budget.max_cost,
      ("the agent has cost %g; its budget allows %g"):format(state.cost, budget.max_cost))
  end
end

-- More tool calls than the budget allows, as a failure.
local function over_calls(state)
  local most = state.budget and state.budget.max_tool_calls
  if not most or state.tool_calls <= most then return nil end
  return fail(state, "max_tool_calls", most,
    ("the model asks for %d tool calls in all; the budget allows %d"):format(state.tool_calls, most))
end

local MODEL <const> = { type = "model" }
local WAIT <const> = { type = "wait" }

--- What is to be done now: {type = "model"}, {type = "tools", calls = …} (each call is handed out
--- once), {type = "wait"} (results are outstanding), {type = "done", reply = …} or
--- {type = "fail", error = {code, message, meta}}.
---@param state harness.AgentState
---@return table
function M.next(state)
  if state.failure then return { type = "fail", error = state.failure } end
  if state.reply then return { type = "done", reply = state.reply } end
  if state.open > 0 then
    local calls, from = state.calls, state.next_call
    if from > #calls then return WAIT end
    local failure = from == 1 and over_calls(state) -- none of them is started
    if failure then return failure end
    state.next_call = #calls + 1
    return { type = "tools", calls = from == 1 and calls or table.move(calls, from, #calls, 1, {}) }
  end
  if state.steps >= state.max_steps then
    return fail(state, "iterations_exceeded", state.max_steps,
      ("the agent did not come to an end within %d steps (max_steps)"):format(state.max_steps))
  end
  return over_budget(state) or MODEL
end

local function add_usage(total, usage)
  total.input_tokens = (total.input_tokens or 0) + (usage.input_tokens or 0)
  total.output_tokens = (total.output_tokens or 0) + (usage.output_tokens or 0)
  total.total_tokens = (total.total_tokens or 0) + (usage.total_tokens or 0)
  for i = 1, #DETAILS do -- only some providers tell these
    local field = DETAILS[i]
    local n = usage[field]
    if n then total[field] = (total[field] or 0) + n end
  end
end

-- Ids that a model left out or used twice are repaired: each call must have its own.
local function repair_ids(state, calls)
  local first = calls[1].id
  if #calls == 1 and type(first) == "string" and first ~= "" then return end
  local used = {}
  for i = 1, #calls do
    local call = calls[i]
    local id = call.id
    if type(id) ~= "string" or id == "" then id = ("call_%d_%d"):format(state.model_calls, i) end
    local unique, n = id, 1
    while used[unique] do
      n = n + 1
      unique = ("%s_%d"):format(id, n)
    end
    used[unique] = true
    call.id = unique
  end
end

local function assistant(text, calls, provider)
  return { role = "assistant", content = text or "", tool_calls = calls, provider = provider }
end

local function apply_model(state, reply)
  state.model_calls = state.model_calls + 1
  if reply.usage then add_usage(state.usage, reply.usage) end
  if reply.cost then state.cost = state.cost + reply.cost end
  local calls = reply.tool_calls
  local messages = state.messages
  if not calls or #calls == 0 then
    messages[#messages + 1] = assistant(reply.text, nil, reply.provider)
    state.reply = reply
    return
  end
  repair_ids(state, calls)
  messages[#messages + 1] = assistant(reply.text, calls, reply.provider)
  state.calls, state.results, state.open, state.next_call = calls, {}, #calls, 1
  state.steps = state.steps + 1
  state.tool_calls = state.tool_calls + #calls
end

local function apply_tool(state, result)
  local results = state.results
  if not results or results[result.id] or state.open == 0 then return false end
  results[result.id] = result
  state.open = state.open - 1
  if state.open > 0 then return true end
  local messages = state.messages
  for i = 1, #state.calls do
    local call = state.calls[i]
    messages[#messages + 1] = { role = "tool", tool_call_id = call.id, content = results[call.id].content }
  end
  state.calls, state.results = nil, nil
  return true
end

-- An output that does not fit its schema: the model is shown why, as often as repairs are left.
local function apply_invalid(state, result)
  if state.repairs_left <= 0 then
    state.failure = {
      code = "VALIDATION_ERROR", message = result.message,
      meta = { where = "agent_output", issues = result.issues },
    }
    return
  end
  state.repairs_left = state.repairs_left - 1
  state.reply = nil
  state.messages[#state.messages + 1] = { role = "user", content = result.repair, repair = true }
end

--- A tool is about to make n calls itself: they count as those of the model do. When the budget does not
--- allow them, none may be made, and the loop fails next.
---@param state harness.AgentState
---@param n integer
---@return table? failure {code, message, meta}
function M.add_calls(state, n)
  state.tool_calls = state.tool_calls + n
  return over_calls(state) and state.failure
end

--- The loop fails next, whatever its tools still answer.
---@param state harness.AgentState
---@param failure table {code, message, meta}
function M.fail(state, failure)
  state.failure = { code = failure.code, message = failure.message, meta = failure.meta }
end

--- Takes in one result: {type = "model", reply}, {type = "tool", id, content} (false when no such
--- call is open), {type = "invalid", message, issues, repair}.
---@param state harness.AgentState
---@param result table
function M.apply(state, result)
  local kind = result.type
  if kind == "model" then return apply_model(state, result.reply) end
  if kind == "tool" then return apply_tool(state, result) end
  return apply_invalid(state, result)
end

return M
