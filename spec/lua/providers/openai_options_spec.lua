local errors = require "harness.errors"
local http = require "harness.http"
local json = require "harness.json"
local make = require "harness.providers.openai"
local openai = require "spec.support.openai"

local KEY <const> = openai.KEY
local request = openai.request

describe("openai options", function()
  local peer

  setup(function() peer = openai.start() end)
  teardown(function() peer:close() end)

  describe("options", function()
    local function refused(options)
      local ok, err = pcall(make, options)
      assert.is_false(ok)
      assert.is_true(errors.is(err, "HARNESS_CONFIG_ERROR"), tostring(err))
      return err
    end

    for name, options in pairs {
      ["nothing"] = {}, ["an empty key"] = { api_key = "" },
      ["a server elsewhere"] = { base_url = "https://models.example.com/v1" },
    } do
      it("want a key: " .. name, function()
        local err = refused(options)
        assert.equal("missing_api_key", err.meta.reason)
        assert.equal("providers.openai.api_key", err.meta.path)
      end)
    end

    it("say where a key usually comes from", function()
      assert.matches('os.getenv "OPENAI_API_KEY"', refused({}).message, 1, true)
      assert.matches("api.openai.com needs a key", refused({}).message, 1, true)
      local azure = { dialect = "azure", base_url = "https://n.openai.azure.com" }
      assert.matches("AZURE_OPENAI_API_KEY", refused(azure).message, 1, true)
      assert.equal("AZURE_OPENAI_API_KEY", refused(azure).meta.id)
      assert.equal("OPENROUTER_API_KEY", refused({ base_url = "https://openrouter.ai/api/v1" }).meta.id)
      assert.is_nil(refused({ base_url = "https://h.example.com/v1" }).meta.id)
    end)

    for _, host in ipairs {
      "localhost:8080", "127.0.0.1", "127.1.2.3:1", "[::1]:11434", "ollama:11434", "10.1.2.3",
        "192.168.0.9:80",
      "172.16.0.1", "172.31.255.1", "box.local", "host.docker.internal:1", "0.0.0.0:8000",
    } do
      it("want no key for " .. host, function() assert.is_table(make { base_url = "http://" .. host
        .. "/v1" }) end)
    end

    for _, host in ipairs { "172.32.0.1", "8.8.8.8", "10.example.com", "api.openai.com", "[2001:db8::1]" } do
      it("want a key for " .. host, function()
        assert.equal("missing_api_key", refused({ base_url = "http://" .. host .. "/v1" }).meta.reason)
      end)
    end

    it("want no key beside a header of one's own", function()
      assert.is_table(make { base_url = "https://h.example.com", headers = { Authorization = "Custom x" } })
    end)

    it("are known, all wrong ones are told, and never a value of the key", function()
      local err = refused { api_kye = KEY, base_url = "ftp://x", idle_timeout_ms = -1, dialect = "mistral",
        headers = { KEY }, proxy = 5, include_usage = "yes", organization = "" }
      local paths = {}
      for _, problem in ipairs(err.meta.problems) do paths[problem.path] = problem end
      assert.equal("unknown_key", paths["providers.openai.api_kye"].reason)
      assert.matches('did you mean "api_key"', paths["providers.openai.api_kye"].message, 1, true)
      for _, name in ipairs { "base_url", "idle_timeout_ms", "dialect", "headers", "proxy", "include_usage",
        "organization" } do
        assert.is_table(paths["providers.openai." .. name], name)
      end
      assert.is_nil(json.encode(err):find(KEY, 1, true))
    end)

    it("of a wrong type never show what may be a key", function()
      assert.is_nil(json.encode(refused(KEY)):find(KEY, 1, true))
      assert.equal("wrong_type", refused(KEY).meta.reason)
      assert.is_nil(json.encode(refused { api_key = 123456789 }):find("123456789", 1, true))
      local err = refused { api_key = KEY .. "\n" }
      assert.equal("invalid_api_key", err.meta.reason)
      assert.is_nil(json.encode(err):find(KEY, 1, true))
      local in_url = refused { base_url = "https://me:" .. KEY .. "@h/v1" }
      assert.equal("invalid_base_url", in_url.meta.reason)
      assert.is_nil(json.encode(in_url):find(KEY, 1, true))
    end)

    it("stay hidden: no dump of the provider shows the key", function()
      local p = make { api_key = KEY, base_url = peer.http }
      assert.equal("openai provider (" .. peer.http:match "//(.*)" .. ")", tostring(p))
      local dump = require "pl.pretty".write(p)
      assert.is_nil(dump:find(KEY, 1, true))
      assert.equal("openai", p.id)
      assert.is_true(p.cooperative)
      assert.same({ "text", "text_stream", "object", "object_stream", "tool_use", "vision_input",
        "audio_input",
        "file_input", "embeddings" }, p.capabilities)
    end)
  end)

  describe("requests", function()
    -- What the server saw of a request; the server answers with it instead of a completion.
    local function seen(options)
      options.base_url = options.base_url or peer.http .. "/v1"
      local real, sent = http.request, nil
      http.request = function(given) -- luacheck: ignore 122
        local response = real(given)
        local original = response.text
        response.text = function(self)
          sent = json.decode(original(self))
          return json.encode { choices = { { message = { content = "ok" } } } }
        end
        return response
      end
      local p = make(options)
      local ok, err = pcall(p.generate, p, request { stream = false })
      http.request = real -- luacheck: ignore 122
      assert(ok, err)
      local headers = {}
      for _, pair in ipairs(sent.headers) do headers[pair[1]:lower()] = pair[2] end
      return sent, headers
    end

    it("are posted as JSON, with the key as bearer", function()
      local sent, headers = seen { api_key = KEY, organization = "org-1", project = "proj-1" }
      assert.equal("POST", sent.method)
      assert.equal("/v1/chat/completions", sent.path)
      assert.equal('{"model":"m","messages":[{"role":"user","content":"hi"}]}', sent.body)
      assert.equal("application/json", headers["content-type"])
      assert.equal("application/json", headers.accept)
      assert.equal("Bearer " .. KEY, headers.authorization)
      assert.equal("org-1", headers["openai-organization"])
      assert.equal("proj-1", headers["openai-project"])
      assert.matches("^harness%-lua/", headers["user-agent"])
    end)

    it("have no authorization without a key, and the caller's headers over ours", function()
      local _, headers = seen { headers = { ["X-One"] = "1", ["User-Agent"] = "mine" } }
      assert.is_nil(headers.authorization)
      assert.equal("1", headers["x-one"])
      assert.equal("mine", headers["user-agent"])
    end)

    it("keep the path and query of base_url", function()
      assert.equal("/a/b/chat/completions?x=1", seen({ base_url = peer.http .. "/a/b/?x=1" }).path)
    end)

    it("of the dialect azure name deployment and version, and have the key in a header of its own", function()
      local sent, headers = seen { dialect = "azure", api_key = KEY, base_url = peer.http }
      assert.equal("/openai/deployments/m/chat/completions?api-version=2024-10-21", sent.path)
      assert.equal(KEY, headers["api-key"])
      assert.is_nil(headers.authorization)
      assert.equal("/openai/deployments/m/chat/completions?api-version=v9",
        seen({ dialect = "azure", api_key = KEY, base_url = peer.http, api_version = "v9" }).path)
      assert.equal("/openai/v1/chat/completions",
        seen({ dialect = "azure", api_key = KEY, base_url = peer.http .. "/openai/v1" }).path)
      assert.equal("/openai/deployments/x/chat/completions?api-version=1",
        seen({ dialect = "azure", api_key = KEY,
        base_url = peer.http .. "/openai/deployments/x?api-version=1" }).path)
    end)
  end)
end)
