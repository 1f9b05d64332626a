--- A memory of the user's own for specs: it works (on a storage in memory), keeps what it is called with,
--- and may wait, fail or answer by itself.
---
---     local memory = own_memory.new { capabilities = { "memory.kv", "memory.session" } }
---     memory.hook = function(method, scope, ...) error "disk on fire" end   -- what it returns is the answer
---     …
---     assert.same({ "get", { kind = "session", session_id = "s" }, "k" }, memory.calls[1])

local harness = require "harness"

local M = {}

---@param changes? table fields that replace those of the memory
function M.new(changes)
  local inner = harness.storage.memory()
  local memory = { id = "mine", calls = {}, capabilities = {
    "memory.kv", "memory.list", "memory.delete", "memory.session", "memory.run",
  } }
  for _, name in ipairs { "get", "put", "delete", "list", "search" } do
    local method = inner["memory_" .. name]
    memory["memory_" .. name] = function(self, scope, ...)
      table.insert(self.calls, { name, scope, ... })
      if self.hook then return self.hook(name, scope, ...) end
      return method(inner, scope, ...)
    end
  end
  for key, value in pairs(changes or {}) do memory[key] = value end
  return memory
end

return M
