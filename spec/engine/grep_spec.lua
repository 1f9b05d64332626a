-- engine/grep.c through core.grep, and engine/pcre2_api.c under it.
local core = require "harness.core"

local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function compile(pattern, ignore_case)
  local grep, why = core.grep.compile(pattern, ignore_case)
  return assert(grep, why)
end

-- "line:text@offset of the match in the line", for each line that matches
local function shown(grep, text, most)
  local hits, more = grep:scan(text, most or 1000)
  local list = {}
  for i = 1, #hits, 4 do
    list[#list + 1] = ("%d:%s@%d"):format(hits[i], text:sub(hits[i + 1], hits[i + 2]), hits[i + 3] - hits[i + 1])
  end
  return table.concat(list, " "), more
end

describe("grep", function()
  local VECTORS <const> = {
    -- pattern, text, lines, ignore case?
    { "b", "a\nb\nabc\n\nb", "2:b@0 3:abc@1 5:b@0" }, { "b", "", "" }, { "b", "\n\n", "" }, { "b", "b", "1:b@0" },
    { "a b", "a b\na\tb\n", "1:a b@0" }, { "aab", "aaab\n", "1:aaab@1" }, { "b", "b\n", "1:b@0" },
    -- each line by itself
    { "a\\s+b", "a\nb\na b\n", "3:a b@0" }, { "[^x]*z", "x\ny\nz", "3:z@0" }, { "a[^b]*", "xa\nb", "1:xa@1" },
    { "(?s)a.b", "a\nb", "" }, { "a\\nb", "a\nb", "" }, { "\\z", "a\nb", "1:a@1 2:b@1" },
    -- the ends of a line
    { "^b", "ab\nb", "2:b@0" }, { "b$", "bb\nba\nb", "1:bb@1 3:b@0" }, { "^$", "a\n\nb\n", "2:@0" },
    { "^$", "", "" }, { "^$", "\n", "1:@0" }, { "c$", "abc\r\nc", "1:abc\r@2 2:c@0" }, { "c.$", "abc\r\n", "" },
    { "\\Ab", "ab\nb", "2:b@0" }, { "\\Gb", "ab\nb", "2:b@0" },
    -- literal text is not an expression, and the other way round
    { "a.c", "abc\na.c", "1:abc@0 2:a.c@0" }, { "a\\.c", "abc\na.c", "2:a.c@0" }, { "a|b", "c\nb", "2:b@0" },
    { "x{2}", "x{2}\nxx", "2:xx@0" }, { "]", "a]", "1:a]@1" }, { "", "a\nb", "1:a@0 2:b@0" },
    -- what a match can begin with
    { "[bc]d", "abd\nad\ncd", "1:abd@1 3:cd@0" }, { "(?i)k", "K\nk\nx", "1:K@0 2:k@0" },
    { "todo|fixme", "a TODO\nb\nFixMe", "1:a TODO@2 3:FixMe@0", true }, { "k", "\u{212A}", "1:\u{212A}@0", true },
    { "straße", "STRAßE", "1:STRAßE@0", true }, { "ё", "Ё", "1:Ё@0", true },
    { "(?<=x)y", "y\nxy", "2:xy@1" }, { "(?=y)", "x\nxy", "2:xy@1" }, { "\\bfoo\\b", "food\na foo", "2:a foo@2" },
    { "x*", "a\nx", "1:a@0 2:x@0" }, { "\\s", "a\nb c\n", "2:b c@1" },
    -- UTF-8, and what is none
    { "é", "caf\xc3\xa9\n\xe9", "1:café@3" }, { "^.$", "é\n\xe9\n\xff\n語", "1:é@0 4:語@0" },
    { "[^a]", "a\n\xa9\nb", "3:b@0" }, { "b", "\xffb", "1:\xffb@1" }, { "\\x{e9}", "é", "1:é@0" },
    { "a\\x00b", "a\0b", "1:a\0b@0" },
  }

  for _, case in ipairs(VECTORS) do
    local pattern, text, lines, ignore_case = table.unpack(case)
    it(("finds the lines of %q that match %q"):format(text, pattern):gsub("[%c\x80-\xff]", "?"), function()
      assert.equal(lines, (shown(compile(pattern, ignore_case), text)))
    end)
  end

  it("stops at the asked number of lines and tells that there are more", function()
    local grep = compile "x"
    assert.same({ "1:x@0 2:x@0", true }, { shown(grep, "x\nx\nx", 2) })
    assert.same({ "1:x@0 2:x@0 3:x@0", false }, { shown(grep, "x\nx\nx", 3) })
    assert.same({ "", true }, { shown(grep, "x", 0) })
  end)

  it("scans any number of texts, one independent of the other", function()
    local grep = compile "[ab]+c"
    for _ = 1, 3 do
      assert.equal("2:abc@0", (shown(grep, "x\nabc\n")))
      assert.equal("", (shown(grep, "x")))
    end
  end)

  describe("refuses", function()
    for pattern, words in pairs {
      ["["] = "missing terminating ] for character class, at byte 2", ["(a"] = "missing closing parenthesis, at byte 3",
      ["a\\C"] = "using \\C is disabled", ["a{99999}"] = "number too big in {} quantifier",
      ["\xff"] = "UTF-8 error", [("a"):rep(1001)] = "it is longer than 1000 bytes",
      ["((((a{1,99}){1,99}){1,99}){1,99})"] = "regular expression is too large",
    } do
      it(("%q with a reason"):format(#pattern < 50 and pattern or "a long one"):gsub("[\x80-\xff]", "?"), function()
        local grep, why = core.grep.compile(pattern)
        assert.is_nil(grep)
        assert.matches(words, why, 1, true)
      end)
    end

    it("wrong arguments", function()
      assert.has_error(function() core.grep.compile() end)
      assert.has_error(function() compile("a"):scan() end)
      assert.has_error(function() compile("a").scan({}, "a", 1) end)
    end)
  end)

  describe("gives up, instead of taking for ever,", function()
    for name, case in pairs {
      ["on nested repetition"] = { "(a+)+$", ("a"):rep(64) .. "b" },
      ["on alternatives that overlap"] = { "^(a|aa)+$", ("a"):rep(64) .. "b" },
      ["on many repetitions in a long line"] = { "a*a*a*a*a*a*[bc]", ("a"):rep(5000) },
      ["on back references"] = { "(.*)(.*)(.*)\\1\\2\\3[xy]", ("ab"):rep(500) },
      ["on many lines, each of which is just bearable"] = { "(a+)+$", (("a"):rep(18) .. "b\n"):rep(1000) },
      ["on endless recursion"] = { "(?R)?a(?R)?[bc]", ("a"):rep(1000) },
    } do
      it(name, function()
        local hits, more = compile(case[1]):scan(case[2], 10)
        assert.same({ 0, "limit" }, { #hits, more })
      end)
    end

    it("and not on what is merely long", function()
      local line = ("lorem_ipsum dolor-sit "):rep(20000 // FACTOR)
      for _, pattern in ipairs { "[a-z]+_id", "(\\w+)\\s+x", "(lorem|amet).?x", "\\bfoo\\b", "(?i)DOLOR S", ".*x$" } do
        local hits, more = compile(pattern):scan((line .. "\n"):rep(3), 10)
        assert.same({ 0, false }, { #hits, more }, pattern)
      end
    end)
  end)

  -- Known first bytes let most lines be passed over: beside `\b\B`, which never matches, none is known.
  -- Not with lookaheads: PCRE2 10.42 itself does not find "(?=b)a?b" in "b".
  it("agrees, for random expressions, with itself without its short cuts", function()
    math.randomseed(SEED)
    local ATOMS <const> = { "a", "b", "é", "[ab]", "[^a]", ".", "\\w", "\\s", "(?<=a)", "^", "$", "\\b", "x" }
    local TEXT <const> = { "a", "b", "é", "x", " ", "\n", "\r\n", "\xa9", "\0" }
    local function random(list, most)
      local out = {}
      for i = 1, math.random(most) do out[i] = list[math.random(#list)] end
      return out
    end
    local function pattern()
      local out = random(ATOMS, 4)
      for i, atom in ipairs(out) do
        local repeats = { "", "", "", "*", "+?", "?" }
        if not atom:find "^[(^$]" and atom ~= "\\b" then out[i] = atom .. repeats[math.random(#repeats)] end
      end
      return table.concat(out)
    end
    for _ = 1, 3000 // FACTOR do
      local p = math.random(3) == 1 and pattern() .. "|" .. pattern() or pattern()
      local text, ignore_case = random(TEXT, 30), math.random(2) == 1
      if ("|" .. p):find "|%.%*" then -- see grep.h
        for i, part in ipairs(text) do text[i] = part == "\xa9" and "c" or part end
      end
      text = table.concat(text)
      local label = ("seed %d: %q on %q"):format(SEED, p, text)
      local function lines(expression)
        local hits = compile(expression, ignore_case):scan(text, 1000)
        local list = {}
        for i = 1, #hits, 4 do list[#list + 1] = hits[i] end
        return list
      end
      assert.same(lines("(?:" .. p .. ")|\\b\\B"), lines(p), label)
    end
  end)
end)
