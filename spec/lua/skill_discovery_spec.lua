-- lua/harness/skill_discovery.lua: harness.discover_skills (reference B 5.7, SK-40 to SK-45, and where we leave it).
local errors = require "harness.errors"
local failure = require("spec.support.failure").any
local harness = require "harness"
local skills = require "spec.support.skills"
local table_sandbox = require "spec.support.table_sandbox"

local simple = skills.simple

describe("discovery", function()
  local tree

  before_each(function()
    tree = skills.tree {
      ["p/.agents/skills/pdf/SKILL.md"] = simple "pdf", ["p/.agents/skills/office/docx/SKILL.md"] = simple "docx",
      ["h/.agents/skills/mail/SKILL.md"] = simple "mail", ["h/.agents/skills/pdf/SKILL.md"] = simple "pdf",
    }
  end)
  after_each(function() tree:close() end)

  local function at(name) return tree.path .. "/" .. name end

  local function discover(more)
    local options = { project_root = at "p", trusted_project_roots = { at "p" }, user_home = at "h" }
    for name, value in pairs(more or {}) do options[name] = value end
    return harness.discover_skills(options)
  end

  local function names(found)
    local list = {}
    for name in pairs(found) do list[#list + 1] = name end
    table.sort(list)
    return table.concat(list, " ")
  end

  it("finds those of a trusted project, however deep", function()
    local found, diagnostics = discover()
    assert.same({
      pdf = { directory = at "p/.agents/skills/pdf", validation_mode = "lenient", trust = "project",
        source = "project_agents" },
      docx = { directory = at "p/.agents/skills/office/docx", validation_mode = "lenient", trust = "project",
        source = "project_agents" },
    }, found)
    assert.same({}, diagnostics)
  end)

  it("leaves those of other projects out, and says so", function()
    for _, roots in ipairs { {}, { at "h" }, { at "p/.agents" }, { tree.path }, { at "none" } } do
      local found, diagnostics = discover { trusted_project_roots = roots }
      assert.same({}, found)
      assert.same({ "warn untrusted_project_skill" }, skills.codes(diagnostics))
      assert.same({ at "p/.agents/skills", "project_agents" }, { diagnostics[1].directory, diagnostics[1].source })
      assert.matches("trusted_project_roots", diagnostics[1].message)
    end
    local found, diagnostics = harness.discover_skills { project_root = at "p" }
    assert.same({ "", 1 }, { names(found), #diagnostics })
  end)

  it("takes a root for the same however it is written, by its real path", function()
    tree:run("ln", "-s", "p", "link")
    assert.equal("docx pdf", names(discover { trusted_project_roots = { at "h/../p/" } }))
    assert.equal("docx pdf", names(discover { project_root = at "link" }))
    assert.equal("docx pdf", names(discover { trusted_project_roots = { at "link" } }))
  end)

  it("prefers the project to the user", function()
    local found, diagnostics = discover { include_user_agents_dir = true }
    assert.equal("docx mail pdf", names(found))
    assert.same({ "project_agents", "project", "user_agents", "user" },
      { found.pdf.source, found.pdf.trust, found.mail.source, found.mail.trust })
    assert.same({ "warn collision_shadowed" }, skills.codes(diagnostics))
    assert.same({ "pdf", at "h/.agents/skills/pdf" }, { diagnostics[1].skill_name, diagnostics[1].directory })
    assert.truthy(diagnostics[1].message:find(at "p/.agents/skills/pdf", 1, true))
  end)

  it("has the user's where the project is not trusted", function()
    local found = discover { include_user_agents_dir = true, trusted_project_roots = {} }
    assert.equal("mail pdf", names(found))
    assert.equal("user_agents", found.pdf.source)
  end)

  it("looks where it is told to, in one order", function()
    tree:write {
      ["p/.me/skills/a/SKILL.md"] = simple "a", ["p/.claude/skills/b/SKILL.md"] = simple "b",
      ["h/.me/skills/c/SKILL.md"] = simple "c", ["p/.me/skills/pdf/SKILL.md"] = simple "pdf",
      ["p/.claude/skills/a/SKILL.md"] = simple "a",
    }
    local all = {
      client_name = "me", include_project_client_dir = true, include_claude_compat_dir = true,
      include_user_agents_dir = true, include_user_client_dir = true,
    }
    local found, diagnostics = discover(all)
    assert.equal("a b c docx mail pdf", names(found))
    assert.same({ "project_client", "project_claude", "user_client", "project_agents" },
      { found.a.source, found.b.source, found.c.source, found.pdf.source })
    assert.same({ "project_client", "project_claude", "user_agents" },
      { diagnostics[1].source, diagnostics[2].source, diagnostics[3].source })
    all.include_project_agents_dir = false
    assert.equal("project_client", discover(all).pdf.source)
    assert.same({}, (discover { include_project_agents_dir = false }))
  end)

  it("takes nothing for something where there is nothing", function()
    assert.same({ {}, {} }, { discover { project_root = at "none", include_user_agents_dir = true,
      user_home = at "none" } })
  end)

  it("does not look into what is no place for skills, nor below a skill", function()
    local base = "p/.agents/skills/"
    local files = { [base .. "pdf/inner/SKILL.md"] = simple "inner" }
    for _, name in ipairs { ".git", "node_modules", "dist", "build", ".next", ".astro", ".hidden", ".me" } do
      files[base .. name .. "/x/SKILL.md"] = simple "x"
    end
    for _, name in ipairs { ".agents", ".claude" } do files[base .. name .. "/y/SKILL.md"] = simple "y" end
    tree:write(files)
    assert.equal("docx pdf y", names(discover()))
    assert.equal("docx pdf x y", names(discover { client_name = "me" }))
  end)

  it("does not follow links, and says so", function()
    tree:write { ["out/x/SKILL.md"] = simple "x", ["p/.agents/skills/z/file"] = "" }
    tree:run("ln", "-s", "../../../out/x", "p/.agents/skills/x")
    tree:run("ln", "-s", "../../../../out/x/SKILL.md", "p/.agents/skills/z/SKILL.md")
    local found, diagnostics = discover()
    assert.equal("docx pdf", names(found))
    assert.same({ "warn link_skipped", "warn link_skipped" }, skills.codes(diagnostics))
    assert.equal(at "p/.agents/skills/x", diagnostics[1].directory)
  end)

  it("goes max_depth deep", function()
    tree:write { ["p/.agents/skills/1/2/3/4/5/6/SKILL.md"] = simple "6", ["p/.agents/skills/1/2/3/4/5/7/8/SKILL.md"] =
      simple "8" }
    assert.equal("6 docx pdf", names(discover()))
    assert.equal("6 8 docx pdf", names(discover { max_depth = 7 }))
    assert.equal("pdf", names(discover { max_depth = 1 }))
    assert.equal("", names(discover { max_depth = 0 }))
  end)

  it("looks at max_directories, and says so once", function()
    local found, diagnostics = discover { max_directories = 3 }
    assert.same({ "docx", { "error scan_limit_reached" } }, { names(found), skills.codes(diagnostics) })
    found, diagnostics = discover { max_directories = 4 }
    assert.same({ "docx pdf", {} }, { names(found), diagnostics })
    -- each place by itself
    assert.equal("docx mail pdf", names(discover { max_directories = 4, include_user_agents_dir = true }))
  end)

  it("leaves out what cannot be used, with what was found", function()
    tree:write {
      ["p/.agents/skills/a/SKILL.md"] = "---\nname: a\n---\n", ["p/.agents/skills/b/SKILL.md"] = simple "other",
      ["p/.agents/skills/c/SKILL.md"] = "---\nname: c\ndescription: x: y\nmodel: z\n---\n",
    }
    local found, diagnostics = discover()
    assert.equal("c docx other pdf", names(found))
    assert.same({ "error missing_description", "warn name_mismatch", "warn invalid_frontmatter", "warn unknown_field" },
      skills.codes(diagnostics))
    assert.same({ at "p/.agents/skills/a", "other", "c" },
      { diagnostics[1].directory, diagnostics[2].skill_name, diagnostics[3].skill_name })
  end)

  it("that is strict raises the first that cannot be used", function()
    tree:write { ["p/.agents/skills/b/SKILL.md"] = simple "other" }
    local err = failure(discover, { validation_mode = "strict" })
    assert.same({ "SKILL_MANIFEST_ERROR", "name_mismatch", at "p/.agents/skills/b", "project_agents" },
      { err.code, err.meta.reason, err.meta.directory, err.meta.source })
  end)

  it("is for a definition, which keeps its diagnostics", function()
    tree:write {
      ["p/.agents/skills/a/SKILL.md"] = "---\nname: a\n---\n", ["p/.agents/skills/b/SKILL.md"] = simple "other",
      ["p/.agents/skills/c/SKILL.md"] = "---\nname: c\ndescription: x: y\n---\n",
    }
    local h <close> = harness.define { -- luacheck: ignore
      models = { m = { provider = harness.providers.scripted {}, model = "m" } }, skills = (discover()),
      agents = { helper = { model = "m", instructions = "x", builtin_tools = { "read" }, skills = true } },
      sandbox = table_sandbox.new(table_sandbox.session()), logger = require("spec.support.scripted").silent(),
    }
    local info = h:inspect()
    assert.equal("c docx other pdf", names(info.skills))
    assert.same({ "error missing_description" }, skills.codes(info.skill_diagnostics))
    assert.same({ "warn name_mismatch" }, skills.codes(info.skills.other.diagnostics))
    assert.same({ "warn invalid_frontmatter" }, skills.codes(info.skills.c.diagnostics)) -- once
    assert.same({ "c", "docx", "other", "pdf" }, info.agents.helper.skills)
  end)

  for name, case in pairs {
    ["a misspelt option"] = { { project_rot = "x" }, "discover_skills.project_rot", 'did you mean "project_root"?' },
    ["a list that is none"] = { { trusted_project_roots = "." }, "discover_skills.trusted_project_roots", "a list" },
    ["no path in a list"] = { { trusted_project_roots = { 5 } }, "discover_skills.trusted_project_roots[1]", "" },
    ["a client, unnamed"] = { { include_user_client_dir = true }, "discover_skills.client_name", "must be given" },
    ["a name with a slash"] = { { client_name = "../x" }, "discover_skills.client_name", "must be letters" },
    ["a mode"] = { { validation_mode = "strickt" }, "discover_skills.validation_mode", 'did you mean "strict"?' },
    ["a depth"] = { { max_depth = -1 }, "discover_skills.max_depth", "an integer of at least 0" },
    ["a flag"] = { { include_user_agents_dir = "yes" }, "discover_skills.include_user_agents_dir", "true or false" },
    ["no table"] = { 5, "discover_skills", "must be a table of options, found the number 5" },
  } do
    it("tells of " .. name, function()
      local err = failure(harness.discover_skills, case[1])
      assert.is_true(errors.is(err, "HARNESS_CONFIG_ERROR"))
      assert.equal(case[2], err.meta.path)
      assert.truthy(err.message:find(case[3], 1, true), err.message)
    end)
  end
end)
