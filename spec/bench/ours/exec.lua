--- `echo hi` in bash{}, and beside it, in turns, the same bash under bubblewrap with the same flags and nothing of
--- ours in it. `over` is what ours takes longer, in milliseconds.

local bwrap = require "spec.bench.peers.bwrap"
local core = require "harness.core"
local harness = require "harness"
local measure = require "spec.bench.measure"

local ROUNDS <const>, EACH <const> = 15, 20

local function time(fn)
  local from = core.now_us()
  for _ = 1, EACH do fn() end
  return (core.now_us() - from) / EACH
end

local session <close> = setmetatable({ harness.sandbox.bash {}:open { session_id = "bench" } }, {
  __close = function(self) self[1]:close() end,
})

local function ours()
  assert(session[1]:exec("echo hi").stdout == "hi\n")
end

local theirs = bwrap.of_session(session[1])
local wall, over = {}, {}
time(ours)
time(theirs)
for i = 1, ROUNDS do
  wall[i] = time(ours)
  over[i] = (wall[i] - time(theirs)) / 1000
end
print(("RESULT exec wall=%.6g"):format(measure.median(wall)))
measure.value("over", measure.median(over))
