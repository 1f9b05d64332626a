-- ctx:step, ctx:sleep and ctx:wait of workflows without durability.

local clock = require "spec.support.clock"
local errors = require "harness.errors"
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"

local function run(fn, options)
  local h = scripted.harness({}, { definition = { workflows = { flow = { run = fn } } } })
  local stream = h:session("s").workflows.flow:stream(nil, options)
  clock.advance(100000)
  return pcall(stream.result, stream)
end

describe("a step", function()
  still(before_each, after_each)

  it("passes through: its function runs once, its value comes back as it is", function()
    local value, seen, calls = { 1 }, nil, 0
    local ok, same = run(function(ctx)
      local got = ctx:step("a", function(info)
        calls, seen = calls + 1, info
        return value
      end)
      assert.equal(ctx.run_id .. ":a", seen.idempotency_key)
      return rawequal(got, value)
    end)
    assert.same({ true, true, 1, 1 }, { ok, same, calls, seen.attempt })
    assert.same({ true, nil }, { run(function(ctx) return ctx:step("a", function() end) end) })
  end)

  it("has a checked id, used once in a run", function()
    for _, id in ipairs { "", ".", "..", "a b", "ä", ("x"):rep(129), "a/b", 7, true, {} } do
      local ok, err = run(function(ctx) return ctx:step(id, function() end) end)
      assert.is_false(ok)
      assert.same({ "DURABLE_STEP_ERROR", "invalid_step_id" }, { err.code, err.meta.reason })
    end
    for _, id in ipairs { "a", "A.b:c_d-1", ("x"):rep(128), "..." } do
      assert.is_true((run(function(ctx) return ctx:step(id, function() end) end)), id)
    end
    local ok, err = run(function(ctx)
      pcall(ctx.step, ctx, "a", function() error "x" end)
      return ctx:step("a", function() end)
    end)
    assert.same({ false, "DURABLE_STEP_ERROR", "duplicate_step", "a" },
      { ok, err.code, err.meta.reason, err.meta.step_id })
  end)

  it("raises what its function raises", function()
    local mine = {}
    local ok, err = run(function(ctx) return ctx:step("a", function() error(mine) end) end)
    assert.is_false(ok)
    assert.is_true(rawequal(mine, err))
  end)

  it("is tried again as often as its retry says, later each time", function()
    local times = {}
    local retry = { max_attempts = 4, min_delay_ms = 100, max_delay_ms = 250 }
    local ok, value = run(function(ctx)
      return ctx:step("a", function(info)
        times[info.attempt] = harness.clock()
        if info.attempt < 4 then error "not yet" end
        return "at last"
      end, { retry = retry })
    end)
    assert.same({ true, "at last" }, { ok, value })
    assert.same({ 100, 200, 250 }, { times[2] - times[1], times[3] - times[2], times[4] - times[3] })
    times = {}
    ok = run(function(ctx)
      return ctx:step("a", function(info)
        times[info.attempt] = harness.clock()
        error "never"
      end, { retry = { min_delay_ms = 7, backoff = "fixed" } })
    end)
    assert.same({ false, 3, 7, 7 }, { ok, #times, times[2] - times[1], times[3] - times[2] })
  end)

  it("never waits less the more often it has failed, however large the numbers are", function()
    local times = {}
    local retry = { max_attempts = 80, min_delay_ms = 1 << 40, max_delay_ms = 10 }
    local ok = run(function(ctx)
      return ctx:step("a", function(info)
        times[info.attempt] = harness.clock()
        error "no"
      end, { retry = retry })
    end)
    assert.is_false(ok)
    for i = 2, 80 do assert.equal(10, times[i] - times[i - 1]) end
  end)

  it("is not tried again when the run is stopped, or its function was cancelled", function()
    local calls = 0
    local ok, err = run(function(ctx)
      return ctx:step("a", function()
        calls = calls + 1
        harness.sleep(1000)
      end, { retry = { max_attempts = 5 } })
    end, { timeout_ms = 50 })
    assert.same({ false, "OPERATION_TIMEOUT", "run", 1 }, { ok, err.code, err.meta.scope, calls })
    calls = 0
    ok, err = run(function(ctx)
      return ctx:step("a", function()
        calls = calls + 1
        harness.error("OPERATION_CANCELLED", "no", { scope = "task" })
      end, { retry = {} })
    end)
    assert.same({ false, "OPERATION_CANCELLED", 1 }, { ok, err.code, calls })
  end)

  it("has a deadline for each attempt", function()
    local attempts = 0
    local ok, err = run(function(ctx)
      return ctx:step("a", function(info)
        attempts = info.attempt
        harness.sleep(1000)
      end, { timeout_ms = 20, retry = { max_attempts = 2, min_delay_ms = 1 } })
    end)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "OPERATION_TIMEOUT"))
    assert.equal(2, attempts)
  end)

  it("inside of one that is tried again has its id again in each attempt", function()
    local inner = 0
    local ok, value = run(function(ctx)
      return ctx:step("outer", function(info)
        ctx:step("inner", function() inner = inner + 1 end)
        if info.attempt < 3 then error "not yet" end
        return "done"
      end, { retry = { max_attempts = 3, min_delay_ms = 1 }, timeout_ms = 1000 })
    end)
    assert.same({ true, "done", 3 }, { ok, value, inner })
    local _, err = run(function(ctx)
      ctx:step("outer", function() ctx:step("inner", function() end) end, { retry = {} })
      return ctx:step("inner", function() end)
    end)
    assert.equal("duplicate_step", err.meta.reason)
  end)

  it("tells of a mistake in its arguments", function()
    for _, case in ipairs {
      { nil, "needs a function" }, { 5, "needs a function" },
      { print, 'the options of step "a" must be a table, got 5', 5 },
      { print, 'has no option "retries"', { retries = 1 } },
      { print, "whole number", { timeout_ms = "1" } }, { print, "a table", { retry = 3 } },
      { print, 'has no option "attempts"', { retry = { attempts = 3 } } },
      { print, "at least 1", { retry = { max_attempts = 0 } } },
      { print, "exponential", { retry = { backoff = "linear" } } }, { print, "not available", { effect = "once" } },
    } do
      local ok, err = run(function(ctx) return ctx:step("a", case[1], case[3]) end)
      assert.is_false(ok)
      assert.equal("DURABLE_STEP_ERROR", err.code)
      assert.is_truthy(err.message:find(case[2], 1, true), err.message)
    end
  end)
end)

