--- lua/harness/run_telemetry.lua: the spans of a workflow, its agents and the models that it asks itself.
--- Reference C 4.4. Those of agents' runs are in run_telemetry_spec.

local clock = require "spec.support.clock"
local harness = require "harness"
local recorder = require "harness.testing.recorder"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"

describe("the telemetry of a workflow", function()
  still(before_each, after_each)
  local heard

  before_each(function() heard = recorder.new() end)

  local function answer(request)
    local last = request.messages[#request.messages]
    if last.content == "tool" then return { tool_calls = { { name = "echo", arguments = { text = "x" } } } } end
    if last.content == "wait" then return { delay_ms = 1000, text = "late" } end
    if last.content == "fail" then return { error = { status = 400 } } end
    return { text = "end" }
  end

  local function run(handler, options)
    local h = scripted.harness(answer, { definition = {
      telemetry = { listener = heard },
      agents = {
        writer = { model = "fast", instructions = "x", tools = { "echo" } },
        own = { model = "fast", run = function(ctx, input) return ctx.models.fast:text({ prompt = input }).text end },
      },
      workflows = { flow = { run = handler } },
    } })
    local stream = h:session("s").workflows.flow:stream(nil, options)
    clock.advance(5000)
    local ok, result = pcall(stream.result, stream)
    h:shutdown()
    return ok, result, stream
  end

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

  it("has an end for the span of each model call, also when its task is ended by force", function()
    run(function(ctx)
      while true do pcall(ctx.models.fast.text, ctx.models.fast, { prompt = "wait" }) end
    end, { timeout_ms = 10 })
    assert.is_true(#heard.started > 2)
    assert.same({}, heard.unfinished())
  end)

  it("is a tree: the run, the handler, the agents, their models and tools", function()
    assert.is_true((run(function(ctx)
      ctx.agents.writer:run "tool"
      ctx.agents.own:run "hi"
      ctx.models.fast:text { prompt = "direct" }
    end)))
    assert.equal(table.concat({
      "harness.session.prompt",
      " harness.workflow.run",
      "  invoke_agent writer",
      "   chat m",
      "   execute_tool echo",
      "   chat m",
      "  invoke_agent own",
      "   chat m",
      "  chat m",
    }, "\n"), tree(nil))
    assert.same({}, heard.unfinished())
  end)

  it("has the workflow on each of its spans, and the agent where there is one", function()
    local _, _, stream = run(function(ctx)
      ctx.metrics:counter("mine", 1)
      ctx.agents.writer:run "tool"
      ctx.models.fast:text { prompt = "direct" }
    end)
    local agents = {}
    for i, span in ipairs(heard.started) do
      assert.same({ "flow", "s", stream.run_id }, { span.attributes["harness.workflow.id"],
        span.attributes["harness.session.id"], span.attributes["harness.run.id"] })
      agents[i] = span.attributes["harness.agent.id"] or "-"
    end
    assert.same({ "-", "-", "writer", "writer", "writer", "writer", "-" }, agents)
    assert.is_nil(heard.span("invoke_agent writer").attributes["harness.agent.has_handler"])
    assert.equal("flow", heard.find_metrics("mine")[1].attributes["harness.workflow.id"])
  end)

  it("has the plain metadata of the run, without secrets (TEL-05)", function()
    run(function() end, { metadata = {
      user = "u1", n = 2.5, yes = true, ["bad key"] = 1, list = { 1 }, long = ("x"):rep(257), api_key = "k",
    } })
    for _, name in ipairs { "harness.session.prompt", "harness.workflow.run" } do
      local attributes, found = heard.span(name).attributes, {}
      for key, value in pairs(attributes) do
        local short = key:match "^harness%.metadata%.(.*)"
        if short then found[short] = value end
      end
      assert.same({ user = "u1", n = 2.5, yes = true, api_key = "[redacted]" }, found)
    end
  end)

  it("says where it failed, and is finished whatever ends it", function()
    run(function(ctx)
      pcall(ctx.agents.own.run, ctx.agents.own, "fail")
      return "went on"
    end)
    assert.same({ "error", "ok", "ok" }, { heard.span("invoke_agent own").status.code,
      heard.span("harness.workflow.run").status.code, heard.span("harness.session.prompt").status.code })
    heard.clear()
    local ok = run(function(ctx)
      return harness.all {
        function() return ctx.agents.writer:run "wait" end, function() return ctx.agents.own:run "wait" end,
        function() return ctx.models.fast:text { prompt = "wait" } end,
      }
    end, { timeout_ms = 20 })
    assert.is_false(ok)
    assert.same({}, heard.unfinished())
    for _, name in ipairs { "harness.session.prompt", "harness.workflow.run", "invoke_agent writer" } do
      assert.equal("OPERATION_TIMEOUT", heard.span(name).attributes["error.type"])
    end
  end)
end)
