-- engine/abort.c through core.signal_*: the tree of abort signals.
local clock = require "spec.support.clock"
local core = require "harness.core"
local errors = require "harness.errors"
local live = require "spec.support.live"

local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

-- All tokens that are queued now, in their order. Nothing else runs while a spec does not wait.
local function queued()
  local list = {}
  while true do
    local token = core.take()
    if not token then return list end
    list[#list + 1] = token
  end
end

describe("the tree of abort signals", function()
  local before, tokens, signals

  local function open(parent, ms, scope)
    local token = core.slot_open()
    tokens[#tokens + 1] = token
    local signal = core.signal_open(parent or 0, token, ms, scope)
    signals[#signals + 1] = signal
    return signal, token
  end

  before_each(function()
    clock.stop()
    before = live.now()
    tokens, signals = {}, {}
  end)

  after_each(function()
    for _, signal in ipairs(signals) do core.signal_close(signal) end
    for _, token in ipairs(tokens) do core.slot_close(token) end
    live.check(before)
    clock.go()
  end)

  it("aborts all below, children before their parents, and nothing beside", function()
    local root, root_token = open()
    local left, left_token = open(root)
    local leaf, leaf_token = open(left)
    local right, right_token = open(root)
    local beside = open()
    core.signal_abort(root, "why")
    local place = {}
    for i, token in ipairs(queued()) do place[token] = i end
    assert.is_true(place[leaf_token] < place[left_token])
    assert.is_true(place[left_token] < place[root_token])
    assert.is_true(place[right_token] < place[root_token])
    for _, signal in ipairs { root, left, leaf, right } do
      assert.is_true(core.signal_aborted(signal))
      assert.equal("why", core.signal_reason(signal))
    end
    assert.is_false(core.signal_aborted(beside))
    assert.is_nil(core.signal_reason(beside))
  end)

  it("leaves what is above alone", function()
    local root = open()
    local child = open(root)
    core.signal_abort(child, "why")
    assert.is_false(core.signal_aborted(root))
    assert.equal(1, #queued())
  end)

  it("keeps the first reason, also of a part that was aborted before", function()
    local root = open()
    local part = open(root)
    local leaf = open(part)
    core.signal_abort(part, "first")
    core.signal_abort(part, "second")
    queued()
    core.signal_abort(root, "third")
    assert.equal("first", core.signal_reason(part))
    assert.equal("first", core.signal_reason(leaf))
    assert.equal("third", core.signal_reason(root))
    assert.equal(1, #queued()) -- the part is not told again
  end)

  it("is born aborted under an aborted parent, with its reason, and told at once", function()
    local root = open()
    local reason = { "by identity" }
    core.signal_abort(root, reason)
    queued()
    local child, token = open(root, 10, "tool")
    assert.same({ token }, queued())
    assert.is_true(rawequal(reason, core.signal_reason(child)))
    assert.equal(before.timers, core.live().timers) -- its deadline can change nothing any more
  end)

  it("hands children of a signal that is closed to its parent", function()
    local root = open()
    local middle = open(root)
    local leaf, leaf_token = open(middle)
    core.signal_close(middle)
    core.signal_abort(root, "why")
    assert.equal("why", core.signal_reason(leaf))
    assert.equal(leaf_token, queued()[1])
  end)

  it("makes roots of the children of a root that is closed", function()
    local root = open()
    local a, b = open(root), open(root)
    core.signal_close(root)
    core.signal_abort(a, "why")
    assert.is_false(core.signal_aborted(b))
  end)

  it("ignores handles that are gone", function()
    local signal = open()
    core.signal_close(signal)
    core.signal_close(signal)
    core.signal_abort(signal, "why")
    core.signal_deadline(signal, 10, "task")
    assert.is_false(core.signal_aborted(signal))
    assert.is_nil(core.signal_reason(signal))
    local again = open()
    assert.not_equal(signal, again)
    core.signal_abort(signal, "why") -- the place may be the same, the handle is not
    assert.is_false(core.signal_aborted(again))
    assert.equal(before.timers, core.live().timers)
    for _, odd in ipairs { 0, -1, 1 << 40, math.maxinteger, math.mininteger } do
      assert.is_false(core.signal_aborted(odd))
      core.signal_close(odd)
    end
  end)

  it("lets go of the reason with the last signal that has it", function()
    local weak = setmetatable({}, { __mode = "v" })
    local root = open()
    local child = open(root)
    local reason = {}
    weak.reason = reason
    core.signal_abort(root, reason)
    queued()
    reason = nil -- luacheck: ignore
    core.signal_close(root)
    collectgarbage()
    assert.is_not_nil(weak.reason)
    core.signal_close(child)
    collectgarbage()
    assert.is_nil(weak.reason)
  end)

  describe("deadline", function()
    it("aborts with OPERATION_TIMEOUT, one error for all below", function()
      local root = open(nil, 50, "tool")
      local child = open(root)
      core.clock_advance(49)
      assert.is_false(core.signal_aborted(root))
      core.clock_advance(1)
      local err = core.signal_reason(child)
      assert.is_true(errors.is(err, "OPERATION_TIMEOUT"))
      assert.same({ scope = "tool", timeout_ms = 50 }, err.meta)
      assert.is_true(rawequal(err, core.signal_reason(root)))
      assert.is_true(err.retriable)
      queued()
    end)

    it("of the parent or of the child: the earlier one wins", function()
      for _, case in ipairs { { 30, 50, 30, "run" }, { 50, 30, 30, "tool" } } do
        local parent = open(nil, case[1], "run")
        local child = open(parent, case[2], "tool")
        core.clock_advance(30)
        local meta = core.signal_reason(child).meta
        assert.same({ scope = case[4], timeout_ms = case[3] }, meta)
        core.signal_close(parent)
        core.signal_close(child)
        queued()
      end
    end)

    it("is replaced by a second one, and taken back by nil", function()
      local signal = open(nil, 50, "task")
      core.signal_deadline(signal, 100, "tool")
      core.clock_advance(50)
      assert.is_false(core.signal_aborted(signal))
      core.signal_deadline(signal, nil)
      assert.equal(1000, core.clock_advance(1000) + 1000) -- nothing was due
      assert.is_false(core.signal_aborted(signal))
      assert.equal(before.timers, core.live().timers)
    end)

    it("stops with the signal, and with its abort", function()
      local a, b = open(nil, 50, "task"), open(nil, 50, "task")
      core.signal_close(a)
      core.signal_abort(b, "why")
      queued()
      assert.equal(before.timers, core.live().timers)
    end)

    it("of zero or less passes at the next turn", function()
      local a, b = open(nil, 0, "task"), open(nil, -5, "task")
      core.clock_advance(0)
      assert.is_true(core.signal_aborted(a))
      assert.is_true(core.signal_aborted(b))
      queued()
    end)

    it("that is no time, or of a scope that does not exist, leaves nothing open", function()
      for _, open_one in ipairs { core.signal_open, core.task_open } do
        local given = open_one == core.signal_open and { 0, 0 } or { 0 }
        local n = #given
        given[n + 1], given[n + 2] = 10, "nowhere"
        local ok, err = pcall(open_one, table.unpack(given))
        assert.is_false(ok)
        assert.matches("nowhere", err)
        given[n + 1] = math.huge
        assert.is_false(pcall(open_one, table.unpack(given)))
        assert.same({ before.signals, before.tasks }, { core.live().signals, core.live().tasks })
      end
    end)
  end)

  describe("watching", function()
    it("queues the watcher's token on abort, or at once, and never after detach", function()
      local root = open()
      local child = open(root)
      local mine, other, late = core.slot_open(), core.slot_open(), core.slot_open()
      table.move({ mine, other, late }, 1, 3, #tokens + 1, tokens)
      local a = core.signal_watch(child, mine)
      local b = core.signal_watch(child, other)
      b:detach()
      b:detach()
      core.signal_abort(root, "why")
      local seen = {}
      for _, token in ipairs(queued()) do seen[token] = true end
      assert.is_true(seen[mine])
      assert.is_nil(seen[other])
      core.signal_watch(child, late)
      assert.same({ late }, queued())
      a:detach()
    end)

    it("ends with the signal, and with the watch", function()
      local signal = open()
      local mine = core.slot_open()
      tokens[#tokens + 1] = mine
      local watch = core.signal_watch(signal, mine)
      core.signal_close(signal)
      watch:detach()
      local second = open()
      core.signal_watch(second, mine) -- dropped at once
      collectgarbage()
      collectgarbage()
      core.signal_abort(second, "why")
      assert.equal(1, #queued())
    end)

    it("of a signal that is gone waits for nothing", function()
      local signal = open()
      core.signal_close(signal)
      core.signal_watch(signal, tokens[1])
      assert.same({}, queued())
    end)
  end)

  -- ---- against a model ----------------------------------------------------------------------

  -- The tree as plain tables: node -> parent, reason, due, token.
  local Model = {}
  Model.__index = Model

  local function is_below(node, top)
    while node do
      if node == top then return true end
      node = node.parent
    end
    return false
  end

  function Model:fire(top, reason)
    if top.reason ~= nil then return end
    for _, node in ipairs(self.nodes) do
      if node.reason == nil and is_below(node, top) then
        node.reason, node.due = reason, nil
        self.told[#self.told + 1] = node
      end
    end
  end

  function Model:close(node)
    for _, other in ipairs(self.nodes) do
      if other.parent == node then other.parent = node.parent end
    end
    for i, other in ipairs(self.nodes) do
      if other == node then table.remove(self.nodes, i) break end
    end
    core.signal_close(node.signal)
    self.gone[#self.gone + 1] = node
  end

  function Model:open(parent, ms)
    local node = { token = core.slot_open(), parent = parent, reason = parent and parent.reason }
    node.signal = core.signal_open(parent and parent.signal or 0, node.token, ms, "task")
    self.order = self.order + 1
    if node.reason ~= nil then
      self.told[#self.told + 1] = node
    elseif ms then
      node.due, node.ms, node.order = self.now + ms, ms, self.order
    end
    tokens[#tokens + 1], signals[#signals + 1] = node.token, node.signal
    self.nodes[#self.nodes + 1] = node
  end

  function Model:deadline(node, ms)
    core.signal_deadline(node.signal, ms, "task")
    self.order = self.order + 1
    if node.reason == nil then node.due, node.ms, node.order = ms and self.now + ms, ms, self.order end
  end

  function Model:advance(ms)
    local target = self.now + ms
    while true do
      local next_node
      for _, node in ipairs(self.nodes) do
        local due = node.due and node.due <= target
        if due and (not next_node or node.due < next_node.due
          or node.due == next_node.due and node.order < next_node.order) then next_node = node end
      end
      if not next_node then break end
      self:fire(next_node, { timeout = next_node.ms })
    end
    self.now = target
    local left = ms
    repeat left = core.clock_advance(left) until left == 0
  end

  function Model:abort(node)
    self.count = self.count + 1
    core.signal_abort(node.signal, "reason " .. self.count)
    self:fire(node, "reason " .. self.count)
  end

  -- Compares what was told and what every signal says.
  function Model:check(label)
    local place, got = {}, queued()
    for i, token in ipairs(got) do place[token] = i end
    assert.equal(#self.told, #got, label)
    for _, node in ipairs(self.told) do
      assert.is_not_nil(place[node.token], label)
      local above = node.parent
      while above do -- children are told before their parents, if by the same abort
        if place[above.token] and rawequal(above.reason, node.reason) and not node.born_aborted then
          assert.is_true(place[node.token] < place[above.token], label)
        end
        above = above.parent
      end
    end
    self.told = {}
    local alive, timers = 0, 0
    for _, node in ipairs(self.nodes) do
      alive = alive + 1
      if node.due then timers = timers + 1 end
      local reason = core.signal_reason(node.signal)
      assert.equal(node.reason ~= nil, core.signal_aborted(node.signal), label)
      if type(node.reason) == "table" then assert.equal(node.reason.timeout, reason.meta.timeout_ms, label)
      else assert.equal(node.reason, reason, label) end
    end
    for _, node in ipairs(self.gone) do if core.signal_aborted(node.signal) then error(label) end end
    assert.equal(before.signals + alive, core.live().signals, label)
    assert.equal(before.timers + timers, core.live().timers, label)
  end

  local function step(model)
    local nodes, dice = model.nodes, math.random()
    local node = nodes[math.random(math.max(#nodes, 1))]
    if not node or dice < 0.5 then
      model:open(math.random() < 0.85 and node or nil, math.random() < 0.3 and math.random(0, 40) or nil)
    elseif dice < 0.62 then
      model:abort(node)
    elseif dice < 0.82 then
      model:close(node)
    elseif dice < 0.92 then
      model:deadline(node, math.random() < 0.8 and math.random(0, 40) or nil)
    else
      model:advance(math.random(0, 20))
    end
  end

  it("does what a plain model does, for random trees and any order of frees", function()
    math.randomseed(SEED)
    for round = 1, math.max(1, 100 // FACTOR) do
      local model = setmetatable({ nodes = {}, told = {}, gone = {}, now = 0, order = 0, count = 0 }, Model)
      for i = 1, 60 do
        step(model)
        model:check(("seed %d, round %d, step %d"):format(SEED, round, i))
      end
      while #model.nodes > 0 do model:close(model.nodes[math.random(#model.nodes)]) end
      queued()
      for _, token in ipairs(tokens) do core.slot_close(token) end
      tokens, signals = {}, {}
    end
  end)

  -- ---- cost ---------------------------------------------------------------------------------

  local SHAPES <const> = {
    wide = function() return 1 end,
    deep = function(i) return i end,
    random = function(i) return math.random(i) end,
    ["comb of aborted ones"] = function(i) return i % 2 == 0 and i - 1 or i end,
  }

  -- The best of some times that it takes to abort a tree of n nodes, in microseconds.
  local function time_abort(n, parent_of, aborted_before)
    local best = math.huge
    for _ = 1, 2 do
      local list = { (open()) }
      for i = 1, n - 1 do list[i + 1] = open(list[parent_of(i)]) end
      if aborted_before then
        for i = n, 2, -1 do if i % 2 == 0 then core.signal_abort(list[i], "before") end end
      end
      queued()
      local from = os.clock()
      core.signal_abort(list[1], "why")
      best = math.min(best, (os.clock() - from) * 1e6)
      local aborted = 0
      for i = 1, n do aborted = aborted + (core.signal_aborted(list[i]) and 1 or 0) end
      assert.equal(n, aborted)
      queued()
      for i = 1, n do core.signal_close(list[i]) end
      for i = 1, n do core.slot_close(tokens[#tokens - n + i]) end
      tokens, signals = {}, {}
    end
    return best
  end

  it("aborts 200,000 signals in work that is linear, whatever their shape", function()
    for name, parent_of in pairs(SHAPES) do
      local comb = name:find "comb" ~= nil
      local large = 200000 // FACTOR
      local few, many = time_abort(2000, parent_of, comb), time_abort(large, parent_of, comb)
      -- A hundred times as many are a hundred times the work (some milliseconds), not ten thousand times
      -- (seconds); between the two there is room for whatever else the machine does.
      assert.is_true(many < 1000 * math.max(few, 200), ("%s: %.0f us, %.0f us"):format(name, few, many))
    end
  end)
end)
