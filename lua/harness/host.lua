--- The Lua half of harness.h: what bindings/embed*.c calls, always from outside of tasks.
---
--- A request becomes a root task. What is to be told about it, events and its end, is pulled by the host
--- when it has time (`take`): events stay in the run's bounded queue until then, so a host that pauses
--- finds the text joined, and not a backlog of callbacks.

local chain = require "harness.chain"
local errors = require "harness.errors"
local json = require "harness.json"
local loggers = require "harness.logger"
local lookup = require "harness.lookup"
local task = require "harness.task"

local M = {}

local RUNNING <const>, SUCCEEDED <const>, FAILED <const>, CANCELLED <const> = 0, 1, 2, 3

local records = {} -- by id: the requests that are not over
local queue, first, last = {}, 1, 0 -- records with something to tell, in turns
local harness = nil -- of the script that was loaded last
local harnesses = {} -- all of them, for the end
local unfinished = 0 -- root tasks of ours

-- ---- set-up -------------------------------------------------------------------------------

---@class harness.HostNative what C gives
---@field log fun(line: string)
---@field log_level? string
---@field allow_environment boolean

--- Prepares the state: a program of somebody else's is not to be ended, printed into or asked.
---@param native harness.HostNative
function M.setup(native)
  chain.install(task.is_base)
  loggers.hosted = not native.allow_environment
  loggers.write = function(line) return native.log((line:gsub("\n$", ""))) or true end
  if native.log_level then loggers.DEFAULT_LEVEL = native.log_level end
  local own = loggers.new {}
  task.report = function(err, trace)
    own:error("an error that nobody awaited", { error = errors.serialize(err), traceback = trace })
  end
  os.setlocale = function()
    errors.raise("HARNESS_CONFIG_ERROR", "os.setlocale is the host's to call: the locale is the whole program's",
      { reason = "embedded" })
  end
  os.exit = function()
    errors.raise("HARNESS_CONFIG_ERROR", "os.exit is the host's to call: this engine is part of another program",
      { reason = "embedded" })
  end
end

-- JSON that the host gave; nil stays nil.
local function decoded(name, text)
  if not text then return nil end
  local ok, value = pcall(json.decode, text)
  if ok then return value end
  return errors.raise("VALIDATION_ERROR", ("%s is not valid JSON: %s"):format(name, value.message),
    { where = name, offset = value.meta.offset })
end

local function object(name, text)
  local value = decoded(name, text)
  if value == nil or type(value) == "table" and value ~= json.null then return value end
  return errors.raise("VALIDATION_ERROR", name .. " must be an object", { where = name })
end

local registered = {} -- names of globals that are the host's

--- A global table of host functions, each callable and usable as a tool.
---@param name string
---@param functions { name: string, call: function, description?: string, input?: string }[]
function M.register(name, functions)
  if _G[name] ~= nil and not registered[name] then
    errors.raise("VALIDATION_ERROR", ("a global %q exists, and scripts rely on it: choose another name"):format(name),
      { where = "table" })
  end
  local t = {}
  for _, fn in ipairs(functions) do
    local call = fn.call
    local function run(_, input)
      if input == nil then input = json.null end
      return json.decode(call(json.encode(input)))
    end
    local tool = fn.description and { description = fn.description, run = run } or {}
    tool.input = object(("%s.%s: input_schema"):format(name, fn.name), fn.input)
    t[fn.name] = setmetatable(tool, { __call = run, __name = "harness.HostFunction" })
  end
  _G[name], registered[name] = t, true
end

-- ---- loading ------------------------------------------------------------------------------

local function root_task(fn, ...)
  local t = task.make({ root = true }, fn, ...)
  t.waiter = 0 -- its outcome is looked at here
  unfinished = unfinished + 1
  return t
end

local function is_harness(value)
  return type(value) == "table" and (getmetatable(value) or {}).__name == "harness.Harness"
end

-- What runs load at their first need is loaded with the script: a frame has no time for it.
local EARLY <const> = {
  "harness.agents", "harness.handler_agent", "harness.memory", "harness.model_handle", "harness.model_stream",
  "harness.nested", "harness.schema", "harness.step", "harness.stream", "harness.workflow",
}

