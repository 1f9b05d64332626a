-- A hand-written agent: its own loop around the model, with memory of what it was asked before.
--
--     build/harness-lua run examples/handmade.lua counter "How many questions so far?"
--     --> Question 1: yes

local harness = require "harness"
local model = require "model"
local s = harness.schema

return harness.define {
  models = { fast = model { { object = { answer = "yes" } } } },
  agents = {
    counter = {
      model = "fast",
      run = function(ctx, input)
        local memory = ctx.memory.session
        local asked = (memory:read "asked" or 0) + 1
        memory:write("asked", asked)
        local reply = ctx.models.fast:object {
          messages = { { role = "system", content = "Answer in one word." }, { role = "user", content = input } },
          schema = s.object { answer = s.string() },
        }
        return ("Question %d: %s"):format(asked, reply.object.answer)
      end,
    },
  },
}
