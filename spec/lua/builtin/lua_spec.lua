-- needs: user namespaces
-- lua/harness/builtin/lua.lua and program_tools.lua: programs of a model within a run.

local clock = require "spec.support.clock"
local descendants = require "spec.support.descendants"
local harness = require "harness"
local json = require "harness.json"
local program_tools = require "harness.program_tools"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local table_sandbox = require "spec.support.table_sandbox"
local task = require "harness.task"

local drain, of = scripted.drain, scripted.of
local s = harness.schema

local TWO_CALLS <const> = "return tools.add{ a = 1 } + tools.add{ a = 2 }"

describe("the tool lua", function()
  local opened = still(before_each, after_each)

  local sleeping = 0

  local function slow(ms)
    sleeping = sleeping + 1
    local _ <close> = setmetatable({}, { __close = function() sleeping = sleeping - 1 end })
    harness.sleep(ms)
  end

  local function tools(log)
    return {
      add = {
        description = "Adds.", input = s.object { a = s.integer(), b = s.integer():default(1) }, output = s.integer(),
        run = function(ctx, input)
          if log then log[#log + 1] = { input.a, ctx.call_id, ctx.idempotency_key:match ":(.*)$", ctx.tool_id } end
          return input.a + input.b
        end,
      },
      wait = {
        description = "Waits.", input = s.object { ms = s.integer() },
        run = function(_, input)
          slow(input.ms)
          return input.ms
        end,
      },
      fails = { description = "Fails.", input = s.object {}, run = function() error("broken", 0) end },
      nothing = { description = "Nothing.", input = s.object {}, run = function() end },
    }
  end

  local function define(turns, over)
    over = over or {}
    over.tools = over.tools or tools()
    over.agent = over.agent or {}
    over.agent.builtin_tools = over.agent.builtin_tools or { "lua" }
    local h, model = scripted.harness(turns, over)
    opened[#opened + 1] = h
    return h, model
  end

  local function call(code, id) return { name = "lua", arguments = { code = code }, id = id or "c1" } end

  -- All events. The clock is turned while a tool or a person takes its time: a process that starts does
  -- not take any of the clock.
  local function follow(stream, step_ms)
    local events, err
    local reader = task.spawn(function() events, err = drain(stream) end)
    while not reader:done() do
      if step_ms and sleeping > 0 then clock.advance(step_ms) end
      task.pause()
    end
    return events, err
  end

  -- One reply that calls lua; what the model is shown of it, decoded, and the events.
  local function run(code, over)
    local h, model = define({ { tool_calls = { call(code) } }, { text = "end" } }, over)
    local events, err = follow(h:session("s").agents.helper:stream "go")
    local request = model.requests[2]
    local content = request and request.messages[#request.messages].content
    return content and json.decode(content), events, err, model
  end

  it("runs a program that calls the agent's tools, and shows the model one value", function()
    local log = {}
    local shown, events, err = run([[
      local sum = 0
      for i = 1, 3 do sum = sum + tools.add{ a = i } end
      print("sum", sum)
      return { sum = sum, list = parallel{ { tools.add, { a = 1, b = 2 } }, { tools.nothing } } }]],
      { tools = tools(log) })
    assert.is_nil(err)
    assert.same({ result = { sum = 9, list = { 3, harness.null } }, printed = "sum\t9\n" }, shown)
    assert.same({ { 1, "c1/1", "c1/1", "add" }, { 2, "c1/2", "c1/2", "add" }, { 3, "c1/3", "c1/3", "add" },
      { 1, "c1/4", "c1/4", "add" } }, log)
    assert.equal("succeeded", events[#events].status)
  end)

  it("shows what it did in events: its calls within it, each with an id of its own", function()
    local _, events = run "tools.add{ a = 1 } pcall(tools.fails) return tools.add{ a = 2 }"
    local lines = {}
    for _, event in ipairs(events) do
      if event.type:find "^tool" then
        lines[#lines + 1] = table.concat({ event.type, event.tool_id, event.call_id, event.parent_call_id or "-",
          event.error and event.error.code or event.output and json.encode(event.output) or "" }, " ")
        assert.is_string(event.invocation_id)
      end
    end
    assert.same({
      "tool.started lua c1 - ", "tool.started add c1/1 c1 ", "tool.finished add c1/1 c1 2",
      "tool.started fails c1/2 c1 ", "tool.finished fails c1/2 c1 TOOL_ERROR", "tool.started add c1/3 c1 ",
      "tool.finished add c1/3 c1 3", 'tool.finished lua c1 - {"result":3}',
    }, lines)
  end)

  it("has the spans of its calls below its own", function()
    local heard = require("harness.testing.recorder").new()
    run("return tools.add{ a = 1 }", { definition = { telemetry = { listener = heard } } })
    local outer, inner = heard.span "execute_tool lua", heard.span "execute_tool add"
    assert.equal(outer.span_id, inner.parent_span_id)
    assert.equal("c1/1", inner.attributes["gen_ai.tool.call.id"])
  end)

  it("shows the model head and tail of a result that is long", function()
    local h, model = define { { tool_calls = { call "return ('x'):rep(100000)" } }, { text = "end" } }
    follow(h:session("s").agents.helper:stream "go")
    local shown = model.requests[2].messages[4].content
    assert.matches('^{"result":"xxx.*%[%.%.%. 34477 bytes of 100013 were cut here %.%.%.%].*xxx"}$', shown)
    assert.is_true(#shown < 65700)
  end)

  it("stores the events of inner calls like any others", function()
    local h = define { { tool_calls = { call "return tools.add{ a = 1 }" } }, { text = "end" } }
    local session = h:session "s"
    local events = follow(session.agents.helper:stream "go")
    local stored = {}
    for _, event in ipairs(session:events(events[1].run_id)) do
      if event.type == "tool.finished" then
        stored[#stored + 1] = { event.payload.call_id, event.payload.parent_call_id, event.payload.output }
      end
    end
    assert.same({ { "c1/1", "c1", "[redacted]" }, { "c1", nil, "[redacted]" } }, stored)
  end)

  it("tells the model of a mistake, with its line and what was printed before", function()
    local shown = run "print 'one'\nlocal x = nil\nreturn x.y"
    assert.same({ "TOOL_ERROR", "program_error", "one\n" }, { shown.code, shown.meta.reason, shown.meta.printed })
    assert.matches("code:3: attempt to index a nil value", shown.message)
    for code, reason in pairs { ["return ="] = "program_syntax", ["return print"] = "program_result" } do
      assert.equal(reason, run(code).meta.reason)
    end
    assert.matches("at least 1", run("").message)
    assert.matches("at most 100000", run(("-"):rep(100001)).message)
  end)

  it("gives the program what the ordinary checks say", function()
    local shown = run [[
      local function said(f, input) return select(2, pcall(f, input)) end
      return { said(tools.add, {}), said(tools.add, { a = "x" }), said(tools.fails, {}) }]]
    assert.matches("tools.add: VALIDATION_ERROR: the arguments do not fit the tool's schema: $.a: is required",
      shown.result[1], 1, true)
    assert.matches("tools.add: VALIDATION_ERROR", shown.result[2])
    assert.matches('tools.fails: TOOL_ERROR: tool "fails" failed: broken', shown.result[3], 1, true)
  end)

  it("has only the tools that the agent lists, and not itself", function()
    local over = function() return { agent = { tools = { "add" } } } end
    assert.matches("there is no tool fails; there are: add", run("tools.fails{}", over()).message)
    assert.matches("there is no tool lua; there are: add", run("tools.lua{ code = 'return 1' }", over()).message)
    assert.matches("there is no tool add; there are: none", run("tools.add{}", { agent = { tools = {} } }).message)
  end)

  it("has the built-in tools that the agent lists", function()
    local sandbox = table_sandbox.session { ["/w/a"] = "1\n2\n", ["/w/b"] = "3\n" }
    local shown = run([[
      local lines = {}
      for _, path in ipairs(tools.glob{ pattern = "/w/*" }.paths) do
        for line in tools.read{ path = path }.content:gmatch "%d+" do lines[#lines + 1] = tonumber(line) end
      end
      tools.write{ path = "/w/c", content = table.concat(lines, "+") }
      return lines]], {
      agent = { builtin_tools = { "glob", "read", "write", "lua" }, tools = {} },
      definition = { sandbox = table_sandbox.new(sandbox) },
    })
    assert.same({ 1, 2, 3 }, shown.result)
    assert.equal("1+2+3", sandbox.files["/w/c"])
  end)

  describe("and permissions:", function()
    local function rules(rule, hook, extra)
      local agent = { permissions = { add = rule }, on_permission = hook }
      for key, value in pairs(extra or {}) do agent[key] = value end
      return { agent = agent }
    end

    it("what is denied to the model is denied to its programs", function()
      local shown = run("local ok, e = pcall(tools.add, { a = 1 }) return e", rules "deny")
      assert.matches("tools.add: PERMISSION_DENIED: the call of add was denied", shown.result)
    end)

    it("on_permission is asked for each inner call, and may wait; the program waits with it", function()
      local asked = {}
      local h, model = define({ { tool_calls = { call(TWO_CALLS) } }, { text = "end" } },
        rules("ask", function(request)
          asked[#asked + 1] = { request.tool_id, request.call_id, request.input.a }
          slow(30000)
          return "allow"
        end))
      follow(h:session("s").agents.helper:stream "go", 5000)
      assert.same({ { "add", "c1/1", 1 }, { "add", "c1/2", 2 } }, asked)
      assert.equal('{"result":5}', model.requests[2].messages[4].content)
    end)

    it("a person's time is not the program's: only the inner call has it", function()
      local shown
      local code = "local t = {} for i = 1, 3 do t[i] = tools.add{ a = i } end return t"
      local h, model = define({ { tool_calls = { call(code) } }, { text = "end" } }, {
        agent = { permissions = { add = "ask" }, on_permission = function()
          slow(90)
          return "allow"
        end },
        definition = { defaults = { tool_timeout_ms = 5000 } },
      })
      follow(h:session("s").agents.helper:stream "go", 30)
      shown = json.decode(model.requests[2].messages[4].content)
      assert.same({ 2, 3, 4 }, shown.result)
    end)

    it("the tool itself may be denied, or asked for", function()
      local shown = run("return 1", { agent = { permissions = { lua = "deny" } } })
      assert.equal("PERMISSION_DENIED", shown.code)
      local asked
      shown = run("return 1", { agent = { permissions = { lua = "ask" }, on_permission = function(request)
        asked = request.input.code
        return "allow"
      end } })
      assert.same({ "return 1", 1 }, { asked, shown.result })
    end)
  end)

  describe("and budgets:", function()
    it("inner calls count as those of the model; one too many ends the run, and none of them is made", function()
      local log = {}
      local over = { tools = tools(log), agent = { budget = { max_tool_calls = 3 } } }
      local _, events, err = run("for i = 1, 3 do pcall(tools.add, { a = i }) end return 1", over)
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_tool_calls", 3 }, { err.code, err.meta.reason, err.meta.limit })
      assert.equal(2, #log)
      assert.equal(#of(events, "tool.started"), #of(events, "tool.finished"))
      local shown = run(TWO_CALLS, { agent = { budget = { max_tool_calls = 3 } } })
      assert.equal(5, shown.result)
    end)

    it("those of a workflow, too", function()
      local h = define({ { tool_calls = { call(TWO_CALLS) } }, { text = "end" } }, {
        definition = { workflows = { w = { run = function(ctx) return ctx.agents.helper:run "go" end } } },
      })
      local ok, err = pcall(function()
        return h:session("s").workflows.w:run({}, { budget = { max_tool_calls = 2 } })
      end)
      assert.is_false(ok)
      assert.same({ "AGENT_LOOP_BUDGET_EXCEEDED", "max_tool_calls" }, { err.code, err.meta.reason })
    end)

    it("at most so many at once as of the model", function()
      local now, most = 0, 0
      local wide = {
        add = { description = "x", input = s.object {}, run = function()
          now = now + 1
          most = math.max(most, now)
          task.pause()
          now = now - 1
        end },
      }
      local shown = run("local t = {} for i = 1, 9 do t[i] = { tools.add } end return #parallel(t)",
        { tools = wide, definition = { defaults = { max_parallel_tool_calls = 3 } } })
      assert.same({ 9, 3 }, { shown.result, most })
    end)
  end)

  it("gives a program whole outputs, which the model would have got cut", function()
    local text = ("0123456789"):rep(20000)
    local long = { long = {
      description = "x", input = s.object {}, max_result_bytes = 100, run = function() return text end,
    } }
    local shown = run("local t = tools.long{} return { #t, t:sub(-3) }", { tools = long })
    assert.same({ 200000, "789" }, shown.result)
  end)

  it("tells a program of an output that JSON cannot hold", function()
    local odd = { odd = { description = "x", input = s.object {}, run = function() return print end } }
    assert.matches("tools.odd: VALIDATION_ERROR: tool \"odd\" returned what JSON cannot hold",
      run("return select(2, pcall(tools.odd))", { tools = odd }).result, 1, true)
  end)

  describe("and its end:", function()
    it("too late: a timeout of the tool, told to the model", function()
      local h, model = define({ { tool_calls = { call "while true do end" } }, { text = "end" } },
        { definition = { defaults = { tool_timeout_ms = 700 } } })
      local stream = h:session("s").agents.helper:stream "go"
      repeat until stream:next().type == "tool.started"
      clock.advance(700)
      local events = follow(stream)
      local shown = json.decode(model.requests[2].messages[4].content)
      assert.same({ "OPERATION_TIMEOUT", "tool", "settled" }, { shown.code, shown.meta.scope, shown.meta.settlement })
      assert.equal("succeeded", events[#events].status)
    end)

    it("of an inner tool that is too late: an error in the program", function()
      local h, model = define({ { tool_calls = { call "return select(2, pcall(tools.wait, { ms = 10000 }))" } },
        { text = "end" } }, { definition = { defaults = { tool_timeout_ms = 2000 } } })
      follow(h:session("s").agents.helper:stream "go", 250)
      local shown = json.decode(model.requests[2].messages[4].content)
      assert.matches("^tools.wait: OPERATION_TIMEOUT: ", shown.result)
    end)

    it("an abort while it computes, and while a tool works: all has its end, no process is left", function()
      for _, case in ipairs {
        { "while true do end", { "lua" } }, { "tools.wait{ ms = 1e6 // 1 | 0 }", { "lua", "wait" } },
        { "parallel{ { tools.wait, { ms = 100000 } }, { tools.wait, { ms = 100000 } } }", { "lua", "wait", "wait" } },
        { "while true do pcall(tools.wait, { ms = 100000 }) end", { "lua", "wait" } },
      } do
        local h = define { { tool_calls = { call(case[1]) } }, { text = "end" } }
        local stream = h:session("s").agents.helper:stream "go"
        local events, err, begun = {}, nil, 0
        local reader = task.spawn(function()
          local _
          _, err = pcall(function()
            for event in stream do
              events[#events + 1] = event
              if event.type == "tool.started" then begun = begun + 1 end
            end
          end)
        end)
        while begun < #case[2] do task.pause() end
        local processes
        local latest = os.time() + 30
        repeat -- bubblewrap, and in it harness-jail
          task.pause()
          assert(os.time() < latest, "there is no process of the program")
          processes = descendants.of "self"
        until #processes == 2
        if #case[2] == 1 then -- it computes
          repeat task.pause() until descendants.read(processes[2], "status"):find "Seccomp:%s*2"
        end
        stream:cancel "enough"
        reader:await()
        assert.same({ "OPERATION_CANCELLED", "cancelled" }, { err.code, events[#events].status })
        local finished = {}
        for i, event in ipairs(of(events, "tool.finished")) do
          assert.equal("OPERATION_CANCELLED", event.error.code)
          finished[i] = event.tool_id
        end
        assert.equal("lua", finished[#finished])
        table.sort(finished)
        assert.same(case[2], finished)
        assert.same({}, h:shutdown().errors)
        descendants.await_none(processes)
        assert.same({}, descendants.of "self")
      end
    end)

    it("the process is killed from outside: an error that names it, and the next program runs", function()
      local pid
      local killing = tools()
      killing.kill = { description = "x", input = s.object {}, run = function()
        for _, child in ipairs(descendants.of "self") do
          if descendants.read(child, "status"):find "Seccomp:%s*2" then pid = child end
        end
        os.execute("kill -9 " .. pid)
      end }
      local h, model = define({ { tool_calls = { call "tools.kill{} return 1" } }, { tool_calls = { call "return 2" } },
        { text = "end" } }, { tools = killing })
      follow(h:session("s").agents.helper:stream "go")
      local shown = json.decode(model.requests[2].messages[4].content)
      assert.same({ "SANDBOX_ERROR", "process_died", 9 }, { shown.code, shown.meta.reason, shown.meta.signal })
      assert.equal('{"result":2}', model.requests[3].messages[6].content)
    end)
  end)

  it("is offered only where it is listed, with the other tools as functions", function()
    local sandbox = table_sandbox.new(table_sandbox.session {})
    local function offered(agent)
      local h, model = define({ { text = "end" } },
        { agent = agent, tools = tools(), definition = { sandbox = sandbox } })
      follow(h:session("s").agents.helper:stream "go")
      local names, about = {}, nil
      for i, spec in ipairs(model.requests[1].tools or {}) do
        names[i] = spec.name
        if spec.name == "lua" then about = spec.description end
      end
      return table.concat(names, " "), about
    end
    assert.equal("read write edit glob grep list add", (offered { builtin_tools = true, tools = { "add" } }))
    local names, about = offered { builtin_tools = { "bash", "lua", "list" }, tools = { "add", "wait" } }
    assert.equal("lua list add wait", names)
    assert.truthy(about:find("\ntools.add{ a: integer, b?: integer } -> integer\n", 1, true), about)
    assert.truthy(about:find("\ntools.wait{ ms: integer }\n", 1, true))
    assert.truthy(about:find("\ntools.list{ path: string } -> { entries: ", 1, true))
    assert.falsy(about:find("tools.bash", 1, true)) -- the sandbox runs no commands
    assert.falsy(about:find("tools.lua", 1, true))
    assert.matches("You have no other tools", select(2, offered { builtin_tools = { "lua" }, tools = {} }))
  end)

  it("needs no sandbox", function()
    assert.equal(1, run("return 1").result)
  end)

  it("is meant by Lua, too", function()
    local as_lua = { name = "Lua", arguments = { code = "return 7" }, id = "c" }
    local h, model = define { { tool_calls = { as_lua } }, { text = "end" } }
    follow(h:session("s").agents.helper:stream "go")
    assert.equal('{"result":7}', model.requests[2].messages[4].content)
  end)

  describe("the function of a tool", function()
    local function signature(input, output)
      return program_tools.signature { id = "t", input = s.json(input), output = output and s.json(output) }
    end

    for _, case in ipairs {
      { { type = "object" }, "tools.t(table)" },
      { { type = "object", additionalProperties = false }, "tools.t{}" },
      { { type = "object", properties = { b = { type = "string" }, a = { type = "integer" } }, required = { "b" } },
        "tools.t{ b: string, a?: integer }" },
      { { type = "object", properties = { ["a-b"] = true } }, 'tools.t{ ["a-b"]?: any }' },
      { { type = "object", properties = { k = { enum = { "x", 1 } }, c = { const = true } } },
        'tools.t{ c?: true, k?: "x" | 1 }' },
      { { type = "object", properties = {
        l = { type = "array", items = { type = "object", properties = { n = { type = "null" } } } } } },
        "tools.t{ l?: { n?: null }[] }" },
      { { type = "object", properties = {
        l = { type = "array", items = { type = { "string", "null" } } }, m = { type = "array" } } },
        "tools.t{ l?: (string | null)[], m?: any[] }" },
      { { type = "object", additionalProperties = { type = "number" } }, "tools.t{ [string]: number }" },
      { { type = "object", properties = {
        u = { anyOf = { { type = "string" }, { type = "string" }, { type = "number" } } } } },
        "tools.t{ u?: string | number }" },
      { { type = "object", properties = { r = { ["$ref"] = "#" } } }, 'tools.t{ r?: JSON Schema {"$ref":"#"} }' },
      { { type = "object", properties = { p = { type = "array", prefixItems = json.array { { type = "string" } } } } },
        'tools.t{ p?: JSON Schema {"prefixItems":[{"type":"string"}],"type":"array"} }' },
    } do
      it("is " .. case[2], function() assert.equal(case[2], signature(case[1])) end)
    end

    it("says what it returns, and is called by any name", function()
      assert.equal("tools.t(table) -> string", signature({ type = "object" }, { type = "string" }))
      assert.equal('tools["a-b"](table)', program_tools.signature { id = "a-b", input = s.json { type = "object" } })
    end)
  end)

  it("checks `programs` of a definition", function()
    local function failure(programs)
      local ok, err = pcall(define, {}, { definition = { programs = programs } })
      assert.is_false(ok)
      return err.meta.path .. " " .. err.meta.reason
    end
    assert.equal("programs wrong_type", failure(1))
    assert.equal("programs.limit unknown_key", failure { limit = {} })
    assert.equal("programs.limits.cpu_ms invalid_limit", failure { limits = { cpu_ms = 0 } })
    assert.equal("programs.limits.memory_bytes invalid_limit", failure { limits = { memory_bytes = 1 } })
    assert.equal("programs.without[1] unknown_protection", failure { without = { "namespace" } })
    local shown = run("for i = 1, 3 do tools.nothing() end return 1",
      { definition = { programs = { limits = { calls = 2, cpu_ms = 500, memory_bytes = 1 << 22 } } } })
    assert.same({ "too_many_calls", 2 }, { shown.meta.reason, shown.meta.limit })
  end)
end)
