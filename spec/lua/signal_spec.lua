--- lua/harness/signal.lua: abort signals as scripts see them.

local clock = require "spec.support.clock"
local core = require "harness.core"
local errors = require "harness.errors"
local failure = require("spec.support.failure").any
local harness = require "harness"
local live = require "spec.support.live"
local scripted = require "spec.support.scripted"
local signals = require "harness.signal"
local still = require "spec.support.still"
local task = require "harness.task"

describe("a signal", function()
  still(before_each, after_each)
  local before

  before_each(function() before = live.now() end)

  -- Runs fn in a task of its own, so that nothing of it is left on the spec's stack.
  local function apart(fn, ...)
    return harness.spawn(fn, ...):await()
  end

  describe("of a controller", function()
    it("is not aborted, and then it is, once, with the first reason", function()
      apart(function()
        local c = harness.abort_controller()
        local signal = c.signal
        assert.is_true(signals.is(signal))
        assert.same({ false, nil }, { signal.aborted, signal.reason })
        local reason = { "mine" }
        c:abort(reason)
        c:abort "later"
        assert.is_true(signal.aborted)
        assert.is_true(rawequal(reason, signal.reason))
      end)
    end)

    it("has an OPERATION_CANCELLED as reason when none was given", function()
      apart(function()
        local c = harness.abort_controller()
        c:abort()
        assert.is_true(errors.is(c.signal.reason, "OPERATION_CANCELLED"))
      end)
    end)

    it("keeps any reason as it is, false among them", function()
      apart(function()
        for _, reason in ipairs { false, 7, "text", print } do
          local c = harness.abort_controller()
          c:abort(reason)
          assert.is_true(c.signal.aborted)
          assert.equal(reason, c.signal.reason)
        end
      end)
    end)

    it("cannot be changed", function()
      apart(function()
        local c = harness.abort_controller()
        local err = failure(function() c.signal.aborted = true end)
        assert.matches("abort_controller", err)
        assert.is_false(c.signal.aborted)
      end)
    end)

    it("goes with the controller and the signal, not before", function()
      local signal = apart(function() return harness.abort_controller().signal end)
      collectgarbage()
      collectgarbage()
      assert.equal(before.signals + 1, core.live().signals)
      assert.is_false(signal.aborted)
      signal = nil -- luacheck: ignore
    end)
  end)

  describe("of a task", function()
    it("says why its task is to stop, and still does when the task has ended", function()
      local signal
      local tools = { look = { description = "x", input = harness.schema.object {}, run = function(ctx)
        signal = ctx.signal
        assert.is_true(rawequal(signal, ctx.signal))
        harness.sleep(1000)
      end } }
      local h = scripted.harness({ { tool_calls = { { name = "look", arguments = {} } } } },
        { tools = tools })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(1)
      assert.is_false(signal.aborted)
      stream:cancel "enough"
      clock.advance(1)
      failure(stream.result, stream)
      assert.is_true(signal.aborted)
      assert.equal("OPERATION_CANCELLED", signal.reason.code)
      h:shutdown()
    end)

    it("that ended by itself is not aborted, whatever happens later", function()
      local signal = apart(function() return signals.of_task(task.current()) end)
      harness.spawn(function() -- takes the place of the first one
        local own = signals.of_task(task.current())
        task.current():cancel()
        assert.is_true(own.aborted)
        assert.is_false(signal.aborted)
      end)
      task.settle()
      assert.is_nil(signal.reason)
    end)
  end)

  describe("on_abort", function()
    it("calls back once, with the reason, in a task of its own that may wait", function()
      local seen = {}
      apart(function()
        local c = harness.abort_controller()
        c.signal:on_abort(function(reason)
          harness.sleep(5)
          seen[#seen + 1] = reason
        end)
        c:abort "why"
        c:abort "again"
        assert.same({}, seen) -- not from within abort
        harness.spawn(clock.advance, 5):await()
      end)
      assert.same({ "why" }, seen)
    end)

    it("calls back soon when it is aborted already", function()
      local seen
      apart(function()
        local c = harness.abort_controller()
        c:abort "why"
        c.signal:on_abort(function(reason) seen = reason end)
        assert.is_nil(seen)
        task.settle()
      end)
      assert.equal("why", seen)
    end)

    it("calls back soon also when the task that was aborted has ended", function()
      local t
      local signal
      t = harness.spawn(function()
        signal = signals.of_task(task.current())
        harness.sleep(1000)
      end)
      clock.advance(1)
      t:cancel "enough"
      failure(t.await, t)
      local seen
      signal:on_abort(function(reason) seen = reason end)
      task.settle()
      assert.is_true(errors.is(seen, "OPERATION_CANCELLED"))
    end)

    it("calls back though the task that asked for it is stopped by the same abort", function()
      local seen = 0
      local tools = { look = { description = "x", input = harness.schema.object {}, run = function(ctx)
        ctx.signal:on_abort(function() seen = seen + 1 end)
        harness.sleep(1000)
      end } }
      local h = scripted.harness({ { tool_calls = { { name = "look", arguments = {} } } } },
        { tools = tools })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(1)
      stream:cancel()
      clock.advance(1)
      failure(stream.result, stream)
      assert.equal(1, seen)
      h:shutdown()
    end)

    it("does not call back what was taken back, or whose task ended before the abort", function()
      local seen = {}
      apart(function()
        local c = harness.abort_controller()
        local detach = c.signal:on_abort(function() seen[#seen + 1] = "detached" end)
        detach()
        detach()
        apart(function() c.signal:on_abort(function() seen[#seen + 1] = "gone" end) end)
        c.signal:on_abort(function() seen[#seen + 1] = "kept" end)
        c:abort()
        task.settle()
        detach()
      end)
      assert.same({ "kept" }, seen)
    end)

    it("may be taken back by another callback of the same abort", function()
      local seen = {}
      apart(function()
        local c = harness.abort_controller()
        local detach = {}
        for i = 1, 2 do
          detach[i] = c.signal:on_abort(function()
            seen[#seen + 1] = i
            detach[3 - i]()
          end)
        end
        c:abort()
        task.settle()
      end)
      assert.equal(2, #seen + (2 - #seen)) -- one or both, and nothing breaks
      assert.is_true(#seen >= 1)
    end)

    it("reports what a callback raises, and calls the others", function()
      local reported, seen = nil, 0
      local report = task.report
      task.report = function(err) reported = err end
      apart(function()
        local c = harness.abort_controller()
        c.signal:on_abort(function() seen = seen + 1 end)
        c.signal:on_abort(function() error("broken", 0) end)
        c.signal:on_abort(function() seen = seen + 1 end)
        c:abort()
        task.settle()
      end)
      task.report = report
      assert.same({ "broken", 2 }, { reported, seen })
    end)

    it("does not grow with what is taken back: neither the signal nor the task", function()
      apart(function()
        local c = harness.abort_controller()
        local function many()
          for _ = 1, 2000 do c.signal:on_abort(print)() end
          collectgarbage()
          collectgarbage()
          return collectgarbage "count"
        end
        many()
        local tasks, kilobytes = core.live().tasks, many()
        kilobytes = many() - kilobytes
        assert.equal(tasks, core.live().tasks)
        assert.is_true(kilobytes < 20, kilobytes .. " KB more")
      end)
    end)

    it("refuses what is no function", function()
      apart(function()
        local c = harness.abort_controller()
        local err = failure(c.signal.on_abort, c.signal, "x")
        assert.same({ "VALIDATION_ERROR", "on_abort" }, { err.code, err.meta.where })
      end)
    end)
  end)

  describe("given to a run", function()
    local function reason_as_error(reason, has_reason)
      local h = scripted.harness { { delay_ms = 60000, text = "x" } }
      local session = h:session()
      local err = apart(function()
        local c = harness.abort_controller()
        local stream = session.agents.helper:stream("go", { signal = c.signal })
        task.settle()
        if has_reason == false then c:abort() else c:abort(reason) end
        return failure(stream.result, stream)
      end)
      assert.equal(errors.is(err, "OPERATION_CANCELLED") and "cancelled" or "failed",
        session:runs()[1].status)
      h:shutdown()
      return err
    end

    it("stops it; the reason is put in order (A 36)", function()
      local text = reason_as_error "user left"
      assert.same({ "OPERATION_CANCELLED", "run", "user left" }, { text.code, text.meta.scope, text.cause })
      assert.matches("user left", text.message)
      assert.equal("OPERATION_CANCELLED", reason_as_error(nil, false).code)
      local own = harness.new_error("OPERATION_CANCELLED", "mine", { scope = "tool" })
      assert.is_true(rawequal(own, reason_as_error(own)))
      local timeout = harness.new_error("OPERATION_TIMEOUT", "late", { scope = "task", timeout_ms = 5 })
      assert.is_true(rawequal(timeout, reason_as_error(timeout)))
      local other = harness.new_error("TOOL_ERROR", "odd")
      local wrapped = reason_as_error(other)
      assert.equal("OPERATION_CANCELLED", wrapped.code)
      assert.is_true(rawequal(other, wrapped.cause))
    end)

    it("stops all of many runs, and lets each go when it has ended (A 43)", function()
      local h = scripted.harness(function() return { delay_ms = 60000, text = "x" } end)
      apart(function()
        local c = harness.abort_controller()
        local streams = {}
        for i = 1, 20 do streams[i] = h:session().agents.helper:stream("go", { signal = c.signal }) end
        task.settle()
        c:abort "all"
        for _, stream in ipairs(streams) do
          assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
        end
      end)
      h:shutdown()
    end)

    it("is let go of by a run that has ended, failed, or never began (A 43)", function()
      local h = scripted.harness { { text = "ok" }, { error = { status = 400 } },
        { delay_ms = 100, text = "ok" } }
      local session = h:session()
      apart(function()
        local c = harness.abort_controller()
        local options = { signal = c.signal }
        local held = core.live()
        session.agents.helper:run("1", options)
        failure(session.agents.helper.run, session.agents.helper, "2", options)
        assert.same({ held.tasks, held.signals }, { core.live().tasks, core.live().signals })
        local stream = session.agents.helper:stream "3"
        failure(session.agents.helper.run, session.agents.helper, "busy", options)
        failure(session.agents.helper.run, session.agents.helper, "bad",
          { signal = c.signal, timeout_ms = -1 })
        clock.advance(100)
        stream:result()
        assert.same({ held.tasks, held.signals }, { core.live().tasks, core.live().signals })
        c:abort() -- too late for anything
      end)
      assert.equal("succeeded", session:runs()[1].status)
      h:shutdown()
    end)

    it("may be a tool's own", function()
      local h, inner
      local tools = { ask = { description = "x", input = harness.schema.object {}, timeout_ms = 50,
        run = function(ctx)
        inner = h:session "inner"
        return inner.agents.helper:run("inner", { signal = ctx.signal })
      end } }
      h = scripted.harness(function(request)
        local last = request.messages[#request.messages]
        if last.content == "outer" then return { tool_calls = { { name = "ask", arguments = {} } } } end
        if last.content == "inner" then return { delay_ms = 60000, text = "never" } end
        return { text = "went on" }
      end, { tools = tools })
      local t = harness.spawn(function() return h:session("outer").agents.helper:run "outer" end)
      clock.advance(2000)
      assert.equal("went on", t:await())
      assert.equal("OPERATION_TIMEOUT", inner:runs()[1].error.code)
      h:shutdown()
    end)
  end)
end)
