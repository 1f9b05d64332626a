-- The exported contract suite, on our memory storage and on a storage that is a plain Lua table.
local contract = require "harness.testing.storage_contract"
local storage = require "harness.storage"
local table_storage = require "spec.support.table_storage"

contract("memory", storage.memory)
contract("a Lua table", table_storage.new)

describe("harness.testing.storage_contract", function()
  -- Runs the suite by itself and returns the names of the cases that fail.
  local function failures(make_storage, options)
    local failed, count = {}, 0
    local names = {}
    options = options or {}
    options.describe = function(name, fn)
      names[#names + 1] = name
      fn()
      names[#names] = nil
    end
    options.it = function(name, fn)
      count = count + 1
      if not pcall(fn) then failed[#failed + 1] = names[#names] .. ": " .. name end
    end
    contract("inner", make_storage, options)
    return failed, count
  end

  it("finds a storage that returns what it holds", function()
    local failed = failures(function()
      local made = table_storage.new()
      local held
      function made:upsert_session(record) held = record end
      function made:get_session() return held end
      return made
    end, { memory = false })
    assert.is_true(table.concat(failed, "\n"):find("sessions: takes copies and gives copies", 1, true) ~= nil)
  end)

  it("finds an end of a run that is not atomic", function()
    local failed = failures(function()
      local made = table_storage.new()
      local finish = made.finish_run
      function made:finish_run(run_id, patch)
        if patch.session and self:get_run(run_id) then self:upsert_session(patch.session) end
        return finish(self, run_id, patch)
      end
      return made
    end, { memory = false })
    local names = table.concat(failed, "\n")
    assert.is_true(names:find("finish: changes nothing when a message is there", 1, true) ~= nil)
  end)

  it("leaves the memory group out where it is not offered", function()
    local _, all = failures(table_storage.new)
    local failed, fewer = failures(table_storage.new, { memory = false })
    assert.same({}, failed)
    assert.is_true(fewer < all)
  end)
end)

describe("harness.storage", function()
  it("refuses what comes later", function()
    for _, name in ipairs { "sqlite", "postgres" } do
      local ok, err = pcall(storage[name], "somewhere")
      assert.is_false(ok)
      assert.same({ "HARNESS_CONFIG_ERROR", "not_available" }, { err.code, err.meta.reason })
    end
  end)

  it("says what it is", function()
    local memory <close> = storage.memory()
    assert.equal("memory", memory.id)
    assert.equal("memory.kv", memory.capabilities[1])
  end)
end)
