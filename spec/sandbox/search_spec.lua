-- bindings/sandbox_search.c: the tool grep finds in our sandboxes, where it searches in C, what it finds in one
-- of one's own, file by file.

local builtin_call = require "spec.support.builtin"
local failure = require("spec.support.failure").structured
local core = require "harness.core"
local harness = require "harness"
local host_tree = require "spec.support.host_tree"
local still = require "spec.support.still"
local table_sandbox = require "spec.support.table_sandbox"

local FILES <const> = {
  ["/workspace/a.txt"] = "one\ntwo needle\nthree\n",
  ["/workspace/b/c.lua"] = "needle needle\nlocal x = 'needle'",
  ["/workspace/b/d.lua"] = "NEEDLE\r\nneedle\r\n",
  ["/workspace/b-1.lua"] = "no\n",
  ["/workspace/binary"] = "needle\0needle\n",
  ["/workspace/late"] = ("x"):rep(9000) .. "\0 needle\n",
  ["/workspace/latin"] = "caf\xe9 needle\n\xff\n",
  ["/workspace/empty"] = "",
  ["/workspace/large"] = ("needle\n"):rep(300000),
  ["/workspace/long"] = ("y"):rep(5000) .. " needle " .. ("z"):rep(5000) .. "\nshort needle",
  ["/notes/\u{e9}.md"] = "needle\n",
}

local INPUTS <const> = {
  { pattern = "needle" },
  { pattern = "needle", path = "/workspace/b" },
  { pattern = "needle", path = "/workspace/b/c.lua" },
  { pattern = "needle", path = "/workspace/b/c.lua", glob = "*.txt" },
  { pattern = "needle", path = "/workspace/binary" },
  { pattern = "needle", path = "/workspace/nothing" },
  { pattern = "needle", glob = "*.lua" },
  { pattern = "need.e$" },
  { pattern = "^needle", ignore_case = true },
  { pattern = "n(ee)+dle|two" },
  { pattern = "x?needle'", max_results = 10 },
  { pattern = "needle", max_results = 1 },
  { pattern = "needle", max_results = 2 },
  { pattern = "needle", max_results = 100 },
  { pattern = "\u{e9}|caf" },
  { pattern = "z{3,}" },
  { pattern = "not there at all" },
}

describe("grep", function()
  local sessions = {}
  after_each(function()
    for i, session in ipairs(sessions) do
      session:close()
      sessions[i] = nil
    end
  end)
  still(before_each, after_each)
  local trees = host_tree.watch(after_each)

  local function filled(sandbox)
    local session = sandbox:open {}
    sessions[#sessions + 1] = session
    for path, data in pairs(FILES) do session:write(path, data) end
    return session
  end

  for _, kind in ipairs { "memory", "directory" } do
    it(("in %s finds what it finds file by file"):format(kind), function()
      local session = filled(harness.sandbox[kind](kind == "directory" and { root = trees.new() } or nil))
      local own = table_sandbox.session()
      for path, data in pairs(FILES) do own:write(path, data) end
      -- File by file a few are looked at ahead: when the result is full that tells of more large ones.
      local function shown(of, input)
        local text = builtin_call.on(of).text("grep", input)
        return input.max_results and text:gsub(" 1 file over [^.]*%.", "") or text
      end
      for i, input in ipairs(INPUTS) do assert.equal(shown(own, input), shown(session, input), "input " .. i) end
    end)

    it(("in %s is given up where matching takes too long"):format(kind), function()
      local session = filled(harness.sandbox[kind](kind == "directory" and { root = trees.new() } or nil))
      session:write("/workspace/slow", ("a"):rep(3000) .. "b")
      local err = failure(builtin_call.on(session).text, "grep", { pattern = "(a+)+$", path = "/workspace/slow" })
      assert.same({ "VALIDATION_ERROR", "match_limit" }, { err.code, err.meta.reason })
      assert.matches("given up in /workspace/slow", err.message)
    end)
  end

  it("passes over what has gone, and counts what cannot be read", function()
    local out = trees.new { "echo the needle outside > secret" }
    local root = trees.new {
      "echo needle > a", "echo needle > b", "mkfifo c", "mkdir d; echo needle > d/e", "echo needle > f",
    }
    local session = harness.sandbox.directory({ root = root }):open {}
    sessions[#sessions + 1] = session
    local search = session:search("/workspace", core.grep.compile "needle")
    trees.sh(root, "rm b; mkfifo b; rm -r d; ln -s . d; ln -sf " .. out .. "/secret f")
    local hits, more = search:next(10, 1000000)
    assert.same({ "/workspace/a", 1, "needle", 1 }, hits)
    assert.is_false(more)
    assert.same({ files = 4, searched = 4, bytes = 7, large = 0, unreadable = 3 }, search:counts())
  end)

  it("goes on where it stopped", function()
    local session = filled(harness.sandbox.memory())
    local search = session:search("/workspace/b", core.grep.compile "eedle")
    local first, more = search:next(1, 1000)
    assert.same({ { "/workspace/b/c.lua", 1, "needle needle", 2 }, "matches" }, { first, more })
    local paths, again = {}, session:search("/workspace", core.grep.compile "needle", { glob = "*/b*" })
    local turns = 0
    repeat
      local hits, goes_on = again:next(100, 1) -- at least one file each
      for i = 1, #hits, 4 do paths[#paths + 1] = hits[i] .. ":" .. hits[i + 1] end
      turns = turns + 1
    until not goes_on
    assert.same({ "/workspace/b/c.lua:1", "/workspace/b/c.lua:2", "/workspace/b/d.lua:2" }, paths)
    assert.is_true(turns >= 3)
  end)

  it("ends with its session", function()
    local session = filled(harness.sandbox.memory())
    local search = session:search("/workspace", core.grep.compile "needle")
    session:close()
    local ok, err = pcall(search.next, search, 10, 1000)
    assert.is_false(ok)
    assert.equal("session_closed", err.meta.reason)
  end)
end)
