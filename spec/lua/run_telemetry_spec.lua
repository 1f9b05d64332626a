--- lua/harness/run_telemetry.lua: the spans, metrics and log fields of a run. Reference C 4.4 to 4.11.

local clock = require "spec.support.clock"
local harness = require "harness"
local json = require "harness.json"
local recorder = require "harness.testing.recorder"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"
local wrapped = require "spec.support.wrapped_storage"

local drain = scripted.drain

local function call(name, arguments, id) return { name = name, arguments = arguments or {}, id = id } end

describe("the telemetry of a run", function()
  local opened = still(before_each, after_each)
  local heard

  before_each(function() heard = recorder.new() end)

  local function define(turns, over)
    over = over or {}
    over.definition = over.definition or {}
    over.definition.telemetry = over.definition.telemetry or { listener = heard }
    local h, model = scripted.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  -- "run > agent > chat, tool": the tree of spans in the order of their start.
  local function tree(parent, indent)
    local lines = {}
    for _, span in ipairs(heard.started) do
      if span.parent_span_id == parent then
        lines[#lines + 1] = (" "):rep(indent or 0) .. span.name
        local below = tree(span.span_id, (indent or 0) + 1)
        if below ~= "" then lines[#lines + 1] = below end
      end
    end
    return table.concat(lines, "\n")
  end

  local function has(span, attributes)
    for name, value in pairs(attributes) do
      assert.same(value, span.attributes[name], span.name .. " " .. name)
    end
  end

  it("is a tree: the run, the agent, its model calls and its tools", function()
    local h = define { { tool_calls = { call("echo", { text = "x" }), call "fails" } }, { text = "end" } }
    h:session().agents.helper:run "go"
    assert.equal(table.concat({
      "harness.session.agent_prompt",
      " invoke_agent helper",
      "  chat m",
      "  execute_tool echo",
      "  execute_tool fails",
      "  chat m",
    }, "\n"), tree(nil))
    assert.same({}, heard.unfinished())
    local trace = heard.spans[1].trace_id
    assert.matches("^%x+$", trace)
    for _, span in ipairs(heard.spans) do assert.equal(trace, span.trace_id) end
  end)

  it("has attributes that say whose it is (C 4.4 to 4.7)", function()
    local h = define({
      { tool_calls = { call("echo", { text = "x" }, "c1") },
        usage = { input_tokens = 11, output_tokens = 7 } },
      { text = "end", finish_reason = "length" },
    }, { agent = { description = "Helps." } })
    local session = h:session "s"
    session.agents.helper:run "go"
    local run_id = session:runs()[1].id
    for _, span in ipairs(heard.spans) do
      has(span, { ["harness.name"] = "spec", ["harness.session.id"] = "s", ["harness.run.id"] = run_id })
    end
    has(heard.span "harness.session.agent_prompt", { ["harness.agent.id"] = "helper" })
    has(heard.span "invoke_agent helper", {
      ["gen_ai.operation.name"] = "invoke_agent", ["gen_ai.agent.name"] = "helper",
      ["gen_ai.agent.id"] = "helper",
      ["harness.agent.id"] = "helper", ["harness.agent.model"] = "fast",
      ["gen_ai.agent.description"] = "Helps.",
    })
    local chats = heard.find_spans "chat m"
    has(chats[1], {
      ["gen_ai.operation.name"] = "chat", ["gen_ai.provider.name"] = "scripted",
      ["gen_ai.system"] = "scripted",
      ["gen_ai.request.model"] = "m", ["harness.model.alias"] = "fast",
      ["harness.model.method"] = "text_stream",
      ["gen_ai.usage.input_tokens"] = 11, ["gen_ai.usage.output_tokens"] = 7,
      ["gen_ai.response.finish_reasons"] = { "tool_calls" },
    })
    has(chats[2], { ["gen_ai.response.finish_reasons"] = { "length" } })
    has(heard.span "execute_tool echo", {
      ["gen_ai.operation.name"] = "execute_tool", ["gen_ai.tool.name"] = "echo",
      ["gen_ai.tool.call.id"] = "c1",
      ["harness.tool.id"] = "echo",
    })
  end)

  it("never has content: no prompts, outputs, arguments or results", function()
    local h = define({ { tool_calls = { call("echo", { text = "private one" }) } },
      { text = "private two" } },
      { agent = { instructions = "private three" },
        definition = { telemetry = { listener = heard, store_content = true } } })
    h:session().agents.helper:run "private four"
    assert.equal(5, #heard.spans)
    for _, list in ipairs { heard.spans, heard.metrics } do
      for _, item in ipairs(list) do
        assert.is_nil(json.encode(item.attributes):find("private", 1, true))
        for _, event in ipairs(item.events or {}) do
          assert.is_nil(json.encode(event.attributes):find("private", 1, true))
        end
      end
    end
  end)

  it("says which failed, and how", function()
    local h = define { { tool_calls = { call "fails" } }, { error = { status = 400, message = "bad" } } }
    pcall(function() h:session().agents.helper:run "go" end)
    local tool = heard.span "execute_tool fails"
    assert.same({ "error", "TOOL_ERROR" }, { tool.status.code, tool.attributes["error.type"] })
    local chats = heard.find_spans "chat m"
    assert.same({ "ok", "error" }, { chats[1].status.code, chats[2].status.code })
    for _, name in ipairs { "invoke_agent helper", "harness.session.agent_prompt" } do
      local span = heard.span(name)
      assert.equal("error", span.status.code)
      has(span, { ["error.type"] = "MODEL_ERROR", ["harness.error.code"] = "MODEL_ERROR",
        ["harness.error.category"] = "model", ["harness.error.retriable"] = false,
        ["harness.error.model_provider_status"] = 400 })
    end
    assert.equal(1, heard.sum("harness.run.errors", { ["error.type"] = "MODEL_ERROR" }))
  end)

  it("has one span for all attempts of a call, and one for each fallback", function()
    local up = harness.providers.scripted { { text = "up" } }
    local down = harness.providers.scripted(function()
      return { error = { status = 500, retry_after_ms = 1 } }
    end)
    local h = define({}, { tools = {}, definition = { models = {
      fast = { provider = down, model = "a", fallback = { "other" } }, other = { provider = up, model = "b" },
    } } })
    local stream = h:session().agents.helper:stream "go"
    clock.advance(100)
    assert.equal("up", stream:result())
    assert.equal("error", heard.span("chat a").status.code)
    assert.equal("ok", heard.span("chat b").status.code)
    assert.equal(3, #down.requests)
  end)

  it("is finished, every span of it, by a cancellation at any moment", function()
    for ms = 0, 60, 5 do
      heard.clear()
      local h = define {
        { delay_ms = 20, tool_calls = { call("slow", { ms = 20 }), call "stubborn" } },
        { delay_ms = 20, text = "end" },
      }
      local stream = h:session().agents.helper:stream "go"
      clock.advance(ms)
      stream:cancel()
      clock.advance(5000)
      drain(stream)
      assert.same({}, heard.unfinished(), "after " .. ms)
      assert.equal(1, #heard.find_spans "harness.session.agent_prompt")
      assert.equal("error", heard.span("harness.session.agent_prompt").status.code)
    end
  end)

  it("of runs that go on beside each other is not mixed", function()
    local h = define(function(_, n)
      if n <= 5 then return { delay_ms = n, tool_calls = { call("slow", { ms = 10 - n }) } } end
      return { text = "end" }
    end)
    local streams = {}
    for i = 1, 5 do streams[i] = h:session("s" .. i).agents.helper:stream "go" end
    clock.advance(100)
    for _, stream in ipairs(streams) do stream:result() end
    for _, root in ipairs(heard.find_spans "harness.session.agent_prompt") do
      local agent = heard.children(root)
      assert.same({ 1, "invoke_agent helper" }, { #agent, agent[1].name })
      local below = heard.children(agent[1])
      assert.equal(3, #below)
      for _, span in ipairs(below) do
        assert.equal(root.attributes["harness.session.id"], span.attributes["harness.session.id"])
        assert.equal(root.trace_id, span.trace_id)
      end
    end
  end)

  it("measures durations in seconds, and tokens by their kind (C 4.11)", function()
    local h = define { { delay_ms = 2500, text = "end", usage = { input_tokens = 30, output_tokens = 4 } } }
    local stream = h:session().agents.helper:stream "go"
    clock.advance(2500)
    stream:result()
    local duration = heard.find_metrics "gen_ai.client.operation.duration"
    assert.same({ 1, 2.5, "histogram", "s" },
      { #duration, duration[1].value, duration[1].kind, duration[1].unit })
    has({ name = "duration", attributes = duration[1].attributes }, {
      ["gen_ai.operation.name"] = "chat", ["gen_ai.provider.name"] = "scripted",
      ["gen_ai.request.model"] = "m",
    })
    assert.is_nil(duration[1].attributes["gen_ai.token.type"])
    assert.equal(30, heard.sum("gen_ai.client.token.usage", { ["gen_ai.token.type"] = "input" }))
    assert.equal(4, heard.sum("gen_ai.client.token.usage", { ["gen_ai.token.type"] = "output" }))
    local run = heard.find_metrics "harness.run.duration"
    assert.same({ 1, 2.5 }, { #run, run[1].value })
    assert.equal(0, heard.sum "harness.run.errors")
    assert.equal(2.5, heard.span("chat m").duration_ms / 1000)
    for _, metric in ipairs(heard.metrics) do assert.is_nil(metric.name:find "_ms$") end
  end)

  it("measures calls that fail, too, with what they failed of", function()
    local h = define { { error = { status = 400 } } }
    pcall(function() h:session().agents.helper:run "go" end)
    assert.equal(1, #heard.find_metrics("gen_ai.client.operation.duration",
      { ["error.type"] = "MODEL_ERROR" }))
    assert.equal(1, #heard.find_metrics("harness.run.duration", { ["error.type"] = "MODEL_ERROR" }))
    assert.same({}, heard.find_metrics "gen_ai.client.token.usage")
  end)

  it("counts ends that could not be stored", function()
    local storage = wrapped.new(function(method)
      if method == "finish_run" then harness.error("STATE_ERROR", "no disk", { op = method }) end
    end)
    local h = define({ { text = "ok" } }, { definition = { storage = storage } })
    local ok, err = pcall(function() h:session().agents.helper:run "go" end)
    assert.same({ false, "STATE_ERROR" }, { ok, err.code })
    assert.equal(1, heard.sum "harness.runs.terminalization_errors")
  end)

  it("gives handlers metrics that name the run, the agent and the tool", function()
    local tools = { it = { description = "x", input = harness.schema.object {}, run = function(ctx)
      ctx.metrics:counter("mine", 2, { extra = "y" })
      return ctx.metrics:duration("took", function() harness.sleep(500) return "slept" end)
    end } }
    local h = define({ { tool_calls = { call "it" } }, { text = "end" } }, { tools = tools })
    local session = h:session "s"
    local stream = session.agents.helper:stream "go"
    clock.advance(500)
    stream:result()
    local mine = heard.find_metrics "mine"
    assert.same({ 1, 2 }, { #mine, mine[1].value })
    has({ name = "mine", attributes = mine[1].attributes }, {
      ["harness.name"] = "spec", ["harness.session.id"] = "s", ["harness.run.id"] = stream.run_id,
      ["harness.agent.id"] = "helper", ["gen_ai.tool.name"] = "it", extra = "y",
    })
    assert.equal(0.5, heard.sum "took")
  end)

  it("gives the log lines of a run its ids, and those of its trace", function()
    local h = define { { error = { status = 400 } } }
    local bound
    local own = h.definition.logger.own
    local child = own.child
    function own:child(fields)
      bound = fields
      return child(self, fields)
    end
    local session = h:session "s"
    pcall(function() session.agents.helper:run "go" end)
    local span = heard.span "harness.session.agent_prompt"
    assert.same({ harness = "spec", session_id = "s", run_id = session:runs()[1].id, agent_id = "helper",
      trace_id = span.trace_id, span_id = span.span_id }, bound)
  end)

  it("has the names of one convention only, when that was asked for", function()
    local names = {}
    for _, flavor in ipairs { "dual", "gen_ai_only", "openinference_only" } do
      heard.clear()
      local h = define({ { text = "x" } },
        { definition = { telemetry = { listener = heard, flavor = flavor } } })
      h:session().agents.helper:run "go"
      names[flavor] = 0
      for name in pairs(heard.span("chat m").attributes) do
        if name:find "^gen_ai%." then names[flavor] = names[flavor] + 1 end
      end
    end
    assert.is_true(names.dual > 0)
    assert.same({ names.dual, 0 }, { names.gen_ai_only, names.openinference_only })
  end)

  it("harms no run when its listener raises", function()
    local broken = {}
    for _, hook in ipairs { "on_span_start", "on_span_end", "on_metric" } do
      broken[hook] = function() error "broken" end
    end
    local h = define({ { tool_calls = { call("echo", { text = "x" }) } }, { text = "ok" } },
      { definition = { telemetry = { listener = broken } } })
    assert.equal("ok", h:session().agents.helper:run "go")
    assert.is_true(h.telemetry.listener_errors > 5)
  end)

  it("that is off makes no span, no attribute and no metric", function()
    local h = define({ { tool_calls = { call("echo", { text = "x" }), call "fails" } },
      { error = { status = 400 } } },
      { definition = { telemetry = {} } })
    assert.is_false(h.telemetry.enabled)
    h.telemetry = setmetatable({ enabled = false }, { __index = function(_, name)
      error("telemetry is off, and was asked for " .. name)
    end })
    local stream = h:session().agents.helper:stream "go"
    local run = h.live_runs[stream.run_id]
    task.settle()
    local ok, err = pcall(stream.result, stream)
    assert.same({ false, "MODEL_ERROR" }, { ok, err.code })
    assert.is_nil(run.span)
    assert.is_nil(run.agent_span)
  end)
end)
