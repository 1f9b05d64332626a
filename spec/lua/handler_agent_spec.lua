-- Hand-written agents: an agent's outside, and a handler within (D7; reference B 7.6).

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").any
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"

local s = harness.schema
local of, drain = scripted.of, scripted.drain

local function define(run, over)
  over = over or {}
  local agent = { model = "fast", run = run }
  for key, value in pairs(over.agent or {}) do agent[key] = value end
  return scripted.harness(over.turns or {}, { definition = {
    agents = { own = agent },
    workflows = { flow = { run = function(ctx, input) return ctx.agents.own:run(input) end } },
  } })
end

describe("a hand-written agent", function()
  still(before_each, after_each)

  it("gets its context, and its answer is the run's", function()
    local seen
    local h = define(function(ctx, input)
      seen = ctx
      assert.equal(input, ctx.input)
      local history = ctx.history:list()
      return input:upper() .. #history .. ctx.metadata.k
    end)
    local session = h:session "s"
    session.history:replace { { role = "user", content = "a" }, { role = "assistant", content = "b" } }
    local stream = session.agents.own:stream("hi", { metadata = { k = "v" } })
    local events = drain(stream)
    assert.equal("HI2v", stream:result())
    assert.equal("run.started agent.started agent.finished run.finished", scripted.types(events))
    assert.same({ "own", "HI2v" }, { events[2].agent_id, events[3].output })
    assert.equal(events[2].invocation_id, events[3].invocation_id)
    assert.same({ "s", "own", events[1].run_id }, { seen.session_id, seen.agent_id, seen.run_id })
    local list = session.history:list()
    assert.same({ "user", "hi", "assistant", "HI2v" },
      { list[3].role, list[3].content, list[4].role, list[4].content })
  end)

  it("asks models itself; their events carry its invocation", function()
    local h = define(function(ctx, input)
      return ctx.models.fast:text({ prompt = input }).text
    end, { turns = { { text = "answer", usage = { input_tokens = 3, output_tokens = 4 } } } })
    local session = h:session "s"
    local stream = session.agents.own:stream "q"
    local events = drain(stream)
    assert.equal("run.started agent.started model.started model.completed agent.finished run.finished",
      scripted.types(events))
    assert.same({ "own", events[2].invocation_id }, { events[3].agent_id, events[3].invocation_id })
    assert.equal(7, session:run_summary(session:runs()[1].id).token_totals.total_tokens)
  end)

  it("has schemas for what goes in and out", function()
    local h = define(function(_, input) return { n = input.n == 1 and "one" or nil } end, {
      agent = { input = s.object { n = s.integer() }, output = s.object { n = s.string() } },
    })
    local session = h:session "s"
    local own = session.agents.own
    assert.same({ n = "one" }, own:run { n = 1 })
    local list = session.history:list()
    assert.same({ '{"n":1}', '{"n":"one"}' }, { list[1].content, list[2].content })
    local err = failure(own.run, own, { n = "x" })
    assert.same({ "VALIDATION_ERROR", "agent_input", "own" }, { err.code, err.meta.where, err.meta.agent_id })
    err = failure(own.run, own, { n = 2 })
    assert.same({ "VALIDATION_ERROR", "agent_output", "own" }, { err.code, err.meta.where, err.meta.agent_id })
    err = failure(define(function() return 5 end):session().agents.own.run, define(function() return 5 end):session()
      .agents.own, "x")
    assert.equal("agent_output", err.meta.where)
  end)

  it("has its own copy of the input; what is kept is what it was asked", function()
    local given = { list = { 1 } }
    local h = define(function(ctx, input)
      assert.is_true(rawequal(ctx.input, input))
      input.list[1] = 2
      return "done"
    end, { agent = { input = s.object { list = s.array(s.integer()) } } })
    local session = h:session "s"
    session.agents.own:run(given)
    assert.same({ list = { 1 } }, given)
    assert.equal('{"list":[1]}', session.history:list()[1].content)
  end)

  it("raises its own error unchanged; its end tells of it; nothing is kept", function()
    local mine = setmetatable({}, { __tostring = function() return "mine" end })
    local h = define(function() error(mine) end)
    local session = h:session "s"
    local stream = session.agents.own:stream "x"
    local events, err = drain(stream)
    assert.is_true(rawequal(mine, err))
    assert.same({ "INTERNAL_ERROR", "mine" }, { of(events, "agent.finished")[1].error.code,
      of(events, "agent.finished")[1].error.message })
    assert.same({}, session.history:list())
  end)

  it("that swallows its abort for ever is ended by force, with one end of each kind", function()
    local h = define(function() while true do pcall(harness.sleep, 10) end end)
    local session = h:session "s"
    local stream = session.agents.own:stream("x", { timeout_ms = 50 })
    clock.advance(60 + 2 * task.CANCEL_GRACE_MS)
    local err = failure(stream.result, stream)
    assert.same({ "OPERATION_TIMEOUT", "run" }, { err.code, err.meta.scope })
    local events = drain(stream)
    assert.equal("run.started agent.started agent.finished run.finished", scripted.types(events))
    assert.equal("OPERATION_TIMEOUT", events[3].error.code)
  end)

  it("has a budget, which its direct model calls are charged to", function()
    local function greedy(ctx)
      for i = 1, 5 do ctx.models.fast:text { prompt = "n" .. i } end
      return "done"
    end
    local turns = function() return { text = "x", usage = { input_tokens = 10, output_tokens = 10 } } end
    for _, case in ipairs { { "max_model_calls", 2 }, { "max_total_tokens", 30 } } do
      local h = define(greedy, { turns = turns, agent = { budget = { [case[1]] = case[2] } } })
      local session = h:session "s"
      local err = failure(session.agents.own.run, session.agents.own, "x")
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", case[1], case[2], "own" },
        { err.code, err.meta.reason, err.meta.limit, err.meta.agent_id })
    end
    local h = define(function() harness.sleep(1000) end, { agent = { budget = { max_wall_ms = 30 } } })
    local session = h:session "s"
    local stream = session.agents.own:stream "x"
    clock.advance(40)
    local err = failure(stream.result, stream)
    assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_wall_ms" }, { err.code, err.meta.reason })
  end)

  it("is an agent of a workflow like any other", function()
    local h = define(function(_, input) return "own " .. input end)
    local session = h:session "s"
    assert.equal("own x", session.workflows.flow:run "x")
    assert.equal(2, #session.history:list())
    assert.equal("x", session.history:list()[1].content)
  end)
end)
