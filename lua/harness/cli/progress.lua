--- What `run` shows of a run: on a terminal the text as it arrives and the tools with their time, on
--- anything else the final output only.

local json = require "harness.json"

local M = {}

local Terminal = {}
Terminal.__index = Terminal

local function note(self, text)
  if self.at_line_start == false then self.out:write "\n" end
  self.at_line_start = true
  io.stderr:write(text, "\n")
end

function Terminal:event(event)
  local type = event.type
  if type == "model.delta" then
    self.out:write(event.delta)
    self.spoken = true
    self.at_line_start = event.delta:sub(-1) == "\n"
  elseif type == "tool.started" then
    note(self, ("[%s %s …]"):format(event.tool_id, json.encode(event.input, { invalid_utf8 = "replace" }):sub(1, 200)))
  elseif type == "tool.finished" then
    note(self, ("[%s %s after %d ms]"):format(event.tool_id, event.error and "failed: " .. event.error.code or "done",
      event.duration_ms))
  elseif type == "model.retry" then
    note(self, ("[model %s: %s; trying again in %d ms]"):format(event.alias, event.error.code, event.delay_ms))
  elseif type == "model.completed" and event.finish_reason == "tool_calls" then
    self.spoken = false
  end
end

function Terminal:finish(output)
  if type(output) == "string" and self.spoken then
    if not self.at_line_start then self.out:write "\n" end
    return
  end
  self.out:write((type(output) == "string" and output or json.encode(output)) .. "\n")
end

local Plain = {}
Plain.__index = Plain

function Plain.event() end

function Plain:finish(output)
  self.out:write((type(output) == "string" and output or json.encode(output)) .. "\n")
end

--- `out` has a method write(text) that raises when it cannot.
function M.new(out, is_terminal)
  return setmetatable({ out = out, at_line_start = true, spoken = false }, is_terminal and Terminal or Plain)
end

return M
