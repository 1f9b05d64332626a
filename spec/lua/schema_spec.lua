-- lua/harness/schema.lua: the builders, what models are shown, what is checked and dropped.

local json = require "harness.json"
local s = require "harness.schema"
local schemas = require "spec.support.schemas"

local null = json.null

local function text(schema) return json.encode(schema) end

local function checked(schema, value)
  local ok, result = schema:check(value)
  assert.is_true(ok, ok and "" or json.encode(result))
  return result
end

local function problems(schema, value)
  local ok, list = schema:check(value)
  assert.is_false(ok)
  local lines = {}
  for i, problem in ipairs(list) do lines[i] = problem.path .. ": " .. problem.message end
  return lines
end

-- The HARNESS_CONFIG_ERROR that a call raises.
local function refused(reason, f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  assert.are.equal("HARNESS_CONFIG_ERROR", type(err) == "table" and err.code, tostring(err))
  assert.are.equal(reason, err.meta.reason, tostring(err))
  assert.is_string(err.meta.path)
  return err.message
end

describe("schema builders", function()
  it("make the JSON Schema that models are shown", function()
    local rows = {
      { s.string(), '{"type":"string"}' },
      { s.string { min_length = 1, max_length = 9, pattern = "^a", format = "email", description = "d" },
        '{"type":"string","description":"d","format":"email","pattern":"^a","minLength":1,"maxLength":9}' },
      { s.number { minimum = 0, maximum = 1.5, multiple_of = 0.5 },
        '{"type":"number","minimum":0,"maximum":1.5,"multipleOf":0.5}' },
      { s.integer { exclusive_minimum = 0, exclusive_maximum = 10, title = "t" },
        '{"type":"integer","title":"t","exclusiveMinimum":0,"exclusiveMaximum":10}' },
      { s.boolean(), '{"type":"boolean"}' }, { s.null(), '{"type":"null"}' }, { s.any(), "{}" },
      { s.enum { "a", "b" }, '{"type":"string","enum":["a","b"]}' },
      { s.enum { 1, 2 }, '{"type":"integer","enum":[1,2]}' },
      { s.enum { "a", 1, null }, '{"enum":["a",1,null]}' },
      { s.literal "a", '{"type":"string","const":"a"}' }, { s.literal(false),
        '{"type":"boolean","const":false}' },
      { s.literal { a = {} }, '{"const":{"a":{}}}' }, { s.literal(null), '{"type":"null","const":null}' },
      { s.array(s.string(), { min_items = 1, max_items = 2, unique_items = true }),
        '{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":2,"uniqueItems":true}' },
      { s.array(), '{"type":"array"}' },
      { s.array(s.any(), { prefix_items = { s.null() }, contains = s.null(), min_contains = 1,
        max_contains = 2 }),
        '{"type":"array","prefixItems":[{"type":"null"}],"items":{},"contains":{"type":"null"},'
        .. '"minContains":1,"maxContains":2}' },
      { s.object { b = s.string(), a = s.integer():optional() },
        '{"type":"object","properties":{"a":{"type":"integer"},'
        .. '"b":{"type":"string"}},"required":["b"],"additionalProperties":false}' },
      { s.object { { "b", s.string() }, { "a", s.integer() } },
        '{"type":"object","properties":{"b":{"type":"string"},'
        .. '"a":{"type":"integer"}},"required":["b","a"],"additionalProperties":false}' },
      { s.object {}, '{"type":"object","properties":{},"additionalProperties":false}' },
      { s.object({}, { additional = true, min_properties = 1, max_properties = 2 }),
        '{"type":"object","properties":{},"additionalProperties":true,"minProperties":1,"maxProperties":2}' },
      { s.object({}, { additional = "error" }),
        '{"type":"object","properties":{},"additionalProperties":false}' },
      { s.object({}, { additional = s.null(), property_names = s.string { max_length = 3 } }),
        '{"type":"object","properties":{},"additionalProperties":{"type":"null"},'
        .. '"propertyNames":{"type":"string","maxLength":3}}' },
      { s.object({}, { pattern_properties = { ["^x"] = s.null() }, dependent_required = { a = { "b" },
        c = {} },
        dependent_schemas = { a = s.any() } }), '{"type":"object","properties":{},"patternProperties":{"^x":'
        .. '{"type":"null"}},"additionalProperties":false,"dependentRequired":{"a":["b"],"c":[]},'
        .. '"dependentSchemas":{"a":{}}}' },
      { s.record(s.integer(), { max_properties = 3 }),
        '{"type":"object","additionalProperties":{"type":"integer"},"maxProperties":3}' },
      { s.union { s.string(), s.null() }, '{"anyOf":[{"type":"string"},{"type":"null"}]}' },
      { s.ref "a/b~c%d", '{"$ref":"#/$defs/a~1b~0c%25d"}' },
      { s.any { deprecated = true, read_only = true, write_only = false, examples = {}, comment = "c" },
        '{"$comment":"c","examples":[],"deprecated":true,"readOnly":true,"writeOnly":false}' },
    }
    for _, row in ipairs(rows) do assert.are.equal(row[2], text(row[1])) end
  end)

  it("are immutable and give the same bytes each time", function()
    local inner = s.string()
    local outer = s.object { a = inner }
    local before = text(outer)
    for _ = 1, 3 do assert.are.equal(before, text(s.object { a = s.string() })) end
    assert.has_error(function() outer.x = 1 end)
    assert.has_error(function() inner.optional = nil end)
    assert.are.equal("schema " .. before, tostring(outer))
    local fields = { a = s.string() }
    local built = s.object(fields)
    fields.b = s.string()
    assert.are.equal(before, text(built))
    local values = { "a" }
    local enum = s.enum(values)
    values[1] = "b"
    assert.is_true(enum:check "a")
    assert.is_true(s.is(outer))
    for _, value in ipairs { {}, "x", 1, print } do assert.is_false(s.is(value)) end
    assert.is_false(s.is(nil))
  end)

  it("refuse what they cannot take", function()
    assert.are.equal('schema.string: unknown option "min_lenght"; did you mean "min_length"?',
      refused("unknown_key", s.string, { min_lenght = 1 }))
    refused("unknown_key", s.string, { minLength = 1, [1] = 2 })
    refused("unknown_key", s.boolean, { minimum = 1 })
    assert.are.equal("schema.string.min_length: the option must be a whole number, 0 or more, got number -1",
      refused("wrong_type", s.string, { min_length = -1 }))
    refused("wrong_type", s.string, { pattern = 1 })
    refused("wrong_type", s.number, { minimum = 0 / 0 })
    refused("wrong_type", s.number, { multiple_of = 0 })
    refused("wrong_type", s.array, s.any(), { unique_items = "yes" })
    refused("wrong_type", s.array, s.any(), { prefix_items = { "x" } })
    refused("wrong_type", s.array, "string")
    refused("wrong_type", s.string, "x")
    refused("wrong_type", s.string, s.string())
    refused("wrong_type", s.enum, {})
    refused("wrong_type", s.enum, "a")
    refused("invalid_schema", s.enum, { print })
    refused("wrong_type", s.literal)
    assert.are.equal('schema.object: the field "id" must be a schema, got "string"',
      refused("wrong_type", s.object, { id = "string" }))
    refused("wrong_type", s.object, { { 1, s.any() } })
    refused("wrong_type", s.object, { s.any() })
    refused("wrong_type", s.object, { [true] = s.any() })
    refused("wrong_type", s.object, s.any())
    refused("wrong_type", s.object)
    refused("invalid_schema", s.object, { { "a", s.any() }, { "a", s.any() } })
    refused("wrong_type", s.object, {}, { additional = "keep" })
    refused("wrong_type", s.object, {}, { dependent_required = { a = "b" } })
    refused("wrong_type", s.object, {}, { defs = { a = 1 } })
    refused("wrong_type", s.record)
    refused("wrong_type", s.union, {})
    refused("wrong_type", s.union, { "a" })
    refused("wrong_type", s.ref, "")
    refused("wrong_type", s.any().default, s.any(), nil)
    refused("wrong_type", s.any().describe, s.any(), 1)
    assert.has_error(function() s.any().check(1) end)
    local ok, message = pcall(function() return s.string():nulable() end)
    assert.is_false(ok)
    assert.truthy(message:find('did you mean "nullable"', 1, true))
  end)
end)

describe("schema methods", function()
  it("return a changed copy", function()
    local base = s.string { min_length = 1 }
    assert.are.equal('{"type":"string","description":"d","minLength":1}', text(base:describe "d"))
    assert.are.equal('{"type":"string","default":"x","minLength":1}', text(base:default "x"))
    assert.are.equal('{"type":["string","null"],"minLength":1}', text(base:nullable()))
    assert.are.equal('{"type":"string","minLength":1}', text(base:optional()))
    assert.are.equal('{"type":"string","minLength":1}', text(base))
  end)

  it("make every kind nullable once", function()
    local kinds = { s.string(), s.enum { "a" }, s.enum { "a", 1 }, s.literal "a", s.object {},
      s.record(s.any()), s.null(),
      s.array(s.any()), s.union { s.string(), s.integer() }, s.any(), s.json { type = "string" },
        s.string():nullable() }
    for _, kind in ipairs(kinds) do
      assert.is_true(kind:nullable():check(null), text(kind))
      assert.are.equal(text(kind:nullable()), text(kind:nullable():nullable()))
    end
    assert.are.equal('{"type":["string","null"],"enum":["a",null]}', text(s.literal("a"):nullable()))
    assert.are.equal('{"description":"d","default":null,"anyOf":[{"$ref":"#/$defs/x"},{"type":"null"}]}',
      text(s.ref("x", { description = "d" }):nullable():default(null)))
  end)

  it("leave out what is optional or has a default from required", function()
    local schema = s.object { a = s.string():optional(), b = s.integer():default(2),
      c = s.any { default = {} }, d = s.any() }
    assert.are.same({ "d" }, s.to_json_schema(schema).required)
    assert.are.same({ b = 2, c = {}, d = 1 }, checked(schema, { d = 1 }))
    assert.are.same({ "$.d: is required, but missing" }, problems(schema, {}))
    assert.are.same({ "$.a: expected string, got null" }, problems(schema, { d = 1, a = null }))
  end)

  it("write {} as [] where it is the default of an array", function()
    assert.are.equal('{"type":"array","default":[]}', text(s.array():default {}))
    assert.are.equal('{"type":"array","default":[]}', text(s.array(nil, { default = {} })))
    assert.are.equal('{"type":["array","null"],"default":[]}', text(s.array():nullable():default {}))
    assert.are.equal('{"a":[]}', json.encode(checked(s.object { a = s.array():default {} }, {})))
  end)

  it("refuse a default that the schema does not allow", function()
    assert.truthy(refused("invalid_schema", s.of, s.object { a = s.integer():default "x" })
      :find("$.properties.a.default", 1, true))
    refused("invalid_schema", s.of, s.string { min_length = 2 }:default "x")
    s.of(s.string():nullable():default(null))
  end)

  it("allow nil at the top for what is optional or has a default", function()
    assert.are.same({ true, nil }, { s.string():optional():check(nil) })
    assert.are.same({ true, "x" }, { s.string():default("x"):check(nil) })
    assert.are.same({ "$: expected string, got nothing" }, problems(s.string(), nil))
    assert.are.same({ true, nil }, { s.any():check(nil) })
  end)
end)

describe("schema objects", function()
  local fields = { a = s.integer() }

  it("drop unknown keys, keep them, refuse them, or check them", function()
    local value = { a = 1, x = { y = 2 } }
    assert.are.same({ a = 1 }, checked(s.object(fields), value))
    assert.are.same({ a = 1 }, checked(s.object(fields, { additional = "drop" }), value))
    assert.are.same({ a = 1, x = { y = 2 } }, checked(s.object(fields, { additional = true }), value))
    assert.are.same({ '$.x: is not an allowed key; allowed: "a"' }, problems(s.object(fields,
      { additional = "error" }), value))
    assert.are.same({ '$.x: is not an allowed key; allowed: "a"' }, problems(s.object(fields,
      { additional = false }), value))
    assert.are.same({ "$.x: expected integer, got object" }, problems(s.object(fields,
      { additional = s.integer() }), value))
    assert.are.same({ a = 1, x = { y = 2 } }, value)
  end)

  it("drop them at every level, also behind references and in alternatives", function()
    local node = s.object { v = s.integer(), next = s.ref("node"):nullable():optional() }
    local tree = s.object({ root = s.ref "node", list = s.array(s.union { s.object { k = s.literal "a" },
      s.object { k = s.literal "b", b = s.integer():default(3) } }):optional() }, { defs = { node = node } })
    assert.are.same({ root = { v = 1, next = { v = 2, next = null } }, list = { { k = "b", b = 3 },
      { k = "a" } } },
      checked(tree, { root = { v = 1, q = 1, next = { v = 2, next = null, q = 2 } }, list = { { k = "b",
        z = 1 },
        { k = "a", b = 1 } } }))
  end)

  it("give a checked value that fits what models are shown, and stays as it is when checked again", function()
    local schema = s.object { a = s.array(s.object { x = s.integer():default(1) }):default {},
      b = s.string():nullable(),
      c = s.record(s.object {}):optional(), d = s.union { s.string(), s.object { e = s.array() } } }
    local shown = schemas.compile(s.to_json_schema(schema), { exact_empty = true })
    for _, value in ipairs {
      { a = { {}, { x = 2, y = 3 } }, b = null, d = "x", z = 1 }, { b = "b", c = { k = { q = 1 } },
        d = { e = {}, f = 1 } },
      { a = {}, b = "", c = {}, d = { e = { 1 } } },
    } do
      local result = checked(schema, value)
      assert.is_true(shown:check(result))
      assert.is_true(rawequal(result, checked(schema, result)))
    end
  end)
end)

describe("schema definitions", function()
  it("move to the top, wherever they are given", function()
    local node = s.object({ next = s.ref("node"):optional(), leaf = s.ref "leaf" },
      { defs = { leaf = s.string() } })
    local user = s.ref("node", { defs = { node = node } })
    local schema = s.object { a = user, b = s.array(user) }
    assert.are.equal('{"type":"object","properties":{"a":{"$ref":"#/$defs/node"},"b":{"type":"array","items":'
      .. '{"$ref":"#/$defs/node"}}},"required":["a","b"],"additionalProperties":false,'
      .. '"$defs":{"node":{"type":"object",'
      .. '"properties":{"leaf":{"$ref":"#/$defs/leaf"},"next":{"$ref":"#/$defs/node"}},"required":["leaf"],'
      .. '"additionalProperties":false},"leaf":{"type":"string"}}}', text(schema))
    assert.are.same({ "$.a.next.leaf: expected string, got integer 1" },
      problems(schema, { a = { leaf = "x", next = { leaf = 1 } }, b = {} }))
  end)

  it("must not name two schemas alike, nor be missing", function()
    local a = s.ref("x", { defs = { x = s.string() } })
    local b = s.ref("x", { defs = { x = s.string() } })
    refused("invalid_schema", s.of, s.object { a = a, b = b })
    refused("invalid_schema", s.of, s.object { a = s.ref "nowhere" })
    assert.truthy(refused("invalid_schema", function() s.ref("nowhere"):check(1) end):find("leads nowhere",
      1, true))
  end)
end)

describe("schema.json", function()
  it("takes JSON Schema as it is", function()
    local schema = s.json { type = "object", properties = { a = { type = "integer" } }, ["x-note"] = 1 }
    assert.are.equal('{"properties":{"a":{"type":"integer"}},"type":"object","x-note":1}', text(schema))
    assert.are.same({ a = 1, b = 2 }, checked(schema, { a = 1, b = 2 }))
    assert.are.same({ "$.b: is not an allowed key" }, problems(s.json { additionalProperties = false },
      { b = 1 }))
    assert.are.same({ a = 1 }, checked(s.json { properties = { a = { default = 1 } } }, {}))
    assert.is_true(s.json(true):check(1))
    assert.is_false((s.json(false):check(1)))
  end)

  it("keeps the order of json.ordered and the bytes of json.raw", function()
    local ordered = s.json(json.ordered { { "type", "object" }, { "properties", json.ordered { { "b",
      { type = "null" } },
      { "a", true } } } })
    assert.are.equal('{"type":"object","properties":{"b":{"type":"null"},"a":true}}', text(ordered))
    assert.is_true(ordered:check { b = null })
    assert.are.equal('{ "type": "null" }', text(s.json(json.raw '{ "type": "null" }')))
  end)

  it("copies the table, and writes empty lists as lists", function()
    local given = { type = "object", required = {}, properties = { enum = {}, a = { enum = { "x" },
      default = {} } },
      dependentRequired = { a = {} } }
    local schema = s.json(given)
    given.type = "string"
    assert.are.equal('{"dependentRequired":{"a":[]},"properties":{"a":{"default":{},"enum":["x"]},"enum":{}},'
      .. '"required":[],"type":"object"}', text(schema))
    assert.is_true(schema:check {})
  end)

  it("may stand inside of other schemas, with references of its own", function()
    local inner = s.json { ["$defs"] = { a = { type = "integer" } },
      properties = { x = { ["$ref"] = "#/$defs/a" },
      again = { ["$ref"] = "#" }, ["$ref"] = { enum = { { ["$ref"] = "#/kept" } } } } }
    local schema = s.object { ["p/q"] = s.array(inner:describe "d") }
    assert.is_true(schema:check { ["p/q"] = { { x = 1, again = { x = 2 },
      ["$ref"] = { ["$ref"] = "#/kept" } } } })
    assert.are.same({ '$["p/q"][1].again.x: expected integer, got string "x"' },
      problems(schema, { ["p/q"] = { { again = { x = "x" } } } }))
    local mixed = s.json { type = "object", properties = { a = s.object { b = s.string() } } }
    assert.are.same({ "$.a.c: is not an allowed key; allowed: \"b\"" }, problems(mixed, { a = { b = "x",
      c = 1 } }))
  end)

  it("refuses what is no JSON Schema", function()
    refused("wrong_type", s.json, "x")
    refused("wrong_type", s.json, { 1 })
    refused("wrong_type", s.json, json.array {})
    refused("invalid_schema", s.json, { const = print })
    refused("invalid_schema", s.of, { type = "strng" })
    refused("invalid_schema", s.of, { pattern = "(" })
    refused("invalid_schema", s.of, { ["$ref"] = "https://x.test/" })
  end)
end)

describe("schema.of", function()
  it("gives a compiled schema for a schema or JSON Schema, and nil for nil", function()
    local schema = s.string()
    assert.is_true(rawequal(schema, s.of(schema)))
    assert.is_nil(s.of(nil))
    local of = s.of { type = "integer" }
    assert.is_true(s.is(of))
    assert.are.same({ type = "integer" }, s.to_json_schema(of))
    assert.is_true(of:check(1))
    refused("wrong_type", s.of, "string")
  end)

  it("sees a table of fields that was meant for object", function()
    assert.are.equal('schema.of: "id" is no keyword of JSON Schema; did you mean schema.object{ id = ... }?',
      refused("invalid_schema", s.of, { id = s.string() }))
  end)
end)
