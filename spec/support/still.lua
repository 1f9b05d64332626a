--- What most specs have around each `it`: a clock that stands still, and a check that nothing is left open.
---
---     local still = require "spec.support.still"
---     local opened = still(before_each, after_each)    -- in a describe; harnesses put into `opened` are shut down

local clock = require "spec.support.clock"
local live = require "spec.support.live"

---@param before_each fun(fn: fun()) busted's, which only a spec file can see
---@param after_each fun(fn: fun())
---@return harness.Harness[] opened
return function(before_each, after_each)
  local opened, before = {}, nil

  before_each(function()
    clock.stop()
    before = live.now()
  end)

  after_each(function()
    for i, h in ipairs(opened) do
      if type(h.storage) == "table" then h.storage.hook, h.storage.after = nil, nil end -- see wrapped_storage
      h:shutdown()
      opened[i] = nil
    end
    collectgarbage()
    collectgarbage()
    live.check(before)
    clock.go()
  end)

  return opened
end
