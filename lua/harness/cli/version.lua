--- The versions of harness-lua and of the libraries it runs on.

local core = require "harness.core"

local M = {}

--- Prints them in one line.
function M.print()
  local v = core.versions()
  print(("harness-lua %s  (%s, libuv %s, cJSON %s, PCRE2 %s)"):format(
    v.harness, v.lua, v.libuv, v.cjson, v.pcre2))
end

return M
