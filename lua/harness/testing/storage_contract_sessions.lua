--- Storage contract: sessions.

local null = require "harness.json".null
local check = require "harness.testing.storage_check"

local equal, ids, session = check.equal, check.ids, check.session

---@param case fun(name: string, fn: fun(storage: harness.Storage))
return function(case)
  case("knows nothing of an unknown session", function(storage)
    equal(nil, storage:get_session "nobody")
    equal({}, storage:list_sessions())
  end)

  case("gives back what was stored", function(storage)
    local record = session("s", {
      run_count = 3, harness = "support",
      metadata = { tier = "gold", limits = { 1, 2.5, null }, flag = false },
    })
    storage:upsert_session(record)
    equal(record, storage:get_session "s")
    equal({ record }, storage:list_sessions())
  end)

  case("replaces the whole record of an id", function(storage)
    storage:upsert_session(session("s", { harness = "a", metadata = { x = 1 } }))
    storage:upsert_session(session("s", { run_count = 1, updated_at = check.at(5) }))
    equal(session("s", { run_count = 1, updated_at = check.at(5) }), storage:get_session "s")
    equal(1, #storage:list_sessions())
  end)

  case("keeps an absent field and JSON null apart", function(storage)
    storage:upsert_session(session("with", { metadata = null }))
    storage:upsert_session(session "without")
    equal(null, storage:get_session("with").metadata)
    equal(nil, storage:get_session("without").metadata)
  end)

  case("takes copies and gives copies", function(storage)
    local record = session("s", { metadata = { list = { "a" } } })
    storage:upsert_session(record)
    record.run_count, record.metadata.list[1] = 9, "changed"
    equal("a", storage:get_session("s").metadata.list[1])
    local got = storage:get_session "s"
    got.run_count, got.metadata.list[1] = 9, "changed"
    equal(session("s", { metadata = { list = { "a" } } }), storage:get_session "s")
  end)

  case("lists sessions newest first, then by id descending", function(storage)
    for i, id in ipairs { "b", "d", "a", "c" } do
      storage:upsert_session(session(id, { created_at = check.at(i == 4 and 3 or i) }))
    end
    ids({ "c", "a", "d", "b" }, storage:list_sessions())
    ids({ "c", "a" }, storage:list_sessions { limit = 2 })
    ids({ "d", "b" }, storage:list_sessions { before = "a" })
    ids({ "d" }, storage:list_sessions { before = "a", limit = 1 })
    ids({}, storage:list_sessions { before = "b" })
    ids({}, storage:list_sessions { limit = 0 })
    ids({ "c", "a", "d", "b" }, storage:list_sessions { before = "unknown", limit = 100 })
  end)

  case("moves a session whose time of creation changes", function(storage)
    for i, id in ipairs { "a", "b", "c" } do
      storage:upsert_session(session(id, { created_at = check.at(i) }))
    end
    storage:upsert_session(session("a", { created_at = check.at(9) }))
    ids({ "a", "c", "b" }, storage:list_sessions())
  end)

  case("deletes a session with its messages, runs and events, and only those", function(storage)
    for _, id in ipairs { "s", "other" } do
      storage:upsert_session(session(id))
      storage:append_messages(id, { check.message("m", 1) })
      storage:create_run(check.run("run-" .. id, 1, { session_id = id }))
      storage:append_events("run-" .. id, { check.event(1), check.event(2) })
    end
    storage:delete_session "s"
    equal(nil, storage:get_session "s")
    equal({}, storage:list_messages "s")
    equal(nil, storage:get_run "run-s")
    equal({}, storage:list_events "run-s")
    equal({}, storage:list_runs { session_id = "s" })
    ids({ "other" }, storage:list_sessions())
    ids({ "m" }, storage:list_messages "other")
    ids({ "run-other" }, storage:list_runs())
    ids({ "e1", "e2" }, storage:list_events "run-other")
  end)

  case("deletes twice, and what never was", function(storage)
    storage:upsert_session(session "s")
    storage:delete_session "s"
    storage:delete_session "s"
    storage:delete_session "nobody"
    equal({}, storage:list_sessions())
  end)

  case("starts afresh after a deletion", function(storage)
    storage:append_messages("s", { check.message("m", 1) })
    storage:create_run(check.run("r", 1))
    storage:append_events("r", { check.event(1) })
    storage:delete_session "s"
    storage:create_run(check.run("r", 2))
    storage:append_messages("s", { check.message("m", 2) })
    equal({}, storage:list_events "r")
    equal(check.at(2), storage:get_run("r").started_at)
    ids({ "m" }, storage:list_messages "s")
  end)

  case("takes ids of 1000 bytes and of any bytes", function(storage)
    for _, id in ipairs { ("x"):rep(1000), "a\0b", "a\0c", "ключ", "a b\n", "" } do
      storage:upsert_session(session(id))
      equal(id, storage:get_session(id).id)
      storage:append_messages(id, { check.message(id, 1) })
      ids({ id }, storage:list_messages(id))
    end
    equal(6, #storage:list_sessions())
  end)

  case("refuses wrong arguments", function(storage)
    check.refused(storage.get_session, storage, nil)
    check.refused(storage.get_session, storage, 7)
    check.refused(storage.delete_session, storage, {})
    check.refused(storage.upsert_session, storage, "s")
    check.refused(storage.upsert_session, storage, { id = "s" })
    check.refused(storage.upsert_session, storage, session("s", { run_count = "many" }))
    check.refused(storage.upsert_session, storage, session("s", { run_count = -1 }))
    check.refused(storage.list_sessions, storage, { limit = -1 })
    check.refused(storage.list_sessions, storage, { limit = 1.5 })
    check.refused(storage.list_sessions, storage, { limit = "2" })
    check.refused(storage.list_sessions, storage, { before = 1 })
    check.refused(storage.list_sessions, storage, { befor = "s" })
    equal({}, storage:list_sessions())
  end)
end
