-- Random calls on the trees in memory and on the host, and on a plain Lua table, which must always agree: in
-- every answer, in the reason of every error, and in all that they hold, snapshots included.

local errors = require "harness.errors"
local harness = require "harness"
local host_tree = require "spec.support.host_tree"
local still = require "spec.support.still"
local table_sandbox = require "spec.support.table_sandbox"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local SOAK <const> = os.getenv "HARNESS_SOAK"
local STEPS <const> = math.max(100, (SOAK and 20000 or 600) // FACTOR)

-- Few names, so that they meet often, as files and as directories.
local NAMES <const> = { "a", "b", "a.b", "a-b", "B", "\u{e9}", "ab" }
local TOPS <const> = { "/workspace", "/workspace", "/notes", "/skills" }
local GLOBS <const> = { "*", "*a", "/workspace/*", "*/b", "?notes*", "/workspace/a/?", "*.b" }

local function pick(random, list) return list[random(#list)] end

local function path(random)
  local parts = { pick(random, TOPS) }
  for i = 1, random(3) do parts[i + 1] = pick(random, NAMES) end
  return table.concat(parts, "/") .. (random(10) == 1 and "/" or "")
end

local function data(random)
  return (pick(random, { "x", "\0", "longer text", "\xff" })):rep(random(0, 50))
end

local CALLS <const> = {
  write = function(random) return path(random), data(random) end,
  read = path,
  stat = path,
  exists = path,
  remove = function(random) return path(random), { recursive = random(2) == 1 } end,
  list = function(random)
    return pick(random, { "/", "/workspace", path(random) }),
      { recursive = random(2) == 1, glob = random(2) == 1 and pick(random, GLOBS) or nil }
  end,
  mount = function(random)
    local files = {}
    for i = 1, random(0, 3) do
      local below = i == 2 and "/" .. pick(random, NAMES) or ""
      files[pick(random, NAMES) .. below] = data(random)
    end
    return files, "/skills/" .. pick(random, NAMES), { read_only = random(2) == 1 }
  end,
}
local NAMES_OF_CALLS <const> = {
  "write", "write", "write", "write", "read", "stat", "exists", "remove", "remove", "list", "list", "mount",
}

-- What a call gives, in a form that can be compared.
local function outcome(session, name, ...)
  local ok, value = pcall(session[name], session, ...)
  if not ok then
    if not errors.is(value, "SANDBOX_ERROR") then error(value, 0) end
    return name == "mount" and "error" or "error " .. value.meta.reason -- of several mistakes one is named
  end
  if type(value) ~= "table" then return value end
  if name == "stat" then return { value.kind, value.size } end
  return value
end

local function everything(session)
  local all = {}
  for _, entry in ipairs(session:list("/", { recursive = true })) do
    all[entry.path] = entry.kind == "file" and session:read(entry.path)
  end
  return all
end

describe("a tree of files", function()
  local session
  after_each(function()
    session:close()
  end)
  still(before_each, after_each)
  local trees = host_tree.watch(after_each)

  local function compare(sandbox)
    local seed = tonumber(os.getenv "HARNESS_SPEC_SEED") or SOAK and os.time() or 7
    math.randomseed(seed)
    local random = math.random
    session = sandbox:open {}
    local model = table_sandbox.session()
    model:mount({}, "/workspace")
    session:mount({}, "/workspace")
    local snapshots = {}
    for i = 1, STEPS do
      model.calls = {}
      local name = pick(random, NAMES_OF_CALLS)
      local arguments = table.pack(CALLS[name](random))
      local where = ("seed %d, step %d, %s %s"):format(seed, i, name, tostring(arguments[1]))
      local expected = outcome(model, name, table.unpack(arguments, 1, arguments.n))
      assert.same(expected, outcome(session, name, table.unpack(arguments, 1, arguments.n)), where)
      if random(60) == 1 and #snapshots < 20 then
        snapshots[#snapshots + 1] = { model:snapshot(), session:snapshot() }
      elseif random(60) == 1 and #snapshots > 0 then
        local at = random(#snapshots)
        model:restore(snapshots[at][1])
        session:restore(snapshots[at][2])
        if random(3) == 1 then table.remove(snapshots, at) end
      end
      if i % 50 == 0 then assert.same(everything(model), everything(session), where) end
    end
  end

  it("in memory does what a table does", function() compare(harness.sandbox.memory()) end)

  it("on the host does what a table does", function()
    compare(harness.sandbox.directory { root = trees.new() })
  end)

  it("that is private does what a table does", function() compare(harness.sandbox.directory()) end)
end)
