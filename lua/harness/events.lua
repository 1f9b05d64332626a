--- The events of a run: which fields each type has, and what of them is stored.
---
--- Stored payloads keep ids, counts, usage and errors; inputs, outputs and objects become "[redacted]"
--- unless the harness says `telemetry.store_content = true` (design "Stored events", reference A 4.4).
--- Deltas are not stored.
---
--- `run:emit(type, ...)` takes the values of the fields in the order given here. The functions that
--- make the tables are generated from this list once, with all fields in one constructor: a table
--- that grows field by field costs several times as much, and a run makes some twenty of them.

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

local function fields_of(list)
  local names, marked = {}, {}
  for name, mark in list:gmatch "([%w_]+)(!?)" do
    names[#names + 1] = name
    marked[name] = mark == "!"
  end
  return names, marked
end

local function event_maker(list)
  local names = fields_of(list)
  local params, body = {}, {}
  for i, name in ipairs(names) do
    params[i] = "f" .. i
    body[i] = ("%s = f%d"):format(name, i)
  end
  return generate("type, run_id, attempt, seq, at, " .. table.concat(params, ", "),
    "type = type, run_id = run_id, attempt = attempt, seq = seq, at = at, " .. table.concat(body, ", "))
end

local function payload_maker(list, with_content)
  local names, marked = fields_of(list)
  local params, body = {}, {}
  for i, name in ipairs(names) do
    params[i] = "f" .. i
    local hidden = marked[name] and not with_content
    body[i] = hidden and ('%s = f%d ~= nil and "[redacted]" or nil'):format(name, i) or ("%s = f%d"):format(name, i)
  end
  return generate(table.concat(params, ", "), table.concat(body, ", "))
end

--- type -> function(type, run_id, attempt, seq, at, ...) that makes the event
M.make = {}
--- type -> function(...) that makes the stored payload; with_content for stores that keep content.
--- Types that are not stored have none.
M.payload, M.payload_with_content = {}, {}

for type, list in pairs(STORED) do
  M.make[type] = event_maker(list)
  M.payload[type] = payload_maker(list, false)
  M.payload_with_content[type] = payload_maker(list, true)
end
for type, list in pairs(LIVE_ONLY) do M.make[type] = event_maker(list) end

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
