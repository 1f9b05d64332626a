--- Standard output of a subcommand, which is its alone: what the script and its children print goes to
--- standard error from then on.

local core = require "harness.core"
local errors = require "harness.errors"

local M = {}

---@class harness.cli.Output
---@field package file file*
---@field package terminal boolean
local Output = {}
Output.__index = Output

local function cannot_write(problem)
  errors.raise("OUTPUT_ERROR", "standard output cannot be written: " .. problem)
end

--- Takes standard output; raises OUTPUT_ERROR when there is none.
---@param native harness.cli.Native
---@return harness.cli.Output
function M.take(native)
  local terminal = core.is_terminal(1)
  local file, problem = native.take_stdout()
  if not file then cannot_write(problem) end
  return setmetatable({ file = file, terminal = terminal }, Output)
end

--- Writes text at once. A full disk or a reader that has gone is an error like any other.
---@param text string
function Output:write(text)
  local ok, problem = self.file:write(text)
  if ok then ok, problem = self.file:flush() end
  if not ok then cannot_write(problem) end
end

--- Is it a terminal that somebody looks at?
---@return boolean
function Output:is_terminal()
  return self.terminal
end

--- The file itself, for who writes to the terminal in other ways.
---@return file*
function Output:handle()
  return self.file
end

--- Text for a terminal: what it would take for a command, as models and servers may send it, becomes
--- visible instead.
---@param text string
---@return string
function M.printable(text)
  return (text:gsub("[\0-\8\11-\31\127]", function(c) return ("\\x%02x"):format(c:byte()) end))
end

return M
