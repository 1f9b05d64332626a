--- runs.lua N: N runs of two model calls and a tool call, for profile.lua.

local agents = require "spec.bench.ours.agents"

local run = agents.make(1)
for _ = 1, math.tointeger(arg[1]) do run() end
