-- Child processes (engine/process.c): pipes with bounds, groups that end together, no zombies.
local core = require "harness.core"
local join = require "harness.join"
local live = require "spec.support.live"
local process = require "harness.process"
local task = require "harness.task"

local before

local function read_file(path)
  local file <close> = io.open(path)
  return file and file:read "a"
end

local OWN_PID <const> = read_file("/proc/self/stat"):match "%d+"

-- Children of this process that have not been reaped: any is a leak.
local function children()
  local list = {}
  local text = read_file(("/proc/self/task/%s/children"):format(OWN_PID))
  for pid in text:gmatch "%d+" do list[#list + 1] = pid end
  return list
end

local function alive(pid)
  local state = (read_file(("/proc/%d/stat"):format(pid)) or ""):match "%) (%a)"
  return state ~= nil and state ~= "Z"
end

local function gone(pid)
  for _ = 1, 200 do
    if not alive(pid) then return true end
    task.sleep(5)
  end
  return false
end

local function shell(script, options)
  options = options or {}
  options.file, options.args = "sh", { "-c", script }
  return process.spawn(options)
end

before_each(function()
  process.run { file = "true" }
  collectgarbage()
  collectgarbage()
  task.sleep(0)
  before = { live = core.live(), files = live.open_files() }
end)

after_each(function()
  core.clock_manual(nil)
  collectgarbage()
  collectgarbage()
  for _ = 1, 600 do
    if core.process.running() == 0 and core.live().ops == before.live.ops then break end
    task.sleep(5)
  end
  task.sleep(0)
  assert.same({}, children())
  assert.same(before.live, core.live())
  assert.equal(before.files, live.open_files())
end)

describe("a process", function()
  it("gives its output and exit code", function()
    local result = process.run { file = "sh", args = { "-c", "echo out; echo err >&2; exit 3" } }
    assert.same({ exit_code = 3, stdout = "out\n", stderr = "err\n" }, result)
  end)

  it("tells which signal ended it", function()
    assert.same({ signal = 15 }, shell("kill -TERM $$"):wait())
    assert.same({ signal = 9 }, shell("kill -KILL $$"):wait())
  end)

  it("gets arguments, directory and environment as given", function()
    local script = 'printf "%s|" "$@"; pwd; env | sort | grep -v "^_\\|PWD\\|SHLVL"'
    local result = process.run {
      file = "sh", args = { "-c", script, "x", "a b", "", "$c" },
      cwd = "/usr", env = { B = "2 3", A = "1", PATH = os.getenv "PATH" },
    }
    assert.equal("a b||$c|/usr\nA=1\nB=2 3\nPATH=" .. os.getenv "PATH" .. "\n", result.stdout)
    local listed = process.run { file = "/usr/bin/env", env = { "X=y" } }
    assert.equal("X=y\n", listed.stdout)
    assert.equal("", process.run({ file = "/usr/bin/env", env = {} }).stdout)
    assert.matches("PATH=", process.run({ file = "env" }).stdout)
  end)

  it("reads what it is given, however much, and may not read it", function()
    local text = ("0123456789"):rep(300000)
    assert.equal(text, process.run({ file = "cat", stdin = text }).stdout)
    assert.equal("", process.run({ file = "cat", stdin = "" }).stdout)
    assert.equal("", process.run({ file = "cat" }).stdout)
    assert.equal(0, process.run({ file = "true", stdin = text }).exit_code)
  end)

  it("reads from a pipe that can be opened again by name", function()
    local p <close> = shell("cat /dev/stdin > /dev/stdout", { stdin = "hello" })
    assert.equal("hello", p:text())
  end)

  it("can be talked with", function()
    local p <close> = process.spawn { file = "cat", stdin = true }
    for i = 1, 5 do
      assert.is_true(p:write("line " .. i .. "\n"))
      assert.equal("line " .. i .. "\n", p:read())
    end
    p:close_stdin()
    assert.is_nil(p:read())
    assert.same({ exit_code = 0 }, p:wait())
    assert.is_false(p:write "x")
  end)

  it("can send its errors where its output goes, or nowhere", function()
    local both = { "-c", "echo a; echo b >&2" }
    assert.equal("a\nb\n", process.run({ file = "sh", args = both, stderr = "stdout" }).stdout)
    local silent = process.run { file = "sh", args = both, stdout = "null", stderr = "null" }
    assert.same({ exit_code = 0, stdout = "", stderr = "" }, silent)
  end)

  it("that cannot be started says why", function()
    local function failure(options)
      local ok, err = pcall(process.spawn, options)
      assert.is_false(ok)
      assert.equal("PROCESS_ERROR", err.code)
      return err.meta.error, err.message
    end
    local code, message = failure { file = "/does/not/exist" }
    assert.equal("ENOENT", code)
    assert.equal("cannot start /does/not/exist: no such file or directory", message)
    assert.equal("ENOENT", (failure { file = "true", cwd = "/does/not/exist" }))
    assert.equal("EACCES", (failure { file = "/etc/passwd" }))
  end)

  it("is refused when misused", function()
    for _, options in ipairs {
      {}, { file = 1 }, { file = "a\0b" }, { file = "true", args = { 1 } },
      { file = "true", args = { "a\0" } },
      { file = "true", stdout = "file" }, { file = "true", stdout = "stdout" }, { file = "true", cwd = 1 },
    } do
      assert.is_false(pcall(process.spawn, options))
    end
    local p = process.spawn { file = "true" }
    p:close()
    p:close()
    assert.has_error(function() p:read() end, "this process was closed")
  end)

  it("does not raise SIGPIPE in us when it reads no more", function()
    local p <close> = shell("exec 0<&-; echo closed; sleep 10", { stdin = true })
    assert.equal("closed\n", p:read())
    local taken = true
    for _ = 1, 50 do
      taken = p:write(("x"):rep(10000))
      if not taken then break end
      task.sleep(1)
    end
    assert.is_false(taken)
  end)
end)

describe("bounds", function()
  it("make a child wait whose output nobody reads", function()
    local p <close> = shell "yes 0123456789abcdef | head -c 20000000; echo done >&2"
    task.sleep(100)
    local total, most = 0, 0
    for bytes in p:chunks() do
      total = total + #bytes
      most = math.max(most, #bytes)
    end
    assert.equal(20000000, total)
    assert.is_true(most <= (1 << 20) + (64 << 10))
    assert.equal("done\n", p:text "stderr")
    assert.same({ exit_code = 0 }, p:wait())
  end)

  it("keep all output of a child that has exited", function()
    local p <close> = shell "head -c 1100000 /dev/zero"
    assert.same({ exit_code = 0 }, p:wait())
    assert.equal(1100000, #p:text())
  end)

  it("do not hold for output that is ignored", function()
    local p <close> = shell "head -c 5000000 /dev/zero; echo done >&2"
    p:read()
    p:ignore "stdout"
    assert.equal("done\n", p:text "stderr")
    assert.is_nil(p:read())
    assert.same({ exit_code = 0 }, p:wait())
  end)

  it("make a writer wait while the child does not read", function()
    local p <close> = shell("read line; cat | wc -c", { stdin = true })
    p:write "go\n"
    local writing = task.spawn(function()
      for _ = 1, 100 do p:write(("x"):rep(100000)) end
      p:close_stdin()
    end)
    assert.equal("10000000\n", p:text():gsub(" ", ""))
    writing:await()
    local stuck <close> = shell("sleep 30", { stdin = true })
    local written = 0
    local filling = task.spawn(function()
      while true do
        stuck:write(("x"):rep(100000))
        written = written + 100000
      end
    end)
    task.sleep(50)
    assert.is_true(written <= 1300000, "it took " .. written)
    filling:cancel()
    assert.is_false(pcall(filling.await, filling))
  end)
end)

describe("the end", function()
  it("does not wait for what was left in the background, and ends it", function()
    local began = core.now_ms()
    local p <close> = shell "sleep 60 & echo $!"
    local pid = tonumber(p:read())
    assert.same({ exit_code = 0 }, p:wait())
    assert.is_true(core.now_ms() - began < 1000)
    assert.is_nil(p:read())
    assert.is_true(gone(pid))
  end)

  it("reaches the whole group", function()
    local p = shell "sleep 60 & echo $!; wait"
    local pid = tonumber(p:read())
    p:close()
    assert.is_false(alive(p.pid))
    assert.is_true(gone(pid))
  end)

  it("is TERM, and two seconds later KILL", function()
    local p = shell "trap '' TERM; echo ready; while :; do sleep 0.01; done"
    assert.equal("ready\n", p:read())
    core.clock_manual(0)
    p:stop()
    core.clock_advance(1999)
    assert.is_true(alive(p.pid))
    core.clock_advance(1)
    core.clock_manual(nil)
    assert.same({ signal = 9 }, p:wait())
    p:close()
  end)

  it("leaves the group its two seconds when the leader is quicker", function()
    local p = shell [[
      (trap 'sleep 0.2; echo cleaned; exit' TERM; echo $$; while :; do sleep 0.01; done) &
      wait]]
    p:read()
    task.sleep(20)
    p:stop()
    assert.equal("cleaned\n", p:text())
    assert.equal(15, p:wait().signal)
    p:close()
  end)

  it("comes when the scope is left, by an error and by an abort too", function()
    local pids = {}
    assert.is_false(pcall(function()
      local p <close> = shell "sleep 60"
      pids[1] = p.pid
      error "out"
    end))
    local running = task.spawn(function()
      local p <close> = shell "sleep 60"
      pids[2] = p.pid
      p:wait()
    end)
    task.sleep(20)
    running:cancel()
    assert.is_false(pcall(running.await, running))
    for _, pid in ipairs(pids) do assert.is_true(gone(pid)) end
  end)

  it("comes when a process is forgotten", function()
    local pid = shell("sleep 60").pid
    collectgarbage()
    collectgarbage()
    assert.is_true(gone(pid))
  end)

  it("comes when the engine ends, for those that mind TERM and those that do not", function()
    local script = [[
      local process = require "harness.process"
      one = process.spawn { file = "sh", args = { "-c", "echo $$; exec sleep 60" } }
      local stubborn = "trap '' TERM; echo $$; while :; do sleep 0.01; done"
      two = process.spawn { file = "sh", args = { "-c", stubborn } }
      io.write(one:read(), two:read())
    ]]
    local result = process.run { file = os.getenv "HARNESS_LUA", args = { "-e", script } }
    assert.equal(0, result.exit_code, result.stderr)
    local n = 0
    for pid in result.stdout:gmatch "%d+" do
      n = n + 1
      assert.is_true(gone(tonumber(pid)))
    end
    assert.equal(2, n)
  end)

  it("can be asked for by any signal", function()
    for name, number in pairs { INT = 2, HUP = 1, QUIT = 3, USR1 = 10, USR2 = 12, KILL = 9 } do
      local p <close> = shell "echo ready; exec sleep 60"
      p:read()
      p:kill(name)
      assert.same({ signal = number }, p:wait())
      p:kill(name)
    end
    local p <close> = shell "true"
    assert.is_false(pcall(p.kill, p, "NONE"))
  end)
end)

describe("many", function()
  it("run side by side", function()
    local list = {}
    for i = 1, 50 do list[i] = i end
    local results = join.map(list, function(i)
      return process.run { file = "sh", args = { "-c", "cat; exit " .. i }, stdin = "in " .. i }
    end)
    for i = 1, 50 do assert.same({ exit_code = i, stdout = "in " .. i, stderr = "" }, results[i]) end
  end)

  it("tasks may wait for one process, each for something else", function()
    local p <close> = shell "read a; echo $a; read b; echo $b >&2; read c; exit 7" -- from /dev/null
    local got = join.all {
      out = function() return p:text "stdout" end,
      err = function() return p:text "stderr" end,
      code = function() return p:wait().exit_code end,
    }
    assert.same({ out = "\n", err = "\n", code = 7 }, got)
    local q <close> = shell "sleep 10"
    local first = task.spawn(q.wait, q)
    task.pause()
    assert.has_error(function() q:wait() end, "another task is waiting for the exit of this process already")
    first:cancel()
    assert.is_false(pcall(first.await, first))
  end)
end)
