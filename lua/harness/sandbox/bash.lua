--- harness.sandbox.bash{ root?, run_as?, limits?, env?, quota_bytes?, data_directory?, network?, without? }: the files
--- of directory{}, and bash with what is installed on this machine, isolated by bubblewrap and harness-jail.
---
---     harness.sandbox.bash {}                          -- /workspace is private, and goes with the session
---     harness.sandbox.bash { root = ".", limits = { wall_ms = 10000 } }
---
--- What stands between a command and the machine is in README.md here; `without` leaves protections out by name,
--- and they are named wherever the isolation is reported.

local bwrap = require "harness.sandbox.bwrap"
local command_options = require "harness.sandbox.command_options"
local core = require "harness.core"
local directory = require "harness.sandbox.directory"
local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local nearest = require "harness.nearest"
local options = require "harness.sandbox.options"
local run_as = require "harness.sandbox.run_as"
local sessions = require "harness.sandbox.bash_session"

local M = {}

---@class harness.BashSandboxOptions
---@field root? string an existing directory, /workspace for commands; default: a private one
---@field run_as? string|integer who commands run as when the engine is root; default: who owns root, or nobody
---@field limits? table of each command: wall_ms, cpu_ms, memory_bytes, processes, file_bytes, output_bytes
---@field env? table<string, string> for all commands, besides PATH, HOME, LANG and TERM
---@field quota_bytes? integer of all files of a session together; checked after each command
---@field data_directory? string where private directories are made; default $TMPDIR or /tmp
---@field network? false there is none
---@field without? string[] protections to leave out, by name

local function network(problems, path, value)
  if value == false then return false end
  problems:add(path, "not_available", "commands have no network, and this version cannot give them any; leave it out")
  return nil
end

local function without(problems, path, value)
  local known = {}
  for _, name in ipairs(bwrap.PROTECTIONS) do known[name] = true end
  local names, set = fields.list(fields.string(), "a list of names")(problems, path, value), {}
  for i, name in ipairs(names or {}) do
    if name and not known[name] then
      problems:add(fields.at(path, i), "unknown_protection", ('there is no protection "%s"%s'):format(name,
        nearest.hint(name, bwrap.PROTECTIONS, "protections")), name)
    end
    set[name] = true
  end
  return set
end

local function user(problems, path, value)
  if type(value) == "string" and value ~= "" or math.tointeger(value) then return value end
  problems:wrong_type(path, "the name or the number of a user", value)
  return nil
end

local FIELDS <const> = {
  root = { directory.host_directory }, data_directory = { directory.host_directory }, quota_bytes = { options.quota },
  limits = { command_options.limits }, env = { command_options.env }, network = { network }, without = { without },
  run_as = { user },
}

-- Top-level names of the system that are directories and not links into /usr.
local function system_directories()
  local set = {}
  for _, name in ipairs(core.jail.entries "/") do set[name] = true end
  return set
end

local function find_bwrap()
  local path = core.jail.find "bwrap"
  if path then return path end
  errors.raise("HARNESS_CONFIG_ERROR", "sandbox.bash isolates commands with bubblewrap, which is not installed (no "
    .. "bwrap in PATH): apt-get install bubblewrap", { reason = "bubblewrap_not_installed", path = "sandbox" })
end

local function check_user(checked)
  local problems = fields.problems()
  local found = run_as.find(problems, checked)
  local first = problems:list()[1]
  if not first then return found end
  errors.raise("HARNESS_CONFIG_ERROR", first.message, { reason = first.reason, path = first.path })
end

-- Where private directories are made. Not in the root: commands could put their own in the place of ours, and the
-- next command would get what those lead to.
local function base_of(checked)
  local base, root = checked.data_directory or directory.default_base(), checked.root
  if not root then return base end
  local inside = root == "/" and "/" or root .. "/"
  if (base .. "/"):sub(1, #inside) ~= inside then return base end
  errors.raise("HARNESS_CONFIG_ERROR", ("the root %s holds the directory %s, where sessions have their private files, "
    .. "out of reach of commands: give a data_directory (or $TMPDIR) outside of the root"):format(root, base),
    { reason = "data_in_root", path = { "sandbox", "bash", "data_directory" } })
end

local function open(sandbox, request)
  local settings = {
    root = sandbox.root, base = sandbox.base, quota_bytes = sandbox.quota_bytes, no_system_names = true,
  }
  if sandbox.user.switched then settings.uid, settings.gid = sandbox.user.uid, sandbox.user.gid end
  if not sandbox.swept then core.sandbox.sweep(sandbox.base) end
  sandbox.swept = true
  return sessions.new(sandbox, directory.tree(settings), request)
end

---@param given? harness.BashSandboxOptions
---@return harness.Sandbox
function M.new(given)
  local checked = options.check("bash", given, FIELDS)
  checked.without = checked.without or {}
  local sandbox = {
    bwrap = find_bwrap(), user = check_user(checked), without = checked.without, env = checked.env,
    limits = command_options.merge(command_options.DEFAULT_LIMITS, checked.limits), quota_bytes = checked.quota_bytes,
    directories = system_directories(), root = checked.root, base = base_of(checked),
  }
  return {
    id = "bash",
    capabilities = { "sandbox.fs", "sandbox.exec", "sandbox.spawn", "sandbox.persistent_fs", "sandbox.snapshot" },
    open = function(_, request) return open(sandbox, request) end,
    isolation = function() return require("harness.sandbox.machine").isolation(sandbox) end,
  }
end

return setmetatable(M, { __call = function(_, given) return M.new(given) end })
