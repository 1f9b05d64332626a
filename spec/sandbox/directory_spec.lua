-- needs: user namespaces
-- sandbox/files_directory*.c: a directory of the host. What it has in common with other sandboxes:
-- contract_spec; races: race_spec.

local core = require "harness.core"
local failure = require("spec.support.failure").structured
local harness = require "harness"
local host_tree = require "spec.support.host_tree"
local still = require "spec.support.still"

local SECRET <const> = "the secret"

describe("directory", function()
  local sessions = {}

  after_each(function() -- before it is looked for what is left
    for i, session in ipairs(sessions) do
      session:close()
      sessions[i] = nil
    end
  end)

  still(before_each, after_each)
  local trees = host_tree.watch(after_each)
  local sh = trees.sh

  local function opened(options)
    local session = harness.sandbox.directory(options):open { session_id = "s" }
    sessions[#sessions + 1] = session
    return session
  end

  -- A session on a root in which these commands were run.
  local function session_on(commands, options)
    local root = trees.new(commands)
    options = options or {}
    options.root = root
    return opened(options), root
  end

  local function reason(session, method, ...)
    local err = failure(session[method], session, ...)
    assert.equal("SANDBOX_ERROR", err.code)
    return err.meta.reason, err.meta.error, err
  end

  local function paths(list)
    local out = {}
    for i, entry in ipairs(list) do out[i] = entry.path end
    return out
  end

  -- Runs Lua code with a `session` on the root in another process, behind the words of a command: what it prints.
  local function in_child(words, root, code)
    local file = trees.new() .. "/code.lua"
    local out <close> = assert(io.open(file, "w"))
    out:write(("local session = require('harness').sandbox.directory { root = %q }:open {}\n"):format(root), code,
      "\nsession:close()\n")
    out:close()
    return (sh(".", ("%s %s %s"):format(words, os.getenv "HARNESS_LUA", file)):gsub("\t", " "))
  end

  describe("on the host", function()
    it("is the given root at /workspace, and nothing else of it", function()
      local session, root = session_on { "echo hi > a", "mkdir d", "echo 1 > d/b" }
      assert.equal("hi\n", session:read "/workspace/a")
      session:write("/workspace/d/c", "2")
      session:write("/notes/n", "3")
      session:mount({ ["SKILL.md"] = "4" }, "/skills/s", { read_only = true })
      assert.equal("2", sh(root, "cat d/c"))
      assert.equal("./a ./d ./d/b ./d/c", sh(root, "find . -mindepth 1 | sort | xargs"))
      assert.same({ "/notes", "/notes/n", "/skills", "/skills/s", "/skills/s/SKILL.md", "/workspace", "/workspace/a",
        "/workspace/d", "/workspace/d/b", "/workspace/d/c" }, paths(session:list("/", { recursive = true })))
    end)

    it("keeps the mode and the owner of a file that is written", function()
      local session, root = session_on { "echo 1 > run.sh", "chmod 750 run.sh", "echo 1 > new", "rm new" }
      local is_root = sh(root, "id -u") == "0"
      if is_root then sh(root, "chown 65534:65534 run.sh") end
      session:write("/workspace/run.sh", "2")
      session:write("/workspace/new", "2")
      assert.equal("750", sh(root, "stat -c %a run.sh"))
      if is_root then assert.equal("65534:65534", sh(root, "stat -c %u:%g run.sh")) end
      assert.equal(sh(root, "touch other; stat -c %a other"), sh(root, "stat -c %a new"))
    end)

    it("leaves no private directory behind, with a tree that was made inaccessible", function()
      local base = trees.new()
      local session = opened { data_directory = base }
      session:write("/workspace/a", "1")
      session:write("/locked/in/a", "1")
      local tree = session[1]:host().private
      assert.equal("1", sh(tree, "cat workspace/a"))
      assert.equal("700", sh(tree, "stat -c %a ."))
      sh(tree, "chmod 000 locked/in; chmod 500 locked")
      session:close()
      assert.equal("", sh(base, "find . -mindepth 2"))
    end)

    it("makes a private directory only when something is written there", function()
      local base = trees.new()
      local session = session_on({ "echo 1 > a" }, { data_directory = base })
      session:read "/workspace/a"
      session:write("/workspace/b", "1")
      assert.same({ "/workspace" }, paths(session:list "/"))
      assert.is_false(session:exists "/notes")
      assert.equal("directory", session:stat("/").kind)
      session:remove "/notes"
      assert.same({ nil, "" }, { session[1]:host().private, sh(base, "find . -mindepth 1") })
      session:write("/notes", "1")
      assert.is_string(session[1]:host().private)
    end)

    it("removes trees of any depth", function()
      local session, root = session_on {}
      sh(root, [[perl -e 'mkdir "d"; chdir "d"; $n = "n" x 20;
        for (1 .. 400) { mkdir $n; chdir $n; open(my $f, ">", "f") }']])
      session:remove("/workspace/d", { recursive = true })
      assert.equal("", sh(root, "ls -A"))
    end)

    it("is not what sandboxes keep for themselves, though it is below the root", function()
      local root = trees.new { "mkdir data", "ln -s data link", "echo 1 > a" }
      local base = root .. "/data"
      local session = opened { root = root, data_directory = base }
      local other = opened { data_directory = base }
      other:write("/notes/secret", "1")
      session:write("/notes/own", "1")
      local home = sh(base, "ls")
      assert.same({ "/notes", "/notes/own", "/workspace", "/workspace/a", "/workspace/data", "/workspace/link" },
        paths(session:list("/", { recursive = true })))
      assert.same({}, session:list "/workspace/link")
      local id = other[1]:host().private:match "([^/]*)/tree$"
      for _, at in ipairs { "data/", "link/" } do
        local path = ("/workspace/%s%s"):format(at, home)
        for _, call in ipairs { { "list", path }, { "stat", path }, { "write", path .. "/x", "1" },
          { "read", ("%s/%s/tree/notes/secret"):format(path, id) }, { "remove", path, { recursive = true } } } do
          local why, _, err = reason(session, table.unpack(call))
          assert.equal("invalid_path", why)
          assert.matches("keep for themselves", err.message)
        end
      end
      assert.equal("EBUSY", select(2, reason(session, "remove", "/workspace/data", { recursive = true })))
      local snapshot = session:snapshot()
      local copied = sh(session[1]:host().private, "cd ../snapshot-*/workspace && find . -mindepth 1 | sort | xargs")
      assert.equal("./a ./data ./link", copied)
      session:write("/workspace/a", "2")
      session:restore(snapshot)
      assert.same({ "1\n", "1", "1" },
        { session:read "/workspace/a", session:read "/notes/own", other:read "/notes/secret" })
    end)

    it("tells where it is", function()
      local session, root = session_on {}
      session:mount({}, "/skills/a", { read_only = true })
      session:mount({}, "/skills/b")
      local host = session[1]:host(true)
      assert.same({ root, { "/skills/a" } }, { host.workspace, host.read_only })
      assert.equal("a b", sh(host.private, "ls skills | xargs"))
    end)
  end)

  describe("is not left", function()
    -- What a link leads to; the call that is refused; why.
    local OUTSIDE <const> = {
      { "/etc/passwd", "read", "invalid_path" },
      { "../../../../../../etc/passwd", "read", "invalid_path" },
      { "OUT/secret", "read", "invalid_path" },
      { "OUT/secret", "write", "invalid_path" },
      { "OUT/new", "write", "invalid_path" },
      { "/proc/self/root/etc/passwd", "read", "invalid_path" },
      { "/proc/self/cwd", "read", "invalid_path" },
      { "/nothing", "write", "invalid_path" },
      { "nothing", "write", "fs_failed" },
    }
    for _, row in ipairs(OUTSIDE) do
      local target, method, why = table.unpack(row)
      it(("by a link to %s, with %s"):format(target, method), function()
        local out = trees.new { ("printf %%s %q > secret"):format(SECRET) }
        local to = target:gsub("OUT", out)
        local session, root = session_on {
          ("ln -s %s link"):format(to), "ln -s link again", "mkdir d", "ln -s ../link d/l",
        }
        for _, path in ipairs { "/workspace/link", "/workspace/again", "/workspace/d/l" } do
          assert.equal(why, (reason(session, method, path, "changed")))
          assert.is_false(session:exists(path))
        end
        assert.equal(SECRET, sh(out, "cat secret"))
        assert.equal("secret", sh(out, "ls -A"))
        assert.equal("again d link", sh(root, "ls -A | xargs"))
      end)
    end

    it("by a link to a directory", function()
      local out = trees.new { "echo 1 > secret", "mkdir d" }
      local session, root = session_on { ("ln -s %s out"):format(out), "ln -s .. up" }
      assert.equal("invalid_path", (reason(session, "read", "/workspace/out/secret")))
      assert.equal("invalid_path", (reason(session, "write", "/workspace/out/new", "1")))
      assert.equal("invalid_path", (reason(session, "write", "/workspace/out/d/new", "1")))
      assert.same({}, session:list("/workspace/out", { recursive = true }))
      assert.equal("invalid_path", (reason(session, "remove", "/workspace/out/secret")))
      session:remove("/workspace/out", { recursive = true }) -- the link itself
      assert.equal("secret", sh(out, "ls -p | grep -v /"))
      assert.equal("up", sh(root, "ls -A"))
      session:write("/workspace/up/beside", "1") -- `..` of /workspace is the / of the tree
      assert.equal("1", session:read "/beside")
      assert.equal("up", sh(root, "ls -A"))
    end)

    it("when a whole directory with links is removed", function()
      local out = trees.new { "echo 1 > secret" }
      local session = session_on { "mkdir d", ("ln -s %s d/out"):format(out), ("ln -s %s/secret d/s"):format(out) }
      session:remove("/workspace/d", { recursive = true })
      assert.equal("secret", sh(out, "ls -A"))
    end)

    it("by links in the private tree", function()
      local out = trees.new { "echo 1 > secret" }
      local session = session_on { "echo 2 > a" }
      local private = session[1]:host(true).private
      sh(private, ("ln -s %s out; ln -s /workspace/a a; ln -s workspace/a b; ln -s ../../../.. up"):format(out))
      assert.equal("fs_failed", (reason(session, "read", "/out/secret")))
      assert.equal("fs_failed", (reason(session, "write", "/out/new", "1")))
      assert.same({ "2\n", "2\n" }, { session:read "/a", session:read "/b" })
      assert.same({ "/a", "/b", "/out", "/up", "/workspace" }, paths(session:list "/"))
      assert.same({ "/up/a", "/up/b", "/up/out", "/up/up", "/up/workspace" }, paths(session:list "/up"))
    end)

    it("through what is mounted read-only", function()
      local session = session_on { "ln -s /skills/s/SKILL.md link", "ln -s /skills dir" }
      session:mount({ ["SKILL.md"] = "1" }, "/skills/s", { read_only = true })
      assert.equal("1", session:read "/workspace/link")
      assert.equal("1", session:read "/workspace/dir/s/SKILL.md")
      for _, path in ipairs { "/workspace/link", "/workspace/dir/s/SKILL.md", "/workspace/dir/s/new" } do
        assert.equal("read_only", (reason(session, "write", path, "2")))
      end
      assert.equal("read_only", (reason(session, "write", "/workspace/dir/s/new/deep", "2")))
      assert.same({ "/skills/s/SKILL.md" }, paths(session:list("/skills/s", { recursive = true })))
      assert.equal("read_only", (reason(session, "remove", "/workspace/dir/s", { recursive = true })))
      session:remove "/workspace/link"
      assert.equal("1", session:read "/skills/s/SKILL.md")
    end)
  end)

  it("is mounted where a link on the way leads to, and read-only there", function()
    local session, root = session_on { "mkdir real", "ln -s real link", "ln -s nowhere dead" }
    session:mount({ a = "1" }, "/workspace/link/in", { read_only = true })
    assert.same({ "/workspace/real/in" }, session[1]:host().read_only)
    for _, path in ipairs { "/workspace/link/in/a", "/workspace/real/in/a", "/workspace/link/in/new/deep" } do
      assert.equal("read_only", (reason(session, "write", path, "2")))
    end
    assert.equal("read_only", (reason(session, "remove", "/workspace/real", { recursive = true })))
    assert.equal("real/in/a", sh(root, "find real/in -mindepth 1"))
    assert.equal("1", sh(root, "cat real/in/a"))
    session:mount({ a = "2" }, "/workspace/real/in") -- and no longer read-only
    session:write("/workspace/link/in/a", "3")
    local _, _, err = reason(session, "mount", { a = "1" }, "/workspace/dead/in")
    assert.matches("leads by a symbolic link to /workspace/nowhere", err.message)
  end)

  describe("links", function()
    it("mean what a command would see", function()
      local session, root = session_on {
        "echo 1 > a", "mkdir d", "ln -s /workspace/a abs", "ln -s ../a d/rel", "ln -s d dir", "ln -s dir/rel far",
        "ln -s /workspace/../workspace/./dir//rel odd",
      }
      for _, name in ipairs { "abs", "d/rel", "dir/rel", "far", "odd" } do
        assert.equal("1\n", session:read("/workspace/" .. name), name)
      end
      session:write("/workspace/far", "2")
      assert.equal("2", sh(root, "cat a"))
      assert.equal("../a", sh(root, "readlink d/rel"))
      session:write("/workspace/dir/new/deep", "3")
      assert.equal("3", sh(root, "cat d/new/deep"))
      session:remove "/workspace/abs"
      assert.equal("2", session:read "/workspace/a")
    end)

    it("are listed as what they lead to, and not gone into", function()
      local session = session_on {
        "mkdir d", "echo 123 > d/f", "ln -s d dir", "ln -s d/f file", "ln -s no dead", "ln -s / root",
      }
      local kinds = {}
      for _, entry in ipairs(session:list("/workspace", { recursive = true })) do
        kinds[entry.path:sub(12)] = entry.kind .. (entry.size or "")
      end
      assert.same({ d = "directory", ["d/f"] = "file4", dir = "directory", file = "file4", dead = "other",
        root = "directory" }, kinds)
      assert.same({ "/workspace/dir/f" }, paths(session:list "/workspace/dir"))
    end)

    it("that lead in a circle are a clear error", function()
      local session = session_on { "ln -s b a", "ln -s a b", "ln -s . self" }
      local _, name, err = reason(session, "read", "/workspace/a")
      assert.equal("ELOOP", name)
      assert.matches("too many symbolic links", err.message)
      assert.equal("ELOOP", (select(2, reason(session, "write", "/workspace/a/x", "1"))))
      assert.equal("ELOOP", (select(2, reason(session, "read", "/workspace/" .. ("self/"):rep(50) .. "x"))))
      assert.same({}, session:list "/workspace/a")
      session:remove "/workspace/a"
      assert.is_false(session:exists "/workspace/b")
    end)
  end)

  it("never opens special files", function()
    local session, root = session_on { "mkfifo fifo", "ln -s fifo link", "mkdir d", "mkfifo d/f" }
    for _, path in ipairs { "/workspace/fifo", "/workspace/link", "/workspace/d/f" } do
      for _, method in ipairs { "read", "write" } do
        local why, _, err = reason(session, method, path, "x")
        assert.equal("fs_failed", why)
        assert.matches("neither a file nor a directory", err.message)
      end
    end
    -- Whoever waits to write into it has not been woken: the first one to read gets it all.
    local writer = assert(io.popen(("cd %s; echo $$; exec echo written > fifo"):format(root)))
    local pid = writer:read "l"
    sh("/", ("until grep -q ' S ' /proc/%s/stat; do :; done"):format(pid)) -- it waits for a reader
    for _ = 1, 50 do pcall(session.read, session, "/workspace/fifo") end
    assert.equal("written", sh(root, "timeout 5 cat fifo"))
    writer:close()
    assert.equal("other", session:stat("/workspace/fifo").kind)
    assert.equal("other", session:list("/workspace/d")[1].kind)
    session:remove "/workspace/fifo"
    assert.is_false(session:exists "/workspace/fifo")
  end)

  it("refuses the names of the system where it is told to", function()
    local root = trees.new { "ln -s /etc/hosts hosts", "ln -s /usr usr" }
    local sandbox_sessions = require "harness.sandbox.session"
    local tree = core.sandbox.directory { root = root, base = trees.new(), no_system_names = true }
    local session = sandbox_sessions.new(tree, {})
    sessions[#sessions + 1] = session
    for _, path in ipairs {
      "/usr/bin/x", "/bin", "/sbin/a", "/lib/a", "/lib64", "/etc/passwd", "/proc/self", "/dev/null", "/sys/a",
      "/run/a", "/var/a", "/workspace/../etc/a", "/workspace/hosts", "/workspace/usr/x",
    } do
      local why, name = reason(session, "read", path)
      assert.same({ "invalid_path", "EPERM" }, { why, name }, path)
      assert.equal("invalid_path", (reason(session, "write", path, "x")))
    end
    session:write("/binary", "1")
    session:write("/tmp/a", "1")
    session:write("/workspace/usr2", "1")
  end)

  it("makes files of the owner it is told", function()
    local root = trees.new()
    if sh(root, "id -u") ~= "0" then return pending "only root can give files away" end
    sh(root, "chown 65534:65534 .")
    local sandbox_sessions = require "harness.sandbox.session"
    local tree = core.sandbox.directory { root = root, base = trees.new { "chmod 711 ." }, uid = 65534, gid = 65534 }
    local session = sandbox_sessions.new(tree, {})
    sessions[#sessions + 1] = session
    session:write("/workspace/new/a", "1")
    session:write("/notes/b", "1")
    session:mount({ c = "1" }, "/skills/s")
    local private = tree:host().private
    assert.equal("65534 65534 65534", sh(root, "stat -c %u . new new/a | xargs"))
    assert.equal("65534 65534 65534 65534 65534", sh(private, "stat -c %u . notes notes/b skills/s skills/s/c | xargs"))
    -- nor can calls do what that user could not
    sh(root, "echo 1 > secret; chmod 600 secret; mkdir locked; chmod 700 locked")
    for _, call in ipairs { { "read", "/workspace/secret" }, { "write", "/workspace/locked/a", "1" } } do
      local why, _, err = reason(session, table.unpack(call))
      assert.equal("fs_failed", why)
      assert.matches("Permission denied", err.message)
    end
    assert.equal("fs_failed", (reason(session, "snapshot")))
    sh(root, "rm -r secret locked")
    local snapshot = session:snapshot()
    session:write("/workspace/new/a", "2")
    session:restore(snapshot)
    assert.equal("1", session:read "/workspace/new/a")
    assert.equal("65534", sh(root, "stat -c %u new/a"))
    -- and that user gets there, although the directories above are ours
    assert.equal("1", sh("/", ("setpriv --reuid 65534 --regid 65534 --clear-groups cat %s/notes/b"):format(private)))
  end)

  -- What a process with these rights gets of a tree whose calls are to be those of nobody.
  local function as_nobody(words, root, base)
    local file = trees.new { "chmod 755 ." } .. "/code.lua"
    local out <close> = assert(io.open(file, "w"))
    out:write(([[
      local tree, why = require("harness.core").sandbox.directory { root = %q, base = %q, uid = 65534, gid = 65534 }
      if not tree then return print(why) end
      local session = require("harness.sandbox.session").new(tree, {})
      print(select(2, pcall(session.read, session, "/workspace/secret")))
      print(io.open(%q .. "/secret") and "ours")
    ]]):format(root, base, root))
    out:close()
    return sh(".", ("%s %s %s"):format(words, os.getenv "HARNESS_LUA", file))
  end

  it("makes the calls of an owner without the groups of the engine", function()
    local root = trees.new { "chmod 755 .", "echo 1 > secret", "chmod 640 secret" }
    if sh(root, "id -u") ~= "0" then return pending "only root can be in other groups" end
    sh(root, "chgrp 7 secret")
    local said = as_nobody("setpriv --groups 7,9", root, trees.new { "chmod 711 ." })
    assert.matches("Permission denied.*\nours$", said)
  end)

  it("is not opened for an owner that it cannot make calls for", function()
    local root = trees.new { "chmod 755 ." }
    if sh(root, "id -u") ~= "0" then return pending "only root has rights to lose" end
    for _, lost in ipairs { "-setuid", "-setgid" } do
      local said = as_nobody("setpriv --groups 7 --bounding-set " .. lost, root, trees.new { "chmod 711 ." })
      assert.matches("calls cannot be made with the rights of user 65534 and group 65534", said)
    end
  end)

  describe("bad input", function()
    it("of the constructor is told at once", function()
      local root = trees.new { "echo 1 > file" }
      local function refused(options, message)
        local err = failure(harness.sandbox.directory, options)
        assert.equal("HARNESS_CONFIG_ERROR", err.code)
        assert.matches(message, err.message)
        return err.meta.reason
      end
      assert.equal("invalid_root", refused({ root = root .. "/nothing" }, "No such file"))
      assert.equal("invalid_root", refused({ root = root .. "/file" }, "Not a directory"))
      assert.equal("wrong_type", refused({ root = 5 }, "sandbox.directory.root: must be the path"))
      assert.equal("unknown_key", refused({ rot = root }, 'did you mean "root"'))
      assert.equal("invalid_quota", refused({ root = root, quota_bytes = 0 }, "at least 1"))
      assert.equal("wrong_type", refused("x", "must be a table"))
    end)

    it("takes a relative root as one of the current directory", function()
      local sandbox = harness.sandbox.directory { root = "spec/sandbox" }
      local session = sandbox:open {}
      sessions[#sessions + 1] = session
      assert.is_true(session:exists "/workspace/directory_spec.lua")
    end)

    it("is told when the root has gone", function()
      local root = trees.new()
      local sandbox = harness.sandbox.directory { root = root }
      sh("/", "rmdir " .. root)
      local err = failure(sandbox.open, sandbox, {})
      assert.equal("SANDBOX_ERROR", err.code)
      assert.matches("No such file", err.message)
    end)

    it("of files that vanish is an error", function()
      local session, root = session_on { "echo 1 > a", "mkdir d", "echo 1 > d/b" }
      local entry = session:list("/workspace")[1]
      sh(root, "rm -r a d")
      assert.equal("ENOENT", (select(2, reason(session, "read", entry.path))))
      assert.same({}, session:list "/workspace/d")
    end)

    it("of files too large to read is an error", function()
      local session = session_on { "truncate -s 1T huge" }
      local why, _, err = reason(session, "read", "/workspace/huge")
      assert.equal("too_large", why)
      assert.matches("more than the 268435456 bytes", err.message)
    end)

    it("may be names that are no UTF-8", function()
      local session, root = session_on { [[printf 1 > "$(printf 'a\377')"]] }
      local entry = session:list("/workspace")[1]
      assert.equal("a\xff", entry.name)
      assert.equal("1", session:read(entry.path))
      local _, _, err = reason(session, "read", "/workspace/b\xff")
      assert.matches('"/workspace/b?"', err.message, 1, true)
      assert.equal("1", sh(root, "cat *"))
    end)

    it("a directory that we may not enter is an error", function()
      local root = trees.new { "mkdir d", "echo 1 > d/a", "chmod 000 d" }
      -- root enters every directory, but by a capability
      local without = sh(root, "id -u") == "0" and "setpriv --bounding-set=-dac_override,-dac_read_search" or ""
      assert.equal("fs_failed Permission denied 1", in_child(without, root, [[
        local ok, err = pcall(session.read, session, "/workspace/d/a")
        print(err.meta.reason, err.message:match "Permission denied", #session:list("/workspace", { recursive = true }))
      ]]))
    end)
  end)

  it("leaves the old content when the disk is full", function()
    local root = trees.new()
    local own_mounts = sh(root, "id -u") == "0" and "unshare --mount" or "unshare --map-root-user --mount"
    local full = own_mounts .. (" sh -c 'mount -t tmpfs -o size=64k none %s && exec \"$@\"' sh"):format(root)
    assert.equal("fs_failed ENOSPC old a new", in_child(full, root, [[
      session:write("/workspace/a", "old")
      local ok, err = pcall(session.write, session, "/workspace/a", ("x"):rep(200000))
      local old, names = session:read "/workspace/a", session:list "/workspace"
      session:write("/workspace/a", "new")
      assert(err.message:find "disk is full", err.message)
      print(err.meta.reason, err.meta.error, old, #names == 1 and names[1].name, session:read "/workspace/a")
    ]]))
  end)

  it("reads files to their end that give less at a time and tell no size", function()
    local session = opened { root = "/proc/self" }
    assert.equal(0, session:stat("/workspace/maps").size)
    assert.matches("%[stack%]", session:read "/workspace/maps")
  end)

  it("shows what is written to nobody who could not read the old content", function()
    local root = trees.new { "echo old > a", "chmod 600 a" }
    -- killed in the middle of it, so that the new content is still under its temporary name
    in_child([[sh -c 'ulimit -c 0; ulimit -f 64; "$@"; true' sh]], root,
      [[session:write("/workspace/a", ("x"):rep(1000000))]])
    assert.equal("600 a 600 .harness", sh(root, "stat -c '%a %n' a .harness-lua-* | cut -d - -f 1 | xargs"))
    assert.equal("old", sh(root, "cat a"))
  end)

  describe("with a quota", function()
    it("counts what is there and what is written", function()
      local session, root = session_on({ "head -c 600 /dev/zero > a" }, { quota_bytes = 1000 })
      session:write("/workspace/b", ("x"):rep(300))
      local why, _, err = reason(session, "write", "/notes/c", ("x"):rep(101))
      assert.equal("quota_exceeded", why)
      assert.matches("1001 bytes, more than its quota of 1000", err.message)
      assert.is_false(session:exists "/notes")
      session:write("/notes/c", ("x"):rep(100))
      session:write("/workspace/a", ("x"):rep(600))
      assert.equal("quota_exceeded", (reason(session, "write", "/workspace/a", ("x"):rep(601))))
      session:remove "/workspace/b"
      session:write("/workspace/a", ("x"):rep(900))
      sh(root, "head -c 500 /dev/zero > by_others")
      local measured = failure(session[1].measure, session[1])
      assert.equal("quota_exceeded", measured.meta.reason)
      session:write("/workspace/a", "smaller") -- one may always get smaller
      assert.equal(607, session[1]:measure())
    end)
  end)

  it("has no quota that a directory closed to its own user gets around", function()
    local root = trees.new { "chmod 755 .", "mkdir d d/d", "head -c 2000 /dev/zero > d/d/a" }
    if sh(root, "id -u") ~= "0" then return pending "only root can make a tree of somebody else" end
    local base = trees.new { "chmod 711 ." }
    sh(root, "chown -R 65534:65534 .")
    for _, mode in ipairs { "000", "400", "100" } do
      for _, closed in ipairs { "d", "d/d" } do
        sh(root, ("chmod 700 d d/d; chmod %s %s"):format(mode, closed))
        local tree = core.sandbox.directory { root = root, base = base, uid = 65534, gid = 65534, quota_bytes = 1000 }
        local session = require("harness.sandbox.session").new(tree, {})
        local why, _, err = reason(session, "write", "/workspace/a", "1")
        assert.equal("quota_exceeded", why)
        assert.matches(("/workspace/%s is closed to its own user"):format(closed), err.message)
        session:close()
      end
    end
  end)

  describe("snapshots", function()
    it("bring back modes, times, links and what others changed", function()
      local session, root = session_on {
        "echo 1 > a", "chmod 750 a", "touch -d 2020-01-02T03:04:05Z a", "mkdir d e", "chmod 711 d", "echo 1 > d/b",
        "ln -s a link",
        "echo 1 > e/dir", "mkfifo fifo",
      }
      local listed = [[find . -printf '%p %y %m %s %l %T@\n' | grep -v '^\./fifo\|^\. ' | sort]]
      local function state() return sh(root, listed .. "; cat a d/b e/dir") end
      local before = state()
      local snapshot = session:snapshot()
      sh(root, "echo 2 > a; chmod 600 a; rm -r d e; echo 2 > d; mkdir -p e/dir/x; ln -sf /etc link; ln -s a new")
      sh(root, "rm fifo; mkfifo fifo2")
      session:restore(snapshot)
      -- the times of directories are those of the restoring
      local function without_directory_times(text) return (text:gsub("( d %d+ %d+ +)[%d.]+", "%1")) end
      assert.equal(without_directory_times(before), without_directory_times((state():gsub("%./fifo2[^\n]*\n", ""))))
      assert.equal("fifo2", sh(root, "ls | grep fifo")) -- special files are nobody's
    end)

    it("do not touch what is as it was", function()
      local session, root = session_on { "echo 1 > a", "echo 1 > b" }
      local before = sh(root, "stat -c '%i %z' a") -- the time of its last change, of whatever it is
      local snapshot = session:snapshot()
      session:write("/workspace/b", "2")
      session:restore(snapshot)
      assert.equal(before, sh(root, "stat -c '%i %z' a"))
      assert.equal("1\n", session:read "/workspace/b")
    end)

    it("belong to their session and go with it", function()
      local base = trees.new()
      local session = session_on({ "echo 1 > a" }, { data_directory = base })
      local other = session_on({}, { data_directory = base })
      local kept = { session:snapshot() }
      assert.equal("invalid_snapshot", (reason(other, "restore", kept[1])))
      local memory = harness.sandbox.memory():open {}
      sessions[#sessions + 1] = memory
      assert.equal("invalid_snapshot", (reason(memory, "restore", kept[1])))
      assert.equal("1", sh(base, "find . -name 'snapshot-*' | wc -l"))
      kept[1] = nil
      collectgarbage()
      collectgarbage()
      assert.equal("0", sh(base, "find . -name 'snapshot-*' | wc -l"))
      kept[1] = session:snapshot()
      session:close()
      other:close()
      assert.equal("", sh(base, "find . -mindepth 2"))
      assert.is_userdata(kept[1])
    end)
  end)

  describe("left by an engine that was killed", function()
    it("is removed by whoever opens next, and by nobody while it is used", function()
      local base = trees.new()
      local script = ([[
        local session = require("harness").sandbox.directory { data_directory = %q }:open {}
        session:write("/notes/a", "1")
        io.stdout:write "ready\n" io.stdout:flush() io.read()
      ]]):format(base)
      local child = require("spec.support.child").start { os.getenv "HARNESS_LUA", "-e", script, ready = "(ready)\n" }
      local alive = harness.sandbox.directory { data_directory = base }
      sessions[#sessions + 1] = alive:open {}
      assert.equal("2", sh(base, "find . -name '*.lock' | wc -l"))
      child.process:kill "KILL"
      child.process:wait()
      child:close()
      assert.equal("1", sh(base, "find . -path '*/notes/a' | wc -l"))
      sessions[#sessions + 1] = harness.sandbox.directory({ data_directory = base }):open {}
      assert.equal("0", sh(base, "find . -path '*/notes/a' | wc -l"))
      assert.equal("2", sh(base, "find . -name '*.lock' | wc -l"))
      sessions[1]:write("/still/here", "1")
    end)

    it("is not looked for in a directory of somebody else", function()
      local base = trees.new()
      if sh(base, "id -u") ~= "0" then return pending "only root can make a directory of somebody else" end
      sh(base, "mkdir harness-lua-0; chown 65534 harness-lua-0")
      local err = failure(opened, { data_directory = base })
      assert.equal("SANDBOX_ERROR", err.code)
      assert.matches("is not ours alone", err.message)
    end)
  end)
end)
