--- A session of bash{}: the files of a directory tree (session.lua), and commands that see the same tree.
---
---     local ended = session:exec("make test", { cwd = "/workspace", timeout_ms = 60000 })
---     local server = session:spawn("node", { args = { "server.js" } })
---     server:read "stdout"; server:write "x\n"; server:kill "SIGTERM"; server:wait().exit_code
---     session:close()                        -- ends all of them

local bwrap = require "harness.sandbox.bwrap"
local chain = require "harness.chain"
local core = require "harness.core"
local errors = require "harness.errors"
local jail_program = require "harness.jail_program"
local jailed = require "harness.sandbox.jailed"
local join = require "harness.join"
local options = require "harness.sandbox.command_options"
local outputs = require "harness.sandbox.output"
local signals = require "harness.signal"
local sessions = require "harness.sandbox.session"
local spawned = require "harness.sandbox.spawned"
local task = require "harness.task"

local M = {}

local BASH <const> = "/usr/bin/bash"

local Session = setmetatable({}, { __index = sessions.Session })
Session.__index = Session

Session.executor = "available"

--- Raises SANDBOX_ERROR when it was closed.
function Session:check_open()
  if not self.closed then return end
  errors.raise("SANDBOX_ERROR", "the sandbox session was closed", { reason = "session_closed" })
end

-- ---- where things are --------------------------------------------------------------------------

local function fs_failed(why)
  errors.raise("SANDBOX_ERROR", why, { reason = "fs_failed" })
end

local function prepare(self, fn, path)
  local user = self.sandbox.user
  local ok, why
  if user.switched then ok, why = fn(path, user.uid, user.gid) else ok, why = fn(path) end
  if not ok then fs_failed(why) end
end

-- The / of commands, beside the tree; made before the first one.
local function make_root(self, host)
  local root = host.private:match "^(.*)/[^/]*$" .. "/root"
  prepare(self, core.jail.make_root, root)
  jail_program.hold()
  self.root, self.etc = root, bwrap.public_of(root)
end

-- The names at the top of the tree, with those that commands need: file calls may have removed them.
local function top_names(self, private)
  local names, why = core.jail.entries(private)
  if not names then fs_failed(("the private files of the session cannot be listed: %s: %s"):format(private, why)) end
  local needed = 0
  for _, name in ipairs(names) do
    if name == "tmp" or name == "home" or name == "workspace" then needed = needed + 1 end
  end
  if needed == 3 then return names end
  prepare(self, core.jail.fill_tree, private)
  return core.jail.entries(private)
end

-- Where things are, on the host, and where they go.
local function places(self)
  self:check_open()
  local host = self[1]:host(true)
  if not self.root then make_root(self, host) end
  host.root, host.etc, host.entries = self.root, self.etc, top_names(self, host.private)
  for _, name in ipairs(host.entries) do
    if not bwrap.is_system_name(name) then
      local ok, why = core.jail.place(self.root, host.private, name)
      if not ok then fs_failed(("the sandbox cannot be made ready for commands: /%s: %s"):format(name, why)) end
    end
  end
  return host
end

-- ---- running -----------------------------------------------------------------------------------

local function collect(p, stream, most)
  local kept = outputs.new(most)
  for bytes in p:chunks(stream) do kept:add(bytes) end
  return kept
end

local function meta_of(result)
  return { reason = "quota_exceeded", stdout = result.stdout, stderr = result.stderr, exit_code = result.exit_code }
end

-- A command may have written more than fits: what it printed is not lost.
local function check_quota(self, result)
  if not self.sandbox.quota_bytes then return end
  local ok, err = pcall(self[1].measure, self[1])
  if ok then return end
  if not errors.is(err, "SANDBOX_ERROR") then error(err, 0) end
  errors.raise("SANDBOX_ERROR", ("the command has ended with %d, and %s; remove some of it"):format(result.exit_code,
    err.message), meta_of(result), err)
end

