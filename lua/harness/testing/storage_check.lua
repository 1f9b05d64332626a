--- What the cases of the storage contract are written with: sample records and comparisons that do
--- not depend on a test framework.

local errors = require "harness.errors"

local M = {}

M.T0 = "2026-11-22T10:00:00.000Z"

---The timestamp i milliseconds after T0, i below 1,000,000.
---@param i integer
function M.at(i)
  return ("2026-11-22T10:%02d:%02d.%03dZ"):format(i // 60000, i // 1000 % 60, i % 1000)
end

local function merged(record, fields)
  for name, value in pairs(fields or {}) do record[name] = value end
  return record
end

---@param id string
---@param fields? table
---@return harness.SessionRecord
function M.session(id, fields)
  return merged({ id = id, created_at = M.T0, updated_at = M.T0, run_count = 0 }, fields)
end

---@param id string
---@param at integer milliseconds after T0
---@param fields? table
---@return harness.MessageRecord
function M.message(id, at, fields)
  return merged({ id = id, role = "user", content = "text of " .. id, timestamp = M.at(at) }, fields)
end

---@param id string
---@param at integer milliseconds after T0
---@param fields? table
---@return harness.RunRecord
function M.run(id, at, fields)
  return merged({
    id = id, session_id = "s", kind = "agent", target = "helper", harness = "spec", status = "running",
    started_at = M.at(at),
  }, fields)
end

---@param seq integer
---@param fields? table
---@return harness.EventRecord
function M.event(seq, fields)
  return merged({
    id = "e" .. seq, seq = seq, at = M.at(seq), type = "tool.started", payload = { call_id = "c" .. seq },
  }, fields)
end

-- Comparing ---------------------------------------------------------------------------------------

local function show(value)
  if type(value) ~= "string" then return tostring(value) end
  return ("%q"):format(#value > 60 and value:sub(1, 60) .. "…" or value)
end

local function differ(path, expected, actual)
  error(("%s: expected %s, got %s"):format(path, show(expected), show(actual)), 0)
end

local function compare(path, expected, actual)
  if type(expected) ~= "table" or type(actual) ~= "table" then
    if math.type(expected) ~= math.type(actual) or expected ~= actual then differ(path, expected, actual) end
    return
  end
  for key, value in pairs(expected) do compare(("%s.%s"):format(path, tostring(key)), value, actual[key]) end
  for key, value in pairs(actual) do
    if expected[key] == nil then differ(("%s.%s"):format(path, tostring(key)), nil, value) end
  end
end

---Raises unless both are the same, tables by content.
---@param expected any
---@param actual any
---@param what? string for the message
function M.equal(expected, actual, what)
  local ok, problem = pcall(compare, what or "value", expected, actual)
  if not ok then error(problem, 2) end
end

---Raises unless the list's items have these ids (or the field of that name), in this order.
---@param expected any[]
---@param list table[]
---@param field? string default "id"
function M.ids(expected, list, field)
  local got = {}
  for i, item in ipairs(list) do got[i] = item[field or "id"] end
  local ok, problem = pcall(compare, "ids", expected, got)
  if not ok then error(problem, 2) end
end

---Raises unless fn(...) raises a harness error of that code (and meta.reason); returns it.
---@param code string
---@param reason string?
---@param fn function
---@param ... any
---@return harness.Error
function M.raises(code, reason, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error(("expected %s, but nothing was raised"):format(code), 2) end
  if not errors.is(err, code) then
    error(("expected %s, got %s"):format(code, tostring(err)), 2)
  end
  if reason and err.meta.reason ~= reason then
    error(("expected the reason %s, got %s"):format(reason, tostring(err)), 2)
  end
  return err
end

---Raises unless fn(...) raises a STATE_ERROR with that reason and the name of the operation.
---@param reason string
---@param op string
---@param fn function
---@param ... any
function M.state_error(reason, op, fn, ...)
  local err = M.raises("STATE_ERROR", reason, fn, ...)
  M.equal(op, err.meta.op, "meta.op")
end

---Raises unless fn(...) raises a VALIDATION_ERROR about a storage's arguments.
---@param fn function
---@param ... any
function M.refused(fn, ...)
  local err = M.raises("VALIDATION_ERROR", nil, fn, ...)
  M.equal("storage", err.meta.where, "meta.where")
end

return M
