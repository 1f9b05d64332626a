-- harness-lua as an interpreter: what lua5.4 does with the same arguments is what it has to do.
-- Each case runs in both; output, exit status and error output have to be the same, traceback and all.
local command = require "spec.support.command"

local directory

-- Tables of rows: what it is called, then the arguments; `script` is the text of s.lua. Where a library
-- function is ours, so that it can wait, its own lines of a traceback are others (`untraced`).
local OPTIONS <const> = {
  { "a statement", "-e", "print(1 + 1, ...)" },
  { "a statement without a space", "-eprint(2)" },
  { "statements that share globals", "-e", "x = 1", "-e", "print(x)" },
  { "a statement, and then a script", "-e", "x = 7", "s.lua", "a", script = "print(x, ...)" },
  { "a failing statement before a script", "-e", "error 'no'", "s.lua", script = "print 'never'" },
  { "-e without a value", "-e" },
  { "-e before another option", "-e", "-v" },
  { "-l without a value", "-l" },
  { "an unknown option", "-x" },
  { "an unknown long option", "--halp" },
  { "two options in one", "-vi" },
  { "an empty statement", "-e", "" },
  { "a library", "-l", "mod", "-e", "print(mod.name)" },
  { "a library without a space", "-lmod", "-e", "print(mod.name)" },
  { "a library under another name", "-l", "m=mod", "-e", "print(m.name, mod)" },
  { "a library with a suffix", "-l", "mod-v2", "-e", "print(mod and mod.name, _G['mod-v2'])" },
  { "a library that is absent", "-l", "no.such" },
  { "a library that raises", "-l", "broken" },
  { "a standard library", "-l", "string", "-e", "print(string.rep('a', 3))" },
  { "warnings on", "-W", "-e", "warn('a', 'b')" },
  { "warnings off", "-e", "warn 'a'; warn '@on'; warn 'b'; warn '@off'; warn 'c'" },
  { "warnings on after a statement", "-e", "warn 'a'", "-W", "-e", "warn 'b'" },
  { "-- before a script", "--", "s.lua", "-x", script = "print(...)" },
  { "-- before a script called -", "--", "-", "b" },
  { "- for standard input", "-", "a", "b", stdin = "print('in', ...)" },
  { "no arguments", stdin = "print('in', #arg, arg[0] ~= nil, ...)" },
  { "a statement only: standard input stays unread", "-e", "print(io.read())", stdin = "line\n" },
  { "-E without its variables", "-E", "-e", "print(x, package.path:find('odd', 1, true))",
    env = { LUA_INIT = "x = 1", LUA_PATH = "odd/?.lua" } },
  { "-E after a statement", "-e", "print(x)", "-E", env = { LUA_INIT = "x = 1" } },
  { "an option after the script is the script's", "s.lua", "-e", "-E", script = "print(...)",
    env = { LUA_INIT = "print 'init'" } },
}

