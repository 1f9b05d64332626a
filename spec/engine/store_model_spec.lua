-- Random operations on the memory engine and on a plain Lua table, which must always agree: in every
-- answer, in every error, and in all that they hold.
local check = require "harness.testing.storage_check"
local core = require "harness.core"
local errors = require "harness.errors"
local json = require "harness.json"
local table_storage = require "spec.support.table_storage"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

-- Few ids and times, so that they meet often.
local function pick(random, list) return list[random(#list)] end

local SESSIONS <const> = { "s1", "s2", "s3", "", "s\0" }
local RUNS <const> = { "r1", "r2", "r3", "r4", "r5", "r6", "r7" }
local MESSAGES <const> = {}
for i = 1, 40 do MESSAGES[i] = "m" .. i end
local KEYS <const> = { "a", "a.b", "b", "c", "ab", "z" }
local WORDS <const> = { "red", "Green", "BLUE", "żółw", "red-green", "nothing", "" }
local STATUSES <const> = { "queued", "running", "waiting", "succeeded", "failed", "cancelled" }

local function maybe(random, value)
  if random(3) == 1 then return nil end
  return value
end

local function value(random, depth)
  local kind = random(depth > 2 and 5 or 7)
  if kind == 1 then return random(1000) end
  if kind == 2 then return random() end
  if kind == 3 then return json.null end
  if kind == 4 then return random(2) == 1 end
  if kind == 5 then return pick(random, WORDS) .. pick(random, { "", "\n", "\"\\", "é" }) end
  local out = {}
  for i = 1, random(3) do out[kind == 6 and i or "f" .. i] = value(random, depth + 1) end
  return out
end

local function session(random)
  return check.session(pick(random, SESSIONS), {
    created_at = check.at(random(4)), run_count = random(5) - 1, harness = maybe(random, "h" .. random(2)),
    metadata = maybe(random, value(random, 1)),
  })
end

local function messages(random, session_id)
  local list = {}
  for i = 1, random(5) - 1 do
    list[i] = check.message(pick(random, MESSAGES), random(6), {
      content = value(random, 1), role = pick(random, { "user", "assistant", "tool", "system" }),
      session_id = maybe(random, session_id), run_id = maybe(random, "r"),
      more = maybe(random, value(random, 1)),
      provider = maybe(random, { name = "p" }),
    })
  end
  return list
end

local function run(random)
  return check.run(pick(random, RUNS), random(4), {
    session_id = pick(random, SESSIONS), status = pick(random, STATUSES),
    harness = maybe(random, "h" .. random(2)), kind = pick(random, { "agent", "workflow" }),
    input = maybe(random, value(random, 1)), more = maybe(random, 1),
    attempt = maybe(random, random(3)),
  })
end

local function event(random)
  return check.event(random(30), { payload = value(random, 1), at = check.at(random(4)) })
end

local function events(random)
  local list = {}
  for i = 1, random(4) - 1 do list[i] = event(random) end
  return list
end

local function scope(random)
  return pick(random, {
    { kind = "session", session_id = pick(random, SESSIONS) }, { kind = "run", run_id = pick(random, RUNS) },
    { kind = "user", user_id = "u" },
  })
end

local function limit(random) return maybe(random, random(6) - 1) end

local function page(random, cursors)
  return { limit = limit(random), before = maybe(random, pick(random, cursors)) }
end

local function tags(random) return maybe(random, { pick(random, WORDS), "t" }) end

local function metadata(random) return maybe(random, { n = random(2), s = maybe(random, "x") }) end

-- Each gives the method's arguments.
local OPERATIONS <const> = {
  get_session = function(random) return pick(random, SESSIONS) end,
  upsert_session = session,
  delete_session = function(random) return random(4) == 1 and pick(random, SESSIONS) or "never" end,
  list_sessions = function(random) return page(random, SESSIONS) end,
  append_messages = function(random)
    local id = pick(random, SESSIONS)
    return id, messages(random, id)
  end,
  replace_messages = function(random)
    local id = pick(random, SESSIONS)
    return id, messages(random, id)
  end,
  clear_messages = function(random) return random(3) == 1 and pick(random, SESSIONS) or "never" end,
  list_messages = function(random) return pick(random, SESSIONS), page(random, MESSAGES) end,
  create_run = run,
  get_run = function(random) return pick(random, RUNS) end,
  list_runs = function(random)
    local options = page(random, RUNS)
    options.session_id = maybe(random, pick(random, SESSIONS))
    options.harness, options.status = maybe(random, "h1"), maybe(random, pick(random, STATUSES))
    return options
  end,
  finish_run = function(random)
    local id = pick(random, SESSIONS)
    return pick(random, RUNS), {
      status = pick(random, STATUSES), finished_at = check.at(random(9)),
      output = maybe(random, value(random, 1)),
      error = maybe(random, { code = "E" }), messages = maybe(random, messages(random, id)),
      session = maybe(random, session(random)), event = maybe(random, event(random)),
    }
  end,
  append_events = function(random) return pick(random, RUNS), events(random) end,
  list_events = function(random)
    return pick(random, RUNS), { limit = limit(random), after_seq = maybe(random, random(12) - 1) }
  end,
  memory_get = function(random) return scope(random), pick(random, KEYS) end,
  memory_put = function(random)
    return scope(random), pick(random, KEYS), value(random, 1),
      { tags = tags(random), metadata = metadata(random), ttl_ms = maybe(random, random(50)) }
  end,
  memory_delete = function(random) return scope(random), pick(random, KEYS) end,
  memory_list = function(random)
    return scope(random), {
      limit = limit(random), prefix = maybe(random, pick(random, { "a", "b", "" })),
      cursor = maybe(random, pick(random, KEYS)),
    }
  end,
  memory_search = function(random)
    return scope(random), {
      text = pick(random, WORDS) .. " " .. pick(random, WORDS), limit = limit(random), tags = tags(random),
      metadata = metadata(random),
    }
  end,
}

local NAMES <const> = {}
for name in pairs(OPERATIONS) do NAMES[#NAMES + 1] = name end
table.sort(NAMES)

-- What a call answers: its result, or the code and reason of its error.
local function outcome(storage, name, ...)
  local ok, result = pcall(storage[name], storage, ...)
  if ok then return { result = result } end
  if not errors.is(result) then error(result, 0) end
  return { code = result.code, reason = result.meta.reason }
end

local function contents(storage)
  local all = { storage:list_sessions(), storage:list_runs() }
  for _, id in ipairs(SESSIONS) do
    all[#all + 1] = storage:list_messages(id)
    all[#all + 1] = storage:memory_list { kind = "session", session_id = id }
  end
  for _, id in ipairs(RUNS) do
    all[#all + 1] = storage:list_events(id)
    all[#all + 1] = storage:memory_list { kind = "run", run_id = id }
  end
  all[#all + 1] = storage:memory_list { kind = "user", user_id = "u" }
  return all
end

-- math.random as a function of its own seed would disturb other specs: a small generator instead
-- (Lehmer, Park and Miller 1988).
local function generator(seed)
  local state = seed * 7919 % 2147483646 + 1
  return function(n)
    state = state * 48271 % 2147483647
    if not n then return state / 2147483647 end
    return state % n + 1
  end
end

local function compare(seed, steps)
  local random = generator(seed)
  local real, model = core.store.memory(), table_storage.new()
  local now = 1000000
  core.clock_manual(now)
  model.now = function() return now end
  for step = 1, steps do
    local name = pick(random, NAMES)
    local arguments = table.pack(OPERATIONS[name](random))
    local what = ("seed %d, step %d, %s"):format(seed, step, name)
    local wanted = outcome(model, name, table.unpack(arguments))
    check.equal(wanted, outcome(real, name, table.unpack(arguments)), what)
    if step % 50 == 0 then check.equal(contents(model), contents(real), what .. ", all") end
    if random(10) == 1 then
      core.clock_advance(7)
      now = now + 7
    end
  end
  check.equal(contents(model), contents(real), "the end of seed " .. seed)
  for _, id in ipairs(SESSIONS) do real:delete_session(id) end
  check.equal({}, real:list_runs())
  real:close()
  check.equal({ blocks = 0, bytes = 0 }, core.store.usage(real))
end

describe("memory storage against a Lua table", function()
  after_each(function() core.clock_manual(nil) end)

  it("answers alike in short lives", function()
    for seed = 1, 200 // FACTOR do compare(seed, 60) end
  end)

  it("answers alike in long lives", function()
    for seed = 1001, 1000 + math.max(1, 10 // FACTOR) do compare(seed, 1500) end
  end)

  -- Ids come and go, so that the hash maps grow, fill and close their gaps.
  it("finds what is there, and only that, among many ids", function()
    local random = generator(5)
    local real <close> = core.store.memory()
    local there, list = {}, {}
    for step = 1, 20000 // FACTOR do
      local id = ("id-%d"):format(random(3000))
      if random(2) == 1 then
        real:upsert_session(check.session(id, { run_count = step }))
        there[id] = step
      else
        real:delete_session(id)
        there[id] = nil
      end
      local other = ("id-%d"):format(random(3000))
      local got = real:get_session(other)
      check.equal(there[other], got and got.run_count, "step " .. step)
    end
    for id in pairs(there) do list[#list + 1] = id end
    table.sort(list, function(a, b) return a > b end)
    check.ids(list, real:list_sessions())
  end)
end)
