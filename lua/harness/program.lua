--- Programs that a model writes: each runs in a process of its own, `harness-jail code` (sandbox/jail/code.h
--- has the protocol), which can do nothing but compute and ask for tools.
---
---     local programs = program.new {}                  -- one for a harness; close it
---     local answer = programs:run({ code = "return tools.add{ a = 1 }", tools = { "add" } }, {
---       call = function(calls) return { { value = "1" } } end,         -- values as JSON
---       own_ms = 120000,
---     })
---     answer.result, answer.printed
---
--- `programs:warm()` starts a process ahead of time, which the next program gets, and no other one. Starting
--- one takes the engine a millisecond, and bubblewrap ten: time that passes while a model is asked.

local chain = require "harness.chain"
local core = require "harness.core"
local errors = require "harness.errors"
local jail_program = require "harness.jail_program"
local json = require "harness.json"
local starts = require "harness.program_start"
local task = require "harness.task"

local M = {}

--- What a program may use: processor time, memory, calls of tools.
M.LIMITS = { cpu_ms = 10000, memory_bytes = 64 * 1024 * 1024, calls = 1000 }

local MOST_IN <const> = 16 * 1024 * 1024 -- a line to a program: CODE_MAX_IN of sandbox/jail/code.h
local MOST_OUT <const> = 2 * 1024 * 1024 -- a line of a program, with room: CODE_MAX_OUT
local TRY_MS <const> = 10000
local EXIT_MS <const> = 1000 -- between the end of its output and that of the process

-- One process -------------------------------------------------------------------------------------

---@class harness.Program
---@field process harness.Process
---@field rest string what came behind the last line
local Program = {}
Program.__index = Program

--- Ends it at once, and waits until it is gone. May be called again.
function Program:close()
  local p = self.process
  if p.closed then return end
  p:close_stdin() -- ends what bubblewrap is just making, and would leave alone when it is killed
  p:kill "KILL"
  p:ignore "stdout"
  p:ignore "stderr"
  -- Not left to close, which looks for what else is in its group: for bubblewrap that is the kernel's work.
  if task.current() and chain.can_wait() then pcall(task.shield, p.wait, EXIT_MS, p) end
  p:close()
end

function Program:is_alive()
  return select(2, self.process.core:result()) == "wait"
end

local function broken(reason, message, meta)
  meta = meta or {}
  meta.reason = reason
  errors.raise("SANDBOX_ERROR", "the process of the program " .. message, meta)
end

