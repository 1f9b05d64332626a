--- Programs of the tool lua: from the call to the answer, with a spare process that waits and without one,
--- and the calls within a program.

local core = require "harness.core"
local harness = require "harness"
local measure = require "spec.bench.measure"
local program = require "harness.program"

local RUNS <const>, CALLS <const> = 51, 900
local READY_MS <const> = 50 -- a spare process has started long before

local programs = program.new()

local function run(code)
  return programs:run({ code = code, tools = { "a" } }, {
    own_ms = 0, call = function() return { { value = "1" } } end,
  })
end

-- The median of the runs, each after prepare().
local function each(metric, prepare)
  local wall, cpu = {}, {}
  for i = 1, RUNS do
    prepare()
    local w, c = core.now_us(), measure.cpu_us()
    run "return 1"
    wall[i], cpu[i] = core.now_us() - w, measure.cpu_us() - c
  end
  measure.report(metric, measure.median(wall), measure.median(cpu))
end

each("warm", function()
  programs:warm()
  harness.sleep(READY_MS)
end)
each("cold", function()
  if programs.spare then programs.spare:close() end
  programs.spare = nil
end)
measure.batches("call", CALLS, function(n) run(("for _ = 1, %d do tools.a{} end return 1"):format(n)) end)
programs:close()
