--- The built-in tool `list`: what is in a directory.

local files = require "harness.builtin.files"
local json = require "harness.json"
local s = require "harness.schema"

local M = {}

local MOST_ENTRIES <const> = 1000

-- A sandbox lists nothing for what is no directory; a model is told why.
local function why_empty(sandbox, path)
  if not sandbox:exists(path) then return ("There is no %s."):format(path) end
  if sandbox:stat(path).kind ~= "directory" then return path .. " is a file; use read." end
  return nil
end

local function run(ctx, input)
  local sandbox, path = ctx.sandbox, files.path(input.path)
  local found, entries = sandbox:list(path, {}), json.array {}
  for i = 1, math.min(#found, MOST_ENTRIES) do
    local entry = found[i]
    entries[i] = { name = files.clean(entry.name), kind = entry.kind, size = entry.size }
  end
  local result = { entries = entries }
  if #found == 0 then result.notice = why_empty(sandbox, path) end
  if #found > MOST_ENTRIES then
    result.truncated = true
    result.notice = ("These are %d of %d entries; use glob to narrow them down."):format(MOST_ENTRIES, #found)
  end
  return result
end

--- The tool's definition.
M.tool = {
  description = "Lists the files and directories in a directory, not those further below.",
  input = s.object { { "path", s.string { min_length = 1, description = "absolute path, such as /workspace" } } },
  returns = "{ entries: { kind: string, name: string, size?: integer }[], truncated?: boolean }",
  run = run,
}

return M
