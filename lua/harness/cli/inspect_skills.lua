--- The skills of a harness, as `harness-lua inspect` shows them: each with what was found about it, and whether its
--- files are such that they can be mounted.

local files = require "harness.builtin.files"
local skill_mount = require "harness.skill_mount"

local M = {}

--- Adds what takes a look at the files: `files` and `bytes` of each skill, or why they cannot be mounted.
---@param skills table<string, table> of h:inspect()
function M.survey(skills)
  for _, skill in pairs(skills) do
    if not skill.skipped then
      local list, reason, message = skill_mount.survey(skill)
      if list then
        skill.files, skill.bytes = #list, list.bytes
        if list.links > 0 then
          table.insert(skill.diagnostics, { level = "warn", code = "link_skipped", skill_name = skill.name,
            directory = skill.directory, message = ("symbolic links are not followed: %d"):format(list.links) })
        end
      else
        table.insert(skill.diagnostics, { level = "error", code = reason, skill_name = skill.name,
          directory = skill.directory, message = "it " .. message })
      end
    end
  end
end

-- What strangers have written must not steer a terminal.
local function plain(text)
  return (text:gsub("[%s%c]+", " "))
end

local function diagnostic(out, one)
  out:write(("%23s%s %s: %s\n"):format("", one.level, one.code, plain(one.message)))
end

local function described(skill)
  if skill.skipped then return ("left out (%s)"):format(plain(skill.directory)) end
  local size = skill.files and ("; %s, %s"):format(files.count(skill.files, "file"), files.count(skill.bytes, "byte"))
    or ""
  return ("%s (%s%s)"):format(plain(skill.description), plain(skill.directory), size)
end

--- Writes the section.
---@param out harness.cli.Output
---@param ids string[]
---@param skills table<string, table> surveyed
---@param diagnostics harness.SkillDiagnostic[] about what is not among them
function M.show(out, ids, skills, diagnostics)
  out:write(("skills (%d)\n"):format(#ids))
  for _, id in ipairs(ids) do
    out:write(("  %-20s %s\n"):format(id, described(skills[id])))
    for _, one in ipairs(skills[id].diagnostics) do diagnostic(out, one) end
  end
  for _, one in ipairs(diagnostics) do
    out:write(("  %s\n"):format(plain(one.directory)))
    diagnostic(out, one)
  end
end

return M
