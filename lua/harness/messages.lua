--- The conversation as it is stored and as a model is sent it: windows, repair, checking.

local errors = require "harness.errors"

local M = {}

local ROLES <const> = { system = true, user = true, assistant = true, tool = true }

-- A turn begins with a user message. In a history without any, wherever no call is cut from its result.
local function is_boundary(message, has_user)
  if has_user then return message.role == "user" end
  return message.role ~= "tool"
end

--- System messages, then the last `window` others; the cut moves on to the next whole turn (D8).
---@param list table[] stored messages, oldest first
---@param window integer? nil: all
---@return table[] a new list
function M.window(list, window)
  if #list == 0 then return list end
  local out, rest, has_user = {}, {}, false
  for i = 1, #list do
    local message = list[i]
    if message.role == "system" then out[#out + 1] = message else rest[#rest + 1] = message end
    has_user = has_user or message.role == "user"
  end
  local from = window and math.max(1, #rest - window + 1) or 1
  if from > 1 then
    while from <= #rest and not is_boundary(rest[from], has_user) do from = from + 1 end
  end
  return table.move(rest, from, #rest, #out + 1, out)
end

local MISSING <const> = '{"code":"TOOL_ERROR","category":"tool","retriable":false,'
  .. '"message":"the result of this call was lost: it may or may not have had its effect"}'

--- Gives each tool call its result: where one is missing (a crash came between), an error result
--- stands in; results without a call are left out. The stored log is not changed (D15).
---@param list table[]
---@return table[] the same list when there was nothing to mend
function M.complete(list)
  local mended, open
  local function close_open(out)
    for _, call in ipairs(open or {}) do
      out[#out + 1] = { role = "tool", tool_call_id = call.id, content = MISSING }
    end
    open = nil
  end
  local i, n = 1, #list
  while i <= n do
    local message = list[i]
    local fits = false
    if message.role == "tool" and open then
      for at, call in ipairs(open) do
        if call.id == message.tool_call_id then
          table.remove(open, at)
          fits = true
          break
        end
      end
    end
    local must_close = open and #open > 0 and message.role ~= "tool"
    local drop = message.role == "tool" and not fits
    if (must_close or drop) and not mended then mended = table.move(list, 1, i - 1, 1, {}) end
    if must_close then close_open(mended) end
    if mended and not drop then mended[#mended + 1] = message end
    local calls = message.tool_calls
    if calls and #calls > 0 then open = table.move(calls, 1, #calls, 1, {}) end
    if open and #open == 0 then open = nil end
    i = i + 1
  end
  if open then
    mended = mended or table.move(list, 1, n, 1, {})
    close_open(mended)
  end
  return mended or list
end

--- A copy of plain data, to the last table.
---@param value any
---@return any
local function copy(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for key, item in pairs(value) do out[key] = copy(item) end
  return setmetatable(out, getmetatable(value))
end
M.copy = copy

local function bad(issues, i, what)
  issues[#issues + 1] = { path = ("$[%d]"):format(i), message = what }
end

local function check_calls(issues, i, calls)
  if type(calls) ~= "table" then return bad(issues, i, "tool_calls must be a list of {id, name, arguments}") end
  for _, call in ipairs(calls) do
    if type(call) ~= "table" or type(call.id) ~= "string" or type(call.name) ~= "string" then
      return bad(issues, i, "each of tool_calls needs an id and a name, both text")
    end
  end
end

--- Checks messages that a user gives. Raises VALIDATION_ERROR with all problems.
---@param list any
---@param where? string what the error names, default session_history
function M.check(list, where)
  where = where or "session_history"
  if type(list) ~= "table" then
    errors.raise("VALIDATION_ERROR", "expected a list of messages, got " .. type(list),
      { where = where, issues = { { path = "$", message = "expected a list" } } })
  end
  local issues = {}
  for i = 1, #list do
    local message = list[i]
    if type(message) ~= "table" then
      bad(issues, i, "expected a message (a table), got " .. type(message))
    else
      if not ROLES[message.role] then
        bad(issues, i, "role must be system, user, assistant or tool, got " .. tostring(message.role))
      end
      if type(message.content) ~= "string" and type(message.content) ~= "table" then
        bad(issues, i, "content must be text or a list of parts, got " .. type(message.content))
      end
      if message.tool_calls ~= nil then check_calls(issues, i, message.tool_calls) end
      if message.role == "tool" and type(message.tool_call_id) ~= "string" then
        bad(issues, i, "a message of role tool needs tool_call_id")
      end
    end
  end
  if #issues > 0 then
    errors.raise("VALIDATION_ERROR", ("message %s: %s"):format(issues[1].path:match "%d+", issues[1].message),
      { where = where, issues = issues })
  end
end

return M
