--- lua/harness/throttle.lua: many calls and a provider that says 429. Design 06 "Retry and fallback".

local clock = require "spec.support.clock"
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"
local throttle = require "harness.throttle"

local of, drain = scripted.of, scripted.drain

local HOUR_MS <const> = 3600000
local AGENTS <const> = 100

describe("after a 429", function()
  local opened = still(before_each, after_each)

  -- A provider that asks `answer(n, now)` what to do: a text, or the meta of an error. Notes its calls.
  local function provider(answer)
    local p = { id = "busy", capabilities = { "text", "text_stream" }, times = {} }
    function p:generate()
      local now = harness.clock() // 1 | 0
      self.times[#self.times + 1] = now
      local said = answer(#self.times, now)
      harness.sleep(20)
      if type(said) == "string" then return { text = said } end
      harness.error("MODEL_ERROR", "too many requests", said)
    end
    return p
  end

  local function refused(retry_after_ms)
    return { status = 429, reason = "http_error", retry_after_ms = retry_after_ms }
  end

  local function define(models)
    local h = scripted.harness({}, { tools = {}, definition = { models = models } })
    opened[#opened + 1] = h
    return h
  end

  local function one(p) return define { fast = { provider = p, model = "m" } } end

  -- Runs `count` agents beside each other while ms go by; what each came to.
  local function agents(h, count, ms, again)
    local tasks, results, stop = {}, {}, false
    for i = 1, count do
      tasks[i] = harness.spawn(function()
        local session = h:session()
        repeat
          local ok, value = pcall(session.agents.helper.run, session.agents.helper, "go")
          results[i] = { ok, value }
        until not again or stop
      end)
    end
    clock.advance(ms)
    stop = true
    for _, t in ipairs(tasks) do t:cancel() end
    task.settle(5 * count)
    for _, t in ipairs(tasks) do pcall(t.await, t) end
    return results
  end

  -- The most calls within any window of so many milliseconds.
  local function densest(times, window, from)
    local most, first = 0, from or 1
    for last = first, #times do
      while times[last] - times[first] >= window do first = first + 1 end
      most = math.max(most, last - first + 1)
    end
    return most
  end

  it("a hundred agents that go on for an hour do not storm a provider that goes on refusing", function()
    local p = provider(function() return refused(5000) end)
    agents(one(p), AGENTS, HOUR_MS, true)
    -- those that were on their way, then one for each five seconds
    assert.is_true(#p.times >= AGENTS and #p.times <= AGENTS + HOUR_MS // 5000 + 1, #p.times .. " calls")
    assert.is_true(densest(p.times, 5000, AGENTS + 1) <= 2)
  end)

  it("nor when it does not say for how long", function()
    local p = provider(function() return refused(nil) end)
    agents(one(p), AGENTS, HOUR_MS, true)
    assert.is_true(#p.times <= AGENTS + HOUR_MS // 8000 + 20, #p.times .. " calls")
    assert.is_true(#p.times >= HOUR_MS // 8000)
  end)

  it("all get through one after another once it answers again, and then at full speed", function()
    local p
    p = provider(function(n) return n <= AGENTS and refused(2000) or "ok" end)
    local h = one(p)
    local results = agents(h, AGENTS, 60000)
    for i = 1, AGENTS do assert.same({ true, "ok" }, results[i]) end
    assert.equal(2 * AGENTS, #p.times)
    assert.is_true(p.times[AGENTS + 1] - p.times[1] >= 2000)
    assert.equal(1, densest(p.times, 100, AGENTS + 1)) -- 100 ms apart
    agents(h, AGENTS, 1000)
    assert.equal(AGENTS, densest(p.times, 10, 2 * AGENTS + 1)) -- calm: all at once
  end)

  it("a second refusal makes those wait that waited already", function()
    local refusals = 0
    local p = provider(function(n, now)
      if n == 1 then return refused(1000) end
      if refusals == 0 then refusals = now return refused(3000) end
      return "ok"
    end)
    local h = one(p)
    local first = harness.spawn(agents, h, 1, 100)
    first:await()
    agents(h, 20, 30000)
    local after = 0
    for _, at in ipairs(p.times) do if at > refusals and at < refusals + 3000 then after = after + 1 end end
    assert.equal(0, after)
  end)

  it("other models, and other providers, are not held up", function()
    local p = provider(function(n) return n == 1 and refused(20000) or "ok" end)
    local q = provider(function() return "ok" end)
    local h = define { fast = { provider = p, model = "m" } }
    local function run(hh, ms)
      return agents(hh, 1, ms)[1][2]
    end
    harness.spawn(function() h:session().agents.helper:run "go" end)
    clock.advance(100)
    assert.equal("ok", run(define { fast = { provider = p, model = "other" } }, 100))
    assert.equal("ok", run(define { fast = { provider = q, model = "m" } }, 100))
    assert.equal("OPERATION_CANCELLED", run(define { fast = { provider = p, model = "m" } }, 100).code)
    clock.advance(60000)
  end)

  it("that asks for more than a minute, calls fail at once, or fall back, until it is over", function()
    local p = provider(function(n) return n == 1 and refused(HOUR_MS) or "back" end)
    local q = provider(function() return "from the other" end)
    local h = one(p)
    assert.equal(HOUR_MS, agents(h, 1, 100)[1][2].meta.retry_after_ms)
    local err = agents(h, 1, 0)[1][2]
    assert.same({ "MODEL_ERROR", 429, true }, { err.code, err.meta.status, err.retriable })
    assert.is_true(err.meta.retry_after_ms < HOUR_MS and err.meta.retry_after_ms > HOUR_MS - 1000)
    assert.matches("35%d%d s of it are left", err.message)
    local both = define { fast = { provider = p, model = "m", fallback = { "b" } },
      b = { provider = q, model = "m" } }
    local stream = both:session().agents.helper:stream "go"
    clock.advance(100)
    assert.equal("from the other", stream:result())
    assert.equal(1, #of(drain(stream), "model.failed"))
    assert.equal(1, #p.times)
    clock.advance(HOUR_MS)
    assert.equal("back", agents(h, 1, 100)[1][2])
  end)

  it("a run that is cancelled while it waits leaves nothing behind", function()
    local p = provider(function() return refused(10000) end)
    local h = one(p)
    agents(h, 3, 100)
    agents(h, 20, 500)
    assert.is_true(#p.times <= 3)
  end)

  it("strange times harm nothing", function()
    for _, odd in ipairs { -1, 0, 0.5, 1e300, math.huge } do
      local p = provider(function(n) return n == 1 and refused(odd) or "ok" end)
      local h = one(p)
      local result = agents(h, 1, 5000)[1]
      assert.equal(odd <= 20000, result[1])
    end
  end)

  it("nothing is kept of a provider that is gone", function()
    local weak = setmetatable({}, { __mode = "k" })
    for _ = 1, 10 do
      local p = {}
      weak[p] = true
      throttle.hold(p, "m", 1000)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
    local p = {}
    assert.is_nil(throttle.wait(p, "m")) -- and what was never refused does not wait
  end)
end)
