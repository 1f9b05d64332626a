-- Ctrl-C: what waits is stopped, what spins is stopped, and the second one leaves at once.
local command = require "spec.support.command"
local core = require "harness.core"
local process = require "harness.process"
local servers = require "spec.support.server"
local task = require "harness.task"

local directory, server

local HARNESS <const> = [=[
local harness = require "harness"
local process = require "harness.process"
local s = harness.schema
local marker = os.getenv "MARKER"

-- Not a wait in sight; says when it has begun.
local function spin()
  io.stderr:write "busy\n"
  while true do end
end

local TOOLS = {
  spins = spin,
  swallows = function() while true do pcall(spin) end end,
  ignores = function()
    io.stderr:write "busy\n"
    while true do pcall(harness.sleep, 1000) end
  end,
  spawns = function()
    local p <close> = process.spawn { file = "sleep", args = { marker } }
    io.stderr:write "busy\n"
    p:wait()
  end,
  generates = function()
    for _ in coroutine.wrap(function() spin() end) do end
  end,
}

local models, tools, agents = {}, {}, {}
for name, run in pairs(TOOLS) do
  models[name] = { model = "canned",
    provider = harness.providers.scripted { { tool_calls = { { name = name } } } } }
  tools[name] = { description = "-", input = s.object {}, run = run }
  agents["agent_that_" .. name] = { model = name, instructions = "-", tools = { name } }
end
models.real = { model = "m", provider = harness.providers.openai {
  base_url = os.getenv "SERVER" or "http://127.0.0.1:1", api_key = "k",
  headers = { ["x-script"] = os.getenv "SCRIPT", ["x-id"] = marker },
} }
agents.real = { model = "real", instructions = "-" }

return harness.define {
  models = models, tools = tools, agents = agents,
  defaults = { cancel_grace_ms = os.getenv "GRACE_MS" and tonumber(os.getenv "GRACE_MS") },
}
]=]

local FILES <const> = {
  ["test.lua"] = HARNESS,
  ["spins.lua"] = "io.stderr:write 'busy\\n'; while true do end",
  ["sleeps.lua"] = "io.stderr:write 'busy\\n' require 'harness'.sleep(60000)",
}

local STALLING <const> = core.json.encode {
  { "send", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    .. 'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n' },
  { "stall" },
}

-- An argument of sleep that no other process has.
local function new_marker()
  return ("%d.%06d"):format(math.random(1000, 9000), math.random(0, 999999))
end

local function is_running(marker)
  return process.run({ file = "pgrep", args = { "-f", "sleep " .. marker } }).exit_code == 0
end

local function start(options)
  options.cwd = directory.path
  options.env = options.env or {}
  options.env.MARKER = options.env.MARKER or new_marker()
  return command.start(options)
end

-- Starts it, waits for its word, sends the signal; its result, and how many ms it took to end.
local function interrupt(options)
  local child <close> = start(options)
  child:await(options.word or "busy\n")
  local began = core.now_ms()
  child:signal(options.signal or "INT")
  local result = child:finish()
  return result, core.now_ms() - began
end

-- A machine under load takes its time; one try in three in time is enough.
local function soon(limit_ms, attempt)
  local least = math.huge
  for _ = 1, 3 do
    least = math.min(least, (select(2, attempt())))
    if least <= limit_ms then return end
  end
  error(("it took %d ms, at most %d are allowed"):format(least, limit_ms), 2)
end

-- The first signal is swallowed, the second is not.
local function interrupt_twice(options)
  local child <close> = start(options)
  child:await(options.word or "busy\n")
  child:signal "INT"
  child:await(options.again or "busy\nbusy\n")
  local began = core.now_ms()
  child:signal "INT"
  local result = child:finish()
  return result, core.now_ms() - began
end

setup(function()
  directory = command.directory(FILES)
  server = servers.start()
end)
teardown(function()
  server:close()
  directory:close()
end)