local function run(self, command, from_ms)
  local p <close> = jailed.start(self.sandbox, places(self), command)
  local most = command.limits.output_bytes
  local kept = join.all {
    stdout = function() return collect(p, "stdout", most) end,
    stderr = function() return collect(p, "stderr", most) end,
  }
  p:wait()
  local result = jailed.outcome(p:text "report", command, function() return (kept.stderr:text()) end)
  result.stdout, result.stdout_truncated_bytes = kept.stdout:text()
  result.stderr, result.stderr_truncated_bytes = kept.stderr:text()
  result.duration_ms = core.now_ms() - from_ms
  check_quota(self, result)
  return result
end

-- The task of one command. What goes out of it as an error has been closed by then, which can wait only below
-- a pcall.
local function run_to_its_end(...)
  local ok, result = pcall(run, ...)
  if not ok then error(result, 0) end
  return result
end

-- While the command runs, the signal of its caller reaches it.
local function follow(child, signal)
  if not signal then return nil end
  local detach = signals.follow(signal, function()
    core.signal_abort(child.signal, task.cancelled("sandbox", "the command was cancelled", signal.reason))
  end)
  return setmetatable({}, { __close = detach })
end

-- Takes part in what close() ends.
local function during(self, thing)
  self.live[thing] = true
  return setmetatable({}, { __close = function() self.live[thing] = nil end })
end

--- Runs a command in bash and waits for its end.
---@param command string
---@param given? { cwd?: string, env?: table<string, string>, stdin?: string, timeout_ms?: integer,
---  signal?: harness.Signal, limits?: table }
---@return { stdout: string, stderr: string, exit_code: integer, signal?: string, duration_ms: integer,
---  stdout_truncated_bytes?: integer, stderr_truncated_bytes?: integer }
function Session:exec(command, given)
  local checked = options.exec(command, given)
  self:check_open()
  local limits = options.merge(self.sandbox.limits, checked.limits)
  local timeout_ms = limits.wall_ms
  if (checked.timeout_ms or 0) > 0 then timeout_ms = math.min(timeout_ms, checked.timeout_ms) end
  local caller = task.waiting_task()
  local child = task.make({ timeout_ms = timeout_ms, scope = "sandbox_run" }, run_to_its_end, self, {
    args = { BASH, "-c", command }, cwd = checked.cwd, env = checked.env, stdin = checked.stdin, limits = limits,
  }, core.now_ms())
  local _ <close> = follow(child, checked.signal)
  local _ <close> = during(self, child)
  return (task.join(child, caller))
end

--- Starts a program that runs on by itself, until it ends or the session is closed.
---@param command string a program, looked up in PATH
---@param given? { args?: string[], cwd?: string, env?: table<string, string>, signal?: harness.Signal, limits?: table }
---@return harness.SpawnedCommand
function Session:spawn(command, given)
  local checked = options.spawn(command, given)
  self:check_open()
  local args = table.move(checked.args or {}, 1, #(checked.args or {}), 2, { command })
  return spawned.start(self, places(self), {
    args = args, cwd = checked.cwd, env = checked.env, stdin = true,
    limits = options.merge(self.sandbox.limits, checked.limits),
  }, checked.signal)
end

-- ---- the end -----------------------------------------------------------------------------------

-- What runs is asked to end; whoever can wait does until it has.
local function end_live(self)
  local list = {}
  for thing in pairs(self.live) do list[#list + 1] = thing end
  for _, thing in ipairs(list) do thing:cancel(errors.new("OPERATION_CANCELLED", "the sandbox session was closed",
    { scope = "sandbox", reason = "session_closed" })) end
  if not (task.current() and chain.can_wait()) then return end
  for _, thing in ipairs(list) do pcall(thing.await, thing) end
end

--- Ends all commands, then the tree. May be called twice.
function Session:close()
  if self.closed then return end
  self.closed = true
  end_live(self)
  if self.root then jail_program.release() end
  self[1]:close()
end

--- What stands between the commands and this machine.
---@return table plain data, see machine.lua
function Session:isolation()
  return require("harness.sandbox.machine").isolation(self.sandbox)
end

---@param sandbox table bwrap, user, without, env, directories, limits, quota_bytes
---@param tree userdata of core.sandbox.directory
---@param request { session_id?: string }
---@return harness.SandboxSession
function M.new(sandbox, tree, request)
  return setmetatable({
    tree, session_id = request and request.session_id, sandbox = sandbox, live = {}, closed = false,
  }, Session)
end

return M
