-- lua/harness/memory.lua: session.memory, ctx.memory, a memory of one's own. Reference C 1, whose are the
-- MEM numbers. What the calls are given: memory_check_spec; how they fail and are told of: memory_call_spec.

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").any
local harness = require "harness"
local own_memory = require "spec.support.own_memory"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local wrapped = require "spec.support.wrapped_storage"

local function define(definition, turns)
  return scripted.harness(turns or { { text = "hi" } }, { definition = definition })
end

-- Runs fn(ctx) as a workflow of session `id`; returns its result or raises its error.
local function in_workflow(fn, definition, options, id)
  local all = { workflows = { flow = { run = fn } } }
  for key, value in pairs(definition or {}) do all[key] = value end
  return define(all):session(id or "s").workflows.flow:run(nil, options)
end

still(before_each, after_each)

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
    assert.same({}, memory:search(("x"):rep(8000)))
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
        ctx.memory:user("u2"):read "k" == nil,
      }
    end)
    assert.same({ "session", "run", "user", "tenant", "agent", true }, seen)
  end)

  it("takes user and tenant from the metadata (MEM-13)", function()
    local options = { metadata = { user_id = "u", tenant_id = "t" } }
    local list = in_workflow(function(ctx)
      ctx.memory:user():write("k", 1)
      ctx.memory:tenant():write("k", 2)
      return { ctx.memory:user("u"):read "k", ctx.memory:tenant("t"):read "k" }
    end, nil, options)
    assert.same({ 1, 2 }, list)
    list = in_workflow(function(ctx)
      ctx.memory:scope({ kind = "user" }):write("k", 3)
      return { ctx.memory:user():read "k", ctx.memory:user("other"):read "k" or "none" }
    end, nil, options)
    assert.same({ 3, "none" }, list)
    for _, metadata in ipairs { { user_id = 5 }, { user_id = "" }, {} } do
      local err = failure(in_workflow, function(ctx) return ctx.memory:user():read "k" end, nil,
        { metadata = metadata })
      assert.equal("missing_scope_identifier", err.meta.issues.reason)
    end
    for _, kind in ipairs { "user", "tenant" } do
      local err = failure(in_workflow, function(ctx)
        local memory = ctx.memory[kind](ctx.memory) -- making it is no mistake, using it is
        return memory:read "k"
      end)
      assert.same({ "memory_scope", "missing_scope_identifier", kind .. "_id" },
        { err.meta.where, err.meta.issues.reason, err.meta.issues.field })
    end
  end)

  it("says where there is no agent", function()
    local err = failure(in_workflow, function(ctx) return ctx.memory.agent end)
    assert.same({ "VALIDATION_ERROR", "memory_scope", "missing_scope_identifier", "agent_id" },
      { err.code, err.meta.where, err.meta.issues.reason, err.meta.issues.field })
    assert.matches("ctx.memory:scope", err.message)
  end)

  it("makes each scope once, and does not change with what was given", function()
    assert.same({ true, "a" }, in_workflow(function(ctx)
      local scope = { kind = "user", user_id = "a" }
      local memory = ctx.memory:scope(scope)
      memory:write("k", "a")
      scope.user_id = "b"
      return { rawequal(ctx.memory, ctx.memory) and rawequal(ctx.memory.run, ctx.memory.run), memory:read "k" }
    end))
  end)

  it("of a nested agent has that agent's id and the metadata of its call", function()
    local seen = {}
    local h = define { agents = {
      inner = { model = "fast", run = function(ctx)
        ctx.memory.agent:write("who", ctx.agent_id)
        ctx.memory:user():write("k", "nested")
        ctx.memory.run:write("shared", 1)
        return "done"
      end },
    }, workflows = { flow = { run = function(ctx)
      ctx.agents.inner:run("x", { metadata = { user_id = "child" } })
      seen = {
        ctx.memory:scope({ kind = "agent", agent_id = "inner" }):read "who", ctx.memory:user("child"):read "k",
        ctx.memory:user():read "k" or "none", ctx.memory.run:read "shared",
      }
    end } } }
    h:session("s").workflows.flow:run(nil, { metadata = { user_id = "parent" } })
    assert.same({ "inner", "nested", "none", 1 }, seen)
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
  it("stands in for the storage's (MEM-01)", function()
    local memory = own_memory.new()
    local session = define({ memory = memory }):session "s"
    session.memory:write("k", { 1 }, { tags = { "t" } })
    assert.same({ 1 }, session.memory:read "k")
    assert.same({ "k" }, session.memory:list())
    assert.same({ "put", { kind = "session", session_id = "s" }, "k", { 1 }, { tags = { "t" } } }, memory.calls[1])
    assert.same({ "list", { kind = "session", session_id = "s" }, { limit = 100 } }, memory.calls[3])
  end)

  it("may be a storage of ours beside the other", function()
    local kept = harness.storage.memory()
    local h = define { memory = kept }
    h:session("s").memory:write("k", 1)
    assert.equal(1, kept:memory_get({ kind = "session", session_id = "s" }, "k"))
    assert.same({}, kept:list_sessions())
    local both = define { memory = kept, storage = kept }
    both:session("s").memory:write("k", 2)
    both:session("s"):delete()
    assert.is_nil(kept:memory_get({ kind = "session", session_id = "s" }, "k"))
  end)

  it("without a list of capabilities is taken at its methods, and needs no id", function()
    local memory = own_memory.new()
    memory.id, memory.capabilities = nil, nil
    local facade = define({ memory = memory, requires = { "memory.search" } }):session("s").memory
    facade:write("k", "some words", { ttl_ms = 10 })
    assert.equal("k", facade:search("words")[1].key)
    clock.advance(10)
    assert.is_nil(facade:read "k")
    memory.memory_search = nil
    assert.equal("missing_capability", failure(facade.search, facade, "x").meta.reason)
  end)

  it("gets scopes of its own to keep", function()
    local memory = own_memory.new()
    local facade = define({ memory = memory }):session("s").memory
    facade:write("k", 1)
    memory.calls[1][2].session_id = "other"
    facade:write("k", 2)
    assert.equal("s", memory.calls[2][2].session_id)
  end)

  it("counts for what is required, and is shown (MEM-03)", function()
    local err = failure(define, { memory = own_memory.new(), requires = { "memory.search" } })
    assert.equal("missing_required_capability", err.meta.reason)
    local shown = define({ memory = own_memory.new(), requires = { "memory.run" } }):inspect()
    assert.equal("storage", shown.adapters[1].kind)
    assert.same({ "memory", "mine" }, { shown.adapters[2].kind, shown.adapters[2].id })
    local own = { "memory.kv", "memory.list", "memory.delete", "memory.session", "memory.run" }
    assert.same(own, { table.unpack(shown.capabilities) })
    assert.same(own, { table.unpack(shown.adapters[2].capabilities) })
    local set = own_memory.new { capabilities = { ["memory.kv"] = true, ["memory.run"] = false } }
    assert.same({ "memory.kv" }, { table.unpack(define({ memory = set }):inspect().capabilities) })
  end)

  it("is closed with the last harness that uses it", function()
    local closed = 0
    local memory = own_memory.new { close = function() closed = closed + 1 end }
    local a, b = define { memory = memory }, define { memory = memory }
    assert.same({}, a:shutdown().errors)
    assert.equal(0, closed)
    assert.same({}, b:shutdown().errors)
    assert.equal(1, closed)
    memory.close = function() error "cannot" end
    assert.matches("cannot", define({ memory = memory }):shutdown().errors[1].message)
  end)
end)

