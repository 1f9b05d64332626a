-- The transfer machine of engine/http.c on libcurl, against a server that does byte for byte what
-- the spec tells it to.
local core = require "harness.core"
local http = require "harness.http"
local join = require "harness.join"
local servers = require "spec.support.server"
local task = require "harness.task"

local head, chunk, script = servers.head, servers.chunk, servers.script
local SSE <const> = "Content-Type: text/event-stream"
local CHUNKED <const> = "Transfer-Encoding: chunked"

local server, before

-- What is under way; idle connections are kept on purpose and do not count.
local function counts()
  local live = core.live()
  live.transfers = core.http.stats().transfers
  return live
end

-- Handles are closed in the next turn of the loop: a round trip to the server makes some.
local function settle()
  server:get "/stats"
  collectgarbage()
  task.settle()
end

local function ask(steps, options)
  local request = { url = server.http .. "/", headers = script(steps, options and options.headers) }
  for name, value in pairs(options or {}) do
    if name ~= "headers" then request[name] = value end
  end
  return http.request(request)
end

local function body_of(steps, options)
  local response <close> = ask(steps, options)
  return response:text()
end

local function events_of(steps, options)
  local response <close> = ask(steps, options)
  local list = {}
  for data in response:events() do list[#list + 1] = data end
  return list
end

local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  assert.is_table(err, tostring(err))
  return err
end

local function http_error(reason, fn, ...)
  local err = raised(fn, ...)
  assert.equal("HTTP_ERROR", err.code, tostring(err))
  assert.equal(reason, err.meta.reason, tostring(err))
  return err
end

local function timeout(phase, ms, fn, ...)
  local err = raised(fn, ...)
  assert.equal("OPERATION_TIMEOUT", err.code, tostring(err))
  assert.same({ "http", phase, ms }, { err.meta.scope, err.meta.phase, err.meta.timeout_ms })
  return err
end

-- Lets real time go by in which the manual clock stands still.
local function round_trips(n)
  for _ = 1, n do server:get "/stats" end
end

local function advance(ms)
  while ms > 0 do
    ms = core.clock_advance(ms)
    task.pause()
  end
end

setup(function()
  server = servers.start { tls = true }
  settle()
end)

teardown(function() server:close() end)

before_each(function()
  settle()
  before = counts()
end)

after_each(function()
  settle()
  assert.same(before, counts())
end)

describe("connections", function()
  it("are reused once a response was complete", function()
    local first = server:get("/echo").connection
    for _ = 1, 5 do assert.equal(first, server:get("/echo").connection) end
  end)

  it("are reused when the body had come but was not read", function()
    local first = server:get("/echo").connection
    local response <close> = http.request { url = server.http .. "/echo" }
    while core.http.stats().transfers > 0 do core.turn(true) end
    response:close()
    assert.equal(first, server:get("/echo").connection)
  end)

  it("are dialled again when the server has closed an idle one", function()
    assert.equal("a", body_of { { "send", head "Content-Length: 1" .. "a" }, { "end" } })
    assert.equal("b", body_of { { "send", head "Content-Length: 1" .. "b" } })
  end)

  it("carry 200 streams at once", function()
    local steps = { { "send", head(SSE, CHUNKED) } }
    for i = 1, 20 do steps[#steps + 1] = { "send", chunk(("data: %d\n\n"):format(i)) } end
    steps[#steps + 1] = { "go", "all" }
    steps[#steps + 1] = { "send", chunk() }
    local reached, list = 0, {}
    for i = 1, 200 do list[i] = i end
    local sums = join.map(list, function()
      local sum = 0
      local response <close> = ask(steps)
      for data in response:events() do
        sum = sum + tonumber(data)
        if data == "20" then reached = reached + 1 end
        if reached == 200 then
          reached = 0
          assert.equal(200, core.http.stats().transfers)
          server:get "/go?all"
        end
      end
      return sum
    end)
    for i = 1, 200 do assert.equal(210, sums[i]) end
  end)

  it("are cut when a stream is closed in the middle, and the server sees it", function()
    local response = ask({ { "send", head(SSE, CHUNKED) .. chunk "data: 1\n\n" }, { "stall" } },
      { headers = { ["x-id"] = "middle" } })
    assert.equal("1", (response:next_event()))
    response:close()
    response:close()
    assert.equal("closed", server:get "/closed?middle")
  end)

  it("are cut when the waiting task is cancelled", function()
    local reading = task.spawn(function()
      local response <close> = ask({ { "send", head(SSE, CHUNKED) }, { "stall" } },
        { headers = { ["x-id"] = "cancel" } })
      response:next_event()
    end)
    round_trips(2)
    reading:cancel()
    assert.equal("closed", server:get "/closed?cancel")
    assert.is_false(pcall(reading.await, reading))
  end)

  it("are cut when the task is cancelled before the head has come", function()
    local asking = task.spawn(ask, { { "stall" } }, { headers = { ["x-id"] = "early" } })
    round_trips(2)
    asking:cancel()
    assert.equal("closed", server:get "/closed?early")
    assert.is_false(pcall(asking.await, asking))
  end)

  it("are cut when a response is forgotten", function()
    ask({ { "send", head(CHUNKED) }, { "stall" } }, { headers = { ["x-id"] = "forgotten" } })
    collectgarbage()
    assert.equal("closed", server:get "/closed?forgotten")
  end)

  it("that are refused say so, with nothing secret", function()
    local err = http_error("connect", http.request, {
      url = "http://user:hush@127.0.0.1:1/path?key=hush#hush", headers = { Authorization = "Bearer hush" },
    })
    assert.equal("http://127.0.0.1:1: could not connect (Connection refused)", err.message)
    assert.equal("http://127.0.0.1:1/path", err.meta.url)
    assert.is_nil(core.json.encode(err.meta):find "hush")
  end)

  it("whose name does not exist say so", function()
    local err = http_error("resolve", http.request, { url = "http://does-not-exist.invalid/" })
    assert.matches("could not resolve the name does%-not%-exist%.invalid %(.+%)", err.message)
  end)
end)

describe("requests", function()
  local function echo(options)
    options.url = server.http .. (options.path or "/echo")
    options.path = nil
    local response <close> = http.request(options)
    local answer = core.json.decode(response:text())
    answer.fields = {}
    for _, pair in ipairs(answer.headers) do answer.fields[pair[1]] = pair[2] end
    return answer
  end

  it("are sent as asked", function()
    local headers = { { "X-B", "2" }, { "X-A", "" }, { "X-B", 3 } }
    local answer = echo { path = "/echo?a=%20b&c", headers = headers }
    assert.equal("GET", answer.method)
    assert.equal("/echo?a=%20b&c", answer.path)
    headers[3][2] = "3"
    assert.same(headers, { table.unpack(answer.headers, 4) })
  end)

  it("carry bodies with NUL, large ones and empty ones", function()
    assert.equal("a\0b", echo { body = "a\0b" }.body)
    local large = ("0123456789abcdef"):rep(200000)
    local answer = echo { body = large, headers = { ["Content-Type"] = "text/plain" } }
    assert.equal("POST", answer.method)
    assert.equal(large, answer.body)
    assert.is_nil(answer.fields["Expect"])
    assert.equal("text/plain", answer.fields["Content-Type"])
    answer = echo { body = "" }
    assert.equal("POST", answer.method)
    assert.equal("0", answer.fields["Content-Length"])
    assert.is_nil(answer.fields["Content-Type"])
  end)

  it("have any method, with and without a body", function()
    for _, method in ipairs { "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS" } do
      assert.equal(method, echo { method = method }.method)
      local answer = echo { method = method:lower(), body = "x" }
      assert.same({ method, "x" }, { answer.method, answer.body })
    end
    local steps = { { "send", head "Content-Length: 5" } }
    local response <close> = http.request { url = server.http, method = "HEAD", headers = script(steps) }
    assert.equal("", response:text())
  end)

  it("that would smuggle in a header are refused", function()
    for _, headers in ipairs {
      { ["X-A"] = "1\r\nX-B: hush" }, { ["X-A"] = "1\n" }, { ["X-A"] = "a\0hush" },
      { ["X-A\r\nX-B"] = "1" },
      { ["X A"] = "1" }, { [""] = "1" }, { ["X-A:"] = "1" }, { ["X-A"] = "\127" },
      { ["Content-Length"] = "5" }, { ["transfer-encoding"] = "chunked" },
    } do
      local err = http_error("request", echo, { headers = headers })
      assert.is_nil(err.message:find "hush")
    end
  end)

  it("with a bad method are refused", function()
    for _, method in ipairs { "", "GET /x HTTP/1.1\r\n", "G T", ("X"):rep(21), "CONNECT" } do
      http_error("request", echo, { method = method })
    end
  end)

  it("with a bad URL are refused, and the message says what is allowed", function()
    for url, words in pairs {
      [""] = "starts with http", ["example.com"] = "starts with http", ["ftp://a/"] = "starts with http",
      ["file:///etc/passwd"] = "starts with http", ["http://"] = "names a host",
      ["http:///x"] = "names a host",
      ["http://a b/"] = "printable ASCII", ["http://a/\r\nX: hush"] = "printable ASCII",
      ["http://h\u{e4}/"] = "printable ASCII", ["http://a\\b/"] = "backslash", ["http://a:x/"] = "number",
      ["http://a:0/"] = "at least 1", ["http://a:65536/"] = "at most 65535",
      ["http://hush@b@c/"] = "one @", ["http://a%41/"] = "letters, digits",
      ["http://[::1/"] = "ends with ]", ["http://[hush]/"] = "not an IPv6",
      ["http://" .. ("a"):rep(300) .. "/"] = "too long", ["http://a/\0hush"] = "NUL",
    } do
      local err = http_error("request", http.request, { url = url })
      assert.is_truthy(err.message:find(words, 1, true), url .. ": " .. err.message)
      assert.is_nil(err.message:find "hush")
    end
  end)
end)

describe("responses", function()
  it("have a status and headers by lower-case name", function()
    local response <close> = ask { { "send", "HTTP/1.1 418 Short\r\nX-One:  a b \r\nx-two: 1\r\n"
      .. "X-Two: 2\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n" } }
    assert.equal(418, response.status)
    assert.same({ ["x-one"] = "a b", ["x-two"] = "1, 2", ["x-empty"] = "", ["content-length"] = "0" },
      response.headers)
    assert.equal("", response:text())
  end)

  it("may be preceded by 1xx heads and followed by trailers", function()
    local early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n"
    local late = "0\r\nX-After: 1\r\n\r\n"
    local body = head(CHUNKED, "Trailer: X-After") .. chunk "body"
    local response <close> = ask { { "send", early .. body .. late } }
    assert.equal(200, response.status)
    assert.is_nil(response.headers["x-hint"])
    assert.equal("body", response:text())
  end)

  it("that redirect are not followed", function()
    local moved = "HTTP/1.1 302 Found\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n"
    local response <close> = ask { { "send", moved } }
    assert.equal(302, response.status)
    assert.equal("/echo", response.headers.location)
  end)

  it("keep no cookies", function()
    assert.equal("", body_of { { "send", head("Set-Cookie: a=hush", "Content-Length: 0") } })
    for _, pair in ipairs(server:get("/echo").headers) do assert.not_equal("cookie", pair[1]:lower()) end
  end)

  it("come through however they are cut, without a length too", function()
    local text = "gr\u{fc}\u{df}e \u{1F600} \0 \255 end"
    local steps = { { "send", head(CHUNKED) } }
    for i = 1, #text do
      steps[#steps + 1] = { "send", chunk(text:sub(i, i)) }
      if i % 5 == 0 then steps[#steps + 1] = { "wait", 1 } end
    end
    steps[#steps + 1] = { "send", chunk() }
    assert.equal(text, body_of(steps))
    assert.equal(text, body_of { { "send", head() .. text }, { "end" } })
  end)

  it("cut short are an error, after what came", function()
    for _, last in ipairs { "end", "cut" } do
      for _, fields in ipairs { "Content-Length: 10", CHUNKED } do
        local piece = fields == CHUNKED and chunk "12345" or "12345"
        local response <close> = ask { { "send", head(fields) .. piece }, { "go", "short" }, { last } }
        assert.equal("12345", response:read())
        server:get "/go?short"
        http_error("network", response.read, response)
        http_error("network", response.read, response)
      end
    end
  end)

  it("that end before their head are an error", function()
    http_error("network", ask, { { "end" } })
    http_error("network", ask, { { "cut" } })
    http_error("network", ask, { { "send", "HTTP/1.1 200 OK\r\nX-A: 1\r\n" }, { "cut" } })
  end)

  it("that are no HTTP are an error", function()
    for _, bytes in ipairs { "hello\n\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "\0\0\0\r\n\r\n" } do
      http_error("protocol", ask, { { "send", bytes }, { "end" } })
    end
    local err = raised(body_of, { { "send", head(CHUNKED) .. "zz\r\nxx\r\n" }, { "end" } })
    assert.equal("HTTP_ERROR", err.code)
  end)

  it("that are compressed, which was not asked for, are an error", function()
    local steps = { { "send", head("Content-Encoding: gzip", "Content-Length: 2") .. "xx" } }
    http_error("protocol", body_of, steps)
    assert.equal("xx", body_of(steps, { headers = { ["Accept-Encoding"] = "gzip" } }))
  end)

  it("say that they were closed", function()
    local response = ask { { "send", head "Content-Length: 1" .. "a" } }
    response:close()
    assert.has_error(function() response:read() end, "this HTTP response was closed")
  end)

  it("are read by one task at a time", function()
    local response <close> = ask { { "send", head(CHUNKED) }, { "stall" } }
    local first = task.spawn(response.read, response)
    task.pause()
    assert.has_error(function() response:read() end, "another task is waiting for this HTTP response already")
    first:cancel()
    assert.is_false(pcall(first.await, first))
  end)
end)

describe("event streams", function()
  local function stream(text, cut)
    local steps = { { "send", head(SSE, CHUNKED) } }
    for i = 1, #text, cut do steps[#steps + 1] = { "send", chunk(text:sub(i, i + cut - 1)) } end
    steps[#steps + 1] = { "send", chunk() }
    return steps
  end

  it("give data, type and id, wherever they are cut", function()
    local text = "\u{FEFF}: hi\r\ndata: \u{4F60}\u{597D} \u{1F600}\r\nid: 7\r\n\r\n"
      .. "event: x\ndata:a\ndata: b\n\ndata: late"
    for _, cut in ipairs { 1, 2, 3, 5, 1000 } do
      local response <close> = ask(stream(text, cut))
      assert.is_true(response.is_events)
      assert.same({ "\u{4F60}\u{597D} \u{1F600}", "message", "7" }, { response:next_event() })
      assert.same({ "a\nb", "x", "7" }, { response:next_event() })
      assert.is_nil(response:next_event())
      assert.is_nil(response:next_event())
    end
  end)

  it("are picked from without a table, or handed over whole", function()
    local text = 'data: {"a":{"b":"x"},"n":3}\n\ndata: {"a":{"b":"\\u0000"}}\n\nevent: e\ndata: [DONE]\n\n'
    local response <close> = ask(stream(text, 7))
    local picker = core.json.picker { "a.b", "n" }
    assert.same({ true, "x", 3 }, { response:next_pick(picker) })
    assert.same({ false, '{"a":{"b":"\\u0000"}}', "message" }, { response:next_pick(picker) })
    assert.same({ false, "[DONE]", "e" }, { response:next_pick(picker) })
    assert.is_nil(response:next_pick(picker))
  end)

  it("are known by status and content type, or by request", function()
    local function kind(fields, stream_option, status)
      local bytes = ("HTTP/1.1 %d X\r\n%s\r\nContent-Length: 0\r\n\r\n"):format(status or 200, fields)
      local response <close> = ask({ { "send", bytes } }, { stream = stream_option })
      return response.is_events
    end
    assert.is_true(kind "Content-Type: text/event-stream; charset=utf-8")
    assert.is_true(kind "content-type: TEXT/Event-Stream")
    assert.is_false(kind("Content-Type: text/event-stream", nil, 429))
    assert.is_false(kind("Content-Type: text/event-stream", false))
    assert.is_false(kind "Content-Type: text/plain")
    assert.is_true(kind("Content-Type: text/plain", true))
    assert.is_true(kind("X-No: type", true))
    assert.is_false(kind("Content-Type: application/json", true))
    assert.is_false(kind("Content-Type: text/plain", true, 500))
  end)

  it("and plain bodies are not mixed up", function()
    local response <close> = ask { { "send", head(SSE, "Content-Length: 0") } }
    assert.equal("VALIDATION_ERROR", raised(response.text, response).code)
    local plain <close> = ask { { "send", head("Content-Type: text/plain", "Content-Length: 0") } }
    http_error("protocol", plain.next_event, plain)
    http_error("protocol", plain.next_pick, plain, core.json.picker { "a" })
    http_error("protocol", plain.events, plain)
  end)

  it("that break give what came, then the error", function()
    local response <close> = ask { { "send", head(SSE, CHUNKED) .. chunk "data: 1\n\ndata: 2" },
      { "go", "break" }, { "cut" } }
    assert.equal("1", (response:next_event()))
    server:get "/go?break"
    http_error("network", response.next_event, response)
  end)
end)

describe("limits", function()
  local X1000 <const> = ("x"):rep(1000)

  it("hold for a body with a length and without", function()
    local options = { max_body_bytes = 1000 }
    local steps = { { "send", head "Content-Length: 1001" .. X1000 .. "x" } }
    local err = http_error("too_big", body_of, steps, options)
    assert.matches("larger than the limit", err.message)
    steps = { { "send", head(CHUNKED) .. chunk(X1000) .. chunk "x" }, { "stall" } }
    http_error("too_big", body_of, steps, options)
    assert.equal(X1000, body_of({ { "send", head "Content-Length: 1000" .. X1000 } }, options))
  end)

  it("are 64 MiB for a body by default", function()
    http_error("too_big", body_of, { { "send", head "Content-Length: 67108865" } })
    local steps = { { "send", head(CHUNKED) }, { "repeat", 1100, chunk(("x"):rep(65536)) }, { "stall" } }
    local response <close> = ask(steps)
    local total = 0
    http_error("too_big", function()
      for bytes in response:chunks() do total = total + #bytes end
    end)
    assert.is_true(total <= 64 << 20 and total > 63 << 20)
  end)

  it("hold for one event, not for the stream", function()
    local event = "data: " .. ("x"):rep(100) .. "\n\n"
    local steps = { { "send", head(SSE, CHUNKED) }, { "repeat", 300, chunk(event) }, { "send", chunk() } }
    assert.equal(300, #events_of(steps, { max_body_bytes = 1000, max_event_bytes = 100 }))
    http_error("too_big", events_of, steps, { max_event_bytes = 99 })
    steps[2] = { "repeat", 100, chunk(("x"):rep(65536)) }
    http_error("too_big", events_of, steps)
  end)

  it("hold for headers", function()
    local line = "X-Header: " .. ("x"):rep(100) .. "\r\n"
    http_error("too_big", ask, { { "send", "HTTP/1.1 200 OK\r\n" }, { "repeat", 3000, line }, { "stall" } })
    local steps = { { "send", "HTTP/1.1 200 OK\r\nX-A: " }, { "repeat", 300, X1000 }, { "stall" } }
    http_error("too_big", ask, steps)
    local response <close> = ask { { "send", head("X-A: " .. ("x"):rep(50000), "Content-Length: 0") } }
    assert.equal(50000, #response.headers["x-a"])
  end)

  local function slow_reader(fields, piece, read)
    local response <close> = ask { { "send", head(fields, CHUNKED) }, { "repeat", 500, chunk(piece) },
      { "send", chunk() } }
    collectgarbage()
    local kept = collectgarbage "count"
    round_trips(100)
    assert.equal(1, core.http.stats().transfers, "30 MB were taken in with nobody reading")
    local total = 0
    for bytes in read(response) do
      assert.is_true(#bytes <= (1 << 20) + (64 << 10))
      total = total + #bytes
    end
    assert.equal(500 * 60000, total)
    assert.is_true(collectgarbage "count" - kept < 32 << 10)
  end

  it("make the server wait for a slow reader", function()
    local piece = ("x"):rep(60000)
    slow_reader("X-A: 1", piece, function(response) return response:chunks() end)
    slow_reader(SSE, "data: " .. piece .. "\n\n", function(response) return response:events() end)
  end)
end)

describe("clocks", function()
  local ONE_EVENT <const> = head(SSE, CHUNKED) .. chunk "data: 1\n\n"
  local function silent_url() return "https://127.0.0.1:" .. server.ports.silent .. "/" end

  after_each(function() core.clock_manual(nil) end)

  it("bound the connecting", function()
    timeout("connect", 60, http.request, { url = silent_url(), connect_timeout_ms = 60 })
  end)

  it("bound the time to the head", function()
    local options = { first_byte_timeout_ms = 50 }
    timeout("first_byte", 50, ask, { { "stall" } }, options)
    timeout("first_byte", 50, ask, { { "send", "HTTP/1.1 200 OK\r\nX-A: 1\r\n" }, { "stall" } }, options)
  end)

  -- A body that comes in pieces, 30 ms apart, and then stalls.
  local PIECES <const> = {
    { "send", head(CHUNKED) .. chunk "a" }, { "wait", 30 }, { "send", chunk "b" }, { "wait", 30 },
    { "send", chunk "c" }, { "stall" },
  }

  it("bound silence within a body", function()
    local err = timeout("idle", 80, body_of, PIECES, { idle_timeout_ms = 80 })
    assert.matches("nothing more came within 80 ms", err.message)
  end)

  it("bound the whole", function()
    timeout("total", 50, body_of, PIECES, { timeout_ms = 50 })
  end)

  it("let only content keep a stream alive", function()
    local comments, pings = { { "send", ONE_EVENT } }, { { "send", ONE_EVENT } }
    for _ = 1, 250 do
      table.move({ { "wait", 20 }, { "send", chunk ": ping\n\n" } }, 1, 2, #comments + 1, comments)
      table.move({ { "wait", 20 }, { "send", chunk "event: ping\ndata: {}\n\n" } }, 1, 2, #pings + 1, pings)
    end
    timeout("idle", 120, events_of, comments, { idle_timeout_ms = 120 })
    local response <close> = ask(pings, { idle_timeout_ms = 120 })
    local n = 0
    timeout("idle", 120, function()
      while response:next_event() do n = n + 1 end
    end)
    assert.is_true(n > 1 and n < 250, "pings kept it alive: " .. n)
  end)

  it("are 10 s, 120 s and 90 s on the engine's clock", function()
    core.clock_manual(0)
    local stalled = task.spawn(ask, { { "stall" } })
    local silent = task.spawn(events_of, { { "send", ONE_EVENT }, { "stall" } })
    local connecting = task.spawn(http.request, { url = silent_url() })
    round_trips(20)
    advance(9999)
    assert.is_false(connecting:done())
    advance(1)
    timeout("connect", 10000, connecting.await, connecting)
    advance(79999)
    assert.is_false(silent:done())
    advance(1)
    timeout("idle", 90000, silent.await, silent)
    advance(29999)
    assert.is_false(stalled:done())
    advance(1)
    timeout("first_byte", 120000, stalled.await, stalled)
  end)

  it("do not blame the server for a slow reader", function()
    core.clock_manual(0)
    local response <close> = ask { { "send", head(SSE, CHUNKED) .. chunk "data: 1\n\ndata: 2\n\n" },
      { "go", "reader" }, { "send", chunk "data: 3\n\n" .. chunk() } }
    assert.equal("1", (response:next_event()))
    advance(500000)
    assert.equal("2", (response:next_event()))
    server:get "/go?reader"
    assert.equal("3", (response:next_event()))
    assert.is_nil(response:next_event())
  end)

  it("can be left out", function()
    core.clock_manual(0)
    local none = { connect_timeout_ms = 0, first_byte_timeout_ms = 0, idle_timeout_ms = 0 }
    local steps = { { "send", head(CHUNKED) .. chunk "a" }, { "go", "ages" }, { "send", chunk() } }
    local response <close> = ask(steps, none)
    assert.equal("a", response:read())
    assert.equal(before.timers, core.live().timers)
    advance(10000000)
    server:get "/go?ages"
    assert.is_nil(response:read())
  end)
end)

describe("TLS", function()
  it("refuses a certificate that nobody has signed", function()
    local err = http_error("tls", http.request, { url = server.https .. "/echo" })
    assert.matches("certificate", err.message)
  end)

  it("takes it when told to trust it, by file", function()
    local response <close> = http.request { url = server.https .. "/echo", ca_file = server.cert }
    assert.equal(200, response.status)
    assert.equal("GET", core.json.decode(response:text()).method)
  end)

  it("refuses it for another name", function()
    local url = server.https:gsub("127%.0%.0%.1", "other.localhost")
    local err = http_error("tls", http.request, { url = url .. "/echo", ca_file = server.cert })
    assert.matches("other.localhost", err.message)
  end)

  it("says that the file of certificates is missing", function()
    http_error("tls", http.request, { url = server.https .. "/echo", ca_file = "/does/not/exist.pem" })
  end)

  it("does not talk to a plain server", function()
    http_error("tls", http.request, { url = "https://127.0.0.1:" .. server.ports.http })
  end)
end)

describe("HTTP/2", function()
  local function h2(path, options)
    options = options or {}
    options.url, options.ca_file = server.http2 .. path, server.cert
    return http.request(options)
  end

  local function cut_streams()
    local cut = {}
    for _, id in ipairs(server:get("/http2").closed) do cut[id] = true end
    return cut
  end

  it("carries many streams over one connection", function()
    local sessions, list = server:get("/http2").sessions, {}
    for i = 1, 50 do list[i] = i end
    local sums = join.map(list, function()
      local sum = 0
      local response <close> = h2 "/events?n=10&delay=2"
      for data in response:events() do sum = sum + tonumber(data) end
      return sum
    end)
    for i = 1, 50 do assert.equal(55, sums[i]) end
    assert.equal(sessions + 1, server:get("/http2").sessions)
  end)

  it("cuts one stream at once and leaves the others alone", function()
    local silent <close> = h2("/events?n=2&delay=300", { headers = { ["x-id"] = "silent" } })
    assert.equal("1", (silent:next_event()))
    local busy = h2("/events?n=100000&delay=100000", { headers = { ["x-id"] = "busy" } })
    local hanging = task.spawn(h2, "/hang", { headers = { ["x-id"] = "hanging" } })
    round_trips(3)
    local sessions = server:get("/http2").sessions
    busy:close()
    hanging:cancel()
    assert.is_false(pcall(hanging.await, hanging))
    round_trips(3)
    local cut = cut_streams()
    assert.is_true(cut.busy)
    assert.is_true(cut.hanging)
    assert.is_nil(cut.silent)
    assert.equal("2", (silent:next_event()))
    assert.is_nil(silent:next_event())
    assert.equal(sessions, server:get("/http2").sessions)
  end)

  it("closes the connection when its only stream is cut", function()
    local response = h2("/events?n=100000&delay=100000", { headers = { ["x-id"] = "only" } })
    assert.equal("1", (response:next_event()))
    assert.equal(1, server:get("/http2").open)
    response:close()
    round_trips(3)
    assert.is_true(cut_streams().only)
    assert.equal(0, server:get("/http2").open)
  end)

  it("makes the server wait for one slow reader while others go on", function()
    local slow <close> = h2 "/big?bytes=20000000"
    for _ = 1, 20 do
      local quick <close> = h2 "/big?bytes=100000"
      assert.equal(100000, #quick:text())
    end
    local total = 0
    for bytes in slow:chunks() do total = total + #bytes end
    assert.equal(20000000, total)
  end)
end)
