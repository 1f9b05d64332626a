-- lua/harness/builtin/grep.lua; the matching itself is in spec/engine/grep_spec.lua
local builtin_call = require "spec.support.builtin"
local harness = require "harness"
local table_sandbox = require "spec.support.table_sandbox"

local failure = builtin_call.failure

describe("the tool grep", function()
  local sandbox, call

  before_each(function()
    sandbox = table_sandbox.session {
      ["/w/a.txt"] = "one\ntwo\none more\n", ["/w/b/c.lua"] = "local one = 1\r\n", ["/w/d.bin"] = "one\0one\n",
      ["/w/e.txt"] = "ONE\n",
    }
    call = builtin_call.on(sandbox)
  end)

  -- "path:line:text", …
  local function shown(input)
    local list, result = {}, call("grep", input)
    for i, match in ipairs(result.matches) do list[i] = ("%s:%d:%s"):format(match.path, match.line, match.text) end
    return table.concat(list, " "), result
  end

  for _, case in ipairs {
    { { pattern = "^one" }, "/w/a.txt:1:one /w/a.txt:3:one more" },
    { { pattern = "one" }, "/w/a.txt:1:one /w/a.txt:3:one more /w/b/c.lua:1:local one = 1\r" },
    { { pattern = "one", path = "/w/b" }, "/w/b/c.lua:1:local one = 1\r" },
    { { pattern = "one", path = "/w/a.txt" }, "/w/a.txt:1:one /w/a.txt:3:one more" },
    { { pattern = "one", glob = "*.lua" }, "/w/b/c.lua:1:local one = 1\r" },
    { { pattern = "one$", ignore_case = true, glob = "*.txt" }, "/w/a.txt:1:one /w/e.txt:1:ONE" },
    { { pattern = "t[vw]o", path = "/w/../w/" }, "/w/a.txt:2:two" },
    { { pattern = "1\\s*$" }, "/w/b/c.lua:1:local one = 1\r" },
    { { pattern = "three" }, "" },
  } do
    it("finds " .. harness.json.encode(case[1]), function()
      local text, result = shown(case[1])
      assert.equal(case[2], text)
      assert.same({}, { result.truncated, result.notice })
    end)
  end

  it("gives an empty list, and says when there is nothing to search", function()
    assert.equal('{"matches":[]}', call.text("grep", { pattern = "x{5}" }))
    assert.equal('{"matches":[],"notice":"There is no /none."}', call.text("grep", { pattern = "x", path = "/none" }))
  end)

  it("stops at max_results, and says so only if there is more", function()
    local text, result = shown { pattern = "one", max_results = 3 }
    assert.equal("/w/a.txt:1:one /w/a.txt:3:one more /w/b/c.lua:1:local one = 1\r", text)
    assert.is_nil(result.truncated)
    for most = 1, 2 do -- the next one is in the same file, in another file
      text, result = shown { pattern = "one", max_results = most }
      assert.equal(most == 1 and "/w/a.txt:1:one" or "/w/a.txt:1:one /w/a.txt:3:one more", text)
      assert.is_true(result.truncated)
      assert.equal(("There are more matches than these %d; use a narrower pattern or path, or a higher max_results.")
        :format(most), result.notice)
    end
  end)

  it("shows 100 matches unless asked for more, and never more than 48 KB", function()
    sandbox.files["/w/many"] = ("needle " .. ("x"):rep(200) .. "\n"):rep(500)
    local _, result = shown { pattern = "needle" }
    assert.same({ 100, true }, { #result.matches, result.truncated })
    _, result = shown { pattern = "needle", max_results = 500 }
    assert.is_true(#result.matches > 200 and #result.matches < 240)
    assert.is_true(result.truncated)
    assert.is_true(#call.text("grep", { pattern = "needle", max_results = 500 }) < 64 * 1024)
  end)

  it("shows of a long line what is around the match, at characters", function()
    sandbox.files["/w/min.js"] = ("é"):rep(5000) .. "needle" .. ("ü"):rep(5000)
    local match = call("grep", { pattern = "needle" }).matches[1]
    assert.is_true(#match.text <= 300 + 2 * #"…")
    assert.is_not_nil(utf8.len(match.text))
    assert.equal("…needle…", (match.text:gsub("é", ""):gsub("ü", "")))
    sandbox.files["/w/min.js"] = "needle" .. ("x"):rep(5000)
    assert.matches("^needlex+…$", call("grep", { pattern = "needle" }).matches[1].text)
    sandbox.files["/w/min.js"] = ("x"):rep(5000) .. "needle"
    assert.matches("^…x+needle$", call("grep", { pattern = "needle" }).matches[1].text)
    sandbox.files["/w/min.js"] = "caf\xe9 needle"
    assert.equal("caf\u{FFFD} needle", call("grep", { pattern = "needle" }).matches[1].text)
  end)

  it("passes over files of more than 2,000,000 bytes, and says so", function()
    sandbox.files["/w/a.txt"] = ("x"):rep(2000001 - 4) .. "one\n"
    local text, result = shown { pattern = "one", path = "/w/a.txt" }
    assert.same({ "", "1 file over 2000000 bytes was not searched." }, { text, result.notice })
    sandbox.files["/w/a.txt"] = ("x"):rep(2000000 - 4) .. "one\n"
    assert.equal(1, #call("grep", { pattern = "one", path = "/w/a.txt" }).matches)
  end)

  it("stops after 50,000,000 bytes, and says so", function()
    local big = ("x"):rep(1999999) .. "\n"
    for i = 1, 30 do sandbox.files[("/big/%02d"):format(i)] = big end
    sandbox.files["/big/30"] = "needle"
    local _, result = shown { pattern = "needle", path = "/big" }
    assert.same({ 0, true, "Only 25 of 30 files were searched, 50000000 bytes; search a smaller path." },
      { #result.matches, result.truncated, result.notice })
  end)

  it("passes over files that cannot be read or have gone, and says so", function()
    sandbox.files["/w/a.txt"] = {}
    local text, result = shown { pattern = "one" }
    assert.equal("/w/b/c.lua:1:local one = 1\r", text)
    assert.equal("1 file that cannot be read was not searched.", result.notice)
  end)

  it("raises what is no failure of a file", function()
    sandbox.read = function() error("broken adapter", 0) end
    assert.equal("broken adapter", failure(call, "grep", { pattern = "one" }))
  end)

  it("refuses what is no expression, and gives up what takes for ever", function()
    local err = failure(call, "grep", { pattern = "[" })
    assert.same({ "VALIDATION_ERROR", "tool_input", "$.pattern" },
      { err.code, err.meta.where, err.meta.issues[1].path })
    assert.equal("pattern is not a regular expression: missing terminating ] for character class, at byte 2",
      err.message)
    sandbox.files["/w/a.txt"] = ("a"):rep(100) .. "b"
    err = failure(call, "grep", { pattern = "(a+)+$" })
    assert.same({ "VALIDATION_ERROR", "tool_input", "match_limit" }, { err.code, err.meta.where, err.meta.reason })
    assert.matches("given up in /w/a.txt", err.message, 1, true)
  end)

  it("refuses wrong input", function()
    for _, input in ipairs { {}, { pattern = "" }, { pattern = "a", max_results = 0 }, { pattern = 5 } } do
      assert.matches("^input: ", failure(call, "grep", input))
    end
    assert.equal("invalid_path", failure(call, "grep", { pattern = "a", path = "w" }).meta.reason)
  end)

  it("uses file calls only, whatever the pattern says", function()
    sandbox.executor = "available"
    sandbox.commands = function() error "a command was run" end
    call("grep", { pattern = "; rm -rf /; $(reboot)", path = "/w" })
  end)

  it("lets others run, and can be stopped", function()
    for i = 1, 200 do sandbox.files[("/many/%03d"):format(i)] = "one\n" end
    local child = harness.spawn(function() return call("grep", { pattern = "two", path = "/many" }) end)
    harness.sleep(0)
    child:cancel "enough"
    assert.equal("OPERATION_CANCELLED", failure(function() child:await() end).code)
    assert.is_true(#sandbox.calls < 200)
  end)
end)
