--- What is kept of an event in storage: its payload without content (design: "Stored events",
--- reference A 4.4). Ids, counts, usage and errors stay; inputs, outputs and objects become
--- "[redacted]" unless the harness says `telemetry.store_content = true`. Deltas are not stored.

local M = {}

local REDACTED <const> = "[redacted]"

M.TERMINAL = { "run.finished", "agent.finished" }

-- For each stored type the fields that stay, and those that are replaced.
local STORED <const> = {
  ["run.started"] = { keep = { "kind", "target", "session_id", "resumed" } },
  ["run.finished"] = { keep = { "status", "error" }, hide = { "output" } },
  ["agent.started"] = { keep = { "agent_id", "invocation_id" } },
  ["agent.finished"] = { keep = { "agent_id", "invocation_id", "error" }, hide = { "output" } },
  ["model.started"] = { keep = { "agent_id", "invocation_id", "alias", "model", "call_id" } },
  ["model.completed"] = {
    keep = { "agent_id", "invocation_id", "alias", "model", "call_id", "usage", "finish_reason", "duration_ms" },
  },
  ["model.failed"] = { keep = { "agent_id", "invocation_id", "alias", "model", "call_id", "error", "duration_ms" } },
  ["model.retry"] = { keep = { "agent_id", "invocation_id", "alias", "call_id", "attempt", "delay_ms", "error" } },
  ["model.object"] = { keep = { "agent_id", "invocation_id", "call_id" }, hide = { "object" } },
  ["model.embedding.completed"] = { keep = { "agent_id", "invocation_id", "count", "dimensions", "usage" } },
  ["model.rerank.completed"] = { keep = { "agent_id", "invocation_id", "count", "top_n", "usage" } },
  ["tool.started"] = { keep = { "agent_id", "invocation_id", "tool_id", "call_id" }, hide = { "input" } },
  ["tool.finished"] = {
    keep = { "agent_id", "invocation_id", "tool_id", "call_id", "error", "duration_ms" }, hide = { "output" },
  },
  ["tool.progress"] = { keep = { "tool_id", "call_id", "progress", "total", "message" } },
  ["step.committed"] = { keep = { "step_id", "sequence" } },
  ["step.replayed"] = { keep = { "step_id", "sequence" } },
  ["run.waiting"] = { keep = { "waits" } },
  ["run.resumed"] = { keep = { "waits" } },
}

--- Is an event of this type stored?
---@param type string
---@return boolean
function M.is_stored(type)
  return STORED[type] ~= nil
end

--- The payload to store for an event.
---@param event table
---@param store_content boolean
---@return table
function M.payload(event, store_content)
  local rule, payload = STORED[event.type], {}
  local keep, hide = rule.keep, rule.hide
  for i = 1, #keep do
    local key = keep[i]
    payload[key] = event[key]
  end
  if hide then
    for i = 1, #hide do
      local key = hide[i]
      local value = event[key]
      if value ~= nil then payload[key] = store_content and value or REDACTED end
    end
  end
  return payload
end

--- The event that a stored record stands for.
---@param record table {run_id, seq, at, type, payload}
---@param attempt integer
---@return table
function M.from_record(record, attempt)
  local event = {}
  for key, value in pairs(record.payload) do event[key] = value end
  event.type, event.run_id, event.seq, event.at = record.type, record.run_id, record.seq, record.at
  event.attempt = event.attempt or attempt
  return event
end

return M
