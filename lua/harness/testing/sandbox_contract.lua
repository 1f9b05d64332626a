--- The contract suite of sandboxes: the same cases for every sandbox, ours or yours.
---
---   -- spec/my_sandbox_spec.lua, run by busted inside a task (harness-lua /usr/bin/busted …)
---   local contract = require "harness.testing.sandbox_contract"
---   contract("my sandbox", function() return my_sandbox.new() end)
---
--- make_sandbox is called for each case and must give a sandbox whose sessions begin without files beside
--- empty directories. A case opens a session and closes it. What a sandbox does not have it says so:
--- contract(name, make, { mounts = false, snapshots = false }).

local M = {}

local GROUPS <const> = { "files", "lists", "mounts", "snapshots" }

---@class harness.SandboxContractOptions
---@field mounts? boolean false: without the group mounts
---@field snapshots? boolean false: without the group snapshots
---@field describe? fun(name: string, fn: fun()) busted's unless given
---@field it? fun(name: string, fn: fun()) busted's unless given

-- A case gets a session of its own, and the sandbox, for more.
local function case(it, make_sandbox)
  return function(name, fn)
    it(name, function()
      local sandbox = make_sandbox()
      local session = sandbox:open { session_id = "contract", run_id = "contract" }
      local ok, err = pcall(fn, session, sandbox)
      session:close()
      if not ok then error(err, 0) end
    end)
  end
end

---Defines the suite for one sandbox.
---@param name string what the suite is called in reports
---@param make_sandbox fun(): harness.Sandbox
---@param options? harness.SandboxContractOptions
function M.contract(name, make_sandbox, options)
  options = options or {}
  local describe = options.describe or require "busted".describe
  local it = options.it or require "busted".it
  describe("sandbox contract: " .. name, function()
    for _, group in ipairs(GROUPS) do
      if options[group] ~= false then
        local define = require("harness.testing.sandbox_contract_" .. group)
        describe(group, function() define(case(it, make_sandbox)) end)
      end
    end
  end)
end

return setmetatable(M, { __call = function(_, ...) return M.contract(...) end })