describe("a workflow's time", function()
  before_each(function() clock.stop() end)
  after_each(function() clock.go() end)

  it("can be waited for, from now or until then", function()
    local ok, passed = run(function(ctx)
      local from = harness.now()
      ctx:sleep(30)
      ctx:sleep_until(from + 100)
      ctx:sleep_until(from - 5)
      return harness.now() - from
    end)
    assert.same({ true, 100 }, { ok, passed })
    assert.same({ true, 0 }, { run(function(ctx)
      local from = harness.now()
      for _, at in ipairs { math.mininteger, -math.huge, 0 } do ctx:sleep_until(at) end
      return harness.now() - from
    end) })
    for _, at in ipairs { math.maxinteger, math.huge } do
      local ended, late = run(function(ctx) ctx:sleep_until(at) end, { timeout_ms = 50 })
      assert.same({ false, "OPERATION_TIMEOUT" }, { ended, late.code })
    end
    local wrong, err = run(function(ctx) ctx:sleep_until "noon" end)
    assert.same({ false, "VALIDATION_ERROR" }, { wrong, err.code })
  end)

  it("cannot be spent waiting for a message, which needs a durable run", function()
    local ok, err = run(function(ctx) return ctx:wait "approval" end)
    assert.same({ false, "HARNESS_CONFIG_ERROR", "not_available" }, { ok, err.code, err.meta.reason })
  end)
end)
