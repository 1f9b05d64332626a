--- What the Lua programs of the bench share: batches, their median, and the line that run.lua
--- reads: `RESULT <metric> wall=<us per operation> cpu=<us per operation>`, or `value=<number>`.
---
--- With BENCH_METRIC and BENCH_COUNT set, only that metric's function runs, once, with that count:
--- so run.lua has valgrind count instructions.

local M = {}

local has_core, core = pcall(require, "harness.core")
-- Under stock Lua (the peers in Lua) there is no clock but the processor's.
local wall_us = has_core and core.now_us or function() return os.clock() * 1e6 end
local only, count = os.getenv "BENCH_METRIC", tonumber(os.getenv "BENCH_COUNT")

function M.wall_us() return wall_us() end

---User and system time of this process.
function M.cpu_us() return os.clock() * 1e6 end

---Memory of this process in KiB: "VmRSS" now, "VmHWM" at most.
---@param field string
---@return number
function M.memory_kib(field)
  for line in io.lines "/proc/self/status" do
    local kib = line:match("^" .. field .. ":%s*(%d+)")
    if kib then return tonumber(kib) end
  end
  error("no " .. field .. " in /proc/self/status")
end

---@param values number[]
function M.median(values)
  table.sort(values)
  return values[#values // 2 + 1]
end

function M.report(metric, wall, cpu)
  print(("RESULT %s wall=%.6g cpu=%.6g"):format(metric, wall, cpu))
end

function M.value(metric, value)
  print(("RESULT %s value=%.6g"):format(metric, value))
end

---Runs fn(n), which does n operations, once to warm up and then `batches` times.
---@param metric string
---@param n integer
---@param fn fun(n: integer)
---@param batches integer? default 7
function M.batches(metric, n, fn, batches)
  if only then
    if metric == only then fn(count) end
    return
  end
  fn(n)
  local wall, cpu = {}, {}
  for i = 1, batches or 7 do
    local w, c = M.wall_us(), M.cpu_us()
    fn(n)
    wall[i], cpu[i] = (M.wall_us() - w) / n, (M.cpu_us() - c) / n
  end
  M.report(metric, M.median(wall), M.median(cpu))
end

return M
