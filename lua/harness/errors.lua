--- Errors: one kind of table for everything that goes wrong in a harness.
---
---   local err = errors.new("TOOL_ERROR", "the lookup failed", { tool_id = "find_order" }, cause)
---   tostring(err)                         --> TOOL_ERROR: the lookup failed
---   errors.is(err, "TOOL_ERROR")          --> true
---   errors.serialize(err)                 --> { code, category, retriable, message, meta? }
---
--- The code tells what happened, and decides the category and whether trying again makes sense
--- (CATALOGUE). A code outside the catalogue is an application's own: category "application", not
--- retriable. Message and meta have their secrets masked when the error is made. Errors are compared
--- by identity: a run hands on the very table that was raised.

local redact = require "harness.redact"

local M = {}

---@class harness.Error
---@field code string
---@field category string
---@field retriable boolean
---@field message string
---@field meta table never nil
---@field cause any what it came from; never written anywhere
---@field traceback string? set by the scheduler; never written to records

-- Catalogue ---------------------------------------------------------------------------------------

local RETRIABLE_STATUS = { [408] = true, [409] = true, [425] = true, [429] = true }

-- 5xx includes 529, which some providers use for "overloaded".
local function status_is_retriable(status)
  if type(status) ~= "number" then return false end
  return RETRIABLE_STATUS[status] or status >= 500 and status <= 599
end

-- What another attempt may well get through: the connection broke, or the answer came in pieces.
local RETRIABLE_REASON = {
  network = true, resolve = true, connect = true, stream_truncated = true, malformed_response = true,
}

local function by_transport(meta)
  return RETRIABLE_REASON[meta.reason] or status_is_retriable(meta.status)
end

local function by_server_error(meta)
  return type(meta.status) == "number" and meta.status >= 500
end

local function by_cause(_, cause)
  return M.is(cause) and cause.retriable == true
end

local function by_backend(meta)
  return meta.reason == "backend_failure" or meta.reason == "cleanup_pending"
end

-- What this machine cannot do it cannot do the next time, either.
local function by_machine(meta)
  return meta.reason ~= "isolation_failed" and meta.reason ~= "bubblewrap_not_installed"
end

---@class harness.ErrorKind
---@field category string
---@field retriable boolean|fun(meta: table, cause: any): boolean
---@field meta string[] the meta keys it usually has

local function kind(category, retriable, ...)
  return { category = category, retriable = retriable, meta = { ... } }
end

--- Every code that the harness itself raises.
---@type table<string, harness.ErrorKind>
M.CATALOGUE = {
  HARNESS_CONFIG_ERROR = kind("config", false, "reason", "path", "id", "problems"),
  VALIDATION_ERROR = kind("validation", false, "where", "issues"),
  PERMISSION_DENIED = kind("permission", false, "tool_name", "agent_id", "reason"),
  SANDBOX_ERROR = kind("sandbox", by_machine, "reason", "stdout", "stderr"),
  SANDBOX_NO_EXECUTOR = kind("sandbox", false, "session_id"),
  MODEL_ERROR = kind("model", by_transport, "provider", "model", "method", "status", "reason",
    "provider_code", "provider_type", "provider_param", "provider_request_id", "provider_message",
    "provider_body", "provider_headers"),
  MODEL_CAPABILITY_ERROR = kind("model", false, "alias", "method", "reason"),
  TOOL_ERROR = kind("tool", by_cause, "tool_id", "tool_kind"),
  TOOL_NOT_FOUND = kind("tool", false, "tool_id", "where"),
  SKILL_NOT_FOUND = kind("skill", false, "skill_id", "agent_id"),
  SKILL_MANIFEST_ERROR = kind("config", false, "reason", "directory", "skill_id", "source", "agent_id"),
  AGENT_NOT_FOUND = kind("validation", false, "agent_id"),
  AGENT_LOOP_BUDGET_EXCEEDED = kind("validation", false, "agent_id", "reason", "limit"),
  WORKFLOW_NOT_FOUND = kind("validation", false, "workflow_id"),
  SESSION_NOT_FOUND = kind("session", false, "session_id", "reason"),
  SESSION_BUSY = kind("session", true, "session_id", "reason"),
  STATE_ERROR = kind("state", true, "op", "reason", "adapter", "memory_provider"),
  WORKSPACE_ERROR = kind("workspace", by_backend, "reason", "workspace_ref", "checkpoint_ref", "snapshot_ref",
    "run_id", "session_id"),
  WORKSPACE_QUOTA_EXCEEDED = kind("workspace", false, "quota", "limit", "actual", "partial", "workspace_ref",
    "run_id", "session_id"),
  WORKSPACE_CLEANUP_ERROR = kind("workspace", true, "reason", "workspace_ref", "remaining_refs",
    "retry_after_ms"),
  OPERATION_TIMEOUT = kind("timeout", true, "scope", "timeout_ms"),
  OPERATION_CANCELLED = kind("cancelled", false, "scope"),
  MCP_PROTOCOL_ERROR = kind("tool", true, "tool_id", "transport", "phase"),
  MCP_AUTH_ERROR = kind("tool", by_server_error, "tool_id", "auth_kind", "status"),
  INTERNAL_ERROR = kind("internal", false),
  -- A run of that id is at work elsewhere: it may have ended by the next try, as with SESSION_BUSY.
  DURABLE_LEASE_CONFLICT = kind("state", true, "run_id", "session_id", "reason"),
  DURABLE_TERMINAL_RUN = kind("state", false, "run_id", "status"),
  DURABLE_RUN_CONFLICT = kind("state", false, "run_id", "reason"),
  DURABLE_STEP_ERROR = kind("validation", false, "step_id", "reason"),
  RUN_WAITING = kind("waiting", false, "run_id", "waits"),
  -- Of the HTTP client by itself; providers and MCP turn it into an error of their own.
  HTTP_ERROR = kind("internal", by_transport, "reason", "status", "url"),
  -- Of a child process that could not be started or reached.
  PROCESS_ERROR = kind("internal", false, "reason", "file", "cwd", "error"),
}

