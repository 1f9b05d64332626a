local errors = require "harness.errors"
local json = require("harness.core").json
local logger = require "harness.logger"

local NOW <const> = 1732271577123 -- 2024-11-22T10:32:57.123Z

describe("logger", function()
  local lines, real_getenv, env

  local function write(line)
    lines[#lines + 1] = line
    return true
  end

  local function make(options)
    options = options or {}
    options.write = options.write or write
    options.now = options.now or function() return NOW end
    return logger.new(options)
  end

  local function decoded()
    local out = {}
    for i, line in ipairs(lines) do out[i] = json.decode(line) end
    return out
  end

  before_each(function()
    lines, env, real_getenv = {}, {}, os.getenv
    os.getenv = function(name) return env[name] end -- luacheck: ignore
  end)
  after_each(function() os.getenv = real_getenv end) -- luacheck: ignore

  it("writes one JSON object a line: level, time, msg, then the fields in byte order", function()
    make():warn("hello", { run_id = "r1", b = { 1, 2 }, a = true })
    assert.same({ '{"level":"warn","time":"2024-11-22T10:32:57.123Z","msg":"hello","a":true,"b":[1,2],'
      .. '"run_id":"r1"}\n' }, lines)
  end)

  for rank, level in ipairs(logger.LEVELS) do
    it(("writes %s and what is more severe"):format(level), function()
      local log = make { level = level }
      for _, other in ipairs(logger.LEVELS) do log[other](log, other) end
      assert.equal(#logger.LEVELS - rank + 1, #lines)
      assert.equal(level, decoded()[1].level)
      for other_rank, other in ipairs(logger.LEVELS) do
        assert.equal(other_rank >= rank, log:enabled(other))
      end
    end)
  end

  describe("level", function()
    it("is warn by default", function() assert.equal("warn", make().level) end)

    for _, value in ipairs { "debug", "DEBUG", "Debug" } do
      it(("comes from the environment: %s"):format(value), function()
        env.HARNESS_LOG_LEVEL = value
        assert.equal("debug", make().level)
        assert.same({}, lines)
      end)
    end

    it("of the option wins", function()
      env.HARNESS_LOG_LEVEL = "debug"
      assert.equal("error", make { level = "error" }.level)
    end)

    it("that is invalid in the environment gives one warning and the default", function()
      env.HARNESS_LOG_LEVEL = "loud"
      local log = make()
      log:warn "x"
      assert.equal("warn", log.level)
      assert.equal(2, #lines)
      assert.equal('HARNESS_LOG_LEVEL is "loud", which is no log level; using "warn" '
        .. "(allowed: trace, debug, info, warn, error, fatal)", decoded()[1].msg)
    end)

    it("that is empty in the environment is the default", function()
      env.HARNESS_LOG_LEVEL = ""
      assert.equal("warn", make().level)
      assert.same({}, lines)
    end)

    it("that is unknown is a mistake of the program", function()
      assert.has_error(function() make { level = "loud" } end, 'there is no log level "loud"')
      assert.has_error(function() make():enabled "loud" end, 'there is no log level "loud"')
    end)
  end)

  it("gives children its fields; their own win", function()
    local child = make { fields = { a = 1, b = 1 } }:child { b = 2, c = 2 }
    child:child { c = 3 }:error("x", { d = 4 })
    child:error("y", { a = 9 })
    local out = decoded()
    assert.same({ 1, 2, 3, 4 }, { out[1].a, out[1].b, out[1].c, out[1].d })
    assert.same({ 9, 2, 2 }, { out[2].a, out[2].b, out[2].c })
  end)

  it("keeps its own keys", function()
    make():warn("m", { level = "x", time = 1, msg = "y" })
    assert.equal('{"level":"warn","time":"2024-11-22T10:32:57.123Z","msg":"m","fields.level":"x",'
      .. '"fields.msg":"y","fields.time":1}\n', lines[1])
  end)

  it("redacts the message, the fields and what is bound", function()
    make { fields = { api_key = "k" } }:child { token = "t" }:warn("key sk-abc123", { note = "Bearer abc1" })
    local line = decoded()[1]
    assert.equal("key [redacted]", line.msg)
    assert.same({ "[redacted]", "[redacted]", "[redacted]" }, { line.api_key, line.token, line.note })
  end)

  it("shows errors as what is written of them", function()
    make():error("failed", { error = errors.new("TOOL_ERROR", "no", { tool_id = "a" }, "cause") })
    assert.same({ code = "TOOL_ERROR", category = "tool", retriable = false, message = "no",
      meta = { tool_id = "a" } }, decoded()[1].error)
  end)

  it("takes any message and any fields", function()
    local log = make()
    log:warn(42)
    log:warn(nil, "text")
    log:warn({ message = "of a table" }, { print, [true] = 0 / 0 })
    log:warn("bad \xff\xfe utf-8 \0", { ["\xff"] = "\xff" })
    local out = decoded()
    assert.equal("42", out[1].msg)
    assert.equal("text", out[2].value)
    assert.equal("of a table", out[3].msg)
    assert.equal("[function]", out[3]["1"])
    assert.equal(4, #out)
  end)

  it("never has a line break inside of a line", function()
    make():warn("a\nb\r", { ["k\n"] = "v\n" })
    assert.equal(1, select(2, lines[1]:gsub("\n", "")))
  end)

  it("goes on when a line cannot be written, and then says how many were lost", function()
    local broken = "raise"
    local log = make { write = function(line)
      if broken == "raise" then error "closed" end
      if broken == "nil" then return nil, "No space left on device", 28 end
      return write(line)
    end }
    log:warn "one"
    broken = "nil"
    log:warn "two"
    broken = false
    log:warn "three"
    log:warn "four"
    local out = decoded()
    assert.same({ "log lines could not be written", "three", "four" }, { out[1].msg, out[2].msg, out[3].msg })
    assert.equal(2, out[1].lost)
  end)

  it("writes to standard error by default, and a closed one does not raise", function()
    local real, path = io.stderr, os.tmpname()
    local file = assert(io.open(path, "w"))
    io.stderr = file -- luacheck: ignore
    local log = logger.new { now = function() return NOW end }
    log:warn "there"
    file:close()
    local ok = pcall(log.warn, log, "not there")
    io.stderr = real -- luacheck: ignore
    local input = assert(io.open(path))
    local text = input:read "a"
    input:close()
    os.remove(path)
    assert.is_true(ok)
    assert.equal('{"level":"warn","time":"2024-11-22T10:32:57.123Z","msg":"there"}\n', text)
  end)

  it("says so when the fields cannot be encoded", function()
    local log = make { encode = function(value)
      if value == "bad" then error "no such encoding" end
      return json.encode(value)
    end }
    log:warn("m", { a = "bad" })
    assert.equal("m", decoded()[1].msg)
    assert.matches("no such encoding", decoded()[1].log_error)
  end)

  it("takes the time from the engine's clock", function()
    local log = logger.new { write = write }
    log:warn "now"
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", decoded()[1].time)
  end)

  describe("of the user's own", function()
    local function own(extra)
      local self = { calls = {} }
      for _, level in ipairs(logger.LEVELS) do
        self[level] = function(log, msg, fields)
          assert.equal(self, log)
          table.insert(self.calls, { level, msg, fields })
        end
      end
      self.child = function(_, fields)
        self.bound = fields
        return self
      end
      for name, value in pairs(extra or {}) do self[name] = value end
      return self
    end

    it("needs the methods", function()
      assert.same({}, logger.missing_methods(own()))
      assert.same({ "debug", "child" }, logger.missing_methods(own { debug = false, child = 1 }))
      local hostile = setmetatable({}, { __index = function() error "no" end })
      assert.same(logger.METHODS, logger.missing_methods(hostile))
    end)

    it("gets what is redacted", function()
      local mine = own()
      local log = logger.adapt(mine)
      for _, level in ipairs(logger.LEVELS) do log[level](log, "key sk-abc123", { token = "t" }) end
      log:child { password = "p" }:info "x"
      assert.equal(7, #mine.calls)
      assert.same({ "trace", "key [redacted]", { token = "[redacted]" } }, mine.calls[1])
      assert.same({ password = "[redacted]" }, mine.bound)
    end)

    it("may tell what is enabled", function()
      assert.is_true(logger.adapt(own()):enabled "trace")
      local log = logger.adapt(own { enabled = function(_, level) return level == "error" end })
      assert.is_false(log:enabled "info")
      assert.is_true(log:enabled "error")
    end)

    it("may raise: it is told once, and harms nobody", function()
      local log = logger.adapt(own {
        info = function() error "disk full" end, child = function() error "no child" end,
      }, { write = write, now = function() return NOW end })
      log:info "a"
      log:info "b"
      assert.equal(log, log:child { a = 1 })
      assert.equal(1, #lines)
      assert.matches("raised in its method info", decoded()[1].msg)
      assert.matches("disk full", decoded()[1].error.message)
    end)

    it("that is interrupted by the end of its task is no fault", function()
      local log = logger.adapt(own { info = function() errors.raise("OPERATION_CANCELLED", "stopped") end },
        { write = write })
      log:info "a"
      assert.same({}, lines)
    end)

    it("is left alone when it is one of ours", function()
      local log = make()
      assert.equal(log, logger.adapt(log))
      local adapted = logger.adapt(own())
      assert.equal(adapted, logger.adapt(adapted))
      assert.same({}, logger.missing_methods(log))
      assert.same({}, logger.missing_methods(adapted))
    end)
  end)
end)
