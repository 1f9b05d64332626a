--- The issues that a schema finds, in words.

local M = {}

--- The first of them: where it is, and what it is.
---@param issues { path: string, message: string }[]
---@return string
function M.first(issues)
  local issue = issues[1]
  return issue and ("%s: %s"):format(issue.path, issue.message) or "it does not fit the schema"
end

return M
