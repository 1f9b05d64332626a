-- What harness-lua is beyond lua5.4: its main chunk is a task, its modules are compiled in.
local command = require "spec.support.command"
local process = require "harness.process"
local servers = require "spec.support.server"

local directory

local function script(text, options)
  options = options or {}
  directory:write("s.lua", "local harness = require 'harness'\n" .. text)
  options[1], options.cwd = "s.lua", directory.path
  return command.run(options)
end

setup(function()
  directory = command.directory()
  process.run { file = "mkdir", args = { directory.path .. "/harness" } }
  directory:write("harness/task.lua", "return 'somebody else\\'s'")
  directory:write("harness/own.lua", "return 'beside'")
end)
teardown(function() directory:close() end)

describe("a script", function()
  it("may wait anywhere, at top level too", function()
    local result = script [[
      harness.sleep(1)
      local t = harness.spawn(function(...) harness.sleep(1) return ... end, 1, nil, 3)
      print(t:await())
      local words = coroutine.wrap(function() harness.sleep(1) coroutine.yield 'from a coroutine' end)
      for word in words do print(word) end
      print(pcall(harness.sleep, 1))
      print(coroutine.isyieldable(), select(2, coroutine.running()))]]
    assert.same({ 0, "1\tnil\t3\nfrom a coroutine\ntrue\nfalse\ttrue\n", "" },
      { result.status, result.stdout, result.stderr })
  end)

  it("ends after its tasks", function()
    local result = script "harness.spawn(function() harness.sleep(20) print 'later' end) print 'first'"
    assert.same({ 0, "first\nlater\n" }, { result.status, result.stdout })
  end)

  it("fails with the error of a task that nobody awaited", function()
    local result = script "harness.spawn(function() error 'in a task' end) harness.sleep(20) print 'on'"
    assert.same({ 1, "on\n" }, { result.status, result.stdout })
    assert.truthy(result.stderr:find("s.lua:2: in a task", 1, true))
  end)

  it("is told when it waits for something that cannot happen", function()
    local result = script [[
      local r = harness.relay {}
      r:next()]]
    assert.equal(1, result.status)
    assert.truthy(result.stderr:find("nothing is left that could wake this task", 1, true), result.stderr)
  end)

  it("shows an error of ours in one line", function()
    local result = script "harness.error('MY_CODE', 'two\\nlines')"
    assert.same({ 1, command.HARNESS_LUA .. ": MY_CODE: two lines\n" }, { result.status, result.stderr })
  end)
end)

describe("os.exit", function()
  local CLOSED <const> = [[
    local function closing(name) return setmetatable({},
      { __close = function() print('closed ' .. name) end }) end ]]

  it("closes what the task and its coroutines hold, innermost first", function()
    local result = script(CLOSED .. [[
      local a <close> = closing 'main'
      local co = coroutine.wrap(function()
        local b <close> = closing 'coroutine'
        pcall(function() local c <close> = closing 'pcall' os.exit(3) end)
      end)
      co()]])
    assert.same({ 3, "closed pcall\nclosed coroutine\nclosed main\n", "" },
      { result.status, result.stdout, result.stderr })
  end)

  it("in a task ends the others", function()
    local result = script(CLOSED .. [[
      harness.spawn(function() local a <close> = closing 'sibling' harness.sleep(60000) end)
      harness.spawn(function() harness.sleep(5) local b <close> = closing 'own' os.exit(4) end)
      local c <close> = closing 'main'
      harness.sleep(60000)
      print 'never']])
    assert.equal(4, result.status)
    assert.equal("", result.stderr)
    local lines = {}
    for line in result.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal("closed own", lines[1])
    table.sort(lines)
    assert.same({ "closed main", "closed own", "closed sibling" }, lines)
  end)

  it("in the main chunk does not wait for tasks", function()
    local result = script "harness.spawn(function() harness.sleep(60000) end) harness.sleep(1) os.exit(5)"
    assert.equal(5, result.status)
    assert.is_true(result.ms < 20000)
  end)

  it("ends a task that goes on in spite of it", function()
    local result = script [[
      harness.spawn(function() while true do pcall(harness.sleep, 10) end end)
      harness.sleep(1)
      os.exit(6)]]
    assert.equal(6, result.status)
  end)

  it("ends children, wherever it is called", function()
    local marker = ("%d.%06d"):format(math.random(1000, 9000), math.random(0, 999999))
    for _, leave in ipairs { "os.exit(7)", "table.sort({ 1, 2 }, function() os.exit(7) end)" } do
      local result = script(
        "local p = require 'harness.process'.spawn { file = 'sleep', args = { '" .. marker .. "' } } "
          .. leave)
      assert.same({ 7, "" }, { result.status, result.stderr })
      assert.equal(1, process.run({ file = "pgrep", args = { "-f", "sleep " .. marker } }).exit_code)
    end
  end)

  it("runs finalizers", function()
    local result = script "kept = setmetatable({}, { __gc = function() print 'finalized' end }) os.exit(8)"
    assert.same({ 8, "finalized\n" }, { result.status, result.stdout })
  end)
end)

