-- harness-lua chat: a conversation on a terminal (through script(1)) and through a pipe.

local command = require "spec.support.command"

local CHAT <const> = [[
local harness = require "harness"
local s = harness.schema
local function answer(request)
  local last = request.messages[#request.messages]
  local text = last.content
  if last.role == "tool" then return { text = "the tool said " .. text } end
  if text == "slow" then return { chunks = { "thinking", " for ever" }, chunk_delay_ms = 3600000 } end
  if text == "tool" then return { tool_calls = { { name = "look", arguments = {} } } } end
  local payments = text:match "^pay (%d)$"
  if payments then
    local calls = {}
    for i = 1, tonumber(payments) do calls[i] = { name = "pay", arguments = { n = i } } end
    return { tool_calls = calls }
  end
  if text == "wait" then return { tool_calls = { { name = "dig", arguments = {} } } } end
  if text == "fail" then return { error = { status = 401, message = "wrong key" } } end
  if text == "count" then return { text = #request.messages .. " messages" } end
  if text == "evil" then return { text = "a\27[2Jb" } end
  return { chunks = { "You said: ", text }, chunk_delay_ms = 5 }
end
return harness.define {
  models = { fast = { provider = harness.providers.scripted(answer), model = "m" } },
  tools = {
    look = { description = "Looks.", input = s.object {}, run = function() print "printed" return "blue" end },
    pay = { description = "Pays.", input = s.object { n = s.integer() }, run = function(_, input)
      return "paid " .. input.n
    end },
    dig = { description = "Digs.", input = s.object {}, run = function() harness.sleep(2500) return "gold" end },
  },
  agents = {
    echo = { model = "fast", instructions = "x", tools = { "look", "dig", "pay" }, permissions = { pay = "ask" } },
    object = { model = "fast", instructions = "x", input = s.object { n = s.integer() } },
  },
}
]]

local CTRL_C <const>, CTRL_D <const>, UP <const> = "\3", "\4", "\27[A"

local place

setup(function() place = command.directory { ["chat.lua"] = CHAT } end)
teardown(function() place:close() end)

local function pipe(stdin)
  return command.run { "chat", "chat.lua", "echo", stdin = stdin, cwd = place.path, env = { HARNESS_LUA_HISTORY = "" } }
end

local function terminal(env)
  local child = command.start {
    "chat", "chat.lua", "echo", stdin = true, terminal = true, cwd = place.path,
    env = env or { HARNESS_LUA_HISTORY = "", TERM = "xterm" },
  }
  child:await "Talking to echo"
  child:await "echo> "
  return child
end

-- What is on the screen since the text; the answers come with the terminal's line ends.
local function shown(result)
  return (result.stdout:gsub("\r\n", "\n"):gsub("\r", ""))
end

describe("harness-lua chat through a pipe", function()
  it("answers each line, and writes the answers alone", function()
    local result = pipe "hello\ntool\n\n  \ncount\n"
    assert.same({ 0, "You said: hello\nthe tool said blue\n8 messages\n", "printed\n" },
      { result.status, result.stdout, result.stderr })
  end)

  it("takes a message of several lines, and one that begins with a slash", function()
    assert.equal("You said: one\ntwo\nYou said: /x\n", pipe("one\\\ntwo\n//x\n").stdout)
    assert.equal("You said: last\n", pipe("last").stdout)
    assert.equal("You said: grüße\n", pipe("grüße\n").stdout)
  end)

  it("goes on after a failure, which it tells in one line, and its status says so", function()
    local result = pipe "fail\nhello\n"
    assert.same({ 1, "You said: hello\n" }, { result.status, result.stdout })
    assert.matches("^MODEL_ERROR: [^\n]*401[^\n]*\n$", result.stderr)
  end)

  it("asks nobody: what needs consent is denied", function()
    assert.matches("^the tool said {[^\n]*nobody can be asked here", pipe("pay 1\n").stdout)
  end)

  it("has commands", function()
    local result = pipe "hello\n/history\n/clear\ncount\n/nonsense\n/clera\n/help\n/quit\nnever\n"
    assert.same({ 0, "You said: hello\n2 messages\n" }, { result.status, result.stdout })
    for _, text in ipairs { "user: hello", "assistant: You said: hello", "is forgotten",
      "there is no command /nonsense", 'did you mean "/clear"', "/quit      leave" } do
      assert.is_truthy(result.stderr:find(text, 1, true), text)
    end
  end)

  it("ends with Ctrl-C while it waits for a line", function()
    local child <close> = command.start { "chat", "chat.lua", "echo", stdin = true, cwd = place.path }
    child:write "hello\n"
    child:await "You said: hello\n"
    child:signal "INT"
    assert.equal(130, child:finish().status)
  end)

  it("tells of wrong arguments", function()
    for _, case in ipairs {
      { { "chat.lua" }, 2, "expected FILE AGENT" }, { { "chat.lua", "ecco" }, 2, 'did you mean "echo"' },
      { { "chat.lua", "object" }, 2, "takes no text" }, { { "nothing.lua", "echo" }, 1, "cannot open nothing.lua" },
      { { "chat.lua", "echo", "--sesion", "x" }, 2, "did you mean --session" },
      { { "chat.lua", "echo", "--session", "" }, 1, "a session id" },
    } do
      local options = { "chat", table.unpack(case[1]) }
      options.cwd = place.path
      local result = command.run(options)
      assert.equal(case[2], result.status)
      assert.is_truthy(result.stderr:find(case[3], 1, true), result.stderr)
      assert.equal("", result.stdout)
    end
    assert.matches("^usage: ", command.run({ "chat", "--help" }).stdout)
  end)

  it("is over when nobody reads its answers", function()
    local result = command.run {
      "chat", "chat.lua", "echo", stdin = "hello\n", redirect = "> /dev/full", cwd = place.path,
    }
    assert.equal(1, result.status)
    assert.matches("OUTPUT_ERROR", result.stderr)
  end)
end)

describe("harness-lua chat on a terminal", function()
  it("edits lines, streams answers, and leaves with Ctrl-D", function()
    local child <close> = terminal()
    child:write "hellp\127o\r" -- a backspace
    child:await "You said: hello"
    child:write "\1gr\195\188n \r" -- Ctrl-A on an empty line; a character of two bytes
    child:await "You said: grün"
    child:write(CTRL_D)
    assert.equal(0, child:finish().status)
  end)

  it("shows a tool, and for how long it runs while it does", function()
    local child <close> = terminal()
    child:write "wait\r"
    child:await "%[dig {}%]"
    child:await "%[dig … 1 s%]"
    child:await "%[dig … 2 s%]"
    child:await "%[dig done after 25%d%d ms%]"
    child:await "the tool said gold"
    child:write(CTRL_D)
    assert.equal(0, child:finish().status)
  end)

  it("asks before a tool runs whose permission says so", function()
    local child <close> = terminal()
    child:write "pay 1\r"
    child:await 'echo wants to run pay {"n":1}'
    child:await "a%(lways%) > "
    child:write "y\r"
    child:await "the tool said paid 1"
    child:write "pay 1\r"
    child:await "wants to run.*wants to run.*> "
    child:write "\r" -- no answer is none
    child:await "the tool said {[^\n]*PERMISSION_DENIED"
    child:write "pay 2\r" -- two at once: one after the other, and the second is allowed by then
    child:await "wants to run.*wants to run.*wants to run.*> "
    child:write "always\r"
    child:await "the tool said paid 2"
    child:write "pay 1\r"
    child:await "the tool said paid 2.*the tool said paid 1"
    child:write(CTRL_D)
    local result = child:finish()
    assert.equal(0, result.status)
    local _, questions = result.stdout:gsub("wants to run", "")
    assert.equal(3, questions)
  end)

  it("asks in `run`, too, and not where nobody sees it", function()
    local child <close> = command.start {
      "run", "chat.lua", "echo", "pay 1", stdin = true, terminal = true, cwd = place.path, env = { TERM = "xterm" },
    }
    child:await 'echo wants to run pay {"n":1}'
    child:await "a%(lways%) > "
    child:write "Yes\r"
    child:await "the tool said paid 1"
    assert.equal(0, child:finish().status)
    local unseen = command.run { "run", "chat.lua", "echo", "pay 1", cwd = place.path }
    assert.matches("nobody can be asked here", unseen.stdout)
  end)

  it("takes back a question with the answer that Ctrl-C stops", function()
    local child <close> = terminal()
    child:write "pay 1\r"
    child:await "a%(lways%) > "
    child:write(CTRL_C)
    child:await "%[stopped%]"
    child:write "hello\r"
    child:await "You said: hello"
    child:write(CTRL_D)
    assert.equal(0, child:finish().status)
  end)

  it("stops the answer with Ctrl-C, and not the program", function()
    local child <close> = terminal()
    child:write "slow\r"
    child:await "thinking"
    child:write(CTRL_C)
    child:await "%[stopped%]"
    child:write "hello\r"
    child:await "You said: hello"
    child:write "slow\r"
    child:await "thinking.*thinking"
    child:write(CTRL_C)
    child:await "%[stopped%].*%[stopped%]"
    child:write "/quit\r"
    assert.equal(0, child:finish().status)
  end)

  it("says at Ctrl-C at the prompt how to leave, and leaves at the second one", function()
    local child <close> = terminal()
    child:write "half a mess"
    child:await "half a mess"
    child:write(CTRL_C)
    child:await "/quit leaves%."
    child:write "whole\r"
    child:await "You said: whole.*echo> " -- before it, Ctrl-C stops an answer
    child:write(CTRL_C)
    child:await "/quit leaves.*/quit leaves"
    child:write(CTRL_C)
    assert.equal(130, child:finish().status)
  end)

  it("remembers messages, in this chat and the next", function()
    local env = { XDG_STATE_HOME = place.path, HARNESS_LUA_HISTORY = false, TERM = "xterm" }
    do
      local child <close> = terminal(env)
      child:write "first message\r"
      child:await "You said: first message"
      child:write(UP .. "\r")
      child:await "You said: first message.*You said: first message"
      child:write(CTRL_D)
      assert.equal(0, child:finish().status)
    end
    local listing = command.run { program = "stat", "-c", "%a", place.path .. "/harness-lua/history" }
    assert.equal("600\n", listing.stdout)
    local child <close> = terminal(env)
    child:write(UP .. "\r")
    child:await "You said: first message"
    child:write(CTRL_D)
    assert.equal(0, child:finish().status)
  end)

  it("tells of a failure and goes on; shows what would be a command of the terminal", function()
    local child <close> = terminal()
    child:write "fail\r"
    child:await "MODEL_ERROR: [^\n]*401"
    child:write "evil\r"
    child:await "a\\x1b%[2Jb"
    child:write(CTRL_D)
    local result = child:finish()
    assert.equal(0, result.status)
    assert.is_nil(shown(result):find("\27[2J", 1, true))
  end)
end)
