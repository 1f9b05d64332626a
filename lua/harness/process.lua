--- Child processes as a task sees them.
---
---   local p <close> = process.spawn { file = "grep", args = { "x" }, stdin = "axb\nc\n" }
---   for bytes in p:chunks "stdout" do io.write(bytes) end
---   print(p:wait().exit_code)
---
--- Leaving the scope ends the process: TERM to its whole group, two seconds later KILL. It is done
--- when it has exited and its output was drained; what it left in the background is killed then.
--- Output that nobody reads makes the child wait once 1 MiB of it has come: read before `wait`, or
--- ask for none (stdout = "null").

local chain = require "harness.chain"
local core = require "harness.core"
local errors = require "harness.errors"
local join = require "harness.join"
local task = require "harness.task"

local M = {}

local SIGKILL <const> = 9
local CLOSE_WAIT_MS <const> = 500 -- what leaving the scope waits for an exit, at most

---@class harness.ProcessOptions
---@field file string the program; looked up in PATH unless it holds a slash
---@field args? string[] without the program's own name
---@field cwd? string
---@field env? string[]|table<string, string> "NAME=value" items or a map: all that it sees; default: ours
---@field stdin? string|true a text to read, or true: what `write` sends; default: nothing
---@field stdout? "pipe"|"null"|"inherit" default "pipe"
---@field stderr? "pipe"|"null"|"inherit"|"stdout" default "pipe"
---@field supervised? boolean harness-jail watches over it: nothing that it has started outlives it or this engine,
---  however it has detached itself, and though the engine is killed
---@field jail? boolean it is harness-jail (engine/process.h)
---@field fds? userdata[] further files that it gets (core.jail)
---@field uid? integer who it runs as, with gid; for root
---@field gid? integer

---@class harness.Process
---@field pid integer
---@field package core userdata
---@field package views table<string, userdata>
local Process = {}
Process.__index = Process
Process.__name = "harness.Process"

local function env_list(env)
  if env == nil or env[1] ~= nil then return env end
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = name .. "=" .. value end
  table.sort(list)
  return list
end

local function spawn_failed(options, code, message)
  local place = options.cwd and " in " .. options.cwd or ""
  errors.raise("PROCESS_ERROR", ("cannot start %s%s: %s"):format(options.file, place, message),
    { reason = "spawn", file = options.file, cwd = options.cwd, error = code })
end

local SUPERVISE <const> = { "supervise", "--report", "3", "--orders", "4", "--" }

local function core_options(options)
  return {
    file = options.file, args = options.args, cwd = options.cwd, env = env_list(options.env),
    stdin = options.stdin and "pipe" or "null", stdout = options.stdout, stderr = options.stderr,
    jail = options.jail, fds = options.fds, uid = options.uid, gid = options.gid,
  }
end

