--- Sandboxes by name; each is loaded when it is used first. How to write one: README.md here.

local errors = require "harness.errors"
local nearest = require "harness.nearest"

local AVAILABLE <const> = { memory = true, directory = true, bash = true, auto = true }

---@class harness.sandbox
---@field memory fun(options?: harness.MemorySandboxOptions): harness.Sandbox
---@field directory fun(options?: harness.DirectorySandboxOptions): harness.Sandbox
---@field bash fun(options?: harness.BashSandboxOptions): harness.Sandbox
---@field auto fun(options?: harness.BashSandboxOptions): harness.Sandbox
return setmetatable({}, {
  __index = function(self, name)
    if AVAILABLE[name] then
      local make = require("harness.sandbox." .. name)
      rawset(self, name, make)
      return make
    end
    local names = {}
    for known in pairs(AVAILABLE) do names[#names + 1] = known end
    errors.raise("HARNESS_CONFIG_ERROR", ('there is no sandbox "%s" in this version%s'):format(tostring(name),
      nearest.hint(tostring(name), names, "sandboxes")),
      { reason = "unknown_reference", path = "sandbox", id = tostring(name) })
  end,
})
