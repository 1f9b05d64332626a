-- lua/harness/builtin/glob.lua and list.lua
local builtin_call = require "spec.support.builtin"
local table_sandbox = require "spec.support.table_sandbox"

local failure = builtin_call.failure

describe("the tools that list", function()
  local sandbox, call

  before_each(function()
    sandbox = table_sandbox.session {
      ["/w/a.lua"] = "1", ["/w/src/b.lua"] = "22", ["/w/src/deep/c.lua"] = "333", ["/w/src/d.luac"] = "",
      ["/x.lua"] = "",
    }
    call = builtin_call.on(sandbox)
  end)

  describe("glob", function()
    for _, case in ipairs {
      { "*.lua", nil, "/w/a.lua /w/src/b.lua /w/src/deep/c.lua /x.lua" }, { "/w/*.lua", nil,
        "/w/a.lua /w/src/b.lua /w/src/deep/c.lua" }, { "/w/**", nil,
        "/w/a.lua /w/src /w/src/b.lua /w/src/d.luac /w/src/deep /w/src/deep/c.lua" },
      { "*.lua", "/w/src", "/w/src/b.lua /w/src/deep/c.lua" }, { "*/src", nil, "/w/src" }, { "/w/src/?.lua", nil,
        "/w/src/b.lua" }, { "*.LUA", nil, "" }, { "*.lua", "/w/./src/", "/w/src/b.lua /w/src/deep/c.lua" },
      { "*[ab].lua", nil, "" },
    } do
      it(("%s in %s"):format(case[1], case[2] or "/"), function()
        local result = call("glob", { pattern = case[1], root = case[2] })
        assert.equal(case[3], table.concat(result.paths, " "))
        assert.same({}, { result.truncated, result.notice })
      end)
    end

    it("gives an empty list, and a hint where the pattern or the root is at fault", function()
      assert.equal('{"paths":[]}', call.text("glob", { pattern = "*.c" }))
      assert.equal("No path begins like this pattern: it covers the whole absolute path. Try */src/*.lua",
        call("glob", { pattern = "src/*.lua" }).notice)
      assert.equal("There is no /none.", call("glob", { pattern = "*", root = "/none" }).notice)
    end)

    it("shows 1000 paths, or 48 KB of them, and says so", function()
      for i = 1, 1200 do sandbox.files[("/n/%04d"):format(i)] = "" end
      local result = call("glob", { pattern = "/n/*" })
      assert.same({ 1000, true, "/n/1000" }, { #result.paths, result.truncated, result.paths[1000] })
      assert.equal("These are 1000 of 1200 paths; use a narrower pattern or root.", result.notice)
      for i = 1, 600 do sandbox.files[("/m/%04d"):format(i) .. ("x"):rep(200)] = "" end
      result = call("glob", { pattern = "/m/*" })
      assert.same({ 237, true }, { #result.paths, result.truncated })
    end)

    it("refuses wrong input and relative roots", function()
      assert.matches("^input: ", failure(call, "glob", {}))
      assert.matches("^input: ", failure(call, "glob", { pattern = "" }))
      assert.equal("invalid_path", failure(call, "glob", { pattern = "*", root = "w" }).meta.reason)
    end)
  end)

  describe("list", function()
    it("gives what is in a directory, with the sizes of files", function()
      assert.same({ { name = "a.lua", kind = "file", size = 1 }, { name = "src", kind = "directory" } },
        { table.unpack(call("list", { path = "/w" }).entries) })
      assert.equal('{"entries":[{"kind":"file","name":"a.lua","size":1},{"kind":"directory","name":"src"}]}',
        call.text("list", { path = "/w/" }))
    end)

    it("tells why there is nothing", function()
      assert.equal('{"entries":[],"notice":"There is no /none."}', call.text("list", { path = "/none" }))
      assert.equal("/w/a.lua is a file; use read.", call("list", { path = "/w/a.lua" }).notice)
      assert.equal('{"entries":[]}', builtin_call.on(table_sandbox.session()).text("list", { path = "/" }))
    end)

    it("shows 1000 entries, and says so", function()
      for i = 1, 1001 do sandbox.files[("/n/%04d"):format(i)] = "" end
      local result = call("list", { path = "/n" })
      assert.same({ 1000, true, "These are 1000 of 1001 entries; use glob to narrow them down." },
        { #result.entries, result.truncated, result.notice })
    end)

    it("refuses wrong input and relative paths", function()
      assert.matches("^input: ", failure(call, "list", {}))
      assert.equal("invalid_path", failure(call, "list", { path = "." }).meta.reason)
    end)
  end)
end)
