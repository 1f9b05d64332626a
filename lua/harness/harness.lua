--- A harness: a checked definition, its storage, its open sessions, its runs in flight.

local adapter = require "harness.adapter"
local chain = require "harness.chain"
local core = require "harness.core"
local definition_permissions = require "harness.definition_permissions"
local definitions = require "harness.definition"
local errors = require "harness.errors"
local events = require "harness.events"
local json = require "harness.json"
local loggers = require "harness.logger"
local messages = require "harness.messages"
local permissions = require "harness.permissions"
local session_sandbox = require "harness.session_sandbox"
local sessions = require "harness.session"
local storages = require "harness.storage"
local task = require "harness.task"
local telemetries = require "harness.telemetry"

local M = {}

local MAX_ID_BYTES <const> = 1024

---@class harness.Harness
---@field name string
local Harness = {}
Harness.__index = Harness
Harness.__name = "harness.Harness"
Harness.__tostring = function(self) return ("harness.Harness %s"):format(self.name) end

local users = setmetatable({}, { __mode = "k" }) -- how many harnesses use a storage or a memory

function Harness:check_open()
  if not self.shut_down then return end
  errors.raise("HARNESS_CONFIG_ERROR", ("harness %q was shut down"):format(self.name), { reason = "shut_down" })
end

