--- The tools grep and glob over build/bench/tree, in the sandbox directory().
---
---     harness-lua spec/bench/ours/files.lua grep|glob PATTERN

local builtin = require "harness.builtin"
local harness = require "harness"

local session = harness.sandbox.directory({ root = "build/bench/tree" }):open {}
local result = builtin.get(arg[1]).run({ sandbox = session }, { pattern = arg[2], max_results = 1000 })
session:close()
print(#(result.matches or result.paths), result.notice)
