--- The options of sandboxes: checked when one is made, all problems at once.

local errors = require "harness.errors"
local fields = require "harness.definition_fields"

local M = {}

--- The checker of quota_bytes.
M.quota = fields.integer { min = 1, reason = "invalid_quota" }

---Checks the options of a sandbox; raises HARNESS_CONFIG_ERROR.
---@param name string of the sandbox, such as "memory"
---@param given any
---@param spec table<string, table> as fields.check takes it
---@return table clean a copy
function M.check(name, given, spec)
  local problems, path = fields.problems(), { "sandbox", name }
  local clean = {}
  if given == nil or type(given) == "table" then
    clean = fields.check(problems, path, given or {}, spec)
  else
    problems:wrong_type(path, "a table of options", given)
  end
  local list = problems:list()
  if #list == 0 then return clean end
  local first, texts = list[1], {}
  for i, problem in ipairs(list) do texts[i] = problem.message end
  errors.raise("HARNESS_CONFIG_ERROR", table.concat(texts, "; "),
    { reason = first.reason, path = first.path, id = first.id, problems = list })
end

return M
