--- What is left after many runs, and what a run costs when there are many others. Design 01 "Ownership",
--- "Scale".

local clock = require "spec.support.clock"
local core = require "harness.core"
local harness = require "harness"
local live = require "spec.support.live"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
-- An interpreter with the sanitizers keeps freed memory for a while, and is slow in its own ways.
local IS_SANITIZED <const> = (os.getenv "HARNESS_LUA" or ""):find "asan" ~= nil

local function call(name, arguments) return { name = name, arguments = arguments or {} } end

-- The integer keys of the registry that are in use: a reference that nobody gives back stays there.
local function registry_size()
  local n = 0
  for key, value in pairs(debug.getregistry()) do
    if math.type(key) == "integer" and math.type(value) ~= "integer" then n = n + 1 end
  end
  return n
end

-- Resident memory of this process, in kilobytes.
local function resident_kb()
  local file = assert(io.open "/proc/self/statm")
  local pages = tonumber(file:read "a":match "%d+ (%d+)")
  file:close()
  return pages * 4
end

local function collect()
  for _ = 1, 3 do collectgarbage() end
end

-- Each answers a message by its first word.
local ANSWERS <const> = {
  text = function() return { text = "hi" } end,
  chunks = function() return { chunks = { "a", "b", "c" }, chunk_delay_ms = 1 } end,
  tools = function() return { tool_calls = { call("echo", { text = "x" }), call("slow", { ms = 2 }) } } end,
  fails = function() return { tool_calls = { call "fails", call "nope", call("echo", { text = 7 }) } } end,
  stubborn = function() return { tool_calls = { call "stubborn" } } end,
  error = function() return { error = { status = 400 } } end,
  retry = function(n)
    return n % 2 == 1 and { error = { status = 500, retry_after_ms = 1 } } or { text = "ok" }
  end,
  late = function() return { delay_ms = 60000, text = "never" } end,
  abort = function() return { tool_calls = { call "listens" } } end,
}

local calls = 0

