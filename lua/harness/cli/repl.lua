--- The interactive mode of the interpreter: as lua5.4's, a line is an expression whose values are
--- printed, or a statement, over several lines while it is not complete.

local M = {}

-- The prompt, which a script may have changed; nil at the end of the input. What does not come from a
-- terminal is written too, as lua5.4's line editor does, so that a transcript reads like a session.
local function read_line(prompt_name, default)
  local prompt = _G[prompt_name]
  io.write(prompt == nil and default or tostring(prompt))
  io.flush()
  local line = io.read "l"
  if line and not M.is_terminal then io.write(line, "\n") end
  return line
end

-- "= value" is "return value", as it was in Lua 5.2.
local function read_first()
  local line = read_line("_PROMPT", "> ")
  return line and line:gsub("^=", "return ")
end

-- One statement or expression; nil and a message when it does not parse, nil alone at the end.
local function read_chunk()
  local text = read_first()
  if not text then return nil end
  local chunk = load("return " .. text, "=stdin")
  if chunk then return chunk end
  while true do
    local problem
    chunk, problem = load(text, "=stdin")
    if chunk or not problem:find "<eof>$" then return chunk, problem end
    local more = read_line("_PROMPT2", ">> ")
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

--- Reads and runs until the input ends.
---@param call fun(chunk: function): string?, table? runs a chunk; the message of its error, or its results
---@return integer status
function M.run(call)
  M.is_terminal = require("harness.core").is_terminal(0)
  while true do
    local chunk, message = read_chunk()
    if not chunk and not message then break end
    local results
    if chunk then message, results = call(chunk) end
    if results then message = show(results) end
    if message then io.stderr:write(message, "\n") end
  end
  io.write "\n"
  return 0
end

return M
