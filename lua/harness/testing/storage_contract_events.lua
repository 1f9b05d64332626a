--- Storage contract: events.

local null = require "harness.json".null
local check = require "harness.testing.storage_check"

local equal, ids, event = check.equal, check.ids, check.event

---@param case fun(name: string, fn: fun(storage: harness.Storage))
return function(case)
  case("has none of an unknown run", function(storage)
    equal({}, storage:list_events "nothing")
  end)

  case("gives back what was stored", function(storage)
    local list = {
      event(1, { type = "run.started", payload = {} }),
      event(4, { payload = { usage = { input_tokens = 3 }, none = null, list = { 1, "a", { b = false } } } }),
      event(9, { payload = null }),
    }
    storage:create_run(check.run("r", 1))
    storage:append_events("r", list)
    for _, record in ipairs(list) do record.run_id = "r" end
    equal(list, storage:list_events "r")
  end)

  case("keeps the numbers and the order across calls", function(storage)
    storage:append_events("r", { event(1), event(2) })
    storage:append_events("r", { event(5) })
    storage:append_events("r", {})
    storage:append_events("r", { event(6), event(8) })
    ids({ 1, 2, 5, 6, 8 }, storage:list_events "r", "seq")
  end)

  case("sorts by seq what comes late", function(storage)
    storage:append_events("r", { event(5), event(3) })
    storage:append_events("r", { event(4), event(9), event(1) })
    ids({ 1, 3, 4, 5, 9 }, storage:list_events "r", "seq")
  end)

  case("lists the first n after a seq", function(storage)
    storage:append_events("r", { event(1), event(2), event(5), event(6) })
    ids({ 1, 2 }, storage:list_events("r", { limit = 2 }), "seq")
    ids({ 5, 6 }, storage:list_events("r", { after_seq = 2 }), "seq")
    ids({ 5 }, storage:list_events("r", { after_seq = 3, limit = 1 }), "seq")
    ids({ 1, 2, 5, 6 }, storage:list_events("r", { after_seq = 0, limit = 10 }), "seq")
    ids({}, storage:list_events("r", { after_seq = 6 }), "seq")
    ids({}, storage:list_events("r", { after_seq = 1000000 }), "seq")
    ids({}, storage:list_events("r", { limit = 0 }), "seq")
  end)

  case("refuses a seq that is taken, and stores nothing of that call", function(storage)
    storage:append_events("r", { event(1), event(5) })
    local append = storage.append_events
    for _, seqs in ipairs { { 6, 5 }, { 7, 7 }, { 4, 2, 4 } } do
      local list = {}
      for i, seq in ipairs(seqs) do list[i] = event(seq) end
      check.state_error("duplicate_event_seq", "append_events", append, storage, "r", list)
    end
    ids({ 1, 5 }, storage:list_events "r", "seq")
    check.state_error("duplicate_event_seq", "append_events", append, storage, "new", { event(1), event(1) })
    equal({}, storage:list_events "new")
  end)

  case("has events for each run by itself", function(storage)
    storage:append_events("a", { event(1) })
    storage:append_events("b", { event(1) })
    equal("b", storage:list_events("b")[1].run_id)
  end)

  case("keeps events that came before their run's record", function(storage)
    storage:append_events("r", { event(1) })
    equal(nil, storage:get_run "r")
    equal({}, storage:list_runs())
    storage:create_run(check.run("r", 1))
    ids({ "e1" }, storage:list_events "r")
    storage:delete_session "s"
    equal({}, storage:list_events "r")
  end)

  case("takes copies and gives copies", function(storage)
    local given = event(1, { payload = { list = { 1 } } })
    storage:append_events("r", { given })
    given.payload.list[1], given.type = 2, "changed"
    local got = storage:list_events "r"
    got[1].payload.list[1], got[1].seq = 3, 9
    equal({ event(1, { run_id = "r", payload = { list = { 1 } } }) }, storage:list_events "r")
  end)

  case("holds many events", function(storage)
    for first = 1, 5000, 100 do
      local batch = {}
      for seq = first, first + 99 do batch[#batch + 1] = event(seq) end
      storage:append_events("r", batch)
    end
    equal(5000, #storage:list_events "r")
    ids({ 4321, 4322 }, storage:list_events("r", { after_seq = 4320, limit = 2 }), "seq")
  end)

  case("refuses wrong arguments and changes nothing", function(storage)
    local append = storage.append_events
    check.refused(append, storage, nil, {})
    check.refused(append, storage, "r", nil)
    check.refused(append, storage, "r", { event(1), 2 })
    check.refused(append, storage, "r", { event(1, { seq = 0 }) })
    check.refused(append, storage, "r", { event(1, { seq = 1.5 }) })
    check.refused(append, storage, "r", { event(1, { seq = "1" }) })
    check.refused(append, storage, "r", { event(1, { type = 5 }) })
    check.refused(append, storage, "r", { event(1, { run_id = "other" }) })
    check.refused(append, storage, "r", { event(1, { run_id = "r" }), event(2, { run_id = "other" }) })
    check.refused(append, storage, "r", { { id = "e", at = check.T0, type = "t" } })
    check.refused(storage.list_events, storage, "r", { limit = -1 })
    check.refused(storage.list_events, storage, "r", { after_seq = -1 })
    check.refused(storage.list_events, storage, "r", { before = "e1" })
    equal({}, storage:list_events "r")
  end)
end
