-- Memory facades: scopes, checks before the adapter, errors (reference C 1; the MEM numbers are its).

local clock = require "spec.support.clock"
local harness = require "harness"
local live = require "spec.support.live"
local scripted = require "spec.support.scripted"
local wrapped = require "spec.support.wrapped_storage"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function failure(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "no error")
  return err
end

local function define(definition, turns)
  return scripted.harness(turns or { { text = "hi" } }, { definition = definition })
end

-- Runs fn(ctx) as a workflow of session `id`; returns its result or raises its error.
local function in_workflow(fn, definition, options, id)
  local all = { workflows = { flow = { run = fn } } }
  for key, value in pairs(definition or {}) do all[key] = value end
  return define(all):session(id or "s").workflows.flow:run(nil, options)
end

-- A memory of one's own that keeps what it is called with, and can be told to fail.
local function own_memory(changes)
  local memory = { id = "mine", calls = {}, capabilities = {
    "memory.kv", "memory.list", "memory.delete", "memory.session", "memory.run",
  } }
  for _, name in ipairs { "get", "put", "delete", "list" } do
    memory["memory_" .. name] = function(self, scope, ...)
      table.insert(self.calls, { name, scope, ... })
      if self.hook then return self.hook(name, scope, ...) end
      return name == "list" and {} or nil
    end
  end
  for key, value in pairs(changes or {}) do memory[key] = value end
  return memory
end

local before

before_each(function()
  clock.stop()
  before = live.now()
end)
after_each(function()
  collectgarbage()
  live.check(before)
  clock.go()
end)

