--- Sandbox contract: mounts.

local check = require "harness.testing.storage_check"

local equal, raises = check.equal, check.raises

local SKILL <const> = { ["SKILL.md"] = "# skill", ["scripts/run.sh"] = "echo", ["/lead.txt"] = "1" }

local function read_only(session, method, ...)
  raises("SANDBOX_ERROR", "read_only", session[method], session, ...)
end

---@param case fun(name: string, fn: fun(session: harness.SandboxSession))
return function(case)
  case("puts files below a directory", function(session)
    session:mount(SKILL, "/skills/pdf")
    equal("# skill", session:read "/skills/pdf/SKILL.md")
    equal("echo", session:read "/skills/pdf/scripts/run.sh")
    equal("1", session:read "/skills/pdf/lead.txt")
    session:write("/skills/pdf/SKILL.md", "2")
    session:mount({ ["SKILL.md"] = "3" }, "/skills/pdf/")
    equal({ "3", "echo" }, { session:read "/skills/pdf/SKILL.md", session:read "/skills/pdf/scripts/run.sh" })
  end)

  case("makes an empty one", function(session)
    session:mount({}, "/skills/none")
    equal({}, session:list "/skills/none")
    equal("directory", session:stat("/skills/none").kind)
  end)

  case("keeps read-only ones as they are", function(session)
    session:mount(SKILL, "/skills/pdf", { read_only = true })
    read_only(session, "write", "/skills/pdf/SKILL.md", "2")
    read_only(session, "write", "/skills/pdf/new.txt", "2")
    read_only(session, "write", "/skills/x/../pdf/new.txt", "2")
    read_only(session, "remove", "/skills/pdf/SKILL.md")
    read_only(session, "remove", "/skills/pdf", { recursive = true })
    read_only(session, "remove", "/skills", { recursive = true })
    equal("# skill", session:read "/skills/pdf/SKILL.md")
    equal(false, session:exists "/skills/pdf/new.txt")
    session:write("/skills/pdf2/new.txt", "1")
    session:write("/skills/note.txt", "1")
    session:remove("/skills/pdf2", { recursive = true })
    equal(4, #session:list("/skills/pdf", { recursive = true }))
  end)

  case("lets a read-only one be mounted anew", function(session)
    session:mount(SKILL, "/skills/pdf", { read_only = true })
    session:mount({ ["SKILL.md"] = "2" }, "/skills/pdf", { read_only = true })
    equal("2", session:read "/skills/pdf/SKILL.md")
    read_only(session, "write", "/skills/pdf/SKILL.md", "3")
  end)

  case("takes no file that would be elsewhere, and then none at all", function(session)
    for _, name in ipairs { "../b.txt", "a/../../b.txt", "", "/", ".", "..", "a\0b", ("n"):rep(300) } do
      local err = raises("SANDBOX_ERROR", "invalid_path", session.mount, session,
        { ["a.txt"] = "1", [name] = "2" }, "/skills/pdf")
      equal("SANDBOX_ERROR", err.code, name)
    end
    equal(false, session:exists "/skills/pdf/a.txt")
    equal(false, session:exists "/skills/b.txt")
    raises("SANDBOX_ERROR", "invalid_path", session.mount, session, {}, "skills")
  end)

  case("happens as a whole or not at all", function(session)
    session:write("/skills/pdf/d/file", "1")
    session:write("/skills/pdf/kept", "1")
    for _, files in ipairs {
      { kept = "2", new = "2", d = "2" },                -- a directory
      { kept = "2", new = "2", ["kept/below"] = "2" },   -- below a file of its own
      { kept = "2", ["d/file/below"] = "2" },            -- below one that is there
      { kept = "2", new = "2", ["./new"] = "3" },        -- twice
    } do
      raises("SANDBOX_ERROR", nil, session.mount, session, files, "/skills/pdf")
      equal({ "1", false }, { session:read "/skills/pdf/kept", session:exists "/skills/pdf/new" })
    end
  end)

  case("takes no place that is a file", function(session)
    session:write("/skills", "1")
    raises("SANDBOX_ERROR", "fs_failed", session.mount, session, SKILL, "/skills")
    raises("SANDBOX_ERROR", "fs_failed", session.mount, session, SKILL, "/skills/pdf")
    equal("1", session:read "/skills")
  end)
end
