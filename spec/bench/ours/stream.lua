--- stream.lua CONCURRENCY RESPONSES: text deltas from the model server on MODEL_PORT to the loop
--- over an agent's stream.

local harness = require "harness"
local measure = require "spec.bench.measure"

local concurrency, responses = math.tointeger(arg[1]), math.tointeger(arg[2])
local DELTAS <const> = 200
local provider = harness.providers.openai {
  api_key = "x",
  base_url = ("http://127.0.0.1:%s/v1"):format(os.getenv "MODEL_PORT"),
}
local h = harness.define {
  models = { mock = { provider = provider, model = "mock" } },
  agents = { talker = { model = "mock", instructions = "Talk." } },
}

local function one()
  local session = h:session()
  local deltas = 0
  for event in session.agents.talker:stream "hi" do
    if event.type == "model.delta" then deltas = deltas + (event.merged or 1) end
  end
  session:delete()
  return deltas
end

measure.batches("c" .. concurrency, responses * DELTAS, function()
  local left, deltas = responses, 0
  local function worker()
    while left > 0 do
      left = left - 1
      local got = one()
      deltas = deltas + got
    end
  end
  local tasks = {}
  for i = 1, concurrency do tasks[i] = harness.spawn(worker) end
  for _, task in ipairs(tasks) do task:await() end
  assert(deltas == responses * DELTAS, deltas .. " deltas came")
end, 5)
