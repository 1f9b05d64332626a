--- lua/harness/chain.lua: the coroutine library of scripts, beside that of a stock lua5.4.

local clock = require "spec.support.clock"
local errors = require "harness.errors"
local harness = require "harness"
local live = require "spec.support.live"

local LUA <const> = os.getenv "HARNESS_LUA" or "build/harness-lua"

-- What scripts do with coroutines, without ever waiting: name, code. Each has to do the same in both
-- interpreters, to the count of the values and the places in messages.
local CASES <const> = {
  { "values go in and out", [[
    local c = coroutine.create(function(a, b) local x, y = coroutine.yield(a, nil, b) return y, x, nil end)
    log(coroutine.resume(c, 1, 2)) log(coroutine.resume(c, "x", "y")) log(coroutine.resume(c)) ]] },
  { "no value is not nil", [[
    local c = coroutine.create(function() log(coroutine.yield()) end)
    log(coroutine.resume(c)) log(coroutine.resume(c)) log((coroutine.resume(c)))
    log(coroutine.wrap(function() end)()) log(coroutine.wrap(function() coroutine.yield() end)()) ]] },
  { "many values", [[
    local c = coroutine.create(function(...) return ... end)
    return select("#", coroutine.resume(c, table.unpack({}, 1, 250))) ]] },
  { "the main chunk", [[
    local co, main = coroutine.running()
    return type(co), main, coroutine.isyieldable(), coroutine.status(co), coroutine.resume(co) ]] },
  { "inside of a coroutine", [[
    local main = coroutine.running()
    return coroutine.wrap(function()
      local co, is_main = coroutine.running()
      return is_main, coroutine.isyieldable(), coroutine.isyieldable(co), coroutine.status(co),
        coroutine.status(main), coroutine.isyieldable(main)
    end)() ]] },
  { "a yield outside", [[ log(pcall(coroutine.yield, 1)) log(pcall(function() coroutine.yield(1) end)) ]] },
  { "resuming itself", [[
    local c c = coroutine.create(function() return coroutine.resume(c, 1, 2) end)
    log(coroutine.resume(c))
    local w w = coroutine.wrap(function() return pcall(w) end) log(w()) ]] },
  { "resuming what resumes it", [[
    local outer outer = coroutine.create(function()
      return coroutine.resume(coroutine.create(function() return coroutine.resume(outer) end))
    end)
    return coroutine.resume(outer) ]] },
  { "an error", [[
    local c = coroutine.create(function() error "oops" end)
    log(coroutine.resume(c)) log(coroutine.status(c)) log(coroutine.resume(c)) log(coroutine.close(c))
    log(coroutine.close(c)) ]] },
  { "an error that is a table, or nil", [[
    local e = {}
    local c = coroutine.create(function() error(e) end)
    log(select(2, coroutine.resume(c)) == e) log(coroutine.resume(coroutine.create(function() error() end)))
    log(pcall(coroutine.wrap(function() error(nil) end))) ]] },
  { "an error in a wrap has its caller's place before it", [[
    local w = coroutine.wrap(function() error "deep" end)
    log(pcall(w)) log(pcall(w)) log(pcall(function() local x = w() return x end))
    w = coroutine.wrap(function() error("flat", 0) end)
    log(pcall(function() local x = w() return x end))
    w = coroutine.wrap(function() error({}) end) log(type(select(2, pcall(w)))) ]] },
  { "xpcall of a wrap", [[
    local function handler(m) return "handled " .. m end
    return xpcall(coroutine.wrap(function() error("deep", 0) end), handler) ]] },
  { "dead ones", [[
    local w = coroutine.wrap(function() end) w() log(pcall(w))
    local c = coroutine.create(function() end) coroutine.resume(c)
    log(coroutine.status(c), coroutine.resume(c)) log(coroutine.close(c)) ]] },
  { "yields through metamethods, pcall and iterators", [[
    local w = coroutine.wrap(function()
      local y = coroutine.yield
      local mt = setmetatable({}, {
        __index = function(_, k) return y(k) end, __add = function() return y "add" end,
        __concat = function() return y "cat" end, __lt = function() return y "lt" end,
        __eq = function() return y "eq" end, __len = function() return y "len" end,
        __call = function(_, a) return y(a) end, __close = function() y "close" end,
      })
      log(mt.key, mt + 1, mt .. "x", mt < mt, mt == setmetatable({}, getmetatable(mt)), #mt, mt "called")
      log(pcall(function() return y "pcall" end)) log(pcall(function() error(y "raise", 0) end))
      log(xpcall(function() return y "xpcall" end, print)) log(select("#", y "select"))
      for i in function() return y "for" end do log(i) end
      do local _ <close> = mt end
      return "end"
    end)
    local said, i = w(), 0
    while said ~= "end" do
      i = i + 1
      log(said)
      said = w(said ~= "for" and i or nil)
    end ]] },
  { "where Lua cannot yield", [[
    log(coroutine.resume(coroutine.create(function()
      table.sort({ 2, 1 }, function() log(coroutine.isyieldable()) coroutine.yield() end) end)))
    log(coroutine.resume(coroutine.create(function()
      return (("a"):gsub("a", coroutine.yield)) end))) ]] },
  { "generators inside of a comparison", [[
    local gen = coroutine.wrap(function() local n = 0 while true do n = n + 1 coroutine.yield(n) end end)
    local t = { 3, 1, 2 } table.sort(t, function(a, b) gen() return a < b end)
    return table.concat(t, ","), gen() > 1 ]] },
  { "close, with variables to be closed", [[
    local c = coroutine.create(function()
      local a <close> = tbc "a" local b <close> = tbc "b" coroutine.yield() end)
    coroutine.resume(c) log(coroutine.close(c)) log(coroutine.status(c)) log(coroutine.close(c)) ]] },
  { "close, when one of them raises", [[
    local c = coroutine.create(function()
      local a <close> = tbc "a" local b <close> = tbc("b", "from b") coroutine.yield() end)
    coroutine.resume(c) log(coroutine.close(c)) log(coroutine.status(c)) log(coroutine.close(c)) ]] },
  { "an error in a wrap closes its variables", [[
    log(pcall(coroutine.wrap(function() local a <close> = tbc "a" error("first", 0) end)))
    log(pcall(coroutine.wrap(function() local a <close> = tbc("a", "second") error("first", 0) end))) ]] },
  { "an error in a resumed one leaves them to close", [[
    local c = coroutine.create(function() local a <close> = tbc "a" error("first", 0) end)
    log(coroutine.resume(c)) log "before" log(coroutine.close(c)) ]] },
  { "close of one that was never started", [[
    local c = coroutine.create(print)
    log(coroutine.close(c)) log(coroutine.status(c)) log(coroutine.resume(c)) ]] },
  { "close of what runs", [[
    local co = coroutine.running()
    log(pcall(coroutine.close, co)) log(pcall(function() coroutine.close(co) end))
    local outer outer = coroutine.create(function()
      coroutine.wrap(function() log(pcall(function() coroutine.close(outer) end)) end)()
      log(pcall(coroutine.close, (coroutine.running())))
    end)
    log(coroutine.resume(outer)) ]] },
  { "close in close", [[
    local last
    for i = 1, 50 do
      local inner = last
      last = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function()
          if inner then assert(coroutine.close(inner)) end
        end })
        coroutine.yield()
      end)
      coroutine.resume(last)
    end
    return coroutine.close(last) ]] },
  { "wraps in wraps", [[
    local function f(n)
      if n == 0 then return "bottom" end
      return coroutine.wrap(function() return f(n - 1) end)()
    end
    return f(90) ]] },
  { "nesting without end", [[
    local function f(n)
      local ok, v = coroutine.resume(coroutine.create(function() return f(n + 1) end))
      return ok and v or tostring(v):match "C stack overflow"
    end
    return f(1) ]] },
  { "a stack overflow", [[
    local function f() return 1 + f() end
    local ok, message = coroutine.resume(coroutine.create(f))
    return ok, message:match "stack overflow" ]] },
  { "finalizers", [[
    setmetatable({}, { __gc = function() log(coroutine.wrap(function() coroutine.yield(5) end)()) end })
    collectgarbage() collectgarbage() ]] },
  { "the names in the library", [[
    local names = {}
    for name, value in pairs(coroutine) do names[#names + 1] = name .. " " .. type(value) end
    table.sort(names)
    return table.concat(names, " ") ]] },
  -- In these only that it is refused, and where, has to be the same.
  { "no function to wrap", [[ coroutine.wrap(5) ]], "refused" },
  { "no function to create", [[ coroutine.create(5) ]], "refused" },
  { "no coroutine to resume", [[ coroutine.resume "x" ]], "refused" },
  { "no coroutine to close", [[ coroutine.close {} ]], "refused" },
  { "no coroutine to ask", [[ coroutine.isyieldable(5) ]], "refused" },
  { "no coroutine to tell of", [[ coroutine.status(5) ]], "refused" },
}

