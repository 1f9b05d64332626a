local harness = require "harness"
local measure = require "spec.bench.measure"

local ulid = harness.ulid
measure.batches("ulid", 300000, function(n)
  for _ = 1, n do ulid() end
end)
assert(#ulid() == 26)