local APPLICATION = kind("application", false)

-- Making ------------------------------------------------------------------------------------------

local Error = { __name = "harness.error" }

-- Lines of a message become one, for logs and terminals; the message itself keeps them.
function Error.__tostring(err)
  local text = ("%s: %s"):format(tostring(err.code), tostring(err.message))
  local reason = type(err.meta) == "table" and err.meta.reason
  if type(reason) == "string" then text = ("%s (%s)"):format(text, reason) end
  return (text:gsub("%s*[\r\n]+%s*", " "))
end

---Makes an error; it is not raised. Raises an ordinary Lua error when called with wrong types.
---@param code string SCREAMING_SNAKE; outside the catalogue the category is "application"
---@param message string? what was wrong, where, what is allowed; default: the code
---@param meta table? plain data; taken over, or copied if it has secrets to mask
---@param cause any?
---@return harness.Error
function M.new(code, message, meta, cause)
  if type(code) ~= "string" or code == "" then
    error("the code of an error must be a string that is not empty, got " .. type(code), 2)
  end
  if meta ~= nil and type(meta) ~= "table" then
    error(("the meta of error %s must be a table, got %s"):format(code, type(meta)), 2)
  end
  local known = M.CATALOGUE[code] or APPLICATION
  local clean = meta and redact.mask(meta) or {}
  local retriable = known.retriable
  if type(retriable) == "function" then retriable = retriable(clean, cause) end
  return setmetatable({
    code = code,
    category = known.category,
    retriable = retriable,
    message = redact.text(message == nil and code or tostring(message)),
    meta = clean,
    cause = cause,
  }, Error)
end

---Makes an error and raises it.
---@param code string
---@param message string?
---@param meta table?
---@param cause any?
function M.raise(code, message, meta, cause)
  error(M.new(code, message, meta, cause), 0)
end

---Whether a value is an error of ours (and, with a code, of that code).
---@param value any
---@param code string?
---@return boolean
function M.is(value, code)
  if getmetatable(value) ~= Error then return false end
  return code == nil or value.code == code
end

-- Writing -----------------------------------------------------------------------------------------

local SHOWN = { string = true, number = true, boolean = true, ["nil"] = true }

-- The text of a foreign error value. Its own __tostring may raise; without one, an address would say
-- nothing and differ from run to run.
local function foreign_text(value)
  local has_fields = type(value) == "table" or type(value) == "userdata"
  if has_fields then
    local ok, message = pcall(function() return value.message end)
    if ok and type(message) == "string" then return message end
  end
  local meta = getmetatable(value)
  local shown = SHOWN[type(value)] or type(meta) == "table" and rawget(meta, "__tostring")
  local ok, text = pcall(tostring, value)
  if shown and ok then return text end
  return ("(error object is a %s value)"):format(type(value))
end

---What is written of an error in records, events and logs, and shown to a model: never its cause or
---traceback; meta only when there is some, bounded as in redact.value. Any other value becomes
---INTERNAL_ERROR with its message text.
---@param value any
---@return { code: string, category: string, retriable: boolean, message: string, meta: table? }
function M.serialize(value)
  if not M.is(value) then
    return {
      code = "INTERNAL_ERROR",
      category = "internal",
      retriable = false,
      message = redact.value(foreign_text(value)),
    }
  end
  local has_meta = type(value.meta) == "table" and next(value.meta) ~= nil
  return {
    code = value.code,
    category = value.category,
    retriable = value.retriable,
    message = redact.value(value.message),
    meta = has_meta and redact.value(value.meta) or nil,
  }
end

-- An error as a JSON value is its serialised form.
Error.__tojson = M.serialize

return M