describe("deleting a session", function()
  -- Keeps n keys in the session's memory and in that of each of its two runs, deletes it and counts.
  local function deleted(memory, n)
    local h = define { memory = memory, workflows = { flow = { run = function(ctx)
      for i = 1, n do ctx.memory.run:write("r" .. i, i) end
      return ctx.run_id
    end } } }
    local session, other = h:session "s", h:session "other"
    local runs = { session.workflows.flow:run(), session.workflows.flow:run() }
    for i = 1, n do session.memory:write("k" .. i, i) end
    other.memory:write("k", 1)
    session:delete()
    memory.calls = {}
    local left = #h:session("s").memory:list { limit = 1000 }
    for _, id in ipairs(runs) do left = left + #memory:memory_list({ kind = "run", run_id = id }) end
    assert.equal(1, other.memory:read "k")
    return left
  end

  it("removes its memory, and its runs', from a memory of one's own", function()
    assert.equal(0, deleted(own_memory.new(), 3))
    assert.equal(0, deleted(own_memory.new(), 1001)) -- more than a page
  end)

  it("leaves what it cannot list or delete", function()
    assert.equal(9, deleted(own_memory.new { capabilities = {
      "memory.kv", "memory.list", "memory.session", "memory.run",
    } }, 3))
  end)

  it("ends also when the memory deletes nothing", function()
    local memory = own_memory.new()
    memory.memory_delete = function() end
    assert.equal(3 * 3, deleted(memory, 3))
    memory = own_memory.new()
    memory.memory_list = function() -- knows no cursor
      local all = {}
      for i = 1, 1000 do all[i] = { key = "k" .. i } end
      return all
    end
    define({ memory = memory }):session("s"):delete()
  end)

  it("fails when the memory does, and can be made again", function()
    local memory = own_memory.new()
    local h = define { memory = memory }
    local session = h:session "s"
    session.memory:write("k", 1)
    memory.hook = function() error "off line" end
    assert.equal("memory.list", failure(session.delete, session).meta.op)
    memory.hook = nil
    h:session("s"):delete()
    assert.is_nil(h:session("s").memory:read "k")
  end)

  it("removes it after a run that asks for it itself", function()
    local memory = own_memory.new()
    local h
    h = define { memory = memory, workflows = { flow = { run = function(ctx)
      ctx.memory.session:write("k", 1)
      h:session("s"):delete()
    end } } }
    pcall(h:session("s").workflows.flow.run, h:session("s").workflows.flow)
    assert.is_nil(h:session("s").memory:read "k")
  end)
end)

