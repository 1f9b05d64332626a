--- The built-in tool `bash`: a command in the sandbox. It is offered only where the sandbox runs commands.

local errors = require "harness.errors"
local files = require "harness.builtin.files"
local s = require "harness.schema"

local M = {}

local MOST_BYTES <const> = 30000 -- of each stream, head and tail

-- Head and tail of a long output, and what is missing between them.
local function shown(text, already_cut)
  local missing = already_cut or 0
  text = files.clean(text)
  if #text <= MOST_BYTES then return text, missing end
  local head = files.character_end(text, MOST_BYTES // 2)
  local tail = files.character_end(text, #text - MOST_BYTES // 2) + 1
  missing = missing + tail - head - 1
  return ("%s\n[... %d bytes are missing here: write the output to a file and read parts of it ...]\n%s"):format(
    text:sub(1, head), missing, text:sub(tail)), missing
end

local function run(ctx, input)
  local sandbox = ctx.sandbox
  if sandbox.executor ~= "available" then
    errors.raise("SANDBOX_NO_EXECUTOR", "the sandbox of this session runs no commands; work with its files instead",
      { session_id = ctx.session_id })
  end
  local ended = sandbox:exec(input.command, {
    cwd = input.cwd and files.path(input.cwd), timeout_ms = input.timeout_ms, signal = ctx.signal,
  })
  local stdout, out_missing = shown(ended.stdout or "", ended.stdout_truncated_bytes)
  local stderr, err_missing = shown(ended.stderr or "", ended.stderr_truncated_bytes)
  return {
    stdout = stdout, stderr = stderr, exit_code = ended.exit_code or 0, signal = ended.signal,
    stdout_truncated_bytes = out_missing > 0 and out_missing or nil,
    stderr_truncated_bytes = err_missing > 0 and err_missing or nil,
  }
end

--- The tool's definition.
M.tool = {
  description = "Runs a command in bash and waits for its end. Each call is a new shell: cd and variables do not "
    .. "carry over, and what is left in the background is ended.",
  input = s.object {
    { "command", s.string { min_length = 1, description = "such as: cd src && ls -l" } },
    { "cwd", s.string { min_length = 1, description = "the directory to run in, absolute; default /workspace" }
      :optional() },
    { "timeout_ms", s.integer { minimum = 1, description = "ends the command after so many milliseconds" }
      :optional() },
  },
  returns = "{ stdout: string, stderr: string, exit_code: integer, signal?: string }",
  run = run,
}

return M
