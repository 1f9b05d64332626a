--- lua/harness/events.lua: the fields of each event, and what of them is stored. Design 03 "Events",
--- reference A 4.4.

local clock = require "spec.support.clock"
local core = require "harness.core"
local errors = require "harness.errors"
local events = require "harness.events"
local failure = require("spec.support.failure").any
local harness = require "harness"
local json = require "harness.json"
local recorder = require "harness.testing.recorder"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"
local wrapped = require "spec.support.wrapped_storage"

local drain, of = scripted.drain, scripted.of
local s = harness.schema

local function call(name, arguments, id) return { name = name, arguments = arguments or {}, id = id } end

-- type -> its fields beside type, run_id, attempt, seq, at. One in brackets may be absent.
local FIELDS <const> = {
  ["run.started"] = "kind target session_id",
  ["run.finished"] = "status [output] [error]",
  ["agent.started"] = "agent_id invocation_id",
  ["agent.finished"] = "agent_id invocation_id [output] [error]",
  ["model.started"] = "agent_id invocation_id alias model call_id",
  ["model.completed"] = "agent_id invocation_id alias model call_id usage finish_reason duration_ms",
  ["model.failed"] = "agent_id invocation_id alias model call_id error duration_ms",
  ["model.delta"] = "agent_id invocation_id call_id delta",
  ["model.reasoning"] = "agent_id invocation_id call_id delta",
  ["model.object"] = "agent_id invocation_id call_id object",
  ["model.retry"] = "agent_id invocation_id alias call_id delay_ms error",
  ["tool.started"] = "agent_id invocation_id tool_id call_id input",
  ["tool.finished"] = "agent_id invocation_id tool_id call_id duration_ms [output] [error]",
}

-- Which of them are content, and [redacted] in storage.
local CONTENT <const> = {
  ["run.finished"] = "output", ["agent.finished"] = "output", ["model.object"] = "object",
  ["tool.started"] = "input", ["tool.finished"] = "output",
}

local COMMON <const> = { type = true, run_id = true, attempt = true, seq = true, at = true }

