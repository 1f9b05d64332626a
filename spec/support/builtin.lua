--- Calls a built-in tool on a sandbox session, as the tools' pipeline would: input checked, output as the
--- model reads it.
---
---     local call = builtin_call.on(sandbox)
---     call("read", { path = "/a" })              --> the output; raises the tool's error
---     call.text("read", { path = "/a" })         --> the JSON that the model reads

local builtin = require "harness.builtin"
local json = require "harness.json"

local M = {}

--- Calls on one sandbox session.
---@param sandbox table
function M.on(sandbox)
  local ctx = { sandbox = sandbox, session_id = "s" }
  local function call(_, name, input)
    local tool = builtin.get(name)
    local ok, checked = tool.input:check(input)
    if not ok then error("input: " .. checked[1].path .. ": " .. checked[1].message, 0) end
    return tool.run(ctx, checked)
  end
  return setmetatable({
    text = function(name, input) return json.encode(call(nil, name, input)) end,
  }, { __call = call })
end

--- What fn(...) raises.
function M.failure(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "no error was raised")
  return err
end

return M
