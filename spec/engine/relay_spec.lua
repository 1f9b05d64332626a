-- engine/relay.c through core.relay. What waits is in spec/lua/relay_spec.lua.
local core = require "harness.core"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local function delta(i, call_id)
  return { type = "model.delta", seq = i, call_id = call_id or "c1", delta = i .. "," }
end

local function progress(i) return { type = "tool.progress", seq = i } end
local function finished(i) return { type = "agent.finished", seq = i } end

-- Everything that can be taken now.
local function drain(r)
  local list = {}
  while true do
    local event, state, err = r:take()
    if event == nil then return list, state, err end
    list[#list + 1] = event
  end
end

-- assert.* costs a thousand times what is looked at in the random mixes below.
local function expect(ok, message)
  if not ok then error(message, 2) end
end

local function assert_sums(r)
  local s = r:stats()
  expect(s.produced == s.delivered + s.dropped + s.merged + r:len(), "the sums do not add up")
end

describe("relay", function()
  it("hands over events in order, the same tables", function()
    local r = core.relay.new()
    local one, two = progress(1), progress(2)
    assert.is_true(r:push(one))
    assert.is_true(r:push(two))
    assert.equal(2, r:len())
    assert.is_true(rawequal(one, r:take()))
    assert.is_true(rawequal(two, r:take()))
    assert.same({ nil, "empty" }, { r:take() })
  end)

  it("gives the known answer: 2000 deltas, then run.finished, before the first read", function()
    local r = core.relay.new {}
    for i = 0, 1999 do r:push { type = "model.delta", delta = tostring(i) } end
    r:push { type = "run.finished" }
    r:finish()
    local list, state = drain(r)
    assert.equal("end", state)
    assert.equal(1 + 1023 + 1, #list)
    assert.same({ type = "stream.overflow", dropped = 977 }, list[1])
    for i = 977, 1999 do assert.equal(tostring(i), list[i - 975].delta) end
    assert.equal("run.finished", list[#list].type)
    assert.same({ produced = 2001, delivered = 1024, dropped = 977, merged = 0, late = 0 }, r:stats())
  end)

  it("tells notices and ends apart from events by their own tables", function()
    local r = core.relay.new { capacity = 1 }
    r:push(progress(1))
    r:push(progress(2))
    local notice = r:take()
    r:push(progress(3))
    assert.is_false(rawequal(notice, r:take()))
  end)

  it("drops the oldest that is not terminal", function()
    local r = core.relay.new { capacity = 3 }
    for i, make in ipairs { finished, progress, finished, progress } do r:push(make(i)) end
    local wanted = { { type = "stream.overflow", dropped = 1 }, finished(1), finished(3), progress(4) }
    assert.same(wanted, (drain(r)))
  end)

  it("grows when all are terminal, and drops none of them", function()
    local r = core.relay.new()
    for i = 1, 5000 do r:push(finished(i)) end
    assert.equal(5000, r:len())
    r:push(progress(5001)) -- the one that is not: it stays until another comes
    r:push(progress(5002))
    local list = drain(r)
    assert.same({ type = "stream.overflow", dropped = 1 }, list[1])
    assert.equal(5002, #list)
    assert.same(progress(5002), list[5002])
    assert_sums(r)
  end)

  it("tells what was missed once, before the next event, and anew after more was missed", function()
    local r = core.relay.new { capacity = 2 }
    for i = 1, 5 do r:push(progress(i)) end
    assert.same({ type = "stream.overflow", dropped = 3 }, r:take())
    assert.same(progress(4), r:take())
    r:push(progress(6))
    r:push(progress(7))
    assert.same({ type = "stream.overflow", dropped = 1 }, r:take())
    assert.same({ progress(6), progress(7) }, (drain(r)))
  end)

  it("ends after finish: pushes are ignored and counted", function()
    local r = core.relay.new()
    r:push(progress(1))
    local err = { "what went wrong" }
    r:finish(err)
    r:finish "too late"
    assert.is_false(r:push(progress(2)))
    assert.same(progress(1), r:take())
    for _ = 1, 2 do
      local event, state, given = r:take()
      assert.is_nil(event)
      assert.equal("end", state)
      assert.is_true(rawequal(err, given))
    end
    assert.same({ produced = 1, delivered = 1, dropped = 0, merged = 0, late = 1 }, r:stats())
  end)

  it("takes other terminal types, of any length, or none", function()
    local long = ("x"):rep(100)
    local r = core.relay.new { capacity = 1, terminal = { "done", long } }
    r:push { type = "done" }
    r:push { type = "run.finished" }
    r:push { type = ("x"):rep(50) .. ("x"):rep(50) }
    assert.same({ { type = "stream.overflow", dropped = 1 }, { type = "done" }, { type = long } }, (drain(r)))
    local none = core.relay.new { capacity = 1, terminal = {} }
    none:push(finished(1))
    none:push(finished(2))
    assert.same({ { type = "stream.overflow", dropped = 1 }, finished(2) }, (drain(none)))
  end)

  it("takes any value but nil as an event", function()
    local r = core.relay.new()
    for _, event in ipairs { "text", 7, false } do r:push(event) end
    assert.equal("text", r:take())
    assert.equal(7, r:take())
    assert.equal(false, r:take())
    assert.same({ nil, "empty" }, { r:take() })
  end)

  it("refuses misuse", function()
    for _, bad in ipairs { { capacity = 0 }, { capacity = -1 }, { capacity = 1.5 }, { capacity = "x" },
      { terminal = "run.finished" }, { terminal = { 7 } }, { merge = 1 } } do
      assert.has_error(function() core.relay.new(bad) end)
    end
    assert.has_error(function() core.relay.new(7) end)
    local r = core.relay.new()
    assert.has_error(function() r:push() end)
    assert.has_error(function() r.push({}, 1) end)
    assert.has_error(function() r.take(io.stdout) end)
    assert.has_error(function() r.len() end)
  end)

  it("keeps no event that was read or dropped", function()
    local weak = setmetatable({}, { __mode = "k" })
    local r = core.relay.new { capacity = 4 }
    for i = 1, 10 do
      local event = progress(i)
      weak[event] = true
      r:push(event)
    end
    for _ = 1, 3 do r:take() end -- the notice and two events
    collectgarbage()
    local left = 0
    for _ in pairs(weak) do left = left + 1 end
    assert.equal(2, left)
    assert.equal(2, r:len())
  end)

  it("arms: true when there is something to take, one waiting task at most", function()
    local r = core.relay.new()
    local a, b = core.slot_open(), core.slot_open()
    finally(function()
      core.slot_close(a)
      core.slot_close(b)
    end)
    assert.is_false(r:arm(a))
    assert.is_false(r:arm(a))
    assert.has_error(function() r:arm(b) end)
    r:disarm(b)
    assert.has_error(function() r:arm(b) end)
    r:disarm(a)
    assert.is_false(r:arm(b))
    r:disarm()
    r:push(progress(1))
    assert.is_true(r:arm(a))
    r:take()
    assert.is_false(r:arm(a))
    r:finish()
    assert.is_true(r:arm(a))
  end)

  -- The rules in plain Lua, as slow as they come.
  local function model(capacity)
    local m = { queue = {}, missed = 0 }
    function m:push(event)
      if #self.queue >= capacity then
        for i, old in ipairs(self.queue) do
          if old.type ~= "agent.finished" then
            table.remove(self.queue, i)
            self.missed = self.missed + 1
            break
          end
        end
      end
      table.insert(self.queue, event)
    end
    function m:take()
      if self.missed > 0 then
        local n = self.missed
        self.missed = 0
        return { type = "stream.overflow", dropped = n }
      end
      return table.remove(self.queue, 1)
    end
    return m
  end

  local function expect_same(wanted, got, where)
    local notice = wanted and wanted.dropped and got and wanted.dropped == got.dropped
    if wanted ~= got and not notice then assert.same(wanted, got, where) end
  end

  it("does as the model in random mixes", function()
    math.randomseed(1024)
    for round = 1, 400 // FACTOR do
      local capacity = math.random(1, 20)
      local r, m = core.relay.new { capacity = capacity }, model(capacity)
      local terminal_in, take_in = math.random(2, 9), math.random(2, 5)
      for i = 1, 400 do
        if math.random(take_in) == 1 then
          expect_same(m:take(), (r:take()), "round " .. round)
        else
          local event = math.random(terminal_in) == 1 and finished(i) or progress(i)
          r:push(event)
          m:push(event)
        end
        expect(#m.queue == r:len(), "another length than the model's")
        assert_sums(r)
      end
      while r:len() > 0 do expect_same(m:take(), (r:take()), "round " .. round) end
    end
  end)

  it("costs the same in every regime", function()
    local function seconds(before, make)
      local r, event = core.relay.new(), make(1)
      for i = 1, 1024 do r:push(before(i)) end
      local start = os.clock()
      for _ = 1, 200000 do
        r:push(event)
        r:take()
      end
      return os.clock() - start
    end
    local plain, full = seconds(progress, progress), seconds(finished, finished)
    assert.is_true(full < 20 * plain and plain < 20 * full, plain .. " s and " .. full .. " s")
  end)
end)

describe("relay with merge", function()
  local function text_of(list, call_id)
    local parts = {}
    for _, event in ipairs(list) do
      if event.delta and event.call_id == call_id then parts[#parts + 1] = event.delta end
    end
    return table.concat(parts)
  end

  it("leaves events alone while less than half full", function()
    local r = core.relay.new { merge = true, capacity = 10 }
    for i = 1, 5 do r:push(delta(i)) end
    assert.same({ delta(1), delta(2), delta(3), delta(4), delta(5) }, (drain(r)))
  end)

  it("joins deltas, and loses no text to a slow reader", function()
    local r, expected = core.relay.new { merge = true }, {}
    for i = 1, 20000 do
      local event = delta(i)
      event.agent_id, event.at = "a", i == 1 and "first" or "later"
      expected[i] = event.delta
      r:push(event)
    end
    r:push { type = "run.finished", seq = 20001 }
    r:finish()
    local list = drain(r)
    assert.equal(table.concat(expected), text_of(list, "c1"))
    local joined = list[#list - 1]
    assert.equal(20000, joined.seq)
    assert.equal("a", joined.agent_id)
    assert.equal(20001 - #list + 1, joined.merged)
    assert.equal(0, r:stats().dropped)
    assert_sums(r)
  end)

  it("joins what stands adjacent when it first becomes full, and then needs one place", function()
    local r = core.relay.new { merge = true, capacity = 4 }
    for i = 1, 2 do r:push(delta(i)) end
    for i = 3, 5 do r:push(progress(i)) end
    assert.equal(4, r:len())
    assert.same({ type = "model.delta", call_id = "c1", delta = "1,2,", seq = 2, merged = 2 }, r:take())
    assert.same({ progress(3), progress(4), progress(5) }, (drain(r)))
  end)

  it("does not change the events that were pushed", function()
    local r, first = core.relay.new { merge = true, capacity = 2 }, delta(1)
    r:push(first)
    for i = 2, 5 do r:push(delta(i)) end
    assert.equal("1,2,3,4,5,", r:take().delta)
    assert.same(delta(1), first)
  end)

  it("joins deltas of one type and one call only, text that is a string only", function()
    local r = core.relay.new { merge = true, capacity = 2 }
    local apart = {
      delta(1, "a"), delta(2, "b"),
      { type = "model.reasoning", seq = 3, call_id = "b", delta = "3," },
      { type = "model.reasoning", seq = 4, call_id = "b", delta = 4 },
      { type = "model.reasoning", seq = 5, call_id = "b", delta = "5," },
    }
    for i = 1, 4 do
      r:push(apart[i])
      r:push(apart[i + 1])
      assert.same({ apart[i], apart[i + 1] }, (drain(r)))
    end
  end)

  it("knows calls by ids of any length", function()
    local r, id = core.relay.new { merge = true, capacity = 2 }, ("x"):rep(60)
    for i = 1, 4 do r:push(delta(i, id:sub(1, 30) .. id:sub(31))) end
    assert.equal("1,2,3,4,", r:take().delta)
  end)

  it("drops plain events before deltas, which then join", function()
    local r = core.relay.new { merge = true, capacity = 4 }
    for i = 1, 100 do r:push((i % 2 == 0 and progress or delta)(i)) end
    local list = drain(r)
    local wanted = {}
    for i = 1, 99, 2 do wanted[#wanted + 1] = i .. "," end
    assert.equal(table.concat(wanted), text_of(list, "c1"))
    assert_sums(r)
  end)

  it("counts each delta of a joined event that is dropped", function()
    local r = core.relay.new { merge = true, capacity = 2, terminal = { "agent.finished" } }
    for i = 1, 5 do r:push(delta(i, "a")) end
    for i = 6, 8 do r:push(finished(i)) end
    assert.same({ type = "stream.overflow", dropped = 5 }, r:take())
    assert.equal(3, #drain(r))
    assert.same({ produced = 8, delivered = 3, dropped = 5, merged = 0, late = 0 }, r:stats())
  end)

  it("keeps text and sums in random mixes", function()
    math.randomseed(977)
    for _ = 1, 300 // FACTOR do
      local capacity = math.random(1, 24)
      local r = core.relay.new { merge = true, capacity = capacity }
      local calls, take_in = math.random(1, 3), math.random(3, 12)
      local deltas, position, list, produced = {}, {}, {}, 0
      local function take()
        local event = r:take()
        list[#list + 1] = event
      end
      for i = 1, 300 do
        local kind = math.random(10)
        if math.random(take_in) == 1 then
          take()
        else
          local event = kind == 1 and finished(i) or kind < 4 and progress(i)
            or delta(i, "c" .. math.random(calls))
          if event.delta then
            deltas[#deltas + 1] = event
            position[i] = #deltas
          end
          produced = produced + 1
          r:push(event)
        end
        assert_sums(r)
      end
      r:finish()
      repeat take() until r:len() == 0

      local count, last = 0, 0
      for _, event in ipairs(list) do
        count = count + (event.dropped or event.merged or 1)
        if event.seq then
          expect(event.seq > last, "out of order")
          last = event.seq
        end
        if event.delta then -- its text is that of the deltas that were produced one after another
          local parts, n = {}, event.merged or 1
          for k = position[event.seq] - n + 1, position[event.seq] do
            expect(event.call_id == deltas[k].call_id, "text of another call")
            parts[#parts + 1] = deltas[k].delta
          end
          expect(table.concat(parts) == event.delta, "text was lost, or stands in the wrong order")
        end
      end
      assert.equal(produced, count)
      assert.equal(produced, r:stats().produced)
    end
  end)

  it("joins in constant time", function()
    local r, event = core.relay.new { merge = true }, delta(1)
    local start = os.clock()
    for _ = 1, 1000000 // FACTOR do r:push(event) end
    assert.is_true(os.clock() - start < 2)
    assert.is_true(r:len() <= 1024)
  end)
end)
