--- The events of a run: which fields each type has, and what of them is stored.
---
--- Stored payloads keep ids, counts, usage and errors; inputs, outputs and objects become "[redacted]"
--- unless the harness says `telemetry.store_content = true` (design "Stored events", reference A 4.4).
--- Deltas are not stored.
---
--- `run:emit(type, ...)` takes the values of the fields in the order given here. What is stored is written
--- as JSON at once, by C (bindings/event_list.c); the event itself is a table, made only when somebody
--- reads it. The functions that make these are generated from this list once, with all fields in one
--- constructor: a table that grows field by field costs several times as much.

local core = require "harness.core"

local M = {}

M.TERMINAL = { "run.finished", "agent.finished" }

-- type -> its fields. A field marked ! is content: replaced in storage.
local STORED <const> = {
  ["run.started"] = "kind target session_id resumed",
  ["run.finished"] = "status error output!",
  ["agent.started"] = "agent_id invocation_id",
  ["agent.finished"] = "agent_id invocation_id error output!",
  ["model.started"] = "agent_id invocation_id alias model call_id",
  ["model.completed"] = "agent_id invocation_id alias model call_id usage finish_reason duration_ms",
  ["model.failed"] = "agent_id invocation_id alias model call_id error duration_ms",
  ["model.retry"] = "agent_id invocation_id alias call_id attempt delay_ms error",
  ["model.object"] = "agent_id invocation_id call_id object!",
  ["model.embedding.completed"] = "agent_id invocation_id count dimensions usage",
  ["model.rerank.completed"] = "agent_id invocation_id count top_n usage",
  ["tool.started"] = "agent_id invocation_id tool_id call_id input! parent_call_id",
  ["tool.finished"] = "agent_id invocation_id tool_id call_id error duration_ms output! parent_call_id",
  ["tool.progress"] = "tool_id call_id progress total message",
  ["step.committed"] = "step_id sequence",
  ["step.replayed"] = "step_id sequence",
  ["run.waiting"] = "waits",
  ["run.resumed"] = "waits",
}
local LIVE_ONLY <const> = {
  ["model.delta"] = "agent_id invocation_id call_id delta",
  ["model.reasoning"] = "agent_id invocation_id call_id delta",
  ["model.object.partial"] = "agent_id invocation_id call_id object",
}

local function generate(params, body)
  return assert(load(("return function(%s) return {%s} end"):format(params, body), "=events"))()
end

local function event_maker(list)
  local params, body = {}, {}
  for name in list:gmatch "[%w_]+" do
    local i = #params + 1
    params[i] = "f" .. i
    body[i] = ("%s = f%d"):format(name, i)
  end
  return generate("type, run_id, attempt, seq, at, " .. table.concat(params, ", "),
    "type = type, run_id = run_id, attempt = attempt, seq = seq, at = at, " .. table.concat(body, ", "))
end

--- type -> function(type, run_id, attempt, seq, at, ...) that makes the event
M.make = {}

for type, list in pairs(STORED) do M.make[type] = event_maker(list) end
for type, list in pairs(LIVE_ONLY) do M.make[type] = event_maker(list) end

--- type -> its shape, with which a list of events (`core.store.event_list`) takes the values for its stored
--- payload. Types that are not stored have none.
---@param with_content boolean?
---@return table<string, userdata>
function M.shapes(with_content)
  local shapes = {}
  for type, list in pairs(STORED) do shapes[type] = core.store.event_shape(type, list, with_content) end
  return shapes
end

--- The event that a stored record stands for.
---@param record table {run_id, seq, at, type, payload}
---@param attempt integer
---@return table
function M.from_record(record, attempt)
  local event = { attempt = attempt }
  for key, value in pairs(record.payload) do event[key] = value end
  event.type, event.run_id, event.seq, event.at = record.type, record.run_id, record.seq, record.at
  return event
end

return M
