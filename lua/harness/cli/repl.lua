--- The interactive mode of the interpreter: as lua5.4's, a line is an expression whose values are
--- printed, or a statement, over several lines while it is not complete.
---
--- Each chunk runs as a task of its own, so that Ctrl-C stops the chunk and not the program. While a
--- line is read it ends the program, as it does lua5.4.

local core = require "harness.core"
local task = require "harness.task"

local M = {}

--- The task of the chunk that runs.
---@type harness.Task?
M.running = nil

-- A line without its end; nil at the end of the input. What does not come from a terminal is written
-- too, as lua5.4's line editor does, so that a transcript reads like a session.
local function read_line(self, prompt_name, default)
  local prompt = _G[prompt_name]
  self.native.leave_on_interrupt()
  io.write(prompt == nil and default or tostring(prompt))
  io.flush()
  local line = io.read "l"
  self.native.forgive_interrupt()
  if line and not self.is_terminal then io.write(line, "\n") end
  return line
end

-- One statement or expression; nil and a message when it does not parse, nil alone at the end.
local function read_chunk(self)
  local text = read_line(self, "_PROMPT", "> ")
  if not text then return nil end
  text = text:gsub("^=", "return ") -- as in Lua 5.2
  local chunk = load("return " .. text, "=stdin")
  if chunk then return chunk end
  while true do
    local problem
    chunk, problem = load(text, "=stdin")
    if chunk or not problem:find "<eof>$" then return chunk, problem end
    local more = read_line(self, "_PROMPT2", ">> ")
    if not more then return nil, problem end
    text = text .. "\n" .. more
  end
end

-- The values of a chunk, the first at 3, by the script's own `print`.
local function show(results)
  if results.n <= 2 then return nil end
  local ok, problem = pcall(_G.print, table.unpack(results, 3, results.n))
  if not ok then return ("error calling 'print' (%s)"):format(tostring(problem)) end
end

-- Runs the chunk and shows its values; returns the message of its error.
local function run_chunk(call, chunk)
  local message, results = call(chunk)
  return results and show(results) or message
end

local function as_task(call, chunk)
  local t = task.make(nil, run_chunk, call, chunk)
  M.running = t
  local ok, message = pcall(t.await, t)
  M.running = nil
  return ok and message or not ok and tostring(message) or nil
end

--- Reads and runs until the input ends.
---@param call fun(chunk: function): string?, table? runs a chunk; the message of its error, or its results
---@param native harness.cli.Native
---@return integer status
function M.run(call, native)
  local self = { native = native, is_terminal = core.is_terminal(0) }
  while true do
    local chunk, message = read_chunk(self)
    if not chunk and not message then break end
    if chunk then message = as_task(call, chunk) end
    if task.exit_request then return task.exit_request[1] end
    native.forgive_interrupt()
    if message then io.stderr:write(message, "\n") end
  end
  io.write "\n"
  return 0
end

return M
