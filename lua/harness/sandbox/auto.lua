--- harness.sandbox.auto(): bash{} where bubblewrap is installed, else memory(). Only its absence is a reason for
--- memory(), which has no `root`: whoever gives one gets an error. Whatever else does not work is raised, too. It is
--- what a definition gets that names no sandbox.

local errors = require "harness.errors"

---@param given? harness.BashSandboxOptions for bash{}
---@return harness.Sandbox
return function(given)
  local ok, made = pcall(require("harness.sandbox.bash").new, given)
  if ok then return made end
  if not (errors.is(made, "HARNESS_CONFIG_ERROR") and made.meta.reason == "bubblewrap_not_installed") then
    error(made, 0)
  end
  if not (given and given.root) then return require "harness.sandbox.memory"() end
  errors.raise("HARNESS_CONFIG_ERROR", made.message .. "; sandbox.directory { root = … } has the files alone",
    made.meta)
end
