--- One command in the jail: bubblewrap, in it harness-jail, in it the command; and what harness-jail reports.
---
---     local p <close> = jailed.start(sandbox, places, { args = {...}, cwd, env, stdin, limits })
---     ... p:read, p:write, p:close_stdin, p:wait()
---     local ended = jailed.outcome(p:text "report", command, stderr)    -- { exit_code, signal? }

local bwrap = require "harness.sandbox.bwrap"
local core = require "harness.core"
local errors = require "harness.errors"
local jail_program = require "harness.jail_program"
local process = require "harness.process"

local M = {}

local REPORT_FD <const>, ORDERS_FD <const>, PROGRAM_FD <const>, ARGS_FD <const> = 3, 4, 5, 6
local LONGEST_ARGUMENT <const> = 131071 -- of the kernel (MAX_ARG_STRLEN), without the NUL
local OPEN_FILES <const> = 1024

local ENVIRONMENT <const> = {
  PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME = "/home/user", LANG = "C.UTF-8",
  TERM = "dumb",
}

local SIGNALS <const> = {
  "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
  "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
  "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
}

local function fail(reason, message, meta)
  meta = meta or {}
  meta.reason = reason
  errors.raise("SANDBOX_ERROR", message, meta)
end

-- ---- starting --------------------------------------------------------------------------------

local function environment(...)
  local values, names = {}, {}
  for i = 1, select("#", ...) do
    for name, value in pairs(select(i, ...) or {}) do values[name] = value end
  end
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  return { names = names, values = values }
end

