local core = require "harness.core"
local json = require "harness.json"
local openai = require "spec.support.openai"
local servers = require "spec.support.server"

local KEY <const> = openai.KEY
local SSE <const> = openai.SSE
local DONE <const> = openai.DONE
local data = openai.data
local delta = openai.delta
local text = openai.text
local stream = openai.stream
local cut_stream = openai.cut_stream
local body = openai.body
local answer = openai.answer
local request = openai.request

describe("openai replies", function()
  local peer

  setup(function() peer = openai.start() end)
  teardown(function() peer:close() end)

  describe("streams", function()
    it("give text as it comes, usage, finish reason and id", function()
      local usage = data { choices = json.array {}, usage = {
        prompt_tokens = 5, completion_tokens = 2, total_tokens = 7,
        prompt_tokens_details = { cached_tokens = 4 }, completion_tokens_details = { reasoning_tokens = 1 },
      } }
      local reply, deltas = peer:ask(stream(delta { role = "assistant", content = "" }, text "Hel",
        text "lo", text("", "stop"), usage, DONE))
      assert.same({ "Hel", "lo" }, deltas)
      assert.same({
        text = "Hello", finish_reason = "stop", response_id = "r1",
        usage = {
          input_tokens = 5, output_tokens = 2, total_tokens = 7, cached_input_tokens = 4,
          reasoning_tokens = 1,
        },
      }, reply)
    end)

    it("as the real API sends them: padding, tiers, null for what is not there", function()
      local function real(fields, finish, usage)
        finish = finish or json.null
        local choice = { index = 0, delta = fields, logprobs = json.null, finish_reason = finish }
        return data {
          id = "r", object = "chat.completion.chunk", created = 1795336158, model = "gpt-5-mini-2026-01-01",
          service_tier = "default", system_fingerprint = "fp_1", obfuscation = "aZ9",
          usage = usage or json.null, choices = json.array(fields and { choice } or {}),
        }
      end
      local first = real { role = "assistant", content = json.null, refusal = json.null }
      local reply, deltas = peer:ask(stream(first, real { content = "a" }, real { content = "b" },
        real({}, "stop"),
        real(nil, nil, { prompt_tokens = 1, completion_tokens = 2, total_tokens = 3 }), DONE))
      assert.same({ "a", "b" }, deltas)
      assert.equal("ab", reply.text)
      assert.equal(3, reply.usage.total_tokens)
    end)

    it("make no table of a chunk that is only text", function()
      local real, decoded = json.decode, 0
      json.decode = function(...) -- luacheck: ignore 122
        decoded = decoded + 1
        return real(...)
      end
      local ok, err = pcall(peer.ask, peer, stream(text "a", text "b", text "c", text("", "stop"), DONE))
      json.decode = real -- luacheck: ignore 122
      assert(ok, err)
      assert.equal(0, decoded)
    end)

    it("are given to nobody when the caller does not listen", function()
      local reply = peer:provider(stream(text "a", text("b", "stop"), DONE)):generate(request())
      assert.equal("ab", reply.text)
      assert.is_nil(reply.usage)
    end)

    it("may have reasoning, under either name", function()
      local reply, deltas, thoughts = peer:ask(stream(delta { reasoning_content = "First " },
        delta { reasoning = "then " }, delta { reasoning_content = "é", content = "A" }, text("B", "stop"),
        DONE))
      assert.same({ "First ", "then ", "é" }, thoughts)
      assert.same({ "A", "B" }, deltas)
      assert.equal("AB", reply.text)
      assert.is_nil(reply.provider)
    end)

    it("carry back the fields that the server wants back", function()
      local function detail(n) return delta { reasoning_details = { { type = "t", n = n } } } end
      local steps = stream(delta { reasoning_content = "hm" }, delta { reasoning_content = "!" }, detail(1),
        detail(2), text("B", "stop"), DONE)
      local fields = { "reasoning_content", "reasoning_details" }
      local reply, _, thoughts = peer:ask(steps, nil, { carry_fields = fields })
      assert.same({ "hm", "!" }, thoughts)
      assert.same({ name = "openai", data = { reasoning_content = "hm!",
        reasoning_details = { { type = "t", n = 1 }, { type = "t", n = 2 } } } }, reply.provider)
    end)

    it("never end a delta inside of a character: surrogate halves and WTF-8 in different chunks", function()
      local raw = '{"choices":[{"delta":{"content":"%s"}}]}'
      local reply, deltas = peer:ask(stream(data(raw:format "a\\ud83d"), data(raw:format "\\ude80b"),
        data(raw:format "c\\ud83d"), data(raw:format "d"), text("", "stop"), DONE))
      assert.equal("a\u{1F680}bc\u{FFFD}d", reply.text)
      for _, piece in ipairs(deltas) do assert.is_truthy(utf8.len(piece)) end
      assert.equal(reply.text, table.concat(deltas))
    end)

    it("replace half of a character at their very end", function()
      local half = data '{"choices":[{"delta":{"content":"a\\ud83d"}}]}'
      local reply, deltas = peer:ask(stream(half, text("", "stop"), DONE))
      assert.equal("a\u{FFFD}", reply.text)
      assert.same({ "a", "\u{FFFD}" }, deltas)
    end)

    it("keep NUL and long numbers", function()
      local odd = data '{"created":12345678901234567890,"choices":[{"delta":{"content":"a\\u0000b"}}]}'
      local reply = peer:ask(stream(odd, text("", "stop"), DONE))
      assert.equal("a\0b", reply.text)
    end)

    it("may hold comments, pings, empty events and events without choices", function()
      local filters = data { choices = json.array {}, prompt_filter_results = json.array {} }
      local reply = peer:ask(stream(": ping\n\n", data "", "event: ping\n" .. data "{}", text "a",
        ": ping\n\n", filters, text("b", "stop"), DONE))
      assert.equal("ab", reply.text)
    end)

    it("may have contents that are lists", function()
      local thinking = { type = "thinking", thinking = { { type = "text", text = "hm" } } }
      local list = delta { content = { thinking, { type = "text", text = "a" } } }
      local reply, _, thoughts = peer:ask(stream(list, text("b", "stop"), DONE))
      assert.equal("ab", reply.text)
      assert.same({ "hm" }, thoughts)
    end)

    it("may say usage in each chunk; the last one counts", function()
      local function with_usage(content, n, finish)
        return data { choices = { { delta = { content = content }, finish_reason = finish } },
          usage = { prompt_tokens = 1, completion_tokens = n } }
      end
      local reply, deltas = peer:ask(stream(with_usage("a", 1), with_usage("b", 2, "stop"), DONE))
      assert.same({ "a", "b" }, deltas)
      assert.same({ input_tokens = 1, output_tokens = 2, total_tokens = 3 }, reply.usage)
    end)

    it("say a refusal as text that was filtered", function()
      local steps = stream(delta { refusal = "I can" }, delta { refusal = "not." }, delta({}, "stop"), DONE)
      local reply, deltas = peer:ask(steps, { schema = { type = "object" }, method = "object" })
      assert.same({ "I can", "not." }, deltas)
      assert.equal("I cannot.", reply.text)
      assert.equal("content_filter", reply.finish_reason)
      assert.is_nil(reply.object)
    end)

    for reason, expected in pairs {
      stop = "stop", length = "length", content_filter = "content_filter", max_tokens = "length",
      eos = "stop", function_call = "tool_calls",
    } do
      it("end for a reason: " .. reason, function()
        assert.equal(expected, peer:ask(stream(text "a", delta({}, reason), DONE)).finish_reason)
      end)
    end

    it("survive being cut anywhere on their way", function()
      local whole = table.concat {
        delta { role = "assistant", content = json.null }, text "é你", text "\u{1F680}x",
        delta { tool_calls = { { index = 0, id = "c", ["function"] = { name = "f", arguments = "" } } } },
        delta { tool_calls = { { index = 0, ["function"] = { arguments = '{"a":"é"}' } } } },
        delta({}, "tool_calls"), openai.usage(1, 1), DONE,
      }
      math.randomseed(20261122)
      for _ = 1, 20 do
        local steps, at = { { "send", SSE } }, 1
        while at <= #whole do
          local n = math.random(1, 90)
          steps[#steps + 1] = { "send", servers.chunk(whole:sub(at, at + n - 1)) }
          if math.random() < 0.3 then steps[#steps + 1] = { "wait", 0 } end
          at = at + n
        end
        steps[#steps + 1] = { "send", servers.chunk() }
        local reply, deltas = peer:ask(steps)
        assert.equal("é你\u{1F680}x", reply.text)
        assert.same({ "é你", "\u{1F680}x" }, deltas)
        assert.same({ { id = "c", name = "f", arguments = { a = "é" } } }, reply.tool_calls)
      end
    end)
  end)

  describe("tool calls", function()
    local function calls(...)
      return delta { tool_calls = { ... } }
    end

    local function fragment(index, id, name, arguments)
      return { index = index, id = id, ["function"] = { name = name, arguments = arguments } }
    end

    local function finish() return delta({}, "tool_calls"), DONE end

    -- The calls of a stream, each argument being the fragment of one chunk.
    local function gathered(...)
      local chunks = {}
      for i, one in ipairs { ... } do chunks[i] = calls(one) end
      return peer:ask(stream(table.concat(chunks), finish())).tool_calls
    end

    it("are gathered from fragments, several at once", function()
      local reply = peer:ask(stream(text "Let me look.", calls(fragment(0, "a", "bash", "")),
        calls(fragment(0, nil, nil, '{"command":"l')), calls(fragment(1, "b", "read", '{"path"')),
        calls(fragment(0, nil, nil, 's"}'), fragment(1, nil, nil, ':"x"}')), finish()))
      assert.equal("Let me look.", reply.text)
      assert.equal("tool_calls", reply.finish_reason)
      assert.same({ { id = "a", name = "bash", arguments = { command = "ls" } },
        { id = "b", name = "read", arguments = { path = "x" } } }, reply.tool_calls)
    end)

    it("without an index belong to their id, else to the last call", function()
      local list = gathered(fragment(nil, "a", "f", '{"x":'), fragment(nil, nil, nil, "1}"),
        fragment(nil, "b", "g", "{}"), fragment(nil, "a", nil, " "))
      assert.same({ { id = "a", name = "f", arguments = { x = 1 } },
        { id = "b", name = "g", arguments = {} } }, list)
    end)

    it("with neither begin with a name", function()
      local list = gathered(fragment(nil, nil, "f", '{"x":1}'), fragment(nil, nil, "f", '{"x":'),
        fragment(nil, nil, nil, "2}"))
      assert.same({ x = 1 }, list[1].arguments)
      assert.same({ x = 2 }, list[2].arguments)
      assert.equal(2, #list)
    end)

    it("with the same index and other ids are different calls", function()
      local list = gathered(fragment(0, "a", "f", '{"x":1}'), fragment(0, "b", "f", '{"x":2}'))
      assert.same({ { id = "a", name = "f", arguments = { x = 1 } },
        { id = "b", name = "f", arguments = { x = 2 } } }, list)
    end)

    it("may have their name in pieces, or whole in each fragment", function()
      local list = gathered(fragment(0, "a", "read", nil), fragment(0, nil, "_file", ""),
        fragment(1, "b", "list", "{"), fragment(1, "b", "list", "}"))
      assert.equal("read_file", list[1].name)
      assert.equal("list", list[2].name)
    end)

    for name, arguments in pairs { ["nothing"] = json.null, ["empty text"] = "", ["blanks"] = " \n" } do
      it("without arguments have an empty table: " .. name, function()
        assert.same({ { id = "a", name = "f", arguments = {} } }, gathered(fragment(0, "a", "f", arguments)))
      end)
    end

    for _, broken in ipairs { '{"a":', "{'a':1}", "[1]", '"text"', "1", "null", "[]", '{"a":1}{"b":2}' } do
      it("with arguments that are no JSON object say so: " .. broken, function()
        assert.same({ { id = "a", name = "f", arguments = {}, invalid_arguments = broken } },
          gathered(fragment(0, "a", "f", broken)))
      end)
    end

    it("that were cut off by the limit of tokens keep that reason", function()
      local reply = peer:ask(stream(calls(fragment(0, "a", "f", '{"a":"b')), delta({}, "length"), DONE))
      assert.equal("length", reply.finish_reason)
      assert.equal('{"a":"b', reply.tool_calls[1].invalid_arguments)
    end)

    it("without a name are no calls", function()
      local err = peer:fails(stream(calls(fragment(0, "a", nil, "{}")), finish()))
      assert.equal("malformed_response", err.meta.reason)
      local reply = peer:ask(stream(calls(fragment(0, "a", nil, nil)), delta({}, "length"), DONE))
      assert.is_nil(reply.tool_calls)
    end)

    it("without an id get one, each its own", function()
      local list = gathered(fragment(0, nil, "f", "{}"), fragment(1, "", "f", "{}"))
      assert.matches("^call_", list[1].id)
      assert.matches("^call_", list[2].id)
      assert.not_equal(list[1].id, list[2].id)
    end)

    it("may have an object as arguments, and stop as reason", function()
      local reply = peer:ask(stream(calls(fragment(0, "a", "f", { x = { 1 } })), delta({}, "stop"), DONE))
      assert.same({ { id = "a", name = "f", arguments = { x = { 1 } } } }, reply.tool_calls)
      assert.equal("tool_calls", reply.finish_reason)
    end)

    it("keep numbers, null and empty lists as they are", function()
      local list = gathered(fragment(0, "a", "f", '{"n":9007199254740993,"f":1.0,"z":null,"l":[]}'))
      assert.equal('{"f":1.0,"l":[],"n":9007199254740993,"z":null}', json.encode(list[1].arguments))
    end)
  end)

  describe("answers that are no stream", function()
    local NO_STREAM <const> = { stream = false }

    it("give text, calls, usage", function()
      local message = { role = "assistant", content = "hi", tool_calls = {
        { id = "a", type = "function", ["function"] = { name = "f", arguments = '{"x":1}' } },
        { id = "b", type = "function", ["function"] = { name = "g", arguments = "" } },
      } }
      local usage = { prompt_tokens = 1, completion_tokens = 2, total_tokens = 3 }
      local reply, deltas = peer:ask(answer(message, "tool_calls", { usage = usage }), NO_STREAM)
      assert.same({}, deltas)
      assert.same({
        text = "hi", finish_reason = "tool_calls", response_id = "r2",
        tool_calls = {
          { id = "a", name = "f", arguments = { x = 1 } }, { id = "b", name = "g", arguments = {} },
        },
        usage = { input_tokens = 1, output_tokens = 2, total_tokens = 3 },
      }, reply)
    end)

    it("may have calls without ids", function()
      local call = { ["function"] = { name = "f", arguments = { x = 1 } } }
      local reply = peer:ask(answer({ content = "", tool_calls = { call, call } }, "tool_calls"), NO_STREAM)
      assert.equal(2, #reply.tool_calls)
      assert.same({ x = 1 }, reply.tool_calls[2].arguments)
      assert.not_equal(reply.tool_calls[1].id, reply.tool_calls[2].id)
    end)

    it("have no usage when it is null", function()
      assert.is_nil(peer:ask(answer({ content = "hi" }, "stop", { usage = json.null }), NO_STREAM).usage)
    end)

    it("may come though a stream was asked for, and the other way round", function()
      local reply, deltas = peer:ask(answer { content = "hi" })
      assert.equal("hi", reply.text)
      assert.same({ "hi" }, deltas)
      assert.equal("ab", peer:ask(stream(text "a", text("b", "stop"), DONE), NO_STREAM).text)
    end)

    for name, value in pairs {
      ["no JSON"] = "{malformed json: <<<", ["a list"] = "[]", ["no choices"] = { id = "x" },
      ["empty choices"] = { choices = json.array {} }, ["nothing"] = "",
    } do
      it("are malformed when they are " .. name, function()
        local err = peer:fails(body(value), NO_STREAM)
        assert.equal("MODEL_ERROR", err.code)
        assert.equal("malformed_response", err.meta.reason)
        assert.is_true(err.retriable)
      end)
    end

    it("are shown by their beginning, masked", function()
      local err = peer:fails(body("<html>sk-abcdef123456 " .. KEY .. (" x"):rep(500)), NO_STREAM)
      assert.matches('it begins with "<html>[redacted] [redacted] x x', err.message, 1, true)
      assert.is_true(#err.message < 400)
    end)
  end)

  describe("the end of a stream", function()
    it("may lack [DONE] and usage (llama.cpp closes without saying so)", function()
      assert.equal("ab", peer:ask(stream(text "a", text("b", "stop"))).text)
      assert.equal("ab", peer:ask(cut_stream(text "a", text("b", "stop"))).text)
    end)

    it("may be [DONE] alone", function()
      local reply = peer:ask(stream(text "a", DONE))
      assert.equal("a", reply.text)
      assert.equal("stop", reply.finish_reason)
    end)

    it("is not waited for when the server keeps the connection open", function()
      local started = core.now_ms()
      local steps = { { "send", SSE .. servers.chunk(text("a", "stop") .. DONE) }, { "stall" } }
      assert.equal("a", peer:ask(steps).text)
      assert.is_true(core.now_ms() - started < 1000)
      steps[1][2] = SSE .. servers.chunk(text("a", "stop"))
      assert.equal("a", peer:ask(steps).text)
      assert.is_true(core.now_ms() - started < 4000)
    end)

    it("is waited for: usage may come behind the finish reason", function()
      local reply = peer:ask { { "send", SSE .. servers.chunk(text("a", "stop")) }, { "wait", 150 },
        { "send", servers.chunk(openai.usage(1, 1) .. DONE) .. servers.chunk() } }
      assert.equal(2, reply.usage.total_tokens)
    end)

    it("leaves the connection for the next request", function()
      local steps = stream(text("a", "stop"), DONE)
      local p = peer:provider(steps)
      p:generate(request())
      local before = peer:get("/stats").connections
      for _ = 1, 5 do p:generate(request()) end
      assert.equal(before, peer:get("/stats").connections)
    end)

    it("is missing when the connection breaks: stream_truncated", function()
      local reset = { { "send", SSE .. servers.chunk(text "a") }, { "wait", 20 }, { "cut" } }
      local empty, empty_cut = { { "send", SSE .. servers.chunk() } }, { { "send", SSE }, { "end" } }
      for _, steps in ipairs { cut_stream(text "a"), stream(text "a"), reset, empty, empty_cut } do
        local err = peer:fails(steps)
        assert.equal("MODEL_ERROR", err.code)
        assert.equal("stream_truncated", err.meta.reason)
        assert.is_true(err.retriable)
      end
    end)

    it("is missing when a half call was all there is: the call is not made", function()
      local call = { index = 0, id = "a", ["function"] = { name = "f", arguments = '{"a":1}' } }
      local err = peer:fails(cut_stream(delta { tool_calls = { call } }))
      assert.equal("stream_truncated", err.meta.reason)
    end)

    it("comes after junk: malformed_response", function()
      local err = peer:fails(stream(text "a", data "{oops " .. KEY))
      assert.equal("malformed_response", err.meta.reason)
      assert.matches("{oops", err.message, 1, true)
      local page = "<html>hello</html>"
      local head = servers.head("Content-Type: text/html", "Content-Length: " .. #page)
      local html = peer:fails { { "send", head .. page } }
      assert.equal("malformed_response", html.meta.reason)
      assert.matches("text/html", html.message, 1, true)
    end)
  end)
end)
