-- An agent with a skill: it is told what there is, and reads what it needs before it writes.
--
--     build/harness-lua run examples/skills.lua writer "Release 1.2: undo, and the crash on paste is gone."
--     --> 1.2. New: undo. Fixed: pasting no longer crashes.
--     build/harness-lua inspect examples/skills.lua | grep '^skills'
--     --> skills (1)
--
-- The skill is the directory skills/release-notes. Its name and description are in the prompt; its files are mounted
-- at /skills/release-notes, where the agent's tool `read` finds them. Without a key the model's turns are canned.

local harness = require "harness"
local model = require "model" -- beside this file

local HERE = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$"

local function read(path)
  return { tool_calls = { { name = "read", arguments = { path = path } } } }
end

local CANNED = {
  read "/skills/release-notes/SKILL.md",
  read "/skills/release-notes/references/style.md",
  { text = "1.2. New: undo. Fixed: pasting no longer crashes." },
}

return harness.define {
  name = "skills",
  models = { fast = model(CANNED) },
  sandbox = harness.sandbox.memory(),
  skills = { ["release-notes"] = HERE .. "skills/release-notes" },
  agents = {
    writer = {
      model = "fast",
      instructions = "You write what users read.",
      skills = { "release-notes" },
      builtin_tools = { "read", "list" },
    },
  },
}
