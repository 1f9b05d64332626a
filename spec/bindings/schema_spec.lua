-- core.schema.compile: keyword by keyword (those of 2020-12 that the packaged test suite does not know are
-- here in full), drafts, patterns, and what is refused.

local schemas = require "spec.support.schemas"
local schema = require("harness.core").schema

local compile, check_rows, problems = schemas.compile, schemas.check_rows, schemas.problems
local refused, BAD = schemas.refused, schemas.BAD

describe("schema keywords", function()
  it("check single values", function()
    check_rows {
      { "true", "1", "null", "[]" },
      { "false", BAD, "1", "null", "{}" },
      { "{}", "1", "null", "{}" },
      { '{"type":"null"}', "null", BAD, "0", "false", '""' },
      { '{"type":"boolean"}', "true", "false", BAD, "0", "null", '"true"' },
      { '{"type":"integer"}', "1", "1.0", "-3", "1e15", BAD, "1.5", '"1"', "true" },
      { '{"type":"number"}', "1", "1.5", BAD, '"1"', "null" },
      { '{"type":"string"}', '""', '"a"', BAD, "1", "null" },
      { '{"type":"array"}', "[]", "[1]", BAD, '{"a":1}', '"a"' },
      { '{"type":"object"}', "{}", '{"a":1}', BAD, "[1]", "[]" },
      { '{"type":["string","null"]}', '"a"', "null", BAD, "1" },
      { '{"enum":[1,"a",null,[1],{"b":2}]}', "1", "1.0", '"a"', "null", "[1]", '{"b":2}', BAD, "2", "[2]",
        "{}" },
      { '{"const":[{"a":1,"b":[]}]}', '[{"b":[],"a":1.0}]', BAD, '[{"a":1}]', "[]" },
      { '{"const":false}', "false", BAD, "0", "null" },
      { '{"multipleOf":0.01}', "0.07", "19.99", "4.35", "3", BAD, "0.075", "1e-3" },
      { '{"multipleOf":3}', "9", "-9", "0", "9.0", '"x"', BAD, "10", "9.5" },
      { '{"multipleOf":0.123456789}', BAD, "1e308" },
      { '{"multipleOf":1e-8}', "12391239123", "1e300" },
      { '{"maximum":3}', "3", "2.9", '"9"', BAD, "3.1" },
      { '{"exclusiveMaximum":3}', "2.9", BAD, "3", "3.0" },
      { '{"minimum":9007199254740993}', "9007199254740993", BAD, "9007199254740992" },
      { '{"exclusiveMinimum":-1.5}', "-1", BAD, "-1.5", "-2" },
      { '{"minLength":2,"maxLength":3}', '"ab"', '"äöü"', '"😀😀"', "1", BAD, '"a"', '"abcd"', '"😀"' },
      { '{"pattern":"^a.c$"}', '"abc"', '"aäc"', "1", BAD, '"ab"', '"xabc"', '"abc\\n"' },
      { '{"pattern":"b"}', '"abc"', BAD, '"ac"' },
      { '{"format":"email"}', '"no email"' },
    }
  end)

  it("check arrays", function()
    check_rows {
      { '{"minItems":1,"maxItems":2}', "[1]", "[1,2]", '{"a":1}', BAD, "[]", "[1,2,3]" },
      { '{"uniqueItems":true}', "[]", "[1,true,\"1\",null]", "[[1],[2]]", BAD, "[1,1.0]",
        "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]",
        "[null,1,null]", "[[],[]]" },
      { '{"uniqueItems":false}', "[1,1]" },
      { '{"items":{"type":"integer"}}', "[]", "[1,2]", BAD, '[1,"a"]' },
      { '{"items":false}', "[]", BAD, "[1]" },
      { '{"prefixItems":[{"type":"integer"},{"type":"string"}]}', "[]", "[1]", '[1,"a",null]', BAD, '["a"]',
        "[1,2]" },
      { '{"prefixItems":[true],"items":{"type":"string"}}', "[1]", '[1,"a"]', BAD, "[1,2]" },
      { '{"prefixItems":[true],"items":false}', "[1]", BAD, "[1,2]" },
      { '{"contains":{"const":1}}', "[2,1]", BAD, "[]", "[2]" },
      { '{"contains":{"const":1},"minContains":2}', "[1,1]", BAD, "[1]" },
      { '{"contains":{"const":1},"minContains":0}', "[]", "[2]" },
      { '{"contains":{"const":1},"maxContains":1}', "[1,2]", BAD, "[1,1]", "[2]" },
      { '{"minContains":2}', "[]" },
      { '{"prefixItems":[true],"unevaluatedItems":false}', "[1]", BAD, "[1,2]" },
      { '{"allOf":[{"prefixItems":[true,true]}],"prefixItems":[true],"unevaluatedItems":{"type":"string"}}',
        '[1,2,"a"]', BAD, "[1,2,3]" },
      { '{"contains":{"type":"string"},"unevaluatedItems":{"type":"integer"}}', '["a",1]', BAD,
        '["a",true]' },
      { '{"anyOf":[{"items":true},{"type":"array"}],"unevaluatedItems":false}', "[1]" },
      { '{"if":{"prefixItems":[{"const":1}]},"then":{"prefixItems":[true,true]},"unevaluatedItems":false}',
        "[1,2]", BAD, "[2,2]", "[1,2,3]" },
      { '{"not":{"prefixItems":[true]},"unevaluatedItems":false}', BAD, "[1]" },
    }
  end)

  it("check objects", function()
    check_rows {
      { '{"minProperties":1,"maxProperties":2}', '{"a":1}', "[]", BAD, "{}", '{"a":1,"b":2,"c":3}' },
      { '{"required":["a","b"]}', '{"a":null,"b":1}', "1", BAD, '{"a":1}', "{}" },
      { '{"properties":{"a":{"type":"integer"},"b":false}}', '{"a":1}', '{"c":1}', BAD, '{"a":"x"}',
        '{"b":1}' },
      { '{"properties":{"a":true},"additionalProperties":false}', "{}", '{"a":1}', BAD, '{"b":1}' },
      { '{"additionalProperties":{"type":"integer"}}', '{"a":1}', BAD, '{"a":"x"}' },
      { '{"patternProperties":{"^n_":{"type":"integer"}},"additionalProperties":false}', '{"n_a":1}', BAD,
        '{"n_a":"x"}', '{"x":1}' },
      { '{"properties":{"n_a":{"minimum":1}},"patternProperties":{"^n_":{"type":"integer"}}}', '{"n_a":1}',
        BAD,
        '{"n_a":1.5}', '{"n_a":0}' },
      { '{"propertyNames":{"maxLength":2}}', '{"ab":1}', "{}", BAD, '{"abc":1}' },
      { '{"dependentRequired":{"a":["b"],"c":[]}}', '{"b":1}', '{"a":1,"b":1}', '{"c":1}', BAD, '{"a":1}' },
      { '{"dependentSchemas":{"a":{"required":["b"]},"x":false}}', '{"a":1,"b":1}', "{}", BAD, '{"a":1}',
        '{"x":1}' },
      { '{"dependencies":{"a":["b"],"c":{"minProperties":2}}}', "{}", '{"a":1,"b":1}', BAD, '{"a":1}',
        '{"c":1}' },
      { '{"properties":{"a":true},"unevaluatedProperties":false}', '{"a":1}', BAD, '{"b":1}' },
      { '{"allOf":[{"properties":{"a":true}}],"patternProperties":{"^p":true},"unevaluatedProperties":false}',
        '{"a":1,"p":1}', BAD, '{"b":1}' },
      { '{"anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},{"properties":{"b":true}}],'
        .. '"unevaluatedProperties":false}', '{"a":1,"b":2}', '{"b":2}', BAD, '{"a":2,"b":2}' },
      { '{"$ref":"#/$defs/x","unevaluatedProperties":false,"$defs":{"x":{"properties":{"a":true}}}}',
        '{"a":1}',
        BAD, '{"b":1}' },
      { '{"dependentSchemas":{"a":{"properties":{"b":true}}},"properties":{"a":true},'
        .. '"unevaluatedProperties":false}',
        '{"a":1,"b":1}', BAD, '{"b":1}' },
      { '{"allOf":[{"unevaluatedProperties":true}],"unevaluatedProperties":false}', '{"a":1}' },
      { '{"properties":{"a":{"unevaluatedProperties":false}},"unevaluatedProperties":false}', '{"a":{}}', BAD,
        '{"a":{"b":1}}' },
    }
  end)

  it("combine schemas", function()
    check_rows {
      { '{"allOf":[{"minimum":1},{"maximum":3}]}', "2", BAD, "0", "4" },
      { '{"anyOf":[{"type":"string"},{"minimum":3}]}', '"a"', "3", BAD, "2" },
      { '{"oneOf":[{"minimum":1},{"maximum":3}]}', "0", "4", BAD, "2" },
      { '{"not":{"type":"string"}}', "1", BAD, '"a"' },
      { '{"not":false}', "1" },
      { '{"if":{"const":1},"then":{"type":"integer"},"else":{"type":"string"}}', "1", '"a"', BAD, "2" },
      { '{"then":false,"else":false}', "1" },
      { '{"if":{"const":1},"else":false}', "1", BAD, "2" },
    }
  end)

  it("follow references within the document", function()
    check_rows {
      { '{"$ref":"#/$defs/a","$defs":{"a":{"type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$ref":"#/$defs/a~1b~0%25c","$defs":{"a/b~%c":{"type":"integer"}}}', "1", BAD, '"x"' },
      { '{"properties":{"n":{"$ref":"#"}},"additionalProperties":false}', '{"n":{"n":{}}}', BAD,
        '{"n":{"m":1}}' },
      { '{"items":{"$ref":"#/definitions/p"},"definitions":{"p":{"minimum":1}}}', "[1]", BAD, "[0]" },
      { '{"$ref":"#here","$defs":{"x":{"$anchor":"here","type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$ref":"#here","$defs":{"x":{"$dynamicAnchor":"here","type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$dynamicRef":"#here","$defs":{"x":{"$dynamicAnchor":"here","type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$ref":"T","$defs":{"t":{"$id":"T","type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$id":"http://x.test/a/root","$ref":"sub/item#/$defs/y",'
        .. '"$defs":{"s":{"$id":"http://x.test/a/sub/item",'
        .. '"$defs":{"y":{"type":"integer"}}}}}', "1", BAD, '"x"' },
      { '{"$id":"http://x.test/root.json","$ref":"http://x.test/root.json#/$defs/a",'
        .. '"$defs":{"a":{"type":"integer"}}}',
        "1", BAD, '"x"' },
      { '{"$id":"urn:uuid:1","properties":{"a":{"$ref":"urn:uuid:1#/$defs/a"}},'
        .. '"$defs":{"a":{"type":"integer"}}}',
        '{"a":1}', BAD, '{"a":"x"}' },
      { '{"$ref":"#/$defs/%C3%b6","$defs":{"ö":{"type":"integer"}}}', "1", BAD, '"x"' },
      { '{"prefixItems":[{"type":"integer"},{"$ref":"#/prefixItems/0"}]}', "[1,2]", BAD, '[1,"x"]' },
      { '{"$ref":"#/x-place/here","x-place":{"here":{"type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$ref":"#/$defs/no","$defs":{"no":false}}', BAD, "1" },
      { '{"$ref":"#/$defs/a","minimum":3,"$defs":{"a":{"type":"integer"}}}', "3", BAD, "2" },
      { '{"properties":{"$ref":{"type":"integer"}}}', '{"$ref":1}', BAD, '{"$ref":"#"}' },
      { '{"const":{"$ref":"#/nowhere"}}', '{"$ref":"#/nowhere"}', BAD, "1" },
    }
  end)

  it("resolve references as URIs", function()
    for _, row in ipairs {
      { "http://x.test/a/b/c", "../d/./e?q=1", "http://x.test/a/d/e?q=1" },
      { "http://x.test/a", "/../z", "http://x.test/z" },
      { "http://x.test/a/b/", "..", "http://x.test/a/" },
      { "http://x.test/a", "//y.test/k", "http://y.test/k" },
      { "http://x.test", "k", "http://x.test/k" },
      { "http://x.test/a", "http://y.test/b/../c", "http://y.test/c" },
      { "http://x.test/a?q=1", "?q=2", "http://x.test/a?q=2" },
      { "x", "y", "y" }, { "", "y/z", "y/z" }, { "", "a_b:c", "a_b:c" }, { "a/b", "c", "c" },
      { "urn:a:b", "urn:a:c", "urn:a:c" },
    } do
      local text = '{"$id":"%s","$ref":"%s#/$defs/t",'
        .. '"$defs":{"s":{"$id":"%s","$defs":{"t":{"type":"null"}}}}}'
      text = text:format(row[1], row[2], row[3])
      check_rows { { text, "null", BAD, "1" } }
    end
    check_rows { { '{"$id":"http://x.test/a?q","$ref":"#/$defs/s","$defs":{"s":{"type":"null"}}}', "null",
      BAD, "1" } }
  end)

  it("follow the draft that $schema names", function()
    local seven = '"$schema":"http://json-schema.org/draft-07/schema#",'
    check_rows {
      { "{" .. seven .. '"items":[{"type":"integer"}],"additionalItems":{"type":"string"}}', '[1,"a"]', BAD,
        "[1,2]" },
      { "{" .. seven .. '"$ref":"#/definitions/a","minimum":3,"definitions":{"a":{"type":"integer"}}}', "2",
        BAD, '"x"' },
      { "{" .. seven .. '"dependentRequired":{"a":["b"]},"unevaluatedProperties":false,"minContains":2}',
        '{"a":1}' },
      { "{" .. seven .. '"$ref":"#a","definitions":{"x":{"$id":"#a","type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$schema":"http://json-schema.org/draft-04/schema#","maximum":3,"exclusiveMaximum":true,"const":1}',
        "2", BAD, "3" },
      { '{"$schema":"http://json-schema.org/draft-04/schema#","id":"http://x.test/","$ref":"a","definitions":'
        .. '{"a":{"id":"a","type":"integer"}}}', "1", BAD, '"x"' },
      { '{"$schema":"http://json-schema.org/draft-06/schema#","if":true,"then":false}', "1" },
      { '{"$schema":"https://json-schema.org/draft/2019-09/schema","items":[true],"additionalItems":false,'
        .. '"dependentRequired":{"a":["b"]}}', "[1]", BAD, "[1,2]", '{"a":1}' },
      { '{"$schema":"https://json-schema.org/draft/2019-09/schema","contains":{"const":1},'
        .. '"unevaluatedItems":false}', BAD, "[1]" },
      { '{"$schema":"https://json-schema.org/draft/2019-09/schema","$recursiveAnchor":true,'
        .. '"items":{"$recursiveRef":"#"},'
        .. '"type":"array"}', "[[]]", BAD, "[1]" },
      { '{"$schema":"https://example.test/my-own","prefixItems":[{"type":"integer"}]}', "[1]", BAD, '["a"]' },
    }
  end)

  it("take older forms where no draft is named", function()
    check_rows {
      { '{"items":[{"type":"integer"}],"additionalItems":false}', "[1]", BAD, '["a"]', "[1,2]" },
      { '{"maximum":3,"exclusiveMaximum":true}', "2", BAD, "3" },
      { '{"maximum":3,"exclusiveMaximum":false}', "3", BAD, "4" },
      { '{"definitions":{"a":{"minimum":1}},"$ref":"#/definitions/a"}', "1", BAD, "0" },
    }
    refused('{"$schema":"https://json-schema.org/draft/2020-12/schema","items":[true]}')
    refused('{"$schema":"https://json-schema.org/draft/2020-12/schema","exclusiveMaximum":true}')
    refused('{"items":[true]}', { dialect = "2020-12" })
    assert.is_true(compile('{"items":[true],"additionalItems":false}', { dialect = "draft-07" }):check { 1 })
  end)

  it("ignore what they do not know", function()
    check_rows {
      { '{"x-order":1,"title":5,"widget":{"type":"nonsense"},"$comment":"c","examples":[1],"readOnly":true}',
        "1", '"a"' },
    }
  end)
end)

