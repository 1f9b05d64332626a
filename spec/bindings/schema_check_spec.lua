-- compiled:check of core.schema: messages, what Lua values mean, defaults, dropping, limits.

local core = require "harness.core"
local schemas = require "spec.support.schemas"

local json, schema = core.json, core.schema
local encode, null = json.encode, json.null
local compile, problems, checked = schemas.compile, schemas.problems, schemas.checked

describe("schema problems", function()
  it("say what was found and what is allowed", function()
    local rows = {
      { '{"type":"integer"}', "x", '$: expected integer, got string "x"' },
      { '{"type":"integer"}', 1.5, "$: expected integer, got number 1.5" },
      { '{"type":["string","null","number"]}', { 1 },
        "$: expected number, string or null, got array of 1 item" },
      { '{"type":"string"}', {}, "$: expected string, got empty object" },
      { '{"type":"string"}', null, "$: expected string, got null" },
      { '{"type":"string"}', true, "$: expected string, got boolean true" },
      { '{"type":"string"}', { a = 1 }, "$: expected string, got object" },
      { '{"enum":["a","b",null]}', 7, '$: expected one of "a", "b", null, got 7' },
      { '{"enum":["a"]}', "x", '$: expected "a", got "x"' },
      { '{"const":"a"}', "b", '$: expected "a", got "b"' },
      { '{"maximum":3}', 4, "$: expected at most 3, got 4" },
      { '{"minimum":3}', 2.5, "$: expected at least 3, got 2.5" },
      { '{"exclusiveMaximum":3}', 3, "$: expected less than 3, got 3" },
      { '{"exclusiveMinimum":3}', 3, "$: expected more than 3, got 3" },
      { '{"multipleOf":3}', 4, "$: expected a multiple of 3, got 4" },
      { '{"minLength":2}', "a", "$: expected at least 2 characters, got 1" },
      { '{"maxLength":1}', "äö", "$: expected at most 1 character, got 2" },
      { '{"pattern":"^a$"}', "b", '$: expected a string that matches the pattern "^a$", got "b"' },
      { '{"minItems":2}', { 1 }, "$: expected at least 2 items, got 1" },
      { '{"maxItems":1}', { 1, 2 }, "$: expected at most 1 item, got 2" },
      { '{"uniqueItems":true}', { 1, 2, 1 }, "$[3]: is equal to item 1, and items must be unique" },
      { '{"prefixItems":[true],"items":false}', { 1, 2 }, "$: expected at most 1 items, got 2" },
      { '{"contains":{"const":1}}', { 2 }, '$: expected at least 1 item that fit "contains", got 0' },
      { '{"minProperties":2}', { a = 1 }, "$: expected at least 2 keys, got 1" },
      { '{"required":["id"]}', { a = 1 }, "$.id: is required, but missing" },
      { '{"properties":{"a":true,"b":true},"additionalProperties":false}', { c = 1 },
        '$.c: is not an allowed key; allowed: "a", "b"' },
      { '{"additionalProperties":false}', { c = 1 }, "$.c: is not an allowed key" },
      { '{"propertyNames":{"maxLength":1}}', { cc = 1 },
        '$.cc: is not an allowed key: its name does not fit "propertyNames"' },
      { '{"dependentRequired":{"a":["b"]}}', { a = 1 }, '$.b: is required, since there is "a"' },
      { '{"oneOf":[true,false,true]}', 1, "$: fits alternatives 1 and 3, but must fit exactly one" },
      { '{"not":true}', 1, '$: fits what the schema excludes by "not"' },
      { "false", 1, "$: expected no value at all, got integer 1" },
      { '{"properties":{"a b":{"items":{"type":"string"}}}}', { ["a b"] = { "x", 2 } },
        '$["a b"][2]: expected string, got integer 2' },
    }
    for _, row in ipairs(rows) do assert.are.same({ row[3] }, problems(row[1], row[2])) end
  end)

  it("come all at once, always in the same order, up to 50", function()
    local text = '{"required":["z"],"properties":{"b":{"type":"string"},"a":{"minimum":3}},'
      .. '"additionalProperties":false}'
    assert.are.same({
      "$.z: is required, but missing", "$.a: expected at least 3, got 1",
        "$.b: expected string, got integer 2",
      '$.c: is not an allowed key; allowed: "a", "b"', '$.d: is not an allowed key; allowed: "a", "b"',
    }, problems(text, { a = 1, b = 2, d = 1, c = 1 }))
    local many = {}
    for i = 1, 200 do many[i] = "x" end
    local lines = problems('{"items":{"type":"integer"}}', many)
    assert.are.equal(50, #lines)
    assert.truthy(lines[50]:find("^%$%[50%]"))
  end)

  it("name the alternative that was meant", function()
    local text = '{"anyOf":['
      .. '{"properties":{"kind":{"const":"a"},"x":{"type":"integer"}},"required":["kind","x"]},'
      .. '{"properties":{"kind":{"const":"b"},"y":{"type":"string"}},"required":["kind","y"]}]}'
    assert.are.same({ "$.y: expected string, got integer 1" }, problems(text, { kind = "b", y = 1 }))
    assert.are.same({ "$.x: is required, but missing" }, problems(text, { kind = "a" }))
    assert.are.same({ '$: fits none of the 2 alternatives: 1. $.kind: expected "a", got "c"; '
      .. '2. $.kind: expected "b", got "c"' }, problems(text, { kind = "c" }))
    assert.are.same({ "$: expected string or null, got integer 3" },
      problems('{"anyOf":[{"type":"string"},{"type":"null"}]}', 3))
    assert.are.same({ "$.n.n.v: expected integer, got string \"x\"" },
      problems('{"$ref":"#/$defs/n","$defs":{"n":{"type":"object",'
        .. '"properties":{"v":{"type":"integer"},"n":{"anyOf":'
        .. '[{"$ref":"#/$defs/n"},{"type":"null"}]}}}}}', { n = { n = { v = "x" } } }))
  end)

  it("stay short when there is much to choose from", function()
    local values, branches = {}, {}
    for i = 1, 30 do values[i], branches[i] = i, { properties = { a = { const = i } } } end
    assert.truthy(problems({ enum = values }, "x")[1]:find("11, 12, ... (30 in all), got \"x\"", 1, true))
    local line = problems({ anyOf = branches }, { a = 0 })[1]
    assert.truthy(line:find("6. $.a: expected 6, got 0; ...", 1, true) and not line:find("7.", 1, true), line)
  end)

  it("stay within their limits when alternatives are nested", function()
    local defs = { d230 = { required = { "k230" } } }
    for i = 1, 229 do
      defs["d" .. i] = { anyOf = { { required = { "k" .. i } }, { ["$ref"] = "#/$defs/d" .. i + 1 } } }
    end
    local lines = problems({ ["$ref"] = "#/$defs/d1", ["$defs"] = defs }, { a = 1 })
    assert.are.equal(1, #lines)
    assert.truthy(lines[1]:find("fits none of the 2 alternatives: 1. $.k1: is required, but missing", 1,
      true))
    assert.truthy(#lines[1] < 600)
    local list = {}
    for i = 1, 49 do list[i] = "x" end
    list[50] = { a = 1 }
    local text = '{"items":{"anyOf":[{"type":"object","required":["b","c","d","e","f"]},{"type":"null"}]}}'
    lines = problems(text, list)
    assert.are.equal(50, #lines)
    assert.are.equal("$[50].b: is required, but missing", lines[50])
  end)

  it("stay one short line of valid UTF-8", function()
    local line = problems('{"type":"integer"}', ("ä"):rep(100) .. "\n")[1]
    assert.truthy(#line < 120 and utf8.len(line) and not line:find("\n"), line)
    line = problems('{"type":"integer"}', "a\xff\0b\"\\")[1]
    assert.are.equal('$: expected integer, got string "a\u{FFFD}\\u0000b\\"\\\\"', line)
    line = problems('{"type":"integer"}', "\xff\xfe")[1]
    assert.truthy(utf8.len(line))
  end)

  it("refuse what is no JSON", function()
    local mixed = { 1, a = 2 }
    for _, value in ipairs { print, coroutine.create(print), io.stdout, 0 / 0, math.huge, -math.huge, mixed,
      { [2] = 1 },
      { [1.5] = 1 }, { [true] = 1 }, json.array { a = 1 } } do
      assert.is_false((compile("{}"):check(value)))
      assert.is_false((compile('{"items":{"minimum":0}}'):check { value }))
    end
    assert.are.same({ "$: expected string, got a function, which is no JSON value" },
      problems('{"type":"string"}', print))
    assert.truthy(problems("{}", 0 / 0)[1]:find("which is no JSON value", 1, true))
    assert.are.same({ "$: expected a JSON value, got a table that is neither a list nor an object" },
      problems("{}", mixed))
  end)
end)

describe("schema values", function()
  it("take an empty Lua table for an object and, where one is wanted, for an array", function()
    local result = checked('{"type":"array"}', {})
    assert.are.equal("[]", encode(result))
    assert.are.equal("[]", encode(checked('{"type":["array","null"]}', {})))
    assert.are.equal("{}", encode(checked('{"type":"object"}', {})))
    assert.are.equal("{}", encode(checked('{"type":["array","object"]}', {})))
    assert.are.equal("{}", encode(checked("{}", {})))
    assert.are.equal("[]", encode(checked('{"const":[]}', json.array {})))
    assert.is_true(compile('{"const":[]}'):check {})
    assert.is_true(compile('{"enum":[{}]}'):check {})
    assert.is_false((compile('{"type":"object"}'):check(json.array {})))
    assert.is_false((compile('{"type":"array","minItems":1}'):check {}))
    assert.is_false((compile('{"type":"array","allOf":[{"minItems":1}]}'):check {}))
    assert.are.equal('{"a":[],"b":[[]]}', encode(checked(
      '{"properties":{"a":{"$ref":"#/$defs/l"},"b":{"type":"array","items":{"$ref":"#/$defs/l"}}},'
      .. '"$defs":{"l":{"anyOf":[{"type":"array"},{"type":"null"}]}}}', { a = {}, b = { {} } })))
  end)

  it("take it for an object only with exact_empty", function()
    local exact = { exact_empty = true }
    assert.is_false((compile('{"type":"array"}', exact):check {}))
    assert.is_true(compile('{"type":"object"}', exact):check {})
    assert.is_true(compile('{"type":"array"}', exact):check(json.array {}))
  end)

  it("take nil at the top for null", function()
    assert.are.same({ true, nil }, { compile('{"type":"null"}'):check(nil) })
    assert.are.same({ true, nil }, { compile("{}"):check() })
    assert.are.same({ "$: expected string, got nothing" }, problems('{"type":"string"}', nil))
    assert.are.same({ true, 3 }, { compile('{"default":3}'):check(nil) })
  end)

  it("are told apart by long strings inside", function()
    local long = ("abcdefgh"):rep(100)
    assert.is_true(compile('{"uniqueItems":true}'):check { { long .. "x" }, { long .. "y" } })
    assert.is_false((compile('{"uniqueItems":true}'):check { { long .. "x" }, { long .. "x" } }))
  end)

  it("take json.ordered for the object that it is", function()
    local value = { a = json.ordered { { "x", 1 }, { "y", json.ordered { { "z", 2 } } } } }
    local text = '{"properties":{"a":{"required":["x"],'
      .. '"properties":{"y":{"properties":{"z":{"type":"%s"}}}}}}}'
    assert.are.same({ a = { x = 1, y = { z = 2 } } }, checked(text:format "integer", value))
    assert.are.same({ "$.a.y.z: expected string, got integer 2" }, problems(text:format "string", value))
    assert.are.equal("userdata", type(value.a))
  end)

  it("come back as they are when nothing has to change", function()
    local value = { a = { { b = 1 } }, c = null }
    assert.is_true(rawequal(value, checked('{"properties":{"a":{"items":{"required":["b"]}}}}', value)))
    assert.is_true(rawequal(value, checked('{"properties":{"c":{"default":1}}}', value)))
  end)
end)

describe("schema defaults", function()
  it("are filled into a copy", function()
    local value = { list = { { x = 2 }, {} }, same = { 1 } }
    local text = '{"properties":{"a":{"default":[1]},"b":{"default":null},"list":{"items":{"properties":'
      .. '{"x":{"type":"integer","default":1}}}},"same":true}}'
    local compiled = compile(text)
    local _, result = compiled:check(value)
    assert.are.same({ a = { 1 }, b = null, list = { { x = 2 }, { x = 1 } }, same = { 1 } }, result)
    assert.are.same({ list = { { x = 2 }, {} }, same = { 1 } }, value)
    assert.is_true(rawequal(value.same, result.same))
    assert.is_true(rawequal(value.list[1], result.list[1]))
    result.a[1] = 9
    assert.are.same({ 1 }, select(2, compiled:check(value)).a)
  end)

  it("are found wherever a schema for the value is", function()
    local part = '{"properties":{"a":{"default":1}}}'
    for _, form in ipairs { "%s", '{"allOf":[%s]}', '{"anyOf":[false,%s]}', '{"oneOf":[%s,false]}',
      '{"if":true,"then":%s}', '{"if":false,"else":%s}', '{"$ref":"#/$defs/x","$defs":{"x":%s}}',
      '{"dependentSchemas":{"k":%s}}' } do
      assert.are.same({ k = 1, a = 1 }, checked(form:format(part), { k = 1 }), form)
    end
    assert.are.same({ k = { a = 1 } }, checked('{"additionalProperties":' .. part .. "}", { k = {} }))
    assert.are.same({ k = { a = 1 } }, checked('{"patternProperties":{"k":' .. part .. "}}", { k = {} }))
    assert.are.same({ {}, { a = 1 } }, checked('{"prefixItems":[true,' .. part .. "]}", { {}, {} }))
    for _, form in ipairs { '{"not":{"allOf":[%s,false]}}', '{"if":%s}', '{"properties":{"z":%s}}' } do
      assert.are.same({ k = 1 }, checked(form:format(part), { k = 1 }), form)
    end
  end)

  it("decide nothing", function()
    assert.are.same({ "$.a: is required, but missing" },
      problems('{"properties":{"a":{"default":1}},"required":["a"]}', {}))
    -- What would be filled in must not make the value invalid: then it is left as it is.
    local rows = { '{"maxProperties":0,"properties":{"a":{"default":1}}}',
      '{"const":{},"properties":{"a":{"default":1}}}',
      '{"not":{"required":["a"]},"properties":{"a":{"default":1}}}',
      '{"propertyNames":false,"properties":{"a":{"default":1}}}' }
    for _, text in ipairs(rows) do assert.are.same({}, checked(text, {}), text) end
    local items = '{"uniqueItems":true,"items":{"properties":{"a":{"default":1}}}}'
    assert.are.same({ {}, { a = 1 } }, checked(items, { {}, { a = 1 } }))
  end)

  it("that their own schema does not allow are not filled in, or refused", function()
    local text = '{"properties":{"a":{"type":"string","default":1},"b":{"default":2}}}'
    assert.are.same({ b = 2 }, checked(text, {}))
    local err = schemas.refused(text, { strict_defaults = true })
    assert.are.equal("$.properties.a.default", err.meta.path)
  end)

  it("have the defaults within them", function()
    local text = '{"properties":{"a":{"default":{},"properties":{"b":{"default":{},'
      .. '"properties":{"c":{"default":1}}}}}}}'
    assert.are.same({ a = { b = { c = 1 } } }, checked(text, {}))
    assert.are.same({}, checked('{"properties":{"a":{"$ref":"#","default":{}}}}', {}))
  end)

  it("are found however the schemas follow each other", function()
    local defs, properties = { d01 = { properties = { z = { default = 1 } } } }, {}
    for i = 1, 40 do
      local name, before = ("d%02d"):format(i), ("d%02d"):format(i - 1)
      properties["p" .. name] = { ["$ref"] = "#/$defs/" .. name }
      if i > 1 then defs[name] = { properties = { x = { ["$ref"] = "#/$defs/" .. before } } } end
    end
    local value = { pd04 = { x = { x = { x = {} } } }, pd40 = { x = { x = {} } } }
    assert.are.same({ pd04 = { x = { x = { x = { z = 1 } } } }, pd40 = { x = { x = {} } } },
      checked({ properties = properties, ["$defs"] = defs }, value))
  end)

  it("are not the caller's tables", function()
    local given = { properties = { a = { default = { 1 } }, b = { enum = { { 1 } } },
      c = { const = { 1 } } } }
    local compiled = compile(given)
    given.properties.a.default[1], given.properties.b.enum[1][1], given.properties.c.const[1] = 2, 2, 2
    local value = { b = { 1 }, c = { 1 } }
    assert.are.same({ true, { a = { 1 }, b = { 1 }, c = { 1 } } }, { compiled:check(value) })
  end)
end)

describe("schema.drop", function()
  local function dropping(fields)
    fields.additionalProperties = schema.drop
    return fields
  end

  it("leaves undeclared keys out of the checked copy", function()
    local compiled = compile(dropping { properties = { a = dropping { properties = { b = true } } } })
    local value = { a = { b = 1, x = 2 }, y = 3 }
    assert.are.same({ a = { b = 1 } }, select(2, compiled:check(value)))
    assert.are.same({ a = { b = 1, x = 2 }, y = 3 }, value)
    local exact = { a = { b = 1 } }
    assert.is_true(rawequal(exact, select(2, compiled:check(exact))))
  end)

  it("keeps what a pattern declares", function()
    local compiled = compile(dropping { patternProperties = { ["^x"] = true } })
    assert.are.same({ x1 = 1 }, select(2, compiled:check { x1 = 1, y = 1 }))
  end)

  it("makes other keywords see only what stays", function()
    local compiled = compile(dropping { properties = { a = true }, minProperties = 1,
      propertyNames = { maxLength = 1 } })
    assert.are.same({ a = 1 }, select(2, compiled:check { a = 1, long = 2 }))
    assert.is_false((compiled:check { long = 2 }))
  end)

  it("prefers the alternative that drops nothing", function()
    local compiled = compile { anyOf = { dropping { properties = { a = true } },
      dropping { properties = { a = true, b = true } },
      dropping { properties = { b = { default = 1 } } } } }
    assert.are.same({ a = 1, b = 2 }, select(2, compiled:check { a = 1, b = 2 }))
    assert.are.same({ a = 1 }, select(2, compiled:check { a = 1 }))
    assert.are.same({ a = 1 }, select(2, compiled:check { a = 1, c = 2 }))
  end)

  it("leaves arrays alone", function()
    local compiled = compile { anyOf = { dropping { properties = { a = true } }, dropping { items = true } } }
    for _, value in ipairs { { "a", "b" }, { { a = 1 } }, "x", 1 } do
      assert.is_true(rawequal(value, select(2, compiled:check(value))))
    end
  end)

  it("says when what is left does not fit", function()
    local ok, list = compile { dropping { properties = { a = true } }.x,
      allOf = { dropping { properties = { a = true } } },
      required = { "b" } }:check { b = 1 }
    assert.is_false(ok)
    assert.are.same({ { path = "$.b", message = "is required, but missing" } }, list)
  end)

  it("says so when defaults and dropping undo each other", function()
    local compiled = compile { allOf = { { properties = { a = { default = 1 } } },
      dropping { properties = {} } } }
    assert.are.same({ false, { { path = "$",
      message = "the schema's defaults and dropped keys do not come to rest" } } },
      { compiled:check {} })
    compiled = compile(dropping { properties = { a = { default = 1 } }, maxProperties = 0 })
    assert.are.same({ false, { { path = "$", message = "expected at most 0 keys, got 1" } } },
      { compiled:check {} })
  end)

  it("does not take for there what it drops", function()
    local compiled = compile(dropping { required = { "a", "b" }, properties = { a = true } })
    assert.are.same({ false, { { path = "$.b", message = "is required, but missing" } } },
      { compiled:check { a = 1, b = 2 } })
  end)

  it("counts what a pattern declares", function()
    local compiled = compile(dropping { patternProperties = { ["^x"] = true }, maxProperties = 1 })
    assert.is_true(compiled:check { x1 = 1, y = 1 })
    assert.is_false((compiled:check { x1 = 1, x2 = 1 }))
  end)

  it("is no JSON", function()
    assert.is_false((pcall(encode, schema.drop)))
  end)
end)

describe("a check", function()
  -- A schema made around a reference whose check takes 2^25 steps.
  local function bomb(keyword, around)
    local defs = { d26 = { type = "integer" } }
    for i = 1, 25 do
      local reference = "#/$defs/d" .. i + 1
      defs["d" .. i] = { [keyword] = { { ["$ref"] = reference }, { ["$ref"] = reference } } }
    end
    local whole = around { ["$ref"] = "#/$defs/d1" }
    whole["$defs"] = defs
    return whole
  end

  it("ends when it has taken too many steps, and then nothing passes", function()
    local rows = {
      { bomb("anyOf", function(x) return x end), "x" },
      { bomb("allOf", function(x) return x end), 1 },
      { bomb("anyOf", function(x) return { ["not"] = x } end), "x" },
      { bomb("anyOf", function(x) return { anyOf = { x, true } } end), "x" },
      { bomb("anyOf", function(x) return { oneOf = { x, true } } end), "x" },
      { bomb("anyOf", function(x) return { contains = x } end), { "x" } },
      { bomb("anyOf", function(x) return { ["if"] = x } end), "x" },
      { bomb("anyOf", function(x) return { properties = { a = x, b = false } } end), { a = "x", b = 1 } },
      { bomb("anyOf", function(x) return { propertyNames = x } end), { a = "x" } },
      { bomb("anyOf", function(x) return { unevaluatedProperties = x } end), { a = "x" } },
    }
    for i, row in ipairs(rows) do
      local ok, list = compile(row[1], { max_steps = 100000 }):check(row[2])
      assert.is_false(ok, "row " .. i)
      assert.are.equal(1, #list)
      assert.truthy(list[1].message:find("given up after 100000 steps", 1, true))
    end
  end)

  it("ends soon on large values and repetitive schemas", function()
    local keys, items = {}, {}
    for i = 1, 20000 do keys["k" .. i], items[i] = i, i end
    local parts = {
      '{"minProperties":1}', '{"const":[1]}', '{"additionalProperties":{"type":"integer"}}',
        '{"contains":{"type":"string"}}',
      '{"uniqueItems":true}', '{"minLength":1}', '{"propertyNames":{"minLength":1}}',
      '{"properties":{"k1":true},"unevaluatedProperties":{"type":"integer"}}',
    }
    for _, part in ipairs(parts) do
      local compiled = compile('{"allOf":[' .. (part .. ","):rep(4999) .. part .. "]}",
        { max_steps = 1000000 })
      for _, value in ipairs { keys, items, ("x"):rep(1000000) } do
        local started = os.clock()
        compiled:check(value)
        local limit = os.getenv "HARNESS_SPEC_FACTOR" and 20 or 3
        assert.truthy(os.clock() - started < limit, "took too long: " .. part)
      end
    end
  end)

  it("bounds the nesting of values, also of circular ones", function()
    local list = '{"items":{"$ref":"#"}}'
    local deep = {}
    for _ = 1, 510 do deep = { deep } end
    assert.is_true(compile(list):check(deep))
    for _ = 1, 2000 do deep = { deep } end
    assert.truthy(problems(list, deep)[1]:find("nested too deeply", 1, true))
    local circle = {}
    circle[1] = circle
    assert.truthy(problems(list, circle)[1]:find("nested too deeply", 1, true))
    assert.truthy(problems('{"uniqueItems":true}', { circle, circle })[1]:find("512 levels", 1, true))
  end)

  it("needs no room on the stack of its caller, and keeps schemas apart", function()
    local compiled = compile('{"items":{"$ref":"#"}}')
    local co = coroutine.wrap(function() return compiled:check { { { {} } } } end)
    assert.is_true(co())
    local other = compile('{"type":"string"}')
    assert.is_true(other:check "x")
    assert.is_true(compiled:check {})
    assert.has_error(function() compiled.check({}, 1) end)
    assert.is_nil(rawget(getmetatable(compiled) or {}, "__gc"))
  end)

  it("frees what it took", function()
    local function kilobytes()
      local f = assert(io.open "/proc/self/statm")
      local pages = f:read("a"):match "%d+ (%d+)"
      f:close()
      return pages * 4
    end
    local function churn(n)
      for i = 1, n do
        local ok = pcall(compile,
          i % 2 == 0 and '{"properties":{"a":{"pattern":"^a(b|c)*$"}},"required":["a"]}'
          or '{"properties":{"a":{"pattern":"^a(b|c)*$","type":"nonsense"}}}')
        assert.are.equal(i % 2 == 0, ok)
      end
      collectgarbage()
      collectgarbage()
    end
    churn(2000)
    local before = kilobytes()
    churn(6000)
    local grown = kilobytes() - before
    -- The sanitizer keeps what was freed for a while, and finds leaks by itself.
    local limit = os.getenv "HARNESS_SPEC_FACTOR" and math.huge or 4096
    assert.truthy(grown < limit, ("grew by %d KiB"):format(grown))
  end)
end)
