--- The names of spans, metrics and attributes, in one place: OpenTelemetry's conventions for generative
--- AI where they have one, `harness.*` elsewhere. Durations are seconds.

local M = {}

--- Spans. Three carry what they are about in their name: see agent_span, model_span and tool_span.
M.SPAN = {
  session_workflow = "harness.session.prompt",
  session_agent = "harness.session.agent_prompt",
  workflow = "harness.workflow.run",
  memory_get = "harness.memory.get",
  memory_set = "harness.memory.set",
  memory_delete = "harness.memory.delete",
  memory_list = "harness.memory.list",
  memory_search = "harness.memory.search",
  workspace_start = "harness.workspace.start",
  workspace_pause = "harness.workspace.pause",
  workspace_resume = "harness.workspace.resume",
  workspace_abort = "harness.workspace.abort",
  workspace_cleanup = "harness.workspace.cleanup",
  workspace_inspect = "harness.workspace.inspect",
  sandbox_exec = "harness.sandbox.exec",
  sandbox_spawn = "harness.sandbox.spawn",
  state = "harness.state.op",
}

--- What gen_ai.operation.name may say.
M.OPERATION = {
  chat = "chat",
  text_completion = "text_completion",
  embeddings = "embeddings",
  generate_content = "generate_content",
  invoke_agent = "invoke_agent",
  execute_tool = "execute_tool",
}

---@param agent_id string
function M.agent_span(agent_id)
  return "invoke_agent " .. agent_id
end

---@param operation string one of OPERATION
---@param model string the model's name at its provider
function M.model_span(operation, model)
  return operation .. " " .. model
end

---@param tool_id string
function M.tool_span(tool_id)
  return "execute_tool " .. tool_id
end

M.ATTRIBUTE = {
  harness = "harness.name",
  session_id = "harness.session.id",
  run_id = "harness.run.id",
  run_kind = "harness.run.kind",
  workflow_id = "harness.workflow.id",
  agent_id = "harness.agent.id",
  agent_model = "harness.agent.model",
  agent_has_handler = "harness.agent.has_handler",
  metadata_prefix = "harness.metadata.",
  model_method = "harness.model.method",
  model_alias = "harness.model.alias",
  tool_id = "harness.tool.id",
  tool_call_id = "harness.tool.call_id",
  tool_type = "harness.tool.type",
  mcp_server = "harness.mcp.server",
  mcp_tool = "harness.mcp.tool",
  mcp_transport = "harness.mcp.transport",
  permission_mode = "harness.permission.mode",
  permission_decision = "harness.permission.decision",
  exec_exit_code = "harness.exec.exit_code",
  exec_duration = "harness.exec.duration",
  state_op = "harness.state.op_name",
  workspace_adapter = "harness.workspace.adapter",
  workspace_operation = "harness.workspace.operation",
  workspace_state = "harness.workspace.state",
  workspace_ref_hash = "harness.workspace.ref_hash",
  terminalization_operation = "harness.run.terminalization.operation",
  durable_operation = "harness.run.durable.operation",

  error_type = "error.type",
  error_code = "harness.error.code",
  error_category = "harness.error.category",
  error_retriable = "harness.error.retriable",
  error_scope = "harness.error.scope",
  error_timeout_ms = "harness.error.timeout_ms",
  error_provider = "harness.error.provider",
  error_model = "harness.error.model",
  error_provider_status = "harness.error.model_provider_status",
  error_provider_code = "harness.error.model_provider_code",
  error_provider_type = "harness.error.model_provider_type",
  error_provider_param = "harness.error.model_provider_param",
  error_provider_request_id = "harness.error.model_provider_request_id",
  error_provider_message = "harness.error.model_provider_message",
  error_provider_body = "harness.error.model_provider_body",

  gen_ai_operation = "gen_ai.operation.name",
  gen_ai_provider = "gen_ai.provider.name",
  gen_ai_system = "gen_ai.system",
  gen_ai_request_model = "gen_ai.request.model",
  gen_ai_temperature = "gen_ai.request.temperature",
  gen_ai_max_tokens = "gen_ai.request.max_tokens",
  gen_ai_top_p = "gen_ai.request.top_p",
  gen_ai_response_model = "gen_ai.response.model",
  gen_ai_response_id = "gen_ai.response.id",
  gen_ai_finish_reasons = "gen_ai.response.finish_reasons",
  gen_ai_input_tokens = "gen_ai.usage.input_tokens",
  gen_ai_output_tokens = "gen_ai.usage.output_tokens",
  gen_ai_cached_tokens = "gen_ai.input.usage.details.cache_read_tokens",
  gen_ai_reasoning_tokens = "gen_ai.output.usage.details.reasoning_tokens",
  gen_ai_token_type = "gen_ai.token.type",
  gen_ai_agent_name = "gen_ai.agent.name",
  gen_ai_agent_id = "gen_ai.agent.id",
  gen_ai_agent_description = "gen_ai.agent.description",
  gen_ai_tool_name = "gen_ai.tool.name",
  gen_ai_tool_call_id = "gen_ai.tool.call.id",
  gen_ai_tool_type = "gen_ai.tool.type",

  openinference_kind = "openinference.span.kind",
  llm_provider = "llm.provider",
  llm_model_name = "llm.model_name",
  llm_invocation_parameters = "llm.invocation_parameters",
  llm_prompt_tokens = "llm.token_count.prompt",
  llm_completion_tokens = "llm.token_count.completion",
  llm_total_tokens = "llm.token_count.total",
  llm_cached_tokens = "llm.token_count.prompt_details.cache_read",
  llm_reasoning_tokens = "llm.token_count.completion_details.reasoning",
  tool_name = "tool.name",
  openinference_tool_call_id = "tool.call.id",
  tool_description = "tool.description",
}

