--- aimock, a double of the model APIs that other people wrote (npm @copilotkit/aimock), for specs.
---
---   local why = aimock.missing()                       -- nil, or why there is none
---   local double = aimock.start()                      -- in setup(); double:close() in teardown()
---   openai { base_url = double.url .. "/v1" }
---   double:journal()[1].body.messages                  -- what it was sent, in order
---   double:fail_once(429)                              -- the next request is refused
---   double:chaos { latencyMs = 100 }                   -- until double:chaos {}
---
--- It answers by spec/fixtures/aimock/fixtures.json: chunks of 12 UTF-16 units, in strict mode.

local child = require "spec.support.child"
local http = require "harness.http"
local json = require "harness.json"

local M = {}

local FIXTURES <const> = "spec/fixtures/aimock/fixtures.json"

local function program()
  local modules = os.getenv "HARNESS_NODE_MODULES"
  return modules and modules .. "/@copilotkit/aimock/dist/cli.js"
end

--- Why it cannot be started here; nil when it can.
---@return string?
function M.missing()
  local path = program()
  if not path then return "HARNESS_NODE_MODULES is not set: run it by `make test`" end
  local file = io.open(path)
  if not file then return "aimock is not installed (spec/support/peers.sh test)" end
  file:close()
  return nil
end

local Double = {}
Double.__index = Double

function M.start()
  local server = child.start {
    "node", program(), "-p", "0", "-f", FIXTURES, "--strict", "-c", "12", "--metrics",
    stderr = "null", ready = "listening on (http://[^%s]*)",
  }
  return setmetatable({ child = server, url = server.captures[1] }, Double)
end

function Double:close()
  self.child:close()
end

--- Asks it something about itself; the answer is decoded when it is JSON.
function Double:control(method, path, value)
  local response <close> = http.request {
    method = method, url = self.url .. path, body = value and json.encode(value),
    headers = { ["content-type"] = "application/json" },
  }
  local text = response:text()
  assert(response.status == 200, text)
  return path == "/metrics" and text or json.decode(text)
end

--- Every request as it was received, in order: {method, path, headers, body, response}.
function Double:journal()
  return self:control("GET", "/__aimock/journal")
end

--- Forgets the journal and what it was told to do wrong.
function Double:reset()
  self:control("POST", "/__aimock/reset/journal")
  self:control("DELETE", "/__aimock/chaos")
end

function Double:chaos(rates)
  self:control("POST", "/__aimock/chaos", rates)
end

function Double:fail_once(status, body)
  self:control("POST", "/__aimock/error", { status = status, body = body })
end

--- Adds answers to those of the fixture file.
function Double:add(fixtures)
  self:control("POST", "/__aimock/fixtures", { fixtures = json.array(fixtures) })
end

--- How many responses it could not finish, because the client was gone.
function Double:cut_off()
  local count = 0
  for line in self:control("GET", "/metrics"):gmatch "[^\n]+" do
    local n = line:match '^aimock_requests_total{.*path="/v1/chat/completions".*} (%d+)'
    if n and line:find 'status="destroyed"' then count = count + tonumber(n) end
  end
  return count
end

return M
