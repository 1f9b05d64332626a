--- Loads the file that a subcommand names and checks that it returns a harness.

local errors = require "harness.errors"

local M = {}

local function is_harness(value)
  return type(value) == "table" and getmetatable(value) and getmetatable(value).__name == "harness.Harness"
end

-- The directory of the file, so that its own modules are found beside it.
local function directory_of(file)
  return file:match "^(.*)/[^/]*$" or "."
end

--- Runs the file; returns the harness that it returns. Raises what goes wrong.
---@param file string
---@return harness.Harness
function M.harness(file)
  local chunk, err = loadfile(file, "t")
  if not chunk then errors.raise("HARNESS_CONFIG_ERROR", err, { reason = "cannot_load", path = file }) end
  local directory = directory_of(file)
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(directory, directory, package.path)
  _G.arg = { [0] = file }
  local harness = chunk(file)
  if is_harness(harness) then return harness end
  errors.raise("HARNESS_CONFIG_ERROR",
    ("%s must return a harness (`return harness.define { … }`), it returned %s"):format(file, type(harness)),
    { reason = "no_harness", path = file })
end

return M
