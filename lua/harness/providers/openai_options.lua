--- The options of the openai provider, checked, as the settings it works with.

local core = require "harness.core"
local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local redact = require "harness.redact"

local M = {}

local DEFAULT_URL <const> = "https://api.openai.com/v1"
local AZURE_API_VERSION <const> = "2024-10-21"

---@class harness.OpenaiOptions
---@field api_key? string not needed for a local server
---@field base_url? string up to and with "/v1"
---@field headers? table<string, string> added to each request; they win over ours
---@field organization? string
---@field project? string
---@field dialect? "openai"|"azure"|"compatible" default: by the host of base_url
---@field api_version? string of Azure
---@field include_usage? boolean ask for token counts in streams (default true)
---@field carry_fields? string[] fields of a reply that the server wants back with the next turn, such as
---reasoning_content (DeepSeek) or reasoning_details (OpenRouter)
---@field connect_timeout_ms? integer
---@field first_byte_timeout_ms? integer
---@field idle_timeout_ms? integer
---@field ca_file? string
---@field proxy? string|false

---@class harness.OpenaiSettings
---@field host string with the port, for people
---@field path string base_url without its query
---@field query string
---@field dialect string
---@field api_version string
---@field has_key boolean
---@field headers [string, string][] of a request whose answer is no stream
---@field stream_headers [string, string][]
---@field secrets string[] what no error may hold
---@field include_usage boolean
---@field carry_fields string[]
---@field max_tokens_field string newer models of OpenAI know max_completion_tokens only, others max_tokens

-- ---- checking -----------------------------------------------------------------------------

-- Messages about a key name its type only.
local function secret(problems, path, value)
  if type(value) ~= "string" then
    problems:add(path, "wrong_type", ("must be a string, found a %s"):format(type(value)))
  elseif value:find "%c" then
    problems:add(path, "invalid_api_key",
      "holds a line break or another control character; was it read from a file?")
  else
    return value
  end
end

local function header_map(problems, path, value)
  if type(value) ~= "table" then
    problems:add(path, "wrong_type", ("must be a table name -> text, found a %s"):format(type(value)))
    return nil
  end
  local clean = {}
  for _, name in ipairs(fields.sorted_keys(value)) do
    if type(name) ~= "string" then
      problems:add(path, "wrong_type", "must be a table name -> text, found a list")
      return nil
    end
    clean[name] = secret(problems, fields.at(path, name), value[name])
  end
  return clean
end

local function base_url(problems, path, value)
  local authority = type(value) == "string" and value:match "^[hH][tT][tT][pP][sS]?://([^/?#%s]+)[^#%s]*$"
  if not authority then
    problems:add(path, "invalid_base_url",
      ('must be a URL such as "%s", found a %s that is none'):format(DEFAULT_URL, type(value)))
  elseif authority:find("@", 1, true) then
    problems:add(path, "invalid_base_url", "must not hold a user or password; use api_key or headers")
  else
    return value
  end
end

local DIALECTS <const> = { "openai", "azure", "compatible" }

local function dialect(problems, path, value)
  for _, name in ipairs(DIALECTS) do
    if value == name then return value end
  end
  problems:wrong_type(path, 'one of "' .. table.concat(DIALECTS, '", "') .. '"', value)
end

local function proxy(problems, path, value)
  if value == false or type(value) == "string" then return value end
  problems:add(path, "wrong_type", "must be a proxy's URL, or false for none")
end

local a_string = fields.string { not_empty = true }
local a_timeout = fields.integer { min = 0, reason = "invalid_timeout" }

local OPTIONS <const> = {
  api_key = { secret }, base_url = { base_url }, headers = { header_map }, dialect = { dialect },
  organization = { a_string }, project = { a_string }, api_version = { a_string },
  include_usage = { fields.boolean }, carry_fields = { fields.list(a_string, "a list of field names") },
  connect_timeout_ms = { a_timeout }, first_byte_timeout_ms = { a_timeout }, idle_timeout_ms = { a_timeout },
  ca_file = { a_string }, proxy = { proxy },
}

local PATH <const> = { "providers", "openai" }

local function raise_problems(problems)
  local list = problems:list()
  if #list == 0 then return end
  local messages = {}
  for i, problem in ipairs(list) do messages[i] = problem.message end
  errors.raise("HARNESS_CONFIG_ERROR", table.concat(messages, "; "), {
    reason = list[1].reason, path = list[1].path, id = list[1].id, problems = list,
  })
end

local function checked(options)
  if type(options) ~= "table" then
    errors.raise("HARNESS_CONFIG_ERROR", "providers.openai takes a table of options, got " .. type(options),
      { reason = "wrong_type", path = "providers.openai" })
  end
  local problems = fields.problems()
  local clean = fields.check(problems, PATH, options, OPTIONS)
  raise_problems(problems)
  return clean
end

