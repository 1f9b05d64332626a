--- Directories on the host for specs, and what a shell says of them.
---
---     local trees = require("spec.support.host_tree").watch(after_each)
---     local root = trees.new { "mkdir sub", "ln -s /workspace/a link" }   -- commands, run in it
---     trees.sh(root, "cat link")                                          --> its output

local M = {}

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

--- What a command prints, without its last line end; raises when it fails.
---@param directory string
---@param command string
---@return string
function M.sh(directory, command)
  local pipe = assert(io.popen(("cd %s && { %s ; } 2>&1"):format(quoted(directory), command)))
  local text = pipe:read "a"
  local ok, _, status = pipe:close()
  if not ok then error(("%s: status %s: %s"):format(command, status, text), 2) end
  return (text:gsub("\n$", ""))
end

--- Directories that are removed after each `it`.
---@param after_each fun(fn: fun())
function M.watch(after_each)
  local made = {}
  after_each(function()
    for i, path in ipairs(made) do
      M.sh("/", "chmod -R u+rwx " .. quoted(path) .. " ; rm -rf " .. quoted(path))
      made[i] = nil
    end
  end)
  local function new(commands)
    local path = M.sh("/", "mktemp -d")
    made[#made + 1] = path
    for _, command in ipairs(commands or {}) do M.sh(path, command) end
    return path
  end
  return { new = new, sh = M.sh }
end

return M
