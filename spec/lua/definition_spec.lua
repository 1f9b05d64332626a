local definition = require "harness.definition"
local s = require "harness.schema"
local make = require "spec.support.definitions"

local NONE, agent, build, model, provider, tool, with_agent
  = make.NONE, make.agent, make.build, make.model, make.provider, make.tool, make.with_agent

local function failure(t)
  return make.failure(definition.check, t)
end

describe("definition", function()
  it("of which all is right comes back with defaults filled in", function()
    local d = definition.check(build())
    assert.equal("agent-harness", d.name)
    assert.same({
      max_steps = 16, run_timeout_ms = 600000, tool_timeout_ms = 120000, skill_timeout_ms = 60000,
      model_timeout_ms = 300000, max_parallel_tool_calls = 8, cancel_grace_ms = 1000,
    }, d.defaults)
    assert.same({ {}, {}, {} }, { d.workflows, d.requires, d.telemetry })
    assert.is_nil(d.storage)
    assert.is_nil(d.logger)

    local fast = d.models.fast
    assert.same({ "fast", "m", {}, {}, {} },
      { fast.id, fast.model, fast.defaults, fast.provider_options, fast.fallback })
    assert.same({ "text", "text_stream", "object", "tool_use" }, fast.capability_list)
    assert.same({ text = true, text_stream = true, object = true, tool_use = true }, fast.capabilities)

    local find_order = d.tools.find_order
    assert.same({ "find_order", "Look up an order.", 120000, 65536 },
      { find_order.id, find_order.description, find_order.timeout_ms, find_order.max_result_bytes })
    assert.is_true((find_order.input:check { id = "7" }))
    assert.is_false((find_order.input:check { id = 7 }))

    local helper = d.agents.helper
    assert.same({ "helper", "fast", "Be brief.", { "find_order" }, {}, 16, 1 }, {
      helper.id, helper.model, helper.instructions, helper.tools, helper.builtin_tools, helper.max_steps,
      helper.structured_retry,
    })
    assert.is_nil(helper.history_window)
    assert.is_true((helper.input:check "text"))
    assert.is_false((helper.output:check(5)))
    assert.same({ "text_stream", true, nil }, { helper.method, helper.text_output, helper.output_schema })
    assert.equal(d.tools.find_order, helper.tool_set.find_order)
    assert.equal(1, #helper.tool_specs)
    assert.equal("find_order", helper.tool_specs[1].name)
    assert.equal("Look up an order.", helper.tool_specs[1].description)
    local parameters = helper.tool_specs[1].parameters
    assert.same({ "object", "string" }, { parameters.type, parameters.properties.id.type })
  end)

  it("takes all fields that this version has", function()
    local mine, listener = make.logger(), { on_span_end = function() end, spans = {} }
    local kept, callable = make.storage(), setmetatable({}, { __call = function(_, _,
      input) return input.id end })
    kept.capabilities = { "storage.durable" }
    local d = definition.check(build {
      name = "support",
      models = {
        fast = {
          provider = provider "text", model = "m", capabilities = { "text" }, fallback = { "slow" },
          defaults = {
            temperature = 0, max_tokens = 10, top_p = 1, stop_sequences = { "END" },
              parallel_tool_calls = false,
            provider_options = { seed = 1 },
          },
          provider_options = { user = { "x" } },
          prices = { input = 1, cached_input = 0.1, cache_write = 1.25, output = 4 },
        },
        slow = { provider = { id = "set", capabilities = { text = true }, generate = print }, model = "s" },
        ["gpt-5.1_x"] = { provider = provider "text", model = "m" },
      },
      tools = { find_order = tool { run = callable, output = s.string(), timeout_ms = 0,
        max_result_bytes = 10 } },
      agents = { helper = agent {
        instructions = function() return "x" end, description = "d", max_steps = 100, history_window = 0,
        structured_retry = 0, builtin_tools = false, skills = {}, permissions = {}, on_permission = print,
        budget = { max_total_tokens = 1, max_model_calls = 1, max_tool_calls = 0, max_cost = 0.5,
          max_wall_ms = 9.0 },
      } },
      mcp = {}, skills = {}, workflows = {},
      storage = kept, logger = mine, requires = { "storage.durable" },
      defaults = {
        max_steps = 3, run_timeout_ms = 0, tool_timeout_ms = 0, skill_timeout_ms = 1, model_timeout_ms = 2,
        max_parallel_tool_calls = 1, cancel_grace_ms = 0, history_window = 5,
      },
      telemetry = { store_content = true, listener = listener, flavor = "gen_ai_only" },
    })
    assert.equal("support", d.name)
    assert.equal(kept, d.storage)
    assert.equal(listener, d.telemetry.listener)
    assert.is_true(d.telemetry.store_content)
    assert.equal(5, d.defaults.history_window)
    assert.equal(0, d.agents.helper.history_window)
    assert.equal("integer", math.type(d.agents.helper.budget.max_wall_ms))
    assert.equal("text", d.agents.helper.method)
    assert.equal("7", d.tools.find_order.run({}, { id = "7" }))
    assert.equal("function", type(d.tools.find_order.run))
    assert.same({ "text" }, d.models.slow.capability_list)
    d.logger:info "goes through the adapter"
  end)

  describe("output", function()
    local cases = {
      { "none", nil, { "text_stream", "text", "object" }, "text_stream" },
      { "none", nil, { "text", "object" }, "text" },
      { "none", nil, { "object" }, "object" },
      { "a string", s.string { max_length = 5 }, { "text" }, "text" },
      { "an enum", s.enum { "a", "b" }, { "text", "object" }, "object" },
      { "an object", s.object { a = s.string() }, { "text", "object", "tool_use" }, "object" },
      { "an object", s.object { a = s.string() }, { "tool_use" }, "tool_use" },
      { "an integer", s.integer(), { "text", "object" }, "object" },
    }
    for _, case in ipairs(cases) do
      it(("%s on %s is asked for by %s"):format(case[1], table.concat(case[3], " "), case[4]), function()
        local d = definition.check(build {
          models = { fast = { provider = provider(table.unpack(case[3])), model = "m" } },
          agents = { helper = agent { output = case[2] } },
        })
        local helper = d.agents.helper
        local is_text = case[4]:find "^text" ~= nil
        assert.equal(case[4], helper.method)
        assert.equal(is_text, helper.text_output)
        assert.equal(not is_text, helper.output_schema ~= nil)
      end)
    end
  end)

  it("is a copy: what happens to the given table afterwards has no effect", function()
    local given = build {
      models = { fast = {
        provider = provider("text", "tool_use"), model = "m", provider_options = { a = { 1 } },
        defaults = { stop_sequences = { "x" }, provider_options = { b = { 1 } } }, fallback = { "slow" },
        prices = { input = 1 },
      }, slow = { provider = provider("text", "tool_use"), model = "s" } },
      agents = { helper = agent { tools = { "find_order" }, budget = { max_model_calls = 1 } } },
      defaults = { max_steps = 4 }, requires = {}, telemetry = { store_content = true },
    }
    local d = definition.check(given)
    local fast, helper = given.models.fast, given.agents.helper
    fast.model, fast.provider_options.a[1], fast.defaults.stop_sequences[1] = "other", 2, "y"
    fast.defaults.provider_options.b[1], fast.fallback[1], fast.prices.input = 2, "other", 2
    table.insert(fast.provider.capabilities, "rerank")
    helper.tools[1], helper.budget.max_model_calls, helper.instructions = "other", 2, "other"
    given.tools.find_order.description, given.defaults.max_steps = "other", 5
    given.telemetry.store_content, given.agents.new = false, agent()
    assert.equal("m", d.models.fast.model)
    assert.same({ a = { 1 } }, d.models.fast.provider_options)
    assert.same({ stop_sequences = { "x" }, provider_options = { b = { 1 } } }, d.models.fast.defaults)
    assert.same({ "slow" }, d.models.fast.fallback)
    assert.same({ input = 1 }, d.models.fast.prices)
    assert.same({ "text", "tool_use" }, d.models.fast.capability_list)
    assert.same({ "find_order" }, d.agents.helper.tools)
    assert.equal(1, d.agents.helper.budget.max_model_calls)
    assert.equal("Be brief.", d.agents.helper.instructions)
    assert.equal("Look up an order.", d.tools.find_order.description)
    assert.equal(4, d.defaults.max_steps)
    assert.is_true(d.telemetry.store_content)
    assert.is_nil(d.agents.new)
  end)

  it("orders what a model is shown by bytes", function()
    local d = definition.check(build {
      tools = { b = tool(), a_1 = tool(), a = tool(), z = tool() },
      agents = { helper = agent { tools = { "z", "a_1", "b", "a" } } },
    })
    assert.same({ "a", "a_1", "b", "z" }, d.agents.helper.tools)
    local shown = {}
    for i, spec in ipairs(d.agents.helper.tool_specs) do shown[i] = spec.name end
    assert.same({ "a", "a_1", "b", "z" }, shown)
  end)

  it("measures what is required by the default storage when none is given", function()
    local d = definition.check(build { requires = { "memory.kv", "memory.search" } })
    assert.same({ "memory.kv", "memory.search" }, d.requires)
    assert.equal("memory", d.storage.id)
    d.storage:close()
    local set = make.storage()
    set.capabilities = { ["memory.kv"] = true, ["memory.list"] = false }
    assert.equal(set, definition.check(build { requires = { "memory.kv" }, storage = set }).storage)
  end)

  it("takes a storage of ours", function()
    local mine = require("harness.storage").memory()
    assert.equal(mine, definition.check(build { storage = mine }).storage)
    mine:close()
  end)

  it("shows models the fields of a tool's input in their order", function()
    local json = require("harness.core").json
    local ordered = s.object { { "zeta", s.string() }, { "alpha", s.integer() } }
    local d = definition.check(build { tools = { find_order = tool { input = ordered } } })
    local parameters = d.agents.helper.tool_specs[1].parameters
    assert.equal("string", parameters.properties.zeta.type)
    assert.equal(json.encode(ordered), json.encode(parameters))
    assert.matches("zeta.*alpha", json.encode(d.agents.helper.tool_specs))
  end)

  it("keeps what marks a list in plain data", function()
    local json = require("harness.core").json
    local d = definition.check(build(model { provider_options = { a = json.array {}, b = json.null } }))
    assert.equal('{"a":[],"b":null}', json.encode(d.models.fast.provider_options))
  end)

  for _, value in ipairs { 5, "x", true, print } do
    it(("refuses a %s"):format(type(value)), function()
      local err = failure(value)
      assert.same({ "definition", "wrong_type" }, { err.meta.path, err.meta.reason })
    end)
  end

  it("refuses nothing at all", function()
    assert.equal("definition: must be a table, but is missing", failure(nil).message)
  end)

  describe("with several problems", function()
    local function paths(err)
      local out = {}
      for i, problem in ipairs(err.meta.problems) do out[i] = problem.path end
      return out
    end

    it("tells all of them, in the order of the document", function()
      local err = failure(build {
        zzz = 1, name = 5, telemetry = 5, defaults = { max_steps = 0 }, storage = 5,
        models = { fast = { provider = provider("text", "tool_use"), model = 5, prices = 5 },
          a = { model = "x" } },
        tools = { find_order = tool { run = 5, description = 5 }, a_tool = tool { effect = "x" } },
        agents = { helper = agent { tools = {}, max_steps = 0 }, beta = agent { model = "nope" } },
      })
      assert.same({
        "zzz", "name", "models.a.provider", "models.fast.model", "models.fast.prices", "tools.a_tool.effect",
        "tools.find_order.description", "tools.find_order.run", "agents.beta.model",
          "agents.helper.max_steps",
        "storage", "defaults.max_steps", "telemetry",
      }, paths(err))
      assert.equal("unknown_key", err.meta.reason)
      assert.equal("zzz", err.meta.path)
      assert.matches("^the definition has 13 problems: 1%) zzz: .*  2%) name: .*  and 3 more$", err.message)
    end)

    it("orders lists by number", function()
      local tools = {}
      for i = 1, 11 do tools[i] = "missing_" .. i end
      local err = failure(build(with_agent { tools = tools }))
      assert.equal("agents.helper.tools[2]", paths(err)[2])
      assert.equal("agents.helper.tools[11]", paths(err)[11])
    end)

    it("tells the same each time", function()
      local first
      for _ = 1, 20 do
        local t = build { models = {}, tools = {} }
        for i = 1, 9 do t.models["m" .. i], t.tools["T" .. i] = {}, 5 end
        local message = failure(t).message
        first = first or message
        assert.equal(first, message)
      end
    end)

    it("tells the right place after a wrong item", function()
      local err = failure(build(with_agent { tools = { 5, "nope" } }))
      assert.same({ "agents.helper.tools[1]", "agents.helper.tools[2]" }, paths(err))
    end)
  end)

  describe("does not tell a mistake again where it has consequences", function()
    local cases = {
      ["misspelt models"] = { build { models = NONE, modles = {} }, "modles" },
      ["misspelt tools"] = { build { tools = NONE, tolls = {} }, "tolls" },
      ["missing models"] = { build { models = {} }, "models" },
      ["models of a wrong type"] = { build { models = 5 }, "models" },
      ["tools of a wrong type"] = { build { tools = 5 }, "tools" },
      ["a wrong tool that is used"] = { build { tools = { find_order = tool { run = 5 } } },
        "tools.find_order.run" },
      ["a wrong model that is used"] = { build(model { model = 5 }), "models.fast.model" },
      ["a wrong provider"] = { build(model { provider = 5 }), "models.fast.provider" },
      ["wrong capabilities"] = { build(model { capabilities = 5 }), "models.fast.capabilities" },
      ["a wrong output"] = { build(with_agent { output = 5 }), "agents.helper.output" },
    }
    for name, case in pairs(cases) do
      it(name, function()
        local problems = failure(case[1]).meta.problems
        assert.equal(1, #problems, problems[2] and problems[2].message)
        assert.equal(case[2], problems[1].path)
      end)
    end
  end)

  it("keeps secrets out of its messages", function()
    local err = failure(build(model { provider = "sk-abc123def" }))
    assert.is_nil(tostring(err):find "abc123")
    assert.is_nil(err.meta.problems[1].message:find "abc123")
  end)

  it("shows long and odd values safely", function()
    assert.matches("found a string of 41 bytes", failure(build { name = {},
      storage = ("x"):rep(41) }).message)
    assert.matches('found the string "a%?b"', failure(build { storage = "a\nb" }).message)
    assert.matches('models%["a\\10b"%]', failure(build { models = { ["a\nb"] = 5 } }).message)
  end)

  describe("with workflows", function()
    local function workflow(changes)
      local t = { run = function() end }
      for key, value in pairs(changes or {}) do
        if value == NONE then t[key] = nil else t[key] = value end
      end
      return build { workflows = { reply = t } }
    end

    it("takes them", function()
      local d = definition.check(workflow {
        input = s.object { mail = s.string() }, output = s.string(), version = "2", description = "d",
      })
      local reply = d.workflows.reply
      assert.same({ "reply", "2", "d" }, { reply.id, reply.version, reply.description })
      assert.is_true((reply.input:check { mail = "x" }))
      assert.is_nil(definition.check(workflow()).workflows.reply.input)
      assert.equal(3, definition.check(workflow { version = 3 }).workflows.reply.version)
      assert.same({}, definition.check(build()).workflows)
    end)

    local cases = {
      { workflow { run = NONE }, "workflows.reply.run", "wrong_type" },
      { workflow { version = {} }, "workflows.reply.version", "wrong_type" },
      { workflow { version = "" }, "workflows.reply.version", "wrong_type" },
      { workflow { inputs = {} }, "workflows.reply.inputs", "unknown_key" },
      { workflow { input = 5 }, "workflows.reply.input", "wrong_type" },
      { build { workflows = 5 }, "workflows", "wrong_type" },
      { build { workflows = { Reply = { run = print } } }, "workflows.Reply", "invalid_workflow" },
      { build { workflows = { helper = { run = print } } }, "workflows.helper", "reserved_name" },
    }
    for _, case in ipairs(cases) do
      it(("tells of %s at %s"):format(case[3], case[2]), function()
        local err = failure(case[1])
        assert.equal(1, #err.meta.problems)
        assert.same({ case[2], case[3] }, { err.meta.path, err.meta.reason })
      end)
    end
  end)

  describe("with hand-written agents", function()
    it("takes them without instructions, and asks nothing of their model", function()
      local d = definition.check(build {
        models = model { provider = provider "embeddings" }.models,
        agents = { helper = { model = "fast", run = function() return 1 end } },
      })
      assert.equal(1, d.agents.helper.run())
    end)

    it("still demands instructions of the others", function()
      local err = failure(build(with_agent { instructions = NONE }))
      assert.equal("agents.helper.instructions", err.meta.path)
      assert.equal("agents.helper.run", failure(build(with_agent { run = 5 })).meta.path)
    end)
  end)
end)