local function take_harness(t)
  if t.failed or not is_harness(t.value) then return end
  for _, name in ipairs(EARLY) do require(name) end
  harness = t.value
  harnesses[#harnesses + 1] = harness
end

--- Runs a script as a task until it has ended or waits, and what was ready before it. Raises its error.
---@param text string
---@param name string
---@param mode "t"|"bt"
---@return boolean more is there something for `take`?
---@return integer longest_us the longest resume
function M.load(text, name, mode)
  local chunk, err = load(text, name, mode)
  if not chunk then errors.raise("HARNESS_CONFIG_ERROR", err, { reason = "cannot_load", path = name:sub(2) }) end
  local told = false
  local t = root_task(chunk, name:sub(2))
  t.on_end = function(ended)
    unfinished = unfinished - 1
    take_harness(ended)
    if ended.failed and told then task.report(ended.value, ended.traceback) end
  end
  local longest_us = 0
  while t.state == "new" do
    local _, us = task.step(0)
    longest_us = math.max(longest_us, us)
  end
  told = true
  if t.state == "done" and t.failed then error(t.value, 0) end
  return queue[first] ~= nil, longest_us
end

-- ---- requests -----------------------------------------------------------------------------

local function enqueue(record)
  if record.queued then return end
  queue[last + 1] = record -- first what may fail for want of memory: a gap would end the queue for ever
  last = last + 1
  record.queued = true
end

local function dequeue()
  local record = queue[first]
  if not record then return nil end
  queue[first] = nil
  first = first + 1
  if first > last then first, last = 1, 0 end
  record.queued = false
  return record
end

local function over(record, state, value)
  record.state, record.value = state, value
  enqueue(record)
end

local function body(record, kind, target, session_id, input, options)
  local session = record.harness:session(session_id)
  local reader = record.wants_events and require("harness.stream").new_queue() or nil
  local run = session[kind][target]:start(input, options, reader)
  record.run = run
  if reader and not record.released then
    record.stream = require("harness.stream").of_run(run, reader)
    record.token = task.callback(function() enqueue(record) end)
    enqueue(record)
  end
  return run:result()
end

-- "agents" or "workflows": they share one namespace.
local function kind_of(definition, target)
  if type(target) ~= "string" then
    errors.raise("VALIDATION_ERROR", "target must name an agent or a workflow", { where = "target" })
  end
  if definition.workflows[target] then return "workflows" end
  if definition.agents[target] then return "agents" end
  local all = {}
  for _, map in ipairs { definition.agents, definition.workflows } do
    for id in pairs(map) do all[id] = true end
  end
  return lookup.unknown("AGENT_NOT_FOUND", "agent or workflow", target, all, "agent_id")
end

--- Starts a run. Raises what is wrong with the request itself.
---@param id userdata the host's handle, which is valid until `release`
---@param session_id string?
---@param target string
---@param input string? JSON
---@param options string? JSON
---@param wants_events boolean
function M.start(id, session_id, target, input, options, wants_events)
  if not harness then
    errors.raise("HARNESS_CONFIG_ERROR", "no harness was loaded: a script has to end with `return harness.define{...}`",
      { reason = "no_harness" })
  end
  local kind = kind_of(harness.definition, target)
  local value, opts = decoded("input_json", input), object("options_json", options)
  local record = { id = id, harness = harness, wants_events = wants_events, state = RUNNING, queued = false }
  record.task = root_task(body, record, kind, target, session_id, value, opts)
  records[id] = record -- not before: what raises leaves nothing behind
  record.task.on_end = function(t)
    unfinished = unfinished - 1
    if not t.failed then return over(record, SUCCEEDED, t.value) end
    over(record, errors.is(t.value, "OPERATION_CANCELLED") and CANCELLED or FAILED, errors.serialize(t.value))
  end
end

--- The host has given the handle back: nothing of the run is told any more.
---@param id userdata
function M.release(id)
  local record = records[id]
  if not record then return end
  records[id] = nil
  record.released = true
  if record.stream then record.stream:close() end
  if record.token then task.callback_close(record.token) end
end

--- Asks a run to stop; harmless when it is over.
---@param id userdata
---@param reason string?
function M.cancel(id, reason)
  local record = records[id]
  if not record or record.state ~= RUNNING then return end
  if record.run then record.run:cancel(reason) else record.task:cancel(reason) end
end

local TO_JSON <const> = { invalid_utf8 = "replace" }

local function forget(record)
  if record.token then task.callback_close(record.token) end
  records[record.id] = nil
end

--- What is to be told next: the id, nil and an event, or the id, the state and the output or error, as
--- JSON. Nothing when there is nothing.
---@return userdata? id
---@return integer? state
---@return string? text
function M.take()
  while true do
    local record = dequeue()
    if not record then return nil end
    local event, state
    if record.stream and not record.released then event, state = record.stream:poll(record.token) end
    if event then
      enqueue(record) -- others first
      return record.id, nil, json.encode(event, TO_JSON)
    end
    local told_all = not record.stream or state == "end"
    if told_all and record.state ~= RUNNING and not record.released then
      forget(record)
      local value = record.value
      if value == nil then value = json.null end
      return record.id, record.state, json.encode(value, TO_JSON)
    end
  end
end

-- ---- the end ------------------------------------------------------------------------------

--- Stops everything; what stops takes its turns until `closed` says true.
function M.close()
  for _, record in pairs(records) do
    if record.state == RUNNING then record.task:cancel "the engine was freed" end
  end
  for _, one in ipairs(harnesses) do
    root_task(one.shutdown, one).on_end = function() unfinished = unfinished - 1 end
  end
end

--- Has all ended, after `close`?
---@return boolean
function M.closed()
  return unfinished == 0
end

M.step = task.step

return M
