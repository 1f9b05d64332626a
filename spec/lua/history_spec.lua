--- session.history: list, clear, replace, and what of it the model sees. Rule names: reference A 3.6, 3.7.

local failure = require("spec.support.failure").structured
local harness = require "harness"
local json = require "harness.json"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local wrapped = require "spec.support.wrapped_storage"

local function contents(list)
  local out = {}
  for i, message in ipairs(list) do out[i] = message.content end
  return table.concat(out, " ")
end

local function user(text) return { role = "user", content = text } end
local function assistant(text) return { role = "assistant", content = text } end

describe("the history of a session", function()
  local opened = still(before_each, after_each)

  local function define(turns, over)
    local h, model = scripted.harness(turns or {}, over)
    opened[#opened + 1] = h
    return h, model
  end

  describe("listed", function()
    it("is the newest of them with limit, those before one with before", function()
      local session = define():session "s"
      session.history:replace { user "1", assistant "2", user "3", assistant "4" }
      local all = session.history:list()
      assert.equal("1 2 3 4", contents(all))
      assert.equal("3 4", contents(session.history:list { limit = 2 }))
      assert.equal("2 3", contents(session.history:list { limit = 2, before = all[4].id }))
      assert.equal("1", contents(session.history:list { before = all[2].id }))
      assert.equal("", contents(session.history:list { limit = 0 }))
      assert.equal("1 2 3 4", contents(session.history:list { before = "unknown" }))
      assert.equal("1 2 3 4", contents(session.history:list { limit = 100 }))
    end)

    it("refuses options that make no sense", function()
      local session = define():session "s"
      for _, options in ipairs { { limit = -1 }, { limit = "x" }, { limt = 1 }, { before = 7 } } do
        assert.equal("VALIDATION_ERROR", failure(session.history.list, session.history, options).code)
      end
    end)

    it("is a copy", function()
      local session = define():session "s"
      session.history:replace { user "1" }
      session.history:list()[1].content = "changed"
      assert.equal("1", contents(session.history:list()))
    end)
  end)

  describe("replaced", function()
    it("has new ids and times, and all fields of the messages otherwise (A 18)", function()
      local session = define():session "s"
      local given = {
        { role = "system", content = "sys" },
        { role = "user", content = { { type = "text", text = "see" }, { type = "image", url = "u" } } },
        { role = "assistant", content = "",
          tool_calls = { { id = "c1", name = "echo", arguments = { text = "x" } } },
          provider = { name = "p", data = { a = 1 } } },
        { role = "tool", content = "x", tool_call_id = "c1" },
        { role = "assistant", content = "end", id = "mine", timestamp = "then", session_id = "other",
          run_id = "r7" },
      }
      local kept = json.encode(given)
      session.history:replace(given)
      assert.equal(kept, json.encode(given)) -- what was given stays as it was
      local list, ids = session.history:list(), {}
      assert.equal(5, #list)
      for i, message in ipairs(list) do
        assert.is_nil(ids[message.id])
        ids[message.id] = true
        assert.same({ "s", 26, "2026-01-01T00:00:00.000Z" },
          { message.session_id, #message.id, message.timestamp })
        assert.same({ given[i].role, given[i].content, given[i].tool_calls, given[i].tool_call_id,
          given[i].provider },
          { message.role, message.content, message.tool_calls, message.tool_call_id, message.provider })
      end
      assert.equal("r7", list[5].run_id)
    end)

    it("by nothing is empty", function()
      local session = define():session "s"
      session.history:replace { user "1" }
      session.history:replace {}
      assert.same({}, session.history:list())
    end)

    it("by what is no history stays as it was: all or nothing", function()
      local session = define():session "s"
      session.history:replace { user "kept" }
      local bad = {
        "x", 7, { "x" }, { { content = "x" } }, { { role = "robot", content = "x" } }, { user(7) },
        { { role = "user" } }, { user "good", { role = "tool", content = "x" } },
        { { role = "assistant", content = "", tool_calls = "x" } },
        { { role = "assistant", content = "", tool_calls = { { name = "x" } } } },
      }
      for i, list in ipairs(bad) do
        local err = failure(session.history.replace, session.history, list)
        assert.same({ "VALIDATION_ERROR", "session_history" }, { err.code, err.meta.where }, "case " .. i)
        assert.is_true(#err.meta.issues >= 1)
      end
      assert.equal("VALIDATION_ERROR", failure(session.history.replace, session.history, nil).code)
      assert.equal("kept", contents(session.history:list()))
    end)

    it("names all the messages that are wrong", function()
      local session = define():session "s"
      local err = failure(session.history.replace, session.history,
        { user "ok", user(1), { role = "x", content = "y" } })
      assert.same({ "$[2]", "$[3]" }, { err.meta.issues[1].path, err.meta.issues[2].path })
    end)

    it("on a storage that fails stays as it was", function()
      local storage = wrapped.new()
      local session = define({}, { definition = { storage = storage } }):session "s"
      session.history:replace { user "kept" }
      storage.hook = function(method)
        if method == "replace_messages" then harness.error("STATE_ERROR", "no disk", { op = method }) end
      end
      assert.equal("STATE_ERROR", failure(session.history.replace, session.history, { user "new" }).code)
      assert.equal("kept", contents(session.history:list()))
    end)

    it("with what JSON cannot hold is refused by the storage, and stays", function()
      local session = define():session "s"
      session.history:replace { user "kept" }
      failure(session.history.replace, session.history,
        { { role = "user", content = { { type = "text", text = print } } } })
      assert.equal("kept", contents(session.history:list()))
    end)
  end)

  it("cleared is empty, and the runs stay", function()
    local session = define({ { text = "hi" } }):session "s"
    session.agents.helper:run "go"
    session.history:clear()
    session.history:clear()
    assert.same({}, session.history:list())
    assert.equal(1, #session:runs())
  end)

  describe("as the model sees it", function()
    local function sent_after(history, options, over)
      local h, model = define({ { text = "end" } }, over)
      local session = h:session "s"
      if history then session.history:replace(history) end
      session.agents.helper:run("now", options)
      return model.requests[1].messages, session
    end

    local HISTORY <const> = { { role = "system", content = "S" }, user "1", assistant "2", user "3",
      assistant "4" }

    it("is instructions, system messages, the window, the new input (HIST-1, HIST-5)", function()
      assert.equal("Be brief. S 1 2 3 4 now", contents((sent_after(HISTORY))))
      assert.equal("Be brief. S 3 4 now", contents((sent_after(HISTORY, { history_window = 2 }))))
      assert.equal("Be brief. S now", contents((sent_after(HISTORY, { history_window = 0 }))))
      assert.equal("Be brief. S 1 2 3 4 now", contents((sent_after(HISTORY, { history_window = 99 }))))
    end)

    it("begins with a whole turn wherever the window cuts (D8)", function()
      assert.equal("Be brief. S 3 4 now", contents((sent_after(HISTORY, { history_window = 3 }))))
      assert.equal("Be brief. S now", contents((sent_after(HISTORY, { history_window = 1 }))))
    end)

    it("has the window of the run before the agent's before the default's (A 22)", function()
      local over = { agent = { history_window = 2 }, definition = { defaults = { history_window = 0 } } }
      assert.equal("Be brief. S 3 4 now", contents((sent_after(HISTORY, nil, over))))
      assert.equal("Be brief. S 1 2 3 4 now", contents((sent_after(HISTORY, { history_window = 4 }, over))))
      over.agent = nil
      assert.equal("Be brief. S now", contents((sent_after(HISTORY, nil, over))))
    end)

    it("has no instructions when they are empty, and those of a function", function()
      assert.equal("now", contents((sent_after(nil, nil, { agent = { instructions = "" } }))))
      local seen, calls = nil, 0
      local sent = sent_after({ user "1" }, nil, { agent = { instructions = function(ctx)
        calls = calls + 1
        seen = { ctx.input, #ctx.history:list(), ctx.agent_id, ctx.session_id }
        ctx.history:list()[1].content = "changed"
        return "For " .. ctx.input
      end } })
      assert.equal("For now 1 now", contents(sent))
      assert.same({ { "now", 1, "helper", "s" }, 1 }, { seen, calls })
    end)

    it("has an input that is no text as compact JSON (HIST-4)", function()
      local s = harness.schema
      local h, model = define({ { text = "x" } },
        { agent = { input = s.object { n = s.integer(), a = s.string() } } })
      h:session().agents.helper:run { n = 1, a = "x" }
      assert.equal('{"a":"x","n":1}', model.requests[1].messages[2].content)
    end)

    it("is the same bytes from turn to turn, up to what is new", function()
      local h, model = define({
        { tool_calls = { { name = "echo", arguments = { text = "x" } } } }, { text = "one" },
        { text = "two" },
      })
      local session = h:session "s"
      session.agents.helper:run "1"
      session.agents.helper:run "2"
      local first, last = model.requests[2].messages, model.requests[3].messages
      for i, message in ipairs(first) do
        local again = last[i]
        assert.equal(json.encode { message.role, message.content, message.tool_calls or 0,
          message.tool_call_id or 0 },
          json.encode { again.role, again.content, again.tool_calls or 0, again.tool_call_id or 0 })
      end
      assert.equal(#first + 2, #last)
    end)
  end)

  it("costs the new messages only: they are not read again at every turn", function()
    local storage = wrapped.new()
    local limits = {}
    storage.hook = function(method, _, options)
      if method == "list_messages" then limits[#limits + 1] = options and options.limit or "all" end
    end
    local session = define(function() return { text = "x" } end,
      { definition = { storage = storage } }):session "s"
    collectgarbage "stop"
    for _ = 1, 4 do session.agents.helper:run "go" end
    collectgarbage "restart"
    assert.same({ "all", 1, 1, 1 }, limits)
  end)
end)
