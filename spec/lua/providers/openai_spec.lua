local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local openai = require "spec.support.openai"
local schema = require "harness.schema"
local servers = require "spec.support.server"
local task = require "harness.task"

local SSE <const> = openai.SSE
local DONE <const> = openai.DONE
local data = openai.data
local text = openai.text
local stream = openai.stream
local cut_stream = openai.cut_stream
local body = openai.body
local answer = openai.answer
local request = openai.request

describe("openai", function()
  local peer

  setup(function() peer = openai.start() end)
  teardown(function() peer:close() end)

  describe("structured output", function()
    local person = schema.object { name = schema.string(), age = schema.integer():optional() }
    local OBJECT <const> = { stream = false, method = "object", schema = person, schema_name = "person" }

    it("is decoded", function()
      local reply = peer:ask(answer { content = '{"name":"a","age":null}' }, OBJECT)
      assert.same({ name = "a" }, reply.object)
      assert.equal('{"name":"a","age":null}', reply.text)
    end)

    it("may come in a code block", function()
      assert.same({ name = "a" }, peer:ask(answer { content = '```json\n{"name":"a"}\n```\n' },
        OBJECT).object)
    end)

    it("stays text when it is no JSON", function()
      local reply = peer:ask(answer { content = "I would say a." }, OBJECT)
      assert.is_nil(reply.object)
      assert.equal("I would say a.", reply.text)
    end)

    it("may be streamed", function()
      local reply, deltas = peer:ask(stream(text '{"na', text('me":"a"}', "stop"), DONE),
        { method = "object_stream", schema = person })
      assert.same({ '{"na', 'me":"a"}' }, deltas)
      assert.same({ name = "a" }, reply.object)
    end)

    it("waits for tools that are called first", function()
      local reply = peer:ask(answer({ content = json.null, tool_calls = {
        { id = "a", ["function"] = { name = "f", arguments = "{}" } } } }, "tool_calls"), OBJECT)
      assert.is_nil(reply.object)
      assert.equal(1, #reply.tool_calls)
    end)

    it("is taken out of its wrapping", function()
      local list = { stream = false, method = "object", schema = schema.array(schema.integer()) }
      assert.same({ 1, 2 }, peer:ask(answer { content = '{"value":[1,2]}' }, list).object)
    end)

    it("by a forced call is the output and no call", function()
      local forced = { stream = false, method = "tool_use", schema = person, schema_name = "person" }
      local function calling(...)
        local calls = {}
        for i, call in ipairs { ... } do
          calls[i] = { id = "c" .. i, ["function"] = { name = call[1], arguments = call[2] } }
        end
        return peer:ask(answer({ content = json.null, tool_calls = calls }, "tool_calls"), forced)
      end
      local reply = calling { "person", '{"name":"a","age":null}' }
      assert.same({ name = "a" }, reply.object)
      assert.is_nil(reply.tool_calls)
      assert.equal("stop", reply.finish_reason)
      local broken = calling { "person", '{"name":' }
      assert.is_nil(broken.object)
      assert.equal('{"name":', broken.text)
      local both = calling({ "person", '{"name":"a"}' }, { "f", "{}" })
      assert.is_nil(both.object)
      assert.equal("f", both.tool_calls[1].name)
      assert.equal(1, #both.tool_calls)
    end)
  end)

  describe("embeddings", function()
    local function embed(steps, input)
      return peer:provider(steps):embed { model = "e", input = input or { "a", "b" } }
    end

    it("come in the order of the inputs", function()
      assert.same({ embeddings = { { index = 1, vector = { 1, 0.5 } }, { index = 2, vector = { 2 } } },
        usage = { input_tokens = 3, output_tokens = 0, total_tokens = 3 } },
        embed(body { data = { { index = 1, embedding = { 2 } }, { index = 0, embedding = { 1, 0.5 } } },
          usage = { prompt_tokens = 3, total_tokens = 3 } }))
    end)

    it("of one text are one", function()
      assert.equal(1, #embed(body { data = { { index = 0, embedding = { 1 } } } }, "a").embeddings)
    end)

    for name, case in pairs {
      ["too few"] = { body { data = { { index = 0, embedding = { 1 } } } }, "embedding_count_mismatch" },
      ["one twice"] = { body { data = { { index = 0, embedding = {} }, { index = 0, embedding = {} } } },
        "embedding_count_mismatch" },
      ["none"] = { body { object = "list" }, "malformed_response" },
      ["junk"] = { body "junk", "malformed_response" },
      ["an error"] = { body { error = { message = "no", code = 404 } }, "http_error" },
      ["a refusal"] = { body({ error = { message = "no" } }, "HTTP/1.1 404 No"), "http_error" },
    } do
      it("are an error when there is " .. name, function()
        local ok, err = pcall(embed, case[1])
        assert.is_false(ok)
        assert.equal("MODEL_ERROR", err.code)
        assert.equal(case[2], err.meta.reason)
        assert.equal("embed", err.meta.method)
      end)
    end
  end)

  describe("stopping", function()
    for name, steps in pairs {
      before_the_answer = { { "stall" } },
      inside_of_the_stream = { { "send", SSE .. servers.chunk(text "a") }, { "stall" } },
      behind_the_finish_reason = { { "send", SSE .. servers.chunk(text("a", "stop")) }, { "stall" } },
    } do
      it("closes the connection at once, " .. name, function()
        peer:get "/stats" -- has the connection of our own questions open
        local before = openai.open_things()
        local p = peer:provider(steps, { headers = { ["x-id"] = name } })
        local child = task.spawn(function() p:generate(request()) end)
        task.sleep(100)
        local started = core.now_ms()
        child:cancel "enough"
        local ok, err = pcall(child.await, child)
        assert.is_false(ok)
        assert.is_true(errors.is(err, "OPERATION_CANCELLED"), tostring(err))
        assert.equal("closed", peer:get("/closed?" .. name))
        assert.is_true(core.now_ms() - started < 200)
        openai.check_nothing_open(before)
      end)
    end

    it("by a deadline of the caller is that deadline's error", function()
      local p = peer:provider { { "stall" } }
      local ok, err = task.deadline(50, "run", p.generate, p, request())
      assert.is_false(ok)
      assert.equal("OPERATION_TIMEOUT", err.code)
      assert.equal("run", err.meta.scope)
    end)

    it("leaves nothing open after errors", function()
      peer:get "/stats"
      local before = openai.open_things()
      peer:fails(cut_stream(text "a"))
      peer:fails(stream(data "{"))
      peer:fails(body("no", "HTTP/1.1 500 X"))
      peer:fails({ { "stall" } }, nil, { first_byte_timeout_ms = 30 })
      collectgarbage()
      openai.check_nothing_open(before)
    end)
  end)

  -- ---- recorded answers ---------------------------------------------------------------------

  -- What aimock 1.43.0 answered to a stream request of curl -i, with curl's exit code behind it.
  describe("recorded answers", function()
    local function recorded(name)
      local file = assert(io.open(("spec/fixtures/aimock/openai-chat.%s.txt"):format(name), "rb"))
      local bytes = file:read "a"
      file:close()
      local rest, code = bytes:match "^(.*)rc=(%d+)\n$"
      rest = rest:gsub("curl: %(%d+%) [^\n]*\n$", "")
      local head, content = rest:match "^(.-\r\n)\r\n(.*)$"
      return head, content, tonumber(code)
    end

    -- The same answer again, in pieces; it ends as it ended then.
    local function replay(name)
      local head, content, code = recorded(name)
      if not head then return { { "end" } } end
      local steps, at = { { "send", head .. "\r\n" } }, 1
      while at <= #content do
        local n = math.random(1, 200)
        steps[#steps + 1] = { "send", servers.chunk(content:sub(at, at + n - 1)) }
        at = at + n
      end
      steps[#steps + 1] = code == 0 and { "send", servers.chunk() } or { "end" }
      return steps
    end

    it("give the same text, calls and usage", function()
      local function usage(input, output)
        return { input_tokens = input, output_tokens = output, total_tokens = input + output }
      end
      local function check(name, expected)
        local reply, deltas = peer:ask(replay(name))
        assert.matches("^chatcmpl%-", reply.response_id)
        reply.response_id = nil
        assert.same(expected, reply)
        assert.equal(expected.text, table.concat(deltas))
      end
      check("text", { text = "Hello from a third-party double. Unicode: é 你好 \u{1F680} done.",
        finish_reason = "stop", usage = usage(3, 14) })
      check("reasoning", { text = "Decided.", finish_reason = "stop", usage = usage(3, 2) })
      check("slow", { text = "slow and steady wins the race, one token at a time", finish_reason = "stop",
        usage = usage(1, 13) })
      check("tools", { text = "Let me look.", finish_reason = "tool_calls", usage = usage(3, 30),
        tool_calls = {
        { id = "call_a", name = "bash",
          arguments = { command = 'ls -la /workspace && echo "quoted \\\\ text"' } },
        { id = "call_b", name = "read_file", arguments = { path = "notes/a.md", limit = 200 } },
      } })
      check("longtool", { text = "", finish_reason = "tool_calls", usage = usage(2, 16), tool_calls = {
        { id = "call_z", name = "write_file",
          arguments = { path = "a.txt", content = 'line1\nline2\t"q" é\u{1F680}' } },
      } })
    end)

    for _, case in ipairs {
      { "e401", "http_error", 401, "invalid_api_key" }, { "e429", "http_error", 429, "rate_limit_exceeded" },
      { "e500", "http_error", 500 }, { "e529", "http_error", 529 },
      { "unmatched", "http_error", 503, "no_fixture_match" }, { "malformed", "malformed_response" },
      { "dropped", "network" }, { "truncated", "stream_truncated" }, { "disconnect-ms", "stream_truncated" },
    } do
      it("are the same errors: " .. case[1], function()
        local err = peer:fails(replay(case[1]))
        assert.equal("MODEL_ERROR", err.code)
        assert.equal(case[2], err.meta.reason)
        assert.equal(case[3], err.meta.status)
        assert.equal(case[4], err.meta.provider_code)
        assert.equal(case[1] == "e429" and 2000 or nil, err.meta.retry_after_ms)
      end)
    end
  end)
end)
