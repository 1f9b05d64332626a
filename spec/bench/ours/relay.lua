--- harness.relay in the three regimes of peers/relay.mjs, with events that are Lua tables.

local harness = require "harness"
local measure = require "spec.bench.measure"

local function plain(i) return { type = "model.delta", run_id = "r1", seq = i, delta = "hello" } end
local function terminal(i) return { type = "agent.finished", run_id = "r1", seq = i } end

measure.batches("keep_up", 1000000, function(n)
  local relay = harness.relay {}
  local got = 0
  local reader = harness.spawn(function()
    for event in relay do
      if event.type ~= "stream.overflow" then got = got + 1 end
    end
  end)
  for i = 1, n do
    relay:push(plain(i))
    if i % 100 == 0 then harness.sleep(0) end
  end
  relay:finish()
  reader:await()
  assert(got == n, got .. " events came")
end, 5)

-- The queue is filled first; then the reader takes one event for each 1,000 pushes.
local function full(make)
  return function(n)
    local relay = harness.relay {}
    for i = 1, 1024 do relay:push(make(i)) end
    for i = 1, n do
      relay:push(make(i))
      if i % 1000 == 0 then relay:next() end
    end
    relay:finish()
  end
end

measure.batches("full", 100000, full(plain), 5)
measure.batches("full_terminal", 20000, full(terminal), 5)
