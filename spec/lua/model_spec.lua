--- lua/harness/model.lua: one model call. Rule names: reference B 6 and 11.6, design 06.

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").structured
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"

local drain, of = scripted.drain, scripted.of
local s = harness.schema

local function call(name, arguments) return { name = name, arguments = arguments or {} } end

describe("a model call", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = scripted.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  -- A harness whose agent has this alias, and others beside it.
  local function with_alias(alias, others, agent)
    local models = { fast = alias }
    for id, other in pairs(others or {}) do models[id] = other end
    alias.model = alias.model or "m"
    return (define({}, { tools = {}, agent = agent, definition = { models = models } }))
  end

  -- A provider in a plain table; generate gets (request, on_event, n).
  local function provider(generate, over)
    local p = { id = "mine", capabilities = { "text", "text_stream", "object", "tool_use" }, calls = 0 }
    function p:generate(request, on_event)
      self.calls = self.calls + 1
      return generate(request, on_event, self.calls)
    end
    for key, value in pairs(over or {}) do p[key] = value end
    return p
  end

  -- Runs the agent while an hour goes by; returns the output or nil, the error, the events.
  local function run(h, options, ms)
    local stream = h:session().agents.helper:stream("go", options)
    clock.advance(ms or 3600000)
    local events, err = drain(stream)
    return not err and stream:result() or nil, err, events
  end

  describe("is checked before anything reaches the provider", function()
    local function parts_history(kind)
      return { { role = "user", content = { { type = "text", text = "look" }, { type = kind, url = "x" } } },
        { role = "assistant", content = "ok" } }
    end

    it("for what messages carry, any role (MOD-1, MOD-3)", function()
      for kind, capability in pairs { image = "vision_input", audio = "audio_input", file = "file_input" } do
        local p = provider(function() return { text = "ok" } end)
        local h = with_alias { provider = p, capabilities = { "text" } }
        local session = h:session "s"
        session.history:replace(parts_history(kind))
        local err = failure(session.agents.helper.run, session.agents.helper, "go")
        assert.same({ "MODEL_CAPABILITY_ERROR", "missing_capability", capability, "fast" },
          { err.code, err.meta.reason, err.meta.method, err.meta.alias })
        assert.matches("its capabilities are: text", err.message)
        assert.equal(0, p.calls)
      end
    end)

    it("and passes with the capability", function()
      local p = provider(function() return { text = "seen" } end,
        { capabilities = { "text", "vision_input", "audio_input", "file_input" } })
      local h = with_alias { provider = p }
      local session = h:session "s"
      for _, kind in ipairs { "image", "audio", "file" } do
        session.history:replace(parts_history(kind))
        assert.equal("seen", session.agents.helper:run "go")
      end
    end)
  end)

  it("has the alias's defaults and its provider options, which later ones overlay (MOD-11)", function()
    local seen
    local p = provider(function(request) seen = request return { text = "ok" } end)
    local h = with_alias { provider = p, model = "m-7",
      provider_options = { a = 1, b = 1 },
        defaults = { temperature = 0.5, max_tokens = 9, provider_options = { b = 2 } } }
    assert.equal("ok", (run(h)))
    assert.same({ "m-7", "text_stream", true }, { seen.model, seen.method, seen.stream })
    assert.same({ 0.5, 9 }, { seen.options.temperature, seen.options.max_tokens })
    assert.same({ a = 1, b = 2 }, seen.provider_options)
    assert.equal(26, #seen.call_id)
    assert.same({ { "system", "Be brief." }, { "user", "go" } },
      { { seen.messages[1].role, seen.messages[1].content },
        { seen.messages[2].role, seen.messages[2].content } })
  end)

  describe("is tried again", function()
    -- Answers these errors in turn, then a text. Returns the provider and the times of its calls.
    local function failing(list)
      local times = {}
      return provider(function(_, on_event, n)
        times[n] = harness.now()
        local err = list[n]
        if not err then return { text = "at last" } end
        if err.delta then on_event("delta", "some") end
        if err.delay_ms then harness.sleep(err.delay_ms) end
        if err.raise then error(err.raise, 0) end
        harness.error("MODEL_ERROR", "failed", err)
      end), times
    end

    local function attempts(...)
      local p, times = failing { ... }
      local output, err, events = run(with_alias { provider = p })
      return p.calls, output, err, times, events
    end

    it("after what may pass: 408 409 425 429 5xx 529, the network, a cut stream, nonsense", function()
      for _, status in ipairs { 408, 409, 425, 429, 500, 502, 503, 504, 529 } do
        assert.equal(2, (attempts { status = status, reason = "http_error" }), status)
      end
      for _, reason in ipairs { "network", "stream_truncated", "malformed_response" } do
        assert.equal(2, (attempts { reason = reason }), reason)
      end
    end)

    it("not after what will not: other 4xx, a context that is too long, an error of another kind", function()
      for _, status in ipairs { 400, 401, 403, 404, 413, 422 } do
        assert.equal(1, (attempts { status = status, reason = "http_error" }), status)
      end
      assert.equal(1, (attempts { status = 400, reason = "context_length_exceeded" }))
      assert.equal(1, (attempts { raise = "plain" }))
      assert.equal(1, (attempts { raise = harness.new_error("STATE_ERROR",
        "retriable, but not of a model") }))
    end)

    it("three times at most, with the last error as the end", function()
      local n, output, err = attempts({ status = 500, n = 1 }, { status = 500, n = 2 },
        { status = 500, n = 3 })
      assert.same({ 3, nil, 3 }, { n, output, err.meta.n })
    end)

    it("after a time drawn up to a limit that doubles: full jitter", function()
      local longest = { 0, 0 }
      for _ = 1, 60 do
        local _, _, _, times, events = attempts({ status = 500 }, { status = 500 })
        for i = 1, 2 do
          local delay = times[i + 1] - times[i]
          assert.equal(delay, of(events, "model.retry")[i].delay_ms)
          assert.is_true(delay <= 500 * 2 ^ (i - 1))
          longest[i] = math.max(longest[i], delay)
        end
      end
      assert.is_true(longest[1] > 250 and longest[2] > 500, "60 draws, and none in the upper half")
    end)

    it("after just the time that the server asked for", function()
      for _, asked in ipairs { 0, 1, 700, 20000 } do
        local n, output, _, times, events = attempts { status = 503, retry_after_ms = asked }
        assert.same({ 2, "at last", asked }, { n, output, times[2] - times[1] })
        assert.equal(asked, of(events, "model.retry")[1].delay_ms)
      end
    end)

    it("not when the server asks for more than 20 s: its error is the end, at once", function()
      local n, _, err, _, events = attempts { status = 503, retry_after_ms = 20001 }
      assert.same({ 1, 20001 }, { n, err.meta.retry_after_ms })
      assert.equal(events[1].at, events[#events].at)
    end)

    it("with what makes no sense as a time, as if there was none", function()
      for _, odd in ipairs { "soon", {}, true, 0 / 0, -5 } do
        assert.equal(2, (attempts { status = 503, retry_after_ms = odd }), tostring(odd))
      end
    end)

    it("not when 60 s would have gone by before the next attempt", function()
      assert.equal(1, (attempts { status = 500, delay_ms = 60001 }))
      assert.equal(2, (attempts({ status = 500, delay_ms = 59000 }, { status = 500, delay_ms = 1000 })))
      assert.equal(2, (attempts({ status = 500, delay_ms = 41000, retry_after_ms = 19000 },
        { status = 500 })))
    end)

    it("never after a delta was delivered", function()
      local n, _, err, _, events = attempts { status = 500, delta = true }
      assert.same({ 1, 500 }, { n, err.meta.status })
      assert.equal(1, #of(events, "model.delta"))
      assert.equal(0, #of(events, "model.retry"))
    end)

    it("after a timeout of its own, if there is time", function()
      local p = failing { { delay_ms = 100000 } }
      local h = with_alias { provider = p }
      h.definition.defaults.model_timeout_ms = 5000
      local output, _, events = run(h)
      assert.same({ "at last", 2 }, { output, p.calls })
      assert.same({ "OPERATION_TIMEOUT", "model" },
        { of(events, "model.retry")[1].error.code, of(events, "model.retry")[1].error.meta.scope })
    end)

    it("no more when the run is stopped, in the call or in the pause", function()
      for _, ms in ipairs { 0, 5, 15 } do
        local p = failing { { status = 500, delay_ms = 10, retry_after_ms = 10 } }
        local stream = with_alias({ provider = p }):session().agents.helper:stream "go"
        clock.advance(ms)
        stream:cancel()
        clock.advance(10000)
        assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
        assert.equal(1, p.calls)
      end
    end)
  end)

  describe("falls back", function()
    local function down(status)
      return provider(function()
        harness.error("MODEL_ERROR", "down", { status = status, reason = "http_error" })
      end)
    end

    local function up(text) return provider(function() return { text = text } end) end

    it("to one alias after another, each with its own attempts, and tells", function()
      local a, b, c = down(500), down(400), up "from c"
      local h = with_alias({ provider = a, fallback = { "b", "c" } },
        { b = { provider = b, model = "mb" }, c = { provider = c, model = "mc" } })
      local output, _, events = run(h)
      assert.same({ "from c", 3, 1, 1 }, { output, a.calls, b.calls, c.calls })
      local aliases = {}
      for i, event in ipairs(of(events, "model.started")) do
        aliases[i] = event.alias .. " " .. event.model
      end
      assert.same({ "fast m", "b mb", "c mc" }, aliases)
      assert.equal(2, #of(events, "model.failed"))
      assert.equal("c", of(events, "model.completed")[1].alias)
    end)

    it("but not to the fallbacks of a fallback, so there is no circle", function()
      local a, b = down(400), down(401)
      local h = with_alias({ provider = a, fallback = { "b" } },
        { b = { provider = b, model = "mb", fallback = { "fast" } } })
      local _, err = run(h)
      assert.same({ 401, 1, 1 }, { err.meta.status, a.calls, b.calls })
    end)

    it("not after a delta, nor when the run is stopped", function()
      local other = up "never"
      local torn = provider(function(_, on_event)
        on_event("delta", "half")
        harness.error("MODEL_ERROR", "torn", { reason = "stream_truncated" })
      end)
      local _, err = run(with_alias({ provider = torn, fallback = { "b" } },
        { b = { provider = other, model = "m" } }))
      assert.equal("stream_truncated", err.meta.reason)
      local slow = provider(function() harness.sleep(60000) end)
      local stream = with_alias({ provider = slow, fallback = { "b" } },
        { b = { provider = other, model = "m" } })
        :session().agents.helper:stream "go"
      clock.advance(10)
      stream:cancel()
      clock.advance(10000)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
      assert.equal(0, other.calls)
    end)

    it("to a model that cannot stream, which is asked for the whole text", function()
      local seen
      local whole = provider(function(request) seen = request return { text = "whole" } end,
        { capabilities = { "text" } })
      local output = run(with_alias({ provider = down(400), fallback = { "b" } },
        { b = { provider = whole, model = "m" } }))
      assert.same({ "whole", "text", false }, { output, seen.method, seen.stream })
    end)
  end)

  describe("of somebody's provider", function()
    -- What an agent run makes of a provider that answers this.
    local function answer(reply)
      local p = provider(function() return reply end)
      local output, err = run(with_alias { provider = p })
      return output, err, p
    end

    local NONSENSE <const> = {
      { "nothing", nil, "nil" }, { "a number", 7, "number" }, { "text", "hello", "string" },
      { "a text that is none", { text = 7 }, "text" },
      { "usage that is none", { text = "x", usage = 5 }, "usage" },
      { "usage in words", { text = "x", usage = { input_tokens = "many" } }, "input_tokens" },
      { "calls that are no list", { tool_calls = { name = "x" } }, "tool_calls" },
      { "calls that are text", { tool_calls = "x" }, "tool_calls" },
      { "a call that is text", { tool_calls = { "x" } }, "tool_calls[1]" },
      { "a call without a name", { tool_calls = { { id = "1", arguments = {} } } }, "tool_calls[1].name" },
      { "a call whose name is a number", { tool_calls = { { name = 7 } } }, "name" },
      { "arguments as text", { tool_calls = { { name = "x", arguments = "{}" } } }, "arguments" },
    }
    for _, case in ipairs(NONSENSE) do
      it(("answers %s: MODEL_ERROR malformed_response, after three attempts"):format(case[1]), function()
        local _, err, p = answer(case[2])
        assert.same({ "MODEL_ERROR", "malformed_response", "mine" },
          { err.code, err.meta.reason, err.meta.provider })
        assert.is_truthy(err.message:find(case[3], 1, true), err.message)
        assert.equal(3, p.calls)
      end)
    end

    it("answers the least that there is, and it is enough", function()
      assert.equal("", (answer {}))
      assert.equal("x", (answer { text = "x" }))
      assert.equal("x", (answer { text = "x", tool_calls = {} }))
    end)

    it("answers the same table each time, which stays as it is", function()
      local reply = { tool_calls = { { name = "final_output", arguments = { n = 7 } } } }
      local p = provider(function() return reply end, { capabilities = { "text", "tool_use" } })
      local h = with_alias({ provider = p }, nil, { output = s.object { n = s.integer() } })
      for _ = 1, 2 do assert.same({ n = 7 }, (run(h))) end
      assert.same({ tool_calls = { { name = "final_output", arguments = { n = 7 } } } }, reply)
    end)

    it("calls without arguments: they are empty", function()
      local seen
      local p = provider(function(_, _, n)
        return n == 1 and { tool_calls = { { name = "it" } } } or { text = "ok" }
      end)
      local h = define({}, { definition = { models = { fast = { provider = p, model = "m" } } },
        tools = { it = { description = "x", input = s.object {},
          run = function(_, input) seen = input end } } })
      assert.equal("ok", (run(h)))
      assert.same({}, seen)
    end)

    it("raises text, tables, nil: MODEL_ERROR with what it said, not tried again", function()
      local raised = {
        { "plain text", "plain text" }, { { message = "in a table" }, "in a table" }, { nil, "nil" },
        { setmetatable({}, { __tostring = function() error "worse" end }), "error object" }, { 7, "7" },
      }
      for i = 1, 5 do
        local p = provider(function() error(raised[i][1], 0) end)
        local _, err = run(with_alias { provider = p })
        assert.same({ "MODEL_ERROR", "provider_failed", false }, { err.code, err.meta.reason, err.retriable })
        assert.is_truthy(err.message:find(raised[i][2], 1, true), err.message)
        assert.is_true(rawequal(raised[i][1], err.cause))
        assert.equal(1, p.calls)
      end
    end)

    it("raises an error of ours: it is that one", function()
      local mine = harness.new_error("PERMISSION_DENIED", "no")
      local _, err = run(with_alias { provider = provider(function() error(mine, 0) end) })
      assert.is_true(rawequal(mine, err))
    end)

    it("may wait, and is ended when it takes too long or does not stop", function()
      local h = with_alias { provider = provider(function() while true do pcall(harness.sleep, 100) end end) }
      h.definition.defaults.model_timeout_ms = 61000
      local _, err, events = run(h)
      assert.same({ "OPERATION_TIMEOUT", "model", 61000 }, { err.code, err.meta.scope, err.meta.timeout_ms })
      assert.equal("failed", events[#events].status)
    end)

    it("raises something else because the run was stopped: the run's own reason wins (A 38)", function()
      local function bitter()
        return provider(function()
          local ok = pcall(harness.sleep, 1000)
          if not ok then harness.error("MODEL_ERROR", "interrupted", { reason = "network" }) end
        end)
      end
      local p = bitter()
      local _, err, events = run(with_alias { provider = p }, { timeout_ms = 100 })
      assert.same({ "OPERATION_TIMEOUT", "run", 100 }, { err.code, err.meta.scope, err.meta.timeout_ms })
      assert.equal(1, p.calls)
      assert.equal("OPERATION_TIMEOUT", of(events, "agent.finished")[1].error.code)
      local stream = with_alias({ provider = bitter() }):session().agents.helper:stream "go"
      clock.advance(10)
      stream:cancel "enough"
      clock.advance(10)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    end)

    it("may run without any timeout", function()
      local h = with_alias { provider = provider(function()
        harness.sleep(590000)
        return { text = "late" }
      end) }
      h.definition.defaults.model_timeout_ms = 0
      assert.equal("late", (run(h)))
    end)

    it("may have tasks of its own, which end with the call", function()
      local h = with_alias { provider = provider(function(_, on_event)
        harness.all { function() on_event("delta", "a") end,
          function() harness.sleep(5) on_event("delta", "b") end }
        return { text = "ab" }
      end) }
      local output, _, events = run(h)
      assert.same({ "ab", 2 }, { output, #of(events, "model.delta") })
    end)

    it("cannot change what is stored of the conversation", function()
      local p = provider(function(request)
        local said = #request.messages
        for _, message in ipairs(request.messages) do
          assert.is_not_nil(message.role)
        end
        return { text = "answer " .. said }
      end)
      local session = with_alias({ provider = p }):session "s"
      session.agents.helper:run "one"
      session.agents.helper:run "two"
      local list = session.history:list()
      assert.same({ "one", "answer 2", "two", "answer 4" },
        { list[1].content, list[2].content, list[3].content, list[4].content })
    end)
  end)

  describe("costs", function()
    local PRICES <const> = { input = 2, cached_input = 0.5, cache_write = 4, output = 10 }

    local function spent(usage, prices)
      local p = provider(function() return { text = "x", usage = usage } end)
      local session = with_alias({ provider = p, prices = prices },
        nil, { budget = { max_cost = 1000 } }):session()
      local stream = session.agents.helper:stream "go"
      stream:result()
      return of(drain(stream), "model.completed")[1].usage
    end

    -- The most that may be spent so that the run still goes on after this reply.
    local function stops_at(usage, prices, max_cost)
      local h = define(function(_, n)
        return n == 1 and { tool_calls = { call("echo", { text = "x" }) }, usage = usage }
          or { text = "went on" }
      end, { agent = { budget = { max_cost = max_cost } } })
      h.definition.models.fast.prices = prices
      local _, err = run(h)
      return err and err.meta.reason
    end

    it("what its prices for a million tokens say: input, cached and written input, output", function()
      local million = 1000000
      local cases = {
        { { input_tokens = million }, 2 }, { { output_tokens = million }, 10 },
        { { input_tokens = million, cached_input_tokens = million }, 0.5 },
        { { input_tokens = million, cache_write_tokens = million }, 4 },
        { { input_tokens = million, cached_input_tokens = million // 2, cache_write_tokens = million // 4 },
          1.75 },
        { { input_tokens = million, output_tokens = million }, 12 },
      }
      for i, case in ipairs(cases) do
        assert.equal("max_cost", stops_at(case[1], PRICES, case[2]), "case " .. i)
        assert.is_nil(stops_at(case[1], PRICES, case[2] * 1.001), "case " .. i)
      end
    end)

    it("for cached and written input what input costs, where there is no other price", function()
      local usage = { input_tokens = 1000000, cached_input_tokens = 400000, cache_write_tokens = 300000 }
      assert.equal("max_cost", stops_at(usage, { input = 3, output = 1 }, 3))
      assert.is_nil(stops_at(usage, { input = 3, output = 1 }, 3.001))
    end)

    it("nothing without prices, or without usage", function()
      assert.is_nil(stops_at({ input_tokens = 1 << 40 }, nil, 0.000001))
      assert.is_nil(spent(nil, PRICES))
      assert.same({ input_tokens = 5 }, spent({ input_tokens = 5 }, PRICES))
    end)
  end)

  it("adds its usage to that of the run, with all its kinds", function()
    local usage = { input_tokens = 10, output_tokens = 5, total_tokens = 15, cached_input_tokens = 4,
      cache_write_tokens = 2, reasoning_tokens = 3 }
    local h = define({
      { tool_calls = { call("echo", { text = "x" }) }, usage = usage }, { text = "end", usage = usage },
    })
    local session = h:session()
    local stream = session.agents.helper:stream "go"
    stream:result()
    assert.same({ input_tokens = 20, output_tokens = 10, total_tokens = 30 },
      session:run_summary(stream.run_id).token_totals)
    for _, event in ipairs(of(drain(stream), "model.completed")) do assert.same(usage, event.usage) end
  end)

  describe("within a budget", function()
    local function endless(usage)
      return function()
        return { tool_calls = { call("echo", { text = "x" }) }, usage = usage, delay_ms = 100 }
      end
    end

    local function ended_by(budget, usage)
      for _, where in ipairs { "run", "agent" } do
        local h, model = define(endless(usage),
          { agent = { budget = where == "agent" and budget or nil, max_steps = 50 } })
        local _, err, events = run(h, { budget = where == "run" and budget or nil })
        assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "helper" }, { err.code, err.meta.agent_id }, where)
        assert.equal("failed", events[#events].status)
        assert.equal(err.code, of(events, "agent.finished")[1].error.code)
        assert.same({ next(budget) }, { err.meta.reason, err.meta.limit })
        opened.last = #model.requests
      end
      return opened.last
    end

    it("of calls, tokens, tools, cost and time", function()
      assert.equal(3, ended_by { max_model_calls = 3 })
      assert.equal(4, ended_by({ max_total_tokens = 40 }, { input_tokens = 10 }))
      assert.equal(3, ended_by { max_tool_calls = 2 })
      assert.equal(3, ended_by { max_wall_ms = 250 }) -- the third call is cut off
    end)

    it("of time ends tools, too, and starts none", function()
      local h = define({ { tool_calls = { call("slow", { ms = 1000 }), call("slow", { ms = 1000 }) } } },
        { definition = { defaults = { max_parallel_tool_calls = 1 } } })
      local _, err, events = run(h, { budget = { max_wall_ms = 100 } })
      assert.equal("max_wall_ms", err.meta.reason)
      assert.same({ 1, 1 }, { #of(events, "tool.started"), #of(events, "tool.finished") })
      assert.equal("OPERATION_TIMEOUT", of(events, "tool.finished")[1].error.code)
    end)

    it("of time yields to the run's own timeout, and to its cancellation", function()
      local h = define(endless(), { agent = { max_steps = 50 } })
      local _, err = run(h, { budget = { max_wall_ms = 250 }, timeout_ms = 150 })
      assert.same({ "OPERATION_TIMEOUT", "run" }, { err.code, err.meta.scope })
      local stream = h:session().agents.helper:stream("go", { budget = { max_wall_ms = 250 } })
      clock.advance(10)
      stream:cancel()
      task.settle()
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    end)

    it("of time that is not used up: nothing happens", function()
      for _, ms in ipairs { 1000, 1e300, math.huge, 100.5 } do
        local h = define { { delay_ms = 100, text = "in time" } }
        assert.equal("in time", (run(h, { budget = { max_wall_ms = ms } })))
      end
    end)
  end)
end)
