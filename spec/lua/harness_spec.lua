--- lua/harness/harness.lua: what a harness tells of itself, and its end. Rule names: reference A 1.8.

local clock = require "spec.support.clock"
local errors = require "harness.errors"
local failure = require("spec.support.failure").structured
local harness = require "harness"
local json = require "harness.json"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"
local wrapped = require "spec.support.wrapped_storage"

local s = harness.schema

local function call(name, arguments) return { name = name, arguments = arguments or {} } end

describe("a harness", function()
  still(before_each, after_each)

  local function with_storage(storage, turns, over)
    over = over or {}
    over.definition = over.definition or {}
    over.definition.storage = storage
    return scripted.harness(turns or {}, over)
  end

  describe("inspected", function()
    local function define()
      return harness.define {
        name = "shop",
        models = {
          fast = { provider = harness.providers.scripted {}, model = "m-1", fallback = { "slow" },
            capabilities = { "tool_use", "text" } },
          slow = { provider = harness.providers.scripted {}, model = "m-2",
            provider_options = { api_key = "sk-x" } },
        },
        tools = {
          find = { description = "Finds.", input = s.object { id = s.string() }, run = print },
          add = { description = "Adds.", input = s.object {}, run = print },
        },
        agents = {
          helper = { model = "fast", instructions = "secret plans", tools = { "find", "add" },
            description = "Helps." },
          other = { model = "slow", instructions = "x" },
        },
        requires = { "memory.kv" },
      }
    end

    it("is plain data that says what there is", function()
      local h = define()
      local shown = h:inspect()
      local storage = h.storage
      assert.same({
        name = "shop",
        capabilities = shown.capabilities,
        required_capabilities = { "memory.kv" },
        adapters = { { kind = "storage", id = storage.id, capabilities = shown.capabilities } },
        models = {
          fast = { provider = "scripted", model = "m-1", fallback = { "slow" },
            capabilities = { "text", "tool_use" } },
          slow = { provider = "scripted", model = "m-2", fallback = {},
            capabilities = shown.models.slow.capabilities },
        },
        tools = {
          find = { description = "Finds.", kind = "lua" }, add = { description = "Adds.", kind = "lua" },
        },
        agents = {
          helper = { model = "fast", tools = { "add", "find" }, description = "Helps.", builtin_tools = {},
            skills = {}, permissions = { add = { mode = "allow" }, find = { mode = "allow" } } },
          other = { model = "slow", tools = {}, builtin_tools = {}, permissions = {}, skills = {} },
        },
        workflows = {}, skills = {}, skill_diagnostics = {},
      }, shown)
      assert.equal(10, #shown.models.slow.capabilities)
      local text = json.encode(shown)
      assert.is_nil(text:find("secret", 1, true) or text:find("sk-x", 1, true))
      assert.matches('"fallback":%[%]', text) -- an empty list stays one
      assert.equal(text, json.encode(h:inspect()))
      h:shutdown()
      assert.equal(text, json.encode(h:inspect()))
    end)

    it("gives a copy: changing it changes nothing", function()
      local h = define()
      local text, shown = json.encode(h:inspect()), h:inspect()
      local function spoil(t)
        for key, value in pairs(t) do
          if type(value) == "table" then spoil(value) end
          t[key] = nil
        end
      end
      spoil(shown)
      assert.equal(text, json.encode(h:inspect()))
      h:shutdown()
    end)

    it("has a name to be printed", function()
      local h = scripted.harness {}
      assert.same({ "spec", "harness.Harness spec" }, { h.name, tostring(h) })
      h:shutdown()
    end)
  end)

  describe("shut down", function()
    it("stops the runs that are in flight and waits for them", function()
      local storage = wrapped.new()
      local h = with_storage(storage, function() return { delay_ms = 60000, text = "never" } end)
      local streams = {}
      for i = 1, 5 do streams[i] = h:session("s" .. i).agents.helper:stream "go" end
      task.settle()
      local statuses = {}
      storage.hook = function(method, _, patch)
        if method == "finish_run" then statuses[#statuses + 1] = patch.status end
      end
      assert.same({ errors = {} }, h:shutdown())
      assert.equal("cancelled cancelled cancelled cancelled cancelled", table.concat(statuses, " "))
      for _, stream in ipairs(streams) do
        local err = failure(stream.result, stream)
        assert.equal("OPERATION_CANCELLED", err.code)
        assert.matches("shutting down", err.message)
      end
      assert.equal(1, storage.calls.close)
      assert.is_nil(next(h.live_runs))
    end)

    it("does not wait longer than its grace for a run that goes on", function()
      local h = scripted.harness { { tool_calls = { call "stubborn" } } }
      local stream = h:session("s").agents.helper:stream "go"
      task.settle()
      local closing = harness.spawn(h.shutdown, h, { grace_ms = 300 })
      clock.advance(299)
      assert.is_false(closing:done())
      clock.advance(1)
      assert.is_true(closing:done())
      assert.same({ errors = {} }, closing:await())
      clock.advance(5000)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    end)

    it("has a grace of its own when none is given", function()
      local h = scripted.harness({ { tool_calls = { call "stubborn" } } },
        { definition = { defaults = { cancel_grace_ms = 100 } } })
      local stream = h:session("s").agents.helper:stream "go"
      task.settle()
      local closing = harness.spawn(h.shutdown, h)
      clock.advance(200)
      assert.is_true(closing:done())
      clock.advance(200)
      failure(stream.result, stream)
    end)

    it("collects what fails, wraps what is not ours, and never raises (A 26)", function()
      local mine = harness.new_error("STATE_ERROR", "cannot close", { op = "close" })
      for _, raised in ipairs { mine, "plain", {} } do
        local storage = wrapped.new(function(method) if method == "close" then error(raised, 0) end end)
        local h = with_storage(storage)
        local list = h:shutdown().errors
        assert.equal(1, #list)
        assert.equal(raised == mine and "STATE_ERROR" or "INTERNAL_ERROR", list[1].code)
        assert.is_true(rawequal(raised, raised == mine and list[1] or list[1].cause))
      end
    end)

    it("never raises whatever it is given as options", function()
      for _, options in ipairs { 7, "x", { grace_ms = "soon" }, { grace_ms = -1 }, { grace_ms = 0 / 0 } } do
        local h = scripted.harness { { delay_ms = 1000, text = "x" } }
        h:session().agents.helper:stream "go"
        task.settle()
        local ok, result = pcall(h.shutdown, h, options)
        assert.is_true(ok, tostring(result))
        assert.equal("VALIDATION_ERROR", result.errors[1].code)
        assert.is_true(h.shut_down)
      end
    end)

    it("a second time does nothing more", function()
      local storage = wrapped.new()
      local h = with_storage(storage)
      h:shutdown()
      assert.same({ errors = {} }, h:shutdown())
      assert.equal(1, storage.calls.close)
    end)

    it("closes a storage with the last harness that uses it", function()
      local storage = wrapped.new()
      local a, b, c = with_storage(storage), with_storage(storage), with_storage(storage)
      a:shutdown()
      a:shutdown()
      b:shutdown()
      assert.is_nil(storage.calls.close)
      c:session "still works"
      c:shutdown()
      assert.equal(1, storage.calls.close)
    end)

    it("takes a storage that has nothing to close", function()
      local inner = harness.storage.memory()
      local storage = setmetatable({}, { __index = function(_, key)
        if key == "close" then return nil end
        local method = inner[key]
        if type(method) ~= "function" then return method end
        return function(_, ...) return method(inner, ...) end
      end })
      assert.same({ errors = {} }, with_storage(storage):shutdown())
    end)

    it("says so to whatever is asked of it afterwards", function()
      local h = scripted.harness { { text = "x" } }
      local session = h:session "s"
      h:shutdown()
      local err = failure(h.session, h, "s")
      assert.same({ "HARNESS_CONFIG_ERROR", "shut_down" }, { err.code, err.meta.reason })
      assert.matches("spec", err.message)
      assert.matches("shut down", err.message)
      for _, fn in ipairs {
        function() session.agents.helper:run "go" end, function() session:runs() end,
        function() session.history:list() end, function() session.history:clear() end,
      } do
        err = failure(fn)
        assert.same({ "SESSION_NOT_FOUND", "closed" }, { err.code, err.meta.reason })
        assert.matches("shut down", err.message)
      end
      session:close() -- harmless
    end)

    it("turns away who waits for a session to be opened", function()
      local storage = wrapped.new()
      local h = with_storage(storage, { { tool_calls = { call "stubborn" } } })
      storage.hook = function(method) if method == "get_session" then harness.sleep(50) end end
      local function try() return select(2, pcall(h.session, h, "s")) end
      local first, second = harness.spawn(try), harness.spawn(try)
      clock.advance(10)
      storage.hook = nil
      h:shutdown()
      clock.advance(100)
      assert.equal("STATE_ERROR", first:await().code) -- its call came too late for the storage
      assert.is_true(errors.is(second:await()))
    end)

    it("happens at the end of a scope", function()
      local kept
      do
        local h <close> = scripted.harness { { text = "x" } }
        h:session "s"
        kept = h
      end
      assert.equal("shut_down", failure(kept.session, kept).meta.reason)
    end)

    it("may be asked for by a tool of a run", function()
      local h, result
      local tools = { stop = { description = "x", input = s.object {}, run = function()
        result = h:shutdown()
        return "stopped"
      end } }
      h = scripted.harness({ { tool_calls = { call "stop" } }, { text = "never" } }, { tools = tools })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(5000)
      assert.is_not_nil(result)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    end)

    it("is possible where nothing can wait", function()
      local h = scripted.harness { { delay_ms = 1000, text = "x" } }
      local stream = h:session().agents.helper:stream "go"
      task.settle()
      table.sort({ 2, 1 }, function() h:shutdown() end)
      clock.advance(10)
      failure(stream.result, stream)
    end)
  end)
end)
