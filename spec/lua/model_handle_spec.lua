-- ctx.models: models asked directly (reference B 6.2 to 6.4).

local clock = require "spec.support.clock"
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"

local s = harness.schema
local of, drain = scripted.of, scripted.drain

-- Runs fn(models, ctx) as a workflow. Returns ok, its result or error, the events and the provider.
local function ask(turns, fn, over)
  over = over or {}
  local provider = over.provider or harness.providers.scripted(turns)
  local h = harness.define {
    models = { fast = {
      provider = provider, model = "m", capabilities = over.capabilities, defaults = over.defaults,
    } },
    workflows = { flow = { run = function(ctx) return fn(ctx.models, ctx) end } },
    logger = scripted.silent(),
  }
  local stream = h:session("s").workflows.flow:stream()
  local reader = harness.spawn(function() return (drain(stream)) end)
  clock.advance(10000)
  local events = reader:await()
  local ok, result = pcall(stream.result, stream)
  return ok, result, events, provider
end

describe("ctx.models", function()
  still(before_each, after_each)

  it("knows its aliases", function()
    local ok, err = ask({}, function(models) return models.fats:text { prompt = "x" } end)
    assert.same({ false, "VALIDATION_ERROR", "fats" }, { ok, err.code, err.meta.model_id })
    assert.matches('did you mean "fast"', err.message)
  end)

  it("gives text", function()
    local turn = { text = "hello", usage = { input_tokens = 1, output_tokens = 2 } }
    local ok, reply, events, provider = ask({ turn }, function(models)
      return models.fast:text { messages = { { role = "system", content = "s" }, { role = "user", content = "u" } },
        options = { temperature = 0.5 } }
    end, { defaults = { max_tokens = 9 } })
    assert.is_true(ok)
    assert.same({ "hello", "hello", "stop", 3 }, { reply.text, reply.content, reply.finish_reason,
      reply.usage.total_tokens })
    assert.equal("run.started model.started model.completed run.finished", scripted.types(events))
    local request = provider.requests[1]
    assert.same({ "s", "u" }, { request.messages[1].content, request.messages[2].content })
    assert.same({ temperature = 0.5, max_tokens = 9 }, request.options)
  end)

  it("gives tool calls, for the caller to run", function()
    local turn = { tool_calls = { { name = "t", arguments = { a = 1 } } } }
    local ok, reply, _, provider = ask({ turn }, function(models)
      return models.fast:text { prompt = "x", tools = { { name = "t", description = "d", parameters = s.object {} } } }
    end)
    assert.is_true(ok)
    assert.same({ "t", { a = 1 }, "tool_calls" }, { reply.tool_calls[1].name, reply.tool_calls[1].arguments,
      reply.finish_reason })
    assert.equal("t", provider.requests[1].tools[1].name)
  end)

  it("gives objects that fit their schema", function()
    local schema = s.object { n = s.integer(), d = s.string():default "x" }
    local ok, reply, events = ask({ { object = { n = 1 } } }, function(models)
      return models.fast:object { prompt = "x", schema = schema }
    end)
    assert.is_true(ok)
    assert.same({ n = 1, d = "x" }, reply.object)
    assert.same({ n = 1, d = "x" }, of(events, "model.object")[1].object)
    ok, reply = ask({ { text = '{"n":2}' } }, function(models) return models.fast:object { prompt = "x",
      schema = { type = "object", properties = { n = { type = "integer" } } } }
    end)
    assert.same({ true, 2 }, { ok, reply.object.n })
    for _, turn in ipairs { { object = { n = "x" } }, { text = "nonsense" }, { text = "" } } do
      local wrong, err = ask({ turn }, function(models) return models.fast:object { prompt = "x", schema = schema } end)
      assert.same({ false, "VALIDATION_ERROR", "model_object" }, { wrong, err.code, err.meta.where })
    end
  end)

  it("streams text: chunks, then one finish", function()
    local turn = { chunks = { "a", "b", "c" }, chunk_delay_ms = 10, usage = { input_tokens = 1, output_tokens = 3 } }
    local ok, result, events = ask({ turn }, function(models)
      local seen, stream = {}, models.fast:text_stream { prompt = "x" }
      for chunk in stream do seen[#seen + 1] = chunk end
      return { seen = seen, reply = stream:result() }
    end)
    assert.is_true(ok)
    local seen = result.seen
    assert.equal(4, #seen)
    assert.same({ { type = "delta", text = "a" }, { type = "delta", text = "b" }, { type = "delta", text = "c" } },
      { seen[1], seen[2], seen[3] })
    assert.same({ "finish", "stop", 4 }, { seen[4].type, seen[4].finish_reason, seen[4].usage.total_tokens })
    assert.equal("abc", result.reply.text)
    assert.equal(3, #of(events, "model.delta"))
  end)

  it("loses nothing of a stream to a slow reader, and needs none", function()
    local ok, result = ask({ { chunks = { "a", "b", "c" }, chunk_delay_ms = 1 }, { text = "unread" } },
      function(models)
        local stream, texts = models.fast:text_stream { prompt = "x" }, {}
        harness.sleep(100)
        for chunk in stream do texts[#texts + 1] = chunk.text end
        return { texts = texts, other = models.fast:text_stream({ prompt = "y" }):result().text }
      end)
    assert.is_true(ok)
    assert.same({ texts = { "abc" }, other = "unread" }, result)
  end)

  it("streams tool calls and reasoning", function()
    local turn = { reasoning = "hm", text = "t", tool_calls = { { name = "x" }, { name = "y" } } }
    local ok, kinds, events = ask({ turn }, function(models)
      local kinds = {}
      for chunk in models.fast:text_stream { prompt = "x" } do kinds[#kinds + 1] = chunk.type end
      return kinds
    end)
    assert.is_true(ok)
    assert.same({ "reasoning", "delta", "tool_call", "tool_call", "finish" }, kinds)
    assert.equal(1, #of(events, "model.reasoning"))
  end)

  it("streams an object while it grows", function()
    local turn = { chunks = { '{"city": "Be', 'rlin", "n": ', "7}" }, chunk_delay_ms = 1 }
    local ok, result, events = ask({ turn }, function(models)
      local partials, stream = {}, models.fast:object_stream { prompt = "x",
        schema = s.object { city = s.string(), n = s.integer() } }
      local last
      for chunk in stream do
        if chunk.type == "partial" then partials[#partials + 1] = chunk.partial end
        last = chunk
      end
      return { partials = partials, object = last.object }
    end)
    assert.is_true(ok)
    assert.same({ { city = "Be" }, { city = "Berlin" }, { city = "Berlin", n = 7 } }, result.partials)
    assert.same({ city = "Berlin", n = 7 }, result.object)
    local partials = of(events, "model.object.partial")
    assert.is_true(#partials >= 2)
    assert.same({ city = "Be" }, partials[1].object)
  end)

  it("raises a stream's error in the loop, and stops it on request", function()
    local ok, err = ask({ { error = { status = 400, message = "no" } } }, function(models)
      for _ in models.fast:text_stream { prompt = "x" } do end
    end)
    assert.same({ false, "MODEL_ERROR" }, { ok, err.code })
    ok, err = ask({ { chunks = { "a", "b" }, chunk_delay_ms = 60000 } }, function(models)
      local stream <close> = models.fast:text_stream { prompt = "x" }
      local first = stream:next()
      stream:cancel "enough"
      local went, why = pcall(stream.result, stream)
      return { first.text, went, why.code }
    end)
    assert.is_true(ok)
    assert.same({ "a", false, "OPERATION_CANCELLED" }, err)
  end)

  it("embeds", function()
    local ok, result, events = ask({ { embeddings = { { 1, 2 }, { 3, 4 } }, usage = { input_tokens = 5 } } },
      function(models) return models.fast:embed { input = { "a", "b" } } end)
    assert.is_true(ok)
    assert.same({ { index = 1, vector = { 1, 2 } }, { index = 2, vector = { 3, 4 } } }, result.embeddings)
    local event = of(events, "model.embedding.completed")[1]
    assert.same({ 2, 2, 5 }, { event.count, event.dimensions, event.usage.total_tokens })
    assert.equal(0, #of(events, "model.completed"))
    ok, result, events = ask({ { embeddings = { { 1 } } } }, function(models)
      return models.fast:embed { input = { "a", "b" } }
    end)
    assert.same({ false, "MODEL_ERROR", "embedding_count_mismatch" }, { ok, result.code, result.meta.reason })
    assert.same({ 1, 1, 0 },
      { #of(events, "model.started"), #of(events, "model.failed"), #of(events, "model.embedding.completed") })
    ok, result = ask({ { embeddings = { { 1 } } } }, function(models) return models.fast:embed { input = "a" } end)
    assert.same({ true, 1 }, { ok, #result.embeddings })
  end)

  it("ranks documents, best first", function()
    local documents = { { id = "a", text = "A" }, { id = "b", text = "B" }, { id = "c", text = "C" } }
    local results = { { index = 1, score = 0.1 }, { index = 3, score = 0.9 } }
    local ok, result, events = ask({ { results = results } }, function(models)
      return models.fast:rerank { query = "q", documents = documents, top_n = 2 }
    end)
    assert.is_true(ok)
    assert.same({ "c", "a" }, { result.results[1].id, result.results[2].id })
    local event = of(events, "model.rerank.completed")[1]
    assert.same({ 2, 2 }, { event.count, event.top_n })
    ok, result, events = ask({ { results = { { index = 9, score = 1 } } } }, function(models)
      return models.fast:rerank { query = "q", documents = documents }
    end)
    assert.same({ 1, 1 }, { #of(events, "model.started"), #of(events, "model.failed") })
    assert.same({ false, "MODEL_ERROR", "rerank_result_mismatch" }, { ok, result.code, result.meta.reason })
  end)

  it("is tried again like any model call", function()
    local turns = { { error = { status = 500 } }, { embeddings = { { 1 } } } }
    local ok, result, events = ask(turns, function(models) return models.fast:embed { input = "a" } end)
    assert.is_true(ok, tostring(result))
    assert.equal(1, #of(events, "model.retry"))
  end)

  it("checks what the alias can do before anything is sent", function()
    local calls = {
      text_stream = { "text_stream", { prompt = "x" } }, object = { "object", { prompt = "x", schema = s.object {} } },
      embed = { "embeddings", { input = "x" } },
      rerank = { "rerank", { query = "q", documents = { { id = "1", text = "t" } } } },
      text = { "tool_use", { prompt = "x", tools = { { name = "t", parameters = s.object {} } } } },
    }
    for method, case in pairs(calls) do
      local ok, err, events, provider = ask({}, function(models)
        local got = models.fast[method](models.fast, case[2])
        if method == "text_stream" then got:result() end
      end, { capabilities = { "text" } })
      assert.same({ false, "MODEL_CAPABILITY_ERROR", case[1] }, { ok, err.code, err.meta.method }, method)
      assert.equal(0, #of(events, "model.started"))
      assert.equal(0, #provider.requests)
    end
    local bare = { id = "bare", capabilities = { "text", "embeddings" } }
    function bare.generate() return { text = "x" } end
    local ok, err = ask({}, function(models) return models.fast:embed { input = "x" } end, { provider = bare })
    assert.same({ false, "MODEL_CAPABILITY_ERROR", "method_missing" }, { ok, err.code, err.meta.reason })
  end)

  it("tells of mistakes in a request", function()
    local cases = {
      { "text", nil, "takes a table" }, { "text", {}, "messages" }, { "text", { message = {} }, "did you mean" },
      { "text", { prompt = 1 }, "must be text" }, { "text", { prompt = "x", messages = {} }, "not both" },
      { "text", { messages = { { role = "human", content = "x" } } }, "role must be" },
      { "text", { prompt = "x", tools = { {} } }, "tools[1].name" },
      { "text", { prompt = "x", options = { heat = 1 } }, "no such option" },
      { "text", { prompt = "x", options = { max_tokens = "1" } }, "must be an integer" },
      { "object", { prompt = "x" }, "schema: is missing" },
      { "object", { prompt = "x", schema = { type = 5 } }, "no schema" },
      { "embed", { input = {} }, "at least one" }, { "embed", { input = { 1 } }, "input[1]" },
      { "embed", { input = "x", dimensions = 0 }, "above 0" },
      { "rerank", { documents = {} }, "query" }, { "rerank", { query = "q", documents = {} }, "at least one" },
      { "rerank", { query = "q", documents = { { id = "1", text = "a" }, { id = "1", text = "b" } } }, "used twice" },
      { "rerank", { query = "q", documents = { { id = "1", text = "a" } }, top_n = 2 }, "at most" },
    }
    for _, case in ipairs(cases) do
      local ok, err = ask({}, function(models) return models.fast[case[1]](models.fast, case[2]) end)
      assert.same({ false, "VALIDATION_ERROR", "model_request" }, { ok, err.code, err.meta.where }, case[3])
      assert.is_truthy(err.message:find(case[3], 1, true), err.message)
    end
  end)
end)