describe("session.memory", function()
  it("keeps any JSON value and gives copies (MEM-04, 05, 06)", function()
    local memory = define():session("s").memory
    for i, value in ipairs { { a = { 1, harness.null } }, { 1, 2 }, "text", "", 42, 1.5, true, false, harness.null } do
      memory:write("k" .. i, value)
      assert.same(value, memory:read("k" .. i))
    end
    local given = { list = { 1 } }
    memory:write("copy", given)
    given.list[1] = 2
    memory:read("copy").list[1] = 3
    assert.same({ list = { 1 } }, memory:read "copy")
    assert.is_nil(memory:read "absent")
    memory:delete "copy"
    memory:delete "copy"
    assert.is_nil(memory:read "copy")
  end)

  it("lists keys, sorted, with prefix, limit and cursor (MEM-07)", function()
    local memory = define():session("s").memory
    for _, key in ipairs { "b.2", "a", "b.1", "c", "B" } do memory:write(key, 1) end
    assert.same({ "B", "a", "b.1", "b.2", "c" }, memory:list())
    assert.same({ "b.1", "b.2" }, memory:list { prefix = "b." })
    assert.same({ "B", "a" }, memory:list { limit = 2 })
    assert.same({ "b.2", "c" }, memory:list { cursor = "b.1" })
    for _, limit in ipairs { 0, -1, 1001, 1.5, "1" } do
      local err = failure(memory.list, memory, { limit = limit })
      assert.same({ "VALIDATION_ERROR", "memory_list_options" }, { err.code, err.meta.where })
    end
    for i = 1, 150 do memory:write(("n%03d"):format(i), i) end
    assert.equal(100, #memory:list())
    assert.equal(155, #memory:list { limit = 1000 })
  end)

  it("searches words, best first (MEM-12)", function()
    local memory = define():session("s").memory
    memory:write("one", "a red thing", { tags = { "x" }, metadata = { lang = "en" } })
    memory:write("two", "green and red")
    local found = memory:search "green red"
    assert.same({ "two", "one" }, { found[1].key, found[2].key })
    assert.same({ "green and red", true }, { found[1].value, found[1].score > 0 })
    assert.same({ "one" }, { memory:search({ text = "red", tags = { "x" }, metadata = { lang = "en" } })[1].key })
    assert.equal(1, #memory:search { text = " red ", limit = 1 })
    for _, query in ipairs { "", "  ", ("x"):rep(8001), { text = 5 }, {}, { text = "x", limit = 0 },
      { text = "x", tags = { "a b" } }, { text = "x", metadata = { 1 } }, { text = "x", top = 1 }, 5 } do
      local err = failure(memory.search, memory, query)
      assert.same({ "VALIDATION_ERROR", "memory_search_query" }, { err.code, err.meta.where })
    end
    assert.same({}, memory:search(("x"):rep(8000)))
  end)

  it("has checked keys, values and options (MEM-08 to 11)", function()
    local memory = define():session("s").memory
    for _, key in ipairs { "", "a b", "a/b", "ä", ("x"):rep(257), 5, true } do
      for _, method in ipairs { "read", "write", "delete" } do
        local err = failure(memory[method], memory, key, 1)
        assert.same({ "VALIDATION_ERROR", "memory_key" }, { err.code, err.meta.where }, tostring(key))
      end
    end
    memory:write(("x"):rep(256), 1)
    memory:write("A.b:c_d-1", 1)
    local cycle = {}
    cycle.self = cycle
    for _, value in ipairs { print, cycle, 0 / 0, { 1, x = 2 }, { a = { b = print } } } do
      local err = failure(memory.write, memory, "k", value)
      assert.same({ "VALIDATION_ERROR", "memory_value" }, { err.code, err.meta.where })
    end
    assert.equal("memory_value", failure(memory.write, memory, "k", nil).meta.where)
    for _, options in ipairs { { ttl_ms = 0 }, { ttl_ms = -1 }, { ttl_ms = 1.5 }, { ttl_ms = "1" }, { tags = "x" },
      { tags = { ("x"):rep(65) } }, { tags = { 1 } }, { metadata = { 1, 2 } }, { metadata = 1 }, { ttl = 1 }, 5 } do
      local err = failure(memory.write, memory, "k", 1, options)
      assert.same({ "VALIDATION_ERROR", "memory_write_options" }, { err.code, err.meta.where })
    end
    memory:write("k", 1, { tags = { ("x"):rep(64) }, metadata = {}, ttl_ms = 1 })
    assert.is_nil(memory:read "absent")
  end)

  it("forgets what has lived its time", function()
    local memory = define():session("s").memory
    memory:write("k", 1, { ttl_ms = 1000 })
    clock.advance(999)
    assert.equal(1, memory:read "k")
    clock.advance(1)
    assert.is_nil(memory:read "k")
    assert.same({}, memory:list())
  end)

  it("is the session's own, and gone with it", function()
    local h = define()
    local a, b = h:session "a", h:session "b"
    a.memory:write("k", 1)
    assert.is_nil(b.memory:read "k")
    assert.equal(1, h:session("a").memory:read "k")
    a:close()
    assert.same({ "SESSION_NOT_FOUND", "closed" }, { failure(a.memory.read, a.memory, "k").code,
      failure(a.memory.read, a.memory, "k").meta.reason })
    assert.equal(1, h:session("a").memory:read "k")
    h:session("a"):delete()
    assert.is_nil(h:session("a").memory:read "k")
  end)
end)

describe("ctx.memory", function()
  it("has the scopes of where it is (MEM-14)", function()
    local seen = in_workflow(function(ctx)
      ctx.memory.session:write("k", "session")
      ctx.memory.run:write("k", "run")
      ctx.memory:user("u1"):write("k", "user")
      ctx.memory:tenant("t1"):write("k", "tenant")
      ctx.memory:scope({ kind = "agent", agent_id = "helper" }):write("k", "agent")
      return {
        ctx.memory.session:read "k", ctx.memory.run:read "k", ctx.memory:user("u1"):read "k",
        ctx.memory:tenant("t1"):read "k", ctx.memory:scope({ kind = "agent", agent_id = "helper" }):read "k",
        ctx.memory.agent == nil, ctx.memory:user("u2"):read "k" == nil,
      }
    end)
    assert.same({ "session", "run", "user", "tenant", "agent", true, true }, seen)
  end)

  it("takes user and tenant from the metadata (MEM-13)", function()
    local options = { metadata = { user_id = "u", tenant_id = "t" } }
    local list = in_workflow(function(ctx)
      ctx.memory:user():write("k", 1)
      ctx.memory:tenant():write("k", 2)
      return { ctx.memory:user("u"):read "k", ctx.memory:tenant("t"):read "k" }
    end, nil, options)
    assert.same({ 1, 2 }, list)
    for _, kind in ipairs { "user", "tenant" } do
      local err = failure(in_workflow, function(ctx)
        local memory = ctx.memory[kind](ctx.memory) -- making it is no mistake, using it is
        return memory:read "k"
      end)
      assert.same({ "memory_scope", "missing_scope_identifier", kind .. "_id" },
        { err.meta.where, err.meta.issues.reason, err.meta.issues.field })
    end
    local err = failure(in_workflow, function(ctx) return ctx.memory:scope({ kind = "world" }):read "k" end)
    assert.same({ "memory_scope", "unknown_scope" }, { err.meta.where, err.meta.issues.reason })
  end)

  it("keeps runs apart, and agents across sessions", function()
    local tools = { remember = {
      description = "d", input = harness.schema.object {},
      run = function(ctx)
        local n = (ctx.memory.agent:read "n" or 0) + 1
        ctx.memory.agent:write("n", n)
        local mine = (ctx.memory.run:read "n" or 0) + 1
        ctx.memory.run:write("n", mine)
        return ("%d %d"):format(n, mine)
      end,
    } }
    local h = scripted.harness(function(request)
      local last = request.messages[#request.messages]
      return last.role == "tool" and { text = last.content } or { tool_calls = { { name = "remember" } } }
    end, { tools = tools })
    assert.equal("1 1", h:session("a").agents.helper:run "x")
    assert.equal("2 1", h:session("a").agents.helper:run "x")
    assert.equal("3 1", h:session("b").agents.helper:run "x")
  end)

  it("is there for instructions and hand-written agents", function()
    local h = define { agents = {
      helper = { model = "fast", instructions = function(ctx) return ctx.memory.session:read "style" or "plain" end },
      own = { model = "fast", run = function(ctx) return ctx.memory.session:read "style" .. ctx.agent_id end },
    } }
    local session = h:session "s"
    session.memory:write("style", "terse")
    assert.equal("hi", session.agents.helper:run "x")
    assert.equal("terseown", session.agents.own:run "x")
  end)
end)

describe("a memory of one's own", function()
  it("stands in for the storage's, and is asked only for what is right (MEM-01, 09)", function()
    local memory = own_memory()
    local session = define({ memory = memory }):session "s"
    session.memory:write("k", { 1 }, { tags = { "t" } })
    session.memory:read "k"
    assert.same({ "put", "k" }, { memory.calls[1][1], memory.calls[1][3] })
    assert.same({ kind = "session", session_id = "s" }, memory.calls[1][2])
    failure(session.memory.write, session.memory, "k", print)
    failure(session.memory.read, session.memory, "a b")
    assert.equal(2, #memory.calls)
  end)

  it("is asked for no scope, time to live or search that it has not (MEM-10, 12, 13)", function()
    local memory = own_memory()
    local err = failure(in_workflow, function(ctx) return ctx.memory:user("u"):read "k" end, { memory = memory })
    assert.same({ "memory_scope", "scope_unsupported", "memory.user" },
      { err.meta.where, err.meta.issues.reason, err.meta.issues.capability })
    local facade = define({ memory = memory }):session("s").memory
    err = failure(facade.write, facade, "k", 1, { ttl_ms = 5 })
    assert.same({ "memory_write_options", "ttl_unsupported" }, { err.meta.where, err.meta.issues.reason })
    assert.same({ "MODEL_CAPABILITY_ERROR", "missing_capability" },
      { failure(facade.search, facade, "x").code, failure(facade.search, facade, "x").meta.reason })
    table.insert(memory.capabilities, "memory.search")
    assert.equal("method_missing", failure(facade.search, facade, "x").meta.reason)
    assert.equal(0, #memory.calls)
  end)

  it("that fails is a STATE_ERROR; an error of ours passes (MEM-18)", function()
    local memory = own_memory()
    local facade = define({ memory = memory }):session("s").memory
    memory.hook = function() error "disk on fire" end
    local err = failure(facade.read, facade, "k")
    assert.same({ "STATE_ERROR", "memory.get", "memory", "mine" },
      { err.code, err.meta.op, err.meta.adapter, err.meta.memory_provider })
    assert.matches("disk on fire", err.message)
    local own = harness.new_error("MY_ERROR", "x")
    memory.hook = function() error(own) end
    assert.is_true(rawequal(own, failure(facade.write, facade, "k", 1)))
  end)

  it("is left when the run is stopped (MEM-17)", function()
    local memory = own_memory { hook = function() harness.sleep(1 << 40) end }
    local h = define { memory = memory, workflows = { flow = { run = function(ctx) ctx.memory.run:read "k" end } } }
    local stream = h:session("s").workflows.flow:stream()
    clock.advance(10)
    stream:cancel()
    clock.advance(10)
    assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
  end)

  it("counts for what is required (MEM-03)", function()
    local err = failure(define, { memory = own_memory(), requires = { "memory.search" } })
    assert.equal("missing_required_capability", err.meta.reason)
    define { memory = own_memory(), requires = { "memory.run" } }
    assert.equal("mine", define({ memory = own_memory() }):inspect().adapters[2].id)
  end)
end)

describe("a storage without memory", function()
  it("still holds sessions; memory says what it cannot", function()
    local storage = wrapped.new()
    storage.capabilities = {}
    local session = define({ storage = storage }):session "s"
    assert.equal("hi", session.agents.helper:run "x")
    assert.equal("scope_unsupported", failure(session.memory.read, session.memory, "k").meta.issues.reason)
  end)
end)

describe("memory telemetry", function()
  it("has a span and metrics for each call, without content (MEM-19)", function()
    local recorder = harness.testing.recorder.new()
    local session = define({ telemetry = { listener = recorder } }):session "s"
    session.memory:write("secret-key", "secret value")
    session.memory:read "secret-key"
    session.memory:list()
    pcall(session.memory.read, session.memory, "a b")
    local names = {}
    for i, span in ipairs(recorder.spans) do names[i] = span.name end
    assert.same({ "harness.memory.set", "harness.memory.get", "harness.memory.list" }, names)
    assert.is_nil(harness.json.encode(recorder.spans[1].attributes):find "secret")
    assert.is_true(recorder.spans[2].attributes["harness.memory.hit"])
    assert.equal(1, recorder.spans[3].attributes["harness.memory.result_count"])
  end)
end)

describe("memory against a plain table", function()
  it("behaves the same for random calls", function()
    local memory, model = define():session("s").memory, {}
    for _ = 1, math.max(200, 3000 // FACTOR) do
      local key = "k" .. math.random(20)
      local act = math.random(4)
      if act == 1 then
        local value = math.random(100)
        memory:write(key, value)
        model[key] = value
      elseif act == 2 then
        memory:delete(key)
        model[key] = nil
      elseif act == 3 then
        assert.equal(model[key], memory:read(key))
      else
        local keys = {}
        for name in pairs(model) do keys[#keys + 1] = name end
        table.sort(keys)
        assert.same(keys, memory:list())
      end
    end
  end)
end)
