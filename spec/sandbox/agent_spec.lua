-- needs: user namespaces
-- Agents with the built-in tools on a real sandbox: the default one, and what a model is given of commands.
local command = require "spec.support.command"
local harness = require "harness"
local live = require "spec.support.live"
local task = require "harness.task"

local function define(turns, more)
  local definition = {
    models = { main = { provider = harness.providers.scripted(turns), model = "m" } },
    agents = { helper = { model = "main", instructions = "x", builtin_tools = { "bash", "read", "write" } } },
  }
  for name, value in pairs(more or {}) do definition[name] = value end
  return harness.define(definition)
end

-- The result of the only tool call, as the model gets it, and the tools that it was offered.
local function first_result(arguments, more)
  local offered, result
  local h <close> = define({
    function(request)
      offered = {}
      for i, tool in ipairs(request.tools) do offered[i] = tool.name end
      return { tool_calls = { { name = arguments.name or "bash", arguments = arguments } } }
    end,
    function(request)
      result = request.messages[#request.messages].content
      return { text = "done" }
    end,
  }, more)
  h:session("s").agents.helper:run "go"
  return result, offered
end

describe("an agent in the default sandbox", function()
  local before

  before_each(function()
    require("harness.process").run { file = "true" }
    collectgarbage()
    collectgarbage()
    before = live.now()
  end)

  after_each(function()
    collectgarbage()
    collectgarbage()
    for _ = 1, 400 do
      if require("harness.core").process.running() == 0 then break end
      task.sleep(5)
    end
    live.check(before)
  end)

  it("runs commands in it", function()
    local result, offered = first_result { command = "echo out; echo err >&2; exit 3" }
    assert.same({ stdout = "out\n", stderr = "err\n", exit_code = 3 }, harness.json.decode(result))
    assert.same({ "bash", "read", "write" }, offered)
  end)

  it("gets valid UTF-8 of any output, and head and tail of a long one", function()
    local result = harness.json.decode((first_result { command = "printf 'a\\377b\\303'; seq 100000 >&2" }))
    assert.equal("a\u{FFFD}b\u{FFFD}", result.stdout)
    assert.is_truthy(utf8.len(result.stderr))
    assert.matches("^1\n2\n.*bytes are missing here.*\n99999\n100000\n$", result.stderr)
    assert.is_true(#result.stderr < 31000)
    assert.is_true(result.stderr_truncated_bytes > 500000)
  end)

  it("is told what was wrong, and goes on", function()
    local result = first_result({ command = "sleep 10", timeout_ms = 50 })
    assert.matches("OPERATION_TIMEOUT", result)
    result = first_result({ command = "true", cwd = "/nowhere" })
    assert.matches("the directory /nowhere cannot be used", result)
  end)

  it("has it closed with the session, and shared by its runs", function()
    local h <close> = define {
      { tool_calls = { { name = "bash", arguments = { command = "echo x > /tmp/kept" } } } }, { text = "a" },
      { tool_calls = { { name = "bash", arguments = { command = "cat /tmp/kept" } } } },
      function(request) return { text = request.messages[#request.messages].content } end,
    }
    local session = h:session "s"
    session.agents.helper:run "one"
    assert.matches('"stdout":"x\\n"', session.agents.helper:run "two", 1, true)
    session:close()
  end)

  it("has its isolation shown by inspect", function()
    local h <close> = define {}
    local adapters = h:inspect().adapters
    local shown = adapters[#adapters]
    assert.same({ "sandbox", "bash", "bubblewrap" }, { shown.kind, shown.id, shown.isolation.by })
    local bare <close> = define({}, { agents = { helper = { model = "main", instructions = "x" } } })
    assert.equal(1, #bare:inspect().adapters)
  end)

  it("is not offered bash where no command can be isolated", function()
    local script = [[
      local harness = require "harness"
      local h = harness.define {
        models = { main = { model = "m", provider = harness.providers.scripted {
          function(request) return { text = request.tools[1].name .. #request.tools } end } } },
        agents = { helper = { model = "main", instructions = "x", builtin_tools = { "bash", "read" } } },
      }
      print(h:session("s").agents.helper:run "go")
      h:shutdown()
    ]]
    local result = command.run { program = "/usr/bin/env", "PATH=/nowhere", command.HARNESS_LUA, "-e", script }
    assert.equal("read1\n", result.stdout, result.stderr)
  end)

  it("comes with the first use of a handler, too", function()
    local h <close> = define({}, {
      agents = { helper = { model = "main", instructions = "x" } },
      workflows = { flow = { run = function(ctx) return ctx.sandbox:exec("echo hi").stdout end } },
    })
    assert.equal("hi\n", h:session("s").workflows.flow:run())
  end)
end)

describe("harness-lua inspect", function()
  local function inspect(env)
    local program = "/usr/bin/env"
    return command.run { program = program, env or "A=b", command.HARNESS_LUA, "inspect", "examples/analyst.lua" }
  end

  it("shows what isolation is in force on this machine", function()
    local shown = inspect().stdout
    assert.matches("\nsandbox\n  isolation            bubblewrap [%d.]+ %(.*/bwrap%), works\n", shown)
    assert.matches("  commands run as      %S+ %(uid %d+%)\n", shown)
    assert.matches("  own namespaces       user, mount, cgroup, ipc, network, pid, uts\n", shown)
    assert.matches("  seccomp              yes\n", shown)
    assert.matches("  memory limit         of each process", shown)
  end)

  it("says what is missing, with the command that installs it", function()
    assert.matches("apt%-get install bubblewrap", inspect("PATH=/nowhere").stderr)
  end)
end)
