-- core.schema against the official JSON Schema Test Suite (package json-schema-test-suite has drafts 3 to 7;
-- drafts 6 and 7 are what 2020-12 grew out of). Prints the pass rate and what is left out, with the reason.
--
-- Each schema is compiled with the draft of its folder, and with exact_empty: there {} is no array, as in
-- JSON text.

local core = require "harness.core"
local json, schema = core.json, core.schema

local SUITE <const> = "/usr/share/json-schema-test-suite/tests"
local DRAFTS <const> = { { "draft6", "draft-06" }, { "draft7", "draft-07" } }

-- Files and groups that are left out: file, or file .. ": " .. description.
local REMOTE <const> = "refers to another document, and none is ever loaded"
local FORMAT <const> = "formats and contents are annotations here"
local LEFT_OUT <const> = {
  ["refRemote.json"] = REMOTE,
  ["definitions.json"] = REMOTE,
  ["ref.json: remote ref, containing refs itself"] = REMOTE,
  ["optional/format.json"] = FORMAT,
  ["optional/content.json"] = FORMAT,
  ["optional/ecmascript-regex.json: ECMA 262 regex non-compliance"] = FORMAT,
}

local function reason_for(name, group)
  if name:find("^optional/format/") then return FORMAT end
  return LEFT_OUT[name] or LEFT_OUT[name .. ": " .. group.description]
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return json.decode(text)
end

local function files_of(draft)
  local command = "cd %s/%s 2>/dev/null && find . -name '*.json' | LC_ALL=C sort"
  local pipe = assert(io.popen(command:format(SUITE, draft)))
  local names = {}
  for line in pipe:lines() do names[#names + 1] = line:sub(3) end
  pipe:close()
  return names
end

-- Adds one group's tests to the counts; returns the lines of what went wrong.
local function run_group(group, dialect, counts, wrong)
  local ok, compiled = pcall(schema.compile, group.schema, { dialect = dialect, exact_empty = true })
  for _, test in ipairs(group.tests) do
    local fits, result
    if ok then fits, result = compiled:check(test.data) end
    local right = ok and fits == test.valid
    counts.run = counts.run + 1
    if right then
      counts.passed = counts.passed + 1
    else
      local why = ok and "expected " .. tostring(test.valid) or tostring(compiled)
      wrong[#wrong + 1] = ("%s: %s: %s"):format(group.description, test.description, why)
    end
    if right and fits and not json.encode(group.schema):find('"default"', 1, true) then
      assert.is_true(rawequal(result, test.data), "a value that fits comes back as it is")
    end
  end
end

for _, pair in ipairs(DRAFTS) do
  local draft, dialect = pair[1], pair[2]
  local names = files_of(draft)

  describe("official tests of " .. draft, function()
    local counts = { run = 0, passed = 0 }
    local left_out = {}

    if not names[1] then
      pending(("the package json-schema-test-suite is not installed: no %s/%s"):format(SUITE, draft))
      return
    end

    for _, name in ipairs(names) do
      it(name, function()
        local wrong = {}
        for _, group in ipairs(read(("%s/%s/%s"):format(SUITE, draft, name))) do
          local reason = reason_for(name, group)
          if reason then
            left_out[reason] = (left_out[reason] or 0) + #group.tests
          else
            run_group(group, dialect, counts, wrong)
          end
        end
        assert.are.same({}, wrong)
      end)
    end

    it("prints the pass rate", function()
      print(("%s: %d of %d tests pass (%.1f %%)"):format(draft, counts.passed, counts.run,
        100 * counts.passed / counts.run))
      for _, reason in ipairs { REMOTE, FORMAT } do
        print(("  left out: %d, %s"):format(left_out[reason] or 0, reason))
      end
      assert.is_true(counts.run > 350)
    end)
  end)
end
