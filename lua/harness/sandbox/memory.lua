--- harness.sandbox.memory{ quota_bytes? }: files in memory, a new empty tree for each session.

local core = require "harness.core"
local options = require "harness.sandbox.options"
local sessions = require "harness.sandbox.session"

local DEFAULT_QUOTA <const> = 64 * 1024 * 1024

local FIELDS <const> = { quota_bytes = { options.quota } }

---@class harness.MemorySandboxOptions
---@field quota_bytes? integer of all files of a session together; default 64 MiB

---@class harness.Sandbox
---@field id string
---@field capabilities string[]
---@field isolation? fun(self): harness.Isolation what stands between its commands and the machine; bash{} only
---@field open fun(self, request: { session_id?: string, run_id?: string, signal?: table }): harness.SandboxSession

---@param given? harness.MemorySandboxOptions
---@return harness.Sandbox
return function(given)
  local quota = options.check("memory", given, FIELDS).quota_bytes or DEFAULT_QUOTA
  return {
    id = "memory",
    capabilities = { "sandbox.fs", "sandbox.snapshot" },
    open = function(_, request) return sessions.new(core.sandbox.memory(quota), request) end,
  }
end
