-- lua/harness/skill_manifest.lua: front matter (reference B 5.3, SK-1 to SK-10).
local manifests = require "harness.skill_manifest"
local skills = require "spec.support.skills"

local function parse(text, lenient) return manifests.parse(text, { lenient = lenient }) end

-- With the name and description that a right one has, and these fields.
local function with(fields, lenient)
  local all = { name = "pdf", description = "Reads." }
  for name, value in pairs(fields) do all[name] = value or nil end
  return parse(skills.file(all), lenient)
end

describe("front matter", function()
  it("has all its fields kept", function()
    local manifest, found = parse([[
---
name: pdf-tools
description: >
  Reads and
  writes PDF.
license: Apache-2.0
compatibility: Needs poppler
allowed-tools: Bash(pdf:*) Read
metadata:
  author: me
  version: 1.10
  on: on
---
# Body: with: colons
]])
    assert.same({
      name = "pdf-tools", description = "Reads and writes PDF.", license = "Apache-2.0",
      compatibility = "Needs poppler", allowed_tools = "Bash(pdf:*) Read",
      metadata = { author = "me", version = "1.10", on = "on" },
    }, manifest)
    assert.same({}, found)
  end)

  for name, text in pairs {
    ["CRLF"] = "---\r\nname: pdf\r\ndescription: Reads.\r\n---\r\nBody\r\n",
    ["spaces behind the dashes"] = "---  \nname: pdf\ndescription: Reads.\n--- \t\nBody",
    ["no body"] = "---\nname: pdf\ndescription: Reads.\n---",
    ["an empty body"] = "---\nname: pdf\ndescription: Reads.\n---\n",
    ["a body with dashes"] = "---\nname: pdf\ndescription: Reads.\n---\n---\nname: other\n---\n",
    ["quotes and spaces"] = "---\nname: ' pdf '\ndescription: \"  Reads. \"\n---\n",
    ["a comment"] = "---\n# said\nname: pdf # beside\ndescription: Reads.\n---\n",
    ["other fields empty"] = "---\nname: pdf\ndescription: Reads.\nlicense:\nmetadata: ~\n---\n",
    ["fields in one line"] = "---\n{name: pdf, description: Reads.}\n---\n",
  } do
    it("may have " .. name, function()
      for _, lenient in ipairs { false, true } do
        local manifest, found = parse(text, lenient)
        assert.same({ { name = "pdf", description = "Reads." }, {} }, { manifest, found })
      end
    end)
  end

  it("may hold dashes within its text", function()
    local manifest = parse "---\nname: pdf\ndescription: |\n  a\n  ---\n  b ---c\n----: x\n---\n"
    assert.equal("a\n---\nb ---c", manifest.description)
  end)

  for name, case in pairs {
    ["an empty file"] = { "", "the file is empty" },
    ["no dashes"] = { "# Title\n", "must begin with a line of three dashes" },
    ["a blank line before"] = { "\n---\nname: pdf\ndescription: x\n---\n", "must begin" },
    ["four dashes"] = { "----\nname: pdf\ndescription: x\n----\n", "must begin" },
    ["text behind the dashes"] = { "--- name: pdf\ndescription: x\n---\n", "must begin" },
    ["dashes only"] = { "---", "must begin" },
    ["the first line only"] = { "---\n", "has no end" },
    ["no end"] = { "---\nname: pdf\ndescription: x\n# Body\n", "a line of three dashes, ---, is missing" },
    ["an end that is indented"] = { "---\nname: pdf\ndescription: x\n ---\n", "has no end" },
    ["nothing in it"] = { "---\n---\nBody", "the front matter is empty" },
    ["a comment only"] = { "---\n# x\n---\n", "the front matter is empty" },
    ["a list"] = { "---\n- name: pdf\n---\n", "must be fields, such as name: pdf-tools, it is a list" },
    ["an empty list"] = { "---\n[]\n---\n", "must be fields" },
    ["text"] = { "---\nname\n---\n", 'it is the string "name"' },
    ["a key twice"] = { "---\nname: pdf\ndescription: x\nname: pdf\n---\n", "line 4, column 1: this key is there" },
    ["an alias"] = { "---\nname: &a pdf\ndescription: *a\n---\n", "line 2, column 7: anchors" },
    ["bad YAML"] = { "---\nname: pdf\ndescription: 'x\n---\n", "line 4, column 1: found unexpected end" },
    ["bytes that are no UTF-8"] = { "---\nname: pdf\ndescription: \xFF\n---\n", "line 3, column 14: the text is not" },
    ["more than 64 KB"] = { "---\nname: " .. ("x"):rep(65536), "has no end within the first 65536 bytes" },
  } do
    it("is none with " .. name .. ", lenient or not", function()
      for _, lenient in ipairs { false, true } do
        local manifest, found = parse(case[1], lenient)
        assert.is_nil(manifest)
        assert.same({ "error invalid_frontmatter" }, skills.codes(found))
        assert.truthy(found[1].message:find(case[2], 1, true), found[1].message)
        assert.is_nil(found[1].message:find "Body")
      end
    end)
  end

  it("with a byte order mark is passed over by lenient readers", function()
    local text = "\u{FEFF}" .. skills.simple "pdf"
    local manifest, found = parse(text)
    assert.same({ nil, "error invalid_frontmatter" }, { manifest, skills.codes(found)[1] })
    assert.matches("byte order mark; save it without", found[1].message)
    manifest, found = parse(text, true)
    assert.same({ "pdf", "warn invalid_frontmatter" }, { manifest.name, skills.codes(found)[1] })
  end)
end)

