--- A harness with one agent on a scripted model, for specs of runs.
---
---     local h, model = scripted.harness({ { text = "hi" } }, { tools = { … } })

local harness = require "harness"

local M = {}

local s = harness.schema

--- Tools that specs of runs share.
function M.tools()
  return {
    echo = {
      description = "Gives back its text.", input = s.object { text = s.string() },
      run = function(_, input) return input.text end,
    },
    slow = {
      description = "Takes its time.", input = s.object { ms = s.integer() },
      run = function(_, input)
        harness.sleep(input.ms)
        return "slept " .. input.ms
      end,
    },
    fails = { description = "Raises.", input = s.object {}, run = function() error "broken" end },
    stubborn = {
      description = "Swallows every abort.", input = s.object {},
      run = function() while true do pcall(harness.sleep, 10) end end,
    },
  }
end

--- Makes the harness; `over` replaces or adds fields of the definition and of the agent.
---@param turns table|function
---@param over? { tools?: table, agent?: table, definition?: table }
function M.harness(turns, over)
  over = over or {}
  local model = harness.providers.scripted(turns)
  local tools = over.tools or M.tools()
  local names = {}
  for id in pairs(tools) do names[#names + 1] = id end
  table.sort(names)
  local agent = { model = "fast", instructions = "Be brief.", tools = names }
  for key, value in pairs(over.agent or {}) do agent[key] = value end
  local definition = {
    name = "spec", models = { fast = { provider = model, model = "m" } }, tools = tools, agents = { helper = agent },
    logger = M.silent(),
  }
  for key, value in pairs(over.definition or {}) do definition[key] = value end
  return harness.define(definition), model
end

--- A logger that keeps what it is told.
function M.silent()
  local logger = { lines = {} }
  for _, level in ipairs { "trace", "debug", "info", "warn", "error", "fatal" } do
    logger[level] = function(self, message, fields) table.insert(self.lines, { level, message, fields }) end
  end
  function logger:child() return self end
  return logger
end

--- All events of a stream, and the error that it ends with.
function M.drain(stream)
  local events = {}
  local ok, err = pcall(function()
    for event in stream do events[#events + 1] = event end
  end)
  return events, not ok and err or nil
end

--- "run.started agent.started …"
function M.types(events)
  local types = {}
  for i, event in ipairs(events) do types[i] = event.type end
  return table.concat(types, " ")
end

--- Events of one type.
function M.of(events, type)
  local list = {}
  for _, event in ipairs(events) do
    if event.type == type then list[#list + 1] = event end
  end
  return list
end

return M
