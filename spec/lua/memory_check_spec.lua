-- lua/harness/memory_check.lua: what memory calls take, in which order it is checked, and that nothing wrong
-- reaches the adapter. Reference C 1.5, whose are the MEM numbers.

local failure = require("spec.support.failure").any
local own_memory = require "spec.support.own_memory"
local recorder = require "harness.testing.recorder"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"

local ALL <const> = {
  "memory.kv", "memory.list", "memory.delete", "memory.search", "memory.ttl", "memory.session",
}

describe("a memory call", function()
  still(before_each, after_each)
  local adapter, heard, memory

  before_each(function()
    adapter, heard = own_memory.new { capabilities = ALL }, recorder.new()
    local h = scripted.harness({ { text = "hi" } }, { definition = {
      memory = adapter, telemetry = { listener = heard },
    } })
    memory = h:session("s").memory
  end)

  -- Raises VALIDATION_ERROR of this place, having neither asked the adapter nor told anybody.
  local function refused(where, issues, method, ...)
    local err = failure(memory[method], memory, ...)
    assert.same({ "VALIDATION_ERROR", where }, { err.code, err.meta.where }, tostring(err))
    if issues then assert.same(issues, err.meta.issues) end
    assert.same({ 0, 0, 0 }, { #adapter.calls, #heard.started, #heard.metrics })
    return err
  end

  it("refuses wrong keys (MEM-08)", function()
    for _, key in ipairs { "", "a b", "a/b", "ä", ("x"):rep(257), "a\n", "a\0", 5, true, {} } do
      for _, method in ipairs { "read", "write", "delete" } do refused("memory_key", nil, method, key, 1) end
    end
    refused("memory_key", { key = "nil" }, "read", nil)
    refused("memory_key", { key = "a b" }, "read", "a b")
    refused("memory_key", { key = ("x"):rep(256) }, "read", ("x"):rep(300))
    assert.matches('got "a/b"$', refused("memory_key", nil, "read", "a/b").message)
    assert.matches("%(300 bytes%)$", refused("memory_key", nil, "read", ("x"):rep(300)).message)
  end)

  it("takes right keys (MEM-08)", function()
    for _, key in ipairs { "a", ("x"):rep(256), "A.b:c_d-1", ".", "..", "0" } do
      memory:write(key, key)
      assert.equal(key, memory:read(key))
    end
  end)

  it("refuses values that JSON cannot hold (MEM-09)", function()
    local cycle = {}
    cycle.self = cycle
    for _, value in ipairs { print, cycle, 0 / 0, math.huge, { 1, x = 2 }, { a = { b = print } }, "\xff",
      coroutine.create(print), io.stdout } do
      refused("memory_value", nil, "write", "k", value)
    end
    refused("memory_value", { path = "$", reason = "nil" }, "write", "k", nil)
    assert.equal("$.a[2]", refused("memory_value", nil, "write", "k", { a = { 1, print } }).meta.issues.path)
  end)

  it("refuses wrong options of a write (MEM-10, 11)", function()
    local where <const> = "memory_write_options"
    for _, ttl in ipairs { 0, -1, 1.5, "1", 0 / 0, math.huge } do
      refused(where, { ttl_ms = tostring(ttl) }, "write", "k", 1, { ttl_ms = ttl })
    end
    refused(where, { tag = ("x"):rep(64) }, "write", "k", 1, { tags = { "a", ("x"):rep(65) } })
    refused(where, { tag = "a b" }, "write", "k", 1, { tags = { "a b" } })
    for _, options in ipairs { { tags = "x" }, { tags = { 1 } }, { tags = { x = "y" } }, { tags = { "a", x = "y" } },
      { metadata = { 1, 2 } }, { metadata = 1 }, { metadata = { f = print } }, 5, "x" } do
      refused(where, nil, "write", "k", 1, options)
    end
    assert.matches("ttl_ms", refused(where, { ttl = "unknown" }, "write", "k", 1, { ttl = 5 }).message)
  end)

  it("takes right options of a write (MEM-11)", function()
    memory:write("k", 1, { tags = { ("x"):rep(64), "a.b:c_d-1" }, metadata = { a = { 1 } }, ttl_ms = 1e3 })
    assert.same({ tags = { ("x"):rep(64), "a.b:c_d-1" }, metadata = { a = { 1 } }, ttl_ms = 1000 }, adapter.calls[1][5])
    memory:write("k", 1, { tags = {}, metadata = {} })
    memory:write("k", 1, {})
  end)

  it("refuses a time to live that the adapter cannot keep (MEM-10)", function()
    adapter.capabilities = { "memory.kv", "memory.session" }
    refused("memory_write_options", { reason = "ttl_unsupported" }, "write", "k", 1, { ttl_ms = 5 })
    refused("memory_write_options", { ttl_ms = "0" }, "write", "k", 1, { ttl_ms = 0 }) -- this comes first
  end)

  it("refuses wrong options of a list (MEM-07)", function()
    local where <const> = "memory_list_options"
    for _, limit in ipairs { 0, -1, 1001, 1.5, "1", true } do
      refused(where, { limit = tostring(limit) }, "list", { limit = limit })
    end
    for _, options in ipairs { { prefix = 1 }, { cursor = {} }, 5 } do refused(where, nil, "list", options) end
    assert.matches("prefix", refused(where, { prefx = "unknown" }, "list", { prefx = "a" }).message)
    memory:list { limit = 1000.0 }
    assert.equal("integer", math.type(adapter.calls[1][3].limit))
  end)

  it("refuses wrong queries (MEM-12)", function()
    local where <const> = "memory_search_query"
    for _, text in ipairs { "", "  ", " \n\t" } do refused(where, { text_length = 0 }, "search", text) end
    refused(where, { text_length = 8001 }, "search", ("x"):rep(8001))
    refused(where, { text_length = 8001 }, "search", { text = ("ä"):rep(8001) })
    for _, query in ipairs { { text = 5 }, {}, { text = "x", limit = 0 }, { text = "x", limit = 1001 },
      { text = "x", tags = { "a b" } }, { text = "x", metadata = { 1 } }, { text = "x", top = 1 }, 5, "\xff" } do
      refused(where, nil, "search", query)
    end
    refused(where, { text_length = 0 }, "search", nil)
  end)

  it("takes right queries, trimmed (MEM-12)", function()
    memory:search(("x"):rep(8000))
    memory:search(("ä"):rep(8000))
    memory:search " \n a b\t "
    assert.same({ text = "a b", limit = 100 }, adapter.calls[3][3])
    memory:search { text = "x", limit = 1000, tags = { "t" }, metadata = { a = 1 } }
    assert.same({ text = "x", limit = 1000, tags = { "t" }, metadata = { a = 1 } }, adapter.calls[4][3])
  end)

  -- Trimming went over a text of white space again and again.
  it("trims in proportion to the length", function()
    local blank = (" "):rep(1 << 20)
    local from = os.clock()
    refused("memory_search_query", nil, "search", blank)
    refused("memory_search_query", nil, "search", "a" .. blank .. "b")
    assert.is_true(os.clock() - from < 5)
  end)

  it("refuses a search where there is none, before it looks at the query (MEM-12)", function()
    adapter.capabilities = { "memory.kv", "memory.session" }
    local err = failure(memory.search, memory, "")
    assert.same({ "MODEL_CAPABILITY_ERROR", "missing_capability", "mine", "memory.search" },
      { err.code, err.meta.reason, err.meta.alias, err.meta.method })
    assert.same({ 0, 0 }, { #adapter.calls, #heard.started })
  end)

  it("is checked in order: the scope's kind, its id, the key, the value, the options", function()
    adapter.capabilities = { "memory.kv", "memory.user" }
    refused("memory_scope", { reason = "scope_unsupported", capability = "memory.session", method = "session" },
      "write", "a b", print, { ttl_ms = 0 })
    adapter.capabilities = { "memory.kv", "memory.session" }
    refused("memory_key", nil, "write", "a b", print, { ttl_ms = 0 })
    refused("memory_value", nil, "write", "k", print, { ttl_ms = 0 })
    refused("memory_write_options", { ttl_ms = "0" }, "write", "k", 1, { ttl_ms = 0, tags = 5, metadata = 5 })
    refused("memory_write_options", { reason = "ttl_unsupported" }, "write", "k", 1, { ttl_ms = 1, tags = 5 })
    refused("memory_write_options", { tags = "number" }, "write", "k", 1, { tags = 5, metadata = 5 })
  end)
end)

describe("a memory scope", function()
  -- The error of a read in the scope, in a workflow.
  local function refused(scope, capabilities)
    local adapter = own_memory.new { capabilities = capabilities or {
      "memory.kv", "memory.session", "memory.run", "memory.user", "memory.agent", "memory.tenant",
    } }
    local h = scripted.harness({ { text = "hi" } }, { definition = { memory = adapter, workflows = { flow = {
      run = function(ctx)
        local memory = ctx.memory:scope(scope) -- making it is no mistake, using it is
        memory:read "k"
      end,
    } } } })
    local flow = h:session("s").workflows.flow
    local err = failure(flow.run, flow)
    assert.same({ "VALIDATION_ERROR", "memory_scope" }, { err.code, err.meta.where }, tostring(err))
    assert.equal(0, #adapter.calls)
    return err
  end

  it("must be of a kind that there is", function()
    for _, scope in ipairs { { kind = "world" }, {}, { kind = 5 }, { kind = {} }, "user", 5 } do
      assert.equal("unknown_scope", refused(scope).meta.issues.reason)
    end
    assert.matches('did you mean "tenant"', refused({ kind = "tennant" }).message)
  end)

  it("must be one that the adapter has, which counts before its id (MEM-13)", function()
    for _, kind in ipairs { "user", "tenant", "agent", "run", "session" } do
      assert.same({ reason = "scope_unsupported", capability = "memory." .. kind, method = kind },
        refused({ kind = kind }, { "memory.kv" }).meta.issues)
    end
  end)

  it("needs its id (MEM-13)", function()
    for _, kind in ipairs { "user", "tenant", "agent" } do
      local field = kind .. "_id"
      for _, id in ipairs { false, "", 5 } do
        assert.same({ reason = "missing_scope_identifier", field = field, scope = kind },
          refused({ kind = kind, [field] = id or nil }).meta.issues)
      end
    end
  end)

  it("has no other fields than ids, which are text", function()
    local err = refused { kind = "user", user_id = "u", sesion_id = "s" }
    assert.same({ reason = "unknown_key", field = "sesion_id" }, err.meta.issues)
    assert.matches("session_id", err.message)
    assert.same({ reason = "wrong_type", field = "run_id" },
      refused({ kind = "user", user_id = "u", run_id = 5 }).meta.issues)
  end)
end)
