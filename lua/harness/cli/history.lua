--- The lines that a chat remembers: in a file that its owner alone may read, each as it was typed.
---
---   local history, problem = history.open(editor)
---   problem = history:add "Where is order 7?"
---
--- Chats that run at the same time each add to the file. It is cut to the newest lines when one starts.

local process = require "harness.process"

local M = {}

local MOST_KEPT <const> = 1000

---@class harness.cli.History
---@field package editor userdata
---@field package path string? nil: lines are remembered as long as the chat goes on
---@field package last string?
local History = {}
History.__index = History

-- Where messages are remembered; nil: nowhere.
local function default_path()
  local named = os.getenv "HARNESS_LUA_HISTORY"
  if named then return named ~= "" and named or nil end
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if not state or state == "" then state = home and home ~= "" and home .. "/.local/state" or nil end
  if not state then return nil end
  local directory = state .. "/harness-lua"
  local made = process.run { file = "mkdir", args = { "-p", "-m", "700", directory } }
  if made.exit_code == 0 then return directory .. "/history" end
  return nil, (made.stderr:gsub("%s+$", ""))
end

-- The lines of a file, oldest first; none when there is no file.
local function read_lines(path)
  local file, problem, number = io.open(path)
  if not file then return {}, number ~= 2 and problem or nil end -- 2: ENOENT
  local lines = {}
  local ok, err = pcall(function()
    for line in file:lines() do lines[#lines + 1] = line end
  end)
  file:close()
  return lines, not ok and err or nil
end

-- Puts the file with the newest lines in the place of the one that has grown too long.
local function cut(editor, path, lines)
  local new = path .. ".new"
  os.remove(new)
  local ok, problem = editor:append(new, table.concat(lines, "\n", #lines - MOST_KEPT + 1) .. "\n")
  if ok then ok, problem = os.rename(new, path) end
  return not ok and problem or nil
end

local function problem_text(path, problem)
  return ("the history cannot be kept in %s: %s"):format(path, problem)
end

--- Reads what is remembered of earlier chats.
---@param editor userdata see bindings/line_editor.c
---@return harness.cli.History
---@return string? problem
function M.open(editor)
  local path, problem = default_path()
  local self = setmetatable({ editor = editor, path = path, last = nil }, History)
  if not path then return self, problem and "no history is kept: " .. problem end
  local lines
  lines, problem = read_lines(path)
  if not problem and #lines > MOST_KEPT then problem = cut(editor, path, lines) end
  for i = math.max(#lines - MOST_KEPT + 1, 1), #lines do
    local line = lines[i]
    if utf8.len(line) and not line:find "\0" then editor:recall(line) end
    self.last = line
  end
  if problem then self.path = nil end
  return self, problem and problem_text(path, problem)
end

--- Remembers a line, unless it is the same as the one before.
---@param line string
---@return string? problem
function History:add(line)
  if line == self.last then return nil end
  self.last = line
  self.editor:recall(line)
  if not self.path then return nil end
  local ok, problem = self.editor:append(self.path, line .. "\n")
  if ok then return nil end
  local path = self.path
  self.path = nil
  return problem_text(path, problem)
end

return M
