--- A telemetry listener for specs: keeps what it hears and finds it again.
---
---   local recorder = require("harness.testing.recorder").new()
---   local h = harness.define{ ..., telemetry = { listener = recorder } }
---   ...
---   assert.equal("ok", recorder.span("harness.session.agent_prompt").status.code)
---   assert.equal(2, recorder.sum("harness.run.errors"))

local M = {}

local function has_all(attributes, wanted)
  for name, value in pairs(wanted or {}) do
    if attributes[name] ~= value then return false end
  end
  return true
end

local function matching(list, name, attributes)
  local found = {}
  for _, item in ipairs(list) do
    if (name == nil or item.name == name) and has_all(item.attributes, attributes) then
      found[#found + 1] = item
    end
  end
  return found
end

---@class harness.Recorder
---@field spans table[] finished spans, in the order of their end
---@field started table[] spans in the order of their start
---@field metrics table[]

---Makes a recorder; it is itself the listener. Its functions take no self.
---@return harness.Recorder
function M.new()
  local self = { spans = {}, started = {}, metrics = {} }

  function self.on_span_start(span) self.started[#self.started + 1] = span end

  function self.on_span_end(record) self.spans[#self.spans + 1] = record end

  function self.on_metric(metric) self.metrics[#self.metrics + 1] = metric end

  ---All finished spans of that name with at least these attributes; nil stands for any name.
  function self.find_spans(name, attributes) return matching(self.spans, name, attributes) end

  ---The one finished span of that name and these attributes; raises unless there is exactly one.
  function self.span(name, attributes)
    local found = self.find_spans(name, attributes)
    if #found ~= 1 then error(("%d spans are named %s, not 1"):format(#found, tostring(name)), 2) end
    return found[1]
  end

  ---The finished spans whose parent is this one, in the order of their end.
  function self.children(span)
    local found = {}
    for _, other in ipairs(self.spans) do
      if other.parent_span_id == span.span_id then found[#found + 1] = other end
    end
    return found
  end

  ---Names of spans that were started and never finished.
  function self.unfinished()
    local ended, names = {}, {}
    for _, span in ipairs(self.spans) do ended[span.span_id] = true end
    for _, span in ipairs(self.started) do
      if not ended[span.span_id] then names[#names + 1] = span.name end
    end
    return names
  end

  ---All metrics of that name with at least these attributes.
  function self.find_metrics(name, attributes) return matching(self.metrics, name, attributes) end

  ---The sum of what was recorded under a name.
  function self.sum(name, attributes)
    local total = 0
    for _, metric in ipairs(self.find_metrics(name, attributes)) do total = total + metric.value end
    return total
  end

  ---Forgets everything heard so far.
  function self.clear() self.spans, self.started, self.metrics = {}, {}, {} end

  return self
end

return M
