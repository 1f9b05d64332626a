--- What a model is told of the skills of its agent: names and descriptions, and where to read more (reference
--- B 5.5).

local M = {}

local CLOSING <const> = [[
When a task matches a skill, read /skills/<name>/SKILL.md with the read tool before you start, and follow it.
Relative paths in a skill are relative to /skills/<name>/.]]

-- A description of several lines would look like entries of its own.
local function one_line(text)
  return (text:gsub("[%s%c]+", " "))
end

--- The text that goes behind the instructions; nil when there are no skills.
---@param skills harness.Skill[] in the order of the agent's list
---@return string?
function M.text(skills)
  if #skills == 0 then return nil end
  local lines = { "Available skills:" }
  for _, skill in ipairs(skills) do
    lines[#lines + 1] = ("- %s: %s"):format(skill.name, one_line(skill.description))
    lines[#lines + 1] = ("  Location: %s/SKILL.md"):format(skill.mount_path)
    if skill.compatibility then lines[#lines + 1] = "  Compatibility: " .. one_line(skill.compatibility) end
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = CLOSING
  return table.concat(lines, "\n")
end

--- The instructions of an agent with its catalogue.
---@param instructions string?
---@param catalogue string
---@return string
function M.append(instructions, catalogue)
  if not instructions or instructions == "" then return catalogue end
  return instructions .. "\n\n" .. catalogue
end

return M
