--- A command that runs on by itself in a sandbox: `session:spawn(...)`.

local errors = require "harness.errors"
local jailed = require "harness.sandbox.jailed"
local nearest = require "harness.nearest"
local signals = require "harness.signal"
local task = require "harness.task"

local M = {}

local CAN_BE_SENT <const> = { "SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGSTOP",
  "SIGCONT" }
local SHORT <const> = {}
for _, name in ipairs(CAN_BE_SENT) do
  SHORT[name] = name:sub(4)
  SHORT[name:sub(4)] = name:sub(4)
end

---@class harness.SpawnedCommand
---@field pid integer of its isolation, on the host
local Spawned = {}
Spawned.__index = Spawned
Spawned.__name = "harness.SpawnedCommand"

--- The next piece of output, as it came; nil at its end.
---@param stream? "stdout"|"stderr" default "stdout"
---@return string?
function Spawned:read(stream)
  if stream ~= nil and stream ~= "stdout" and stream ~= "stderr" then
    errors.raise("VALIDATION_ERROR", ('read takes "stdout" or "stderr", got %s'):format(tostring(stream)),
      { where = "sandbox" })
  end
  return self.process:read(stream or "stdout")
end

--- Sends bytes to its standard input; waits while a megabyte of them is unread.
---@param data string
---@return boolean taken false: it reads no more
function Spawned:write(data)
  if type(data) ~= "string" then
    errors.raise("VALIDATION_ERROR", "write takes a string, got " .. type(data), { where = "sandbox" })
  end
  return self.process:write(data)
end

--- Ends its standard input, after what was written.
function Spawned:close_stdin() self.process:close_stdin() end

--- Waits for its end, which is never an error; more than one may.
---@return { exit_code: integer, signal?: string }
function Spawned:wait()
  local ended = self.monitor:await()
  return { exit_code = ended.exit_code, signal = ended.signal }
end

--- Signals it and what it started; harmless when it is over.
---@param signal? string default "SIGTERM"
function Spawned:kill(signal)
  local name = SHORT[signal or "SIGTERM"]
  if not name then
    errors.raise("VALIDATION_ERROR", ("%s cannot be sent%s"):format(tostring(signal),
      nearest.hint(tostring(signal), CAN_BE_SENT, "signals")), { where = "sandbox" })
  end
  if not self.monitor:done() then self.process:kill(name) end
end

-- What close() of the session calls.
function Spawned:cancel() self.process:stop() end
function Spawned:await()
  if self.monitor then return self.monitor:await() end
  self.process:wait() -- it is still being started
end

Spawned.__close = function(self)
  self.process:stop()
  pcall(self.await, self)
end

local KILLED <const> = { exit_code = 137, signal = "SIGKILL" } -- with all that it was in

-- Waits for its end, whoever else does.
local function watch(self, session)
  self.process:wait()
  session.live[self] = nil
  if self.detach then self.detach() end
  return jailed.ended(self.report .. self.process:text "report") or KILLED
end

-- Waits until it runs, or it is known why it cannot.
local function await_start(self, command)
  self.report = self.process:read "report" or ""
  if self.report:find "^started\n" then return end
  self.report = self.report .. self.process:text "report"
  jailed.check_started(self.report, command, function() return self.process:text "stderr" end)
end

local function follow(self, signal)
  self.detach = signals.follow(signal, function() self.process:stop() end)
end

--- Starts it; returns when it runs. Raises SANDBOX_ERROR when it cannot.
---@param session table a session of bash{}
---@param places harness.JailPlaces
---@param command harness.JailedCommand
---@param signal? harness.Signal ends it
---@return harness.SpawnedCommand
function M.start(session, places, command, signal)
  local p = jailed.start(session.sandbox, places, command)
  local self = setmetatable({ process = p, pid = p.pid, report = "" }, Spawned)
  session.live[self] = true
  local ok, err = pcall(await_start, self, command)
  if session.closed or not ok then
    session.live[self] = nil
    p:close()
    session:check_open()
    error(err, 0)
  end
  if signal then follow(self, signal) end
  self.monitor = task.make({ root = true }, watch, self, session)
  return self
end

return M
