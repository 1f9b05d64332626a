-- lua/harness/locks.lua
local harness = require "harness"
local live = require "spec.support.live"
local locks = require "harness.locks"
local task = require "harness.task"

describe("locks", function()
  local before, owner, order

  before_each(function() before, owner, order = live.now(), {}, {} end)
  after_each(function() live.check(before) end)

  local function holder(name, label)
    local whose = owner
    return harness.spawn(function()
      local _ <close> = locks.take(whose, name)
      order[#order + 1] = label
      for _ = 1, 3 do task.pause() end
      order[#order + 1] = label .. "-"
    end)
  end

  it("are had by one at a time, in the order of asking", function()
    local tasks = { holder("a", "1"), holder("a", "2"), holder("a", "3") }
    for _, t in ipairs(tasks) do t:await() end
    assert.equal("1 1- 2 2- 3 3-", table.concat(order, " "))
  end)

  it("of other names and other owners are independent", function()
    local tasks = { holder("a", "1"), holder("b", "2") }
    owner = {}
    tasks[3] = holder("a", "3")
    for _, t in ipairs(tasks) do t:await() end
    assert.equal("1 2 3 1- 2- 3-", table.concat(order, " "))
  end)

  it("go on to the next one whoever is stopped: who has it, who waits, whose turn has just come", function()
    for stopped = 1, 3 do
      for turns = 1, 12 do
        order = {}
        local tasks = { holder("a", "1"), holder("a", "2"), holder("a", "3"), holder("a", "4") }
        for _ = 1, turns do task.pause() end
        tasks[stopped]:cancel "stop"
        for _, t in ipairs(tasks) do pcall(t.await, t) end
        assert.equal("4-", order[#order])
        local _ <close> = locks.take(owner, "a") -- is free
      end
    end
  end)

  it("are let go of by a task that is ended by force", function()
    local stubborn = harness.spawn(function()
      local _ <close> = locks.take(owner, "a")
      while true do pcall(harness.sleep, 5) end
    end)
    task.pause()
    local waiting = holder("a", "2")
    task.pause()
    stubborn:cancel "stop"
    waiting:await()
    assert.equal("2 2-", table.concat(order, " "))
  end)
end)
