--- Tables of handles by name (`session.agents`, `ctx.agents`, `ctx.models`): each handle is made when it
--- is asked for first; a name that does not exist is an error that says which do.

local errors = require "harness.errors"
local nearest = require "harness.nearest"

local M = {}

--- Raises the error about an id that is not known, with the likely one or all that there are.
---@param code string
---@param kind string for the message
---@param id any
---@param known table<string, any>
---@param field? string the meta field that holds the id, default <kind>_id
function M.unknown(code, kind, id, known, field)
  local names = {}
  for name in pairs(known) do names[#names + 1] = name end
  errors.raise(code, ('there is no %s "%s"%s'):format(kind, tostring(id),
    nearest.hint(tostring(id), names, kind .. "s")),
    { [field or kind .. "_id"] = tostring(id), reason = "unknown_reference" })
end

--- The table of handles for `known`, a map from id to definition.
---@param known table<string, table>
---@param kind "agent"|"workflow"|"model" for the message and the name of the meta field
---@param code string of the error for an unknown id
---@param make fun(definition: table, id: string): table
---@return table<string, table>
function M.handles(known, kind, code, make)
  return setmetatable({}, {
    __index = function(self, id)
      local definition = known[id]
      if not definition then M.unknown(code, kind, id, known) end
      local handle = make(definition, id)
      rawset(self, id, handle)
      return handle
    end,
  })
end

return M
