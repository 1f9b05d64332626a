--- What `run` shows of a run: on a terminal (or with --progress) the text as it arrives and the tools
--- with their time, on anything else the final output only.

local core = require "harness.core"
local json = require "harness.json"
local locks = require "harness.locks"
local task = require "harness.task"
local printable = require("harness.cli.output").printable

local M = {}

local MOST_INPUT <const> = 200 -- bytes of a tool's input, or of why it failed, that are shown

---@class harness.cli.Progress
---@field package out harness.cli.Output
---@field package line_open boolean is there text after the last line's end?
---@field package call string? the model call whose text is being shown
---@field package said string[] that text: maybe the answer
---@field package held table[] calls that speak meanwhile: {call_id, text..., over}
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

local function say(self, text)
  clear_status(self)
  self.out:write(printable(text))
  table.insert(self.said, text)
  self.line_open = text:sub(-1) ~= "\n"
end

local function held_call(self, call_id)
  for _, call in ipairs(self.held) do
    if call.call_id == call_id then return call end
  end
end

-- The calls that spoke meanwhile have their turn, up to one that still speaks.
local function show_held(self)
  while not self.call and self.held[1] do
    local call = table.remove(self.held, 1)
    end_line(self)
    self.said = {}
    say(self, table.concat(call))
    if not call.over then self.call = call.call_id end
  end
end

-- Of agents side by side only one is heard at a time.
SHOW["model.delta"] = function(self, event)
  local call_id = event.call_id
  if self.call == call_id then return say(self, event.delta) end
  if not self.call then
    end_line(self)
    self.call, self.said = call_id, {}
    return say(self, event.delta)
  end
  local call = held_call(self, call_id)
  if not call then
    call = { call_id = call_id }
    table.insert(self.held, call)
  end
  call[#call + 1] = event.delta
end

local function end_call(self, event)
  local call = held_call(self, event.call_id)
  if call then call.over = true end
  if self.call ~= event.call_id then return end
  self.call = nil
  show_held(self)
end

SHOW["model.completed"], SHOW["model.failed"] = end_call, end_call

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
  local err = event.error
  local how, why = err and "failed: " .. err.code or "done", err and ": " .. shortened(err.message) or ""
  note(self, ("[%s %s after %d ms%s]"):format(event.tool_id, how, event.duration_ms, why))
end

--- Shows an event; not while somebody is asked something (cli/consent.lua).
---@param event table
function Live:event(event)
  local show = SHOW[event.type]
  if not show then return end
  local _ <close> = locks.take(M, "terminal")
  show(self, event)
end

-- What the output is on a terminal, and elsewhere. A workflow may return nothing.
local function as_text(result)
  if type(result) == "string" then return result end
  return result == nil and "null" or json.encode(result)
end

-- An answer that was seen as it came is not written again.
function Live:finish(result)
  stop_ticking(self)
  end_line(self)
  if type(result) == "string" and result ~= "" and table.concat(self.said) == result then return end
  self.out:write(printable(as_text(result)) .. "\n")
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
  self.out:write(as_text(result) .. "\n")
end

Plain.__close = function() end

---@param out harness.cli.Output
---@param live boolean show it as it comes
---@return harness.cli.Progress
function M.new(out, live)
  return setmetatable({
    out = out, line_open = false, call = nil, said = {}, held = {}, running = {}, status = false, ticker = nil,
  }, live and Live or Plain)
end

return M
