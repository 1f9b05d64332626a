-- harness-jail supervise: what a program on the host has started ends with it, whatever it did to detach itself.
local command = require "spec.support.command"
local core = require "harness.core"
local failure = require("spec.support.failure").any
local live = require "spec.support.live"
local process = require "harness.process"
local sleepers = require "spec.support.sleepers"

-- Three of the same name: a child, an orphan, one in a session of its own.
local STARTS <const> = "sleep %s & (sleep %s &); setsid setsid sleep %s & "

local eventually, odd_seconds, sleeping = sleepers.eventually, sleepers.odd_seconds, sleepers.sleeping

local function supervised(script, seconds, options)
  options = options or {}
  options.file, options.args, options.supervised = "sh", { "-c", (STARTS:gsub("%%s", seconds)) .. script }, true
  return process.spawn(options)
end

describe("a supervised program", function()
  local before

  before_each(function()
    process.run { file = "true" }
    collectgarbage()
    collectgarbage()
    before = live.now()
  end)

  after_each(function()
    collectgarbage()
    collectgarbage()
    eventually(function() return core.process.running() == 0 end)
    live.check(before)
  end)

  it("is as one that is not: streams, directory, environment, exit", function()
    local p <close> = process.spawn {
      file = "sh", args = { "-c", "read a; echo $a $X; pwd >&2; exit 7" }, stdin = "in\n", cwd = "/usr",
      env = { X = "x", PATH = "/usr/bin" }, supervised = true,
    }
    assert.same({ "in x\n", "/usr\n", { exit_code = 7 } }, { p:text "stdout", p:text "stderr", p:wait() })
    local killed <close> = process.spawn { file = "sh", args = { "-c", "kill -USR1 $$" }, supervised = true }
    assert.same({ signal = 10 }, killed:wait())
  end)

  it("that does not exist is an error", function()
    local p <close> = process.spawn { file = "no-such-program", env = { PATH = "/usr/bin" }, supervised = true }
    local err = failure(p.wait, p)
    assert.same({ "PROCESS_ERROR", "spawn" }, { err.code, err.meta.reason })
    assert.matches("cannot start no%-such%-program: No such file", err.message)
  end)

  it("takes with it what it has started, when it exits", function()
    local seconds = odd_seconds()
    local p <close> = supervised("sleep 0.1; exit 3", seconds)
    assert.same({ exit_code = 3 }, p:wait())
    assert.equal(0, sleeping(seconds))
  end)

  it("does so when it is killed", function()
    local seconds = odd_seconds()
    local p <close> = supervised("wait", seconds)
    assert.is_true(eventually(function() return sleeping(seconds) == 3 end))
    p:kill "KILL"
    assert.same({ signal = 9 }, p:wait())
    assert.equal(0, sleeping(seconds))
  end)

  it("may end by itself when it is stopped", function()
    local seconds = odd_seconds()
    local p <close> = supervised("trap 'echo bye; exit 4' TERM; echo ready; wait", seconds)
    assert.equal("ready\n", p:read())
    p:stop()
    assert.equal("bye\n", p:read())
    assert.same({ exit_code = 4 }, p:wait())
    assert.equal(0, sleeping(seconds))
  end)

  it("is ended when it does not", function()
    local seconds = odd_seconds()
    do
      local p <close> = supervised("trap '' TERM; wait; sleep 100; sleep 100", seconds)
      assert.is_true(p.pid > 0)
      assert.is_true(eventually(function() return sleeping(seconds) == 3 end))
    end
    assert.is_true(eventually(function() return sleeping(seconds) == 0 and core.process.running() == 0 end))
  end)

  it("forks faster than one counts and is ended all the same", function()
    local seconds = odd_seconds()
    do
      local p <close> = process.spawn {
        file = "sh", supervised = true,
        args = { "-c", ("trap '' TERM; f() { setsid sleep %s & f2; }; f2() { (f3 &) ; }; f3() { setsid sleep %s; }; "
          .. "while :; do f; sleep 0.01; done"):format(seconds, seconds) },
      }
      assert.is_true(eventually(function() return sleeping(seconds) > 10 end))
      p:kill "KILL"
      p:wait()
    end
    assert.equal(0, sleeping(seconds))
  end)

  it("ends with the engine, a kill -9 too", function()
    local seconds = odd_seconds()
    local script = ([[
      local p = require("harness.process").spawn { file = "sh", supervised = true, args = { "-c", "%s wait" } }
      io.stderr:write "ready\n"
      p:wait()
    ]]):format((STARTS:gsub("%%s", seconds)))
    local child <close> = command.start { "-e", script }
    child:await "ready"
    assert.is_true(eventually(function() return sleeping(seconds) == 3 end))
    child:signal "KILL"
    child:finish()
    assert.is_true(eventually(function() return sleeping(seconds) == 0 end))
  end)
end)
