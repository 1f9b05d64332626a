-- lua/harness/relay.lua: waiting for the next event.
local core = require "harness.core"
local errors = require "harness.errors"
local relay = require "harness.relay"
local task = require "harness.task"

local function event(i) return { type = "tick", n = i } end

-- The numbers of the events that a loop sees until the end.
local function numbers(r, list)
  for e in r do list[#list + 1] = e.n or e.dropped end
  return list
end

describe("harness.relay", function()
  local before
  before_each(function() before = core.live() end)
  after_each(function() assert.same(before, core.live()) end)

  it("delivers what is there without waiting, and ends", function()
    local r = relay.new()
    for i = 1, 3 do r:push(event(i)) end
    r:finish()
    assert.same({ 1, 2, 3 }, numbers(r, {}))
    assert.is_nil(r:next())
    assert.is_nil(r:next())
  end)

  it("waits for a producer that comes later", function()
    local r, list = relay.new(), {}
    local reader = task.spawn(function() return numbers(r, list) end)
    for i = 1, 5 do
      task.sleep(1)
      assert.equal(i - 1, #list)
      r:push(event(i))
    end
    r:finish()
    assert.same({ 1, 2, 3, 4, 5 }, reader:await())
  end)

  it("wakes a reader that waits when the end comes", function()
    local r = relay.new()
    local reader = task.spawn(function() return r:next() == nil end)
    task.pause()
    r:finish()
    assert.is_true(reader:await())
  end)

  it("never makes the producer wait, and tells the reader what it missed", function()
    local r = relay.new { capacity = 10 }
    for i = 1, 100 do r:push(event(i)) end
    r:finish()
    assert.same({ 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100 }, numbers(r, {}))
  end)

  it("raises the error of finish after the last event, the same value, every time", function()
    local r, err = relay.new(), errors.new("MODEL_ERROR", "it broke")
    r:push(event(1))
    r:finish(err)
    local list = {}
    local ok, raised = pcall(numbers, r, list)
    assert.is_false(ok)
    assert.is_true(rawequal(err, raised))
    assert.same({ 1 }, list)
    ok, raised = pcall(r.next, r)
    assert.is_false(ok)
    assert.is_true(rawequal(err, raised))
  end)

  it("can be left and entered again", function()
    local r = relay.new()
    for i = 1, 4 do r:push(event(i)) end
    for e in r do
      if e.n == 2 then break end
    end
    r:finish()
    assert.same({ 3, 4 }, numbers(r, {}))
  end)

  it("lets go when the waiting task is aborted", function()
    local r = relay.new()
    local reader = task.spawn(function() return r:next() end)
    task.pause()
    reader:cancel "enough"
    local ok, err = pcall(reader.await, reader)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "OPERATION_CANCELLED"))
    r:push(event(1))
    assert.same(event(1), r:next()) -- another reader takes its place
  end)

  it("lets go when the waiting task is ended by force", function()
    local r = relay.new()
    local stubborn = task.make({ grace_ms = 1 }, function()
      task.shield(function() return r:next() end, 60000)
    end)
    task.pause()
    stubborn:cancel()
    pcall(stubborn.await, stubborn)
    local reader = task.spawn(function() return r:next() end)
    task.pause()
    r:push(event(7))
    assert.same(event(7), reader:await())
  end)

  it("has one reader: a second one that waits is told", function()
    local r = relay.new()
    local first = task.spawn(function() return r:next() end)
    task.pause()
    local ok, err = pcall(r.next, r)
    assert.is_false(ok)
    assert.truthy(tostring(err):find("one reader", 1, true))
    r:push(event(1))
    assert.same(event(1), first:await())
  end)

  it("loses no wake-up between producer and reader", function()
    math.randomseed(5)
    for _ = 1, 50 do
      local r, list, n = relay.new(), {}, math.random(1, 60)
      local reader = task.spawn(function() return numbers(r, list) end)
      local writer = task.spawn(function()
        for i = 1, n do
          if math.random(2) == 1 then task.pause() end
          r:push(event(i))
        end
        r:finish()
      end)
      writer:await()
      assert.equal(n, #reader:await())
    end
  end)

  it("takes the documented options, and no others", function()
    local r = relay.new { capacity = 1, terminal = { "tick" }, merge = true }
    r:push(event(1))
    r:push(event(2))
    assert.equal(2, r:len())
    local ok, err = pcall(relay.new, { size = 5 })
    assert.is_false(ok)
    assert.truthy(tostring(err):find("unknown option 'size'", 1, true))
    assert.has_error(function() relay.new "x" end)
  end)
end)
