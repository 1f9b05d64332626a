-- core.json: the exact codec. The picker has a spec of its own.

local core = require("harness.core").json
local vectors = require "spec.fixtures.json.vectors"

local encode, decode, null, array, ordered, raw =
  core.encode, core.decode, core.null, core.array, core.ordered, core.raw

local FACTOR = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local SEED = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()

-- Calls f, which must raise a VALIDATION_ERROR of JSON; returns it.
local function refused(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  assert.are.equal("table", type(err), tostring(err))
  assert.are.equal("VALIDATION_ERROR", err.code)
  assert.are.equal("json", err.meta.where)
  return err
end

-- The same, and the message has the text in it.
local function says(text, f, ...)
  local err = refused(f, ...)
  assert.truthy(err.message:find(text, 1, true), err.message)
  return err
end

local function path_of(value, options) return refused(encode, value, options).meta.path end

local function level(n)
  local value = {}
  for _ = 2, n do value = { value } end
  return value
end

-- Deep equality that tells 1 from 1.0, -0.0 from 0.0, and [] from {}.
local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return rawequal(a, b) and math.type(a) == math.type(b) and (a ~= 0 or 1 / a == 1 / b)
  end
  if next(a) == nil and getmetatable(a) ~= getmetatable(b) then return false end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

describe("json.decode", function()
  it("accepts valid texts, and they encode again as expected", function()
    assert.is_true(#vectors.accepted >= 90)
    for i, row in ipairs(vectors.accepted) do
      local ok, value = pcall(decode, row[1])
      assert(ok, ("row %d was refused: %s"):format(i, row[1]))
      assert.are.equal(row[2], encode(value), "row " .. i)
    end
  end)

  it("refuses invalid texts, and names the byte", function()
    assert.is_true(#vectors.refused >= 120)
    for i, row in ipairs(vectors.refused) do
      local ok, err = pcall(decode, row[1])
      assert(not ok, ("row %d was accepted: %s"):format(i, row[1]))
      assert.are.equal("VALIDATION_ERROR", err.code)
      assert.are.equal("json", err.meta.where)
      assert.are.equal(row[2], err.meta.offset, ("row %d: %s: %s"):format(i, row[1]:sub(1, 40), err.message))
    end
  end)

  it("decides what the standard leaves open", function()
    for i, row in ipairs(vectors.decided) do
      local ok, value = pcall(decode, row[1])
      assert.are.equal(row[2] ~= false, ok, "row " .. i)
      if ok then assert.are.equal(row[2], encode(value), "row " .. i) end
    end
  end)

  it("refuses every accepted text that is cut short, unless it is a number", function()
    for _, row in ipairs(vectors.accepted) do
      local text = row[1]:match "^%s*(.-)%s*$"
      if text:find '^[%[{"]' and #text < 200 then
        for n = 0, #text - 1 do assert.is_false((pcall(decode, text:sub(1, n))), text:sub(1, n)) end
      end
    end
  end)

  it("says what was found and what is allowed", function()
    local message = refused(decode, '{"a":1,}').message
    assert.are.equal("not valid JSON: byte 8: found '}'; a key in double quotes must stand here", message)
    says("found the end of the text; ',' or ']' must follow", decode, "[1")
    says("found a byte order mark", decode, "\xEF\xBB\xBF1")
    says("found the byte 0x0A; a control character", decode, '"a\nb"')
    says([[found "'"; a value must stand here]], decode, "'a'")
    says("must fit a 64-bit float", decode, "1e999")
    says("at most 512 levels", decode, ("["):rep(513))
  end)

  it("tells integers from floats", function()
    local value = decode '[1, 1.0, 1e0, -0, 9223372036854775807, 9223372036854775808]'
    local types = {}
    for i, v in ipairs(value) do types[i] = math.type(v) end
    assert.are.same({ "integer", "float", "float", "integer", "integer", "float" }, types)
    assert.are.equal(math.maxinteger, value[5])
    assert.are.equal(2.0 ^ 63, value[6])
  end)

  it("keeps NUL, key case and the last of equal keys", function()
    local value = decode '{"a\\u0000b":"x\\u0000y","K":1,"k":2,"d":1,"d":2}'
    assert.are.equal("x\0y", value["a\0b"])
    assert.are.equal(1, value.K)
    assert.are.equal(2, value.k)
    assert.are.equal(2, value.d)
  end)

  it("keeps the last of equal keys in objects of every size", function()
    for n = 1, 200 do
      local members = {}
      for i = 1, n do members[i] = ('"k%d":%d'):format(i, i) end
      local value = decode("{" .. table.concat(members, ",") .. ',"k1":"last"}')
      assert.are.equal("last", value.k1)
      for i = 2, n do assert.are.equal(i, value["k" .. i]) end
    end
  end)

  it("reads arrays of every size", function()
    for n = 0, 200 do
      local list = {}
      for i = 1, n do list[i] = i end
      local value = decode("[" .. table.concat(list, ", ") .. "]")
      assert.are.equal(n, #value)
      assert.are.same(list, value)
    end
  end)

  it("takes lone surrogates when asked to, as three bytes", function()
    local options = { lone_surrogates = "wtf8" }
    assert.are.equal("\xED\xA0\xBD", decode([["\ud83d"]], options))
    assert.are.equal("\xED\xB8\x80!", decode([["\ude00!"]], options))
    assert.are.equal("\xED\xA0\xBD😀", decode([["\ud83d\ud83d\ude00"]], options))
    assert.are.equal("\xED\xA0\xBDA", decode([["\ud83d\u0041"]], options))
    assert.are.equal("😀", decode([["\ud83d\ude00"]], options))
    assert.are.equal(2, refused(decode, '"\xED\xA0\xBD"', options).meta.offset)
    assert.are.equal(2, refused(decode, [["\ud83d"]], { lone_surrogates = "error" }).meta.offset)
  end)

  it("refuses arguments that it does not know", function()
    assert.has_error(function() decode(5) end)
    assert.has_error(function() decode() end)
    assert.has_error(function() decode("1", "wtf8") end)
    assert.error_matches(function() decode("1", { surrogates = "x" }) end, "unknown option surrogates")
    assert.error_matches(function() decode("1", { lone_surrogates = "yes" }) end,
      'lone_surrogates must be "error" or "wtf8", not yes')
  end)
end)

describe("json.encode", function()
  it("writes scalars", function()
    assert.are.equal("null", encode(null))
    assert.are.equal("true", encode(true))
    assert.are.equal("false", encode(false))
    assert.are.equal("-9223372036854775808", encode(math.mininteger))
    assert.are.equal('"a\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\127é"', encode 'a"\\/\b\f\n\r\t\0\31\127é')
  end)

  it("writes floats with the fewest digits that read back, and as floats", function()
    local rows = {
      { 1.0, "1.0" }, { -0.0, "-0.0" }, { 0.0, "0.0" }, { 0.1, "0.1" }, { 1 / 3, "0.3333333333333333" },
      { 0.1 + 0.2, "0.30000000000000004" }, { 123.456, "123.456" }, { -2.5, "-2.5" },
      { 1e14, "100000000000000.0" },
      { 1e15, "1e+15" }, { 1e300, "1e+300" }, { 1e-5, "1e-05" }, { 0.0001, "0.0001" },
      { 2.0 ^ 53, "9007199254740992.0" }, { 2.0 ^ 63, "9.223372036854776e+18" },
      { 5e-324, "4.94065645841247e-324" },
      { 1.7976931348623157e308, "1.7976931348623157e+308" }, { 3.14159265358979, "3.14159265358979" },
    }
    for _, row in ipairs(rows) do
      assert.are.equal(row[2], encode(row[1]))
      assert.is_true(same(row[1], decode(row[2])))
    end
  end)

  it("does the same in a locale with another decimal point", function()
    local dir = os.tmpname()
    os.remove(dir)
    local function run(command)
      local pipe = assert(io.popen(command .. " 2>&1"))
      local out = pipe:read "a"
      pipe:close()
      return out
    end
    assert(os.execute("mkdir -p " .. dir))
    local function write(name, text)
      local file <close> = assert(io.open(dir .. "/" .. name, "w"))
      file:write(text)
    end
    write("comma.def", 'LC_NUMERIC\ndecimal_point ","\nthousands_sep "."\ngrouping 3;3\nEND LC_NUMERIC\n')
    write("try.lua", [[
      assert(os.setlocale("xx_XX", "numeric"), "the locale was not built")
      assert(tostring(1.5) == "1,5")
      local json = require("harness.core").json
      local text = json.encode { 1.5, 1 / 3, 1e300, 5e-324, 2.0 ^ -30, 7.0 }
      assert(json.encode(json.decode(text)) == text)
      io.write(text)]])
    run(("cd %s && localedef -c -i comma.def ./xx_XX"):format(dir))
    local program = os.getenv "HARNESS_LUA" or "$(readlink /proc/$PPID/exe)"
    local out = run(("LOCPATH=%s %s %s/try.lua"):format(dir, program, dir))
    os.execute("rm -rf " .. dir)
    assert.are.equal("[1.5,0.3333333333333333,1e+300,4.94065645841247e-324,9.313225746154785e-10,7.0]", out)
  end)

  it("writes keys in byte order, whatever the table's order is", function()
    local keys = {
      "", "A", "Z", "_", "a", "a\0", "a\0b", "aa", "abcdefgh", "abcdefgh\0", "abcdefgha", "abcdefghb", "b",
      "é", "😀",
    }
    local members = {}
    for i, key in ipairs(keys) do members[i] = encode(key) .. ":" .. i end
    local want = "{" .. table.concat(members, ",") .. "}"
    math.randomseed(SEED)
    for _ = 1, 50 do
      local order, value = {}, {}
      for i = 1, #keys do table.insert(order, math.random(i), i) end
      for _, i in ipairs(order) do value[keys[i]] = i end
      assert.are.equal(want, encode(value), "seed " .. SEED)
    end
  end)

  it("writes objects of every size in order", function()
    local value, keys = {}, {}
    for n = 1, 300 do
      local key = ("key%03d"):format(n * 7919 % 1000)
      value[key], keys[n] = n, key
      local sorted = table.move(keys, 1, n, 1, {})
      table.sort(sorted)
      local members = {}
      for i, k in ipairs(sorted) do members[i] = ('"%s":%d'):format(k, value[k]) end
      assert.are.equal("{" .. table.concat(members, ",") .. "}", encode(value))
    end
  end)

  it("tells arrays from objects", function()
    assert.are.equal("{}", encode {})
    assert.are.equal("[]", encode(array {}))
    assert.are.equal("[]", encode(array()))
    assert.are.equal("[1,2]", encode { 1, 2 })
    assert.are.equal("[1,2]", encode(array { 1, 2 }))
    assert.are.equal("[null]", encode { null })
    assert.are.equal('{"1":1}', encode { ["1"] = 1 })
    assert.are.equal("[[],{}]", encode(decode "[[],{}]"))
  end)

  it("writes arrays however they were filled", function()
    for _, n in ipairs { 2, 3, 7, 33, 100 } do
      local want = {}
      for i = 1, n do want[i] = i end
      local backward, mixed = {}, {}
      for i = n, 1, -1 do backward[i] = i end
      for i = 1, n, 2 do mixed[i] = i end
      for i = 2, n, 2 do mixed[i] = i end
      assert.are.equal(encode(want), encode(backward))
      assert.are.equal(encode(want), encode(mixed))
    end
    local shrunk = { 1, 2, 3, x = 1 }
    shrunk.x, shrunk[3] = nil, nil
    assert.are.equal("[1,2]", encode(shrunk))
  end)

  it("refuses tables that are neither, and names the path", function()
    assert.are.equal("$", path_of { 1, x = 2 })
    assert.are.equal("$.a", path_of { a = { 1, nil, 3 } })
    assert.are.equal("$[2]", path_of { 1, { [2] = 1 } })
    assert.are.equal("$", path_of { [0] = 1 })
    assert.are.equal("$", path_of { [1.5] = 1 })
    assert.are.equal("$", path_of { [-1] = 1, 1 })
    assert.are.equal("$", path_of { [true] = 1, a = 2 })
    assert.are.equal("$", path_of { [{}] = 1 })
    assert.are.equal("$", path_of(array { x = 1 }))
    assert.are.equal("$", path_of(array { nil, 2 }))
    says("both list items and named keys", encode, { 1, x = 2 })
    says("2 items up to index 3; fill holes with null", encode, { 1, nil, 3 })
    says("found a key 1.5", encode, { [1.5] = 1 })
    says("an array with named keys", encode, array { x = 1 })
  end)

  it("refuses what JSON has not, and names the path", function()
    local rows = {
      { 0 / 0, "NaN" }, { math.huge, "an infinite number" }, { -math.huge, "an infinite number" },
      { print, "a function" }, { coroutine.create(print), "a thread" }, { io.stdout, "a userdata" },
      { "\xFF", "not valid UTF-8 at its byte 1" }, { "abc\xC3", "not valid UTF-8 at its byte 4" },
      { "\xED\xA0\x80", "not valid UTF-8 at its byte 1" },
    }
    for _, row in ipairs(rows) do
      assert.are.equal("$.a[3].b", says(row[2], encode, { a = { 1, 2, { b = row[1] } } }).meta.path)
      assert.are.equal("$", path_of(row[1]))
    end
    says("found nil", encode, nil)
    assert.are.equal('$["a b"][1].ok_1["1x"]', path_of { ["a b"] = { { ok_1 = { ["1x"] = print } } } })
    assert.are.equal([=[$["\"\\\x00\x0A\xFFé"]]=], path_of { ['"\\\0\n\xFFé'] = print })
    assert.are.equal("$.k[2]", path_of(ordered { { "k", { 1, print } } }))
  end)

  it("replaces invalid UTF-8 when asked to, one for each maximal subpart", function()
    local function replaced(s) return (encode(s, { invalid_utf8 = "replace" }):gsub("\u{FFFD}", "?")) end
    local rows = {
      { "a\xFFb", "a?b" }, { "\xC3", "?" }, { "\xC3\x28", "?(" }, { "\xE2\x82", "?" },
      { "\xE2\x82\xE2\x82\xAC", "?€" }, { "\xED\xA0\x80", "???" }, { "\xF0\x9F\x98", "?" },
      { "\xF4\x90\x80\x80", "????" }, { "\xC0\x80", "??" },
      { "\xE0\x80\xAF", "???" }, { "\xF8\x88\x80\x80\x80", "?????" }, { "\x80\x80", "??" },
      { "\xF1\x80\x80\xE1\x80\xC2b\x80c\x80\xBFd", "???b?c??d" },
    }
    for _, row in ipairs(rows) do assert.are.equal('"' .. row[2] .. '"', replaced(row[1])) end
    assert.are.equal('{"?":1}', replaced { ["\xFF"] = 1 })
  end)

  it("refuses cycles, and takes shared tables", function()
    local loop = { 1 }
    loop[2] = { back = loop }
    assert.are.equal("$.x[2].back", says("contains itself", encode, { x = loop }).meta.path)
    local long = { text = ("x"):rep(1 << 20) }
    long.again = long
    assert.are.equal("$.again", path_of(long))
    local shared = { 1 }
    assert.are.equal('{"a":[1],"b":[[1],[1]]}', encode { a = shared, b = { shared, shared } })
  end)

  it("takes 512 levels", function()
    assert.are.equal(("["):rep(511) .. "{}" .. ("]"):rep(511), encode(level(512)))
    says("at most 512 levels", encode, level(513))
    assert.are.equal("$" .. ("[1]"):rep(512), path_of(level(513)))
    local deep = { [("k"):rep(300)] = print }
    assert.is_true(#refused(encode, deep).message < 400)
  end)

  it("refuses texts of more than 64 MiB", function()
    local half = ("x"):rep(33 << 20)
    says("longer than 67108864 bytes", encode, { half, half })
    local text = '"' .. half .. half .. '"'
    assert.are.equal((64 << 20) + 1, refused(decode, text).meta.offset)
  end)

  it("is readable when asked to", function()
    local value = { a = 1, b = { {}, array {}, { c = "x" } }, d = ordered { { "z", true }, { "y", null } } }
    assert.are.equal([[
{
  "a": 1,
  "b": [
    {},
    [],
    {
      "c": "x"
    }
  ],
  "d": {
    "z": true,
    "y": null
  }
}]], encode(value, { pretty = true }))
    assert.are.equal("[]", encode(array(), { pretty = true }))
    assert.are.equal('{"a":1,"b":[{},[],{"c":"x"}],"d":{"y":null,"z":true}}',
      encode(decode(encode(value, { pretty = true }))))
  end)

  it("refuses arguments that it does not know", function()
    assert.has_error(function() encode() end)
    assert.has_error(function() encode(1, true) end)
    assert.error_matches(function() encode(1, { prety = true }) end, "unknown option prety")
    assert.error_matches(function() encode(1, { true }) end, "unknown option 1")
    assert.error_matches(function() encode(1, { invalid_utf8 = "skip" }) end,
      'invalid_utf8 must be "error" or "replace", not skip')
  end)
end)

describe("json values", function()
  it("null is one sentinel, also when the module is opened again", function()
    assert.are.equal("null", tostring(null))
    assert.are.equal("userdata", type(null))
    assert.is_true(rawequal(null, decode "null"))
    assert.is_true(rawequal(null, decode "[1,null]"[2]))
    local saved = package.loaded["harness.core"]
    package.loaded["harness.core"] = nil
    local again = require("harness.core").json
    package.loaded["harness.core"] = saved
    assert.is_true(rawequal(null, again.null))
    assert.are.equal(getmetatable(array {}), getmetatable(again.decode "[]"))
  end)

  it("array marks a table, and refuses one with another metatable", function()
    local t = {}
    assert.are.equal(t, array(t))
    assert.are.equal(t, array(t))
    assert.are.equal("[]", encode(t))
    t[1] = "x"
    assert.are.equal('["x"]', encode(t))
    assert.error_matches(function() array(setmetatable({}, {})) end, "another metatable")
    assert.has_error(function() array(5) end)
  end)

  it("ordered keeps its order and its own list", function()
    local list = { { "z", 1 }, { "a", array {} }, { "", null } }
    local value = ordered(list)
    list[1][1], list[2] = "changed", nil
    assert.are.equal('{"z":1,"a":[],"":null}', encode(value))
    assert.are.equal("{}", encode(ordered {}))
    local many = {}
    for i = 1, 100 do many[i] = { ("k%d"):format(101 - i), i } end
    assert.are.equal('{"k100":1,"k99":2,', encode(ordered(many)):sub(1, 18))
    says("pairs 1 and 3 have the same key", ordered, { { "a", 1 }, { "b", 2 }, { "a", 3 } })
    assert.error_matches(function() ordered { { "a" } } end, "pair 1 must be")
    assert.error_matches(function() ordered { { "a", 1 }, { 2, 1 } } end, "pair 2 must be")
    assert.error_matches(function() ordered { "a" } end, "pair 1 must be")
    assert.has_error(function() ordered(1) end)
  end)

  it("raw is checked when made, and written as it is", function()
    assert.are.equal('[{"b":1, "a":2} ,1]', encode { raw '{"b":1, "a":2} ', 1 })
    assert.are.equal('{"x":1e2}', encode { x = raw "1e2" })
    assert.are.equal(2, refused(raw, "[").meta.offset)
    assert.are.equal(3, refused(raw, "1 2").meta.offset)
    assert.are.equal(1, refused(raw, "").meta.offset)
    assert.are.equal(1, refused(raw, "1e400").meta.offset)
    assert.are.equal(2, refused(raw, [["\ud800"]]).meta.offset)
    assert.has_error(function() raw(5) end)
  end)

  it("raw counts with its levels", function()
    local inner = raw(("["):rep(500) .. ("]"):rep(500))
    local value = inner
    for _ = 1, 12 do value = { value } end
    assert.is_true(pcall(decode, encode(value)))
    says("at most 512 levels", encode, { value })
  end)

  it("__tojson says what is encoded instead", function()
    local mt = { __tojson = function(self) return { kind = "point", at = { self.x, self.y } } end }
    assert.are.equal('[{"at":[1,2],"kind":"point"}]', encode { setmetatable({ x = 1, y = 2 }, mt) })
    local chain = setmetatable({}, { __tojson = function() return setmetatable({ x = 3, y = 4 }, mt) end })
    assert.are.equal('{"at":[3,4],"kind":"point"}', encode(chain))
    assert.are.equal("null", encode(setmetatable({}, { __tojson = function() return null end })))
    assert.are.equal('{"a":1}', encode(setmetatable({ a = 1 }, { __index = {} })))
  end)

  it("__tojson cannot go on for ever, and its errors come through", function()
    local self_mt = { __tojson = function(self) return self end }
    assert.are.equal("$.a", path_of { a = setmetatable({}, self_mt) })
    local mt = {}
    mt.__tojson = function() return setmetatable({}, mt) end
    says("at most 512 levels", encode, setmetatable({}, mt))
    mt.__tojson = function() return { next = setmetatable({}, mt) } end
    says("at most 512 levels", encode, setmetatable({}, mt))
    mt.__tojson = function() return nil end
    assert.are.equal("$[1]", path_of { setmetatable({}, mt) })
    local mine = {}
    mt.__tojson = function() error(mine) end
    local ok, err = pcall(encode, { setmetatable({}, mt) })
    assert.is_false(ok)
    assert.are.equal(mine, err)
  end)

  it("__tojson may encode by itself", function()
    local inner = setmetatable({}, { __tojson = function() return raw(encode { b = 1, a = { 2 } }) end })
    assert.are.equal('{"x":{"a":[2],"b":1},"y":[{"a":[2],"b":1}]}', encode { x = inner, y = { inner } })
    local failing = setmetatable({}, { __tojson = function() return pcall(encode, print) end })
    assert.are.equal('{"a":false,"b":1}', encode { a = failing, b = 1 })
    assert.are.equal('{"a":false,"b":1}', encode { a = failing, b = 1 })
  end)

  it("changes of the table while it is written do no harm", function()
    local value = {}
    for i = 1, 200 do value[("key %d "):format(i) .. ("x"):rep(60)] = { tostring(i) .. ("y"):rep(60) } end
    value.a = setmetatable({}, { __tojson = function()
      for k in pairs(value) do value[k] = nil end
      collectgarbage()
      return 1
    end })
    local text = encode(value)
    assert.are.equal('{"a":1,', text:sub(1, 7))
    local count = 0
    for _ in pairs(decode(text)) do count = count + 1 end
    assert.are.equal(201, count)
    assert.is_nil(next(value))
  end)

  it("survives a collector that runs all the time, and finalizers that encode", function()
    local mode = collectgarbage("incremental", 1, 1000, 0)
    local text = '{"a":[' .. ('{"k\\n":"v\\u00e9 ' .. ("z"):rep(700) .. '","n":[]},'):rep(60) .. '1]}'
    local want = encode(decode(text))
    local finalized = 0
    for _ = 1, math.max(3, 10 // FACTOR) do
      for _ = 1, 20 do
        setmetatable({}, { __gc = function()
          finalized = finalized + 1
          assert(encode(decode '{"x":[1,{"y":"\\n"}]}') == '{"x":[1,{"y":"\\n"}]}')
        end })
      end
      assert.are.equal(want, encode(decode(text)))
    end
    collectgarbage("incremental", 200, 100, 13)
    collectgarbage(mode)
    collectgarbage()
    assert.is_true(finalized >= 60)
  end)
end)

describe("a random value", function()
  local random = math.random
  local STRINGS = {
    "", "a", "\0", "\n\"\\", "é", "你好", "😀", "\u{10FFFF}", "\127", "/", "\u{2028}", "null", "x y",
  }
  local INTEGERS = { 0, 1, -1, math.maxinteger, math.mininteger, 1 << 53, (1 << 53) + 1, 999999999999999999 }

  local function random_string()
    local parts = {}
    for i = 1, random(0, random(8)) do
      parts[i] = random(3) == 1 and string.char(random(0, 127)):rep(random(12)) or STRINGS[random(#STRINGS)]
    end
    return table.concat(parts)
  end

  local function random_number()
    local kind = random(5)
    if kind == 1 then return INTEGERS[random(#INTEGERS)] end
    if kind == 2 then return random(0) end
    if kind == 3 then return random(-1000, 1000) / 100 end
    if kind == 4 then return random(-99, 99) * 10.0 ^ random(-320, 300) end
    local bits = string.unpack("d", string.pack("j", random(0)))
    return bits == bits and bits ~= math.huge and bits ~= -math.huge and bits or -0.0
  end

  local function random_value(depth)
    local kind = random(depth > 0 and 8 or 5)
    if kind == 1 then return null end
    if kind == 2 then return random(2) == 1 end
    if kind == 3 then return random_number() end
    if kind <= 5 then return random_string() end
    local n = random(0, random(3) == 1 and 12 or 3)
    local value = {}
    if kind == 6 then
      for i = 1, n do value[i] = random_value(depth - 1) end
      return n == 0 and array(value) or value
    end
    for _ = 1, n do value[random_string()] = random_value(depth - 1) end
    return value
  end

  -- The same value, its tables filled in another order.
  local function copy(value)
    if type(value) ~= "table" then return value end
    local keys = {}
    for k in pairs(value) do table.insert(keys, random(#keys + 1), k) end
    local other = {}
    for _, k in ipairs(keys) do other[k] = copy(value[k]) end
    return setmetatable(other, getmetatable(value))
  end

  it("comes back the same, 20,000 times", function()
    math.randomseed(SEED)
    for i = 1, math.max(1, 20000 // FACTOR) do
      local value = random_value(random(0, 5))
      local text = encode(value)
      local hint = ("seed %d, value %d: %s"):format(SEED, i, text)
      local back = decode(text)
      assert(same(value, back), hint)
      assert(encode(back) == text, hint)
      assert(encode(copy(value)) == text, hint)
      assert(same(back, decode(encode(value, { pretty = true }))), hint)
    end
  end)
end)
