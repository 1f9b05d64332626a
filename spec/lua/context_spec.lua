--- lua/harness/context.lua: what handlers are given. Design 02 "Contexts". More of it is in tools_spec.

local clock = require "spec.support.clock"
local context = require "harness.context"
local errors = require "harness.errors"
local failure = require("spec.support.failure").any
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"

local s = harness.schema

describe("a context", function()
  still(before_each, after_each)

  -- Runs an agent whose instructions function is fn, or one of whose tools is.
  local function with_instructions(fn, options)
    local h = scripted.harness({ { text = "ok" } }, { tools = {}, agent = { instructions = fn } })
    local session = h:session "s"
    local stream = session.agents.helper:stream("the input", options)
    clock.advance(10)
    local ok, result = pcall(stream.result, stream)
    h:shutdown()
    return ok, result
  end

  local function with_tool(fn, options)
    local h = scripted.harness({ { tool_calls = { { name = "it", arguments = {}, id = "c1" } } },
      { text = "ok" } },
      { tools = { it = { description = "x", input = s.object {}, run = fn } } })
    local stream = h:session("s").agents.helper:stream("go", options)
    clock.advance(10)
    local ok, result = pcall(stream.result, stream)
    h:shutdown()
    return ok, result
  end

  describe("of instructions", function()
    it("has the input, the history and the common fields", function()
      local seen
      assert.is_true((with_instructions(function(ctx)
        seen = { ctx.input, ctx.agent_id, ctx.session_id, #ctx.run_id, ctx.metadata.user, ctx.signal.aborted,
          #ctx.history:list(), ctx:abort_reason() == nil, ctx.tool_id == nil, ctx.call_id == nil }
        ctx.logger:info "hello"
        ctx.metrics:counter("mine", 1)
        return "Be brief."
      end, { metadata = { user = "u1" } })))
      assert.same({ "the input", "helper", "s", 26, "u1", false, 0, true, true, true }, seen)
    end)

    it("has nothing that only a tool call has", function()
      local ok, err = with_instructions(function(ctx)
        assert(ctx.idempotency_key == nil)
        assert(ctx.no_such_field == nil)
        return ""
      end)
      assert.is_true(ok, tostring(err))
    end)

    it("may wait, and is stopped with its run", function()
      assert.is_true((with_instructions(function() harness.sleep(5) return "waited" end)))
      local ok, err = with_instructions(function() harness.sleep(1000) end, { timeout_ms = 5 })
      assert.same({ false, "OPERATION_TIMEOUT", "run" }, { ok, err.code, err.meta.scope })
    end)

    it("must give a text", function()
      for _, odd in ipairs { 7, {}, true } do
        local ok, err = with_instructions(function() return odd end)
        assert.is_false(ok)
        assert.same({ "VALIDATION_ERROR", "agent_instructions", "helper" },
          { err.code, err.meta.where, err.meta.agent_id })
        assert.matches(type(odd), err.message)
      end
      assert.equal("VALIDATION_ERROR", select(2, with_instructions(function() end)).code)
    end)

    it("keeps an error that it raises as it is", function()
      local mine = { "mine" }
      local ok, err = with_instructions(function() error(mine) end)
      assert.is_false(ok)
      assert.is_true(rawequal(mine, err))
    end)
  end)

  describe("of a tool", function()
    it("makes each thing once, and only when asked", function()
      local ctx
      with_tool(function(c)
        ctx = c
        assert.is_nil(rawget(c, "signal"))
        assert.is_nil(rawget(c, "logger"))
        for _, name in ipairs { "signal", "logger", "metrics", "metadata" } do
          assert(rawequal(c[name], c[name]), name)
        end
      end)
      assert.is_not_nil(rawget(ctx, "signal"))
    end)

    it("has the same metadata as all others of its run", function()
      local seen = {}
      local function look(ctx) seen[#seen + 1] = ctx.metadata end
      local h = scripted.harness({ { tool_calls = { { name = "it" }, { name = "it" } } }, { text = "ok" } },
        { tools = { it = { description = "x", input = s.object {}, run = look } } })
      h:session().agents.helper:run "go"
      h:shutdown()
      assert.is_true(rawequal(seen[1], seen[2]))
    end)

    it("stays readable after the call, and harms nothing then", function()
      local ctx
      with_tool(function(c) ctx = c end)
      assert.same({ false, nil }, { ctx.signal.aborted, ctx.signal.reason })
      assert.is_nil(ctx:abort_reason())
      ctx.logger:info "late"
      ctx.metrics:counter("late", 1)
      assert.same({ "s", "helper", "it", "c1" }, { ctx.session_id, ctx.agent_id, ctx.tool_id, ctx.call_id })
    end)

    it("still says why it was stopped after the call", function()
      local ctx
      local ok = with_tool(function(c)
        ctx = c
        assert(not ctx.signal.aborted)
        harness.sleep(1000)
      end, { timeout_ms = 5 })
      assert.is_false(ok)
      assert.is_true(errors.is(ctx:abort_reason(), "OPERATION_TIMEOUT"))
      assert.is_true(ctx.signal.aborted)
    end)

    it("is shared with the tasks that the tool makes", function()
      local reasons = {}
      local ok = with_tool(function(ctx)
        harness.all {
          function() pcall(harness.sleep, 1000) reasons[1] = ctx:abort_reason() end,
          function() pcall(harness.sleep, 1000) reasons[2] = ctx.signal.reason end,
        }
      end, { timeout_ms = 5 })
      assert.is_false(ok)
      assert.is_true(errors.is(reasons[1], "OPERATION_TIMEOUT"))
      assert.is_true(rawequal(reasons[1], reasons[2]))
    end)
  end)

  it("of nothing in particular has no task, and no reason to stop", function()
    local run = { id = "r", session = { id = "s" }, metadata = function() return {} end }
    local ctx = context.tool(run, { agent_id = "a", metadata = {} }, "t", "c")
    assert.same({ "r", "s", "a", "t", "c", "r:c" },
      { ctx.run_id, ctx.session_id, ctx.agent_id, ctx.tool_id, ctx.call_id, ctx.idempotency_key })
    assert.is_nil(ctx:abort_reason())
    assert.is_nil(task.current().abort_callbacks)
    assert.is_string(failure(function() return ctx.signal.aborted end)) -- a handler sees it with its task
  end)
end)
