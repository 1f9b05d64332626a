--- 10,000 runs that all wait in their tool: memory of each of them.

local harness = require "harness"
local measure = require "spec.bench.measure"
local agents = require "spec.bench.ours.agents"

local COUNT <const>, HOLD_MS <const> = 10000, 10000
local waiting, each = 0, nil
local before

local function memory()
  collectgarbage()
  collectgarbage()
  return measure.memory_kib "VmRSS"
end

local run = agents.make(1, function()
  waiting = waiting + 1
  if waiting == COUNT then each = (memory() - before) / COUNT end
  if before then harness.sleep(HOLD_MS) end
  return { ok = true, temperature = 21, unit = "C" }
end)
run() -- loads what is loaded late
waiting, before = 0, memory()
local tasks = {}
for i = 1, COUNT do tasks[i] = harness.spawn(run) end
for _, task in ipairs(tasks) do task:await() end
measure.value("each", assert(each, "they never waited all at once: the hold is too short"))
