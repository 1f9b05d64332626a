-- lua/harness/session_sandbox.lua: the sandbox of a session ends with it, whoever ends it. What opens it, and
-- what it is used for: builtin_spec.

local clock = require "spec.support.clock"
local failure = require("spec.support.failure").any
local harness = require "harness"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local table_sandbox = require "spec.support.table_sandbox"
local wrapped = require "spec.support.wrapped_storage"

local CLOSE_MS <const> = 100

describe("the sandbox of a session", function()
  local opened = still(before_each, after_each)
  local sandbox

  before_each(function()
    sandbox = table_sandbox.session()
    sandbox.close_ms = CLOSE_MS
  end)

  local function define(run)
    local storage = wrapped.new()
    local h = scripted.harness({}, { definition = {
      sandbox = table_sandbox.new(sandbox), workflows = { flow = { run = run } }, storage = storage,
    } })
    opened[#opened + 1] = h
    return h, storage
  end

  local function use(ctx) return ctx.sandbox:exists "/a" end

  -- Runs fn in a task while time goes by; returns whether the sandbox was closed when fn returned.
  local function closed_after(fn)
    local t = harness.spawn(function()
      fn()
      return sandbox.closed == true
    end)
    clock.advance(10 * CLOSE_MS)
    return t:await()
  end

  it("counts among what a harness can do", function()
    local h = scripted.harness({}, { definition = {
      sandbox = table_sandbox.new(sandbox), requires = { "sandbox.fs" },
    } })
    opened[#opened + 1] = h
    local shown = h:inspect()
    assert.same({ "sandbox", "sandbox.fs" }, { shown.adapters[2].kind, shown.adapters[2].capabilities[1] })
    assert.equal("sandbox.fs", shown.capabilities[#shown.capabilities])
  end)

  it("is closed once close returns", function()
    local session = define(use):session "s"
    session.workflows.flow:run()
    assert.is_true(closed_after(function() session:close() end))
    assert.equal(1, sandbox.closings)
  end)

  it("is closed once close returns, during a run", function()
    local session = define(function(ctx)
      use(ctx)
      harness.sleep(100000)
    end):session "s"
    local stream = session.workflows.flow:stream()
    clock.advance(10)
    assert.is_true(closed_after(function() session:close() end))
    assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
    assert.equal(1, sandbox.closings)
  end)

  it("is closed before delete returns", function()
    local session = define(use):session "s"
    session.workflows.flow:run()
    assert.is_true(closed_after(function() session:delete() end))
  end)

  it("is closed in a task that is stopped", function()
    local session = define(use):session "s"
    session.workflows.flow:run()
    assert.is_true(closed_after(function()
      pcall(harness.timeout, 5, function()
        local ok, err = pcall(function()
          local _ <close> = session
          harness.sleep(1000)
        end)
        assert(ok, err)
      end)
    end))
  end)

  it("is waited for by shutdown, which finds it being closed", function()
    local h = define(use)
    local session = h:session "s"
    session.workflows.flow:run()
    local closer = harness.spawn(function() session:close() end)
    clock.advance(10)
    assert.is_true(closed_after(function() assert.same({}, h:shutdown().errors) end))
    closer:await()
    assert.equal(1, sandbox.closings)
  end)

  it("and the data of a session that one of its runs deletes are gone when shutdown returns", function()
    local session
    local h, storage = define(function(ctx)
      use(ctx)
      session:delete()
    end)
    session = h:session "s"
    local stream = session.workflows.flow:stream()
    assert.is_true(closed_after(function()
      pcall(stream.result, stream)
      h:shutdown()
      assert.equal(1, storage.calls.delete_session)
    end))
  end)
end)
