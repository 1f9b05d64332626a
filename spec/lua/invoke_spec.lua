--- lua/harness/invoke.lua: the options of a run. Rule names: reference A 3.4.

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").structured
local harness = require "harness"
local invoke = require "harness.invoke"
local json = require "harness.json"
local recorder = require "harness.testing.recorder"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"

local TRACE <const> = "0af7651916cd43dd8448eb211c80319c"
local SPAN <const> = "b7ad6b7169203331"
local PARENT <const> = ("00-%s-%s-01"):format(TRACE, SPAN)

describe("the options of a run", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = scripted.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  describe("are refused", function()
    local BAD <const> = {
      { { history_window = -1 }, "history_window" }, { { history_window = 1.5 }, "history_window" },
      { { history_window = "2" }, "history_window" }, { { history_window = 0 / 0 }, "history_window" },
      { { timeout_ms = -1 }, "timeout_ms" }, { { timeout_ms = 0.5 }, "timeout_ms" },
      { { timeout_ms = math.huge }, "timeout_ms" }, { { timeout_ms = true }, "timeout_ms" },
      { { timout_ms = 5 }, "timout_ms" }, { { [1] = "x" }, "1" },
      { { budget = 5 }, "budget" }, { { budget = { max_calls = 5 } }, "budget" },
      { { budget = { max_cost = -1 } }, "budget" }, { { budget = { max_cost = "1" } }, "budget" },
      { { budget = { max_cost = 0 / 0 } }, "budget" },
      { { metadata = "x" }, "metadata" }, { { metadata = { f = print } }, "metadata" },
      { { durable = { run_id = "r" } }, "durable" },
      { { signal = {} }, "signal" }, { { signal = "x" }, "signal" },
    }
    for i, case in ipairs(BAD) do
      it(("%d: %s"):format(i, case[2]), function()
        local err = failure(invoke.check, case[1], "agent")
        assert.same({ "VALIDATION_ERROR", "invoke_options" }, { err.code, err.meta.where })
        assert.is_string(err.meta.issues[case[2]])
        assert.is_truthy(err.message:find(case[2], 1, true))
      end)
    end

    it("when they are no table", function()
      for _, odd in ipairs { 7, "x", true, print } do
        local err = failure(invoke.check, odd, "agent")
        assert.same({ "VALIDATION_ERROR", "invoke_options", {} },
          { err.code, err.meta.where, err.meta.issues })
      end
    end)

    it("with the likely name of a misspelt one", function()
      assert.matches('did you mean "timeout_ms"', failure(invoke.check, { timout_ms = 5 }, "agent").message)
      assert.matches("history_window, metadata", failure(invoke.check, { nonsense = 5 }, "agent").message)
    end)

    it("in a fixed order (A 19)", function()
      harness.spawn(function()
        local c = harness.abort_controller()
        c:abort()
        local all = { history_window = -1, timeout_ms = -1, durable = { run_id = "x" }, signal = c.signal }
        local function first() return next(failure(invoke.check, all, "agent").meta.issues) end
        assert.equal("history_window", first())
        all.history_window = nil
        assert.equal("timeout_ms", first())
        all.timeout_ms = nil
        assert.equal("durable", first())
        all.durable = nil
        assert.equal("OPERATION_CANCELLED", failure(invoke.check, all, "agent").code)
      end):await()
    end)

    it("before the session is found to be busy, and without a trace of a run", function()
      local h = define { { delay_ms = 10, text = "x" } }
      local session = h:session()
      local stream = session.agents.helper:stream "go"
      local err = failure(session.agents.helper.run, session.agents.helper, "go", { timeout_ms = -1 })
      assert.equal("VALIDATION_ERROR", err.code)
      clock.advance(10)
      stream:result()
      assert.equal(1, #session:runs())
    end)
  end)

  it("may be left out, or all be given", function()
    assert.same({}, invoke.check(nil, "agent"))
    assert.same({}, invoke.check({}, "agent"))
    assert.not_equal(invoke.check(nil, "agent"), invoke.check(nil, "agent")) -- a run may keep things in them
    local budget = { max_total_tokens = 1, max_model_calls = 2, max_tool_calls = 0, max_cost = 0.5,
      max_wall_ms = 10 }
    local given = { history_window = 0, timeout_ms = 0, metadata = {}, budget = budget, traceparent = PARENT }
    assert.same(given, invoke.check(given, "agent"))
  end)

  describe("metadata", function()
    it("is copied: what the caller changes later does not reach the run", function()
      local seen
      local tools = { look = { description = "x", input = harness.schema.object {}, run = function(ctx)
        seen = ctx.metadata
        return "ok"
      end } }
      local h = define({ { delay_ms = 10, tool_calls = { { name = "look" } } }, { text = "end" } },
        { tools = tools })
      local session = h:session()
      local metadata = { user = { id = "u1", tags = { "a" } }, none = json.null }
      local stream = session.agents.helper:stream("go", { metadata = metadata })
      metadata.user.id, metadata.user.tags[1], metadata.more = "changed", "changed", true
      clock.advance(10)
      stream:result()
      assert.same({ user = { id = "u1", tags = { "a" } }, none = json.null }, seen)
      assert.same(seen, session:runs()[1].metadata)
    end)

    it("is an empty table for handlers where none was given", function()
      local seen
      local tools = { look = { description = "x", input = harness.schema.object {}, run = function(ctx)
        seen = ctx.metadata
      end } }
      local h = define({ { tool_calls = { { name = "look" } } }, { text = "end" } }, { tools = tools })
      h:session().agents.helper:run "go"
      assert.same({}, seen)
    end)

    it("never reaches the model", function()
      local h, model = define { { text = "x" } }
      h:session().agents.helper:run("go", { metadata = { note = "for us only" } })
      local messages = json.encode(model.requests[1].messages)
      assert.is_nil(messages:find("for us only", 1, true))
    end)
  end)

  describe("timeout_ms", function()
    it("goes before the default, and 0 is none", function()
      local h = define(function() return { delay_ms = 50000, text = "late" } end,
        { definition = { defaults = { run_timeout_ms = 1000 } } })
      local session = h:session()
      local function run(options)
        local stream = session.agents.helper:stream("go", options)
        clock.advance(60000)
        local ok, result = pcall(stream.result, stream)
        return ok and result or result.meta.timeout_ms
      end
      assert.equal(1000, run(nil))
      assert.equal(500, run { timeout_ms = 500 })
      assert.equal("late", run { timeout_ms = 0 })
      assert.equal("late", run { timeout_ms = 55000 })
    end)
  end)

  describe("the trace context", function()
    local function trace(options)
      local heard = recorder.new()
      local h = define({ { text = "x" } }, { definition = { telemetry = { listener = heard } } })
      h:session().agents.helper:run("go", options)
      local warnings = {}
      for _, line in ipairs(h.definition.logger.own.lines) do
        if line[1] == "warn" then warnings[#warnings + 1] = line[3]["harness.warning.code"] end
      end
      return heard.span "harness.session.agent_prompt", warnings
    end

    it("makes the run's span a child of the caller's (A 21)", function()
      local span, warnings = trace { traceparent = PARENT, tracestate = "a=1,b=2" }
      assert.same({ TRACE, SPAN, "01", "a=1,b=2" },
        { span.trace_id, span.parent_span_id, span.flags, span.tracestate })
      assert.same({}, warnings)
    end)

    it("of 512 characters of state is the longest", function()
      local span, warnings = trace { traceparent = PARENT, tracestate = ("x"):rep(512) }
      assert.same({ TRACE, {} }, { span.trace_id, warnings })
    end)

    it("that is not valid is left out, with one warning; the run goes on", function()
      local zero = ("0"):rep(32)
      local cases = {
        { traceparent = "nonsense" }, { traceparent = PARENT:upper() },
        { traceparent = "ff" .. PARENT:sub(3) },
        { traceparent = ("00-%s-%s-01"):format(zero, SPAN) },
        { traceparent = ("00-%s-%s-01"):format(TRACE, zero:sub(1, 16)) },
        { traceparent = PARENT .. "-more" }, { traceparent = PARENT, tracestate = ("x"):rep(513) },
        { traceparent = PARENT, tracestate = "a=1\nb=2" }, { traceparent = 7 },
      }
      for i, options in ipairs(cases) do
        local span, warnings = trace(options)
        assert.same({ "INVALID_TRACE_CONTEXT" }, warnings, "case " .. i)
        assert.is_nil(span.parent_span_id)
        assert.not_equal(TRACE, span.trace_id)
        assert.equal("ok", span.status.code)
      end
    end)

    it("has no state without a parent, and an empty parent is none", function()
      for _, options in ipairs { { tracestate = "a=1" }, { traceparent = "", tracestate = "a=1" } } do
        local span, warnings = trace(options)
        assert.same({ nil, nil, {} }, { span.parent_span_id, span.tracestate, warnings })
      end
    end)
  end)
end)
