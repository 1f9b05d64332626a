-- Workflows: contexts, nested agents, what is kept, how they end (design 03; reference A 6, B 8).

local clock = require "spec.support.clock"
local errors = require "harness.errors"
local failure = require("spec.support.failure").any
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"

local s = harness.schema
local of, drain = scripted.of, scripted.drain

-- A model that answers each agent by the last thing that it was told: "text", or a turn.
local function parrot(request)
  local last = request.messages[#request.messages].content
  local ms = last:match "^wait (%d+)"
  if ms then return { delay_ms = tonumber(ms), text = "waited" } end
  if last:find "^fail" then return { error = { status = 400, message = "no" } } end
  if last:find "^tool" and request.messages[#request.messages].role ~= "tool" then
    return { tool_calls = { { name = "echo", arguments = { text = "x" } } } }
  end
  return { text = "<" .. last .. ">", usage = { input_tokens = 1, output_tokens = 2 } }
end

local function define(run, over)
  over = over or {}
  local definition = {
    workflows = { flow = { run = run, input = over.input, output = over.output } },
    agents = {
      writer = { model = "fast", instructions = "Write.", tools = { "echo" } },
      checker = { model = "fast", instructions = "Check." },
    },
  }
  for key, value in pairs(over.definition or {}) do definition[key] = value end
  return scripted.harness(over.turns or parrot, { definition = definition })
end

local function run_it(run, input, over, options)
  local h, model = define(run, over)
  local session = h:session "s"
  local stream = session.workflows.flow:stream(input, options)
  local reader = harness.spawn(function() return { drain(stream) } end)
  clock.advance(1000)
  local read = reader:await()
  return read[1], read[2], session, model
end

describe("a workflow", function()
  still(before_each, after_each)

  it("gets its input and its context, and its result is the run's", function()
    local seen
    local h = define(function(ctx, input)
      seen = {
        input = input, same = rawequal(ctx.input, input), run_id = ctx.run_id, session_id = ctx.session_id,
        workflow_id = ctx.workflow_id, metadata = ctx.metadata, aborted = ctx.signal.aborted,
        reason = ctx:abort_reason(), logger = type(ctx.logger.info), metrics = ctx.metrics ~= nil,
      }
      return { ok = true, list = harness.array {} }
    end)
    local session = h:session "s"
    local output = session.workflows.flow:run({ n = 1 }, { metadata = { k = "v" } })
    assert.same({ ok = true, list = {} }, output)
    local record = session:runs()[1]
    assert.same({ n = 1 }, seen.input)
    assert.is_true(seen.same)
    assert.same({ record.id, "s", "flow", { k = "v" }, false, nil },
      { seen.run_id, seen.session_id, seen.workflow_id, seen.metadata, seen.aborted, seen.reason })
    assert.same({ "workflow", "flow", "succeeded" }, { record.kind, record.target, record.status })
    assert.same({ ok = true, list = {} }, record.output)
    assert.equal("function", seen.logger)
  end)

  it("without schemas takes and gives anything; with them both are checked", function()
    assert.is_nil(define(function() end):session().workflows.flow:run())
    local over = { input = s.object { n = s.integer():default(3) }, output = s.string() }
    local h = define(function(_, input) return input.n == 3 and "three" or 7 end, over)
    local session = h:session "s"
    assert.equal("three", session.workflows.flow:run {})
    local err = failure(session.workflows.flow.run, session.workflows.flow, { n = "x" })
    assert.same({ "VALIDATION_ERROR", "workflow_input", "flow" }, { err.code, err.meta.where, err.meta.workflow_id })
    err = failure(session.workflows.flow.run, session.workflows.flow, { n = 4 })
    assert.same({ "VALIDATION_ERROR", "workflow_output" }, { err.code, err.meta.where })
    assert.same({ "failed", "failed", "succeeded" },
      { session:runs()[1].status, session:runs()[2].status, session:runs()[3].status })
  end)

  it("keeps a copy of its input: the handler may change its own", function()
    local given = { list = { 1 } }
    local h = define(function(ctx, input)
      input.list[1] = 2
      ctx.input.list[2] = 3
      return input
    end)
    assert.same({ list = { 2, 3 } }, h:session().workflows.flow:run(given))
    assert.same({ list = { 1 } }, given)
  end)

  it("runs agents, each with its own invocation, and keeps their turns", function()
    local events, err, session = run_it(function(ctx)
      local a = ctx.agents.writer:run "tool one"
      local b = ctx.agents.checker:run(a)
      return b
    end)
    assert.is_nil(err)
    assert.equal("run.started agent.started model.started model.completed tool.started tool.finished model.started "
      .. "model.delta model.completed agent.finished agent.started model.started model.delta model.completed "
      .. "agent.finished run.finished", scripted.types(events))
    local started = of(events, "agent.started")
    assert.same({ "writer", "checker" }, { started[1].agent_id, started[2].agent_id })
    assert.not_equal(started[1].invocation_id, started[2].invocation_id)
    for i, event in ipairs(events) do
      assert.equal(i, event.seq)
      if event.type:find "^model" or event.type:find "^tool" then
        assert.equal(i < 11 and started[1].invocation_id or started[2].invocation_id, event.invocation_id)
      end
    end
    local said = {}
    for i, message in ipairs(session.history:list()) do said[i] = message.role .. " " .. message.content end
    assert.same({ "user tool one", "assistant ", "tool x", "assistant <x>", "user <x>", "assistant <<x>>" }, said)
    assert.equal("<<x>>", events[#events].output)
    local summary = session:run_summary(session:runs()[1].id)
    assert.same({ 2, 3, 1 }, { summary.agent_calls, summary.model_calls, summary.tool_calls })
    assert.same({ input_tokens = 2, output_tokens = 4, total_tokens = 6 }, summary.token_totals)
  end)

  it("shows an agent what earlier ones of the same run have said (WF-3)", function()
    local _, _, session, model = run_it(function(ctx)
      ctx.agents.writer:run "one"
      return ctx.agents.checker:run "two"
    end)
    local messages = model.requests[2].messages
    assert.same({ "Check.", "one", "<one>", "two" },
      { messages[1].content, messages[2].content, messages[3].content, messages[4].content })
    assert.equal(4, #session.history:list())
    session.workflows.flow:run()
    assert.equal(8, #session.history:list())
    assert.equal(6, #model.requests[3].messages)
  end)

  it("keeps only the turns of agents that succeeded, and none when the run fails (D1)", function()
    local _, err, session = run_it(function(ctx)
      local ok, why = pcall(ctx.agents.writer.run, ctx.agents.writer, "fail")
      assert(not ok and errors.is(why, "MODEL_ERROR"))
      return ctx.agents.writer:run "ok"
    end)
    assert.is_nil(err)
    assert.equal(2, #session.history:list())
    local _, failed, other = run_it(function(ctx)
      ctx.agents.writer:run "ok"
      error "broken"
    end)
    assert.matches("broken", failed)
    assert.same({}, other.history:list())
  end)

  it("may go on after an agent has failed; the agent's end tells of it", function()
    local events, err = run_it(function(ctx)
      local ok, why = pcall(ctx.agents.writer.run, ctx.agents.writer, "fail")
      return { ok, why.code }
    end)
    assert.is_nil(err)
    assert.same({ false, "MODEL_ERROR" }, events[#events].output)
    assert.equal("MODEL_ERROR", of(events, "agent.finished")[1].error.code)
  end)

  it("raises the handler's error itself", function()
    local mine = setmetatable({}, { __tostring = function() return "mine" end })
    local h = define(function() error(mine) end)
    local session = h:session "s"
    assert.is_true(rawequal(mine, failure(session.workflows.flow.run, session.workflows.flow)))
    assert.equal("INTERNAL_ERROR", session:runs()[1].error.code)
    local own = harness.new_error("MY_ERROR", "x")
    h = define(function() error(own) end)
    session = h:session "s"
    assert.is_true(rawequal(own, failure(session.workflows.flow.run, session.workflows.flow)))
  end)

  it("refuses an output that cannot be kept, and shows one end", function()
    local events, err = run_it(function() return { print } end)
    assert.same({ "VALIDATION_ERROR", "workflow_output", "flow" }, { err.code, err.meta.where, err.meta.workflow_id })
    assert.matches("$[1]: found a function", err.message, 1, true)
    assert.equal(1, #of(events, "run.finished"))
    assert.equal("failed", events[#events].status)
  end)

  describe("with agents side by side", function()
    it("tells their events apart, and keeps whole turns in the order of their ends", function()
      local events, err, session = run_it(function(ctx)
        return harness.all {
          slow = function() return ctx.agents.writer:run "wait 30" end,
          quick = function() return ctx.agents.writer:run "wait 10" end,
          tool = function() return ctx.agents.writer:run "tool" end,
        }
      end, nil, nil)
      assert.is_nil(err)
      assert.is_nil(events[#events].error)
      local by = {}
      for _, event in ipairs(events) do
        if event.invocation_id then
          by[event.invocation_id] = (by[event.invocation_id] or "") .. " " .. event.type
        end
      end
      local kinds = {}
      for _, types in pairs(by) do kinds[#kinds + 1] = types end
      assert.equal(3, #kinds)
      for _, types in ipairs(kinds) do
        assert.matches("^ agent.started model.started", types)
        assert.matches("agent.finished$", types)
      end
      local roles = {}
      for i, message in ipairs(session.history:list()) do roles[i] = message.role end
      assert.same({ "user", "assistant", "tool", "assistant", "user", "assistant", "user", "assistant" }, roles)
      assert.same({ slow = "waited", quick = "waited", tool = "<x>" }, events[#events].output)
    end)

    it("cancels and joins the others when one fails", function()
      local events, err = run_it(function(ctx)
        return harness.all {
          function() return ctx.agents.writer:run "wait 60000" end,
          function() return ctx.agents.checker:run "fail" end,
        }
      end)
      assert.equal("MODEL_ERROR", err.code)
      local ends = of(events, "agent.finished")
      assert.equal(2, #ends)
      local codes = { ends[1].error.code, ends[2].error.code }
      table.sort(codes)
      assert.same({ "MODEL_ERROR", "OPERATION_CANCELLED" }, codes)
      assert.equal("failed", events[#events].status)
    end)

    it("runs a bounded number at once with map", function()
      local running, most = 0, 0
      local h = define(function(ctx, input)
        return harness.map(input, function(item)
          running = running + 1
          most = math.max(most, running)
          local out = ctx.agents.writer:run("wait " .. item)
          running = running - 1
          return out
        end, { max_parallel = 2 })
      end)
      local session = h:session "s"
      local t = harness.spawn(function() return session.workflows.flow:run { 5, 6, 7, 8 } end)
      clock.advance(100)
      assert.same({ "waited", "waited", "waited", "waited" }, t:await())
      assert.equal(2, most)
    end)
  end)

  describe("its nested agents", function()
    it("are known by name; another one is AGENT_NOT_FOUND with the likely name", function()
      local _, err = run_it(function(ctx) return ctx.agents.writr:run "x" end)
      assert.same({ "AGENT_NOT_FOUND", "writr" }, { err.code, err.meta.agent_id })
      assert.matches('did you mean "writer"', err.message)
    end)

    it("have checked options (D13)", function()
      local cases = {
        { { timeout = 5 }, "timeout_ms" }, { { timeout_ms = -1 }, "at least 0" },
        { { history_window = "1" }, "integer" }, { { durable = {} }, "belongs to the run" },
        { { traceparent = "x" }, "belongs to the run" }, { { signal = 1 }, "must be a signal" },
        { { budget = { max = 1 } }, "the fields are" }, { { metadata = 1 }, "must be a table" },
        { { budget = { max_model_calls = 1.5 } }, "must be an integer" }, { 5, "must be a table" },
      }
      for _, case in ipairs(cases) do
        local events, err = run_it(function(ctx) return ctx.agents.writer:run("x", case[1]) end)
        assert.same({ "VALIDATION_ERROR", "invoke_options" }, { err.code, err.meta.where })
        assert.is_truthy(err.message:find(case[2], 1, true), err.message)
        assert.equal(0, #of(events, "agent.started"))
      end
    end)

    it("have a deadline of their own, and the workflow may go on after it (D13)", function()
      local h = define(function(ctx)
        local ok, err = pcall(ctx.agents.writer.run, ctx.agents.writer, "wait 60000", { timeout_ms = 50 })
        return { ok, err.code, err.meta.scope, err.meta.timeout_ms }
      end)
      local stream = h:session("s").workflows.flow:stream()
      clock.advance(60)
      assert.same({ false, "OPERATION_TIMEOUT", "agent", 50 }, stream:result())
      local events = drain(stream)
      assert.equal("OPERATION_TIMEOUT", of(events, "agent.finished")[1].error.code)
      assert.equal("succeeded", events[#events].status)
    end)

    it("end with the run's timeout, which wins over what the code makes of it", function()
      local h = define(function(ctx)
        pcall(ctx.agents.writer.run, ctx.agents.writer, "wait 60000")
        error "something else"
      end)
      local session = h:session "s"
      local stream = session.workflows.flow:stream(nil, { timeout_ms = 20 })
      clock.advance(30)
      local err = failure(stream.result, stream)
      assert.same({ "OPERATION_TIMEOUT", "run", 20 }, { err.code, err.meta.scope, err.meta.timeout_ms })
      assert.equal("failed", session:runs()[1].status)
    end)

    it("take a signal of the caller: it stops them, not the run", function()
      local controller = harness.abort_controller()
      local h = define(function(ctx)
        local ok, err = pcall(ctx.agents.writer.run, ctx.agents.writer, "wait 60000", { signal = controller.signal })
        return { ok, err.code, err.meta.scope, tostring(err.cause) }
      end)
      local stream = h:session("s").workflows.flow:stream()
      clock.advance(5)
      controller:abort "not needed"
      clock.advance(5)
      assert.same({ false, "OPERATION_CANCELLED", "agent", "not needed" }, stream:result())
      local again = define(function(ctx)
        return ctx.agents.writer:run("x", { signal = controller.signal })
      end)
      local err = failure(again:session().workflows.flow.run, again:session().workflows.flow)
      assert.same({ "OPERATION_CANCELLED", "agent" }, { err.code, err.meta.scope })
    end)

    it("see the run's metadata, overlaid by their own", function()
      local seen
      local h = define(function(ctx)
        return ctx.agents.writer:run("tool", { metadata = { b = 3 } })
      end, { definition = { tools = { echo = {
        description = "d", input = s.object { text = s.string() },
        run = function(ctx, input)
          seen = ctx.metadata
          return input.text
        end,
      } } } })
      h:session().workflows.flow:run(nil, { metadata = { a = 1, b = 2 } })
      assert.same({ a = 1, b = 3 }, seen)
    end)

    it("have a window on the history: their own, else the workflow's", function()
      local _, _, _, model = run_it(function(ctx)
        ctx.agents.writer:run "one"
        ctx.agents.writer:run "two"
        ctx.agents.writer:run("three", { history_window = 2 })
        return ctx.agents.writer:run "four"
      end, nil, nil, { history_window = 0 })
      local counts = {}
      for i, request in ipairs(model.requests) do counts[i] = #request.messages end
      assert.same({ 2, 2, 4, 2 }, counts)
    end)
  end)

  describe("its budget", function()
    local function budgeted(budget, run)
      return run_it(run, nil, nil, { budget = budget })
    end

    it("is one for all its agents", function()
      local _, err = budgeted({ max_model_calls = 2 }, function(ctx)
        ctx.agents.writer:run "a"
        ctx.agents.checker:run "b"
        return ctx.agents.writer:run "c"
      end)
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_model_calls", 2, "flow" },
        { err.code, err.meta.reason, err.meta.limit, err.meta.workflow_id })
      _, err = budgeted({ max_total_tokens = 5 }, function(ctx)
        for i = 1, 5 do ctx.agents.writer:run("n" .. i) end
      end)
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_total_tokens" }, { err.code, err.meta.reason })
      _, err = budgeted({ max_tool_calls = 0 }, function(ctx) return ctx.agents.writer:run "tool" end)
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_tool_calls" }, { err.code, err.meta.reason })
    end)

    it("bounds its time", function()
      local h = define(function(ctx) return ctx.agents.writer:run "wait 60000" end)
      local session = h:session "s"
      local stream = session.workflows.flow:stream(nil, { budget = { max_wall_ms = 25 } })
      clock.advance(30)
      local err = failure(stream.result, stream)
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_wall_ms", 25 }, { err.code, err.meta.reason, err.meta.limit })
    end)
  end)

  describe("stopped", function()
    it("ends with one end even when its handler swallows the abort for ever", function()
      local h = define(function() while true do pcall(harness.sleep, 10) end end)
      local session = h:session "s"
      local stream = session.workflows.flow:stream()
      clock.advance(20)
      stream:cancel "enough"
      clock.advance(task.CANCEL_GRACE_MS)
      local err = failure(stream.result, stream)
      assert.equal("OPERATION_CANCELLED", err.code)
      local events = drain(stream)
      assert.equal(1, #of(events, "run.finished"))
      assert.equal("cancelled", session:runs()[1].status)
      assert.equal("ok", define(function() return "ok" end):session().workflows.flow:run())
    end)

    it("ends the agents that its handler left in tasks of its own, each with its end", function()
      local h = define(function(ctx)
        harness.spawn(function() while true do pcall(ctx.agents.writer.run, ctx.agents.writer, "wait 60000") end end)
        harness.sleep(60000)
      end)
      local session = h:session "s"
      local stream = session.workflows.flow:stream()
      clock.advance(20)
      stream:cancel()
      clock.advance(3 * task.CANCEL_GRACE_MS)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
      local events = drain(stream)
      assert.equal(#of(events, "agent.started"), #of(events, "agent.finished"))
      assert.equal("run.finished", events[#events].type)
      for i, event in ipairs(events) do assert.equal(i, event.seq) end
    end)

    it("pairs the events of an agent whose task is closed by force", function()
      local h = define(function(ctx)
        harness.shield(function() ctx.agents.writer:run "wait 60000" end, 1 << 40)
      end)
      local session = h:session "s"
      local stream = session.workflows.flow:stream()
      clock.advance(20)
      stream:cancel()
      clock.advance(3 * task.CANCEL_GRACE_MS)
      assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
      local events = drain(stream)
      assert.equal(1, #of(events, "agent.started"))
      assert.equal(1, #of(events, "agent.finished"))
      assert.equal("OPERATION_CANCELLED", of(events, "agent.finished")[1].error.code)
    end)

    it("before it began leaves nothing", function()
      local controller = harness.abort_controller()
      controller:abort()
      local h = define(function() end)
      local session = h:session "s"
      local err = failure(session.workflows.flow.run, session.workflows.flow, nil, { signal = controller.signal })
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.same({}, session:runs())
    end)
  end)

  it("holds its session; durable runs are not there yet", function()
    local h = define(function() harness.sleep(10) end)
    local session = h:session "s"
    local stream = session.workflows.flow:stream()
    assert.equal("SESSION_BUSY", failure(session.workflows.flow.run, session.workflows.flow).code)
    clock.advance(20)
    stream:result()
    local err = failure(session.workflows.flow.run, session.workflows.flow, nil, { durable = { run_id = "x" } })
    assert.same({ "VALIDATION_ERROR", "invoke_options" }, { err.code, err.meta.where })
  end)

  it("that leaves an error of a task unseen fails with it", function()
    local _, err = run_it(function()
      harness.spawn(function() error("unseen", 0) end)
      return "fine"
    end)
    assert.equal("unseen", err)
  end)

  it("is shown by inspect", function()
    local h = define(function() end)
    assert.is_table(h:inspect().workflows.flow)
  end)
end)
