-- The value of a JSON text that is still arriving.

local json = require "harness.json"
local partial = require "harness.json_partial"

local function shown(text)
  local value = partial.decode(text)
  return value ~= nil and json.encode(value) or nil
end

describe("a partial JSON text", function()
  it("shows what is certain", function()
    for text, expected in pairs {
      ['{'] = '{}', ['{"a'] = '{}', ['{"a"'] = '{}', ['{"a":'] = '{}', ['{"a":"'] = '{"a":""}',
      ['{"a":"x'] = '{"a":"x"}',
      ['{"a":"x\\'] = '{"a":"x"}', ['{"a":"x\\n'] = '{"a":"x\\n"}', ['{"a":"\\u00'] = '{"a":""}',
      ['{"a":"\\ud83d'] = '{"a":""}', ['{"a":"\\ud83d\\ude80'] = '{"a":"🚀"}',
      ['{"a":12'] = '{}', ['{"a":12,'] = '{"a":12}',
      ['{"a":tru'] = '{}', ['{"a":[1,2'] = '{"a":[1]}', ['{"a":[1,2]'] = '{"a":[1,2]}',
      ['[[[{"b":[{'] = '[[[{"b":[{}]}]]]',
      ['{"a":1,"b'] = '{"a":1}', ['{"a":1}'] = '{"a":1}', ['"hal'] = '"hal"', ['[true,'] = '[true]',
      ['{"a":"\xc3'] = '{"a":""}', ['{"a":{"b":null},"c":"é'] = '{"a":{"b":null},"c":"é"}',
    } do
      assert.equal(expected, shown(text), text)
    end
  end)

  it("shows nothing for what is none", function()
    for _, text in ipairs { "", " ", "tru", "12", "}", "x", '{"a":1]]' } do assert.is_nil(shown(text), text) end
  end)

  it("only ever grows, for every cut of random texts, and ends with the value", function()
    local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
    local function random_value(depth)
      local kind = math.random(depth > 3 and 4 or 6)
      if kind == 1 then return math.random(-1000, 1000) end
      if kind == 2 then return ({ "", "a\"b\\", "é🚀\n", "long text" })[math.random(4)] end
      if kind == 3 then return math.random(2) == 1 end
      if kind == 4 then return json.null end
      local value = kind == 5 and json.array {} or {}
      for i = 1, math.random(0, 4) do
        value[kind == 5 and i or "k" .. math.random(9)] = random_value(depth + 1)
      end
      return value
    end
    for _ = 1, math.max(20, 300 // FACTOR) do
      local text = json.encode { v = random_value(1) }
      for cut = 1, #text - 1 do
        local value = partial.decode(text:sub(1, cut))
        assert.is_table(value, text:sub(1, cut))
      end
      assert.equal(text, shown(text))
    end
  end)
end)
