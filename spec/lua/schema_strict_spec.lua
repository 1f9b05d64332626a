-- lua/harness/schema_strict.lua: schemas as OpenAI's strict mode takes them, and answers taken back.

local json = require "harness.json"
local s = require "harness.schema"
local strict = require "harness.schema_strict"
local random_schema = require "spec.support.random_schema"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()

local null = json.null

local function adapted(schema)
  local made, ok, why = strict.strict(schema)
  assert.is_true(ok, why)
  return json.encode(made)
end

local function why_not(schema)
  local made, ok, why = strict.strict(schema)
  assert.is_nil(made)
  assert.is_false(ok)
  return why
end

-- What is wrong with an adapted schema, by the rules of strict mode.
local function faults(node, list)
  local allowed = {}
  local names = "$ref type title description enum format pattern minimum exclusiveMinimum maximum "
    .. "exclusiveMaximum multipleOf properties required additionalProperties items minItems maxItems "
    .. "anyOf $defs"
  for name in names:gmatch "%S+" do
    allowed[name] = true
  end
  for keyword in pairs(node) do
    if not allowed[keyword] then list[#list + 1] = keyword end
  end
  if node.properties then
    local required = {}
    for _, name in ipairs(node.required) do required[name] = true end
    for name, property in pairs(node.properties) do
      if not required[name] then list[#list + 1] = "not required: " .. name end
      faults(property, list)
    end
    if node.additionalProperties ~= false then list[#list + 1] = "open" end
  end
  for _, branch in ipairs(node.anyOf or {}) do faults(branch, list) end
  for _, definition in pairs(node["$defs"] or {}) do faults(definition, list) end
  if node.items then faults(node.items, list) end
  return list
end

-- A random schema, mostly of what strict mode knows.
local function simple(random, depth)
  local kind = random:below(depth > 0 and 9 or 5)
  if kind == 0 then return { type = "string", minLength = random:below(3), pattern = "^[a-z]*$" } end
  if kind == 1 then return { type = "integer", minimum = random:below(4), default = 9 } end
  if kind == 2 then return { enum = random:list(1, 3, function() return random:pick { 1, "a",
    null } end) } end
  if kind == 3 then return { type = { "boolean", "null" } } end
  if kind == 4 then return random:subschema(1, 9) end
  if kind == 5 then return { type = "array", items = simple(random, depth - 1) } end
  if kind == 6 then
    return { anyOf = random:list(1, 3, function() return simple(random, depth - 1) end) }
  end
  return { type = "object", properties = { a = simple(random, depth - 1), b = simple(random, depth - 1) },
    required = random:chance(50) and json.array { "a" } or nil,
      additionalProperties = kind == 7 and false or nil }
end

-- What a model has to answer where the value would do: nulls for what is absent.
local function pad(node, value)
  if type(value) ~= "table" or type(node) ~= "table" then return value end
  local padded = setmetatable({}, getmetatable(value))
  for key, field in pairs(value) do
    local part = node.properties and node.properties[key] or math.type(key) and node.items
    padded[key] = pad(part, field)
  end
  if type(node.properties) == "table" and node.type == "object" then
    for name in pairs(node.properties) do
      if padded[name] == nil then padded[name] = null end
    end
  end
  return padded
end

describe("strict", function()
  it("makes everything required, and what may be absent nullable", function()
    assert.are.equal('{"type":"object","properties":{"id":{"type":"string"},'
      .. '"note":{"type":["string","null"]},'
      .. '"n":{"type":["integer","null"],"description":"count (default: 1)"},'
      .. '"kind":{"type":["string","null"],'
      .. '"enum":["a","b",null]},"x":{"type":["string","null"],"enum":["x",null]},'
      .. '"o":{"type":["object","null"],'
      .. '"properties":{"k":{"type":["boolean","null"]}},"required":["k"],"additionalProperties":false},'
      .. '"u":{"anyOf":[{"type":"string"},{"type":"integer"},{"type":"null"}]},'
      .. '"r":{"anyOf":[{"$ref":"#/$defs/r"},'
      .. '{"type":"null"}]},"rr":{"$ref":"#/$defs/r"}},"required":["id","note","n","kind","x","o",'
      .. '"u","r","rr"],'
      .. '"additionalProperties":false,"$defs":{"r":{"type":"object","properties":{},"required":[],'
      .. '"additionalProperties":false}}}',
      adapted(s.object({
        { "id", s.string() }, { "note", s.string():optional() },
        { "n", s.integer { description = "count" }:default(1) }, { "kind", s.enum({ "a", "b" }):optional() },
        { "x", s.literal("x"):optional() }, { "o", s.object { k = s.boolean():optional() }:optional() },
        { "u", s.union({ s.string(), s.integer() }):optional() }, { "r", s.ref("r"):optional() }, { "rr",
          s.ref "r" },
      }, { defs = { r = s.object {} } })))
  end)

  it("keeps the keywords that are understood and describes the others", function()
    assert.are.equal('{"type":"object","properties":{"a":{"type":"string",'
      .. '"description":"(minLength: 2; maxLength: 9; '
      .. 'format: \\"phone\\")","pattern":"^x"},"b":{"type":"array","description":"d (uniqueItems: true)",'
      .. '"items":{"type":"string","format":"email"},"minItems":1}},"required":["a","b"],'
      .. '"additionalProperties":false}',
      adapted(s.object { a = s.string { min_length = 2, max_length = 9, pattern = "^x", format = "phone" },
        b = s.array(s.string { format = "email" }, { unique_items = true, min_items = 1,
          description = "d" }) }))
  end)

  it("takes plain JSON Schema: oneOf, allOf of one, definitions", function()
    assert.are.equal('{"type":"object","properties":{"a":{"anyOf":[{"$ref":"#/$defs/d"},{"type":"null"}]},'
      .. '"b":{"anyOf":[{"type":"string"},{"type":"null"}]}},"required":["a","b"],'
      .. '"additionalProperties":false,'
      .. '"$defs":{"d":{"type":"integer"}}}',
      adapted { type = "object", properties = { a = { allOf = { { ["$ref"] = "#/definitions/d" } },
        title = "A" },
        b = { oneOf = { { type = "string" }, { type = "null" } } } }, required = { "b" },
        definitions = { d = { type = "integer" } }, ["$schema"] = "http://json-schema.org/draft-07/schema#" })
  end)

  it("does not change what it is given", function()
    local given = { type = "object", properties = { a = { type = { "string", "integer" }, enum = { "x" } } } }
    local before = json.encode(given)
    adapted(given)
    strict.strict_restore({ a = null }, given)
    assert.are.equal(before, json.encode(given))
  end)

  it("says where a schema cannot be expressed", function()
    local rows = {
      { s.string(), "$: the whole must be an object" },
      { s.union { s.object {} }, "$: the whole must be an object" },
      { true, "$: the whole must be an object" },
      { s.object { a = s.any() }, "$.a: it takes any value" },
      { s.object { a = s.record(s.any()) }, "$.a: it takes keys that are not known beforehand" },
      { s.object({}, { additional = true }), "$: it takes keys that are not known beforehand" },
      { s.object { a = s.array() }, "$.a: it is an array of anything" },
      { s.object { a = s.array(s.any()) }, "$.a[]: it takes any value" },
      { s.object { a = s.array(nil, { prefix_items = { s.any() } }) }, "$.a: prefixItems cannot be said" },
      { s.object { a = s.enum { { 1 } } }, "$.a: one of its values is an array or object" },
      { s.object({}, { pattern_properties = { a = s.any() } }), "$: patternProperties cannot be said" },
      { { type = "object" }, "$: it is an object of any keys" },
      { { type = "object", properties = { a = true } }, "$.a: it takes any value or none" },
      { { type = "object", properties = {}, required = { "a" } },
        '$: it requires "a" and does not say what that is' },
      { { type = "object", properties = {}, ["not"] = {} }, "$: not cannot be said" },
      { { type = "object", properties = { a = { ["$ref"] = "#/properties/b" } } },
        "$.a: the reference #/properties/b does not lead to a definition" },
      { { type = "object", properties = { a = { ["$ref"] = "#", minimum = 1 } } },
        "$.a: minimum stands beside a reference" },
      { { type = "object", properties = { a = { allOf = { {}, {} } } } }, "$.a: allOf cannot be said" },
      { { type = "object", properties = { a = { allOf = { { type = "null" } }, type = "string" } } },
        "$.a: type is there twice" },
      { { type = "object", properties = { a = { anyOf = { {} }, oneOf = { {} } } } },
        "$.a: it has anyOf and oneOf" },
    }
    for _, row in ipairs(rows) do assert.are.equal(row[2], why_not(row[1])) end
    local deep = s.string()
    for _ = 1, 11 do deep = s.object { a = deep } end
    assert.truthy(why_not(deep):find("more than 10 levels", 1, true))
    local values = {}
    for i = 1, 1001 do values[i] = "v" .. i end
    assert.truthy(why_not(s.object { a = s.enum(values) }):find("too many enum values", 1, true))
  end)
end)

describe("strict_restore", function()
  it("takes out the nulls that stand for absent fields, and no others", function()
    local schema = s.object({ a = s.string():optional(), b = s.string():nullable():optional(),
      c = s.string():nullable(),
      list = s.array(s.ref "n"):optional(), u = s.union { s.string(), s.object { x = s.integer():optional(),
        k = s.literal(1) },
        s.object { x = s.integer():nullable(), k = s.literal(2) } }:optional() },
      { defs = { n = s.object { v = s.integer():default(7), n = s.ref("n"):optional() } } })
    local answer = { a = null, b = null, c = null, list = { { v = null, n = { v = 1, n = null } } },
      u = { x = null, k = 1 } }
    local before = json.encode(answer)
    local restored = strict.strict_restore(answer, schema)
    assert.are.same({ b = null, c = null, list = { { n = { v = 1 } } }, u = { k = 1 } }, restored)
    assert.are.same({ true, { b = null, c = null, list = { { v = 7, n = { v = 1 } } }, u = { k = 1 } } },
      { schema:check(restored) })
    assert.are.equal(before, json.encode(answer))
    assert.are.same({ x = null, k = 2 }, strict.strict_restore({ u = { x = null, k = 2 } }, schema).u)
    assert.are.same({ c = 1, u = { x = null, k = 3 } }, strict.strict_restore({ c = 1, u = { x = null,
      k = 3 } }, schema))
  end)

  it("leaves alone what does not fit at all", function()
    local schema = s.object { a = s.string():optional() }
    for _, value in ipairs { "x", 1, null, { 1, 2 }, { a = { 1 } }, { b = null }, {} } do
      assert.is_true(rawequal(value, strict.strict_restore(value, schema)))
    end
    assert.are.equal("x", strict.strict_restore("x", true))
  end)

  it("gives back what a model had to pad, for random schemas", function()
    local random, tried, done = random_schema.new(SEED), 0, 0
    for _ = 1, 3000 // FACTOR do
      local properties = {}
      for _, name in ipairs { "a", "b", "c" } do properties[name] = simple(random, 3) end
      local plain = { type = "object", properties = properties, required = json.array { "a" },
        additionalProperties = false }
      local made, ok = strict.strict(plain)
      if ok then
        tried = tried + 1
        local shown = json.decode(json.encode(made))
        assert.are.same({}, faults(shown, {}))
        local value = random:of_type(plain, 5)
        if s.json(plain):check(value) then
          local padded = pad(plain, value)
          local restored = strict.strict_restore(padded, plain)
          assert.is_true(s.json(plain):check(restored), json.encode(plain) .. " " .. json.encode(padded))
          done = done + 1
        end
      end
    end
    print(("%d of %d random schemas can be strict, %d answers restored (seed %d)"):format(tried,
      3000 // FACTOR, done, SEED))
    assert.is_true(done > 0)
  end)
end)
