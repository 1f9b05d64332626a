-- What editors complete from (LuaCATS classes in lua/harness) against the real objects: a name that is
-- declared exists, and a public name that exists is declared.

local clock = require "spec.support.clock"
local harness = require "harness"
local scripted = require "spec.support.scripted"
local table_sandbox = require "spec.support.table_sandbox"

-- ---- reading the annotations --------------------------------------------------------------

-- class -> { field -> { type, optional } }, of all `---@class` blocks in all modules, and of what their
-- functions `function Class:name` add.
local function read_classes()
  local classes, files = {}, io.popen "find lua/harness -name '*.lua' | sort"
  local function class_of(name)
    classes[name] = classes[name] or {}
    return classes[name]
  end
  for path in files:lines() do
    local class, by_variable, pending = nil, {}, nil
    for line in io.lines(path) do
      local name = line:match "^%-%-%-@class%s+([%w_.]+)"
      local field, mark, kind = line:match "^%-%-%-@field%s+([%w_]+)(%??)%s+(.+)$"
      if field == "package" then field = nil end -- not for callers
      if name then
        class, pending = class_of(name), name
      elseif field and class then
        class[field] = { type = kind, optional = mark == "?" or kind:find "^[%w_.]+%?" ~= nil }
      elseif not line:find "^%-%-%-" then
        local variable = pending and line:match "^local ([%w_]+)"
        if variable then by_variable[variable] = class end
        class, pending = nil, nil
        local owner, method = line:match "^function ([%w_]+)[:.]([%w_]+)%("
        if owner and by_variable[owner] and not method:find "^_" then
          by_variable[owner][method] = { type = "fun", optional = false }
        end
      end
    end
  end
  files:close()
  return classes
end

local CLASSES <const> = read_classes()

-- Does the value have the type, as far as its beginning tells?
local function fits(value, declared)
  local kind = declared:match "^[%a]+"
  if kind == "fun" or kind == "function" then
    local mt = getmetatable(value)
    return type(value) == "function" or type(mt) == "table" and mt.__call ~= nil
  end
  if kind == "integer" then return math.type(value) == "integer" end
  if kind == "string" or kind == "number" or kind == "boolean" or kind == "table" or kind == "userdata" then
    return type(value) == kind
  end
  return value ~= nil
end

-- ---- the objects --------------------------------------------------------------------------

local objects

-- The contexts of a workflow, of an agent below it, of its instructions and of a tool.
local function make_contexts()
  local seen = {}
  local function keep(name)
    return function(ctx)
      seen[name] = ctx
      ctx.signal = ctx.signal -- made while its task is there
      return name == "harness.InstructionsContext" and "x" or "done"
    end
  end
  local h = scripted.harness({ { tool_calls = { { name = "t" } } }, { text = "hi" } }, {
    tools = { t = { description = "d", input = harness.schema.object {}, run = keep "harness.ToolContext" } },
    agent = { instructions = keep "harness.InstructionsContext" },
    definition = { workflows = { flow = { run = function(ctx)
      seen["harness.NestedAgent"], seen["harness.ModelHandle"] = ctx.agents.helper, ctx.models.fast
      return keep "harness.WorkflowContext"(ctx)
    end } }, sandbox = table_sandbox.new(table_sandbox.session()) },
  })
  h:session("a").workflows.flow:run()
  h:session("b").agents.helper:run "x"
  local own = harness.define {
    models = { fast = { provider = harness.providers.scripted {}, model = "m" } },
    agents = { own = { model = "fast", run = keep "harness.AgentContext" } },
    sandbox = table_sandbox.new(table_sandbox.session()),
  }
  own:session("c").agents.own:run "x"
  for key in pairs(CLASSES["harness.InstructionsContext"]) do -- AgentContext: InstructionsContext
    CLASSES["harness.AgentContext"][key] = CLASSES["harness.InstructionsContext"][key]
  end
  seen["harness.MemoryScopes"] = seen["harness.ToolContext"].memory
  return seen
end

local function make_objects()
  local h = scripted.harness({ { text = "hi" } }, {})
  local session = h:session "s"
  local task = harness.spawn(function() end)
  local controller = harness.abort_controller()
  local stream = session.agents.helper:stream "go"
  stream:result()
  local ok, err = pcall(harness.error, "TOOL_ERROR", "x")
  assert(not ok)
  local all = {
    ["harness.Module"] = harness,
    ["harness.SchemaModule"] = harness.schema,
    ["harness.json"] = harness.json,
    ["harness.Schema"] = harness.schema.string(),
    ["harness.Harness"] = h,
    ["harness.Session"] = session,
    ["harness.History"] = session.history,
    ["harness.Runnable"] = session.agents.helper,
    ["harness.Stream"] = stream,
    ["harness.Task"] = task,
    ["harness.AbortController"] = controller,
    ["harness.Signal"] = controller.signal,
    ["harness.Relay"] = harness.relay {},
    ["harness.Matcher"] = harness.glob "*",
    ["harness.Error"] = err,
    ["harness.Logger"] = require("harness.logger").new {},
    ["harness.Memory"] = session.memory,
  }
  for name, object in pairs(make_contexts()) do all[name] = object end
  return all
end

-- What a caller can call: functions of the table itself, and those that its metatable gives it. Other
-- values in it are its own business.
local function public_names(object)
  local names = {}
  local function take(t)
    for key, value in pairs(t) do
      if type(key) == "string" and not key:find "^_" and type(value) == "function" then names[#names + 1] = key end
    end
  end
  if type(object) == "table" then take(object) end
  local mt = getmetatable(object)
  if type(mt) == "table" and type(mt.__index) == "table" then take(mt.__index) end
  table.sort(names)
  return names
end

-- What modules call of each other's objects.
local INTERNAL <const> = {
  ["harness.SchemaModule"] = { "compiled", "is", "of", "to_json_schema" },
  ["harness.Harness"] = { "check_open", "forget_session", "shares_storage", "trace_options" },
}

local function is_internal(class, key)
  for _, name in ipairs(INTERNAL[class] or {}) do
    if name == key then return true end
  end
  return false
end

describe("the annotations", function()
  setup(function()
    clock.stop()
    objects = make_objects()
  end)
  teardown(function() clock.go() end)

  it("declare only what is there", function()
    local wrong = {}
    for name, object in pairs(objects) do
      for field, declared in pairs(assert(CLASSES[name], name .. " is not annotated")) do
        local value = object[field]
        local absent = value == nil and (declared.optional or declared.type:find "^any%f[%A]")
        if not absent and not fits(value, declared.type) then
          wrong[#wrong + 1] = ("%s.%s: %s, is a %s"):format(name, field, declared.type, type(value))
        end
      end
    end
    assert.same({}, wrong)
  end)

  it("declare all of it", function()
    local missing = {}
    for name, object in pairs(objects) do
      for _, key in ipairs(public_names(object)) do
        if not CLASSES[name][key] and not is_internal(name, key) then missing[#missing + 1] = name .. "." .. key end
      end
    end
    assert.same({}, missing)
  end)
end)
