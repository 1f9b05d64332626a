-- Another process swaps what a path leads to for links out of the root, all the time, while files are read,
-- written, listed and removed: nothing of the outside is seen, and nothing of it changes.

local child = require "spec.support.child"
local harness = require "harness"
local host_tree = require "spec.support.host_tree"
local still = require "spec.support.still"

local SECONDS <const> = os.getenv "HARNESS_SOAK" == "full" and 10 or 0.05 -- of processor time, for each race
local SECRET <const> = "the secret"
local ENOUGH <const> = 100 -- times so long is waited for what has to be seen

-- Renames `real` and `evil` in turn to the name `x`. Ends by itself should whoever started it be killed.
local SWAPPER <const> = [[
  local real, evil, x = table.unpack(arg)
  local rename = os.rename
  io.stdout:write "ready\n" io.stdout:flush()
  repeat
    for _ = 1, 1000 do
      rename(real, x) rename(x, real)
      rename(evil, x) rename(x, evil)
    end
  until os.clock() > 1200
]]

describe("a race between a check and its use", function()
  local session
  after_each(function() session:close() end)
  still(before_each, after_each)
  local trees = host_tree.watch(after_each)
  local sh = trees.sh

  -- Calls `fn` for some time, and until all of these outcomes were seen, on a root where `x` is now this and now
  -- that. Returns how often each outcome was.
  local function race(commands, fn, ...)
    local out = trees.new { ("printf %%s %q > secret"):format(SECRET), "mkdir d", "echo 1 > d/f" }
    local root = trees.new()
    for _, command in ipairs(commands) do sh(root, (command:gsub("OUT", out))) end
    local script = trees.new() .. "/swap.lua"
    local file = assert(io.open(script, "w"))
    file:write(SWAPPER)
    file:close()
    local swapper <close> = child.start {
      os.getenv "HARNESS_LUA", script, root .. "/real", root .. "/evil", root .. "/x", ready = "(ready)\n",
    }
    session = harness.sandbox.directory { root = root }:open {}
    local counts, started, wanted = {}, os.clock(), { ... }
    local function is_over()
      local passed = os.clock() - started
      for _, outcome in ipairs(wanted) do
        if not counts[outcome] then return passed > ENOUGH * SECONDS end
      end
      return passed > SECONDS
    end
    repeat
      for _ = 1, 100 do
        local ok, value = pcall(fn, session, root)
        local what = ok and tostring(value) or value.meta and value.meta.error or tostring(value)
        counts[what] = (counts[what] or 0) + 1
      end
    until is_over()
    swapper:close()
    assert.equal(SECRET, sh(out, "cat secret"))
    assert.equal("d d/f secret", sh(out, "find . -mindepth 1 -printf '%P\n' | sort | xargs"))
    return counts
  end

  -- The race is real: somebody who just opens the path does see the secret.
  local function is_real(commands, path)
    local seen = race(commands, function(_, root)
      local file <close> = io.open(root .. path)
      return file and file:read "a"
    end, SECRET)
    assert.is_truthy(seen[SECRET])
    session:close()
  end

  local FILE <const> = { "echo inside > real", "ln -s OUT/secret evil" }
  local DIRECTORY <const> = { "mkdir real", "echo inside > real/secret", "ln -s OUT evil" }

  it("shows nothing of the outside to who reads", function()
    is_real(FILE, "/x")
    local seen = race(FILE, function(s) return s:read "/workspace/x" end, "inside\n", "EXDEV")
    assert.is_nil(seen[SECRET])
    assert.is_truthy(seen["inside\n"])
    assert.is_truthy(seen.EXDEV)
  end)

  it("shows nothing of the outside to who reads below", function()
    is_real(DIRECTORY, "/x/secret")
    local seen = race(DIRECTORY, function(s) return s:read "/workspace/x/secret" end, "inside\n", "EXDEV")
    assert.is_nil(seen[SECRET])
    assert.is_truthy(seen["inside\n"])
    assert.is_truthy(seen.EXDEV)
  end)

  it("does not let who writes out", function()
    race(FILE, function(s) s:write("/workspace/x", "inside\n") end)
    session:close()
    race(DIRECTORY, function(s) s:write("/workspace/x/secret", "changed") end)
    session:close()
    race(DIRECTORY, function(s) s:write("/workspace/x/new/deep", "1") end)
  end)

  it("does not let who removes out", function()
    race(DIRECTORY, function(s)
      s:remove("/workspace/x/d", { recursive = true })
      s:remove("/workspace/x/secret")
    end)
  end)

  it("shows nothing of the outside to who lists", function()
    local seen = race(DIRECTORY, function(s)
      local list = s:list("/workspace", { recursive = true })
      for _, entry in ipairs(list) do
        if entry.path:find "/d" then return "outside " .. entry.path end
      end
      return "inside"
    end)
    assert.same({ "inside" }, { next(seen) and (next(seen)) })
    local direct = race(DIRECTORY, function(s) return #s:list "/workspace/x" end)
    session:close()
    direct["0"], direct["1"] = nil, nil
    assert.is_nil((next(direct)))
  end)
end)
