-- core.json.picker: picks what decode would give, or says that it cannot.

local json = require("harness.core").json
local vectors = require "spec.fixtures.json.vectors"

local CHUNK = '{"id":"c-1","created":1795336158,"model":"m","choices":[{"index":0,'
  .. '"delta":{"content":"caf\\u00e9 \\ud83d\\ude80"},"logprobs":null,"finish_reason":null}],"usage":null}'

local function pack(...) return { n = select("#", ...), ... } end

-- What the picker should give: the values at the paths by way of decode, or nothing for "exact way".
local function by_decode(text, paths)
  local ok, value = pcall(json.decode, text)
  if not ok then return nil end
  local picked = pack(true)
  for i, path in ipairs(paths) do
    local at = value
    for key in path:gmatch "[^.]+" do
      if type(at) ~= "table" then
        at = nil
      elseif #at > 0 or getmetatable(at) then
        at = math.tointeger(key) and at[math.tointeger(key) + 1]
      else
        at = at[key]
      end
    end
    if type(at) == "table" then return nil end
    picked[i + 1] = at ~= json.null and at or nil
    if at == false then picked[i + 1] = false end
  end
  picked.n = #paths + 1
  return picked
end

-- The picker agrees with decode; returns whether it picked.
local function agrees(text, paths)
  local got, want = pack(json.picker(paths):pick(text)), by_decode(text, paths)
  if not got[1] then
    assert.are.equal(1, got.n)
    return false
  end
  assert(want, "picked from what decode refuses: " .. text)
  assert.are.equal(want.n, got.n)
  for i = 1, want.n do
    assert.are.equal(want[i], got[i], text)
    assert.are.equal(math.type(want[i]), math.type(got[i]), text)
  end
  return true
end

