--- Sandbox contract: lists.

local check = require "harness.testing.storage_check"

local equal = check.equal

local function paths(list)
  local out = {}
  for i, entry in ipairs(list) do out[i] = entry.path end
  return out
end

---@param case fun(name: string, fn: fun(session: harness.SandboxSession))
return function(case)
  case("lists what is in a directory", function(session)
    session:write("/workspace/d/a.txt", "123")
    session:write("/workspace/d/sub/b.txt", "1")
    equal({
      { name = "a.txt", path = "/workspace/d/a.txt", kind = "file", size = 3 },
      { name = "sub", path = "/workspace/d/sub", kind = "directory" },
    }, session:list "/workspace/d")
    equal(session:list "/workspace/d", session:list("/workspace/d/", {}))
  end)

  case("lists all that is below", function(session)
    session:write("/workspace/d/a.txt", "123")
    session:write("/workspace/d/sub/deep/b.txt", "1")
    equal({ "/workspace/d/a.txt", "/workspace/d/sub", "/workspace/d/sub/deep", "/workspace/d/sub/deep/b.txt" },
      paths(session:list("/workspace/d", { recursive = true })))
  end)

  case("lists by the bytes of the paths", function(session)
    for _, name in ipairs { "b", "a/x", "a.txt", "a-b", "B", "\xc3\xa9", "a0", "Z" } do
      session:write("/workspace/d/" .. name, "")
    end
    local found = paths(session:list("/workspace/d", { recursive = true }))
    local sorted = table.move(found, 1, #found, 1, {})
    table.sort(sorted)
    equal(9, #found)
    equal(sorted, found)
    equal("/workspace/d/a-b", found[4])
  end)

  case("lists nothing of what is no directory", function(session)
    session:write("/workspace/a", "1")
    equal({}, session:list "/workspace/nothing")
    equal({}, session:list("/workspace/nothing", { recursive = true }))
    equal({}, session:list "/workspace/a")
    equal({}, session:list "/workspace/a/b")
  end)

  case("lists the root", function(session)
    session:write("/first", "1")
    session:write("/workspace/a", "2")
    local found = {}
    for _, path in ipairs(paths(session:list("/", { recursive = true }))) do found[path] = true end
    equal({ true, true, true }, { found["/first"], found["/workspace"], found["/workspace/a"] })
    equal(nil, found["/"])
  end)

  case("globs over whole paths", function(session)
    for _, name in ipairs { "a.ts", "a.tsx", "sub/b.ts", "x[1].ts", "\u{e9}.md" } do
      session:write("/workspace/" .. name, "")
    end
    local function glob(pattern, root)
      return paths(session:list(root or "/workspace", { recursive = true, glob = pattern }))
    end
    equal({ "/workspace/a.ts", "/workspace/sub/b.ts", "/workspace/x[1].ts" }, glob "*.ts")
    equal({ "/workspace/a.ts", "/workspace/sub/b.ts", "/workspace/x[1].ts" }, glob("**/*.ts", "/"))
    equal({}, glob "a.ts")
    equal({ "/workspace/sub", "/workspace/sub/b.ts" }, glob "/workspace/sub*")
    equal({ "/workspace/x[1].ts" }, glob "*[1].ts")
    equal({}, glob "*.{ts,md}")
    equal({ "/workspace/\u{e9}.md" }, glob "/workspace/?.md")
    equal({}, glob "/workspace/+(")
  end)

  case("globs what is in a directory itself, too", function(session)
    session:write("/workspace/a.ts", "")
    session:write("/workspace/sub/b.ts", "")
    equal({ "/workspace/a.ts" }, paths(session:list("/workspace", { glob = "*.ts" })))
  end)

  case("lists many files", function(session)
    for i = 1, 500 do session:write(("/workspace/many/%d/%d.txt"):format(i % 20, i), "x") end
    equal(520, #session:list("/workspace/many", { recursive = true }))
    equal(20, #session:list "/workspace/many")
    session:remove("/workspace/many", { recursive = true })
    equal(false, session:exists "/workspace/many")
  end)
end
