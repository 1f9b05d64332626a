-- harness-lua run and inspect with workflows: what INPUT is, what is written, how they end.
local command = require "spec.support.command"
local core = require "harness.core"

local json = core.json
local directory

local FILES <const> = { ["flow.lua"] = [=[
local harness = require "harness"
local s = harness.schema

return harness.define {
  models = { drip = { model = "canned", provider = harness.providers.scripted(function(request)
    local word = request.messages[#request.messages].content
    return { chunks = { word .. "1 ", word .. "2 ", word .. "3" }, chunk_delay_ms = 20 }
  end) }, m = { model = "canned", provider = harness.providers.scripted(function(request)
    return { text = "<" .. request.messages[#request.messages].content .. ">" }
  end) } },
  agents = {
    writer = { model = "m", instructions = "-" },
    dripping = { model = "drip", instructions = "-" },
    own = { model = "m", run = function(ctx, input) return input:upper() end },
  },
  workflows = {
    kind = { run = function(_, input) return { math.type(input) or type(input), input } end },
    text = { input = s.string(), run = function(ctx, input) return ctx.agents.writer:run(input) end },
    both = { input = s.object { a = s.string(), b = s.string() }, version = 3, description = "Asks two.",
      run = function(ctx, input)
        return harness.all {
          a = function() return ctx.agents.writer:run(input.a) end,
          b = function() return ctx.agents.own:run(input.b) end,
        }
      end },
    beside = { run = function(ctx)
      harness.map({ "a", "b", "c" }, function(word) return ctx.agents.dripping:run(word) end)
      return "all three"
    end },
    nothing = { run = function() end },
    failing = { run = function(ctx) return ctx:step("a b", print) end },
  },
}
]=] }

local function flow(...)
  local options = { "run", "flow.lua", ... }
  options.cwd = directory.path
  return command.run(options)
end

describe("harness-lua run of a workflow", function()
  setup(function() directory = command.directory(FILES) end)
  teardown(function() directory:close() end)

  it("without a schema takes JSON if it parses, else text, or nothing", function()
    for input, expected in pairs {
      ["7"] = '["integer",7]', ['{"a":[1]}'] = '["table",{"a":[1]}]', ['"x"'] = '["string","x"]',
      hello = '["string","hello"]', ["{no json"] = '["string","{no json"]', [""] = '["string",""]',
    } do
      local result = flow("kind", input)
      assert.same({ 0, expected .. "\n", "" }, { result.status, result.stdout, result.stderr })
    end
    local result = flow "nothing"
    assert.same({ 0, "null\n", "" }, { result.status, result.stdout, result.stderr })
  end)

  it("with a string schema takes text as it is, with another one JSON", function()
    assert.equal("<7>\n", flow("text", "7").stdout)
    assert.equal('{"a":"<x>","b":"Y"}\n', flow("both", '{"a":"x","b":"y"}').stdout)
    local result = flow("both", "x")
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches("INPUT must be JSON", result.stderr)
    result = flow("both", '{"a":1}')
    assert.same({ 1, "" }, { result.status, result.stdout })
    assert.matches('VALIDATION_ERROR: the input of workflow "both" does not fit', result.stderr)
    assert.equal(2, flow("text").status)
  end)

  it("shows agents side by side one after another, and then its own answer", function()
    local result = flow("beside", "--progress")
    local lines = {}
    for line in result.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal("all three", table.remove(lines))
    table.sort(lines)
    assert.same({ "a1 a2 a3", "b1 b2 b3", "c1 c2 c3" }, lines)
    assert.equal("<7>\n", flow("text", "7", "--progress").stdout)
    assert.equal("null\n", flow("nothing", "--progress").stdout)
  end)

  it("streams its events, those of its agents told apart", function()
    local result = flow("both", '{"a":"x","b":"y"}', "--stream")
    local started, ids = {}, {}
    for line in result.stdout:gmatch "[^\n]+" do
      local event = json.decode(line)
      if event.type == "run.started" then assert.same({ "workflow", "both" }, { event.kind, event.target }) end
      if event.type == "agent.started" then
        started[#started + 1] = event.agent_id
        ids[event.invocation_id] = true
      end
    end
    table.sort(started)
    assert.same({ "own", "writer" }, started)
    assert.is_truthy(next(ids, (next(ids))))
  end)

  it("tells in a line what went wrong", function()
    local result = flow "failing"
    assert.same({ 1, "" }, { result.status, result.stdout })
    assert.matches("^[^\n]*DURABLE_STEP_ERROR: a step id is 1 to 128 letters[^\n]*\n$", result.stderr)
    result = flow("bothh", "x")
    assert.equal(2, result.status)
    assert.matches('did you mean "both"', result.stderr)
  end)

  it("is shown by inspect", function()
    local result = command.run { "inspect", "flow.lua", cwd = directory.path }
    assert.matches("workflows (6)", result.stdout, 1, true)
    assert.matches("both +version 3; Asks two%.\n", result.stdout)
    local info = json.decode(command.run({ "inspect", "flow.lua", "--json", cwd = directory.path }).stdout)
    assert.same({ 3, "Asks two." }, { info.workflows.both.version, info.workflows.both.description })
  end)
end)
