-- needs: user namespaces
-- Attempts to get out of bash{}: each is refused, and works when just the protection that it tests is switched
-- off; so a row that fails for another reason is no proof. As root, whose commands run as somebody else, and as
-- an unprivileged user.
local command = require "spec.support.command"
local core = require "harness.core"
local escapes = require "spec.support.escapes"
local json = require "harness.json"
local process = require "harness.process"

local FACTOR <const> = tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1
local NOBODY <const>, SOMEBODY <const> = 65534, 12345
local IS_ROOT <const> = core.jail.machine().uid == 0

local directories = {}

-- A directory of the host that commands may read, with the probe, and a root for them: not below /tmp or /home,
-- whose names are the tree's own.
local function make_directory(uid)
  local pipe = io.popen "mktemp -d /var/tmp/jail-spec-XXXXXX"
  local directory = pipe:read "l"
  pipe:close()
  directories[#directories + 1] = directory
  local probe = command.HARNESS_LUA:match "^(.*)/[^/]*$" .. "/spec/sandbox/probe"
  local script = ([[set -e; cd %s; chmod 755 .; mkdir root spec spec/support; cp %s probe; cp probe root/
    cp %s harness-lua; cp %s/spec/support/escapes.lua spec/support/; chmod -R a+rX spec
    echo secret > root/of_root; chmod 600 root/of_root]])
    :format(directory, probe, command.HARNESS_LUA, command.ROOT)
  if uid then script = script .. ("; chown %d . root"):format(uid) end
  assert(os.execute(script))
  return directory
end

-- The same in a process of an unprivileged user.
local function all_of_somebody()
  local directory = make_directory(SOMEBODY)
  local code = ('io.write(require("harness.json").encode(require("spec.support.escapes").all("%s")))'):format(directory)
  local ended = process.run {
    file = directory .. "/harness-lua", args = { "-e", code }, cwd = directory, uid = SOMEBODY, gid = SOMEBODY,
    env = {
      PATH = os.getenv "PATH", LUA_PATH = directory .. "/?.lua;;", TMPDIR = "/tmp",
      ASAN_OPTIONS = os.getenv "ASAN_OPTIONS", UBSAN_OPTIONS = os.getenv "UBSAN_OPTIONS",
    },
  }
  assert.equal(0, ended.exit_code, ended.stderr)
  return json.decode(ended.stdout)
end

local function all_of_us()
  return escapes.all(make_directory(IS_ROOT and NOBODY or nil), IS_ROOT and NOBODY or nil)
end

teardown(function()
  for _, directory in ipairs(directories) do os.execute("rm -rf " .. directory) end
end)

local function rows(all, as_root)
  local results
  for _, row in ipairs(escapes.rows) do
    if as_root or not row.only_root then
      it(("is refused when it %s (%s)"):format(row.name, row.protection), function()
        results = results or all()
        local result = results[row.name]
        assert.is_false(result.refused_worked, "it worked: " .. result.refused)
        assert.is_true(result.off_worked, "does not work without the protection either: " .. result.off)
      end)
    end
  end
end

describe("a command of an engine that " .. (IS_ROOT and "is root" or "is not root"), function()
  rows(all_of_us, IS_ROOT)
end)

if IS_ROOT and FACTOR == 1 then
  describe("a command of an engine that an unprivileged user runs", function()
    rows(all_of_somebody, false)
  end)
end

it("has enough attempts", function()
  assert.is_true(#escapes.rows >= 40)
end)
