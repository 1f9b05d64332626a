--- Directories with skills, for specs.
---
---     local tree <close> = skills.tree { ["pdf/SKILL.md"] = skills.file { name = "pdf", description = "Reads." } }
---     tree.path .. "/pdf"

local process = require "harness.process"

local M = {}

--- A SKILL.md with these fields, in byte order, and a body. Values are YAML.
---@param fields table<string, string>
---@param body? string
function M.file(fields, body)
  local lines, names = { "---" }, {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do lines[#lines + 1] = ("%s: %s"):format(name, fields[name]) end
  lines[#lines + 1] = "---"
  lines[#lines + 1] = body or "# Body"
  return table.concat(lines, "\n") .. "\n"
end

--- The simplest right one.
---@param name string
function M.simple(name)
  return M.file { name = name, description = "Does " .. name .. "." }
end

local Tree = {}
Tree.__index = Tree

--- Runs a program in the tree.
function Tree:run(file, ...)
  local result = process.run { file = file, args = { ... }, cwd = self.path }
  assert(result.exit_code == 0, result.stderr)
end

--- Writes files (name -> bytes), with the directories that they are in.
function Tree:write(files)
  local directories = { "-p", "--", self.path }
  for name in pairs(files) do directories[#directories + 1] = name:match "^(.+)/" end
  self:run("mkdir", table.unpack(directories))
  for name, bytes in pairs(files) do
    local file <close> = assert(io.open(self.path .. "/" .. name, "wb"))
    file:write(bytes)
  end
end

function Tree:close()
  process.run { file = "rm", args = { "-rf", self.path } }
end

Tree.__close = Tree.close

--- A directory of its own with these files, removed when it is closed.
---@param files table<string, string>
function M.tree(files)
  local made = process.run { file = "mktemp", args = { "-d" } }
  local tree = setmetatable({ path = made.stdout:gsub("\n", "") }, Tree)
  tree:write(files)
  return tree
end

--- "level code", one for each diagnostic.
---@param found harness.SkillDiagnostic[]
function M.codes(found)
  local list = {}
  for i, one in ipairs(found) do list[i] = one.level .. " " .. one.code end
  return list
end

return M