local function check_session_id(id)
  if type(id) == "string" and #id > 0 and #id <= MAX_ID_BYTES and not id:find("\0", 1, true) and utf8.len(id) then
    return id
  end
  local got = type(id) == "string" and ("%d bytes"):format(#id) or type(id)
  errors.raise("VALIDATION_ERROR", ("a session id is text of 1 to %d bytes, valid UTF-8, without NUL; got %s"):format(
    MAX_ID_BYTES, got), { where = "session_id" })
end

local function wait_in(list)
  local t = task.waiting_task()
  list[#list + 1] = t.token
  task.park(t)
end

local function wake(list)
  for _, token in ipairs(list) do core.push(token) end
end

-- Ends an opening, however it ended. What failed it fails all that wait for it; but when it was its
-- first caller who was stopped, the others try again.
local Opening = { __close = function(opening, err)
  local self, state = opening.harness, opening.state
  state.opening = nil
  if not opening.done then
    if self.sessions[state.id] == state then self.sessions[state.id] = nil end
    local t = task.current()
    if not (t and core.signal_aborted(t.scope)) then opening.failure = err end
  end
  wake(opening)
end }

local function open_new(self, id)
  local state = sessions.new_state(self, id)
  local opening <close> = setmetatable({ harness = self, state = state }, Opening)
  state.opening = opening
  self.sessions[id] = state
  sessions.open(state)
  opening.done = true
  return state
end

-- Several first callers share one opening; a failed one is forgotten, so the next call tries again.
-- A session that is being closed keeps its place until its run has ended.
local function open_state(self, id)
  while true do
    local state = self.sessions[id]
    if not state then return open_new(self, id) end
    local opening = state.opening
    if opening then
      wait_in(opening)
      if opening.failure ~= nil then error(opening.failure, 0) end
    elseif state.closed then
      state.leaving = state.leaving or {}
      wait_in(state.leaving)
    else
      return state
    end
    self:check_open()
  end
end

--- Opens or creates the session; without an id, a new one.
---@param id? string
---@return harness.Session
function Harness:session(id)
  self:check_open()
  if id == nil then id = core.ulid.next() else check_session_id(id) end
  return sessions.facade(open_state(self, id))
end

function Harness:forget_session(state)
  if self.sessions[state.id] == state then self.sessions[state.id] = nil end
  if state.leaving then wake(state.leaving) end
end

-- What it holds open, each once, in the order in which they are closed.
local function adapters_of(self)
  local storage, memory = self.storage, self.definition.memory
  return { storage, memory and not rawequal(memory, storage) and memory or nil }
end

--- Does another harness of this program use the same storage?
function Harness:shares_storage()
  return users[self.storage] > 1
end

-- A trace context that is not valid is left out with one warning; the run goes on (A 3.4).
function Harness:trace_options(options)
  if not options.traceparent then return end
  local problem
  options.trace, problem = telemetries.parse(options.traceparent, options.tracestate)
  if problem then
    self.logger:warn("the trace context of the run was ignored: " .. problem,
      { ["harness.warning.code"] = "INVALID_TRACE_CONTEXT" })
  end
end

local function sorted_ids(map)
  local ids = {}
  for id in pairs(map) do ids[#ids + 1] = id end
  table.sort(ids)
  return ids
end

local function each(map, describe)
  local out = {}
  for _, id in ipairs(sorted_ids(map)) do out[id] = describe(map[id]) end
  return out
end

-- A copy that stays a list in JSON, also when it is empty.
local function list_of(list)
  return json.array(type(list) == "table" and { table.unpack(list) } or {})
end

-- `permissions`: what each of its tools needs, { mode, allow?, deny? } by id.
local function describe_agent(agent)
  local modes = {}
  for _, id in ipairs(agent.tool_names) do
    modes[id] = permissions.describe(agent, id, agent.tool_set[id].read_only)
  end
  return {
    model = agent.model, description = agent.description, tools = list_of(agent.tools),
    builtin_tools = list_of(agent.builtin_tools), permissions = modes, skills = list_of(agent.skills),
  }
end

-- A copy of diagnostics that stays a list in JSON, also when it is empty.
local function told(list)
  return json.array(messages.copy(list))
end

-- Those that can be used, and those that a lenient reading has left out.
local function describe_skills(definition)
  local out = each(definition.skills, function(skill)
    local shown = messages.copy(skill)
    shown.id, shown.diagnostics = nil, told(skill.diagnostics)
    return shown
  end)
  for id, found in pairs(definition.skipped_skills) do
    out[id] = { skipped = true, directory = found[1].directory, diagnostics = told(found) }
  end
  return out
end

-- Of the agents' programs (the tool `lua`), where there are any.
local function describe_programs(definition)
  for _, agent in pairs(definition.agents) do
    if agent.tool_set.lua then return require("harness.program").describe(definition.programs) end
  end
end

--- What the harness defines, as plain data.
---@return table
function Harness:inspect()
  local def = self.definition
  local function described(kind, one)
    local isolation = adapter.field(one, "isolation")
    return {
      kind = kind, id = adapter.field(one, "id") or kind, capabilities = list_of(adapter.capabilities(one)),
      isolation = type(isolation) == "function" and isolation(one) or nil,
    }
  end
  local adapters = { described("storage", self.storage) }
  if def.memory then adapters[#adapters + 1] = described("memory", def.memory) end
  if def.sandbox then adapters[#adapters + 1] = described("sandbox", def.sandbox) end
  return {
    name = self.name,
    capabilities = list_of(adapter.all_capabilities(self.storage, def.memory, def.sandbox)),
    required_capabilities = list_of(def.requires),
    adapters = adapters,
    models = each(def.models, function(alias)
      return {
        provider = alias.provider.id, model = alias.model, capabilities = list_of(alias.capability_list),
        fallback = list_of(alias.fallback),
      }
    end),
    tools = each(def.tools, function(tool) return { description = tool.description, kind = "lua" } end),
    skills = describe_skills(def), skill_diagnostics = told(def.skill_diagnostics),
    agents = each(def.agents, describe_agent),
    programs = describe_programs(def),
    workflows = each(def.workflows, function(workflow)
      return { description = workflow.description, version = workflow.version }
    end),
  }
end

-- Stops every run in flight and waits for each, at most grace_ms.
local function stop_runs(self, grace_ms)
  local list = {}
  for _, run in pairs(self.live_runs) do list[#list + 1] = run end
  for _, run in ipairs(list) do run:cancel("the harness is shutting down") end
  local until_ms = core.now_ms() + grace_ms
  for _, run in ipairs(list) do
    local left = until_ms - core.now_ms()
    if not run.done and left > 0 then pcall(task.timeout, left, function() pcall(run.result, run) end) end
  end
end

-- Sessions that are on their way out, with what they hold: their ends need the adapters.
local function join_leaving(self)
  while task.current() and chain.can_wait() do
    local t = next(self.leaving)
    if not t then return end
    t:await()
  end
end

local function grace_of(options, default)
  local grace_ms = type(options) == "table" and options.grace_ms
  if options == nil or grace_ms == nil then return default end
  if type(grace_ms) == "number" and grace_ms >= 0 then return grace_ms end
  errors.raise("VALIDATION_ERROR", "shutdown takes a table { grace_ms = milliseconds }, 0 or more",
    { where = "shutdown" })
end

--- Stops the runs and closes everything; what fails on the way is collected. Never raises.
---@param options? { grace_ms?: integer }
---@return { errors: any[] }
function Harness:shutdown(options)
  local failed = {}
  if self.shut_down then return { errors = failed } end
  self.shut_down = true
  local grace_ms = 2 * self.definition.defaults.cancel_grace_ms
  local function step(fn, ...)
    local ok, err = pcall(fn, ...)
    if not ok then
      failed[#failed + 1] = errors.is(err) and err
        or errors.new("INTERNAL_ERROR", "shutdown: " .. tostring(err), nil, err)
    end
  end
  step(function() grace_ms = grace_of(options, grace_ms) end)
  step(stop_runs, self, grace_ms)
  for _, id in ipairs(sorted_ids(self.sessions)) do
    local state = self.sessions[id]
    if state then state.closed = true end
  end
  self.sessions = {}
  step(join_leaving, self)
  local open = {}
  for state in pairs(self.open_sandboxes) do open[#open + 1] = state end
  for _, state in ipairs(open) do step(session_sandbox.close, state) end
  if self.programs then step(self.programs.close, self.programs) end
  for _, one in ipairs(adapters_of(self)) do
    users[one] = (users[one] or 1) - 1
    if users[one] == 0 and adapter.field(one, "close") then step(one.close, one) end
  end
  return { errors = failed }
end

Harness.__close = function(self) self:shutdown() end

-- A rule for a tool that only reads does nothing (PERM-1): whoever wrote it should know.
local function warn_of_permissions(definition, logger)
  for _, id in ipairs(sorted_ids(definition.agents)) do
    local ignored = definition_permissions.without_effect(definition.agents[id].permissions)
    if #ignored > 0 then
      logger:warn(("permissions of agent %q have no effect on %s: tools that only read need none; to withhold them, "
        .. "leave them out of builtin_tools"):format(id, table.concat(ignored, ", ")), { agent_id = id })
    end
  end
end

-- What was found about skills: those that cannot be used are worth a warning.
local function log_skills(definition, logger)
  local function tell(list)
    for _, one in ipairs(list) do
      logger[one.level == "error" and "warn" or "info"](logger, require("harness.skill").sentence(one),
        { skill_id = one.skill_name, code = one.code })
    end
  end
  for _, id in ipairs(sorted_ids(definition.skills)) do tell(definition.skills[id].diagnostics) end
  for _, id in ipairs(sorted_ids(definition.skipped_skills)) do tell(definition.skipped_skills[id]) end
  tell(definition.skill_diagnostics)
end

--- Checks a whole definition and makes the harness. Raises one HARNESS_CONFIG_ERROR with all
--- problems in meta.problems.
---@param t table
---@return harness.Harness
function M.define(t)
  local definition = definitions.check(t)
  local storage = definition.storage or storages.memory()
  local logger = definition.logger or loggers.new { fields = { harness = definition.name } }
  warn_of_permissions(definition, logger)
  log_skills(definition, logger)
  local telemetry = { logger = logger }
  for key, value in pairs(definition.telemetry) do telemetry[key] = value end
  local self = setmetatable({
    name = definition.name, definition = definition, storage = storage, logger = logger,
    telemetry = telemetries.new(telemetry),
    event_shapes = events.shapes(definition.telemetry.store_content),
    takes_event_lists = core.store.takes_event_lists(storage),
    sessions = setmetatable({}, { __mode = "v" }), open_sandboxes = {}, leaving = {}, live_runs = {}, shut_down = false,
  }, Harness)
  for _, one in ipairs(adapters_of(self)) do users[one] = (users[one] or 0) + 1 end
  return self
end

return M
