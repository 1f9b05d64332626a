-- A plain script that streams an answer to the terminal as it arrives, and stops early when told to.
--
--     HARNESS_LOG_LEVEL=error build/harness-lua examples/streaming.lua
--     --> one two three
--     --> stopped: OPERATION_CANCELLED

local harness = require "harness"
package.path = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/?.lua;" .. package.path
local model = require "model"

local h = harness.define {
  models = { fast = model(function() return { chunks = { "one ", "two ", "three" }, chunk_delay_ms = 40 } end) },
  agents = { teller = { model = "fast", instructions = "Count to three, in words." } },
}
local session <close> = h:session "demo"

for event in session.agents.teller:stream "Count." do
  if event.type == "model.delta" then
    io.write(event.delta)
    io.flush()
  end
end
print()

local stream = session.agents.teller:stream "Count again."
for event in stream do
  if event.type == "model.started" then
    stream:cancel "enough"
    break -- the loop may be left; the run ends by itself
  end
end
local _, err = pcall(stream.result, stream)
print("stopped: " .. err.code)
