-- engine/store_memory*.c and engine/map.c through core.store: what the storage contract does not say,
-- that is memory, failing allocations, calls within calls, time, search.
local check = require "harness.testing.storage_check"
local core = require "harness.core"
local json = require "harness.json"
local harness_storage = require "harness.storage"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local store = core.store
local equal, state_error = check.equal, check.state_error

local function scope(id) return { kind = "user", user_id = id } end

-- A turn of an agent in a session of its own.
local function turn(storage, session_id, run_id, at)
  storage:upsert_session(check.session(session_id, { created_at = check.at(at) }))
  storage:create_run(check.run(run_id, at, { session_id = session_id, input = "question" }))
  storage:append_events(run_id, { check.event(1), check.event(2), check.event(3) })
  storage:append_events(run_id, { check.event(4), check.event(6) })
  storage:finish_run(run_id, {
    status = "succeeded", finished_at = check.at(at + 1), output = { answer = 42 }, event = check.event(9),
    messages = { check.message("m1-" .. run_id, at), check.message("m2-" .. run_id, at + 1) },
    session = check.session(session_id, { run_count = 1, created_at = check.at(at) }),
  })
end

describe("memory storage", function()
  local storage

  before_each(function() storage = store.memory() end)
  after_each(function()
    storage:close()
    collectgarbage()
    equal({ blocks = 0, bytes = 0 }, store.usage(storage), "left after close")
    core.clock_manual(nil)
  end)

  describe("closing", function()
    it("gives everything back, and may happen twice", function()
      for i = 1, 100 do turn(storage, "s" .. i, "r" .. i, i) end
      for i = 1, 100 do storage:memory_put(scope("u" .. i % 7), "k" .. i, { i }) end
      assert.is_true(store.usage(storage).blocks > 1000)
      storage:close()
      equal({ blocks = 0, bytes = 0 }, store.usage(storage))
      storage:close()
    end)

    it("happens at the end of a to-be-closed variable, and when collected", function()
      local kept
      do
        local inner <close> = store.memory()
        kept = inner
      end
      state_error("closed", "get_run", kept.get_run, kept, "r")
      for _ = 1, 50 do turn(store.memory(), "s", "r", 1) end
      collectgarbage()
    end)

    it("is said by every method", function()
      storage:close()
      state_error("closed", "get_session", storage.get_session, storage, "s")
      state_error("closed", "append_messages", storage.append_messages, storage, "s", {})
      state_error("closed", "memory_get", storage.memory_get, storage, scope "u", "k")
      state_error("closed", "claim_run", storage.claim_run, storage)
      state_error("closed", "sweep", storage.sweep, storage)
    end)
  end)

  it("says which methods it does not offer", function()
    for _, name in ipairs {
      "acquire_run", "renew_lease", "release_run", "start_step", "commit_step", "get_step", "list_steps",
      "request_cancel", "enqueue_run", "claim_run", "put_wait", "signal_wait", "list_waits",
      "start_workspace", "pause_workspace", "resume_workspace", "abort_workspace", "cleanup_workspace",
      "inspect_workspace", "put_blob", "get_blob",
    } do
      state_error("not_available", name, storage[name], storage, {})
    end
    storage:create_run(check.run("r", 1))
    check.raises("DURABLE_LEASE_CONFLICT", "lease_conflict", storage.finish_run, storage, "r",
      { status = "failed", finished_at = check.T0, lease_id = "lease-1" })
    equal("running", storage:get_run("r").status)
  end)

  it("is the method's first argument", function()
    assert.has_error(function() storage.get_session({}, "s") end)
    assert.has_error(function() storage.get_session(io.stdout, "s") end)
    assert.has_error(function() storage.get_session() end)
    assert.has_error(function() store.usage {} end)
  end)

  it("names the place of a mistake", function()
    local err = check.raises("VALIDATION_ERROR", nil, storage.append_messages, storage, "s",
      { check.message("m1", 1), check.message("m2", 2, { role = "robot" }) })
    equal("messages[2].role", err.meta.field)
    equal("append_messages", err.meta.op)
    assert.is_true(err.message:find("system, user, assistant, tool", 1, true) ~= nil)
    err = check.raises("VALIDATION_ERROR", nil, storage.create_run, storage, { id = "r", [1] = true })
    assert.is_true(err.message:find("named fields", 1, true) ~= nil)
    err = check.raises("VALIDATION_ERROR", nil, storage.append_events, storage, "r",
      { check.event(1, { note = 1 }) })
    equal("events[1].note", err.meta.field)
    err = check.raises("STATE_ERROR", "run_not_found", storage.finish_run, storage, "no\nsuch",
      { status = "failed", finished_at = check.T0 })
    equal("no?such", err.meta.id)
  end)

  describe("memory in use", function()
    it("goes down with a deleted session to what it was", function()
      for i = 1, 30 do turn(storage, "warm", "warm" .. i, i) end
      local before = store.usage(storage)
      for round = 1, 5 do
        for i = 1, 8 do turn(storage, "s", ("r%d-%d"):format(round, i), i) end
        for i = 1, 20 do storage:memory_put({ kind = "session", session_id = "s" }, "k" .. i, i) end
        storage:memory_put({ kind = "run", run_id = ("r%d-1"):format(round) }, "k", 1)
        storage:delete_session "s"
      end
      -- The tables of the maps may have grown, and stay.
      local after = store.usage(storage)
      assert.is_true(after.blocks - before.blocks <= 2, "blocks: " .. after.blocks - before.blocks)
      assert.is_true(after.bytes - before.bytes <= 4096, "bytes: " .. after.bytes - before.bytes)
    end)

    it("is at most 1.8 KB for a waiting run with its session and five events", function()
      local n = 10000 // FACTOR
      local before = store.usage(storage).bytes
      for i = 1, n do
        local id = ("01JD9ZK3X5Q8W7V6T4R2P%05d"):format(i)
        storage:upsert_session(check.session(id, { harness = "support" }))
        storage:create_run(check.run("R" .. id, 1, { session_id = id,
          input = "Where is my order number 7?" }))
        for seq = 1, 5 do
          storage:append_events("R" .. id, { check.event(seq, {
            id = ("01JD9ZK3X5Q8W7V6T4R2P1N%03d"):format(seq), type = "model.completed",
            payload = { agent_id = "helper", invocation_id = id, alias = "fast" },
          }) })
        end
      end
      local each = (store.usage(storage).bytes - before) / n
      assert.is_true(each < 1800, ("%.0f bytes"):format(each))
    end)
  end)

  describe("order", function()
    -- Takes minutes when inserting walks a list.
    it("costs little whatever order runs and sessions come in", function()
      local n = 30000 // FACTOR
      local start = core.now_us()
      for i = 1, n do
        local id = ("%05d"):format(i * 7919 % 100003)
        storage:upsert_session(check.session(id))
        storage:create_run(check.run(id, 1, { session_id = id }))
      end
      assert.is_true(core.now_us() - start < 20e6, "took " .. (core.now_us() - start) // 1000 .. " ms")
      local list, before = {}, nil
      repeat
        local page = storage:list_runs { before = before, limit = 777 }
        for _, run in ipairs(page) do list[#list + 1] = run.id end
        before = list[#list]
      until #page == 0
      equal(n, #list)
      for i = 2, n do assert(list[i] < list[i - 1]) end
    end)

    it("survives deletions in the middle", function()
      for i = 1, 500 do
        local id = ("%03d"):format(i * 137 % 500)
        storage:upsert_session(check.session(id, { created_at = check.at(i % 5) }))
        storage:create_run(check.run(id, i % 5, { session_id = id }))
      end
      for i = 1, 499, 2 do storage:delete_session(("%03d"):format(i * 311 % 500)) end
      for _, list in ipairs { storage:list_sessions(), storage:list_runs() } do
        equal(250, #list)
        for i = 2, #list do
          local a, b = list[i - 1], list[i]
          local at, bt = a.created_at or a.started_at, b.created_at or b.started_at
          assert(at > bt or at == bt and a.id > b.id)
        end
      end
    end)
  end)

  it("keeps objects of every size, small plain ones and others", function()
    local kinds = {
      "text", "with \"quotes\"\n", "", 7, math.mininteger, true, false, 0.5, json.null, { "list" },
      { a = { b = 1 } }, json.array {}, {},
    }
    local object = {}
    for i = 0, 40 do
      if i > 0 then object[("key %d \u{1F422}"):format(i * 7 % 41):rep(i % 3 + 1)] = kinds[i % #kinds + 1] end
      storage:append_events("r", { check.event(i + 1, { payload = object }) })
      equal(object, storage:list_events("r", { after_seq = i })[1].payload)
    end
    for i, kind in ipairs(kinds) do
      local metadata = { z = i, ["a\"b"] = 1, a = kind, ["a "] = i }
      storage:memory_put(scope "u", "k" .. i, "word", { metadata = metadata })
      check.ids({ "k" .. i }, storage:memory_search(scope "u", { text = "word", metadata = metadata }), "key")
    end
    check.raises("VALIDATION_ERROR", nil, storage.memory_put, storage, scope "u", "k", { a = "\xff" })
    check.raises("VALIDATION_ERROR", nil, storage.memory_put, storage, scope "u", "k", { ["\xff"] = 1 })
    check.raises("VALIDATION_ERROR", nil, storage.memory_put, storage, scope "u", "k", { a = 1, [2] = 1 })
    equal("made", (function()
      storage:memory_put(scope "u", "k", setmetatable({}, { __tojson = function() return "made" end }))
      return storage:memory_get(scope "u", "k")
    end)())
  end)

  describe("calls within calls", function()
    it("are taken from a __tojson method, which may even delete the session", function()
      local replaced = setmetatable({}, { __tojson = function()
        storage:append_messages("s", { check.message("inner", 1) })
        equal(1, #storage:list_messages "s")
        storage:delete_session "s"
        storage:append_messages("s", { check.message("again", 2) })
        return "made"
      end })
      storage:append_messages("s", { check.message("outer", 3, { content = replaced }),
        check.message("next", 4) })
      check.ids({ "again", "outer", "next" }, storage:list_messages "s")
      equal("made", storage:list_messages("s")[2].content)
    end)

    it("are taken from finalizers, while rows are being pushed", function()
      local list = {}
      local content = { { type = "text", text = "x" } }
      for i = 1, 200 do list[i] = check.message(("m%03d"):format(i), i, { content = content }) end
      storage:append_messages("s", list)
      local calls, go_on = 0, true
      local function trap()
        setmetatable({}, { __gc = function()
          calls = calls + 1
          storage:clear_messages "s"
          storage:append_messages("s", list)
          if go_on then trap() end
        end })
      end
      trap()
      local mode = collectgarbage("incremental", 10, 1000)
      for _ = 1, 10 do
        local got = storage:list_messages "s"
        equal(200, #got)
        for i = 1, 200 do equal(list[i].id, got[i].id) end
      end
      collectgarbage(mode)
      go_on = false
      collectgarbage()
      assert.is_true(calls > 0)
    end)

    it("leave nothing behind when an argument cannot be encoded", function()
      for _ = 1, 20 do
        check.raises("VALIDATION_ERROR", nil, storage.append_messages, storage, "s",
          { check.message("m1", 1), check.message("m2", 2, { content = { print } }) })
      end
      check.raises("VALIDATION_ERROR", nil, storage.append_messages, storage, "s",
        { check.message("m", 1, { content = "\xff" }) })
      equal({}, storage:list_messages "s")
    end)
  end)

  describe("time", function()
    before_each(function() core.clock_manual(1000000) end)

    local function alive(key) return storage:memory_get(scope "u", key) ~= nil end

    it("ends an entry at its time, by the engine's clock", function()
      storage:memory_put(scope "u", "short", "red", { ttl_ms = 100 })
      storage:memory_put(scope "u", "long", "red", { ttl_ms = 200, tags = { "t" } })
      equal("1970-01-01T00:16:40.100Z", storage:memory_list(scope "u", { prefix = "short" })[1].expires_at)
      core.clock_advance(99)
      assert.is_true(alive "short")
      core.clock_advance(1)
      assert.is_false(alive "short")
      check.ids({ "long" }, storage:memory_list(scope "u"), "key")
      check.ids({ "long" }, storage:memory_search(scope "u", { text = "red" }), "key")
      core.clock_advance(100)
      equal({}, storage:memory_list(scope "u"))
    end)

    it("makes a put after the end a new entry", function()
      storage:memory_put(scope "u", "k", 1, { ttl_ms = 10, tags = { "old" } })
      core.clock_advance(50)
      storage:memory_put(scope "u", "k", 2)
      local entry = storage:memory_list(scope "u")[1]
      equal("1970-01-01T00:16:40.050Z", entry.created_at)
      equal(nil, entry.tags)
    end)

    it("takes a time to live beyond all years", function()
      storage:memory_put(scope "u", "k", 1, { ttl_ms = math.maxinteger })
      core.clock_advance(1000)
      assert.is_true(alive "k")
    end)

    it("gives the room of dead entries back, with new ones and by sweep", function()
      for round = 1, 50 do
        for i = 1, 20 do storage:memory_put(scope "u", ("%d-%d"):format(round, i), i, { ttl_ms = 10 }) end
        core.clock_advance(20)
      end
      assert.is_true(store.usage(storage).blocks < 150, "blocks: " .. store.usage(storage).blocks)
      for i = 1, 30 do storage:memory_put(scope("v" .. i), "k", i, { ttl_ms = i % 3 == 0 and 1000 or 10 }) end
      core.clock_advance(20)
      local swept = storage:sweep()
      assert.is_true(swept.memory >= 40, "swept " .. swept.memory)
      equal(0, storage:sweep().memory)
      for i = 1, 30 do equal(i % 3 == 0 and i or nil, storage:memory_get(scope("v" .. i), "k")) end
      equal(10, storage:sweep({ now = 1000000000 }).memory)
      check.refused(storage.sweep, storage, { before = 1 })
    end)
  end)

  describe("search", function()
    local function found(text)
      local list = {}
      for i, entry in ipairs(storage:memory_search(scope "u", { text = text })) do list[i] = entry.key end
      return list
    end

    it("folds Latin, Greek and Cyrillic letters", function()
      storage:memory_put(scope "u", "k", "ÀÞßŸ ĄĹŹ ΆΈΌΎΏΣΣ ПРИВЕТ ЁЎ Ѣ ÷×")
      for _, text in ipairs { "àþßÿ", "ąĺź", "άέόύώσς", "привет", "ёў", "ѣ" } do
        equal({ "k" }, found(text), text)
      end
      equal({}, found "÷")
      equal({}, found "x")
    end)

    it("takes CJK characters one by one", function()
      storage:memory_put(scope "u", "k", "東京タワー、とても高い")
      equal({ "k" }, found "京")
      equal({ "k" }, found "高")
      equal({}, found "低")
    end)

    it("ends words at what JSON escapes and at punctuation", function()
      storage:memory_put(scope "u", "k", {
        list = { "one\ntwo\tthree\"four\\five\0six" }, ["a-b_c"] = "“seven”—eight",
      })
      for word in ("one two three four five six seven eight a b c"):gmatch "%a+" do
        equal({ "k" }, found(word), word)
      end
      equal({}, found "ntwo")
      equal({}, found "u0000six")
    end)

    it("compares the first 64 bytes of a word and the first 256 words of a query", function()
      storage:memory_put(scope "u", "long", ("x"):rep(64) .. "a")
      storage:memory_put(scope "u", "word", "w256 w257")
      equal({ "long" }, found(("x"):rep(64) .. "b"))
      equal({}, found(("x"):rep(63)))
      local words = {}
      for i = 1, 255 do words[i] = "w" .. i end
      equal({ "word" }, found(table.concat(words, " ") .. " w1 w1 w257"))
      equal({}, found(table.concat(words, " ") .. " w0 w257"))
    end)

    it("scores as documented", function()
      storage:memory_put(scope "u", "k", "red red red blue")
      local function score(text) return storage:memory_search(scope "u", { text = text })[1].score end
      equal(1 / 2, score "blue")
      equal((1 + 2 / 3) / 2, score "red")
      equal((2 + 2 / 3) / 4, score "red blue green")
    end)

    it("reads bytes that are no UTF-8 in keys", function()
      storage:memory_put(scope "u", "caf\xe9 \xf0\x9f", "x")
      equal({ "caf\xe9 \xf0\x9f" }, found "CAF\xe9")
    end)
  end)

  describe("when allocations fail", function()
    local function snapshot()
      local all = { storage:list_sessions(), storage:list_runs(), storage:memory_list(scope "u") }
      for _, id in ipairs { "s", "t" } do
        all[#all + 1] = storage:list_messages(id)
        all[#all + 1] = storage:list_events("run-" .. id)
      end
      all[#all + 1] = storage:memory_list(scope "v")
      return json.encode(all)
    end

    local function begin()
      storage:upsert_session(check.session "s")
      storage:append_messages("s", { check.message("m1", 1), check.message("m2", 2), check.message("m3", 3) })
      storage:create_run(check.run("run-s", 1))
      storage:append_events("run-s", { check.event(1), check.event(2), check.event(3) })
      for i = 1, 4 do storage:memory_put(scope "u", "k" .. i, "word " .. i) end
    end

    local many = {}
    for i = 1, 20 do many[i] = check.message("n" .. i, i) end

    local operations = {
      upsert_session = { check.session("t", { metadata = { a = 1 } }) },
      replace_session = { check.session("s", { run_count = 4 }), method = "upsert_session" },
      append_messages = { "s", many },
      append_to_new = { "t", many, method = "append_messages" },
      replace_messages = { "s", many },
      replace_in_new = { "t", many, method = "replace_messages" },
      create_run = { check.run("run-t", 1, { session_id = "t" }) },
      append_events = { "run-s", { check.event(5), check.event(6), check.event(7) } },
      append_events_to_new = { "run-t", { check.event(5), check.event(6) }, method = "append_events" },
      finish_run = { "run-s", {
        status = "succeeded", finished_at = check.at(9), output = "done", messages = many,
        session = check.session("s", { run_count = 1 }), event = check.event(9),
      } },
      memory_put = { scope "u", "k5", { 1 }, { tags = { "t" } } },
      memory_put_again = { scope "u", "k1", { 1 }, method = "memory_put" },
      memory_put_first = { scope "v", "k1", { 1 }, method = "memory_put" },
    }

    for name, op in pairs(operations) do
      it("undoes " .. name, function()
        begin()
        local before, failures = snapshot(), 0
        local method = storage[op.method or name]
        while true do
          store.fail_allocation(storage, failures + 1)
          local ok, err = pcall(method, storage, table.unpack(op))
          local fired = store.fail_allocation(storage, 0)
          if ok then
            assert.is_false(fired)
            break
          end
          assert.is_true(fired)
          equal("out_of_memory", err.meta.reason)
          equal(before, snapshot())
          failures = failures + 1
        end
        assert.is_true(failures > 0)
        assert.are_not.equal(before, snapshot())
        storage:delete_session "s"
        storage:delete_session "t"
        equal({}, storage:list_runs())
      end)
    end

    it("says so of reads, which then work", function()
      begin()
      storage:append_messages("s", many)
      for seq = 4, 9 do storage:append_events("run-s", { check.event(seq) }) end
      for i = 5, 30 do storage:memory_put(scope "u", "k" .. i, "word " .. i) end
      for i = 1, 20 do
        storage:upsert_session(check.session("s" .. i))
        storage:create_run(check.run("r" .. i, i))
      end
      for name, arguments in pairs {
        list_messages = { "s" }, list_events = { "run-s" }, memory_list = { scope "u" },
        list_sessions = {}, list_runs = {},
        memory_search = { scope "u", { text = "word" } },
      } do
        local count = #storage[name](storage, table.unpack(arguments))
        assert.is_true(count > 8, name)
        store.fail_allocation(storage, 1)
        state_error("out_of_memory", name, storage[name], storage, table.unpack(arguments))
        equal(count, #storage[name](storage, table.unpack(arguments)), name)
      end
    end)
  end)

  it("is what harness.storage.memory makes", function()
    local made <close> = harness_storage.memory()
    equal(store.usage(storage), store.usage(made))
  end)
end)
