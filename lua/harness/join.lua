--- Joins: functions that run side by side as children of the running task.
---
--- The first failure cancels the others, waits for them (each within its grace) and is then raised;
--- an abort of the running task does the same. So none of them outlives the call.

local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"

local signal_aborted, signal_reason = core.signal_aborted, core.signal_reason
local park, waiting_task = task.park, task.waiting_task

local M = {}

-- Waits until all of list have ended, whatever happens to the running task: each is bounded by
-- its grace, since they are under an aborted signal.
local function join_quietly(t, list, n)
  for i = 1, n do
    while list[i].state ~= "done" do park(t, true) end
    list[i].seen = true
  end
end

-- Watches a group of children. Each that ends is given to `owner:on_end(child)`, which may start
-- more and answers "stop" when the group is to end. The rest is cancelled and joined then, as when
-- the running task is aborted; with `also_cancelled` the owner is told of those, too.
local function supervise(t, group, owner, also_cancelled)
  local seen, reason = 0, nil
  while not reason and seen < group.started do
    local child = group[seen + 1]
    if child then
      seen = seen + 1
      child.seen = true
      if owner:on_end(child) == "stop" then reason = "stop" end
    elseif signal_aborted(t.scope) then
      reason = signal_reason(t.scope)
    else
      park(t, true)
    end
  end
  if not reason then return end
  local stop = reason == "stop"
  local why = stop and task.cancelled("task", "another task of its group had ended the group") or reason
  for i = 1, group.started do
    if group.list[i].state ~= "done" then core.signal_abort(group.list[i].signal, why) end
  end
  join_quietly(t, group.list, group.started)
  if also_cancelled then
    for i = seen + 1, group.started do owner:on_end(group[i]) end
  end
  if not stop then error(reason, 0) end
end

local function new_group(t)
  return { token = t.token, started = 0, list = {} }
end

local function start_child_with(group, options, fn, ...)
  local child = task.make(options, fn, ...)
  child.group = group
  group.started = group.started + 1
  group.list[group.started] = child
  return child
end

local function start_child(group, fn, ...)
  return start_child_with(group, nil, fn, ...)
end

-- Ends the group at the first failure, which is raised; after a success `start_next` may start more.
local function all_or_nothing(t, group, start_next)
  local owner = { failure = nil }
  function owner:on_end(child)
    if child.failed then
      self.failure = child
      return "stop"
    end
    if start_next then start_next() end
  end
  supervise(t, group, owner)
  if owner.failure then error(owner.failure.value, 0) end
end

local function first_result(child)
  if child.n <= 1 then return child.value end
  return child.values[1]
end

local function check_functions(name, fns)
  if type(fns) ~= "table" then
    errors.raise("VALIDATION_ERROR", name .. " takes a table of functions, got " .. type(fns), { where = name })
  end
  for key, fn in pairs(fns) do
    if type(fn) ~= "function" then
      errors.raise("VALIDATION_ERROR", ("%s[%s] must be a function, got %s"):format(name, tostring(key), type(fn)),
        { where = name })
    end
  end
end

-- Keys in an order that does not depend on the run: numbers first, then text.
local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then return ta < tb end
    if ta == "number" or ta == "string" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

--- Runs all functions side by side; returns their first results under the same keys. The first
--- failure cancels and joins the rest, then is raised.
---@param fns table<any, function>
---@return table
function M.all(fns)
  check_functions("all", fns)
  local t = waiting_task()
  task.check()
  local keys, group = sorted_keys(fns), new_group(t)
  for _, key in ipairs(keys) do start_child(group, fns[key]) end
  all_or_nothing(t, group)
  local results = {}
  for i, key in ipairs(keys) do results[key] = first_result(group.list[i]) end
  return results
end

--- Runs the functions side by side; returns or raises what the first one to settle does, after
--- the others have been cancelled and joined.
---@param fns function[]
function M.race(fns)
  check_functions("race", fns)
  if next(fns) == nil then
    errors.raise("VALIDATION_ERROR", "race takes at least one function", { where = "race" })
  end
  local t = waiting_task()
  task.check()
  local group = new_group(t)
  for _, key in ipairs(sorted_keys(fns)) do start_child(group, fns[key]) end
  local owner = {}
  function owner:on_end(child)
    self.winner = self.winner or child
    return "stop"
  end
  supervise(t, group, owner)
  return task.outcome(owner.winner)
end

--- Calls fn(item, i) for each item of the list, at most `max_parallel` at once (default: all);
--- returns the list of first results. The first failure cancels and joins the rest, then is raised.
---@param items any[]
---@param fn fun(item: any, i: integer): any
---@param options? { max_parallel?: integer }
---@return any[]
function M.map(items, fn, options)
  if type(items) ~= "table" or type(fn) ~= "function" then
    errors.raise("VALIDATION_ERROR", "map(list, fn, options) takes a list and a function", { where = "map" })
  end
  local most = options and options.max_parallel or #items
  if math.type(most) ~= "integer" or most < 1 and #items > 0 then
    errors.raise("VALIDATION_ERROR", "map: max_parallel must be an integer of at least 1", { where = "map" })
  end
  local t = waiting_task()
  task.check()
  local group, count = new_group(t), #items
  local function start_next()
    local i = group.started + 1
    if i <= count then start_child(group, fn, items[i], i) end
  end
  for _ = 1, math.min(most, count) do start_next() end
  all_or_nothing(t, group, start_next)
  local results = {}
  for i = 1, count do results[i] = first_result(group.list[i]) end
  return results
end

--- A group of children for callers that decide themselves what a child's end means: `start_child_with`
--- starts one (options as for task.make), `supervise` watches them.
M.new_group = new_group
M.start_child_with = start_child_with
M.supervise = supervise
M.first_result = first_result

return M
