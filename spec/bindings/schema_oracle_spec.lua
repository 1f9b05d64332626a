-- core.schema against Ajv (2020-12) on random schemas and values: every verdict must be the same. Prints
-- the agreement, and how many schemas Ajv could not compile for a fault of its own (errors of the code that
-- it generates). What it is known to decide wrongly is not generated, see random_schema.lua.
--
-- The seed is fixed, so that a fault of Ajv that nobody knows yet cannot fail an unrelated change;
-- HARNESS_SPEC_SEED sets another. HARNESS_SOAK takes a new one each time and prints what differs, to be
-- looked at: among 200,000 verdicts there may be a few where Ajv is wrong about unevaluatedProperties.

local core = require "harness.core"
local random_schema = require "spec.support.random_schema"

local json, schema = core.json, core.schema

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local SOAK <const> = os.getenv "HARNESS_SOAK" ~= nil
local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or SOAK and os.time() or 2020
local SCHEMAS <const> = SOAK and 20000 or math.max(10, 300 // FACTOR)
local VALUES <const> = 10

local modules = os.getenv "HARNESS_NODE_MODULES"

-- Why the oracle cannot be asked, or nil.
local function missing()
  if not modules then return "HARNESS_NODE_MODULES is not set" end
  if not os.execute "node -e 0 >/dev/null 2>&1" then return "node is not in PATH" end
  local file = io.open(modules .. "/ajv/dist/2020.js")
  if not file then return "there is no ajv in " .. modules end
  file:close()
  return nil
end

-- Cases of { schema, values }.
local function make_cases()
  local random, cases = random_schema.new(SEED), {}
  for i = 1, SCHEMAS do
    local case = { schema = random:schema(), values = json.array {} }
    for j = 1, VALUES do case.values[j] = random:value(case.schema) end
    cases[i] = case
  end
  return cases
end

-- What Ajv says: for each case a list of booleans or the text of an error.
local function ask_ajv(cases)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for _, case in ipairs(cases) do file:write(json.encode(case), "\n") end
  file:close()
  local command = ("node spec/support/ajv_oracle.mjs '%s' '%s'"):format(modules, path)
  local pipe, answers = assert(io.popen(command)), {}
  for line in pipe:lines() do answers[#answers + 1] = json.decode(line) end
  local ok = pipe:close()
  os.remove(path)
  assert.is_true(ok, "the oracle failed")
  return answers
end

-- Ajv's own code failed, not the schema.
local function ajv_failed(answer)
  if type(answer) ~= "string" then return false end
  return answer:find("^Cannot set properties of undefined") ~= nil or answer:find("^%w+ is not defined$") ~= nil
end

-- Compares one case; returns agreements, valid ones, and a line for the first difference.
local function compare(case, answer)
  local ok, compiled = pcall(schema.compile, case.schema, { exact_empty = true })
  local text = json.encode(case.schema)
  if not ok or type(answer) == "string" then
    return 0, 0, ("%s: compile %s, Ajv %s"):format(text, ok or tostring(compiled), json.encode(answer))
  end
  local agreed, valid, difference = 0, 0, nil
  for i, value in ipairs(case.values) do
    local fits, result = compiled:check(value)
    if fits == answer[i] then
      agreed = agreed + 1
    else
      difference = difference or ("%s with %s: %s %s, Ajv %s"):format(text, json.encode(value), fits,
        fits and "" or json.encode(result), answer[i])
    end
    if fits then valid = valid + 1 end
    assert.is_true(not fits or rawequal(result, value))
  end
  return agreed, valid, difference
end

describe("core.schema and Ajv", function()
  local reason = missing()
  if reason then
    pending("agree on random schemas and values (not run: " .. reason .. ")")
    return
  end

  it("agree on random schemas and values", function()
    local cases = make_cases()
    local answers = ask_ajv(cases)
    assert.are.equal(#cases, #answers)
    local agreed, valid, unanswered, differences = 0, 0, 0, {}
    for i, case in ipairs(cases) do
      if ajv_failed(answers[i]) then
        unanswered = unanswered + 1
      else
        local same, fit, difference = compare(case, answers[i])
        agreed, valid = agreed + same, valid + fit
        differences[#differences + 1] = difference
      end
    end
    local all = (SCHEMAS - unanswered) * VALUES
    local line = "Ajv agrees on %d of %d verdicts (%d schemas, %d more that Ajv failed on; %d valid; seed %d)"
    print(line:format(agreed, all, SCHEMAS - unanswered, unanswered, valid, SEED))
    assert.is_true(unanswered <= math.max(3, SCHEMAS // 20), "Ajv failed too often")
    for _, difference in ipairs(differences) do print("  differs: " .. difference) end
    assert.is_true(all - agreed <= (SOAK and all // 20000 or 0), "verdicts differ")
    assert.is_true(valid > all // 10 and valid < all - all // 10, "both verdicts occur")
  end)
end)
