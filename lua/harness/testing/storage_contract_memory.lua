--- Storage contract: memory.

local null = require "harness.json".null
local check = require "harness.testing.storage_check"

local equal, ids = check.equal, check.ids

local SESSION <const> = { kind = "session", session_id = "s" }

local function keys(expected, list)
  ids(expected, list, "key")
end

---@param case fun(name: string, fn: fun(storage: harness.Storage))
return function(case)
  case("has nothing under an unknown key", function(storage)
    equal(nil, storage:memory_get(SESSION, "k"))
    equal({}, storage:memory_list(SESSION))
    equal({}, storage:memory_search(SESSION, { text = "word" }))
    storage:memory_delete(SESSION, "k")
  end)

  case("gives back any JSON value", function(storage)
    local values = {
      { a = { 1, 2, { b = null } } }, { 1, "two", false }, "text", "", "a\0b", 42, 2.5, 1 << 60, true, false,
      null,
    }
    for i, value in ipairs(values) do
      storage:memory_put(SESSION, "k" .. i, value)
      equal(value, storage:memory_get(SESSION, "k" .. i), "value " .. i)
    end
  end)

  case("replaces and deletes", function(storage)
    storage:memory_put(SESSION, "k", "old")
    storage:memory_put(SESSION, "k", { "new" })
    equal({ "new" }, storage:memory_get(SESSION, "k"))
    keys({ "k" }, storage:memory_list(SESSION))
    storage:memory_delete(SESSION, "k")
    equal(nil, storage:memory_get(SESSION, "k"))
    equal({}, storage:memory_list(SESSION))
    storage:memory_delete(SESSION, "k")
  end)

  case("takes copies and gives copies", function(storage)
    local value, options = { list = { 1 } }, { tags = { "t" }, metadata = { m = { 1 } } }
    storage:memory_put(SESSION, "k", value, options)
    value.list[1], options.tags[1], options.metadata.m[1] = 2, "x", 2
    storage:memory_get(SESSION, "k").list[1] = 3
    storage:memory_list(SESSION)[1].metadata.m[1] = 3
    equal({ list = { 1 } }, storage:memory_get(SESSION, "k"))
    local entry = storage:memory_list(SESSION)[1]
    equal({ { "t" }, { m = { 1 } } }, { entry.tags, entry.metadata })
  end)

  case("keeps scopes apart by their kind and that kind's id", function(storage)
    local scopes = {
      { kind = "run", run_id = "1" }, { kind = "session", session_id = "1" },
      { kind = "agent", agent_id = "1" }, { kind = "user", user_id = "1" },
      { kind = "tenant", tenant_id = "1" }, { kind = "session", session_id = "2" },
    }
    for i, scope in ipairs(scopes) do storage:memory_put(scope, "k", i) end
    for i, scope in ipairs(scopes) do equal(i, storage:memory_get(scope, "k")) end
    local ambient = { kind = "agent", agent_id = "1", session_id = "x", run_id = "y", workflow_id = "z" }
    equal(3, storage:memory_get(ambient, "k"))
  end)

  case("lists by key, with prefix, limit and cursor", function(storage)
    for _, key in ipairs { "b.2", "a.1", "b.1", "c", "b.3", "B" } do storage:memory_put(SESSION, key, key) end
    keys({ "B", "a.1", "b.1", "b.2", "b.3", "c" }, storage:memory_list(SESSION))
    keys({ "b.1", "b.2", "b.3" }, storage:memory_list(SESSION, { prefix = "b." }))
    keys({ "b.1", "b.2" }, storage:memory_list(SESSION, { prefix = "b.", limit = 2 }))
    keys({ "b.3" }, storage:memory_list(SESSION, { prefix = "b.", cursor = "b.2" }))
    keys({ "b.1" }, storage:memory_list(SESSION, { prefix = "b.", cursor = "a", limit = 1 }))
    keys({ "c" }, storage:memory_list(SESSION, { cursor = "b.9" }))
    keys({}, storage:memory_list(SESSION, { prefix = "b.", cursor = "c" }))
    keys({}, storage:memory_list(SESSION, { limit = 0 }))
    keys({}, storage:memory_list(SESSION, { prefix = "nothing" }))
  end)

  case("keeps tags, metadata and the time of creation until they are given anew", function(storage)
    storage:memory_put(SESSION, "k", 1, { tags = { "a", "b" }, metadata = { x = 1 } })
    local first = storage:memory_list(SESSION)[1]
    storage:memory_put(SESSION, "k", 2)
    local second = storage:memory_list(SESSION)[1]
    equal({ { "a", "b" }, { x = 1 } }, { second.tags, second.metadata })
    equal(first.created_at, second.created_at)
    assert(second.updated_at >= first.updated_at, "updated_at went back")
    assert(second.created_at:match "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", second.created_at)
    storage:memory_put(SESSION, "k", 3, { tags = {}, metadata = {} })
    local third = storage:memory_list(SESSION)[1]
    equal({ 0, {} }, { #third.tags, third.metadata })
    storage:memory_put(SESSION, "plain", 1)
    local plain = storage:memory_list(SESSION, { prefix = "plain" })[1]
    equal({ key = "plain", created_at = plain.created_at, updated_at = plain.updated_at }, plain)
  end)

  case("says when an entry expires, and forgets the time to live with the next put", function(storage)
    storage:memory_put(SESSION, "k", 1, { ttl_ms = 3600000 })
    local entry = storage:memory_list(SESSION)[1]
    assert(entry.expires_at > entry.updated_at, "expires_at is not later")
    storage:memory_put(SESSION, "k", 2)
    equal(nil, storage:memory_list(SESSION)[1].expires_at)
  end)

  case("finds words in keys and values, without case", function(storage)
    storage:memory_put(SESSION, "favorite_color", "Deep BLUE")
    storage:memory_put(SESSION, "city", { name = "Łódź", notes = { "near\nWarsaw" } })
    storage:memory_put(SESSION, "other", "blueberry")
    keys({ "favorite_color" }, storage:memory_search(SESSION, { text = "blue" }))
    keys({ "favorite_color" }, storage:memory_search(SESSION, { text = "COLOR?" }))
    keys({ "city" }, storage:memory_search(SESSION, { text = "łÓDŹ" }))
    keys({ "city" }, storage:memory_search(SESSION, { text = "warsaw" }))
    keys({}, storage:memory_search(SESSION, { text = "green" }))
    keys({}, storage:memory_search(SESSION, { text = "?!" }))
    local found = storage:memory_search(SESSION, { text = "name" })[1]
    equal({ name = "Łódź", notes = { "near\nWarsaw" } }, found.value)
    assert(found.score > 0 and found.score <= 1, "score out of range")
  end)

  case("ranks by how many of the words are there, then by how often", function(storage)
    storage:memory_put(SESSION, "one", "red red red red apple")
    storage:memory_put(SESSION, "two", "green apple, red leaf")
    storage:memory_put(SESSION, "three", "a red thing")
    local found = storage:memory_search(SESSION, { text = "green red" })
    keys({ "two", "one", "three" }, found)
    for i = 2, #found do assert(found[i].score <= found[i - 1].score, "not sorted by score") end
    keys({ "two" }, storage:memory_search(SESSION, { text = "green red", limit = 1 }))
    keys({}, storage:memory_search(SESSION, { text = "red", limit = 0 }))
  end)

  case("searches among entries with all the tags and metadata", function(storage)
    storage:memory_put(SESSION, "a", "word", { tags = { "x", "y" }, metadata = { lang = "en", n = 1 } })
    storage:memory_put(SESSION, "b", "word", { tags = { "x" }, metadata = { lang = "de", n = 1 } })
    storage:memory_put(SESSION, "c", "word")
    keys({ "a", "b" }, storage:memory_search(SESSION, { text = "word", tags = { "x" } }))
    keys({ "a" }, storage:memory_search(SESSION, { text = "word", tags = { "y", "x" } }))
    keys({ "a", "b" }, storage:memory_search(SESSION, { text = "word", metadata = { n = 1 } }))
    keys({ "b" }, storage:memory_search(SESSION, { text = "word", metadata = { n = 1, lang = "de" } }))
    keys({}, storage:memory_search(SESSION, { text = "word", tags = { "z" } }))
    keys({ "a", "b", "c" }, storage:memory_search(SESSION, { text = "word", tags = {}, metadata = {} }))
  end)

  case("loses the memory of a session and of its runs with the session", function(storage)
    local run = { kind = "run", run_id = "r" }
    local user = { kind = "user", user_id = "s" }
    storage:create_run(check.run("r", 1))
    for _, scope in ipairs { SESSION, run, user } do storage:memory_put(scope, "k", 1) end
    storage:delete_session "s"
    equal(nil, storage:memory_get(SESSION, "k"))
    equal(nil, storage:memory_get(run, "k"))
    equal(1, storage:memory_get(user, "k"))
  end)

  case("refuses wrong arguments", function(storage)
    check.refused(storage.memory_get, storage, nil, "k")
    check.refused(storage.memory_get, storage, { kind = "session" }, "k")
    check.refused(storage.memory_get, storage, { kind = "galaxy", session_id = "s" }, "k")
    check.refused(storage.memory_get, storage, { kind = "session", session_id = "s", sesion = "s" }, "k")
    check.refused(storage.memory_get, storage, SESSION, 5)
    check.refused(storage.memory_put, storage, SESSION, "k", 1, { ttl_ms = 0 })
    check.refused(storage.memory_put, storage, SESSION, "k", 1, { ttl_ms = 1.5 })
    check.refused(storage.memory_put, storage, SESSION, "k", 1, { tags = { 1 } })
    check.refused(storage.memory_put, storage, SESSION, "k", 1, { metadata = { 1 } })
    check.refused(storage.memory_put, storage, SESSION, "k", 1, { tag = { "x" } })
    check.refused(storage.memory_put, storage, SESSION, "k", nil)
    check.refused(storage.memory_list, storage, SESSION, { limit = -1 })
    check.refused(storage.memory_search, storage, SESSION, {})
    check.refused(storage.memory_search, storage, SESSION, { text = 5 })
    check.raises("VALIDATION_ERROR", nil, storage.memory_put, storage, SESSION, "k", print)
    equal({}, storage:memory_list(SESSION))
  end)
end
