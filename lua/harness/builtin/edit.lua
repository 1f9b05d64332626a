--- The built-in tool `edit`: replaces text in a file, literally.

local files = require "harness.builtin.files"
local locks = require "harness.locks"
local s = require "harness.schema"

local M = {}

local MOST_NAMED <const> = 10 -- lines of matches that an error names

-- The places of `old` in the text that do not overlap.
local function places_of(text, old)
  local places, at = {}, 1
  while true do
    local first, last = text:find(old, at, true)
    if not first then return places end
    places[#places + 1] = first
    at = last + 1
  end
end

local function replaced(text, places, old, new)
  local parts, at = {}, 1
  for _, first in ipairs(places) do
    parts[#parts + 1] = text:sub(at, first - 1)
    parts[#parts + 1] = new
    at = first + #old
  end
  parts[#parts + 1] = text:sub(at)
  return table.concat(parts)
end

local function lines_of(text, places)
  local lines, line, at = {}, 1, 1
  for i = 1, math.min(#places, MOST_NAMED) do
    for _ in text:sub(at, places[i] - 1):gmatch "\n" do line = line + 1 end
    at, lines[i] = places[i], line
  end
  return table.concat(lines, ", ") .. (#places > MOST_NAMED and ", …" or "")
end

local function not_found(path, text, old)
  local hint = "it must be the text of the file exactly, white space and line ends too; read the file again"
  if text:find("\r\n", 1, true) and old:find("\n", 1, true) and not old:find("\r\n", 1, true) then
    hint = "the lines of this file end with \\r\\n, those of old_string with \\n"
  end
  files.invalid(("old_string does not occur in %s: %s"):format(path, hint), { path = path, matches = 0 })
end

local function check(path, text, places, input)
  if #places == 0 then not_found(path, text, input.old_string) end
  if #places == 1 or input.replace_all then return end
  files.invalid(("old_string occurs %d times in %s (lines %s); give more of the text around the one that is meant, "
    .. "or set replace_all to replace them all"):format(#places, path, lines_of(text, places)),
    { path = path, matches = #places })
end

local function run(ctx, input)
  local path = files.path(input.path)
  if input.old_string == input.new_string then
    files.invalid("old_string and new_string are the same: there is nothing to change",
      { { path = "$.new_string", message = "is the same as old_string" } })
  end
  local _ <close> = locks.take(files.owner(ctx), path)
  local text = files.read_text(ctx.sandbox, path)
  local places = places_of(text, input.old_string)
  check(path, text, places, input)
  ctx.sandbox:write(path, replaced(text, places, input.old_string, input.new_string))
  return { replaced = #places }
end

--- The tool's definition.
M.tool = {
  description = "Replaces text in a file. old_string is taken literally, not as a pattern, and must occur exactly "
    .. "once: give enough of the lines around it. With replace_all every occurrence is replaced.",
  input = s.object {
    { "path", s.string { min_length = 1, description = "absolute path, such as /workspace/src/main.lua" } },
    { "old_string", s.string { min_length = 1, description = "the text as it stands in the file, with its "
      .. "indentation" } },
    { "new_string", s.string { description = "the text to put in its place; empty to delete it" } },
    { "replace_all", s.boolean { description = "replace every occurrence; default false" }:optional() },
  },
  returns = "{ replaced: integer }",
  run = run,
}

return M
