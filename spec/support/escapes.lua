--- Attempts of a command to get out of its sandbox, and what each is refused by.
---
---     local escapes = require "spec.support.escapes"
---     for _, row in ipairs(escapes.rows) do
---       local shown, worked = escapes.attempt(row, options, world)          -- must not have worked
---       local shown, worked = escapes.attempt(row, options, world, true)    -- without its protection: must
---
--- A row: name, protection, command (prints GOT when the attempt has worked), off: what switches just that
--- protection off, as options of bash{}; options: of both. In a command {NAME} stands for what the world has of
--- that name. A protection that stands behind another one is tested with the other one off in both (`both`).

local core = require "harness.core"
local harness = require "harness"

local M = {}

local function without(...) return { without = { ... } } end

local function seccomp(name, what)
  return { name = what, protection = "seccomp", command = "/workspace/probe " .. name, off = without "seccomp" }
end

M.rows = {
  -- what is not there to be seen
  { name = "reads a file of the host that everybody may read", protection = "private_root",
    command = "grep -q secret {secret} && echo GOT", off = without "private_root" },
  { name = "reads it by a path with ..", protection = "private_root",
    command = "grep -q secret /workspace/../..{secret} && echo GOT", off = without "private_root" },
  { name = "reads it by a symbolic link", protection = "private_root",
    command = "ln -sfn {secret} /workspace/link && grep -q secret /workspace/link && echo GOT",
    off = without "private_root" },
  { name = "reads it by /proc/self/root", protection = "private_root",
    command = "grep -q secret /proc/self/root{secret} && echo GOT", off = without "private_root" },
  { name = "reads it by /proc/self/cwd", protection = "private_root",
    command = "cd /tmp; grep -q secret /proc/self/cwd/..{secret} && echo GOT", off = without "private_root" },
  { name = "reads the list of the host's users", protection = "private_root",
    command = "grep -q ^daemon: /etc/passwd && echo GOT", off = without "private_root" },
  { name = "reads configuration of the host", protection = "private_root",
    command = "ls /etc/pam.d && echo GOT", off = without "private_root" },
  { name = "sees the directories of the host", protection = "private_root",
    command = "ls -d {directory} && echo GOT", off = without "private_root" },
  { name = "reads shared memory of the host", protection = "devices",
    command = "grep -q secret /dev/shm/{shm} && echo GOT", off = without "devices" },
  { name = "sees devices of the host", protection = "devices", command = "ls /dev/kmsg && echo GOT",
    off = without "devices" },
  { name = "reads a variable of the engine", protection = "environment",
    command = "env | grep -q ^LUA_PATH= && echo GOT", off = without "environment" },
  { name = "reads root's file in the workspace", protection = "run_as", only_root = true,
    command = "grep -q secret /workspace/of_root && echo GOT", off = without "run_as" },

  -- what cannot be changed
  { name = "makes a file at the top", protection = "read_only_system", both = { "landlock" },
    command = "touch /new && echo GOT", off = without "read_only_system" },
  { name = "takes /bin away", protection = "read_only_system", both = { "landlock" },
    command = "/usr/bin/rm /bin && echo GOT", off = without "read_only_system" },
  { name = "puts another /etc in its place", protection = "read_only_system", both = { "landlock" },
    command = "mv /var /var2 && echo GOT", off = without "read_only_system" },
  { name = "changes a skill", protection = "read_only_system", both = { "landlock" },
    command = "echo x >> /skills/demo/SKILL.md && echo GOT", off = without "read_only_system" },
  { name = "adds a skill", protection = "read_only_system", both = { "landlock" },
    command = "mkdir /skills/other && echo GOT", off = without "read_only_system" },
  { name = "makes itself a lesser victim of the OOM killer", protection = "landlock",
    command = "echo 500 > /proc/self/oom_score_adj && echo GOT", off = without "landlock" },
  { name = "renames itself through /proc", protection = "landlock",
    command = "echo x > /proc/self/comm && echo GOT", off = without "landlock" },
  { name = "makes a set-uid file", protection = "seccomp", command = "/workspace/probe setuid_file",
    off = without "seccomp" },
  seccomp("setgid_file", "makes a set-gid file, by fchmodat"),
  seccomp("created_setuid", "creates a file that is set-uid from its first moment"),

  -- other processes
  { name = "sees processes of the host", protection = "pids", command = "ls -d /proc/{pid} && echo GOT",
    off = without "pids" },
  { name = "reads the command line of a process of the host", protection = "pids",
    command = "cat /proc/{pid}/cmdline && echo GOT", off = without "pids" },
  { name = "signals a process of the host", protection = "pids", both = { "landlock" },
    command = "/workspace/probe kill {pid}", off = without "pids" },
  { name = "signals a process of the host, which it sees", protection = "landlock", both = { "pids" },
    command = "/workspace/probe kill {pid}", off = without "landlock" },
  { name = "reads the memory of harness-jail", protection = "hidden_jail",
    command = "head -c 1 /proc/1/environ && ls -l /proc/1/fd/ && echo GOT", off = without "hidden_jail" },
  seccomp("ptrace", "traces another process"),
  seccomp("vm_read", "reads the memory of another process"),
  seccomp("pidfd_getfd", "takes a descriptor of another process"),
  seccomp("kcmp", "compares what processes share"),
  seccomp("move_pages", "moves pages of memory"),

  -- the network, and others on the machine
  { name = "connects to a server on the host", protection = "network", command = "/workspace/probe tcp {tcp}",
    off = without "network" },
  { name = "sends the host a datagram", protection = "network", command = "/workspace/probe udp {udp}",
    off = without "network" },
  { name = "sees what the host listens to", protection = "network",
    command = "grep -q ':{tcp_hex} ' /proc/net/tcp && echo GOT", off = without "network" },
  { name = "connects to an abstract socket of the host", protection = "network", both = { "landlock" },
    command = "/workspace/probe abstract {abstract}", off = without "network" },
  { name = "connects to an abstract socket that it can name", protection = "landlock", both = { "network" },
    command = "/workspace/probe abstract {abstract}", off = without "landlock" },
  { name = "attaches shared memory of the host", protection = "ipc", command = "/workspace/probe shm {ipc}",
    off = without "ipc" },
  { name = "opens a message queue of the host", protection = "ipc", command = "/workspace/probe msg {ipc}",
    off = without "ipc" },
  { name = "learns the name of the host", protection = "hostname",
    command = "test $(uname -n) = {hostname} && echo GOT", off = without "hostname" },
  seccomp("netlink", "opens a netlink socket"),
  seccomp("netlink_high", "opens one with noise in the upper half of the register"),
  seccomp("protocol", "has the kernel load another protocol than TCP and UDP"),

  -- the kernel
  seccomp("unshare", "makes a user namespace by unshare"),
  seccomp("clone", "makes one by clone"),
  seccomp("clone3", "makes one by clone3"),
  seccomp("setns", "enters a namespace"),
  seccomp("open_tree", "opens a tree of mounts"),
  seccomp("add_key", "adds a key to a keyring"),
  seccomp("keyctl", "looks for a keyring"),
  seccomp("io_uring", "makes an io_uring"),
  seccomp("userfaultfd", "handles page faults"),
  seccomp("fanotify", "listens to changes of files"),
  seccomp("handle", "takes a file's handle"),
  seccomp("ldt", "reads its descriptor table"),
  seccomp("other_architecture", "calls the kernel as a 32-bit program"),
  { name = "has capabilities", protection = "capabilities",
    command = "grep -q '^CapEff:.*[1-9a-f]' /proc/self/status && echo GOT", off = without "capabilities" },
  { name = "changes its root", protection = "capabilities", command = "/workspace/probe chroot",
    off = without "capabilities" },
  { name = "reads its own file that nobody may read", protection = "capabilities",
    command = "echo secret > closed; chmod 0 closed; grep -q secret closed && echo GOT",
    off = without "capabilities" },
  { name = "changes how capabilities work", protection = "capabilities", command = "/workspace/probe securebits",
    off = without "capabilities" },

  -- more than its share
  { name = "starts processes without end", protection = "processes", command = "/workspace/probe forks 60",
    options = { limits = { processes = 40 } }, off = { limits = { processes = 100 } } },
  { name = "takes memory by mapping it", protection = "memory_bytes", command = "/workspace/probe memory 200",
    options = { limits = { memory_bytes = 100 << 20 } }, off = { limits = { memory_bytes = 400 << 20 } } },
  { name = "takes memory piece by piece", protection = "memory_bytes", command = "/workspace/probe heap 200",
    options = { limits = { memory_bytes = 100 << 20 } }, off = { limits = { memory_bytes = 400 << 20 } } },
  { name = "writes a file without end", protection = "file_bytes",
    command = "head -c 3000000 /dev/zero > /workspace/zeros && echo GOT",
    options = { limits = { file_bytes = 2000000 } }, off = { limits = { file_bytes = 4000000 } } },
  { name = "fills the shared memory", protection = "devices",
    command = "head -c 90000000 /dev/zero > /dev/shm/{shm}-fill && echo GOT; rm -f /dev/shm/{shm}-fill",
    off = without "devices" },
  { name = "fills memory through /dev", protection = "read_only_system",
    command = "touch /dev/new && echo GOT", off = without "read_only_system" },
  { name = "uses the processor without end", protection = "cpu_ms", command = "/workspace/probe spin 2",
    options = { limits = { cpu_ms = 1000 } }, off = { limits = { cpu_ms = 60000 } } },
  { name = "runs without end", protection = "wall_ms", command = "sleep 1; echo GOT",
    options = { limits = { wall_ms = 200 } }, off = { limits = { wall_ms = 60000 } } },
  { name = "keeps more files than fit", protection = "quota_bytes",
    command = "head -c 3000000 /dev/zero > /tmp/a; head -c 3000000 /dev/zero > /workspace/b; echo GOT",
    options = { quota_bytes = 4000000 }, off = { quota_bytes = 100000000 } },
}

