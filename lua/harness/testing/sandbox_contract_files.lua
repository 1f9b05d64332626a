--- Sandbox contract: files, paths, the end of a session.

local check = require "harness.testing.storage_check"

local equal, raises = check.equal, check.raises

local function failed(session, method, ...)
  return raises("SANDBOX_ERROR", "fs_failed", session[method], session, ...)
end

-- Each method that takes a path, with what else it needs.
local WITH_PATH <const> = {
  { "read" }, { "write", "x" }, { "remove" }, { "list" }, { "stat" }, { "exists" },
}

---@param case fun(name: string, fn: fun(session: harness.SandboxSession, sandbox: harness.Sandbox))
return function(case)
  case("reads what was written", function(session)
    for _, data in ipairs { "hi\n", "", "\0\255\xc3\xa9\r\n", ("x"):rep(100000) } do
      session:write("/workspace/a", data)
      equal(data, session:read "/workspace/a")
      equal(#data, session:stat("/workspace/a").size)
    end
  end)

  case("makes the directories of what is written", function(session)
    session:write("/workspace/a/b/c.txt", "1")
    session:write("/beside/d.txt", "2")
    equal("directory", session:stat("/workspace/a/b").kind)
    equal(0, session:stat("/workspace/a").size)
    equal({ true, true, true, false }, {
      session:exists "/workspace/a/b/c.txt", session:exists "/beside", session:exists "/",
      session:exists "/workspace/b",
    })
    equal("2", session:read "/beside/d.txt")
  end)

  case("says of a file what it is", function(session)
    session:write("/workspace/a", "h\u{e9}llo")
    local stat = session:stat "/workspace/a"
    equal({ "file", 6 }, { stat.kind, stat.size })
    equal(true, stat.modified_at:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$" ~= nil, "modified_at")
  end)

  case("takes paths as POSIX has them", function(session)
    session:write("//workspace/./a//b/../c.txt/", "1")
    for _, path in ipairs {
      "/workspace/a/c.txt", "/workspace/a/c.txt/", "/../../workspace/a/./c.txt", "/x/../workspace//a/c.txt",
    } do
      equal("1", session:read(path), path)
    end
    equal(false, session:exists "/workspace/a/b")
    equal(true, session:exists "/..")
  end)

  case("keeps what is above the root in the tree", function(session)
    session:write("/../../outside.txt", "1")
    equal("1", session:read "/outside.txt")
  end)

  case("tells upper from lower case", function(session)
    session:write("/workspace/a", "1")
    equal(false, session:exists "/workspace/A")
  end)

  case("takes any bytes in a name", function(session)
    for i, name in ipairs { " ", "-rf", "a\nb", "\xff\xfe", "*", "[a]", "\u{65e5}", "a\\b", "...", ("n"):rep(255) } do
      local path = "/workspace/names/" .. name
      session:write(path, tostring(i))
      equal(tostring(i), session:read(path), name)
    end
    equal(10, #session:list "/workspace/names")
  end)

  case("refuses what is no path", function(session)
    local long = "/workspace/" .. ("x"):rep(10000)
    for _, call in ipairs(WITH_PATH) do
      local method = session[call[1]]
      for _, path in ipairs { "", "a", "a/b", "./a", "/workspace/a\0b", long } do
        raises("SANDBOX_ERROR", "invalid_path", method, session, path, call[2])
      end
    end
  end)

  case("cannot read what is no file", function(session)
    session:write("/workspace/d/a", "1")
    failed(session, "read", "/workspace/nothing")
    failed(session, "read", "/workspace/d")
    failed(session, "read", "/workspace/d/a/b")
    failed(session, "stat", "/workspace/nothing")
    failed(session, "stat", "/workspace/d/a/b")
    equal(false, session:exists "/workspace/d/a/b")
  end)

  case("a file is no directory, and the other way round", function(session)
    session:write("/workspace/d/a", "1")
    failed(session, "write", "/workspace/d", "2")
    failed(session, "write", "/workspace/d/a/b", "2")
    failed(session, "write", "/", "2")
    equal("1", session:read "/workspace/d/a")
    equal("directory", session:stat("/workspace/d").kind)
  end)

  case("removes files", function(session)
    session:write("/workspace/a", "1")
    session:remove "/workspace/a"
    equal(false, session:exists "/workspace/a")
    session:remove "/workspace/a"
    session:remove("/workspace/no/such/thing", { recursive = true })
  end)

  case("removes a directory that is not empty only when told to", function(session)
    session:write("/workspace/d/a/b", "1")
    session:write("/workspace/d2", "2")
    failed(session, "remove", "/workspace/d")
    equal("1", session:read "/workspace/d/a/b")
    session:remove("/workspace/d", { recursive = true })
    equal({ false, false }, { session:exists "/workspace/d", session:exists "/workspace/d/a/b" })
    equal("2", session:read "/workspace/d2")
  end)

  case("is a tree of its own", function(session, sandbox)
    local other = sandbox:open { session_id = "another", run_id = "contract" }
    session:write("/own/a", "1")
    local seen = other:exists "/own/a"
    other:close()
    equal(false, seen)
    equal("1", session:read "/own/a")
  end)

  case("runs no commands unless it says so", function(session)
    if session.executor == "available" then return end
    equal("unavailable", session.executor)
    raises("SANDBOX_NO_EXECUTOR", nil, function() session:exec "true" end)
  end)

  case("is over when it is closed", function(session)
    session:write("/workspace/a", "1")
    session:close()
    session:close()
    for _, call in ipairs(WITH_PATH) do
      raises("SANDBOX_ERROR", "session_closed", session[call[1]], session, "/workspace/a", call[2])
    end
  end)
end
