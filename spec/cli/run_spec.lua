-- harness-lua run: outputs, inputs, exit statuses, and what goes wrong.
local command = require "spec.support.command"
local core = require "harness.core"

local json = core.json
local directory

local HARNESS <const> = [=[
local harness = require "harness"
local s = harness.schema

-- Prints where nothing may arrive: on standard output.
print "printed while loading"
io.write "written while loading\n"
os.execute "echo from a child while loading"

local function echo(request)
  local last = request.messages[#request.messages]
  local text = type(last.content) == "string" and last.content or last.content[1].text
  return { chunks = { "You said: ", text } }
end

local function scripted(...) return { provider = harness.providers.scripted { ... }, model = "canned" } end

local dots = {}
for i = 1, 400 do dots[i] = "." end

return harness.define {
  name = "test",
  models = {
    echo = scripted(echo, echo, echo),
    object = scripted { object = { n = 7, tags = harness.array { "a" } } },
    tools = scripted(
      { tool_calls = { { name = "noisy", arguments = { word = "x" } },
        { name = "broken", arguments = {} } } },
      { chunks = { "Both ", "are ", "done." }, chunk_delay_ms = 10 }),
    slow = scripted { text = "late", delay_ms = 60000 },
    failing = scripted { error = { status = 401, message = "wrong key" } },
    half = scripted { chunks = { "first words", " and more" }, chunk_delay_ms = 20000 },
    wordy = scripted(
      { tool_calls = { { name = "noisy", arguments = { word = ("\u{e9}"):rep(500) } } } },
      { text = "Done." }),
    digger = scripted(
      { tool_calls = { { name = "dig", arguments = {} }, { name = "noisy", arguments = { word = "x" } } } },
      { text = "Dug." }),
    drip = scripted { chunks = dots, chunk_delay_ms = 50 },
    escape = scripted { text = "red: \27[31m\7" },
    lines = scripted { text = "one\n" },
  },
  tools = {
    noisy = {
      description = "Prints.", input = s.object { word = s.string() },
      run = function(ctx, input)
        print("printed in a tool", ctx.metadata and ctx.metadata.user)
        os.execute "echo from a child in a tool"
        return "said " .. input.word
      end,
    },
    dig = { description = "Takes its time.", input = s.object {}, run = function() harness.sleep(1500) end },
    broken = { description = "Raises.", input = s.object {},
      run = function() harness.error("NO_LUCK", "today") end },
  },
  workflows = { work = { run = function() return { done = true } end } },
  agents = {
    echo = { model = "echo", instructions = "-" },
    object = { model = "object", instructions = "-", input = s.object { id = s.integer() },
      output = s.object { n = s.integer(), tags = s.array(s.string()) } },
    tools = { model = "tools", instructions = "-", tools = { "noisy", "broken" } },
    slow = { model = "slow", instructions = "-" },
    failing = { model = "failing", instructions = "-" },
    digger = { model = "digger", instructions = "-", tools = { "dig", "noisy" } },
    half = { model = "half", instructions = "-" },
    wordy = { model = "wordy", instructions = "-", tools = { "noisy" } },
    drip = { model = "drip", instructions = "-" },
    escape = { model = "escape", instructions = "-" },
    lines = { model = "lines", instructions = "-" },
  },
}
]=]

local FILES <const> = {
  ["test.lua"] = HARNESS,
  ["number.lua"] = "return 5",
  ["nothing.lua"] = "",
  ["syntax.lua"] = "x = = 1",
  ["raises.lua"] = "local t\nt.x = 1",
  ["raises_table.lua"] = "error {}",
  ["raises_lines.lua"] = "error 'first\\nsecond'",
  ["raises_ours.lua"] = "require 'harness'.error('MY_CODE', 'mine\\nalone')",
  ["exits.lua"] = "os.exit(7)",
  ["one_mistake.lua"] = "return require 'harness'.define { modles = {} }",
  ["mistakes.lua"] = [[
    return require 'harness'.define {
      modles = {}, tools = { t = { run = 1 } }, agents = { a = { model = 'x', tool = {} } },
    }]],
  ["neighbour.lua"] = "return { answer = 42 }",
  ["with_neighbour.lua"] = [[
    assert(require 'neighbour'.answer == 42 and arg[0]:find 'with_neighbour.lua$')
    local harness = require 'harness'
    return harness.define { models = { m = { provider = harness.providers.scripted {}, model = 'm' } } }]],
  ["exiting_tool.lua"] = [[
    local harness = require 'harness'
    return harness.define {
      models = { m = { model = 'c',
        provider = harness.providers.scripted { { tool_calls = { { name = 'leave' } } } } } },
      tools = { leave = { description = 'Leaves.', input = harness.schema.object {}, run = function()
        local closed <close> = setmetatable({}, { __close = function() io.stderr:write 'closed\n' end })
        os.exit(9)
      end } },
      agents = { a = { model = 'm', instructions = '-', tools = { 'leave' } } },
    }]],
}

local function run(options)
  options.cwd = directory.path
  return command.run(options)
end

local function agent(...)
  return run { "run", "test.lua", ... }
end

setup(function() directory = command.directory(FILES) end)
teardown(function() directory:close() end)

describe("harness-lua run", function()
  it("writes a text as text, and everything else to standard error", function()
    local result = agent("echo", "hello")
    assert.same({ 0, "You said: hello\n" }, { result.status, result.stdout })
    assert.equal("printed while loading\nwritten while loading\nfrom a child while loading\n", result.stderr)
    result = agent("tools", "go")
    assert.same({ 0, "Both are done.\n" }, { result.status, result.stdout })
    assert.truthy(result.stderr:find("printed in a tool", 1, true))
    assert.truthy(result.stderr:find("from a child in a tool\n", 1, true))
  end)

  it("writes anything but a text as JSON", function()
    local result = agent("object", '{"id":1}')
    assert.same({ 0, '{"n":7,"tags":["a"]}\n' }, { result.status, result.stdout })
  end)

  it("reads INPUT from standard input", function()
    local result = run { "run", "test.lua", "echo", "-", stdin = "line 1\nline 2" }
    assert.same({ 0, "You said: line 1\nline 2\n" }, { result.status, result.stdout })
    result = run { "run", "test.lua", "object", "-", stdin = '{"id": 3}\n' }
    assert.same({ 0, '{"n":7,"tags":["a"]}\n' }, { result.status, result.stdout })
  end)

  it("takes text that looks like an option, or like JSON", function()
    assert.equal("You said: --stream\n", agent("echo", "--", "--stream").stdout)
    assert.equal("You said: {\n", agent("echo", "{").stdout)
    assert.equal("You said: -x\n", agent("echo", "-x").stdout)
  end)

  it("takes options before, between and after the rest, with = or without", function()
    for _, args in ipairs {
      { "--timeout", "30s", "test.lua", "echo", "a" }, { "test.lua", "--timeout=30s", "echo", "a" },
      { "test.lua", "echo", "a", "--session", "s", "--timeout", "0.5m", "--metadata", "{}" },
    } do
      local result = run { "run", table.unpack(args) }
      assert.same({ 0, "You said: a\n" }, { result.status, result.stdout })
    end
  end)

  it("writes the events as JSON Lines with --stream", function()
    local result = agent("tools", "go", "--stream", "--session", "my-session", "--metadata", '{"user":"u7"}')
    assert.equal(0, result.status)
    local types, session, seq = {}, nil, 0
    for line in result.stdout:gmatch "([^\n]*)\n" do
      local event = json.decode(line)
      types[#types + 1] = event.type
      assert.equal(seq + 1, event.seq)
      seq, session = event.seq, session or event.session_id
    end
    assert.equal("\n", result.stdout:sub(-1))
    assert.equal("run.started", types[1])
    assert.equal("run.finished", types[#types])
    assert.truthy(table.concat(types, " "):find("tool.started", 1, true))
    assert.equal("my-session", session)
    assert.truthy(result.stderr:find("printed in a tool\tu7", 1, true))
  end)

  it("writes the events of a run that fails, too, and fails", function()
    local result = agent("failing", "go", "--stream")
    assert.equal(1, result.status)
    local last = json.decode(result.stdout:match "([^\n]*)\n$")
    assert.same({ "run.finished", "failed", "MODEL_ERROR" }, { last.type, last.status, last.error.code })
    assert.truthy(result.stderr:find "MODEL_ERROR: [^\n]*401[^\n]*\n$")
  end)

  it("finds the modules beside FILE, and names it in arg", function()
    local result = run { "run", "with_neighbour.lua", "a", "x" }
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.truthy(result.stderr:find("there are: none", 1, true))
    result = command.run { "run", directory.path .. "/with_neighbour.lua", "a", "x" }
    assert.equal(2, result.status)
  end)

  it("ends with the status of a script that calls os.exit", function()
    local result = run { "run", "exits.lua", "a", "x" }
    assert.same({ 7, "", "" }, { result.status, result.stdout, result.stderr })
    result = run { "run", "exiting_tool.lua", "a", "x" }
    assert.same({ 9, "", "closed\n" }, { result.status, result.stdout, result.stderr })
  end)

  it("runs a workflow", function()
    local result = run { "run", "test.lua", "work" }
    assert.same({ 0, '{"done":true}\n' }, { result.status, result.stdout })
  end)

  it("prints its usage with --help", function()
    local result = run { "run", "--help" }
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.truthy(result.stdout:find "^usage: [^\n]* run FILE TARGET %[INPUT%]")
  end)
end)

-- What it is, the arguments, the exit status, what the last line of standard error holds.
local MISTAKES <const> = {
  { "no arguments", {}, 2, "expected FILE TARGET [INPUT]" },
  { "no target", { "test.lua" }, 2, "expected FILE TARGET [INPUT]" },
  { "too many arguments", { "test.lua", "echo", "a", "b" }, 2, "expected FILE TARGET [INPUT]" },
  { "an unknown target", { "test.lua", "nobody", "a" }, 2,
    'there is no agent or workflow "nobody"; there are: digger, drip, echo, ' },
  { "a misspelt target", { "test.lua", "ehco", "a" }, 2,
    'there is no agent or workflow "ehco"; did you mean "echo"?' },
  { "no input", { "test.lua", "echo" }, 2, "INPUT is missing" },
  { "input that is no JSON", { "test.lua", "object", "{" }, 2,
    "INPUT must be JSON for this target: not valid JSON" },
  { "input that the schema refuses", { "test.lua", "object", '{"id":"x"}' }, 1, "VALIDATION_ERROR: " },
  { "an unknown option", { "test.lua", "echo", "a", "--strem" }, 2,
    "there is no option --strem; did you mean --stream?" },
  { "an option without its value", { "test.lua", "echo", "a", "--timeout" }, 2,
    "option --timeout needs a value" },
  { "an option with a value too many", { "test.lua", "echo", "a", "--stream=1" }, 2,
    "option --stream takes no value" },
  { "a time that is none", { "test.lua", "echo", "a", "--timeout", "soon" }, 2,
    '--timeout: "soon" is not a time' },
  { "metadata that is no JSON", { "test.lua", "echo", "a", "--metadata", "x" }, 2,
    "--metadata must be a JSON object: not" },
  { "metadata that is no object", { "test.lua", "echo", "a", "--metadata", "[1]" }, 2,
    "--metadata must be a JSON object, got" },
  { "a negative time", { "test.lua", "echo", "a", "--timeout", "-5" }, 2, '--timeout: "-5" is not a time' },
  { "a time of another unit", { "test.lua", "echo", "a", "--timeout", "5d" }, 2, '"5d" is not a time' },
  { "metadata that goes on", { "test.lua", "echo", "a", "--metadata", "{}x" }, 2,
    "--metadata must be a JSON object: not" },
  { "metadata that is null", { "test.lua", "echo", "a", "--metadata", "null" }, 2,
    "--metadata must be a JSON object, got" },
  { "a durable run of an agent", { "test.lua", "echo", "a", "--durable", "r" }, 1,
    "option durable: agent_run: only a workflow can be durable" },
  { "a durable run", { "test.lua", "work", "--durable", "r" }, 1,
    "option durable: durable runs need a durable storage" },
  { "an empty session id", { "test.lua", "echo", "a", "--session", "" }, 1,
    "VALIDATION_ERROR: a session id" },
  { "a missing file", { "absent.lua", "a", "x" }, 1, "HARNESS_CONFIG_ERROR: cannot open absent.lua" },
  { "a directory", { ".", "a", "x" }, 1, "HARNESS_CONFIG_ERROR: cannot read ." },
  { "a syntax error", { "syntax.lua", "a", "x" }, 1,
    "HARNESS_CONFIG_ERROR: syntax.lua:1: unexpected symbol near '='" },
  { "a file that raises", { "raises.lua", "a", "x" }, 1,
    "INTERNAL_ERROR: raises.lua:2: attempt to index a nil value (local 't')" },
  { "a file that raises a table", { "raises_table.lua", "a", "x" }, 1,
    "INTERNAL_ERROR: (error object is a table value)" },
  { "a file that raises two lines", { "raises_lines.lua", "a", "x" }, 1,
    "INTERNAL_ERROR: raises_lines.lua:1: first second" },
  { "a file that raises an error of ours", { "raises_ours.lua", "a", "x" }, 1, "MY_CODE: mine alone" },
  { "a file that returns something else", { "number.lua", "a", "x" }, 1,
    "HARNESS_CONFIG_ERROR: number.lua must return a harness" },
  { "a file that returns nothing", { "nothing.lua", "a", "x" }, 1, "it returned nil" },
  { "a definition with a mistake", { "one_mistake.lua", "a", "x" }, 1,
    'modles: there is no such field; did you mean "models"?' },
  { "a run that takes too long", { "test.lua", "slow", "a", "--timeout", "50ms" }, 1,
    "OPERATION_TIMEOUT: the run took longer than 50 ms" },
  { "a run that fails", { "test.lua", "failing", "a" }, 1, "MODEL_ERROR: " },
}

describe("harness-lua run tells", function()
  for _, mistake in ipairs(MISTAKES) do
    it(mistake[1], function()
      local result = run { "run", table.unpack(mistake[2]) }
      assert.same({ mistake[3], "" }, { result.status, result.stdout })
      local said = result.stderr:gsub("^.*while loading\n", "")
      assert.truthy(said:find(mistake[4], 1, true), said)
      assert.equal(command.HARNESS_LUA .. ": ", said:sub(1, #command.HARNESS_LUA + 2))
      if not said:find("usage:", 1, true) then assert.equal(1, select(2, said:gsub("\n", ""))) end
    end)
  end

  it("all mistakes of a definition, one a line", function()
    local result = run { "run", "mistakes.lua", "a", "x" }
    assert.equal(1, result.status)
    local lines = {}
    for line in result.stderr:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.truthy(lines[1]:find "HARNESS_CONFIG_ERROR: the definition has %d problems:$")
    assert.equal(tonumber(lines[1]:match "has (%d) problems"), #lines - 1)
    for _, path in ipairs { "modles", "tools.t.run", "agents.a.tool", "agents.a.instructions" } do
      assert.truthy(result.stderr:find("\n  " .. path .. ": ", 1, true), path)
    end
  end)

  it("a server that cannot be reached", function()
    directory:write("unreachable.lua", [[
      local harness = require "harness"
      return harness.define {
        models = { m = { provider = harness.providers.openai { base_url = os.getenv "OPENAI_BASE_URL" },
          model = "m" } },
        agents = { a = { model = "m", instructions = "-" } },
      }]])
    local result = run { "run", "unreachable.lua", "a", "x",
      env = { OPENAI_BASE_URL = "http://127.0.0.1:1" } }
    assert.same({ 1, "" }, { result.status, result.stdout })
    assert.truthy(result.stderr:find "^[^\n]*: MODEL_ERROR: cannot reach 127%.0%.0%.1:1[^\n]*\n$",
      result.stderr)
  end)

  it("the log when it is asked for", function()
    local result = run { "run", "test.lua", "failing", "a", env = { HARNESS_LOG_LEVEL = "error" } }
    assert.truthy(result.stderr:find('\n{"level":"error"', 1, true))
  end)
end)

describe("harness-lua run without its standard streams:", function()
  local function said(result)
    return result.stderr:match "([^\n]*)\n$"
  end

  it("a full disk", function()
    for _, args in ipairs { { "echo", "a" }, { "echo", "a", "--stream" }, { "object", '{"id":1}' } } do
      local result = run { "run", "test.lua", args[1], args[2], args[3], redirect = "> /dev/full" }
      assert.equal(1, result.status)
      local what = "OUTPUT_ERROR: standard output cannot be written: No space left on device$"
      assert.truthy(said(result):find(what))
    end
  end)

  it("closed standard output", function()
    local result = run { "run", "test.lua", "echo", "a", redirect = ">&-" }
    assert.equal(1, result.status)
    assert.truthy(said(result):find "OUTPUT_ERROR: standard output cannot be written: Bad file descriptor$")
  end)

  it("closed standard error: what would go there is lost", function()
    local result = run { "run", "test.lua", "echo", "a", redirect = "2>&-" }
    assert.same({ 0, "You said: a\n", "" }, { result.status, result.stdout, result.stderr })
    assert.equal(1, run({ "run", "absent.lua", "echo", "a", redirect = "2>&-" }).status)
  end)

  it("standard input of a chat that cannot be read", function()
    local result = run { "chat", "test.lua", "echo", redirect = "< /" }
    assert.equal(2, result.status)
    assert.truthy(said(result):find "standard input cannot be read: ")
  end)

  it("closed standard input", function()
    local result = run { "run", "test.lua", "echo", "-", redirect = "<&-" }
    assert.equal(2, result.status)
    assert.truthy(said(result):find "standard input cannot be read: ")
  end)

  it("a reader that leaves: the run is stopped", function()
    local result = run { "run", "test.lua", "drip", "a", "--stream", redirect = "| head -n 1" }
    assert.same({ 1, 1 }, { result.status, select(2, result.stdout:gsub("\n", "")) })
    assert.truthy(said(result):find "OUTPUT_ERROR: standard output cannot be written: Broken pipe$")
    assert.is_true(result.ms < 10000)
  end)
end)

describe("harness-lua run on a terminal", function()
  local function lines(result)
    return (result.stdout:gsub("\r\n", "\n"):gsub("^.*while loading\n", ""))
  end

  it("shows text as it arrives", function()
    local child <close> = command.start { "run", "test.lua", "half", "a", terminal = true, stdin = true,
      cwd = directory.path }
    child:await "first words" -- twenty seconds before the rest
    assert.falsy(child.stdout:find("and more", 1, true))
    child:write "\3" -- Ctrl-C
    local result = child:finish()
    assert.equal(130, result.status)
    assert.truthy(lines(result):find "^first words%^?C?\n[^\n]*: interrupted\n$", lines(result))
  end)

  it("shows tools with their time", function()
    local result = run { "run", "test.lua", "tools", "a", terminal = true }
    assert.equal(0, result.status)
    local text = result.stdout:gsub("\r\n", "\n")
    assert.truthy(text:find('[noisy {"word":"x"}]\n', 1, true), text)
    assert.truthy(text:find "%[noisy done after %d+ ms%]\n")
    assert.truthy(text:find "%[broken failed: [A-Z_]+ after %d+ ms: [^\n]+%]\n", text)
    assert.truthy(text:find "\nBoth are done%.\n$")
  end)

  it("shows a tool that runs, and for how long", function()
    local result = run { "run", "test.lua", "digger", "a", terminal = true }
    assert.equal(0, result.status)
    assert.truthy(result.stdout:find "%[dig … 1 s%]\r\27%[K.*%[dig done after %d+ ms%]\r\nDug%.\r\n$",
      result.stdout)
    assert.falsy(run({ "run", "test.lua", "digger", "a", "--progress" }).stderr:find("… 1 s", 1, true))
  end)

  it("shows the beginning of a tool's long input", function()
    local text = run({ "run", "test.lua", "wordy", "a", terminal = true }).stdout
    local shown = text:match '%[noisy ({"word":"[^%]]*)%]\r?\n'
    assert.truthy(utf8.len(shown))
    assert.truthy(#shown < 210 and shown:find "…$", shown)
  end)

  it("shows the same elsewhere with --progress", function()
    local result = agent("tools", "a", "--progress")
    assert.same({ 0, "Both are done.\n" }, { result.status, result.stdout })
    assert.truthy(result.stderr:find "%[noisy done after %d+ ms%]\n")
  end)

  it("ends the line that the model left open, and writes no text twice", function()
    assert.equal("You said: a\n", lines(run { "run", "test.lua", "echo", "a", terminal = true }))
    assert.equal("one\n", lines(run { "run", "test.lua", "lines", "a", terminal = true }))
  end)

  it("shows an object after it was streamed", function()
    local text = lines(run { "run", "test.lua", "object", '{"id":1}', terminal = true })
    assert.truthy(text:find '{"n":7,"tags":%["a"%]}\n$', text)
  end)

  it("does not let a model command it", function()
    assert.equal("red: \\x1b[31m\\x07\n", lines(run { "run", "test.lua", "escape", "a", terminal = true }))
    assert.equal("red: \27[31m\7\n", agent("escape", "a").stdout)
  end)
end)
