--- Processor time of one model step; the metrics are those of peers/steps.mjs.

local measure = require "spec.bench.measure"
local agents = require "spec.bench.ours.agents"

local function series(run, runs, calls_per_run)
  local w, c = measure.wall_us(), measure.cpu_us()
  for _ = 1, runs do run() end
  local calls = runs * calls_per_run
  return (measure.wall_us() - w) / calls, (measure.cpu_us() - c) / calls
end

local function median_of(count, metric, ...)
  local wall, cpu = {}, {}
  for i = 1, count do wall[i], cpu[i] = series(...) end
  measure.report(metric, measure.median(wall), measure.median(cpu))
end

local one = agents.make(1)
measure.report("cold", series(one, 5000, 2))
series(one, 5000, 2)
median_of(5, "warm", one, 3000, 2)

local ten = agents.make(10)
series(ten, 500, 11)
median_of(5, "ten", ten, 500, 11)

-- The tool reads the clocks at its 900th and its 1,000th call.
local calls, wall, cpu = 0, {}, {}
local w, c
local thousand = agents.make(1000, function()
  calls = calls + 1
  if calls == 900 then w, c = measure.wall_us(), measure.cpu_us() end
  if calls == 1000 then
    wall[#wall + 1], cpu[#cpu + 1] = (measure.wall_us() - w) / 100, (measure.cpu_us() - c) / 100
  end
  return { ok = true, temperature = 21, unit = "C" }
end)
for _ = 1, 5 do
  calls = 0
  thousand()
end
measure.report("thousand", measure.median(wall), measure.median(cpu))
