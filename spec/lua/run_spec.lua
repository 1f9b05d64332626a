local clock = require "spec.support.clock"
local failure = require("spec.support.failure").any
local harness = require "harness"
local json = require "harness.json"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"

local drain, types, of = scripted.drain, scripted.types, scripted.of

local function call(name, arguments, id) return { name = name, arguments = arguments or {}, id = id } end

describe("a run", function()
  still(before_each, after_each)

  -- Runs fn beside the spec while ms go by.
  local function during(ms, fn, ...)
    local t = harness.spawn(fn, ...)
    clock.advance(ms)
    return t:await()
  end

  describe("events", function()
    it("come in order, numbered without a gap, with one tool round (A 4.2)", function()
      local h = scripted.harness { { tool_calls = { call("echo", { text = "x" }) } }, { text = "done" } }
      local session = h:session "s"
      local events = drain(session.agents.helper:stream "go")
      assert.equal("run.started agent.started model.started model.completed tool.started tool.finished model.started "
        .. "model.delta model.completed agent.finished run.finished", types(events))
      for i, event in ipairs(events) do
        assert.equal(i, event.seq)
        assert.equal(1, event.attempt)
        assert.equal(events[1].run_id, event.run_id)
        assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", event.at)
        if event.type:find "^model" or event.type:find "^tool" then
          assert.equal(events[2].invocation_id, event.invocation_id)
        end
      end
      local last = events[#events]
      assert.same({ "succeeded", "done" }, { last.status, last.output })
      h:shutdown()
    end)

    it("arrive as the model speaks (D3)", function()
      local h = scripted.harness { { chunks = { "a", "b", "c" }, chunk_delay_ms = 10 } }
      local stream, deltas = h:session().agents.helper:stream "go", {}
      local t = harness.spawn(function()
        for event in stream do
          if event.type == "model.delta" then deltas[#deltas + 1] = event.delta end
        end
      end)
      task.settle()
      assert.same({ "a" }, deltas)
      clock.advance(10)
      assert.same({ "a", "b" }, deltas)
      clock.advance(10)
      t:await()
      assert.equal("abc", stream:result())
      h:shutdown()
    end)

    it("are stored without content, and with it when asked for (A 4.4)", function()
      for _, keep in ipairs { false, true } do
        local h = scripted.harness({ { tool_calls = { call("echo", { text = "private" }) } },
          { text = "secret text" } },
          { definition = { telemetry = { store_content = keep } } })
        local session = h:session "s"
        session.agents.helper:run "go"
        local run = session:runs()[1]
        local stored = session:events(run.id)
        local text = json.encode(stored)
        assert.equal(keep, text:find("secret text", 1, true) ~= nil)
        assert.equal(keep, text:find("private", 1, true) ~= nil)
        assert.equal(0, #of(stored, "model.delta"))
        for _, event in ipairs(stored) do
          assert.is_nil(event.payload.run_id or event.payload.at or event.payload.type)
        end
        assert.equal("run.finished", stored[#stored].type)
        h:shutdown()
      end
    end)

    it("reach several readers, each with its own position and events", function()
      local h = scripted.harness { { chunks = { "a", "b" }, chunk_delay_ms = 5 } }
      local session = h:session()
      local first = session.agents.helper:stream "go"
      local second = session:follow(first.run_id)
      clock.advance(5)
      local a = drain(first)
      for _, event in ipairs(a) do event.type = "changed" end
      local b = drain(second)
      assert.equal("run.started agent.started model.started model.delta model.delta model.completed agent.finished "
        .. "run.finished", types(b))
      h:shutdown()
    end)

    it("are followed from storage and then live, without a gap or a repeat", function()
      local h = scripted.harness {
        { tool_calls = { call("slow", { ms = 20 }) } }, { tool_calls = { call("slow", { ms = 20 }) } },
          { text = "end" },
      }
      local session = h:session()
      local stream = session.agents.helper:stream "go"
      clock.advance(25)
      local late = session:follow(stream.run_id, { from_seq = 3 })
      clock.advance(20)
      local all, followed = drain(stream), drain(late)
      local want, got = {}, {}
      for _, event in ipairs(all) do
        if event.seq >= 3 then want[#want + 1] = event.seq .. event.type end
      end
      for _, event in ipairs(followed) do got[#got + 1] = event.seq .. event.type end
      assert.same(want, got)
      local again = drain(session:follow(stream.run_id))
      assert.equal("run.finished", again[#again].type)
      assert.equal("end", session:follow(stream.run_id):result())
      h:shutdown()
    end)

    it("raises the run's error after the last event, each time the loop is entered", function()
      local h = scripted.harness { { error = { status = 400, message = "bad" } } }
      local session = h:session()
      local stream = session.agents.helper:stream "go"
      local events, err = drain(stream)
      assert.equal("run.finished", events[#events].type)
      assert.equal("MODEL_ERROR", err.code)
      assert.is_true(rawequal(err, select(2, drain(stream))))
      assert.is_true(rawequal(err, failure(stream.result, stream)))
      local _, again = drain(session:follow(stream.run_id))
      assert.equal("MODEL_ERROR", again.code)
      h:shutdown()
    end)

    it("do not hold the run up when nobody reads them, and no text is lost", function()
      local chunks = {}
      for i = 1, 5000 do chunks[i] = i .. " " end
      local h = scripted.harness { { chunks = chunks } }
      local stream = h:session().agents.helper:stream "go"
      assert.equal(table.concat(chunks), stream:result())
      local text, merged = {}, 0
      for event in stream do
        if event.type == "model.delta" then
          text[#text + 1] = event.delta
          merged = merged + (event.merged or 1)
        end
        assert.not_equal("stream.overflow", event.type)
      end
      assert.equal(table.concat(chunks), table.concat(text))
      assert.equal(5000, merged)
      h:shutdown()
    end)

    it("go on when the reader leaves early, and the loop may be entered again", function()
      local h = scripted.harness { { tool_calls = { call("slow", { ms = 10 }) } }, { text = "end" } }
      local stream = h:session().agents.helper:stream "go"
      local seen = {}
      for event in stream do
        seen[#seen + 1] = event.type
        if event.type == "tool.started" then break end
      end
      clock.advance(10)
      for event in stream do seen[#seen + 1] = event.type end
      assert.equal("run.finished", seen[#seen])
      assert.equal("end", stream:result())
      h:shutdown()
    end)

    it("stop at close, and the run goes on", function()
      local h = scripted.harness { { delay_ms = 10, text = "end" } }
      local session = h:session()
      local stream = session.agents.helper:stream "go"
      stream:close()
      clock.advance(10)
      assert.equal("end", stream:result())
      assert.equal("succeeded", session:runs()[1].status)
      h:shutdown()
    end)
  end)

  describe("history", function()
    it("keeps the whole turn, strings as they are (D1, D2)", function()
      local h, model = scripted.harness {
        { tool_calls = { call("echo", { text = "42" }, "c1") } }, { text = "It is 42." }, { text = "Bye." },
      }
      local session = h:session "s"
      session.agents.helper:run "How much?"
      local list = session.history:list()
      local got = {}
      for i, m in ipairs(list) do got[i] = { m.role, m.content } end
      assert.same({ { "user", "How much?" }, { "assistant", "" }, { "tool", "42" }, { "assistant", "It is 42." } }, got)
      assert.equal("c1", list[3].tool_call_id)
      assert.equal("echo", list[2].tool_calls[1].name)
      for _, m in ipairs(list) do assert.same({ "s", session:runs()[1].id }, { m.session_id, m.run_id }) end
      session.agents.helper:run "And now?"
      local sent = model.requests[3].messages
      assert.equal("system user assistant tool assistant user", (function()
        local roles = {}
        for i, m in ipairs(sent) do roles[i] = m.role end
        return table.concat(roles, " ")
      end)())
      h:shutdown()
    end)

    it("is left as it was by a run that fails or is cancelled (D1)", function()
      local h = scripted.harness {
        { text = "one" }, { tool_calls = { call "echo" } }, { error = { status = 400 } }, { delay_ms = 1000,
          text = "x" },
      }
      local session = h:session()
      session.agents.helper:run "1"
      failure(session.agents.helper.run, session.agents.helper, "2")
      assert.equal(2, #session.history:list())
      local stream = session.agents.helper:stream "3"
      task.settle()
      stream:cancel()
      failure(stream.result, stream)
      assert.equal(2, #session.history:list())
      h:shutdown()
    end)

    it("takes a window, by the run, the agent or the defaults (D8)", function()
      local h, model = scripted.harness(function() return { text = "a" } end, { agent = { history_window = 2 } })
      local session = h:session()
      for i = 1, 3 do session.agents.helper:run("q" .. i) end
      assert.equal(1 + 2 + 1, #model.requests[3].messages)
      session.agents.helper:run("q4", { history_window = 0 })
      assert.equal(2, #model.requests[4].messages)
      h:shutdown()
    end)

    it("can be cleared and replaced, but not during a run", function()
      local h = scripted.harness { { text = "one" }, { delay_ms = 10, text = "two" } }
      local session = h:session()
      session.agents.helper:run "1"
      session.history:replace { { role = "user", content = "u" }, { role = "assistant", content = "a" } }
      local list = session.history:list()
      assert.same({ "u", "a" }, { list[1].content, list[2].content })
      assert.not_equal(list[1].id, list[2].id)
      local stream = session.agents.helper:stream "2"
      assert.equal("history_clear_during_run", failure(session.history.clear, session.history).meta.reason)
      assert.equal("history_replace_during_run", failure(session.history.replace, session.history, {}).meta.reason)
      clock.advance(10)
      stream:result()
      session.history:clear()
      assert.same({}, session.history:list())
      assert.equal("VALIDATION_ERROR", failure(session.history.replace, session.history, { { role = "x" } }).code)
      h:shutdown()
    end)

    it("never sends a call without its result (D15)", function()
      local h, model = scripted.harness { { text = "ok" } }
      local session = h:session()
      session.history:replace {
        { role = "user", content = "u" },
        { role = "assistant", content = "", tool_calls = { { id = "c", name = "echo", arguments = {} } } },
      }
      session.agents.helper:run "next"
      local sent = model.requests[1].messages
      assert.equal("tool", sent[4].role)
      assert.equal("c", sent[4].tool_call_id)
      assert.equal("user", session.history:list()[3].role) -- the log itself is not rewritten
      h:shutdown()
    end)
  end)

  describe("tools", function()
    it("run side by side up to the limit, results in the order of the calls (PAR-8)", function()
      local active, most = 0, 0
      local tools = scripted.tools()
      tools.slow.run = function(_, input)
        active = active + 1
        most = math.max(most, active)
        harness.sleep(input.ms)
        active = active - 1
        return tostring(input.ms)
      end
      local h, model = scripted.harness({
        { tool_calls = { call("slow", { ms = 30 }), call("slow", { ms = 10 }), call("slow", { ms = 20 }) } },
          { text = "ok" },
      }, { tools = tools, definition = { defaults = { max_parallel_tool_calls = 2 } } })
      during(60, function() h:session().agents.helper:run "go" end)
      assert.equal(2, most)
      local sent = model.requests[2].messages
      assert.same({ "30", "10", "20" }, { sent[4].content, sent[5].content, sent[6].content })
      h:shutdown()
    end)

    it("turn every failure into a result that the model sees", function()
      local cases = {
        { call("fails"), "TOOL_ERROR" },
        { call("nope"), "TOOL_NOT_FOUND" },
        { call("echo", { text = 7 }), "VALIDATION_ERROR" },
        { { name = "echo", arguments = {}, invalid_arguments = '{"text": "x' }, "VALIDATION_ERROR" },
      }
      for _, case in ipairs(cases) do
        local h, model = scripted.harness { { tool_calls = { case[1] } }, { text = "ok" } }
        local events = drain(h:session().agents.helper:stream "go")
        local finished = of(events, "tool.finished")
        assert.equal(1, #of(events, "tool.started"))
        assert.equal(1, #finished)
        assert.equal(case[2], finished[1].error.code)
        local sent = model.requests[2].messages
        assert.equal(case[2], json.decode(sent[#sent].content).code)
        h:shutdown()
      end
    end)

    it("say where a bad input or output was found (D11)", function()
      local tools = {
        bad = {
          description = "x", input = harness.schema.object {},
            output = harness.schema.object { n = harness.schema.integer() },
          run = function() return { n = "seven" } end,
        },
        needs = { description = "x", input = harness.schema.object { n = harness.schema.integer() }, run = print },
      }
      local h = scripted.harness({ { tool_calls = { call "bad", call "needs" } }, { text = "ok" } }, { tools = tools })
      local finished = of(drain(h:session().agents.helper:stream "go"), "tool.finished")
      local where = {}
      for _, event in ipairs(finished) do where[event.tool_id] = event.error.meta.where end
      assert.same({ bad = "tool_output", needs = "tool_input" }, where)
      h:shutdown()
    end)

    it("end at their own timeout, and the run goes on", function()
      local tools = scripted.tools()
      tools.slow.timeout_ms = 5
      tools.stubborn.timeout_ms = 5
      local h = scripted.harness({
        { tool_calls = { call("slow", { ms = 1000 }), call "stubborn" } }, { text = "went on" },
      }, { tools = tools })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(5 + 1000)
      local events = drain(stream)
      assert.equal("went on", stream:result())
      local by_tool = {}
      for _, event in ipairs(of(events, "tool.finished")) do by_tool[event.tool_id] = event.error end
      assert.equal("OPERATION_TIMEOUT", by_tool.slow.code)
      assert.same({ "tool", 5, "settled" },
        { by_tool.slow.meta.scope, by_tool.slow.meta.timeout_ms, by_tool.slow.meta.settlement })
      assert.equal("unsettled", by_tool.stubborn.meta.settlement)
      h:shutdown()
    end)

    it("are always paired when the run is cancelled, and none is started then (D5, D6)", function()
      local h = scripted.harness({
        { tool_calls = { call("slow", { ms = 1000 }, "a"), call("stubborn", {}, "b"), call("slow",
          { ms = 1000 }, "c") } },
      }, { definition = { defaults = { max_parallel_tool_calls = 2 } } })
      local stream = h:session().agents.helper:stream "go"
      task.settle()
      stream:cancel "enough"
      clock.advance(1000)
      local events, err = drain(stream)
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.equal(2, #of(events, "tool.started"))
      local settlement = {}
      for _, event in ipairs(of(events, "tool.finished")) do
        assert.equal("OPERATION_CANCELLED", event.error.code)
        settlement[event.call_id] = event.error.meta.settlement
      end
      assert.same({ a = "settled", b = "unsettled" }, settlement)
      assert.equal("cancelled", events[#events].status)
      h:shutdown()
    end)

    it("end the run when one raises a cancellation itself (A 5.4)", function()
      local tools = scripted.tools()
      tools.fails.run = function() harness.error("OPERATION_CANCELLED", "the user said no", { scope = "tool" }) end
      local h = scripted.harness({ { tool_calls = { call("slow", { ms = 1000 }), call "fails" } } }, { tools = tools })
      local session = h:session()
      local stream = session.agents.helper:stream "go"
      clock.advance(10)
      local events, err = drain(stream)
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.equal("the user said no", err.message)
      assert.equal(#of(events, "tool.started"), #of(events, "tool.finished"))
      assert.equal("cancelled", session:runs()[1].status)
      h:shutdown()
    end)

    it("get a context with what they need", function()
      local ctx, seen
      local tools = { look = { description = "x", input = harness.schema.object {}, run = function(c)
        ctx = c
        seen = { c.run_id, c.session_id, c.agent_id, c.tool_id, c.call_id, c.metadata.user, c.signal.aborted }
        c.logger:info "hello"
        c.metrics:counter("mine", 1)
        assert.is_nil(c:abort_reason())
        return "ok"
      end } }
      local h = scripted.harness({ { tool_calls = { call("look", {}, "c9") } }, { text = "ok" } }, { tools = tools })
      local session = h:session "s"
      session.agents.helper:run("go", { metadata = { user = "u1" } })
      assert.same({ session:runs()[1].id, "s", "helper", "look", "c9", "u1", false }, seen)
      assert.is_false(ctx.signal.aborted) -- readable after the call has ended
      h:shutdown()
    end)

    it("have long results cut to head and tail, with a notice", function()
      local tools = { big = { description = "x", input = harness.schema.object {}, max_result_bytes = 100,
        run = function() return ("é"):rep(200) end } }
      local h, model = scripted.harness({ { tool_calls = { call "big" } }, { text = "ok" } }, { tools = tools })
      h:session().agents.helper:run "go"
      local content = model.requests[2].messages[4].content
      assert.matches("bytes of 400 were cut here", content)
      assert.is_truthy(utf8.len(content))
      assert.is_true(#content < 200)
      h:shutdown()
    end)
  end)

  describe("its end", function()
    it("is a timeout of the run whatever the code threw (A 5.4)", function()
      for _, tool in ipairs { "slow", "stubborn" } do
        local h = scripted.harness { { tool_calls = { call(tool, { ms = 100000 }) } } }
        local session = h:session()
        local stream = session.agents.helper:stream("go", { timeout_ms = 50 })
        clock.advance(50 + 1000)
        local events, err = drain(stream)
        assert.equal("OPERATION_TIMEOUT", err.code)
        assert.same({ "run", 50 }, { err.meta.scope, err.meta.timeout_ms })
        assert.equal("failed", events[#events].status)
        assert.equal(1, #of(events, "run.finished"))
        h:shutdown()
      end
    end)

    it("is a model timeout when the model takes too long", function()
      local h = scripted.harness({ { delay_ms = 100000, text = "x" } },
        { definition = { defaults = { model_timeout_ms = 70000 } } })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(70000)
      local _, err = drain(stream)
      assert.same({ "OPERATION_TIMEOUT", "model" }, { err.code, err.meta.scope })
      h:shutdown()
    end)

    it("is made all the same when code that is not ours refuses to stop", function()
      local provider = { id = "rude", capabilities = { "text", "text_stream", "tool_use" },
        generate = function() while true do pcall(harness.sleep, 10) end end }
      local h = scripted.harness({}, { definition = { models = { fast = { provider = provider, model = "m" } } } })
      local session = h:session()
      local stream = session.agents.helper:stream "go"
      task.settle()
      stream:cancel()
      clock.advance(3000)
      local events, err = drain(stream)
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.equal(1, #of(events, "run.finished"))
      assert.equal("cancelled", session:runs()[1].status)
      h:shutdown()
    end)

    it("keeps the identity of an error that user code raised", function()
      local mine = setmetatable({ message = "mine" }, { __tostring = function() return "mine" end })
      local h = scripted.harness({}, { agent = { instructions = function() error(mine) end } })
      local session = h:session()
      assert.is_true(rawequal(mine, failure(session.agents.helper.run, session.agents.helper, "go")))
      local record = session:runs()[1]
      assert.same({ "failed", "INTERNAL_ERROR", "mine" }, { record.status, record.error.code, record.error.message })
      h:shutdown()
    end)

    -- The record stayed "running": its error was no JSON.
    it("is stored also when the error is not UTF-8", function()
      local h = scripted.harness({ { text = "x" } }, { definition = { workflows = { flow = {
        run = function() error("bad \xff", 0) end,
      } } } })
      local session = h:session "s"
      local _, err = pcall(session.workflows.flow.run, session.workflows.flow)
      assert.equal("bad \xff", err)
      local record = session:runs()[1]
      assert.same({ "failed", "bad \u{fffd}" }, { record.status, record.error.message })
    end)

    it("is one end even when storage fails at the commit", function()
      local storage = harness.storage.memory()
      local broken = setmetatable({}, { __index = function(_, key)
        local method = storage[key]
        if key == "finish_run" then
          return function(_, id, patch)
            if patch.status == "succeeded" then harness.error("STATE_ERROR", "disk full", { op = "finish_run" }) end
            return storage:finish_run(id, patch)
          end
        end
        if type(method) ~= "function" then return method end
        return function(_, ...) return method(storage, ...) end
      end })
      local h = scripted.harness({ { text = "ok" } }, { definition = { storage = broken } })
      local session = h:session()
      local events, err = drain(session.agents.helper:stream "go")
      assert.equal("STATE_ERROR", err.code)
      assert.equal(1, #of(events, "run.finished"))
      assert.equal("failed", events[#events].status)
      for i, event in ipairs(events) do assert.equal(i, event.seq) end
      assert.same({}, session.history:list())
      h:shutdown()
    end)

    it("counts runs in the session record, whatever their outcome", function()
      local h = scripted.harness { { text = "1" }, { error = { status = 400 } } }
      local session = h:session "s"
      session.agents.helper:run "a"
      failure(session.agents.helper.run, session.agents.helper, "b")
      assert.equal(2, h.storage:get_session("s").run_count)
      h:shutdown()
    end)

    it("frees the session for the next run", function()
      local h = scripted.harness { { text = "1" }, { text = "2" } }
      local session = h:session()
      local stream = session.agents.helper:stream "a"
      assert.same({ "SESSION_BUSY", "concurrent_run" }, (function()
        local err = failure(session.agents.helper.run, session.agents.helper, "b")
        return { err.code, err.meta.reason }
      end)())
      for event in stream do
        if event.type == "run.finished" then assert.equal("2", session.agents.helper:run "b") end
      end
      h:shutdown()
    end)
  end)

  describe("options", function()
    it("are checked before anything is created (A 3.4)", function()
      local h = scripted.harness { { text = "x" } }
      local session = h:session()
      local cases = {
        { { timeout_ms = -1 }, "VALIDATION_ERROR", "timeout_ms" }, { { history_window = 1.5 },
          "VALIDATION_ERROR", "history_window" },
        { { timeout = 5 }, "VALIDATION_ERROR", "timeout" }, { { durable = { run_id = "x" } },
          "VALIDATION_ERROR", "durable" },
        { { signal = "x" }, "VALIDATION_ERROR", "signal" }, { { metadata = { f = print } }, "VALIDATION_ERROR",
          "metadata" },
        { "x", "VALIDATION_ERROR" },
      }
      for _, case in ipairs(cases) do
        for _, method in ipairs { "run", "stream" } do
          local err = failure(session.agents.helper[method], session.agents.helper, "go", case[1])
          assert.equal(case[2], err.code)
          if case[3] then assert.is_truthy(err.meta.issues[case[3]]) end
        end
      end
      assert.same({}, session:runs())
      h:shutdown()
    end)

    it("do not start a run whose signal is aborted already", function()
      local h = scripted.harness { { text = "x" } }
      local session = h:session()
      harness.spawn(function() -- on a stack of its own, so that nothing keeps the controller alive
        local c = harness.abort_controller()
        c:abort "no"
        local err = failure(session.agents.helper.run, session.agents.helper, "go", { signal = c.signal })
        assert.same({ "OPERATION_CANCELLED", "run", "no" }, { err.code, err.meta.scope, err.cause })
      end):await()
      assert.same({}, session:runs())
      h:shutdown()
    end)

    it("stop the run by a signal, whose reason becomes the cause", function()
      local h = scripted.harness { { delay_ms = 10000, text = "x" } }
      local session = h:session()
      local c = harness.abort_controller()
      local stream = session.agents.helper:stream("go", { signal = c.signal })
      task.settle()
      c:abort "user left"
      local _, err = drain(stream)
      assert.same({ "OPERATION_CANCELLED", "run", "user left" }, { err.code, err.meta.scope, err.cause })
      c = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      h:shutdown()
    end)

    it("limit a run by its budget", function()
      local h = scripted.harness(function() return { tool_calls = { call("echo", { text = "x" }) } } end)
      local session = h:session()
      local err = failure(session.agents.helper.run, session.agents.helper, "go", { budget = { max_model_calls = 3 } })
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_model_calls", "helper" }, { err.code, err.meta.reason,
        err.meta.agent_id })
      h:shutdown()
    end)
  end)

  describe("the model", function()
    it("is asked again after what may pass, and events tell", function()
      local h = scripted.harness {
        { error = { status = 429, retry_after_ms = 200 } }, { error = { status = 503 } }, { text = "at last" },
      }
      local stream = h:session().agents.helper:stream "go"
      clock.advance(30000)
      local events = drain(stream)
      assert.equal("at last", stream:result())
      local retries = of(events, "model.retry")
      assert.equal(2, #retries)
      assert.same({ 1, 200, "MODEL_ERROR" }, { retries[1].attempt, retries[1].delay_ms, retries[1].error.code })
      assert.equal(1, #of(events, "model.started"))
      h:shutdown()
    end)

    it("is not asked again after what will not pass, nor after three attempts", function()
      for _, case in ipairs { { 400, 1 }, { 401, 1 }, { 500, 3 } } do
        local h, model = scripted.harness(function() return { error = { status = case[1] } } end)
        local stream = h:session().agents.helper:stream "go"
        clock.advance(60000)
        local events = drain(stream)
        assert.equal(case[2], #model.requests)
        assert.equal(1, #of(events, "model.failed"))
        h:shutdown()
      end
    end)

    it("gives way to its fallback", function()
      local down = harness.providers.scripted(function() return { error = { status = 400 } } end)
      local up = harness.providers.scripted { { text = "from the other" } }
      local h = scripted.harness({}, { definition = { models = {
        fast = { provider = down, model = "a", fallback = { "other" } }, other = { provider = up, model = "b" },
      } } })
      local events = drain(h:session().agents.helper:stream "go")
      assert.equal("from the other", events[#events].output)
      assert.same({ "fast", "other" }, { of(events, "model.started")[1].alias, of(events, "model.started")[2].alias })
      h:shutdown()
    end)

    it("is shown why its structured output does not fit, once", function()
      local s = harness.schema
      local h, model = scripted.harness({ { object = { n = "x" } }, { object = { n = 7 } } },
        { agent = { output = s.object { n = s.integer() } } })
      local session = h:session()
      local events = drain(session.agents.helper:stream "go")
      assert.same({ n = 7 }, events[#events].output)
      assert.equal(1, #of(events, "model.object"))
      local sent = model.requests[2].messages
      assert.matches("does not fit", sent[#sent].content)
      assert.equal(2, #session.history:list()) -- the repair is no part of the conversation
      assert.equal('{"n":7}', session.history:list()[2].content)
      h:shutdown()
    end)

    it("ends the run when the repair does not help", function()
      local s = harness.schema
      local h = scripted.harness(function() return { text = "no json" } end,
        { agent = { output = s.object { n = s.integer() } } })
      local session = h:session()
      local err = failure(session.agents.helper.run, session.agents.helper, "go")
      assert.same({ "VALIDATION_ERROR", "agent_output" }, { err.code, err.meta.where })
      h:shutdown()
    end)

    it("is made to call a tool for the output when it has no structured output", function()
      local s = harness.schema
      local h, model = scripted.harness({ { tool_calls = { call("final_output", { n = 7 }) } } }, {
        tools = {}, agent = { output = s.object { n = s.integer() } },
        definition = { models = { fast = { model = "m", capabilities = { "text", "tool_use" },
          provider = harness.providers.scripted { { tool_calls = { call("final_output", { n = 7 }) } } } } } },
      })
      assert.same({ n = 7 }, h:session().agents.helper:run "go")
      assert.equal(0, #model.requests)
      h:shutdown()
    end)
  end)
end)
