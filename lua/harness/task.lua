--- The scheduler: everything that waits is a coroutine, and this file resumes it.
---
--- A task is a coroutine with a token (its place in the ready queue, which is in C) and an abort
--- signal. Whatever it waits for queues the token; `dispatch` takes tokens in order and resumes
--- their tasks, never from inside another resume. A task that is woken looks itself whether what
--- it waits for has come, so a wake-up too many does no harm.
---
--- Concurrency is structured: a task ends after its children. After an abort each task has its
--- grace; what has not ended by then is closed (its to-be-closed variables run).
---
--- Only this file resumes tasks, so errors, tracebacks and cancellation have one place.

local core = require "harness.core"
local chain = require "harness.chain"

-- Loaded when something goes wrong first, which for many a script is never.
local errors = setmetatable({}, {
  __index = function(self, name)
    local fn = require("harness.errors")[name]
    rawset(self, name, fn)
    return fn
  end,
})

core.set_error_factory(function(code, message, meta) return errors.new(code, message, meta) end)

local yield, create, close, traceback = coroutine.yield, coroutine.create, chain.raw_close, debug.traceback
local resume, take, push, task_close = core.resume, core.take, core.push, core.task_close
local signal_aborted, signal_reason = core.signal_aborted, core.signal_reason
local PARK = chain.PARK
local DONE <const> = {} -- what a worker yields when its function has returned

local M = {}

--- Milliseconds a task may go on after its abort; the harness sets its own for its runs.
M.CANCEL_GRACE_MS = 1000
local SHIELD_MS <const> = 5000
local BATCH <const> = 256 -- resumes between two looks at the outside world

---@class harness.Task
---@field package token integer
---@field package signal integer
---@field package scope integer the signal that its waits listen to: its own, or that of a shield or deadline
local Task = {}
Task.__index = Task
Task.__name = "harness.Task"

local tasks = {} -- by slot index; the owner of a token: a task, or a callback record
local current = nil -- the task that runs now
local root = nil -- the task that M.run runs
local idle_workers, idle_count = {}, 0
local MAX_IDLE <const> = 256

-- ---- workers ------------------------------------------------------------------------------

local function keep_results(t, n, ...)
  t.n = n
  if n <= 1 then t.value = ... else t.values = { ... } end
end

local function keep(...)
  keep_results(current, select("#", ...), ...)
end

local worker

local function idle()
  return worker(yield(DONE))
end

-- A worker runs one function after another, so that a task does not cost a new coroutine. Its frame is
-- given up (by a tail call) before it waits for the next one: nothing of the last one is held meanwhile.
function worker(fn, ...)
  return idle(keep(fn(...)))
end

local function take_worker()
  if idle_count == 0 then return create(worker) end
  local co = idle_workers[idle_count]
  idle_workers[idle_count] = nil
  idle_count = idle_count - 1
  return co
end

-- ---- the family ---------------------------------------------------------------------------

local function link_child(parent, t)
  t.parent = parent
  local last = parent.last_child
  if last then
    last.next_sibling, t.prev_sibling = t, last
  else
    parent.first_child = t
  end
  parent.last_child = t
end

local function unlink_child(t)
  local parent, prev, next = t.parent, t.prev_sibling, t.next_sibling
  if prev then prev.next_sibling = next else parent.first_child = next end
  if next then next.prev_sibling = prev else parent.last_child = prev end
  t.prev_sibling, t.next_sibling = nil, nil
end

