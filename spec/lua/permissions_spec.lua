--- lua/harness/permissions.lua and definition_permissions.lua; rule names: reference B 3.5.

local builtin = require "harness.builtin"
local clock = require "spec.support.clock"
local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local harness = require "harness"
local json = require "harness.json"
local definition_permissions = require "harness.definition_permissions"
local permissions = require "harness.permissions"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"

local drain, of = scripted.drain, scripted.of
local s = harness.schema

-- What is decided for a call under a rule: "allow", "ask", or the reason of a denial.
local function decided(id, rule, input, hook)
  local rules = definition_permissions.check(fields.problems(), {}, { [id] = rule })
  local tool = builtin.traits(id) and builtin.get(id) or { id = id }
  local ok, result = pcall(permissions.decide, { id = "a", permissions = rules, on_permission = hook }, tool, input)
  if ok then return result end
  assert.equal("PERMISSION_DENIED", result.code)
  assert.same({ id, "a" }, { result.meta.tool_name, result.meta.agent_id })
  return result.meta.reason
end

local function hook() return "allow" end

describe("a permission", function()
  for _, case in ipairs {
    -- tool, rule, input, decision
    -- PERM-1: tools that only read are always allowed
    { "read", "deny", { path = "/a" }, "allow" }, { "list", "ask", {}, "allow" }, { "glob", "deny", {}, "allow" },
    { "grep", { deny = { "**" } }, { pattern = "x" }, "allow" },
    -- PERM-2 and 3: modes, for custom tools too; without a rule or a mode a call is allowed
    { "bash", "allow", { command = "ls" }, "allow" }, { "bash", "deny", { command = "ls" }, "mode_deny" },
    { "bash", "ask", { command = "ls" }, "ask" }, { "refund", "deny", {}, "mode_deny" }, { "refund", "ask", {}, "ask" },
    { "refund", nil, {}, "allow" }, { "refund", {}, {}, "allow" }, { "write", { mode = "deny" }, {}, "mode_deny" },
    -- PERM-4: what patterns see; without it nothing fits
    { "write", { deny = { "/w/x" } }, { path = "/w/x" }, "mode_deny" },
    { "edit", { deny = { "/w/x" } }, { path = "/w/x" }, "mode_deny" },
    { "refund", { deny = { "**" } }, { path = "/w", command = "x" }, "allow" },
    { "refund", { allow = { "**" } }, { path = "/w" }, "mode_deny" },
    { "bash", { deny = { "**" } }, {}, "allow" }, { "bash", { allow = { "**" } }, { command = 5 }, "mode_deny" },
    { "bash", { allow = { "**" } }, {}, "mode_deny" }, { "write", { deny = { "*" } }, { command = "x" }, "allow" },
    -- PERM-5: a pattern that denies, then patterns that allow, then the mode
    { "bash", { mode = "allow", deny = { "rm *" } }, { command = "rm a" }, "mode_deny" },
    { "bash", { mode = "ask", deny = { "rm *" } }, { command = "rm a" }, "mode_deny" },
    { "bash", { allow = { "rm a" }, deny = { "rm *" } }, { command = "rm a" }, "mode_deny" },
    { "bash", { allow = { "ls*", "cat *" } }, { command = "cat a" }, "allow" },
    { "bash", { allow = { "ls*" } }, { command = "cat a" }, "mode_deny" },
    { "bash", { mode = "ask", allow = { "ls*" } }, { command = "cat a" }, "mode_deny" },
    { "bash", { mode = "ask", allow = { "ls*" } }, { command = "ls" }, "ask" },
    { "bash", { mode = "deny", allow = { "ls*" } }, { command = "ls" }, "mode_deny" },
    { "bash", { mode = "deny", allow = {}, deny = {} }, { command = "ls" }, "mode_deny" },
    { "bash", { allow = {} }, { command = "ls" }, "allow" },
    -- PERM-6: the dialect
    { "write", { allow = { "/w/*" } }, { path = "/w/a" }, "allow" },
    { "write", { allow = { "/w/*" } }, { path = "/w/a/b" }, "mode_deny" },
    { "write", { allow = { "/w/**" } }, { path = "/w/a/b" }, "allow" },
    { "write", { allow = { "/w" } }, { path = "/w/a" }, "mode_deny" },
    { "bash", { deny = { "rm *" } }, { command = "rm -rf /tmp" }, "allow" },
    { "bash", { deny = { "rm **" } }, { command = "rm -rf /tmp" }, "mode_deny" },
    { "bash", { deny = { "rm **" } }, { command = "rm a\nls /" }, "mode_deny" },
    { "bash", { deny = { "l?" } }, { command = "ls" }, "allow" }, { "bash", { deny = { "l?" } }, { command = "l?" },
      "mode_deny" },
    { "bash", { deny = { "[ab]" } }, { command = "a" }, "allow" },
    { "bash", { deny = { "ls" } }, { command = "ls -l" }, "allow" },
    -- paths are normalised before patterns see them
    { "write", { deny = { "/w/secret/**" } }, { path = "/w/./secret//x" }, "mode_deny" },
    { "write", { deny = { "/w/secret/**" } }, { path = "/w/a/../secret/x" }, "mode_deny" },
    { "edit", { deny = { "/w/secret" } }, { path = "/w/secret/" }, "mode_deny" },
    { "write", { allow = { "/w/**" } }, { path = "/w/../etc/passwd" }, "mode_deny" },
    { "write", { allow = { "/w/**" } }, { path = "/../w/x" }, "allow" },
    { "bash", { deny = { "/a/../b" } }, { command = "/b" }, "allow" }, -- a command is no path
  } do
    local id, rule, input, decision = table.unpack(case, 1, 4)
    it(("%s for %s %s: %s"):format(rule and json.encode(rule) or "none", id, json.encode(input), decision)
      :gsub("\n", "\\n"), function() assert.equal(decision, decided(id, rule, input, hook)) end)
  end

  it("that asks is a denial where nobody can be asked", function()
    assert.equal("hook_deny", decided("refund", "ask", {}, nil))
    assert.equal("hook_deny", decided("bash", { mode = "ask", allow = { "ls" } }, { command = "ls" }, nil))
  end)

  it("is described as plain data", function()
    local rules = definition_permissions.check(fields.problems(), {}, { bash = { mode = "ask", deny = { "rm **" } },
      read = "deny" })
    local agent = { permissions = rules }
    assert.same({ mode = "ask", deny = { "rm **" } }, permissions.describe(agent, "bash"))
    assert.same({ mode = "allow" }, permissions.describe(agent, "read", true))
    assert.same({ mode = "allow" }, permissions.describe({}, "bash"))
  end)
end)

