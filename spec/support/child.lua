--- Starts programs for specs, and waits until they are ready.
---
---   local server <close> = child.start { "node", "spec/support/http_server.mjs", ready = "ready (.*)\n" }
---   print(server.captures[1])
---
--- Leaving the scope, or `server:close()`, ends the program. Only inside a task.

local process = require "harness.process"
local task = require "harness.task"

local M = {}

local READY_MS <const> = 20000

---@class spec.Child
---@field process harness.Process
---@field captures string[] of the ready pattern
---@field output string what it had written to standard output when it was ready
local Child = {}
Child.__index = Child

-- Reads until the output matches; what comes later is dropped.
local function await_ready(p, pattern)
  local output = ""
  while true do
    local captures = { output:match(pattern) }
    if captures[1] then
      p:ignore "stdout"
      return { output = output, captures = captures }
    end
    local bytes = p:read "stdout"
    if not bytes then
      local result = p:wait()
      error(("it ended before it was ready (exit %s, signal %s): %s"):format(
        result.exit_code, result.signal, output), 0)
    end
    output = output .. bytes
  end
end

--- `options[1]` is the program, what follows its arguments; `ready` is a pattern that its standard
--- output has to match; `env`, `cwd`, `stderr` ("inherit" by default) as in harness.process.
---@param options table
---@return spec.Child
function M.start(options)
  local p = process.spawn {
    file = options[1], args = { table.unpack(options, 2) }, env = options.env, cwd = options.cwd,
    stdin = true, stdout = "pipe", stderr = options.stderr or "inherit",
  }
  local ok, result = task.deadline(options.timeout_ms or READY_MS, "task", await_ready, p, options.ready)
  if not ok then
    p:close()
    error(("%s: %s"):format(table.concat(options, " "), tostring(result)), 0)
  end
  result.process = p
  return setmetatable(result, Child)
end

--- Ends the program and waits for it.
function Child:close()
  self.process:close()
end

Child.__close = Child.close

return M