local function answer(request)
  local last = request.messages[#request.messages]
  calls = calls + 1
  if last.role == "tool" then return { text = "end" } end
  return ANSWERS[last.content:match "%w+"](calls)
end

-- A logger that keeps nothing.
local forgetful = {}
for _, level in ipairs { "trace", "debug", "info", "warn", "error", "fatal" } do
  forgetful[level] = function() end
end
function forgetful:child() return self end

local function define()
  local tools = scripted.tools()
  tools.stubborn.timeout_ms = 5
  tools.listens = { description = "x", input = harness.schema.object {}, run = function(ctx)
    local detach = ctx.signal:on_abort(print)
    ctx.signal:on_abort(function() end)
    detach()
    local gen = coroutine.wrap(function() for i = 1, 2 do harness.sleep(1) coroutine.yield(i) end end)
    harness.all { function() gen() end, function() harness.shield(harness.sleep, 10, 1) end }
    harness.sleep(50)
  end }
  return (scripted.harness({}, { tools = tools, definition = {
    defaults = { cancel_grace_ms = 20 }, logger = forgetful,
    models = { fast = { model = "m", provider = harness.providers.scripted(answer, { record = 0 }) } },
  } }))
end

-- Lets the run go on for ms, and takes its end whatever it is.
local function finish(stream, ms)
  clock.advance(ms)
  pcall(stream.result, stream)
end

-- Ways in which a run may go: name -> function(session, h).
local WAYS <const> = {
  ["a text"] = function(s) s.agents.helper:run "text" end,
  ["a text that streams, read"] = function(s)
    local stream = s.agents.helper:stream "chunks"
    clock.advance(5)
    scripted.drain(stream)
  end,
  ["a stream that nobody reads"] = function(s) finish(s.agents.helper:stream "chunks", 5) end,
  ["a stream that is closed"] = function(s)
    local stream = s.agents.helper:stream "chunks"
    stream:close()
    finish(stream, 5)
  end,
  ["several readers, late ones too"] = function(s)
    local stream = s.agents.helper:stream "tools"
    clock.advance(1)
    local follower = s:follow(stream.run_id)
    finish(stream, 10)
    scripted.drain(follower)
    scripted.drain(s:follow(stream.run_id))
  end,
  ["tools"] = function(s) finish(s.agents.helper:stream "tools", 10) end,
  ["tools that fail"] = function(s) finish(s.agents.helper:stream "fails", 10) end,
  ["a tool that has to be ended by force"] = function(s) finish(s.agents.helper:stream "stubborn", 100) end,
  ["a model that fails"] = function(s) finish(s.agents.helper:stream "error", 10) end,
  ["a model that is asked again"] = function(s) finish(s.agents.helper:stream "retry", 10) end,
  ["a cancelled model call"] = function(s)
    local stream = s.agents.helper:stream "late"
    clock.advance(1)
    stream:cancel "enough"
    finish(stream, 30)
  end,
  ["a cancelled tool that listens"] = function(s)
    local stream = s.agents.helper:stream "abort"
    clock.advance(3)
    stream:cancel()
    finish(stream, 50)
  end,
  ["a timeout"] = function(s) finish(s.agents.helper:stream("late", { timeout_ms = 5 }), 50) end,
  ["a budget of time"] = function(s)
    finish(s.agents.helper:stream("late", { budget = { max_wall_ms = 5 } }), 50)
  end,
  ["a signal of one's own"] = function(s)
    local c = harness.abort_controller()
    local stream = s.agents.helper:stream("late", { signal = c.signal })
    clock.advance(1)
    c:abort { "why" }
    finish(stream, 30)
  end,
  ["options that are refused, a session that is busy"] = function(s)
    pcall(s.agents.helper.run, s.agents.helper, "text", { timeout_ms = -1 })
    local stream = s.agents.helper:stream "late"
    pcall(s.agents.helper.run, s.agents.helper, "text")
    stream:cancel()
    finish(stream, 30)
  end,
  ["a caller that is cancelled"] = function(s)
    local t = harness.spawn(function() s.agents.helper:run "late" end)
    clock.advance(1)
    t:cancel()
    clock.advance(30)
    pcall(t.await, t)
  end,
  ["a session that is closed in the middle"] = function(s, h)
    s.agents.helper:stream "late"
    clock.advance(1)
    s:close()
    h:session(s.id):run_summary "x"
  end,
}

describe("a thousand runs", function()
  still(before_each, after_each)

  local function rounds(h, way, n)
    for i = 1, n do
      local session = h:session("s" .. i)
      way(session, h)
      h:session("s" .. i):delete()
    end
    task.settle()
    collect()
  end

  local ROUNDS <const> = math.max(20, 60 // FACTOR)

  for name, way in pairs(WAYS) do
    it("leave nothing behind: " .. name, function()
      local h = define()
      local counts, registry, now
      local more = math.huge
      -- What is measured has been there before the second time. A table that grows once for all is no
      -- leak: what leaks does so each time, so the least counts.
      for _ = 1, 4 do
        local kilobytes = collectgarbage "count"
        counts, registry = core.live(), registry_size()
        rounds(h, way, ROUNDS)
        now, more = core.live(), math.min(more, (collectgarbage "count" - kilobytes) * 1024 / ROUNDS)
      end
      for key, count in pairs(counts) do assert.equal(count, now[key], key) end
      assert.is_true(registry_size() <= registry + 2,
        "the registry grew from " .. registry .. " to " .. registry_size())
      assert.is_true(more < 20, ("%.0f bytes more for each run"):format(more))
      assert.is_nil(next(h.live_runs))
      assert.is_nil(next(h.sessions))
      h:shutdown()
    end)
  end

  -- The sanitizers keep freed memory, and find what is lost themselves.
  if not IS_SANITIZED then it("leave no memory taken in C either", function()
    local h = define()
    local function all(n)
      for _, way in pairs(WAYS) do rounds(h, way, n) end
    end
    all(40)
    local kilobytes = resident_kb()
    all(math.max(20, 80 // FACTOR))
    local more = resident_kb() - kilobytes
    assert.is_true(more < 3000, more .. " KB more")
    h:shutdown()
  end) end

  it("of a thousand harnesses leave nothing behind", function()
    local function many(n)
      for _ = 1, n do
        local h = define()
        WAYS.tools(h:session "s")
        h:shutdown()
      end
      collect()
    end
    local n, more, counts, registry, now = 250 // FACTOR, math.huge, nil, nil, nil
    for _ = 1, 4 do
      local kilobytes = collectgarbage "count"
      counts, registry = core.live(), registry_size()
      many(n)
      now, more = core.live(), math.min(more, (collectgarbage "count" - kilobytes) * 1024 / n)
    end
    for key, count in pairs(counts) do assert.equal(count, now[key], key) end
    assert.is_true(registry_size() <= registry + 2)
    assert.is_true(more < 20, ("%.0f bytes more for each"):format(more))
  end)
end)

-- Times mean little with the sanitizers.
if not IS_SANITIZED then describe("the cost of a run", function()
  before_each(function() clock.stop() end)
  after_each(function()
    collect()
    clock.go()
  end)

  local RUNS <const> = math.max(20, 100 // FACTOR)

  local function in_new_sessions(h, round)
    for i = 1, RUNS do
      local session = h:session(("new %d %d"):format(round, i))
      session.agents.helper:run "text"
      session:run_summary(session:runs()[1].id)
    end
  end

  local function microseconds(fn, ...)
    collectgarbage "stop"
    local from = os.clock()
    fn(...)
    local spent = (os.clock() - from) * 1e6 / RUNS
    collectgarbage "restart"
    return spent
  end

  -- Measures beside few others and beside many, in turns, so that a slow moment of the machine meets both:
  -- the best of each may not differ much. `prepare(h, n)` makes the others.
  local function compare(few, many, prepare, work)
    local a, b = { h = define(), best = math.huge }, { h = define(), best = math.huge }
    a.kept, b.kept = prepare(a.h, few), prepare(b.h, many)
    for round = 1, 8 do
      collectgarbage()
      for _, one in ipairs { a, b } do
        one.best = math.min(one.best, microseconds(work or in_new_sessions, one.h, round, one.kept))
      end
    end
    for _, one in ipairs { a, b } do
      for _, run in pairs(one.h.live_runs) do run:cancel() end
      task.settle(5 * many)
      one.h:shutdown()
    end
    assert.is_true(b.best < 3 * a.best + 50,
      ("%.0f us beside %d, %.0f us beside %d"):format(a.best, few, b.best, many))
  end

  it("does not depend on how many sessions and runs are stored", function()
    compare(100, 10000 // FACTOR, function(h, n)
      for i = 1, n do h:session("old " .. i).agents.helper:run "text" end
    end)
  end)

  it("does not depend on how many sessions are open", function()
    compare(100, 10000 // FACTOR, function(h, n)
      local kept = {}
      for i = 1, n do
        kept[i] = h:session("old " .. i)
        kept[i].agents.helper:run "text"
      end
      return kept
    end)
  end)

  it("does not depend on how many runs its session has had", function()
    compare(20, 5000 // FACTOR, function(h, n)
      local session = h:session "s"
      for i = 1, n do
        session.agents.helper:run "text"
        if i % 50 == 0 then session.history:clear() end
      end
      return session
    end, function(_, _, session)
      session.history:clear()
      for _ = 1, RUNS do session.agents.helper:run "text" end
    end)
  end)

  it("does not depend on how many others are waiting", function()
    compare(10, 2000 // FACTOR, function(h, n)
      local streams = {}
      for i = 1, n do streams[i] = h:session("waiting " .. i).agents.helper:stream "late" end
      task.settle(n)
      return streams
    end)
  end)
end) end

describe("a hundred runs at the same time", function()
  it("on a hundred sessions all come to their own end", function()
    clock.stop()
    local before = live.now()
    local h = scripted.harness(function(request)
      local last = request.messages[#request.messages]
      if last.role == "tool" then
        return { chunks = { "ended ", request.messages[2].content }, chunk_delay_ms = 3, delay_ms = 5 }
      end
      local ms = tonumber(last.content)
      return { tool_calls = { call("slow", { ms = ms }), call("echo", { text = last.content }) },
        delay_ms = ms }
    end)
    local streams = {}
    for i = 1, 100 do streams[i] = h:session("s" .. i).agents.helper:stream(tostring(i)) end
    clock.advance(1000)
    for i, stream in ipairs(streams) do
      assert.equal("ended " .. i, stream:result())
      local events = scripted.drain(stream)
      assert.equal("run.finished", events[#events].type)
      for n, event in ipairs(events) do assert(event.seq == n and event.run_id == stream.run_id) end
      local said = {}
      for n, message in ipairs(h:session("s" .. i).history:list()) do said[n] = message.content end
      assert.same({ tostring(i), "", "slept " .. i, tostring(i), "ended " .. i }, said)
    end
    h:shutdown()
    streams = nil -- luacheck: ignore
    collect()
    live.check(before)
    clock.go()
  end)
end)
