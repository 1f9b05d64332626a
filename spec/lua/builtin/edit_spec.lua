-- lua/harness/builtin/edit.lua, write.lua and locks.lua
local builtin_call = require "spec.support.builtin"
local harness = require "harness"
local table_sandbox = require "spec.support.table_sandbox"
local task = require "harness.task"

local failure = builtin_call.failure

describe("the tools that write", function()
  local sandbox, call

  before_each(function()
    sandbox = table_sandbox.session { ["/w/a"] = "one two one" }
    call = builtin_call.on(sandbox)
  end)

  describe("write", function()
    it("replaces a file as a whole and counts bytes", function()
      assert.same({ bytes_written = 3 }, call("write", { path = "/w/a", content = "new" }))
      assert.same({ bytes_written = 0 }, call("write", { path = "/w/b/c", content = "" }))
      assert.same({ bytes_written = 2 }, call("write", { path = "/w/../w/d/", content = "é" }))
      assert.same({ "new", "", "é" }, { sandbox.files["/w/a"], sandbox.files["/w/b/c"], sandbox.files["/w/d"] })
    end)

    it("refuses wrong input and relative paths", function()
      assert.matches("^input: ", failure(call, "write", { path = "/a" }))
      assert.matches("^input: ", failure(call, "write", { path = "", content = "" }))
      assert.equal("invalid_path", failure(call, "write", { path = "w/a", content = "" }).meta.reason)
      assert.same({}, sandbox.calls)
    end)
  end)

  describe("edit", function()
    for _, case in ipairs {
      -- text, old, new, replace_all, text afterwards, replaced
      { "a b c", "b", "x", nil, "a x c", 1 }, { "b", "b", "", nil, "", 1 }, { "ab", "a", "aa", nil, "aab", 1 },
      { "one two one", "one", "1", true, "1 two 1", 2 }, { "aaaa", "aa", "b", true, "bb", 2 },
      { "aaa", "aa", "b", nil, "ba", 1 }, -- not overlapping: one match
      { "x.y x%y", "x.y", "%1$&\\0", nil, "%1$&\\0 x%y", 1 }, -- neither side is a pattern
      { "a\nb\nc\n", "b\n", "", nil, "a\nc\n", 1 }, { "(*)", "(*)", "[+]", nil, "[+]", 1 },
      { "\xff a", "a", "b", nil, "\xff b", 1 }, { "é", "é", "è", nil, "è", 1 }, { "one", "one", "two", true, "two", 1 },
    } do
      it(("of %q: %q becomes %q"):format(case[1], case[2], case[3]):gsub("[\n\xff]", "?"), function()
        sandbox.files["/w/a"] = case[1]
        assert.same({ replaced = case[6] }, call("edit",
          { path = "/w/a", old_string = case[2], new_string = case[3], replace_all = case[4] }))
        assert.equal(case[5], sandbox.files["/w/a"])
      end)
    end

    it("of text that is not there changes nothing, and says what to do", function()
      local err = failure(call, "edit", { path = "/w/a", old_string = "three", new_string = "3" })
      assert.same({ "VALIDATION_ERROR", "tool_input", { path = "/w/a", matches = 0 } },
        { err.code, err.meta.where, err.meta.issues })
      assert.matches("does not occur in /w/a: it must be the text of the file exactly", err.message, 1, true)
      assert.equal("one two one", sandbox.files["/w/a"])
    end)

    it("of text that is there more than once tells how often and where", function()
      sandbox.files["/w/a"] = "x\ny x\n\nx"
      local err = failure(call, "edit", { path = "/w/a", old_string = "x", new_string = "3", replace_all = false })
      assert.same({ path = "/w/a", matches = 3 }, err.meta.issues)
      assert.matches("occurs 3 times in /w/a (lines 1, 2, 4)", err.message, 1, true)
      sandbox.files["/w/a"] = ("x\n"):rep(12)
      err = failure(call, "edit", { path = "/w/a", old_string = "x", new_string = "3" })
      assert.matches("12 times in /w/a (lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)", err.message, 1, true)
    end)

    it("tells of line ends that differ", function()
      sandbox.files["/w/a"] = "one\r\ntwo\r\n"
      local err = failure(call, "edit", { path = "/w/a", old_string = "one\ntwo", new_string = "x" })
      assert.matches("the lines of this file end with \\r\\n", err.message, 1, true)
      call("edit", { path = "/w/a", old_string = "one\r\ntwo", new_string = "x" })
      assert.equal("x\r\n", sandbox.files["/w/a"])
    end)

    it("refuses what changes nothing, binary files, directories and files that are not there", function()
      assert.matches("nothing to change", failure(call, "edit",
        { path = "/w/a", old_string = "one", new_string = "one" }).message, 1, true)
      sandbox.files["/w/bin"] = "a\0b"
      assert.matches("binary", failure(call, "edit", { path = "/w/bin", old_string = "a", new_string = "b" }).message)
      assert.matches("directory", failure(call, "edit", { path = "/w", old_string = "a", new_string = "b" }).message)
      assert.equal("fs_failed",
        failure(call, "edit", { path = "/w/none", old_string = "a", new_string = "b" }).meta.reason)
      assert.matches("^input: ", failure(call, "edit", { path = "/w/a", old_string = "", new_string = "b" }))
    end)
  end)

  describe("side by side", function()
    local function edit(old, new, path)
      return function() return call("edit", { path = path or "/w/a", old_string = old, new_string = new }) end
    end

    it("lose no edit of the same file, and take turns in their order", function()
      sandbox.files["/w/a"] = "0"
      local edits = {}
      for i = 1, 20 do edits[i] = edit(tostring(i - 1), tostring(i), i % 2 == 0 and "/w/a" or "/w/./a") end
      harness.all(edits)
      assert.equal("20", sandbox.files["/w/a"])
    end)

    it("do not wait for other files", function()
      sandbox.files["/w/b"] = "b"
      harness.all { edit("two", "2"), edit("b", "c", "/w/b") }
      local order = {}
      for _, name in ipairs(sandbox.calls) do order[#order + 1] = name:match "^%S+ (.*)" end
      assert.same({ "/w/a", "/w/b", "/w/a", "/w/b", "/w/a", "/w/b" }, order)
    end)

    it("let the next one go on when one fails, is stopped while it waits, or while it works", function()
      local slow = table_sandbox.session { ["/w/a"] = "0" }
      local hold = true
      slow.write = function(self, path, data)
        while hold do harness.sleep(1) end
        self.files[path] = data
      end
      local on_slow = builtin_call.on(slow)
      local function change(from, to)
        return harness.spawn(function()
          return on_slow("edit", { path = "/w/a", old_string = from, new_string = to })
        end)
      end
      local first, second, third, fourth = change("0", "1"), change("0", "2"), change("nope", "3"), change("0", "4")
      for _ = 1, 20 do task.pause() end
      second:cancel "not needed"
      first:cancel "stop"
      hold = false
      assert.has_error(function() first:await() end)
      assert.has_error(function() second:await() end)
      assert.equal("VALIDATION_ERROR", failure(function() third:await() end).code)
      assert.same({ replaced = 1 }, fourth:await())
      assert.equal("4", slow.files["/w/a"])
    end)
  end)
end)
