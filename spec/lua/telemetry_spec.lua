local errors = require "harness.errors"
local recorder = require "harness.testing.recorder"
local telemetry = require "harness.telemetry"
local trace_context = require "harness.trace_context"

local TRACE <const> = "4bf92f3577b34da6a3ce929d0e0e4736"
local PARENT <const> = "00f067aa0ba902b7"

describe("telemetry", function()
  local heard, now_us, seed

  -- Ids 000…01, 000…02, …, and a clock that is turned by hand.
  local function make(options)
    options = options or {}
    options.listener = options.listener or heard
    options.now_us = function() return now_us end
    options.now_ms = function() return 1000000 + now_us / 1000 end
    options.random = options.random or function(count)
      seed = seed + 1
      return ("\0"):rep(count - 1) .. string.char(seed)
    end
    return telemetry.new(options)
  end

  before_each(function() heard, now_us, seed = recorder.new(), 0, 0 end)

  describe("when nobody listens", function()
    for name, off in pairs {
      NOOP = telemetry.NOOP, ["without options"] = telemetry.new(), ["without a listener"] = telemetry.new {},
      ["storing content"] = telemetry.new { store_content = true },
    } do
      it(("does nothing: %s"):format(name), function()
        assert.is_false(off.enabled)
        assert.equal(name == "storing content", off.store_content)
        local span = off:span("a", { b = 1 })
        assert.equal(span, off:span("b", nil, span))
        span:set("a", 1)
        span:set_all { a = 1 }
        span:event "e"
        assert.is_nil(span:traceparent())
        span:finish(errors.new("A", "m"))
        do local _ <close> = off:span "c" end
        off:counter("c", 1)
        off:histogram("h", 1)
        local metrics = off:metrics { a = 1 }
        metrics:counter "c"
        metrics:histogram("h", 1)
        assert.same({ 1, 2 }, { metrics:duration("d", {}, function() return 1, 2 end) })
        assert.same({ 3 }, { metrics:duration("d", function() return 3 end) })
      end)
    end

    it("makes no garbage", function()
      local off, span = telemetry.NOOP, nil
      local function turn()
        if off.enabled then error "on" end
        span = off:span("a")
        span:set("b", 1)
        span:finish()
        off:counter("c", 1)
      end
      local hook = table.pack(debug.gethook()) -- the coverage's, which makes garbage
      debug.sethook()
      turn()
      collectgarbage()
      collectgarbage "stop"
      local before = collectgarbage "count"
      for _ = 1, 1000 do turn() end
      local grown = collectgarbage "count" - before
      collectgarbage "restart"
      debug.sethook(table.unpack(hook, 1, hook.n))
      assert.is_true(grown < 1, ("%.1f KiB"):format(grown))
    end)
  end)

  describe("spans", function()
    it("are told at their end, with ids, times and status", function()
      local tel = make()
      assert.is_true(tel.enabled)
      local span = tel:span("a", { one = 1, two = "b", three = true, four = { "x", "y" } })
      assert.same({}, heard.spans)
      assert.same({ "a" }, heard.unfinished())
      now_us = 2500
      span:set("five", 5)
      span:set_all { six = 6 }
      span:finish()
      assert.same({ {
        name = "a", trace_id = ("0"):rep(31) .. "1", span_id = ("0"):rep(15) .. "2", flags = "01",
        attributes = { one = 1, two = "b", three = true, four = { "x", "y" }, five = 5, six = 6 },
        events = {}, status = { code = "ok" }, start_ms = 1000000.0, end_ms = 1000002.5, duration_ms = 2.5,
      } }, heard.spans)
      assert.same({}, heard.unfinished())
    end)

    it("end once, and nothing changes them afterwards", function()
      local span = make():span "a"
      span:finish()
      span:finish(errors.new("A", "m"))
      span:set("x", 1)
      span:set_all { y = 1 }
      span:event "e"
      assert.equal(1, #heard.spans)
      assert.same({}, heard.span("a").attributes)
      assert.same({}, heard.span("a").events)
    end)

    it("have parents", function()
      local tel = make()
      local outer = tel:span "outer"
      local inner = tel:span("inner", nil, outer)
      inner:finish()
      outer:finish()
      local outside = heard.span "outer"
      assert.equal(outside.trace_id, heard.span("inner").trace_id)
      assert.equal(outside.span_id, heard.span("inner").parent_span_id)
      assert.same({ heard.span "inner" }, heard.children(outside))
      assert.is_nil(outside.parent_span_id)
    end)

    it("join a caller's trace, and hand it on", function()
      local tel = make()
      local context = assert(telemetry.parse(("00-%s-%s-00"):format(TRACE, PARENT), "a=b"))
      local span = tel:span("a", nil, context)
      local child = tel:span("b", nil, span)
      assert.equal(("00-%s-%s-00"):format(TRACE, span.span_id), span:traceparent())
      child:finish()
      span:finish()
      local record = heard.span "a"
      assert.same({ TRACE, PARENT, "a=b", "00" },
        { record.trace_id, record.parent_span_id, record.tracestate, record.flags })
      assert.equal("a=b", heard.span("b").tracestate)
    end)

    it("begin a trace when the parent is that of telemetry that is off", function()
      local span = make():span("a", nil, telemetry.NOOP:span "x")
      assert.is_nil(span.parent_span_id)
    end)

    it("end with their scope, with its error", function()
      local tel = make()
      do local _ <close> = tel:span "good" end
      local err = errors.new("TOOL_ERROR", "no")
      local _, raised = pcall(function()
        local _ <close> = tel:span "bad"
        error(err, 0)
      end)
      assert.is_true(rawequal(err, raised))
      assert.equal("ok", heard.span("good").status.code)
      assert.same({ code = "error", message = "no" }, heard.span("bad").status)
    end)

    it("have unlike ids from the kernel", function()
      local tel, seen = telemetry.new { listener = heard }, {}
      for _ = 1, 200 do
        local span = tel:span "a"
        assert.matches("^" .. ("[0-9a-f]"):rep(32) .. "$", span.trace_id)
        assert.matches("^" .. ("[0-9a-f]"):rep(16) .. "$", span.span_id)
        assert.is_nil(seen[span.trace_id])
        seen[span.trace_id] = true
        span:finish()
      end
      assert.is_true(heard.spans[1].duration_ms >= 0)
    end)

    it("never have an id of zeros", function()
      local calls = 0
      local tel = make { random = function(count)
        calls = calls + 1
        return (calls % 2 == 1 and "\0" or "\1"):rep(count)
      end }
      assert.equal(("01"):rep(16), tel:span("a").trace_id)
    end)
  end)

  describe("attributes", function()
    it("are strings, finite numbers, booleans and lists of strings; the rest is dropped", function()
      local span = make():span("a", {
        s = "x", i = 1, f = 1.5, b = false, l = { "a" }, nan = 0 / 0, inf = math.huge, t = { a = 1, 2 },
        fn = print, [5] = "number as name",
      })
      span:set("later", { 1 })
      span:finish()
      assert.same({ s = "x", i = 1, f = 1.5, b = false, l = { "a" } }, heard.span("a").attributes)
    end)

    it("are copied, redacted and cut", function()
      local list = { "sk-abc123" }
      local span = make():span("a", {
        list = list, api_key = "k", note = "Bearer abc1", long = ("x"):rep(5000),
      })
      span:event("e", { token = "t", n = 1 })
      list[1] = "changed"
      span:finish()
      assert.same({
        list = { "[redacted]" }, api_key = "[redacted]", note = "[redacted]", long = ("x"):rep(4000),
      }, heard.span("a").attributes)
      assert.same({ token = "[redacted]", n = 1 }, heard.span("a").events[1].attributes)
    end)

    local both = {
      ["gen_ai.request.model"] = "m", ["llm.provider"] = "p", ["tool.name"] = "t",
      ["openinference.span.kind"] = "LLM", ["input.value"] = "i", ["output.value"] = "o",
      ["retrieval.x"] = 1, ["embedding.x"] = 1, ["reranker.x"] = 1,
      ["guardrail.x"] = 1, ["evaluator.x"] = 1, ["harness.name"] = "h", ["metadata.x"] = 1, ["toolbox"] = 1,
    }
    local flavors = {
      dual = both,
      gen_ai_only = {
        ["gen_ai.request.model"] = "m", ["harness.name"] = "h", ["metadata.x"] = 1, ["toolbox"] = 1,
      },
      openinference_only = {
        ["llm.provider"] = "p", ["tool.name"] = "t", ["openinference.span.kind"] = "LLM",
        ["input.value"] = "i", ["output.value"] = "o", ["retrieval.x"] = 1, ["embedding.x"] = 1,
        ["reranker.x"] = 1,
        ["guardrail.x"] = 1, ["evaluator.x"] = 1, ["harness.name"] = "h", ["metadata.x"] = 1, ["toolbox"] = 1,
      },
    }
    for flavor, expected in pairs(flavors) do
      it(("follow the flavor %s, on spans and metrics"):format(flavor), function()
        local tel = make { flavor = flavor }
        tel:span("early", both):finish()
        local span = tel:span "late"
        for name, value in pairs(both) do span:set(name, value) end
        span:finish()
        tel:counter("gen_ai.x", 1, both)
        assert.same(expected, heard.span("early").attributes)
        assert.same(expected, heard.span("late").attributes)
        assert.same(expected, heard.metrics[1].attributes)
      end)
    end
  end)

  describe("errors", function()
    it("of ours are told by code, category and what the meta says", function()
      local err = errors.new("MODEL_ERROR", "the provider says no", {
        provider = "openai", model = "m", status = 500, provider_code = "c", provider_type = "",
        reason = "http_error", provider_param = 5, provider_request_id = "r", provider_message = "busy",
        scope = "model", timeout_ms = 1 / 0,
        provider_body = { error = { code = "c" }, messages = { "private" } },
      })
      local span = make():span "a"
      span:finish(err)
      local record = heard.span "a"
      assert.same({
        ["error.type"] = "MODEL_ERROR", ["harness.error.code"] = "MODEL_ERROR",
        ["harness.error.category"] = "model", ["harness.error.retriable"] = true,
        ["harness.error.scope"] = "model", ["harness.error.provider"] = "openai",
        ["harness.error.model"] = "m",
        ["harness.error.model_provider_status"] = 500, ["harness.error.model_provider_code"] = "c",
        ["harness.error.model_provider_request_id"] = "r", ["harness.error.model_provider_message"] = "busy",
        ["harness.error.model_provider_body"] = '{"error":{"code":"c"},"messages":"[redacted]"}',
      }, record.attributes)
      assert.same({ code = "error", message = "the provider says no" }, record.status)
      assert.same({ name = "exception", at_ms = 1000000.0, attributes = {
        ["exception.type"] = "MODEL_ERROR", ["exception.message"] = "the provider says no",
      } }, record.events[1])
    end)

    it("of a timeout have its scope and length", function()
      local attributes = telemetry.error_attributes(errors.new("OPERATION_TIMEOUT", "m",
        { scope = "tool", timeout_ms = 5 }))
      assert.equal("tool", attributes["harness.error.scope"])
      assert.equal(5, attributes["harness.error.timeout_ms"])
    end)

    it("of others are internal", function()
      assert.same({
        ["error.type"] = "INTERNAL_ERROR", ["harness.error.code"] = "INTERNAL_ERROR",
        ["harness.error.category"] = "internal", ["harness.error.retriable"] = false,
      }, telemetry.error_attributes "oops")
    end)

    it("have a bounded body", function()
      local err = errors.new("MODEL_ERROR", "m", { provider_body = ("b"):rep(9000) })
      assert.equal(8000, #telemetry.error_attributes(err)["harness.error.model_provider_body"])
    end)
  end)

  it("takes plain metadata only", function()
    assert.same({
      ["harness.metadata.tenant"] = "t", ["harness.metadata.n"] = 1, ["harness.metadata.b"] = false,
      ["harness.metadata.long"] = ("x"):rep(256), ["harness.metadata." .. ("k"):rep(64)] = 1,
      ["harness.metadata.a_b.c-d"] = 1,
    }, telemetry.metadata_attributes {
      tenant = "t", n = 1, b = false, long = ("x"):rep(256), too_long = ("x"):rep(257), nan = 0 / 0,
      list = { 1 },
      [("k"):rep(64)] = 1, [("k"):rep(65)] = 1, ["1a"] = 1, ["a b"] = 1, ["a_b.c-d"] = 1, [1] = 1,
    })
    assert.same({}, telemetry.metadata_attributes(nil))
  end)

  describe("metrics", function()
    it("are told with kind, unit and attributes", function()
      local tel = make()
      tel:counter(telemetry.METRIC.run_errors, nil, { ["error.type"] = "A" })
      tel:histogram(telemetry.METRIC.tool_duration, 0.25)
      tel:counter("mine", 3)
      assert.same({
        { kind = "counter", name = "harness.run.errors", unit = "1", value = 1, at_ms = 1000000.0,
          attributes = { ["error.type"] = "A" } },
        { kind = "histogram", name = "harness.tool.duration", unit = "s", value = 0.25, at_ms = 1000000.0,
          attributes = {} },
        { kind = "counter", name = "mine", unit = "1", value = 3, at_ms = 1000000.0, attributes = {} },
      }, heard.metrics)
      assert.equal(3, heard.sum "mine")
      assert.equal(0, heard.sum("mine", { a = 1 }))
      assert.equal(1, #heard.find_metrics("harness.run.errors", { ["error.type"] = "A" }))
    end)

    it("refuse what is no finite number", function()
      local tel = make()
      for _, value in ipairs { "1", 0 / 0, math.huge, {} } do
        assert.has_error(function() tel:counter("c", value) end)
      end
      assert.has_error(function() tel:histogram "h" end, "the value of metric h must be a finite number")
    end)

    it("of a context have its attributes; a call's own win", function()
      local metrics = make():metrics { a = 1, b = 1 }
      metrics:counter("c", 2, { b = 2, c = 3 })
      metrics:histogram("h", 4)
      make():metrics():counter "plain"
      assert.same({ a = 1, b = 2, c = 3 }, heard.metrics[1].attributes)
      assert.same({ a = 1, b = 1 }, heard.metrics[2].attributes)
      assert.same({ 1, {} }, { heard.metrics[3].value, heard.metrics[3].attributes })
    end)

    it("measure how long a function takes, in seconds, also when it fails", function()
      local metrics = make():metrics { a = 1 }
      local function work(...)
        now_us = now_us + 1500000
        return ...
      end
      local function three() return work(1, nil, 3) end
      assert.same({ 1, nil, 3 }, { metrics:duration("d", { b = 2 }, three) })
      metrics:duration("d", work)
      local err = errors.new("TOOL_ERROR", "no")
      local _, raised = pcall(metrics.duration, metrics, "d", nil, function() error(work(err), 0) end)
      assert.is_true(rawequal(err, raised))
      for i = 1, 3 do assert.equal(1.5, heard.metrics[i].value) end
      assert.same({ a = 1, b = 2 }, heard.metrics[1].attributes)
      assert.same({ a = 1, ["error.type"] = "TOOL_ERROR" }, heard.metrics[3].attributes)
      assert.equal("histogram", heard.metrics[1].kind)
    end)
  end)

  it("counts what a listener raises, tells it once and goes on", function()
    local told = {}
    local tel = make {
      listener = { on_span_end = function() error "boom" end, on_metric = function() error "boom" end },
      logger = { error = function(_, msg, fields) told[#told + 1] = { msg, fields } end },
    }
    tel:span("a"):finish()
    tel:counter "c"
    assert.equal(2, tel.listener_errors)
    assert.equal(1, #told)
    assert.equal("on_span_end", told[1][2].listener)
    assert.matches("boom", told[1][2].error.message)
    local silent = make { listener = { on_metric = function() error "boom" end } }
    silent:counter "c"
    assert.equal(1, silent.listener_errors)
  end)

  describe("names", function()
    it("of instruments are all described, in seconds where they are durations", function()
      local described = 0
      for _, name in pairs(telemetry.METRIC) do
        local instrument = telemetry.INSTRUMENT[name]
        assert.is_table(instrument, name)
        assert.is_nil(name:find "_ms$")
        if name:find "duration$" then assert.same({ kind = "histogram", unit = "s" }, instrument) end
        described = described + 1
      end
      local listed = 0
      for _ in pairs(telemetry.INSTRUMENT) do listed = listed + 1 end
      assert.equal(described, listed)
    end)

    it("of spans say what they are about", function()
      assert.equal("invoke_agent helper", telemetry.agent_span "helper")
      assert.equal("chat gpt-5-mini", telemetry.model_span(telemetry.OPERATION.chat, "gpt-5-mini"))
      assert.equal("execute_tool find_order", telemetry.tool_span "find_order")
      assert.equal("harness.session.agent_prompt", telemetry.SPAN.session_agent)
    end)
  end)

  describe("recorder", function()
    it("finds one span, or says how many there are", function()
      local tel = make()
      tel:span("a", { n = 1 }):finish()
      tel:span("a", { n = 2 }):finish()
      assert.equal(2, heard.span("a", { n = 2 }).attributes.n)
      assert.equal(2, #heard.find_spans "a")
      assert.equal(2, #heard.find_spans())
      assert.has_error(function() heard.span "a" end, "2 spans are named a, not 1")
      assert.has_error(function() heard.span "b" end, "0 spans are named b, not 1")
      heard.clear()
      assert.same({}, heard.find_spans())
      assert.same({}, heard.unfinished())
    end)
  end)
end)

describe("trace context", function()
  local good = ("00-%s-%s-01"):format(TRACE, PARENT)

  it("reads and writes traceparent", function()
    local context = trace_context.parse(good)
    assert.same({ trace_id = TRACE, span_id = PARENT, flags = "01" }, context)
    assert.equal(good, trace_context.format(context))
    assert.equal(good, trace_context.format { trace_id = TRACE, span_id = PARENT })
    assert.is_table(trace_context.parse(good:gsub("^00", "fe"), nil))
  end)

  it("is nothing without traceparent, whatever tracestate says", function()
    assert.same({}, { trace_context.parse(nil, "a=b") })
    assert.same({}, { trace_context.parse("", "\n") })
  end)

  local bad = {
    { "x", "must look like" }, { 5, "must be a string" }, { good:upper(), "must look like" },
    { good .. "-00", "must look like" }, { good:sub(1, -2), "must look like" },
    { good .. "\n", "must look like" },
    { good:gsub("^00", "ff"), "version ff" }, { good:gsub(TRACE, ("0"):rep(32)), "trace id" },
    { good:gsub(PARENT, ("0"):rep(16)), "parent id" }, { good:gsub("4bf9", "4bg9"), "must look like" },
  }
  for i, case in ipairs(bad) do
    it(("refuses a bad traceparent (%d: %s)"):format(i, case[2]), function()
      local context, problem = trace_context.parse(case[1], "a=b")
      assert.is_nil(context)
      assert.matches(case[2], problem)
    end)
  end

  it("bounds tracestate", function()
    assert.equal(512, #trace_context.parse(good, ("x"):rep(512)).tracestate)
    assert.is_nil(trace_context.parse(good, "").tracestate)
    for state, problem in pairs { [("x"):rep(513)] = "513", ["a\nb"] = "one line", ["a\rb"] = "one line",
      [5] = "must be a string" } do
      local context, text = trace_context.parse(good, state)
      assert.is_nil(context)
      assert.matches(problem, text)
    end
  end)
end)