-- A server of one's own: this machine, a private network, a name without a dot (a container).
local function is_local(host)
  local name = host:lower():gsub(":%d+$", "")
  if name:find("^%[") then return name == "[::1]" or name:find "^%[f[cd]" ~= nil end
  local second = name:match "^172%.(%d+)%.%d+%.%d+$"
  return not name:find(".", 1, true) or name:find "^127%." ~= nil or name:find "^10%.%d+%.%d+%.%d+$" ~= nil
    or name:find "^192%.168%." ~= nil or second and tonumber(second) >= 16 and tonumber(second) <= 31
    or name == "0.0.0.0" or name:find "%.localhost$" ~= nil or name:find "%.local$" ~= nil
    or name:find "%.internal$" ~= nil
end

local function usual_variable(settings)
  if settings.dialect == "azure" then return "AZURE_OPENAI_API_KEY" end
  if settings.dialect == "openai" then return "OPENAI_API_KEY" end
  if settings.host:find "openrouter%.ai$" then return "OPENROUTER_API_KEY" end
  return nil
end

local function missing_key(settings)
  local name = usual_variable(settings)
  local where = "it usually comes from an environment variable, by os.getenv"
  if name then
    where = ('it usually comes from the environment: api_key = os.getenv "%s" (is it set?)'):format(name)
  end
  local path = "providers.openai.api_key"
  errors.raise("HARNESS_CONFIG_ERROR",
    ("%s: %s needs a key; %s. Only a local base_url needs none"):format(path, settings.host, where),
    { reason = "missing_api_key", path = path, id = name })
end

-- ---- settings -----------------------------------------------------------------------------

-- {{name, value}, ...} in the order of their names; the user's replace ours.
local function header_list(settings, options, accept)
  local by_name = {
    ["content-type"] = "application/json", accept = accept,
    ["user-agent"] = "harness-lua/" .. core.version,
    ["openai-organization"] = options.organization, ["openai-project"] = options.project,
  }
  if options.api_key then
    local is_azure = settings.dialect == "azure"
    by_name[is_azure and "api-key" or "authorization"] = (is_azure and "" or "Bearer ") .. options.api_key
  end
  for name, value in pairs(options.headers or {}) do by_name[name:lower()] = value end
  local list = {}
  for _, name in ipairs(fields.sorted_keys(by_name)) do list[#list + 1] = { name, by_name[name] } end
  return list
end

local function has_header(options, wanted)
  for name in pairs(options.headers or {}) do
    if name:lower() == wanted then return true end
  end
  return false
end

-- Shorter ones ("x", "EMPTY", as local servers are given) are words: masking them would garble messages.
local SHORTEST_SECRET <const> = 6

local function secrets_of(options)
  local list = {}
  local function add(text)
    if #text >= SHORTEST_SECRET then list[#list + 1] = text end
  end
  if options.api_key then add(options.api_key) end
  for name, value in pairs(options.headers or {}) do
    if redact.is_secret_key(name) then add(value:match "^%a+ (.+)$" or value) end
  end
  return list
end

local OF_HTTP <const> = {
  "connect_timeout_ms", "first_byte_timeout_ms", "idle_timeout_ms", "ca_file", "proxy",
}

---Checks the options. Raises HARNESS_CONFIG_ERROR with all that is wrong, and never a key in it.
---@param given harness.OpenaiOptions
---@return harness.OpenaiSettings
function M.settings(given)
  local options = checked(given)
  local url = options.base_url or DEFAULT_URL
  if options.api_key == "" then options.api_key = nil end
  local settings = { host = url:match "://([^/?#]+)", include_usage = options.include_usage ~= false,
    carry_fields = options.carry_fields or {} }
  settings.path, settings.query = url:match "^([^?]*)%??(.*)$"
  settings.path = settings.path:gsub("/+$", "")
  local is_openai = settings.host:lower() == "api.openai.com"
  settings.dialect = options.dialect or is_openai and "openai" or "compatible"
  settings.has_key = options.api_key ~= nil or has_header(options, "authorization")
    or has_header(options, "api-key")
  if not settings.has_key and not is_local(settings.host) then missing_key(settings) end
  settings.api_version = options.api_version or AZURE_API_VERSION
  settings.max_tokens_field = settings.dialect == "compatible" and "max_tokens" or "max_completion_tokens"
  settings.headers = header_list(settings, options, "application/json")
  settings.stream_headers = header_list(settings, options, "text/event-stream, application/json")
  settings.secrets = secrets_of(options)
  for _, name in ipairs(OF_HTTP) do settings[name] = options[name] end
  return settings
end

local function escaped(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

---The URL of an operation. Azure has the model in the path and a version in the query, unless base_url
---says more itself.
---@param settings harness.OpenaiSettings
---@param operation string "/chat/completions"
---@param model string
---@return string
function M.url(settings, operation, model)
  local path, query = settings.path, settings.query
  if settings.dialect == "azure" and not path:find("/openai", 1, true) then
    path = path .. "/openai/deployments/" .. escaped(model)
  end
  if settings.dialect == "azure" and not path:find "/v1$" and not query:find("api-version=", 1, true) then
    query = (query == "" and "" or query .. "&") .. "api-version=" .. escaped(settings.api_version)
  end
  return path .. operation .. (query == "" and "" or "?" .. query)
end

return M
