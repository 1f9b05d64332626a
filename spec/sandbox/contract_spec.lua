-- Every sandbox keeps the contract of lua/harness/testing/sandbox_contract*.lua, one's own as well.

local contract = require("harness").testing.sandbox_contract
local harness = require "harness"
local host_tree = require "spec.support.host_tree"
local still = require "spec.support.still"
local table_sandbox = require "spec.support.table_sandbox"

-- Commands of root's run as who owns the directory, which is somebody else.
local OWNED <const> = require("harness.core").jail.machine().uid == 0 and { "chown nobody ." } or {}

describe("sandboxes", function()
  still(before_each, after_each)
  local trees = host_tree.watch(after_each)

  contract("memory", function() return harness.sandbox.memory() end)
  contract("directory", function() return harness.sandbox.directory { root = trees.new() } end)
  contract("private directory", function() return harness.sandbox.directory() end)
  contract("directory with a quota", function()
    return harness.sandbox.directory { root = trees.new(), quota_bytes = 1 << 30 }
  end)
  contract("bash", function() return harness.sandbox.bash() end)
  contract("bash in a directory", function() return harness.sandbox.bash { root = trees.new(OWNED) } end)
  contract("a Lua table", function()
    return { capabilities = { "sandbox.fs" }, open = function() return table_sandbox.session() end }
  end)
end)
