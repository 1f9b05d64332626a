--- Asks on the terminal whether a tool call may run, for agents whose permissions say `ask` and whose
--- definition has no on_permission. Without a terminal such calls stay denied.

local json = require "harness.json"
local locks = require "harness.locks"
local printable = require("harness.cli.output").printable
local progress = require "harness.cli.progress"

local M = {}

local MOST_INPUT <const> = 4000 -- bytes of a call's input that are shown
local PROMPT <const> = "allow it? y(es), n(o), a(lways) > "

local function shown_input(input)
  local text = json.encode(input, { invalid_utf8 = "replace" })
  if #text <= MOST_INPUT then return text end
  local last = utf8.offset(text, 0, MOST_INPUT + 1) - 1
  return ("%s… and %d bytes more"):format(text:sub(1, last), #text - last)
end

local function asks(agent)
  for _, rule in pairs(agent.permissions or {}) do
    if rule.mode == "ask" then return true end
  end
  return false
end

-- One question at a time; what the run does meanwhile is shown after it.
local function ask(terminal, always, request)
  local _ <close> = locks.take(progress, "terminal")
  local known = request.agent_id .. " " .. request.tool_id
  if always[known] then return "allow" end
  io.stderr:write("\r\27[K", printable(("%s wants to run %s %s"):format(request.agent_id, request.tool_id,
    shown_input(request.input))), "\n")
  local answer = (terminal:ask(PROMPT) or ""):lower():match "^%s*(%a*)"
  always[known] = answer == "a" or answer == "always" or nil
  return (always[known] or answer == "y" or answer == "yes") and "allow" or "deny"
end

--- Makes the agents of the harness that need it ask on the terminal.
---@param harness harness.Harness
---@param terminal harness.cli.ChatInput? nil, or without `ask`: there is nobody to be asked
function M.offer(harness, terminal)
  if not terminal or not terminal.ask then return end
  local always = {}
  for _, agent in pairs(harness.definition.agents) do
    if asks(agent) and not agent.on_permission then
      agent.on_permission = function(request) return ask(terminal, always, request) end
    end
  end
end

return M
