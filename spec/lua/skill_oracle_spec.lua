-- Skills as others see them: those that npm packages ship, and what skills-ref takes and refuses.
local harness = require "harness"
local json = require "harness.json"
local process = require "harness.process"
local scripted = require "spec.support.scripted"
local skill = require "harness.skill"
local skills = require "spec.support.skills"

local MODULES <const> = assert(os.getenv "HARNESS_NODE_MODULES", "run by make test")

describe("skills that npm packages ship", function()
  local SHIPPED <const> = {
    { "@copilotkit/aimock/skills/write-fixtures", 1 },
    { "playwright-core/lib/tools/skills/playwright-cli", 11 },
    { "playwright-core/lib/tools/skills/playwright-component-testing", 6 },
    { "playwright-core/lib/tools/skills/playwright-trace", 1 },
  }

  for _, case in ipairs(SHIPPED) do
    local name = case[1]:match "[^/]+$"
    it("load and can be read: " .. name, function()
      local one, found = skill.load { directory = MODULES .. "/" .. case[1] }
      assert.same({}, found)
      assert.equal(name, one.name)
      local h <close>, model = scripted.harness({ -- luacheck: ignore
        { tool_calls = { { name = "read", arguments = { path = ("/skills/%s/SKILL.md"):format(name), limit = 3 } } } },
        { text = "ok" },
      }, { tools = {}, agent = { skills = { name }, builtin_tools = { "read" }, tools = {} }, definition = {
        skills = { MODULES .. "/" .. case[1] }, sandbox = harness.sandbox.memory(),
      } })
      h:session("s").agents.helper:run "go"
      local requests = model.requests
      assert.truthy(requests[1].messages[1].content:find(("\n- %s: %s\n"):format(name, one.description), 1, true))
      assert.truthy(requests[2].messages[4].content:find("name: " .. name, 1, true))
    end)
  end

  it("are found below their packages", function()
    local tree <close> = skills.tree {}
    tree:run("mkdir", "-p", ".agents")
    tree:run("cp", "-r", MODULES .. "/playwright-core/lib/tools/skills", ".agents/skills")
    local found, diagnostics = harness.discover_skills {
      project_root = tree.path, trusted_project_roots = { tree.path },
    }
    local names = {}
    for name in pairs(found) do names[#names + 1] = name end
    assert.same({ 3, {} }, { #names, diagnostics })
  end)
end)

-- Each: what it is, the text of SKILL.md, what skills-ref says; where we do not agree, why; and where it is, if not
-- at pdf/SKILL.md.
local BASE <const> = { name = "pdf", description = "Reads." }

local function file(changes)
  local fields = {}
  for key, value in pairs(BASE) do fields[key] = value end
  for key, value in pairs(changes) do fields[key] = value or nil end
  return skills.file(fields)
end

local CASES <const> = {
  { "the simplest", file {}, true },
  { "all fields", file {
    license = "MIT", compatibility = "x", ["allowed-tools"] = "Read", metadata = "{a: b}",
  }, true },
  { "CRLF", (file {}):gsub("\n", "\r\n"), true },
  { "a folded description", "---\nname: pdf\ndescription: >\n  a\n  b\n---\n", true },
  { "a block description", "---\nname: pdf\ndescription: |\n  a: b\n  c\n---\n", true },
  { "a quoted colon", file { description = '"a: b: c"' }, true },
  { "1,024 characters", file { description = ("d"):rep(1024) }, true },
  { "512 characters of two UTF-16 units", file { description = ("🎉"):rep(512) }, true },
  { "500 characters of compatibility", file { compatibility = ("c"):rep(500) }, true },
  { "the body ends the file", "---\nname: pdf\ndescription: x\n---", true },
  { "a comment", "---\n# x\nname: pdf # y\ndescription: x\n---\n", true },
  { "license of another kind", file { license = "[a]" }, true },
  { "metadata with numbers", file { metadata = "{version: 1.10}" }, true },

  { "upper case", file { name = "PDF" }, false },
  { "65 characters", file { name = ("x"):rep(65) }, false },
  { "two hyphens", file { name = "p--df" }, false },
  { "a hyphen in front", file { name = "-pdf" }, false },
  { "a hyphen at the end", file { name = "pdf-" }, false },
  { "an underscore", file { name = "p_df" }, false },
  { "a space", file { name = "p df" }, false },
  { "another name than its directory", file { name = "docx" }, false },
  { "no name", file { name = false }, false },
  { "an empty name", file { name = "''" }, false },
  { "no description", file { description = false }, false },
  { "an empty description", file { description = "'  '" }, false },
  { "1,025 characters", file { description = ("d"):rep(1025) }, false },
  { "513 characters of two UTF-16 units", file { description = ("🎉"):rep(513) }, false },
  { "501 characters of compatibility", file { compatibility = ("c"):rep(501) }, false },
  { "a list as compatibility", file { compatibility = "[a]" }, false },
  { "no end", "---\nname: pdf\ndescription: x\n", false },
  { "no front matter", "# pdf\n", false },
  { "an empty file", "", false },
  { "empty front matter", "---\n---\nbody\n", false },
  { "a byte order mark", "\u{FEFF}" .. file {}, false },
  { "a blank line before", "\n" .. file {}, false },
  { "text with colons", file { description = "a: b: c" }, false },
  { "a key twice", "---\nname: pdf\nname: pdf\ndescription: x\n---\n", false },
  { "a list", "---\n- name: pdf\n---\n", false },
  { "an open quote", file { description = "'x" }, false },
  { "a tab as indent", "---\nname: pdf\ndescription:\n\tx: y\n---\n", false },
  { "an unknown alias", file { description = "*x" }, false },

  { "an unknown field", file { model = "fast" }, false, "a warning, so that skills made for other clients load" },
  { "a name with other letters", file { name = "é" }, true, "ids and paths are a-z, 0-9 and hyphens", "é/SKILL.md" },
  { "a file called skill.md", file {}, true, "the prompt says SKILL.md", "pdf/skill.md" },
  { "dashes in the description", file { description = "a --- b" }, false,
    "front matter ends with a line of dashes, not with the first ones" },
  { "compatibility that looks like a number", file { compatibility = "1.10" }, false, "text stays what it is" },
  { "dashes with a field behind them", "---name: pdf\ndescription: x\n---\n", true,
    "a line of dashes has nothing else" },
  { "four dashes", "----\nname: pdf\ndescription: x\n---\n", false, nil },
  { "dashes that end in a line", "---\nname: pdf\ndescription: x\nlicense: y---\nbody", true,
    "a line of dashes has nothing else" },
  { "a description that looks like a number", file { description = "5" }, true },
  { "a description that is null", file { description = "~" }, true, "nothing is no description" },
  { "a description that is a list", file { description = "[a, b]" }, true, "it is no text" },
  { "an alias", "---\nname: &x pdf\ndescription: *x\n---\n", true, "aliases are refused" },
  { "a tag", file { description = "!!str 5" }, true, "tags are refused" },
}

describe("skills-ref", function()
  local verdicts, ours = {}, {}

  setup(function()
    local files, list = {}, {}
    local function place(i) return ("%d/%s"):format(i, CASES[i][5] or "pdf/SKILL.md") end
    for i, case in ipairs(CASES) do files[place(i)] = case[2] end
    local tree <close> = skills.tree(files)
    for i in ipairs(CASES) do list[i] = tree.path .. "/" .. place(i):match "^(.+)/" end
    tree:write { list = table.concat(list, "\n") }
    local result = process.run {
      file = "node", args = { "spec/support/skills_ref_oracle.mjs", MODULES, tree.path .. "/list" },
    }
    assert(result.exit_code == 0, result.stderr)
    for line in result.stdout:gmatch "[^\n]+" do verdicts[#verdicts + 1] = #json.decode(line) == 0 end
    for i, directory in ipairs(list) do ours[i] = skill.load { directory = directory } ~= nil end
  end)

  for i, case in ipairs(CASES) do
    local what, taken, why = case[1], case[3], case[4]
    it(("%s %s, and so do we%s"):format(taken and "takes" or "refuses", what, why and " not: " .. why or ""), function()
      assert.equal(taken, verdicts[i])
      assert.equal(taken, why == nil and ours[i] or why ~= nil and not ours[i])
    end)
  end

  it("and we agree but for what the README lists", function()
    local readme <close> = assert(io.open "lua/harness/README.md")
    local text = readme:read "a"
    for _, case in ipairs(CASES) do
      local row = ("| %s | %s | %s | %s |"):format(case[1], case[3] and "takes" or "refuses",
        case[3] and "refused" or "taken", case[4])
      if case[4] then assert.truthy(text:find(row, 1, true), row) end
    end
  end)
end)
