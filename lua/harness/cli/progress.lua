--- What `run` shows of a run: on a terminal (or with --progress) the text as it arrives and the tools
--- with their time, on anything else the final output only.

local json = require "harness.json"
local printable = require("harness.cli.output").printable

local M = {}

local MOST_INPUT <const> = 200 -- bytes of a tool's input that are shown

---@class harness.cli.Progress
---@field package out harness.cli.Output
---@field package line_open boolean is there text after the last line's end?
---@field package spoken boolean has the model written what may be the answer?
local Live = {}
Live.__index = Live

local function end_line(self)
  if self.line_open then self.out:write "\n" end
  self.line_open = false
end

local function note(self, text)
  end_line(self)
  io.stderr:write(printable(text), "\n")
end

local function shortened(text)
  if #text <= MOST_INPUT then return text end
  return text:sub(1, utf8.offset(text, 0, MOST_INPUT + 1) - 1) .. "…"
end

local SHOW <const> = {}

SHOW["model.delta"] = function(self, event)
  self.out:write(printable(event.delta))
  self.spoken = true
  self.line_open = event.delta:sub(-1) ~= "\n"
end

SHOW["model.completed"] = function(self, event)
  if event.finish_reason == "tool_calls" then self.spoken = false end
end

SHOW["model.retry"] = function(self, event)
  note(self, ("[model %s: %s; trying again in %d ms]"):format(event.alias, event.error.code, event.delay_ms))
end

SHOW["tool.started"] = function(self, event)
  local input = json.encode(event.input, { invalid_utf8 = "replace" })
  note(self, ("[%s %s]"):format(event.tool_id, shortened(input)))
end

SHOW["tool.finished"] = function(self, event)
  local how = event.error and "failed: " .. event.error.code or "done"
  note(self, ("[%s %s after %d ms]"):format(event.tool_id, how, event.duration_ms))
end

---@param event table
function Live:event(event)
  local show = SHOW[event.type]
  if show then show(self, event) end
end

-- A text output was seen as it came.
function Live:finish(result)
  end_line(self)
  if type(result) == "string" and self.spoken then return end
  self.out:write(printable(type(result) == "string" and result or json.encode(result)) .. "\n")
end

-- A run that failed may have left a line unfinished.
Live.__close = function(self, err)
  if err ~= nil then pcall(end_line, self) end -- its own failure would hide the run's
end

local Plain = {}
Plain.__index = Plain

function Plain.event() end

function Plain:finish(result)
  self.out:write((type(result) == "string" and result or json.encode(result)) .. "\n")
end

Plain.__close = function() end

---@param out harness.cli.Output
---@param live boolean show it as it comes
---@return harness.cli.Progress
function M.new(out, live)
  return setmetatable({ out = out, line_open = false, spoken = false }, live and Live or Plain)
end

return M
