-- sandbox/files_memory*.c: what is special to files in memory. The rest: contract_spec, model_spec.

local failure = require("spec.support.failure").structured
local harness = require "harness"
local still = require "spec.support.still"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

describe("memory", function()
  local session
  after_each(function() session:close() end)
  still(before_each, after_each)

  local function open(options) session = harness.sandbox.memory(options):open { session_id = "s" } end

  it("begins empty", function()
    open()
    assert.same({}, session:list("/", { recursive = true }))
    assert.is_false(session:exists "/workspace")
  end)

  it("tells its session's id when asked for a command", function()
    open()
    assert.equal("s", failure(session.exec, session, "true").meta.session_id)
    assert.equal("SANDBOX_NO_EXECUTOR", failure(session.spawn, session, "true").code)
  end)

  describe("quota", function()
    it("is 64 MiB by default", function()
      open()
      local megabyte = ("x"):rep(1 << 20)
      for i = 1, 64 do session:write("/" .. i, megabyte) end
      local err = failure(session.write, session, "/more", "x")
      assert.same({ "SANDBOX_ERROR", "quota_exceeded", "EDQUOT", "/more" },
        { err.code, err.meta.reason, err.meta.error, err.meta.path })
      assert.matches("67108865 bytes, more than its quota of 67108864", err.message)
      session:write("/1", "")
      session:write("/more", megabyte)
    end)

    it("counts the bytes of all files and nothing else", function()
      open { quota_bytes = 10 }
      session:write("/a/long/path/of/names", "12345")
      session:write("/b", "12345")
      assert.equal("quota_exceeded", failure(session.write, session, "/b", "123456").meta.reason)
      assert.equal("12345", session:read "/b")
      assert.equal("quota_exceeded", failure(session.write, session, "/c/d", "1").meta.reason)
      assert.is_false(session:exists "/c")
      session:remove("/a", { recursive = true })
      session:write("/c/d", "12345")
    end)

    it("bounds the number of files, too", function()
      open { quota_bytes = 1000 }
      local err
      for i = 1, 2000 do
        local ok, problem = pcall(session.write, session, "/" .. i, "")
        if not ok then
          err = problem
          break
        end
      end
      assert.equal("quota_exceeded", err.meta.reason)
      assert.matches("1024 files and directories", err.message)
    end)

    it("keeps a mount out that does not fit, and what was there", function()
      open { quota_bytes = 10 }
      session:mount({ a = "1" }, "/s")
      assert.equal("quota_exceeded", failure(session.mount, session, { a = "22222", b = "333333" }, "/s").meta.reason)
      assert.same({ "1", false }, { session:read "/s/a", session:exists "/s/b" })
    end)

    it("holds for what is restored", function()
      open { quota_bytes = 100 }
      session:write("/a", ("x"):rep(50))
      local snapshot = session:snapshot()
      session:close()
      open { quota_bytes = 10 }
      assert.equal("quota_exceeded", failure(session.restore, session, snapshot).meta.reason)
      session:close()
      open()
      session:restore(snapshot)
      assert.equal(("x"):rep(50), session:read "/a")
    end)
  end)

  describe("snapshots", function()
    it("take as long for many files as for few", function()
      open()
      local function cost()
        local started = os.clock()
        for _ = 1, 20000 // FACTOR do session:snapshot() end
        return os.clock() - started
      end
      session:write("/a", "")
      cost()
      local few = cost()
      for i = 1, 20000 do session:write(("/%d/%d"):format(i % 100, i), "x") end
      local many = cost()
      assert.is_true(many < 5 * few + 0.02, ("%.3f s for one file, %.3f s for 20,000"):format(few, many))
    end)

    it("share what has not changed", function()
      open()
      local megabyte, kept = ("x"):rep(1 << 20), {}
      for i = 1, 32 do session:write("/large/" .. i, megabyte) end
      for i = 1, 2000 do
        session:write("/small", tostring(i))
        kept[i] = session:snapshot()
      end
      local status <close> = assert(io.open "/proc/self/status")
      local resident = tonumber(status:read("a"):match "VmRSS:%s*(%d+)")
      assert.is_true(resident < 600 * 1024 * (FACTOR > 1 and 4 or 1), resident .. " KiB")
      session:restore(kept[7])
      assert.same({ "7", megabyte }, { session:read "/small", session:read "/large/32" })
    end)

    it("outlive their session", function()
      open()
      session:write("/a/b", "1")
      local snapshot = session:snapshot()
      session:close()
      open()
      session:restore(snapshot)
      assert.equal("1", session:read "/a/b")
    end)
  end)

  it("goes as deep as a path can be", function()
    open()
    local path = ("/a"):rep(2047)
    session:write(path, "1")
    assert.equal("1", session:read(path))
    assert.equal(2047, #session:list("/", { recursive = true }))
    assert.equal("invalid_path", failure(session.write, session, path .. "/b", "1").meta.reason)
    local snapshot = session:snapshot()
    session:write(("/a"):rep(1000) .. "/b", "2")
    session:remove("/a", { recursive = true })
    assert.same({}, session:list "/")
    session:restore(snapshot)
    assert.equal("1", session:read(path))
  end)

  it("has the time of the engine's clock", function()
    open()
    local clock = require "spec.support.clock"
    session:write("/a", "1")
    local first = session:stat("/a").modified_at
    clock.advance(5000)
    session:write("/a", "2")
    session:write("/b", "2")
    assert.is_true(session:stat("/a").modified_at > first)
    assert.equal(session:stat("/a").modified_at, session:stat("/b").modified_at)
  end)

  it("says what options it takes", function()
    local function refused(fn, ...)
      local err = failure(fn, ...)
      return err.code .. ": " .. err.message
    end
    assert.matches('HARNESS_CONFIG_ERROR: sandbox.memory.quota: there is no such field; did you mean "quota_bytes"',
      refused(harness.sandbox.memory, { quota = 5 }))
    assert.matches("quota_bytes: must be an integer of at least 1",
      refused(harness.sandbox.memory, { quota_bytes = "x" }))
    open()
    assert.matches("VALIDATION_ERROR: there is no option \"glb\"; the options are recursive, glob and sizes",
      refused(session.list, session, "/", { glb = "*" }))
    assert.matches("recursive is true or false, got string",
      refused(session.remove, session, "/a", { recursive = "x" }))
    assert.matches("glob is a pattern, got number", refused(session.list, session, "/", { glob = 5 }))
    assert.matches("what is written is a string, got no value", refused(session.write, session, "/a"))
    assert.matches("SANDBOX_ERROR: a path is a string, got no value", refused(session.read, session))
    assert.matches("relative path %-> content", refused(session.mount, session, { "a" }, "/s"))
    assert.has_error(function() session.read("/a") end)
  end)
end)
