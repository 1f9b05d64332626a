--- What isolation there is: of a sandbox, as plain data, and on this machine, by trying it.

local core = require "harness.core"
local errors = require "harness.errors"

local M = {}

-- Namespace -> the protection that it is, where it can be left out.
local NAMESPACES <const> = {
  { "user" }, { "mount" }, { "cgroup" }, { "ipc", "ipc" }, { "network", "network" }, { "pid", "pids" },
  { "uts", "hostname" },
}

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return require("harness.json").array(names)
end

---@class harness.Isolation
---@field by "bubblewrap"
---@field program string
---@field runs_as { name: string, uid: integer, gid: integer } on the host
---@field namespaces string[] that are the command's own
---@field seccomp boolean
---@field landlock integer the version of its interface; 0: there is none, or it is left out
---@field cgroup boolean is the memory of a command limited as a whole? else of each process
---@field limits table
---@field without string[] protections that are left out

--- What stands between the commands of a sandbox and this machine.
---@param sandbox table of bash{}
---@return harness.Isolation
function M.isolation(sandbox)
  local machine, namespaces = core.jail.machine(), {}
  for _, one in ipairs(NAMESPACES) do
    if not sandbox.without[one[2]] then namespaces[#namespaces + 1] = one[1] end
  end
  local limits = {}
  for name, value in pairs(sandbox.limits) do limits[name] = value end
  return {
    by = "bubblewrap", program = sandbox.bwrap, namespaces = namespaces, limits = limits, cgroup = false,
    runs_as = { name = sandbox.user.name, uid = sandbox.user.uid, gid = sandbox.user.gid },
    seccomp = machine.seccomp and not sandbox.without.seccomp,
    landlock = sandbox.without.landlock and 0 or machine.landlock, without = sorted(sandbox.without),
  }
end

-- Runs a command that does nothing. True, or what was wrong.
local function try(adapter)
  local ok, err = pcall(function()
    local session = adapter:open { session_id = "inspect" }
    local worked, problem = pcall(session.exec, session, "true", { timeout_ms = 10000 })
    session:close()
    if not worked then error(problem, 0) end
  end)
  return ok, not ok and (errors.is(err) and err.message or tostring(err)) or nil
end

local function version_of(program)
  local ok, ended = pcall(require("harness.process").run, { file = program, args = { "--version" } })
  return ok and ended.stdout:match "%d[%d.]*" or "of an unknown version"
end

--- What a person wants to know of a sandbox: pairs of what and how it is. Tries the isolation, so it waits.
---@param adapter table a sandbox
---@return string[][]
function M.report(adapter)
  local isolation = type(adapter.isolation) == "function" and adapter:isolation()
  if not isolation then
    local lines = { { "commands", "none" } }
    if adapter.id == "memory" and not core.jail.find "bwrap" then
      lines[2] = { "missing", "bubblewrap, to run commands: apt-get install bubblewrap" }
    end
    return lines
  end
  local works, problem = try(adapter)
  local lines = {
    { "isolation", ("bubblewrap %s (%s), %s"):format(version_of(isolation.program), isolation.program,
      works and "works" or "DOES NOT WORK") },
    { "commands run as", ("%s (uid %d)"):format(isolation.runs_as.name, isolation.runs_as.uid) },
    { "own namespaces", table.concat(isolation.namespaces, ", ") },
    { "seccomp", isolation.seccomp and "yes" or "NO" },
    { "landlock", isolation.landlock >= 2 and ("yes (ABI %d)"):format(isolation.landlock) or "no" },
    { "memory limit", isolation.cgroup and "of a whole command" or "of each process (no cgroup is used)" },
  }
  if #isolation.without > 0 then lines[#lines + 1] = { "left out", table.concat(isolation.without, ", ") } end
  if problem then lines[#lines + 1] = { "missing", problem } end
  return lines
end

return M
