local errors = require "harness.errors"
local json = require "harness.json"
local schema = require "harness.schema"
local wires = require "harness.providers.openai_wire"

local function wire(settings)
  settings = settings or {}
  return wires.new {
    max_tokens_field = settings.max_tokens_field or "max_tokens",
      include_usage = settings.include_usage ~= false,
    carry_fields = settings.carry_fields or {},
  }
end

local function request(fields)
  local full = { model = "m", method = "text", messages = { { role = "user", content = "hi" } }, options = {},
    provider_options = {} }
  for name, value in pairs(fields or {}) do full[name] = value end
  full.count = full.count or #full.messages
  return full
end

local function body(fields, settings)
  return wire(settings):body(request(fields))
end

-- What follows the fields of every request.
local function messages_json(messages, settings)
  return (body({ messages = messages }, settings):match '^{"model":"m","messages":%[(.*)%]}$')
end

describe("openai_wire", function()
  describe("bodies", function()
    it("are as small as can be", function()
      assert.equal('{"model":"m","messages":[{"role":"user","content":"hi"}]}', body())
    end)

    it("have the options by their names on the wire, in byte order, and the messages last", function()
      assert.equal('{"model":"m","frequency_penalty":0.5,"max_tokens":100,"presence_penalty":1,'
        .. '"reasoning_effort":"low","seed":7,"stop":["a","b"],"stream":true,'
        .. '"stream_options":{"include_usage":true},"temperature":0.2,"top_p":1,'
        .. '"messages":[{"role":"user","content":"hi"}]}', body {
          stream = true,
          options = { temperature = 0.2, top_p = 1, max_tokens = 100, stop_sequences = { "a", "b" }, seed = 7,
            presence_penalty = 1, frequency_penalty = 0.5, reasoning_effort = "low",
              parallel_tool_calls = true,
            provider_options = { x = 1 } },
        })
    end)

    it("name the limit of tokens as the server wants it", function()
      local text = body({ options = { max_tokens = 5 } }, { max_tokens_field = "max_completion_tokens" })
      assert.equal('{"model":"m","max_completion_tokens":5,"messages":[{"role":"user","content":"hi"}]}',
        text)
    end)

    it("ask for no usage where the server does not know that", function()
      local text = body({ stream = true }, { include_usage = false })
      assert.equal('{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}', text)
    end)

    it("take over provider_options, which win", function()
      local given = { store = false, temperature = 1, user = json.null }
      assert.equal('{"model":"m","store":false,"temperature":1,"user":null,'
        .. '"messages":[{"role":"user","content":"hi"}]}',
        body { options = { temperature = 0.5 }, provider_options = given })
    end)

    for _, name in ipairs { "messages", "model", "stream", "tools" } do
      it(("refuse provider_options.%s"):format(name), function()
        local ok, err = pcall(body, { provider_options = { [name] = 1 } })
        assert.is_false(ok)
        assert.is_true(errors.is(err, "HARNESS_CONFIG_ERROR"))
        assert.equal("invalid_provider_option", err.meta.reason)
        assert.matches(name, err.message, 1, true)
      end)
    end

    it("hold the first `count` messages only", function()
      local list = { { role = "user", content = "a" }, { role = "assistant", content = "b" } }
      assert.equal('{"model":"m","messages":[{"role":"user","content":"a"}]}',
        body { messages = list, count = 1 })
    end)
  end)

  describe("messages", function()
    it("of all roles", function()
      assert.equal('{"role":"system","content":"be brief"},{"role":"user","content":"é \\"q\\""},'
        .. '{"role":"assistant","content":"ok"}', messages_json {
          { role = "system", content = "be brief" }, { role = "user", content = 'é "q"' },
          { role = "assistant", content = "ok", run_id = "r", timestamp = "t" },
        })
    end)

    it("with tool calls: arguments are JSON text, keys in byte order", function()
      assert.equal('{"role":"assistant","content":null,"tool_calls":['
        .. '{"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"a\\":[],\\"b\\":1}"}},'
        .. '{"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]},'
        .. '{"role":"tool","tool_call_id":"c1","content":"one"},'
        .. '{"role":"tool","tool_call_id":"c2","content":""}', messages_json {
          { role = "assistant", content = "", tool_calls = {
            { id = "c1", name = "f", arguments = { b = 1, a = json.array {} } },
            { id = "c2", name = "g", arguments = {} },
          } },
          { role = "tool", tool_call_id = "c1", content = "one" },
          { role = "tool", tool_call_id = "c2", content = "" },
        })
    end)

    it("with broken arguments, which go back inside of an object", function()
      assert.equal('{"role":"assistant","content":"hm","tool_calls":[{"id":"c","type":"function","function":'
        .. '{"name":"f","arguments":"{\\"invalid_arguments\\":\\"{\\\\\\"a\\\\\\":\\"}"}}]}', messages_json {
          { role = "assistant", content = "hm",
            tool_calls = { { id = "c", name = "f", arguments = {}, invalid_arguments = '{"a":' } } },
        })
    end)

    it("with parts", function()
      assert.equal('{"role":"user","content":[{"type":"text","text":"look"},'
        .. '{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},'
        .. '{"type":"image_url","image_url":{"url":"https://h/i.png","detail":"low"}},'
        .. '{"type":"input_audio","input_audio":{"data":"BBBB","format":"mp3"}},'
        .. '{"type":"input_audio","input_audio":{"data":"BBBB","format":"wav"}},'
        .. '{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,CCCC"}}]}',
        messages_json { { role = "user", content = {
          { type = "text", text = "look" },
          { type = "image", mime_type = "image/png", data_base64 = "AAAA" },
          { type = "image", url = "https://h/i.png", detail = "low" },
          { type = "audio", mime_type = "audio/mpeg", data_base64 = "BBBB" },
          { type = "audio", mime_type = "audio/x-wav", data_base64 = "BBBB" },
          { type = "file", mime_type = "application/pdf", data_base64 = "CCCC", filename = "a.pdf" },
        } } })
    end)

    it("with parts of text only, where only text may stand", function()
      local parts = { { type = "text", text = "a" }, { type = "text", text = "b" } }
      assert.equal('{"role":"system","content":"a\\nb"},{"role":"assistant","content":"a\\nb"},'
        .. '{"role":"tool","tool_call_id":"c","content":"a\\nb"}', messages_json {
          { role = "system", content = parts }, { role = "assistant", content = parts },
          { role = "tool", tool_call_id = "c", content = parts },
        })
    end)

    it("move images out of tool results, behind the last result", function()
      local image = { type = "image", mime_type = "image/png", data_base64 = "AA" }
      local png = '{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}'
      local calls = { { id = "c1", name = "f", arguments = {} }, { id = "c2", name = "f", arguments = {} } }
      local text = messages_json {
        { role = "assistant", content = "x", tool_calls = calls },
        { role = "tool", tool_call_id = "c1", content = { image } },
        { role = "tool", tool_call_id = "c2", content = { { type = "text", text = "two" }, image } },
        { role = "user", content = "next" },
      }
      assert.equal('{"role":"tool","tool_call_id":"c1","content":"(attached below)"},'
        .. '{"role":"tool","tool_call_id":"c2","content":"two"},{"role":"user","content":['
        .. '{"type":"text","text":"Attached to the result of the tool call c1:"},' .. png .. ","
        .. '{"type":"text","text":"Attached to the result of the tool call c2:"},' .. png .. ']},'
        .. '{"role":"user","content":"next"}', text:match '({"role":"tool".*)')
    end)

    it("carry back what the server wants back, and only its own", function()
      local ours = { name = "openai", data = { reasoning_content = "hm", x = 1 } }
      local other = { name = "other", data = { reasoning_content = "no" } }
      local list = {
        { role = "assistant", content = "a", provider = ours },
        { role = "assistant", content = "b", provider = other },
      }
      assert.equal('{"role":"assistant","content":"a","reasoning_content":"hm"},'
        .. '{"role":"assistant","content":"b"}',
        messages_json(list, { carry_fields = { "reasoning_content" } }))
      assert.equal('{"role":"assistant","content":"a"},{"role":"assistant","content":"b"}',
        messages_json(list))
    end)

    it("replace bytes that are not UTF-8", function()
      assert.equal('{"role":"user","content":"a\u{fffd}b"}',
        messages_json { { role = "user", content = "a\xffb" } })
    end)

    local bad = {
      { "an unknown role", { { role = "user", content = "" }, { role = "robot", content = "" } },
        "$.messages[2]" },
      { "a content that is no text", { { role = "user", content = 5 } }, "$.messages[1]" },
      { "an unknown part", { { role = "user", content = { { type = "smell" } } } },
        "$.messages[1].content[1]" },
      { "a text part without text", { { role = "user", content = { { type = "text" } } } },
        "$.messages[1].content[1]" },
      { "an image without data", { { role = "user", content = { { type = "image" } } } },
        "$.messages[1].content[1]" },
      { "audio by URL", { { role = "user", content = { { type = "audio", url = "u" } } } },
        "$.messages[1].content[1]" },
      { "a file by URL", { { role = "user", content = { { type = "file", url = "u" } } } },
        "$.messages[1].content[1]" },
      { "an image of the assistant",
        { { role = "assistant", content = { { type = "image", url = "u" } } } }, "$.messages[1]" },
    }
    for _, case in ipairs(bad) do
      it(("refuse %s, and say where"):format(case[1]), function()
        local ok, err = pcall(messages_json, case[2])
        assert.is_false(ok)
        assert.is_true(errors.is(err, "VALIDATION_ERROR"))
        assert.equal("message", err.meta.where)
        assert.equal(case[3], err.meta.issues[1].path)
      end)
    end
  end)

  describe("tools", function()
    local tools = {
      { name = "b", description = "does b", parameters = schema.object { x = schema.string() } },
      { name = "a", parameters = json.raw '{"type":"object","properties":{"z":{},"y":{}}}' },
      { name = "c", parameters = json.ordered { { "type", "object" }, { "additionalProperties", false } } },
      { name = "d" },
    }

    it("stand in the order of their list, with their schemas as they are", function()
      assert.equal('{"model":"m","parallel_tool_calls":false,"tool_choice":"auto","tools":['
        .. '{"type":"function","function":{"name":"b","description":"does b","parameters":'
        .. json.encode(tools[1].parameters) .. '}},'
        .. '{"type":"function","function":{"name":"a","parameters":'
        .. '{"type":"object","properties":{"z":{},"y":{}}}}},'
        .. '{"type":"function","function":{"name":"c","parameters":'
        .. '{"type":"object","additionalProperties":false}}},'
        .. '{"type":"function","function":{"name":"d","parameters":{"type":"object","properties":{}}}}],'
        .. '"messages":[{"role":"user","content":"hi"}]}',
        body { tools = tools, tool_choice = "auto", options = { parallel_tool_calls = false } })
    end)

    it("are left out when there are none, with what belongs to them", function()
      assert.equal('{"model":"m","messages":[{"role":"user","content":"hi"}]}',
        body { tools = {}, tool_choice = "auto", options = { parallel_tool_calls = false } })
    end)

    it("can be chosen", function()
      assert.matches('"tool_choice":"required"', body { tools = tools, tool_choice = "any" }, 1, true)
      assert.matches('"tool_choice":"none"', body { tools = tools, tool_choice = "none" }, 1, true)
      assert.matches('"tool_choice":{"type":"function","function":{"name":"a"}}',
        body { tools = tools, tool_choice = { name = "a" } }, 1, true)
    end)

    it("are seen when their list changes", function()
      local w, list = wire(), { tools[4] }
      local first = w:body(request { tools = list })
      assert.equal(first, w:body(request { tools = list }))
      list[2] = tools[2]
      assert.matches('"name":"a"', w:body(request { tools = list }), 1, true)
      list[2], list[1] = nil, tools[2]
      assert.is_nil(w:body(request { tools = list }):find('"name":"d"', 1, true))
    end)
  end)

  describe("structured output", function()
    local person = schema.object { { "name", schema.string() }, { "age", schema.integer():optional() } }

    it("is asked for in strict mode where the schema can be said so", function()
      local text = body { method = "object", schema = person, schema_name = "my person!" }
      local format = json.decode(text).response_format
      assert.equal("json_schema", format.type)
      assert.equal("my_person_", format.json_schema.name)
      assert.is_true(format.json_schema.strict)
      assert.same({ "name", "age" }, format.json_schema.schema.required)
      assert.is_false(format.json_schema.schema.additionalProperties)
    end)

    it("is asked for as it is elsewhere", function()
      local given = { type = "object", additionalProperties = { type = "integer" } }
      local format = json.decode(body { method = "object", schema = given }).response_format.json_schema
      assert.equal("output", format.name)
      assert.is_false(format.strict)
      assert.same(given, format.schema)
    end)

    it("is wrapped into an object when it is none, with its definitions on top", function()
      local number = { type = "number" }
      local given = { type = "array", items = { ["$ref"] = "#/$defs/n" }, ["$defs"] = { n = number } }
      local w = wire()
      local text = w:body(request { method = "object", schema = given })
      local sent = json.decode(text).response_format.json_schema
      assert.is_true(sent.strict)
      assert.same({ "value" }, sent.schema.required)
      assert.equal("array", sent.schema.properties.value.type)
      assert.same({ type = "number" }, sent.schema["$defs"].n)
      assert.same({ 1, 2 }, w:restored(given, { value = { 1, 2 } }))
      assert.same({ type = "number" }, given["$defs"].n)
    end)

    it("is given back as the schema means it: null for an absent field is taken out", function()
      local w = wire()
      assert.same({ name = "a" }, w:restored(person, { name = "a", age = json.null }))
      assert.same({ name = "a", age = 3 }, w:restored(person, { name = "a", age = 3 }))
    end)

    it("is a call that has to be made for a model without it", function()
      local sent = json.decode(body { method = "tool_use", schema = person, schema_name = "person" })
      assert.is_nil(sent.response_format)
      assert.same({ type = "function", ["function"] = { name = "person" } }, sent.tool_choice)
      assert.equal("person", sent.tools[1]["function"].name)
      assert.same({ "name", "age" }, sent.tools[1]["function"].parameters.required)
    end)

    it("is one of the calls that have to be made when there are tools", function()
      local sent = json.decode(body { method = "tool_use", schema = person, tools = { { name = "a" } } })
      assert.equal("required", sent.tool_choice)
      assert.same({ "a", "output" }, { sent.tools[1]["function"].name, sent.tools[2]["function"].name })
    end)
  end)

  describe("stability", function()
    local function grow(n)
      local list = { { role = "system", content = "s" } }
      for i = 1, n do
        list[#list + 1] = { role = "user", content = ("question %d é"):format(i) }
        list[#list + 1] = { role = "assistant", content = "", tool_calls = {
          { id = "c" .. i, name = "f", arguments = { z = i, a = "x", m = { k = 1, b = 2 } } } } }
        list[#list + 1] = { role = "tool", tool_call_id = "c" .. i, content = "r" .. i }
      end
      return list
    end

    local function fields(list)
      return {
        messages = list, stream = true,
        tools = { { name = "f", parameters = schema.object { a = schema.any() } } },
        options = { temperature = 0.5, max_tokens = 10, top_p = 0.9 },
        provider_options = { b = 1, a = { y = 1, x = 2 } },
      }
    end

    it("begins each body with the one before, up to where the new messages begin", function()
      local w, list, before = wire(), grow(20), nil
      local f = fields(list)
      for count = 1, #list do
        f.count = count
        local text = w:body(request(f))
        if before then assert.equal(before:sub(1, -3) .. ",", text:sub(1, #before - 1)) end
        before = text
      end
    end)

    it("is the same for equal messages of another process", function()
      assert.equal(body(fields(grow(5))), body(fields(grow(5))))
    end)

    it("sees a content or calls that were replaced", function()
      local w, message = wire(), { role = "user", content = "one" }
      local f = { messages = { message } }
      assert.matches('"one"', w:body(request(f)), 1, true)
      message.content = "two"
      assert.matches('"two"', w:body(request(f)), 1, true)
      message.role, message.tool_calls = "assistant", { { id = "c", name = "f", arguments = {} } }
      assert.matches('"id":"c"', w:body(request(f)), 1, true)
    end)

    it("encodes each message once", function()
      local w, list = wire(), grow(3)
      local reads = 0
      local calls = setmetatable({ list[3].tool_calls[1] }, { __index = function() reads = reads + 1 end })
      list[3].tool_calls = calls
      w:body(request { messages = list })
      local first = reads
      assert.is_true(first > 0)
      for _ = 1, 5 do w:body(request { messages = list }) end
      assert.equal(first, reads)
    end)

    it("keeps nothing of messages that are gone", function()
      local w = wire()
      w:body(request { messages = grow(50), tools = { { name = "f" } }, method = "object",
        schema = { type = "object" } })
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(w.cache))
      assert.is_nil(next(w.tool_lists))
      assert.is_nil(next(w.outputs))
    end)
  end)

  it("maps requests for embeddings", function()
    assert.equal('{"encoding_format":"float","input":"a","model":"e"}',
      wires.embedding_body { model = "e", input = "a" })
    assert.equal('{"dimensions":3,"encoding_format":"float","input":["a","b"],"model":"e","user":"u"}',
      wires.embedding_body { model = "e", input = { "a", "b" }, dimensions = 3,
        provider_options = { user = "u" } })
  end)
end)
