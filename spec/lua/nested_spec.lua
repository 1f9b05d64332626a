--- lua/harness/nested.lua, lua/harness/bounded.lua: agents as parts of a workflow. What a workflow does
--- with them is in workflow_spec; here is what they refuse, and contexts that outlive their run.

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").any
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local wrapped = require "spec.support.wrapped_storage"

local s = harness.schema
local of, drain = scripted.of, scripted.drain

local function answer(request)
  local last = request.messages[#request.messages].content
  local ms = last:match "^wait (%d+)"
  return { delay_ms = ms and tonumber(ms), text = "<" .. last .. ">" }
end

local function define(run, over)
  local definition = {
    agents = {
      writer = { model = "fast", instructions = "Write." },
      own = { model = "fast", input = s.any(), output = s.any(), run = function(_, input)
        return input == "odd" and { print } or input
      end },
    },
    workflows = { flow = { run = run } },
  }
  for key, value in pairs(over or {}) do definition[key] = value end
  return scripted.harness(answer, { definition = definition })
end

describe("a nested agent", function()
  still(before_each, after_each)

  it("gives its caller a value of the caller's own: what that does to it no event shows", function()
    local events = {}
    local h = define(function(ctx)
      local plan = ctx.agents.own:run { steps = { 1 } }
      plan.steps[2], plan.changed = 2, true
      return plan
    end)
    local stream = h:session().workflows.flow:stream()
    local result = stream:result()
    for event in stream do events[#events + 1] = event end
    assert.same({ steps = { 1, 2 }, changed = true }, result)
    assert.same({ steps = { 1 } }, of(events, "agent.finished")[1].output)
  end)

  it("names only the options that it has, when one is misspelt", function()
    local h = define(function(ctx) return ctx.agents.writer:run("x", { timeout = 5 }) end)
    local session = h:session()
    local err = failure(session.workflows.flow.run, session.workflows.flow)
    assert.matches('did you mean "timeout_ms"', err.message, 1, true)
    assert.matches("there are: budget, history_window, metadata, signal, timeout_ms", err.message, 1, true)
    assert.not_matches("durable", err.message)
  end)

  it("has no deadline with timeout_ms = 0, and one of its own within a shorter one of the run", function()
    local h = define(function(ctx) return ctx.agents.writer:run("wait 50", { timeout_ms = 0 }) end)
    local stream = h:session().workflows.flow:stream()
    clock.advance(60)
    assert.equal("<wait 50>", stream:result())
    h = define(function(ctx) return ctx.agents.writer:run("wait 5000", { timeout_ms = 1000 }) end)
    stream = h:session().workflows.flow:stream(nil, { timeout_ms = 20 })
    clock.advance(30)
    local err = failure(stream.result, stream)
    assert.same({ "OPERATION_TIMEOUT", "run" }, { err.code, err.meta.scope })
  end)

  it("is charged to its own budget instead of the definition's, and to the run's besides", function()
    local function budgeted(own, of_run)
      local h = define(function(ctx)
        ctx.agents.writer:run("a", { budget = own })
        return ctx.agents.writer:run("b", { budget = own })
      end)
      local session = h:session()
      return pcall(session.workflows.flow.run, session.workflows.flow, nil, { budget = of_run })
    end
    assert.is_true((budgeted({ max_model_calls = 1 }, nil)))
    local ok, err = budgeted({ max_model_calls = 5 }, { max_model_calls = 1 })
    assert.same({ false, "AGENT_LOOP_BUDGET_EXCEEDED", "flow" }, { ok, err.code, err.meta.workflow_id })
  end)

  it("that is given what JSON cannot hold is not started; one that returns it has failed", function()
    local h = define(function(ctx) return ctx.agents.own:run { print } end)
    local stream = h:session().workflows.flow:stream()
    local events, err = drain(stream)
    assert.same({ "VALIDATION_ERROR", "agent_input", "own" }, { err.code, err.meta.where, err.meta.agent_id })
    assert.equal(0, #of(events, "agent.started"))
    h = define(function(ctx) return ctx.agents.own:run "odd" end)
    events, err = drain(h:session().workflows.flow:stream())
    assert.same({ "VALIDATION_ERROR", "agent_output", "own" }, { err.code, err.meta.where, err.meta.agent_id })
    assert.same({ "VALIDATION_ERROR", nil },
      { of(events, "agent.finished")[1].error.code, of(events, "agent.finished")[1].output })
  end)

  describe("of a run that has ended", function()
    local function kept_context()
      local kept
      local h = define(function(ctx) kept = ctx end)
      local session = h:session "s"
      session.workflows.flow:run()
      return kept, session
    end

    it("is refused, like all else that a kept context could do unseen", function()
      local ctx, session = kept_context()
      local models = ctx.models.fast
      for _, case in ipairs {
        { ctx.agents.writer.run, ctx.agents.writer, "late" }, { models.text, models, { prompt = "x" } },
        { models.text_stream, models, { prompt = "x" } }, { models.embed, models, { input = "x" } },
        { models.rerank, models, { query = "q", documents = { { id = "1", text = "t" } } } },
        { ctx.step, ctx, "a", print },
      } do
        local err = failure(table.unpack(case))
        assert.same({ "VALIDATION_ERROR", "context", "run_ended", ctx.run_id },
          { err.code, err.meta.where, err.meta.reason, err.meta.run_id })
      end
      assert.same({}, session.history:list())
      assert.equal(1, #session:runs())
    end)

    it("makes no event after run.finished, and none with its number, while the end is being stored", function()
      local kept
      local storage = wrapped.new(function(method)
        if method == "finish_run" then harness.sleep(50) end
      end)
      local h = define(function(ctx) kept = ctx end, { storage = storage })
      local session = h:session "s"
      local stream = session.workflows.flow:stream()
      clock.advance(10)
      assert.equal("run_ended", failure(kept.agents.writer.run, kept.agents.writer, "late").meta.reason)
      clock.advance(100)
      local events = drain(stream)
      assert.equal("run.started run.finished", scripted.types(events))
      assert.equal(2, events[2].seq)
      assert.equal(2, #session:events(stream.run_id))
    end)

    it("fails when the end came while it ran for a task that is not the run's", function()
      local kept
      local h = define(function(ctx)
        kept = ctx
        harness.sleep(20)
      end)
      local session = h:session "s"
      local stream = session.workflows.flow:stream()
      clock.advance(10)
      local other = harness.spawn(function() return failure(kept.agents.writer.run, kept.agents.writer, "wait 30") end)
      clock.advance(100)
      assert.equal("run_ended", other:await().meta.reason)
      assert.is_nil(stream:result())
      local events = drain(stream)
      assert.equal("run.finished", events[#events].type)
      assert.same({}, session.history:list())
    end)
  end)
end)
