--- lua/harness/providers/scripted.lua, as design 06 describes it.

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").structured
local harness = require "harness"
local still = require "spec.support.still"
local support = require "spec.support.scripted"
local task = require "harness.task"

local scripted = harness.providers.scripted
local drain, of = support.drain, support.of
local s = harness.schema

-- Asks the provider itself, without an agent around it.
local function ask(model, over)
  local request = { model = "m", method = "text_stream", messages = { { role = "user", content = "hi" } } }
  for key, value in pairs(over or {}) do request[key] = value end
  local said = {}
  local reply = model:generate(request, function(kind, text) said[#said + 1] = kind .. " " .. text end)
  return reply, said
end

describe("the scripted provider", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = support.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  local function during(ms, fn, ...)
    local t = harness.spawn(fn, ...)
    clock.advance(ms)
    return t:await()
  end

  it("is named so and can do everything", function()
    local model = scripted {}
    assert.equal("scripted", model.id)
    local can = {}
    for _, name in ipairs(model.capabilities) do can[name] = true end
    for _, name in ipairs { "text", "text_stream", "object", "object_stream", "tool_use", "vision_input",
      "audio_input", "file_input", "embeddings", "rerank" } do assert.is_true(can[name], name) end
  end)

  describe("answers with", function()
    it("a text, in one piece", function()
      local reply, said = ask(scripted { { text = "It is on its way.",
        usage = { input_tokens = 9, output_tokens = 5 } } })
      assert.same({ text = "It is on its way.", finish_reason = "stop",
        usage = { input_tokens = 9, output_tokens = 5, total_tokens = 14 } }, reply)
      assert.same({ "delta It is on its way." }, said)
    end)

    it("chunks, one after another, with time between them", function()
      local model, at, from = scripted { { chunks = { "It ", "is ", "late." }, chunk_delay_ms = 20 } }, {},
        harness.now()
      local reply = during(100, function()
        return model:generate({ model = "m", messages = {} },
          function(_, text) at[#at + 1] = { text, harness.now() - from } end)
      end)
      assert.same({ { "It ", 0 }, { "is ", 20 }, { "late.", 40 } }, at)
      assert.equal("It is late.", reply.text)
    end)

    it("an object", function()
      local reply, said = ask(scripted { { object = { status = "late" } } })
      assert.same({ { status = "late" }, {} }, { reply.object, said })
    end)

    it("tool calls, whose ids are made up when absent", function()
      local model = scripted {
        { tool_calls = { { name = "a", arguments = { id = "7" } }, { name = "b", id = "mine" } },
          text = "Let me see." },
        { tool_calls = { { name = "a" } } },
      }
      local first = ask(model)
      assert.same({ name = "a", arguments = { id = "7" }, id = first.tool_calls[1].id }, first.tool_calls[1])
      assert.same({ name = "b", arguments = {}, id = "mine" }, first.tool_calls[2])
      assert.same({ "tool_calls", "Let me see." }, { first.finish_reason, first.text })
      assert.not_equal(first.tool_calls[1].id, ask(model).tool_calls[1].id)
    end)

    it("what it thinks, before what it says", function()
      local _, said = ask(scripted { { reasoning = "hm", text = "so" } })
      assert.same({ "reasoning hm", "delta so" }, said)
    end)

    it("a finish reason of the turn's own, and no usage counted where it has none", function()
      local reply = ask(scripted { { text = "cut", finish_reason = "length" } })
      assert.same({ "length", { input_tokens = 0, output_tokens = 0, total_tokens = 0 } },
        { reply.finish_reason, reply.usage })
      reply = ask(scripted { { text = "x",
        usage = { input_tokens = 1, total_tokens = 9, reasoning_tokens = 3 } } })
      assert.same({ input_tokens = 1, total_tokens = 9, reasoning_tokens = 3 }, reply.usage)
    end)

    it("what a function of the request says", function()
      local model = scripted {
        { text = "first" },
        function(request, n) return { text = n .. " " .. request.messages[#request.messages].content } end,
      }
      assert.equal("first", ask(model).text)
      assert.equal("2 hi", ask(model).text)
    end)

    it("what one function says to every call", function()
      local model = scripted(function(request, n) return { text = request.model .. n } end)
      for n = 1, 5 do assert.equal("m" .. n, ask(model).text) end
    end)

    it("what a function says after it has waited", function()
      local model = scripted(function() harness.sleep(30) return { text = "waited" } end)
      assert.equal("waited", during(30, ask, model).text)
    end)

    it("nothing at all, which is an empty text", function()
      local h = define { {} }
      assert.equal("", h:session().agents.helper:run "go")
    end)

    it("texts and objects of its own: what is done to a reply does not change the next", function()
      local turn = { tool_calls = { { name = "a", arguments = { n = 1 } } }, usage = { input_tokens = 1 } }
      local model = scripted(function() return turn end)
      local first = ask(model)
      first.tool_calls[1].name, first.usage.input_tokens, first.tool_calls = "changed", 99, nil
      local second = ask(model)
      assert.same({ "a", 1 }, { second.tool_calls[1].name, second.usage.input_tokens })
    end)
  end)

  describe("fails with", function()
    it("an error that goes the way of a real HTTP error", function()
      local err = failure(ask,
        scripted { { error = { status = 429, retry_after_ms = 10, message = "slow down" } } })
      assert.same({ "MODEL_ERROR", "model", true }, { err.code, err.category, err.retriable })
      assert.same({ "scripted", "m", "text_stream", 429, "http_error", 10, "slow down" }, { err.meta.provider,
        err.meta.model, err.meta.method, err.meta.status, err.meta.reason, err.meta.retry_after_ms,
        err.meta.provider_message })
      assert.matches("429", err.message)
      assert.matches("slow down", err.message)
      assert.is_false(failure(ask, scripted { { error = { status = 400 } } }).retriable)
      assert.is_true(failure(ask, scripted { { error = {} } }).retriable) -- the network
      assert.equal("context_length_exceeded",
        failure(ask, scripted { { error = { reason = "context_length_exceeded" } } }).meta.reason)
    end)

    it("an error after a while, and is then tried again by the agent", function()
      local h, model = define { { delay_ms = 50, error = { status = 503, retry_after_ms = 10 } },
        { text = "ok" } }
      local stream = h:session().agents.helper:stream "go"
      clock.advance(59)
      assert.equal(1, #model.requests)
      clock.advance(1)
      assert.equal("ok", stream:result())
      assert.equal(2, #model.requests)
    end)

    it("MODEL_ERROR script_exhausted at one call too many, not tried again", function()
      local h, model = define { { text = "only one" } }
      local session = h:session()
      session.agents.helper:run "1"
      local err = failure(session.agents.helper.run, session.agents.helper, "2")
      assert.same({ "MODEL_ERROR", "script_exhausted", false }, { err.code, err.meta.reason, err.retriable })
      assert.matches("1 turns", err.message)
      assert.equal(2, #model.requests)
    end)
  end)

  it("waits, and can be aborted", function()
    local h, model = define { { delay_ms = 60000, text = "never seen" } }
    local stream = h:session().agents.helper:stream "go"
    clock.advance(59999)
    assert.equal(1, #model.requests)
    stream:cancel()
    task.settle()
    assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    assert.equal(0, #of(drain(stream), "model.delta"))
  end)

  it("can be aborted between two chunks", function()
    local h = define { { chunks = { "a", "b", "c" }, chunk_delay_ms = 100 } }
    local stream = h:session().agents.helper:stream "go"
    clock.advance(150)
    stream:cancel()
    task.settle()
    assert.equal(2, #of(drain(stream), "model.delta"))
  end)

  describe("keeps its requests", function()
    it("in order, with model, messages, tools, schema and options", function()
      local h, model = define({ { tool_calls = { { name = "echo", arguments = { text = "x" } } } },
        { text = "end" } },
        { tools = { echo = support.tools().echo } })
      h.definition.models.fast.defaults = { temperature = 0.5 }
      h:session().agents.helper:run "go"
      local first, second = table.unpack(model.requests)
      assert.equal("m", first.model)
      assert.same({ { role = "system", content = "Be brief." }, { role = "user", content = "go" } },
        first.messages)
      assert.equal(1, #first.tools)
      assert.same({ "echo", "Gives back its text." }, { first.tools[1].name, first.tools[1].description })
      assert.same({ type = "object", properties = { text = { type = "string" } }, required = { "text" },
        additionalProperties = false }, harness.json.decode(harness.json.encode(first.tools[1].parameters)))
      assert.same({ nil, 0.5 }, { first.schema, first.options.temperature })
      local id = second.messages[3].tool_calls[1].id
      assert.same({ role = "assistant", content = "", tool_calls = { { id = id, name = "echo",
        arguments = { text = "x" } } } }, second.messages[3])
      assert.same({ role = "tool", content = "x", tool_call_id = id }, second.messages[4])
      assert.equal(2, #model.requests)
    end)

    it("with the schema of a structured output", function()
      local h, model = define({ { object = { n = 1 } } },
        { agent = { output = s.object { n = s.integer() } } })
      h:session().agents.helper:run "go"
      local schema = harness.json.decode(harness.json.encode(model.requests[1].schema))
      assert.equal("integer", schema.properties.n.type)
    end)

    it("as they were: later turns and changes of the list do not touch them", function()
      local h, model = define { { tool_calls = { { name = "echo", arguments = { text = "x" } } } },
        { text = "end" } }
      h:session().agents.helper:run "go"
      assert.equal(2, #model.requests[1].messages)
      local list = model.requests
      list[1].messages[1] = nil
      table.remove(list)
      assert.same({ 2, 2 }, { #model.requests, #model.requests[1].messages })
    end)

    it("the last 1,000, or as many as it is told", function()
      for record, kept in pairs { [false] = 1000, [3] = 3, [0] = 0 } do
        local model = scripted(function() return { text = "x" } end, record and { record = record } or nil)
        for n = 1, 1005 do ask(model, { model = "m" .. n }) end
        local requests = model.requests
        assert.equal(kept, #requests)
        for i = 1, kept do assert.equal("m" .. 1005 - kept + i, requests[i].model) end
      end
    end)

    it("also of the calls that failed or were aborted", function()
      local h, model = define { { error = { status = 400 } }, { delay_ms = 1000, text = "x" } }
      local session = h:session()
      failure(session.agents.helper.run, session.agents.helper, "1")
      local stream = session.agents.helper:stream "2"
      clock.advance(1)
      stream:cancel()
      failure(stream.result, stream)
      assert.same({ "1", "2" },
        { model.requests[1].messages[2].content, model.requests[2].messages[2].content })
    end)
  end)

  describe("refuses", function()
    local BAD <const> = {
      { "no turns", nil, "list of turns" }, { "text as turns", "x", "list of turns" },
      { "a turn instead of a list", { text = "x" }, "text" },
      { "a number as a turn", { 7 }, "turn 1" }, { "text as a turn", { { text = "a" }, "b" }, "turn 2" },
      { "a misspelt field", { { txt = "x" } }, "txt" }, { "a text that is none", { { text = 7 } }, "text" },
      { "chunks that are none", { { chunks = "abc" } }, "chunks" },
      { "a chunk that is none", { { chunks = { 7 } } }, "chunks" },
      { "calls that are none", { { tool_calls = { name = "x" } } }, "tool_calls" },
      { "a call with another field", { { tool_calls = { { name = "a", input = {} } } } }, 'there is no field "input"' },
      { "a call without a name", { { tool_calls = { { arguments = {} } } } }, "call 1" },
      { "arguments as text", { { tool_calls = { { name = "x", arguments = "{}" } } } }, "arguments" },
      { "an error as text", { { error = "boom" } }, "error" },
      { "a delay in words", { { delay_ms = "1s" } }, "delay_ms" },
      { "a delay of less than nothing", { { delay_ms = -1 } }, "delay_ms" },
      { "usage as a number", { { text = "x", usage = 7 } }, "usage" },
    }
    for _, case in ipairs(BAD) do
      it(case[1] .. ", when it is made", function()
        local err = failure(scripted, case[2])
        assert.same({ "HARNESS_CONFIG_ERROR", "invalid_turn" }, { err.code, err.meta.reason })
        assert.is_truthy(err.message:find(case[3], 1, true), err.message)
      end)
    end

    it("a bad turn of a function, when it is asked", function()
      for _, turn in ipairs { "text", 7, false, { txt = "x" }, function() end } do
        for _, model in ipairs { scripted(function() return turn end),
          scripted { function() return turn end } } do
          local err = failure(ask, model)
          assert.same({ "HARNESS_CONFIG_ERROR", "invalid_turn", "1" },
            { err.code, err.meta.reason, err.meta.id })
        end
      end
      assert.equal("HARNESS_CONFIG_ERROR", failure(ask, scripted(function() end)).code)
    end)

    it("a number of requests that is none", function()
      for _, record in ipairs { -1, 1.5, "all" } do
        assert.equal("HARNESS_CONFIG_ERROR", failure(scripted, {}, { record = record }).code)
      end
    end)
  end)

  it("may be shared: by aliases, harnesses and sessions, in the order of their calls", function()
    local model = scripted(function(_, n) return { text = tostring(n), delay_ms = 10 } end)
    local models = { fast = { provider = model, model = "m" } }
    local a, b = define({}, { definition = { models = models } }),
      define({}, { definition = { models = models } })
    local outputs = during(100, harness.all, {
      function() return a:session().agents.helper:run "x" end,
      function() return b:session().agents.helper:run "x" end,
      function() return a:session().agents.helper:run "x" end,
    })
    table.sort(outputs)
    assert.same({ "1", "2", "3" }, outputs)
    assert.equal(3, #model.requests)
  end)
end)
