--- Sandbox contract: snapshots.

local check = require "harness.testing.storage_check"

local equal, raises = check.equal, check.raises

-- The whole tree: path -> content, or false for a directory.
local function all(session)
  local tree = {}
  for _, entry in ipairs(session:list("/", { recursive = true })) do
    tree[entry.path] = entry.kind == "file" and session:read(entry.path)
  end
  return tree
end

---@param case fun(name: string, fn: fun(session: harness.SandboxSession))
return function(case)
  case("bring back what was changed, removed and added", function(session)
    session:write("/workspace/kept", "1")
    session:write("/workspace/changed", "1")
    session:write("/workspace/d/removed", "1")
    session:write("/beside", "1")
    local before, snapshot = all(session), session:snapshot()
    session:write("/workspace/changed", "2")
    session:write("/beside", "longer")
    session:write("/workspace/new/a", "2")
    session:remove("/workspace/d", { recursive = true })
    session:write("/workspace/d", "a file now")
    session:restore(snapshot)
    equal(before, all(session))
  end)

  case("stay as they are", function(session)
    session:write("/workspace/a", "1")
    local first = session:snapshot()
    session:write("/workspace/a", "2")
    local second = session:snapshot()
    session:write("/workspace/a", "3")
    session:restore(first)
    equal("1", session:read "/workspace/a")
    session:write("/workspace/a", "4")
    session:restore(second)
    equal("2", session:read "/workspace/a")
    session:restore(first)
    session:restore(first)
    equal("1", session:read "/workspace/a")
  end)

  case("know the mounts that are read-only", function(session)
    session:mount({ ["a.txt"] = "1" }, "/skills/s", { read_only = true })
    local snapshot = session:snapshot()
    session:mount({ ["a.txt"] = "2" }, "/skills/s")
    session:write("/skills/s/a.txt", "3")
    session:restore(snapshot)
    equal("1", session:read "/skills/s/a.txt")
    raises("SANDBOX_ERROR", "read_only", session.write, session, "/skills/s/a.txt", "4")
  end)

  case("are taken and put back only while the session is open", function(session)
    local snapshot = session:snapshot()
    session:close()
    raises("SANDBOX_ERROR", "session_closed", session.snapshot, session)
    raises("SANDBOX_ERROR", "session_closed", session.restore, session, snapshot)
  end)

  case("are not taken for something else", function(session)
    session:write("/workspace/a", "1")
    for _, value in ipairs { 1, "x", {}, false } do
      raises("VALIDATION_ERROR", nil, session.restore, session, value)
    end
    equal("1", session:read "/workspace/a")
  end)
end
