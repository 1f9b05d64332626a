local errors = require "harness.errors"
local messages = require "harness.messages"

local function u(text) return { role = "user", content = text } end
local function s(text) return { role = "system", content = text } end
local function a(text, ...)
  local calls = {}
  for i, id in ipairs { ... } do calls[i] = { id = id, name = "t", arguments = {} } end
  return { role = "assistant", content = text, tool_calls = #calls > 0 and calls or nil }
end
local function r(id, text) return { role = "tool", tool_call_id = id, content = text or "ok" } end

local function shape(list)
  local out = {}
  for i, m in ipairs(list) do out[i] = m.role:sub(1, 1) .. ":" .. (m.tool_call_id or m.content) end
  return table.concat(out, " ")
end

describe("messages.window", function()
  local history = { u "1", a("", "x"), r "x", a "one", s "rule", u "2", a "two" }

  it("keeps everything without a window, system messages first", function()
    assert.equal("s:rule u:1 a: t:x a:one u:2 a:two", shape(messages.window(history)))
  end)

  it("moves the cut on to the next whole turn (D8)", function()
    for window, expected in pairs {
      [0] = "s:rule", [1] = "s:rule", [2] = "s:rule u:2 a:two", [3] = "s:rule u:2 a:two", [5] = "s:rule u:2 a:two",
      [6] = "s:rule u:1 a: t:x a:one u:2 a:two", [100] = "s:rule u:1 a: t:x a:one u:2 a:two",
    } do
      assert.equal(expected, shape(messages.window(history, window)), "window " .. window)
    end
  end)

  it("never begins with a tool result when there is no user message at all", function()
    assert.equal("a:b", shape(messages.window({ a("", "x"), r "x", a "b" }, 2)))
  end)

  it("does not change the given list", function()
    local before = shape(history)
    messages.window(history, 2)
    assert.equal(before, shape(history))
  end)
end)

describe("messages.complete", function()
  it("gives back the same list when nothing is missing", function()
    local list = { u "1", a("", "x", "y"), r "y", r "x", a "end" }
    assert.is_true(rawequal(list, messages.complete(list)))
  end)

  it("fills in the results that were lost (D15)", function()
    for _, case in ipairs {
      { { u "1", a("", "x", "y"), r "x", u "2" }, "u:1 a: t:x t:y u:2" },
      { { u "1", a("", "x", "y") }, "u:1 a: t:x t:y" },
      { { a("", "x"), a("", "y"), r "y" }, "a: t:x a: t:y" },
    } do
      local before = shape(case[1])
      assert.equal(case[2], shape(messages.complete(case[1])))
      assert.equal(before, shape(case[1]))
    end
  end)

  it("leaves out results without a call", function()
    assert.equal("u:1 a:end", shape(messages.complete { r "lost", u "1", a "end", r "late" }))
    assert.equal("a: t:x u:2", shape(messages.complete { a("", "x"), r "x", r "x", u "2" }))
  end)

  it("says of a lost result that it may have had its effect", function()
    local list = messages.complete { a("", "x") }
    assert.matches("may or may not have had its effect", list[2].content)
  end)
end)

describe("messages.check", function()
  it("takes well-formed messages", function()
    messages.check { u "1", a("", "x"), r "x", s "y", { role = "user", content = { { type = "text", text = "t" } } } }
  end)

  it("names every problem", function()
    local ok, err = pcall(messages.check, { { role = "human", content = "x" }, 7, { role = "tool", content = "x" },
      { role = "user" }, { role = "assistant", content = "", tool_calls = { { id = 1 } } } })
    assert.is_false(ok)
    assert.is_true(errors.is(err, "VALIDATION_ERROR"))
    assert.equal("session_history", err.meta.where)
    assert.equal(5, #err.meta.issues)
  end)
end)
