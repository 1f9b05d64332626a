-- lua/harness/cli/inspect_skills.lua: the skills of a harness, each with what was found about it.
local command = require "spec.support.command"
local core = require "harness.core"
local skills = require "spec.support.skills"

local HARNESS <const> = [[
  local harness = require "harness"
  return harness.define {
    models = { m = { provider = harness.providers.scripted {}, model = "m" } },
    sandbox = harness.sandbox.memory(),
    skills = harness.discover_skills { trusted_project_roots = %s },
    agents = { helper = { model = "m", instructions = "-", builtin_tools = { "read" }, skills = true } },
  }]]

describe("harness-lua inspect", function()
  local tree

  setup(function()
    tree = skills.tree {
      ["trusting.lua"] = HARNESS:format '{ "." }', ["careful.lua"] = HARNESS:format "{}",
      ["strict.lua"] = HARNESS:gsub("harness.discover_skills.-\n", '{ bad = ".agents/skills/bad" },\n'),
      [".agents/skills/pdf/SKILL.md"] = skills.file {
        name = "pdf", description = '"Reads\\n\\e[31mPDF."', color = "x",
      },
      [".agents/skills/pdf/a.txt"] = "12345",
      [".agents/skills/big/SKILL.md"] = skills.simple "big",
      [".agents/skills/bad/SKILL.md"] = "---\nname: bad\n---\n",
    }
    tree:run("truncate", "-s", "1G", ".agents/skills/big/huge")
    tree:run("ln", "-s", "a.txt", ".agents/skills/pdf/link")
  end)
  teardown(function() tree:close() end)

  local function inspect(...)
    local options = { "inspect", ... }
    options.cwd, options.env = tree.path, { HARNESS_LOG_LEVEL = "fatal" }
    return command.run(options)
  end

  it("shows each skill with its diagnostics", function()
    local result = inspect "trusting.lua"
    assert.same({ 0, "" }, { result.status, result.stderr })
    local base = tree.path .. "/.agents/skills/"
    local shown = result.stdout:match "\n(skills.-)workflows"
    assert.equal(([[
skills (2)
  big                  Does big. (%sbig)
                       error scan_limit_reached: it has more than 5000 files or 100000000 bytes, or is nested too deeply
  pdf                  Reads [31mPDF. (%spdf; 2 files, 72 bytes)
                       warn unknown_field: the format has no field "color"; it was left out
                       warn link_skipped: symbolic links are not followed: 1
  %sbad
                       error missing_description: description must be text of 1 to 1024 characters, found nothing
agents (1)
  helper               model m, tools: read, skills: big, pdf
]]):format(base, base, base), shown)
  end)

  it("shows why there are none", function()
    local result = inspect "careful.lua"
    assert.truthy(result.stdout:find("\nskills (0)\n", 1, true))
    assert.matches("warn untrusted_project_skill: its skills are left out: [^\n]* is not among trusted_project_roots",
      result.stdout)
  end)

  it("writes the same as JSON", function()
    local result = inspect("--json", "trusting.lua")
    local info = core.json.decode(result.stdout)
    local pdf, big = info.skills.pdf, info.skills.big
    assert.same({ "pdf", 2, 72, "/skills/pdf", "project", "project_agents" },
      { pdf.name, pdf.files, pdf.bytes, pdf.mount_path, pdf.trust, pdf.source })
    assert.same({ "warn unknown_field", "warn link_skipped" }, skills.codes(pdf.diagnostics))
    assert.same({ "error scan_limit_reached" }, skills.codes(big.diagnostics))
    assert.same({ "error missing_description" }, skills.codes(info.skill_diagnostics))
    assert.same({ "big", "pdf" }, info.agents.helper.skills)
  end)

  it("tells in one line what is wrong with a strict one", function()
    local result = inspect "strict.lua"
    assert.same({ 1, "" }, { result.status, result.stdout })
    assert.matches("HARNESS_CONFIG_ERROR: skills%.bad: /[^\n]*bad: description must be text [^\n]*\n$", result.stderr)
  end)
end)
