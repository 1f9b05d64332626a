-- lua/harness/memory_call.lua: how memory calls fail, how they are stopped, and what is told of them.
-- Reference C 1.6 and 1.8, whose are the MEM numbers.

local clock = require "spec.support.clock"
local core = require "harness.core"
local failure = require("spec.support.failure").any
local harness = require "harness"
local json = require "harness.json"
local own_memory = require "spec.support.own_memory"
local recorder = require "harness.testing.recorder"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local wrapped = require "spec.support.wrapped_storage"

describe("a memory call", function()
  local opened = still(before_each, after_each)
  local heard

  before_each(function() heard = recorder.new() end)

  local function define(definition, turns)
    definition.telemetry = definition.telemetry or { listener = heard }
    local h = scripted.harness(turns or { { text = "hi" } }, { definition = definition, tools = definition.tools })
    opened[#opened + 1] = h
    return h
  end

  -- A stream of a workflow that is now in fn(ctx).
  local function running(fn, definition)
    definition = definition or {}
    definition.workflows = { flow = { run = fn } }
    local stream = define(definition):session("s").workflows.flow:stream()
    clock.advance(10)
    return stream
  end

  describe("that fails", function()
    it("is a STATE_ERROR with the operation and the memory's id (MEM-18)", function()
      local memory = own_memory.new { capabilities = {
        "memory.kv", "memory.list", "memory.delete", "memory.search", "memory.session",
      } }
      local facade = define({ memory = memory }):session("s").memory
      memory.hook = function() error "disk on fire" end
      local operations = { read = "get", write = "set", delete = "delete", list = "list", search = "search" }
      for method, operation in pairs(operations) do
        local argument = method ~= "list" and "k" or nil
        local err = failure(facade[method], facade, argument, method == "write" and 1 or nil)
        assert.same({ "STATE_ERROR", "memory." .. operation, "memory", "mine", true },
          { err.code, err.meta.op, err.meta.adapter, err.meta.memory_provider, err.retriable })
        assert.matches("disk on fire", err.message)
        assert.matches("disk on fire", err.cause)
      end
      memory.hook = function() error() end
      assert.equal("STATE_ERROR", failure(facade.read, facade, "k").code)
    end)

    it("raises an error of ours as it is", function()
      local memory = own_memory.new()
      local facade = define({ memory = memory }):session("s").memory
      local own = harness.new_error("MY_ERROR", "x")
      memory.hook = function() error(own) end
      assert.is_true(rawequal(own, failure(facade.write, facade, "k", 1)))
    end)

    it("names the storage's failure", function()
      local storage = wrapped.new()
      local h = define { storage = storage }
      local facade = h:session("s").memory
      storage.hook = function() error "no more room" end
      assert.same({ "memory.set", "memory" }, { failure(facade.write, facade, "k", 1).meta.op,
        failure(facade.write, facade, "k", 1).meta.memory_provider })
      storage.hook = nil
    end)

    it("is one that gives no list where one is wanted", function()
      local memory = own_memory.new { capabilities = { "memory.kv", "memory.search", "memory.session" } }
      local facade = define({ memory = memory }):session("s").memory
      for _, answer in ipairs { false, "x", 5, { 1 }, { { value = 1 } }, { { key = "k" }, { key = 5 } } } do
        memory.hook = function() return answer or nil end
        assert.equal("memory.list", failure(facade.list, facade).meta.op)
        assert.equal("memory.search", failure(facade.search, facade, "x").meta.op)
      end
      memory.hook = function() return { { key = "b" }, { key = "a", score = 1, more = 2 } } end
      assert.same({ "a", "b" }, facade:list())
      assert.same({ { key = "b" }, { key = "a", score = 1 } }, facade:search "x")
    end)

    it("says that a declared method is missing, once it is asked for (MEM-12)", function()
      local memory = own_memory.new { capabilities = { "memory.kv", "memory.search", "memory.session" } }
      memory.memory_search = nil
      local facade = define({ memory = memory }):session("s").memory
      local err = failure(facade.search, facade, "x")
      assert.same({ "MODEL_CAPABILITY_ERROR", "method_missing" }, { err.code, err.meta.reason })
      assert.equal("error", heard.span("harness.memory.search").status.code)
    end)
  end)

  describe("is stopped", function()
    it("in the middle of a slow adapter (MEM-17)", function()
      local storage = wrapped.new(function(method)
        if method:find "^memory_" then harness.sleep(1 << 40) end
      end)
      for _, act in ipairs {
        function(memory) memory:read "k" end, function(memory) memory:write("k", 1) end,
        function(memory) memory:delete "k" end, function(memory) memory:list() end,
        function(memory) memory:search "k" end,
      } do
        local seen
        local stream = running(function(ctx)
          seen = failure(act, ctx.memory.run)
          error(seen, 0)
        end, { storage = storage })
        assert.is_nil(seen)
        stream:cancel "enough"
        local err = failure(stream.result, stream)
        assert.same({ "OPERATION_CANCELLED", "OPERATION_CANCELLED", "run" }, { err.code, seen.code, seen.meta.scope })
      end
      local stopped = { ["error.type"] = "OPERATION_CANCELLED", ["harness.memory.scope"] = "run" }
      assert.equal(5, #heard.find_spans(nil, stopped))
    end)

    it("by a deadline, whose error passes", function()
      local memory = own_memory.new { hook = function() harness.sleep(1 << 40) end }
      local facade = define({ memory = memory }):session("s").memory
      local err
      local waiting = harness.spawn(function() err = failure(harness.timeout, 50, facade.read, facade, "k") end)
      clock.advance(50)
      waiting:await()
      assert.same({ "OPERATION_TIMEOUT", "task" }, { err.code, err.meta.scope })
    end)

    it("before the adapter is asked, once the run is (MEM-17)", function()
      local memory = own_memory.new()
      local seen
      local stream = running(function(ctx)
        pcall(harness.sleep, 1 << 40)
        seen = failure(ctx.memory.run.read, ctx.memory.run, "k")
      end, { memory = memory })
      stream:cancel()
      failure(stream.result, stream)
      assert.equal("OPERATION_CANCELLED", seen.code)
      assert.equal(0, #memory.calls)
      assert.equal("error", heard.span("harness.memory.get").status.code)
    end)

    it("but not in a shield", function()
      local stored
      local stream = running(function(ctx)
        pcall(harness.sleep, 1 << 40)
        harness.shield(function()
          ctx.memory.session:write("last", "words")
          stored = ctx.memory.session:read "last"
        end)
      end)
      stream:cancel()
      failure(stream.result, stream)
      assert.equal("words", stored)
    end)

    it("by force when the adapter swallows the abort, and its span ends", function()
      local memory = own_memory.new { hook = function() while true do pcall(harness.sleep, 10) end end }
      local stream = running(function(ctx) ctx.memory.run:read "k" end, { memory = memory })
      stream:cancel()
      clock.advance(5000)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
      local span = heard.span "harness.memory.get"
      assert.same({ "error", "OPERATION_CANCELLED" }, { span.status.code, span.attributes["error.type"] })
      assert.equal(1, heard.sum("harness.memory.operations", { ["error.type"] = "OPERATION_CANCELLED" }))
    end)
  end)

  describe("is told of", function()
    it("by a span with the key's hash, never with content (MEM-19)", function()
      local session = define({}):session "s"
      session.memory:write("secret-key", "hidden value", { tags = { "hidden-tag" }, metadata = { hidden = "field" } })
      session.memory:read "secret-key"
      session.memory:read "absent"
      session.memory:list { prefix = "secret-" }
      session.memory:search "hidden words"
      session.memory:delete "secret-key"
      local names = {}
      for i, span in ipairs(heard.spans) do names[i] = span.name:match "[^.]+$" end
      assert.same({ "set", "get", "get", "list", "search", "delete" }, names)
      assert.same({
        ["harness.name"] = "spec", ["harness.memory.provider"] = "memory", ["harness.memory.operation"] = "get",
        ["harness.memory.scope"] = "session", ["harness.memory.capability"] = "memory.session",
        ["harness.memory.key_hash"] = core.sha256 "secret-key", ["harness.memory.content_captured"] = false,
        ["harness.session.id"] = "s", ["harness.memory.hit"] = true,
      }, heard.spans[2].attributes)
      assert.is_false(heard.spans[3].attributes["harness.memory.hit"])
      assert.equal(1, heard.spans[4].attributes["harness.memory.result_count"])
      assert.equal("memory.search", heard.spans[5].attributes["harness.memory.capability"])
      assert.equal(1, heard.spans[5].attributes["harness.memory.result_count"])
      local told = json.encode { heard.spans, heard.metrics }
      assert.is_nil(told:find "hidden")
      assert.is_nil(told:find "secret%-")
    end)

    it("by a counter and histograms, without ids (MEM-19)", function()
      local session = define({}):session "s"
      session.memory:write("k", "word")
      session.memory:read "k"
      session.memory:search "word"
      local names = {}
      for _, metric in ipairs(heard.metrics) do
        names[metric.name] = (names[metric.name] or 0) + 1
        for name in pairs(metric.attributes) do
          assert.is_truthy(({ ["harness.memory.provider"] = 1, ["harness.memory.operation"] = 1,
            ["harness.memory.scope"] = 1, ["harness.memory.hit"] = 1 })[name], name)
        end
      end
      assert.same({ ["harness.memory.operations"] = 3, ["harness.memory.operation.duration"] = 3,
        ["harness.memory.search.results"] = 1 }, names)
      assert.equal(1, heard.sum("harness.memory.operations", { ["harness.memory.hit"] = true }))
    end)

    it("with how long it took, on the engine's clock", function()
      local memory = own_memory.new { hook = function() harness.sleep(1500) end }
      running(function(ctx) ctx.memory.run:write("k", 1) end, { memory = memory })
      clock.advance(2000)
      local metric
      for _, one in ipairs(heard.metrics) do
        if one.name == "harness.memory.operation.duration" then metric = one end
      end
      assert.same({ 1.5, "mine", "set" }, { metric.value, metric.attributes["harness.memory.provider"],
        metric.attributes["harness.memory.operation"] })
      assert.equal(1500, heard.span("harness.memory.set").duration_ms)
    end)

    it("below the span of what called it", function()
      local s = harness.schema
      local h = define({
        tools = { note = { description = "d", input = s.object {}, run = function(ctx)
          ctx.memory.agent:write("n", 1)
          ctx.memory:user():read "n"
        end } },
        agents = { helper = {
          model = "fast", tools = { "note" }, instructions = function(ctx) return ctx.memory.run:read "i" or "x" end,
        } },
        workflows = { flow = { run = function(ctx)
          ctx.memory.session:read "n"
          return ctx.agents.helper:run "go"
        end } },
      }, { { tool_calls = { { name = "note" } } }, { text = "done" } })
      h:session("s").workflows.flow:run(nil, { metadata = { user_id = "u" } })
      local function parent(name, attributes)
        local id = heard.span(name, attributes).parent_span_id
        for _, span in ipairs(heard.spans) do
          if span.span_id == id then return span.name end
        end
      end
      assert.equal("execute_tool note", parent "harness.memory.set")
      assert.equal("execute_tool note", parent("harness.memory.get", { ["harness.memory.scope"] = "user" }))
      -- What the instructions read comes before the agent has begun.
      assert.equal("harness.workflow.run", parent("harness.memory.get", { ["harness.memory.scope"] = "run" }))
      assert.equal("harness.workflow.run", parent("harness.memory.get", { ["harness.memory.scope"] = "session" }))
      local attributes = heard.span("harness.memory.set").attributes
      assert.same({ "agent", "helper", "s", "flow" }, { attributes["harness.memory.scope"],
        attributes["harness.agent.id"], attributes["harness.session.id"], attributes["harness.workflow.id"] })
    end)

    it("to nobody when nobody listens", function()
      local session = define({ telemetry = {} }):session "s"
      session.memory:write("k", 1)
      assert.equal(1, session.memory:read "k")
      assert.equal(0, #heard.started)
    end)
  end)
end)
