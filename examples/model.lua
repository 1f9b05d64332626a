-- What the examples share: a real model where there is a key or a server, else canned turns.
--
--     build/harness-lua -e 'package.path = "examples/?.lua;" .. package.path' -e 'print(require("model") { {} }.model)'
--     --> canned

local harness = require "harness"

--- The model of an example.
---@param turns table[]|fun(request: table, n: integer): table what a canned model says (harness.providers.scripted)
---@return harness.ModelTable
return function(turns)
  local key, url = os.getenv "OPENAI_API_KEY", os.getenv "OPENAI_BASE_URL"
  if not key and not url then return { model = "canned", provider = harness.providers.scripted(turns) } end
  return {
    model = os.getenv "OPENAI_MODEL" or "gpt-5-mini",
    provider = harness.providers.openai { api_key = key, base_url = url },
  }
end
