local errors = require "harness.errors"
local redact = require "harness.redact"

describe("redact", function()
  describe("keys", function()
    local secret = {
      "api_key", "apiKey", "API_KEY", "X-Api-Key", "x-api-key", "OPENAI_API_KEY", "Authorization",
      "proxy-authorization", "token", "access_token", "refreshToken", "secret", "client_secret",
      "password", "userPassword", "PASSWORD", "passwd", "cookie", "Set-Cookie", "privateKey", "private_key",
      "credentials", "aws credentials", "Token:",
    }
    local plain = {
      "input_tokens", "output_tokens", "max_tokens", "total_tokens", "token_count", "key", "keys",
      "secretary", "cookies_enabled", "author", "id", "", 1, true,
    }
    for _, key in ipairs(secret) do
      it(("hides what is under %q"):format(key), function()
        assert.is_true(redact.is_secret_key(key))
        assert.same({ [key] = "[redacted]", n = 1 }, redact.value { [key] = "hunter2", n = 1 })
        assert.same({ [key] = "[redacted]" }, redact.mask { [key] = "hunter2" })
      end)
    end
    for _, key in ipairs(plain) do
      it(("leaves what is under %s"):format(tostring(key)), function()
        assert.is_false(redact.is_secret_key(key))
        assert.same({ [key] = 7 }, redact.mask { [key] = 7 })
      end)
    end

    it("hides a value of any type under a secret key", function()
      assert.same({ token = "[redacted]", secret = "[redacted]" }, redact.value {
        token = 5, secret = { "a" },
      })
    end)
  end)

  describe("texts", function()
    local pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----"
    local cases = {
      { "Incorrect API key provided: sk-abc123.", "Incorrect API key provided: [redacted]." },
      { "sk-proj-aB3_x.y-z", "[redacted]" },
      { "key sk-ant-api03-xyz, next", "key [redacted], next" },
      { "masked by the server: sk-ab***xyz", "masked by the server: [redacted]" },
      { "Authorization: Bearer abc.def-123", "Authorization: [redacted]" },
      { "bearer   topsecret", "[redacted]" },
      { "Basic dXNlcjpwYXNz", "[redacted]" },
      { "basic QWxhZGRpbg==!", "[redacted]!" },
      { "sk_live_abcdefgh1", "[redacted]" },
      { "pk_test_abcdefgh", "[redacted]" },
      { "rk_abcdefgh", "[redacted]" },
      { "sess_abcdefgh", "[redacted]" },
      { "key_abcdefg8", "[redacted]" },
      { "token_abcdefg8", "[redacted]" },
      { "secret_abcdefg8", "[redacted]" },
      { "a " .. pem .. " b " .. pem .. " c", "a [redacted] b [redacted] c" },
      { "cut -----BEGIN PRIVATE KEY-----\nMII", "cut [redacted]" },
      { "cut -----BEGIN A-----\nM -----END A", "cut [redacted]" },
      { "postgres://joe:hunter2@db:5432/x and http://a/b", "postgres://[redacted]@db:5432/x and http://a/b" },
      { "nul \0 sk-abcdef \0", "nul \0 [redacted] \0" },
    }
    for _, case in ipairs(cases) do
      it(("masks %q"):format(case[1]:sub(1, 40)), function()
        assert.equal(case[2], redact.text(case[1]))
        assert.equal(case[2], redact.value(case[1]))
        assert.same({ a = { case[2] } }, redact.mask { a = { case[1] } })
      end)
    end

    local clean = {
      "", "sk-", "sk-SK", "task-force", "a risk-based plan", "mask-wearing", "Bearer token is missing",
      "the Bearer realm", "Basic authentication failed", "basic usage", "Basic Examples of use", "Basic abc",
      "key_not_found", "token_count_total", "secret_santa_list", "sk_short", "my_key_abcdefg8",
      "http://host/path?x=1", "http://host:80/a@b", "mailto:a@b.c", "2026-11-22T10:32:57.123Z",
      "-----BEGIN", "01JD8Z7W2V5Q3N4M6K8H9G0F1E",
    }
    for _, text in ipairs(clean) do
      it(("leaves %q"):format(text), function() assert.equal(text, redact.text(text)) end)
    end

    it("takes time in proportion to the length", function()
      for _, unit in ipairs { "sk-", "Bearer ", "://a:", "-----BEGIN ", "key_.", "a.-_", "basic ", "sk_*" } do
        local text = unit:rep(200000 // #unit)
        local started = os.clock()
        redact.text(text)
        assert.is_true(os.clock() - started < 2, unit)
      end
    end)
  end)

  describe("value", function()
    it("leaves simple values", function()
      assert.equal(1, redact.value(1))
      assert.equal(1.5, redact.value(1.5))
      assert.equal(math.mininteger, redact.value(math.mininteger))
      assert.is_true(redact.value(true))
      assert.is_nil(redact.value(nil))
    end)

    it("makes everything else JSON-able and free of addresses", function()
      local co = coroutine.create(print)
      assert.same({ "[function]", "[thread]", "[userdata]", "inf", "-inf" },
        redact.value { print, co, io.stdout, math.huge, -math.huge })
      assert.equal(tostring(0 / 0), redact.value(0 / 0))
      assert.same({ ["1"] = "a", ["true"] = "b", x = "c", ["1.5"] = "d", ["[table]"] = "e" },
        redact.value { [1] = "a", [true] = "b", x = "c", [1.5] = "d", [{}] = "e" })
      assert.same({ ["1"] = 1, ["2"] = 2, ["4"] = 4, x = 5 }, redact.value { 1, 2, [4] = 4, x = 5 })
    end)

    it("keeps lists lists and null null", function()
      local json = require("harness.core").json
      assert.same({ 1, { 2 } }, redact.value { 1, { 2 } })
      assert.equal(json.null, redact.value(json.null))
      assert.equal('{"a":[],"b":{},"c":null}', json.encode(redact.value {
        a = json.array {}, b = {}, c = json.null,
      }))
      local masked = redact.mask { a = json.array {}, token = "x" }
      assert.equal('{"a":[],"token":"[redacted]"}', json.encode(masked))
    end)

    it("cuts at four levels", function()
      assert.same({ a = { b = { c = { d = "[truncated]", e = 1 } } } },
        redact.value { a = { b = { c = { d = { 1 }, e = 1 } } } })
    end)

    it("keeps the first 20 items and 40 entries", function()
      local list, map = {}, {}
      for i = 1, 30 do list[i] = i end
      for i = 1, 60 do map[("k%02d"):format(i)] = i end
      local items, entries = redact.value(list), redact.value(map)
      assert.equal(20, #items)
      assert.equal(20, items[20])
      assert.equal(40, entries.k40)
      assert.is_nil(entries.k41)
    end)

    it("cuts strings at 4000 bytes, between characters", function()
      assert.equal(("x"):rep(4000), redact.value(("x"):rep(5000)))
      assert.equal(("x"):rep(3999), redact.value(("x"):rep(3999) .. "é" .. "y"))
      assert.equal(("x"):rep(3998) .. "é", redact.value(("x"):rep(3998) .. "éé"))
      assert.equal(("\u{fffd}"):rep(1333), redact.value(("\x80"):rep(5000)))
      assert.equal(("x"):rep(4000), redact.value(("x"):rep(1 << 20)))
    end)

    it("replaces what is not UTF-8, in keys too", function()
      local given = { ["k\xff"] = { "\xe4\xb8", "a\xc3b\xff", "\u{4e2d}", "\xed\xa0\x80" } }
      assert.same({ ["k\u{fffd}"] = { "\u{fffd}\u{fffd}", "a\u{fffd}b\u{fffd}", "\u{4e2d}",
        ("\u{fffd}"):rep(3) } }, redact.value(given))
      for _ = 1, 200 do
        local bytes = {}
        for i = 1, math.random(0, 12) do bytes[i] = string.char(math.random(0, 255)) end
        local text = table.concat(bytes)
        assert.is_truthy(utf8.len(redact.value(text)))
        if utf8.len(text) then assert.equal(text, redact.value(text)) end
      end
    end)

    it("masks before it cuts", function()
      local text = ("x"):rep(3990) .. " sk-" .. ("a"):rep(100)
      assert.equal("xxx [redacted", redact.value(text):sub(-13))
    end)

    it("shows cycles as a word, and shared tables as often as they occur", function()
      local t, shared = { n = 1 }, { 1 }
      t.self, t.a, t.b = { t }, shared, shared
      assert.same({ n = 1, self = { "[circular]" }, a = { 1 }, b = { 1 } }, redact.value(t))
    end)

    it("shows an error as what is written of it", function()
      local err = errors.new("TOOL_ERROR", "no", { tool_id = "a" }, "the cause")
      assert.same({ err = { code = "TOOL_ERROR", category = "tool", retriable = false, message = "no",
        meta = { tool_id = "a" } } }, redact.value { err = err })
    end)

    it("survives a __tojson that raises or says itself again", function()
      local bad = setmetatable({}, { __tojson = function() error "no" end })
      local mt = {}
      mt.__tojson = function(v) return v end
      assert.same({ "[table]", "[table]" }, redact.value { bad, setmetatable({}, mt) })
      local function endless() return { setmetatable({}, { __tojson = endless }) } end
      assert.same({ { { { "[truncated]" } } } }, redact.value(endless()))
    end)

    it("is deterministic", function()
      local function build(from, to, step)
        local t = {}
        for i = from, to, step do t["k" .. i] = i end
        return t
      end
      assert.same(redact.value(build(1, 99, 1)), redact.value(build(99, 1, -1)))
    end)
  end)

  describe("mask", function()
    it("gives back what is clean, and never changes what it is given", function()
      local clean = { a = { 1, "x", { y = true } }, token = "[redacted]" }
      clean.self = clean
      assert.equal(clean, redact.mask(clean))
      local dirty = { a = { "sk-abcdef" }, list = { 1, 2 } }
      dirty.self = dirty
      local masked = redact.mask(dirty)
      assert.equal("[redacted]", masked.a[1])
      assert.equal(masked, masked.self)
      assert.equal("sk-abcdef", dirty.a[1])
    end)

    it("has no limits on size", function()
      local t = { password = "x", long = ("y"):rep(10000) }
      for i = 1, 100 do t[i] = i end
      local masked = redact.mask(t)
      assert.equal(10000, #masked.long)
      assert.equal(100, masked[100])
    end)

    it("ends at 32 levels", function()
      local deep = { token = "x" }
      for _ = 1, 50 do deep = { deep } end
      local masked = redact.mask(deep)
      for _ = 1, 32 do masked = masked[1] end
      assert.equal("[truncated]", masked)
    end)

    it("does not look into errors", function()
      local t = { cause = errors.new("X", "y"), token = "x" }
      assert.equal(t.cause, redact.mask(t).cause)
    end)
  end)

  it("masks headers by name and by value", function()
    assert.same({
      Authorization = "[redacted]", ["Set-Cookie"] = "[redacted]", ["x-request-id"] = "r1",
      via = { "a", "[redacted]" }, long = ("h"):rep(2000), n = "1",
    }, redact.headers {
      Authorization = "abc", ["Set-Cookie"] = { "a=b", "c=d" }, ["x-request-id"] = "r1",
      via = { "a", "Bearer xyz1" }, long = ("h"):rep(3000), n = 1,
    })
  end)

  it("masks and cuts a provider's message", function()
    assert.equal("bad key [redacted]", redact.provider_message("bad key sk-abcdef"))
    assert.equal(500, #redact.provider_message(("m"):rep(600)))
  end)

  it("hides the conversation in a provider's body", function()
    assert.same({ error = { message = "m", code = "c", type = "t", param = "p" }, Messages = "[redacted]",
      input = "[redacted]", content = "[redacted]", api_key = "[redacted]" },
      redact.provider_body { error = { message = "m", code = "c", type = "t", param = "p" },
        Messages = { { role = "user" } }, input = "i", content = "c", api_key = "k" })
  end)
end)
