--- Checks the `models` of a definition: alias -> { provider, model, capabilities?, defaults?,
--- provider_options?, fallback?, prices? }.

local fields = require "harness.definition_fields"
local nearest = require "harness.nearest"

local M = {}

--- All that a model may be able to do (reference B 6.1): six operations, four marks.
M.CAPABILITIES = {
  "text", "text_stream", "object", "object_stream", "tool_use", "vision_input", "audio_input", "file_input",
  "embeddings", "rerank",
}
local IS_CAPABILITY = {}
for _, name in ipairs(M.CAPABILITIES) do IS_CAPABILITY[name] = true end

local LONGEST_ALIAS <const> = 64

local function positive(reason) return fields.integer { min = 1, reason = reason } end

local function price() return { fields.number { min = 0, reason = "invalid_model" } } end

local a_string = fields.string { not_empty = true }

local DEFAULTS = {
  temperature = { fields.number { min = 0, max = 2, reason = "invalid_model" } },
  top_p = { fields.number { min = 0, max = 1, reason = "invalid_model" } },
  max_tokens = { positive "invalid_model" },
  stop_sequences = { fields.list(a_string, "a list of strings") },
  parallel_tool_calls = { fields.boolean },
  provider_options = { fields.plain "a table of the provider's own options" },
}

-- Currency units for a million tokens of each kind.
local PRICES = { input = price(), cached_input = price(), cache_write = price(), output = price() }

-- Reading a field of somebody's object may run their code.
local function read(object, name)
  local ok, value = pcall(function() return object[name] end)
  if ok then return value end
  return nil
end

local function check_provider(problems, path, value)
  if type(value) ~= "table" and type(value) ~= "userdata" then
    problems:wrong_type(path, "a provider such as harness.providers.openai{...}", value)
    return nil
  end
  local missing = {}
  if type(read(value, "id")) ~= "string" then missing[#missing + 1] = "a string `id`" end
  if not fields.is_callable(read(value, "generate")) then missing[#missing + 1] = "a method `generate`" end
  if #missing == 0 then return value end
  problems:add(path, "wrong_type",
    ("must be a provider such as harness.providers.openai{...}, found %s without %s")
    :format(fields.found(value), table.concat(missing, " and ")))
  return nil
end

local function check_capability(problems, path, value)
  if type(value) ~= "string" then
    problems:wrong_type(path, "the name of a capability", value)
    return nil
  end
  if IS_CAPABILITY[value] then return value end
  problems:add(path, "unknown_reference", ('there is no capability "%s"%s')
    :format(value, nearest.hint(value, M.CAPABILITIES, "capabilities")), value)
  return nil
end

local model_name = fields.string { not_empty = true, allowed = "the model's name at its provider" }

local MODEL = {
  provider = { check_provider, required = true },
  model = { model_name, required = true },
  capabilities = { fields.list(check_capability, "a list of capabilities") },
  defaults = { fields.record(DEFAULTS, "a table of options") },
  provider_options = { fields.plain "a table of the provider's own options" },
  fallback = { fields.list(a_string, "a list of model aliases") },
  prices = { fields.record(PRICES, "a table { input, output, cached_input?, cache_write? }, "
    .. "each for a million tokens") },
}

-- What a provider declares: a list, or a set.
local function declared_by(provider)
  local declared = read(provider, "capabilities")
  if type(declared) ~= "table" then return nil end
  local set = {}
  for key, value in pairs(declared) do
    if IS_CAPABILITY[value] then set[value] = true elseif value == true then set[key] = true end
  end
  return set
end

-- In the order of CAPABILITIES, whatever order they were given in.
local function ordered(set)
  local list = {}
  for _, name in ipairs(M.CAPABILITIES) do
    if set[name] then list[#list + 1] = name end
  end
  return list
end

local function exceeds_provider(problems, path, entry, declared)
  local can = ordered(declared)
  for i, name in ipairs(entry.capabilities) do
    if name and not declared[name] then
      problems:add(fields.at(fields.at(path, "capabilities"), i), "invalid_model",
        ('the provider "%s" cannot do "%s"; it can do: %s')
        :format(entry.provider.id, name, table.concat(can, ", ")), name)
    end
  end
end

-- Sets capabilities (a set) and capability_list; leaves them nil when they cannot be known.
local function settle_capabilities(problems, path, entry, given)
  if not entry.provider then return end
  local declared = declared_by(entry.provider)
  if not entry.capabilities and given == nil and not declared then
    problems:add(fields.at(path, "capabilities"), "wrong_type",
      ('must be a list of capabilities: the provider "%s" does not declare any'):format(entry.provider.id))
  end
  if entry.capabilities and declared then exceeds_provider(problems, path, entry, declared) end
  local set = declared
  if entry.capabilities then
    set = {}
    for _, name in ipairs(entry.capabilities) do set[name] = name and true or nil end
  elseif given ~= nil then
    set = nil
  end
  entry.capabilities = set
  entry.capability_list = set and ordered(set)
end

local function check_fallback(problems, path, alias, fallback, aliases)
  for i, other in ipairs(fallback) do
    local at = fields.at(fields.at(path, "fallback"), i)
    if other and other == alias then
      problems:add(at, "invalid_model", ('the model "%s" cannot be its own fallback'):format(alias), alias)
    elseif other and not aliases[other] then
      problems:add(at, "unknown_reference", ('there is no model "%s"%s')
        :format(other, nearest.hint(other, aliases.names, "models")), other)
    end
  end
end

local function check_alias(problems, path, alias)
  if type(alias) == "string" and #alias <= LONGEST_ALIAS and alias:find("^%a[%w_.%-]*$") then return true end
  problems:add(path, "invalid_model",
    "a model alias begins with a letter, goes on with letters, digits and _ . -, and is at most 64 long",
    tostring(alias))
  return false
end

local function check_one(problems, path, alias, given, aliases)
  local is_named = check_alias(problems, path, alias)
  if type(given) ~= "table" then
    problems:wrong_type(path, "a table { provider, model }", given)
    return nil
  end
  local entry = fields.check(problems, path, given, MODEL)
  settle_capabilities(problems, path, entry, given.capabilities)
  entry.id = alias
  entry.fallback = entry.fallback or {}
  entry.defaults = entry.defaults or {}
  entry.provider_options = entry.provider_options or {}
  check_fallback(problems, path, alias, entry.fallback, aliases)
  return is_named and entry or nil
end

local function aliases_of(models)
  local aliases = { names = {} }
  for _, alias in ipairs(fields.sorted_keys(models)) do
    if type(alias) == "string" then
      aliases[alias] = true
      table.insert(aliases.names, alias)
    end
  end
  return aliases
end

---Checks the models. Returns the clean ones by alias, and the aliases that were given at all, as a set
---with the list `names`: what refers to an alias whose own definition is wrong is no second mistake.
---The second result is nil when there are no models to refer to.
---@param problems harness.Problems
---@param models any
---@return table<string, table> clean
---@return table? aliases
function M.check(problems, models)
  local path = { "models" }
  if models ~= nil and type(models) ~= "table" then
    problems:wrong_type(path, "a table alias -> { provider, model }", models)
    return {}
  end
  if models == nil or next(models) == nil then
    problems:add(path, "missing_models", "a harness needs at least one model, "
      .. 'such as models = { fast = { provider = harness.providers.openai{...}, model = "..." } }')
    return {}
  end
  local clean, aliases = {}, aliases_of(models)
  for _, alias in ipairs(fields.sorted_keys(models)) do
    clean[alias] = check_one(problems, fields.at(path, alias), alias, models[alias], aliases)
  end
  return clean, aliases
end

return M
