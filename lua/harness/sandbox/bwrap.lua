--- The command line of bubblewrap: what a command sees of the machine. One place, so that it can be read in
--- one sitting.
---
---     local args, fds, writable = bwrap.arguments { places, env, without, directories, first_fd }
---
--- The / of a command is a directory with nothing but places for mounts (jail_root.h), read-only. Over it are the
--- system's programs, read-only, and each name at the top of the session's tree by itself. So nobody inside can
--- change a name at the top, which is where the next command's mounts go.

local core = require "harness.core"

local M = {}

--- What stands between a command and the machine, by the names that `without` takes.
M.PROTECTIONS = {
  "capabilities", "devices", "environment", "hidden_jail", "hostname", "ipc", "landlock", "network", "pids",
  "private_root", "read_only_system", "run_as", "seccomp", "session",
}

M.INSIDE_ID = 1000 -- jail_root.h
M.MOST_FDS = 60 -- that M.arguments asks for; PROCESS_MORE_MAX of engine/process.h is a few more

-- The system's names in the tree: never bound from it.
local SYSTEM <const> = {
  bin = true, dev = true, etc = true, lib = true, lib32 = true, lib64 = true, libx32 = true, proc = true, run = true,
  sbin = true, sys = true, usr = true, var = true,
}
-- Those that are mounts where they are no links into /usr.
local LIBRARIES <const> = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" }
local SHM_BYTES <const> = 64 * 1024 * 1024

