-- bindings/event_list.c: the events of a run on their way to a storage.
local core = require "harness.core"
local check = require "harness.testing.storage_check"
local clock = require "spec.support.clock"
local failure = require("spec.support.failure").any
local harness = require "harness"
local json = require "harness.json"
local still = require "spec.support.still"

local store = core.store
local RUN <const> = "run-1"

local function shape(type, fields, with_content) return store.event_shape(type, fields, with_content) end

local function list_of(...)
  local list = store.event_list(RUN)
  list:add(...)
  return list
end

local function payload_of(...) return list_of(...):records()[1].payload end

describe("a list of events", function()
  still(before_each, after_each)

  it("makes records with ids of their own, by the time of their making or the one given", function()
    clock.stop(1700000000123)
    local list, plain = store.event_list(RUN), shape("a.b", "x")
    assert.equal(0, list:count())
    assert.equal(1, list:add(plain, 4, nil, "one"))
    assert.equal(2, list:add(plain, 6, "2020-01-01T00:00:00.000Z"))
    local records = list:records()
    assert.is_true(records[1].id < records[2].id and #records[1].id == 26)
    records[1].id, records[2].id = nil, nil
    assert.same({
      { run_id = RUN, seq = 4, at = core.timestamp(1700000000123), type = "a.b", payload = { x = "one" } },
      { run_id = RUN, seq = 6, at = "2020-01-01T00:00:00.000Z", type = "a.b", payload = {} },
    }, records)
    assert.are_not.equal(records[1], list:records()[1])
    list:clear()
    assert.same({}, list:records())
    assert.equal(1, list:add(plain, 7))
  end)

  it("names the values by the fields of the shape, whatever their order", function()
    local mixed = shape("t", "b ab a c zz")
    assert.same({ b = 1, ab = 2, a = 3, c = 4, zz = 5 }, payload_of(mixed, 1, nil, 1, 2, 3, 4, 5))
    assert.same({ b = 1, c = 4 }, payload_of(mixed, 1, nil, 1, nil, nil, 4, nil))
  end)

  it("keeps every value that JSON can hold", function()
    local one = shape("t", "v")
    local values = {
      "", "plain", 'with "quotes" and \\ and \n', "ü€😀", ("x"):rep(10000), 0, -1, math.maxinteger, math.mininteger,
      1.5, 1e300, true, false, json.null, { 1, 2, { a = {} } }, { a = "b", c = 1, d = true }, json.array {},
      { ["\n"] = "\n" }, { deep = { deeper = { list = { json.null } } } },
    }
    for _, value in ipairs(values) do
      assert.same(json.decode(json.encode(value)), payload_of(one, 1, nil, value).v)
    end
  end)

  it("hides content unless it is to be kept; nothing stays nothing", function()
    local hidden, kept = shape("t", "a secret! b"), shape("t", "a secret! b", true)
    for _, value in ipairs { json.null, false, 0, "", { 1 } } do
      assert.same({ a = 1, secret = "[redacted]", b = 2 }, payload_of(hidden, 1, nil, 1, value, 2))
      assert.same({ a = 1, secret = value, b = 2 }, payload_of(kept, 1, nil, 1, value, 2))
    end
    assert.same({ a = 1, b = 2 }, payload_of(hidden, 1, nil, 1, nil, 2))
  end)

  it("is as it was when a value cannot be added", function()
    local two = shape("t", "a b")
    local list = list_of(two, 1, nil, "x", "y")
    for _, bad in ipairs { print, 0 / 0, { 1, a = 2 }, "\xff" } do
      assert.equal("VALIDATION_ERROR", failure(list.add, list, two, 2, nil, "begun", bad).code)
    end
    assert.is_string(failure(list.add, list, two, "no number"))
    assert.is_string(failure(list.add, list, {}, 1))
    assert.equal(1, list:count())
    assert.equal(2, list:add(two, 3, nil, "z"))
    local records = list:records()
    assert.same({ { a = "x", b = "y" }, { a = "z" } }, { records[1].payload, records[2].payload })
  end)

  it("takes no second event while the first is being added", function()
    local two = shape("t", "a b")
    local list = store.event_list(RUN)
    for _, meddle in ipairs {
      function() list:add(two, 9, nil, ("inner"):rep(1000)) end,
      function() list:clear() end,
      function() list:clear() list:add(two, 9) end,
    } do
      local value = setmetatable({}, { __tojson = function()
        meddle()
        return ("z"):rep(5000)
      end })
      assert.matches("cannot be added to a list while", failure(list.add, list, two, 1, nil, "outer", value))
      for _, record in ipairs(list:records()) do assert.equal(9, record.seq) end
    end
  end)

  it("gives its records whole, whatever a finaliser does to it meanwhile", function()
    local one, list, runs = shape("t", "v"), store.event_list(RUN), 0
    for _ = 1, 20 do
      list:clear()
      for i = 1, 200 do list:add(one, i, nil, ("value"):rep(20)) end
      collectgarbage()
      setmetatable({}, { __gc = function()
        runs = runs + 1
        list:clear()
        for i = 1, 400 do list:add(one, i, nil, ("other"):rep(20)) end
      end })
      local before, records = runs, {}
      while runs == before do records = list:records() end
      for _, record in ipairs(records) do assert.equal(records[1].payload.v, record.payload.v) end
    end
  end)

  it("takes more fields than it has room for as a mistake", function()
    assert.is_string(failure(store.event_shape, "t", ("f "):rep(13)))
    assert.is_string(failure(store.event_shape))
    assert.is_string(failure(store.event_list))
  end)

  describe("and a storage of ours", function()
    local storage

    before_each(function()
      storage = store.memory()
      storage:upsert_session(check.session "s")
      storage:create_run(check.run(RUN, 1, { session_id = "s" }))
    end)
    after_each(function() storage:close() end)

    it("gives the rows as they are", function()
      assert.is_true(store.takes_event_lists(storage))
      assert.is_false(store.takes_event_lists {})
      local list, one = store.event_list(RUN), shape("t", "a b")
      for i = 1, 300 do list:add(one, i, nil, "value " .. i, { n = i }) end
      local records = list:records()
      storage:append_events(RUN, list)
      assert.same(records, storage:list_events(RUN))
      assert.equal(300, list:count()) -- it is for its owner to clear it
      list:clear()
      storage:append_events(RUN, list)
      assert.equal(300, #storage:list_events(RUN))
    end)

    it("gives the one event of a run's end", function()
      local done = { status = "succeeded", finished_at = check.at(2), output = "x" }
      done.event = list_of(shape("run.finished", "status"), 1, nil, "succeeded")
      local expected = done.event:records()
      storage:finish_run(RUN, done)
      assert.same(expected, storage:list_events(RUN))
    end)

    it("does not give the events of another run, nor two where one is asked for", function()
      local one = shape("t", "a")
      local err = failure(storage.append_events, storage, "run-2", list_of(one, 1))
      assert.equal("VALIDATION_ERROR", err.code)
      assert.equal("run_id", err.meta.field)
      local two = list_of(one, 1)
      two:add(one, 2)
      err = failure(storage.finish_run, storage, RUN,
        { status = "failed", finished_at = check.at(2), event = two })
      assert.matches("must be one event", err.message)
      assert.equal("running", storage:get_run(RUN).status)
      assert.same({}, storage:list_events(RUN))
    end)
  end)
end)

describe("an event that cannot be stored", function()
  still(before_each, after_each)

  it("is counted; the others are stored, and the run goes on", function()
    local heard = require("harness.testing.recorder").new()

    local provider = { id = "odd", capabilities = { "text", "text_stream" }, generate = function()
      return { text = "ok", finish_reason = print }
    end }
    local h = harness.define {
      models = { m = { provider = provider, model = "m" } },
      agents = { helper = { model = "m", instructions = "x" } },
      telemetry = { listener = heard }, logger = require("harness.logger").new { level = "fatal" },
    }
    local session <close> = h:session()
    assert.equal("ok", session.agents.helper:run "go")
    assert.equal(1, heard.sum "harness.events.persist_errors")
    local types = {}
    for i, record in ipairs(session:events(session:runs()[1].id)) do types[i] = record.type end
    assert.same({ "run.started", "agent.started", "model.started", "agent.finished", "run.finished" }, types)
  end)
end)
