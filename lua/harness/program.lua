--- Programs that a model writes: each runs in a process of its own, `harness-jail code` (sandbox/jail/code.h
--- has the protocol), which can do nothing but compute and ask for tools.
---
---     local answer = program.run(harness, { code = "return tools.add{ a = 1 }", tools = { "add" } }, {
---       call = function(calls) return { { value = "1" } } end,         -- values as JSON
---       own_ms = 120000,
---     })
---     answer.result, answer.printed
---
--- A harness keeps one process that has started already, so that a program begins at once; it is used for
--- one program, and another one takes its place.

local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local process = require "harness.process"
local program_jail = require "harness.program_jail"
local task = require "harness.task"

local M = {}

M.CPU_MS = 10000
M.MEMORY_BYTES = 64 * 1024 * 1024
M.MOST_CALLS = 1000

local MOST_IN <const> = 16 * 1024 * 1024 -- a line to a program: CODE_MAX_IN of sandbox/jail/code.h
local MOST_OUT <const> = 2 * 1024 * 1024 -- a line of a program, with room: CODE_MAX_OUT
local EXIT_MS <const> = 1000 -- between the end of its output and that of the process

-- One process -------------------------------------------------------------------------------------

---@class harness.Program
---@field process harness.Process
---@field rest string what came behind the last line
local Program = {}
Program.__index = Program

local function start()
  return setmetatable({ process = process.spawn(program_jail.command()), rest = "" }, Program)
end

--- Ends it at once. May be called again.
function Program:close()
  if not self.process.closed then self.process:kill "KILL" end
  self.process:close()
end

function Program:is_alive()
  return select(2, self.process.core:result()) == "wait"
end

local function broken(reason, message, meta)
  meta = meta or {}
  meta.reason = reason
  errors.raise("SANDBOX_ERROR", "the process of the program " .. message, meta)
end

-- The next line that is not empty; nil when no more comes.
local function read_line(self)
  local parts, size = {}, 0
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
      parts = {}
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
  broken("process_died", ("ended without an answer (%s)%s"):format(
    signal and "signal " .. signal or "exit status " .. code, said ~= "" and ": " .. said or ""),
    { exit_code = not signal and code or nil, signal = signal })
end

local function is_call(call)
  return type(call) == "table" and type(call.tool) == "string" and call.input ~= nil
end

local function is_calls(calls)
  if type(calls) ~= "table" or #calls == 0 or #calls > M.MOST_CALLS then return false end
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

-- The next message; nil: the process has ended, or ends.
local function receive(self)
  local line = read_line(self)
  return line and checked(line)
end

-- Sends a line and waits for the next message.
local function ask(self, line)
  return self.process:write(line .. "\n") and receive(self) or nil
end

-- The spare one -------------------------------------------------------------------------------------

--- Starts a spare process if there is none. Whatever keeps it from starting is told by the next program.
---@param harness table its field spare_program has it
function M.warm(harness)
  if harness.spare_program or harness.shut_down then return end
  local ok, spare = pcall(start)
  if ok then harness.spare_program = spare end
end

--- Ends the spare process.
---@param harness table
function M.close(harness)
  local spare = harness.spare_program
  harness.spare_program = nil
  if spare then spare:close() end
end

local function take_spare(harness)
  local spare = harness.spare_program
  harness.spare_program = nil
  if spare and spare:is_alive() then return spare end
  if spare then spare:close() end
  return nil
end

-- One program ---------------------------------------------------------------------------------------

---@class harness.ProgramOptions
---@field call fun(calls: { tool: string, input: any }[]): { value?: string, error?: string }[] runs calls; values
--- are JSON, none for nil; what it raises ends the program
---@field own_ms integer how long it may take, without the time that calls take; 0: for ever

---@class harness.ProgramRun
---@field harness table
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

-- The first message of the program in this process. A new spare one starts while it computes.
local function begin_in(self, program, request)
  self.program = program
  if not program.process:write(request .. "\n") then return nil end
  M.warm(self.harness)
  return in_time(self, receive)
end

-- A spare process that has died meanwhile has not run anything.
local function begin(self, request)
  local spare = take_spare(self.harness)
  local message = spare and begin_in(self, spare, request)
  if message then return message end
  if spare then spare:close() end
  return begin_in(self, start(), request)
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
  self.calls = self.calls + #calls
  if self.calls > M.MOST_CALLS then
    errors.raise("TOOL_ERROR", ("the program made more than %d calls"):format(M.MOST_CALLS),
      { reason = "too_many_calls", limit = M.MOST_CALLS })
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

--- Runs a program to its end. Raises TOOL_ERROR (meta.reason: program_syntax, program_error, program_cpu, …;
--- meta.printed) when it failed, SANDBOX_ERROR when its process did, OPERATION_TIMEOUT when it was too late.
---@param harness table whose spare process it may have
---@param request { code: string, tools: string[] }
---@param options harness.ProgramOptions
---@return { result: any, printed: string? }
function M.run(harness, request, options)
  local self <close> = setmetatable({ harness = harness, options = options, left_ms = options.own_ms, calls = 0 }, Run)
  local message = begin(self, json.encode {
    code = request.code, tools = json.array(request.tools), cpu_ms = M.CPU_MS, memory_bytes = M.MEMORY_BYTES,
  })
  while message and message.calls do message = in_time(self, ask, answer(self, message.calls)) end
  if not message then raise_died(self.program) end
  if message.failed then raise_failed(message) end
  return { result = message.result, printed = type(message.printed) == "string" and message.printed or nil }
end

return M
