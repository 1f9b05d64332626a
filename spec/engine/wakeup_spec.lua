--- Whoever a timer wakes is resumed at once, also when I/O is pending: uv_run fires timers before it
--- waits, and must not wait then.

local core = require "harness.core"
local process = require "harness.process"
local task = require "harness.task"

describe("a task whose sleep ended while another one computed", function()
  it("does not wait for the next I/O", function()
    local sleeper <close> = process.spawn { file = "sleep", args = { "5" } } -- something that uv waits for
    local t = task.spawn(function() task.sleep(1) end)
    task.pause()
    local busy_until = core.now_us() + 10000
    while core.now_us() < busy_until do end
    local began = core.now_ms()
    t:await()
    assert.is_true(core.now_ms() - began < 1000)
    sleeper:kill()
  end)
end)
