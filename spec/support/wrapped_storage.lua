--- A storage around harness.storage.memory() that counts its calls, and may wait or fail at them.
---
---     local storage = wrapped.new(function(method, ...) harness.sleep(5) end)
---     …
---     assert.equal(1, storage.calls.get_session)

local harness = require "harness"

local M = {}

--- `hook(method, ...)` is called before each call with its arguments; what it raises, the call raises.
--- Set `storage.hook` to change it, `storage.after` to be called when the call has been made.
---@param hook? fun(method: string, ...)
---@param inner? table the storage to call; default: one in memory
function M.new(hook, inner)
  inner = inner or harness.storage.memory()
  local self = { calls = {}, hook = hook, inner = inner }
  return setmetatable(self, {
    __index = function(_, key)
      local method = inner[key]
      if type(method) ~= "function" then return method end
      local function wrapped(_, ...)
        self.calls[key] = (self.calls[key] or 0) + 1
        if self.hook then self.hook(key, ...) end
        local results = table.pack(method(inner, ...))
        if self.after then self.after(key, ...) end
        return table.unpack(results, 1, results.n)
      end
      rawset(self, key, wrapped)
      return wrapped
    end,
  })
end

return M
