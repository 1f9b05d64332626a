-- lua/harness/builtin/read.lua
local builtin_call = require "spec.support.builtin"
local table_sandbox = require "spec.support.table_sandbox"

local failure = builtin_call.failure

describe("the tool read", function()
  local sandbox, call

  before_each(function()
    sandbox = table_sandbox.session {
      ["/w/a.txt"] = "one\ntwo\nthree\n", ["/w/empty"] = "", ["/w/open"] = "one\ntwo", ["/w/d/x"] = "x",
    }
    call = builtin_call.on(sandbox)
  end)

  it("gives a whole file as it is", function()
    assert.same({ content = "one\ntwo\nthree\n" }, call("read", { path = "/w/a.txt" }))
    assert.same({ content = "" }, call("read", { path = "/w/empty" }))
    assert.equal('{"content":"one\\ntwo"}', call.text("read", { path = "/w/open" }))
  end)

  for _, case in ipairs {
    -- offset, limit, content, truncated, next_offset, notice
    { 1, 1, "one\n", true, 2, "This is line 1 of 3. Read on with offset = 2." },
    { 1, 2, "one\ntwo\n", true, 3, "These are the lines 1 to 2 of 3. Read on with offset = 3." },
    { 2, 1, "two\n", true, 3, "This is line 2 of 3. Read on with offset = 3." },
    { 2, nil, "two\nthree\n" }, { nil, 3, "one\ntwo\nthree\n" }, { 3, 9, "three\n" },
    { 4, nil, "", nil, nil, "The file has 3 lines; there is no line 4." },
    { 99, 1, "", nil, nil, "The file has 3 lines; there is no line 99." },
  } do
    it(("gives lines from %s, at most %s"):format(case[1], case[2]), function()
      assert.same({ content = case[3], truncated = case[4], next_offset = case[5], total_lines = 3, notice = case[6] },
        call("read", { path = "/w/a.txt", offset = case[1], limit = case[2] }))
    end)
  end

  it("counts a last line without an end", function()
    assert.same({ content = "two", total_lines = 2 }, call("read", { path = "/w/open", offset = 2 }))
    assert.equal("The file has 0 lines; there is no line 2.",
      call("read", { path = "/w/empty", offset = 2 }).notice)
    assert.same({ content = "", total_lines = 0 }, call("read", { path = "/w/empty", offset = 1 }))
  end)

  it("cuts a long file between lines, and says where to go on until all of it was read", function()
    local lines = {}
    for i = 1, 5000 do lines[i] = ("line %d %s\n"):format(i, ("x"):rep(i % 40)) end
    local text = table.concat(lines)
    sandbox.files["/w/long"] = text
    local parts, offset, rounds = {}, nil, 0
    repeat
      local result = call("read", { path = "/w/long", offset = offset })
      assert.is_true(#result.content <= 48 * 1024)
      assert.equal(5000, result.total_lines)
      parts[#parts + 1], offset, rounds = result.content, result.next_offset, rounds + 1
      assert.equal(offset and true, result.truncated)
    until not offset
    assert.equal(text, table.concat(parts))
    assert.is_true(rounds < 10)
  end)

  it("cuts a line that is too long by itself, at a character", function()
    sandbox.files["/w/long"] = "a\n" .. ("é"):rep(50000) .. "\nb\n"
    local result = call("read", { path = "/w/long", offset = 2 })
    assert.equal(("é"):rep(24 * 1024), result.content)
    assert.same({ true, 3, 3 }, { result.truncated, result.next_offset, result.total_lines })
    assert.equal("Line 2 is longer than 49152 bytes and was cut; grep shows parts of it. Read on with offset = 3.",
      result.notice)
    sandbox.files["/w/long"] = ("x"):rep(60000)
    result = call("read", { path = "/w/long" })
    assert.same({ true, nil, 1 }, { result.truncated, result.next_offset, result.total_lines })
    assert.equal(49152, #result.content)
  end)

  it("replaces what is no UTF-8, and says so", function()
    sandbox.files["/w/latin"] = "caf\xe9\n"
    assert.same({ content = "caf\u{FFFD}\n", notice = "Bytes that are no UTF-8 are shown as \u{FFFD}." },
      call("read", { path = "/w/latin" }))
  end)

  it("refuses what is no text", function()
    sandbox.files["/w/bin"] = "\x7fELF\0\1"
    local err = failure(call, "read", { path = "/w/bin" })
    assert.same({ "SANDBOX_ERROR", "fs_failed" }, { err.code, err.meta.reason })
    assert.equal("/w/bin is a binary file of 6 bytes; this tool is for text", err.message)
    assert.equal("/w/d is a directory; use the tool list to see what is in it",
      failure(call, "read", { path = "/w/d" }).message)
    sandbox.sizes["/w/a.txt"] = 50000001
    assert.matches("has 50000001 bytes", failure(call, "read", { path = "/w/a.txt" }).message, 1, true)
    assert.equal("fs_failed", failure(call, "read", { path = "/w/none" }).meta.reason)
  end)

  it("takes absolute paths only, and normalises them", function()
    local err = failure(call, "read", { path = "./a.txt" })
    assert.same({ "SANDBOX_ERROR", "invalid_path" }, { err.code, err.meta.reason })
    assert.equal('"./a.txt" is a relative path; paths are absolute, such as /workspace/a.txt', err.message)
    assert.equal("x", call("read", { path = "//w/./d/../d//x/" }).content)
    assert.same({}, { table.unpack(sandbox.calls, 3) })
  end)

  for _, input in ipairs {
    {}, { path = "" }, { path = 5 }, { path = "/a", offset = 0 }, { path = "/a", limit = 0 },
    { path = "/a", offset = 1.5 },
  } do
    it("refuses wrong input: " .. require("harness.json").encode(input), function()
      assert.matches("^input: ", failure(call, "read", input))
    end)
  end
end)
