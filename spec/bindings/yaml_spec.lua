-- engine/yaml_tree.c through core.yaml: what it takes of YAML, and what it refuses.
local core = require "harness.core"
local json = require "harness.json"

local decode = core.yaml.decode

describe("YAML becomes", function()
  for _, case in ipairs {
    { "a: 1", '{"a":"1"}' },
    { "version: 1.10\nanswer: on\nno: no\nid: 007\ndate: 2026-11-29\nbool: true\nhex: 0x1F\nbig: 1e3\nsep: 1_000",
      '{"answer":"on","big":"1e3","bool":"true","date":"2026-11-29","hex":"0x1F","id":"007","no":"no","sep":"1_000",'
        .. '"version":"1.10"}' },
    { "a:\nb: ~\nc: null\nd: NULL\ne: Null", '{"a":null,"b":null,"c":null,"d":null,"e":null}' },
    { "a: ''\nb: \"null\"\nc: '~'\nd: nULL", '{"a":"","b":"null","c":"~","d":"nULL"}' },
    { "null: 1\n~: 2", '{"null":"1","~":"2"}' },
    { "a: >\n  folded\n  text\n\n  more\nb: |\n  two\n  lines\nc: >-\n  no end\n", [[{"a":"folded text\nmore\n",]]
      .. [["b":"two\nlines\n","c":"no end"}]] },
    { "a: \"q\\t\\u00e9\\x41\"\nb: 'it''s'", [[{"a":"q\té]] .. [[A","b":"it's"}]] },
    { "a: [x, {y: z}, []]\nb: {}", '{"a":["x",{"y":"z"},[]],"b":{}}' },
    { "a:\n  - x\n  - y: 1\n    z: 2", '{"a":["x",{"y":"1","z":"2"}]}' },
    { "- a\n- b", '["a","b"]' }, { "text", '"text"' }, { "", "null" }, { "# only a comment\n", "null" },
    { "a: b # said beside\nc: 'd # in'", '{"a":"b","c":"d # in"}' },
    { "a: one\n  two", '{"a":"one two"}' }, { "a: b\r\nc: |\r\n  d\r\n", [[{"a":"b","c":"d\n"}]] },
    { "a: http://x/y?z=1#w", '{"a":"http://x/y?z=1#w"}' }, { "é: 日本 🎉", '{"é":"日本 🎉"}' },
    { "<<: x", '{"<<":"x"}' }, { "--- \na: b\n", '{"a":"b"}' }, { "a: b\n...\n", '{"a":"b"}' },
    { "'a b': c\n? d\n: e", '{"a b":"c","d":"e"}' },
  } do
    it(case[1]:gsub("\r", "\\r"):gsub("\n", "\\n"), function()
      local value, why = decode(case[1])
      assert.is_not_nil(value, why)
      assert.equal(case[2], json.encode(value))
    end)
  end

  it("lists that stay lists, and JSON's null", function()
    local value = decode "a: []\nb: ~"
    assert.equal("[]", json.encode(value.a))
    assert.equal(json.null, value.b)
  end)
end)

describe("YAML is refused", function()
  for name, case in pairs {
    ["text with a colon"] = { "name: x\ndescription: Use when: needed", 2, 22, "mapping values are not allowed" },
    ["a key twice"] = { "a: 1\nb: 2\na: 3", 3, 1, "this key is there already" },
    ["a key twice, once in quotes"] = { "a: 1\n'a': 2", 2, 1, "this key is there already" },
    ["a key twice, further in"] = { "x:\n  a: 1\n  b: {a: 1}\n  a: 2", 4, 3, "this key is there already" },
    ["an anchor"] = { "a: &x 1", 1, 4, "anchors" }, ["an anchor of a map"] = { "a: &x {b: c}", 1, 4, "anchors" },
    ["an anchor of a list"] = { "a: &x\n - b", 1, 4, "anchors" },
    ["an alias"] = { "a: *x", 1, 4, "aliases" }, ["an alias as key"] = { "*x : a", 1, 1, "aliases" },
    ["a tag"] = { "a: !!str 5", 1, 4, "tags" }, ["a local tag"] = { "a: !x {}", 1, 4, "tags" },
    ["a tag of a list"] = { "!!seq [a]", 1, 1, "tags" },
    ["a map as key"] = { "? {a: b}\n: c", 1, 3, "a key must be text" },
    ["a list as key"] = { "[a]: b", 1, 1, "a key must be text" },
    ["a key that is missing"] = { "a: b\n: c", 2, 1, "" },
    ["a second document"] = { "a: b\n---\nc: d", 2, 1, "one document" },
    ["a tab as indent"] = { "a:\n\tb: c", 2, 1, "cannot start any token" },
    ["an open quote"] = { "a: 'x", 1, 6, "unexpected end" }, ["an open list"] = { "a: [x", 2, 1, "" },
    ["an @ at the beginning"] = { "a: @x", 1, 4, "cannot start any token" },
    ["an indent that fits nothing"] = { "a:\n    b: c\n  d: e", 3, 3, "" },
    ["bytes that are no UTF-8"] = { "a: b\né: \xFF", 2, 4, "not valid UTF-8" },
    ["a surrogate"] = { "a: \xED\xA0\x80", 1, 4, "" }, ["a NUL"] = { "a: \0", 1, 4, "control characters" },
    ["an escape character"] = { "a: \27[31m", 1, 4, "control characters" },
    ["a depth of 17"] = { ("["):rep(17), 1, 17, "nested too deeply" },
    ["4,097 parts"] = { ("- a\n"):rep(4096), 4096, 3, "too many parts" },
    ["65,537 bytes"] = { ("x"):rep(65537), 1, 1, "too long" },
    ["UTF-16"] = { "\xFF\xFEa\0", 1, 1, "not valid UTF-8" },
  } do
    it("with " .. name, function()
      local value, why, line, column = decode(case[1])
      assert.is_nil(value)
      assert.same({ case[2], case[3] }, { line, column }, why)
      assert.truthy(why:find(case[4], 1, true), why)
    end)
  end

  it("up to its limits only", function()
    assert.is_table(decode(("["):rep(16) .. ("]"):rep(16)))
    assert.equal(4095, #decode(("- a\n"):rep(4095)))
    assert.equal(65536, #decode(("x"):rep(65536)))
  end)

  it("in little time, whatever nests and repeats", function()
    local bombs = {
      ("{"):rep(60000), ("[{"):rep(30000), ("? "):rep(30000), ("- "):rep(30000), ("a: "):rep(20000),
      ("'"):rep(60000), ("\n"):rep(65536), ("#\n"):rep(32000), ("&a "):rep(20000), (": "):rep(30000),
      ("a: b\n "):rep(9000), ("\"\\\n"):rep(20000), ("%"):rep(60000), ("- |\n"):rep(15000),
      "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
    }
    local keys = {}
    for i = 1, 2040 do keys[i] = ("key%d: 1"):format(i) end
    bombs[#bombs + 1] = table.concat(keys, "\n")
    local start = os.clock()
    for _, text in ipairs(bombs) do decode(text) end
    assert.is_true(os.clock() - start < 2)
    assert.is_table(decode(bombs[#bombs]))
  end)
end)
