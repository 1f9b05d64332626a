local nearest = require "harness.nearest"

describe("nearest", function()
  local fields = { "instructions", "max_steps", "model", "tools", "output", "input", "find_order" }
  local cases = {
    { "find_ordr", "find_order" }, { "instruction", "instructions" }, { "maxSteps", "max_steps" },
    { "MAX-STEPS", "max_steps" }, { "modle", "model" }, { "tool", "tools" }, { "ouptut", "output" },
    { "instr", "instructions" }, { "modell", "model" }, { "inptu", "input" },
    { "bash" }, { "x" }, { "" }, { "___" }, { "temperature" }, { ("m"):rep(100) }, { 7 },
  }
  for _, case in ipairs(cases) do
    it(("finds %s for %s"):format(tostring(case[2]), tostring(case[1]):sub(1, 20)), function()
      assert.equal(case[2], nearest.find(case[1], fields))
    end)
  end

  it("takes the first in byte order among equally near ones", function()
    assert.equal("cat", nearest.find("bat", { "hat", "cat" }))
    assert.equal("cat", nearest.find("bat", { "cat", "hat" }))
  end)

  it("takes the nearest", function()
    assert.equal("tools", nearest.find("tols", { "pools", "tools" }))
  end)

  it("does not compare very long names", function()
    assert.is_nil(nearest.find("abc", { ("a"):rep(65) }))
  end)

  it("says what to do about an unknown name", function()
    assert.equal('; did you mean "tools"?', nearest.hint("tool", fields, "fields"))
    assert.equal('; the tools are "a", "b"', nearest.hint("xyz", { "b", "a" }, "tools"))
    assert.equal("; there are no tools", nearest.hint("xyz", {}, "tools"))
    local many = {}
    for i = 1, 20 do many[i] = ("name%02d"):format(i) end
    assert.matches('"name16", 4 more$', nearest.hint("qqqq", many, "tools"))
  end)
end)
