--- Abort signals as scripts see them: `signal.aborted`, `signal.reason`, `signal:on_abort(fn)`.
---
--- The tree itself is in C (engine/abort.h). A signal object outlives what it stands for: when its
--- task ends, it keeps whether and why it was aborted.

local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"

local M = {}

---@class harness.Signal
---@field aborted boolean
---@field reason any? the OPERATION_CANCELLED or OPERATION_TIMEOUT error; nil while not aborted
local Signal = {}
Signal.__name = "harness.Signal"

local methods = {}

function Signal.__index(self, key)
  if key == "aborted" then return core.signal_aborted(rawget(self, "_handle")) end
  if key == "reason" then return core.signal_reason(rawget(self, "_handle")) end
  return methods[key]
end

function Signal.__newindex()
  error("a signal cannot be changed; use abort_controller() to make one that you can abort", 2)
end

-- Called when the task behind the signal ends: what it was stays readable.
function methods.close(self)
  local aborted, reason = self.aborted, self.reason
  rawset(self, "aborted", aborted)
  rawset(self, "reason", reason)
end

-- What a task has registered with on_abort, to be ended with it: detach -> what ends it.
local Registered = { __index = { close = function(self)
  for _, finish in pairs(self) do finish() end
end } }

local function registered_by(t)
  local set = t.abort_callbacks
  if not set then
    set = setmetatable({}, Registered)
    t.abort_callbacks = set
    task.own(set)
  end
  return set
end

--- Calls fn(reason) in a task of its own, once the signal is aborted (soon, if it is already).
--- Returns a function that takes the registration back; it ends with the task that made it, but an
--- abort from before that end, the one that ended the task perhaps, is told all the same.
---@param fn fun(reason: any)
---@return fun() detach
function methods.on_abort(self, fn)
  if type(fn) ~= "function" then
    errors.raise("VALIDATION_ERROR", "on_abort(fn) takes a function, got " .. type(fn), { where = "on_abort" })
  end
  local owner = task.current()
  local set = owner and registered_by(owner) or {}
  local token, watch
  local function detach()
    if not token then return end
    watch:detach()
    task.callback_close(token)
    token, set[detach] = nil, nil
  end
  local function call_back()
    local reason = self.reason
    detach()
    task.make({ root = true }, fn, reason)
  end
  token = task.callback(call_back)
  watch = core.signal_watch(rawget(self, "_handle"), token)
  if self.aborted then core.push(token) end -- its task may have ended, and the handle with it
  set[detach] = function()
    if self.aborted then call_back() else detach() end
  end
  return detach
end

--- The signal object of a handle.
---@param handle integer
---@return harness.Signal
function M.of(handle)
  return setmetatable({ _handle = handle }, Signal)
end

--- The signal under which a task runs; made at most once for each task.
---@param t harness.Task
---@return harness.Signal
function M.of_task(t)
  local signal = t.signal_object
  if not signal then
    signal = M.of(t.signal)
    t.signal_object = signal
    t.watches = t.watches or {}
    table.insert(t.watches, signal)
  end
  return signal
end

---@param v any
---@return boolean
function M.is(v)
  return getmetatable(v) == Signal
end

---@param v harness.Signal
---@return integer
function M.handle(v)
  return rawget(v, "_handle")
end

--- Has the loop call fn() once the signal is aborted, whoever waits for it or not.
---@param signal harness.Signal
---@param fn fun()
---@return fun() detach to be called once: then nothing of it is left
function M.follow(signal, fn)
  local token = task.callback(fn)
  local watch = core.signal_watch(M.handle(signal), token)
  return function()
    watch:detach()
    task.callback_close(token)
  end
end

---@class harness.AbortController
---@field signal harness.Signal
local Controller = {}
Controller.__index = Controller
Controller.__name = "harness.AbortController"

Controller.__gc = function(self)
  core.signal_close(self._handle)
end

--- Aborts the signal and the runs that it was given to; the first reason stays. The signal keeps the
--- reason as it is; what a run raises because of it is OPERATION_CANCELLED with the reason as cause.
---@param reason any? default: an OPERATION_CANCELLED error
function Controller:abort(reason)
  if reason == nil then reason = task.cancelled("task", "the operation was aborted") end
  core.signal_abort(self._handle, reason)
end

--- A signal of one's own, to be given to runs (`{ signal = controller.signal }`).
---@return harness.AbortController
function M.controller()
  local handle = core.signal_open(0, 0)
  local signal = M.of(handle)
  local controller = setmetatable({ _handle = handle, signal = signal }, Controller)
  rawset(signal, "_owner", controller) -- a signal that is still used keeps its controller alive
  return controller
end

return M
