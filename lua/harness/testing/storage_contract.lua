--- The contract suite of storages: the same cases for every storage, ours or yours.
---
---   -- spec/my_storage_spec.lua, run by busted inside a task (harness-lua /usr/bin/busted …)
---   local contract = require "harness.testing.storage_contract"
---   contract("my storage", function() return my_storage.new() end)
---
--- make_storage is called for each case and must give an empty storage, which the case closes. A
--- storage without the memory group says so: contract(name, make, { memory = false }).

local M = {}

local GROUPS <const> = { "sessions", "messages", "runs", "finish", "events", "memory" }

---@class harness.StorageContractOptions
---@field memory? boolean false: without the memory group
---@field describe? fun(name: string, fn: fun()) busted's unless given
---@field it? fun(name: string, fn: fun()) busted's unless given

-- A case gets a storage of its own, and closes it however it ends.
local function case(it, make_storage)
  return function(name, fn)
    it(name, function()
      local storage = make_storage()
      local ok, err = pcall(fn, storage)
      storage:close()
      if not ok then error(err, 0) end
    end)
  end
end

---Defines the suite for one storage.
---@param name string what the suite is called in reports
---@param make_storage fun(): harness.Storage
---@param options? harness.StorageContractOptions
function M.contract(name, make_storage, options)
  options = options or {}
  local describe = options.describe or require "busted".describe
  local it = options.it or require "busted".it
  describe("storage contract: " .. name, function()
    for _, group in ipairs(GROUPS) do
      if group ~= "memory" or options.memory ~= false then
        local define = require("harness.testing.storage_contract_" .. group)
        describe(group, function() define(case(it, make_storage)) end)
      end
    end
  end)
end

return setmetatable(M, { __call = function(_, ...) return M.contract(...) end })
