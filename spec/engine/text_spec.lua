-- bindings/text.c: core.text.whole (text in pieces), core.timestamp.
local core = require "harness.core"

local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local whole = core.text.whole
local REPLACEMENT <const> = "\u{FFFD}"

-- The three-byte forms of the surrogates, as a JSON decoder that sees them alone gives them out.
local ROCKET_HIGH <const>, ROCKET_LOW <const> = "\xED\xA0\xBD", "\xED\xBA\x80"
assert(utf8.char(0xD83D) == ROCKET_HIGH and utf8.char(0xDE80) == ROCKET_LOW)

-- What comes out when the pieces come one after another. `check(text, held)` sees each step.
local function feed(pieces, check)
  local held, out = "", {}
  for i, piece in ipairs(pieces) do
    out[i], held = whole(held, piece, false)
    if check then check(out[i], held) end
  end
  local rest
  rest, held = whole(held, "", true)
  assert(held == "")
  return table.concat(out) .. rest
end

-- The pieces of text, cut behind each byte whose bit is set.
local function cut(text, bits)
  local pieces, from = {}, 1
  for i = 1, #text do
    if i == #text or bits >> (i - 1) & 1 == 1 then
      pieces[#pieces + 1] = text:sub(from, i)
      from = i + 1
    end
  end
  return pieces
end

describe("text in pieces", function()
  local function check_step(text, held)
    if not utf8.len(text) then error("cut inside of a character: " .. text:gsub(".", function(c)
      return ("%02x "):format(c:byte())
    end)) end
    if #held > 5 then error "holds more than a pair of surrogates" end
  end

  for name, text in pairs {
    ["UTF-8"] = "é你好🚀",
    ["halves of surrogates, three bytes each"] = "é你" .. ROCKET_HIGH .. ROCKET_LOW .. "好",
  } do
    it(("comes out whole, however it is cut: %s, all %d ways"):format(name, 1 << (#text - 1)), function()
      local want = text:gsub(ROCKET_HIGH .. ROCKET_LOW, "🚀")
      for bits = 0, (1 << (#text - 1)) - 1 do
        if feed(cut(text, bits), check_step) ~= want then error(("cuts %x"):format(bits)) end
      end
    end)
  end

  it("is given out at once where it is complete, the same string", function()
    assert.same({ "abc é 你", "" }, { whole("", "abc é 你", false) })
    assert.same({ "", "" }, { whole("", "", false) })
  end)

  it("waits for the rest of a character, and no longer", function()
    assert.same({ "a", "\xC3" }, { whole("", "a\xC3", false) })
    assert.same({ "é", "" }, { whole("\xC3", "\xA9", false) })
    assert.same({ "", "\xF0\x9F\x9A" }, { whole("\xF0", "\x9F\x9A", false) })
    assert.same({ "🚀b", "" }, { whole("\xF0\x9F\x9A", "\x80b", false) })
    assert.same({ "a", ROCKET_HIGH }, { whole("", "a" .. ROCKET_HIGH, false) })
    assert.same({ "", ROCKET_HIGH .. "\xED" }, { whole(ROCKET_HIGH, "\xED", false) })
    assert.same({ "", ROCKET_HIGH .. "\xED\xBA" }, { whole(ROCKET_HIGH .. "\xED", "\xBA", false) })
    assert.same({ "🚀", "" }, { whole(ROCKET_HIGH .. "\xED\xBA", "\x80", false) })
  end)

  it("has U+FFFD where half of a pair is missing", function()
    local cases = {
      { { ROCKET_HIGH, "x" }, REPLACEMENT .. "x" },
      { { ROCKET_LOW, "x" }, REPLACEMENT .. "x" },
      { { "x", ROCKET_HIGH }, "x" .. REPLACEMENT },
      { { ROCKET_HIGH, ROCKET_HIGH, ROCKET_LOW }, REPLACEMENT .. "🚀" },
      { { ROCKET_LOW, ROCKET_HIGH }, REPLACEMENT .. REPLACEMENT },
      { { ROCKET_HIGH, "\xED", "\x9F\xBF" }, REPLACEMENT .. "\u{D7FF}" },
      { { ROCKET_HIGH .. "é" }, REPLACEMENT .. "é" },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], feed(case[1], check_step)) end
  end)

  it("knows every pair", function()
    for _, cp in ipairs { 0x10000, 0x10FFFF, 0x1F680, 0x103FF, 0x10400, 0xFFFFF, 0x100000 } do
      local bits = cp - 0x10000
      local halves = utf8.char(0xD800 + (bits >> 10), 0xDC00 + (bits & 0x3FF))
      assert.equal(utf8.char(cp), feed { halves })
      assert.equal(utf8.char(cp), feed { halves:sub(1, 3), halves:sub(4) })
    end
  end)

  it("keeps zero bytes", function()
    assert.equal("a\0é\0", feed { "a\0\xC3", "\xA9\0" })
  end)

  it("comes out the same for any bytes, however they are cut (random)", function()
    math.randomseed(SEED)
    local ALPHABET <const> = {
      "\xED", "\xED", "\xA0", "\xAF", "\xB0", "\xBF", "\x80", "\x9F", "\xC3", "\xE4", "\xF0", "\xFF", "a",
      ROCKET_HIGH, ROCKET_LOW, "é", "🚀",
    }
    for round = 1, 20000 // FACTOR do
      local list = {}
      for i = 1, math.random(8) do list[i] = ALPHABET[math.random(#ALPHABET)] end
      local text = table.concat(list)
      local once, pieces = feed { text }, cut(text, math.random(0, 1 << 24))
      if feed(pieces) ~= once then error(("seed %d, round %d: %q"):format(SEED, round, text)) end
    end
  end)

  it("refuses what is no text", function()
    assert.is_false(pcall(whole, nil, "x"))
    assert.is_false(pcall(whole, "x", {}))
  end)
end)

describe("timestamps", function()
  it("are ISO 8601 in UTC with milliseconds", function()
    local cases = {
      [0] = "1970-01-01T00:00:00.000Z", [999] = "1970-01-01T00:00:00.999Z",
      [951782400000] = "2000-02-29T00:00:00.000Z", [1767225599999] = "2025-12-31T23:59:59.999Z",
      [253402300799999] = "9999-12-31T23:59:59.999Z", [math.maxinteger] = "9999-12-31T23:59:59.999Z",
    }
    for ms, text in pairs(cases) do assert.equal(text, core.timestamp(ms)) end
    math.randomseed(SEED)
    for _ = 1, 2000 // FACTOR do
      local ms = math.random(0, 253402300799999)
      local want = os.date("!%Y-%m-%dT%H:%M:%S", ms // 1000) .. (".%03dZ"):format(ms % 1000)
      assert.equal(want, core.timestamp(ms))
    end
  end)

  it("of now come from the engine's clock", function()
    local from, text, till = core.wall_ms(), core.timestamp(), core.wall_ms()
    local matched = false
    for ms = from, till do matched = matched or core.timestamp(ms) == text end
    assert.is_true(matched)
  end)
end)
