--- 1,000 runs of ten tool calls (11 model calls) at once: time for all of them, and peak memory.

local harness = require "harness"
local measure = require "spec.bench.measure"
local agents = require "spec.bench.ours.agents"

-- A tool that lets the others go on, so that the runs really are under way together.
local run = agents.make(10, function()
  harness.sleep(0)
  return { ok = true, temperature = 21, unit = "C" }
end)
local w, c = measure.wall_us(), measure.cpu_us()
local tasks = {}
for i = 1, 1000 do tasks[i] = harness.spawn(run) end
for _, task in ipairs(tasks) do task:await() end
measure.report("all", measure.wall_us() - w, measure.cpu_us() - c)
measure.value("peak", measure.memory_kib "VmHWM" / 1024)
