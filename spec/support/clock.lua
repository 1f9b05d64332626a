--- Time in specs: the engine's clock, turned by hand.
---
---     clock.stop()                     -- from now on it stands still
---     clock.advance(5000)              -- five seconds go by, timer after timer
---     clock.go()                       -- the real clock again (in after_each)

local core = require "harness.core"
local task = require "harness.task"

local M = {}

local EPOCH <const> = 1767225600000 -- 2026-01-01T00:00:00Z

--- Stops the clock at the given time.
---@param epoch_ms? integer
function M.stop(epoch_ms)
  core.clock_manual(epoch_ms or EPOCH)
end

--- Lets the time go by; after each timer everything that is ready runs.
---@param ms integer
function M.advance(ms)
  task.settle()
  local left = ms
  repeat
    left = core.clock_advance(left)
    task.settle()
  until left == 0
end

function M.go()
  core.clock_manual(nil)
end

return M