local function wake_waiters(t)
  local group = t.group
  if group then
    group[#group + 1] = t
    push(group.token)
  end
  local waiter = t.waiter
  if not waiter then return end
  push(waiter)
  if t.waiters then
    for _, token in ipairs(t.waiters) do push(token) end
  end
end

local function add_waiter(t, token)
  if not t.waiter then
    t.waiter = token
  else
    t.waiters = t.waiters or {}
    t.waiters[#t.waiters + 1] = token
  end
end

local function close_scopes(t)
  local scopes = t.scopes
  for i = #scopes, 1, -1 do core.signal_close(scopes[i]) end
  t.scopes = nil
end

local function grace_of(t)
  return t.grace_ms or M.CANCEL_GRACE_MS
end

-- The very end of a task: nothing of it happens after this.
local function complete(t)
  local failed = t.failed
  if t.scopes then close_scopes(t) end
  if t.watches then
    for _, watch in ipairs(t.watches) do watch:close() end
    t.watches = nil
  end
  local token = t.token
  tasks[token & 0xffffffff] = nil
  local was_aborted = task_close(token, t.signal)
  t.state, t.signal, t.scope, t.co = "done", 0, 0, nil
  wake_waiters(t)
  if t.on_end then t.on_end(t) end
  local parent = t.parent
  local unseen = failed and not t.waiter and not t.group and not was_aborted
  if not parent then
    if unseen then M.report(t.value, t.traceback) end
    return
  end
  unlink_child(t)
  -- What was joined took of its parent's grace: the parent gets its own. A task that never started
  -- gives none, so a loop that goes on making tasks does not live for ever.
  if parent.reaping and was_aborted and not t.not_started then core.reap_start(parent.token, grace_of(parent)) end
  if unseen then
    parent.unseen = parent.unseen or {}
    table.insert(parent.unseen, t)
  end
  if parent.state == "joining" and not parent.first_child then push(parent.token) end
end

local function cancel_children(t, reason)
  local child = t.first_child
  while child do
    local next = child.next_sibling
    core.signal_abort(child.signal, reason)
    child = next
  end
end

-- The first error among the children that nobody awaited; it becomes the parent's.
local function unseen_error(t)
  for _, child in ipairs(t.unseen or {}) do
    if not child.seen then return child end
  end
end

local function settle_unseen(t)
  local child = unseen_error(t)
  t.unseen = nil
  if not child then return end
  M.report(child.value, child.traceback)
  if not t.failed then
    t.failed, t.value, t.n, t.traceback = true, child.value, 1, child.traceback
  end
end

-- The function of the task has ended; the task ends after its children.
local function ended(t)
  if not t.first_child then
    if t.unseen then settle_unseen(t) end
    return complete(t)
  end
  t.state = "joining"
  if t.failed then cancel_children(t, M.cancelled("task", "its parent failed", t.value)) end
end

local function note_failure(t, err)
  t.failed, t.value, t.n = true, err, 1
  if type(err) == "table" and errors.is(err) and (err.traceback or err.category == "cancelled") then return end
  t.traceback = traceback(t.co)
  if errors.is(err) then err.traceback = t.traceback end
end

-- Closes the coroutines of a suspended task, innermost first.
local function close_suspended(t)
  local suspended = chain.suspended(t.co)
  current = t -- waiting in a __close is refused by chain.can_wait, with a clear error
  M.closing = true
  for i = #suspended, 1, -1 do
    local ok, err = close(suspended[i])
    if not ok then M.report(err, nil) end
  end
  M.closing = false
  current = nil
end

-- The task called os.exit: it ends here and now, and all others are told to.
local function exit_from(t, ...)
  M.exit_request = M.exit_request or { ... }
  local reason = M.cancelled("task", "the program ends")
  close_suspended(t)
  t.failed, t.value, t.n, t.seen = true, reason, 1, true
  ended(t)
  if root.state ~= "done" then core.signal_abort(root.signal, reason) end
end

local function after_resume(t, ok, tag, ...)
  current = nil
  if ok and tag == PARK then
    t.state = "parked"
    return
  end
  if ok and tag == DONE then
    if idle_count < MAX_IDLE then
      idle_count = idle_count + 1
      idle_workers[idle_count] = t.co
    end
    return ended(t)
  end
  if ok and tag == chain.EXIT then return exit_from(t, ...) end
  note_failure(t, tag)
  local closed, err = close(t.co)
  if not closed and not rawequal(err, tag) then t.value = err end -- a __close that raised replaces it
  ended(t)
end

-- Ends a task that would not end by itself.
local function reap(t)
  local reason = signal_reason(t.signal)
  t.unsettled = true
  close_suspended(t)
  t.failed, t.value, t.n = true, reason, 1
  ended(t)
end

-- What is left in the tree below t, deepest first: each is closed by itself, so closing never nests.
local function reap_tree(t)
  local list, stack = {}, { t }
  while #stack > 0 do
    local at = table.remove(stack)
    list[#list + 1] = at
    local child = at.first_child
    while child do
      stack[#stack + 1] = child
      child = child.next_sibling
    end
  end
  for i = #list, 1, -1 do
    local at = list[i]
    if at.state == "parked" or at.state == "new" then reap(at) end
  end
end

-- A task that was aborted before is woken: ends its grace when that is over. True when the task is gone.
local function grace(t)
  if not core.reap_due(t.token) then return false end
  if t.first_child then -- its children had the same time: they go first, then it gets its own
    local child = t.first_child
    while child do
      local next = child.next_sibling
      core.signal_abort(child.signal, signal_reason(t.signal))
      reap_tree(child)
      child = next
    end
    if t.state ~= "done" then core.reap_start(t.token, grace_of(t)) end
    return t.state == "done"
  end
  if t.state ~= "parked" then return false end
  reap(t)
  return true
end

local function start(t)
  t.co = take_worker()
  t.state = "running"
  current = t
  local fn, args = t.fn, t.args
  t.fn, t.args = nil, nil
  if not args then return after_resume(t, resume(t.co, fn, t.arg)) end
  return after_resume(t, resume(t.co, fn, table.unpack(args, 1, args.n)))
end

local function go_on(t)
  local state = t.state
  if state == "parked" then
    t.state, current = "running", t
    return after_resume(t, resume(t.co))
  elseif state == "joining" then
    if not t.first_child then
      if t.unseen then settle_unseen(t) end
      return complete(t)
    end
    return
  elseif state == "new" then
    return start(t)
  elseif state == "callback" then
    return t.fn(t)
  end
end

local function wake(t)
  if not signal_aborted(t.signal) then return go_on(t) end
  if t.state == "new" then -- it never started, so nothing of it is to be undone
    t.failed, t.value, t.n, t.not_started = true, signal_reason(t.signal), 1, true
    return ended(t)
  end
  if t.reaping then
    if not grace(t) then go_on(t) end
    return
  end
  t.reaping = true
  go_on(t)
  if t.state ~= "done" then core.reap_start(t.token, grace_of(t)) end -- most end at once
end

-- ---- waiting ------------------------------------------------------------------------------

--- The task that runs now, or nil.
---@return harness.Task?
function M.current()
  return current
end

-- Finds out before an operation starts whether the task may wait here.
local function waiting_task()
  local t = current
  if not t then
    errors.raise("HARNESS_CONFIG_ERROR", "this call waits, and waiting is possible only inside a task: "
      .. "run your code with harness-lua, or with harness.run(function() ... end)", { reason = "outside_task" })
  end
  if M.closing then
    errors.raise("HARNESS_CONFIG_ERROR", "cannot wait in a __close that runs because its task was ended by force",
      { reason = "cannot_wait" })
  end
  if not chain.can_wait() then
    errors.raise("HARNESS_CONFIG_ERROR", "cannot wait here: a C function that Lua cannot suspend is on the way "
      .. "(a table.sort comparison, a string.gsub callback, a module that is being required, a __gc); "
      .. "do what waits before or after it", { reason = "cannot_wait" })
  end
  return t
end
M.waiting_task = waiting_task

-- Raises the abort reason again, after one turn, so that a loop that swallows it starves nobody.
local function raise_again(t)
  push(t.token)
  yield(PARK)
  error(signal_reason(t.scope), 0)
end

--- Raises the abort reason when the running task was aborted.
function M.check()
  local t = current
  if t and signal_aborted(t.scope) then
    waiting_task()
    raise_again(t)
  end
end

--- Parks the running task until `op:arm(token)` says that there is something to take. When the
--- task is aborted meanwhile, `op:disarm()` is called and the reason raised.
---@param op table|userdata an object with the methods arm(token) and disarm()
function M.wait(op)
  local t = waiting_task()
  if signal_aborted(t.scope) then raise_again(t) end
  while not op:arm(t.token) do
    yield(PARK)
    if signal_aborted(t.scope) then
      op:disarm()
      error(signal_reason(t.scope), 0)
    end
  end
end

--- Parks the running task once; whoever knows its token wakes it. For what is written in Lua.
--- Raises the abort reason, unless `quietly`.
local function park(t, quietly)
  if not quietly and signal_aborted(t.scope) then raise_again(t) end
  yield(PARK)
  if not quietly and signal_aborted(t.scope) then error(signal_reason(t.scope), 0) end
end

--- Waits for so many milliseconds.
---@param ms number
function M.sleep(ms)
  if type(ms) ~= "number" or ms ~= ms then
    errors.raise("VALIDATION_ERROR", "sleep(ms) takes a number of milliseconds, got " .. type(ms),
      { where = "sleep" })
  end
  local t = waiting_task()
  if signal_aborted(t.scope) then raise_again(t) end
  core.sleep(t.token, math.tointeger(ms) or math.ceil(math.min(math.max(ms, 0), 2 ^ 52)))
  while core.sleeping(t.token) do
    yield(PARK)
    if signal_aborted(t.scope) then
      core.sleep_stop(t.token)
      error(signal_reason(t.scope), 0)
    end
  end
end

--- Lets everything else that is ready run first.
function M.pause()
  local t = waiting_task()
  if signal_aborted(t.scope) then raise_again(t) end
  push(t.token)
  park(t)
end

-- ---- making tasks -------------------------------------------------------------------------

---@class harness.TaskOptions
---@field timeout_ms? integer deadline of the task's signal
---@field scope? string what the timeout's error names as its scope
---@field grace_ms? integer
---@field root? boolean not a child of the running task, nor under its signal
---@field signal? integer the signal to live under, instead of the running task's

--- Makes a task that runs fn(...); a child of the running one.
---@param options harness.TaskOptions?
---@param fn function
---@return harness.Task
function M.make(options, fn, ...)
  local parent = current
  if options and options.root then parent = nil end
  local above = options and options.signal or (parent and parent.scope) or 0
  local token, signal
  if options and options.timeout_ms then
    token, signal = core.task_open(above, options.timeout_ms, options.scope)
  else
    token, signal = core.task_open(above)
  end
  local n, first = select("#", ...), ...
  local t = setmetatable({ -- 16 fields, those that most tasks come to have: a table that grows is rehashed
    token = token, signal = signal, scope = signal, state = "new", fn = fn, arg = first, co = false, n = 0,
    parent = parent, group = false, waiter = false, value = nil, prev_sibling = nil, next_sibling = nil,
    first_child = nil, last_child = nil,
  }, Task)
  local grace_ms = options and options.grace_ms or (parent and parent.grace_ms)
  if grace_ms then t.grace_ms = grace_ms end
  if n > 1 then t.args = table.pack(...) end
  tasks[token & 0xffffffff] = t
  if parent then link_child(parent, t) end
  push(token)
  return t
end

--- Starts fn(...) as a child of the running task.
---@param fn function
---@return harness.Task
function M.spawn(fn, ...)
  if type(fn) ~= "function" then
    errors.raise("VALIDATION_ERROR", "spawn(fn, ...) takes a function, got " .. type(fn), { where = "spawn" })
  end
  if not current then waiting_task() end
  return M.make(nil, fn, ...)
end

--- Has the task ended?
---@return boolean
function Task:done()
  return self.state == "done"
end

-- Results or error of a task that has ended.
local function outcome(t)
  t.seen = true
  if t.failed then error(t.value, 0) end
  if t.n <= 1 then return t.value end
  return table.unpack(t.values, 1, t.n)
end

--- Waits until the task has ended; returns what its function returned, or raises its error.
function Task:await()
  if self.state == "done" then return outcome(self) end
  local t = waiting_task()
  if t == self then
    errors.raise("HARNESS_CONFIG_ERROR", "a task cannot await itself", { reason = "cannot_wait" })
  end
  add_waiter(self, t.token)
  repeat park(t) until self.state == "done"
  return outcome(self)
end

--- Asks the task to stop and returns at once. The reason may be text or an error; what the task's
--- waits raise is always an OPERATION_CANCELLED or OPERATION_TIMEOUT error.
---@param reason any?
function Task:cancel(reason)
  if self.state == "done" then return end
  core.signal_abort(self.signal, M.cancelled("task", "the task was cancelled", reason))
end

--- The reason for stopping that is raised for what a caller gave as one: a cancelled or timeout
--- error as it is, anything else as the cause (and, if text, the message) of a new one.
---@param scope string
---@param message string
---@param reason any?
function M.cancelled(scope, message, reason)
  if errors.is(reason, "OPERATION_CANCELLED") or errors.is(reason, "OPERATION_TIMEOUT") then return reason end
  if type(reason) == "string" then message = message .. ": " .. reason end
  return errors.new("OPERATION_CANCELLED", message, { scope = scope }, reason)
end

-- ---- deadlines and shields ----------------------------------------------------------------

-- From here on the waits of the task listen to another signal; it is closed with the task at the
-- latest, should the task be ended by force within.
local function enter_scope(t, signal)
  local scopes = t.scopes
  if not scopes then
    scopes = {}
    t.scopes = scopes
  end
  scopes[#scopes + 1] = signal
  t.scope = signal
end

local function leave_scope(t)
  local scopes = t.scopes
  local n = #scopes
  core.signal_close(scopes[n])
  scopes[n] = nil
  t.scope = scopes[n - 1] or t.signal
end

local function left_scope(t, ok, ...)
  leave_scope(t)
  if not ok then error((...), 0) end
  return ...
end

-- Runs fn(...) with another signal for the task's waits.
local function in_scope(t, signal, fn, ...)
  enter_scope(t, signal)
  return left_scope(t, pcall(fn, ...))
end

--- Runs fn(...) in the running task under a deadline of its own; its waits raise
--- OPERATION_TIMEOUT with this scope once it has passed. Other than `timeout` it makes no task, so
--- it is for code that does not swallow that error; and it answers like pcall, with one result.
---@param ms integer at most 0: no deadline
---@param scope string
---@param fn function
---@return boolean ok
---@return any the results of fn, or its error
function M.deadline(ms, scope, fn, ...)
  if ms <= 0 then return pcall(fn, ...) end
  local t = waiting_task()
  enter_scope(t, core.signal_open(t.scope, t.token, ms, scope))
  local ok, result = pcall(fn, ...)
  leave_scope(t)
  return ok, result
end

--- Runs fn(...) so that an abort does not interrupt its waits, for at most timeout_ms; for cleanup.
--- The grace of the task (cancel_grace_ms after its abort) bounds it all the same.
---@param fn function
---@param timeout_ms? integer default 5000
function M.shield(fn, timeout_ms, ...)
  if type(fn) ~= "function" then
    errors.raise("VALIDATION_ERROR", "shield(fn, timeout_ms) takes a function, got " .. type(fn),
      { where = "shield" })
  end
  local t = waiting_task()
  return in_scope(t, core.signal_open(0, t.token, timeout_ms or SHIELD_MS, "task"), fn, ...)
end

--- Runs fn(...) as a child task with a deadline; returns its results, or raises OPERATION_TIMEOUT
--- with scope "task".
---@param ms integer
---@param fn function
function M.timeout(ms, fn, ...)
  if type(ms) ~= "number" or type(fn) ~= "function" then
    errors.raise("VALIDATION_ERROR", "timeout(ms, fn, ...) takes milliseconds and a function", { where = "timeout" })
  end
  local t = waiting_task()
  M.check()
  local child = M.make({ timeout_ms = math.ceil(ms), scope = "task" }, fn, ...)
  return M.join(child, t)
end

--- Waits for a child task; when the running task is aborted, the child has been too, and is joined
--- before the reason is raised. Returns or raises what the child did.
---@param child harness.Task
---@param t harness.Task? the running task
function M.join(child, t)
  t = t or waiting_task()
  add_waiter(child, t.token)
  while child.state ~= "done" do
    park(t, true)
    if child.state ~= "done" and signal_aborted(t.scope) then
      core.signal_abort(child.signal, signal_reason(t.scope))
    end
  end
  if signal_aborted(t.scope) then
    child.seen = true
    error(signal_reason(t.scope), 0)
  end
  return outcome(child)
end

-- ---- callbacks ----------------------------------------------------------------------------

--- Calls fn() from the dispatcher each time the returned token is queued. fn must not wait.
--- Close it with M.callback_close(token).
---@param fn fun(record: table)
---@return integer token
function M.callback(fn)
  local token = core.slot_open()
  tasks[token & 0xffffffff] = { token = token, state = "callback", fn = fn, signal = 0 }
  return token
end

--- Frees the token of a callback; what is queued for it is forgotten.
---@param token integer
function M.callback_close(token)
  tasks[token & 0xffffffff] = nil
  core.slot_close(token)
end

--- Registers something to be closed (`:close()`) when the running task ends.
---@param thing table|userdata
function M.own(thing)
  local t = current
  if not t then return end
  t.watches = t.watches or {}
  table.insert(t.watches, thing)
end

--- Where errors go that nobody awaits; the logger replaces it.
---@param err any
---@param trace string?
function M.report(err, trace)
  io.stderr:write("harness: an error that nobody awaited: ", tostring(err), "\n", trace and trace .. "\n" or "")
end

-- ---- running ------------------------------------------------------------------------------

local probe -- called before each resume; for specs

--- Calls fn(task) before each resume, or stops that (nil). For specs that stop a run at every point.
---@param fn? fun(t: harness.Task)
function M.set_probe(fn)
  probe = fn
end

-- Resumes what is ready, also what becomes so meanwhile, but not for long: the outside world waits.
local function drain()
  for _ = 1, BATCH do
    local token, index = take()
    if not token then return end
    local t = tasks[index]
    if t and t.token == token then
      if probe then probe(t) end
      wake(t)
    end
  end
end

--- Does ready work until about budget_us are used or none is left; for those who own the loop. Only
--- outside of tasks.
---@param budget_us integer
---@return integer ready how much is left
---@return integer longest_us the longest single resume
function M.step(budget_us)
  local now_us = core.now_us
  local from = now_us()
  local last, longest = from, 0
  repeat
    local token, index = take()
    if not token then break end
    local t = tasks[index]
    if t and t.token == token then
      if probe then probe(t) end
      wake(t)
    end
    local now = now_us()
    longest = math.max(longest, now - last)
    last = now
  until last - from >= budget_us
  return core.ready_count(), longest
end

local function deadlock(t)
  core.signal_abort(t.signal, errors.new("OPERATION_CANCELLED",
    "nothing is left that could wake this task: it waits for something that cannot happen any more",
    { scope = "task", reason = "deadlock" }))
end

--- Runs fn(...) as a root task and the engine with it, until the task has ended.
--- Only outside of tasks. `on_interrupt(task)` is called on Ctrl-C.
---@param fn function
---@param on_interrupt? fun(t: harness.Task)
---@return harness.Task
function M.run(fn, on_interrupt, ...)
  if current then
    errors.raise("HARNESS_CONFIG_ERROR", "harness.run cannot be called inside a task: call the function directly",
      { reason = "inside_task" })
  end
  local t = M.make({ root = true }, fn, ...)
  t.waiter = 0
  root = t
  while t.state ~= "done" do
    drain()
    if t.state == "done" then break end
    if core.interrupted() > 0 and on_interrupt then on_interrupt(t) end
    if not core.turn(true) and core.ready_count() == 0 then deadlock(t) end
  end
  return t
end

--- Lets everything else run until nothing is ready, for at most `rounds` turns (a task that swallows
--- its abort is always ready). For specs that turn the clock by hand.
---@param rounds? integer default 100
function M.settle(rounds)
  local t = waiting_task()
  for _ = 1, rounds or 100 do
    push(t.token)
    park(t, true)
    core.turn(false)
    if core.ready_count() == 0 then return end
  end
end

--- Is co the coroutine of the running task itself, not one that its code made?
---@param co thread
---@return boolean
function M.is_base(co)
  return current ~= nil and current.co == co
end

M.outcome = outcome
M.add_waiter = add_waiter
M.park = park
return M
