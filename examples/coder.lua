-- A coding agent in a directory: it looks for a mistake in a small program with list, glob, grep and read, mends
-- it with edit, and leaves a note with write.
--
--     build/harness-lua run examples/coder.lua fix "total() gives a wrong sum. Mend it."
--     --> sum.lua began with sum = 1; now it is 0.
--     --> local function total(list)
--     -->   local sum = 0
--     -->   for _, n in ipairs(list) do sum = sum + n end
--     -->   return sum
--     --> end
--     --> return total
--
-- The program lives in a directory that goes with the session. With CODER_ROOT=DIRECTORY (and a real model) the
-- agent works on the files there: they are at /workspace, and nothing else of the machine can be seen or changed.

local harness = require "harness"
local model = require "model" -- beside this file

local PROGRAM <const> = [[
local function total(list)
  local sum = 1
  for _, n in ipairs(list) do sum = sum + n end
  return sum
end
return total
]]

local CANNED <const> = {
  { tool_calls = { { name = "list", arguments = { path = "/workspace" } },
    { name = "glob", arguments = { pattern = "/workspace/*.lua" } } } },
  { tool_calls = { { name = "grep", arguments = { pattern = "function total|sum = ", path = "/workspace" } } } },
  { tool_calls = { { name = "read", arguments = { path = "/workspace/src/sum.lua" } } } },
  { tool_calls = { { name = "edit", arguments = { path = "/workspace/src/sum.lua", old_string = "local sum = 1",
    new_string = "local sum = 0" } } } },
  { tool_calls = { { name = "write", arguments = { path = "/notes/done.md", content = "sum.lua: began with 1\n" } } } },
  { text = "sum.lua began with sum = 1; now it is 0." },
}

local root = os.getenv "CODER_ROOT"

return harness.define {
  name = "coder",
  models = { main = model(CANNED) },
  sandbox = harness.sandbox.directory { root = root, quota_bytes = not root and 1000000 or nil },
  agents = {
    coder = {
      model = "main",
      instructions = "You mend programs in /workspace. Look before you change; change as little as you can. "
        .. "Leave a note of what you did in /notes/done.md.",
      builtin_tools = { "list", "glob", "grep", "read", "edit", "write" },
      permissions = { write = { allow = { "/workspace/**", "/notes/**" } } },
    },
  },
  workflows = {
    fix = {
      run = function(ctx, task)
        if not root then ctx.sandbox:write("/workspace/src/sum.lua", PROGRAM) end
        local before = ctx.sandbox:snapshot()
        local ok, answer = pcall(function() return ctx.agents.coder:run(task) end)
        if not ok then -- nothing half done
          ctx.sandbox:restore(before)
          error(answer, 0)
        end
        return root and answer or answer .. "\n" .. ctx.sandbox:read("/workspace/src/sum.lua"):gsub("\n$", "")
      end,
    },
  },
}
