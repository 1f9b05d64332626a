--- Tools for people who test harnesses and adapters; each is loaded when it is used first.
---
---     require("harness").testing.storage_contract("my storage", make_storage)   -- in a busted spec
---     local recorder = require("harness").testing.recorder.new()

local PARTS <const> = { recorder = true, storage_contract = true, sandbox_contract = true }

---@class harness.testing
---@field recorder table a telemetry listener that keeps what it hears
---@field storage_contract function the rules that every storage keeps, as specs
---@field sandbox_contract function the rules that every sandbox keeps, as specs
return setmetatable({}, {
  __index = function(self, name)
    if not PARTS[name] then return nil end
    local part = require("harness.testing." .. name)
    rawset(self, name, part)
    return part
  end,
})
