-- Memory against a plain Lua table: random calls in several scopes, with times to live that run out by the
-- clock turned by hand. What the facade gives must be what the table says, for the storage's memory, for a
-- memory of one's own, and for one written in Lua.

local clock = require "spec.support.clock"
local core = require "harness.core"
local harness = require "harness"
local own_memory = require "spec.support.own_memory"
local scripted = require "spec.support.scripted"
local still = require "spec.support.still"
local table_storage = require "spec.support.table_storage"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local CALLS <const> = math.max(300, 3000 // FACTOR)

local WORDS <const> = { "red", "green", "blue", "apple" }
local TAGS <const> = { "x", "y" }

-- ---- the model ----------------------------------------------------------------------------

-- A scope is key -> { value, tags, metadata, expires_ms }; what has lived its time is not there.
local function current(scope, key)
  local entry = scope[key]
  if entry and entry.expires_ms and entry.expires_ms <= core.wall_ms() then return nil end
  return entry
end

local function keys_of(scope, keep)
  local keys = {}
  for key in pairs(scope) do
    local entry = current(scope, key)
    if entry and (not keep or keep(key, entry)) then keys[#keys + 1] = key end
  end
  table.sort(keys)
  return keys
end

local function first(list, limit)
  return { table.unpack(list, 1, math.min(limit, #list)) }
end

local function is_in(list, wanted)
  for _, one in ipairs(list or {}) do
    if one == wanted then return true end
  end
  return false
end

local function holds(entry, word)
  return type(entry.value) == "string" and is_in({ table.unpack(entry.words) }, word)
end

-- ---- random calls -------------------------------------------------------------------------

local function pick(list) return list[math.random(#list)] end

local function some_key() return ("%s.%d"):format(pick { "a", "b" }, math.random(9)) end

local function some_value()
  local act = math.random(4)
  if act == 1 then return math.random(1000) end
  if act == 2 then return { list = { math.random(9), harness.null } } end
  if act == 3 then return pick { true, false, harness.null } end
  return pick(WORDS) .. " " .. pick(WORDS)
end

local ACTS <const> = {
  function(memory, scope) -- write
    local key, value, options = some_key(), some_value(), {}
    if math.random(3) == 1 then options.ttl_ms = math.random(50) end
    if math.random(3) == 1 then options.tags = { pick(TAGS) } end
    if math.random(3) == 1 then options.metadata = { m = math.random(2) } end
    memory:write(key, value, options)
    local old, words = current(scope, key), {}
    if type(value) == "string" then
      for word in value:gmatch "%a+" do words[#words + 1] = word end
    end
    scope[key] = {
      value = value, words = words, tags = options.tags or old and old.tags,
      metadata = options.metadata or old and old.metadata,
      expires_ms = options.ttl_ms and core.wall_ms() + options.ttl_ms or nil,
    }
  end,
  function(memory, scope) -- read
    local key = some_key()
    local entry = current(scope, key)
    local value = memory:read(key)
    if not entry then return assert.is_nil(value) end
    assert.same(entry.value, value)
  end,
  function(memory, scope) -- delete
    local key = some_key()
    memory:delete(key)
    scope[key] = nil
  end,
  function(memory, scope) -- list
    local prefix, limit = pick { "", "a", "b.", "c" }, math.random(12)
    local cursor = math.random(2) == 1 and some_key() or nil
    local wanted = keys_of(scope, function(key)
      return key:sub(1, #prefix) == prefix and (not cursor or key > cursor)
    end)
    assert.same(first(wanted, limit), memory:list { prefix = prefix, limit = limit, cursor = cursor })
  end,
  function(memory, scope) -- search
    local word, tag, m = pick(WORDS), math.random(3) == 1 and pick(TAGS), math.random(3) == 1 and math.random(2)
    local wanted = keys_of(scope, function(_, entry)
      return holds(entry, word) and (not tag or is_in(entry.tags, tag))
        and (not m or entry.metadata and entry.metadata.m == m)
    end)
    local found = memory:search { text = word, tags = tag and { tag } or nil, metadata = m and { m = m } or nil }
    local keys, score = {}, 1
    for i, entry in ipairs(found) do
      keys[i] = entry.key
      assert.is_true(entry.score > 0 and entry.score <= score)
      score = entry.score
      assert.equal(scope[entry.key].value, entry.value)
    end
    table.sort(keys)
    assert.same(wanted, keys)
  end,
  function() clock.advance(math.random(20)) end,
}

describe("memory does what a plain table does", function()
  still(before_each, after_each)

  before_each(function() math.randomseed(SEED) end)

  -- The same scope may be reached by two handles.
  local function handles_of(session, ctx)
    return {
      session = session.memory, again = ctx.memory.session, run = ctx.memory.run, user = ctx.memory:user(),
      other = ctx.memory:user "other", tenant = ctx.memory:tenant "u",
      agent = ctx.memory:scope { kind = "agent", agent_id = "u" },
    }
  end

  local function random_calls(handles)
    local names, models = {}, {}
    for name in pairs(handles) do names[#names + 1], models[name] = name, {} end
    table.sort(names)
    models.again = models.session
    for i = 1, CALLS do
      local name = pick(names)
      local ok, err = pcall(pick(ACTS), handles[name], models[name])
      if not ok then error(("seed %d, call %d, scope %s: %s"):format(SEED, i, name, tostring(err)), 0) end
    end
  end

  local function compare(memory)
    local session
    local h <close> = scripted.harness({ { text = "hi" } }, { definition = { memory = memory, workflows = { flow = {
      run = function(ctx) random_calls(handles_of(session, ctx)) end,
    } } } })
    session = h:session "u"
    session.workflows.flow:run(nil, { metadata = { user_id = "u" } })
  end

  it("in the storage", function() compare(nil) end)

  it("in a memory of one's own", function()
    local memory = own_memory.new()
    memory.capabilities = nil
    compare(memory)
  end)

  it("in one written in Lua", function()
    local storage = table_storage.new()
    storage.now = core.wall_ms
    compare(own_memory.new { capabilities = false, hook = function(method, ...)
      return storage["memory_" .. method](storage, ...)
    end })
  end)
end)