--- The directories of the host's /etc for which a root has places (jail_root.c).
---@param root string
---@return string[]
function M.public_of(root)
  local list = {}
  for _, name in ipairs(core.jail.entries(root .. "/etc")) do
    if name == "alternatives" or name == "fonts" or name:find "^java%-" then list[#list + 1] = name end
  end
  return list
end

--- Is it a name of the system, at the top of what commands see?
---@param name string
---@return boolean
function M.is_system_name(name) return SYSTEM[name] == true end

local Line = {}
Line.__index = Line

function Line:add(...)
  for i = 1, select("#", ...) do self[#self + 1] = (select(i, ...)) end
end

function Line:unless(protection, ...)
  if not self.without[protection] then self:add(...) end
end

-- Not --die-with-parent: killed in the midst of its beginning, bubblewrap leaves a child behind that waits for it
-- for ever. When the engine dies, the orders of harness-jail end, and with it all else.
local function namespaces(line)
  line:add("--unshare-user", "--unshare-cgroup-try", "--uid", tostring(M.INSIDE_ID), "--gid", tostring(M.INSIDE_ID))
  line:unless("ipc", "--unshare-ipc")
  line:unless("network", "--unshare-net")
  line:unless("hostname", "--unshare-uts", "--hostname", "sandbox")
  line:unless("pids", "--unshare-pid", "--as-pid-1")
  line:unless("session", "--new-session")
  line:add("--cap-drop", "ALL")
  if line.without.capabilities then line:add("--cap-add", "ALL") end
end

local function environment(line, env)
  line:unless("environment", "--clearenv")
  for _, name in ipairs(env.names) do line:add("--setenv", name, env.values[name]) end
end

-- The / of the command, and the system's programs.
local function system(line, root, etc, directories)
  local bind = line.without.read_only_system and "--bind" or "--ro-bind"
  if line.without.private_root then
    for _, name in ipairs(core.jail.entries "/") do
      if name ~= "proc" and name ~= "dev" then line:add("--ro-bind", "/" .. name, "/" .. name) end
    end
    for _, name in ipairs(LIBRARIES) do line:add("--symlink", "usr/" .. name, "/" .. name) end
  else
    line:add(bind, root, "/", bind, "/usr", "/usr")
    for _, name in ipairs(LIBRARIES) do
      if directories[name] then line:add(bind, "/" .. name, "/" .. name) end
    end
    for _, name in ipairs(etc) do line:add("--ro-bind-try", "/etc/" .. name, "/etc/" .. name) end
  end
  if line.without.pids then line:add("--ro-bind", "/proc", "/proc") else line:add("--proc", "/proc") end
  if line.without.devices then
    line:add("--dev-bind", "/dev", "/dev")
  else
    line:add("--dev", "/dev", "--size", tostring(SHM_BYTES), "--tmpfs", "/dev/shm")
    line:unless("read_only_system", "--remount-ro", "/dev") -- it is half of the machine's memory
  end
end

-- What of the tree is where: each of its top-level names. Commands may change them but for /skills and what is a
-- read-only mount itself.
local function areas(places)
  local list = {}
  for _, name in ipairs(places.entries) do
    local path = "/" .. name
    if not SYSTEM[name] and name ~= "workspace" then
      local read_only = name == "skills"
      for _, mount in ipairs(places.read_only) do read_only = read_only or mount == path end
      list[#list + 1] = { path = path, host = places.private .. path, read_only = read_only }
    end
  end
  list[#list + 1] = {
    path = "/workspace", host = places.workspace or places.private .. "/workspace", is_given = places.workspace ~= nil,
  }
  return list
end

-- What has to be a mount inside of what commands may change: read-only mounts (true), and the directories on the way
-- to them (false), which could be renamed otherwise, and others made in their place.
local function inner_mounts(places, area)
  local read_only, list = {}, {}
  for _, mount in ipairs(places.read_only) do
    if mount:sub(1, #area.path + 1) == area.path .. "/" then read_only[mount] = true end
  end
  local found = {}
  for mount in pairs(read_only) do
    local at = #area.path + 1
    repeat
      at = mount:find("/", at + 1, true) or #mount + 1
      local path = mount:sub(1, at - 1)
      if not found[path] then list[#list + 1] = path end
      found[path] = true
    until read_only[path]
  end
  table.sort(list) -- what is above comes first
  return list, read_only
end

-- Opens what is at a path of the host, where no link on the way is followed: a command that runs may have put one
-- there. Returns what bubblewrap is to bind, which then is that and nothing else.
local function opened(line, path, what)
  local fds = line.fds
  if #fds == M.MOST_FDS then return nil, "there are too many read-only mounts inside of what commands may change" end
  local file, why = core.jail.open(path)
  if not file then return nil, ("%s cannot be opened: %s"):format(what, why) end
  fds[#fds + 1] = file
  return ("/proc/self/fd/%d"):format(line.first_fd + #fds - 1)
end

local function nested(line, places, area)
  if line.without.read_only_system then return true end
  local list, read_only = inner_mounts(places, area)
  for _, path in ipairs(list) do
    local what = path .. " (a read-only mount, or on the way to one)"
    local source, why = opened(line, area.host .. path:sub(#area.path + 1), what)
    if not source then return nil, why end
    line:add(read_only[path] and "--ro-bind" or "--bind", source, path)
  end
  return true
end

-- One name at the top of the tree, and what is mounted inside of it.
local function bind(line, places, area)
  local source, why = area.host, nil
  if area.is_given then source, why = opened(line, area.host, "the root " .. area.host) end
  if not source then return nil, why end
  local is_open = not area.read_only or line.without.read_only_system
  line:add(is_open and "--bind" or "--ro-bind", source, area.path)
  if not is_open then return true end
  line.writable[#line.writable + 1] = area.path
  return nested(line, places, area)
end

---@class harness.JailPlaces
---@field root string the / of commands, on the host
---@field etc string[] directories of the host's /etc that are seen
---@field private string the private tree, on the host
---@field workspace? string the given root, on the host
---@field read_only string[] read-only mounts, paths of the tree
---@field entries string[] the top-level names of the private tree

---@class harness.BwrapOptions
---@field places harness.JailPlaces
---@field env { names: string[], values: table<string, string> }
---@field without table<string, true>
---@field directories table<string, true> top-level names of the system that are no links
---@field first_fd integer the number that the first of fds has in the child

--- Everything before the program: for --args, so that nothing of it shows in a list of processes.
---@param options harness.BwrapOptions
---@return string[]? arguments nil, why when a place cannot be used
---@return userdata[]|string fds descriptors that they name, to be inherited
---@return string[] writable paths that may be changed, for harness-jail
function M.arguments(options)
  local places, fds, writable = options.places, {}, { "/dev" }
  local line = setmetatable({
    without = options.without, fds = fds, first_fd = options.first_fd, writable = writable,
  }, Line)
  namespaces(line)
  environment(line, options.env)
  system(line, places.root, places.etc, options.directories)
  for _, area in ipairs(areas(places)) do
    local ok, why = bind(line, places, area)
    if not ok then return nil, why, {} end
  end
  line:add("--chdir", "/")
  return table.move(line, 1, #line, 1, {}), fds, writable
end

return M
