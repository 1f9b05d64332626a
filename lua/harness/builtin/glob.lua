--- The built-in tool `glob`: the paths that match a pattern.

local files = require "harness.builtin.files"
local json = require "harness.json"
local s = require "harness.schema"

local M = {}

local MOST_PATHS <const> = 1000

-- Patterns cover the whole absolute path: `src/*.lua` can match nothing.
local function why_none(sandbox, root, pattern)
  if not sandbox:exists(root) then return ("There is no %s."):format(root) end
  if not pattern:find "^[/*?]" then
    return ("No path begins like this pattern: it covers the whole absolute path. Try */%s"):format(pattern)
  end
  return nil
end

-- As many as may be shown: at most so many, and so many bytes.
local function shown(found)
  local paths, bytes = json.array {}, 0
  for i = 1, math.min(#found, MOST_PATHS) do
    bytes = bytes + #found[i].path
    if bytes > files.MAX_TEXT_BYTES then break end
    paths[i] = (files.clean(found[i].path))
  end
  return paths
end

local function run(ctx, input)
  local sandbox, root = ctx.sandbox, files.path(input.root or "/")
  local found = sandbox:list(root, { recursive = true, glob = input.pattern, sizes = false })
  local paths = shown(found)
  local result = { paths = paths }
  if #found == 0 then result.notice = why_none(sandbox, root, input.pattern) end
  if #paths < #found then
    result.truncated = true
    result.notice = ("These are %d of %d paths; use a narrower pattern or root."):format(#paths, #found)
  end
  return result
end

--- The tool's definition.
M.tool = {
  description = "Finds files and directories by a pattern for their whole absolute path. * stands for any "
    .. "characters, / too; ? for one character; nothing else is special. Example: /workspace/src/*.lua finds all "
    .. "Lua files below src.",
  input = s.object {
    { "pattern", s.string { min_length = 1, description = "such as *.lua or /workspace/*/test_*" } },
    { "root", s.string { description = "the directory to look in, absolute; default /" }:optional() },
  },
  returns = "{ paths: string[], truncated?: boolean }",
  run = run,
}

return M
