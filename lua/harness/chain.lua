--- Lets a task wait inside the user's own coroutines.
---
--- A user's `coroutine.wrap` generator that waits must not swallow the scheduler's yield. So
--- coroutine.resume and coroutine.wrap are replaced by versions that hand a scheduler's yield on to
--- the coroutine outside, and what it is resumed with back in. A yield of the user is an ordinary
--- one. Where the coroutine outside cannot yield (it is called by table.sort, say), that is noted,
--- so that waiting can be refused before anything starts.
---
--- coroutine.close counts its nesting: Lua 5.4.4 overflows the C stack when closing nests deeply.

local core = require "harness.core"

local raw_resume, raw_yield, raw_close = core.resume, coroutine.yield, coroutine.close
local raw_wrap, raw_create = coroutine.wrap, coroutine.create
local isyieldable, status, running = coroutine.isyieldable, coroutine.status, coroutine.running

local M = {}

M.PARK = {} -- yielded by a task that waits
M.EXIT = {} -- yielded by a task that wants the program to end
local PARK, EXIT <const> = M.PARK, M.EXIT
M.raw_close = raw_close
M.raw_yield = raw_yield

local MAX_CLOSE_DEPTH <const> = 100

local blocked = 0 -- resumes on the way whose caller cannot yield
local inner_of = setmetatable({}, { __mode = "k" }) -- the coroutine through which another one waits

--- Could the running coroutine, and all that it runs inside of, be suspended now?
---@return boolean
function M.can_wait()
  return blocked == 0 and isyieldable()
end

--- The coroutines of a suspended task, outermost first.
---@param co thread
---@return thread[]
function M.suspended(co)
  local list = {}
  while co and status(co) == "suspended" do
    list[#list + 1] = co
    co = inner_of[co]
  end
  return list
end

local step

local function pass_on(co, ...)
  local outer = running()
  inner_of[outer] = nil
  return step(co, raw_resume(co, ...))
end

step = function(co, ok, ...)
  local tag = ...
  if ok and (rawequal(tag, PARK) or rawequal(tag, EXIT)) and status(co) == "suspended" then
    inner_of[running()] = co
    return pass_on(co, raw_yield(...))
  end
  return ok, ...
end

local function check_thread(co, name)
  if type(co) == "thread" then return end
  error(("bad argument #1 to '%s' (thread expected, got %s)"):format(name, type(co)), 3)
end

local function unblock(...)
  blocked = blocked - 1
  return ...
end

---@param co thread
function M.resume(co, ...)
  check_thread(co, "resume")
  if isyieldable() then return step(co, raw_resume(co, ...)) end
  blocked = blocked + 1
  return unblock(raw_resume(co, ...))
end

local function wrapped(co, ok, ...)
  if ok then return ... end
  local err = ...
  if status(co) == "dead" then
    local closed, replaced = raw_close(co)
    if not closed then err = replaced end
  end
  if type(err) == "string" then error(err, 2) end
  error(err, 0)
end

---@param fn function
function M.wrap(fn)
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'wrap' (function expected, got %s)"):format(type(fn)), 2)
  end
  local co = raw_create(fn)
  return function(...)
    return wrapped(co, M.resume(co, ...))
  end
end

local close_depth = 0

local function closed(ok, ...)
  close_depth = close_depth - 1
  if not ok then error((...), 2) end -- the caller of M.close, since this is its tail call
  return ...
end

---@param co thread
function M.close(co)
  check_thread(co, "close")
  if close_depth >= MAX_CLOSE_DEPTH then
    error("coroutine.close: closing a coroutine closes another one, more than "
      .. MAX_CLOSE_DEPTH .. " levels deep", 2)
  end
  close_depth = close_depth + 1
  return closed(pcall(raw_close, co))
end

--- Puts these versions into the coroutine library of this Lua state, once. `is_base(co)` tells
--- whether co is a task's own coroutine, which for a script is what the main chunk is in lua5.4:
--- not a coroutine that it could yield from.
---@param is_base fun(co: thread): boolean
function M.install(is_base)
  if coroutine.wrap ~= raw_wrap then return end
  coroutine.resume = M.resume
  coroutine.wrap = M.wrap
  coroutine.close = M.close
  coroutine.yield = function(...)
    if is_base(running()) then error("attempt to yield from outside a coroutine", 0) end
    return raw_yield(...)
  end
  coroutine.running = function()
    local co, main = running()
    return co, main or is_base(co)
  end
  coroutine.isyieldable = function(co)
    if co == nil then co = running() else check_thread(co, "isyieldable") end
    return isyieldable(co) and not is_base(co)
  end
end

return M
