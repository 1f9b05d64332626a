local core = require "harness.core"
local json = require "harness.json"
local make = require "harness.providers.openai"
local openai = require "spec.support.openai"
local servers = require "spec.support.server"

local KEY <const> = openai.KEY
local SSE <const> = openai.SSE
local DONE <const> = openai.DONE
local data = openai.data
local delta = openai.delta
local text = openai.text
local stream = openai.stream
local body = openai.body
local request = openai.request

describe("http_error", function()
  local peer

  setup(function() peer = openai.start() end)
  teardown(function() peer:close() end)

  local function refused(status_line, value, ...)
    return peer:fails(body(value, "HTTP/1.1 " .. status_line, ...))
  end

  local function api(message, kind, code, param)
    return { error = { message = message, type = kind, code = code or json.null, param = param } }
  end

  it("of the server keep what it says", function()
    local said = api("Unknown parameter: 'x'.", "invalid_request_error", "unknown_parameter", "x")
    local err = refused("400 Bad Request", said, "X-Request-Id: req-1")
    assert.equal("model request failed (HTTP 400, unknown_parameter, invalid_request_error, param x): "
      .. "Unknown parameter: 'x'.", err.message)
    assert.same({ provider = "openai", model = "m", method = "text", status = 400, reason = "http_error",
      provider_code = "unknown_parameter", provider_type = "invalid_request_error", provider_param = "x",
      provider_message = "Unknown parameter: 'x'.", provider_request_id = "req-1" }, err.meta)
    assert.is_false(err.retriable)
  end)

  it("say that the key was refused, by whom, and not which", function()
    local said = api("Incorrect API key provided: " .. KEY, "invalid_request_error", "invalid_api_key")
    local err = refused("401 Unauthorized", said)
    assert.equal(401, err.meta.status)
    assert.matches("Incorrect API key provided: [redacted]. 127.0.0.1:", err.message, 1, true)
    assert.matches("refused the key that was given as the option api_key", err.message, 1, true)
    assert.equal("Incorrect API key provided: [redacted]", err.meta.provider_message)
  end)

  it("say that no key was sent", function()
    local ok, err = pcall(function()
      local options = { base_url = peer.http, headers = servers.script(body("no", "HTTP/1.1 401 No")) }
      make(options):generate(request())
    end)
    assert.is_false(ok)
    assert.matches("No key was sent to 127.0.0.1:", err.message, 1, true)
  end)

  it("hide secrets of headers that the server repeats", function()
    local err = peer:fails(body("bad header hush-hush-1", "HTTP/1.1 400 No"), nil,
      { headers = { ["X-Auth-Token"] = "hush-hush-1" } })
    assert.is_nil(json.encode(err):find("hush-hush-1", 1, true))
  end)

  it("do not take a word for a secret", function()
    local options = { api_key = "x", headers = { ["X-Secret"] = "" } }
    local err = peer:fails(body("exactly", "HTTP/1.1 400 No"), nil, options)
    assert.equal("exactly", err.meta.provider_message)
  end)

  for status, retriable in pairs {
    [400] = false, [401] = false, [403] = false, [404] = false, [408] = true, [409] = true, [422] = false,
    [425] = true, [429] = true, [500] = true, [502] = true, [503] = true, [529] = true,
  } do
    it(("with status %d are %sretriable"):format(status, retriable and "" or "not "), function()
      local err = refused(status .. " X", api("no", "t"))
      assert.equal(status, err.meta.status)
      assert.equal(retriable, err.retriable)
      assert.equal("http_error", err.meta.reason)
    end)
  end

  it("say how long to wait: milliseconds, seconds, dates by the server's clock", function()
    local function after(...)
      return refused("429 X", api("slow", "rate_limit_error"), ...).meta.retry_after_ms
    end
    assert.equal(1500, after("Retry-After-Ms: 1500", "Retry-After: 9"))
    assert.equal(2000, after "Retry-After: 2")
    assert.equal(500, after "Retry-After: 0.5")
    assert.equal(37000, after("Date: Thu, 29 Feb 2024 23:59:30 GMT",
      "Retry-After: Fri, 01 Mar 2024 00:00:07 GMT"))
    assert.equal(0, after("Date: Sun, 06 Nov 1994 08:49:37 GMT",
      "Retry-After: Sun, 06 Nov 1994 08:49:00 GMT"))
    assert.equal(0, after "Retry-After: Sun, 06 Nov 1994 08:49:00 GMT")
    assert.is_nil(after "Retry-After: soon")
    assert.is_nil(after "X: y")
  end)

  it("of the far future by our own clock", function()
    local at = os.date("!%a, %d %b %Y %H:%M:%S GMT", core.wall_ms() // 1000 + 60)
    local ms = refused("503 X", api("slow", "t"), "Retry-After: " .. at).meta.retry_after_ms
    assert.is_true(ms > 55000 and ms <= 60000, tostring(ms))
  end)

  it("that retrying does not help are not retriable", function()
    assert.is_false(refused("429 X", api("no money", "insufficient_quota", "insufficient_quota")).retriable)
    assert.is_false(refused("500 X", api("no", "t"), "X-Should-Retry: false").retriable)
    assert.is_true(refused("400 X", api("no", "t"), "X-Should-Retry: true").retriable)
  end)

  for name, value in pairs {
    ["OpenAI"] = api("This model's maximum context length is 8 tokens.", "invalid_request_error",
      "context_length_exceeded"),
    ["llama.cpp"] = { error = {
      code = 400, message = "the request exceeds the available context size. try again",
      type = "exceed_context_size_error", n_ctx = 8,
    } },
    ["vLLM"] = {
      object = "error", message = "This model's maximum context length is 8 tokens. However, you ...",
      type = "BadRequestError", code = 400,
    },
  } do
    it("tell a prompt that is too long: " .. name, function()
      local err = refused("400 Bad Request", value)
      assert.equal("context_length_exceeded", err.meta.reason)
      assert.equal(400, err.meta.status)
      assert.is_false(err.retriable)
    end)
  end

  for name, case in pairs {
    ["a text"] = { { error = "model 'x' not found" }, "model 'x' not found" },
    ["a message"] = { { message = "hm" }, "hm" },
    ["a detail"] = { { detail = "Not Found" }, "Not Found" },
    ["a list of details"] = { { detail = { { loc = "x" } } }, '[{"loc":"x"}]' },
    ["a list"] = { { { error = { message = "hm", code = 500 } } }, "hm" },
    ["a page"] = { "<html>\n  <b>Bad</b></html>", "<html> <b>Bad</b></html>" },
  } do
    it("may come as " .. name, function()
      assert.equal(case[2], refused("500 X", case[1]).meta.provider_message)
    end)
  end

  it("may have no body, or one that breaks off, or a huge one", function()
    assert.equal("model request failed (HTTP 502).", refused("502 Bad Gateway", "").message)
    local head = "HTTP/1.1 502 X\r\nContent-Length: 100\r\n\r\n"
    assert.equal("half", peer:fails({ { "send", head .. "half" }, { "end" } }).meta.provider_message)
    local endless = peer:fails { { "send", "HTTP/1.1 500 X\r\n\r\n" },
      { "repeat", 200, ("x"):rep(100000) }, { "stall" } }
    assert.is_true(#endless.message < 800)
  end)

  it("that are redirects say where to", function()
    local err = refused("308 Permanent Redirect", "", "Location: https://h.example.com/v2?key=" .. KEY)
    assert.equal(308, err.meta.status)
    assert.matches("It leads to https://h.example.com/v2.", err.message, 1, true)
  end)

  local in_band = {
    { { error = { message = "slow down", type = "rate_limit_error" } }, 429, true },
    { { error = { message = "busy", code = 503 } }, 503, true },
    { { error = { message = "bad", code = "400" } }, 400, false },
    { { error = { message = "key", code = "invalid_api_key" } }, 401, false },
    { { error = { message = "over", type = "overloaded_error" } }, 529, true },
    { { error = { message = "what" } }, 500, true },
    { { error = "text" }, 500, true },
  }
  for _, case in ipairs(in_band) do
    it("inside of a stream are the HTTP errors they name: " .. json.encode(case[1]), function()
      for _, before in ipairs { "", text "a" } do
        local err = peer:fails(stream(before, data(case[1]), DONE))
        assert.equal(case[2], err.meta.status)
        assert.equal(case[3], err.retriable)
        assert.is_true(err.meta.in_stream)
        assert.equal("http_error", err.meta.reason)
      end
      assert.equal(case[2], peer:fails(body(case[1]), { stream = false }).meta.status)
    end)
  end

  it("inside of a stream may be events of that name, or come with a finish reason", function()
    local named = peer:fails(stream("event: error\n" .. data { message = "broken", type = "server_error" }))
    assert.equal("broken", named.meta.provider_message)
    local with_choice = peer:fails(stream(data { error = { code = 502, message = "upstream" },
      choices = { { delta = { content = "" }, finish_reason = "error" } } }))
    assert.equal(502, with_choice.meta.status)
  end)

  it("of the network say what cannot be reached, and what to look at", function()
    local function unreachable(url)
      local ok, err = pcall(function() make({ base_url = url, api_key = KEY }):generate(request()) end)
      assert.is_false(ok)
      assert.equal("MODEL_ERROR", err.code)
      assert.equal("network", err.meta.reason)
      assert.is_true(err.retriable)
      return err
    end
    local refused_port = unreachable "http://127.0.0.1:1/v1"
    assert.equal("connect", refused_port.meta.phase)
    assert.matches("^cannot reach 127%.0%.0%.1:1: .*check base_url, that the server runs",
      refused_port.message)
    assert.equal("resolve", unreachable("http://no-such-host.invalid/v1").meta.phase)
  end)

  it("of a request that cannot be sent are not tried again", function()
    local err = peer:fails(body "x", nil, { headers = { ["bad header"] = "x" } })
    assert.equal("MODEL_ERROR", err.code)
    assert.equal("request", err.meta.reason)
    assert.is_false(err.retriable)
  end)

  it("of the network before the answer are told apart from those in it", function()
    local err = peer:fails { { "end" } }
    assert.equal("network", err.meta.reason)
    assert.equal("first_byte", err.meta.phase)
    local no_http = peer:fails { { "send", "what is this\r\n\r\n" }, { "end" } }
    assert.equal("malformed_response", no_http.meta.reason)
  end)

  for name, case in pairs {
    first_byte = { { { "stall" } }, "first_byte_timeout_ms" },
    idle = { { { "send", SSE .. servers.chunk(text "a") }, { "stall" } }, "idle_timeout_ms" },
  } do
    it("are timeouts when the server is silent: " .. name, function()
      local err = peer:fails(case[1], nil, { [case[2]] = 80 })
      assert.equal("OPERATION_TIMEOUT", err.code)
      assert.equal("model", err.meta.scope)
      assert.equal(name, err.meta.phase)
      assert.equal(80, err.meta.timeout_ms)
      assert.is_true(err.retriable)
    end)
  end

  it("count content as a sign of life, and nothing else", function()
    local function slow(piece, count)
      local steps = { { "send", SSE } }
      for _ = 1, count do
        steps[#steps + 1] = { "wait", 60 }
        steps[#steps + 1] = { "send", servers.chunk(piece) }
      end
      steps[#steps + 1] = { "send", servers.chunk(text("", "stop")) .. servers.chunk() }
      return steps
    end
    local call = delta { tool_calls = { { index = 0, ["function"] = { name = "f" } } } }
    for _, piece in ipairs { text "a", delta { reasoning_content = "a" }, call } do
      peer:ask(slow(piece, 10), nil, { idle_timeout_ms = 212 })
    end
    -- The clock waits for a reader with unread events: when it strikes just as one comes, it starts anew.
    for _, piece in ipairs { ": ping\n\n", data "{}", delta { content = "" }, delta {} } do
      assert.equal("idle", peer:fails(slow(piece, 50), nil, { idle_timeout_ms = 212 }).meta.phase)
    end
  end)

  it("of the listener come out as they are", function()
    local mine = {}
    local ok, err = pcall(function()
      peer:provider(stream(text "a", text("b", "stop"))):generate(request(), function() error(mine, 0) end)
    end)
    assert.is_false(ok)
    assert.equal(mine, err)
  end)
end)
