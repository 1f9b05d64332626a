--- The built-in tool `lua`: a program of the model that calls the agent's other tools as functions.
---
--- The program runs in a process of its own (program.lua). Its calls go through the same pipeline as
--- those of the model (tools.lua): checked, permitted, counted, with events and call ids of their own.

local agent_loop = require "harness.agent"
local budget = require "harness.budget"
local errors = require "harness.errors"
local program = require "harness.program"
local s = require "harness.schema"
local tools = require "harness.tools"

local M = {}

local MOST_CODE <const> = 100000
local MOST_RESULT <const> = 64 * 1024 -- as of any tool: a program is there to make less of much

-- The agent as its programs see it: with all its tools but this one.
local function without_lua(agent)
  local set, names = {}, {}
  for _, name in ipairs(agent.tool_names) do
    if name ~= "lua" then
      set[name] = agent.tool_set[name]
      names[#names + 1] = name
    end
  end
  return setmetatable({ tool_set = set, tool_names = names }, { __index = agent })
end

-- The calls of programs are charged like those of the model: one too many ends the agent.
local function charge(who, n)
  local failure = agent_loop.add_calls(who.loop, n)
  if failure then errors.raise(failure.code, failure.message, failure.meta) end
  local ok, err = pcall(budget.add_tools, who.spending, n)
  if ok then return end
  agent_loop.fail(who.loop, err)
  error(err, 0)
end

local function run(ctx, input)
  local harness_run, who, agent = rawget(ctx, "_run"), rawget(ctx, "_who"), without_lua(rawget(ctx, "_agent"))
  local own, made = { call_id = ctx.call_id, span = rawget(ctx, "_span") }, 0
  local function call(list)
    charge(who, #list)
    local calls = {}
    for i, one in ipairs(list) do
      made = made + 1
      calls[i] = { id = ("%s/%d"):format(ctx.call_id, made), name = one.tool, arguments = one.input }
    end
    return tools.run_inner(harness_run, agent, who, calls, own)
  end
  return program.of(harness_run.harness):run({ code = input.code, tools = agent.tool_names }, {
    call = call, own_ms = rawget(ctx, "_timeout_ms"),
  })
end

--- The tool's definition. Its description is made for each agent (program_tools.lua).
M.tool = {
  description = "",
  input = s.object {
    { "code", s.string {
      min_length = 1, max_length = MOST_CODE, description = "a Lua 5.4 program; it ends with return",
    } },
  },
  max_result_bytes = MOST_RESULT,
  run = run,
}

return M
