--- Our side of peers/agents.mjs: an agent with one tool, whose scripted model asks for the tool
--- `steps` times and then answers. Storage is the in-memory one, events are on.

local harness = require "harness"
local s = harness.schema

local M = {}

M.FINAL = "It is 21 C in Berlin."
local WORDS = {}
for word in M.FINAL:gmatch "%S+%s*" do WORDS[#WORDS + 1] = word end
local USAGE = { input_tokens = 10, output_tokens = 20 }

-- Which step it is, the model sees from the id of the last call ("c7"), in constant time.
local function script(steps)
  return function(request)
    local last = request.messages[#request.messages]
    local step = last.role == "tool" and math.tointeger(last.tool_call_id:sub(2)) + 1 or 0
    if step == steps then return { chunks = WORDS, usage = USAGE } end
    return {
      tool_calls = { { id = "c" .. step, name = "weather", arguments = { city = "Berlin" } } },
      usage = USAGE,
    }
  end
end

---A function that performs one run in a session of its own, and returns the answer.
---@param steps integer tool calls of a run
---@param execute (fun(): table)? what the tool does
function M.make(steps, execute)
  local h = harness.define {
    models = { mock = { provider = harness.providers.scripted(script(steps)), model = "mock" } },
    tools = {
      weather = {
        description = "weather",
        input = s.object { city = s.string() },
        run = execute or function() return { ok = true, temperature = 21, unit = "C" } end,
      },
    },
    agents = {
      helper = {
        model = "mock",
        instructions = "You are helpful.",
        tools = { "weather" },
        max_steps = steps + 2,
      },
    },
  }
  return function()
    local session = h:session()
    local answer = session.agents.helper:run "Weather in Berlin?"
    session:delete()
    if answer ~= M.FINAL then error("the run answered " .. tostring(answer)) end
  end
end

return M
