-- engine/sse.c through core.sse.
local core = require "harness.core"
local errors = require "harness.errors"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1

local FIXTURES <const> = {
  "anthropic.disconnect-ms", "anthropic.longtool", "anthropic.reasoning", "anthropic.slow",
  "anthropic.text", "anthropic.tools", "anthropic.truncated", "mcp.1-initialize",
  "mcp.4-tools-call-progress", "mcp.5-unknown-tool", "openai-chat.disconnect-ms",
  "openai-chat.longtool", "openai-chat.reasoning", "openai-chat.slow", "openai-chat.text",
  "openai-chat.tools", "openai-chat.truncated", "openai-responses.disconnect-ms",
  "openai-responses.longtool", "openai-responses.reasoning", "openai-responses.slow",
  "openai-responses.text", "openai-responses.tools",
}

local function fixture(name)
  local file = assert(io.open("spec/fixtures/sse/" .. name .. ".txt", "rb"))
  local body = file:read "a"
  file:close()
  return body
end

-- The rules of the WHATWG once more, in the plainest way: whole text, one line after another.
local function reference(text)
  text = text:gsub("^\xef\xbb\xbf", ""):gsub("\r\n", "\n"):gsub("\r", "\n")
  local list, data, event, id = {}, nil, "", nil
  for line in text:gmatch "([^\n]*)\n" do
    if line == "" then
      if data then
        list[#list + 1] = { event = event ~= "" and event or "message", data = data:sub(1, -2), id = id }
      end
      data, event = nil, ""
    elseif line:sub(1, 1) ~= ":" then
      local field, value = line:match "^([^:]*):? ?(.*)$"
      if field == "data" then data = (data or "") .. value .. "\n" end
      if field == "event" then event = value end
      if field == "id" and not value:find("\0", 1, true) then id = value ~= "" and value or nil end
    end
  end
  return list
end

-- All events of a text that is fed in these pieces.
local function parse(...)
  local parser, list = core.sse.parser(), {}
  for _, piece in ipairs { ... } do
    for _, event in ipairs(parser:feed(piece)) do list[#list + 1] = event end
  end
  return list, parser
end

local function bytes_of(text)
  local pieces = {}
  for i = 1, #text do pieces[i] = text:sub(i, i) end
  return pieces
end

local function data_of(list)
  local all = {}
  for i, event in ipairs(list) do all[i] = event.data end
  return all
end

describe("sse", function()
  describe("recorded streams", function()
    for _, name in ipairs(FIXTURES) do
      it(name .. " gives the same events however it is cut", function()
        local body = fixture(name)
        local expected = reference(body)
        assert.is_true(#expected > 0)
        assert.same(expected, (parse(body)))
        assert.same(expected, (parse(table.unpack(bytes_of(body)))))
        for at = 1, #body - 1, FACTOR do
          local list = parse(body:sub(1, at), body:sub(at + 1))
          assert.equal(#expected, #list, "cut at " .. at)
          for i, event in ipairs(list) do
            local wanted = expected[i]
            if event.data ~= wanted.data or event.event ~= wanted.event or event.id ~= wanted.id then
              assert.same(wanted, event, "cut at " .. at)
            end
          end
        end
      end)
    end

    it("survive CR and CRLF as line ends too, cut anywhere", function()
      for _, eol in ipairs { "\r", "\r\n" } do
        local body = fixture("mcp.4-tools-call-progress"):gsub("\n", eol)
        local expected = reference(body)
        assert.is_true(#expected > 2)
        for at = 1, #body - 1 do assert.same(expected, (parse(body:sub(1, at), body:sub(at + 1)))) end
      end
    end)
  end)

  describe("examples of the standard", function()
    it("joins data lines with a newline", function()
      assert.same({ "YHOO\n+2\n10" }, data_of(parse "data: YHOO\ndata: +2\ndata: 10\n\n"))
    end)

    it("knows comments, ids, an id reset, and no more than one space after the colon", function()
      local list, parser = parse(": test stream\n\ndata: first event\nid: 1\n\n"
        .. "data:second event\nid\n\ndata:  third event\n\n")
      assert.same({
        { event = "message", data = "first event", id = "1" },
        { event = "message", data = "second event" },
        { event = "message", data = " third event" },
      }, list)
      assert.is_nil(parser:last_id())
    end)

    it("tells an event with empty data, and drops what has no blank line behind it", function()
      assert.same({ "", "\n" }, data_of(parse "data\n\ndata\ndata\n\ndata:"))
    end)

    it("takes a colon without a space like one with a space", function()
      assert.same({ "test", "test" }, data_of(parse "data:test\n\ndata: test\n\n"))
    end)
  end)

  describe("fields", function()
    it("name the event, only this one", function()
      assert.same({ { event = "add", data = "1" }, { event = "message", data = "2" } },
        (parse "event: add\ndata: 1\n\ndata: 2\n\n"))
    end)

    it("take the last name when there are several, and none when it is empty", function()
      assert.equal("b", parse("event: a\nevent: b\ndata: 1\n\n")[1].event)
      assert.equal("message", parse("event: a\nevent:\ndata: 1\n\n")[1].event)
    end)

    it("without data tell nothing, forget the name, keep the id", function()
      local list, parser = parse "event: ping\nid: 7\n\ndata: x\n\n"
      assert.same({ { event = "message", data = "x", id = "7" } }, list)
      assert.equal("7", parser:last_id())
    end)

    it("make an id valid only with the blank line", function()
      local _, parser = parse "id: 1\ndata: x\n\nid: 2\ndata: y\n"
      assert.equal("1", parser:last_id())
    end)

    it("ignore an id with NUL", function()
      assert.equal("1", parse("id: 1\ndata: x\n\nid: 2\0\ndata: y\n\n")[2].id)
    end)

    it("set the retry time from digits only", function()
      local _, parser = parse "retry: 500\n"
      assert.equal(500, parser:retry())
      for _, bad in ipairs { "retry: 1x\n", "retry:\n", "retry: -1\n", "retry: 1.5\n", "retry:  2\n" } do
        parser:feed(bad)
        assert.equal(500, parser:retry())
      end
      parser:feed "retry: 99999999999999999999999\n"
      assert.equal(math.maxinteger, parser:retry())
      assert.is_nil(core.sse.parser():retry())
    end)

    it("are case-sensitive, and unknown ones are ignored", function()
      assert.same({ "1" }, data_of(parse "Data: 0\nfoo: bar\ndata : 2\nda\ndata: 1\n\n"))
    end)

    it("may hold NUL, colons and bytes that are not UTF-8", function()
      assert.same({ "a\0b:c\xff" }, data_of(parse "data: a\0b:c\xff\n\n"))
    end)
  end)

  describe("byte order mark", function()
    it("is skipped at the very start, cut anywhere", function()
      local text = "\xef\xbb\xbfdata: 1\n\n"
      for at = 0, #text do assert.same({ "1" }, data_of(parse(text:sub(1, at), text:sub(at + 1)))) end
    end)

    it("is an ordinary character elsewhere, and half of one too", function()
      assert.same({ "1" }, data_of(parse "data: 1\n\n\xef\xbb\xbfdata: 2\n\n"))
      for _, head in ipairs { "\xef", "\xef\xbb", "\xef\xbb\xbf\xef\xbb\xbf" } do
        assert.same({ "2" }, data_of(parse(table.unpack(bytes_of(head .. "data: 1\ndata: 2\n\n")))))
      end
    end)
  end)

  describe("limits", function()
    local function limited(max, ...)
      local parser = core.sse.parser { max_event_bytes = max }
      local list
      for _, piece in ipairs { ... } do list = parser:feed(piece) end
      return list, parser
    end

    local function assert_too_large(fn, ...)
      local ok, err = pcall(fn, ...)
      assert.is_false(ok)
      assert.is_true(errors.is(err, "VALIDATION_ERROR"), tostring(err))
      assert.equal("event_too_large", err.meta.reason)
      assert.equal("sse", err.meta.where)
    end

    it("let data of just the limit pass, and refuse one byte more", function()
      assert.equal(10, #limited(10, "data: 1234567890\n\n")[1].data)
      assert.equal(10, #limited(10, "data: 12345\ndata: 7890\n\n")[1].data)
      assert_too_large(limited, 10, "data: 12345678901\n\n")
      assert_too_large(limited, 10, "data:12345678901\n\n")
      assert_too_large(limited, 10, "data: 12345\ndata: 67890\n\n")
    end)

    it("bound a line that never ends, a comment too", function()
      assert_too_large(limited, 1000, table.unpack(bytes_of("data: " .. ("x"):rep(1001))))
      assert_too_large(limited, 1000, ":" .. ("x"):rep(2000))
    end)

    it("bound every event by itself, not the stream", function()
      local parser = core.sse.parser { max_event_bytes = 100 }
      for _ = 1, 1000 do assert.equal(1, #parser:feed("data: " .. ("x"):rep(90) .. "\n\n")) end
    end)

    it("end the parser for good", function()
      local parser = core.sse.parser { max_event_bytes = 4 }
      assert_too_large(parser.feed, parser, "data: 12345\n\n")
      assert_too_large(parser.feed, parser, "data: 1\n\n")
    end)

    it("are 4 MiB unless said otherwise", function()
      local mib4 = ("x"):rep(4 << 20)
      assert.equal(4 << 20, #core.sse.parser():feed("data: " .. mib4 .. "\n\n")[1].data)
      local parser = core.sse.parser()
      assert_too_large(parser.feed, parser, "data: x" .. mib4 .. "\n\n")
    end)

    it("refuse what is not a positive number", function()
      for _, bad in ipairs { 0, -1, 1.5, "many" } do
        assert.has_error(function() core.sse.parser { max_event_bytes = bad } end)
      end
      assert.has_error(function() core.sse.parser(7) end)
    end)
  end)

  it("agrees with the reference on random streams in random pieces", function()
    math.randomseed(20261122)
    local atoms = { "data", "data: ", "data:x", "event: e", "id: ", "id: 4", "id", "retry: 3", ":", ": c",
      " ", "y", "\n", "\r", "\r\n", "\n\n", "\n\n", "\r\r", "\xef\xbb\xbf", "\0", "é" }
    for _ = 1, 20000 // FACTOR do
      local parts = {}
      for i = 1, math.random(1, 25) do parts[i] = atoms[math.random(#atoms)] end
      local text = table.concat(parts)
      local pieces, at = {}, 1
      while at <= #text do
        local step = math.random(1, 6)
        pieces[#pieces + 1] = text:sub(at, at + step - 1)
        at = at + step
      end
      assert.same(reference(text), (parse(table.unpack(pieces))), ("%q"):format(text))
    end
  end)

  it("takes strings only", function()
    local parser = core.sse.parser()
    assert.same({}, parser:feed "")
    assert.has_error(function() parser:feed() end)
    assert.has_error(function() parser:feed {} end)
    assert.has_error(function() parser.feed({}, "x") end)
  end)
end)