local SCRIPTS <const> = {
  { "arguments", "s.lua", "a", "", "b c", "-x", script = "print(select('#', ...), ...)" },
  { "arg, from the program on", "-e", "", "s.lua", "a", "b", script = [[
    for i = -6, 6 do print(i, arg[i]) end
    print(#arg)]] },
  { "arg without a script", "-e", "for i = -3, 3 do print(i, arg[i]) end" },
  { "arg after --", "-W", "--", "s.lua", "x", script = "for i = -3, 2 do print(i, arg[i]) end" },
  { "arg changed before the script starts", "-e", "arg = { 'new', 2 }", "s.lua", "old",
    script = "print(...)" },
  { "arg that is no table", "-e", "arg = 1", "s.lua", script = "print(...)" },
  { "a script of its own directory", "./s.lua", script = "print(arg[0], debug.getinfo(1, 'S').short_src)" },
  { "a shebang line", "s.lua", script = "#!/usr/bin/env lua\nprint 'here'; error 'line 2'" },
  { "a shebang line alone", "s.lua", script = "#!/usr/bin/env lua" },
  { "a byte order mark", "s.lua", script = "\xef\xbb\xbfprint 'bom'" },
  { "an empty script", "s.lua", script = "" },
  { "a compiled script", "s.luac" },
  { "a compiled script after a shebang line", "shebang.luac", "x" },
  { "a compiled script from standard input", "-", "x", stdin = string.dump(load("print('in', ...)", "=in")) },
  { "a compiled script that is cut off", "short.luac" },
  { "a script that cannot be read", "/proc/self/mem" },
  { "a script that is a device", "/dev/null" },
  { "a script without a name", "" },
  { "a missing script", "absent.lua" },
  { "a directory as script", "." },
  { "a syntax error", "s.lua", script = "print(1\nx = = 2" },
  { "a syntax error in a statement", "-e", "x =" },
  { "a syntax error in standard input", "-", stdin = "for" },
  { "results of the script", "s.lua", script = "return 3, 'x'" },
  { "is it the main script? by the depth of the stack", "s.lua", script = [[
    print(pcall(debug.getlocal, 4, 1))
    print(pcall(debug.getlocal, 2, 1))]] },
  { "is it the main script? in a module", "-l", "depth" },
  { "varargs and locals by debug", "s.lua", "v", script = [[
    local a = 1
    print(debug.getlocal(1, 1)); print(debug.getlocal(1, -1))
    local i = debug.getinfo(1, 'nSlutr')
    print(i.what, i.source, i.nups, i.isvararg, i.istailcall, i.name, i.func)]] },
  { "reading standard input", "s.lua", stdin = "12 0x10\nline\n\nlast", script = [[
    print(io.read('n', 'n')); print(io.read 'L')
    for l in io.lines() do print('[' .. l .. ']') end
    print(io.read(0), io.read 'a', io.read 'l')]] },
  { "a script that reads on where itself was read", "-", stdin = "print(io.read 'l')\nrest\n" },
  { "large output", "s.lua", script = "for i = 1, 20000 do io.write(i, ' ') end" },
  { "the default paths", "-e", "print(package.path); print(package.cpath); print(package.config)" },
  { "LUA_PATH", "-e", "print(package.path); print(require 'mod'.name)", env = { LUA_PATH = "./?.lua;;" } },
  { "LUA_PATH_5_4 goes first", "-e", "print(package.path, package.cpath)",
    env = { LUA_PATH = "no", LUA_PATH_5_4 = "x/?.lua;;y", LUA_CPATH = ";;z.so" } },
  { "LUA_CPATH", "-e", "print(package.cpath); print(pcall(require, 'none'))", env = { LUA_CPATH = "./?.none;;" } },
  { "files run from a script", "-e", "dofile 'init.lua'; print(mod_was_run); dofile 'absent.lua'" },
  { "what a compiled script may be", "-e", [[
    print(loadfile('s.luac', 't')); print(load('x', 'n', 'b'))
    print(load(string.dump(function() return 1 end), 'b', 't'))]] },
  { "the names of the libraries", "-e", [[
    local names = {}
    for name in pairs(_G) do names[#names + 1] = name end
    for name in pairs(package.loaded) do if not name:find '^harness' then names[#names + 1] = name end end
    table.sort(names)
    print(_VERSION, table.concat(names, ' '))]] },
  { "LUA_INIT", "-e", "print(x)", env = { LUA_INIT = "x = 'init'" } },
  { "LUA_INIT as a file", "-e", "print(mod_was_run)", env = { LUA_INIT = "@init.lua" } },
  { "LUA_INIT_5_4 goes first", "-e", "print(x)", env = { LUA_INIT = "x = 1", LUA_INIT_5_4 = "x = 2" } },
  { "LUA_INIT that raises", "-e", "print 'never'", env = { LUA_INIT = "error 'init'" } },
  { "LUA_INIT that does not parse", "-e", "print 'never'", env = { LUA_INIT_5_4 = "=" } },
  { "LUA_INIT as an absent file", "-e", "print 'never'", env = { LUA_INIT = "@absent.lua" } },
  { "empty LUA_INIT", "-e", "print 'here'", env = { LUA_INIT = "" } },
}

local ERRORS <const> = {
  { "a text", "s.lua", script = "local function f() error 'broken' end\nf()" },
  { "a text without place", "s.lua", script = "error('broken', 0)" },
  { "a text of the caller", "s.lua", script = "local function f() error('broken', 2) end\nf()" },
  { "a number", "-e", "error(42)" },
  { "a table", "-e", "error {}" },
  { "a table with __tostring", "-e",
    "error(setmetatable({}, { __tostring = function() return 'mine' end }))" },
  { "a table whose __tostring gives no text", "-e",
    "error(setmetatable({}, { __tostring = function() return {} end }))" },
  { "nil", "-e", "error()" },
  { "false", "-e", "error(false)" },
  { "a function", "-e", "error(print)" },
  { "a named type", "-e", "error(setmetatable({}, { __name = 'my.type' }))" },
  { "an error of the language", "s.lua", script = "local t\nprint(t.x)" },
  { "an error in a library", "-e", "('x'):rep(-1, {})" },
  { "an error in a callback", "s.lua",
    script = "table.sort({ 3, 2, 1 }, function(a, b) error 'in sort' end)" },
  { "a deep stack", "s.lua",
    script = "local function f(n) if n == 0 then error 'deep' end f(n - 1) end\nf(40)" },
  { "an endless recursion", "s.lua", script = "local function f() return 1 + f() end\nf()",
    env = { HARNESS_COVERAGE = false } }, -- the hook of `make coverage` would be what has no stack left
  { "an endless recursion through C", "s.lua",
    script = "local function f() return ('x'):gsub('x', f) end\nprint(pcall(f))" },
  { "many levels of pcall", "s.lua",
    script = "local function f(n) return n == 0 or pcall(f, n - 1) end\nprint(f(150))" },
  { "an error in a coroutine", "s.lua",
    script = "print(coroutine.resume(coroutine.create(function() error 'x' end)))" },
  { "an error handler that raises", "-e", "print(xpcall(error, function(e) error(e, 0) end, 'x'))" },
  { "a traceback without an error", "s.lua", script = "local function f() print(debug.traceback('here', 1)) end\nf()" },
  { "a traceback as a handler", "s.lua", script = [[
    print(xpcall(function() local x = nil + 1 end, debug.traceback))]] },
  { "a text of two lines", "-e", "error 'a\\nb'" },
  { "a userdata", "-e", "error(io.stdout)" },
  { "a coroutine", "-e", "error(coroutine.create(print))" },
  { "a constant that is assigned", "-e", "local x <const> = 1; x = 2" },
  { "a label that is missing", "-e", "goto nowhere" },
  { "in a finalizer", "-e", "setmetatable({}, { __gc = function() error 'in gc' end }) collectgarbage()" },
  { "in a finalizer, with warnings", "-W", "-e",
    "setmetatable({}, { __gc = function() error 'in gc' end }) collectgarbage()" },
  { "in a finalizer at the end, with warnings", "-W", "-e",
    "kept = setmetatable({}, { __gc = function() error 'in gc' end })" },
  { "an assertion", "-e", "assert(false, 'told so')" },
  { "an assertion with a table", "-e", "assert(nil, {})" },
  { "a string that is too long", "-e", "print(pcall(string.rep, 'x', 1 << 60))" },
  { "an error with a zero byte", "-e", "error('a\\0b', 0)" },
}

local EXITS <const> = {
  { "os.exit()", "-e", "os.exit()" },
  { "os.exit(true)", "-e", "os.exit(true)" },
  { "os.exit(false)", "-e", "os.exit(false)" },
  { "os.exit(nil)", "-e", "os.exit(nil)" },
  { "os.exit(3)", "-e", "os.exit(3)" },
  { "os.exit(256 + 7)", "-e", "os.exit(256 + 7)" },
  { "os.exit(-1)", "-e", "os.exit(-1)" },
  { "os.exit(4.0)", "-e", "os.exit(4.0)" },
  { "os.exit '5'", "-e", "os.exit '5'" },
  { "os.exit(1.5)", "-e", "os.exit(1.5)", untraced = true },
  { "os.exit 'x'", "-e", "os.exit 'x'", untraced = true },
  { "os.exit {}", "-e", "os.exit {}", untraced = true },
  { "os.exit in pcall", "-e", "print(pcall(os.exit, 6))" },
  { "os.exit in a coroutine", "-e", "coroutine.wrap(function() os.exit(7) end)() print 'never'" },
  { "os.exit in table.sort", "-e", "table.sort({ 1, 2 }, function() os.exit(8) end) print 'never'" },
  { "os.exit while loading a module", "-l", "leaves", "-e", "print 'never'" },
  { "os.exit in LUA_INIT", "-e", "print 'never'", env = { LUA_INIT = "os.exit(9)" } },
  { "output before os.exit", "-e", "io.write 'kept'; os.exit(0)" },
  { "variables at os.exit(…, true)", "s.lua", script = [[
    local a <close> = setmetatable({}, { __close = function(_, e) print('a', e) end })
    local b <close> = setmetatable({}, { __close = function(_, e) print('b', e) end })
    os.exit(2, true)]] },
  { "finalizers at os.exit(…, true)", "s.lua", script = [[
    kept = setmetatable({}, { __gc = function() print 'finalized' end })
    os.exit(true, true)]] },
  { "variables at the end", "s.lua", script = [[
    local a <close> = setmetatable({}, { __close = function(_, e) print('a', e) end })
    kept = setmetatable({}, { __gc = function() print 'finalized' end })
    print 'end']] },
  { "variables at an error", "s.lua", script = [[
    local a <close> = setmetatable({}, { __close = function(_, e) print('a', e) end })
    error 'end']] },
  { "a __close that raises", "s.lua", script = [[
    local a <close> = setmetatable({}, { __close = function(_, e) error('closing', 0) end })]] },
  { "a __close that raises after an error", "s.lua", script = [[
    local a <close> = setmetatable({}, { __close = function(_, e) print(e) error('closing', 0) end })
    error('body', 0)]] },
  { "a __close that leaves", "s.lua", script = [[
    local a <close> = setmetatable({}, { __close = function() os.exit(5) end })]] },
  { "os.exit(…, true) in a loop", "s.lua", script = [[
    for i = 1, 3 do
      local a <close> = setmetatable({}, { __close = function() print('a', i) end })
      if i == 2 then os.exit(i, true) end
    end]] },
  { "os.exit(0, false)", "-e", "io.write 'x' os.exit(0, false)" },
  { "os.exit(false, false)", "-e", "os.exit(false, false)" },
  { "os.exit of standard input", "-", stdin = "os.exit(4)" },
  { "a program that a signal ends", "-e", "print(os.execute 'kill -9 $$')" },
  { "a status of a failed program", "-e", "print(os.execute 'exit 3')" },
  { "a pipe from a program", "-e", "local p = io.popen 'echo hi'; print(p:read 'a', p:close())" },
}

local STREAMS <const> = {
  { "standard output is closed", "-e", "print(io.write 'x'); print(1)", redirect = ">&-" },
  { "standard output is full", "-e", "print(io.write(('x'):rep(1e5)))", redirect = ">/dev/full" },
  { "standard error is closed", "-e", "error 'x'", redirect = "2>&-" },
  { "standard input is closed", "-e", "print(io.read())", redirect = "<&-" },
  { "standard input is closed, a script is expected", redirect = "<&-" },
  { "the reader of the output leaves", "-e", "for i = 1, 1e6 do print(i) end", redirect = "| head -n 1" },
  { "the reader of the output is gone", "-e",
    "os.execute 'sleep 0.1'; io.stdout:setvbuf 'no'; print(1); print(2)",
    redirect = "| true" },
}

local COROUTINES <const> = {
  { "yield of the main chunk", "-e", "coroutine.yield(1)", untraced = true },
  { "yield of the main chunk in pcall", "-e", "print(pcall(coroutine.yield, 1))" },
  { "isyieldable, running, status of the main chunk", "s.lua", script = [[
    local co, main = coroutine.running()
    print(coroutine.isyieldable(), type(co), main, coroutine.status(co), coroutine.isyieldable(co))]] },
  { "closing the main chunk", "-e", "print(pcall(coroutine.close, (coroutine.running())))" },
  { "resuming the main chunk", "-e", "print(coroutine.resume((coroutine.running())))" },
  { "in a coroutine", "s.lua", script = [[
    local main = coroutine.running()
    local co = coroutine.create(function(...)
      print(coroutine.isyieldable(), select(2, coroutine.running()), coroutine.status(main), ...)
      print(coroutine.resume(main))
      print(coroutine.yield(1, 2))
      return 'end'
    end)
    print(coroutine.resume(co, 'a')); print(coroutine.status(co))
    print(coroutine.resume(co, 'b')); print(coroutine.status(co))
    print(coroutine.resume(co))]] },
  { "an error through wrap", "s.lua", untraced = true, script = [[
    local f = coroutine.wrap(function() error 'inside' end)
    f()]] },
  { "an error through wrap, caught", "s.lua", script = [[
    local f = coroutine.wrap(function() error 'inside' end)
    print(pcall(f)); print(pcall(f))
    print(pcall(function() f() end))
    local g = coroutine.wrap(function() error { } end)
    print(type(select(2, pcall(g))))
    local h = coroutine.wrap(function() error('bare', 0) end)
    print(pcall(function() local x = h(); return x end))]] },
  { "wrap as an iterator", "s.lua", script = [[
    for a, b in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i, i * i) end end) do
      print(a, b)
    end]] },
  { "close with variables", "s.lua", script = [[
    local co = coroutine.create(function()
      local a <close> = setmetatable({}, { __close = function(_, e) print('a', e) end })
      local b <close> = setmetatable({}, { __close = function() error('b', 0) end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    print(coroutine.close(co)); print(coroutine.status(co)); print(coroutine.close(co))]] },
  { "a yield across pcall, metamethods, iterators", "s.lua", script = [[
    local mt = { __add = function(a, b) return coroutine.yield 'add' end,
      __index = function(_, k) return coroutine.yield(k) end }
    local co = coroutine.wrap(function()
      local v = setmetatable({}, mt)
      print(pcall(function() return v + 1, v.key end))
      for x in function() return coroutine.yield 'iter' end do print(x) end
      return 'over'
    end)
    print(co()); print(co(10)); print(co(20)); print(co('x')); print(co(nil))]] },
  { "a yield where none is possible", "s.lua", script = [[
    print(coroutine.resume(coroutine.create(function() table.sort({ 1, 2, 3 }, coroutine.yield) end)))]] },
  { "wrong arguments", "s.lua", script = [[
    for _, name in ipairs { 'resume', 'wrap', 'create', 'close', 'isyieldable', 'status' } do
      print(pcall(load('local x = ...; coroutine.' .. name .. '(x)', '=x'), 1))
    end]] },
  { "a coroutine that resumes itself", "s.lua", script = [[
    local co; co = coroutine.create(function() print(coroutine.resume(co)) end)
    print(coroutine.resume(co))
    local f; f = coroutine.wrap(function() local x = f() return x end)
    print(pcall(f))]] },
  { "coroutines in coroutines", "s.lua", script = [[
    local function nest(n) if n == 0 then return 'bottom' end return coroutine.wrap(nest)(n - 1) end
    print(nest(100))]] },
  { "a traceback of a coroutine", "s.lua", script = [[
    local co = coroutine.create(function() local function f() error 'x' end f() end)
    coroutine.resume(co)
    print(debug.traceback(co)); print(debug.traceback(co, 'm', 1))
    print(debug.traceback('m', 1):match '^[^\n]*')]] },
  { "hooks", "s.lua", script = [[
    local n = 0
    debug.sethook(function() n = n + 1 end, '', 1000)
    for i = 1, 1e5 do end
    debug.sethook()
    print(n > 10, debug.gethook())]] },
}

local INTERACTIVE <const> = {
  { "statements and values", "-i", stdin = "x = 1\nx + 1\n=x\nreturn x, nil\nprint(x)\n" },
  { "several lines", "-i",
    stdin = "for i = 1, 2 do\nprint(i)\nend\nlocal t = {\n1 }\nf = function()\nreturn 5 end\nf()\n" },
  { "errors", "-i", stdin = "error 'x'\nx x\nerror {}\nnil + 1\nprint 'on'\n" },
  { "prompts", "-i", "-e", "_PROMPT, _PROMPT2 = 'one> ', 'two> '", stdin = "f(\n)\n" },
  { "a prompt that is an object", "-i", "-e",
    "_PROMPT = setmetatable({}, { __tostring = function() return 'p ' end })",
    stdin = "1\n" },
  { "a print that raises", "-i", "-e", "print = function() error('no', 0) end", stdin = "1\n" },
  { "a print that is gone", "-i", "-e", "print = nil", stdin = "1\n" },
  { "after a script", "-i", "s.lua", "a", script = "y = ...", stdin = "y\narg[1]\n" },
  { "os.exit", "-i", stdin = "os.exit(3)\nprint 'never'\n" },
  { "no newline at the end", "-i", stdin = "1 + 1" },
  { "nothing", "-i", stdin = "" },
  { "after a script that fails", "-i", "s.lua", script = "error 'x'", stdin = "print 'never'\n" },
}

local FILES <const> = {
  ["mod.lua"] = "mod_was_run = true\nreturn { name = 'mod' }",
  ["mod-v2.lua"] = "return { name = 'mod 2' }",
  ["broken.lua"] = "error 'while loading'",
  ["leaves.lua"] = "os.exit(9)",
  ["depth.lua"] = "print((pcall(debug.getlocal, 4, 1)))",
  ["init.lua"] = "mod_was_run = 'by init'",
  ["-"] = "print('the file -', ...)",
  ["shebang.luac"] = "#!/usr/bin/env lua\n" .. string.dump(load("print('compiled', ...)", "=compiled")),
  ["short.luac"] = string.dump(load("print('compiled', ...)", "=compiled")):sub(1, 50),
  ["s.luac"] = string.dump(load("print('compiled', ...)", "=compiled")),
}

local function replace(text, plain, by)
  local at, stop = text:find(plain, 1, true)
  local parts, from = {}, 1
  while at do
    parts[#parts + 1] = text:sub(from, at - 1) .. by
    from = stop + 1
    at, stop = text:find(plain, from, true)
  end
  return table.concat(parts) .. text:sub(from)
end

-- Its own name and version and the addresses of tables are of no interest, and what is ours alone.
local function clean(text, program)
  return (replace(text, program, "PROGRAM")
    :gsub("Lua 5%.4%.%d[^\n]*PUC%-Rio", "VERSION")
    :gsub("harness%-lua [^\n]*libuv[^\n]*", "VERSION")
    :gsub("0x%x+", "ADDRESS")
    :gsub("\n       PROGRAM %l+ [F%[][^\n]*", ""))
end

-- What a program did with the case.
local function outcome(program, case)
  local result = command.run {
    program = program, stdin = case.stdin, env = case.env, redirect = case.redirect, cwd = directory.path,
    table.unpack(case, 2),
  }
  local stderr = clean(result.stderr, program)
  if case.untraced then stderr = stderr:gsub("\nstack traceback:.*", "") end
  return {
    status = result.status, signal = result.signal, stdout = clean(result.stdout, program), stderr = stderr,
  }
end

local function compare(cases)
  for _, case in ipairs(cases) do
    it(case[1], function()
      if case.script then directory:write("s.lua", case.script) end
      assert.same(outcome("lua5.4", case), outcome(command.HARNESS_LUA, case))
    end)
  end
end

describe("harness-lua does what lua5.4 does with", function()
  setup(function() directory = command.directory(FILES) end)
  teardown(function() directory:close() end)

  describe("options:", function() compare(OPTIONS) end)
  describe("scripts:", function() compare(SCRIPTS) end)
  describe("errors:", function() compare(ERRORS) end)
  describe("ends:", function() compare(EXITS) end)
  describe("streams:", function() compare(STREAMS) end)
  describe("coroutines:", function() compare(COROUTINES) end)
  describe("interaction:", function() compare(INTERACTIVE) end)
end)
