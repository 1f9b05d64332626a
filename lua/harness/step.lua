--- `ctx:step(id, fn, options?)` of workflows. Without durability a step passes through: its function
--- runs, its value is returned. Ids, retries and deadlines are the same as they are in a durable run.

local core = require "harness.core"
local errors = require "harness.errors"
local nearest = require "harness.nearest"
local task = require "harness.task"

local M = {}

local MAX_ID <const> = 128

---@class harness.StepInfo
---@field idempotency_key string the same for every attempt of this step
---@field attempt integer from 1

---@class harness.StepRetry
---@field max_attempts? integer default 3
---@field min_delay_ms? integer default 100
---@field max_delay_ms? integer default 1000
---@field backoff? "exponential"|"fixed" default exponential

---@class harness.StepOptions
---@field retry? harness.StepRetry
---@field timeout_ms? integer of each attempt

local function step_error(id, reason, message)
  errors.raise("DURABLE_STEP_ERROR", message,
    { step_id = type(id) == "string" and id:sub(1, MAX_ID) or nil, reason = reason })
end

local function attempt_once(fn, info, timeout_ms)
  if timeout_ms and timeout_ms > 0 then return task.timeout(timeout_ms, fn, info) end
  return fn(info)
end

-- The ids that each attempt under way has used, it and what it started: they are free again in the next one.
local attempts = setmetatable({}, { __mode = "k" }) -- task -> { outer = …, ids }

local function note_claim(id)
  local t = task.current()
  while t do
    local claims = attempts[t]
    while claims do
      claims[#claims + 1] = id
      claims = claims.outer
    end
    t = t.parent
  end
end

-- Like pcall(attempt_once, ...); forgets what a failed attempt has claimed.
local function try(run, fn, info, timeout_ms)
  local t = task.current()
  local claims = { outer = attempts[t] }
  attempts[t] = claims
  local ok, value = pcall(attempt_once, fn, info, timeout_ms)
  attempts[t] = claims.outer
  if not ok then
    for _, id in ipairs(claims) do run.step_ids[id] = nil end
  end
  return ok, value
end

-- Each id is used once in an attempt, whether its step succeeds or not.
local function claim_id(run, id)
  local good = type(id) == "string" and #id <= MAX_ID and id:find "^[%w_.:%-]+$" and id ~= "." and id ~= ".."
  if not good then
    local got = type(id) == "string" and ("%q"):format(id:sub(1, MAX_ID)) or type(id)
    step_error(id, "invalid_step_id",
      ("a step id is 1 to %d letters, digits and _ . : -, and not . or ..; got %s"):format(MAX_ID, got))
  end
  run.step_ids = run.step_ids or {}
  if run.step_ids[id] then
    step_error(id, "duplicate_step", ("the step id %q is used twice in this run"):format(id))
  end
  run.step_ids[id] = true
  note_claim(id)
end

local function option_error(id, path, allowed, value)
  step_error(id, "invalid_options",
    ("step %q, option %s must be %s, got %s"):format(id, path, allowed, tostring(value)))
end

local function check_integer(id, path, value, min)
  if value == nil or math.type(value) == "integer" and value >= min then return end
  option_error(id, path, ("a whole number of at least %d"):format(min), value)
end

local function unknown_option(id, name, known)
  step_error(id, "invalid_options",
    ("step %q has no option %q%s"):format(id, name, nearest.hint(name, known, "options")))
end

local OPTION_NAMES <const> = { "retry", "timeout_ms" }
local RETRY_NAMES <const> = { "backoff", "max_attempts", "max_delay_ms", "min_delay_ms" }
local RETRY <const> = { max_attempts = 1, min_delay_ms = 0, max_delay_ms = 0 }
local LATER <const> = { effect = true, reconcile = true }

local function check_retry(id, retry)
  if type(retry) ~= "table" then option_error(id, "retry", "a table", retry) end
  for name, value in pairs(retry) do
    if RETRY[name] then
      check_integer(id, "retry." .. name, value, RETRY[name])
    elseif name ~= "backoff" then
      unknown_option(id, tostring(name), RETRY_NAMES)
    elseif value ~= "exponential" and value ~= "fixed" then
      option_error(id, "retry.backoff", '"exponential" or "fixed"', value)
    end
  end
end

local function check_options(id, options)
  if options == nil then return {} end
  if type(options) ~= "table" then
    step_error(id, "invalid_options", ("the options of step %q must be a table, got %s"):format(id, tostring(options)))
  end
  for name in pairs(options) do
    if LATER[name] then
      step_error(id, "not_available",
        ("step %q: `%s` needs durable runs, which are not available yet"):format(id, name))
    end
    if name ~= "retry" and name ~= "timeout_ms" then
      unknown_option(id, tostring(name), OPTION_NAMES)
    end
  end
  check_integer(id, "timeout_ms", options.timeout_ms, 0)
  if options.retry ~= nil then check_retry(id, options.retry) end
  return options
end

local function delay_of(retry, attempt)
  local min, most = retry.min_delay_ms or 100, retry.max_delay_ms or 1000
  if retry.backoff == "fixed" then return math.min(min, most) end
  return math.tointeger(math.min(most, min * 2.0 ^ math.min(attempt - 1, 62))) -- in floats: they do not wrap round
end

--- Runs the step's function and returns its value; raises its error after the last attempt.
---@param ctx harness.WorkflowContext
---@param id string
---@param fn fun(info: harness.StepInfo): any
---@param options? harness.StepOptions
---@return any
function M.run(ctx, id, fn, options)
  local run = rawget(ctx, "_run")
  task.waiting_task()
  run:check_open()
  claim_id(run, id)
  if type(fn) ~= "function" then
    step_error(id, "invalid_step", ("step %q needs a function, got %s"):format(id, type(fn)))
  end
  options = check_options(id, options)
  local retry = options.retry
  local most = retry and (retry.max_attempts or 3) or 1
  for attempt = 1, most do
    task.check()
    local info = { idempotency_key = run.id .. ":" .. id, attempt = attempt }
    if attempt == most then return (attempt_once(fn, info, options.timeout_ms)) end
    local ok, value = try(run, fn, info, options.timeout_ms)
    if ok then return value end
    if errors.is(value, "OPERATION_CANCELLED") then error(value, 0) end
    task.check() -- a timeout of the run is no reason to try again
    local delay = delay_of(retry, attempt)
    run:logger():warn("a step failed and is tried again", {
      step_id = id, attempt = attempt, delay_ms = delay, error = errors.serialize(value),
    })
    task.sleep(delay)
  end
end

--- Waits for so many milliseconds.
---@param _ harness.WorkflowContext
---@param ms number
function M.sleep(_, ms)
  return task.sleep(ms)
end

--- Waits until a time, in milliseconds since the epoch; returns at once when it is past.
---@param _ harness.WorkflowContext
---@param ms number
function M.sleep_until(_, ms)
  if type(ms) ~= "number" or ms ~= ms then
    errors.raise("VALIDATION_ERROR", "sleep_until(ms) takes milliseconds since the epoch, got " .. type(ms),
      { where = "sleep_until" })
  end
  return task.sleep(math.max(0.0, ms - 1.0 * core.wall_ms())) -- floats: the difference cannot wrap round
end

--- Waiting for a message from outside parks a run, which only a durable one can.
---@param _ harness.WorkflowContext
---@param name string
function M.wait(_, name)
  errors.raise("HARNESS_CONFIG_ERROR",
    ("ctx:wait(%q): durable runs are not available in this version"):format(tostring(name)),
    { reason = "not_available", path = "durable" })
end

return M
