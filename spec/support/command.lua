--- Runs the command `harness-lua` (or another program) as a child for specs: its standard streams
--- apart, its exit status, signals. Only inside a task.
---
---   local result = command.run { "-e", "print(1)", env = { LUA_INIT = "x = 1" } }
---   assert.same({ 0, "1\n", "" }, { result.status, result.stdout, result.stderr })
---
---   local child <close> = command.start { "run", "slow.lua", "helper", "Hi" }
---   child:await "ready"                      -- until standard error or output holds it
---   child:signal "INT"                       -- to the child and what it started, nobody else
---   assert.equal(130, child:finish().status)
---
--- The environment is ours without what Lua or a model provider would read from it. A child leads a
--- process group of its own, so a signal never reaches the runner of the specs.

local core = require "harness.core"
local join = require "harness.join"
local process = require "harness.process"
local task = require "harness.task"

local M = {}

M.HARNESS_LUA = os.getenv "HARNESS_LUA" or "build/harness-lua"
M.ROOT = io.popen("pwd"):read "l"

-- What would change the outcome if the machine that runs the specs had it set.
local CLEARED <const> = {
  "LUA_INIT", "LUA_INIT_5_4", "LUA_PATH", "LUA_PATH_5_4", "LUA_CPATH", "LUA_CPATH_5_4", "OPENAI_API_KEY",
  "OPENAI_BASE_URL", "OPENAI_MODEL", "HARNESS_LOG_LEVEL", "HARNESS_SPEC_RESULT", "http_proxy", "HTTP_PROXY",
  "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
}

local TIMEOUT_MS <const> = 60000

---@class spec.CommandOptions
---@field [integer] string the arguments
---@field program? string default: the interpreter under test
---@field redirect? string for the shell: "> /dev/full", ">&-", "2>&-", "| head -n 1"
---@field stdin? string|true a text; true: what `child:write` sends; default nothing
---@field env? table<string, string|false> false: not set
---@field cwd? string
---@field terminal? boolean run it on a pseudo-terminal; all its output is then in stdout

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function shell_line(program, args, redirect)
  local words = { quoted(program) }
  for i, arg in ipairs(args) do words[i + 1] = quoted(arg) end
  return table.concat(words, " ") .. " " .. (redirect or "")
end

-- The words that start it: env clears and sets variables and becomes the program itself.
local function command_line(options)
  local line, settings = { "env" }, {}
  for _, name in ipairs(CLEARED) do table.move({ "-u", name }, 1, 2, #line + 1, line) end
  for name, value in pairs(options.env or {}) do
    if value then settings[#settings + 1] = name .. "=" .. value
    else table.move({ "-u", name }, 1, 2, #line + 1, line) end
  end
  table.move(settings, 1, #settings, #line + 1, line)
  local program, args = options.program or M.HARNESS_LUA, { table.unpack(options) }
  if options.terminal then
    -- script(1) runs it in $SHELL, and a dash would die of the Ctrl-C that is meant for the child.
    local tail = { "SHELL=/bin/bash", "script", "-qec", shell_line(program, args, options.redirect), "/dev/null" }
    table.move(tail, 1, #tail, #line + 1, line)
  elseif options.redirect then
    local tail = { "bash", "-c", "exec " .. shell_line(program, args, options.redirect) }
    if options.redirect:find "^|" then tail[3] = tail[3]:gsub("^exec ", "") .. "; exit ${PIPESTATUS[0]}" end
    table.move(tail, 1, #tail, #line + 1, line)
  else
    line[#line + 1] = program
    table.move(args, 1, #args, #line + 1, line)
  end
  return line
end

-- Runs fn, but not for ever; returns its result or raises its error.
local function within(fn)
  local ok, result = task.deadline(TIMEOUT_MS, "task", fn)
  if not ok then error(result, 0) end
  return result
end

---@class spec.Command
---@field pid integer
---@field stdout string what it has written so far
---@field stderr string
local Command = {}
Command.__index = Command

local function read_all(self, stream)
  for bytes in self.process:chunks(stream) do
    self[stream] = self[stream] .. bytes
    if self.waiting then core.push(self.waiting) end
  end
end

--- Starts it; close it, or leave the scope.
---@param options spec.CommandOptions
---@return spec.Command
function M.start(options)
  local line = command_line(options)
  local p = process.spawn {
    file = line[1], args = { table.unpack(line, 2) }, stdin = options.stdin, cwd = options.cwd,
  }
  local self = setmetatable({ process = p, pid = p.pid, stdout = "", stderr = "", started = core.now_ms() },
    Command)
  self.readers = task.spawn(function()
    join.all {
      function() read_all(self, "stdout") end,
      function() read_all(self, "stderr") end,
    }
    self.ended = true
    if self.waiting then core.push(self.waiting) end
  end)
  return self
end

--- Waits until its output or its error output holds the text (a pattern).
---@param pattern string
function Command:await(pattern)
  local t = task.current()
  within(function()
    while not (self.stdout:find(pattern) or self.stderr:find(pattern)) do
      if self.ended then
        error(("it ended without %q\nstdout: %s\nstderr: %s"):format(pattern, self.stdout, self.stderr), 0)
      end
      self.waiting = t.token
      task.park(t)
      self.waiting = nil
    end
  end)
end

--- Sends text to its standard input.
function Command:write(text)
  self.process:write(text)
end

--- Ends its standard input.
function Command:close_stdin()
  self.process:close_stdin()
end

--- Signals it and what it started: "INT", "TERM", "HUP", "KILL", …
function Command:signal(name)
  self.process:kill(name)
end

--- Waits for its end. `signal` is the number of the signal that ended it, `ms` how long it ran.
---@return { status: integer?, signal: integer?, stdout: string, stderr: string, ms: integer }
function Command:finish()
  return within(function()
    self.readers:await()
    local result = self.process:wait()
    return {
      status = result.exit_code, signal = result.signal, stdout = self.stdout, stderr = self.stderr,
      ms = core.now_ms() - self.started,
    }
  end)
end

--- Ends it if it still runs.
function Command:close()
  if not self.ended then self.process:kill "KILL" end
  self.process:close()
  self.readers:cancel()
end

Command.__close = Command.close

--- Runs it to its end.
---@param options spec.CommandOptions
function M.run(options)
  local child <close> = M.start(options)
  return child:finish()
end

-- ---- files --------------------------------------------------------------------------------

--- A directory with these files (name -> text), removed when it is closed.
---@param files? table<string, string>
---@return { path: string, write: fun(self, name: string, text: string) }
function M.directory(files)
  local made = process.run { file = "mktemp", args = { "-d" } }
  local self = setmetatable({ path = made.stdout:gsub("\n", "") }, M.Directory)
  for name, text in pairs(files or {}) do self:write(name, text) end
  return self
end

M.Directory = {}
M.Directory.__index = M.Directory

function M.Directory:write(name, text)
  local file <close> = assert(io.open(self.path .. "/" .. name, "wb"))
  file:write(text)
end

function M.Directory:close()
  process.run { file = "rm", args = { "-rf", self.path } }
end

M.Directory.__close = M.Directory.close

return M
