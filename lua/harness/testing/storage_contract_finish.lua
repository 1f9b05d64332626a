--- Storage contract: finish_run, the end of a run in one transaction.

local null = require "harness.json".null
local check = require "harness.testing.storage_check"

local equal, ids = check.equal, check.ids

local function finish(storage, run_id, patch)
  return storage:finish_run(run_id, patch)
end

local function patch(fields)
  local out = { status = "succeeded", finished_at = check.at(100) }
  for name, value in pairs(fields or {}) do out[name] = value end
  return out
end

local function begin(storage)
  storage:upsert_session(check.session "s")
  storage:append_messages("s", { check.message("m1", 1) })
  storage:create_run(check.run("r", 1, { input = "question", metadata = { a = 1 }, further = "kept" }))
  storage:append_events("r", { check.event(1) })
end

-- Everything that finish_run may touch.
local function state(storage)
  return {
    run = storage:get_run "r", session = storage:get_session "s", messages = storage:list_messages "s",
    events = storage:list_events "r", runs = storage:list_runs(), sessions = storage:list_sessions(),
  }
end

local function fails_without_trace(storage, reason, fields)
  local before = state(storage)
  check.state_error(reason, "finish_run", finish, storage, "r", patch(fields))
  equal(before, state(storage))
end

---@param case fun(name: string, fn: fun(storage: harness.Storage))
return function(case)
  case("changes the fields of the patch only", function(storage)
    begin(storage)
    finish(storage, "r", patch { output = { answer = 42 } })
    equal(check.run("r", 1, {
      input = "question", metadata = { a = 1 }, further = "kept", output = { answer = 42 },
      status = "succeeded", finished_at = check.at(100),
    }), storage:get_run "r")
    ids({ "r" }, storage:list_runs { status = "succeeded" })
    ids({}, storage:list_runs { status = "running" })
    equal(check.session "s", storage:get_session "s")
    ids({ "m1" }, storage:list_messages "s")
    ids({ "e1" }, storage:list_events "r")
  end)

  case("commits run, messages, session and event together", function(storage)
    begin(storage)
    finish(storage, "r", patch {
      status = "failed", error = { code = "TOOL_ERROR", message = "m" },
      messages = { check.message("m2", 2), check.message("m3", 3, { session_id = "s", role = "assistant" }) },
      session = check.session("s", { run_count = 1, updated_at = check.at(100) }),
      event = check.event(7, { type = "run.finished", payload = {} }),
    })
    equal("failed", storage:get_run("r").status)
    equal({ code = "TOOL_ERROR", message = "m" }, storage:get_run("r").error)
    ids({ "m1", "m2", "m3" }, storage:list_messages "s")
    equal(1, storage:get_session("s").run_count)
    ids({ "e1", "e7" }, storage:list_events "r")
    equal("run.finished", storage:list_events("r", { after_seq = 1 })[1].type)
  end)

  case("takes null as an output, which is not an absent one", function(storage)
    begin(storage)
    finish(storage, "r", patch { output = null })
    equal(null, storage:get_run("r").output)
    equal(nil, storage:get_run("r").error)
  end)

  case("stores the session where there was none", function(storage)
    storage:create_run(check.run("r", 1))
    finish(storage, "r", patch { session = check.session "s", messages = { check.message("m", 1) } })
    equal(check.session "s", storage:get_session "s")
    ids({ "m" }, storage:list_messages "s")
  end)

  case("changes nothing when a message is there already", function(storage)
    begin(storage)
    fails_without_trace(storage, "duplicate_message_id", {
      output = "x", messages = { check.message("m2", 2), check.message("m1", 3) },
      session = check.session("s", { run_count = 1 }), event = check.event(2),
    })
    finish(storage, "r", patch { messages = { check.message("m2", 2) }, event = check.event(2) })
    ids({ "m1", "m2" }, storage:list_messages "s")
  end)

  case("changes nothing when a message comes twice", function(storage)
    begin(storage)
    fails_without_trace(storage, "duplicate_message_id", {
      messages = { check.message("m2", 2), check.message("m2", 3) },
      session = check.session("s", { run_count = 1 }),
    })
  end)

  case("changes nothing when the event's seq is taken", function(storage)
    begin(storage)
    fails_without_trace(storage, "duplicate_event_seq", {
      messages = { check.message("m2", 2) }, session = check.session("s", { run_count = 1 }),
      event = check.event(1, { id = "again" }),
    })
  end)

  case("refuses records of another session", function(storage)
    begin(storage)
    fails_without_trace(storage, "session_mismatch", { session = check.session "other" })
    local message = check.message("m2", 2, { session_id = "t" })
    fails_without_trace(storage, "session_mismatch", { messages = { message } })
    equal(nil, storage:get_session "other")
    local before = state(storage)
    local right = check.message("m2", 2, { session_id = "s" })
    local wrong = check.message("m3", 3, { session_id = "t" })
    equal(false, (pcall(finish, storage, "r", patch { messages = { right, wrong } })))
    equal(before, state(storage))
  end)

  case("ends a run once", function(storage)
    begin(storage)
    finish(storage, "r", patch { output = "first" })
    fails_without_trace(storage, "run_finished", { output = "second", messages = { check.message("m2", 2) } })
  end)

  case("refuses an unknown run", function(storage)
    check.state_error("run_not_found", "finish_run", finish, storage, "nothing", patch {
      messages = { check.message("m", 1) }, session = check.session "s", event = check.event(1),
    })
    equal(nil, storage:get_session "s")
    equal({}, storage:list_events "nothing")
    storage:append_events("only-events", { check.event(1) })
    check.state_error("run_not_found", "finish_run", finish, storage, "only-events", patch())
  end)

  case("takes copies", function(storage)
    begin(storage)
    local given = patch {
      output = { list = { 1 } }, messages = { check.message("m2", 2) }, event = check.event(2),
      session = check.session("s", { metadata = { a = 1 } }),
    }
    finish(storage, "r", given)
    given.output.list[1], given.messages[1].content = 2, "x"
    given.session.metadata.a, given.event.payload.call_id = 2, "x"
    equal({ list = { 1 } }, storage:get_run("r").output)
    equal("text of m2", storage:list_messages("s")[2].content)
    equal({ a = 1 }, storage:get_session("s").metadata)
    equal({ call_id = "c2" }, storage:list_events("r")[2].payload)
  end)

  case("refuses wrong arguments and changes nothing", function(storage)
    begin(storage)
    local before = state(storage)
    check.refused(finish, storage, nil, patch())
    check.refused(finish, storage, "r", nil)
    check.refused(finish, storage, "r", patch { status = "running" })
    check.refused(finish, storage, "r", patch { status = "done" })
    check.refused(finish, storage, "r", { status = "failed" })
    check.refused(finish, storage, "r", patch { finished_at = 5 })
    check.refused(finish, storage, "r", patch { messages = { { id = "m" } } })
    check.refused(finish, storage, "r", patch { messages = "m" })
    check.refused(finish, storage, "r", patch { session = { id = "s" } })
    check.refused(finish, storage, "r", patch { event = { id = "e" } })
    check.refused(finish, storage, "r", patch { event = check.event(2, { run_id = "other" }) })
    check.refused(finish, storage, "r", patch { target = "other" })
    equal(before, state(storage))
  end)
end
