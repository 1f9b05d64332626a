--- The built-in tools: made when an agent lists one, shared by all agents.
---
---     builtin.get "read"          --> { id, description, input, run, kind = "builtin", ... }
---     builtin.meant("LS")         --> "list": models also say Bash, Read, LS, ...
---
--- `target` is the field of the input that patterns of permissions are matched against; `read_only` tools
--- need no permission; `needs_executor` ones are offered only where the sandbox runs commands; `no_sandbox`
--- ones need none at all. `returns` tells a model that writes programs what comes back. `lua` calls tools itself
--- (`calls_tools`).

local files = require "harness.builtin.files"

local M = {}

--- In the order in which they are offered; `lua` only where it is asked for by name.
M.NAMES = { "bash", "read", "write", "edit", "glob", "grep", "list" }

local TRAITS <const> = {
  bash = { target = "command", needs_executor = true },
  read = { read_only = true },
  write = { target = "path" },
  edit = { target = "path" },
  glob = { read_only = true },
  grep = { read_only = true },
  list = { read_only = true },
  lua = { calls_tools = true, no_sandbox = true },
}

local MEANT <const> = { LS = "list", Lua = "lua" }
for _, name in ipairs(M.NAMES) do MEANT[name:sub(1, 1):upper() .. name:sub(2)] = name end

local made = {}

--- What a built-in tool is like, without making it; nil for other names.
---@param name string
---@return { target?: string, read_only?: boolean, needs_executor?: boolean, no_sandbox?: boolean }?
function M.traits(name)
  return TRAITS[name]
end

--- The tool that a model means by another spelling; nil for other names.
---@param name string
---@return string?
function M.meant(name)
  return MEANT[name]
end

--- A built-in tool, as a definition holds tools.
---@param name string
---@return table
function M.get(name)
  local tool = made[name]
  if tool then return tool end
  tool = {
    id = name, kind = "builtin", max_result_bytes = files.MAX_RESULT_BYTES,
  }
  for key, value in pairs(TRAITS[name]) do tool[key] = value end
  for key, value in pairs(require("harness.builtin." .. name).tool) do tool[key] = value end
  made[name] = tool
  return tool
end

return M
