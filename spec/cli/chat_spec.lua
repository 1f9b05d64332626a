-- harness-lua chat: a conversation on a terminal (through script(1)) and through a pipe.

local command = require "spec.support.command"
local process = require "harness.process"
local servers = require "spec.support.server"

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
  if text == "where" then return { tool_calls = { { name = "where", arguments = {} } } } end
  if text == "count" then return { text = #request.messages .. " messages" } end
  if text == "evil" then return { text = "a\27[2Jb" } end
  return { chunks = { "You said: ", text }, chunk_delay_ms = 5 }
end
return harness.define {
  models = { fast = { provider = harness.providers.scripted(answer), model = "m" },
    real = { provider = harness.providers.openai { base_url = "http://127.0.0.1:1/v1", api_key = "k" }, model = "m" } },
  tools = {
    look = { description = "Looks.", input = s.object {}, run = function() print "printed" return "blue" end },
    pay = { description = "Pays.", input = s.object { n = s.integer() }, run = function(_, input)
      return "paid " .. input.n
    end },
    where = { description = "Names the terminal.", input = s.object {}, run = function()
      return io.popen("readlink /proc/self/fd/0; echo $PPID"):read "a"
    end },
    dig = { description = "Digs.", input = s.object {}, run = function() harness.sleep(2500) return "gold" end },
  },
  agents = {
    echo = {
      model = "fast", instructions = "x", tools = { "look", "dig", "pay", "where" }, permissions = { pay = "ask" },
    },
    real = { model = "real", instructions = "x" },
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

-- Sends a line, and waits for the answer and the prompt after it.
local function say(child, line, answer)
  child:write(line .. "\r")
  child:await(answer .. ".*echo> ")
end

-- Which terminal the chat runs on, and the chat's process.
local function where(child)
  say(child, "where", "the tool said")
  return child.stdout:match "the tool said (/dev/pts/%d+)%s+(%d+)"
end

local function sh(script)
  local result = process.run { file = "sh", args = { "-c", script } }
  assert.equal(0, result.exit_code, script .. "\n" .. result.stderr)
  return result.stdout
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

  it("goes on after a server that is not there", function()
    local result = command.run { "chat", "chat.lua", "real", stdin = "one\ntwo\n", cwd = place.path }
    assert.same({ 1, "" }, { result.status, result.stdout })
    local line = "MODEL_ERROR: cannot reach 127%.0%.0%.1:1[^\n]*\n"
    assert.matches("^" .. line .. line .. "$", result.stderr)
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
    local help = command.run({ "chat", "--help" }).stdout
    assert.matches("^usage: ", help)
    for _, text in ipairs { "--session ID", "/clear", "/quit", "HARNESS_LUA_HISTORY" } do
      assert.is_truthy(help:find(text, 1, true), text)
    end
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
    child:await "%[dig done after %d+ ms%]"
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
    child:await "the tool said {[^\n]*PERMISSION_DENIED.*echo> "
    child:write "pay 1\r"
    child:await "wants to run.*wants to run.*wants to run.*> "
    child:write(CTRL_D) -- this neither, and the chat goes on
    child:await "PERMISSION_DENIED.*the tool said {[^\n]*PERMISSION_DENIED"
    child:write "pay 2\r" -- two at once: one after the other, and the second is allowed by then
    child:await "wants to run.*wants to run.*wants to run.*wants to run.*> "
    child:write "always\r"
    child:await "the tool said paid 2"
    child:write "pay 1\r"
    child:await "the tool said paid 2.*the tool said paid 1"
    child:write(CTRL_D)
    local result = child:finish()
    assert.equal(0, result.status)
    local _, questions = result.stdout:gsub("wants to run", "")
    assert.equal(4, questions)
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
    say(child, "whole", "You said: whole")
    child:write(CTRL_C)
    child:await "/quit leaves.*/quit leaves.*echo> "
    child:write(CTRL_C)
    assert.equal(130, child:finish().status)
  end)

  for name, status in pairs { TERM = 143, HUP = 129 } do
    it("leaves with SIG" .. name .. ", at the prompt and in an answer", function()
      for _, line in ipairs { "half", "slow\r" } do
        local child <close> = terminal()
        local _, pid = where(child)
        child:write(line)
        child:await(line == "half" and "half" or "thinking")
        sh(("kill -%s %s"):format(name, pid))
        local result = child:finish()
        assert.equal(status, result.status)
        if line ~= "half" then assert.matches("%[stopped%]", result.stdout) end
      end
    end)
  end

  it("leaves a terminal that works, also when it has to leave at once", function()
    place:write("spins.lua", [[
      local harness = require "harness"
      harness.spawn(function()
        harness.sleep(1)
        while true do pcall(function() io.stderr:write "busy\n" while true do end end) end
      end)
      return dofile "chat.lua"]])
    local child <close> = command.start {
      "chat", "spins.lua", "echo", stdin = true, terminal = true, cwd = place.path, redirect = "; echo $?; stty -a",
      env = { HARNESS_LUA_HISTORY = "", TERM = "xterm" },
    }
    child:await "echo> .*busy"
    child:write(CTRL_C)
    child:await "echo> .*busy.*busy"
    child:write(CTRL_C)
    local result = child:finish()
    assert.matches("\n130\r?\n.* icanon.* echo ", result.stdout)
  end)

  it("ends when its terminal goes, also where SIGHUP is ignored", function()
    local child <close> = command.start {
      program = "sh", "-c",
      ("trap '' HUP; '%s' chat chat.lua echo 2>said; echo $? >status"):format(command.HARNESS_LUA), stdin = true,
      terminal = true, cwd = place.path, env = { HARNESS_LUA_HISTORY = "", TERM = "xterm" },
    }
    child:await "echo> "
    child:signal "KILL" -- script(1), and with it the other end of the terminal
    sh(("cd %s; timeout 30 sh -c 'until [ -s status ]; do sleep 0.02; done'"):format(place.path))
    assert.equal("1\n", sh(("cat %s/status"):format(place.path)))
    assert.matches("OUTPUT_ERROR: [^\n]*\n$", sh(("cat %s/said"):format(place.path)))
  end)

  it("takes a window of another size, and goes on after Ctrl-Z", function()
    local child <close> = terminal()
    local tty, pid = where(child)
    local longer = ("x"):rep(30)
    child:write(longer)
    child:await(longer)
    sh(("stty -F %s rows 24 cols 20"):format(tty))
    child:await "echo> x.*echo> x"
    local seen = #child.stdout
    child:write "\1y" -- Ctrl-A: two lines up
    child:await "echo> x.*echo> x.*y"
    assert.is_truthy(child.stdout:find("\27[A", seen, true), "it does not know of the other lines")
    sh(("stty -F %s sane && kill -CONT %s"):format(tty, pid)) -- as a shell leaves it
    child:await "echo> x.*echo> x.*echo> yx"
    assert.matches("%-icanon", sh(("stty -F %s -a"):format(tty)))
    say(child, "", "You said: yx+") -- the Enter alone
    child:write(CTRL_D)
    assert.equal(0, child:finish().status)
  end)

  it("does without libedit", function()
    local directory <close> = command.directory()
    local env = { TERM = "xterm" }
    for _, setting in ipairs(servers.preload(directory.path, "no_libraries")) do
      local name, value = setting:match "^([^=]+)=(.*)$"
      env[name] = value
    end
    local child <close> = terminal(env)
    assert.matches("lines cannot be edited: libedit is not installed", child.stdout)
    child:write "one\\\r"
    child:await "%.%.%. "
    say(child, "two", "You said: one\r?\ntwo")
    child:write(CTRL_C)
    assert.equal(130, child:finish().status)
  end)

  it("takes what is typed or pasted ahead", function()
    local child <close> = terminal()
    child:write "one\rtwo\rthree\\\rfour\r"
    child:await "You said: one.*You said: two.*You said: three\r?\nfour"
    child:write(CTRL_D)
    assert.equal(0, child:finish().status)
  end)

  describe("remembers", function()
    local env, file

    before_each(function()
      sh(("rm -rf %s/harness-lua"):format(place.path))
      env = { XDG_STATE_HOME = place.path, HARNESS_LUA_HISTORY = false, TERM = "xterm" }
      file = place.path .. "/harness-lua/history"
    end)

    local function content()
      local handle <close> = assert(io.open(file))
      return handle:read "a"
    end

    local function leave(child)
      child:write(CTRL_D)
      local result = child:finish()
      assert.equal(0, result.status)
      return result
    end

    it("messages, in this chat and the next", function()
      do
        local child <close> = terminal(env)
        say(child, "first message", "You said: first message")
        say(child, UP, "You said: first message.*You said: first message")
        say(child, "gr\195\188n\\\rzwei", "You said: grün\r?\nzwei")
        leave(child)
      end
      assert.equal("first message\ngrün\\\nzwei\n", content())
      assert.equal("600\n", sh("stat -c %a " .. file))
      local child <close> = terminal(env)
      say(child, UP .. UP .. UP, "You said: first message")
      leave(child)
    end)

    it("messages of chats that run at the same time", function()
      local one <close> = terminal(env)
      local other <close> = terminal(env)
      say(one, "in one", "You said: in one")
      say(other, "in the other", "You said: in the other")
      say(one, "in one again", "You said: in one again")
      leave(one)
      leave(other)
      assert.equal("in one\nin the other\nin one again\n", content())
    end)

    it("no more than a thousand, and what is no text not at all", function()
      local lines = {}
      for i = 1, 1500 do lines[i] = "line " .. i end
      lines[1500] = "not \xff text"
      sh(("mkdir %s/harness-lua"):format(place.path))
      place:write("harness-lua/history", table.concat(lines, "\n") .. "\n")
      local child <close> = terminal(env)
      say(child, UP, "You said: line 1499")
      leave(child)
      local kept = content()
      assert.equal(1001, select(2, kept:gsub("\n", "")))
      assert.matches("^line 501\n", kept)
      assert.equal("600\n", sh("stat -c %a " .. file))
    end)

    it("nothing where nothing can be kept, and says so once", function()
      env.HARNESS_LUA_HISTORY = place.path .. "/none/history"
      local child <close> = terminal(env)
      say(child, "one", "the history cannot be kept in .*You said: one")
      say(child, "two", "You said: two")
      say(child, UP .. UP, "You said: one.*You said: one") -- but in this chat
      local result = leave(child)
      assert.equal(1, select(2, result.stdout:gsub("cannot be kept", "")))
    end)
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
