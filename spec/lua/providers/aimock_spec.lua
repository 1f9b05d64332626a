-- Whole agents against a double of the API that other people wrote.

local aimock = require "spec.support.aimock"
local core = require "harness.core"
local errors = require "harness.errors"
local harness = require "harness"
local http = require "harness.http"
local json = require "harness.json"
local logger = require "harness.logger"
local openai = require "spec.support.openai"
local task = require "harness.task"

local s = harness.schema
local KEY <const> = openai.KEY
local HELLO <const> = "Hello from a third-party double. Unicode: é 你好 \u{1F680} done."

local missing = aimock.missing()
if missing then
  describe("aimock", function()
    it("answers whole agents", function() pending(missing) end)
  end)
  return
end

describe("aimock", function()
  local double, bodies, real_request

  setup(function()
    double = aimock.start()
    double:add {
      { match = { userMessage = "look around", hasToolResult = false }, response = {
        content = "Wait.",
        toolCalls = {
          { id = "call_1", name = "run_command", arguments = { command = "ls -la", quote = 'a "b" \\ c' } },
          { id = "call_2", name = "read_file", arguments = { path = "notes/a.md", limit = 200 } },
        },
      } },
      { match = { userMessage = "look around", hasToolResult = true },
        response = { content = "All is well." } },
      { match = { userMessage = "no arguments", hasToolResult = false },
        response = { toolCalls = { { id = "call_0", name = "now", arguments = {} } } } },
      { match = { userMessage = "no arguments", hasToolResult = true },
        response = { content = "It is late." } },
      { match = { userMessage = "who is it" }, response = { content = '{"name":"Ann","age":null}' } },
      { match = { userMessage = "bad person" }, response = { content = '{"name":5}' } },
      { match = { userMessage = "required JSON Schema" }, response = { content = '{"name":6}' } },
    }
    real_request = http.request
    -- The bodies as they go out: aimock's journal has them decoded.
    http.request = function(options) -- luacheck: ignore 122
      if options.url:find "/chat/completions$" then bodies[#bodies + 1] = options.body end
      return real_request(options)
    end
  end)

  teardown(function()
    http.request = real_request -- luacheck: ignore 122
    double:close()
  end)

  before_each(function()
    bodies = {}
    double:reset()
  end)

  -- ---- a harness ----------------------------------------------------------------------------

  local inputs

  local function recording(result)
    return function(ctx, input)
      inputs[#inputs + 1] = { ctx.tool_id, ctx.call_id, input }
      return result
    end
  end

  local function define(options)
    inputs = {}
    options = options or {}
    local provider = harness.providers.openai {
      base_url = double.url .. "/v1", api_key = KEY, first_byte_timeout_ms = options.first_byte_timeout_ms,
    }
    return harness.define {
      models = { fast = { provider = provider, model = options.model or "gpt-4o" } },
      tools = {
        run_command = { description = "Runs a command.", run = recording "two files",
          input = s.object { command = s.string(), quote = s.string() } },
        read_file = { description = "Reads a file.", run = recording { text = "é", lines = 2 },
          input = s.object { path = s.string(), limit = s.integer() } },
        write_file = { description = "Writes a file.", run = recording "ok",
          input = s.object { path = s.string(), content = s.string() } },
        now = { description = "The time.", input = s.object {}, run = recording "12:00" },
      },
      agents = {
        helper = { model = "fast", instructions = "Be brief.", max_steps = options.max_steps,
          tools = { "run_command", "read_file", "write_file", "now" } },
        person = { model = "fast", instructions = "Answer.", structured_retry = 1,
          output = s.object { name = s.string(), age = s.integer():optional() } },
      },
      logger = logger.new { write = function() return true end },
    }
  end

  -- Runs the agent in a session of its own: output or nil, error or nil, events by type, all events.
  local function run(message, options)
    local h = define(options)
    local session = h:session()
    local by_type, all = {}, {}
    local stream = session.agents[options and options.agent or "helper"]:stream(message)
    local ok, err = pcall(function()
      for event in stream do
        all[#all + 1] = event
        by_type[event.type] = by_type[event.type] or {}
        table.insert(by_type[event.type], event)
      end
    end)
    local output = ok and stream:result() or nil
    h:shutdown()
    return output, not ok and err or nil, by_type, all
  end

  local function deltas(by_type, kind)
    local out = {}
    for i, event in ipairs(by_type[kind or "model.delta"] or {}) do out[i] = event.delta end
    return table.concat(out), #out
  end

  local function requests()
    local list = {}
    for _, entry in ipairs(double:journal()) do
      if entry.path == "/v1/chat/completions" then list[#list + 1] = entry end
    end
    return list
  end

  local function fails(message, options)
    local output, err, by_type = run(message, options)
    assert.is_nil(output)
    assert.is_true(errors.is(err), tostring(err))
    assert.is_nil(json.encode(err):find(KEY, 1, true))
    return err, by_type
  end

  -- ---- answers ------------------------------------------------------------------------------

  it("speaks: text, deltas of whole characters, usage", function()
    local output, _, by_type = run "say hello"
    assert.equal(HELLO, output)
    local text, count = deltas(by_type)
    assert.equal(HELLO, text)
    assert.is_true(count >= 1)
    local completed = by_type["model.completed"][1]
    assert.equal("stop", completed.finish_reason)
    assert.same({ input_tokens = 5, output_tokens = 14, total_tokens = 19 }, completed.usage)
  end)

  it("is sent the instructions, the message, the tools and the key", function()
    run "say hello"
    local entry = requests()[1]
    assert.same({ { role = "system", content = "Be brief." }, { role = "user", content = "say hello" } },
      entry.body.messages)
    local names = {}
    for i, tool in ipairs(entry.body.tools) do names[i] = tool["function"].name end
    assert.same({ "now", "read_file", "run_command", "write_file" }, names)
    assert.same({ "path", "limit" }, (function()
      local required = entry.body.tools[2]["function"].parameters.required
      table.sort(required, function(a, b) return a > b end)
      return required
    end)())
    assert.is_true(entry.body.stream)
    assert.equal("application/json", entry.headers["content-type"])
    assert.equal(#bodies[1], tonumber(entry.headers["content-length"]))
  end)

  it("calls two tools in one reply, and goes on with their results", function()
    local output, _, by_type = run "look around"
    assert.equal("All is well.", output)
    assert.equal("Wait.All is well.", (deltas(by_type)))
    table.sort(inputs, function(a, b) return a[2] < b[2] end)
    assert.same({ { "run_command", "call_1", { command = "ls -la", quote = 'a "b" \\ c' } },
      { "read_file", "call_2", { path = "notes/a.md", limit = 200 } } }, inputs)
    local second = requests()[2].body.messages
    assert.same({ "system", "user", "assistant", "tool", "tool" }, (function()
      local roles = {}
      for i, message in ipairs(second) do roles[i] = message.role end
      return roles
    end)())
    assert.equal("Wait.", second[3].content)
    for i = 1, 2 do
      assert.equal(second[3].tool_calls[i].id, second[3 + i].tool_call_id)
    end
    assert.same({ command = "ls -la", quote = 'a "b" \\ c' },
      json.decode(second[3].tool_calls[1]["function"].arguments))
    assert.equal("two files", second[4].content)
    assert.equal('{"lines":2,"text":"é"}', second[5].content)
  end)

  it("calls a tool without arguments", function()
    assert.equal("It is late.", (run "no arguments"))
    assert.same({ { "now", "call_0", {} } }, inputs)
    assert.equal("{}", requests()[2].body.messages[3].tool_calls[1]["function"].arguments)
    assert.equal(json.null, requests()[2].body.messages[3].content)
  end)

  it("calls for a tool that is not there: the model is told, its other call is run", function()
    local output, _, by_type = run "list files"
    assert.equal("There are two files.", output)
    assert.same({ { "read_file", "call_b", { path = "notes/a.md", limit = 200 } } }, inputs)
    assert.matches("TOOL_NOT_FOUND", requests()[2].body.messages[4].content, 1, true)
    assert.equal("call_a", requests()[2].body.messages[4].tool_call_id)
    assert.equal(2, #by_type["tool.finished"])
  end)

  it("has long arguments of a tool, with quotes and what is not ASCII", function()
    local err = fails("longtool", { max_steps = 1 })
    assert.equal("AGENT_LOOP_BUDGET_EXCEEDED", err.code)
    local content = 'line1\nline2\t"q" é\u{1F680}'
    assert.same({ { "write_file", "call_z", { path = "a.txt", content = content } } }, inputs)
  end)

  it("reasons before it speaks", function()
    local output, _, by_type = run("think hard", { model = "o3-mini" })
    assert.equal("Decided.", output)
    assert.equal("First I consider. Then I decide.", (deltas(by_type, "model.reasoning")))
    assert.equal("Decided.", (deltas(by_type)))
  end)

  it("gives a structured output", function()
    local output, _, by_type = run("who is it", { agent = "person" })
    assert.same({ name = "Ann" }, output)
    assert.same({ name = "Ann" }, by_type["model.object"][1].object)
    local format = requests()[1].body.response_format
    assert.equal("json_schema", format.type)
    assert.equal("person", format.json_schema.name)
    assert.is_true(format.json_schema.strict)
    assert.is_nil(requests()[1].body.stream)
  end)

  it("is shown a structured output that is wrong, once", function()
    local err = fails("bad person", { agent = "person" })
    assert.equal("VALIDATION_ERROR", err.code)
    assert.equal("agent_output", err.meta.where)
    local list = requests()
    assert.equal(2, #list)
    assert.equal('{"name":5}', list[2].body.messages[3].content)
    assert.equal("user", list[2].body.messages[4].role)
  end)

  it("speaks slowly: each piece comes when it is said", function()
    local h = define()
    local first, last
    for event in h:session().agents.helper:stream "slow" do
      if event.type == "model.delta" then
        first = first or core.now_ms()
        last = core.now_ms()
      end
    end
    h:shutdown()
    assert.is_true(last - first >= 100, ("%d ms"):format(last - first))
  end)

  it("serves many at once", function()
    local h = define()
    local work = {}
    for i = 1, 30 do
      work[i] = function() return h:session("s" .. i).agents.helper:run "look around" end
    end
    for _, output in ipairs(harness.all(work)) do assert.equal("All is well.", output) end
    assert.equal(60, #requests())
    assert.equal(60, #inputs)
    h:shutdown()
  end)

  -- ---- conversations ------------------------------------------------------------------------

  it("is sent byte-stable conversations, each result beside its call", function()
    local h = define()
    local session = h:session()
    for _, message in ipairs { "say hello", "look around", "say hello", "no arguments", "say hello" } do
      session.agents.helper:run(message)
    end
    h:shutdown()
    local list = requests()
    assert.equal(7, #list)
    assert.equal(7, #bodies)
    for i, body in ipairs(bodies) do
      local sent = json.decode(body)
      assert.equal(#body, tonumber(list[i].headers["content-length"]))
      assert.same(sent.messages, list[i].body.messages)
      if i > 1 then
        local before = bodies[i - 1]
        assert.equal(before:sub(1, -3) .. ",", body:sub(1, #before - 1))
      end
      local open = {}
      for _, message in ipairs(sent.messages) do
        for _, call in ipairs(message.tool_calls or {}) do open[call.id] = true end
        if message.role == "tool" then
          assert.is_true(open[message.tool_call_id])
          open[message.tool_call_id] = nil
        else
          assert.is_true(message.tool_calls ~= nil or next(open) == nil)
        end
      end
      assert.is_nil(next(open))
    end
    local last = list[7].body.messages
    assert.equal("say hello", last[#last].content)
    assert.equal(HELLO, last[3].content)
  end)

  -- ---- mistakes -----------------------------------------------------------------------------

  it("refuses a key: told once, with what to do, and without the key", function()
    local err, by_type = fails "e401"
    assert.equal("MODEL_ERROR", err.code)
    assert.equal(401, err.meta.status)
    assert.equal("invalid_api_key", err.meta.provider_code)
    assert.matches("HTTP 401, invalid_api_key, invalid_request_error", err.message, 1, true)
    assert.matches("option api_key", err.message, 1, true)
    assert.is_string(err.meta.provider_request_id)
    assert.equal(1, #requests())
    assert.is_nil(by_type["model.retry"])
    assert.equal(1, #by_type["model.failed"])
  end)

  it("says slow down: asked again after the time it names", function()
    double:fail_once(429, { message = "slow down", type = "rate_limit_error", code = "rate_limit_exceeded" })
    local started = core.now_ms()
    local output, _, by_type = run "say hello"
    assert.equal(HELLO, output)
    local took = core.now_ms() - started
    assert.is_true(took >= 1000 and took < 2000, ("%d ms"):format(took))
    local retry = by_type["model.retry"][1]
    assert.equal(1000, retry.delay_ms)
    assert.equal(429, retry.error.meta.status)
    assert.equal(2, #requests())
    assert.equal(bodies[1], bodies[2])
  end)

  it("fails once: asked again", function()
    double:fail_once(500)
    local output, _, by_type = run "say hello"
    assert.equal(HELLO, output)
    assert.equal(1, #by_type["model.retry"])
    assert.equal(1, #by_type["model.started"])
  end)

  for _, case in ipairs { { "e500", 500, "server_error" }, { "e529", 529, "overloaded_error" } } do
    it(("fails for ever (%s): three attempts, then its error"):format(case[1]), function()
      local err, by_type = fails(case[1])
      assert.equal(case[2], err.meta.status)
      assert.equal(case[3], err.meta.provider_type)
      assert.equal(2, #by_type["model.retry"])
      assert.equal(3, #requests())
    end)
  end

  for _, case in ipairs { { "malformed", "malformed_response" }, { "dropped", "network" } } do
    it(("answers with nothing of use (%s): three attempts"):format(case[1]), function()
      local err, by_type = fails(case[1])
      assert.equal("MODEL_ERROR", err.code)
      assert.equal(case[2], err.meta.reason)
      assert.equal(2, #by_type["model.retry"])
    end)
  end

  for _, name in ipairs { "cut chunks", "cut time" } do
    it(("breaks off in the middle (%s): what was said is not asked for again"):format(name), function()
      local err, by_type = fails(name)
      assert.equal("MODEL_ERROR", err.code)
      assert.equal("stream_truncated", err.meta.reason)
      assert.equal("This answer ", (deltas(by_type)):sub(1, 12))
      assert.is_nil(by_type["model.retry"])
      assert.equal(1, #requests())
    end)
  end

  it("is silent for too long: a timeout of the model, three attempts", function()
    double:chaos { latencyMs = 2000 }
    local err, by_type = fails("say hello", { first_byte_timeout_ms = 60 })
    assert.equal("OPERATION_TIMEOUT", err.code)
    assert.equal("model", err.meta.scope)
    assert.equal("first_byte", err.meta.phase)
    assert.equal(2, #by_type["model.retry"])
  end)

  -- ---- stopping -----------------------------------------------------------------------------

  it("is stopped in the middle: at once, seen by the server, nothing left open", function()
    local h = define()
    local session = h:session()
    session.agents.helper:run "say hello"
    local before, cut_off = openai.open_things(), double:cut_off()
    local stream = session.agents.helper:stream "slow"
    local stopped_ms, last
    local ok, err = pcall(function()
      for event in stream do
        last = event
        if event.type == "model.delta" and not stopped_ms then
          stopped_ms = core.now_ms()
          stream:cancel "enough"
        end
      end
    end)
    local took = core.now_ms() - stopped_ms
    assert.is_false(ok)
    assert.equal("OPERATION_CANCELLED", err.code)
    assert.equal("run.finished", last.type)
    assert.equal("cancelled", last.status)
    assert.is_true(took <= 50, ("%d ms"):format(took))
    openai.check_nothing_open(before)
    for _ = 1, 50 do
      if double:cut_off() > cut_off then break end
      task.sleep(10)
    end
    assert.equal(cut_off + 1, double:cut_off())
    assert.equal(HELLO, session.agents.helper:run "say hello")
    h:shutdown()
  end)

  it("is stopped while it waits for its next attempt", function()
    double:fail_once(429)
    local h = define()
    local stream = h:session().agents.helper:stream "say hello"
    local started
    local ok = pcall(function()
      for event in stream do
        if event.type == "model.retry" then
          started = core.now_ms()
          stream:cancel()
        end
      end
    end)
    assert.is_false(ok)
    assert.is_true(core.now_ms() - started <= 50)
    assert.equal(1, #requests())
    h:shutdown()
  end)
end)
