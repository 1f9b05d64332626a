-- lua/harness/builtin/init.lua, and the built-in tools of an agent in a run. Rule names: reference B 2 and 3.

local builtin = require "harness.builtin"
local harness = require "harness"
local json = require "harness.json"
local live = require "spec.support.live"
local scripted = require "spec.support.scripted"
local table_sandbox = require "spec.support.table_sandbox"

local drain, of = scripted.drain, scripted.of

local SEVEN <const> = "bash read write edit glob grep list"

local function names_of(specs)
  local names = {}
  for i, spec in ipairs(specs) do names[i] = spec.name end
  return table.concat(names, " ")
end

describe("built-in tools", function()
  local before, session_sandbox, opened

  before_each(function()
    before, opened = live.now(), {}
    session_sandbox = table_sandbox.session { ["/w/a"] = "one\ntwo\n" }
  end)

  after_each(function()
    for _, h in ipairs(opened) do assert.same({}, h:shutdown().errors) end
    collectgarbage()
    live.check(before)
  end)

  local function define(turns, agent, over)
    local definition = { sandbox = table_sandbox.new(session_sandbox) }
    for key, value in pairs(over or {}) do definition[key] = value end
    local h, model = scripted.harness(turns, { agent = agent, tools = {}, definition = definition })
    opened[#opened + 1] = h
    return h, model
  end

  -- Runs one reply with these calls {name, arguments}; the contents that the model is shown, decoded.
  local function run(calls, agent, over)
    local list = {}
    for i, call in ipairs(calls) do
      list[i] = { name = call[1], arguments = call[2] or {}, id = "c" .. i }
    end
    agent = agent or {}
    if agent.builtin_tools == nil then agent.builtin_tools = true end
    local h, model = define({ { tool_calls = list }, { text = "end" } }, agent, over)
    local events, err = drain(h:session("s").agents.helper:stream "go")
    assert.is_nil(err)
    local shown = {}
    for _, message in ipairs(model.requests[2] and model.requests[2].messages or {}) do
      if message.role == "tool" then shown[#shown + 1] = json.decode(message.content) end
    end
    return shown, events, model
  end

  it("have schemas that models understand", function()
    for _, name in ipairs(builtin.NAMES) do
      local tool = builtin.get(name)
      local schema = json.decode(json.encode(tool.input))
      assert.same({ "object", false }, { schema.type, schema.additionalProperties }, name)
      assert.is_true(#tool.description > 40 and #tool.description < 400, name)
      for field, property in pairs(schema.properties) do
        assert.is_string(property.description, name .. "." .. field)
        assert.is_string(property.type)
      end
    end
    assert.same({ "path" }, json.decode(json.encode(builtin.get("read").input)).required)
    assert.same({ "path", "old_string", "new_string" }, json.decode(json.encode(builtin.get("edit").input)).required)
    assert.matches('^{"type":"object","properties":{"command":.*"cwd":.*"timeout_ms":',
      json.encode(builtin.get("bash").input))
  end)

  it("are offered as they are listed, before other tools; none unless asked for (D18)", function()
    session_sandbox.executor = "available"
    for _, case in ipairs {
      { true, SEVEN }, { false, "" }, { {}, "" }, { { "list", "bash", "read" }, "list bash read" },
    } do
      local _, _, model = run({}, { builtin_tools = case[1] })
      assert.equal(case[2], names_of(model.requests[1].tools or {}))
    end
    local tools = { abc = { description = "x", input = harness.schema.object {}, run = print } }
    local _, _, model = run({}, { builtin_tools = { "read" }, tools = { "abc" } }, { tools = tools })
    assert.equal("read abc", names_of(model.requests[1].tools))
  end)

  it("do not open a sandbox that nobody uses", function()
    local count = 0
    local sandbox = { open = function()
      count = count + 1
      return session_sandbox
    end }
    run({}, { builtin_tools = { "read" } }, { sandbox = sandbox })
    assert.equal(0, count)
    run({ { "read", { path = "/w/a" } }, { "list", { path = "/w" } } }, nil, { sandbox = sandbox })
    assert.equal(1, count)
  end)

  it("are without bash where the sandbox runs no commands; it says so when it is called all the same", function()
    local shown, events, model = run { { "bash", { command = "ls" } } }
    assert.equal("read write edit glob grep list", names_of(model.requests[1].tools))
    assert.same({ "SANDBOX_NO_EXECUTOR", "s" }, { shown[1].code, shown[1].meta.session_id })
    assert.equal("succeeded", events[#events].status)
  end)

  it("work on the files of the session", function()
    local shown = run {
      { "read", { path = "/w/a" } }, { "list", { path = "/w" } }, { "glob", { pattern = "*a" } },
      { "grep", { pattern = "t.o" } },
    }
    assert.same({
      { content = "one\ntwo\n" }, { entries = { { name = "a", kind = "file", size = 8 } } }, { paths = { "/w/a" } },
      { matches = { { path = "/w/a", line = 2, text = "two" } } },
    }, shown)
    shown = run { { "write", { path = "/w/b", content = "é" } } }
    assert.same({ { bytes_written = 2 } }, shown)
    shown = run { { "edit", { path = "/w/b", old_string = "é", new_string = "e" } }, { "bash", { command = "ls" } } }
    assert.same({ replaced = 1 }, shown[1])
    assert.equal("e", session_sandbox.files["/w/b"])
  end)

  it("lose no edit when a reply has several of one file", function()
    local calls = {}
    session_sandbox.files["/w/n"] = "0"
    for i = 1, 12 do
      calls[i] = { "edit", { path = "/w/n", old_string = tostring(i - 1), new_string = tostring(i) } }
    end
    run(calls)
    assert.equal("12", session_sandbox.files["/w/n"])
  end)

  it("go by other spellings too; events have the one name (BT-1)", function()
    local shown, events = run { { "LS", { path = "/w" } }, { "Read", { path = "/w/a" } }, { "LIST", { path = "/w" } } }
    assert.equal("a", shown[1].entries[1].name)
    assert.equal("one\ntwo\n", shown[2].content)
    assert.equal("TOOL_NOT_FOUND", shown[3].code)
    local names = {}
    for i, event in ipairs(of(events, "tool.started")) do names[i] = event.tool_id end
    assert.same({ "list", "read", "LIST" }, names)
  end)

  it("are not there unless the agent lists them (D10)", function()
    local shown, events = run({ { "bash", { command = "ls" } }, { "Write", { path = "/w/a", content = "" } },
      { "lua", { code = "" } }, { "constructor" } }, { builtin_tools = { "read", "list" } })
    for i = 1, 4 do
      assert.same({ "TOOL_NOT_FOUND", "agent_allowlist" }, { shown[i].code, shown[i].meta.where })
      assert.matches("it has: read, list", shown[i].message, 1, true)
    end
    assert.equal("one\ntwo\n", session_sandbox.files["/w/a"])
    assert.equal(4, #of(events, "tool.finished"))
  end)

  it("tell a model of its mistakes, and the run goes on", function()
    local shown, events = run {
      { "read", { path = "/none" } }, { "read", { pth = "/w/a" } }, { "read", { path = "w/a" } },
      { "edit", { path = "/w/a", old_string = "x", new_string = "y" } }, { "grep", { pattern = "(" } },
      { "read", { path = "/w/a", more = true } },
    }
    local told = {}
    for i, one in ipairs(shown) do told[i] = one.code or "fine" end
    assert.equal("SANDBOX_ERROR VALIDATION_ERROR SANDBOX_ERROR VALIDATION_ERROR VALIDATION_ERROR fine",
      table.concat(told, " "))
    assert.same({ "$.path", "invalid_path", 0 }, { shown[2].meta.issues[1].path, shown[3].meta.reason,
      shown[4].meta.issues.matches })
    assert.equal("succeeded", events[#events].status)
  end)

  it("fail as tools do when the sandbox does", function()
    session_sandbox.read = function() error("disk on fire", 0) end
    local shown = run { { "read", { path = "/w/a" } } }
    assert.same({ "TOOL_ERROR", "builtin", "read" }, { shown[1].code, shown[1].meta.tool_kind, shown[1].meta.tool_id })
  end)

  it("obey permissions (PERM-1 to 6)", function()
    session_sandbox.executor = "available"
    session_sandbox.commands = function(command) return { stdout = command, exit_code = 0 } end
    local shown = run({
      { "write", { path = "/w/./blocked/x", content = "" } }, { "write", { path = "/w/fine", content = "" } },
      { "edit", { path = "/w/a", old_string = "one", new_string = "1" } }, { "bash", { command = "ls" } },
      { "bash", { command = "rm -rf /" } }, { "read", { path = "/w/a" } },
    }, { permissions = { write = { deny = { "/w/blocked/**" } }, edit = "deny", read = "deny",
      bash = { mode = "ask", deny = { "rm **" } } }, on_permission = function() return "allow" end })
    local told = {}
    for i, one in ipairs(shown) do told[i] = one.meta and one.meta.reason or "fine" end
    assert.same({ "mode_deny", "fine", "mode_deny", "fine", "mode_deny", "fine" }, told)
    assert.same({ nil, "", "one\ntwo\n" },
      { session_sandbox.files["/w/blocked/x"], session_sandbox.files["/w/fine"], session_sandbox.files["/w/a"] })
  end)

  it("are shown by inspect, each with its permission", function()
    local h = define({}, { builtin_tools = { "bash", "read" },
      permissions = { bash = { mode = "ask", deny = { "rm **" } } } })
    local agent = h:inspect().agents.helper
    assert.same({ { "bash", "read" }, { bash = { mode = "ask", deny = { "rm **" } }, read = { mode = "allow" } } },
      { { table.unpack(agent.builtin_tools) }, agent.permissions })
  end)

  it("take a model that can call tools", function()
    local model = harness.providers.scripted {}
    local ok, err = pcall(harness.define, {
      models = { m = { provider = model, model = "m", capabilities = { "text" } } },
      agents = { a = { model = "m", instructions = "", builtin_tools = { "read" } } },
      sandbox = table_sandbox.new(session_sandbox),
    })
    assert.is_false(ok)
    assert.equal("agent_model_capability_mismatch", err.meta.reason)
  end)
end)

describe("the sandbox of a session", function()
  local function counting()
    local made = {}
    return made, { open = function(_, options)
      harness.sleep(1)
      if made.fail then
        made.fail = false
        harness.error("SANDBOX_ERROR", "no room", { reason = "fs_failed" })
      end
      local session = table_sandbox.session { ["/a"] = options.session_id }
      made[#made + 1] = { session = session, options = options }
      return session
    end }
  end

  local function define(sandbox)
    local calls = { { name = "read", arguments = { path = "/a" } }, { name = "read", arguments = { path = "/a" } } }
    return scripted.harness(function(request)
      local last = request.messages[#request.messages]
      if last.role == "tool" then return { text = last.content } end
      return { tool_calls = calls }
    end, { tools = {}, agent = { builtin_tools = { "read" } }, definition = { sandbox = sandbox } })
  end

  it("is opened once, shared by its runs, and another one for another session", function()
    local made, sandbox = counting()
    local h <close> = define(sandbox)
    for _, id in ipairs { "x", "x", "y" } do
      assert.equal(('{"content":"%s"}'):format(id), h:session(id).agents.helper:run "go")
    end
    assert.equal(2, #made)
    assert.same({ "x", "y" }, { made[1].options.session_id, made[2].options.session_id })
    assert.is_string(made[1].options.run_id)
    h:shutdown()
    assert.same({ true, true }, { made[1].session.closed, made[2].session.closed })
  end)

  it("is opened again after a failure", function()
    local made, sandbox = counting()
    made.fail = true
    local h <close> = define(sandbox)
    h:session("x").agents.helper:run "go" -- one of the two calls is told of the failure
    assert.equal(1, #made)
  end)

  it("is closed with the session", function()
    local made, sandbox = counting()
    local h <close> = define(sandbox)
    local session = h:session "x"
    session.agents.helper:run "go"
    session:close()
    assert.is_true(made[1].session.closed)
    h:session("x").agents.helper:run "go"
    assert.equal(2, #made)
  end)
end)
