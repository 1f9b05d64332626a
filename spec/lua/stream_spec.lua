--- lua/harness/stream.lua: readers of a run's events. Rule names: reference A 4.3, design 03 "Relay".

local clock = require "spec.support.clock"
local core = require "harness.core"
local errors = require "harness.errors"
local failure = require("spec.support.failure").any
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"
local wrapped = require "spec.support.wrapped_storage"

local drain, of, types = scripted.drain, scripted.of, scripted.types

local function call(name, arguments, id) return { name = name, arguments = arguments or {}, id = id } end

describe("a stream", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = scripted.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  local function begin(turns, over)
    local h = define(turns, over)
    local session = h:session "s"
    return session.agents.helper:stream "go", session, h
  end

  -- A run of n rounds with a tool call each.
  local function rounds(n, chunk)
    return function(_, i)
      if i > n then return chunk or { text = "end" } end
      return { tool_calls = { call("slow", { ms = 1 }) } }
    end
  end

  describe("that nobody reads in time", function()
    -- 400 rounds: 4 events each, none of which can be joined.
    local function overflowing()
      return begin(rounds(400), { agent = { max_steps = 1000 } })
    end

    it("has a notice of what it misses, made for it alone: no seq, never stored", function()
      local stream, session = overflowing()
      clock.advance(1000)
      local events = drain(stream)
      local first = events[1]
      assert.equal("stream.overflow", first.type)
      assert.same({ stream.run_id, 1, nil }, { first.run_id, first.attempt, first.seq })
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", first.at)
      local last = events[#events]
      assert.equal("run.finished", last.type)
      assert.equal(last.seq, first.dropped + #events - 1) -- dropped + delivered = produced
      assert.equal(1024 + 1, #events)
      for i = 3, #events do assert.equal(events[i - 1].seq + 1, events[i].seq) end
      assert.equal(0, #of(session:events(stream.run_id), "stream.overflow"))
    end)

    it("has one notice for each time, before the next event (A 30)", function()
      local stream = overflowing()
      local seen, dropped, delivered = {}, 0, 0
      local reader = harness.spawn(function()
        for event in stream do
          if event.type == "stream.overflow" then
            dropped = dropped + event.dropped
            seen[#seen + 1] = event.dropped
          else
            delivered = delivered + 1
            if #seen == 1 and delivered == 600 then harness.sleep(1000) end -- falls behind once more
            if delivered == 1 then harness.sleep(300) end
          end
        end
      end)
      clock.advance(2000)
      reader:await()
      assert.equal(4 * 400 + 7, dropped + delivered)
      assert.is_true(#seen >= 1)
    end)

    it("does not hold up the run or other readers (A 32)", function()
      local stream, session = begin(rounds(400), { agent = { max_steps = 1000 } })
      local quick, n = session:follow(stream.run_id), 0
      local reader = harness.spawn(function() for _ in quick do n = n + 1 end end)
      clock.advance(1000)
      assert.is_true(reader:done())
      reader:await()
      assert.equal(4 * 400 + 7, n)
      assert.equal("stream.overflow", drain(stream)[1].type)
    end)

    it("gets the text of a call joined: no text is lost, each joined event says of how many", function()
      local chunks, thought = {}, nil
      for i = 1, 3000 do chunks[i] = ("é%d "):format(i) end
      local stream = begin { { reasoning = "hm", chunks = chunks } }
      stream:result()
      local text, count, last_seq = {}, 0, 0
      for event in stream do
        assert.is_true(event.seq > last_seq)
        last_seq = event.seq
        if event.type == "model.reasoning" then thought = event.delta end
        if event.type == "model.delta" then
          text[#text + 1] = event.delta
          count = count + (event.merged or 1)
          assert.is_true(event.merged == nil or event.merged > 1)
          assert.is_truthy(event.call_id and event.agent_id and event.invocation_id and event.at)
        end
      end
      assert.equal(table.concat(chunks), table.concat(text))
      assert.same({ 3000, "hm" }, { count, thought })
      assert.is_true(#text <= 1024)
    end)
  end)

  describe("closed", function()
    it("ends where it is; the run goes on (A 33)", function()
      local stream, session = begin(rounds(3))
      task.settle()
      local seen = 0
      for _ in stream do
        seen = seen + 1
        if seen == 2 then stream:close() end
      end
      assert.equal(2, seen)
      stream:close() -- harmless
      assert.is_nil(stream:next())
      clock.advance(10)
      assert.equal("end", stream:result())
      assert.equal("succeeded", session:runs()[1].status)
    end)

    it("lets go of its queue", function()
      local stream, session, h = begin(rounds(3))
      local second = session:follow(stream.run_id)
      task.settle()
      local run = h.live_runs[stream.run_id]
      assert.equal(2, #run.readers)
      local weak = setmetatable({ run.readers[1] }, { __mode = "v" })
      stream:close()
      collectgarbage()
      collectgarbage()
      assert.is_nil(weak[1])
      assert.equal(1, #run.readers)
      clock.advance(10)
      local events = drain(second)
      assert.equal("run.finished", events[#events].type)
    end)

    it("by another task wakes who is reading it", function()
      local stream = begin { { delay_ms = 60000, text = "late" } }
      local seen = {}
      local reader = harness.spawn(function() for event in stream do seen[#seen + 1] = event.type end end)
      clock.advance(1)
      stream:close()
      task.settle()
      assert.is_true(reader:done())
      reader:await()
      assert.equal("run.started agent.started model.started", table.concat(seen, " "))
      stream:cancel()
      failure(stream.result, stream)
    end)

    it("happens at the end of a scope", function()
      local h = define { { delay_ms = 10, text = "end" } }
      local session, run = h:session "s" -- luacheck: ignore
      do
        local stream <close> = session.agents.helper:stream "go"
        run = h.live_runs[stream.run_id]
        assert.equal(1, #run.readers)
      end
      assert.equal(0, #run.readers)
      clock.advance(10)
      assert.equal("end", run:result())
    end)
  end)

  it("has one reader at a time, and says so to a second one", function()
    local stream = begin { { delay_ms = 10, text = "end" } }
    local first = harness.spawn(drain, stream)
    task.settle()
    assert.matches("one reader", tostring(failure(stream.next, stream)))
    clock.advance(10)
    assert.equal("run.finished", first:await()[7].type)
  end)

  it("may change its reader between two events, also when the first was cancelled", function()
    local stream = begin(rounds(2))
    local first = harness.spawn(drain, stream)
    clock.advance(0)
    first:cancel()
    pcall(first.await, first)
    local second = harness.spawn(drain, stream)
    clock.advance(10)
    local events = second:await()
    assert.equal("run.finished", events[#events].type)
  end)

  it("may be dropped: the run goes on and nothing is kept", function()
    local _, session, h = begin(rounds(2))
    collectgarbage()
    clock.advance(10)
    assert.equal("succeeded", session:runs()[1].status)
    assert.is_nil(next(h.live_runs))
  end)

  it("begins at once, and raises what is wrong before it can begin where it is made", function()
    local stream, session = begin { { delay_ms = 10, text = "end" } }
    local helper = session.agents.helper
    assert.equal("SESSION_BUSY", failure(helper.stream, helper, "x").code)
    assert.equal("VALIDATION_ERROR", failure(helper.stream, helper, "x", 7).code)
    clock.advance(10)
    assert.equal("end", stream:result()) -- without a single event read
  end)

  describe("result", function()
    it("may be asked for by several tasks; one that stops waiting does not stop the run", function()
      local stream = begin { { delay_ms = 10, text = "end" } }
      local asking = {}
      for i = 1, 3 do asking[i] = harness.spawn(stream.result, stream) end
      task.settle()
      asking[1]:cancel()
      assert.equal("OPERATION_CANCELLED", failure(asking[1].await, asking[1]).code)
      clock.advance(10)
      assert.same({ "end", "end", "end" }, { asking[2]:await(), asking[3]:await(), stream:result() })
    end)

    it("may be false, or null", function()
      local s, null = harness.schema, harness.null
      for _, case in ipairs { { s.boolean(), false }, { s.null(), null }, { s.integer(), 0 } } do
        local stream, session = begin({ { object = case[2] } }, { tools = {}, agent = { output = case[1] } })
        assert.equal(case[2], stream:result())
        local events = drain(stream)
        assert.equal(case[2], events[#events].output)
        assert.equal(case[2], session:follow(stream.run_id):result())
      end
    end)

    it("stops with the run when the task that started the run is cancelled", function()
      local h = define { { delay_ms = 60000, text = "end" } }
      local session, stream = h:session "s", nil
      local t = harness.spawn(function()
        stream = session.agents.helper:stream "go"
        return stream:result()
      end)
      clock.advance(1)
      t:cancel "enough"
      local err = failure(t.await, t)
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.equal("cancelled", session:runs()[1].status)
    end)
  end)

  describe("cancel", function()
    it("takes any reason, and goes on to run.finished", function()
      local own = harness.new_error("OPERATION_CANCELLED", "mine", { scope = "tool" })
      for _, reason in ipairs { "text", own, {}, false } do
        local stream = begin { { delay_ms = 60000, text = "x" } }
        task.settle()
        stream:cancel(reason)
        stream:cancel "again"
        local events, err = drain(stream)
        assert.equal("cancelled", events[#events].status)
        assert.equal("OPERATION_CANCELLED", err.code)
        if reason == own then assert.is_true(rawequal(own, err))
        elseif reason then assert.is_true(rawequal(reason, err.cause)) end
      end
    end)

    it("is harmless when the run has ended", function()
      local stream, session = begin { { text = "end" } }
      assert.equal("end", stream:result())
      stream:cancel()
      assert.equal("end", stream:result())
      assert.equal("succeeded", session:runs()[1].status)
    end)

    it("before the run's record exists leaves no run and no event", function()
      local storage = wrapped.new()
      local h = define({ { text = "x" } }, { definition = { storage = storage } })
      local session = h:session "s"
      storage.hook = function() harness.sleep(10) end
      local stream = session.agents.helper:stream "go"
      task.settle()
      stream:cancel "no"
      local events, err = drain(stream)
      assert.same({ {}, "OPERATION_CANCELLED" }, { events, err.code })
      storage.hook = nil
      assert.same({}, session:runs())
    end)
  end)

  describe("that follows", function()
    it("a run that has ended gives what was stored, with its end", function()
      local stream, session = begin { { tool_calls = { call("echo", { text = "x" }) } }, { text = "end" } }
      local seen = drain(stream)
      local late = session:follow(stream.run_id)
      local again = drain(late)
      local want = {}
      for _, event in ipairs(seen) do if event.type ~= "model.delta" then want[#want + 1] = event end end
      assert.equal(types(want), types(again))
      for i, event in ipairs(again) do
        local original = want[i]
        assert.same({ original.seq, original.at, original.run_id, original.attempt },
          { event.seq, event.at, event.run_id, event.attempt })
        for key, value in pairs(original) do
          if event[key] ~= "[redacted]" then assert.same(value, event[key], event.type .. "." .. key) end
        end
      end
      assert.equal("end", late:result()) -- of the record, not of the event
      late:cancel()
      late:close()
      assert.is_nil(late:next())
    end)

    it("a run that has failed raises its error, made anew", function()
      local stream, session = begin { { error = { status = 400, message = "bad" } } }
      local err = select(2, drain(stream))
      local late = session:follow(stream.run_id)
      local events, again = drain(late)
      assert.equal("run.finished", events[#events].type)
      assert.is_true(errors.is(again, "MODEL_ERROR"))
      assert.same({ err.message, err.meta.status }, { again.message, again.meta.status })
      assert.is_true(rawequal(again, failure(late.result, late)))
    end)

    it("begins at any seq, and a seq beyond the end has only the end", function()
      local stream, session = begin { { text = "end" } }
      local all = drain(stream)
      for from = 1, #all + 1 do
        local events = drain(session:follow(stream.run_id, { from_seq = from }))
        for _, event in ipairs(events) do assert.is_true(event.seq >= from) end
      end
      assert.same({}, drain(session:follow(stream.run_id, { from_seq = 1000 })))
      for _, from in ipairs { "x", 1.5, {} } do
        local err = failure(session.follow, session, stream.run_id, { from_seq = from })
        assert.is_true(errors.is(err, "VALIDATION_ERROR"), tostring(err))
        assert.equal("follow", err.meta.where)
      end
    end)

    it("a run in flight has no gap and no repeat, wherever it joins, on a storage that waits", function()
      for join_at = 0, 30, 3 do
        local storage = wrapped.new()
        local stream, session = begin(rounds(5), { definition = { storage = storage } })
        storage.hook = function() harness.sleep(2) end
        clock.advance(join_at)
        local late
        local reader = harness.spawn(function()
          late = session:follow(stream.run_id)
          return drain(late)
        end)
        clock.advance(500)
        local got, want, all = {}, {}, drain(stream)
        for _, event in ipairs(reader:await()) do
          if event.type ~= "model.delta" then got[#got + 1] = event.seq .. event.type end
        end
        for _, event in ipairs(all) do
          if event.type ~= "model.delta" then want[#want + 1] = event.seq .. event.type end
        end
        assert.same(want, got, "joined after " .. join_at)
        assert.equal("end", late:result())
      end
    end)

    it("leaves no reader behind when its task is stopped on the way", function()
      local storage = wrapped.new()
      local stream, session, h = begin(rounds(3), { definition = { storage = storage } })
      clock.advance(0)
      local run = h.live_runs[stream.run_id]
      storage.hook = function(method) if method == "list_events" then harness.sleep(1000) end end
      local reader = harness.spawn(session.follow, session, stream.run_id)
      task.settle()
      reader:cancel()
      pcall(reader.await, reader)
      assert.equal(1, #run.readers)
      clock.advance(10)
      stream:result()
    end)

    it("a run of another harness cannot be followed to its end, and says so", function()
      local storage = harness.storage.memory()
      local stream = begin({ { delay_ms = 10, text = "end" } }, { definition = { storage = storage } })
      local other = define({}, { definition = { storage = storage } })
      task.settle()
      local late = other:session("s"):follow(stream.run_id)
      local events, err = drain(late)
      assert.is_true(#events <= 3)
      assert.is_true(errors.is(err), "a run that is not over has no end yet")
      assert.matches("running", err.message)
      assert.is_true(errors.is(failure(late.result, late)))
      clock.advance(10)
      assert.equal("end", other:session("s"):follow(stream.run_id):result())
    end)
  end)

  it("costs nothing where there is none: a run without readers makes no event for them", function()
    local h = define { { text = "end" } }
    local session = h:session "s"
    local relays = 0
    local new = core.relay.new
    core.relay.new = function(...) -- luacheck: ignore
      relays = relays + 1
      return new(...)
    end
    local ok, err = pcall(session.agents.helper.run, session.agents.helper, "go")
    core.relay.new = new -- luacheck: ignore
    assert.is_true(ok, tostring(err))
    assert.equal(0, relays)
    assert.equal(1, #of(session:events(session:runs()[1].id), "run.finished"))
  end)
end)