--- OpenInference kinds that are given out.
M.KIND = {
  chain = "CHAIN", agent = "AGENT", llm = "LLM", embedding = "EMBEDDING", reranker = "RERANKER",
  tool = "TOOL", evaluator = "EVALUATOR",
}

M.METRIC = {
  token_usage = "gen_ai.client.token.usage",
  operation_duration = "gen_ai.client.operation.duration",
  agent_iterations = "harness.agent.iterations",
  agent_tool_batch_size = "harness.agent.tool_batch.size",
  tool_duration = "harness.tool.duration",
  model_duration = "harness.model.duration",
  model_errors = "harness.model.errors",
  model_tokens_input = "harness.model.tokens.input",
  model_tokens_output = "harness.model.tokens.output",
  model_tokens_total = "harness.model.tokens.total",
  run_duration = "harness.run.duration",
  run_errors = "harness.run.errors",
  events_persist_errors = "harness.events.persist_errors",
  permission_denials = "harness.permission.denials",
  memory_duration = "harness.memory.operation.duration",
  memory_operations = "harness.memory.operations",
  memory_search_results = "harness.memory.search.results",
  workspace_duration = "harness.workspace.operation.duration",
  workspace_operations = "harness.workspace.operations",
  workspace_bytes = "harness.workspace.bytes",
  workspace_cleanup_failures = "harness.workspace_store.cleanup.failures",
  workspace_quota_exceeded = "harness.workspace_store.quota.exceeded",
  runs_durable_errors = "harness.runs.durable_errors",
  runs_terminalization_errors = "harness.runs.terminalization_errors",
}

local function histogram(unit) return { kind = "histogram", unit = unit } end
local COUNTER <const> = { kind = "counter", unit = "1" }

--- The kind and unit of each metric above, by its name.
---@type table<string, { kind: "counter"|"histogram", unit: string }>
M.INSTRUMENT = {
  [M.METRIC.token_usage] = histogram "{token}",
  [M.METRIC.operation_duration] = histogram "s",
  [M.METRIC.agent_iterations] = histogram "1",
  [M.METRIC.agent_tool_batch_size] = histogram "1",
  [M.METRIC.tool_duration] = histogram "s",
  [M.METRIC.model_duration] = histogram "s",
  [M.METRIC.model_errors] = COUNTER,
  [M.METRIC.model_tokens_input] = COUNTER,
  [M.METRIC.model_tokens_output] = COUNTER,
  [M.METRIC.model_tokens_total] = COUNTER,
  [M.METRIC.run_duration] = histogram "s",
  [M.METRIC.run_errors] = COUNTER,
  [M.METRIC.events_persist_errors] = COUNTER,
  [M.METRIC.permission_denials] = COUNTER,
  [M.METRIC.memory_duration] = histogram "s",
  [M.METRIC.memory_operations] = COUNTER,
  [M.METRIC.memory_search_results] = histogram "1",
  [M.METRIC.workspace_duration] = histogram "s",
  [M.METRIC.workspace_operations] = COUNTER,
  [M.METRIC.workspace_bytes] = histogram "By",
  [M.METRIC.workspace_cleanup_failures] = COUNTER,
  [M.METRIC.workspace_quota_exceeded] = COUNTER,
  [M.METRIC.runs_durable_errors] = COUNTER,
  [M.METRIC.runs_terminalization_errors] = COUNTER,
}

return M
