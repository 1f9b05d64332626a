-- needs: user namespaces
-- bash{}: commands on the tree of the session: what they see, what they answer, how they end.
local command = require "spec.support.command"
local core = require "harness.core"
local failure = require("spec.support.failure").any
local harness = require "harness"
local live = require "spec.support.live"
local sleepers = require "spec.support.sleepers"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local SOAK <const> = os.getenv "HARNESS_SOAK" == "full"
local PROBE <const> = command.HARNESS_LUA:match "^(.*)/[^/]*$" .. "/spec/sandbox/probe"
local IS_ROOT <const> = core.jail.machine().uid == 0
local LEFT_BEHIND_MS <const> = 500

local before, sessions, directories

local function open(options)
  local session = harness.sandbox.bash(options):open { session_id = "s" }
  sessions[#sessions + 1] = session
  return session
end

local function make_directory()
  local pipe = io.popen "mktemp -d /tmp/commands-spec-XXXXXX"
  local directory = pipe:read "l"
  pipe:close()
  directories[#directories + 1] = directory
  if IS_ROOT then os.execute("chown nobody " .. directory) end
  return directory
end

local eventually, odd_seconds = sleepers.eventually, sleepers.odd_seconds
local processes_with, sleeping = sleepers.processes_with, sleepers.sleeping

local function raised(code, reason, fn, ...)
  local err = failure(fn, ...)
  assert.equal(code, err.code, tostring(err))
  if reason then assert.equal(reason, err.meta.reason or err.meta.scope or err.meta.where, tostring(err)) end
  return err
end

before_each(function()
  require("harness.process").run { file = "true" }
  collectgarbage()
  collectgarbage()
  sessions, directories = {}, {}
  before = live.now()
end)

after_each(function()
  for _, session in ipairs(sessions) do session:close() end
  collectgarbage()
  collectgarbage()
  eventually(function() return core.process.running() == 0 end)
  live.check(before)
  for _, directory in ipairs(directories) do os.execute("rm -rf " .. directory) end
end)

describe("the tree of a command", function()
  it("is that of the file calls, both ways", function()
    local session = open()
    session:write("/workspace/a.txt", "from a call\n")
    session:write("/notes/deep/b.txt", "b\n")
    local ended = session:exec "cat /workspace/a.txt /notes/deep/b.txt; echo c > c.txt; echo d > /tmp/d; mkdir /notes/e"
    assert.same({ "from a call\nb\n", 0 }, { ended.stdout, ended.exit_code })
    assert.same({ "c\n", "d\n", "directory" },
      { session:read "/workspace/c.txt", session:read "/tmp/d", session:stat "/notes/e".kind })
  end)

  it("has the given root at /workspace and nothing else in the root", function()
    local root = make_directory()
    local session = open { root = root }
    session:write("/workspace/a.txt", "a")
    session:write("/notes/b.txt", "b")
    assert.equal("a.txt\nmade\n", session:exec "mkdir made; ls -A".stdout)
    local file <close> = assert(io.open(root .. "/a.txt"))
    assert.equal("a", file:read "a")
    session:close()
    assert.same({ "a.txt", "made" }, core.jail.entries(root))
  end)

  it("is missed when somebody has removed it", function()
    local session = open { data_directory = make_directory() }
    session:exec "true"
    os.execute("rm -rf " .. session[1]:host().private)
    local err = raised("SANDBOX_ERROR", "fs_failed", session.exec, session, "true")
    assert.matches("cannot be listed: .*: No such file", err.message)
  end)

  it("is gone with the session when it is private", function()
    local session = open()
    session:exec "echo x > /workspace/x; mkdir -p /tmp/a/b/c; chmod 0 /tmp/a/b"
    local private = session[1]:host().private
    assert.is_table(core.jail.entries(private))
    session:close()
    assert.is_nil(core.jail.entries(private))
  end)

  it("has what commands need, whatever file calls have done to it", function()
    local session = open()
    local before_all = session:snapshot()
    assert.equal("ok\n", session:exec "cd /tmp && cd ~ && echo ok".stdout)
    session:restore(before_all)
    assert.equal("ok\n", session:exec "cd /tmp && cd ~ && echo ok".stdout)
    session:remove("/home", { recursive = true })
    session:remove("/tmp", { recursive = true })
    assert.equal("ok\n", session:exec "cd /tmp && cd ~ && echo ok".stdout)
    session:write("/notes", "a file")
    assert.equal("a file", session:exec "cat /notes".stdout)
    session:remove "/notes"
    session:write("/notes/a", "a directory")
    assert.equal("a directory", session:exec "cat /notes/a".stdout)
  end)

  it("belongs to who the commands run as", function()
    local session = open()
    session:write("/workspace/a.txt", "a")
    session:write("/tmp/b/c.txt", "c")
    local ended = session:exec "echo b >> a.txt && rm -r /tmp/b && stat -c %U a.txt && id -un"
    assert.equal("user\nuser\n", ended.stdout, ended.stderr)
  end)

  it("keeps from file calls what is the system's", function()
    local session = open()
    session:exec "true"
    for _, path in ipairs { "/usr/bin/x", "/etc/passwd", "/proc/self/environ", "/dev/null", "/bin/sh", "/lib/x" } do
      raised("SANDBOX_ERROR", nil, session.write, session, path, "x")
      raised("SANDBOX_ERROR", nil, session.read, session, path)
    end
  end)

  it("shows a read-only mount as one, wherever it is", function()
    local session = open()
    session:mount({ ["SKILL.md"] = "s" }, "/skills/pdf", { read_only = true })
    session:mount({ ["lib.txt"] = "l" }, "/workspace/vendor", { read_only = true })
    local ended = session:exec [[cat /skills/pdf/SKILL.md vendor/lib.txt
      echo x > /skills/pdf/SKILL.md; echo x > vendor/lib.txt; rm -rf vendor; mv vendor v2
      touch /skills/new; echo ok > other.txt; cat other.txt]]
    assert.equal("slok\n", ended.stdout)
    assert.same({ "s", "l" }, { session:read "/skills/pdf/SKILL.md", session:read "/workspace/vendor/lib.txt" })
  end)

  it("keeps the way to a read-only mount, which nobody can put another in the place of", function()
    local session = open()
    session:mount({ ["lib.txt"] = "l" }, "/workspace/a/b/vendor", { read_only = true })
    session:mount({ ["in.txt"] = "i" }, "/workspace/a/b/vendor/inner", { read_only = true })
    local ended = session:exec [[mv a c; mv a/b a/c; mv a/b/vendor v; rm -rf a; mkdir -p a/b/vendor
      echo x > a/b/vendor/lib.txt; echo x > a/b/vendor/inner/in.txt; echo ok > a/b/new; cat a/b/new; ls a]]
    assert.equal("ok\nb\n", ended.stdout)
    assert.equal("l", session:read "/workspace/a/b/vendor/lib.txt")
    assert.equal("i", session:read "/workspace/a/b/vendor/inner/in.txt")
  end)

  it("has room for many read-only mounts, and says when there are too many", function()
    local session = open()
    for i = 1, 59 do session:mount({ ["x"] = tostring(i) }, "/workspace/m/" .. i, { read_only = true }) end
    assert.equal("59", session:exec("echo x > m/59/x; cat m/59/x").stdout)
    session:mount({ ["x"] = "60" }, "/workspace/m/60", { read_only = true })
    local err = raised("SANDBOX_ERROR", "exec_failed", session.exec, session, "true")
    assert.matches("too many read%-only mounts inside", err.message)
  end)

  it("does not follow a link that a command has put in the way of a read-only mount", function()
    local session = open()
    session:write("/workspace/a/x", "x")
    local p = session:spawn("sh", { args = { "-c", "read x; mv a b; ln -s /oldroot/tmp a; echo done" } })
    session:mount({ ["lib.txt"] = "l" }, "/workspace/a/vendor", { read_only = true })
    p:write "go\n"
    assert.equal("done\n", p:read())
    local err = raised("SANDBOX_ERROR", "exec_failed", session.exec, session, "true")
    assert.matches("/workspace/a %(a read%-only mount, or on the way to one%) cannot be opened", err.message)
  end)

  it("is never what somebody has made the given root a link to", function()
    local outer, elsewhere = make_directory(), make_directory()
    os.execute(("mkdir %s/inner; chown --reference=%s %s/inner"):format(outer, outer, outer))
    local session = open { root = outer .. "/inner" }
    session:exec "true"
    os.execute(("mv %s/inner %s/other; ln -s %s %s/inner"):format(outer, outer, elsewhere, outer))
    local err = raised("SANDBOX_ERROR", "exec_failed", session.exec, session, "true")
    assert.matches("the root .*/inner cannot be opened", err.message)
  end)
end)

describe("a command", function()
  it("gets its options", function()
    local session = open { env = { BASE = "base", BOTH = "base" } }
    session:write("/workspace/sub/x", "")
    local ended = session:exec("pwd; cat; echo $ONE-$BASE-$BOTH", {
      cwd = "/workspace/sub", stdin = "to read\n", env = { ONE = "1 '\"\n", BOTH = "own" },
    })
    assert.equal("/workspace/sub\nto read\n1 '\" -base-own\n", ended.stdout)
  end)

  it("has a small environment and no descriptor but its three", function()
    local ended = open():exec "env | sort; ls /proc/self/fd | tr '\\n' ' '"
    assert.equal("HOME=/home/user\nLANG=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
      .. "PWD=/workspace\nSHLVL=1\nTERM=dumb\n_=/usr/bin/env\n0 1 2 3 ", ended.stdout)
  end)

  it("answers its streams, its exit and its time", function()
    local ended = open():exec "echo out; echo err >&2; sleep 0.05; exit 3"
    assert.same({ "out\n", "err\n", 3 }, { ended.stdout, ended.stderr, ended.exit_code })
    assert.is_nil(ended.signal)
    assert.is_true(ended.duration_ms >= 50)
  end)

  it("names the signal that has ended it, which an exit of 128 + n has not", function()
    local session = open()
    local killed, exited = session:exec "kill -9 $$", session:exec "exit 137"
    assert.same({ 137, "SIGKILL" }, { killed.exit_code, killed.signal })
    assert.same({ 137, nil }, { exited.exit_code, exited.signal })
  end)

  it("keeps head and tail of what is too long", function()
    local ended = open():exec("seq 100000; seq 5 >&2", { limits = { output_bytes = 100 } })
    local all = {}
    for i = 1, 100000 do all[i] = i .. "\n" end
    all = table.concat(all)
    assert.equal(all:sub(1, 50) .. all:sub(-50), ended.stdout)
    assert.equal(#all - 100, ended.stdout_truncated_bytes)
    assert.same({ "1\n2\n3\n4\n5\n" }, { ended.stderr, ended.stderr_truncated_bytes })
  end)

  it("may print any bytes", function()
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    bytes = table.concat(bytes)
    assert.equal(bytes, open():exec("cat", { stdin = bytes }).stdout)
  end)

  it("may read nothing of a long standard input", function()
    assert.equal(0, open():exec("true", { stdin = ("x"):rep(3000000) }).exit_code)
  end)

  it("is refused with a reason when it is too long for the system", function()
    local err = raised("SANDBOX_ERROR", "exec_failed", function() open():exec("#" .. ("x"):rep(131071)) end)
    assert.matches("131072 bytes.-at most 131071: write it to a file", err.message)
  end)

  it("says what is wrong with its options", function()
    local session = open()
    for _, case in ipairs {
      { "", nil, "exec.command: must be text that is not empty" },
      { 5, nil, "exec.command: must be text" },
      { "a\0b", nil, "has no NUL" },
      { "true", { cwd = "sub" }, "exec.cwd: must be an absolute path" },
      { "true", { timout_ms = 5 }, 'exec.timout_ms: there is no such field; did you mean "timeout_ms"' },
      { "true", { env = { ["A=B"] = "x" } }, 'a variable\'s name is text without "="' },
      { "true", { env = { A = 5 } }, "exec.env.A: must be a string without NUL, found the number 5" },
      { "true", { limits = { memory = 5 } }, "exec.limits.memory: there is no such field" },
      { "true", { limits = { memory_bytes = 5 } }, "exec.limits.memory_bytes: must be an integer of at least" },
      { "true", { signal = 5 }, "exec.signal: must be a signal" },
      { "true", "x", "exec.options: must be a table" },
    } do
      local err = raised("VALIDATION_ERROR", "sandbox", session.exec, session, case[1], case[2])
      assert.matches(case[3], err.message, 1, true)
    end
  end)

  it("says which directory it cannot begin in", function()
    local err = raised("SANDBOX_ERROR", "exec_failed", function() open():exec("true", { cwd = "/nowhere" }) end)
    assert.matches("the directory /nowhere cannot be used: No such file", err.message)
  end)

  it("meets a full disk as an error of its own, and the next one goes on", function()
    local session = open { limits = { file_bytes = 1 << 30 } }
    local ended = session:exec "head -c 80000000 /dev/zero > /dev/shm/x"
    assert.matches("No space left on device", ended.stderr)
    assert.equal(0, session:exec "echo on".exit_code)
  end)

  it("has its output told when its files have become too many", function()
    local session = open { quota_bytes = 2000000 }
    local err = raised("SANDBOX_ERROR", "quota_exceeded", session.exec, session,
      "echo told; head -c 3000000 /dev/zero > big; exit 4")
    assert.same({ "told\n", 4 }, { err.meta.stdout, err.meta.exit_code })
    assert.matches("more than its quota of 2000000; remove", err.message)
    session:remove "/workspace/big"
    assert.equal("on\n", session:exec "echo on".stdout)
  end)

  it("runs beside 63 others", function()
    local session, list = open(), {}
    for i = 1, 64 do list[i] = i end
    local outputs = harness.map(list, function(i) return session:exec(("sleep 0.2; echo %d"):format(i)).stdout end,
      { max_parallel = 64 })
    for i = 1, 64 do assert.equal(i .. "\n", outputs[i]) end
  end)

  it("runs again and again without a leak", function()
    local session = open()
    session:exec "true"
    collectgarbage()
    collectgarbage()
    local counts = live.now()
    for i = 1, (SOAK and 10000 or 60) // (SOAK and 1 or FACTOR) do
      assert.equal(i .. "\n", session:exec("echo " .. i).stdout)
    end
    live.check(counts)
  end)
end)

describe("the end of a command", function()
  it("is its exit, though what it has left behind holds its streams", function()
    local session, seconds = open(), odd_seconds()
    local from = harness.clock()
    local ended = session:exec(("head -c 1000000 /dev/zero >&2; setsid sleep %s & echo spawned"):format(seconds))
    assert.is_true(harness.clock() - from < LEFT_BEHIND_MS)
    assert.same({ "spawned\n", 1000000 }, { ended.stdout, #ended.stderr })
    assert.same({}, processes_with(seconds))
  end)

  it("is its timeout, of all that it has started", function()
    local session, seconds = open(), odd_seconds()
    local err = raised("OPERATION_TIMEOUT", "sandbox_run", session.exec, session,
      ("trap '' TERM INT HUP; (setsid setsid sleep %s &); sleep %s"):format(seconds, seconds), { timeout_ms = 150 })
    assert.equal(150, err.meta.timeout_ms)
    assert.same({}, processes_with(seconds))
    assert.equal("on\n", session:exec "echo on".stdout)
  end)

  it("is the limit of the sandbox when that is earlier", function()
    local err = raised("OPERATION_TIMEOUT", "sandbox_run", function()
      open { limits = { wall_ms = 100 } }:exec("sleep 10", { timeout_ms = 5000 })
    end)
    assert.equal(100, err.meta.timeout_ms)
  end)

  it("is the abort of its signal", function()
    local session, seconds, controller = open(), odd_seconds(), harness.abort_controller()
    local t = harness.spawn(function()
      return failure(session.exec, session, "sleep " .. seconds, { signal = controller.signal })
    end)
    assert.is_true(eventually(function() return sleeping(seconds) == 1 end))
    controller:abort "enough"
    local err = t:await()
    assert.same({ "OPERATION_CANCELLED", "sandbox" }, { err.code, err.meta.scope })
    assert.same({}, processes_with(seconds))
    raised("OPERATION_CANCELLED", "sandbox", session.exec, session, "true", { signal = controller.signal })
  end)

  it("is the abort of the task that waits for it", function()
    local session, seconds = open(), odd_seconds()
    local t = harness.spawn(function() session:exec("sleep " .. seconds) end)
    assert.is_true(eventually(function() return sleeping(seconds) == 1 end))
    t:cancel "enough"
    assert.equal("OPERATION_CANCELLED", failure(t.await, t).code)
    assert.same({}, processes_with(seconds))
  end)

  it("is the close of the session", function()
    local session, seconds = open(), odd_seconds()
    local t = harness.spawn(function() return failure(session.exec, session, "sleep " .. seconds) end)
    session:spawn("sleep", { args = { seconds } })
    assert.is_true(eventually(function() return sleeping(seconds) == 2 end))
    session:close()
    assert.same({}, processes_with(seconds))
    local err = t:await()
    assert.same({ "OPERATION_CANCELLED", "sandbox", "session_closed" }, { err.code, err.meta.scope, err.meta.reason })
    raised("SANDBOX_ERROR", "session_closed", session.exec, session, "true")
    raised("SANDBOX_ERROR", "session_closed", session.spawn, session, "true")
    raised("SANDBOX_ERROR", "session_closed", session.read, session, "/workspace/x")
    session:close()
  end)

  it("is the close of the session, for what is being started, too", function()
    local session, seconds = open(), odd_seconds()
    local t = harness.spawn(function() return failure(session.spawn, session, "sleep", { args = { seconds } }) end)
    harness.sleep(0) -- until it waits
    session:close()
    assert.same({}, processes_with(seconds))
    local err = t:await()
    assert.same({ "SANDBOX_ERROR", "session_closed" }, { err.code, err.meta.reason })
    assert.same({}, processes_with(seconds))
  end)

  it("is the end of the engine, a kill -9 too", function()
    local seconds = odd_seconds()
    local script = ([[
      local session = require("harness").sandbox.bash{}:open { session_id = "s" }
      session:spawn("bash", { args = { "-c", "setsid sleep %s & sleep %s" } })
      io.stderr:write "ready\n"
      session:exec "(setsid setsid sleep %s &); sleep %s"
    ]]):gsub("%%s", seconds)
    local child <close> = command.start { "-e", script }
    child:await "ready"
    assert.is_true(eventually(function() return sleeping(seconds) == 4 end))
    child:signal "KILL"
    child:finish()
    assert.is_true(eventually(function() return #processes_with(seconds) == 0 end))
  end)

  it("is that of bubblewrap, though the engine stands still", function()
    local seconds = odd_seconds()
    local script = ([[
      local session = require("harness").sandbox.bash{}:open { session_id = "s" }
      local p = session:spawn("sh", { args = { "-c", "setsid sleep %s & sleep %s" } })
      io.stderr:write("pid ", p.pid, ".")
      p:wait()
    ]]):gsub("%%s", seconds)
    local child <close> = command.start { "-e", script }
    child:await "pid %d+%."
    local pid = child.stderr:match "pid (%d+)%."
    assert.is_true(eventually(function() return sleeping(seconds) == 2 end))
    child:signal "STOP"
    os.execute("kill -9 " .. pid)
    assert.is_true(eventually(function() return sleeping(seconds) == 0 end))
    child:signal "KILL"
    child:finish()
  end)

  it("is told when the isolation was killed from outside", function()
    local session, seconds = open(), odd_seconds()
    local t = harness.spawn(function() return failure(session.exec, session, "sleep " .. seconds) end)
    assert.is_true(eventually(function() return sleeping(seconds) == 1 end))
    os.execute("kill -9 " .. table.concat(processes_with(seconds), " ") .. " 2>/dev/null")
    local err = t:await()
    assert.same({ "SANDBOX_ERROR", "exec_failed" }, { err.code, err.meta.reason })
  end)
end)

describe("a spawned command", function()
  it("is written to, read and waited for", function()
    local p = open():spawn("sh", { args = { "-c", "read a; echo got $a; read b; echo $b >&2; exit 5" } })
    assert.is_true(p.pid > 0)
    p:write "one\n"
    assert.equal("got one\n", p:read())
    p:write "two\n"
    assert.equal("two\n", p:read "stderr")
    p:close_stdin()
    assert.is_nil(p:read "stdout")
    assert.same({ { exit_code = 5 }, { exit_code = 5 } }, { p:wait(), p:wait() })
  end)

  it("gets a signal by name, and may handle it", function()
    local session = open()
    local p = session:spawn("bash", { args = { "-c", "trap 'echo bye; exit 3' TERM; echo ready; sleep 100 & wait" } })
    assert.equal("ready\n", p:read())
    p:kill()
    assert.equal("bye\n", p:read())
    assert.same({ exit_code = 3 }, p:wait())
    p:kill "SIGKILL"
    local q = session:spawn("sleep", { args = { "100" } })
    q:kill "SIGINT"
    assert.same({ exit_code = 130, signal = "SIGINT" }, q:wait())
    assert.matches("SIGTREM cannot be sent; did you mean \"SIGTERM\"",
      raised("VALIDATION_ERROR", "sandbox", q.kill, q, "SIGTREM").message)
    raised("VALIDATION_ERROR", "sandbox", q.read, q, "stdin")
  end)

  it("ends with its signal, both streams too", function()
    local controller = harness.abort_controller()
    local p = open():spawn("sleep", { args = { "100" }, signal = controller.signal })
    controller:abort()
    assert.is_nil(p:read "stdout")
    assert.is_nil(p:read "stderr")
    assert.same({ exit_code = 137, signal = "SIGKILL" }, p:wait())
  end)

  it("says at once that there is no such program", function()
    local err = raised("SANDBOX_ERROR", "exec_failed", function() open():spawn "no-such-program" end)
    assert.matches("no%-such%-program cannot be run: No such file", err.message)
  end)

  it("outlives the task that has started it, not the session", function()
    local session, seconds = open(), odd_seconds()
    local p = harness.spawn(function() return session:spawn("sleep", { args = { seconds } }) end):await()
    assert.is_true(#processes_with(seconds) > 0)
    session:close()
    assert.same({}, processes_with(seconds))
    assert.same({ exit_code = 137, signal = "SIGKILL" }, p:wait())
  end)
end)

describe("the options of bash", function()
  local function config(reason, options)
    return raised("HARNESS_CONFIG_ERROR", reason, harness.sandbox.bash, options).message
  end

  it("are checked when it is made", function()
    assert.matches("sandbox.bash.limits.memory_mb: there is no such field",
      config("unknown_key", { limits = { memory_mb = 5 } }))
    assert.matches("have no network", config("not_available", { network = { allow = { "example.org:443" } } }))
    assert.matches("did you mean \"landlock\"", config("unknown_protection", { without = { "landlok" } }))
    assert.matches("must be a directory", config("invalid_root", { root = "/no/such/place" }))
    assert.matches("must be a user of this machine", config("unknown_user", { run_as = "no-such-user" }))
    assert.is_table(harness.sandbox.bash { network = false })
  end)

  if IS_ROOT then
    it("want to know who commands run as in a directory of root's", function()
      local directory = make_directory()
      os.execute("chown root " .. directory .. "; chmod 777 " .. directory)
      assert.matches("belongs to root.-name the user", config("run_as_needed", { root = directory }))
      assert.matches("do not run as root", config("run_as_root", { root = directory, run_as = "root" }))
      local session = open { root = directory, run_as = "nobody" }
      assert.equal("ok\n", session:exec "echo ok > f; cat f".stdout)
      assert.equal(65534, core.jail.owner(directory .. "/f").uid)
    end)
  end

  it("come first when the machine runs out of memory", function()
    assert.equal("1000\n", open():exec("cat /proc/self/oom_score_adj").stdout)
  end)

  it("have no root that holds private files of sessions, which they could replace", function()
    local root = make_directory()
    local err = raised("HARNESS_CONFIG_ERROR", "data_in_root", open, { root = root, data_directory = root })
    assert.matches("give a data_directory", err.message)
    assert(os.execute("mkdir -p " .. root .. "/data/a; chmod -R a+rX " .. root))
    raised("HARNESS_CONFIG_ERROR", "data_in_root", open, { root = root, data_directory = root .. "/data/a" })
    raised("HARNESS_CONFIG_ERROR", "data_in_root", open,
      { root = "/", run_as = IS_ROOT and "nobody" or nil, data_directory = root })
    assert(os.execute("mkdir " .. root .. "/data2; chmod -R a+rwX " .. root))
    local who = IS_ROOT and "nobody" or nil
    for _, data in ipairs { root, root .. "/data2" } do
      local beside = open { root = root .. "/data", run_as = who, data_directory = data }
      assert.equal("x\n", beside:exec("echo x").stdout)
    end
  end)

  it("have the isolation told", function()
    local sandbox = harness.sandbox.bash { without = { "landlock", "network" } }
    local told = sandbox:isolation()
    assert.same({ "bubblewrap", 0, { "landlock", "network" } },
      { told.by, told.landlock, { table.unpack(told.without) } })
    assert.is_nil(table.concat(told.namespaces, " "):find "network")
    assert.is_true(told.seccomp)
  end)
end)

describe("a machine without", function()
  local ENV <const> = "/usr/bin/env"

  it("bubblewrap says so, and auto() has files only: those of its root", function()
    local root = command.directory { ["notes.txt"] = "here" }
    local result = command.run { program = ENV, "PATH=/nowhere", "ROOT=" .. root.path, command.HARNESS_LUA, "-e", [[
      local harness = require "harness"
      local ok, err = pcall(harness.sandbox.bash, {})
      print(ok, err.code, err.meta.reason, err.message)
      local session = harness.sandbox.auto():open { session_id = "s" }
      session:write("/a", "b")
      print(session.executor, session:read "/a", pcall(session.exec, session, "true"))
      session = harness.sandbox.auto { root = os.getenv "ROOT" }:open { session_id = "s" }
      print(session.executor, session:read "/workspace/notes.txt")
      session:close()
    ]] }
    root:close()
    assert.matches("false\tHARNESS_CONFIG_ERROR\tbubblewrap_not_installed\t.*apt%-get install bubblewrap\n"
      .. "unavailable\tb\tfalse\tSANDBOX_NO_EXECUTOR.*\nunavailable\there\n", result.stdout .. result.stderr)
  end)

  it("user namespaces says so, and runs nothing", function()
    local result = command.run { program = PROBE, "host-no-namespaces", command.HARNESS_LUA, "-e", [[
      local session = require("harness").sandbox.auto():open { session_id = "s" }
      print(pcall(session.exec, session, "echo ran"))
      print(session:write("/a", "b"), session:read "/a")
      session:close()
    ]] }
    assert.matches("false\tSANDBOX_ERROR: the command could not be isolated, and was not run: .*namespace"
      .. ".*isolation_failed", result.stdout .. result.stderr)
    assert.matches("\tb\n$", result.stdout)
  end)

  if IS_ROOT then
    it("room on its disk says so", function()
      local mount = "mount -t tmpfs -o size=100k,mode=1777 none /mnt && "
      local result = command.run { program = "unshare", "-m", "sh", "-c", mount .. command.HARNESS_LUA .. [[ -e '
          local session = require("harness").sandbox.bash { data_directory = "/mnt" }
          :open { session_id = "s" }
          print(pcall(session.exec, session, "echo ran"))
          os.execute "mount -o remount,size=10m /mnt"
          print(session:exec("echo then").stdout)
          session:close()']] }
      assert.matches("false\tSANDBOX_ERROR: .*No space left on device.*then\n", result.stdout .. result.stderr)
    end)
  end
end)
