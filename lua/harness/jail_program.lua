--- harness-jail as a file that children inherit: one for all who need it at a time, closed with the last of them.

local core = require "harness.core"

local M = {}

local file, users = nil, 0

--- Whoever starts it holds it meanwhile.
---@return userdata file as core.process.spawn's `fds` takes it
function M.hold()
  file = file or core.jail.program()
  users = users + 1
  return file
end

--- The file, while somebody holds it.
---@return userdata
function M.file() return file end

--- Lets go of it.
function M.release()
  users = users - 1
  if users > 0 then return end
  file:close()
  file = nil
end

return M
