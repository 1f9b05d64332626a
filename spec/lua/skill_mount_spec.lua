-- lua/harness/skill_mount.lua and skill_catalogue.lua: an agent with skills (reference B 5.4, 5.5).
local clock = require "spec.support.clock"
local command = require "spec.support.command"
local core = require "harness.core"
local failure = require("spec.support.failure").any
local harness = require "harness"
local process = require "harness.process"
local scripted = require "spec.support.scripted"
local skill_mount = require "harness.skill_mount"
local skills = require "spec.support.skills"
local still = require "spec.support.still"
local table_sandbox = require "spec.support.table_sandbox"
local task = require "harness.task"

local CLOSING <const> = [[
When a task matches a skill, read /skills/<name>/SKILL.md with the read tool before you start, and follow it.
Relative paths in a skill are relative to /skills/<name>/.]]

describe("an agent with skills", function()
  local opened = still(before_each, after_each)
  local tree, sandbox

  before_each(function()
    tree = skills.tree {
      ["pdf/SKILL.md"] = skills.file({
        name = "pdf", description = "Reads PDF.", compatibility = "Needs poppler",
      }, "secret"),
      ["pdf/scripts/run.sh"] = "#!/bin/sh\n", ["pdf/data/blob"] = "\0\xFF\r\n", ["pdf/empty"] = "",
      ["docx/SKILL.md"] = skills.file { name = "docx", description = ">\n  Reads\n  Word.\n\n  - x: y" },
    }
    sandbox = harness.sandbox.memory()
  end)
  after_each(function() tree:close() end)

  local function define(turns, over)
    over = over or {}
    local agent = { tools = {}, builtin_tools = { "read" }, skills = { "pdf" } }
    for key, value in pairs(over.agent or {}) do agent[key] = value end
    local definition = { sandbox = sandbox, skills = { pdf = tree.path .. "/pdf", docx = tree.path .. "/docx" } }
    for key, value in pairs(over.definition or {}) do definition[key] = value end
    local h, model = scripted.harness(turns, { agent = agent, definition = definition, tools = over.tools or {} })
    opened[#opened + 1] = h
    return h, model
  end

  -- What the model was told first.
  local function system_of(model) return model.requests[1].messages[1].content end

  -- A sandbox that opens one session of ours, which can be looked at afterwards.
  local function kept()
    local own = { capabilities = { "sandbox.fs" }, opened = {} }
    function own:open(request)
      local session = sandbox:open(request)
      local mount = session.mount
      session.mounts = {}
      function session.mount(tree_of, files, at, options)
        table.insert(session.mounts, at .. (options and options.read_only and " read-only" or ""))
        for _ = 1, 5 do task.pause() end -- as one that waits for a disk does
        return mount(tree_of, files, at, options)
      end
      session.close = function() end -- the spec does
      table.insert(self.opened, session)
      return session
    end
    return own
  end

  it("is told of them behind its instructions, as they are listed", function()
    local h, model = define({ { text = "ok" } }, { agent = { skills = { "pdf", "docx" } } })
    h:session("s").agents.helper:run "go"
    assert.equal("Be brief.\n\nAvailable skills:\n"
      .. "- pdf: Reads PDF.\n  Location: /skills/pdf/SKILL.md\n  Compatibility: Needs poppler\n"
      .. "- docx: Reads Word. - x: y\n  Location: /skills/docx/SKILL.md\n\n" .. CLOSING, system_of(model))
    assert.is_nil(system_of(model):find("secret", 1, true))
  end)

  it("is told the same from turn to turn, and again in the next run", function()
    local h, model = define { { tool_calls = { { name = "read", arguments = { path = "/skills/pdf/SKILL.md" } } } },
      { text = "ok" }, { text = "ok" } }
    local session = h:session "s"
    session.agents.helper:run "go"
    session.agents.helper:run "go"
    assert.equal(3, #model.requests)
    for i = 2, 3 do assert.equal(system_of(model), model.requests[i].messages[1].content) end
    -- not stored
    assert.equal("user", session.history:list()[1].role)
  end)

  it("is told of them alone when it has no instructions, and nothing without skills", function()
    local h, model = define({ { text = "ok" } }, { agent = { instructions = "" } })
    h:session("s").agents.helper:run "go"
    assert.matches("^Available skills:\n", system_of(model))
    h, model = define({ { text = "ok" } }, { agent = { skills = {} } })
    h:session("s").agents.helper:run "go"
    assert.equal("Be brief.", system_of(model))
  end)

  it("has them behind instructions that a function makes", function()
    local saw
    local h, model = define({ { text = "ok" } }, { agent = { instructions = function(ctx)
      saw = ctx.sandbox:exists "/skills/pdf/SKILL.md" -- mounted before
      return "Made."
    end } })
    h:session("s").agents.helper:run "go"
    assert.is_true(saw)
    assert.matches("^Made%.\n\nAvailable skills:\n", system_of(model))
  end)

  it("reads their files, bytes as they are", function()
    local own = kept()
    local h = define({ { tool_calls = { { name = "read", arguments = { path = "/skills/pdf/SKILL.md" } } } },
      { text = "ok" } }, { definition = { sandbox = own } })
    local events = scripted.drain(h:session("s").agents.helper:stream "go")
    assert.matches("secret", scripted.of(events, "tool.finished")[1].output.content)
    local session, shown = own.opened[1], {}
    for i, entry in ipairs(session:list("/skills", { recursive = true })) do shown[i] = entry.path end
    assert.same({ "/skills/pdf", "/skills/pdf/SKILL.md", "/skills/pdf/data", "/skills/pdf/data/blob",
      "/skills/pdf/empty", "/skills/pdf/scripts", "/skills/pdf/scripts/run.sh" }, shown)
    assert.equal("\0\xFF\r\n", session:read "/skills/pdf/data/blob")
    assert.equal("", session:read "/skills/pdf/empty")
    local err = failure(session.write, session, "/skills/pdf/SKILL.md", "x")
    assert.equal("SANDBOX_ERROR", err.code)
    session[1]:close()
  end)

  it("reads them beside a directory of the user's, which stays as it is", function()
    local root <close> = skills.tree { ["a.txt"] = "mine" }
    local text
    local h = define({}, { definition = { sandbox = harness.sandbox.directory { root = root.path } }, agent = {
      builtin_tools = {}, run = function(ctx)
        text = ctx.sandbox:read "/skills/pdf/scripts/run.sh" .. ctx.sandbox:read "/workspace/a.txt"
        return failure(ctx.sandbox.write, ctx.sandbox, "/skills/pdf/new", "x").code
      end,
    } })
    assert.equal("SANDBOX_ERROR", h:session("s").agents.helper:run "go")
    assert.equal("#!/bin/sh\nmine", text)
    assert.equal("a.txt\n", process.run({ file = "ls", args = { "-A", root.path } }).stdout)
  end)

  it("gets them once a session, whatever changes on disk, and anew in the next", function()
    local own = kept()
    local h = define({ { text = "1" }, { text = "2" }, { text = "3" } }, { definition = { sandbox = own } })
    local session = h:session "a"
    session.agents.helper:run "go"
    tree:write { ["pdf/scripts/run.sh"] = "changed" }
    session.agents.helper:run "go"
    assert.same({ "/skills/pdf read-only" }, own.opened[1].mounts)
    assert.equal("#!/bin/sh\n", own.opened[1]:read "/skills/pdf/scripts/run.sh")
    h:session("b").agents.helper:run "go"
    assert.same({ 2, "changed" }, { #own.opened, own.opened[2]:read "/skills/pdf/scripts/run.sh" })
    own.opened[1][1]:close()
    own.opened[2][1]:close()
  end)

  it("shares them with the agents beside it, which wait for one mount", function()
    local own = kept()
    local h = define({ { text = "1" }, { text = "2" } }, { definition = { sandbox = own, workflows = { flow = {
      run = function(ctx)
        harness.all { function() ctx.agents.helper:run "a" end, function() ctx.agents.helper:run "b" end }
        return "done"
      end,
    } } } })
    h:session("s").workflows.flow:run()
    assert.same({ "/skills/pdf read-only" }, own.opened[1].mounts)
    own.opened[1][1]:close()
  end)

  it("may be a hand-written one, without a tool", function()
    local text
    local h = define({}, { agent = { builtin_tools = {}, run = function(ctx)
      text = ctx.sandbox:read "/skills/pdf/scripts/run.sh"
      return "done"
    end } })
    h:session("s").agents.helper:run "go"
    assert.equal("#!/bin/sh\n", text)
  end)

  it("gets no links, and what they lead to stays outside", function()
    local own = kept()
    tree:write { secret = "s" }
    tree:run("ln", "-s", "../secret", "pdf/link")
    tree:run("ln", "-s", "/etc", "pdf/etc")
    tree:run("mkfifo", "pdf/pipe")
    local h = define({ { text = "1" } }, { definition = { sandbox = own } })
    h:session("s").agents.helper:run "go"
    assert.is_false(own.opened[1]:exists "/skills/pdf/link")
    assert.is_false(own.opened[1]:exists "/skills/pdf/etc")
    assert.is_false(own.opened[1]:exists "/skills/pdf/pipe")
    own.opened[1][1]:close()
  end)

  -- The run fails before the model is asked, and the session can go on.
  local function refused(over, code)
    local h, model = define({ { text = "1" } }, over)
    local session = h:session "s"
    local stream = session.agents.helper:stream "go"
    local events, err = scripted.drain(stream)
    assert.equal("run.started run.finished", scripted.types(events))
    assert.same({ code, 0 }, { err.code, #model.requests })
    return err, session
  end

  it("is refused with more than 5,000 files, and not with as many", function()
    tree:run("sh", "-c", "cd pdf && seq -f f%g 4996 | xargs touch")
    local h, model = define { { text = "1" } }
    h:session("s").agents.helper:run "go"
    assert.equal(1, #model.requests)
    tree:write { ["pdf/one-more"] = "" }
    local err = refused(nil, "SKILL_MANIFEST_ERROR")
    assert.same({ reason = "scan_limit_reached", skill_id = "pdf", directory = tree.path .. "/pdf" }, err.meta)
  end)

  it("is refused with more than 100,000,000 bytes, which are not read", function()
    local size = skill_mount.survey({ directory = tree.path .. "/pdf" }).bytes
    tree:run("truncate", "-s", tostring(100000000 - size), "pdf/huge")
    assert.equal(100000000, skill_mount.survey({ directory = tree.path .. "/pdf" }).bytes)
    tree:run("truncate", "-s", tostring(100000001 - size), "pdf/huge")
    local start = core.now_us()
    local err = refused(nil, "SKILL_MANIFEST_ERROR")
    assert.equal("scan_limit_reached", err.meta.reason)
    assert.is_true(core.now_us() - start < 1e6)
  end)

  it("mounts nothing of a skill that is refused, and those before it stay", function()
    local own = kept()
    tree:run("truncate", "-s", "101M", "pdf/huge")
    refused({ agent = { skills = { "docx", "pdf" } }, definition = { sandbox = own } }, "SKILL_MANIFEST_ERROR")
    assert.same({ "/skills/docx read-only" }, own.opened[1].mounts)
    own.opened[1][1]:close()
  end)

  it("is refused when its directory has gone, until it is back", function()
    local h, model = define { { text = "1" } }
    tree:run("mv", "pdf", "away")
    local session = h:session "s"
    local err = failure(session.agents.helper.run, session.agents.helper, "go")
    assert.same({ "SKILL_MANIFEST_ERROR", "directory_missing", 0 }, { err.code, err.meta.reason, #model.requests })
    tree:run("mv", "away", "pdf")
    session.agents.helper:run "go"
    assert.equal(1, #model.requests)
  end)

  -- Calls on_read(name) after each slice of a file that is read meanwhile.
  local function watched(on_read, fn)
    local read = core.folder.read
    local _ <close> = setmetatable({}, { __close = function() core.folder.read = read end })
    core.folder.read = function(directory, name, ...)
      local bytes, size, message = read(directory, name, ...)
      on_read(name)
      return bytes, size, message
    end
    return fn()
  end

  it("lets others have their turn while files are read", function()
    tree:run("truncate", "-s", "3M", "pdf/large")
    tree:run("sh", "-c", "cd pdf && seq -f f%g 100 | xargs touch")
    local turns, at_slice, seen = 0, {}, {}
    local ticker = harness.spawn(function()
      while true do
        turns = turns + 1
        task.pause()
      end
    end)
    local h = define { { text = "1" } }
    watched(function(name)
      if name == "large" then at_slice[#at_slice + 1] = turns end
      seen[turns] = (seen[turns] or 0) + 1
    end, function() h:session("s").agents.helper:run "go" end)
    ticker:cancel()
    assert.equal(3, #at_slice)
    assert.is_true(at_slice[1] < at_slice[2] and at_slice[2] < at_slice[3])
    for _, reads in pairs(seen) do assert.is_true(reads <= 64) end
  end)

  it("is refused when a file changes while it is read", function()
    tree:run("truncate", "-s", "3M", "pdf/large")
    local h, model = define { { text = "1" } }
    local session = h:session "s"
    local err = watched(function(name)
      if name == "large" then assert(io.open(tree.path .. "/pdf/large", "w")):close() end
    end, function() return failure(session.agents.helper.run, session.agents.helper, "go") end)
    assert.same({ "SKILL_MANIFEST_ERROR", "unreadable", 0 }, { err.code, err.meta.reason, #model.requests })
    assert.matches("was changed while it was read: large", err.message)
    session.agents.helper:run "go" -- as it is now
  end)

  it("cannot be given what cannot be read", function()
    tree:write { ["try.lua"] = [[
      local skill_mount = require "harness.skill_mount"
      local function try() return select(3, skill_mount.survey { directory = arg[1] }) end
      os.execute("chmod 0 " .. arg[1] .. "/data")
      print(try())
      os.execute("chmod 700 " .. arg[1] .. "/data; chmod 0 " .. arg[1] .. "/data/blob")
      print(try(), select(2, require "harness.core".folder.read(arg[1], "data/blob", 0, 1)))
    ]] }
    local line = { command.HARNESS_LUA, tree.path .. "/try.lua", tree.path .. "/pdf" }
    -- root reads everything, but for these capabilities
    if process.run({ file = "id", args = { "-u" } }).stdout == "0\n" then
      line = { "setpriv", "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search", table.unpack(line) }
    end
    local result = command.run { program = "env", table.unpack(line) }
    assert.same({ "cannot be read: data: permission denied\nnil\tEACCES\tpermission denied\n", "" },
      { result.stdout, result.stderr })
  end)

  it("is refused by a sandbox that cannot mount", function()
    local session = table_sandbox.session()
    session.mount = false
    local err = refused({ definition = { sandbox = table_sandbox.new(session) } }, "SKILL_MANIFEST_ERROR")
    assert.same({ reason = "skill_sandbox_unsupported" }, err.meta)
  end)

  it("is refused when a lenient skill of it was left out", function()
    tree:write { ["broken/SKILL.md"] = "---\nname: broken\n---\n" }
    local err = refused({
      agent = { skills = { "pdf", "broken" } },
      definition = { skills = {
        pdf = tree.path .. "/pdf", broken = { directory = tree.path .. "/broken", validation_mode = "lenient" },
      } },
    }, "SKILL_NOT_FOUND")
    assert.same({ skill_id = "broken", agent_id = "helper" }, err.meta)
    assert.matches('needs the skill "broken", which was left out: description must be', err.message)
  end)

  it("hears what the sandbox says about a mount, and tries again", function()
    local own, tries = kept(), 0
    local open = own.open
    function own:open(request)
      local session = open(self, request)
      local mount = session.mount
      session.mount = function(...)
        tries = tries + 1
        if tries == 1 then harness.error("SANDBOX_ERROR", "full", { reason = "quota" }) end
        return mount(...)
      end
      return session
    end
    local h = define({ { text = "1" } }, { definition = { sandbox = own } })
    local session = h:session "s"
    assert.equal("quota", failure(session.agents.helper.run, session.agents.helper, "go").meta.reason)
    session.agents.helper:run "go"
    assert.equal(2, tries)
    own.opened[1][1]:close()
  end)

  it("does not wait longer than skill_timeout_ms", function()
    local session = table_sandbox.session()
    session.mount = function() harness.sleep(100000) end
    local h = define({ { text = "1" } }, { definition = {
      sandbox = table_sandbox.new(session), defaults = { skill_timeout_ms = 500 },
    } })
    local stream = h:session("s").agents.helper:stream "go"
    clock.advance(499)
    clock.advance(1)
    local err = failure(stream.result, stream)
    assert.same({ "OPERATION_TIMEOUT", "skill", 500 }, { err.code, err.meta.scope, err.meta.timeout_ms })
  end)

  it("can be stopped while they are mounted", function()
    local session = table_sandbox.session()
    session.mount = function() harness.sleep(100000) end
    local h = define({ { text = "1" } }, { definition = { sandbox = table_sandbox.new(session) } })
    local stream = h:session("s").agents.helper:stream "go"
    clock.advance(10)
    stream:cancel "enough"
    assert.equal("OPERATION_CANCELLED", failure(stream.result, stream).code)
  end)
end)
