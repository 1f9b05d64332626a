-- harness-lua runs: what a harness's storage knows of its runs.

local command = require "spec.support.command"
local json = require "harness.json"

-- A harness whose file has run something already when it is loaded: the storage is in memory.
local FILE <const> = [[
local harness = require "harness"
local h = harness.define {
  name = "past",
  models = { m = { provider = harness.providers.scripted { { text = "hi" }, { text = "ho" } }, model = "m" } },
  agents = { talker = { model = "m", instructions = "x" } },
  workflows = { broken = { run = function() error "no" end } },
  logger = setmetatable({}, { __index = function() return function(self) return self end end }),
}
h:session("a").agents.talker:run "x"
pcall(function() h:session("b").workflows.broken:run() end)
return h
]]

-- One run whose id is known.
local KEPT <const> = [[
local harness = require "harness"
local storage = harness.storage.memory()
local at = "2026-01-02T03:04:05.678Z"
storage:create_run { id = "r1", session_id = "s", kind = "agent", target = "a", harness = "kept", started_at = at,
  status = "succeeded", output = "four\27[2J" }
storage:append_events("r1", {
  { id = "e1", seq = 1, at = at, type = "run.started", payload = { kind = "agent" } },
  { id = "e4", seq = 4, at = at, type = "run.finished", payload = { output = "four" } },
})
storage:create_run { id = "other", session_id = "s", kind = "agent", target = "a", harness = "other", started_at = at,
  status = "failed" }
return harness.define {
  name = "kept", storage = storage,
  models = { m = { provider = harness.providers.scripted {}, model = "m" } },
}
]]

local place

setup(function() place = command.directory { ["past.lua"] = FILE, ["kept.lua"] = KEPT, ["none.lua"] = [[
  local harness = require "harness"
  return harness.define { models = { m = { provider = harness.providers.scripted {}, model = "m" } } }]] } end)
teardown(function() place:close() end)

local function runs(...)
  local options = { "runs", ... }
  options.cwd = place.path
  return command.run(options)
end

describe("harness-lua runs", function()
  it("lists them, newest first, and those of a session", function()
    local result = runs "past.lua"
    assert.equal(0, result.status)
    local lines = {}
    for line in result.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(2, #lines)
    assert.matches("^%w+ +failed +workflow broken +%d%d%d%d%-.* b$", lines[1])
    assert.matches("^%w+ +succeeded +agent talker +.* a$", lines[2])
    assert.matches("^%w+ +succeeded +[^\n]* a\n$", runs("past.lua", "a").stdout)
    assert.equal("broken", json.decode(runs("past.lua", "--json", "--limit", "1").stdout).target)
  end)

  it("shows one with its events", function()
    local result = runs("kept.lua", "show", "r1")
    assert.same({ 0, "" }, { result.status, result.stderr })
    local record, events = result.stdout:match "^(.-\n})\n(.*)$"
    assert.equal("four\27[2J", json.decode(record).output)
    assert.equal(table.concat {
      '    1 2026-01-02T03:04:05.678Z run.started      {"kind":"agent"}\n',
      '    4 2026-01-02T03:04:05.678Z run.finished     {"output":"four"}\n',
    }, events)
    local lines = {}
    for line in runs("kept.lua", "show", "r1", "--json").stdout:gmatch "[^\n]+" do
      lines[#lines + 1] = json.decode(line)
    end
    assert.same({ "r1", 1, 4, "run.finished" }, { lines[1].id, lines[2].seq, lines[3].seq, lines[3].type })
  end)

  it("leaves out what other harnesses ran in the same storage", function()
    assert.equal(1, select(2, runs("kept.lua").stdout:gsub("\n", "")))
  end)

  it("says when there are none", function()
    local result = runs "none.lua"
    assert.same({ 0, "" }, { result.status, result.stdout })
    assert.matches("^There are no runs: the storage is in memory", result.stderr)
  end)

  it("tells of wrong arguments", function()
    for _, case in ipairs {
      { {}, "expected FILE" }, { { "past.lua", "show" }, "expected FILE" },
      { { "past.lua", "a", "b" }, "expected FILE" },
      { { "past.lua", "show", "x" }, 'there is no run "x"' }, { { "past.lua", "--limit", "0" }, "--limit must be" },
      { { "past.lua", "--lmit", "1" }, "did you mean --limit" },
    } do
      local result = runs(table.unpack(case[1]))
      assert.equal(2, result.status)
      assert.is_truthy(result.stderr:find(case[2], 1, true), result.stderr)
    end
  end)
end)
