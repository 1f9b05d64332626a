--- lua/harness/session.lua: opening, closing, what belongs to a session. Rule names: reference A 3.

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").structured
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"
local wrapped = require "spec.support.wrapped_storage"

local drain, of = scripted.drain, scripted.of

local function call(name, arguments, id) return { name = name, arguments = arguments or {}, id = id } end

local function reason_of(fn, ...)
  local err = failure(fn, ...)
  return { err.code, err.meta.reason }
end

local CLOSED <const> = { "SESSION_NOT_FOUND", "closed" }

describe("a session", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = scripted.harness(turns or {}, over)
    opened[#opened + 1] = h
    return h, model
  end

  local function with_storage(storage, turns, over)
    over = over or {}
    over.definition = over.definition or {}
    over.definition.storage = storage
    return define(turns, over)
  end

  -- Runs fn beside the spec while ms go by.
  local function during(ms, fn, ...)
    local t = harness.spawn(fn, ...)
    clock.advance(ms)
    return t:await()
  end

  -- Spawns fn; its failure is asked for later, and no failure of the spec.
  local function spawn(fn, ...)
    local args = table.pack(...)
    return harness.spawn(function() return pcall(fn, table.unpack(args, 1, args.n)) end)
  end

  describe("being opened", function()
    it("once, by 50 callers at the same time (A 12)", function()
      local storage = wrapped.new(function() harness.sleep(5) end)
      local h = with_storage(storage)
      local fns = {}
      for i = 1, 50 do fns[i] = function() return h:session "x" end end
      local sessions = during(100, harness.all, fns)
      assert.equal(1, storage.calls.get_session)
      assert.equal(1, storage.calls.upsert_session)
      for i = 2, 50 do
        assert.equal("x", sessions[i].id)
        assert.is_false(rawequal(sessions[1], sessions[i])) -- a facade for each, of one session
      end
      storage.hook = nil
      local stream = spawn(function() sessions[1].history:clear() end)
      stream:await()
    end)

    it("fails for all that wait for it, and is tried again (A 13)", function()
      local storage = wrapped.new(function(method)
        harness.sleep(5)
        if method == "get_session" then harness.error("STATE_ERROR", "no disk", { op = "get_session" }) end
      end)
      local h = with_storage(storage)
      local waiting = {}
      for i = 1, 10 do waiting[i] = spawn(h.session, h, "x") end
      clock.advance(5)
      local first
      for _, t in ipairs(waiting) do
        local ok, err = t:await()
        assert.is_false(ok)
        first = first or err
        assert.is_true(rawequal(first, err))
      end
      assert.equal("STATE_ERROR", first.code)
      assert.equal(1, storage.calls.get_session)
      storage.hook = nil
      assert.equal("x", h:session("x").id)
    end)

    it("does not fail for others because who began it was cancelled", function()
      local storage = wrapped.new(function() harness.sleep(5) end)
      local h = with_storage(storage)
      local first = spawn(h.session, h, "x")
      local second, third = spawn(h.session, h, "x"), spawn(h.session, h, "x")
      clock.advance(2)
      first:cancel()
      clock.advance(100)
      assert.equal("OPERATION_CANCELLED", select(2, first:await()).code)
      for _, t in ipairs { second, third } do
        local ok, session = t:await()
        assert.is_true(ok, tostring(session))
        assert.equal("x", session.id)
      end
    end)

    it("does not hang for others when who began it had to be ended by force", function()
      local storage = wrapped.new()
      local h = with_storage(storage)
      storage.hook = function() while true do pcall(harness.sleep, 10) end end
      local first = harness.spawn(h.session, h, "x")
      local second = spawn(h.session, h, "x")
      clock.advance(1)
      storage.hook = nil
      first:cancel()
      clock.advance(task.CANCEL_GRACE_MS)
      pcall(first.await, first)
      clock.advance(100)
      assert.is_true(second:done())
      assert.equal("x", select(2, second:await()).id)
    end)

    it("makes a record with one time (A 14), and a new id where none is given", function()
      local h = define()
      local session = h:session()
      assert.matches("^[0-9A-Z]+$", session.id)
      assert.equal(26, #session.id)
      assert.not_equal(session.id, h:session().id)
      local record = h.storage:get_session(session.id)
      assert.equal(record.created_at, record.updated_at)
      assert.same({ 0, "spec" }, { record.run_count, record.harness })
      assert.equal("harness.Session " .. session.id, tostring(session))
    end)

    it("takes an id of 1 to 1,024 bytes of UTF-8 without NUL, and nothing else", function()
      local h = define()
      for _, id in ipairs { "x", ("é"):rep(512), "a/b c\n\t\"'", "🚀" } do
        assert.equal(id, h:session(id).id)
      end
      for _, id in ipairs { "", ("x"):rep(1025), "a\0b", "\xff", "\xED\xA0\x80", 7, true, {} } do
        local err = failure(h.session, h, id)
        assert.same({ "VALIDATION_ERROR", "session_id" }, { err.code, err.meta.where })
      end
    end)

    it("leaves nothing behind once it is let go of", function()
      local h = define()
      for i = 1, 500 do h:session("s" .. i) end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(h.sessions))
    end)

    it("finds what another harness on the same storage has stored", function()
      local storage = harness.storage.memory()
      local a = with_storage(storage, { { text = "one" }, { text = "three" } })
      local b, model = with_storage(storage, { { text = "two" } })
      local in_a, in_b = a:session "s", b:session "s"
      in_a.agents.helper:run "1"
      assert.equal("two", in_b.agents.helper:run "2")
      assert.equal("one", model.requests[1].messages[3].content)
      in_a.agents.helper:run "3" -- does not go by what it remembers from before
      local said = {}
      for i, message in ipairs(in_a.history:list()) do said[i] = message.content end
      assert.same({ "1", "one", "2", "two", "3", "three" }, said)
      assert.same(said, (function()
        local list = {}
        for i, message in ipairs(in_b.history:list()) do list[i] = message.content end
        return list
      end)())
      assert.equal(3, #in_b:runs())
      assert.equal(3, storage:get_session("s").run_count)
    end)
  end)

  describe("being closed", function()
    it("refuses every call, on all of its facades", function()
      local h = define { { text = "hi" } }
      local session, other = h:session "s", h:session "s"
      session.agents.helper:run "go"
      local run_id = session:runs()[1].id
      session:close()
      session:close() -- harmless
      local calls = {
        function(s) s.agents.helper:run "x" end, function(s) s.agents.helper:stream "x" end,
        function(s) s.history:list() end, function(s) s.history:clear() end,
        function(s) s.history:replace {} end, function(s) s:runs() end, function(s) s:events(run_id) end,
        function(s) s:run_summary(run_id) end, function(s) s:follow(run_id) end, function(s) s:delete() end,
      }
      for _, facade in ipairs { session, other } do
        assert.equal("s", facade.id)
        for i, fn in ipairs(calls) do assert.same(CLOSED, reason_of(fn, facade), "call " .. i) end
      end
    end)

    it("keeps the data, and can be opened again (D12)", function()
      local h = define { { text = "one" }, { text = "two" } }
      local session = h:session "s"
      session.agents.helper:run "1"
      session:close()
      local again = h:session "s"
      assert.equal(2, #again.history:list())
      again.agents.helper:run "2"
      assert.equal(2, #again:runs())
      assert.equal(2, h.storage:get_session("s").run_count)
    end)

    it("stops its run and waits for its end", function()
      local h = define { { tool_calls = { call("slow", { ms = 60000 }) } } }
      local session = h:session "s"
      local stream = session.agents.helper:stream "go"
      task.settle()
      session:close()
      local events, err = drain(stream)
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.matches("closed", err.message)
      assert.equal("run.finished", events[#events].type)
      local again = h:session "s"
      assert.equal("cancelled", again:runs()[1].status)
      assert.same({}, again.history:list())
    end)

    it("waits for a tool that does not stop, no longer than its grace", function()
      local h = define { { tool_calls = { call "stubborn" } } }
      local session = h:session "s"
      local stream = session.agents.helper:stream "go"
      task.settle()
      local closing = harness.spawn(session.close, session)
      clock.advance(900)
      assert.is_false(closing:done())
      clock.advance(2000)
      assert.is_true(closing:done())
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    end)

    it("gives its place to a new one only when its run has ended", function()
      local h = define { { tool_calls = { call "stubborn" } }, { text = "second" } }
      local session = h:session "s"
      session.agents.helper:stream "go"
      task.settle()
      local closing = harness.spawn(session.close, session)
      clock.advance(10)
      local opening = spawn(function() return h:session("s").agents.helper:run "again" end)
      clock.advance(10)
      assert.is_false(opening:done())
      clock.advance(3000)
      closing:await()
      local ok, output = opening:await()
      assert.is_true(ok, tostring(output))
      assert.equal("second", output)
      local statuses = {}
      for i, run in ipairs(h:session("s"):runs()) do statuses[i] = run.status end
      assert.same({ "succeeded", "cancelled" }, statuses)
    end)

    it("does so too when who closes it does not wait for the end", function()
      local h = define { { tool_calls = { call "stubborn" } }, { text = "second" } }
      local session = h:session "s"
      session.agents.helper:stream "go"
      task.settle()
      local closing = harness.spawn(session.close, session)
      clock.advance(10)
      closing:cancel() -- it stops waiting
      clock.advance(1)
      local opening = spawn(h.session, h, "s")
      clock.advance(10)
      assert.is_false(opening:done())
      clock.advance(3000)
      assert.is_true((opening:await()))
      pcall(closing.await, closing)
    end)

    it("happens at the end of a scope", function()
      local h = define { { text = "hi" } }
      local kept
      do
        local session <close> = h:session "s"
        session.agents.helper:run "go"
        kept = session
      end
      assert.same(CLOSED, reason_of(kept.runs, kept))
      local ok, err = pcall(function()
        local _ <close> = h:session "s"
        error("mine", 0)
      end)
      assert.same({ false, "mine" }, { ok, err })
    end)

    it("may be asked for by a tool of its own run", function()
      local session
      local tools = { leave = { description = "x", input = harness.schema.object {}, run = function()
        session:close()
        return "left"
      end } }
      local h = define({ { tool_calls = { call "leave" } } }, { tools = tools })
      session = h:session "s"
      local stream = session.agents.helper:stream "go"
      clock.advance(10)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
      assert.same(CLOSED, reason_of(session.runs, session))
      assert.equal("cancelled", h:session("s"):runs()[1].status)
    end)

    it("is possible where nothing can wait", function()
      local h = define { { delay_ms = 1000, text = "x" } }
      local session = h:session "s"
      local stream = session.agents.helper:stream "go"
      task.settle()
      table.sort({ 2, 1 }, function() session:close() end)
      assert.same(CLOSED, reason_of(session.runs, session))
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    end)
  end)

  describe("being deleted", function()
    it("goes with all its data, and nobody else's", function()
      local h = define(function() return { text = "hi" } end)
      local session, other = h:session "s", h:session "t"
      session.agents.helper:run "1"
      other.agents.helper:run "1"
      local run_id = session:runs()[1].id
      session:delete()
      assert.same(CLOSED, reason_of(session.delete, session))
      assert.same(CLOSED, reason_of(session.runs, session))
      assert.is_nil(h.storage:get_session "s")
      assert.is_nil(h.storage:get_run(run_id))
      assert.same({}, h.storage:list_events(run_id))
      local again = h:session "s"
      assert.same({}, again.history:list())
      assert.same({}, again:runs())
      assert.equal(2, #other.history:list())
    end)

    it("does not come back by a run that was in flight (D12)", function()
      local h = define { { tool_calls = { call "stubborn" } } }
      local session = h:session "s"
      session.agents.helper:stream "go"
      task.settle()
      during(3000, session.delete, session)
      clock.advance(3000)
      assert.is_nil(h.storage:get_session "s")
    end)

    it("does not come back when a tool of its own run asked for it", function()
      local session
      local tools = { leave = { description = "x", input = harness.schema.object {}, run = function()
        session:delete()
        return "left"
      end } }
      local h = define({ { tool_calls = { call "leave" } } }, { tools = tools })
      session = h:session "s"
      local stream = session.agents.helper:stream "go"
      clock.advance(5000)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
      assert.is_nil(h.storage:get_session "s")
      assert.equal(0, #h:session("s"):runs())
    end)
  end)

  describe("being busy", function()
    it("lets one of several runs through that begin in the same moment (A 15)", function()
      local h = define(function() return { delay_ms = 5, text = "ok" } end)
      local session = h:session "s"
      local other = h:session "s"
      local tries = {}
      for i = 1, 10 do
        local facade = i % 2 == 0 and session or other
        tries[i] = spawn(facade.agents.helper.run, facade.agents.helper, "go")
      end
      clock.advance(10)
      local won = 0
      for _, t in ipairs(tries) do
        local ok, err = t:await()
        if ok then won = won + 1 else
          assert.same({ "SESSION_BUSY", "concurrent_run", "s", true },
            { err.code, err.meta.reason, err.meta.session_id, err.retriable })
        end
      end
      assert.equal(1, won)
      assert.equal(1, #session:runs())
    end)

    it("is over when the run's record could not be made: no run, no event (A 16)", function()
      local storage = wrapped.new()
      local h = with_storage(storage, { { text = "second" } })
      local session = h:session "s"
      storage.hook = function(method)
        if method == "create_run" then harness.error("STATE_ERROR", "no disk", { op = "create_run" }) end
      end
      local stream = session.agents.helper:stream "go"
      local events, err = drain(stream)
      assert.same({}, events)
      assert.equal("STATE_ERROR", err.code)
      storage.hook = nil
      assert.equal("second", session.agents.helper:run "again")
      assert.equal(1, #session:runs())
      assert.equal(1, h.storage:get_session("s").run_count)
    end)

    it("holds while the history is changed", function()
      local storage = wrapped.new()
      local h = with_storage(storage, { { text = "ok" } })
      local session = h:session "s"
      storage.hook = function() harness.sleep(10) end
      local changed = { { role = "user", content = "x" } }
      local changing = harness.spawn(session.history.replace, session.history, changed)
      task.settle()
      local helper, history = session.agents.helper, session.history
      assert.same({ "SESSION_BUSY", "concurrent_run" }, reason_of(helper.run, helper, "go"))
      assert.same({ "SESSION_BUSY", "history_clear_during_run" }, reason_of(history.clear, history))
      clock.advance(10)
      changing:await()
      storage.hook = nil
      assert.equal("ok", session.agents.helper:run "go")
    end)

    it("is over when a change of the history fails, or is ended by force", function()
      local storage = wrapped.new()
      local h = with_storage(storage, { { text = "ok" } })
      local session = h:session "s"
      storage.hook = function() harness.error("STATE_ERROR", "no disk", { op = "clear_messages" }) end
      assert.equal("STATE_ERROR", failure(session.history.clear, session.history).code)
      storage.hook = function() while true do pcall(harness.sleep, 10) end end
      local changing = harness.spawn(session.history.clear, session.history)
      task.settle()
      changing:cancel()
      clock.advance(task.CANCEL_GRACE_MS)
      pcall(changing.await, changing)
      storage.hook = nil
      assert.equal("ok", session.agents.helper:run "go")
    end)

    it("is over when the end of the run cannot be stored; why the run failed is not hidden (A 44)", function()
      for _, turn in ipairs { { error = { status = 400 } }, { text = "ok" }, { delay_ms = 60000, text = "x" } } do
        local storage = wrapped.new()
        local h = with_storage(storage, { turn, { text = "second" } })
        local session = h:session "s"
        storage.hook = function(method)
          if method == "finish_run" then harness.error("STATE_ERROR", "no disk", { op = method }) end
        end
        local stream = session.agents.helper:stream "go"
        clock.advance(1)
        stream:cancel() -- the third one
        task.settle()
        local events, err = drain(stream)
        assert.equal(turn.error and "MODEL_ERROR" or turn.text == "ok" and "STATE_ERROR" or "OPERATION_CANCELLED",
          err.code)
        assert.equal(1, #of(events, "run.finished"))
        assert.equal(err.code, events[#events].error.code)
        for i, event in ipairs(events) do assert.equal(i, event.seq) end
        storage.hook = nil
        assert.equal("running", session:runs()[1].status) -- the storage knows no better
        assert.equal("second", session.agents.helper:run "again")
      end
    end)

    it("is over when a storage never answers, after a while", function()
      local storage = wrapped.new()
      local h = with_storage(storage, { { text = "ok" }, { text = "second" } })
      local session = h:session "s"
      storage.hook = function(method) if method == "finish_run" then harness.sleep(1 << 40) end end
      local stream = session.agents.helper:stream "go"
      clock.advance(120000)
      assert.equal("OPERATION_TIMEOUT", failure(stream.result, stream).code)
      storage.hook = nil
      assert.equal("second", session.agents.helper:run "again")
    end)

    it("is over for a run whose record is never made, when it is cancelled", function()
      local storage = wrapped.new()
      local h = with_storage(storage, { { text = "ok" } })
      local session = h:session "s"
      storage.hook = function() while true do pcall(harness.sleep, 10) end end
      local stream = session.agents.helper:stream "go"
      task.settle()
      stream:cancel()
      clock.advance(task.CANCEL_GRACE_MS)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
      storage.hook = nil
      assert.equal("ok", session.agents.helper:run "again")
    end)

    it("leaves reading alone", function()
      local h = define { { delay_ms = 10, text = "ok" } }
      local session = h:session "s"
      local stream = session.agents.helper:stream "go"
      task.settle()
      assert.same({}, session.history:list())
      assert.equal("running", session:runs()[1].status)
      assert.equal("running", session:run_summary(stream.run_id).status)
      assert.equal("run.started", session:events(stream.run_id)[1].type)
      assert.equal("s", h:session("s").id)
      clock.advance(10)
      stream:result()
    end)
  end)

  describe("its runs", function()
    it("are listed newest first, by page and by status", function()
      local h = define(function(_, n)
        return n % 2 == 0 and { error = { status = 400 } } or { text = "ok" }
      end)
      local session = h:session "s"
      for _ = 1, 5 do
        pcall(session.agents.helper.run, session.agents.helper, "go")
        clock.advance(1000)
      end
      local all = session:runs()
      assert.equal(5, #all)
      for i = 2, 5 do assert.is_true(all[i - 1].started_at > all[i].started_at) end
      local page = session:runs { limit = 2, before = all[2].id }
      assert.same({ all[3].id, all[4].id }, { page[1].id, page[2].id })
      assert.equal(2, #session:runs { status = "failed" })
      assert.same({}, session:runs { limit = 0 })
      local record = all[5]
      assert.same({ "agent", "helper", "spec", "go", "ok", 1 },
        { record.kind, record.target, record.harness, record.input, record.output, record.attempt })
      record.input = "changed"
      assert.equal("go", session:runs()[5].input) -- a copy
    end)

    it("are its own: those of other sessions are not to be had (D17)", function()
      local h = define(function() return { text = "secret" } end)
      local mine, other = h:session "mine", h:session "other"
      other.agents.helper:run "go"
      local id = other:runs()[1].id
      assert.same({}, mine:runs())
      assert.is_nil(mine:run_summary(id))
      assert.same({}, mine:events(id))
      local err = failure(mine.follow, mine, id)
      assert.same({ "VALIDATION_ERROR", "follow", id }, { err.code, err.meta.where, err.meta.run_id })
      local stream = other.agents.helper:stream "again"
      assert.equal("VALIDATION_ERROR", failure(mine.follow, mine, stream.run_id).code) -- in flight, too
      stream:result()
      for _, unknown in ipairs { "nope", "" } do
        assert.is_nil(mine:run_summary(unknown))
        assert.same({}, mine:events(unknown))
        assert.equal("VALIDATION_ERROR", failure(mine.follow, mine, unknown).code)
      end
    end)

    it("are summed up (A 24)", function()
      local h = define {
        { tool_calls = { call("echo", { text = "a" }), call "fails" },
          usage = { input_tokens = 10, output_tokens = 3 } },
        { error = { status = 503, retry_after_ms = 1 } },
        { text = "end", usage = { input_tokens = 20, output_tokens = 4 } },
      }
      local session = h:session "s"
      local stream = session.agents.helper:stream "go"
      clock.advance(10)
      stream:result()
      local summary = session:run_summary(stream.run_id)
      local record = session:runs()[1]
      assert.same({
        run_id = record.id, session_id = "s", kind = "agent", target = "helper", status = "succeeded",
        started_at = record.started_at, finished_at = record.finished_at,
        token_totals = { input_tokens = 30, output_tokens = 7, total_tokens = 37 },
        model_calls = 2, tool_calls = 2, agent_calls = 1,
      }, summary)
    end)

    it("are summed up with their error", function()
      local h = define { { error = { status = 400, message = "bad" } } }
      local session = h:session "s"
      pcall(session.agents.helper.run, session.agents.helper, "go")
      local summary = session:run_summary(session:runs()[1].id)
      assert.same({ "failed", "MODEL_ERROR", 0 }, { summary.status, summary.error.code, summary.model_calls })
    end)

    it("have events that are read by page", function()
      local h = define { { tool_calls = { call("echo", { text = "x" }) } }, { text = "end" } }
      local session = h:session "s"
      session.agents.helper:run "go"
      local id = session:runs()[1].id
      local all = session:events(id)
      local page = session:events(id, { after_seq = all[2].seq, limit = 2 })
      assert.same({ all[3].seq, all[4].seq }, { page[1].seq, page[2].seq })
      for _, event in ipairs(all) do
        assert.same({ id, true, true }, { event.run_id, #event.id == 26, type(event.payload) == "table" })
      end
    end)
  end)

  it("says which agents there are when there is none of a name", function()
    local h = define()
    local session = h:session()
    local err = failure(function() return session.agents.helpr end)
    assert.same({ "AGENT_NOT_FOUND", "helpr" }, { err.code, err.meta.agent_id })
    assert.equal('there is no agent "helpr"; did you mean "helper"?', err.message)
    err = failure(function() return session.workflows.reply end)
    assert.same({ "WORKFLOW_NOT_FOUND", "reply" }, { err.code, err.meta.workflow_id })
    assert.equal("AGENT_NOT_FOUND", failure(function() return session.agents[7] end).code)
  end)

  it("raises when it is called with a point instead of a colon, and hurts nothing", function()
    local h = define { { text = "ok" } }
    local session = h:session "s"
    assert.is_false(pcall(session.agents.helper.run, "go"))
    assert.equal("ok", session.agents.helper:run "go")
  end)

  it("may run another session's agent from a tool, which ends with it", function()
    local h, inner
    local tools = { ask = { description = "x", input = harness.schema.object {}, run = function()
      inner = h:session "inner"
      return inner.agents.helper:run "inner"
    end } }
    h = define(function(request)
      local last = request.messages[#request.messages]
      if last.content == "outer" then return { tool_calls = { call "ask" } } end
      if last.content == "inner" then return { delay_ms = 60000, text = "never" } end
      return { text = "done" }
    end, { tools = tools })
    local stream = h:session("outer").agents.helper:stream "outer"
    clock.advance(10)
    stream:cancel "enough"
    clock.advance(10)
    local events, err = drain(stream)
    assert.equal("OPERATION_CANCELLED", err.code)
    assert.equal("cancelled", inner:runs()[1].status)
    assert.equal(#of(events, "tool.started"), #of(events, "tool.finished"))
  end)
end)
