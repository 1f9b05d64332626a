-- harness-lua inspect: what a harness defines, as text and as JSON.
local command = require "spec.support.command"
local core = require "harness.core"

local directory

local FILES <const> = {
  ["test.lua"] = [[
    local harness = require "harness"
    print "printed while loading"
    local model = { provider = harness.providers.scripted { { text = "x" } }, model = "canned" }
    return harness.define {
      name = "shop",
      sandbox = harness.sandbox.directory { root = "." },
      models = { main = { provider = model.provider, model = "big", fallback = { "spare" } }, spare = model },
      tools = { find = { description = "Finds things.", input = harness.schema.object {},
        run = function() end } },
      agents = { helper = { model = "main", instructions = "-", tools = { "find" },
        description = "Helps." } },
    }]],
  ["small.lua"] = [[
    local harness = require "harness"
    return harness.define { models = { m = { provider = harness.providers.scripted { }, model = "m" } } }]],
  ["number.lua"] = "return 5",
  ["mistake.lua"] = "return require 'harness'.define { modles = {} }",
}

local function inspect(options)
  options.cwd = directory.path
  table.insert(options, 1, "inspect")
  return command.run(options)
end

describe("harness-lua inspect", function()
  setup(function() directory = command.directory(FILES) end)
  teardown(function() directory:close() end)

  it("shows what there is", function()
    local result = inspect { "test.lua" }
    assert.same({ 0, "printed while loading\n" }, { result.status, result.stderr })
    for _, line in ipairs {
      "harness shop", "models (2)", "tools (1)", "  find                 Finds things.", "agents (1)",
      "  helper               model main, tools: find; Helps.", "workflows (0)", "adapters",
    } do
      assert.truthy(("\n" .. result.stdout):find("\n" .. line .. "\n", 1, true),
        line .. " is not in:\n" .. result.stdout)
    end
    assert.truthy(result.stdout:find("\n  sandbox +directory: sandbox.fs, sandbox.persistent_fs, sandbox.snapshot\n"))
    assert.truthy(result.stdout:find "\n  main +big of scripted: [^\n]*; then spare\n")
  end)

  it("writes JSON with --json", function()
    local result = inspect { "--json", "test.lua" }
    assert.equal(0, result.status)
    local info = core.json.decode(result.stdout)
    assert.equal("shop", info.name)
    assert.equal("big", info.models.main.model)
    assert.same({ "find" }, info.agents.helper.tools)
  end)

  it("shows a harness with a model only", function()
    local result = inspect { "small.lua" }
    assert.equal(0, result.status)
    assert.truthy(result.stdout:find "^harness agent%-harness\nmodels %(1%)\n")
  end)

  it("prints its usage with --help", function()
    local result = inspect { "--help" }
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.truthy(result.stdout:find "^usage: [^\n]* inspect FILE")
  end)

  for what, case in pairs {
    ["no file"] = { {}, 2, "expected FILE" },
    ["two files"] = { { "a", "b" }, 2, "expected FILE" },
    ["an unknown option"] = { { "test.lua", "--jsn" }, 2, "did you mean --json?" },
    ["a missing file"] = { { "absent.lua" }, 1, "HARNESS_CONFIG_ERROR: cannot open absent.lua" },
    ["a file without a harness"] = { { "number.lua" }, 1,
      "HARNESS_CONFIG_ERROR: number.lua must return a harness" },
    ["a mistake"] = { { "mistake.lua" }, 1, "HARNESS_CONFIG_ERROR: " },
    ["a full disk"] = { { "small.lua", redirect = "> /dev/full" }, 1,
      "OUTPUT_ERROR: standard output cannot be written" },
    ["closed standard output"] = { { "small.lua", redirect = ">&-" }, 1,
      "OUTPUT_ERROR: standard output cannot be written" },
  } do
    it("tells " .. what, function()
      local result = inspect(case[1])
      assert.same({ case[2], "" }, { result.status, result.stdout })
      assert.truthy(result.stderr:find(case[3], 1, true), result.stderr)
    end)
  end
end)
