--- The built-in tool `write`: a whole file.

local files = require "harness.builtin.files"
local locks = require "harness.locks"
local s = require "harness.schema"

local M = {}

local function run(ctx, input)
  local path = files.path(input.path)
  local _ <close> = locks.take(files.owner(ctx), path)
  ctx.sandbox:write(path, input.content)
  return { bytes_written = #input.content }
end

--- The tool's definition.
M.tool = {
  description = "Writes a file as a whole: what was in it is replaced, missing directories are made. "
    .. "To change a part of a file use edit.",
  input = s.object {
    { "path", s.string { min_length = 1, description = "absolute path, such as /workspace/notes.md" } },
    { "content", s.string { description = "all of the file's new content" } },
  },
  returns = "{ bytes_written: integer }",
  run = run,
}

return M