describe("the name", function()
  for _, name in ipairs { "a", "1", "pdf-tools", "a-b-c-1", ("x"):rep(64), "2026", "on", "1-0" } do
    it("may be " .. name:sub(1, 20), function()
      assert.equal(name, parse(skills.file { name = name, description = "x" }).name)
    end)
  end
  for _, name in ipairs {
    "Bad Skill", "PDF", "-a", "a-", "a--b", "a_b", "a.b", "a/b", "..", "'é'", ("x"):rep(65), "''", "", "' '", "~",
    "[a]", "{a: b}", '"a\\0"', '"a\\nb"', "日本",
  } do
    it("may not be " .. name:sub(1, 20), function()
      for _, lenient in ipairs { false, true } do
        local manifest, found = parse(skills.file({ name = name, description = "x" }, "secret body"), lenient)
        assert.is_nil(manifest)
        assert.same({ "error invalid_name" }, skills.codes(found))
        assert.is_nil(found[1].message:find("secret", 1, true))
      end
    end)
  end
  it("must be there", function()
    assert.same({ "error invalid_name" }, skills.codes(select(2, with { name = false })))
  end)
end)

describe("the description", function()
  for name, text in pairs {
    ["1,024 characters"] = ("d"):rep(1024), ["1,024 characters of two bytes"] = ("é"):rep(1024),
    ["512 characters of two UTF-16 units"] = ("🎉"):rep(512),
  } do
    it("may have " .. name, function() assert.equal(text, with({ description = text }).description) end)
  end
  for name, text in pairs {
    ["1,025 characters"] = ("d"):rep(1025), ["513 characters of two UTF-16 units"] = ("🎉"):rep(513),
    ["nothing in it"] = "", ["spaces only"] = "'  '", ["a list"] = "[a]", ["fields"] = "{a: b}", ["null"] = "~",
  } do
    it("may not have " .. name, function()
      for _, lenient in ipairs { false, true } do
        local manifest, found = with({ description = text }, lenient)
        assert.same({ nil, "error missing_description" }, { manifest, skills.codes(found)[1] })
      end
    end)
  end
  it("is told together with the name", function()
    assert.same({ "error invalid_name", "error missing_description" },
      skills.codes(select(2, parse "---\nlicense: MIT\n---\n")))
  end)
end)

