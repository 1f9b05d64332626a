--- `echo hi` by bash under bubblewrap with the flags of bash{}, without harness-jail: where that is the first process
--- of the namespace (--as-pid-1), bubblewrap's own is. By itself a peer; exec.lua measures it in turns with ours.

local bwrap = require "harness.sandbox.bwrap"
local core = require "harness.core"
local measure = require "spec.bench.measure"
local process = require "harness.process"

local M = {}

--- A function that runs it in the tree of a session of bash{}, which has run a command before.
---@param session table
---@return fun() run
function M.of_session(session)
  assert(session:exec "true".exit_code == 0)
  local host, sandbox = session[1]:host(true), session.sandbox
  host.root, host.etc, host.entries = session.root, session.etc, core.jail.entries(host.private)
  local values = { PATH = "/usr/bin:/bin", HOME = "/home/user", LANG = "C.UTF-8", TERM = "dumb" }
  local front = assert(bwrap.arguments {
    places = host, env = { names = { "HOME", "LANG", "PATH", "TERM" }, values = values }, without = {},
    directories = sandbox.directories, first_fd = 3,
  })
  for i = #front, 1, -1 do
    if front[i] == "--as-pid-1" then table.remove(front, i) end
  end
  local args = table.move({ "--", "/usr/bin/bash", "-c", "echo hi" }, 1, 4, #front + 1, front)
  local user = sandbox.user.switched and sandbox.user or {}
  local function run()
    local ended = process.run { file = sandbox.bwrap, args = args, uid = user.uid, gid = user.gid, cwd = "/" }
    assert(ended.stdout == "hi\n", ended.stderr)
  end
  return run
end

if ... ~= "spec.bench.peers.bwrap" then
  local session = require("harness").sandbox.bash {}:open { session_id = "bench" }
  local run = M.of_session(session)
  measure.batches("exec", 20, function(n)
    for _ = 1, n do run() end
  end, 15)
  session:close()
end

return M
