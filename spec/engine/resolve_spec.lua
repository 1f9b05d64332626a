-- Names are resolved without anybody waiting for a name server (engine/resolve.c): under a
-- getaddrinfo of our own (spec/support/slow_names.c) that hangs for some of them.
local servers = require "spec.support.server"

local server, directory, remove, env

setup(function()
  server = servers.start()
  directory, remove = servers.temp_dir()
  env = servers.preload(directory, "slow_names")
  env[#env + 1] = "NAMES_LOG=" .. directory .. "/names.log"
end)

teardown(function()
  remove()
  server:close()
end)

local function url(name) return ("http://%s:%d/echo"):format(name, server.ports.http) end

-- Results, the milliseconds that the process ran, and the names that were asked for.
local function resolve(requests)
  local log = directory .. "/names.log"
  local results, ms = servers.client(env, requests)
  local names = {}
  local file = io.open(log)
  if file then
    for name in file:lines() do names[#names + 1] = name end
    file:close()
    os.remove(log)
  end
  table.sort(names)
  return results, ms, names
end

describe("a name", function()
  it("is asked for once, however many want it, and remembered", function()
    local requests = {}
    for i = 1, 30 do requests[i] = { url = url "slow.test", after_ms = i > 20 and 300 or nil } end
    local results, _, names = resolve(requests)
    for i = 1, 30 do assert.equal(200, results[i].status) end
    assert.same({ "slow.test" }, names)
  end)

  it("that is an address or localhost is not asked for", function()
    local requests = { { url = url "127.0.0.1" }, { url = url "localhost" }, { url = url "a.LOCALHOST" } }
    local results, _, names = resolve(requests)
    for i = 1, 3 do assert.equal(200, results[i].status) end
    assert.same({}, names)
  end)

  it("that is not found is asked for again", function()
    local results, _, names = resolve { { url = url "no.test" }, { url = url "no.test", after_ms = 100 } }
    for i = 1, 2 do
      assert.equal("resolve", results[i].reason)
      assert.matches("could not resolve the name no%.test", results[i].message)
    end
    assert.same({ "no.test", "no.test" }, names)
  end)

  it("whose server does not answer holds up nobody: not the clock, not others, not the end", function()
    local requests = {}
    for i = 1, 20 do requests[i] = { url = url("stuck" .. i .. ".test"), connect_timeout_ms = 300 } end
    for i = 21, 30 do requests[i] = { url = url("ok" .. i .. ".test") } end
    local results, ms = resolve(requests)
    for i = 1, 20 do
      assert.equal("OPERATION_TIMEOUT", results[i].code)
      assert.is_true(results[i].ms >= 300 and results[i].ms < 600, "the clock was held up: " .. results[i].ms)
    end
    for i = 21, 30 do
      assert.equal(200, results[i].status)
      assert.is_true(results[i].ms < 250, "another name was held up: " .. results[i].ms)
    end
    assert.is_true(ms < 5000, "the end of the process was held up: " .. ms)
  end)

  it("can be given up at once", function()
    local results, _, names = resolve {
      { url = url "stuck.test", cancel_ms = 50 }, { url = url "stuck.test", cancel_ms = 100 },
      { url = url "stuck.test", connect_timeout_ms = 200 },
    }
    assert.equal("OPERATION_CANCELLED", results[1].code)
    assert.is_true(results[1].ms < 40)
    assert.is_true(results[2].ms < 40)
    assert.equal("OPERATION_TIMEOUT", results[3].code)
    assert.same({ "stuck.test" }, names)
  end)

  it("waits its turn when very many are asked for", function()
    local requests = {}
    for i = 1, 80 do requests[i] = { url = url("slow" .. i .. ".test") } end
    local results, _, names = resolve(requests)
    for i = 1, 80 do assert.equal(200, results[i].status) end
    assert.equal(80, #names)
  end)
end)
