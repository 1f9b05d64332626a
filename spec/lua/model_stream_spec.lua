--- lua/harness/model_stream.lua: the chunks of a model that is asked directly. More is in model_handle_spec.

local clock = require "spec.support.clock"
local harness = require "harness"
local json = require "harness.json"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"

local s = harness.schema

-- Runs fn(models, ctx) as a workflow; returns ok, and its result or error.
local function ask(models, fn)
  local h = harness.define {
    models = models, logger = scripted.silent(),
    workflows = { flow = { run = function(ctx) return fn(ctx.models, ctx) end } },
  }
  local stream = h:session("s").workflows.flow:stream()
  clock.advance(10000)
  return pcall(stream.result, stream)
end

local function one(turns)
  return { fast = { provider = harness.providers.scripted(turns), model = "m" } }
end

describe("a model's stream", function()
  still(before_each, after_each)

  it("may be read by several tasks: each chunk goes to one of them, and none of them is forgotten", function()
    local ok, result = ask(one { { chunks = { "a", "b", "c" }, chunk_delay_ms = 5 } }, function(models)
      local stream, text, ends = models.fast:text_stream { prompt = "x" }, "", 0
      local function read()
        for chunk in stream do text = text .. (chunk.text or "") end
        ends = ends + 1
      end
      harness.all { read, read, read }
      return { text, ends }
    end)
    assert.is_true(ok, tostring(result))
    assert.same({ "abc", 3 }, result)
  end)

  it("may lose a reader that is cancelled", function()
    local ok, result = ask(one { { delay_ms = 50, chunks = { "a", "b" }, chunk_delay_ms = 5 } }, function(models)
      local stream = models.fast:text_stream { prompt = "x" }
      local got = { pcall(harness.timeout, 10, stream.next, stream) }
      local texts = {}
      for chunk in stream do texts[#texts + 1] = chunk.text end
      return { got[1], got[2].code, texts }
    end)
    assert.is_true(ok, tostring(result))
    assert.same({ false, "OPERATION_TIMEOUT", { "a", "b" } }, result)
  end)

  it("ends for its readers when it is stopped before it has begun", function()
    local ok, result = ask(one { { text = "x" } }, function(models)
      local stream = models.fast:text_stream { prompt = "x" }
      stream:cancel "enough"
      local got = { pcall(stream.next, stream) }
      return got[2].code
    end)
    assert.is_true(ok, tostring(result))
    assert.equal("OPERATION_CANCELLED", result)
  end)

  it("of a fallback that cannot stream gives its text in one chunk", function()
    local models = {
      fast = { model = "a", fallback = { "plain" }, provider = harness.providers.scripted {
        { error = { status = 400 } } } },
      plain = { model = "b", capabilities = { "text" }, provider = harness.providers.scripted { { text = "all" } } },
    }
    local ok, chunks = ask(models, function(handles)
      local list = {}
      for chunk in handles.fast:text_stream { prompt = "x" } do list[#list + 1] = { chunk.type, chunk.text } end
      return list
    end)
    assert.is_true(ok, tostring(chunks))
    assert.same({ { "delta", "all" }, { "finish" } }, chunks)
  end)

  it("of a long object is not read anew at each token: the partial values grow by steps, to the last", function()
    local list = {}
    for i = 1, 400 do list[i] = "item number " .. i end
    local text = json.encode { list = list }
    local chunks = {}
    for at = 1, #text, 4 do chunks[#chunks + 1] = text:sub(at, at + 3) end
    local schema = s.object { list = s.array(s.string()) }
    local ok, result = ask(one { { chunks = chunks, chunk_delay_ms = 1 } }, function(models)
      local n, last, so_far, object = 0, nil, {}, nil
      for chunk in models.fast:object_stream { prompt = "x", schema = schema } do
        if chunk.type == "partial" then
          n, last = n + 1, chunk.partial
          so_far[n] = chunk.text
        end
        object = chunk.object
      end
      return { n = n, last = last, text = table.concat(so_far), object = object }
    end)
    assert.is_true(ok, tostring(result))
    assert.is_true(#chunks > 1000 and result.n > 20 and result.n < 100, result.n .. " of " .. #chunks)
    assert.equal(text, result.text)
    assert.same({ list = list }, result.last)
    assert.same({ list = list }, result.object)
  end)

  it("has a deadline and a signal of its own, as every direct call", function()
    local controller = harness.abort_controller()
    local turn = { delay_ms = 60000, text = "never" }
    local ok, codes = ask(one { turn, turn, turn }, function(models)
      local list = {}
      local function note(fn)
        local _, err = pcall(fn)
        list[#list + 1] = { err.code, err.meta.scope, tostring(err.cause) }
      end
      note(function() models.fast:text { prompt = "x", timeout_ms = 20 } end)
      note(function() for _ in models.fast:text_stream { prompt = "x", timeout_ms = 20 } do end end)
      harness.spawn(function()
        harness.sleep(10)
        controller:abort "enough"
      end)
      note(function() models.fast:text { prompt = "x", signal = controller.signal } end)
      note(function() models.fast:text { prompt = "x", signal = controller.signal } end)
      return list
    end)
    assert.is_true(ok, tostring(codes))
    assert.same({
      { "OPERATION_TIMEOUT", "model", "nil" }, { "OPERATION_TIMEOUT", "model", "nil" },
      { "OPERATION_CANCELLED", "model", "enough" }, { "OPERATION_CANCELLED", "model", "enough" },
    }, codes)
  end)

  it("is checked before anything is asked: signal, timeout_ms", function()
    for _, case in ipairs { { signal = 1 }, { timeout_ms = -1 }, { timeout_ms = "5" } } do
      case.prompt = "x"
      local ok, err = ask(one {}, function(models) return models.fast:text_stream(case) end)
      assert.same({ false, "VALIDATION_ERROR", "model_request" }, { ok, err.code, err.meta.where })
    end
  end)
end)
