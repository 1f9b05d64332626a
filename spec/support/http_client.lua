-- Makes the HTTP requests of a JSON list and prints what came of each, as JSON; for specs that need
-- a process of their own (environment, name service). See spec/engine/proxy_spec.lua.
--
--   harness-lua spec/support/http_client.lua '{"settings": {...}, "requests": [{"url": ...}, ...]}'
--
-- Requests run at the same time, those with "after_ms" that much later. A request with "cancel_ms"
-- is cancelled after that time. Prints {"results": [{status, text} or {code, reason, message}, each
-- with ms], "ms": all in all}.
local core = require "harness.core"
local http = require "harness.http"
local join = require "harness.join"
local task = require "harness.task"

local job = core.json.decode(arg[1])
if job.settings then assert(core.http.configure(job.settings)) end

local function get(options)
  local response <close> = http.request(options)
  return { status = response.status, text = response:text() }
end

local function run(options)
  local after, cancel = options.after_ms, options.cancel_ms
  options.after_ms, options.cancel_ms = nil, nil
  if after then task.sleep(after) end
  local began = core.now_ms()
  local getting = task.spawn(get, options)
  if cancel then
    task.sleep(cancel)
    began = core.now_ms()
    getting:cancel()
  end
  local ok, result = pcall(getting.await, getting)
  if not ok then result = { code = result.code, reason = result.meta.reason, message = result.message } end
  result.ms = core.now_ms() - began
  return result
end

local began = core.now_ms()
local results = join.map(job.requests, run)
print(core.json.encode { results = core.json.array(results), ms = core.now_ms() - began })
