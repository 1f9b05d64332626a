--- harness.sandbox.auto(): bash{} where bubblewrap is installed, else the same without commands: directory{} for a
--- root that was given, memory() without one. Only its absence is a reason for that; whatever else does not work is
--- raised. It is what a definition gets that names no sandbox.

local errors = require "harness.errors"

---@param given? harness.BashSandboxOptions for bash{}
---@return harness.Sandbox
return function(given)
  local ok, made = pcall(require("harness.sandbox.bash").new, given)
  if ok then return made end
  if errors.is(made, "HARNESS_CONFIG_ERROR") and made.meta.reason == "bubblewrap_not_installed" then
    if not given or given.root == nil then return require "harness.sandbox.memory"() end
    return require "harness.sandbox.directory" {
      root = given.root, quota_bytes = given.quota_bytes, data_directory = given.data_directory,
    }
  end
  error(made, 0)
end
