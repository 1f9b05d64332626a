-- engine/folder.c through core.folder: what is in a directory of the host, without following links.
local core = require "harness.core"
local skills = require "spec.support.skills"

local folder = core.folder
local MANY <const> = 1 << 40

local function names(list)
  local all = {}
  for i, entry in ipairs(list) do all[i] = entry.name .. (entry.size and ":" .. entry.size or "") end
  return all
end

describe("a folder", function()
  local tree

  before_each(function()
    tree = skills.tree { ["b"] = "12", ["a/x"] = "", ["a/y/z"] = "123", ["a.b"] = "1", ["B"] = "12345" }
  end)
  after_each(function() tree:close() end)

  it("is listed one level deep, in byte order, with what each thing is", function()
    tree:run("ln", "-s", "b", "link")
    tree:run("ln", "-s", "nowhere", "dead")
    tree:run("mkfifo", "pipe")
    local shown = {}
    for i, entry in ipairs(folder.list(tree.path)) do
      shown[i] = ("%s %s %s"):format(entry.name, entry.kind, entry.size)
    end
    assert.same({ "B file 5", "a directory nil", "a.b file 1", "b file 2", "dead link nil", "link link nil",
      "pipe other nil" }, shown)
  end)

  it("is scanned for all regular files below it", function()
    tree:run("ln", "-s", "b", "link")
    tree:run("ln", "-s", "/etc", "a/etc")
    tree:run("mkfifo", "a/pipe")
    tree:run("mkdir", "empty")
    local list = folder.scan(tree.path, MANY, MANY)
    assert.same({ "B:5", "a.b:1", "a/x:0", "a/y/z:3", "b:2" }, names(list))
    assert.same({ 11, 2, 1 }, { list.bytes, list.links, list.others })
  end)

  it("is scanned within limits", function()
    assert.equal(5, #folder.scan(tree.path, 5, 11))
    assert.equal("LIMIT", select(2, folder.scan(tree.path, 4, MANY)))
    assert.equal("LIMIT", select(2, folder.scan(tree.path, MANY, 10)))
    assert.equal("LIMIT", select(2, folder.scan(tree.path, 0, 0)))
  end)

  it("is scanned by sizes: a huge file is not read", function()
    tree:run("truncate", "-s", "200G", "huge")
    assert.equal("LIMIT", select(2, folder.scan(tree.path, 10, 100000000)))
    assert.equal(200 << 30, folder.scan(tree.path, 10, MANY).bytes - 11)
  end)

  it("is not scanned deeper than 64 levels", function()
    local deep = ("d/"):rep(64)
    tree:write { [deep .. "x"] = "1" }
    assert.equal(6, #folder.scan(tree.path, MANY, MANY))
    tree:write { [deep .. "d/x"] = "1" }
    assert.equal("LIMIT", select(2, folder.scan(tree.path, MANY, MANY)))
  end)

  it("that is not there, or is none, is told", function()
    assert.equal("ENOENT", select(2, folder.list(tree.path .. "/none")))
    assert.equal("ENOTDIR", select(2, folder.list(tree.path .. "/b")))
    assert.equal("ENOENT", select(2, folder.scan(tree.path .. "/none", 1, 1)))
    assert.equal("ENOENT", select(2, folder.real(tree.path .. "/none")))
    assert.has_error(function() folder.list "a\0b" end)
  end)

  it("may be reached by links, and has one real path", function()
    tree:run("ln", "-s", "a", "link")
    assert.same({ "x:0", "y/z:3" }, names(folder.scan(tree.path .. "/link", MANY, MANY)))
    assert.equal(tree.path .. "/a", folder.real(tree.path .. "/link/../a/."))
  end)

  it("has names of any bytes", function()
    tree:write { ["a/\xFF\n'"] = "1" }
    assert.same({ "x:0", "y/z:3", "\xFF\n':1" }, names(folder.scan(tree.path .. "/a", MANY, MANY)))
    assert.equal("1", (folder.read(tree.path, "a/\xFF\n'", 0, 9)))
  end)
end)

describe("a file of a folder", function()
  local tree

  before_each(function() tree = skills.tree { ["a/y/z"] = "0123456789", ["a/empty"] = "", out = "secret" } end)
  after_each(function() tree:close() end)

  local function read(name, offset, most)
    return folder.read(tree.path .. "/a", name, offset or 0, most or 100)
  end

  it("is read in slices, with its whole size", function()
    assert.same({ "0123456789", 10 }, { read "y/z" })
    assert.same({ "234", 10 }, { read("y/z", 2, 3) })
    assert.same({ "89", 10 }, { read("y/z", 8, 100) })
    assert.same({ "", 10 }, { read("y/z", 10, 5) })
    assert.same({ "", 10 }, { read("y/z", 99, 5) })
    assert.same({ "", 10 }, { read("y/z", 0, 0) })
    assert.same({ "", 0 }, { read "empty" })
  end)

  for name, case in pairs {
    ["a link"] = { "link", "NOFILE" },
    ["a link on the way"] = { "up/out", "ENOTDIR" },
    ["a directory"] = { "y", "NOFILE" }, ["a fifo"] = { "pipe", "NOFILE" },
    ["followed by a slash"] = { "y/z/", "ENOTDIR" },
    ["the parent"] = { "../out", "EINVAL" }, ["the parent further in"] = { "y/../../out", "EINVAL" },
    ["a dot"] = { "./y/z", "EINVAL" }, ["an absolute path"] = { "/etc/passwd", "EINVAL" },
    ["no name"] = { "", "EINVAL" }, ["two slashes"] = { "y//z", "EINVAL" }, ["nothing there"] = { "none", "ENOENT" },
    ["a file on the way"] = { "y/z/q", "ENOTDIR" }, ["a name of 300 bytes"] = { ("n"):rep(300), "EINVAL" },
  } do
    it("is not " .. name, function()
      tree:run("ln", "-s", "../out", "a/link")
      tree:run("ln", "-s", "..", "a/up")
      tree:run("mkfifo", "a/pipe")
      local bytes, code = read(case[1])
      assert.same({ nil, case[2] }, { bytes, code })
    end)
  end
end)
