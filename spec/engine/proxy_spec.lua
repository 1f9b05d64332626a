-- Which proxy a request goes through (engine/proxy.c), and that it does.
local core = require "harness.core"
local http = require "harness.http"
local servers = require "spec.support.server"

local server

setup(function() server = servers.start { tls = true } end)
teardown(function() server:close() end)

-- Hosts below localhost are this machine without asking anybody, so a request that goes to the
-- server itself and one that goes through the proxy both arrive.
local function url(host, scheme)
  local port = server.ports[scheme or "http"]
  return ("%s://%s:%d/echo"):format(scheme or "http", host or "a.localhost", port)
end

-- What the proxies have been asked for since the last question.
local seen = 0
local function proxied()
  local list = server:get("/stats", server.proxy).requests
  local new = { table.unpack(list, seen + 1) }
  seen = #list
  return new
end

local function get(options)
  local response <close> = http.request(options)
  local text = response:text()
  return response.status, text
end

-- Do requests to these hosts, made under this environment, go through the proxy?
local function through(env, hosts, scheme)
  local requests = {}
  for i, host in ipairs(hosts) do requests[i] = { url = url(host, scheme), ca_file = server.cert } end
  local results = servers.client(env, requests)
  for _, result in ipairs(results) do
    assert.is_true(result.status == 200 or result.reason == "tls", tostring(result.message))
  end
  local asked = {}
  for _, line in ipairs(proxied()) do
    asked[line:match "//%[?([^%]/]-)%]?:%d+/" or line:match " ([^:]+):"] = true
  end
  local list = {}
  for _, host in ipairs(hosts) do
    if asked[(host:gsub("[%[%]]", ""))] then list[#list + 1] = host end
  end
  return list
end

describe("a proxy of a request", function()
  before_each(proxied)

  it("is asked for http URLs", function()
    assert.equal(200, (get { url = url(), proxy = server.proxy }))
    assert.same({ "GET " .. url() }, proxied())
  end)

  it("tunnels https URLs", function()
    local status, text = get { url = url("localhost", "https"), proxy = server.proxy, ca_file = server.cert }
    assert.equal(200, status)
    assert.equal("GET", core.json.decode(text).method)
    assert.same({ "CONNECT localhost:" .. server.ports.https }, proxied())
  end)

  it("resolves the name itself", function()
    assert.equal(200, (get { url = url "name.known.to.proxy.only", proxy = server.proxy }))
    assert.same({ "GET " .. url "name.known.to.proxy.only" }, proxied())
    assert.equal(200, (get { url = url "name.known.to.proxy.only", proxy = server.socks }))
    assert.same({ "SOCKS name.known.to.proxy.only:" .. server.ports.http }, proxied())
  end)

  it("may be SOCKS with names resolved here", function()
    assert.equal(200, (get { url = url "127.0.0.1", proxy = (server.socks:gsub("socks5h", "socks5")) }))
    assert.same({ "SOCKS 127.0.0.1:" .. server.ports.http }, proxied())
  end)

  it("gets the credentials of its URL, which appear in no error", function()
    local with = server.proxy:gsub("//", "//u:p@")
    assert.equal(200, (get { url = url "auth.test", proxy = with }))
    assert.equal(407, (get { url = url "auth.test", proxy = server.proxy }))
    local wrong = server.proxy:gsub("//", "//u:hush@")
    local ok, err = pcall(get, { url = url("auth.test", "https"), proxy = wrong })
    assert.is_false(ok)
    assert.equal("connect", err.meta.reason)
    assert.matches("407", err.message)
    assert.is_nil(core.json.encode { err.message, err.meta }:find "hush")
  end)

  it("that is not there is an error", function()
    local ok, err = pcall(get, { url = url(), proxy = "http://127.0.0.1:1" })
    assert.is_false(ok)
    assert.equal("connect", err.meta.reason)
  end)

  it("that is none is refused", function()
    for _, proxy in ipairs { "ftp://x", "http://", "a b", "http://x:y" } do
      local ok, err = pcall(get, { url = url(), proxy = proxy })
      assert.is_false(ok)
      assert.equal("request", err.meta.reason)
    end
  end)

  it("cuts its connection when the request is cut", function()
    local response = http.request { url = url(), proxy = server.proxy, headers = servers.script(
      { { "send", servers.head "Content-Length: 10" }, { "stall" } }, { ["x-id"] = "proxied" }) }
    response:close()
    assert.equal("closed", server:get "/closed?proxied")
  end)
end)

describe("the environment", function()
  local proxy
  setup(function() proxy = server.proxy end)
  before_each(proxied)

  it("names proxies by scheme, HTTP_PROXY excepted", function()
    local hosts = { "localhost" }
    assert.same(hosts, through({ "http_proxy=" .. proxy }, hosts))
    assert.same({}, through({ "HTTP_PROXY=" .. proxy }, hosts))
    assert.same({}, through({ "https_proxy=" .. proxy }, hosts))
    assert.same(hosts, through({ "https_proxy=" .. proxy }, hosts, "https"))
    assert.same(hosts, through({ "HTTPS_PROXY=" .. proxy }, hosts, "https"))
    assert.same({}, through({ "http_proxy=" .. proxy }, hosts, "https"))
    assert.same(hosts, through({ "all_proxy=" .. proxy }, hosts))
    assert.same(hosts, through({ "ALL_PROXY=" .. proxy }, hosts, "https"))
  end)

  it("may leave out the scheme, and lower case wins, and empty is not set", function()
    local hosts, bare = { "localhost" }, proxy:gsub("http://", "")
    assert.same(hosts, through({ "http_proxy=" .. bare }, hosts))
    assert.same(hosts, through({ "https_proxy=" .. proxy, "HTTPS_PROXY=http://127.0.0.1:1" }, hosts, "https"))
    assert.same(hosts, through({ "https_proxy=", "HTTPS_PROXY=" .. proxy }, hosts, "https"))
    assert.same({}, through({ "http_proxy=", "all_proxy=" }, hosts))
  end)

  it("excepts hosts by no_proxy", function()
    local v6 <const> = "[::ffff:127.0.0.1]"
    local names <const> = { "localhost", "a.localhost", "b.a.localhost", "xa.localhost" }
    local hosts = { names[1], names[2], names[3], names[4], "127.0.0.1", v6 }
    local function left(no_proxy, variable)
      return through({ "http_proxy=" .. proxy, (variable or "no_proxy") .. "=" .. no_proxy }, hosts)
    end
    assert.same(hosts, left "")
    assert.same({}, left "*")
    assert.same({}, left("*", "NO_PROXY"))
    assert.same({ "127.0.0.1", v6 }, left "localhost")
    assert.same({ "localhost", "xa.localhost", "127.0.0.1", v6 }, left "a.localhost")
    assert.same({ "localhost", "xa.localhost", "127.0.0.1", v6 }, left ".a.localhost")
    assert.same({ "localhost", "xa.localhost", "127.0.0.1", v6 }, left "A.LocalHost.")
    assert.same(names, left "10.0.0.0/8, 127.0.0.0/8,::/0")
    names[5] = v6
    assert.same(names, left "example.com 127.0.0.1")
    names[5] = "127.0.0.1"
    assert.same(names, left "[::ffff:127.0.0.1]")
    assert.same(hosts, left "127.0.0.0/33,127.0.0.2,126.0.0.0/8,0.0.1,host,*.localhost,/8,127.0.0.1/x")
  end)

  it("is overruled by a request and by settings, and can be left unread", function()
    local env, request = { "http_proxy=" .. proxy }, { url = url(), proxy = false }
    local function went(settings, options)
      assert.equal(200, servers.client(env, { options or { url = url() } }, settings)[1].status)
      return #proxied() > 0
    end
    assert.is_true(went())
    assert.is_false(went(nil, request))
    assert.is_false(went { environment = false })
    assert.is_false(went { proxy = "" })
    env = { "http_proxy=http://127.0.0.1:1", "no_proxy=*" }
    assert.is_true(went { proxy = proxy })
    assert.is_false(went { proxy = proxy, no_proxy = "localhost" })
  end)

  it("names the certificates to trust", function()
    local requests = { { url = url("localhost", "https") } }
    local function status(...) return servers.client({ ... }, requests)[1] end
    assert.equal("tls", status().reason)
    assert.equal(200, status("SSL_CERT_FILE=" .. server.cert).status)
    assert.equal(200, status("CURL_CA_BUNDLE=" .. server.cert).status)
    assert.equal(200, status("CURL_CA_BUNDLE=" .. server.cert, "SSL_CERT_FILE=/none").status)
    assert.equal("tls", status("SSL_CERT_FILE=/none").reason)
    local settings = { environment = false, ca_file = server.cert }
    assert.equal(200, servers.client({ "SSL_CERT_FILE=/none" }, requests, settings)[1].status)
  end)

  it("that names no proxy is an error that says so", function()
    local result = servers.client({ "http_proxy=ftp://u:hush@x" }, { { url = url() } })[1]
    assert.equal("request", result.reason)
    assert.matches("proxy", result.message)
    assert.is_nil(result.message:find "hush")
  end)
end)
