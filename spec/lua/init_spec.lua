--- `require "harness"`: the public names. Design 02.

local clock = require "spec.support.clock"
local core = require "harness.core"
local errors = require "harness.errors"
local failure = require("spec.support.failure").any
local harness = require "harness"
local task = require "harness.task"

local LUA <const> = os.getenv "HARNESS_LUA" or "build/harness-lua"

-- What a script prints, run by our interpreter.
local function output_of(script)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(script)
  file:close()
  local child = assert(io.popen(("%s %s 2>&1"):format(LUA, path)))
  local said = child:read "a"
  child:close()
  os.remove(path)
  return said
end

describe('require "harness"', function()
  local NAMES <const> = {
    define = "function", schema = "table", providers = "table", storage = "table", json = "table",
    array = "function",
    ordered = "function", error = "function", new_error = "function", is_error = "function",
    spawn = "function",
    all = "function", race = "function", map = "function", sleep = "function", timeout = "function",
    now = "function",
    clock = "function", abort_controller = "function", shield = "function", relay = "function",
    glob = "function",
    ulid = "function", version = "string", run = "function",
  }

  it("has the names of design 02", function()
    for name, kind in pairs(NAMES) do
      assert.equal(kind, type(harness[name]), name)
      assert.is_true(rawequal(harness[name], harness[name]), name)
    end
    assert.is_not_nil(harness.null)
    assert.is_nil(harness.no_such_name)
  end)

  it("loads what is costly when it is used first, and makes no globals", function()
    local said = output_of [[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      local harness = require "harness"
      local early = {}
      local late = { "harness.harness", "harness.schema", "harness.http", "harness.providers.openai" }
      for _, name in ipairs(late) do
        if package.loaded[name] then early[#early + 1] = name end
      end
      print("early: " .. table.concat(early, " "))
      local provider = harness.providers.scripted { { text = "hi" } }
      local h = harness.define { models = { m = { provider = provider, model = "x" } },
        agents = { a = { model = "m", instructions = "" } } }
      print(h:session().agents.a:run "go")
      print("http: " .. tostring(package.loaded["harness.http"]))
      for name in pairs(_G) do if not before[name] then print("global " .. name) end end
    ]]
    assert.equal("early: \nhi\nhttp: nil\n", said)
  end)

  it("gives errors: error, new_error, is_error", function()
    local cause = {}
    local err = failure(harness.error, "TOOL_ERROR", "broken", { tool_id = "t" }, cause)
    assert.is_true(harness.is_error(err))
    assert.is_true(harness.is_error(err, "TOOL_ERROR"))
    assert.is_false(harness.is_error(err, "STATE_ERROR"))
    assert.same({ "tool", "broken", "t" }, { err.category, err.message, err.meta.tool_id })
    assert.is_true(rawequal(cause, err.cause))
    assert.equal("TOOL_ERROR: broken", tostring(err))
    assert.equal("application", harness.new_error("MY_OWN", "x").category)
    for _, other in ipairs { "text", {}, { code = "TOOL_ERROR" }, 7 } do
      assert.is_false(harness.is_error(other))
    end
    assert.is_false(harness.is_error(nil))
  end)

  it("tells the time: now since the epoch, clock that only moves forward", function()
    assert.is_true(math.abs(harness.now() - os.time() * 1000) < 5000)
    assert.equal("integer", math.type(harness.now()))
    local a, b = harness.clock(), harness.clock()
    assert.is_true(b >= a)
    clock.stop(1000)
    local from = harness.clock()
    clock.advance(250)
    assert.same({ 1250, 250.0 }, { harness.now(), harness.clock() - from })
    clock.go()
  end)

  it("gives small things: ulid, glob, relay, version, json", function()
    assert.equal(26, #harness.ulid())
    assert.is_true(harness.ulid() < harness.ulid())
    assert.is_true(harness.glob("*.lua"):match "a.lua")
    local relay = harness.relay { capacity = 2 }
    relay:push { type = "a" }
    relay:finish()
    local seen = {}
    for event in relay do seen[#seen + 1] = event.type end
    assert.same({ "a" }, seen)
    assert.matches("^%d+%.%d+%.%d+", harness.version)
    assert.equal('{"b":[],"a":null}',
      harness.json.encode(harness.ordered { { "b", harness.array {} }, { "a", harness.null } }))
  end)

  it("gives providers by name, and says which there are", function()
    assert.is_function(harness.providers.scripted)
    assert.is_function(harness.providers.openai)
    for name, reason in pairs { anthropic = "not_available", openai_responses = "not_available",
      nope = "unknown_reference" } do
      local err = failure(function() return harness.providers[name] end)
      assert.same({ "HARNESS_CONFIG_ERROR", reason, name }, { err.code, err.meta.reason, err.meta.id })
      assert.matches("scripted", err.message)
    end
  end)

  it("gives storages by name", function()
    local storage = harness.storage.memory()
    assert.is_nil(storage:get_session "x")
    storage:close()
    for _, name in ipairs { "sqlite", "postgres" } do
      assert.equal("not_available", failure(harness.storage[name], "x").meta.reason)
    end
  end)

  describe("run", function()
    it("is refused inside of a task", function()
      local err = failure(harness.run, function() end)
      assert.same({ "HARNESS_CONFIG_ERROR", "inside_task" }, { err.code, err.meta.reason })
    end)

    it("takes a function", function()
      local err = failure(harness.run, 7)
      assert.same({ "VALIDATION_ERROR", "run" }, { err.code, err.meta.where })
    end)
  end)

  it("says so when what waits is called outside of a task, and names harness.run", function()
    local waiting = {
      sleep = function() harness.sleep(1) end,
      spawn = function() harness.spawn(print) end,
      all = function() harness.all { print } end,
      race = function() harness.race { print } end,
      map = function() harness.map({ 1 }, print) end,
      timeout = function() harness.timeout(5, print) end,
      shield = function() harness.shield(print) end,
      relay = function() harness.relay {}:next() end,
    }
    local said = {}
    local token = task.callback(function() -- called by the dispatcher: no task runs
      for name, fn in pairs(waiting) do said[name] = select(2, pcall(fn)) end
    end)
    core.push(token)
    task.pause()
    task.callback_close(token)
    for name in pairs(waiting) do
      local err = said[name]
      assert.is_true(errors.is(err, "HARNESS_CONFIG_ERROR"), name .. ": " .. tostring(err))
      assert.equal("outside_task", err.meta.reason, name)
      assert.matches("harness.run", err.message)
    end
  end)
end)

describe("names of a later version", function()
  it("say that they are not available yet", function()
    for _, name in ipairs { "memory", "mcp" } do
      local ok, err = pcall(function() return require("harness")[name] end)
      assert.is_false(ok)
      assert.same({ "HARNESS_CONFIG_ERROR", "not_available", name }, { err.code, err.meta.reason, err.meta.id })
    end
    assert.is_nil(require("harness").no_such_name)
  end)
end)

describe("harness.testing", function()
  it("has its parts when they are asked for", function()
    local testing = require("harness").testing
    assert.is_truthy(testing.storage_contract)
    assert.is_table(testing.recorder)
    assert.is_nil(testing.no_such_part)
  end)
end)
