--- The HTTP server of http_server.mjs for specs, and what is needed around it.
---
---   local server = servers.start { tls = true }      -- in setup(); server:close() in teardown()
---   http.request { url = server.http .. "/echo" }
---   http.request { url = server.http .. "/", headers = servers.script { { "send", "HTTP/1.1 ..." } } }

local child = require "spec.support.child"
local core = require "harness.core"
local http = require "harness.http"
local process = require "harness.process"

local M = {}

-- What the client reads from the environment; the machine that runs the specs may have set some.
local VARIABLES <const> = {
  "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
  "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

--- An empty directory, removed by the returned function.
function M.temp_dir()
  local path = process.run({ file = "mktemp", args = { "-d" } }).stdout:gsub("\n", "")
  return path, function() process.run { file = "rm", args = { "-rf", path } } end
end

--- A self-signed certificate for localhost and 127.0.0.1 in `directory`: paths of it and its key.
function M.make_certificate(directory)
  local cert, key = directory .. "/cert.pem", directory .. "/key.pem"
  local result = process.run {
    file = "openssl",
    args = {
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
      "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
      "-keyout", key, "-out", cert,
    },
  }
  assert(result.exit_code == 0, result.stderr)
  return cert, key
end

--- Compiles a file of spec/support into a library for LD_PRELOAD; what `client` has to be given to
--- use it (the sanitizer wants to be loaded first, and is told that this is meant).
---@return string[] env
function M.preload(directory, name)
  local library = ("%s/%s.so"):format(directory, name)
  local args = { "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, ("spec/support/%s.c"):format(name) }
  local built = process.run { file = "cc", args = args }
  assert(built.exit_code == 0, built.stderr)
  local asan = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0"
  return { "LD_PRELOAD=" .. library, "ASAN_OPTIONS=" .. asan }
end

local Server = {}
Server.__index = Server

---@param options? { tls?: boolean }
function M.start(options)
  core.http.configure { environment = false } -- false when a request was made before: it was then, too
  local self = setmetatable({}, Server)
  local command = { "node", "spec/support/http_server.mjs", ready = "ready ([^\n]*)\n" }
  if options and options.tls then
    local directory, remove = M.temp_dir()
    self.remove, self.directory = remove, directory
    self.cert, command[4] = M.make_certificate(directory)
    command[3] = self.cert
  end
  self.child = child.start(command)
  self.ports = core.json.decode(self.child.captures[1])
  for name, port in pairs(self.ports) do
    local scheme = ({ https = "https", http2 = "https", socks = "socks5h" })[name] or "http"
    self[name] = ("%s://127.0.0.1:%d"):format(scheme, port)
  end
  return self
end

function Server:close()
  self.child:close()
  if self.remove then self.remove() end
end

--- GET of a page of the server itself, decoded when it is JSON.
function Server:get(path, base)
  local response <close> = http.request { url = (base or self.http) .. path, ca_file = self.cert }
  local text = response:text()
  if response.headers["content-type"] == "application/json" then return core.json.decode(text) end
  return text
end

-- JSON in ASCII in which each byte of the texts stands as the character of that number.
local function encode(steps)
  local copy = {}
  for i, step in ipairs(steps) do
    copy[i] = {}
    for j, value in ipairs(step) do
      copy[i][j] = type(value) ~= "string" and value
        or value:gsub("[\x80-\xff]", function(byte) return utf8.char(byte:byte()) end)
    end
  end
  return (core.json.encode(copy):gsub(utf8.charpattern, function(character)
    local code = utf8.codepoint(character)
    return code >= 0x80 and ("\\u%04x"):format(code) or nil
  end))
end

--- Runs requests in a process of their own, with `env` ("NAME=value" items) added to ours; see
--- http_client.lua. Returns the list of results, and how long the process ran in milliseconds.
---@param env string[]
---@param requests table[]
---@param settings? table for core.http.configure
function M.client(env, requests, settings)
  local args = {}
  for _, name in ipairs(VARIABLES) do table.move({ "-u", name }, 1, 2, #args + 1, args) end
  table.move(env, 1, #env, #args + 1, args)
  local job = core.json.encode { requests = core.json.array(requests), settings = settings }
  table.move({ assert(os.getenv "HARNESS_LUA"), "spec/support/http_client.lua", job }, 1, 3, #args + 1, args)
  local began = core.now_ms()
  local result = process.run { file = "env", args = args }
  assert(result.exit_code == 0, result.stderr)
  assert(result.stderr == "", result.stderr)
  return core.json.decode(result.stdout).results, core.now_ms() - began
end

--- Headers that make the server follow these steps, whose texts may hold any bytes; `more` headers
--- may be given.
function M.script(steps, more)
  local headers = { ["x-script"] = encode(steps) }
  for name, value in pairs(more or {}) do headers[name] = value end
  return headers
end

--- The head of a 200 response; `fields` are its header lines.
function M.head(...)
  return table.concat({ "HTTP/1.1 200 OK", ... }, "\r\n") .. "\r\n\r\n"
end

--- A chunk of a chunked body; none: the last one.
function M.chunk(text)
  return ("%x\r\n%s\r\n"):format(text and #text or 0, text or "")
end

return M