describe("json.picker", function()
  it("picks strings, numbers, booleans, and nil for null and absent", function()
    local picker = json.picker {
      "choices.0.delta.content", "choices.0.finish_reason", "created", "error", "choices.1.x",
    }
    assert.are.same({ true, "café 🚀", nil, 1795336158, nil, nil, n = 6 }, pack(picker:pick(CHUNK)))
    local flags = json.picker { "a", "b", "c.d" }
    assert.are.same({ true, true, false, -5, n = 4 }, pack(flags:pick '{"b":false,"a":true,"c":{"d":-5}}'))
    assert.are.equal("integer", math.type(select(2, json.picker { "n" }:pick '{"n":7}')))
  end)

  it("walks arrays by number and objects by key, case and all", function()
    local picker = json.picker { "a.1", "a.x", "A", "0" }
    assert.are.same({ true, "y", nil, nil, nil, n = 5 }, pack(picker:pick '{"a":["x","y"]}'))
    assert.are.same({ true, "one", "ex", "big", "zero", n = 5 },
      pack(picker:pick '{"a":{"1":"one","x":"ex"},"A":"big","0":"zero"}'))
    assert.are.same({ true, nil, nil, nil, "first", n = 5 }, pack(picker:pick '["first"]'))
    assert.are.same({ true, nil, nil, nil, nil, n = 5 }, pack(picker:pick '"a"'))
    assert.are.same({ true, nil, n = 2 }, pack(json.picker { "00" }:pick '["x"]'))
  end)

  it("takes the last of equal keys, as decode does", function()
    assert.are.same({ true, 2, n = 2 }, pack(json.picker { "a" }:pick '{"a":1,"a":2}'))
    assert.are.same({ true, nil, n = 2 }, pack(json.picker { "a.b" }:pick '{"a":{"b":1},"a":2}'))
  end)

  it("leaves to decode what it cannot give exactly", function()
    local picker = json.picker { "v", "w.x" }
    local rows = {
      '{"v":{}}', '{"v":[]}', '{"v":[1]}', '{"w":{"x":{"y":1}}}', '{"v":"a\\u0000b"}', '{"other":"\\u0000"}',
      '{"v\\u0000":1}', '{"v":1234567890123456}', '{"v":1.5}', '{"v":1.0}', '{"v":1e2}', '{"v":-0.0}',
      '{"v":12345678901234567890}', '{"v":"\\ud800"}', '{"v":"\xFF"}', '{"v":"\xED\xA0\x80"}', '{"v":01}',
      '{"v":"a\tb"}', '\xEF\xBB\xBF{"v":1}', '{"v":1} x', '{"v":1', '{"v":1e400}', "[DONE]", "", " ",
      ("["):rep(513) .. ("]"):rep(513),
    }
    for _, text in ipairs(rows) do assert.are.same({ false, n = 1 }, pack(picker:pick(text)), text) end
    -- a long number elsewhere does not matter to strings
    local long_elsewhere = '{"v":"x","t":12.5,"u":12345678901234567890}'
    assert.are.same({ true, "x", nil, n = 3 }, pack(picker:pick(long_elsewhere)))
    local fifteen_digits = '{"v":999999999999999,"w":{"x":-1}}'
    assert.are.same({ true, 999999999999999, -1, n = 3 }, pack(picker:pick(fifteen_digits)))
  end)

  it("agrees with decode on all vectors", function()
    local picked = 0
    for _, list in ipairs { vectors.accepted, vectors.refused, vectors.decided } do
      for _, row in ipairs(list) do
        for _, paths in ipairs { { "0", "a" }, { "a.0", "b", "1" } } do
          if agrees(row[1], paths) then picked = picked + 1 end
          agrees('{"a":' .. row[1] .. "}", paths)
          agrees("[" .. row[1] .. ',"b"]', paths)
        end
      end
    end
    assert.is_true(picked > 100)
  end)

  it("agrees with decode on recorded streams, and picks nearly all text", function()
    local paths = {
      "choices.0.delta.content", "choices.0.delta.role", "choices.0.finish_reason", "error", "usage",
    }
    local picker = json.picker(paths)
    local lines, picked = 0, 0
    for line in io.lines "spec/fixtures/json/openai_chat_chunks.txt" do
      lines = lines + 1
      if agrees(line, paths) then picked = picked + 1 end
      for cut = 0, #line - 1, 7 do
        assert.is_false((picker:pick(line:sub(1, cut))), line:sub(1, cut))
      end
    end
    assert.is_true(lines > 40)
    assert.is_true(picked > lines // 2, ("%d of %d"):format(picked, lines))
  end)

  it("finds paths with common beginnings in any order", function()
    local text = '{"a":{"b":{"c":1,"d":2},"e":3},"f":4}'
    local function pick(...) return pack(json.picker { ... }:pick(text)) end
    assert.are.same({ true, 1, 2, 3, 4, n = 5 }, pick("a.b.c", "a.b.d", "a.e", "f"))
    assert.are.same({ true, 4, 2, 3, 1, n = 5 }, pick("f", "a.b.d", "a.e", "a.b.c"))
    assert.are.same({ true, 1, 1, nil, 2, n = 5 }, pick("a.b.c", "a.b.c", "a.b.c.x", "a.b.d"))
    assert.are.same({ false, n = 1 }, pick("a.b", "a.b.c"))
  end)

  it("does not need its list, nor does it keep anything of the text", function()
    local paths = { "k" .. ("e"):rep(50) .. "y" }
    local picker = json.picker(paths)
    paths[1] = nil
    collectgarbage()
    assert.are.same({ true, "v", n = 2 }, pack(picker:pick('{"k' .. ("e"):rep(50) .. 'y":"v"}')))
    local before = collectgarbage "count"
    for _ = 1, 1000 do picker:pick(CHUNK) end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 64)
  end)

  it("refuses lists that make no sense", function()
    assert.error_matches(function() json.picker {} end, "1 to 64 paths")
    local many = {}
    for i = 1, 65 do many[i] = "k" .. i end
    assert.error_matches(function() json.picker(many) end, "1 to 64 paths")
    many[65] = nil
    assert.are.equal(65, pack(json.picker(many):pick "{}").n)
    assert.error_matches(function() json.picker { "a", 5 } end, "path 2 is not a string")
    assert.error_matches(function() json.picker { "" } end, "path 1 has an empty key")
    assert.error_matches(function() json.picker { "a..b" } end, "path 1 has an empty key")
    assert.error_matches(function() json.picker { "a." } end, "path 1 has an empty key")
    assert.error_matches(function() json.picker { "a\0b" } end, "path 1 contains a NUL")
    assert.error_matches(function() json.picker { ("a."):rep(16) .. "a" } end, "more than 16 keys")
    assert.has_error(function() json.picker "a" end)
    assert.has_error(function() json.picker { "a" }:pick(5) end)
    assert.has_error(function() json.picker { "a" }.pick({}, "1") end)
  end)
end)
