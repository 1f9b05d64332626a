--- harness.sandbox.directory{ root?, quota_bytes?, data_directory? }: the files of a directory of the host at
--- /workspace, and beside it what is private to the session. It runs no commands.
---
---     harness.sandbox.directory { root = "." }       -- for working on a real project
---     harness.sandbox.directory()                    -- /workspace is private, too, and goes with the session

local core = require "harness.core"
local errors = require "harness.errors"
local options = require "harness.sandbox.options"
local sessions = require "harness.sandbox.session"

---@class harness.DirectorySandboxOptions
---@field root? string an existing directory; a relative path is one of the current directory
---@field quota_bytes? integer of all files of a session together, those of the root too; default: no quota
---@field data_directory? string where private directories are made; default $TMPDIR or /tmp

-- A directory of the host as its absolute path without links.
local function host_directory(problems, path, value)
  if type(value) ~= "string" or value == "" then
    problems:wrong_type(path, "the path of a directory", value)
    return nil
  end
  local real, why = core.sandbox.real_directory(value)
  if not real then problems:add(path, "invalid_root", ("must be a directory, found %s: %s"):format(value, why)) end
  return real
end

local FIELDS <const> = {
  root = { host_directory }, data_directory = { host_directory }, quota_bytes = { options.quota },
}

local function default_base()
  local real = core.sandbox.real_directory(os.getenv "TMPDIR" or "/tmp")
  return real or "/tmp"
end

local M = {}

--- The checker of options that name a directory of the host.
M.host_directory = host_directory

--- Where private directories are made by default.
---@return string
M.default_base = default_base

--- Opens a tree, or raises SANDBOX_ERROR.
---@param settings table as core.sandbox.directory takes them
---@return userdata
function M.tree(settings)
  local tree, why, reason = core.sandbox.directory(settings)
  if tree then return tree end
  errors.raise("SANDBOX_ERROR", why, { reason = reason })
end

---@param given? harness.DirectorySandboxOptions
---@return harness.Sandbox
function M.new(given)
  local checked = options.check("directory", given, FIELDS)
  local settings = {
    root = checked.root, quota_bytes = checked.quota_bytes, base = checked.data_directory or default_base(),
  }
  local swept = false
  return {
    id = "directory",
    capabilities = { "sandbox.fs", "sandbox.persistent_fs", "sandbox.snapshot" },
    open = function(_, request)
      if not swept then core.sandbox.sweep(settings.base) end
      swept = true
      return sessions.new(M.tree(settings), request)
    end,
  }
end

return setmetatable(M, { __call = function(_, given) return M.new(given) end })
