--- The versions of harness-lua and of the libraries it runs on.

local core = require "harness.core"

local M = {}

--- Prints them in one line. libcurl is loaded when it is needed first, and so it is only told on demand.
---@param with_libcurl boolean?
function M.print(with_libcurl)
  local v = core.versions()
  local libcurl = with_libcurl and (", libcurl " .. (core.http.version() or "missing")) or ""
  print(("harness-lua %s  (%s, libuv %s, cJSON %s, PCRE2 %s, libyaml %s%s)"):format(
    v.harness, v.lua, v.libuv, v.cjson, v.pcre2, v.yaml, libcurl))
end

return M
