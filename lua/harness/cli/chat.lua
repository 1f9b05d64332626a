--- harness-lua chat FILE AGENT: a conversation with an agent, in the terminal or through a pipe.
---
--- Ctrl-C stops the answer, not the program; at the prompt it says how to leave, and the second one does.
--- SIGTERM and SIGHUP end the chat in order, wherever it is.

local chat_input = require "harness.cli.chat_input"
local commands = require "harness.cli.command"
local consent = require "harness.cli.consent"
local errors = require "harness.errors"
local failure = require "harness.cli.failure"
local load_file = require "harness.cli.load"
local loggers = require "harness.logger"
local nearest = require "harness.nearest"
local output = require "harness.cli.output"
local progress = require "harness.cli.progress"
local targets = require "harness.cli.target"

local HELP <const> = [=[
/clear     forget the conversation
/history   show it
/help      this list
/quit      leave (Ctrl-D does, too)
//…        a message that begins with /
Ctrl-C stops an answer. A line that ends in \ goes on in the next one.]=]

local USAGE <const> = [=[
usage: %s chat FILE AGENT [options]
  FILE returns a harness, AGENT is one of its agents that takes text
  --session ID      go on with this session (default: a new one)

On a terminal, lines are edited and remembered as they are typed: in the file that
HARNESS_LUA_HISTORY names (empty: in none), or harness-lua/history below
XDG_STATE_HOME or ~/.local/state. Elsewhere each line of standard input is a message.

]=] .. HELP .. "\n"

local CTRL_C_STATUS <const> = 130

---@class harness.cli.Chat
---@field package session harness.Session
---@field package out harness.cli.Output
---@field package live boolean
---@field package running harness.Stream? the answer that is under way
---@field package failures integer
---@field package leaving integer? the exit status, once a signal has asked to leave
local Chat = {}
Chat.__index = Chat

local function say(text)
  io.stderr:write(output.printable(text), "\n")
end

-- ---- a message and its answer -------------------------------------------------------------

local function show_answer(self, stream)
  local shown <close> = progress.new(self.out, self.live)
  for event in stream do shown:event(event) end
  shown:finish(stream:result())
end

--- Sends a message and shows the answer. A failure is told, and the chat goes on.
function Chat:send(text)
  local ok, err = pcall(function()
    local stream = self.session.agents[self.agent]:stream(text)
    self.running = stream
    show_answer(self, stream)
  end)
  self.running = nil
  if self.live and not self.leaving then self.native.forgive_interrupt() end -- elsewhere it ends the program
  if ok then return end
  if errors.is(err, "OUTPUT_ERROR") then error(err, 0) end
  self.failures = self.failures + 1
  say(errors.is(err, "OPERATION_CANCELLED") and "[stopped]" or failure.text(err))
end

-- ---- commands -----------------------------------------------------------------------------

local COMMANDS <const> = {}

COMMANDS["/help"] = function() say(HELP) end

COMMANDS["/clear"] = function(self)
  self.session.history:clear()
  say "The conversation is forgotten."
end

COMMANDS["/history"] = function(self)
  for _, message in ipairs(self.session.history:list()) do
    local content = type(message.content) == "string" and message.content or "(not text)"
    if message.role ~= "tool" and content ~= "" then say(message.role .. ": " .. content) end
  end
end

COMMANDS["/quit"] = function() return "quit" end

local function run_command(self, name)
  local command = COMMANDS[name]
  if command then return command(self) end
  local names = {}
  for known in pairs(COMMANDS) do names[#names + 1] = known end
  say(("there is no command %s%s"):format(name, nearest.hint(name, names, "commands")))
end

-- ---- the conversation ---------------------------------------------------------------------

-- What to do with a line that was typed; "quit" ends the chat.
function Chat:take(text)
  if not text:find "%S" then return end
  local problem = self.input:remember()
  if problem then say(problem) end
  if text:sub(1, 1) == "/" and text:sub(2, 2) ~= "/" then return run_command(self, text:match "^(%S+)") end
  return self:send((text:gsub("^//", "/")))
end

-- Returns the exit status.
function Chat:talk()
  local interrupts = 0
  while true do
    local text, why = self.input:next()
    if why == "end" then
      if self.live then self.out:write "\n" end
      return self.failures > 0 and not self.live and 1 or 0
    elseif why == "interrupt" then
      interrupts = interrupts + 1
      self.out:write "\n"
      if self.leaving or interrupts == 2 then return self.leaving or CTRL_C_STATUS end
      say "Ctrl-C again, Ctrl-D or /quit leaves."
      self.native.forgive_interrupt()
    else
      interrupts = 0
      if self:take(text) == "quit" then return 0 end
      if self.leaving then return self.leaving end
    end
  end
end

local current -- the chat

local function execute(given, rest, out, native)
  local live = out:is_terminal()
  native.stop_on_terminate()
  loggers.DEFAULT_LEVEL = "fatal" -- what fails is told in one line, unless HARNESS_LOG_LEVEL asks for more
  local harness <close> = load_file.harness(rest[1])
  targets.check_chat(harness.definition, rest[2])
  local session <close> = harness:session(given.session)
  local input, problem = chat_input.new(native, out, rest[2] .. "> ")
  if problem then say(problem) end
  consent.offer(harness, input)
  if live then say(("Talking to %s, session %s. /help tells more, Ctrl-D leaves."):format(rest[2], session.id)) end
  current = setmetatable({
    session = session, agent = rest[2], out = out, live = live, native = native, input = input, failures = 0,
    leaving = nil,
  }, Chat)
  local ok, status = pcall(current.talk, current)
  input:close()
  if not ok then error(status, 0) end
  return status
end

-- Ctrl-C stops the answer; at the prompt, see Chat:talk. Other signals stop the chat as well.
local function on_interrupt(t)
  local chat = current
  if not chat then return commands.stop(t) end
  local status = chat.native.stop_status()
  if status ~= CTRL_C_STATUS then chat.leaving = status end
  if chat.running then chat.running:cancel "interrupted" else chat.input:interrupt() end
end

return commands.new {
  usage = USAGE,
  expected = "FILE AGENT",
  options = { session = "value" },
  fits = function(rest) return #rest == 2 end,
  execute = execute,
  on_interrupt = on_interrupt,
}
