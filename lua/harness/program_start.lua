--- How the process of a program (program.lua) is started: bubblewrap around `harness-jail code`.
---
--- The process has every namespace of its own, no capability, no environment, a / with nothing in it
--- but /proc, and no network; as root it is another user's, since root in a user namespace is still root
--- outside of it. In there harness-jail leaves itself nothing but its two pipes (sandbox/jail/code.h). It
--- ends with those, kill -9 of the engine included (why not by --die-with-parent: sandbox/bwrap.lua).
---
--- Without the protection "namespaces" it is harness-jail alone.

local core = require "harness.core"
local errors = require "harness.errors"
local process = require "harness.process"

local M = {}

--- What can be left out, by the names that `programs.without` takes.
M.PROTECTIONS = { "namespaces" }

local PROGRAM <const> = "/proc/self/fd/3" -- the first of fds
local ISOLATED <const> = {
  "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
  "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--cap-drop", "ALL", "--clearenv", "--new-session",
  "--as-pid-1", "--proc", "/proc", "--remount-ro", "/", "--chdir", "/", "--", PROGRAM, "code",
}

local function fail(reason, message)
  errors.raise("SANDBOX_ERROR", message, { reason = reason })
end

local function find_bwrap()
  local path = core.jail.find "bwrap"
  if path then return path end
  fail("bubblewrap_not_installed", "programs of the tool lua are isolated with bubblewrap, which is not installed (no "
    .. 'bwrap in PATH): apt-get install bubblewrap; programs = { without = { "namespaces" } } in the definition leaves '
    .. "that protection out")
end

-- Another user than root.
local function find_user()
  if core.jail.machine().uid ~= 0 then return nil end
  local nobody = core.jail.user "nobody"
  if nobody and nobody.uid ~= 0 then return nobody end
  return fail("isolation_failed", 'programs do not run as root, and there is no user "nobody" on this machine')
end

--- Starts a process that waits for a program. Close it.
---@param file userdata harness-jail (jail_program.lua)
---@param without table<string, true> protections that are left out
---@return harness.Process
function M.start(file, without)
  local user = find_user()
  local options = {
    file = PROGRAM, args = { "code" }, cwd = "/", env = {}, stdin = true, fds = { file },
    uid = user and user.uid, gid = user and user.gid,
  }
  if not without.namespaces then options.file, options.args = find_bwrap(), ISOLATED end
  local ok, started = pcall(process.spawn, options)
  if ok then return started end
  if not errors.is(started, "PROCESS_ERROR") then error(started, 0) end
  return fail("exec_failed", started.meta.error == "ENOTSUP"
    and "this host starts processes itself, and cannot start isolated ones"
    or "the process of the program cannot be started: " .. started.message)
end

return M
