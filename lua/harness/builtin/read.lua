--- The built-in tool `read`: a text file, or some lines of it.

local files = require "harness.builtin.files"
local s = require "harness.schema"

local M = {}

-- Where line n begins (one behind the text for a line that is not there).
local function start_of(text, n)
  local at = 1
  for _ = 2, n do
    local lf = text:find("\n", at, true)
    if not lf then return #text + 1 end
    at = lf + 1
  end
  return at
end

local function count_lines(text)
  local _, n = text:gsub("\n", "\n")
  return text:sub(-1) ~= "\n" and text ~= "" and n + 1 or n
end

-- The end of `limit` lines from `at` on that are short enough together, and how many they are. A first
-- line that alone is too long is cut: `n` is 0 then.
local function end_of(text, at, limit)
  local stop, n = at - 1, 0
  while stop < #text and n < limit do
    local lf = text:find("\n", stop + 1, true) or #text
    if lf - at + 1 > files.MAX_TEXT_BYTES then break end
    stop, n = lf, n + 1
  end
  if n > 0 or stop >= #text then return stop, n end
  return files.character_end(text, at - 1 + files.MAX_TEXT_BYTES), 0
end

local function shown_lines(offset, n, total)
  local last = offset + n - 1
  return (n == 1 and ("This is line %d of %d."):format(offset, total))
    or ("These are the lines %d to %d of %d."):format(offset, last, total)
end

-- What there is besides, and how to go on.
local function add_rest(result, offset, n, said)
  local total = result.total_lines
  if n == 0 then
    said[#said + 1] = ("Line %d is longer than %d bytes and was cut; grep shows parts of it."):format(offset,
      files.MAX_TEXT_BYTES)
    n = 1
  else
    said[#said + 1] = shown_lines(offset, n, total)
  end
  if offset + n > total then return end
  result.next_offset = offset + n
  said[#said + 1] = ("Read on with offset = %d."):format(offset + n)
end

local function run(ctx, input)
  local text = files.read_text(ctx.sandbox, files.path(input.path))
  local offset = input.offset or 1
  local at = start_of(text, offset)
  local stop, n = end_of(text, at, input.limit or math.maxinteger)
  local content, replaced = files.clean(text:sub(at, stop))
  local result, said = { content = content }, {}
  if at > 1 or stop < #text or input.offset or input.limit then result.total_lines = count_lines(text) end
  if at > #text and offset > 1 then
    said[1] = ("The file has %s; there is no line %d."):format(files.count(result.total_lines, "line"), offset)
  elseif stop < #text then
    result.truncated = true
    add_rest(result, offset, n, said)
  end
  if replaced then said[#said + 1] = "Bytes that are no UTF-8 are shown as \u{FFFD}." end
  result.notice = files.notice(said)
  return result
end

--- The tool's definition.
M.tool = {
  description = "Reads a text file. A long one comes in parts: `next_offset` says where to go on.",
  input = s.object {
    { "path", s.string { min_length = 1, description = "absolute path, such as /workspace/src/main.lua" } },
    { "offset", s.integer { minimum = 1, description = "the first line to read; the file's first line is 1" }
      :optional() },
    { "limit", s.integer { minimum = 1, description = "how many lines to read at most" }:optional() },
  },
  returns = "{ content: string, next_offset?: integer, total_lines?: integer, truncated?: boolean }",
  run = run,
}

return M
