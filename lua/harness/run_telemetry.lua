--- Logger, metrics and spans of a run. Without a listener every span function returns at once, and
--- no table of attributes is made.

local core = require "harness.core"
local errors = require "harness.errors"
local metadata_attributes = require("harness.telemetry").metadata_attributes

local M = {}

local function workflow_id(run)
  return run.kind == "workflow" and run.target or nil
end

--- Adds the methods to the class of runs.
---@param Run table
function M.extend(Run)
  --- The logger with the run's fields bound; made at the first need.
  function Run:logger(agent_id, tool_id)
    local log = self.bound_logger
    if not log then
      log = self.harness.logger:child {
        harness = self.harness.name, session_id = self.session.id, run_id = self.id,
        agent_id = self.kind == "agent" and self.target or nil,
        workflow_id = workflow_id(self),
        trace_id = self.span and self.span.trace_id or nil, span_id = self.span and self.span.span_id or nil,
      }
      self.bound_logger = log
    end
    if not agent_id then return log end
    return log:child { agent_id = agent_id, tool_id = tool_id }
  end

  function Run:metrics(agent_id, tool_id)
    return self.harness.telemetry:metrics {
      ["harness.name"] = self.harness.name, ["harness.session.id"] = self.session.id,
      ["harness.run.id"] = self.id, ["harness.agent.id"] = agent_id, ["gen_ai.tool.name"] = tool_id,
      ["harness.workflow.id"] = workflow_id(self),
    }
  end

  --- What the caller of the run gave as metadata: the same table for all contexts of the run.
  function Run:metadata()
    local metadata = self.options.metadata or {}
    self.options.metadata = metadata
    return metadata
  end

  function Run:count(name, value)
    local telemetry = self.harness.telemetry
    if telemetry.enabled then telemetry:counter(name, value, { ["harness.name"] = self.harness.name }) end
  end

  -- What the caller gave as metadata goes on the run's own spans, as far as it is plain.
  local function add_metadata(run, attrs)
    for key, value in pairs(metadata_attributes(run.options.metadata)) do attrs[key] = value end
    return attrs
  end

  local function start_span(run, name, attrs, parent)
    attrs["harness.name"] = run.harness.name
    attrs["harness.session.id"] = run.session.id
    attrs["harness.run.id"] = run.id
    attrs["harness.workflow.id"] = workflow_id(run)
    return run.harness.telemetry:span(name, attrs, parent)
  end

  function Run:start_span_run()
    if not self.harness.telemetry.enabled then return end
    local is_agent = self.kind == "agent"
    self.span = start_span(self, is_agent and "harness.session.agent_prompt" or "harness.session.prompt",
      add_metadata(self, { ["harness.agent.id"] = is_agent and self.target or nil }), self.options.trace)
    self.started_us = core.now_us()
  end

  function Run:end_span_run(err)
    if not self.span then return end
    local attrs = { ["harness.name"] = self.harness.name, ["error.type"] = err and errors.serialize(err).code or nil }
    self.harness.telemetry:histogram("harness.run.duration", (core.now_us() - self.started_us) / 1e6, attrs)
    if err then self.harness.telemetry:counter("harness.run.errors", 1, attrs) end
    self.span:finish(err)
  end

  --- The span of a workflow's handler.
  function Run:span_workflow()
    if not self.span then return nil end
    return start_span(self, "harness.workflow.run", add_metadata(self, {}), self.span)
  end

  --- The span of one call of an agent, below that of the workflow if there is one.
  function Run:span_agent(agent, parent)
    if not self.span then return nil end
    return start_span(self, "invoke_agent " .. agent.id, {
      ["gen_ai.operation.name"] = "invoke_agent", ["gen_ai.agent.name"] = agent.id, ["gen_ai.agent.id"] = agent.id,
      ["harness.agent.id"] = agent.id, ["harness.agent.model"] = agent.model,
      ["gen_ai.agent.description"] = agent.description, ["harness.agent.has_handler"] = agent.run and true or nil,
    }, parent or self.span)
  end

  local OPERATION <const> = { embed = "embeddings", rerank = "rerank" }

  function Run:span_model(alias, method, who)
    if not self.span then return nil end
    local operation = OPERATION[method] or "chat"
    local span = start_span(self, operation .. " " .. alias.model, {
      ["gen_ai.operation.name"] = operation ~= "rerank" and operation or nil,
      ["gen_ai.provider.name"] = alias.provider.id,
      ["gen_ai.system"] = alias.provider.id, ["gen_ai.request.model"] = alias.model,
      ["harness.model.alias"] = alias.id, ["harness.model.method"] = method, ["harness.agent.id"] = who.agent_id,
    }, who.span or self.span)
    return { span = span, operation = operation, started_us = core.now_us() }
  end

  function Run:end_span_model(timed, alias, reply, err)
    local span, telemetry = timed.span, self.harness.telemetry
    local attrs = {
      ["gen_ai.operation.name"] = timed.operation, ["gen_ai.provider.name"] = alias.provider.id,
      ["gen_ai.request.model"] = alias.model, ["error.type"] = err and errors.serialize(err).code or nil,
    }
    telemetry:histogram("gen_ai.client.operation.duration", (core.now_us() - timed.started_us) / 1e6, attrs)
    if reply then
      span:set("gen_ai.response.finish_reasons", { reply.finish_reason })
      for _, kind in ipairs { "input", "output" } do
        local n = reply.usage and reply.usage[kind .. "_tokens"]
        if n then
          span:set("gen_ai.usage." .. kind .. "_tokens", n)
          attrs["gen_ai.token.type"] = kind
          telemetry:histogram("gen_ai.client.token.usage", n, attrs)
        end
      end
    end
    span:finish(err)
  end

  --- The span of a tool call, below that of its agent, or of the call within which it is made.
  function Run:span_tool(call, who, parent)
    if not self.span then return nil end
    return start_span(self, "execute_tool " .. call.name, {
      ["gen_ai.operation.name"] = "execute_tool", ["gen_ai.tool.name"] = call.name,
      ["gen_ai.tool.call.id"] = call.id, ["harness.tool.id"] = call.name, ["harness.agent.id"] = who.agent_id,
    }, parent or who.span or self.span)
  end
end

return M
