-- The harness as a library of a stock lua5.4: what waits runs inside harness.run.
--
--     LUA_CPATH='build/?.so' lua5.4 examples/stock.lua
--     --> Hello from a library.

local harness = require "harness"

local h = harness.define {
  models = { fast = {
    model = "canned", provider = harness.providers.scripted { { text = "Hello from a library." } },
  } },
  agents = { greeter = { model = "fast", instructions = "Greet." } },
}

print(harness.run(function()
  local session <close> = h:session "demo"
  return session.agents.greeter:run "Hi"
end))
