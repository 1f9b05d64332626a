-- lua/harness/adapter.lua: what an adapter says that it can do.

local adapter = require "harness.adapter"
local harness = require "harness"

local function nothing() end

local hostile = setmetatable({}, { __index = function() error "no" end })

describe("an adapter", function()
  it("declares a list or a set", function()
    local list = { capabilities = { "b", "a", 5 } }
    local set = { capabilities = { b = true, a = true, c = false, d = 1 } }
    for _, one in ipairs { list, set } do
      assert.is_true(adapter.has(one, "a"))
      assert.is_true(adapter.has(one, "b"))
      assert.is_false(adapter.has(one, "c"))
      assert.is_false(adapter.has(one, "d"))
    end
    assert.same({ "b", "a" }, adapter.capabilities(list))
    assert.same({ "a", "b" }, adapter.capabilities(set))
    assert.same({}, adapter.capabilities { capabilities = {} })
  end)

  it("declares nothing in any other way", function()
    for _, one in ipairs { { capabilities = "memory.kv" }, { capabilities = 5, memory_get = nothing }, hostile } do
      assert.same({}, adapter.capabilities(one))
      assert.is_false(adapter.has(one, "memory.kv"))
    end
  end)

  it("that declares nothing is taken at its methods", function()
    local one = { memory_get = nothing, memory_list = setmetatable({}, { __call = nothing }), memory_delete = 5 }
    assert.same({ "memory.list" }, adapter.capabilities(one))
    one.memory_put = nothing
    assert.same({ "memory.kv", "memory.list", "memory.ttl", "memory.run", "memory.session", "memory.agent",
      "memory.user", "memory.tenant" }, adapter.capabilities(one))
    assert.is_false(adapter.has(one, "memory.persistent"))
    assert.is_false(adapter.has(one, "memory.search"))
  end)

  it("of memory stands in for all memory of the storage", function()
    local storage = { capabilities = { "memory.kv", "memory.ttl", "storage.durable", "x" } }
    assert.same(storage.capabilities, adapter.all_capabilities(storage))
    assert.same({ "storage.durable", "x", "memory.kv", "memory.persistent" },
      adapter.all_capabilities(storage, { capabilities = { "memory.kv", "x", "memory.persistent" } }))
  end)

  it("of ours declares what the design says", function()
    assert.same({ "memory.kv", "memory.list", "memory.delete", "memory.search", "memory.ttl", "memory.run",
      "memory.session", "memory.agent", "memory.user", "memory.tenant" },
      adapter.capabilities(harness.storage.memory()))
  end)
end)
