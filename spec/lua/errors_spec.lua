local errors = require "harness.errors"

describe("errors", function()
  -- The whole catalogue: code, category, retriable without meta or cause.
  local catalogue = {
    { "HARNESS_CONFIG_ERROR", "config", false },
    { "VALIDATION_ERROR", "validation", false },
    { "PERMISSION_DENIED", "permission", false },
    { "SANDBOX_ERROR", "sandbox", true },
    { "SANDBOX_NO_EXECUTOR", "sandbox", false },
    { "MODEL_ERROR", "model", false },
    { "MODEL_CAPABILITY_ERROR", "model", false },
    { "TOOL_ERROR", "tool", false },
    { "TOOL_NOT_FOUND", "tool", false },
    { "SKILL_NOT_FOUND", "skill", false },
    { "SKILL_MANIFEST_ERROR", "config", false },
    { "AGENT_NOT_FOUND", "validation", false },
    { "AGENT_LOOP_BUDGET_EXCEEDED", "validation", false },
    { "WORKFLOW_NOT_FOUND", "validation", false },
    { "SESSION_NOT_FOUND", "session", false },
    { "SESSION_BUSY", "session", true },
    { "STATE_ERROR", "state", true },
    { "WORKSPACE_ERROR", "workspace", false },
    { "WORKSPACE_QUOTA_EXCEEDED", "workspace", false },
    { "WORKSPACE_CLEANUP_ERROR", "workspace", true },
    { "OPERATION_TIMEOUT", "timeout", true },
    { "OPERATION_CANCELLED", "cancelled", false },
    { "MCP_PROTOCOL_ERROR", "tool", true },
    { "MCP_AUTH_ERROR", "tool", false },
    { "INTERNAL_ERROR", "internal", false },
    { "DURABLE_TERMINAL_RUN", "state", false },
    { "DURABLE_LEASE_CONFLICT", "state", true },
    { "DURABLE_STEP_ERROR", "validation", false },
    { "DURABLE_RUN_CONFLICT", "state", false },
    { "RUN_WAITING", "waiting", false },
    { "HTTP_ERROR", "internal", false },
    { "PROCESS_ERROR", "internal", false },
    { "MY_OWN_CODE", "application", false },
  }
  for _, row in ipairs(catalogue) do
    it(("knows %s"):format(row[1]), function()
      local err = errors.new(row[1], "text", { a = 1 }, "cause")
      assert.equal(row[1], err.code)
      assert.equal(row[2], err.category)
      assert.equal(row[3], err.retriable)
      assert.equal("text", err.message)
      assert.same({ a = 1 }, err.meta)
      assert.equal("cause", err.cause)
      assert.is_nil(err.traceback)
      assert.same({
        code = row[1], category = row[2], retriable = row[3], message = "text", meta = { a = 1 },
      }, errors.serialize(err))
    end)
  end

  it("has no code that this table lacks", function()
    local listed = {}
    for _, row in ipairs(catalogue) do listed[row[1]] = true end
    for code, kind in pairs(errors.CATALOGUE) do
      assert.is_true(listed[code], code)
      assert.equal("table", type(kind.meta))
    end
  end)

  describe("retriable", function()
    local cases = {
      { "MODEL_ERROR", { reason = "network" }, true },
      { "MODEL_ERROR", { status = 408 }, true }, { "MODEL_ERROR", { status = 409 }, true },
      { "MODEL_ERROR", { status = 425 }, true }, { "MODEL_ERROR", { status = 429 }, true },
      { "MODEL_ERROR", { status = 500 }, true }, { "MODEL_ERROR", { status = 503 }, true },
      { "MODEL_ERROR", { status = 529 }, true }, { "MODEL_ERROR", { status = 599 }, true },
      { "MODEL_ERROR", { status = 400 }, false }, { "MODEL_ERROR", { status = 401 }, false },
      { "MODEL_ERROR", { status = 404 }, false }, { "MODEL_ERROR", { status = 600 }, false },
      { "MODEL_ERROR", { status = "429" }, false },
      { "MODEL_ERROR", { reason = "malformed_response" }, true },
      { "MODEL_ERROR", { reason = "stream_truncated" }, true },
      { "MODEL_ERROR", { reason = "unstructured_response" }, false },
      { "MODEL_ERROR", { reason = "context_length_exceeded", status = 400 }, false },
      { "HTTP_ERROR", { reason = "network" }, true }, { "HTTP_ERROR", { status = 502 }, true },
      { "HTTP_ERROR", { reason = "too_large" }, false },
      { "MCP_AUTH_ERROR", { status = 500 }, true }, { "MCP_AUTH_ERROR", { status = 401 }, false },
      { "WORKSPACE_ERROR", { reason = "backend_failure" }, true },
      { "WORKSPACE_ERROR", { reason = "cleanup_pending" }, true },
      { "WORKSPACE_ERROR", { reason = "not_found" }, false },
    }
    for _, case in ipairs(cases) do
      it(("%s %s %s is %s"):format(case[1], tostring(case[2].reason), tostring(case[2].status),
        tostring(case[3])), function()
        assert.equal(case[3], errors.new(case[1], "m", case[2]).retriable)
      end)
    end

    it("of a TOOL_ERROR is that of its cause, when that is ours", function()
      assert.is_true(errors.new("TOOL_ERROR", "m", nil, errors.new("SANDBOX_ERROR", "x")).retriable)
      assert.is_false(errors.new("TOOL_ERROR", "m", nil, errors.new("VALIDATION_ERROR", "x")).retriable)
      assert.is_false(errors.new("TOOL_ERROR", "m", nil, { retriable = true }).retriable)
    end)
  end)

  describe("is", function()
    it("is true for ours only, whatever else looks like one", function()
      local err = errors.new("VALIDATION_ERROR", "m")
      assert.is_true(errors.is(err))
      assert.is_true(errors.is(err, "VALIDATION_ERROR"))
      assert.is_false(errors.is(err, "TOOL_ERROR"))
      local copy = {}
      for key, value in pairs(err) do copy[key] = value end
      local named = setmetatable({}, { __name = "harness.error" })
      for _, other in ipairs { copy, "VALIDATION_ERROR: m", 1, true, print, named } do
        assert.is_false(errors.is(other))
      end
      assert.is_false(errors.is(nil))
    end)
  end)

  it("raises the very table", function()
    local ok, err = pcall(errors.raise, "MY_CODE", "m", { n = 1 }, "c")
    assert.is_false(ok)
    assert.is_true(errors.is(err, "MY_CODE"))
    local _, again = pcall(error, err, 0)
    assert.is_true(rawequal(err, again))
  end)

  describe("as text", function()
    local cases = {
      { errors.new("A", "text"), "A: text" },
      { errors.new("A"), "A: A" },
      { errors.new("A", "text", { reason = "why" }), "A: text (why)" },
      { errors.new("A", "text", { reason = 5 }), "A: text" },
      { errors.new("A", "one\n  two\r\nthree"), "A: one two three" },
      { errors.new("A", 12), "A: 12" },
    }
    for _, case in ipairs(cases) do
      it(case[2], function() assert.equal(case[2], tostring(case[1])) end)
    end

    it("holds for a table whose fields were taken away", function()
      local err = errors.new("A", "text")
      err.message, err.meta, err.code = nil, nil, nil
      assert.equal("nil: nil", tostring(err))
      assert.equal("nil", tostring(errors.serialize(err).code))
    end)
  end)

  it("always has a meta", function()
    assert.same({}, errors.new("A", "m").meta)
    assert.is_nil(errors.serialize(errors.new("A", "m")).meta)
  end)

  it("refuses a wrong call", function()
    assert.has_error(function() errors.new(nil, "m") end,
      "the code of an error must be a string that is not empty, got nil")
    assert.has_error(function() errors.new("", "m") end)
    assert.has_error(function() errors.new("A", "m", "meta") end,
      "the meta of error A must be a table, got string")
  end)

  describe("secrets", function()
    it("are masked when the error is made", function()
      local err = errors.new("MODEL_ERROR", "wrong key sk-abc123", {
        api_key = "hunter2", note = "Bearer abc123", deep = { { password = "p" } }, input_tokens = 5,
      })
      assert.equal("wrong key [redacted]", err.message)
      assert.same({ api_key = "[redacted]", note = "[redacted]", deep = { { password = "[redacted]" } },
        input_tokens = 5 }, err.meta)
      assert.equal("MODEL_ERROR: wrong key [redacted]", tostring(err))
    end)

    it("do not change the table that was given, and a clean one is taken over", function()
      local dirty, clean = { token = "x" }, { list = { 1, 2 } }
      assert.same({ token = "[redacted]" }, errors.new("A", "m", dirty).meta)
      assert.equal("x", dirty.token)
      assert.equal(clean, errors.new("A", "m", clean).meta)
    end)

    it("of foreign errors are masked when they are written", function()
      assert.equal("no [redacted]", errors.serialize("no sk-abc123").message)
    end)
  end)

  describe("serialize", function()
    local function foreign(message)
      return { code = "INTERNAL_ERROR", category = "internal", retriable = false, message = message }
    end
    local shown = setmetatable({}, { __tostring = function() return "shown" end })
    local broken = setmetatable({}, { __tostring = function() error "no" end })
    local guarded = setmetatable({}, { __index = function() error "no" end })
    local cases = {
      { "plain text", "plain text" }, { 42, "42" }, { true, "true" }, { nil, "nil" },
      { { message = "of a table" }, "of a table" }, { { message = 5 }, "(error object is a table value)" },
      { {}, "(error object is a table value)" }, { print, "(error object is a function value)" },
      { shown, "shown" }, { broken, "(error object is a table value)" },
      { guarded, "(error object is a table value)" },
      { setmetatable({}, { __metatable = "locked" }), "(error object is a table value)" },
      { ("x"):rep(5000), ("x"):rep(4000) },
    }
    for i = 1, #cases do
      it(("shows a foreign %s (%d)"):format(type(cases[i][1]), i), function()
        assert.same(foreign(cases[i][2]), errors.serialize(cases[i][1]))
      end)
    end

    it("never has the cause or the traceback", function()
      local err = errors.new("A", "m", { n = 1 }, errors.new("B", "inner"))
      err.traceback = "stack traceback: ..."
      assert.same({
        code = "A", category = "application", retriable = false, message = "m", meta = { n = 1 },
      }, errors.serialize(err))
    end)

    it("bounds the meta", function()
      local issues = {}
      for i = 1, 50 do issues[i] = i end
      assert.equal(20, #errors.serialize(errors.new("A", "m", { issues = issues })).meta.issues)
    end)

    it("is what JSON shows of an error", function()
      local json = require("harness.core").json
      assert.equal('{"category":"application","code":"A","message":"m","meta":{"n":1},"retriable":false}',
        json.encode(errors.new("A", "m", { n = 1 }, "cause")))
    end)
  end)
end)
