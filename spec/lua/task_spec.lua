local core = require "harness.core"
local errors = require "harness.errors"
local harness = require "harness"
local clock = require "spec.support.clock"
local live = require "spec.support.live"
local task = require "harness.task"

local function code_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  return errors.is(err) and err.code or err, err
end

describe("task", function()
  local before

  before_each(function()
    clock.stop()
    before = live.now()
  end)

  after_each(function()
    live.check(before)
    clock.go()
  end)

  describe("spawn and await", function()
    it("returns the results, all of them", function()
      local t = harness.spawn(function(a, b) return a + b, nil, "x" end, 1, 2)
      assert.same({ 3, nil, "x", n = 3 }, table.pack(t:await()))
      assert.is_true(t:done())
    end)

    it("gives up to many arguments on", function()
      local t = harness.spawn(function(...) return select("#", ...) end, nil, nil, nil)
      assert.equal(3, t:await())
    end)

    it("raises the error itself, by identity", function()
      local mine = { "my error" }
      local t = harness.spawn(function() error(mine) end)
      local ok, err = pcall(t.await, t)
      assert.is_false(ok)
      assert.is_true(rawequal(mine, err))
    end)

    it("may be awaited by several tasks, and again later", function()
      local t = harness.spawn(function() harness.sleep(10) return 7 end)
      local a = harness.spawn(function() return t:await() end)
      local b = harness.spawn(function() return t:await() end)
      clock.advance(10)
      assert.equal(7, a:await())
      assert.equal(7, b:await())
      assert.equal(7, t:await())
    end)

    it("refuses to await itself", function()
      local t
      t = harness.spawn(function() return t:await() end)
      assert.equal("HARNESS_CONFIG_ERROR", (code_of(t.await, t)))
    end)

    it("refuses what is not a function", function()
      assert.equal("VALIDATION_ERROR", (code_of(harness.spawn, 7)))
    end)
  end)

  describe("waiting", function()
    it("works inside pcall, iterators, metamethods and to-be-closed blocks", function()
      local seen = {}
      local waits = setmetatable({}, {
        __index = function(_, key) harness.sleep(5) return key end,
        __add = function() harness.sleep(5) return "sum" end,
        __close = function() harness.sleep(5) seen[#seen + 1] = "closed" end,
      })
      local t = harness.spawn(function()
        local ok, value = pcall(function() harness.sleep(5) return waits.key end)
        seen[#seen + 1] = ok and value
        for i in function(_, i) harness.sleep(5) if i < 2 then return i + 1 end end, nil, 0 do seen[#seen + 1] = i end
        seen[#seen + 1] = waits + waits
        do local _ <close> = waits end
      end)
      clock.advance(40)
      t:await()
      assert.same({ "key", 1, 2, "sum", "closed" }, seen)
    end)

    it("passes through the user's own coroutines", function()
      local inner = coroutine.wrap(function()
        for i = 1, 3 do
          harness.sleep(5)
          coroutine.yield(i)
        end
      end)
      local outer = coroutine.wrap(function()
        for i in inner do coroutine.yield(i * 10) end
      end)
      local t = harness.spawn(function()
        local list = {}
        for i in outer do list[#list + 1] = i end
        return list
      end)
      clock.advance(15)
      assert.same({ 10, 20, 30 }, t:await())
    end)

    it("says so where Lua cannot be suspended, before anything starts", function()
      local function wait() harness.sleep(1) end
      local cases = {
        function() table.sort({ 3, 2, 1 }, function(a, b) wait() return a < b end) end,
        function() string.gsub("abc", "%w", wait) end,
        function() tostring(setmetatable({}, { __tostring = function() wait() return "" end })) end,
        function() -- a generator that is driven from inside a comparison
          local gen = coroutine.wrap(function() while true do wait() coroutine.yield() end end)
          table.sort({ 3, 2, 1 }, function(a, b) gen() return a < b end)
        end,
      }
      for i, case in ipairs(cases) do
        local code, err = code_of(case)
        assert.equal("HARNESS_CONFIG_ERROR", code, "case " .. i)
        assert.equal("cannot_wait", err.meta.reason)
      end
      assert.equal(before.timers, core.live().timers)
    end)

    it("refuses a time that is none", function()
      assert.equal("VALIDATION_ERROR", (code_of(harness.sleep, "soon")))
      assert.equal("VALIDATION_ERROR", (code_of(harness.sleep, 0 / 0)))
    end)

    it("lets others run in turns", function()
      local order = {}
      local function worker(name)
        return function()
          for i = 1, 3 do
            order[#order + 1] = name .. i
            task.pause()
          end
        end
      end
      harness.all { worker "a", worker "b" }
      assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, order)
    end)
  end)

  describe("structure", function()
    it("ends a task after its children", function()
      local ended = false
      local t = harness.spawn(function()
        harness.spawn(function() harness.sleep(50) ended = true end)
        return "mine"
      end)
      clock.advance(49)
      assert.is_false(t:done())
      clock.advance(1)
      assert.is_true(ended)
      assert.equal("mine", t:await())
    end)

    it("cancels the children of a task that fails, and raises the first error", function()
      local reason
      local t = harness.spawn(function()
        harness.spawn(function()
          local ok, err = pcall(harness.sleep, 1000)
          reason = not ok and err
          error(err, 0)
        end)
        harness.sleep(5)
        error("mine", 0)
      end)
      clock.advance(5)
      assert.equal("mine", (code_of(t.await, t)))
      assert.is_true(errors.is(reason, "OPERATION_CANCELLED"))
    end)

    it("lets the parent fail with an error that nobody awaited", function()
      local reported
      local report = task.report
      task.report = function(err) reported = err end
      local t = harness.spawn(function()
        harness.spawn(function() error("unseen", 0) end)
        harness.sleep(5)
        return "fine"
      end)
      clock.advance(5)
      assert.equal("unseen", (code_of(t.await, t)))
      task.report = report
      assert.equal("unseen", reported)
    end)

    it("keeps silent about an error that was awaited", function()
      local t = harness.spawn(function()
        local child = harness.spawn(function() error("seen", 0) end)
        harness.sleep(5)
        return (pcall(child.await, child))
      end)
      clock.advance(5)
      assert.is_false(t:await())
    end)
  end)

  describe("cancelling", function()
    it("raises the reason where the task waits, and again at each further wait", function()
      local seen = {}
      local t = harness.spawn(function()
        for _ = 1, 3 do
          local ok, err = pcall(harness.sleep, 1000)
          seen[#seen + 1] = not ok and err
        end
      end)
      task.settle()
      t:cancel "enough"
      task.settle()
      assert.equal(3, #seen)
      assert.is_true(rawequal(seen[1], seen[2]) and rawequal(seen[2], seen[3]))
      assert.equal("OPERATION_CANCELLED", seen[1].code)
      assert.matches("enough", seen[1].message)
      t:await()
    end)

    it("never starts a task that was cancelled before its first turn", function()
      local started = false
      local t = harness.spawn(function() started = true end)
      t:cancel()
      assert.equal("OPERATION_CANCELLED", (code_of(t.await, t)))
      assert.is_false(started)
    end)

    it("runs to-be-closed variables", function()
      local closed = false
      local t = harness.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        harness.sleep(10000)
      end)
      task.settle()
      t:cancel()
      assert.equal("OPERATION_CANCELLED", (code_of(t.await, t)))
      assert.is_true(closed)
    end)

    -- What does not end by itself is ended within the grace.
    local function ends_within_grace(fn)
      local t = harness.spawn(fn)
      task.settle()
      t:cancel "stop"
      clock.advance(task.CANCEL_GRACE_MS)
      assert.is_true(t:done())
      local ok, err = pcall(t.await, t)
      assert.is_false(ok)
      return t, err
    end

    it("ends a task that swallows the abort in a loop", function()
      local t, err = ends_within_grace(function()
        while true do pcall(harness.sleep, 10) end
      end)
      assert.is_true(t.unsettled)
      assert.equal("OPERATION_CANCELLED", err.code)
    end)

    it("ends an endless shield", function()
      local t = ends_within_grace(function()
        harness.shield(function() while true do harness.sleep(10) end end, math.maxinteger)
      end)
      assert.is_true(t.unsettled)
    end)

    it("survives a __close that raises", function()
      local _, err = ends_within_grace(function()
        local _ <close> = setmetatable({}, { __close = function() error("close!", 0) end })
        harness.sleep(10000)
      end)
      assert.equal("close!", err)
    end)

    it("ends a task whose __close would wait", function()
      local refused
      ends_within_grace(function()
        local _ <close> = setmetatable({}, { __close = function() refused = code_of(harness.sleep, 5) end })
        while true do pcall(harness.sleep, 10) end
      end)
      assert.equal("HARNESS_CONFIG_ERROR", refused)
    end)

    it("ends a generator that waits inside the task, and runs its to-be-closed variables", function()
      local closed = {}
      local function note(name)
        return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
      end
      ends_within_grace(function()
        local _ <close> = note "outer"
        local gen = coroutine.wrap(function()
          local _ <close> = note "inner"
          while true do pcall(harness.sleep, 10) end
        end)
        gen()
      end)
      assert.same({ "inner", "outer" }, closed)
    end)

    it("ends a tree of tasks that all refuse", function()
      local function stubborn(depth)
        return function()
          if depth > 0 then harness.spawn(stubborn(depth - 1)) end
          while true do pcall(harness.sleep, 10) end
        end
      end
      local t = harness.spawn(stubborn(4))
      task.settle()
      t:cancel()
      clock.advance(6 * task.CANCEL_GRACE_MS)
      assert.is_true(t:done())
      pcall(t.await, t)
    end)

    it("ends 10,000 waiting tasks, leaving nothing", function()
      local fns = {}
      for i = 1, 10000 do fns[i] = function() harness.sleep(1000000) end end
      local t = harness.spawn(function() harness.all(fns) end)
      task.settle()
      assert.equal(before.tasks + 10001, core.live().tasks)
      t:cancel()
      assert.equal("OPERATION_CANCELLED", (code_of(t.await, t)))
      assert.equal(before.tasks, core.live().tasks)
    end)
  end)

  describe("all", function()
    it("keeps the keys", function()
      local r = harness.all { a = function() return 1 end, b = function() return 2, 3 end, function() return 4 end }
      assert.same({ a = 1, b = 2, 4 }, r)
    end)

    it("cancels and joins the rest at the first failure", function()
      local joined = false
      local t = harness.spawn(harness.all, {
        function() harness.sleep(5) error("first", 0) end,
        function()
          local _ <close> = setmetatable({}, { __close = function() joined = true end })
          harness.sleep(1000)
        end,
      })
      clock.advance(5)
      assert.equal("first", (code_of(t.await, t)))
      assert.is_true(joined)
    end)

    it("takes an empty table", function() assert.same({}, harness.all {}) end)

    it("refuses what is no function, naming the place", function()
      local code, err = code_of(harness.all, { good = print, bad = 7 })
      assert.equal("VALIDATION_ERROR", code)
      assert.matches("bad", err.message)
    end)
  end)

  describe("race", function()
    it("gives what the first one to settle returns, and ends the others", function()
      local t = harness.spawn(harness.race, {
        function() harness.sleep(20) return "slow" end,
        function() harness.sleep(10) return "fast", 2 end,
      })
      clock.advance(10)
      assert.same({ "fast", 2 }, { t:await() })
    end)

    it("raises when the first one to settle does", function()
      local t = harness.spawn(harness.race, {
        function() harness.sleep(20) return "slow" end, function() error("quick", 0) end,
      })
      task.settle()
      assert.equal("quick", (code_of(t.await, t)))
    end)

    it("refuses an empty list", function() assert.equal("VALIDATION_ERROR", (code_of(harness.race, {}))) end)
  end)

  describe("map", function()
    it("keeps the order and never runs more than max_parallel", function()
      local active, most = 0, 0
      local t = harness.spawn(harness.map, { 30, 10, 20, 5 }, function(ms, i)
        active = active + 1
        most = math.max(most, active)
        harness.sleep(ms)
        active = active - 1
        return i .. ":" .. ms
      end, { max_parallel = 2 })
      clock.advance(100)
      assert.same({ "1:30", "2:10", "3:20", "4:5" }, t:await())
      assert.equal(2, most)
    end)

    it("starts no more after a failure", function()
      local started = 0
      local t = harness.spawn(harness.map, { 1, 2, 3, 4 }, function(i)
        started = started + 1
        if i == 2 then error("no", 0) end
        harness.sleep(10)
      end, { max_parallel = 2 })
      clock.advance(50)
      assert.equal("no", (code_of(t.await, t)))
      assert.equal(2, started)
    end)

    it("takes an empty list, and refuses a bad limit", function()
      assert.same({}, harness.map({}, print))
      assert.equal("VALIDATION_ERROR", (code_of(harness.map, { 1 }, print, { max_parallel = 0 })))
    end)
  end)

  describe("timeout", function()
    it("gives the results", function()
      assert.same({ 1, 2 }, { harness.timeout(50, function() return 1, 2 end) })
    end)

    it("raises OPERATION_TIMEOUT with scope task", function()
      local t = harness.spawn(function() return code_of(harness.timeout, 50, harness.sleep, 1000) end)
      clock.advance(50)
      local code, err = t:await()
      assert.equal("OPERATION_TIMEOUT", code)
      assert.same({ scope = "task", timeout_ms = 50 }, err.meta)
    end)

    it("lets the earlier of two deadlines win", function()
      local t = harness.spawn(function()
        return select(2, code_of(harness.timeout, 50, function() harness.timeout(500, harness.sleep, 1000) end))
      end)
      clock.advance(50)
      assert.equal(50, t:await().meta.timeout_ms)
    end)
  end)

  describe("shield", function()
    it("keeps an abort away from cleanup that waits", function()
      local cleaned = false
      local t = harness.spawn(function()
        pcall(harness.sleep, 1000)
        harness.shield(function() harness.sleep(100) cleaned = true end)
        harness.sleep(1)
      end)
      task.settle()
      t:cancel()
      clock.advance(100)
      assert.is_true(cleaned)
      assert.equal("OPERATION_CANCELLED", (code_of(t.await, t)))
    end)

    it("ends at its own limit", function()
      local t = harness.spawn(function() return code_of(harness.shield, function() harness.sleep(1000) end, 20) end)
      clock.advance(20)
      assert.equal("OPERATION_TIMEOUT", (t:await()))
    end)
  end)

  describe("abort_controller", function()
    it("keeps the reason, and calls on_abort once in a task of its own", function()
      local c = harness.abort_controller()
      assert.is_false(c.signal.aborted)
      assert.is_nil(c.signal.reason)
      local seen = {}
      c.signal:on_abort(function(reason) harness.sleep(5) seen[#seen + 1] = reason end)
      local detach = c.signal:on_abort(function() seen[#seen + 1] = "detached" end)
      detach()
      c:abort "why"
      c:abort "again"
      clock.advance(5)
      assert.is_true(c.signal.aborted)
      assert.equal("why", c.signal.reason)
      assert.same({ "why" }, seen)
      c = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    end)

    it("calls on_abort soon when it is aborted already", function()
      local c = harness.abort_controller()
      c:abort()
      local seen
      c.signal:on_abort(function(reason) seen = reason end)
      task.settle()
      assert.equal("OPERATION_CANCELLED", seen.code)
      c = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    end)

    it("does not grow with listeners that are gone", function()
      local c = harness.abort_controller()
      for _ = 1, 1000 do
        harness.spawn(function() c.signal:on_abort(print) end):await()
      end
      assert.equal(before.tasks, core.live().tasks)
      c = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    end)
  end)

  it("tells a task that nothing can wake it any more", function()
    local child = assert(io.popen(("%s -e 'local h = require [[harness]] "
      .. "local r = h.relay {} print(pcall(r.next, r))' 2>&1"):format(os.getenv "HARNESS_LUA" or "build/harness-lua")))
    local said = child:read "a"
    child:close()
    assert.matches("nothing is left that could wake this task", said)
  end)
end)
