-- needs: user namespaces
-- lua/harness/program.lua and program_start.lua: processes of programs, the spare one, what they may say, and how
-- they are isolated. What programs can do: spec/sandbox/code_spec.lua.

local clock = require "spec.support.clock"
local command = require "spec.support.command"
local core = require "harness.core"
local descendants = require "spec.support.descendants"
local harness = require "harness"
local process = require "harness.process"
local program = require "harness.program"
local starts = require "harness.program_start"
local still = require "spec.support.still"
local task = require "harness.task"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function echo(calls)
  local answers = {}
  for i = 1, #calls do answers[i] = { value = "1" } end
  return answers
end

describe("programs", function()
  local opened = still(before_each, after_each)
  local start <const> = starts.start

  local function new(settings)
    local programs = program.new(settings)
    opened[#opened + 1] = { shutdown = function() programs:close() end }
    return programs
  end

  local function run(programs, code, call)
    return programs:run({ code = code, tools = { "a" } }, { call = call or echo, own_ms = 20000 })
  end

  local function failure(...)
    local ok, err = pcall(run, ...)
    assert.is_false(ok)
    assert(harness.is_error(err), tostring(err))
    return err
  end

  describe("have a spare process", function()
    it("that the next one gets, and only that one", function()
      local programs, seen = new(), {}
      for i = 1, 4 do
        if i ~= 3 then -- which starts a process of its own
          programs:warm()
          programs:warm()
          assert.equal(1, #descendants.of "self" - #descendants.of(programs.spare.process.pid))
        end
        local spare = programs.spare
        seen[i] = spare and spare.process.pid
        run(programs, "return tools.a{}", function(calls)
          assert.is_nil(programs.spare)
          assert.is_true(not spare or descendants.is_running(seen[i]))
          return echo(calls)
        end)
        assert.same({}, descendants.of "self")
      end
      assert.is_true(seen[1] ~= seen[2] and seen[2] ~= seen[4])
      assert.is_nil(seen[3])
    end)

    it("that is replaced when it has died, or dies just then", function()
      local programs = new()
      for _, wait in ipairs { true, false } do
        programs:warm()
        local spare, list = programs.spare
        local latest = os.time() + 30
        repeat -- bubblewrap, and in it harness-jail
          list = descendants.of "self"
          assert(os.time() < latest, "there is no spare process")
        until #list == 2
        os.execute("kill -9 " .. table.concat(list, " "))
        if wait then spare.process:wait() end
        assert.equal(2, run(programs, "return 1 + 1").result)
      end
    end)

    it("but none after they are closed", function()
      local programs = new()
      programs:warm()
      run(programs, "return 1")
      programs:warm()
      programs:close()
      programs:close()
      programs:warm()
      assert.is_nil(programs.spare)
      assert.same({}, descendants.of "self")
    end)

    it("that goes with a harness nobody has shut down", function()
      local programs = program.new()
      programs:warm()
      local list = descendants.of "self"
      assert.is_true(#list >= 1)
      programs = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      clock.advance(2000) -- TERM at once, KILL two seconds later
      descendants.await_none(list)
    end)
  end)

  it("run side by side, each in a process of its own", function()
    local programs = new()
    local list = {}
    for i = 1, 8 do list[i] = i end
    local results = harness.map(list, function(i)
      return run(programs, ("local x = %d for _ = 1, 20 do x = x + tools.a{} end return x"):format(i)).result
    end)
    for i = 1, 8 do assert.equal(i + 20, results[i]) end
  end)

  it("leave nothing behind, however often they run", function()
    local programs = new()
    for _ = 1, math.max(100 // FACTOR, 10) do
      programs:warm()
      run(programs, "return 1")
    end
    assert.same({}, descendants.of "self")
  end)

  -- A process that is not what it should be, after the request has come.
  local function impostor(script)
    starts.start = function()
      return process.spawn { file = "sh", args = { "-c", "read request; " .. script }, stdin = true }
    end
    local programs = new()
    local err = failure(programs, "return 1")
    starts.start = start
    return err
  end

  describe("believe nothing that comes from a process:", function()
    after_each(function() starts.start = start end)

    for _, case in ipairs {
      { "no JSON", "echo hello", "protocol" },
      { "half a line", "printf '{\"result\":1}'", "process_died" },
      { "no message", "echo '{}'", "protocol" },
      { "a list", "echo '[1]'", "protocol" },
      { "a number", "echo 1", "protocol" },
      { "a failure without a text", "echo '{\"failed\":1}'", "protocol" },
      { "calls that are none", "echo '{\"calls\":1}'", "protocol" },
      { "no calls", "echo '{\"calls\":[]}'", "protocol" },
      { "a call without a name", "echo '{\"calls\":[{\"input\":{}}]}'", "protocol" },
      { "a call without an input", "echo '{\"calls\":[{\"tool\":\"a\"}]}'", "protocol" },
      { "bytes without end", "exec tr '\\0' x </dev/zero", "protocol" },
      { "lines without end", "exec yes ''", "protocol" },
      { "deep nesting", "head -c 100000 /dev/zero | tr '\\0' '['; echo; sleep 9", "protocol" },
      { "an end", "exit 3", "process_died", "exit status 3" },
      { "a signal", "kill -11 $$", "process_died", "signal 11" },
      { "a signal within bubblewrap", "exit 159", "process_died", "signal 31" },
      { "an end with a word", "echo why >&2; exit 1", "process_died", "exit status 1): why" },
      { "bubblewrap's refusal", "echo 'bwrap: No permissions to create new namespace, likely' >&2; exit 1",
        "isolation_failed", "kernel.unprivileged_userns_clone" },
    } do
      it(case[1], function()
        local err = impostor(case[2])
        assert.same({ "SANDBOX_ERROR", case[3] }, { err.code, err.meta.reason }, tostring(err))
        if case[4] then assert.truthy(err.message:find(case[4], 1, true), err.message) end
      end)
    end

    it("output that is closed while it goes on", function()
      starts.start = function()
        local script = "read request; exec >&- 2>&-; exec sleep 100"
        return process.spawn { file = "sh", args = { "-c", script }, stdin = true }
      end
      local programs, err = new(), nil
      local t = task.spawn(function()
        err = select(2, pcall(programs.run, programs, { code = "", tools = {} }, { own_ms = 0 }))
      end)
      while not t:done() do
        clock.advance(100)
        task.pause()
      end
      t:await()
      assert.equal("protocol", err.meta.reason)
    end)
  end)

  describe("are isolated:", function()
    -- Looks at the process in which a program waits.
    local function during(programs, inspect)
      local is_done
      run(programs, "return tools.a{}", function(calls)
        for _, child in ipairs(descendants.of "self") do
          if descendants.read(child, "status"):find "Seccomp:%s*2" then
            inspect(child, descendants.read(child, "status"))
            is_done = true
          end
        end
        return echo(calls)
      end)
      assert.is_true(is_done, "no process with a filter")
    end

    local function list(path)
      return process.run({ file = "ls", args = { "-A", path } }).stdout
    end

    local function link(path)
      return process.run({ file = "readlink", args = { path } }).stdout
    end

    it("by namespaces, a filter, no privileges, no environment, no files", function()
      during(new(), function(pid, status)
        assert.matches("NoNewPrivs:%s*1\n", status)
        for _, set in ipairs { "Inh", "Prm", "Eff", "Bnd", "Amb" } do
          assert.matches("Cap" .. set .. ":%s*0+\n", status)
        end
        assert.is_nil(status:match "Uid:[^\n]*%f[%d]0%f[%D]")
        assert.matches("NSpid:%s*%d+%s+1\n", status)
        for _, name in ipairs { "user", "pid", "ipc", "net", "uts", "mnt" } do
          assert.not_equal(link("/proc/self/ns/" .. name), link(("/proc/%s/ns/%s"):format(pid, name)), name)
        end
        assert.equal("PWD=/\0", descendants.read(pid, "environ")) -- bubblewrap's own
        assert.equal("0\n1\n2\n", list(("/proc/%s/fd"):format(pid)))
        assert.equal("proc\n", list(("/proc/%s/root/"):format(pid)))
        local limits = descendants.read(pid, "limits")
        for name, most in pairs {
          ["Max cpu time"] = 12, ["Max file size"] = 0, ["Max core file size"] = 0, ["Max processes"] = 0,
          ["Max open files"] = 3, ["Max address space"] = 64 * 1024 * 1024 + 128 * 1024 * 1024,
        } do
          assert.equal(most, math.tointeger(limits:match(name .. "%s+(%d+)")), name)
        end
      end)
    end)

    it("by the filter alone, when the other protections are left out by name", function()
      during(new { without = { namespaces = true } }, function(pid, status)
        assert.matches("NoNewPrivs:%s*1\n", status)
        assert.equal(link "/proc/self/ns/net", link(("/proc/%s/ns/net"):format(pid)))
        assert.is_nil(status:match "Uid:[^\n]*%f[%d]0%f[%D]")
        assert.equal("", descendants.read(pid, "environ"))
      end)
    end)
  end)

  -- A script of its own, in a process of its own.
  local SCRIPT <const> = [[
    local program = require "harness.program"
    local programs = program.new { without = { namespaces = arg[1] == "alone" or nil } }
    local ok, answer = pcall(programs.run, programs, { code = "return 6 * 7", tools = {} }, { own_ms = 20000 })
    print(ok and answer.result or answer.meta.reason .. ": " .. answer.message)
  ]]

  it("are refused without bubblewrap, unless that is allowed by name", function()
    local directory <close> = command.directory { ["x.lua"] = SCRIPT }
    local env = { PATH = directory.path }
    local result = process.run { file = command.HARNESS_LUA, args = { directory.path .. "/x.lua" }, env = env }
    assert.matches("^bubblewrap_not_installed: .*apt%-get install bubblewrap.*without = { \"namespaces\" }",
      result.stdout)
    result = process.run { file = command.HARNESS_LUA, args = { directory.path .. "/x.lua", "alone" }, env = env }
    assert.equal("42\n", result.stdout)
  end)

  it("run for a user who is not root", function()
    local directory <close> = command.directory { ["x.lua"] = SCRIPT }
    process.run { file = "cp", args = { command.HARNESS_LUA, directory.path .. "/harness-lua" } }
    process.run { file = "chmod", args = { "-R", "a+rX", directory.path } }
    local nobody = core.jail.machine().uid == 0 and core.jail.user "nobody" or {}
    for _, how in ipairs { "all", "alone" } do
      local result = process.run {
        file = directory.path .. "/harness-lua", args = { directory.path .. "/x.lua", how }, uid = nobody.uid,
        gid = nobody.gid, env = { PATH = "/usr/bin:/bin", ASAN_OPTIONS = os.getenv "ASAN_OPTIONS" }, cwd = "/",
      }
      assert.equal("42\n", result.stdout, result.stderr)
    end
  end)

  it("do not keep the command from ending, and end with it", function()
    local directory <close> = command.directory { ["x.lua"] = SCRIPT .. [[
      programs:warm()
      for _, pid in ipairs(require("spec.support.descendants").of "self") do print("pid " .. pid) end
    ]] }
    local result = command.run { directory.path .. "/x.lua", env = { LUA_PATH = "./?.lua;;" } }
    assert.same({ 0, "" }, { result.status, result.stderr })
    local pids = {}
    for pid in result.stdout:gmatch "pid (%d+)" do pids[#pids + 1] = pid end
    assert.is_true(#pids >= 1)
    descendants.await_none(pids)
  end)

  for _, how in ipairs { "all", "alone" } do
    it("end with an engine that is killed by kill -9, also while they compute (" .. how .. ")", function()
      local directory <close> = command.directory { ["x.lua"] = [[
        local program = require "harness.program"
        local programs = program.new { without = { namespaces = arg[1] == "alone" or nil } }
        programs:run({ code = "tools.a{} while true do end", tools = { "a" } }, { own_ms = 0, call = function()
          print "at work"
          io.stdout:flush()
          return { {} }
        end })
      ]] }
      local child <close> = command.start { directory.path .. "/x.lua", how }
      child:await "at work"
      local list = descendants.of(child.pid)
      assert.equal(how == "all" and 2 or 1, #list)
      child:signal "KILL"
      descendants.await_none(list)
      child:finish()
    end)
  end
end)
