-- lua/harness/definition_skills.lua and what definition_agents.lua says of an agent's skills.
local definition = require "harness.definition"
local definitions = require "spec.support.definitions"
local harness = require "harness"
local skills = require "spec.support.skills"
local table_sandbox = require "spec.support.table_sandbox"

local build, failure = definitions.build, definitions.failure

describe("skills of a definition", function()
  local tree

  setup(function()
    tree = skills.tree {
      ["pdf/SKILL.md"] = skills.simple "pdf", ["docx/SKILL.md"] = skills.simple "docx",
      ["broken/SKILL.md"] = "---\nname: broken\n---\n", ["other/SKILL.md"] = skills.simple "pdf",
      ["grep/SKILL.md"] = skills.simple "grep", ["helper/SKILL.md"] = skills.simple "helper",
      ["lost/SKILL.md"] = "---\nname: Lost\n---\n",
    }
  end)
  teardown(function() tree:close() end)

  local function at(name) return tree.path .. "/" .. name end
  local function sandbox() return table_sandbox.new(table_sandbox.session()) end

  -- A definition whose agent has these skills.
  local function with(given, agent_skills, more)
    local agent = definitions.agent { builtin_tools = { "read" }, skills = agent_skills }
    local changes = { skills = given, agents = { helper = agent }, sandbox = sandbox() }
    for name, value in pairs(more or {}) do changes[name] = value end
    return build(changes)
  end

  local function check(...) return definition.check(with(...)) end

  local function problems(...)
    local list = {}
    for i, one in ipairs(failure(definition.check, with(...)).meta.problems) do
      list[i] = ("%s %s %s"):format(one.path, one.code == "SKILL_MANIFEST_ERROR" and "skill" or "config", one.reason)
    end
    return list
  end

  it("may be directories, tables or a list", function()
    for _, given in ipairs {
      { pdf = at "pdf", docx = at "docx" }, { pdf = { directory = at "pdf" }, docx = { directory = at "docx" } },
      { at "pdf", { directory = at "docx" } }, { at "docx", pdf = at "pdf" },
    } do
      local clean = check(given)
      assert.same({ at "docx", at "pdf" }, { clean.skills.docx.directory, clean.skills.pdf.directory })
    end
    assert.same({}, check(nil).skills)
    assert.same({}, check({}).skills)
  end)

  it("are read when they are defined, used or not", function()
    local err = failure(harness.define, with { broken = at "broken" })
    local problem = err.meta.problems[1]
    assert.same({ "missing_description", "skills.broken", "broken" }, { err.meta.reason, err.meta.path, err.meta.id })
    assert.same({ "SKILL_MANIFEST_ERROR", at "broken" }, { problem.code, problem.directory })
    assert.equal(("skills.broken: %s: description must be text of 1 to 1024 characters, found nothing"):format(
      at "broken"), problem.message)
  end)

  for name, case in pairs {
    ["no table"] = { "skills", nil, { "skills config wrong_type" } },
    ["a key of another kind"] = { { [1.5] = "x" }, nil, { "skills[\"1.5\"] config wrong_type" } },
    ["no directory"] = { { pdf = {} }, nil, { "skills.pdf.directory config wrong_type" } },
    ["an empty directory"] = { { pdf = "" }, nil, { "skills.pdf config wrong_type" } },
    ["a number"] = { { pdf = 5 }, nil, { "skills.pdf config wrong_type" } },
    ["an unknown field"] = { { pdf = { directory = "pdf", mode = "x" } }, nil,
      { "skills.pdf.mode config unknown_key" } },
    ["an unknown mode"] = { { pdf = { directory = "pdf", validation_mode = "lenien" } }, nil,
      { "skills.pdf.validation_mode config invalid_skill" } },
    ["an unknown trust"] = { { pdf = { directory = "pdf", trust = true } }, nil,
      { "skills.pdf.trust config wrong_type" } },
    ["a missing directory"] = { { pdf = "none" }, nil, { "skills.pdf skill directory_missing" } },
    ["another name"] = { { pdf = "docx" }, nil, { "skills.pdf skill name_mismatch" } },
    ["another name than its directory"] = { { "other" }, nil, { "skills[1] skill name_mismatch" } },
    ["all that is wrong at once"] = { { lost = "lost", x = "none" }, nil,
      { "skills.lost skill invalid_name", "skills.lost skill missing_description",
        "skills.x skill directory_missing" } },
    ["an id that is no name"] = { { Pdf = "pdf" }, nil, { "skills.Pdf skill invalid_name" } },
    ["the same skill twice"] = { { "pdf", pdf = "pdf" }, nil, { "skills.pdf skill reserved_name" } },
    ["the name of a built-in tool"] = { { grep = "grep" }, nil, { "skills.grep skill reserved_name" } },
    ["the name of an agent"] = { { helper = "helper" }, nil, { "agents.helper skill reserved_name" } },
    ["an unknown one of an agent"] = { { pdf = "pdf" }, { "pfd" }, { "agents.helper.skills config invalid_agent" } },
    ["one of an agent twice"] = { { pdf = "pdf" }, { "pdf", "pdf" }, { "agents.helper.skills config invalid_agent" } },
    ["a list of other things"] = { { pdf = "pdf" }, { 5 }, { "agents.helper.skills[1] config wrong_type" } },
    ["text for an agent"] = { { pdf = "pdf" }, "pdf", { "agents.helper.skills config wrong_type" } },
    -- the agent's skill is none of its mistakes
    ["a broken one that an agent has"] = { { broken = "broken" }, { "broken" },
      { "skills.broken skill missing_description" } },
    ["a broken one of a list"] = { { "broken" }, { "broken" }, { "skills[1] skill missing_description" } },
  } do
    it("are told of with " .. name, function()
      local function absolute(given)
        if type(given) ~= "table" then return given end
        local all = {}
        for key, one in pairs(given) do
          if type(one) == "string" and one ~= "" then one = at(one) end
          if type(one) == "table" and one.directory then one.directory = at "pdf" end
          all[key] = one
        end
        return all
      end
      assert.same(case[3], problems(absolute(case[1]), case[2]))
    end)
  end

  it("may not have the id of a tool", function()
    local tree_of_tool <close> = skills.tree { ["order/SKILL.md"] = skills.simple "order" }
    assert.same({ "skills.order skill reserved_name" },
      problems({ order = tree_of_tool.path .. "/order" }, nil, { tools = { order = definitions.tool() } }))
  end)

  it("name the likely one", function()
    local err = failure(definition.check, with({ pdf = at "pdf" }, { "pfd" }))
    assert.equal('agents.helper.skills: there is no skill "pfd"; did you mean "pdf"?', err.message)
    assert.equal("pfd", err.meta.id)
  end)

  it("need the tool read, but for hand-written agents", function()
    local given = { pdf = at "pdf" }
    local function agents(changes)
      changes.skills = { "pdf" }
      return { agents = { helper = definitions.agent(changes) } }
    end
    for _, tools in ipairs { { "list" }, {}, false } do
      local err = failure(definition.check, with(given, nil, agents { builtin_tools = tools }))
      assert.same({ 1, "skill_read_tool_missing", "helper", "SKILL_MANIFEST_ERROR" },
        { #err.meta.problems, err.meta.reason, err.meta.id, err.meta.problems[1].code })
    end
    check(given, nil, agents { builtin_tools = true })
    check(given, nil, agents { run = print })
    -- a misspelt one is that mistake only
    local err = failure(definition.check, with(given, nil, agents { builtin_tools = { "raed" } }))
    assert.same({ 1, "unknown_reference" }, { #err.meta.problems, err.meta.reason })
  end)

  it("need a sandbox: there is the default one", function()
    local function sandbox_of(ids)
      return definition.check(build {
        skills = { pdf = at "pdf" }, agents = { helper = definitions.agent { run = print, skills = ids } },
      }).sandbox
    end
    assert.is_truthy(sandbox_of { "pdf" })
    assert.is_truthy(sandbox_of(true))
    assert.is_nil(sandbox_of {})
  end)

  it("of an agent are in its order, or all of them in byte order", function()
    local given = { pdf = at "pdf", docx = at "docx" }
    assert.same({ "pdf", "docx" }, check(given, { "pdf", "docx" }).agents.helper.skills)
    assert.same({ "docx", "pdf" }, check(given, true).agents.helper.skills)
    assert.same({}, check(given, false).agents.helper.skills)
    assert.same({}, check(given, nil).agents.helper.skills)
    assert.same({}, check(nil, true).agents.helper.skills)
  end)

  it("that are lenient are left out when they cannot be used", function()
    local clean = check({
      pdf = at "pdf", broken = { directory = at "broken", validation_mode = "lenient" },
      none = { directory = at "none", validation_mode = "lenient" },
    }, true)
    assert.same({ "pdf" }, clean.agents.helper.skills)
    assert.same({ "error missing_description" }, skills.codes(clean.skipped_skills.broken))
    assert.same({ "error directory_missing" }, skills.codes(clean.skipped_skills.none))
    clean = check({ { directory = at "broken", validation_mode = "lenient" } }, { "broken" })
    assert.same({ { "broken" }, { "error missing_description" } },
      { clean.agents.helper.skills, skills.codes(clean.skipped_skills.broken) })
  end)

  it("that are lenient cannot both be mounted at one place", function()
    local clean = check {
      a = { directory = at "pdf", validation_mode = "lenient" },
      b = { directory = at "other", validation_mode = "lenient" },
    }
    assert.same({ "a" }, { (next(clean.skills)) })
    assert.same({ "warn name_mismatch", "error collision_shadowed" }, skills.codes(clean.skipped_skills.b))
  end)

  it("are copies: what is given may be changed afterwards", function()
    local given = { directory = at "pdf" }
    local clean = check { pdf = given }
    given.directory = "x"
    assert.equal(at "pdf", clean.skills.pdf.directory)
  end)

  it("that were left out are told of in the log", function()
    local lines = {}
    local logger = require("spec.support.scripted").silent()
    logger.lines = lines
    local h <close> = harness.define(with({ -- luacheck: ignore
      broken = { directory = at "broken", validation_mode = "lenient" },
    }, nil, { logger = logger }))
    assert.same({ 1, "warn", "broken", "missing_description" },
      { #lines, lines[1][1], lines[1][3].skill_id, lines[1][3].code })
  end)
end)