-- Starts it below harness-jail, whose descriptor follows the two that it gets as a jail.
local function spawn_supervised(options)
  local jail_program = require "harness.jail_program"
  local given, args = core_options(options), table.move(SUPERVISE, 1, #SUPERVISE, 1, {})
  args[#args + 1] = given.file
  table.move(given.args or {}, 1, #(given.args or {}), #args + 1, args)
  given.file, given.args, given.jail, given.gentle = "/proc/self/fd/5", args, true, true
  given.fds = { jail_program.hold() }
  local ok, handle, code, message = pcall(core.process.spawn, given)
  jail_program.release() -- the child has its own by now
  if not ok then error(handle, 0) end
  return handle, code, message
end

--- Starts a process.
---@param options harness.ProcessOptions
---@return harness.Process p close it: `local p <close> = process.spawn {...}`
function M.spawn(options)
  local text = type(options.stdin) == "string" and options.stdin or nil
  local handle, code, message
  if options.supervised then handle, code, message = spawn_supervised(options)
  else handle, code, message = core.process.spawn(core_options(options)) end
  if not handle then spawn_failed(options, code, message) end
  local views = {}
  for _, what in ipairs { "stdin", "stdout", "stderr", "report", "exit" } do views[what] = handle:view(what) end
  if text then
    handle:write(text) -- queued, whatever its size; when the child does not read it, that is its choice
    handle:close_stdin()
  end
  local self = setmetatable({ core = handle, views = views, pid = handle:pid() }, Process)
  if options.supervised then self.supervised = options end
  return self
end

--- The next piece of output, as it came; nil at its end.
---@param stream? "stdout"|"stderr" default "stdout"
---@return string?
function Process:read(stream)
  while true do
    local bytes, state = self.core:read(stream)
    if bytes then return bytes end
    if state == "end" then return nil end
    task.wait(self.views[stream or "stdout"])
  end
end

--- `for bytes in p:chunks "stdout" do`
---@param stream? "stdout"|"stderr"
---@return fun(): string?
function Process:chunks(stream)
  return function() return self:read(stream) end
end

--- All output up to its end.
---@param stream? "stdout"|"stderr"
---@return string
function Process:text(stream)
  local parts = {}
  for bytes in self:chunks(stream) do parts[#parts + 1] = bytes end
  return table.concat(parts)
end

--- Throws away what comes on that stream from now on, so that the process never waits for a reader.
---@param stream? "stdout"|"stderr"
function Process:ignore(stream)
  self.core:ignore(stream)
end

--- Queues text for its standard input; waits while a megabyte of earlier text is unread.
---@param text string
---@return boolean taken false: it reads no more
function Process:write(text)
  while true do
    local done, state = self.core:write(text)
    if done then return true end
    if state == "closed" then return false end
    task.wait(self.views.stdin)
  end
end

--- Ends its standard input, after what was written.
function Process:close_stdin()
  self.core:close_stdin()
end

-- How a supervised process has ended is what harness-jail reports.
local function reported(self)
  self.report = self.report or self:text "report"
  local what, why = self.report:match "error ([^\n]-): ([^\n]*)\n"
  if what then spawn_failed(self.supervised, what, why) end
  local exit_code = math.tointeger(self.report:match "exit (%d+)\n")
  if exit_code then return { exit_code = exit_code } end
  return { signal = math.tointeger(self.report:match "signal (%d+)\n") or SIGKILL }
end

--- Waits until it has exited and its output was drained.
---@return { exit_code: integer?, signal: integer? } result one of the two is set
function Process:wait()
  while true do
    local exit_code, signal = self.core:result()
    if exit_code or signal ~= "wait" then
      return self.supervised and reported(self) or { exit_code = exit_code, signal = signal }
    end
    task.wait(self.views.exit)
  end
end

--- Signals its whole group; harmless when it is over.
---@param signal? "TERM"|"KILL"|"INT"|"HUP"|"QUIT"|"USR1"|"USR2"|"STOP"|"CONT" default "TERM"
function Process:kill(signal)
  self.core:kill(signal)
end

--- TERM to its group now, KILL two seconds later, in the background.
function Process:stop()
  self.core:stop()
end

--- Stops it, waits for its end for at most half a second, and lets go of it; what is then still
--- running is ended in the background. May be called again.
function Process:close()
  local handle = self.core
  if self.closed then return end
  self.closed = true
  if handle:result() == nil and select(2, handle:result()) == "wait" then
    handle:stop()
    -- Best effort: where nobody can wait, or not that long, the background does the rest.
    if task.current() and chain.can_wait() then
      pcall(task.shield, function() task.wait(self.views.exit) end, CLOSE_WAIT_MS)
    end
  end
  handle:close()
end

Process.__close = Process.close

--- Runs a process to its end.
---@param options harness.ProcessOptions
---@return { exit_code: integer?, signal: integer?, stdout: string, stderr: string }
function M.run(options)
  local p <close> = M.spawn(options)
  local output = join.all {
    stdout = function() return p:text "stdout" end,
    stderr = function() return p:text "stderr" end,
  }
  local result = p:wait()
  result.stdout, result.stderr = output.stdout, output.stderr
  return result
end

return M
