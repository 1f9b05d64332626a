-- engine/loop.c through core.sleep, reap_start, signal deadlines and core.clock_*: timers, the one clock.
local clock = require "spec.support.clock"
local core = require "harness.core"
local harness = require "harness"
local live = require "spec.support.live"

local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local EPOCH <const> = 1767225600000 -- 2026-01-01T00:00:00Z

describe("timers", function()
  local before, tasks

  -- Something with timers: a task's token and signal, without the task.
  local function open(parent)
    local token, signal = core.task_open(parent or 0)
    tasks[token] = signal
    return token, signal
  end

  local function close(token)
    core.task_close(token, tasks[token])
    tasks[token] = nil
  end

  -- Which of the names by token have been queued, in their order.
  local function fired(names)
    local list = {}
    while true do
      local token = core.take()
      if not token then return table.concat(list, " ") end
      list[#list + 1] = names[token]
    end
  end

  local function advance(ms)
    local left = ms
    repeat left = core.clock_advance(left) until left == 0
  end

  -- Opens one for each name, and starts its timer.
  local function start(list)
    local names, tokens = {}, {}
    for _, one in ipairs(list) do
      local token = open()
      names[token], tokens[one[1]] = one[1], token
      core.sleep(token, one[2])
    end
    return names, tokens
  end

  before_each(function()
    clock.stop()
    before = live.now()
    tasks = {}
  end)

  after_each(function()
    for token in pairs(tasks) do close(token) end
    while core.take() do end
    live.check(before)
    clock.go()
  end)

  it("fire when they are due, not before", function()
    local names = start { { "a", 10 } }
    advance(9)
    assert.equal("", fired(names))
    advance(1)
    assert.equal("a", fired(names))
    advance(1000)
    assert.equal("", fired(names)) -- once
  end)

  it("fire in the order of their deadlines, and of their start when those are equal", function()
    local names = start { { "c", 30 }, { "a1", 10 }, { "b", 20 }, { "a2", 10 }, { "a3", 10 } }
    advance(30)
    assert.equal("a1 a2 a3 b c", fired(names))
  end)

  it("move behind the others when they are started again", function()
    local names, tokens = start { { "a", 10 }, { "b", 10 } }
    core.sleep(tokens.a, 10)
    advance(10)
    assert.equal("b a", fired(names))
  end)

  it("do not fire after they were stopped", function()
    local names, tokens = start { { "a", 10 }, { "b", 10 } }
    assert.is_true(core.sleeping(tokens.a))
    core.sleep_stop(tokens.a)
    core.sleep_stop(tokens.a)
    assert.is_false(core.sleeping(tokens.a))
    advance(10)
    assert.equal("b", fired(names))
  end)

  it("of no or negative length are due at once, at the next turn", function()
    local names = start { { "a", 0 }, { "b", -7 } }
    assert.equal("", fired(names))
    core.clock_advance(0)
    assert.equal("a b", fired(names))
  end)

  it("of the greatest length never fire, and do not overflow", function()
    local names = start { { "never", math.maxinteger }, { "a", 10 } }
    advance(1 << 40)
    assert.equal("a", fired(names))
  end)

  it("of one task are two: its sleep, and the end of its grace", function()
    local token = open()
    core.sleep(token, 10)
    core.reap_start(token, 20)
    advance(10)
    assert.is_false(core.sleeping(token))
    assert.is_false(core.reap_due(token))
    advance(10)
    assert.is_true(core.reap_due(token))
    core.reap_start(token, 5) -- a new grace takes the old one's end back
    assert.is_false(core.reap_due(token))
  end)

  it("stopped by another one's callback, due at the same moment, do not fire", function()
    local parent = core.signal_open(0, 0, 10, "run") -- its abort stops the deadlines below
    local child = core.signal_open(parent, 0, 10, "tool")
    local other = core.signal_open(parent, 0, 5, "tool")
    advance(10)
    assert.equal("tool", core.signal_reason(other).meta.scope)
    assert.equal("run", core.signal_reason(child).meta.scope)
    for _, signal in ipairs { parent, child, other } do core.signal_close(signal) end
  end)

  it("end with their owner", function()
    local names, tokens = start { { "a", 10 } }
    core.reap_start(tokens.a, 10)
    assert.equal(before.timers + 2, core.live().timers)
    close(tokens.a)
    assert.equal(before.timers, core.live().timers)
    advance(10)
    assert.equal("", fired(names))
  end)

  it("that are stopped in any order leave the others in theirs (random, against a sorted list)", function()
    math.randomseed(SEED)
    for round = 1, math.max(1, 200 // FACTOR) do
      local want, names, order = {}, {}, 0
      local function restart(one)
        order = order + 1
        one.due, one.order = math.random(0, 30), order
        core.sleep(one.token, one.due)
      end
      for i = 1, math.random(40) do
        want[i] = { name = tostring(i), token = open() }
        names[want[i].token] = want[i].name
        restart(want[i])
      end
      for _ = 1, math.random(20) do
        local at = math.random(#want)
        if math.random() < 0.5 then restart(want[at]) elseif #want > 1 then
          core.sleep_stop(want[at].token)
          table.remove(want, at)
        end
      end
      table.sort(want, function(a, b)
        if a.due ~= b.due then return a.due < b.due end
        return a.order < b.order
      end)
      local list = {}
      for i, one in ipairs(want) do list[i] = one.name end
      advance(30)
      assert.equal(table.concat(list, " "), fired(names), ("seed %d, round %d"):format(SEED, round))
      for token in pairs(tasks) do close(token) end
    end
  end)

  it("refuse a token that never was", function()
    for _, token in ipairs { 0, -1, 1 << 31, math.maxinteger } do
      for _, name in ipairs { "sleep", "sleeping", "sleep_stop", "reap_start", "reap_due", "task_close" } do
        assert.is_false(pcall(core[name], token, 10), name)
      end
    end
  end)
end)

describe("the clock", function()
  local before, token, signal

  before_each(function()
    before = live.now()
    token, signal = core.task_open(0)
  end)

  after_each(function()
    core.task_close(token, signal)
    while core.take() do end
    clock.go()
    live.check(before)
  end)

  it("that is stopped moves by hand only, and everything with it", function()
    clock.stop(EPOCH)
    local ms, us = core.now_ms(), core.now_us()
    assert.same({ EPOCH, EPOCH }, { core.wall_ms(), harness.now() })
    assert.equal("2026-01-01T00:00:00.000Z", core.timestamp())
    assert.equal(0, core.clock_advance(1500))
    assert.same({ ms + 1500, us + 1500000 }, { core.now_ms(), core.now_us() })
    assert.same({ EPOCH + 1500, "2026-01-01T00:00:01.500Z" }, { core.wall_ms(), core.timestamp() })
  end)

  it("advances to the next timer, and says what is left", function()
    clock.stop()
    core.sleep(token, 30)
    assert.equal(70, core.clock_advance(100))
    assert.is_false(core.sleeping(token))
    assert.equal(0, core.clock_advance(70))
  end)

  it("keeps what is left to wait when it is stopped and when it goes again", function()
    core.sleep(token, 60000)
    clock.stop()
    core.clock_advance(59000)
    assert.is_true(core.sleeping(token))
    clock.go()
    assert.is_true(core.sleeping(token))
    clock.stop()
    core.clock_advance(900) -- less than is left: the real clock took a moment
    assert.is_true(core.sleeping(token))
    core.clock_advance(100)
    assert.is_false(core.sleeping(token))
  end)

  it("keeps the order of timers that are overdue when it is stopped", function()
    local names, list = {}, {}
    for i, ms in ipairs { 3, 2, 1 } do
      local one, its = core.task_open(0)
      names[one], list[i] = ms, { one, its }
      core.sleep(one, ms)
    end
    local from = core.now_ms()
    while core.now_ms() < from + 5 do end -- the loop does not turn meanwhile
    clock.stop()
    core.clock_advance(0)
    local order = {}
    for _ = 1, 3 do order[#order + 1] = names[core.take()] end
    for _, one in ipairs(list) do core.task_close(one[1], one[2]) end
    assert.same({ 1, 2, 3 }, order)
  end)

  it("never goes back when it goes again", function()
    clock.stop()
    local stopped = core.now_us()
    clock.go()
    assert.is_true(core.now_us() >= stopped)
    local last = 0
    for _ = 1, 1000 do
      local now = core.now_us()
      assert(now >= last)
      last = now
    end
    assert.is_true(math.abs(core.wall_ms() - os.time() * 1000) < 5000)
  end)

  it("fires timers by itself while it goes", function()
    core.sleep(token, 2)
    local taken
    repeat
      core.turn(true)
      taken = core.take()
    until taken == token
    assert.is_false(core.sleeping(token))
  end)

  it("refuses to be advanced while it goes, or backwards", function()
    assert.is_false(pcall(core.clock_advance, 10))
    clock.stop()
    assert.is_false(pcall(core.clock_advance, -1))
  end)
end)
