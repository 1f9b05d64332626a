--- Cancelling a tree of 10,000 waiting tasks, until the last one has ended; then what is left.

local harness = require "harness"
local core = require "harness.core"
local measure = require "spec.bench.measure"

local function tree()
  local function leaf() harness.sleep(3600000) end
  local function branch()
    for _ = 1, 99 do harness.spawn(leaf) end
    leaf()
  end
  for _ = 1, 100 do harness.spawn(branch) end
  harness.sleep(3600000)
end

local function live()
  local sum = 0
  for _, count in pairs(core.live()) do sum = sum + count end
  return sum
end

local before = live()
local wall, cpu = {}, {}
for i = 1, 6 do
  local root = harness.spawn(tree)
  harness.sleep(100)
  assert(live() - before > 10000, "the tasks are not there")
  local w, c = measure.wall_us(), measure.cpu_us()
  root:cancel "enough"
  pcall(root.await, root)
  wall[i], cpu[i] = measure.wall_us() - w, measure.cpu_us() - c
end
measure.report("abort", measure.median(wall), measure.median(cpu))
measure.value("left", live() - before)
