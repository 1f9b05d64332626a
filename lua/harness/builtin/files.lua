--- What the built-in tools share: paths, files as text, results that a model can use.

local errors = require "harness.errors"
local json = require "harness.json"

local M = {}

--- Larger files are neither read nor edited as a whole.
M.MAX_FILE_BYTES = 50 * 1000 * 1000

--- What a result's text may have: with its escapes it stays far below what a tool result may have.
M.MAX_TEXT_BYTES = 48 * 1024

--- What is left of a tool's result at most, in bytes; the tools cut sensibly long before.
M.MAX_RESULT_BYTES = 256 * 1024

local BINARY_PROBE <const> = 8000 -- bytes that are looked at, as git does

--- Raises VALIDATION_ERROR, where = "tool_input": the model can call again with other arguments.
---@param message string
---@param issues table
function M.invalid(message, issues)
  errors.raise("VALIDATION_ERROR", message, { where = "tool_input", issues = issues })
end

--- Lexically, as POSIX has it: repeated slashes, `.`, `..` and a slash at the end go; above the root is
--- the root. What patterns of permissions see, and what the sandbox is given. Nil for a relative path.
---@param path string
---@return string?
function M.normalise(path)
  if path:byte(1) ~= 47 then return nil end
  if not path:find("//", 1, true) and not path:find "/%.?%.?$" and not path:find "/%.%.?/" then return path end
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return "/" .. table.concat(parts, "/")
end

--- The same, or SANDBOX_ERROR for a relative path.
---@param path string
---@return string
function M.path(path)
  local normal = M.normalise(path)
  if normal then return normal end
  errors.raise("SANDBOX_ERROR", ('"%s" is a relative path; paths are absolute, such as /workspace/%s'):format(path,
    (path:gsub("^%./", ""))), { reason = "invalid_path", path = path })
end

--- Has it a NUL byte near its start?
---@param data string
---@return boolean
function M.is_binary(data)
  local nul = data:find("\0", 1, true)
  return nul ~= nil and nul <= BINARY_PROBE
end

local function refuse(path, message)
  errors.raise("SANDBOX_ERROR", ("%s %s"):format(path, message), { reason = "fs_failed", path = path })
end

--- The bytes of a text file; a directory, a binary file and one that is too large are refused.
---@param sandbox table
---@param path string normalised
---@return string
function M.read_text(sandbox, path)
  local stat = sandbox:stat(path)
  if stat.kind == "directory" then refuse(path, "is a directory; use the tool list to see what is in it") end
  if (stat.size or 0) > M.MAX_FILE_BYTES then
    refuse(path, ("has %d bytes, more than the %d that this tool reads; look for what you need with grep"):format(
      stat.size, M.MAX_FILE_BYTES))
  end
  local data = sandbox:read(path)
  if M.is_binary(data) then
    refuse(path, ("is a binary file of %d bytes; this tool is for text"):format(#data))
  end
  return data
end

--- Text that a model can be shown: what is no UTF-8 is replaced. The second value tells whether it was.
---@param text string
---@return string
---@return boolean
function M.clean(text)
  if utf8.len(text) then return text, false end
  return json.decode(json.encode(text, { invalid_utf8 = "replace" })), true
end

--- The last byte, at most `at`, that ends a character.
---@param text string
---@param at integer
---@return integer
function M.character_end(text, at)
  if at >= #text then return #text end
  local last = at
  while last > 0 and at - last < 4 and (text:byte(last + 1) & 0xC0) == 0x80 do last = last - 1 end
  return at - last < 4 and last or at -- no UTF-8: any place is as good
end

--- Whose files a call changes, for locks: the session's.
---@param ctx harness.ToolContext
---@return table
function M.owner(ctx)
  local run = rawget(ctx, "_run")
  return run and run.session or ctx.sandbox
end

--- Sentences become a `notice`; nothing becomes nil.
---@param sentences string[]
---@return string?
function M.notice(sentences)
  return #sentences > 0 and table.concat(sentences, " ") or nil
end

--- "1 file", "2 files"
---@param n integer
---@param what string
---@return string
function M.count(n, what)
  return ("%d %s%s"):format(n, what, n == 1 and "" or "s")
end

return M