describe("permissions in a definition", function()
  local function problems_of(agent)
    local ok, err = pcall(scripted.harness, {}, { agent = agent })
    if ok then return {} end
    local list = {}
    for i, problem in ipairs(err.meta.problems) do list[i] = problem.reason .. " " .. problem.message end
    return list
  end

  for _, case in ipairs {
    { { permissions = "allow" }, "wrong_type agents.helper.permissions: must be a table tool id -> permission, found "
      .. 'the string "allow"' },
    { { permissions = { echo = "alow" } }, 'invalid_agent agents.helper.permissions.echo: there is no permission '
      .. '"alow"; did you mean "allow"?' },
    { { permissions = { echo = { mode = "aks" } } }, "invalid_agent agents.helper.permissions.echo.mode: there is no "
      .. 'permission "aks"; did you mean "ask"?' },
    { { permissions = { echo = true } }, 'wrong_type agents.helper.permissions.echo: must be "allow", "ask", "deny" '
      .. "or a table { mode?, allow?, deny? }, found the boolean true" },
    { { permissions = { echo = { mode = 5 } } }, 'wrong_type agents.helper.permissions.echo.mode: must be "allow", '
      .. '"ask" or "deny", found the number 5' },
    { { permissions = { echo = { denny = { "x" } } } }, "unknown_key agents.helper.permissions.echo.denny: there is no "
      .. 'such field; did you mean "deny"?' },
    { { permissions = { bash = { deny = "rm *" } } }, "wrong_type agents.helper.permissions.bash.deny: must be a list "
      .. 'of patterns, found the string "rm *"' },
    { { permissions = { bash = { allow = { "ls", "" } } } }, "wrong_type agents.helper.permissions.bash.allow[2]: must "
      .. 'be a pattern, not empty, found the string ""' },
    { { permissions = { ehco = "ask" } }, 'unknown_reference agents.helper.permissions.ehco: there is no tool "ehco"; '
      .. 'did you mean "echo"?' },
    { { permissions = { bsh = "deny" } }, 'unknown_reference agents.helper.permissions.bsh: there is no tool "bsh"; '
      .. 'did you mean "bash"?' },
    { { permissions = { "deny" } }, "wrong_type agents.helper.permissions[1]: must have the id of a tool as its key, "
      .. "found the number 1" },
    { { on_permission = "ask me" }, "wrong_type agents.helper.on_permission: must be a function on_permission(request),"
      .. ' found the string "ask me"' },
  } do
    it("tells of " .. case[2]:match "^%S+ (%S+)", function() assert.same({ case[2] }, problems_of(case[1])) end)
  end

  it("may be as the reference has them", function()
    assert.same({}, problems_of { permissions = { echo = "ask", slow = { mode = "deny" }, bash = { deny = { "rm **" } },
      write = { mode = "ask", allow = { "/w/**" }, deny = {} }, read = "allow" }, on_permission = hook })
  end)

  it("warn of rules that have no effect", function()
    local logger = scripted.silent()
    scripted.harness({}, { agent = { permissions = { read = "deny", grep = { deny = { "x" } }, list = "allow",
      bash = "deny" } }, definition = { logger = logger } })
    assert.equal(1, #logger.lines)
    assert.matches('permissions of agent "helper" have no effect on grep, read:', logger.lines[1][2], 1, true)
  end)

  it("are shown by inspect", function()
    local h = scripted.harness({}, { agent = { permissions = { echo = "ask", slow = { deny = { "x" } } } } })
    local agent = h:inspect().agents.helper
    assert.same({ mode = "ask" }, agent.permissions.echo)
    assert.same({ mode = "allow", deny = { "x" } }, agent.permissions.slow)
    assert.same({ mode = "allow" }, agent.permissions.fails)
  end)
end)

describe("on_permission", function()
  local opened = still(before_each, after_each)

  local started
  local function tool(over)
    local t = {
      description = "x", input = s.object { n = s.integer() },
      run = function(_, input)
        started[#started + 1] = input.n
        return "did " .. input.n
      end,
    }
    for key, value in pairs(over or {}) do t[key] = value end
    return t
  end

  before_each(function() started = {} end)

  local function call(n, name) return { name = name or "pay", arguments = { n = n }, id = "c" .. tostring(n) } end

  -- Runs one reply with these calls under { pay = "ask" }; returns the contents for the model, the events,
  -- the run's error, and the logger.
  local function run(on_permission, calls, over)
    over = over or {}
    local logger = scripted.silent()
    local definition = over.definition or {}
    definition.logger = logger
    local h, model = scripted.harness({ { tool_calls = calls }, { text = "end" } }, {
      tools = over.tools or { pay = tool(over.tool), look = tool() }, definition = definition,
      agent = { permissions = over.permissions or { pay = "ask" }, on_permission = on_permission },
    })
    opened[#opened + 1] = h
    local stream = h:session("s").agents.helper:stream("go", over.options)
    if over.during then over.during(stream) end
    clock.advance(over.advance or 10000)
    local events, err = drain(stream)
    local shown = {}
    for _, message in ipairs(model.requests[2] and model.requests[2].messages or {}) do
      if message.role == "tool" then shown[#shown + 1] = message.content end
    end
    return shown, events, err, logger
  end

  local function meta_of(content)
    local err = json.decode(content)
    return { err.code, err.meta.reason, err.meta.tool_name, err.meta.agent_id }
  end

  local function check_paired(events)
    assert.equal(#of(events, "tool.started"), #of(events, "tool.finished"))
    assert.equal(1, #of(events, "run.finished"))
  end

  it("is asked with what the call is, and the call runs when it says allow", function()
    local requests = {}
    local shown, events = run(function(request)
      requests[#requests + 1] = request
      request.input.n = 99 -- its own copy
      return "allow"
    end, { { name = "pay", arguments = { n = 1, more = "x" }, id = "c1" } })
    local finished = events[#events]
    assert.same({ "did 1" }, shown)
    assert.same({ 1 }, started)
    assert.same({ { tool_id = "pay", input = { n = 99, more = "x" }, agent_id = "helper", run_id = finished.run_id,
      session_id = "s", call_id = "c1" } }, requests)
    check_paired(events)
  end)

  it("denies with anything but allow, and the run goes on (PERM-7, PERM-10)", function()
    for _, answer in ipairs { "deny", "Allow", "yes", "", true, 1, { "allow" }, "nil" } do
      local shown, events, err = run(function() if answer ~= "nil" then return answer end end, { call(1) })
      assert.is_nil(err)
      assert.same({ "PERMISSION_DENIED", "hook_deny", "pay", "helper" }, meta_of(shown[1]))
      assert.same({}, started)
      assert.equal("PERMISSION_DENIED", of(events, "tool.finished")[1].error.code)
      check_paired(events)
    end
  end)

  it("is not asked where the mode or a pattern decides, nor for other tools", function()
    local function never() error "asked" end
    local shown = run(never, { call(1), call(2, "look") }, { permissions = { pay = "deny" } })
    assert.same({ "PERMISSION_DENIED", "mode_deny", "pay", "helper" }, meta_of(shown[1]))
    assert.equal("did 2", shown[2])
    shown = run(never, { call(1) }, { permissions = { pay = "allow" } })
    assert.same({ "did 1" }, shown)
  end)

  it("is missing: the call is denied, with what is missing", function()
    local shown, events, err = run(nil, { call(1) })
    assert.is_nil(err)
    assert.same({ "PERMISSION_DENIED", "hook_deny", "pay", "helper" }, meta_of(shown[1]))
    assert.matches("nobody can be asked here", shown[1], 1, true)
    check_paired(events)
  end)

  it("denies when it fails, and the failure is logged", function()
    local cause = errors.new("STATE_ERROR", "no connection")
    for _, failure in ipairs { "broken", cause, errors.new("OPERATION_CANCELLED", "no", { scope = "mine" }) } do
      local shown, events, err, logger = run(function() error(failure, 0) end, { call(1) })
      assert.is_nil(err)
      assert.same({ "PERMISSION_DENIED", "hook_failed", "pay", "helper" }, meta_of(shown[1]))
      assert.same({}, started)
      assert.same({ "error", "on_permission raised an error; the call is denied" },
        { table.unpack(logger.lines[1], 1, 2) })
      check_paired(events)
    end
  end)

  it("is not asked for calls that cannot run: unknown tools, wrong arguments", function()
    local function never() error "asked" end
    local shown = run(never, { call(1, "pya"), { name = "pay", arguments = { n = "x" }, id = "b" },
      { name = "pay", invalid_arguments = "{", arguments = {}, id = "c" } })
    assert.equal("TOOL_NOT_FOUND", json.decode(shown[1]).code)
    assert.equal("VALIDATION_ERROR", json.decode(shown[2]).code)
    assert.equal("VALIDATION_ERROR", json.decode(shown[3]).code)
  end)

  it("is not asked either for what is denied anyway, with whatever arguments (PERM-9)", function()
    local shown = run(hook, { { name = "pay", arguments = { n = "x" }, id = "b" } }, { permissions = { pay = "deny" } })
    assert.equal("PERMISSION_DENIED", json.decode(shown[1]).code)
  end)

  it("may wait, and other calls run meanwhile", function()
    local order = {}
    local shown, events = run(function(request)
      harness.sleep(100 * request.input.n)
      order[#order + 1] = "asked " .. request.input.n
      return "allow"
    end, { call(2), call(1), call(3, "look") }, { tool = { run = function(_, input)
      order[#order + 1] = "ran " .. input.n
      return input.n
    end } })
    assert.same({ "2", "1", "did 3" }, shown)
    assert.same({ "asked 1", "ran 1", "asked 2", "ran 2" }, order)
    check_paired(events)
  end)

  it("counts as a running call: no more than the limit at once", function()
    local asking, most = 0, 0
    run(function()
      asking = asking + 1
      most = math.max(most, asking)
      harness.sleep(10)
      asking = asking - 1
      return "allow"
    end, { call(1), call(2), call(3), call(4), call(5) },
      { definition = { defaults = { max_parallel_tool_calls = 2 } } })
    assert.equal(2, most)
    assert.equal(5, #started)
  end)

  it("that takes longer than the tool may is a timeout for the model (PERM-8)", function()
    local shown, events, err = run(function()
      harness.sleep(50)
      return "allow"
    end, { call(1) }, { tool = { timeout_ms = 5 } })
    assert.is_nil(err)
    local told = json.decode(shown[1])
    assert.same({ "OPERATION_TIMEOUT", "tool", 5 }, { told.code, told.meta.scope, told.meta.timeout_ms })
    assert.same({}, started)
    check_paired(events)
  end)

  it("has its time for itself, and the tool has the whole of its own (TOOL-30)", function()
    local shown = run(function()
      harness.sleep(80)
      return "allow"
    end, { call(1) }, { tool = { timeout_ms = 100, run = function()
      harness.sleep(80)
      return "done"
    end } })
    assert.same({ "done" }, shown)
  end)

  it("ends its wait when the run is stopped; nothing runs after that", function()
    for _, cleanup in ipairs { false, true } do
      local closed = false
      local _, events, err = run(function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        if cleanup then pcall(harness.sleep, 100000) else harness.sleep(100000) end
        return "allow"
      end, { call(1), call(2) }, { during = function(stream)
        clock.advance(10)
        stream:cancel "enough"
      end })
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.is_true(closed)
      assert.same({}, started)
      check_paired(events)
      assert.equal("OPERATION_CANCELLED", of(events, "tool.finished")[1].error.code)
    end
  end)

  it("that swallows every abort is ended by force", function()
    local _, events, err = run(function()
      while true do pcall(harness.sleep, 10) end
    end, { call(1) }, { during = function(stream)
      clock.advance(10)
      stream:cancel "enough"
    end })
    assert.equal("OPERATION_CANCELLED", err.code)
    check_paired(events)
  end)

  it("ends its wait when another call of the reply ends the run", function()
    local _, events, err = run(function()
      harness.sleep(100000)
      return "allow"
    end, { call(1), call(2, "look") }, { tools = { pay = tool(), look = tool { run = function()
      harness.sleep(10)
      harness.error("OPERATION_CANCELLED", "stop", { scope = "tool" })
    end } } })
    assert.same({ "OPERATION_CANCELLED", "stop" }, { err.code, err.message })
    assert.same({}, started)
    check_paired(events)
  end)
end)
