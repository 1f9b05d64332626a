--- What `run` shows of a run: on a terminal (or with --progress) the text as it arrives and the tools
--- with their time, on anything else the final output only.

local core = require "harness.core"
local json = require "harness.json"
local locks = require "harness.locks"
local task = require "harness.task"
local printable = require("harness.cli.output").printable

local M = {}

local MOST_INPUT <const> = 200 -- bytes of a tool's input that are shown

---@class harness.cli.Progress
---@field package out harness.cli.Output
---@field package line_open boolean is there text after the last line's end?
---@field package spoken boolean has the model written what may be the answer?
---@field package running table[] tools that run: {call_id, tool_id, since_ms}
---@field package status boolean is a line shown that says how long they do?
---@field package ticker harness.Task? shows it once a second
local Live = {}
Live.__index = Live

local TICK_MS <const> = 1000

-- The line about running tools goes before anything else is written.
local function clear_status(self)
  if self.status then io.stderr:write "\r\27[K" end
  self.status = false
end

local function show_status(self)
  local oldest = self.running[1]
  if not oldest or self.line_open then return end
  clear_status(self)
  local more = #self.running > 1 and (" and %d more"):format(#self.running - 1) or ""
  io.stderr:write(("[%s%s … %d s]"):format(oldest.tool_id, more, (core.now_ms() - oldest.since_ms) // 1000))
  self.status = true
end

local function tick(self)
  while self.running[1] do
    task.sleep(TICK_MS)
    local _ <close> = locks.take(M, "terminal")
    show_status(self)
  end
end

local function begin_tool(self, event)
  table.insert(self.running, { call_id = event.call_id, tool_id = event.tool_id, since_ms = core.now_ms() })
  local ticks = self.ticker and not self.ticker:done()
  if core.is_terminal(2) and not ticks then self.ticker = task.spawn(tick, self) end
end

local function end_tool(self, event)
  for i, call in ipairs(self.running) do
    if call.call_id == event.call_id then return table.remove(self.running, i) end
  end
end

local function stop_ticking(self)
  self.running = {}
  if self.ticker then self.ticker:cancel() end
  clear_status(self)
end

local function end_line(self)
  clear_status(self)
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
  clear_status(self)
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
  begin_tool(self, event)
end

SHOW["tool.finished"] = function(self, event)
  end_tool(self, event)
  local how = event.error and "failed: " .. event.error.code or "done"
  note(self, ("[%s %s after %d ms]"):format(event.tool_id, how, event.duration_ms))
end

--- Shows an event; not while somebody is asked something (cli/consent.lua).
---@param event table
function Live:event(event)
  local show = SHOW[event.type]
  if not show then return end
  local _ <close> = locks.take(M, "terminal")
  show(self, event)
end

-- A text output was seen as it came.
function Live:finish(result)
  stop_ticking(self)
  end_line(self)
  if type(result) == "string" and self.spoken then return end
  self.out:write(printable(type(result) == "string" and result or json.encode(result)) .. "\n")
end

-- A run that failed may have left a line unfinished.
Live.__close = function(self, err)
  pcall(stop_ticking, self)
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
  return setmetatable({
    out = out, line_open = false, spoken = false, running = {}, status = false, ticker = nil,
  }, live and Live or Plain)
end

return M