-- Runs every case and prints a line with what it logs, returns or raises.
local PROGRAM <const> = [[
local function show(...)
  local list = table.pack(...)
  for i = 1, list.n do
    local v, kind = list[i], type(list[i])
    local object = kind == "table" or kind == "thread"
    list[i] = kind == "string" and ("%q"):format(v) or object and kind or tostring(v)
  end
  return list.n .. ": " .. table.concat(list, ", ")
end
local lines
local function log(...) lines[#lines + 1] = show(...) end
local function tbc(name, err)
  return setmetatable({}, { __close = function(_, e)
    log("closed " .. name, e)
    if err then error(err, 0) end
  end })
end
local env = setmetatable({ log = log, tbc = tbc }, { __index = _G })
for i, case in ipairs(CASES) do
  lines = {}
  local fn = assert(load(case[2], "=case", "t", env))
  if case[3] == "refused" then
    local ok, err = pcall(fn)
    log(ok, tostring(err):match "^(case:%d+: bad argument #1 to) '[%w._?]+' %(%w+ expected")
  else
    log(pcall(function() return fn() end))
  end
  io.write(i, " ", table.concat(lines, " | "), "\n")
end
]]

local function run_all(interpreter)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write "local CASES = {\n"
  for _, case in ipairs(CASES) do
    file:write(("{ %q, %q, %q },\n"):format(case[1], case[2], case[3] or ""))
  end
  file:write("}\n", PROGRAM)
  file:close()
  local child = assert(io.popen(("%s %s 2>&1"):format(interpreter, path)))
  local lines, rest = {}, {}
  for line in child:lines() do
    local i = tonumber(line:match "^%d+ ")
    if i then lines[i] = line else rest[#rest + 1] = line end
  end
  child:close()
  os.remove(path)
  return lines, table.concat(rest, "\n")
end

describe("the coroutine library of a script", function()
  local ours, stock, said, stock_said

  lazy_setup(function()
    ours, said = run_all(LUA)
    stock, stock_said = run_all "lua5.4"
  end)

  for i, case in ipairs(CASES) do
    it(("does as lua5.4 does: %s"):format(case[1]), function()
      assert.is_not_nil(stock[i], stock_said)
      assert.equal(stock[i], ours[i], said)
    end)
  end
end)

describe("a chain of coroutines", function()
  local before

  before_each(function()
    clock.stop()
    before = live.now()
  end)

  after_each(function()
    live.check(before)
    clock.go()
  end)

  local function during(ms, fn)
    local t = harness.spawn(fn)
    clock.advance(ms)
    return t:await()
  end

  it("is suspended and goes on as one, however long it is", function()
    local function nested(depth)
      if depth == 0 then
        harness.sleep(5)
        return "woken"
      end
      return coroutine.wrap(function() return nested(depth - 1) end)()
    end
    assert.equal("woken", during(5, function() return nested(50) end))
  end)

  it("keeps a script's yields apart from the scheduler's", function()
    local got = during(100, function()
      local gen = coroutine.wrap(function(...)
        local given = { (...) }
        for i = 1, 3 do
          harness.sleep(3)
          given[#given + 1] = coroutine.yield(i, nil)
          harness.sleep(3)
        end
        return given
      end)
      local list = { table.pack(gen("first", nil)), table.pack(gen "a"), table.pack(gen "b") }
      return { list[1].n, list[1][1], list[2][1], list[3][1], gen "c" }
    end)
    assert.same({ 2, 1, 2, 3, { "first", "a", "b", "c" } }, got)
  end)

  it("raises in the innermost one when its task is stopped, and each may clean up", function()
    local closed = {}
    local function note(name)
      return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
    end
    local t = harness.spawn(function()
      local _ <close> = note "task"
      local co = coroutine.create(function()
        local _ <close> = note "outer"
        coroutine.wrap(function()
          local _ <close> = note "inner"
          harness.sleep(1000)
        end)()
      end)
      local ok, err = coroutine.resume(co)
      closed[#closed + 1] = ok == false and errors.is(err, "OPERATION_CANCELLED") and "told"
      coroutine.close(co)
      error(err, 0)
    end)
    clock.advance(1)
    t:cancel()
    local ok, err = pcall(t.await, t)
    assert.is_false(ok)
    assert.equal("OPERATION_CANCELLED", err.code)
    assert.same({ "inner", "told", "outer", "task" }, closed)
  end)

  it("refuses to wait through what cannot be suspended, and is not blocked afterwards", function()
    local function waits() harness.sleep(1) end
    for _ = 1, 3 do
      local ok, err = pcall(table.sort, { 2, 1 }, function()
        coroutine.wrap(waits)()
      end)
      assert.is_false(ok)
      assert.equal("cannot_wait", err.meta.reason)
    end
    during(1, waits)
  end)

  it("may be closed 150 deep: an error, no crash, and closing works on", function()
    local reached, last = 0, nil
    for _ = 1, 150 do
      local inner = last
      last = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function()
          reached = reached + 1
          if inner then
            local ok, err = coroutine.close(inner)
            if not ok then error(err, 0) end
          end
        end })
        coroutine.yield()
      end)
      coroutine.resume(last)
    end
    local ok, err = coroutine.close(last)
    assert.is_false(ok)
    assert.matches("100 levels deep", err)
    assert.equal(100, reached)
    assert.is_true(coroutine.close(coroutine.create(print)))
    assert.is_true(select(2, pcall(coroutine.close, coroutine.create(print))))
  end)

  it("refuses waiting in a variable that coroutine.close closes", function()
    local refused
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function()
        local ok, err = pcall(harness.sleep, 1)
        refused = not ok and err.meta.reason
      end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    assert.is_true(coroutine.close(co))
    assert.equal("cannot_wait", refused)
  end)

  it("may be left while it waits: another coroutine of the task goes on", function()
    local got = during(10, function()
      local a = coroutine.wrap(function()
        harness.sleep(2)
        coroutine.yield "a"
        harness.sleep(2)
        return "end"
      end)
      local b = coroutine.wrap(function() coroutine.yield "b" end)
      return { a(), b(), a() }
    end)
    assert.same({ "a", "b", "end" }, got)
  end)

  it("is seen from a tool's task as from a main chunk: no yield of its own", function()
    local ok, err = pcall(function() return harness.spawn(function() coroutine.yield(1) end):await() end)
    assert.is_false(ok)
    assert.matches("outside a coroutine", err)
  end)
end)
