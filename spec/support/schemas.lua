--- What the specs of JSON Schema share.

local assert = require "luassert"
local core = require "harness.core"
local json, schema = core.json, core.schema
local decode, encode = json.decode, json.encode

local M = {}

--- Stands in a row before the values that are not valid.
M.BAD = {}

---A compiled schema from JSON text, a table or a boolean.
function M.compile(text, options)
  if type(text) == "string" then text = decode(text) end
  return schema.compile(text, options)
end

---Checks rows of { schema, value, ..., BAD, value, ... }, all JSON texts: values are valid up to BAD.
function M.check_rows(rows, options)
  for _, row in ipairs(rows) do
    local compiled = M.compile(row[1], options)
    local expected = true
    for i = 2, #row do
      if row[i] == M.BAD then
        expected = false
      else
        local ok, result = compiled:check(decode(row[i]))
        local shown = ok and "" or encode(result)
        assert.are.equal(expected, ok, ("%s with %s %s"):format(row[1], row[i], shown))
      end
    end
  end
end

---The problems of a value as "path: message" lines.
function M.problems(text, value, options)
  local ok, list = M.compile(text, options):check(value)
  assert.is_false(ok)
  local lines = {}
  for i, problem in ipairs(list) do lines[i] = problem.path .. ": " .. problem.message end
  return lines
end

---The checked copy of a value that must fit.
function M.checked(text, value, options)
  local ok, result = M.compile(text, options):check(value)
  assert.is_true(ok, ok and "" or encode(result))
  return result
end

---The error that compile must raise.
function M.refused(text, options)
  local ok, err = pcall(M.compile, text, options)
  assert.is_false(ok, "not refused: " .. tostring(text))
  assert.are.equal("HARNESS_CONFIG_ERROR", err.code, tostring(err))
  assert.are.equal("invalid_schema", err.meta.reason)
  return err
end

return M