describe("what is optional", function()
  it("and empty is left out", function()
    local manifest, found = with { license = "' '", ["allowed-tools"] = "''", metadata = "{}" }
    assert.same({ name = "pdf", description = "Reads." }, manifest)
    assert.same({ "warn invalid_frontmatter", "warn invalid_frontmatter" }, skills.codes(found))
  end)
  it("and not text is left out with a warning", function()
    local manifest, found = with { license = "[a]", ["allowed-tools"] = "{a: b}", metadata = "[a]" }
    assert.same({ name = "pdf", description = "Reads." }, manifest)
    assert.same({
      "license must be text, found a list; it was left out",
      "allowed-tools must be text, found fields; it was left out",
      "metadata must be fields with text, found a list; it was left out",
    }, { found[1].message, found[2].message, found[3].message })
  end)
  it("metadata keeps its text only", function()
    local manifest, found = with { metadata = "{a: b, c: [d], e: ~, f: 1}" }
    assert.same({ a = "b", f = "1" }, manifest.metadata)
    assert.same({ "metadata.c must be text; it was left out", "metadata.e must be text; it was left out" },
      { found[1].message, found[2].message })
  end)
  it("and unknown is left out with a warning", function()
    local manifest, found = with { model = "fast", ["disable-model-invocation"] = "true" }
    assert.same({ name = "pdf", description = "Reads." }, manifest)
    assert.same({ "warn unknown_field", "warn unknown_field" }, skills.codes(found))
    assert.equal('the format has no field "disable-model-invocation"; it was left out', found[1].message)
  end)
  it("compatibility is text of up to 500 characters, or lenient readers leave it out", function()
    assert.equal(("c"):rep(500), with({ compatibility = ("c"):rep(500) }).compatibility)
    for _, value in ipairs { ("c"):rep(501), "[a]", "{a: b}", "''" } do
      local manifest, found = with { compatibility = value }
      assert.same({ nil, "error invalid_frontmatter" }, { manifest, skills.codes(found)[1] })
      manifest, found = with({ compatibility = value }, true)
      assert.same({ "pdf", nil, "warn invalid_frontmatter" },
        { manifest.name, manifest.compatibility, skills.codes(found)[1] })
    end
  end)
end)

describe("text with a colon", function()
  local TEXT <const> = "---\nname: pdf\ndescription: Use when: PDF \"x\" é\nlicense: a: b\n---\n"

  it("is an error that tells what to do", function()
    local manifest, found = parse(TEXT)
    assert.is_nil(manifest)
    assert.equal('line 3, column 22: mapping values are not allowed in this context; text with ": " in it needs quotes',
      found[1].message)
  end)

  it("gets its quotes from a lenient reader", function()
    local manifest, found = parse(TEXT, true)
    assert.same({ name = "pdf", description = 'Use when: PDF "x" é', license = "a: b" }, manifest)
    assert.same({ "warn invalid_frontmatter" }, skills.codes(found))
    manifest = parse(TEXT:gsub("\n", "\r\n"), true)
    assert.equal('Use when: PDF "x" é', manifest.description)
  end)

  it("is not mended where something else is wrong, too", function()
    for _, bad in ipairs {
      "description: 'a: b", "description: [a: b", "description: a: b\nname: pdf", "description: a: b\nx: *y",
      "description: a: \xFF", "  description: a: b",
    } do
      local manifest, found = parse(("---\nname: pdf\n%s\n---\n"):format(bad), true)
      assert.same({ nil, "error invalid_frontmatter" }, { manifest, skills.codes(found)[1] }, bad)
    end
  end)
end)

-- Random files of the pieces that matter against a splitter that is written otherwise: by lines.
describe("the splitter", function()
  local PIECES <const> = {
    "---", "----", "--", " ---", "--- ", "---\t", "\n", "\n", "\r\n", "\r", "a: b", "\u{FEFF}", "x---",
  }

  local function expected(text)
    local lines, at = {}, 1
    for line, stop in (text .. "\n"):gmatch "([^\n]*)()\n" do
      lines[#lines + 1] = { text = line, start = at, has_end = stop <= #text }
      at = stop + 1
    end
    local function is_fence(line) return (line.text:gsub("\r$", ""):gsub("[ \t]+$", "")) == "---" end
    if not is_fence(lines[1]) or not lines[1].has_end then return nil end
    for i = 2, #lines do
      if is_fence(lines[i]) then return text:sub(lines[2].start, lines[i].start - 1) end
    end
    return nil
  end

  it("agrees with one that goes by lines", function()
    local seed = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
    math.randomseed(seed)
    local split, factor = 0, tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
    for _ = 1, 20000 // factor do
      local parts = { math.random(4) > 1 and "---" or nil }
      for _ = 1, math.random(0, 12) do parts[#parts + 1] = PIECES[math.random(#PIECES)] end
      local text = table.concat(parts)
      local block = manifests.split(text)
      assert.equal(expected(text), block, ("seed %d: %q"):format(seed, text))
      if block then split = split + 1 end
    end
    assert.is_true(split > 100 // factor) -- some 500 of 20,000
  end)
end)
