--- Where a chat's messages come from: lines of the terminal, edited and remembered, or of a pipe.
---
--- A line that ends in a backslash goes on in the next one. `next` gives the text, or nil and "end" or
--- "interrupt" (Ctrl-C at the prompt).

local core = require "harness.core"
local histories = require "harness.cli.history"
local options = require "harness.cli.options"
local task = require "harness.task"

local M = {}

local MORE_PROMPT <const> = "... "

-- ---- a terminal ---------------------------------------------------------------------------

---@class harness.cli.ChatInput
local Terminal = {}
Terminal.__index = Terminal

-- What task.wait waits for: a line, or Ctrl-C.
local Keys = {}
Keys.__index = Keys

function Keys:arm(token)
  if self.interrupted or self.editor:arm(token) then return true end
  self.token = token
  return false
end

function Keys:disarm()
  self.token = nil
  self.editor:disarm()
end

local function read_line(self, prompt)
  self.editor:begin(prompt)
  task.wait(self.keys)
  if self.keys.interrupted then
    self.keys.interrupted = false
    self.editor:stop()
    return nil, "interrupt"
  end
  local state, line = self.editor:line()
  return line, state
end

--- The next message.
---@return string? text
---@return "end"|"interrupt"|nil why
function Terminal:next()
  local lines, prompt = {}, self.prompt
  self.typed = {}
  while true do
    local line, state = read_line(self, prompt)
    if not line then return nil, state end
    table.insert(self.typed, line)
    local whole = line:match "^(.*)\\$"
    lines[#lines + 1] = whole or line
    if not whole then return table.concat(lines, "\n") end
    prompt = MORE_PROMPT
  end
end

--- Asks something while an answer is on its way; Ctrl-C ends the question with the answer. Nil: Ctrl-D, or
--- the terminal has gone.
---@param prompt string
---@return string?
function Terminal:ask(prompt)
  local editor = self.editor
  local _ <close> = setmetatable({}, { __close = function() editor:stop() end })
  editor:begin(prompt)
  task.wait(editor)
  local _, line = editor:line()
  return line
end

--- Ctrl-C while a message is typed. Called from outside of tasks.
function Terminal:interrupt()
  self.keys.interrupted = true
  if self.keys.token then core.push(self.keys.token) end
end

--- Keeps the lines of the last message for later. Returns what went wrong.
---@return string? problem
function Terminal:remember()
  local problem
  for _, line in ipairs(self.typed) do problem = self.history:add(line) or problem end
  return problem
end

function Terminal:close()
  self.editor:stop()
end

-- ---- a pipe -------------------------------------------------------------------------------

local Pipe = {}
Pipe.__index = Pipe

-- Nothing is under way meanwhile that would have to be stopped.
function Pipe:next()
  self.native.leave_on_interrupt()
  local lines, prompt = {}, self.prompt
  repeat
    if prompt then self.out:write(prompt) end
    local line, problem = io.read "l"
    if problem then options.fail("standard input cannot be read: " .. problem) end
    local whole = line and line:match "^(.*)\\$"
    lines[#lines + 1] = whole or line
    prompt = prompt and MORE_PROMPT
  until not whole
  self.native.forgive_interrupt()
  if not lines[1] then return nil, "end" end
  return table.concat(lines, "\n")
end

function Pipe.remember() end

function Pipe.interrupt() end

function Pipe.close() end

-- ---- making one ---------------------------------------------------------------------------

--- A terminal for questions alone, or nil when there is none that can be read and written.
---@param native harness.cli.Native
---@param out harness.cli.Output
---@return harness.cli.ChatInput?
function M.questions(native, out)
  if not (core.is_terminal(0) and out:is_terminal()) then return nil end
  local editor = native.line_editor(out:handle())
  return editor and setmetatable({ editor = editor, prompt = "" }, Terminal) or nil
end

--- The input of a chat.
---@param native harness.cli.Native
---@param out harness.cli.Output
---@param prompt string
---@return harness.cli.ChatInput
---@return string? problem why lines are not edited, or not remembered
function M.new(native, out, prompt)
  local pipe = setmetatable({ native = native, out = out, prompt = nil }, Pipe)
  if not (core.is_terminal(0) and out:is_terminal()) then return pipe end
  local editor, why = native.line_editor(out:handle())
  if not editor then
    pipe.prompt = prompt
    return pipe, "lines cannot be edited: " .. why
  end
  local history, problem = histories.open(editor)
  local keys = setmetatable({ editor = editor, interrupted = false, token = nil }, Keys)
  return setmetatable({ editor = editor, prompt = prompt, keys = keys, history = history, typed = {} }, Terminal),
    problem
end

return M
