local agent = require "harness.agent"
local json = require "harness.json"

local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function new(options)
  options = options or {}
  options.messages = options.messages or { { role = "user", content = "hi" } }
  options.max_steps = options.max_steps or 16
  return agent.new(options)
end

local function model(state, reply) return agent.apply(state, { type = "model", reply = reply }) end
local function tool(state, id, content) return agent.apply(state, { type = "tool", id = id, content = content }) end
local function call(id, name) return { id = id, name = name or "t", arguments = {} } end

describe("the agent loop", function()
  it("asks the model first, and is done with a reply without calls", function()
    local state = new()
    assert.equal("model", agent.next(state).type)
    model(state, { text = "hello", usage = { total_tokens = 3 } })
    local action = agent.next(state)
    assert.equal("done", action.type)
    assert.equal("hello", action.reply.text)
    assert.same({ role = "assistant", content = "hello" }, state.messages[2])
    assert.equal(3, state.usage.total_tokens)
  end)

  it("hands each call out once, then waits for the results", function()
    local state = new()
    model(state, { tool_calls = { call "a", call "b" } })
    local action = agent.next(state)
    assert.equal("tools", action.type)
    assert.equal(2, #action.calls)
    assert.equal("wait", agent.next(state).type)
    assert.is_true(tool(state, "b", "B"))
    assert.equal("wait", agent.next(state).type)
    assert.is_false(tool(state, "b", "again"))
    assert.is_true(tool(state, "a", "A"))
    assert.equal("model", agent.next(state).type)
  end)

  it("puts results in the order of the calls, whatever came first", function()
    local state = new()
    model(state, { tool_calls = { call "a", call "b" } })
    agent.next(state)
    tool(state, "b", "B")
    tool(state, "a", "A")
    assert.same({
      { role = "tool", tool_call_id = "a", content = "A" }, { role = "tool", tool_call_id = "b", content = "B" },
    }, { state.messages[3], state.messages[4] })
  end)

  it("repairs ids that are missing or used twice", function()
    local state = new()
    model(state, { tool_calls = { call(nil), call "x", call "x", call "" } })
    local ids = {}
    for _, c in ipairs(agent.next(state).calls) do
      assert.is_nil(ids[c.id])
      ids[c.id] = true
    end
  end)

  it("runs the tools of the last step and then fails (LOOP-1)", function()
    local state = new { max_steps = 1 }
    model(state, { tool_calls = { call "a" } })
    assert.equal("tools", agent.next(state).type)
    tool(state, "a", "A")
    local action = agent.next(state)
    assert.equal("fail", action.type)
    assert.same({ reason = "iterations_exceeded", limit = 1 }, action.error.meta)
    assert.equal("fail", agent.next(state).type)
  end)

  it("ends at each of its budgets", function()
    local function fails(budget, reply, reason)
      local state = new { budget = budget }
      model(state, reply)
      if agent.next(state).type == "tools" then tool(state, "a", "A") end
      local action = agent.next(state)
      assert.equal("fail", action.type)
      assert.equal(reason, action.error.meta.reason)
      assert.equal("AGENT_LOOP_BUDGET_EXCEEDED", action.error.code)
    end
    local reply = { tool_calls = { call "a" }, usage = { total_tokens = 10 }, cost = 0.5 }
    fails({ max_model_calls = 1 }, reply, "max_model_calls")
    fails({ max_total_tokens = 10 }, reply, "max_total_tokens")
    fails({ max_cost = 0.5 }, reply, "max_cost")
    fails({ max_tool_calls = 0 }, reply, "max_tool_calls")
  end)

  it("starts none of the calls that would exceed max_tool_calls", function()
    local state = new { budget = { max_tool_calls = 1 } }
    model(state, { tool_calls = { call "a", call "b" } })
    assert.equal("fail", agent.next(state).type)
  end)

  it("shows the model an invalid output as often as repairs are left", function()
    local state = new { structured_retry = 1 }
    local invalid = { type = "invalid", message = "no", issues = { { path = "$", message = "no" } }, repair = "again" }
    model(state, { text = "x" })
    agent.apply(state, invalid)
    assert.equal("model", agent.next(state).type)
    assert.equal("again", state.messages[#state.messages].content)
    model(state, { text = "y" })
    agent.apply(state, invalid)
    local action = agent.next(state)
    assert.equal("fail", action.type)
    assert.equal("VALIDATION_ERROR", action.error.code)
    assert.equal("agent_output", action.error.meta.where)
  end)

  -- Random replies and results: whatever happens, each request to the model is well-formed.
  local function check_request(messages)
    local open = {}
    for _, message in ipairs(messages) do
      if message.role == "tool" then
        assert.equal(message.tool_call_id, table.remove(open, 1))
      else
        assert.equal(0, #open)
        for _, c in ipairs(message.tool_calls or {}) do open[#open + 1] = c.id end
      end
    end
    assert.equal(0, #open)
  end

  local function random_reply()
    if math.random() < 0.3 then return { text = "end" } end
    local calls = {}
    for i = 1, math.random(1, 4) do calls[i] = call(math.random() < 0.7 and tostring(math.random(3)) or nil) end
    return { tool_calls = calls, usage = { total_tokens = math.random(5) } }
  end

  local function shuffled(list)
    local out = table.move(list, 1, #list, 1, {})
    for i = #out, 2, -1 do
      local j = math.random(i)
      out[i], out[j] = out[j], out[i]
    end
    return out
  end

  it("keeps every request well-formed, for any replies and any order of results", function()
    math.randomseed(SEED)
    for round = 1, 3000 // FACTOR do
      local state, steps = new { max_steps = math.random(1, 6) }, 0
      while true do
        if math.random() < 0.2 then state = json.decode(json.encode(state)) end -- stored and resumed
        local action = agent.next(state)
        steps = steps + 1
        assert.is_true(steps < 100, ("seed %d, round %d"):format(SEED, round))
        if action.type == "model" then
          check_request(state.messages)
          model(state, random_reply())
        elseif action.type == "tools" then
          for _, c in ipairs(shuffled(action.calls)) do assert.is_true(tool(state, c.id, "r" .. c.id)) end
        else
          break
        end
      end
    end
  end)
end)
