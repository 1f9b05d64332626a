-- lua/harness/skill.lua: a directory becomes a skill, or it is told why not (reference B 5.2, 5.3).
local command = require "spec.support.command"
local core = require "harness.core"
local skill = require "harness.skill"
local skills = require "spec.support.skills"

describe("a skill", function()
  local tree

  before_each(function() tree = skills.tree { ["pdf/SKILL.md"] = skills.simple "pdf" } end)
  after_each(function() tree:close() end)

  local function load(directory, more)
    local source = { directory = directory and tree.path .. "/" .. directory }
    for name, value in pairs(more or {}) do source[name] = value end
    return skill.load(source)
  end

  it("is its front matter, and where it is", function()
    local one, found = load("pdf", { id = "pdf", trust = "user", source = "mine" })
    assert.same({
      id = "pdf", name = "pdf", description = "Does pdf.", directory = tree.path .. "/pdf", mount_path = "/skills/pdf",
      trust = "user", source = "mine", diagnostics = {},
    }, one)
    assert.same({}, found)
    assert.equal("trusted", load("pdf").trust)
  end)

  it("has an absolute directory, however it was given", function()
    assert.equal(tree.path .. "/pdf", load("./x/..//pdf/").directory)
    local up = core.folder.real("."):gsub("[^/]+", "..")
    assert.equal(tree.path .. "/pdf", skill.load({ directory = up:sub(2) .. tree.path .. "/pdf" }).directory)
  end)

  it("cannot be relative where there is no current directory", function()
    local result = command.run { program = "sh", "-c", "mkdir gone; cd gone; rmdir ../gone; exec \"$0\" -e \"$1\"",
      command.HARNESS_LUA, "print(pcall(require('harness.skill').load, { directory = 'x' }))", cwd = tree.path }
    assert.matches("^false\tSKILL_MANIFEST_ERROR: x is a relative path, and the current directory cannot be told: no "
      .. "such file or directory %(directory_missing%)\n$", result.stdout)
  end)

  it("may be reached by a link", function()
    tree:run("ln", "-s", "pdf", "link")
    local one = load("link", { id = "pdf" })
    assert.same({ "pdf", tree.path .. "/link" }, { one.name, one.directory })
  end)

  it("may have a body of any size and any bytes", function()
    tree:write { ["big/SKILL.md"] = skills.simple "big" .. ("\xFF\0"):rep(1 << 20) }
    assert.equal("big", load("big").name)
  end)

  local function refused(directory, more)
    for _, mode in ipairs { "strict", "lenient" } do
      local options = { validation_mode = mode }
      for name, value in pairs(more or {}) do options[name] = value end
      local one, found = load(directory, options)
      assert.is_nil(one)
      assert.equal(1, #found)
      assert.same({ "error", tree.path .. "/" .. directory }, { found[1].level, found[1].directory })
    end
    return select(2, load(directory, more))[1]
  end

  for name, case in pairs {
    ["that is not there"] = { "none", "directory_missing", "there is no such directory" },
    ["that is a file"] = { "pdf/SKILL.md", "directory_missing", "it is not a directory" },
    ["with nothing in it"] = { "empty", "missing_skill_md", "it has no SKILL.md" },
    ["with a skill.md"] = { "lower", "missing_skill_md", "it has no SKILL.md, but a skill.md" },
    ["whose SKILL.md is a link"] = { "link", "missing_skill_md", "links are not followed" },
    ["whose SKILL.md is a directory"] = { "dir", "missing_skill_md", "no regular file" },
    ["whose SKILL.md is a fifo"] = { "fifo", "missing_skill_md", "no regular file" },
    ["whose SKILL.md is empty"] = { "void", "invalid_frontmatter", "the file is empty" },
  } do
    it("is not one " .. name .. ", lenient or not", function()
      tree:write { ["empty/x"] = "", ["lower/skill.md"] = skills.simple "lower", ["dir/SKILL.md/x"] = "",
        ["void/SKILL.md"] = "", ["link/x"] = "", ["fifo/x"] = "" }
      tree:run("ln", "-s", "../pdf/SKILL.md", "link/SKILL.md")
      tree:run("mkfifo", "fifo/SKILL.md")
      local one = refused(case[1], { id = "given" })
      assert.same({ case[2], "given" }, { one.code, one.skill_name })
      assert.truthy(one.message:find(case[3], 1, true), one.message)
    end)
  end

  it("has the name that is its key; lenient readers take another one with a warning", function()
    local one, found = load("pdf", { id = "docx" })
    assert.same({ nil, "error name_mismatch" }, { one, skills.codes(found)[1] })
    assert.equal('name is "pdf", but the key that it has in `skills` is "docx"', found[1].message)
    one = load("pdf", { id = "docx", validation_mode = "lenient" })
    assert.same({ "docx", "pdf", "/skills/pdf" }, { one.id, one.name, one.mount_path })
    assert.same({ "warn name_mismatch" }, skills.codes(one.diagnostics))
  end)

  it("has the name of its directory where there is no key", function()
    tree:write { ["docx/SKILL.md"] = skills.simple "pdf" }
    local one, found = load "docx"
    assert.same({ nil, "error name_mismatch" }, { one, skills.codes(found)[1] })
    assert.equal('name is "pdf", but the name of its directory is "docx"', found[1].message)
    one = load("docx", { validation_mode = "lenient" })
    assert.same({ "pdf", "warn name_mismatch" }, { one.id, skills.codes(one.diagnostics)[1] })
    assert.is_table(load("docx", { id = "pdf" })) -- with a key its directory may be called anything
  end)

  it("that cannot be used is an error of its own code", function()
    local one = select(2, load("none", { id = "x", source = "mine" }))[1]
    local err = skill.manifest_error(one)
    assert.same({ "SKILL_MANIFEST_ERROR", "config", { reason = "directory_missing", skill_id = "x", source = "mine",
      directory = tree.path .. "/none" } }, { err.code, err.category, err.meta })
    assert.equal(tree.path .. "/none: there is no such directory", err.message)
  end)
end)
