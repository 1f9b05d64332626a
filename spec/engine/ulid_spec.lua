-- engine/ulid.c through core.ulid. Rule names: reference A 2.1.
local core = require "harness.core"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local DIGITS <const> = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

local function ones(n) return ("\xff"):rep(n) end
local function zeros(n) return ("\0"):rep(n) end

-- The milliseconds that an id begins with.
local function time_of(id)
  local ms = 0
  for digit in id:sub(1, 10):gmatch "." do ms = ms * 32 + DIGITS:find(digit, 1, true) - 1 end
  return ms
end

describe("ulid", function()
  it("is 26 characters of Crockford's base32", function()
    for _ = 1, 1000 do assert.truthy(core.ulid.next():match "^[0-9A-HJKMNP-TV-Z]+$") end
    assert.equal(26, #core.ulid.next())
  end)

  it("encodes time and randomness, most significant digit first", function()
    local counted = function(n)
      local bytes = {}
      for i = 1, n do bytes[i] = string.char((i - 1) % 10) end
      return table.concat(bytes)
    end
    local g = core.ulid.generator { now = function() return 1469918176385 end, random = counted }
    assert.equal("01ARYZ6S41" .. "000G40R40M30E209", g:next()) -- 00 01 02 .. 09
    assert.equal(1469918176385, time_of(g:next()))
    assert.equal("0000000000" .. "0000000000000000", core.ulid.generator { random = zeros }:at(0))
    assert.equal("0000000001" .. "ZZZZZZZZZZZZZZZZ", core.ulid.generator { random = ones }:at(1))
    assert.equal("ZZZZZZZZZZ" .. "0000000000000000", core.ulid.generator { random = zeros }:at((1 << 50) - 1))
    assert.equal("7ZZZZZZZZZ" .. "0000000000000000", core.ulid.generator { random = zeros }:at((1 << 48) - 1))
  end)

  it("(a) makes 10,000 ids of one millisecond strictly ascending", function()
    local g = core.ulid.generator { now = function() return 1700000000000 end }
    local last = g:next()
    for _ = 2, 10000 do
      local id = g:next()
      assert.is_true(id > last)
      assert.equal(last:sub(1, 10), id:sub(1, 10))
      last = id
    end
  end)

  it("(b) goes on ascending with an unchanged time part when the clock goes back an hour", function()
    local now = 1700000000000
    local g = core.ulid.generator { now = function() return now end }
    local before = g:next()
    now = now - 3600000
    for _ = 1, 100 do
      local id = g:next()
      assert.is_true(id > before)
      assert.equal(1700000000000, time_of(id))
      before = id
    end
    now = 1700000000001
    local after = g:next()
    assert.is_true(after > before)
    assert.equal(1700000000001, time_of(after))
  end)

  it("(c) moves the time part on by one when the random part overflows", function()
    local now = 1700000000000
    local g = core.ulid.generator { now = function() return now end, random = ones }
    local ids = { g:next(), g:next(), g:next() }
    for i, id in ipairs(ids) do
      assert.equal(1700000000000 + i - 1, time_of(id))
      assert.equal(("Z"):rep(16), id:sub(11))
    end
    now = now + 1 -- the generator is ahead of the clock
    assert.equal(1700000000003, time_of(g:next()))
    now = now + 100
    assert.equal(1700000000101, time_of(g:next()))
  end)

  it("carries from the low into the high half of the random part", function()
    local g = core.ulid.generator { random = function(n) return ("\0\0" .. ("\xff"):rep(8)):rep(n // 10) end }
    assert.equal("000FZZZZZZZZZZZZ", g:at(5):sub(11))
    assert.equal("000G000000000000", g:at(5):sub(11))
  end)

  it("draws fresh bits for each new millisecond", function()
    local g, seen = core.ulid.generator {}, {}
    for ms = 1, 10000 // FACTOR do
      local random = g:at(ms):sub(11)
      assert.is_nil(seen[random])
      seen[random] = true
    end
  end)

  it("shares nothing between generators", function()
    local one, two = core.ulid.generator { random = zeros }, core.ulid.generator { random = zeros }
    assert.equal(one:at(7), two:at(7))
    assert.equal(one:at(7), two:at(7))
  end)

  it("of the engine follows the engine's clock", function()
    core.clock_manual(4000000000000)
    finally(function() core.clock_manual(nil) end)
    assert.equal(4000000000000, time_of(core.ulid.next()))
    core.clock_advance(250)
    assert.equal(4000000000250, time_of(core.ulid.next()))
    assert.equal(4000000000250, time_of(core.ulid.at(12)))
  end)

  it("says so when the random source fails, and makes no id of less", function()
    local fail = true
    local g = core.ulid.generator {
      random = function(n)
        if fail then error("no entropy", 0) end
        return zeros(n)
      end,
    }
    assert.has_error(function() g:at(1) end, "no entropy")
    fail = false
    assert.equal("0000000001" .. ("0"):rep(16), g:at(1)) -- as if nothing had happened
  end)

  it("refuses a random source that gives too little, and a clock that gives no time", function()
    local short = core.ulid.generator { random = function() return "x" end }
    assert.has_error(function() short:next() end)
    for _, bad in ipairs { "soon", -1, 1.5 } do
      local g = core.ulid.generator { now = function() return bad end }
      assert.has_error(function() g:next() end)
    end
    assert.has_error(function() core.ulid.generator { now = 7 } end)
    assert.has_error(function() core.ulid.generator { random = 7 } end)
    assert.has_error(function() core.ulid.generator() end)
    assert.has_error(function() core.ulid.at(-1) end)
    assert.has_error(function() core.ulid.at() end)
  end)
end)