describe("the modules", function()
  it("that are compiled in go before others of their name, but not before package.preload", function()
    local result = script([[
      print(type(require 'harness.task'), (require 'harness.own'))
      package.preload['harness.nearest'] = function() return 'mine' end
      print((require 'harness.nearest'))]], { env = { LUA_PATH = "./?.lua;./?/init.lua" } })
    assert.same({ 0, "table\tbeside\nmine\n", "" }, { result.status, result.stdout, result.stderr })
  end)

  it("are named in an error when one is missing", function()
    local result = script "require 'harness.no_such'"
    assert.truthy(result.stderr:find("no module 'harness.no_such' is compiled in", 1, true))
  end)

  it("need no installation", function()
    local result = command.run { "-e", "print(require 'harness'.version)", cwd = "/" }
    assert.truthy(result.stdout:find "^%d+%.%d+%.%d+\n$")
  end)

  it("are loaded when they are needed", function()
    local result = command.run { "-e", [[
      for name in pairs(package.loaded) do
        if name:find '^harness' then print(name) end
      end]] }
    local names = {}
    for name in result.stdout:gmatch "[^\n]+" do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "harness.chain", "harness.cli", "harness.cli.interpreter", "harness.core",
      "harness.task" }, names)
  end)
end)

describe("the command", function()
  it("prints its version and those of its libraries with -v", function()
    local result = command.run { "-v" }
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.truthy(result.stdout:find(
      "^harness%-lua %d[%d.]+  %(Lua 5%.4%.%d, libuv 1[%d.]+, cJSON 1[%d.]+, PCRE2 10[^,]+, libyaml 0[%d.]+, "
        .. "libcurl 7[%d.]+%)\n$"),
        result.stdout)
    local directory <close> = command.directory() -- luacheck: ignore 431
    local env = {}
    for _, setting in ipairs(servers.preload(directory.path, "no_libraries")) do
      local name, value = setting:match "^([^=]+)=(.*)$"
      env[name] = value
    end
    assert.matches(", libcurl missing%)\n$", command.run({ "-v", env = env }).stdout)
    assert.is_nil(command.run({ "-i", stdin = "" }).stdout:find("libcurl", 1, true))
  end)

  it("is interactive when it is started from a terminal alone", function()
    local child <close> = command.start { terminal = true, stdin = true }
    child:await "> "
    child:write "1 + 1\n"
    child:await "\n2\r?\n> "
    child:write "\4" -- Ctrl-D
    local result = child:finish()
    assert.equal(0, result.status)
    assert.truthy(result.stdout:find "^harness%-lua %d")
  end)

  it("says how it is used when it is asked", function()
    for _, ask in ipairs { "--help", "help" } do
      local result = command.run { ask }
      assert.same({ 0, "" }, { result.status, result.stderr })
      for _, line in ipairs { "usage: ", " chat FILE AGENT", " runs FILE", "-e stat", "help COMMAND" } do
        assert.truthy(result.stdout:find(line, 1, true), line)
      end
    end
    for _, name in ipairs { "run", "chat", "inspect", "runs" } do
      local result = command.run { "help", name }
      assert.same({ 0, "", command.run({ name, "--help" }).stdout }, { result.status, result.stderr, result.stdout })
    end
    local result = command.run { "help", "rnu" }
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches('there is no command "rnu"; did you mean "run"', result.stderr)
  end)

  it("says how it is used when its options are wrong", function()
    local result = command.run { "-?" }
    assert.same({ 1, "" }, { result.status, result.stdout })
    for _, line in ipairs { "unrecognized option '-?'", "[options] [script [args]]",
      "run FILE TARGET [INPUT]", "inspect FILE" } do
      assert.truthy(result.stderr:find(line, 1, true), line)
    end
  end)
end)
