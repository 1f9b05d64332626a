--- Storage contract: runs.

local null = require "harness.json".null
local check = require "harness.testing.storage_check"

local equal, ids, run = check.equal, check.ids, check.run

-- Runs of two sessions, two harnesses and some statuses; newest: r5.
local function five(storage)
  storage:create_run(run("r1", 1, { harness = "a" }))
  storage:create_run(run("r2", 2, { harness = "b", status = "succeeded" }))
  storage:create_run(run("r3", 3, { harness = "a", session_id = "t" }))
  storage:create_run(run("r4", 4, { harness = "a", status = "succeeded" }))
  storage:create_run(run("r5", 5, { harness = "b", session_id = "t", status = "waiting" }))
end

---@param case fun(name: string, fn: fun(storage: harness.Storage))
return function(case)
  case("knows nothing of an unknown run", function(storage)
    equal(nil, storage:get_run "nothing")
    equal({}, storage:list_runs())
    equal({}, storage:list_runs { session_id = "nobody" })
  end)

  case("gives back what was stored", function(storage)
    local record = run("r", 1, {
      kind = "workflow", attempt = 2, status = "failed", finished_at = check.at(2),
      input = { id = 7, q = "ż\0" }, output = "text", metadata = { user_id = "u" },
      error = { code = "TOOL_ERROR", retriable = false, meta = {} },
      workflow_version = "3", parent = { run_id = "p" },
    })
    storage:create_run(record)
    equal(record, storage:get_run "r")
    equal({ record }, storage:list_runs())
  end)

  case("keeps an absent field and JSON null apart", function(storage)
    storage:create_run(run("with", 1, { input = null, output = null, extra = null }))
    storage:create_run(run("without", 1))
    local with, without = storage:get_run "with", storage:get_run "without"
    equal({ null, null, null }, { with.input, with.output, with.extra })
    for _, field in ipairs { "input", "output", "error", "metadata", "finished_at", "attempt", "extra" } do
      equal(nil, without[field], field)
    end
  end)

  case("takes copies and gives copies", function(storage)
    local record = run("r", 1, { input = { list = { 1 } } })
    storage:create_run(record)
    record.status, record.input.list[1] = "failed", 2
    local got = storage:get_run "r"
    got.target, got.input.list[1] = "changed", 3
    equal(run("r", 1, { input = { list = { 1 } } }), storage:get_run "r")
  end)

  case("lets a matching run that has not ended be created again, and leaves it as it is", function(storage)
    storage:create_run(run("r", 1, { input = "first", attempt = 1 }))
    storage:create_run(run("r", 2, { input = "second", attempt = 2 }))
    equal(run("r", 1, { input = "first", attempt = 1 }), storage:get_run "r")
    ids({ "r" }, storage:list_runs())
  end)

  case("never overwrites a run that has ended, or another one", function(storage)
    storage:create_run(run("done", 1, { status = "succeeded", output = 1 }))
    storage:create_run(run("open", 1))
    local create = storage.create_run
    check.state_error("run_exists", "create_run", create, storage, run("done", 1))
    check.state_error("run_exists", "create_run", create, storage, run("open", 1, { session_id = "t" }))
    check.state_error("run_exists", "create_run", create, storage, run("open", 1, { target = "other" }))
    check.state_error("run_exists", "create_run", create, storage, run("open", 1, { kind = "workflow" }))
    equal(run("done", 1, { status = "succeeded", output = 1 }), storage:get_run "done")
    equal(run("open", 1), storage:get_run "open")
    equal({}, storage:list_runs { session_id = "t" })
  end)

  case("lists runs newest first, then by id descending", function(storage)
    for i, id in ipairs { "b", "d", "a", "c" } do storage:create_run(run(id, i == 4 and 3 or i)) end
    ids({ "c", "a", "d", "b" }, storage:list_runs { session_id = "s" })
    ids({ "c" }, storage:list_runs { session_id = "s", limit = 1 })
    ids({ "a", "d" }, storage:list_runs { session_id = "s", before = "c", limit = 2 })
    ids({}, storage:list_runs { session_id = "s", limit = 0 })
    ids({}, storage:list_runs { session_id = "s", before = "b" })
    ids({ "c", "a", "d", "b" }, storage:list_runs { limit = 100 })
  end)

  case("filters by session, harness and status", function(storage)
    five(storage)
    ids({ "r5", "r4", "r3", "r2", "r1" }, storage:list_runs())
    ids({ "r4", "r2", "r1" }, storage:list_runs { session_id = "s" })
    ids({ "r4", "r3", "r1" }, storage:list_runs { harness = "a" })
    ids({ "r4", "r2" }, storage:list_runs { status = "succeeded" })
    ids({ "r3" }, storage:list_runs { harness = "a", status = "running", session_id = "t" })
    ids({}, storage:list_runs { harness = "c" })
    ids({ "r4", "r3" }, storage:list_runs { harness = "a", limit = 2 })
    ids({ "r3", "r1" }, storage:list_runs { harness = "a", before = "r4" })
  end)

  case("takes a run as cursor that fails the filters, and ignores one of another list", function(storage)
    five(storage)
    ids({ "r4", "r3", "r1" }, storage:list_runs { harness = "a", before = "r5" })
    ids({ "r4", "r2", "r1" }, storage:list_runs { session_id = "s", before = "r3" })
    ids({ "r5", "r4" }, storage:list_runs { before = "unknown", limit = 2 })
  end)

  case("refuses wrong arguments and changes nothing", function(storage)
    local create = storage.create_run
    check.refused(create, storage, nil)
    check.refused(create, storage, { id = "r" })
    check.refused(create, storage, run("r", 1, { status = "done" }))
    check.refused(create, storage, run("r", 1, { kind = "job" }))
    check.refused(create, storage, run("r", 1, { attempt = 0 }))
    check.refused(create, storage, run("r", 1, { session_id = 5 }))
    check.refused(storage.get_run, storage, 5)
    check.refused(storage.list_runs, storage, { limit = -1 })
    check.refused(storage.list_runs, storage, { status = "done" })
    check.refused(storage.list_runs, storage, { sesion_id = "s" })
    check.refused(storage.list_runs, storage, "s")
    equal({}, storage:list_runs())
  end)
end
