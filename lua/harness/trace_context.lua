--- W3C Trace Context: reading and writing `traceparent` and `tracestate`, and drawing ids.
---
---   local context, problem = trace_context.parse(options.traceparent, options.tracestate)
---   if problem then log:warn(problem, { ["harness.warning.code"] = "INVALID_TRACE_CONTEXT" }) end
---
--- A trace id is 32 and a span id 16 lower-case hexadecimal digits, never all zero
--- (https://www.w3.org/TR/trace-context/, sections 3.2 and 3.3).

local M = {}

---@class harness.TraceContext
---@field trace_id string
---@field span_id string of the caller's span: the parent of ours
---@field flags string two hexadecimal digits; 01 is "sampled"
---@field tracestate string?

local HEX <const> = "[0-9a-f]"
local TRACEPARENT <const> = ("^(%s)%%-(%s)%%-(%s)%%-(%s)$"):format(
  HEX:rep(2), HEX:rep(32), HEX:rep(16), HEX:rep(2))
local MAX_TRACESTATE <const> = 512

local function parent_of(traceparent)
  if type(traceparent) ~= "string" then return nil, "traceparent must be a string" end
  local version, trace_id, span_id, flags = traceparent:match(TRACEPARENT)
  if not version then
    return nil, "traceparent must look like 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case"
  end
  if version == "ff" then return nil, "traceparent has the version ff, which is not allowed" end
  if not trace_id:find("[^0]") then return nil, "the trace id of traceparent is zero" end
  if not span_id:find("[^0]") then return nil, "the parent id of traceparent is zero" end
  return { trace_id = trace_id, span_id = span_id, flags = flags }
end

local function tracestate_problem(tracestate)
  if type(tracestate) ~= "string" then return "tracestate must be a string" end
  if #tracestate > MAX_TRACESTATE then
    return ("tracestate has %d characters; %d are allowed"):format(#tracestate, MAX_TRACESTATE)
  end
  if tracestate:find("[\r\n]") then return "tracestate must be one line" end
  return nil
end

---Reads a caller's trace context. Nothing comes back when there is no traceparent (tracestate is
---then ignored), or when one of the two is invalid: then also what is wrong, in words that show
---nothing of the values.
---@param traceparent string?
---@param tracestate string?
---@return harness.TraceContext? context
---@return string? problem
function M.parse(traceparent, tracestate)
  if traceparent == nil or traceparent == "" then return nil end
  local context, problem = parent_of(traceparent)
  if not context then return nil, problem end
  if tracestate == nil or tracestate == "" then return context end
  problem = tracestate_problem(tracestate)
  if problem then return nil, problem end
  context.tracestate = tracestate
  return context
end

---The `traceparent` that names a span as parent.
---@param context { trace_id: string, span_id: string, flags?: string }
---@return string
function M.format(context)
  return ("00-%s-%s-%s"):format(context.trace_id, context.span_id, context.flags or "01")
end

-- Ids ---------------------------------------------------------------------------------------------

-- A read of the kernel's random source serves many ids.
local RANDOM_CHUNK <const> = 512

---Makes a source of random bytes for `new_id`, from the kernel. Raises when there is none.
---@return fun(count: integer): string
function M.random_source()
  local chunk, at = "", 1
  return function(count)
    if at + count - 1 > #chunk then
      local file <close> = assert(io.open("/dev/urandom", "rb"))
      chunk, at = assert(file:read(RANDOM_CHUNK)), 1
    end
    at = at + count
    return chunk:sub(at - count, at - 1)
  end
end

---Draws an id of that many bytes, in hexadecimal: 16 for a trace, 8 for a span. Never all zero.
---@param random fun(count: integer): string
---@param bytes integer
---@return string
function M.new_id(random, bytes)
  local id
  repeat
    id = random(bytes):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  until id:find("[^0]")
  return id
end

return M
