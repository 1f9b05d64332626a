-- needs: user namespaces
-- Every example runs offline, and prints what its first comment says.
local command = require "spec.support.command"
local process = require "harness.process"

local BUILD <const> = os.getenv("HARNESS_LUA"):match "^(.*)/harness%-lua$"
-- A stock lua5.4 cannot load a library that was built with the sanitizers.
local IS_SANITIZED <const> = BUILD:find "/asan$" ~= nil

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
    local shell = line:match "^%-%-     (build/harness%-lua .*)$" or line:match "^%-%-     ([%u_]+=.*lua.*)$"
    local printed = line:match "^%-%-     %-%-> (.*)$"
    if shell and IS_SANITIZED and shell:find "^LUA_CPATH" then shell, printed = nil, nil end
    if shell then list[#list + 1] = { shell = shell, printed = "" } end
    if printed and list[1] then list[#list].printed = list[#list].printed .. printed .. "\n" end
  end
  return list
end

describe("the example", function()
  for _, path in ipairs(files "examples/*.lua") do
    for _, case in ipairs(commands_of(path)) do
      it(path .. " does what it says: " .. case.shell, function()
        local line = case.shell:gsub("%f[%w]build/harness%-lua", '"$HARNESS_LUA"')
        line = line:gsub("'build/%?%.so'", ("'%s/?.so'"):format(BUILD))
        local result = command.run { program = "sh", "-c", line, env = { HARNESS_LUA = command.HARNESS_LUA } }
        assert.same({ 0, case.printed, "" }, { result.status, result.stdout, result.stderr })
      end)
    end
    it(path .. " begins with a command", function()
      assert.matches("\n%-%-     [bLH][^\n]+lua[^\n]*\n%-%-     %-%-> ", read(path))
    end)
  end

  it("of each file is listed in the README", function()
    local readme = read "examples/README.md"
    for _, path in ipairs(files "examples/*.lua examples/*.sh examples/*.c") do
      local name = path:match "[^/]+$"
      assert.truthy(readme:find(("| [%s](%s) |"):format(name, name), 1, true), name)
    end
  end)
end)

describe("the game", function()
  it("pumps an agent in its frame loop", function()
    local result = process.run { file = BUILD .. "/examples/game" }
    assert.equal(0, result.exit_code, result.stderr)
    assert.matches("^guard: Who goes there%?\n30 frames, %a+ of them late; longest pump %d+ us", result.stdout)
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
