--- Model providers by name; each is loaded when it is used first. How to write one: README.md here.

local errors = require "harness.errors"

local AVAILABLE <const> = { openai = true, scripted = true }
local LATER <const> = { openai_responses = true, anthropic = true }

---@class harness.providers
---@field openai fun(options: table): table
---@field scripted fun(turns: table|function, options?: table): table
return setmetatable({}, {
  __index = function(self, name)
    if AVAILABLE[name] then
      local make = require("harness.providers." .. name)
      rawset(self, name, make)
      return make
    end
    errors.raise("HARNESS_CONFIG_ERROR", ("there is no provider %q in this version; there are: openai, scripted")
      :format(tostring(name)), { reason = LATER[name] and "not_available" or "unknown_reference", id = tostring(name) })
  end,
})
