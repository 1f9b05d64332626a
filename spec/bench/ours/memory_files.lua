--- Calls of a session of memory() with 10,000 files in 100 directories. The peer: peers/memory_files.mjs.

local harness = require "harness"
local measure = require "spec.bench.measure"

local FILES <const> = 10000

local session = harness.sandbox.memory():open {}
local paths = {}
for i = 1, FILES do paths[i] = ("/workspace/dir_%d/file_%d.lua"):format(i % 100, i) end
local content = ("x"):rep(100)

measure.batches("write", FILES, function(n)
  for i = 1, n do session:write(paths[i], content) end
end)
measure.batches("read", FILES, function(n)
  for i = 1, n do session:read(paths[i]) end
end)
measure.batches("list", 1, function(n)
  for _ = 1, n do assert(#session:list("/workspace", { recursive = true }) == FILES + 100) end
end)
measure.batches("glob", 1, function(n)
  for _ = 1, n do assert(#session:list("/workspace", { recursive = true, glob = "*77.lua" }) == 100) end
end)
measure.batches("snapshot", 100, function(n)
  for i = 1, n do
    session:snapshot()
    session:write(paths[i], content)
  end
end)
session:close()
