-- Random trees of agents, joins, failures, timeouts and cancellations on virtual time: whatever happens,
-- each run has one end, every event its pair, the history whole turns, and nothing stays open.

local clock = require "spec.support.clock"
local errors = require "harness.errors"
local harness = require "harness"
local live = require "spec.support.live"
local scripted = require "spec.support.scripted"
local task = require "harness.task"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local TREES <const> = math.max(15, (os.getenv "HARNESS_SOAK" and 3000 or 250) // FACTOR)

-- ---- a random program, as data ------------------------------------------------------------

local function pick(list) return list[math.random(#list)] end

local LEAVES <const> = {
  function() return { "agent", pick { "loop", "own" }, pick { "text", "tool", "tool", "wait", "fail" } } end,
  function() return { "agent", pick { "loop", "own" }, "wait", { timeout_ms = math.random(1, 30) } } end,
  function() return { "agent", "loop", pick { "stubborn", "tool" }, { timeout_ms = math.random(20, 60) } } end,
  function() return { "sleep", math.random(0, 20) } end,
  function() return { "raise" } end,
  function() return { "model", pick { "text", "wait" } } end,
  function() return { "memo" } end,
  function() return { "stream", pick { "wait", "text", "fail" }, pick { "all", "some", "result", "none" } } end,
  function() return { "signal", pick { "loop", "own" }, math.random(0, 20) } end,
  function() return { "bounded", math.random(1, 20) } end,
}

local function random_tree(depth)
  if depth >= 3 or math.random() < 0.3 then return pick(LEAVES)() end
  local kind = pick { "seq", "seq", "all", "all", "race", "map", "pcall", "pcall", "step", "timeout", "spawn" }
  local node = { kind, children = {} }
  local n = (kind == "seq" or kind == "all" or kind == "race" or kind == "map") and math.random(1, 3) or 1
  for i = 1, n do node.children[i] = random_tree(depth + 1) end
  if kind == "timeout" then node.ms = math.random(1, 40) end
  return node
end

local run_node

local RUN <const> = {
  agent = function(ctx, node) return ctx.agents[node[2]]:run(node[3], node[4]) end,
  sleep = function(_, node) harness.sleep(node[2]) end,
  raise = function() error("raised", 0) end,
  model = function(ctx, node) return ctx.models.fast:text({ prompt = node[2] }).text end,
  memo = function(ctx) return ctx.metadata.n end,
  stream = function(ctx, node)
    local stream = ctx.models.fast:text_stream { prompt = node[2] }
    if node[3] == "result" then return stream:result().text end
    if node[3] == "none" then return "unread" end
    for _ in stream do
      if node[3] == "some" then return stream:cancel() end
    end
  end,
  signal = function(ctx, node)
    local controller = harness.abort_controller()
    harness.spawn(function()
      harness.sleep(node[3])
      controller:abort()
    end)
    return ctx.agents[node[2]]:run("wait", { signal = controller.signal })
  end,
  bounded = function(ctx, node) return ctx.models.fast:text({ prompt = "wait", timeout_ms = node[2] }).text end,
  seq = function(ctx, node)
    local last
    for _, child in ipairs(node.children) do last = run_node(ctx, child) end
    return last
  end,
  all = function(ctx, node)
    local fns = {}
    for i, child in ipairs(node.children) do fns[i] = function() return run_node(ctx, child) or "nil" end end
    return #harness.all(fns)
  end,
  race = function(ctx, node)
    local fns = {}
    for i, child in ipairs(node.children) do fns[i] = function() return run_node(ctx, child) end end
    return harness.race(fns)
  end,
  map = function(ctx, node)
    return #harness.map(node.children, function(child) return run_node(ctx, child) or "nil" end, { max_parallel = 2 })
  end,
  pcall = function(ctx, node) return (pcall(run_node, ctx, node.children[1])) end,
  step = function(ctx, node)
    ctx.metadata.n = (ctx.metadata.n or 0) + 1
    return ctx:step("step-" .. ctx.metadata.n, function() return run_node(ctx, node.children[1]) end,
      { retry = { max_attempts = 2, min_delay_ms = 1 } })
  end,
  timeout = function(ctx, node) return harness.timeout(node.ms, run_node, ctx, node.children[1]) end,
  spawn = function(ctx, node)
    harness.spawn(run_node, ctx, node.children[1])
    return "spawned"
  end,
}

function run_node(ctx, node)
  return RUN[node[1]](ctx, node)
end

-- ---- the harness --------------------------------------------------------------------------

local function answer(request)
  local last = request.messages[#request.messages]
  if last.role == "tool" then return { text = "end" } end
  if last.content == "tool" then
    return { tool_calls = { { name = "slow", arguments = { ms = 3 } }, { name = "fails" } } }
  end
  if last.content == "stubborn" then return { tool_calls = { { name = "stubborn" } } } end
  if last.content == "wait" then return { delay_ms = 15, chunks = { "a", "b" }, chunk_delay_ms = 5 } end
  if last.content == "fail" then return { error = { status = 400 } } end
  return { text = "hi" }
end

local function define(tree)
  return scripted.harness(answer, { definition = {
    agents = {
      loop = { model = "fast", instructions = "x", tools = { "slow", "fails", "stubborn" } },
      own = { model = "fast", run = function(ctx, input)
        local reply = ctx.models.fast:text { prompt = input == "tool" and "text" or input }
        harness.sleep(1)
        return reply.text
      end },
    },
    workflows = { flow = { run = function(ctx) return tostring(run_node(ctx, tree)) end } },
  } })
end

-- Runs it once; stops it before the k-th resume, when there is one.
local function run_once(tree, k, options)
  local h = define(tree)
  local session = h:session "s"
  local n, stopped = 0, false
  local stream = session.workflows.flow:stream(nil, options)
  task.set_probe(function()
    n = n + 1
    if n == k then
      stopped = true
      stream:cancel "stop"
    end
  end)
  local reader = harness.spawn(function() return (scripted.drain(stream)) end)
  clock.advance(30000)
  task.set_probe(nil)
  local r = { events = reader:await(), stopped = stopped, resumes = n, session = session, h = h }
  r.ok, r.result = pcall(stream.result, stream)
  return r
end

-- ---- what holds ---------------------------------------------------------------------------

local function count_pairs(events, started, ...)
  local n = #scripted.of(events, started)
  for _, ended in ipairs { ... } do n = n - #scripted.of(events, ended) end
  return n
end

-- Each invocation has its start and its end, and what is its own lies between them.
local function check_invocations(events, label)
  local state = {}
  for _, event in ipairs(events) do
    local id = event.invocation_id
    if id and event.type == "agent.started" then
      assert.is_nil(state[id], label)
      state[id] = "open"
    elseif id then
      assert.equal("open", state[id], label .. ": " .. event.type)
      if event.type == "agent.finished" then state[id] = "closed" end
    end
  end
  for _, what in pairs(state) do assert.equal("closed", what, label) end
end

local function whole_turns(list)
  local open, turn = {}, nil
  for _, message in ipairs(list) do
    if message.role == "user" then
      if turn == "open" then return false, "a turn without its answer" end
      turn = "open"
    elseif message.role == "assistant" then
      for _, call in ipairs(message.tool_calls or {}) do open[call.id] = true end
      if not message.tool_calls then turn = "closed" end
    elseif message.role == "tool" then
      if not open[message.tool_call_id] then return false, "a result without a call" end
      open[message.tool_call_id] = nil
    end
  end
  if next(open) then return false, "a call without its result" end
  return turn ~= "open", "the last turn is open"
end

local function check(r, label)
  local events = r.events
  for i, event in ipairs(events) do assert.equal(i, event.seq, label) end
  local record = r.session:runs()[1]
  if not record then return assert.same({}, events, label) end
  assert.equal(1, #scripted.of(events, "run.finished"), label)
  assert.equal("run.finished", events[#events].type, label)
  assert.equal(events[#events].status, record.status, label)
  assert.equal(0, count_pairs(events, "agent.started", "agent.finished"), label)
  check_invocations(events, label)
  assert.equal(0, count_pairs(events, "tool.started", "tool.finished"), label)
  assert.equal(0, count_pairs(events, "model.started", "model.completed", "model.failed"), label)
  local history = r.session.history:list()
  local whole, why = whole_turns(history)
  assert.is_true(whole, label .. ": " .. tostring(why))
  if not r.ok then
    assert.equal(0, #history, label)
    local cancelled = errors.is(r.result, "OPERATION_CANCELLED")
    assert.equal(cancelled and "cancelled" or "failed", record.status, label)
  else
    assert.equal("succeeded", record.status, label)
    local turns = 0
    for _, event in ipairs(scripted.of(events, "agent.finished")) do turns = turns + (event.error and 0 or 1) end
    local users = 0
    for _, message in ipairs(history) do users = users + (message.role == "user" and 1 or 0) end
    assert.is_true(users <= turns, label)
  end
  assert.is_nil(next(r.h.live_runs), label)
end

describe("a random workflow", function()
  before_each(function()
    clock.stop()
    math.randomseed(SEED)
  end)
  after_each(function()
    task.set_probe(nil)
    clock.go()
  end)

  it("keeps the rules, whatever fails, times out or is cancelled at any point", function()
    local before, report = live.now(), task.report
    task.report = function() end -- errors that random programs leave unseen
    local runs, ends = 0, { succeeded = 0, failed = 0, cancelled = 0 }
    for i = 1, TREES do
      local tree = random_tree(0)
      local label = ("seed %d, tree %d"):format(SEED, i)
      local whole = run_once(tree, nil, { timeout_ms = math.random() < 0.2 and math.random(1, 60) or nil })
      check(whole, label)
      whole.h:shutdown()
      for _ = 1, 3 do
        local k = math.random(1, math.max(1, whole.resumes))
        local r = run_once(tree, k)
        check(r, ("%s, stopped at %d of %d"):format(label, k, whole.resumes))
        r.h:shutdown()
        local record_status = r.events[#r.events] and r.events[#r.events].status
        if record_status then ends[record_status] = ends[record_status] + 1 end
        runs = runs + 1
      end
      collectgarbage()
    end
    task.report = report
    collectgarbage()
    live.check(before)
    print(("random workflows: %d trees, %d runs stopped; %d succeeded, %d failed, %d cancelled (seed %d)"):format(
      TREES, runs, ends.succeeded, ends.failed, ends.cancelled, SEED))
    assert.is_true(ends.cancelled > 0)
  end)
end)
