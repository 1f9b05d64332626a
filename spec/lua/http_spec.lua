-- What lua/harness/http.lua adds to the transfers of the engine: options, errors, iterators.
local chain = require "harness.chain"
local core = require "harness.core"
local errors = require "harness.errors"
local http = require "harness.http"
local servers = require "spec.support.server"
local task = require "harness.task"

local server

setup(function() server = servers.start() end)
teardown(function() server:close() end)

local function refused(words, options)
  local ok, err = pcall(http.request, options)
  assert.is_false(ok)
  assert.is_true(errors.is(err, "VALIDATION_ERROR"), tostring(err))
  assert.equal("http", err.meta.where)
  assert.is_truthy(err.message:find(words, 1, true), err.message)
end

describe("options", function()
  it("are checked before anything is sent", function()
    refused("takes a table of options, got nil", nil)
    refused("takes a table of options, got string", "http://127.0.0.1/")
    refused("url is missing", {})
    refused("url must be of type string, got integer", { url = 1 })
    refused('unknown option "timeout"', { url = "http://a/", timeout = 1 })
    refused("body must be of type string, got table", { url = "http://a/", body = {} })
    refused("timeout_ms must be of type integer, got float", { url = "http://a/", timeout_ms = 1.5 })
    refused("idle_timeout_ms must be at least 0, got -1", { url = "http://a/", idle_timeout_ms = -1 })
    refused("stream must be of type boolean, got string", { url = "http://a/", stream = "yes" })
    refused("proxy must be of type string, got boolean", { url = "http://a/", proxy = true })
    refused("headers must be of type table, got string", { url = "http://a/", headers = "X: 1" })
    refused("headers must be a map of names to text", { url = "http://a/", headers = { A = {} } })
    refused("headers must be a map of names to text", { url = "http://a/", headers = { { 1, "x" } } })
    refused("must hold pairs, got string", { url = "http://a/", headers = { "X: 1" } })
    refused("names of headers must be strings, got boolean", { url = "http://a/", headers = { [true] = "" } })
  end)

  it("give headers of a map in byte order, numbers as text", function()
    local response <close> = http.request {
      url = server.http .. "/echo", headers = { ["X-B"] = 2, ["X-A"] = "1", ["X-C"] = 1.5 },
    }
    local headers = core.json.decode(response:text()).headers
    assert.same({ { "X-A", "1" }, { "X-B", "2" }, { "X-C", "1.5" } }, { table.unpack(headers, 4) })
  end)

  it("may be overruled: agent, accepted types, no proxy", function()
    local headers = { ["User-Agent"] = "mine", Accept = "text/plain" }
    local response <close> = http.request { url = server.http .. "/echo", proxy = false, headers = headers }
    local seen = {}
    for _, pair in ipairs(core.json.decode(response:text()).headers) do seen[pair[1]] = pair[2] end
    assert.equal("mine", seen["User-Agent"])
    assert.equal("text/plain", seen["Accept"])
  end)
end)

describe("errors", function()
  it("are harness errors whose retriability follows from the reason", function()
    local ok, err = pcall(http.request, { url = "http://127.0.0.1:1/a?secret=1" })
    assert.is_false(ok)
    assert.is_true(errors.is(err, "HTTP_ERROR"))
    assert.same({ reason = "connect", url = "http://127.0.0.1:1/a" }, err.meta)
    local steps = { { "send", servers.head "Content-Length: 5" }, { "cut" } }
    local response <close> = http.request { url = server.http .. "/", headers = servers.script(steps) }
    ok, err = pcall(response.text, response)
    assert.is_false(ok)
    assert.equal("network", err.meta.reason)
    assert.is_true(err.retriable)
  end)

  it("of clocks name the clock", function()
    local ok, err = pcall(http.request, {
      url = server.http .. "/?key=hush", headers = servers.script { { "stall" } }, first_byte_timeout_ms = 20,
    })
    assert.is_false(ok)
    assert.is_true(errors.is(err, "OPERATION_TIMEOUT"))
    assert.same({ scope = "http", phase = "first_byte", timeout_ms = 20, url = server.http .. "/" }, err.meta)
    assert.equal(server.http .. ": no response within 20 ms", err.message)
    assert.is_true(err.retriable)
  end)

  it("say that libcurl is missing, and how to get it", function()
    local directory, remove = servers.temp_dir()
    local env = servers.preload(directory, "no_libraries")
    local results = servers.client(env, { { url = "http://a.test/" }, { url = "http://a.test/" } })
    remove()
    for _, result in ipairs(results) do
      assert.same({ "HTTP_ERROR", "unavailable" }, { result.code, result.reason })
      assert.matches("HTTP needs libcurl 7.85 or newer", result.message, 1, true)
      assert.matches("apt-get install libcurl4", result.message, 1, true)
    end
  end)

  it("tell where waiting is impossible, before anything is sent", function()
    local live = core.live()
    local err
    table.sort({ 1, 2 }, function()
      if not err then err = select(2, pcall(http.request, { url = server.http .. "/echo" })) end
      return false
    end)
    assert.is_true(errors.is(err, "HARNESS_CONFIG_ERROR"), tostring(err))
    assert.equal("cannot_wait", err.meta.reason)
    assert.same(live, core.live())
    assert.is_true(chain.can_wait())
  end)
end)

describe("a body", function()
  local function numbers(n)
    local head = servers.head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")
    local steps = { { "send", head } }
    for i = 1, n do steps[#steps + 1] = { "send", servers.chunk(("data: %d\n\n"):format(i)) } end
    steps[#steps + 1] = { "send", servers.chunk() }
    return { url = server.http .. "/", headers = servers.script(steps) }
  end

  it("may be left and entered again", function()
    local response <close> = http.request(numbers(5))
    for data in response:events() do
      if data == "2" then break end
    end
    assert.equal("3", (response:next_event()))
    local rest = {}
    for data in response:events() do rest[#rest + 1] = data end
    assert.same({ "4", "5" }, rest)
    for _ in response:events() do error "there is no more" end
  end)

  it("is read inside the user's own coroutines and iterators", function()
    local response <close> = http.request(numbers(4))
    local generator = coroutine.wrap(function()
      for data in response:events() do coroutine.yield(tonumber(data)) end
    end)
    assert.same({ 1, 2, 3, 4 }, { generator(), generator(), generator(), generator() })
  end)

  it("is text as a whole, or what is left of it, and then empty", function()
    local head = servers.head "Content-Length: 6"
    local steps = { { "send", head .. "abc" }, { "go", "rest" }, { "send", "def" } }
    local response <close> = http.request { url = server.http .. "/", headers = servers.script(steps) }
    assert.equal("abc", response:read())
    server:get "/go?rest"
    assert.equal("def", response:text())
    assert.equal("", response:text())
    assert.is_nil(response:read())
  end)

  it("of an answer that is no 2xx is text, though a stream was asked for", function()
    local steps = { { "send", "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait" } }
    local headers = servers.script(steps)
    local response <close> = http.request { url = server.http .. "/", headers = headers, stream = true }
    assert.same({ 429, false, "7", "wait" },
      { response.status, response.is_events, response.headers["retry-after"], response:text() })
  end)

  it("is closed by whoever leaves its scope, however", function()
    local kept
    local reading = task.spawn(function()
      local response <close> = http.request(numbers(3))
      kept = response
      error "out"
    end)
    assert.is_false(pcall(reading.await, reading))
    assert.has_error(function() kept:next_event() end, "this HTTP response was closed")
    assert.has_no_error(function() kept:close() end)
  end)
end)
