-- engine/ready.c through core.slot_open, push, take, slot_close.
local core = require "harness.core"

local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

-- Nothing here waits, so nobody else takes from the queue.
local function take_all()
  local list = {}
  while true do
    local token = core.take()
    if not token then return list end
    list[#list + 1] = token
  end
end

describe("the ready queue", function()
  local before, open

  local function slot()
    local token = core.slot_open()
    open[token] = true
    return token
  end

  local function close(token)
    core.slot_close(token)
    open[token] = nil
  end

  before_each(function()
    before = core.live().tasks
    open = {}
    assert.equal(0, core.ready_count())
  end)

  after_each(function()
    take_all()
    for token in pairs(open) do core.slot_close(token) end
    assert.equal(before, core.live().tasks)
  end)

  it("gives tokens in the order in which they were pushed", function()
    local a, b, c = slot(), slot(), slot()
    for _, token in ipairs { c, a, b } do core.push(token) end
    assert.equal(3, core.ready_count())
    assert.same({ c, a, b }, take_all())
    assert.is_nil((core.take()))
  end)

  it("tells the slot's index beside the token: small and dense", function()
    local token = slot()
    core.push(token)
    local taken, index = core.take()
    assert.same({ token, token & 0xffffffff }, { taken, index })
    assert.is_true(index <= before + 100)
  end)

  it("holds a token once, at its first place, and again after it was taken", function()
    local a, b = slot(), slot()
    for _, token in ipairs { a, b, a, a, b } do core.push(token) end
    assert.same({ a, b }, take_all())
    core.push(a)
    assert.same({ a }, take_all())
  end)

  it("drops the token of a slot that was closed", function()
    local a, b = slot(), slot()
    core.push(a)
    core.push(b)
    close(a)
    assert.same({ b }, take_all())
    core.push(a)
    assert.same({}, take_all())
  end)

  it("does not take a new owner for the old one of its slot", function()
    local old = slot()
    core.push(old)
    close(old)
    local new = slot()
    assert.equal(old & 0xffffffff, new & 0xffffffff) -- the slot is used again
    assert.not_equal(old, new)
    core.push(old)
    assert.same({}, take_all())
    core.push(new)
    close(old) -- of the old owner: harmless
    assert.same({ new }, take_all())
  end)

  it("puts a new owner behind, though the slot's old token stands further ahead", function()
    local old, other = slot(), slot()
    core.push(old)
    core.push(other)
    close(old)
    local new = slot()
    core.push(new)
    assert.same({ other, new }, take_all())
  end)

  it("ignores what is no token", function()
    for _, odd in ipairs { 0, -1, 12345678, 1 << 33, math.maxinteger, math.mininteger } do
      core.push(odd)
      core.slot_close(odd)
    end
    local token = slot()
    core.push(token + (1 << 32))
    assert.same({}, take_all())
  end)

  it("grows, with tokens in it, and keeps their order", function()
    local want = {}
    for _ = 1, 40 do core.push(slot()) end
    for _ = 1, 30 do core.take() end -- the ring begins in the middle now
    take_all()
    for i = 1, 5000 do
      want[i] = slot()
      core.push(want[i])
    end
    assert.same(want, take_all())
  end)

  it("makes tokens that are positive and never the same", function()
    local seen = {}
    for _ = 1, 20000 // FACTOR do
      local token = core.slot_open()
      assert(token > 0 and not seen[token])
      seen[token] = true
      core.push(token)
      core.slot_close(token)
    end
    assert.same({}, take_all())
  end)

  it("does what a plain list does, for random calls", function()
    math.randomseed(SEED)
    local list, queued, slots = {}, {}, {}
    local function model_take()
      while #list > 0 do
        local token = table.remove(list, 1)
        if open[token] then
          queued[token] = nil
          return token
        end
      end
    end
    for i = 1, 40000 // FACTOR do
      local dice, n = math.random(), #slots
      if n == 0 or dice < 0.15 then
        slots[n + 1] = slot()
      elseif dice < 0.28 then
        local at = math.random(n)
        close(slots[at])
        queued[slots[at]] = nil
        slots[at] = slots[n]
        slots[n] = nil
      elseif dice < 0.7 then
        local token = slots[math.random(n)]
        core.push(token)
        if not queued[token] then
          queued[token] = true
          list[#list + 1] = token
        end
      elseif model_take() ~= core.take() then
        error(("seed %d, step %d"):format(SEED, i))
      end
    end
    while true do
      local token = model_take()
      assert.equal(token, (core.take()))
      if not token then break end
    end
  end)
end)
