--- Storage contract: messages.

local null = require "harness.json".null
local check = require "harness.testing.storage_check"

local equal, ids, message = check.equal, check.ids, check.message

local function three(storage)
  storage:append_messages("s", { message("m1", 1), message("m2", 2) })
  storage:append_messages("s", { message("m3", 3) })
end

---@param case fun(name: string, fn: fun(storage: harness.Storage))
return function(case)
  case("has none of an unknown session", function(storage)
    equal({}, storage:list_messages "nobody")
    storage:clear_messages "nobody"
    equal(nil, storage:get_session "nobody")
  end)

  case("keeps all of a message", function(storage)
    local list = {
      message("m1", 1, { run_id = "r", content = "Where is order 7?" }),
      message("m2", 2, {
        role = "assistant", content = "",
        provider = { name = "openai", data = { items = { { id = "rs_1" } } } },
        tool_calls = { { id = "c1", name = "find_order", arguments = { id = "7", exact = true, n = 1.0 } } },
      }),
      message("m3", 3, {
        role = "tool", tool_call_id = "c1", content = { { type = "text", text = "shipped" } },
      }),
      message("m4", 4, {
        role = "system", content = null, further = { deep = { null, 1 } }, ["odd name"] = "x",
      }),
    }
    storage:append_messages("s", list)
    for _, record in ipairs(list) do record.session_id = "s" end
    equal(list, storage:list_messages "s")
  end)

  case("keeps the order across calls", function(storage)
    three(storage)
    ids({ "m1", "m2", "m3" }, storage:list_messages "s")
  end)

  case("sorts by time, then by id", function(storage)
    storage:append_messages("s", { message("b", 5), message("z", 1), message("a", 5) })
    storage:append_messages("s", { message("y", 3), message("c", 5) })
    ids({ "z", "y", "a", "b", "c" }, storage:list_messages "s")
  end)

  case("keeps the last with limit, and excludes the cursor", function(storage)
    three(storage)
    ids({ "m2", "m3" }, storage:list_messages("s", { limit = 2 }))
    ids({ "m1", "m2" }, storage:list_messages("s", { before = "m3" }))
    ids({ "m2" }, storage:list_messages("s", { before = "m3", limit = 1 }))
    ids({}, storage:list_messages("s", { before = "m1" }))
    ids({}, storage:list_messages("s", { limit = 0 }))
    ids({ "m1", "m2", "m3" }, storage:list_messages("s", { limit = 100 }))
  end)

  case("ignores a cursor that it does not know", function(storage)
    three(storage)
    storage:append_messages("other", { message("elsewhere", 1) })
    ids({ "m1", "m2", "m3" }, storage:list_messages("s", { before = "unknown" }))
    ids({ "m2", "m3" }, storage:list_messages("s", { before = "elsewhere", limit = 2 }))
  end)

  case("refuses an id that is there, and stores nothing of that call", function(storage)
    three(storage)
    check.state_error("duplicate_message_id", "append_messages",
      storage.append_messages, storage, "s", { message("m4", 4), message("m2", 5) })
    ids({ "m1", "m2", "m3" }, storage:list_messages "s")
    storage:append_messages("s", { message("m4", 4) })
  end)

  case("refuses an id twice in one call, and stores nothing", function(storage)
    check.state_error("duplicate_message_id", "append_messages",
      storage.append_messages, storage, "s", { message("m", 1), message("n", 2), message("m", 3) })
    equal({}, storage:list_messages "s")
    storage:append_messages("s", { message("m", 1), message("n", 2) })
  end)

  case("has ids for each session by itself", function(storage)
    storage:append_messages("a", { message("m", 1) })
    storage:append_messages("b", { message("m", 1) })
    equal("b", storage:list_messages("b")[1].session_id)
  end)

  case("clears all of one session", function(storage)
    three(storage)
    storage:append_messages("other", { message("m1", 1) })
    storage:clear_messages "s"
    equal({}, storage:list_messages "s")
    ids({ "m1" }, storage:list_messages "other")
    three(storage)
  end)

  case("replaces all", function(storage)
    three(storage)
    storage:replace_messages("s", { message("m2", 1), message("new", 2) })
    ids({ "m2", "new" }, storage:list_messages "s")
    storage:append_messages("s", { message("m1", 3) })
    storage:replace_messages("s", {})
    equal({}, storage:list_messages "s")
    storage:replace_messages("fresh", { message("m", 1) })
    ids({ "m" }, storage:list_messages "fresh")
  end)

  case("leaves the old ones when a replacement fails", function(storage)
    three(storage)
    check.state_error("duplicate_message_id", "replace_messages",
      storage.replace_messages, storage, "s", { message("x", 1), message("x", 2) })
    ids({ "m1", "m2", "m3" }, storage:list_messages "s")
  end)

  case("takes an empty list", function(storage)
    storage:append_messages("s", {})
    equal({}, storage:list_messages "s")
  end)

  case("takes copies and gives copies", function(storage)
    local given = message("m", 1, { content = { { type = "text", text = "a" } } })
    storage:append_messages("s", { given })
    given.content[1].text = "changed"
    local got = storage:list_messages "s"
    equal("a", got[1].content[1].text)
    got[1].content[1].text, got[1].id, got[2] = "changed", "x", {}
    equal({ message("m", 1, { session_id = "s", content = { { type = "text", text = "a" } } }) },
      storage:list_messages "s")
  end)

  case("keeps NUL bytes, UTF-8, line ends, long texts, integers and floats", function(storage)
    local texts = {
      "a\0b", "żółw 日本語 🐢", "line\r\n\ttab \\ \"quoted\" \127 \1", ("long "):rep(20000), "",
      "\u{FEFF}bom",
    }
    local numbers = { 2 ^ 53, 1 << 62, 0.1, -0.0 }
    for i, text in ipairs(texts) do
      storage:append_messages("s", { message("m" .. i, i, { content = text, n = numbers }) })
    end
    for i, got in ipairs(storage:list_messages "s") do
      equal(texts[i], got.content)
      equal(numbers, got.n)
    end
  end)

  case("tells null from absent", function(storage)
    storage:append_messages("s", { message("a", 1, { provider = null, note = null }), message("b", 2) })
    local list = storage:list_messages "s"
    equal(null, list[1].provider)
    equal(null, list[1].note)
    equal(nil, list[2].provider)
    equal(nil, list[2].run_id)
  end)

  case("holds 10,000 messages", function(storage)
    for first = 1, 10000, 500 do
      local batch = {}
      for i = first, first + 499 do batch[#batch + 1] = message(("m%05d"):format(i), i) end
      storage:append_messages("s", batch)
    end
    local list = storage:list_messages "s"
    equal(10000, #list)
    for i, got in ipairs(list) do equal(("m%05d"):format(i), got.id) end
    ids({ "m04998", "m04999" }, storage:list_messages("s", { before = "m05000", limit = 2 }))
    check.state_error("duplicate_message_id", "append_messages",
      storage.append_messages, storage, "s", { message("m00001", 1) })
  end)

  case("refuses wrong arguments and changes nothing", function(storage)
    local append = storage.append_messages
    check.refused(append, storage, nil, {})
    check.refused(append, storage, "s", nil)
    check.refused(append, storage, "s", "text")
    check.refused(append, storage, "s", { message("m", 1), "text" })
    check.refused(append, storage, "s", { message("m", 1, { role = "robot" }) })
    check.refused(append, storage, "s", { message("m", 1, { timestamp = 1 }) })
    check.refused(append, storage, "s", { message("m", 1, { id = 7 }) })
    check.refused(append, storage, "s", { message("m", 1, { session_id = "other" }) })
    check.refused(append, storage, "s",
      { message("m", 1, { session_id = "s" }), message("n", 2, { session_id = "other" }) })
    check.refused(append, storage, "s", { { id = "m", role = "user", content = "x" } })
    check.refused(storage.list_messages, storage, "s", { limit = -1 })
    check.refused(storage.list_messages, storage, "s", { after = "m" })
    check.refused(storage.list_messages, storage, "s", "m")
    check.refused(storage.clear_messages, storage)
    equal({}, storage:list_messages "s")
  end)
end
