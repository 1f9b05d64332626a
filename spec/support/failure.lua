--- What a call raises, for specs that look at it closely.

local errors = require "harness.errors"

local M = {}

--- The error of fn(...), whatever it is; the spec fails when there is none.
---@param fn function
---@return any
function M.any(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "no error")
  return err
end

--- The error of fn(...), which must be one of ours.
---@param fn function
---@return harness.Error
function M.structured(fn, ...)
  local err = M.any(fn, ...)
  assert(errors.is(err), tostring(err))
  return err
end

return M