describe("schema patterns", function()
  it("are those of ECMA-262", function()
    check_rows {
      { [[{"pattern":"^\\d$"}]], '"5"', BAD, '"٣"' },
      { [[{"pattern":"^\\w$"}]], '"a"', BAD, '"é"' },
      { [[{"pattern":"^\\s\\S$"}]], '"\\u00a0x"', '"\\u2029x"', '"\\ufeffx"', BAD, '"xx"', '"x\\u00a0"' },
      { [[{"pattern":"^[\\S\\t]$"}]], '"\\t"', '"x"', BAD, '" "' },
      { [[{"pattern":"^[\\s,]$"}]], '"\\u00a0"', '","', BAD, '"x"' },
      { [[{"pattern":"^\\v$"}]], '"\\u000b"', BAD, '"\\n"' },
      { [[{"pattern":"^.$"}]], '"ä"', '"😀"', BAD, '"\\n"', '"\\r"' },
      { [[{"pattern":"a$"}]], '"a"', BAD, '"a\\n"' },
      { [[{"pattern":"^[[:a]$"}]], '"["', '":"', BAD, '"b"' },
      { [[{"pattern":"^\\u00e9\\u{1F600}$"}]], '"é😀"', BAD, '"e"' },
      { [[{"pattern":"^\\uD83D\\uDE00$"}]], '"😀"', BAD, '"😁"' },
      { [[{"pattern":"^[^]$"}]], '"\\n"', BAD, '""' },
      { [[{"pattern":"[]"}]], BAD, '"a"' },
      { [[{"pattern":"^\\p{L}+\\p{Lowercase_Letter}\\P{Number}$"}]], '"Ääx"', BAD, '"Ää1"' },
      { [[{"pattern":"^\\p{Script=Greek}$"}]], '"α"', BAD, '"a"' },
      { [[{"pattern":"^(?<y>[0-9]{4})-\\k<y>$"}]], '"2026-2026"', BAD, '"2026-2025"' },
      { [[{"pattern":"^\\cJ\\/\\-\\x41$"}]], '"\\n/-A"' },
      { [[{"pattern":"^a{,2}$"}]], '"a{,2}"' },
      { [[{"pattern":"(?=a)(?!b)(?<=^)(?<!c)a"}]], '"a"' },
      { [[{"pattern":"a\\u0000b"}]], '"a\\u0000b"', BAD, '"ab"' },
    }
  end)

  it("are refused when PCRE2 cannot read them", function()
    assert.truthy(refused('{"pattern":"("}').message:find("missing closing parenthesis", 1, true))
    assert.are.equal("$.patternProperties[\"[\"]", refused('{"patternProperties":{"[":true}}').meta.path)
    refused('{"pattern":"a{3,2}"}')
    refused('{"pattern":"\\\\C"}')
    refused('{"pattern":"' .. ("(a|b){1,500}"):rep(200) .. '"}')
    refused('{"pattern":"' .. ("a"):rep(70000) .. '"}')
  end)

  it("that run away end the check, also under not", function()
    local text = ("a"):rep(60) .. "b"
    for _, pattern in ipairs { "^(a+)+$", "^(a|a)*$", "^(a*)*$", "(?:a*)*[cd]" } do
      for _, form in ipairs { '{"pattern":"%s"}', '{"not":{"pattern":"%s"}}',
        '{"anyOf":[{"pattern":"%s"},true]}',
        '{"if":{"pattern":"%s"},"then":true}' } do
        local lines = problems(form:format(pattern), text, { max_steps = 200000 })
        assert.are.equal(1, #lines)
        assert.truthy(lines[1]:find("was given up", 1, true), lines[1])
      end
    end
  end)

  it("take long strings in their stride", function()
    assert.is_true(compile('{"pattern":"foo.*bar"}'):check(("a"):rep(1000000) .. "foo" .. ("b"):rep(1000)
      .. "bar"))
    assert.is_false((compile('{"pattern":"[xy]z"}'):check(("a"):rep(1000000))))
  end)

  it("say so when a string is no UTF-8", function()
    assert.truthy(problems('{"pattern":"a"}', "a\xff")[1]:find("no valid UTF-8", 1, true))
    assert.truthy(problems('{"not":{"pattern":"a"}}', "a\xff")[1]:find("no valid UTF-8", 1, true))
  end)
end)

describe("schema.compile", function()
  it("refuses keywords with values that they cannot have", function()
    local rows = {
      { '{"type":"strng"}', "$.type" }, { '{"type":[]}', "$.type" }, { '{"type":["string",1]}', "$.type" },
      { '{"type":3}', "$.type" }, { '{"enum":1}', "$.enum" }, { '{"enum":{"a":1}}', "$.enum" },
      { '{"maximum":"3"}', "$.maximum" }, { '{"multipleOf":0}', "$.multipleOf" }, { '{"multipleOf":-1}',
        "$.multipleOf" },
      { '{"minLength":-1}', "$.minLength" }, { '{"maxLength":1.5}', "$.maxLength" }, { '{"minItems":"1"}',
        "$.minItems" },
      { '{"pattern":1}', "$.pattern" }, { '{"uniqueItems":1}', "$.uniqueItems" }, { '{"required":"a"}',
        "$.required" },
      { '{"required":[1]}', "$.required" }, { '{"required":true}', "$.required" }, { '{"properties":[1]}',
        "$.properties" },
      { '{"properties":{"a":1}}', "$.properties.a" }, { '{"items":3}', "$.items" }, { '{"allOf":[]}',
        "$.allOf" },
      { '{"anyOf":{"a":1}}', "$.anyOf" }, { '{"oneOf":[1]}', "$.oneOf[1]" }, { '{"not":"x"}', "$.not" },
      { '{"additionalProperties":"no"}', "$.additionalProperties" }, { '{"$ref":1}', '$["$ref"]' },
      { '{"dependentRequired":{"a":[1]}}', "$.dependentRequired.a" }, { '{"dependentRequired":{"a":1}}',
        "$.dependentRequired.a" },
      { '{"dependentSchemas":{"a":["b"]}}', "$.dependentSchemas.a" }, { '{"prefixItems":{"a":1}}',
        "$.prefixItems" },
      { '{"$defs":{"x":{"items":{"type":"no"}}},"$ref":"#/$defs/x"}', "$.$defs.x.items.type" },
      { '{"minContains":-1,"contains":{}}', "$.minContains" }, { '{"if":1}', "$.if" },
      { '{"contains":[1]}', "$.contains" },
    }
    for _, row in ipairs(rows) do
      local err = refused(row[1])
      assert.are.equal(row[2], err.meta.path, row[1])
      assert.truthy(err.message:find(err.meta.path, 1, true))
    end
    assert.has_error(function() schema.compile("text") end)
    assert.has_error(function() schema.compile() end)
    assert.has_error(function() compile("{}", { dialect = "draft-99" }) end)
    assert.has_error(function() compile("{}", { max_steps = 0 }) end)
    assert.has_error(function() compile({ maximum = 0 / 0 }) end)
    assert.has_error(function() compile({ enum = { print } }) end)
    assert.has_error(function() compile({ const = print }) end)
  end)

  it("refuses references that lead nowhere, elsewhere or in circles", function()
    assert.truthy(refused('{"$ref":"#/$defs/x"}').message:find("leads nowhere", 1, true))
    assert.truthy(refused('{"$ref":"#x"}').message:find("leads nowhere", 1, true))
    assert.truthy(refused('{"$ref":"#/type","type":"string"}').message:find("leads nowhere", 1, true))
    assert.truthy(refused('{"$ref":"#/type/x","type":"string"}').message:find("leads nowhere", 1, true))
    assert.truthy(refused('{"$ref":"https://x.test/s"}').message:find("not loaded from elsewhere", 1, true))
    assert.truthy(refused('{"$ref":"other.json#/a"}').message:find("not loaded from elsewhere", 1, true))
    for _, text in ipairs { '{"$ref":"#"}', '{"anyOf":[{"$ref":"#"},true]}', '{"not":{"$ref":"#"}}',
      '{"if":{"$ref":"#"}}', '{"dependentSchemas":{"a":{"$ref":"#"}}}',
      '{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"}]},"b":{"$ref":"#/$defs/a"}}}' } do
      assert.truthy(refused(text).message:find("leads back to itself", 1, true), text)
    end
    assert.truthy(refused('{"$defs":{"a":{"$anchor":"x"},"b":{"$anchor":"x"}},"$ref":"#x"}')
      .message:find("several", 1, true))
    assert.truthy(refused('{"$defs":{"a":{"$id":"x"},"b":{"$id":"x"}},"$ref":"x"}').message:find("several",
      1, true))
    assert.truthy(refused('{"$dynamicRef":"#m","$dynamicAnchor":"m",'
      .. '"$defs":{"b":{"$id":"b","$dynamicAnchor":"m"}}}')
      .message:find("several", 1, true))
    assert.truthy(refused('{"$schema":"http://json-schema.org/draft-03/schema#"}').message:find("draft-03",
      1, true))
  end)

  it("does not read definitions that nothing refers to", function()
    local text = '{"$defs":{"x":{"$ref":"https://x.test/"}},"definitions":{"y":{"type":"no"}}}'
    assert.is_true(compile(text):check(1))
  end)

  it("bounds what it reads", function()
    local deep = {}
    for _ = 1, 600 do deep = { items = deep } end
    assert.truthy(refused(deep).message:find("512 levels", 1, true))
    local circle = {}
    circle[1] = circle
    assert.truthy(refused({ const = circle }).message:find("512 levels", 1, true))
    local wide = {}
    for i = 1, 100001 do wide[i] = { minimum = i } end
    assert.truthy(refused({ allOf = wide }).message:find("more than 100000 subschemas", 1, true))
    local chain = { ["$defs"] = { d1 = { type = "integer" } }, properties = { k1 = { type = "integer" } } }
    for i = 2, 5000 do
      chain["$defs"]["d" .. i] = { ["$ref"] = "#/$defs/d" .. i - 1 }
      chain.properties[("k%05d"):format(i)] = { ["$ref"] = "#/$defs/d" .. i }
    end
    assert.truthy(refused(chain).message:find("one within the other", 1, true))
    chain.properties = { x = { ["$ref"] = "#/$defs/d450" } }
    assert.is_true(compile(chain):check { x = 1 })
  end)

  it("reads from the part of the document that is named", function()
    local text = '{"$defs":{"n":{"type":"integer"}},'
      .. '"properties":{"a/b":{"anyOf":[true,{"$ref":"#/$defs/n"}]}}}'
    local compiled = compile(text, { at = "/properties/a~1b/anyOf/1" })
    assert.is_true(compiled:check(1))
    assert.is_false((compiled:check "x"))
    refused(text, { at = "/nowhere" })
  end)

  it("takes tables that Lua made, with circles where a value gets smaller", function()
    local list = { type = "array" }
    list.items = list
    local compiled = compile(list)
    assert.is_true(compiled:check { {}, { {} } })
    assert.is_false((compiled:check { { 1 } }))
    list["not"] = list
    refused(list)
  end)
end)
