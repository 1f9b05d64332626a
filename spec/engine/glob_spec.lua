-- engine/glob.c through core.glob.
local core = require "harness.core"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function matches(pattern, subject, dialect)
  return core.glob.compile(pattern, dialect):match(subject)
end

-- The characters of a string; a byte that is not part of well-formed UTF-8 is one by itself.
local function characters(text)
  local list, at = {}, 1
  while at <= #text do
    local length = 1
    for size = 4, 2, -1 do
      if at + size - 1 <= #text and utf8.len(text:sub(at, at + size - 1)) == 1 then length = size end
    end
    list[#list + 1] = text:sub(at, at + length - 1)
    at = at + length
  end
  return list
end

local function bytes_of(text)
  local list = {}
  for i = 1, #text do list[i] = text:sub(i, i) end
  return list
end

-- Slow and plain: a table of which prefix of the pattern matches which prefix of the subject.
local function naive(pattern, subject, dialect)
  local permission = dialect == "permission"
  local split = permission and bytes_of or characters
  local p, s = split(pattern), split(subject)
  local row = { [0] = true }
  for j = 1, #s do row[j] = false end
  for i = 1, #p do
    local new = {}
    local star = p[i] == "*"
    local twice = star and (p[i + 1] == "*" or p[i - 1] == "*")
    for j = 0, #s do
      if star then
        local takes = j > 0 and (not permission or twice or s[j] ~= "/")
        new[j] = row[j] or (takes and new[j - 1]) or false
      elseif j == 0 then
        new[j] = false
      else
        local fits = p[i] == s[j] or (p[i] == "?" and not permission)
        new[j] = row[j - 1] and fits
      end
    end
    row = new
  end
  return row[#s]
end

describe("glob, path dialect", function()
  local VECTORS <const> = {
    -- GLOB-1: the whole path, anchored at both ends
    { "*.ts", "/a/b.ts", true }, { "*.ts", "/a/b.tsx", false }, { "a.txt", "/a.txt", false },
    { "/a.txt", "/a.txt", true }, { "/a", "/a/b", false }, { "", "", true }, { "", "x", false },
    -- GLOB-2: * and ** are the same, and take slashes and newlines
    { "/workspace/*", "/workspace/a/b", true }, { "**/*.ts", "/x.ts", true }, { "**/*.ts", "x.ts", false },
    { "/workspace/**", "/workspace/a/b", true }, { "/workspace/*", "/workspace/", true },
    { "/a*c", "/a\nb\nc", true }, { "*", "", true }, { "**", "\n", true }, { "***", "/x", true },
    { "/a?c", "/a/c", true }, { "/a?c", "/ac", false }, { "/a?c", "/a\nc", true }, { "?", "", false },
    -- GLOB-3: nothing else means anything
    { "/[ab].txt", "/[ab].txt", true }, { "/[ab].txt", "/a.txt", false }, { "{a,b}", "{a,b}", true },
    { "{a,b}", "a", false }, { "/a\\*", "/a\\x", true }, { "/a\\*", "/a*", false }, { "!a", "!a", true },
    { "/a.c", "/abc", false }, { "(a|b)+^$", "(a|b)+^$", true }, { "*", "/.hidden", true },
    { "/a/*", "/a/.git/config", true },
    -- ? is one character of UTF-8, a stray byte counts as one
    { "?", "é", true }, { "??", "é", false }, { "?", "語", true }, { "?", "🚀", true }, { "a?b", "aéb", true },
    { "?", "\xc3", true }, { "??", "\xc3\xc3", true }, { "?", "\xe8\xaa", false }, { "??", "\xe8\xaa", true },
    { "?", "\xed\xa0\x80", false }, { "???", "\xed\xa0\x80", true }, { "?", "\xc0\x80", false },
    { "?", "\xe0\xa0\x80", true }, { "?", "\xe0\x9f\xbf", false }, { "?", "\xf4\x8f\xbf\xbf", true },
    { "?", "\xf4\x90\x80\x80", false }, { "????", "\xf4\x90\x80\x80", true },
    { "?", "\xf0\x8f\xbf\xbf", false },
    { "*?\xe8\x80", "\x80\x80\x80\x80\x80\xe8\x80", true }, { "*\x80?", "\x80\x80\x80\x80\x80\x80", true },
    { "*\x80*", "a\x80\x80\x80\x80\x80", true }, { "*\x80\x80\x80\x80", "\x80\x80\x80\x80\x80", true },
    { "*?", "", false }, { "?*", "é", true }, { "*?*?*", "é", false }, { "*?*?*", "éa", true },
    { "*?.c", "é.c", true }, { "*?.c", ".c", false }, { "/a?*b", "/ab", false }, { "/a?*b", "/a語b", true },
    { "é*", "é/x", true }, { "*é", "xé", true },
    -- a stray byte of the pattern is not a part of a character of the path
    { "*\xa9", "é", false }, { "\xc3*", "é", false }, { "\xc3*", "\xc3x", true }, { "*\xa9*", "\xa9", true },
    { "*\xa9*", "é\xa9", true }, { "*\xc3*", "é", false },
    -- going on after a false start
    { "*aab", "aaab", true }, { "*ab*ab*", "aabaab", true }, { "*a?c*", "aabacabc", true },
    { "*abc*abc", "abc", false }, { "*a*a", "a", false }, { "a*a", "a", false }, { "ab*b", "ab", false },
  }

  it("follows GLOB-1 to GLOB-5", function()
    for _, vector in ipairs(VECTORS) do
      local pattern, subject, wanted = table.unpack(vector)
      assert.equal(wanted, matches(pattern, subject), ("%q on %q"):format(pattern, subject))
      assert.equal(wanted, naive(pattern, subject), ("reference: %q on %q"):format(pattern, subject))
    end
  end)

  it("matches NUL like any other byte", function()
    assert.is_true(matches("a\0b", "a\0b"))
    assert.is_false(matches("a\0b", "a\0c"))
    assert.is_true(matches("a?b", "a\0b"))
  end)
end)

describe("glob, permission dialect", function()
  local VECTORS <const> = {
    -- PERM-6: * stops at a slash, ** does not, ? is itself
    { "rm *", "rm -rf x", true }, { "rm *", "rm -rf /tmp", false }, { "rm **", "rm -rf /tmp", true },
    { "/src/*", "/src/a.c", true }, { "/src/*", "/src/a/b.c", false }, { "/src/**", "/src/a/b.c", true },
    { "/src/**/*.c", "/src/a/b.c", true }, { "/src/**/*.c", "/src/b.c", false },
    { "/src/*/*.c", "/src/a/b.c", true }, { "a?", "a?", true }, { "a?", "ab", false },
    { "**", "", true }, { "*", "", true }, { "", "", true },
    { "*", "/", false }, { "**", "/", true }, { "***", "a/b", true }, { "a**b", "a\n/b", true },
    { "a*b", "a\nb", true }, { "git *", "git", false }, { "git*", "git status", true },
    { "ls", "ls -l", false }, { "ab*b", "ab", false },
    -- an early place that fails at a slash must not hide a later one
    { "**a*b", "a/ab", true }, { "**a*b**", "a/xaxb/", true }, { "**a*b*c", "ab/abc", true },
    { "**x*/y*z", "x/x/yz", true }, { "*a*/b", "aa/b", true },
  }

  it("follows PERM-6", function()
    for _, vector in ipairs(VECTORS) do
      local pattern, subject, wanted = table.unpack(vector)
      local case = ("%q on %q"):format(pattern, subject)
      assert.equal(wanted, matches(pattern, subject, "permission"), case)
      assert.equal(wanted, naive(pattern, subject, "permission"), "reference: " .. case)
    end
  end)

  it("takes patterns of more than one machine word", function()
    for _, n in ipairs { 1, 31, 62, 63, 64, 65, 126, 127, 128, 129, 300 } do
      local middle = ("ab"):rep(n):sub(1, n)
      local matcher = core.glob.compile("/**/" .. middle .. "*/x", "permission")
      assert.is_true(matcher:match("/q/" .. middle .. "/x"))
      assert.is_true(matcher:match("/q/r/" .. middle .. "tail/x"))
      assert.is_false(matcher:match("/q/" .. middle .. "a/b/x"))
      assert.is_false(matcher:match("/q/" .. middle:sub(2) .. "/x"))
    end
  end)
end)

describe("glob", function()
  for _, dialect in ipairs { "path", "permission" } do
    it("agrees with a table of prefixes on random patterns, " .. dialect, function()
      math.randomseed(4711)
      local atoms = { "a", "a", "b", "/", "\n", "é", "\xc3", "\xa9", "語", "?" }
      local wild = { "*", "*", "**", "?" }
      local hits = 0
      for _ = 1, 60000 // FACTOR do
        local p, s = {}, {}
        for i = 1, math.random(0, 9) do
          p[i] = math.random(3) == 1 and wild[math.random(4)] or atoms[math.random(10)]
        end
        for i = 1, math.random(0, 12) do s[i] = atoms[math.random(9)] end
        local pattern, subject = table.concat(p), table.concat(s)
        local wanted = naive(pattern, subject, dialect)
        if wanted then hits = hits + 1 end
        if matches(pattern, subject, dialect) ~= wanted then
          error(("%q on %q: %s expected"):format(pattern, subject, tostring(wanted)))
        end
      end
      assert.is_true(hits > 1000 // FACTOR, "the random cases are worth nothing")
    end)
  end

  it("never takes more than subject times pattern", function()
    local long = ("a"):rep(1000000)
    local patterns = { "*a*a*a*a*a*b", "*a*a*a*a*c*b", "a*a?a*a?a*c*", "*aaaaaaab*", ("*a"):rep(50) .. "*b*" }
    for _, dialect in ipairs { "path", "permission" } do
      for _, pattern in ipairs(patterns) do
        local matcher = core.glob.compile(pattern, dialect)
        local start = os.clock()
        assert.is_false(matcher:match(long))
        matcher:match(long .. "b")
        assert.is_true(os.clock() - start < 1 * FACTOR, pattern)
      end
    end
  end)

  it("shows its pattern", function()
    assert.equal("glob /src/**/*.ts", tostring(core.glob.compile "/src/**/*.ts"))
  end)

  it("refuses what is not a pattern, a path or a dialect", function()
    assert.has_error(function() core.glob.compile() end)
    assert.has_error(function() core.glob.compile({}) end)
    assert.has_error(function() core.glob.compile("*", "regex") end)
    local matcher = core.glob.compile "*"
    assert.has_error(function() matcher:match() end)
    assert.has_error(function() matcher.match({}, "x") end)
    assert.has_error(function() matcher.match(io.stdout, "x") end)
  end)
end)