-- The options of an attempt: those of the row over those of the world.
local function options_of(row, base, is_off)
  local options, left_out = { root = base.root, run_as = base.run_as }, {}
  for name, value in pairs(row.options or {}) do options[name] = value end
  for _, name in ipairs(row.both or {}) do left_out[#left_out + 1] = name end
  if is_off then
    for name, value in pairs(row.off) do
      if name ~= "without" then options[name] = value end
    end
    table.move(row.off.without or {}, 1, #(row.off.without or {}), #left_out + 1, left_out)
  end
  options.without = left_out
  return options
end

--- Makes the attempt in a new session.
---@param row table
---@param base { root: string, run_as?: string } /workspace, with the probe in it
---@param world table<string, string> what the command's {NAMES} are
---@param is_off? boolean without the protection that the row is about
---@return string shown what came of it, for a person
---@return boolean worked
function M.attempt(row, base, world, is_off)
  local sandbox = harness.sandbox.bash(options_of(row, base, is_off))
  local session = sandbox:open { session_id = "escape" }
  session:mount({ ["SKILL.md"] = "a skill" }, "/skills/demo", { read_only = true })
  local ok, ended = pcall(session.exec, session, (row.command:gsub("{(%w+)}", world):gsub("{(tcp_hex)}", world)))
  session:close()
  if not ok then return tostring(ended), false end
  local shown = ("%s%s exit %d %s"):format(ended.stdout, ended.stderr, ended.exit_code, ended.signal or "")
  if ended.exit_code == 126 or ended.exit_code == 127 or shown:find "no such attempt" then
    error("the attempt is broken, which proves nothing: " .. shown, 0)
  end
  return shown, ended.stdout:find "GOT" ~= nil
end

--- What the commands of the table name: helpers of the host are started as the user of the commands.
---@param probe string the probe's path, which that user may execute
---@param directory string a directory of the host that everybody may read
---@param uid? integer the user of the commands; nil: ourselves
---@return table<string, string> world
---@return fun() finish
function M.world(probe, directory, uid)
  local process = require "harness.process"
  local running = {}
  local function helper(name, argument)
    local p = process.spawn { file = probe, args = { name, argument }, uid = uid, gid = uid }
    running[#running + 1] = p
    return (p:read() or error(name .. " has not started: " .. p:text "stderr")):match "%-?%d+", p.pid
  end
  local function put(path)
    local file <close> = assert(io.open(path, "w"))
    file:write "secret"
  end
  local unique = ("jail-spec-%d-%d"):format(core.wall_ms(), math.random(1 << 30))
  local world = { directory = directory, secret = directory .. "/secret", shm = unique, abstract = unique }
  put(world.secret)
  put("/dev/shm/" .. unique)
  local tcp, pid = helper "host-tcp"
  world.tcp, world.tcp_hex, world.pid = tcp, ("%04X"):format(tcp), tostring(pid)
  world.udp = helper "host-udp"
  helper("host-abstract", unique)
  world.ipc = helper "host-ipc"
  local name <close> = assert(io.open "/proc/sys/kernel/hostname")
  world.hostname = name:read "l"
  return world, function()
    for _, p in ipairs(running) do p:close() end
    os.remove("/dev/shm/" .. unique)
  end
end

--- Makes all attempts, some at a time. The directory has the probe in it, is readable by the user of the commands, and
--- its `root` is theirs.
---@param directory string
---@param uid? integer the user of the commands; nil: ourselves
---@return table<string, { refused: string, refused_worked: boolean, off: string, off_worked: boolean }> by row
function M.all(directory, uid)
  local world, finish = M.world(directory .. "/probe", directory, uid)
  local results = {}
  local ok, err = pcall(require("harness.join").map, M.rows, function(row)
    if row.only_root and not uid then return true end
    local base, result = { root = directory .. "/root" }, {}
    result.refused, result.refused_worked = M.attempt(row, base, world)
    result.off, result.off_worked = M.attempt(row, base, world, true)
    results[row.name] = result
    return true
  end, { max_parallel = 4 })
  finish()
  if not ok then error(err, 0) end
  return results
end

return M
