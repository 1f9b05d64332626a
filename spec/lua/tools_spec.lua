--- lua/harness/tools.lua: the calls of one reply. Rule names: reference B 3, D 2.1 and 2.3.

local clock = require "spec.support.clock"
local core = require "harness.core"
local errors = require "harness.errors"
local failure = require("spec.support.failure").any
local harness = require "harness"
local json = require "harness.json"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local task = require "harness.task"

local drain, of = scripted.drain, scripted.of
local s = harness.schema

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function call(name, arguments, id) return { name = name, arguments = arguments or {}, id = id } end

-- A tool that takes anything.
local function tool(run, over)
  local t = { description = "x", input = s.object({}, { additional = true }), run = run }
  for key, value in pairs(over or {}) do t[key] = value end
  return t
end

describe("tool calls", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = scripted.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  -- Runs one reply with these calls; returns what the model was shown of each, and the events.
  local function run_calls(tools, calls, over)
    over = over or {}
    over.tools = tools
    local h, model = define({ { tool_calls = calls }, { text = "end" } }, over)
    local session = h:session "s"
    local stream = session.agents.helper:stream "go"
    clock.advance(10000)
    local events, err = drain(stream)
    local shown = {}
    if model.requests[2] then
      for _, message in ipairs(model.requests[2].messages) do
        if message.role == "tool" then shown[#shown + 1] = message.content end
      end
    end
    return shown, events, err, h
  end

  local function run_one(fn, over, arguments)
    local shown, events = run_calls({ it = tool(fn, over) }, { call("it", arguments) })
    return shown[1], of(events, "tool.finished")[1]
  end

  describe("in every combination of success, error and cancellation", function()
    local KINDS <const> = { "good", "bad", "stop" }

    local function tools(stopped)
      return {
        good = tool(function(_, input) harness.sleep(input.ms) return "good " .. input.i end),
        bad = tool(function(_, input) harness.sleep(input.ms) error("bad " .. input.i, 0) end),
        stop = tool(function(_, input)
          harness.sleep(input.ms)
          stopped[#stopped + 1] = input.i
          harness.error("OPERATION_CANCELLED", "stop " .. input.i, { scope = "tool" })
        end),
      }
    end

    -- No cancellation: a result for each call, in the order of the calls.
    local function check_all_done(label, calls, shown, events)
      assert.equal(#calls, #shown, label)
      for i, content in ipairs(shown) do
        if calls[i].name == "good" then
          assert.equal("good " .. i, content, label)
        else
          local err = json.decode(content)
          assert.equal("TOOL_ERROR", err.code, label)
          assert.matches("bad " .. i, err.message, 1, true)
        end
      end
      assert.equal("succeeded", events[#events].status, label)
    end

    -- A cancellation: the run ends with it, and no call is started after it.
    local function check_stopped(label, calls, events, err, stopped)
      assert.equal("OPERATION_CANCELLED", err.code, label)
      assert.equal("stop " .. stopped[1], err.message, label)
      assert.equal("cancelled", events[#events].status, label)
      local after_stop, is_after = 0, false
      for _, event in ipairs(events) do
        if event.type == "tool.started" and is_after then after_stop = after_stop + 1 end
        is_after = is_after or event.type == "tool.finished" and event.call_id == "c" .. stopped[1]
      end
      assert.equal(0, after_stop, label)
      assert.is_true(#of(events, "tool.started") <= #calls, label)
    end

    for n = 1, 4 do
      it(("of %d: 3^%d, at most 1, 2 and 8 at once, quick and slow ones"):format(n, n), function()
        for combination = 0, 3 ^ n // 1 - 1, FACTOR > 1 and 5 or 1 do
          for _, most in ipairs { 1, 2, 8 } do
            for _, delays in ipairs { { 0, 0, 0, 0 }, { 4, 3, 2, 1 }, { 1, 2, 3, 4 } } do
              local calls, kinds, stopped, has_stop = {}, {}, {}, false
              for i = 1, n do
                local kind = KINDS[combination // 3 ^ (i - 1) % 3 // 1 + 1]
                has_stop = has_stop or kind == "stop"
                kinds[i], calls[i] = kind, call(kind, { i = i, ms = delays[i] }, "c" .. i)
              end
              local label = ("%s, %d at once, delays from %d"):format(table.concat(kinds, " "), most,
                delays[1])
              local shown, events, err = run_calls(tools(stopped), calls,
                { definition = { defaults = { max_parallel_tool_calls = most } } })
              assert.equal(#of(events, "tool.started"), #of(events, "tool.finished"), label)
              if has_stop then check_stopped(label, calls, events, err, stopped)
              else check_all_done(label, calls, shown, events) end
            end
          end
          for _, h in ipairs(opened) do h:shutdown() end
          opened = {}
        end
      end)
    end
  end)

  describe("when the run is stopped", function()
    it("begin no call after the one that was running (D 2.1, 2)", function()
      local started = 0
      local tools = { it = tool(function() started = started + 1 harness.sleep(1000) end) }
      local h = define({ { tool_calls = { call "it", call "it", call "it", call "it" } } },
        { tools = tools, definition = { defaults = { max_parallel_tool_calls = 1 } } })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(1)
      stream:cancel()
      clock.advance(5000)
      local events, err = drain(stream)
      assert.is_nil(err.cause) -- nothing else had gone wrong
      assert.equal(1, started)
      assert.equal(1, #of(events, "tool.started"))
      assert.equal(1, #of(events, "tool.finished"))
    end)

    it("begin none either when a call swallows the abort and ends well", function()
      local started = 0
      local tools = { it = tool(function()
        started = started + 1
        pcall(harness.sleep, 1000)
        return "swallowed"
      end) }
      local h, model = define({ { tool_calls = { call "it", call "it" } }, { text = "never" } },
        { tools = tools, definition = { defaults = { max_parallel_tool_calls = 1 } } })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(1)
      stream:cancel()
      clock.advance(5000)
      local events, err = drain(stream)
      assert.equal("OPERATION_CANCELLED", err.code)
      assert.same({ 1, 1, 1 }, { started, #of(events, "tool.started"), #model.requests })
    end)

    it("say whether the call may have had its effect", function()
      local tools = {
        settled = tool(function() harness.sleep(1000) end),
        unsettled = tool(function() while true do pcall(harness.sleep, 10) end end),
        cleans = tool(function()
          pcall(harness.sleep, 1000)
          harness.shield(harness.sleep, 100, 50)
          harness.sleep(1000)
        end),
      }
      local h = define({ { tool_calls = { call "settled", call "unsettled", call "cleans" } } },
        { tools = tools })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(1)
      stream:cancel "enough"
      clock.advance(5000)
      local by_tool = {}
      for _, event in ipairs(of(drain(stream), "tool.finished")) do by_tool[event.tool_id] = event.error end
      for id, settlement in pairs { settled = "settled", unsettled = "unsettled", cleans = "settled" } do
        local err = by_tool[id]
        assert.same({ "OPERATION_CANCELLED", "run", settlement, id },
          { err.code, err.meta.scope, err.meta.settlement, err.meta.tool_id })
      end
    end)

    it("hand the very error on that a tool raised to stop it", function()
      local mine = harness.new_error("OPERATION_CANCELLED", "mine", { scope = "tool" })
      local _, _, err = run_calls({ it = tool(function() error(mine, 0) end) }, { call "it" })
      assert.is_true(rawequal(mine, err))
    end)
  end)

  describe("that time out", function()
    it("end as an error of the call, with what they made", function()
      local ended
      local content, event = run_one(function()
        harness.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() ended = true end })
          harness.sleep(100000)
        end)
        harness.sleep(100000)
      end, { timeout_ms = 50 })
      local err = json.decode(content)
      assert.same({ "OPERATION_TIMEOUT", "tool", 50, "settled" },
        { err.code, err.meta.scope, err.meta.timeout_ms, err.meta.settlement })
      assert.is_true(ended)
      assert.same(err, event.error)
      assert.equal(50, event.duration_ms)
    end)

    it("never do with a timeout of 0, and can be cancelled all the same (A 40)", function()
      local h = define({ { tool_calls = { call "it" } } },
        { tools = { it = tool(function() harness.sleep(1 << 40) end, { timeout_ms = 0 }) },
          definition = { defaults = { run_timeout_ms = 0 } } })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(100000000)
      assert.is_false(h.live_runs[stream.run_id].done)
      stream:cancel()
      task.settle()
      assert.same({ "OPERATION_CANCELLED", "run" }, (function()
        local err = failure(stream.result, stream)
        return { err.code, err.meta.scope }
      end)())
    end)

    it("have the harness's timeout where they have none of their own", function()
      local _, events = run_calls({ it = tool(function() harness.sleep(100000) end) }, { call "it" },
        { definition = { defaults = { tool_timeout_ms = 70 } } })
      assert.equal(70, of(events, "tool.finished")[1].error.meta.timeout_ms)
    end)
  end)

  describe("that make tasks", function()
    it("end after them", function()
      local order = {}
      local content = run_one(function()
        harness.spawn(function() harness.sleep(10) order[#order + 1] = "child" end)
        order[#order + 1] = "tool"
        return table.concat(harness.map({ 3, 1, 2 }, function(ms) harness.sleep(ms) return ms end), ",")
      end)
      assert.equal("3,1,2", content)
      assert.same({ "tool", "child" }, order)
    end)

    it("fail with an error of theirs that nobody awaited", function()
      local report = task.report
      task.report = function() end
      local content = run_one(function()
        harness.spawn(function() error("in a child", 0) end)
        return "fine"
      end)
      task.report = report
      local err = json.decode(content)
      assert.equal("TOOL_ERROR", err.code)
      assert.matches("in a child", err.message)
    end)

    it("may wait in generators of their own", function()
      assert.equal("1 2 3", run_one(function()
        local list = {}
        for i in coroutine.wrap(function() for i = 1, 3 do harness.sleep(5) coroutine.yield(i) end end) do
          list[#list + 1] = tostring(i)
        end
        return table.concat(list, " ")
      end))
    end)
  end)

  describe("that return", function()
    local CASES <const> = {
      { "nothing", function() end, "null" },
      { "nil and an error text", function() return nil, "ignored" end, "null" },
      { "null", function() return json.null end, "null", json.null },
      { "false", function() return false end, "false", false },
      { "a number", function() return 1.5 end, "1.5", 1.5 },
      { "a long integer", function() return math.maxinteger end, "9223372036854775807", math.maxinteger },
      { "text", function() return 'a "text"' end, 'a "text"', 'a "text"' },
      { "empty text", function() return "" end, "", "" },
      { "text with a zero byte", function() return "a\0b" end, "a\0b", "a\0b" },
      { "an empty table", function() return {} end, "{}", {} },
      { "an empty list", function() return json.array {} end, "[]", {} },
      { "a list", function() return { 1, "b", json.null } end, '[1,"b",null]', { 1, "b", json.null } },
      { "a table", function() return { b = 1, a = { true } } end, '{"a":[true],"b":1}',
        { b = 1, a = { true } } },
      { "parts", function() return { { type = "text", text = "hi" } } end, '[{"text":"hi","type":"text"}]' },
      { "bytes that are no UTF-8", function() return "a\xFFb" end, "a\u{FFFD}b" },
    }
    for _, case in ipairs(CASES) do
      it(case[1], function()
        local content, event = run_one(case[2])
        assert.equal(case[3], content)
        assert.is_nil(event.error)
        if case[4] ~= nil then assert.same(case[4], event.output) end
      end)
    end

    local cyclic = {}
    cyclic.again = cyclic
    local deep = {}
    for _ = 1, 600 do deep = { deep } end
    local BAD <const> = {
      { "a function", print }, { "a file", io.stdout }, { "a coroutine", coroutine.create(print) },
      { "a cycle", cyclic }, { "what is too deep", deep }, { "a number that is none", 0 / 0 },
      { "a list that is a table, too", { 1, 2, x = 3 } },
      { "what raises when it is looked at", setmetatable({}, { __tojson = function() error "no" end }) },
    }
    for _, case in ipairs(BAD) do
      it(case[1] .. ": an error of the call, and the run goes on", function()
        local content, event = run_one(function() return case[2] end)
        local err = json.decode(content)
        assert.same({ "VALIDATION_ERROR", "tool_output", "it" },
          { err.code, err.meta.where, err.meta.tool_id })
        assert.matches("JSON cannot hold", err.message)
        assert.is_nil(event.output)
      end)
    end

    it("what their schema changes: the model sees the checked value", function()
      local content, event = run_one(function() return { n = 1, secret = "x" } end,
        { output = s.object { n = s.integer(), unit = s.string():default "kg" } })
      assert.equal('{"n":1,"unit":"kg"}', content)
      assert.same({ n = 1, unit = "kg" }, event.output)
    end)

    it("too much: cut to the limit in the middle, and not a byte below it", function()
      local exact = run_one(function() return ("x"):rep(65536) end)
      assert.equal(65536, #exact)
      local content, event = run_one(function() return ("x"):rep(65537) end)
      assert.is_true(#content < 65536 + 100)
      assert.matches("bytes of 65537 were cut here", content)
      assert.equal(65537, #event.output) -- who looks at events sees all
      local list = run_one(function() return { ("y"):rep(1000) } end, { max_result_bytes = 1 })
      assert.equal("\n[... 1004 bytes of 1004 were cut here ...]\n", list)
    end)
  end)

  describe("that raise", function()
    it("text, tables, nil: TOOL_ERROR with what was said", function()
      local cases = {
        { function() error "plain" end, "plain" },
        { function() error({ message = "in a table" }) end, "in a table" },
        { function() error(nil) end, "nil" }, { function() error(false) end, "false" },
        { function() error({}) end, "table" },
        { function() local t = nil; return t.x end, "nil value" },
        { function() error(setmetatable({}, { __tostring = function() error "worse" end })) end,
          "error object" },
        { function() coroutine.wrap(function() error "deep" end)() end, "deep" },
      }
      for _, case in ipairs(cases) do
        local content = run_one(case[1])
        local err = json.decode(content)
        assert.same({ "TOOL_ERROR", "tool", false, "it", "lua" },
          { err.code, err.category, err.retriable, err.meta.tool_id, err.meta.tool_kind })
        assert.matches(case[2], err.message, 1, true)
      end
    end)

    it("an error of ours: it is that one, secrets masked", function()
      local content = run_one(function()
        harness.error("STATE_ERROR", "the key sk-abcdefghijklmnop was refused",
          { op = "get", api_key = "12345" })
      end)
      local err = json.decode(content)
      assert.same({ "STATE_ERROR", "state", true, "get" },
        { err.code, err.category, err.retriable, err.meta.op })
      assert.is_nil(content:find("sk-abc", 1, true) or content:find("12345", 1, true))
      assert.is_nil(content:find("traceback", 1, true) or content:find("stack", 1, true))
    end)

    it("what could be tried again where its cause could", function()
      -- an error raised by a run of another agent, say
      local content = run_one(function() harness.error("MODEL_ERROR", "busy", { status = 503 }) end)
      assert.is_true(json.decode(content).retriable)
    end)

    it("tell the log where: the traceback is kept for who wrote the tool", function()
      local _, _, _, h = run_calls({ it = tool(function() error "broken" end) }, { call("it", {}, "c7") })
      local logged
      for _, line in ipairs(h.definition.logger.own.lines) do
        if line[2]:find "tool" then logged = line end
      end
      assert.is_not_nil(logged)
      assert.equal("warn", logged[1])
      assert.same({ "c7", "INTERNAL_ERROR" }, { logged[3].call_id, logged[3].error.code })
      assert.matches("tools_spec.lua", logged[3].traceback)
    end)
  end)

  describe("are checked", function()
    it("against the schema: defaults filled in, unknown fields dropped", function()
      local seen
      local content = run_one(function(_, input) seen = input return "ok" end,
        { input = s.object { n = s.integer(), unit = s.string():default "kg" } }, { n = 3, extra = true })
      assert.equal("ok", content)
      assert.same({ n = 3, unit = "kg" }, seen)
    end)

    it("and their handler is not called with what does not fit", function()
      local called = false
      local content = run_one(function() called = true end, { input = s.object { n = s.integer() } },
        { n = "x" })
      local err = json.decode(content)
      assert.same({ "VALIDATION_ERROR", "tool_input", "it" }, { err.code, err.meta.where, err.meta.tool_id })
      assert.equal("$.n", err.meta.issues[1].path)
      assert.is_false(called)
    end)

    it("for being tools of the agent: others are not to be had (D10)", function()
      local tools = { mine = tool(function() return "mine" end), other = tool(function() return "other" end) }
      for _, name in ipairs { "other", "nothing", "bash", "" } do
        local shown = run_calls(tools, { call(name) }, { agent = { tools = { "mine" } } })
        local err = json.decode(shown[1])
        assert.same({ "TOOL_NOT_FOUND", name, "agent_allowlist" },
          { err.code, err.meta.tool_id, err.meta.where })
        assert.matches("it has: mine", err.message)
      end
    end)

    it("for arguments that were no JSON: never guessed", function()
      local shown = run_calls({ it = tool(function() return "called" end) },
        { { name = "it", arguments = {}, invalid_arguments = '{"a": 1' } })
      local err = json.decode(shown[1])
      assert.same({ "VALIDATION_ERROR", "malformed_response" }, { err.code, err.meta.reason })
    end)
  end)

  it("take arguments of a megabyte", function()
    local big, seen = ("é"):rep(500000), nil
    local content = run_one(function(_, input) seen = input.text return #input.text end, nil, { text = big })
    assert.equal("1000000", content)
    assert.equal(big, seen)
  end)

  it("are told apart by their ids, also when the model uses one twice or none", function()
    local h, model = define({ { tool_calls = { call("echo", { text = "1" }, "same"),
      call("echo", { text = "2" }, "same"), call("echo", { text = "3" }) } }, { text = "end" } })
    local session = h:session()
    local events = drain(session.agents.helper:stream "go")
    local ids, seen = {}, {}
    for i, event in ipairs(of(events, "tool.started")) do
      assert.is_nil(seen[event.call_id])
      seen[event.call_id], ids[i] = true, event.call_id
    end
    local sent = model.requests[2].messages
    for i = 1, 3 do
      assert.equal(ids[i], sent[3].tool_calls[i].id)
      assert.same({ ids[i], tostring(i) }, { sent[3 + i].tool_call_id, sent[3 + i].content })
    end
  end)

  describe("have a context", function()
    it("with all that design 02 promises", function()
      local seen = {}
      local content = run_one(function(ctx)
        for _, name in ipairs { "run_id", "session_id", "agent_id", "tool_id", "call_id",
          "idempotency_key" } do
          seen[name] = ctx[name]
        end
        ctx.metrics:histogram("x", 1)
        ctx.logger:debug "x"
        return tostring(ctx.signal.aborted) .. tostring(ctx:abort_reason()) .. tostring(next(ctx.metadata))
      end)
      assert.equal("falsenilnil", content)
      assert.same({ "s", "helper", "it" }, { seen.session_id, seen.agent_id, seen.tool_id })
      assert.equal(seen.run_id .. ":" .. seen.call_id, seen.idempotency_key)
    end)

    it("that says why it is to stop, as soon as it is", function()
      local reasons = {}
      local h = define({ { tool_calls = { call "it" } } }, { tools = { it = tool(function(ctx)
        pcall(harness.sleep, 1000)
        reasons = { ctx:abort_reason(), ctx.signal.reason }
      end) } })
      local stream = h:session().agents.helper:stream "go"
      clock.advance(1)
      stream:cancel "because"
      clock.advance(10)
      failure(stream.result, stream)
      assert.matches("because", reasons[1].message)
      assert.is_true(rawequal(reasons[1], reasons[2]))
    end)

    it("whose logger and metrics name the call", function()
      local lines = {}
      local function logger(bound)
        local l = {}
        for _, level in ipairs { "trace", "debug", "info", "warn", "error", "fatal" } do
          l[level] = function(_, message, fields) lines[#lines + 1] = { level, message, bound, fields } end
        end
        function l.child(_, fields)
          local all = {}
          for key, value in pairs(bound) do all[key] = value end
          for key, value in pairs(fields) do all[key] = value end
          return logger(all)
        end
        return l
      end
      run_calls({ it = tool(function(ctx) ctx.logger:info("hello", { x = 1 }) end) }, { call "it" },
        { definition = { logger = logger {} } })
      assert.same({ "info", "hello" }, { lines[1][1], lines[1][2] })
      local bound = lines[1][3]
      assert.same({ "spec", "s", "helper", "it" },
        { bound.harness, bound.session_id, bound.agent_id, bound.tool_id })
      assert.equal(26, #bound.run_id)
      assert.equal(1, lines[1][4].x)
    end)
  end)

  it("leave nothing behind: tasks, timers, signals, after a thousand of them", function()
    local calls = {}
    for i = 1, 1000 // FACTOR do calls[i] = call("echo", { text = tostring(i) }) end
    local held = core.live()
    local shown = run_calls(scripted.tools(), calls)
    assert.equal(#calls, #shown)
    assert.equal(tostring(#calls), shown[#calls])
    local now = core.live()
    assert.same({ held.tasks, held.timers, held.signals }, { now.tasks, now.timers, now.signals })
  end)

  it("raise nothing but errors of ours to whoever started the run", function()
    local _, _, err = run_calls({ it = tool(function() harness.error("OPERATION_CANCELLED", "x") end) },
      { call "it" })
    assert.is_true(errors.is(err))
  end)
end)
