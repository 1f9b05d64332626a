-- lua/harness/builtin/files.lua
local files = require "harness.builtin.files"

describe("paths of built-in tools", function()
  for path, normal in pairs {
    ["/"] = "/", ["/a"] = "/a", ["/a/"] = "/a", ["//"] = "/", ["/a//b"] = "/a/b", ["/a/./b"] = "/a/b", ["/."] = "/",
    ["/a/.."] = "/", ["/a/../b"] = "/b", ["/../../etc"] = "/etc", ["/a/b/../../../c/"] = "/c", ["/..."] = "/...",
    ["/a/..b"] = "/a/..b", ["/a/.b"] = "/a/.b", ["/a/b."] = "/a/b.", ["/a/b../c"] = "/a/b../c", ["/.a/."] = "/.a",
    ["/a/./."] = "/a", ["///a///"] = "/a", ["/.."] = "/", ["/é/../ü"] = "/ü",
  } do
    it(("are normalised: %s"):format(path), function() assert.equal(normal, files.normalise(path)) end)
  end

  it("are absolute", function()
    for _, path in ipairs { "", "a", "./a", "../a", "~/a", " /a" } do assert.is_nil(files.normalise(path)) end
  end)

  it("are the same after a second time, for random ones", function()
    local PARTS <const> = { "/", ".", "..", "a", "//", "/.", "b", "/../" }
    for _ = 1, 2000 do
      local parts = {}
      for i = 1, math.random(8) do parts[i] = PARTS[math.random(#PARTS)] end
      local path = "/" .. table.concat(parts)
      local normal = files.normalise(path)
      assert.equal(normal, files.normalise(normal), path)
      assert.is_nil(normal:find("//", 1, true), path)
      for part in normal:gmatch "[^/]+" do assert.is_false(part == "." or part == "..", path) end
    end
  end)
end)

describe("text of built-in tools", function()
  it("is cut where a character ends", function()
    assert.equal(1, files.character_end("aé", 2))
    assert.equal(3, files.character_end("aé", 3))
    assert.equal(0, files.character_end("語", 2))
    assert.equal(4, files.character_end("\x80\x80\x80\x80\x80\x80", 4))
    assert.equal(2, files.character_end("ab", 9))
  end)

  it("is binary with a NUL near its start", function()
    assert.is_true(files.is_binary "a\0")
    assert.is_false(files.is_binary(("a"):rep(8000) .. "\0"))
    assert.is_false(files.is_binary "")
  end)
end)