-- Raises unless the table has the fields of the type, and of the others only those that are `also`.
local function check_fields(type, fields, also)
  local allowed, missing = {}, {}
  for open, name in FIELDS[type]:gmatch "(%[?)([%w_]+)" do
    allowed[name] = true
    if open == "" and fields[name] == nil then missing[#missing + 1] = name end
  end
  assert.same({}, missing, type)
  for name in pairs(fields) do
    if not allowed[name] and not also[name] then error(("%s has a field %s"):format(type, name)) end
  end
end

describe("the events of a run", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = scripted.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  -- Runs that together have every type: their events as seen, and as stored.
  local function all_types(store_content)
    local telemetry = { store_content = store_content }
    local runs = {
      { { { reasoning = "hm", tool_calls = { call("echo", { text = "x" }, "c1"), call("fails", {}, "c2") },
          usage = { input_tokens = 3, output_tokens = 4 } },
        { error = { status = 429, retry_after_ms = 7 } }, { chunks = { "a", "b" } } } },
      { { { object = { n = 7 } } }, { output = s.object { n = s.integer() } } },
      { { { error = { status = 400, message = "bad" } } } },
      { { { delay_ms = 60000, text = "x" } }, nil, "cancel" },
    }
    local seen, stored = {}, {}
    for _, run in ipairs(runs) do
      local h = define(run[1], { agent = run[2], definition = { telemetry = telemetry } })
      local session = h:session()
      local stream = session.agents.helper:stream "go"
      clock.advance(100)
      if run[3] then stream:cancel() end
      for _, event in ipairs((drain(stream))) do seen[#seen + 1] = event end
      for _, record in ipairs(session:events(stream.run_id)) do stored[#stored + 1] = record end
    end
    return seen, stored
  end

  it("have the fields of their type, all of them and no others", function()
    local seen, types = all_types(), {}
    for _, event in ipairs(seen) do
      check_fields(event.type, event, COMMON)
      types[event.type] = true
      assert.same({ "string", "integer", "string" },
        { type(event.run_id), math.type(event.seq), type(event.at) })
      if event.type ~= "model.retry" then assert.equal(1, event.attempt) end
    end
    for type in pairs(FIELDS) do assert.is_true(types[type], type) end
  end)

  it("say what they are about", function()
    local seen = all_types()
    local started, finished = of(seen, "tool.started"), of(seen, "tool.finished")
    assert.same({ "echo", "c1", { text = "x" } },
      { started[1].tool_id, started[1].call_id, started[1].input })
    assert.same({ "helper", "x" }, { finished[1].agent_id, finished[1].output })
    assert.same({ "c2", "TOOL_ERROR", nil },
      { finished[2].call_id, finished[2].error.code, finished[2].output })
    local completed = of(seen, "model.completed")
    assert.same({ "fast", "m", "tool_calls", { input_tokens = 3, output_tokens = 4, total_tokens = 7 } },
      { completed[1].alias, completed[1].model, completed[1].finish_reason, completed[1].usage })
    local model_started = of(seen, "model.started")
    assert.equal(model_started[1].call_id, completed[1].call_id)
    assert.not_equal(model_started[1].call_id, model_started[2].call_id)
    local retry = of(seen, "model.retry")[1]
    assert.same({ 1, 7, "MODEL_ERROR", 429 },
      { retry.attempt, retry.delay_ms, retry.error.code, retry.error.meta.status })
    assert.equal("hm", of(seen, "model.reasoning")[1].delta)
    assert.same({ n = 7 }, of(seen, "model.object")[1].object)
    local statuses = {}
    for i, event in ipairs(of(seen, "run.finished")) do statuses[i] = event.status end
    assert.same({ "succeeded", "succeeded", "failed", "cancelled" }, statuses)
    assert.equal("OPERATION_CANCELLED", of(seen, "agent.finished")[4].error.code)
  end)

  it("are stored with the same numbers, but for deltas", function()
    local seen, stored = all_types()
    local want, got = {}, {}
    for _, event in ipairs(seen) do
      local is_delta = event.type == "model.delta" or event.type == "model.reasoning"
      if not is_delta then want[#want + 1] = { event.run_id, event.seq, event.at, event.type } end
    end
    for i, record in ipairs(stored) do got[i] = { record.run_id, record.seq, record.at, record.type } end
    assert.same(want, got)
  end)

  it("are stored without content, and without what the record says itself (A 34)", function()
    local _, stored = all_types(false)
    for _, record in ipairs(stored) do
      local payload = record.payload
      check_fields(record.type, payload, { attempt = record.type == "model.retry" })
      local field = CONTENT[record.type]
      if field and payload[field] ~= nil then assert.equal("[redacted]", payload[field], record.type) end
    end
    local errors_kept = of(stored, "tool.finished")[2].payload.error
    assert.equal("TOOL_ERROR", errors_kept.code)
  end)

  it("are stored with content when that was asked for", function()
    local seen, stored = all_types(true)
    local by_seq = {}
    for _, event in ipairs(seen) do by_seq[event.run_id .. event.seq] = event end
    for _, record in ipairs(stored) do
      local event = by_seq[record.run_id .. record.seq]
      for name, value in pairs(record.payload) do
        assert.same(event[name], value, record.type .. "." .. name)
      end
    end
  end)

  it("do not change when a tool goes on changing what it was given or has returned", function()
    local output = { list = { 1 } }
    local tools = { keep = { description = "x", input = s.object { any = s.any() }, run = function(_, input)
      input.any.changed = "by the tool"
      return output
    end } }
    local h = define({ { tool_calls = { call("keep", { any = { a = 1 } }) } }, { text = "end" } },
      { tools = tools, definition = { telemetry = { store_content = true } } })
    local session = h:session()
    local stream = session.agents.helper:stream "go"
    task.settle()
    output.list[1] = "changed later"
    local seen = drain(stream)
    assert.same({ any = { a = 1 } }, of(seen, "tool.started")[1].input)
    local stored = session:events(stream.run_id)
    assert.same({ any = { a = 1 } }, of(stored, "tool.started")[1].payload.input)
    assert.same({ list = { 1 } }, of(stored, "tool.finished")[1].payload.output)
    local asked = session.history:list()[2].tool_calls[1]
    assert.same({ any = { a = 1 } }, asked.arguments)
  end)

  describe("whose storing fails", function()
    it("fail no run; it is counted and logged (A 35)", function()
      local storage = wrapped.new(function(method)
        if method == "append_events" then
          harness.error("STATE_ERROR", "no disk", { op = "append_events" })
        end
      end)
      local heard = recorder.new()
      local h = define({ { text = "ok" } },
        { definition = { storage = storage, telemetry = { listener = heard } } })
      local session = h:session()
      assert.equal("ok", session.agents.helper:run "go")
      assert.is_true(heard.sum "harness.events.persist_errors" >= 1)
      local logged = {}
      for _, line in ipairs(h.definition.logger.own.lines) do
        if line[1] == "error" then logged[#logged + 1] = line end
      end
      assert.is_true(#logged >= 1)
      assert.equal("STATE_ERROR", logged[1][3].error.code)
      local stored = session:events(session:runs()[1].id) -- the terminal commit is the exception
      assert.equal("run.finished", stored[#stored].type)
    end)

    it("because the run is being stopped are stored with its end", function()
      local storage = wrapped.new()
      local h = define({ { tool_calls = { call("echo", { text = "x" }) } }, { text = "end" } },
        { definition = { storage = storage } })
      local session = h:session()
      storage.hook = function(method) if method == "append_events" then harness.sleep(10) end end
      local stream = session.agents.helper:stream "go"
      clock.advance(5) -- within the flush after the tools
      assert.equal(1, storage.calls.append_events)
      stream:cancel()
      clock.advance(100)
      local seen, err = drain(stream)
      assert.equal("OPERATION_CANCELLED", err.code)
      local stored = session:events(stream.run_id)
      assert.equal(#seen, #stored)
      for i, record in ipairs(stored) do assert.equal(seen[i].seq, record.seq) end
    end)
  end)

  it("end with run.finished, whatever comes late", function()
    local late
    local provider = { id = "late", capabilities = { "text", "text_stream" },
      generate = function(_, _, on_event)
      late = on_event
      on_event("delta", "in time")
      return { text = "in time" }
    end }
    local h = define({}, { tools = {},
      definition = { models = { fast = { provider = provider, model = "m" } } } })
    local session = h:session()
    local stream = session.agents.helper:stream "go"
    assert.equal("in time", stream:result())
    late("delta", "too late")
    local seen = drain(stream)
    assert.equal("run.finished", seen[#seen].type)
    assert.equal(1, #of(seen, "model.delta"))
    assert.equal(#seen, seen[#seen].seq)
  end)
end)

describe("the makers of events", function()
  local function payload(with_content, type, ...)
    local list = core.store.event_list "r"
    list:add(events.shapes(with_content)[type], 1, nil, ...)
    return list:records()[1].payload
  end

  it("know every type of the design, and which are stored", function()
    local stored, not_stored = {}, {}
    local hidden, kept = events.shapes(), events.shapes(true)
    for type in pairs(events.make) do
      local list = hidden[type] and stored or not_stored
      list[#list + 1] = type
      assert.equal(hidden[type] ~= nil, kept[type] ~= nil)
    end
    table.sort(stored)
    table.sort(not_stored)
    assert.same({ "model.delta", "model.object.partial", "model.reasoning" }, not_stored)
    assert.same({
      "agent.finished", "agent.started", "model.completed", "model.embedding.completed", "model.failed",
      "model.object", "model.rerank.completed", "model.retry", "model.started", "run.finished", "run.resumed",
      "run.started", "run.waiting", "step.committed", "step.replayed", "tool.finished", "tool.progress",
      "tool.started",
    }, stored)
    assert.same({ "run.finished", "agent.finished" }, events.TERMINAL)
  end)

  it("tell an output of null or false from none", function()
    for _, output in ipairs { json.null, false, 0, "" } do
      assert.equal("[redacted]", payload(false, "run.finished", "succeeded", nil, output).output)
      assert.equal(output, payload(true, "run.finished", "succeeded", nil, output).output)
      assert.equal(output, events.make["run.finished"]("run.finished", "r", 1, 9, "at", "succeeded", nil,
        output).output)
    end
    assert.is_nil(payload(false, "run.finished", "failed", {}).output)
  end)

  it("make an event again of its record", function()
    local record = { id = "e", run_id = "r", seq = 4, at = "then", type = "tool.started",
      payload = { tool_id = "t", input = "[redacted]" } }
    local event = events.from_record(record, 2)
    assert.same({ type = "tool.started", run_id = "r", attempt = 2, seq = 4, at = "then", tool_id = "t",
      input = "[redacted]" }, event)
    event.tool_id = "changed"
    assert.equal("t", record.payload.tool_id)
  end)

  it("refuse nothing that a run could give: errors are plain data by then", function()
    local err = errors.serialize(harness.new_error("TOOL_ERROR", "x", { tool_id = "t" }))
    assert.same({ code = "TOOL_ERROR", category = "tool", retriable = false, message = "x",
      meta = { tool_id = "t" } },
      payload(false, "tool.finished", "a", "i", "t", "c", err, 5).error)
  end)

  it("belong to no run without a stream", function()
    assert.is_string(failure(events.make["no.such"]))
  end)
end)
