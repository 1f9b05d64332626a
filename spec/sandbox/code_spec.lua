-- needs: user namespaces
-- sandbox/jail/code*.c through lua/harness/program.lua: what a program can do, and what becomes of those that
-- want more.

local clock = require "spec.support.clock"
local command = require "spec.support.command"
local harness = require "harness"
local jail_program = require "harness.jail_program"
local json = require "harness.json"
local process = require "harness.process"
local program = require "harness.program"
local still = require "spec.support.still"
local task = require "harness.task"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

-- The chain of coroutines that Debian's Lua 5.4.4 does not survive.
local CRASH <const> = [[
  local last
  for i = 1, 30000 do
    local previous = last
    last = coroutine.create(function()
      local x <close> = setmetatable({}, { __close = function() if previous then coroutine.close(previous) end end })
      coroutine.yield()
    end)
    coroutine.resume(last)
  end
  coroutine.close(last)]]

local function echo(calls)
  local answers = {}
  for i, call in ipairs(calls) do answers[i] = { value = json.encode(call.input) } end
  return answers
end

describe("a program", function()
  local opened = still(before_each, after_each)
  local programs

  local function define(limits)
    programs = program.new { limits = limits }
    opened[#opened + 1] = { shutdown = function(self) self.programs:close() end, programs = programs }
  end

  before_each(function() define() end)

  local function run(code, call, own_ms)
    return programs:run({ code = code, tools = { "a", "b" } }, { call = call or echo, own_ms = own_ms or 20000 })
  end

  local function result(code, call) return json.encode(run(code, call).result) end

  local function failure(code, call, own_ms)
    local ok, value = pcall(run, code, call, own_ms)
    assert(not ok, "the program succeeded: " .. code)
    assert(harness.is_error(value), tostring(value))
    return value
  end

  describe("gives back", function()
    local VALUES <const> = {
      "null", "true", "false", "0", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993", "1.0",
      "0.1", "-0.0", "1e+300", "4.94065645841247e-324", "1.7976931348623157e+308",
      '""', '"a\\u0000b"', '"é€😀"', '"\\n\\"\\\\"',
      "[]", "{}", "[[],{}]", '{"a":null}', "[null,1]", '{"":1,"A":2,"a":3}', '[1,1.0,"1"]',
    }

    -- Runs the code with tools of which a answers one value after the other, as often as they are called.
    local function with_values(code)
      local next_one, inputs = 0, {}
      return result(code:gsub("COUNT", #VALUES), function(calls)
        local answers = {}
        for i, call in ipairs(calls) do
          if call.tool == "b" then
            inputs[#inputs + 1] = json.encode(call.input.x)
            answers[i] = {}
          else
            next_one = next_one % #VALUES + 1
            answers[i] = { value = VALUES[next_one] }
          end
        end
        return answers
      end), inputs
    end

    it("what a tool has answered, to the last bit", function()
      local all = "[" .. table.concat(VALUES, ",") .. "]"
      assert.equal(all, (with_values "local t = {} for i = 1, COUNT do t[i] = tools.a() end return t"))
      assert.equal(all, (with_values "local t = {} for i = 1, COUNT do t[i] = { tools.a } end return parallel(t)"))
      for _, text in ipairs { "null", "9223372036854775807", "1.0", "[]", "{}", '"\\u0000"' } do
        assert.equal(text, result("return tools.a{}", function() return { { value = text } } end))
      end
    end)

    it("to a tool what it was given", function()
      local _, inputs = with_values "for _ = 1, COUNT do tools.b{ x = tools.a() } end"
      assert.same(VALUES, inputs)
    end)

    it("what Lua can hold of its own", function()
      assert.equal("[1,2.0,9223372036854775807]", result "return { 1, 4 / 2, math.maxinteger }")
      assert.equal("[]", result "return json.array{}")
      assert.equal("{}", result "return {}")
      assert.equal("null", result "")
      assert.equal("null", result "return nil")
      assert.equal("null", result "return null")
      assert.equal("true", result "return json.null == null and json.decode('null') == null")
      assert.equal('"[1,{\\"a\\":[]}]"', result "return json.encode{ 1, json.decode '{\"a\":[]}' }")
      assert.equal('"\u{FFFD}"', result "return '\\xff'")
    end)

    it("no random value", function()
      local seed = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
      math.randomseed(seed)
      local function random_value(depth)
        local kind = math.random(depth > 3 and 5 or 7)
        if kind == 1 then return math.random(math.mininteger, math.maxinteger) end
        if kind == 2 then return math.random() * 10 ^ math.random(-300, 300) end
        if kind == 3 then return ("%c\u{20AC}%d"):format(math.random(0, 127), math.random(100)) end
        if kind == 4 then return math.random(2) == 1 end
        if kind == 5 then return harness.null end
        local t, n = {}, math.random(0, 4)
        for i = 1, n do t[kind == 6 and i or "k" .. i] = random_value(depth + 1) end
        return kind == 6 and harness.array(t) or t
      end
      local texts, next_one = {}, 0
      for i = 1, math.max(400 // FACTOR, 40) do texts[i] = json.encode(random_value(0)) end
      local function answer(calls)
        if calls[1].tool == "b" then -- gets the value that a has given
          assert.equal(('{"x":%s}'):format(texts[next_one]), json.encode(calls[1].input), "seed " .. seed)
          return { {} }
        end
        next_one = next_one + 1
        return { { value = texts[next_one] } }
      end
      assert.equal("[" .. table.concat(texts, ",") .. "]", result(([[
        local t = {}
        for i = 1, %d do
          t[i] = tools.a{}
          tools.b{ x = t[i] }
        end
        return t]]):format(#texts), answer), "seed " .. seed)
    end)
  end)

  describe("is told why it failed:", function()
    for _, case in ipairs {
      { "a function", "return print", "result", "found a function" },
      { "a coroutine", "return coroutine.create(print)", "result", "found a thread" },
      { "NaN", "return 0/0", "result", "NaN" },
      { "infinity", "return { math.huge }", "result", "$[1]: found inf", "inf" },
      { "a cycle", "local t = {} t.t = t return t", "result", "$.t: found a table that contains itself" },
      { "a list with holes", "return { 1, nil, 3 }", "result", "a list with holes" },
      { "mixed keys", "return { 1, a = 2 }", "result", "both list items and named keys" },
      { "deep", "local t = {} for _ = 1, 1e5 do t = { t } end return t", "result", "at most 512 levels" },
      { "long", "return ('x'):rep(2e6)", "result", "longer than 1048576 bytes" },
      { "several", "return 1, 2", "result", "returned 2 values" },
      { "syntax", "local x = \n = 2", "syntax", "code:2: unexpected symbol near '='" },
      { "its line", "\n\nlocal x = nil + 1", "error", "code:3: attempt to perform arithmetic on a nil value" },
      { "an error of its own", "error 'mine'", "error", "code:1: mine" },
      { "an error that is a table", "error { code = 'X', n = 1 }", "error", '{"code":"X","n":1}' },
      { "an error that is no text", "error(print)", "error", "function: " },
      { "a table that JSON cannot hold", "error { print }", "error", "(error object is a table value)" },
      { "an error with a text", "error(setmetatable({}, { __tostring = function() return 'T' end }))", "error", "T" },
      { "one whose text fails", "error(setmetatable({}, { __tostring = error }))", "error", "(error object is a" },
      { "no error object", "error()", "error", "nil" },
      { "an unknown tool", "tools.c{}", "error", "code:1: there is no tool c; there are: a, b" },
      { "an input that is no table", "tools.a('x')", "error",
        "tools.a takes one table of named arguments, got a string" },
      { "two inputs", "tools.a({}, 1)", "error", "tools.a takes one table of named arguments, got 2 values" },
      { "an input with a function", "tools.a{ x = { print } }", "error", "$.x[1]: found a function" },
      { "an input that is too long", "tools.a{ x = ('x'):rep(2e6) }", "error", "longer than 1048576 bytes" },
      { "no call", "parallel{ 1 }", "error", "call 1 of parallel must be {tools.NAME, {...}}" },
      { "another function", "parallel{ { tools.a }, { print } }", "error", "call 2 of parallel must be" },
    } do
      it(case[1], function()
        local err = failure(case[2])
        assert.equal("TOOL_ERROR program_" .. case[3], err.code .. " " .. err.meta.reason)
        assert.truthy(err.message:find("the program failed: ", 1, true))
        assert.truthy(err.message:find(case[5] or case[4], 1, true), err.message)
      end)
    end
  end)

  describe("calls tools", function()
    it("with an input, without one, by their names and as values", function()
      assert.equal('[{"x":1},{},{}]',
        result "local f = tools['a'] return { f{ x = 1 }, tools.b(), parallel{ { 'a' } }[1] }")
    end)

    it("wherever Lua runs: coroutines, iterators, metamethods, sort, gsub, pcall", function()
      local made = 0
      local function count(calls)
        made = made + #calls
        return echo(calls)
      end
      assert.equal('[7,"n"]', result([[
        local co = coroutine.wrap(function() coroutine.yield(tools.a{ n = 7 }.n) end)
        local t = setmetatable({}, { __index = function(_, k) return tools.a{ k = k }.k end })
        local list = { 3, 1, 2 }
        table.sort(list, function(x, y) return tools.a{ x = x }.x < y end)
        ;("x"):gsub("x", function() tools.a() end)
        for _ in function(_, i) if not i then return tools.a{ i = 1 }.i end end do end
        local ok = pcall(tools.a)
        return { co(), t.n }]], count))
      assert.is_true(made >= 7)
    end)

    it("side by side, in one go, with answers in their order", function()
      local asked = {}
      assert.equal('[{"i":1},{"i":2},{"i":3}]', result(
        "local calls = {} for i = 1, 3 do calls[i] = { tools.a, { i = i } } end return parallel(calls)",
        function(calls)
          asked[#asked + 1] = #calls
          return echo(calls)
        end))
      assert.same({ 3 }, asked)
      assert.equal("[]", result "return json.array(parallel{})")
    end)

    it("that answer nothing: nil, and null in a list", function()
      local function nothing(calls)
        local answers = {}
        for i = 1, #calls do answers[i] = {} end
        return answers
      end
      assert.equal('"nil"', result("return type(tools.a{})", nothing))
      assert.equal("[null,null]", result("return parallel{ { tools.a }, { tools.b } }", nothing))
    end)

    it("that fail: an error with its text, which pcall catches", function()
      local function fails() return { { error = 'TOOL_ERROR: no "order" \u{20AC}' } } end
      assert.equal('"tools.a: TOOL_ERROR: no \\"order\\" €"', result("return select(2, pcall(tools.a))", fails))
      assert.matches("failed: code:2: tools.a: TOOL_ERROR: no", failure("\nlocal x = tools.a()", fails).message)
    end)

    it("of which one fails beside others: its error, once all have ended", function()
      local function second_fails() return { { value = "1" }, { error = "NO: 2" }, { error = "NO: 3" } } end
      assert.matches("failed: code:1: tools.b: NO: 2$",
        failure("parallel{ { tools.a }, { tools.b }, { tools.a } }", second_fails).message)
    end)

    it("whose answer is too long for it: that call fails, the program goes on", function()
      local huge = json.encode(("x"):rep(17 * 1024 * 1024))
      local function answer(calls)
        return { { value = "1" }, #calls > 1 and { value = huge } or nil }
      end
      local text = result("local ok, e = pcall(parallel, { { tools.a }, { tools.b } }) return { e, tools.a() }", answer)
      assert.matches('^%["tools.b: its output has 178%d+ bytes, too many for a program",1%]$', text)
    end)

    it("with answers of megabytes", function()
      local long = ("x"):rep(4 * 1024 * 1024)
      assert.equal("4194304", result("return #tools.a()", function() return { { value = json.encode(long) } } end))
    end)

    it("a thousand times, and no more", function()
      local err = failure "while true do tools.a() end"
      assert.same({ "TOOL_ERROR", "too_many_calls", 1000 }, { err.code, err.meta.reason, err.meta.limit })
      assert.equal("1000", result "for _ = 1, 1000 do tools.a() end return 1000")
    end)
  end)

  describe("prints", function()
    it("what print would", function()
      assert.equal("a\t1\tnil\n\n2.0\n", run("print('a', 1, nil) print() print(2.0) return 1").printed)
      assert.equal("\u{FFFD}\0\n", run("print('\\xff\\0')").printed)
      assert.is_nil(run("return 1").printed)
      assert.equal("T\n", run("print(setmetatable({}, { __tostring = function() return 'T' end }))").printed)
    end)

    it("at most 16 KiB, with what is missing counted", function()
      local printed = run("for _ = 1, 1e5 do print('0123456789') end return 1").printed
      assert.matches("\n%[%.%.%. 1083616 more bytes were printed %.%.%.%]\n$", printed)
      assert.equal(16384 + #"\n[... 1083616 more bytes were printed ...]\n", #printed)
      assert.is_true(#run("print(('x'):rep(2e7))").printed < 17000)
    end)

    it("beside the longest result, and with characters that JSON escapes", function()
      local answer = run("print(('\\1'):rep(1e5)) return ('x'):rep(1048576 - 13)")
      assert.equal(1048563, #answer.result)
      assert.equal(("\1"):rep(16384), answer.printed:sub(1, 16384))
    end)

    it("before it failed, too", function()
      assert.equal("step 1\n", failure("print('step 1') error 'x'").meta.printed)
    end)
  end)

  describe("has no", function()
    for _, name in ipairs {
      "os", "io", "package", "require", "debug", "dofile", "loadfile", "collectgarbage", "warn", "string.dump",
      "harness", "coroutine.running and _G.arg",
    } do
      it(name, function() assert.equal("null", result("return " .. name .. " or null")) end)
    end

    it("bytecode", function()
      assert.equal('"attempt to load a binary chunk (mode is \'t\')"',
        result [[return select(2, load("\27Lua" .. ("x"):rep(100)))]])
      assert.matches("binary chunk", result [[return select(2, load(function() return "\27Lua" end, "x", "b"))]])
      assert.matches("binary chunk", result [[return select(2, load("\27Lua", "x", "bt", {}))]])
      assert.equal("[3,4]", result [[return { load("return 1 + 2")(), load("return x", "c", "t", { x = 4 })() }]])
      assert.matches("binary chunk", failure("\27LuaS").message)
    end)

    it("finalizers", function()
      assert.matches("cannot have __gc here", failure("setmetatable({}, { __gc = print })").message)
      assert.equal("1", result "setmetatable({}, setmetatable({}, { __index = { __gc = print } })) return 1")
    end)

    it("way to change what strings do", function()
      assert.equal("false", result "return getmetatable('')")
    end)
  end)

  describe("that wants too much ends:", function()
    local DEEP <const> = "local function f() return 1 + f() end "
    for _, case in ipairs {
      { "an endless loop", "\nwhile true do end", "cpu", "code:2: the program has used its 100 ms of processor time" },
      { "one that catches everything", "while true do pcall(function() while true do end end) end", "cpu" },
      { "one in a coroutine", "coroutine.wrap(function() while true do end end)()", "cpu", "code:1:" },
      { "one that makes coroutines", "while true do coroutine.wrap(function() while true do end end)() end", "cpu" },
      { "one in __close", "local x <close> = setmetatable({}, { __close = function() while true do end end })", "cpu" },
      { "one in an error handler", "xpcall(error, function() while true do end end)", "cpu" },
      { "one in __tostring of its error", "error(setmetatable({}, { __tostring = function() while true do end end }))",
        "cpu" },
      { "one in __tojson of its result", "return setmetatable({}, { __tojson = function() while true do end end })",
        "cpu" },
      { "one in gsub", "('x'):gsub('x', function() while true do end end)", "cpu" },
      { "one in load", "load(function() while true do end end)", "cpu" },
      { "a pattern", "('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b')", "cpu", "library function" },
      { "a pattern in pcall", "while true do pcall(string.find, ('x'):rep(1e4), '.-.-.-.-c') end", "cpu" },
      { "table.move", "table.move({}, 1, 1 << 62, 2)", "cpu", "library function" },
      { "string.rep", "return #('x'):rep(1 << 30)", "memory", "not enough memory: a program may use 67108864 bytes" },
      { "string.rep of rep", "local s = 'x' while true do s = s:rep(10) end", "memory" },
      { "concatenation", "local s = 'x' while true do s = s .. s end", "memory" },
      { "a table", "local t = {} while true do t[#t + 1] = #t end", "memory" },
      { "table.concat", "local t = {} for i = 1, 1e4 do t[i] = ('x'):rep(1e4) end return #table.concat(t)",
        "memory" },
      { "strings", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end", "memory" },
      { "coroutines", "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(print) end", "memory" },
      { "json.decode", "return #json.decode('[' .. ('{},'):rep(1e6) .. '1]')", "memory" },
      { "a result that fills the memory", "local t = {} for i = 1, 5e5 do t[i] = i end return t", "result" },
      { "recursion", DEEP .. "f()", "memory|error" },
      { "recursion in pcall", "local function f() pcall(f) return f() end f()", "cpu|memory|error" },
      { "recursion through metamethods", "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) "
        .. "return t[1]", "error", "C stack overflow" },
      { "recursion of coroutines", "local function f() coroutine.wrap(f)() end f()", "error", "C stack overflow" },
      { "an error in its error handler", "local function h() error() end return (select(2, xpcall(error, h)))", nil },
      { "a parser's depth", "return load(('('):rep(1e5))", "result" },
      { "an unpack", "return select('#', table.unpack({}, 1, 1e8))", "error", "too many results to unpack" },
      { "a chain of __index", "local t = {} for _ = 1, 3000 do t = setmetatable({}, { __index = t }) end return t.x",
        "error", "loop" },
    } do
      it(case[1], function()
        define { cpu_ms = (case[3] or ""):find "cpu" and 100 or 20000 }
        local before = os.time()
        local ok, err = pcall(run, case[2])
        assert.is_true(os.time() - before < 10, "it took too long")
        if not case[3] then assert.is_true(ok) return end
        assert.is_false(ok)
        assert.equal("TOOL_ERROR", err.code, tostring(err))
        assert.truthy(("|" .. case[3] .. "|"):find("|" .. err.meta.reason:gsub("program_", "") .. "|", 1, true),
          err.meta.reason .. ": " .. err.message)
        if case[4] then assert.truthy(err.message:find(case[4], 1, true), err.message) end
        assert.equal("2", result "return 1 + 1") -- the next one is not touched by it
      end)
    end

    it("a lack of memory that it catches", function()
      assert.equal('[false,"not enough memory",2]',
        result "local ok, e = pcall(string.rep, 'x', 1 << 30) return { ok, e, 1 + 1 }")
    end)

    it("a mistake of Lua itself, which ends the process", function()
      local err = failure(CRASH)
      assert.same({ "SANDBOX_ERROR", "process_died", 11 }, { err.code, err.meta.reason, err.meta.signal })
      assert.equal("2", result "return 1 + 1")
    end)

    it("no budget of processor time is spent by waiting", function()
      define { cpu_ms = 100 }
      assert.equal("1", result("tools.a() return 1", function(calls)
        local until_s = os.clock() + 0.3 -- of ours
        while os.clock() < until_s do end
        return echo(calls)
      end))
    end)
  end)

  it("that computes for nobody any more ends, long before its time is up", function()
    local request = json.encode {
      code = "while true do end", tools = json.array {}, cpu_ms = 60000, memory_bytes = 1 << 24,
    }
    local directory <close> = command.directory { request = request .. "\n" }
    local before = os.time()
    local ended = process.run {
      file = "sh", args = { "-c", "/proc/self/fd/3 code <request | true" }, cwd = directory.path,
      fds = { jail_program.hold() },
    }
    jail_program.release()
    assert.same({ exit_code = 0, stdout = "", stderr = "" }, ended)
    assert.is_true(os.time() - before < 20)
  end)

  -- Should something get out of Lua all the same.
  describe("that is native code can", function()
    local PROBE <const> = command.HARNESS_LUA:match "^(.*)/[^/]*$" .. "/spec/sandbox/code_probe"

    for _, name in ipairs { "nothing", "memory" } do
      it("do " .. name, function() assert.equal(0, process.run({ file = PROBE, args = { name } }).exit_code) end)
    end

    for _, name in ipairs {
      "open", "create", "read_other", "write_other", "fork", "exec", "socket", "kill", "signal_self", "ptrace", "pipe",
      "dup", "memfd", "setuid", "unshare", "chdir", "stat", "prctl", "rlimit", "io_uring", "mprotect", "executable",
      "other_architecture",
    } do
      it("not " .. name, function()
        assert.same({ signal = 31, stdout = "", stderr = "" }, process.run { file = PROBE, args = { name } })
      end)
    end
  end)

  it("is told when it was too late, by the clock of the engine", function()
    local err
    local t = task.spawn(function() err = failure("while true do end", nil, 500) end)
    clock.advance(499)
    assert.is_nil(err)
    clock.advance(1)
    t:await()
    assert.same({ "OPERATION_TIMEOUT", "tool", 500 }, { err.code, err.meta.scope, err.meta.timeout_ms })
  end)

  it("does not pay for the time of the tools that it calls", function()
    local value, is_waiting
    local t = task.spawn(function()
      value = run("for _ = 1, 3 do tools.a() end return 'done'", function(calls)
        is_waiting = true
        harness.sleep(400)
        is_waiting = false
        return echo(calls)
      end, 500).result
    end)
    while not t:done() do
      if is_waiting then clock.advance(400) else task.pause() end
    end
    t:await()
    assert.equal("done", value)
  end)
end)