describe("Ctrl-C in a script", function()
  local BUSY <const> = "io.stderr:write 'busy\\n'; "
  local CASES <const> = {
    ["that waits"] = "require 'harness'.sleep(60000)",
    ["that waits in a coroutine"] = [[
      local each = coroutine.wrap(function() require 'harness'.sleep(60000) end)
      for _ in each do end]],
    ["that waits for a task"] = [[
      local h = require 'harness'; h.all { function() h.sleep(60000) end, function() h.sleep(70000) end }]],
    ["that spins"] = "while true do end",
    ["that spins in a coroutine"] = "coroutine.wrap(function() while true do end end)()",
    ["that spins in a task"] = "require 'harness'.spawn(function() while true do end end):await()",
    ["that spins in pcall once"] = [[
      print(pcall(function() while true do end end))
      error('over', 0)]],
  }
  for what, script in pairs(CASES) do
    it(what .. " ends it with status 1", function()
      local result = interrupt { "-e", BUSY .. script }
      assert.equal(1, result.status)
      local said = result.stderr:gsub("^busy\n", "")
      if what:find "once" then assert.truthy(said:find(": over\n", 1, true)) return end
      assert.truthy(said:find "^[^\n]*: interrupted!\nstack traceback:\n", said)
    end)
  end

  it("is what it is in lua5.4", function()
    for _, script in ipairs { "while true do end", "local function f() while true do end end f()" } do
      local results = {}
      for i, program in ipairs { "lua5.4", command.HARNESS_LUA } do
        local result = interrupt { program = program, "-e", BUSY .. script }
        results[i] = { result.status, result.stdout, result.stderr:match "interrupted!\nstack traceback:" }
      end
      assert.same(results[1], results[2])
    end
  end)

  it("runs what is to be closed", function()
    for _, wait in ipairs { "require 'harness'.sleep(60000)", "while true do end" } do
      local result = interrupt {
        "-e", "local c <close> = setmetatable({}, { __close = function() print 'closed' end }) " .. BUSY
          .. wait,
      }
      assert.equal("closed\n", result.stdout)
    end
  end)

  it("ends children", function()
    local marker = new_marker()
    local result = interrupt { env = { MARKER = marker }, "-e", [[
      local p <close> = require 'harness.process'.spawn { file = 'sleep', args = { os.getenv 'MARKER' } }
      io.stderr:write 'busy\n'
      p:wait()]] }
    assert.equal(1, result.status)
    assert.is_false(is_running(marker))
  end)

  it("leaves at once the second time", function()
    soon(500, function()
      local result, ms = interrupt_twice { "-e", "while true do pcall(function() " .. BUSY
        .. "while true do end end) end" }
      assert.equal(130, result.status)
      return result, ms
    end)
  end)

  it("leaves at once the second time, also from a C function", function()
    local child <close> = start { "-e", BUSY .. "('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b')" }
    child:await "busy\n"
    child:signal "INT"
    task.sleep(400)
    assert.falsy(child.ended)
    child:signal "INT"
    assert.equal(130, child:finish().status)
  end)

  it("stops a chunk of the interactive mode, and not the program", function()
    local child <close> = start { "-i", stdin = true }
    for _, wait in ipairs { "while true do end", "require 'harness'.sleep(60000)", "while true do end" } do
      local seen = #child.stderr
      child:write("io.stderr:write 'busy\\n'; " .. wait .. "\n")
      child:await "busy\n$"
      child:signal "INT"
      child:await "%[C%]: in %?\n$"
      assert.truthy(child.stderr:sub(seen + 1):find "\ninterrupted!\nstack traceback:\n")
    end
    child:write "require 'harness'.sleep(1) print 'still here'\n"
    child:await "\nstill here\n"
    child:close_stdin()
    assert.equal(0, child:finish().status)
  end)

  it("ends the interactive mode while it reads", function()
    local result = interrupt { "-i", stdin = true, word = "> $" }
    assert.equal(130, result.status)
  end)

  it("leaves SIGTERM alone", function()
    local result = interrupt { "-e", BUSY .. "require 'harness'.sleep(60000)", signal = "TERM" }
    assert.equal(15, result.signal)
  end)
end)

describe("Ctrl-C in a run", function()
  local function run(agent, options)
    options = options or {}
    table.move({ "run", "test.lua", "agent_that_" .. agent, "go" }, 1, 4, 1, options)
    return options
  end

  local function check_interrupted(result)
    assert.equal(130, result.status)
    assert.truthy(result.stderr:find "\n?[^\n]*: interrupted\n$", result.stderr)
  end

  it("closes the connection to the server", function()
    local marker = new_marker()
    local result = interrupt {
      "run", "test.lua", "real", "go", "--stream", word = "Hello",
      env = { SERVER = server.http .. "/v1", SCRIPT = STALLING, MARKER = marker },
    }
    check_interrupted(result)
    assert.equal("closed", server:get("/closed?" .. marker))
    local last = core.json.decode(result.stdout:match "([^\n]*)\n$")
    assert.same({ "run.finished", "cancelled" }, { last.type, last.status })
  end)

  it("leaves no child of a tool", function()
    local marker = new_marker()
    local result = interrupt(run("spawns", { env = { MARKER = marker } }))
    check_interrupted(result)
    assert.is_false(is_running(marker))
    assert.equal("", result.stdout)
  end)

  for _, agent in ipairs { "spins", "generates" } do
    it("ends a tool that " .. agent .. " within half a second", function()
      soon(500, function()
        local result, ms = interrupt(run(agent))
        check_interrupted(result)
        return result, ms
      end)
    end)
  end

  it("ends a tool that ignores it after its grace", function()
    local result, ms = interrupt(run("ignores", { env = { GRACE_MS = "300" } }))
    check_interrupted(result)
    assert.is_true(ms >= 290)
  end)

  it("leaves at once the second time", function()
    soon(500, function()
      local result, ms = interrupt_twice(run "swallows")
      assert.equal(130, result.status)
      return result, ms
    end)
    local child <close> = start(run("ignores", { env = { GRACE_MS = "60000" } }))
    child:await "busy\n"
    child:signal "INT"
    task.sleep(400)
    assert.falsy(child.ended)
    child:signal "INT"
    assert.equal(130, child:finish().status)
  end)

  it("stops it while FILE is loaded", function()
    for _, file in ipairs { "spins.lua", "sleeps.lua" } do
      check_interrupted(interrupt { "run", file, "a", "x" })
      check_interrupted(interrupt { "inspect", file })
    end
  end)

  it("stops it while it reads its input", function()
    local child <close> = start { "run", "test.lua", "agent_that_spins", "-", stdin = true }
    child:write "some"
    task.sleep(300)
    child:signal "INT"
    assert.equal(130, child:finish().status)
  end)

  it("is what SIGTERM and SIGHUP are, too", function()
    for name, status in pairs { TERM = 143, HUP = 129 } do
      local marker = new_marker()
      local result = interrupt(run("spawns", { signal = name, env = { MARKER = marker } }))
      assert.equal(status, result.status)
      assert.truthy(result.stderr:find ": interrupted\n$")
      assert.is_false(is_running(marker))
    end
  end)
end)
