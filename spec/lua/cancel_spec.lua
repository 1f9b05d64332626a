--- Stops a run at every point at which the scheduler resumes anything, and looks at what is left.

local clock = require "spec.support.clock"
local errors = require "harness.errors"
local harness = require "harness"
local live = require "spec.support.live"
local scripted = require "spec.support.scripted"
local task = require "harness.task"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function call(name, arguments) return { name = name, arguments = arguments or {} } end

-- The recorded runs: name -> what the model says. Together they pass through every wait of a run.
local RUNS <const> = {
  { "text", { { chunks = { "a", "b", "c" }, chunk_delay_ms = 5 } } },
  { "tools", { { tool_calls = { call("slow", { ms = 5 }), call("echo", { text = "x" }), call("slow", { ms = 3 }) } },
    { text = "end" } } },
  { "retry", { { error = { status = 429, retry_after_ms = 10 } }, { text = "end" } } },
  { "failing tools", { { tool_calls = { call "fails", call "nope", call "stubborn" } }, { text = "end" } } },
  { "limited", { { tool_calls = { call("slow", { ms = 2 }), call("slow", { ms = 2 }), call("slow", { ms = 2 }) } },
    { tool_calls = { call "nested" } }, { chunks = { "x", "y" }, chunk_delay_ms = 1 } },
    { max_parallel_tool_calls = 1 } },
}

local function tools()
  local list = scripted.tools()
  list.stubborn.timeout_ms = 20
  list.nested = { description = "Makes tasks.", input = harness.schema.object {}, run = function()
    local gen = coroutine.wrap(function() for i = 1, 2 do harness.sleep(1) coroutine.yield(i) end end)
    harness.all { function() harness.sleep(2) end, function() for _ in gen do harness.sleep(1) end end }
    harness.shield(function() harness.sleep(1) end)
    return "ok"
  end }
  return list
end

-- A storage that waits at every call of the run, so that its record and its commit have points, too.
local slow = false
local function waiting_storage()
  local storage = harness.storage.memory()
  return setmetatable({}, { __index = function(self, key)
    local method = storage[key]
    if type(method) ~= "function" then return method end
    local function waiting(_, ...)
      if slow then harness.sleep(1) end
      return method(storage, ...)
    end
    rawset(self, key, waiting)
    return waiting
  end })
end

-- Where a task is: the lines that it waits in, innermost first.
local function place(t)
  local lines = { t.state }
  if t.co then
    for line in debug.traceback(t.co):gmatch "([%w_]+%.lua:%d+): in" do lines[#lines + 1] = line end
  end
  return table.concat(lines, " < ")
end

-- Runs it once, stopping it before the k-th resume. Returns whether it got that far, and the events.
local function run_once(turns, defaults, storage, k, stop)
  local h = scripted.harness(turns, { tools = tools(), definition = { defaults = defaults, storage = storage() } })
  local session, n, where = h:session "s", 0, nil
  local ok, outcome, events
  local controller = harness.abort_controller()
  slow = true
  local stream = session.agents.helper:stream("go", { signal = controller.signal })
  task.set_probe(function(t)
    n = n + 1
    if n == k then
      where = place(t)
      stop(stream, controller)
    end
  end)
  local reader = harness.spawn(function()
    events = scripted.drain(stream)
    ok, outcome = pcall(stream.result, stream)
  end)
  clock.advance(5000)
  task.set_probe(nil)
  reader:await()
  slow = false
  local record = session:runs()[1]
  local history = session.history:list()
  local stored = record and session:events(record.id)
  h:shutdown()
  return { reached = where, ok = ok, err = not ok and outcome, events = events, record = record, history = history,
    stored = stored }
end

local function check_run(r, label)
  local finished = scripted.of(r.events, "run.finished")
  if r.record then
    assert.equal(1, #finished, label)
    assert.equal("run.finished", r.events[#r.events].type, label)
    assert.equal(finished[1].status, r.record.status, label)
    assert.equal("run.finished", r.stored[#r.stored].type, label)
  else
    assert.equal(0, #r.events, label)
  end
  assert.equal(#scripted.of(r.events, "tool.started"), #scripted.of(r.events, "tool.finished"), label)
  assert.equal(#scripted.of(r.events, "agent.started"), #scripted.of(r.events, "agent.finished"), label)
  local models = #scripted.of(r.events, "model.completed") + #scripted.of(r.events, "model.failed")
  assert.equal(#scripted.of(r.events, "model.started"), models, label)
  for i, event in ipairs(r.events) do assert.equal(i, event.seq, label) end
  if r.ok then
    assert.is_true(#r.history >= 2, label)
  else
    assert.equal(0, #r.history, label)
    assert.is_true(errors.is(r.err), label)
  end
end

describe("stopping a run before the k-th resume, for every k", function()
  local points, total = {}, 0

  before_each(function() clock.stop() end)
  after_each(function()
    task.set_probe(nil)
    clock.go()
  end)

  local STOPS <const> = {
    { "stream:cancel", function(stream) stream:cancel "stop" end },
    { "the caller's signal", function(_, controller) controller:abort "stop" end },
  }

  local function on_storages(run, how)
    for _, kind in ipairs { "memory", "waiting" } do
      it(("by %s: %s, on a %s storage"):format(how[1], run[1], kind), function()
        local storage = kind == "memory" and function() return harness.storage.memory() end or waiting_storage
        local before = live.now()
        local k = 0
        while true do
          k = k + 1
          local r = run_once(run[2], run[3], storage, k, how[2])
          if not r.reached then
            assert.is_true(r.ok)
            break
          end
          local label = ("%s, k = %d, at %s"):format(run[1], k, r.reached)
          check_run(r, label)
          if not r.ok then assert.equal("OPERATION_CANCELLED", r.err.code, label) end
          points[r.reached] = (points[r.reached] or 0) + 1
          total = total + 1
          if FACTOR > 1 then k = k + math.random(0, FACTOR // 2) end
          collectgarbage()
        end
        collectgarbage() -- the last run's controller
        live.check(before)
      end)
    end
  end

  for _, run in ipairs(RUNS) do
    for _, how in ipairs(STOPS) do on_storages(run, how) end
  end

  it("hits many different points", function()
    local n = 0
    for _ in pairs(points) do n = n + 1 end
    print(("cancel points: %d runs stopped, %d distinct points"):format(total, n))
    assert.is_true(n >= (FACTOR > 1 and 8 or 15))
  end)
end)
