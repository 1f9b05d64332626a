-- Every example runs offline, and prints what its first comment says.
local command = require "spec.support.command"
local process = require "harness.process"

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function files(pattern)
  local list = {}
  local text = process.run({ file = "sh", args = { "-c", "ls " .. pattern } }).stdout
  for path in text:gmatch "[^\n]+" do list[#list + 1] = path end
  return list
end

-- The commands of a file's first comment, and what is printed after each: lines "-->".
local function commands_of(path)
  local list = {}
  for line in read(path):match("^[^\n]*\n(.-)\n\n"):gmatch "[^\n]+" do
    local shell = line:match "^%-%-     (build/harness%-lua .*)$"
    local printed = line:match "^%-%-     %-%-> (.*)$"
    if shell then list[#list + 1] = { shell = shell, printed = "" } end
    if printed then list[#list].printed = list[#list].printed .. printed .. "\n" end
  end
  return list
end

describe("the example", function()
  for _, path in ipairs(files "examples/*.lua") do
    for _, case in ipairs(commands_of(path)) do
      it(path .. " does what it says: " .. case.shell, function()
        local line = case.shell:gsub("^build/harness%-lua", '"$HARNESS_LUA"')
        local result = command.run { program = "sh", "-c", line, env = { HARNESS_LUA = command.HARNESS_LUA } }
        assert.same({ 0, case.printed, "" }, { result.status, result.stdout, result.stderr })
      end)
    end
    it(path .. " begins with a command", function() assert.truthy(commands_of(path)[1]) end)
  end

  it("of each file is listed in the README", function()
    local readme = read "examples/README.md"
    for _, path in ipairs(files "examples/*.lua examples/*.sh") do
      local name = path:match "[^/]+$"
      assert.truthy(readme:find(("| [%s](%s) |"):format(name, name), 1, true), name)
    end
  end)
end)

describe("the demo", function()
  local function check(terminal)
    local result = command.run {
      program = "examples/demo.sh", env = { HARNESS_LUA = command.HARNESS_LUA }, terminal = terminal,
    }
    assert.equal(0, result.status)
    local shown = (result.stdout .. result.stderr):gsub("\r\n", "\n")
    for _, text in ipairs {
      "offline, on canned turns", '[find_order {"id":"7"}]\n', '[find_order {"id":"8"}]\n',
      "\nOrder 7 was shipped with Hermes; order 8 is being packed.\n",
    } do
      assert.truthy(shown:find(text, 1, true), text .. " is not in:\n" .. shown)
    end
    assert.equal(2, select(2, shown:gsub("%[find_order done after %d+ ms%]", "")))
  end

  it("streams the run to a terminal", function() check(true) end)
  it("does the same elsewhere", function() check(false) end)

  it("names the real model, and fails when it cannot be reached", function()
    local result = command.run {
      program = "examples/demo.sh", env = {
        HARNESS_LUA = command.HARNESS_LUA, OPENAI_BASE_URL = "http://127.0.0.1:1/v1", OPENAI_MODEL = "mine",
      },
    }
    assert.equal(1, result.status)
    assert.truthy(result.stdout:find("on the model mine of http://127.0.0.1:1/v1", 1, true))
    assert.truthy(result.stderr:find("MODEL_ERROR: cannot reach 127.0.0.1:1", 1, true))
  end)
end)
