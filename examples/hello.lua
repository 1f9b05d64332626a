-- A first agent: a model and instructions, nothing else.
--
--     build/harness-lua run examples/hello.lua greeter "Ada"
--     --> Good morning, Ada!

local harness = require "harness"
local model = require "model" -- beside this file

return harness.define {
  models = { fast = model { { text = "Good morning, Ada!" } } },
  agents = {
    greeter = { model = "fast", instructions = "Greet the person whose name you are given, in four words at most." },
  },
}
