--- Where a chat's messages come from: lines of the terminal, edited and remembered, or of a pipe.
---
--- A line that ends in a backslash goes on in the next one. `next` gives the text, or nil and "end" or
--- "interrupt" (Ctrl-C at the prompt).

local core = require "harness.core"
local process = require "harness.process"
local task = require "harness.task"

local M = {}

local MOST_REMEMBERED <const> = 1000
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
  while true do
    local line, state = read_line(self, prompt)
    if not line then return nil, state end
    local whole = line:match "^(.*)\\$"
    lines[#lines + 1] = whole or line
    if not whole then return table.concat(lines, "\n") end
    prompt = MORE_PROMPT
  end
end

--- Asks something while an answer is on its way; Ctrl-C ends the question with the answer. Nil: the input
--- has ended.
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

--- Keeps a message for later chats. Returns what went wrong.
---@param text string
---@return string? problem
function Terminal:remember(text)
  for line in text:gmatch "[^\n]+" do self.editor:remember(line) end
  if not self.history then return nil end
  local ok, problem = self.editor:save(self.history, MOST_REMEMBERED)
  return not ok and ("the history cannot be kept in %s: %s"):format(self.history, problem) or nil
end

function Terminal:close()
  self.editor:stop()
end

-- Where messages are remembered; nil: nowhere.
local function history_path()
  local named = os.getenv "HARNESS_LUA_HISTORY"
  if named then return named ~= "" and named or nil end
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if not state or state == "" then state = home and home ~= "" and home .. "/.local/state" or nil end
  if not state then return nil end
  local directory = state .. "/harness-lua"
  local made = process.run { file = "mkdir", args = { "-p", "-m", "700", directory } }
  return made.exit_code == 0 and directory .. "/history" or nil
end

-- ---- a pipe -------------------------------------------------------------------------------

local Pipe = {}
Pipe.__index = Pipe

-- Nothing is under way meanwhile that would have to be stopped.
function Pipe:next()
  self.native.leave_on_interrupt()
  local lines = {}
  repeat
    local line = io.read "l"
    local whole = line and line:match "^(.*)\\$"
    lines[#lines + 1] = whole or line
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
  local pipe = setmetatable({ native = native }, Pipe)
  if not (core.is_terminal(0) and out:is_terminal()) then return pipe end
  local editor, why = native.line_editor(out:handle())
  if not editor then return pipe, "lines cannot be edited: " .. why end
  local self = setmetatable({ editor = editor, prompt = prompt, history = history_path() }, Terminal)
  self.keys = setmetatable({ editor = editor, interrupted = false, token = nil }, Keys)
  local file = self.history and io.open(self.history)
  if not file then return self end
  file:close()
  local ok, problem = editor:load(self.history)
  return self, not ok and ("the history %s cannot be read: %s"):format(self.history, problem) or nil
end

return M