-- What harness-jail is told.
local function jail_arguments(sandbox, command, writable)
  local limits = command.limits
  local list = {
    "--", ("/proc/self/fd/%d"):format(PROGRAM_FD), "exec", "--report", tostring(REPORT_FD),
    "--orders", tostring(ORDERS_FD), "--cwd", command.cwd, "--cpu", tostring(math.ceil(limits.cpu_ms / 1000)),
    "--data", tostring(limits.memory_bytes), "--file", tostring(limits.file_bytes),
    "--processes", tostring(limits.processes + 1), -- harness-jail is one of them
    "--files", tostring(OPEN_FILES),
  }
  for _, path in ipairs(writable) do table.move({ "--write", path }, 1, 2, #list + 1, list) end
  for _, name in ipairs { "capabilities", "hidden_jail", "landlock", "pids", "seccomp" } do
    if sandbox.without[name] then table.move({ "--without", name }, 1, 2, #list + 1, list) end
  end
  list[#list + 1] = "--"
  return table.move(command.args, 1, #command.args, #list + 1, list)
end

local function check_lengths(args)
  for _, argument in ipairs(args) do
    if #argument > LONGEST_ARGUMENT then
      fail("exec_failed", ("the command has %d bytes, and the system takes at most %d: write it to a file, and run "
        .. "that"):format(#argument, LONGEST_ARGUMENT))
    end
  end
end

-- The arguments of bubblewrap as a file, since lists of processes show those of a command line.
local function spawn(sandbox, command, front, fds, back)
  local file <close> = core.jail.text(table.concat(front, "\0") .. "\0")
  local options = {
    file = sandbox.bwrap, args = table.move(back, 1, #back, 3, { "--args", tostring(ARGS_FD) }), cwd = "/",
    stdin = command.stdin, jail = true, fds = table.move(fds, 1, #fds, 3, { jail_program.file(), file }),
    env = not sandbox.without.environment and { "PATH=" .. ENVIRONMENT.PATH } or nil,
  }
  if sandbox.user.switched then options.uid, options.gid = sandbox.user.uid, sandbox.user.gid end
  local ok, started = pcall(process.spawn, options)
  if ok then return started end
  if not errors.is(started, "PROCESS_ERROR") then error(started, 0) end
  local unsupported = started.meta and started.meta.error == "ENOTSUP"
  fail("exec_failed", unsupported and "this host starts processes itself, and cannot start isolated ones"
    or "bubblewrap cannot be started: " .. started.message)
end

---@class harness.JailedCommand
---@field args string[] the program and its arguments
---@field cwd string
---@field env? table<string, string>
---@field stdin? string|true
---@field limits table

--- Starts a command. Close it.
---@param sandbox table bwrap (its path), user, without, env, directories
---@param places harness.JailPlaces
---@param command harness.JailedCommand
---@return harness.Process
function M.start(sandbox, places, command)
  check_lengths(command.args)
  local front, fds, writable = bwrap.arguments {
    places = places, env = environment(ENVIRONMENT, sandbox.env, command.env), without = sandbox.without,
    directories = sandbox.directories, first_fd = ARGS_FD + 1,
  }
  if not front then fail("exec_failed", fds) end
  local ok, started = pcall(spawn, sandbox, command, front, fds, jail_arguments(sandbox, command, writable))
  for _, file in ipairs(fds) do file:close() end
  if not ok then error(started, 0) end
  return started
end

-- ---- what became of it -----------------------------------------------------------------------

-- What bubblewrap says, and what can be done about it.
local HINTS <const> = {
  { "No permissions to create new namespace", "user namespaces are not allowed to this user: see "
    .. "kernel.unprivileged_userns_clone, user.max_user_namespaces, or the AppArmor profile of bwrap" },
  { "Creating new namespace failed", "user namespaces are switched off or used up: see user.max_user_namespaces" },
  { "setting up uid map", "user namespaces are restricted for bwrap: see its AppArmor profile" },
  { "Can't mount proc", "this container does not let us mount /proc: run it with an unmasked /proc" },
}

--- Raises SANDBOX_ERROR for what bubblewrap has said instead of running anything.
---@param said string
function M.isolation_failed(said)
  said = (said:match "^%s*(.-)%s*$"):sub(1, 400)
  local message = "the command could not be isolated, and was not run: " .. (said ~= "" and said or "bubblewrap ended")
  for _, hint in ipairs(HINTS) do
    if said:find(hint[1], 1, true) then message = message .. " (" .. hint[2] .. ")" break end
  end
  fail("isolation_failed", message, { stderr = said })
end

local function jail_failed(what, why, command)
  if what == "cwd" then
    fail("exec_failed", ("the directory %s cannot be used: %s"):format(command.cwd, why), { path = command.cwd })
  elseif what == "program" then
    fail("exec_failed", ("%s cannot be run: %s"):format(command.args[1], why))
  end
  fail("isolation_failed", ("the command could not be isolated, and was not run: %s: %s"):format(what, why))
end

--- The name of a signal: SIGKILL for 9.
---@param number integer
---@return string
function M.signal_name(number)
  return SIGNALS[number] or ("SIG%d"):format(number)
end

--- Raises SANDBOX_ERROR unless the report says that the command has been run.
---@param report string
---@param command harness.JailedCommand
---@param stderr fun(): string
function M.check_started(report, command, stderr)
  local what, why = report:match "error ([^\n]-): ([^\n]*)\n"
  if what then jail_failed(what, why, command) end
  if not report:find "^started\n" then M.isolation_failed(stderr()) end
end

--- How a command has ended that has been run; nil when it was not told, since all was killed.
---@param report string all of it
---@return { exit_code: integer, signal?: string }?
function M.ended(report)
  local code = math.tointeger(report:match "exit (%d+)\n")
  if code then return { exit_code = code } end
  local signal = math.tointeger(report:match "signal (%d+)\n")
  return signal and { exit_code = 128 + signal, signal = M.signal_name(signal) }
end

--- The same for one that nobody here has killed: raises SANDBOX_ERROR when its end is not known.
---@param report string all of it
---@param command harness.JailedCommand
---@param stderr fun(): string
---@return { exit_code: integer, signal?: string }
function M.outcome(report, command, stderr)
  M.check_started(report, command, stderr)
  return M.ended(report) or fail("exec_failed", "the command and its isolation were killed from outside")
end

return M