-- The next line that is not empty; nil when no more comes. An empty one comes before the last message where
-- that had to be written in haste (sandbox/jail/code_limits.c).
local function read_line(self)
  local parts, size, had_empty = {}, 0, false
  local bytes = self.rest
  while bytes do
    local at = bytes:find("\n", 1, true)
    parts[#parts + 1] = at and bytes:sub(1, at - 1) or bytes
    size = size + #parts[#parts]
    if size > MOST_OUT then broken("protocol", "has sent more than a message may have") end
    if at then
      bytes = bytes:sub(at + 1)
      self.rest = bytes
      if size > 0 then return table.concat(parts) end
      if had_empty then broken("protocol", "has sent what is no message") end
      parts, had_empty = {}, true
    else
      bytes = self.process:read()
    end
  end
  return nil
end

-- What is known of an end without an answer. Whoever started the process for us tells the end by a signal
-- as 128 + its number.
local function raise_died(self)
  local ok, result = task.deadline(EXIT_MS, "task", self.process.wait, self.process)
  if not ok then
    task.check()
    broken("protocol", "has closed its output without an answer")
  end
  local signal, code = result.signal, result.exit_code
  if not signal and code and code > 128 then signal = code - 128 end
  local said = self.process:text("stderr"):sub(1, 1000)
  if said:find "^bwrap: " then require("harness.sandbox.jailed").isolation_failed(said) end
  broken("process_died", ("ended without an answer (%s)%s"):format(
    signal and "signal " .. signal or "exit status " .. code, said ~= "" and ": " .. said or ""),
    { exit_code = not signal and code or nil, signal = signal })
end

local function is_call(call)
  return type(call) == "table" and type(call.tool) == "string" and call.input ~= nil
end

local function is_calls(calls)
  if type(calls) ~= "table" or #calls == 0 then return false end
  for i = 1, #calls do
    if not is_call(calls[i]) then return false end
  end
  return true
end

-- A process that Lua's mistakes have broken may write anything: nothing is believed.
local function checked(line)
  local ok, message = pcall(json.decode, line)
  if ok and type(message) == "table" then
    if message.result ~= nil or type(message.failed) == "string" or is_calls(message.calls) then return message end
  end
  return broken("protocol", "has sent what is no message")
end

-- Sends a line and waits for the next message; nil: the process has ended, or ends.
local function ask(self, line)
  if not self.process:write(line .. "\n") then return nil end
  local answer = read_line(self)
  return answer and checked(answer)
end

-- The processes of a harness ------------------------------------------------------------------------

---@class harness.ProgramSettings
---@field limits? { cpu_ms?: integer, memory_bytes?: integer, calls?: integer }
---@field without? table<string, true> protections that are left out (program_start.lua)

---@class harness.Programs
---@field limits { cpu_ms: integer, memory_bytes: integer, calls: integer }
---@field without table<string, true>
---@field spare harness.Program?
---@field closed boolean
local Programs = {}
Programs.__index = Programs

---@param settings? harness.ProgramSettings
---@return harness.Programs
function M.new(settings)
  settings = settings or {}
  local limits = {}
  for name, most in pairs(M.LIMITS) do limits[name] = settings.limits and settings.limits[name] or most end
  return setmetatable({ limits = limits, without = settings.without or {}, closed = false }, Programs)
end

--- Those of a harness, made when they are first asked for.
---@param harness table
---@return harness.Programs
function M.of(harness)
  local programs = harness.programs or M.new(harness.definition.programs)
  harness.programs = programs
  if harness.shut_down then programs.closed = true end
  return programs
end

--- What programs of these settings may use, and which protections are left out, as plain data.
---@param settings? harness.ProgramSettings
---@return { limits: table<string, integer>, without: string[] }
function M.describe(settings)
  local made = M.new(settings)
  return { limits = made.limits, without = json.array(made.without.namespaces and { "namespaces" } or {}) }
end

--- What a person wants to know of them: pairs of what and how it is. Tries one, so it waits.
---@param settings? harness.ProgramSettings
---@return string[][]
function M.report(settings)
  local programs = M.new(settings)
  local ok, err = pcall(programs.run, programs, { code = "return 1", tools = {} }, { own_ms = TRY_MS })
  programs:close()
  local limits = programs.limits
  local lines = {
    { "isolation", ok and "works" or "DOES NOT WORK" },
    { "limits", ("%d ms of processor time, %d bytes of memory, %d calls"):format(limits.cpu_ms, limits.memory_bytes,
      limits.calls) },
  }
  if programs.without.namespaces then lines[#lines + 1] = { "left out", "namespaces" } end
  if not ok then lines[#lines + 1] = { "missing", errors.is(err) and err.message or tostring(err) } end
  return lines
end

local function start(self)
  local file = jail_program.hold()
  local ok, started = pcall(starts.start, file, self.without)
  jail_program.release() -- the child has its own by now
  if not ok then error(started, 0) end
  return setmetatable({ process = started, rest = "" }, Program)
end

--- Starts a spare process if there is none. Whatever keeps it from starting is told by the next program.
function Programs:warm()
  if self.spare or self.closed then return end
  local ok, spare = pcall(start, self)
  if ok then self.spare = spare end
end

local function take_spare(self)
  local spare = self.spare
  self.spare = nil
  if spare and spare:is_alive() then return spare end
  if spare then spare:close() end
  return nil
end

--- Ends the spare process, and starts no other one. May be called again.
function Programs:close()
  self.closed = true
  local spare = self.spare
  self.spare = nil
  if spare then spare:close() end
end

-- One program ---------------------------------------------------------------------------------------

---@class harness.ProgramOptions
---@field call fun(calls: { tool: string, input: any }[]): { value?: string, error?: string }[] runs calls; values
--- are JSON, none for nil; what it raises ends the program
---@field own_ms integer how long it may take, without the time that calls take; 0: for ever

---@class harness.ProgramRun
---@field programs harness.Programs
---@field options harness.ProgramOptions
---@field left_ms integer
---@field program harness.Program?
---@field calls integer
local Run = {}
Run.__index = Run
Run.__close = function(self)
  if self.program then self.program:close() end
end

-- fn(program, ...) within what is left of the program's own time.
local function in_time(self, fn, ...)
  local limit_ms, before_ms = self.options.own_ms, core.now_ms()
  local ok, message = task.deadline(limit_ms > 0 and math.max(self.left_ms, 1) or 0, "tool", fn, self.program, ...)
  self.left_ms = self.left_ms - (core.now_ms() - before_ms)
  if ok then return message end
  if errors.is(message, "OPERATION_TIMEOUT") and not core.signal_aborted(task.current().scope) then
    errors.raise("OPERATION_TIMEOUT", ("the program took longer than %d ms, not counting the tools it waited for")
      :format(limit_ms), { scope = "tool", timeout_ms = limit_ms })
  end
  error(message, 0)
end

-- The first message of the program in this process.
local function begin_in(self, program, request)
  self.program = program
  return in_time(self, ask, request)
end

-- A spare process that has died meanwhile has not run anything.
local function begin(self, request)
  local spare = take_spare(self.programs)
  local message = spare and begin_in(self, spare, request)
  if message then return message end
  if spare then spare:close() end
  return begin_in(self, start(self.programs), request)
end

-- The line that answers calls. What is too much for it becomes an error of its call.
local function answer_line(answers)
  local items, left = {}, MOST_IN - 1024
  for i, answer in ipairs(answers) do
    local item = answer.error and ('{"error":%s}'):format(json.encode(answer.error, { invalid_utf8 = "replace" }))
      or answer.value and ('{"value":%s}'):format(answer.value) or "{}"
    if #item > left then
      item = ('{"error":"its output has %d bytes, too many for a program"}'):format(#item)
    end
    left = left - #item - 1
    items[i] = item
  end
  return ('{"results":[%s]}'):format(table.concat(items, ","))
end

local function answer(self, calls)
  local most = self.programs.limits.calls
  self.calls = self.calls + #calls
  if self.calls > most then
    errors.raise("TOOL_ERROR", ("the program made more than %d calls"):format(most),
      { reason = "too_many_calls", limit = most })
  end
  return answer_line(self.options.call(calls))
end

local REASONS <const> = { syntax = true, error = true, cpu = true, memory = true, result = true, request = true }

local function raise_failed(message)
  errors.raise("TOOL_ERROR", "the program failed: " .. message.failed, {
    reason = REASONS[message.reason] and "program_" .. message.reason or nil,
    printed = type(message.printed) == "string" and message.printed or nil,
  })
end

-- The messages of a program, up to its last one.
local function converse(self, request)
  local message = begin(self, request)
  while message and message.calls do message = in_time(self, ask, answer(self, message.calls)) end
  if not message then raise_died(self.program) end
  if message.failed then raise_failed(message) end
  return { result = message.result, printed = type(message.printed) == "string" and message.printed or nil }
end

--- Runs a program to its end. Raises TOOL_ERROR (meta.reason: program_syntax, program_error, program_cpu, …;
--- meta.printed) when it failed, SANDBOX_ERROR when its process did, OPERATION_TIMEOUT when it was too late.
--- Its process is gone then.
---@param request { code: string, tools: string[] }
---@param options harness.ProgramOptions
---@return { result: any, printed: string? }
function Programs:run(request, options)
  local run <close> = setmetatable({ programs = self, options = options, left_ms = options.own_ms, calls = 0 }, Run)
  local ok, answered = pcall(converse, run, json.encode {
    code = request.code, tools = json.array(request.tools), cpu_ms = self.limits.cpu_ms,
    memory_bytes = self.limits.memory_bytes,
  })
  if run.program then run.program:close() end -- here, since nothing can wait in __close when a task ends by an error
  if not ok then error(answered, 0) end
  return answered
end

return M