describe("a storage of one's own", function()
  -- The storage without its methods for memory.
  local function without_memory(capabilities)
    local inner = harness.storage.memory()
    return setmetatable({}, { __index = function(_, key)
      if key == "capabilities" then return capabilities end
      if key:find "^memory_" then return nil end
      local method = inner[key]
      return type(method) == "function" and function(_, ...) return method(inner, ...) end or method
    end })
  end

  it("that has no memory holds sessions and runs; memory says what it cannot", function()
    for _, capabilities in ipairs { {}, false } do
      local h = define({ storage = without_memory(capabilities or nil) })
      local session = h:session "s"
      assert.equal("hi", session.agents.helper:run "x")
      local err = failure(session.memory.read, session.memory, "k")
      assert.same({ "scope_unsupported", "memory.session" }, { err.meta.issues.reason, err.meta.issues.capability })
      assert.same({}, { table.unpack(h:inspect().capabilities) })
      session:delete()
    end
    local declares = define({ storage = without_memory { "memory.kv", "memory.session" } }):session("s").memory
    local err = failure(declares.read, declares, "k")
    assert.same({ "MODEL_CAPABILITY_ERROR", "method_missing", "memory.get" },
      { err.code, err.meta.reason, err.meta.method })
  end)

  it("that declares nothing is taken at its methods", function()
    local storage = wrapped.new()
    getmetatable(storage).__index = (function(index)
      return function(self, key)
        if key == "capabilities" then return nil end
        return index(self, key)
      end
    end)(getmetatable(storage).__index)
    local memory = define({ storage = storage, requires = { "memory.ttl" } }):session("s").memory
    memory:write("k", "a word")
    assert.equal("k", memory:search("word")[1].key)
  end)
end)
