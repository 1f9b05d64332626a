-- core.sha256 (libcrypto): FIPS 180-4. The expected digests are from coreutils' sha256sum.
local core = require "harness.core"

local sha256 = core.sha256

local SEED <const> = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()

describe("sha256", function()
  it("has the known digests", function()
    local known = {
      [""] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      ["abc"] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      ["abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"] =
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
      [("a"):rep(1000000)] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    }
    for text, digest in pairs(known) do assert.equal(digest, sha256(text)) end
    assert.equal(known[""], sha256())
  end)

  -- The padding differs around 55, 56 and 64 bytes.
  it("is that of sha256sum at every length around a block", function()
    local name = os.tmpname()
    for n = 50, 130 do
      local text = ("x\0\255"):rep(44):sub(1, n)
      local file = assert(io.open(name, "wb"))
      file:write(text)
      file:close()
      local pipe = assert(io.popen("sha256sum < " .. name))
      assert.equal(pipe:read "a":match "^%x+", sha256(text), n .. " bytes")
      pipe:close()
    end
    os.remove(name)
  end)

  it("does not depend on the pieces", function()
    math.randomseed(SEED)
    for _ = 1, 100 do
      local pieces = {}
      for i = 1, math.random(0, 8) do pieces[i] = ("\1y"):rep(math.random(0, 100)) end
      assert.equal(sha256(table.concat(pieces)), sha256(table.unpack(pieces)), "seed " .. SEED)
    end
  end)

  it("takes texts", function()
    assert.has_error(function() sha256 {} end)
    assert.has_error(function() sha256("a", nil) end)
  end)
end)
