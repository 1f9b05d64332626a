--- A sandbox session as a plain Lua table, as someone could write one: a tree of files in memory.
---
---     local sandbox = table_sandbox.session { ["/workspace/a.txt"] = "hi" }
---     sandbox.executor = "available"
---     sandbox.commands = function(command, options) return { stdout = "", stderr = "", exit_code = 0 } end
---     sandbox.close_ms = 100                     -- how long closing it takes
---     table_sandbox.new(sandbox):open {…}        -- the sandbox itself: every session is this one

local builtin_files = require "harness.builtin.files"
local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"

local M = {}

local Session = {}
Session.__index = Session

local Snapshot = {} -- the metatable of snapshots

local function failed(message, reason)
  errors.raise("SANDBOX_ERROR", message, { reason = reason or "fs_failed" })
end

local function checked(path)
  if path:sub(1, 1) ~= "/" then failed("relative path " .. path, "invalid_path") end
  if path:find("\0", 1, true) then failed("a path holds NUL", "invalid_path") end
  local normal = builtin_files.normalise(path)
  for name in normal:gmatch "[^/]+" do
    if #name > 255 then failed("a name is too long", "invalid_path") end
  end
  return normal
end

-- Every call lets others run, as one that waits for a disk does. Returns the normal path.
local function begin(self, name, path)
  self.calls[#self.calls + 1] = name .. " " .. path
  if task.current() then task.pause() end
  if self.closed then failed("the session is closed", "session_closed") end
  return name == "exec" and path or checked(path)
end

local function within(path, top)
  return path == top or top == "/" or path:sub(1, #top + 1) == top .. "/"
end

-- `/a/b` of `/a/b/c`; nil of what is in the root.
local function parent_of(path) return path:match "^(.+)/" end

local function is_directory(self, path)
  if path == "/" or self.directories[path] then return true end
  for name in pairs(self.files) do
    if name:sub(1, #path + 1) == path .. "/" then return true end
  end
  return false
end

local function make_directories(self, path)
  local made = {}
  while path do
    if self.files[path] then failed(path .. " is a file") end
    made[#made + 1] = path
    path = parent_of(path)
  end
  for _, directory in ipairs(made) do self.directories[directory] = true end
end

local function check_change(self, path, all_below)
  for top in pairs(self.read_only) do
    if within(path, top) or all_below and within(top, path) then failed(path .. " is read-only", "read_only") end
  end
end

function Session:read(path)
  path = begin(self, "read", path)
  local data = self.files[path]
  if type(data) == "table" then failed(path .. " cannot be read") end
  return data or failed("there is no file " .. path)
end

local function put(self, path, data)
  if is_directory(self, path) then failed(path .. " is a directory") end
  local above = parent_of(path)
  while above do
    if self.files[above] then failed(above .. " is a file") end
    above = parent_of(above)
  end
  make_directories(self, parent_of(path))
  self.files[path] = data
end

function Session:write(path, data)
  path = begin(self, "write", path)
  check_change(self, path)
  put(self, path, data)
end

function Session:remove(path, options)
  path = begin(self, "remove", path)
  check_change(self, path, true)
  for _, map in ipairs(options and options.recursive and {} or { self.files, self.directories }) do
    for name in pairs(map) do
      if name ~= path and within(name, path) then failed(path .. " is not empty") end
    end
  end
  for _, map in ipairs { self.files, self.directories } do
    for name in pairs(map) do
      if within(name, path) then map[name] = nil end
    end
  end
  if parent_of(path) and self.files[parent_of(path)] == nil and is_directory(self, parent_of(path)) then
    make_directories(self, parent_of(path))
  end
end

function Session:exists(path)
  path = begin(self, "exists", path)
  return self.files[path] ~= nil or is_directory(self, path)
end

function Session:stat(path)
  path = begin(self, "stat", path)
  local data = self.files[path]
  if data then return { kind = "file", size = self.sizes[path] or #data, modified_at = "2026-01-01T00:00:00.000Z" } end
  if is_directory(self, path) then return { kind = "directory", size = 0 } end
  failed("there is no " .. path)
end

-- All entries below a path: the files, and the directories that they are in.
local function below(self, path)
  local found, base = {}, path == "/" and "/" or path .. "/"
  for name, data in pairs(self.files) do
    if name:sub(1, #base) == base then
      found[name] = { name = name:match "[^/]+$", path = name, kind = "file", size = self.sizes[name] or #data }
      local parent = parent_of(name)
      while parent and #parent >= #base and not found[parent] do
        found[parent] = { name = parent:match "[^/]+$", path = parent, kind = "directory" }
        parent = parent_of(parent)
      end
    end
  end
  for name in pairs(self.directories) do
    if name:sub(1, #base) == base then
      found[name] = { name = name:match "[^/]+$", path = name, kind = "directory" }
    end
  end
  return found, base
end

function Session:list(path, options)
  path = begin(self, "list", path)
  local found, base = below(self, path)
  local glob = options and options.glob and core.glob.compile(options.glob)
  local list = {}
  for name, entry in pairs(found) do
    local deep = name:find("/", #base + 1, true)
    if (not deep or options and options.recursive) and (not glob or glob:match(name)) then list[#list + 1] = entry end
  end
  table.sort(list, function(a, b) return a.path < b.path end)
  return list
end

-- The files of a mount by their paths; all are checked before one is written.
local function mounted(self, files, at)
  local paths = {}
  for name, data in pairs(files) do
    local path = checked(at .. "/" .. name)
    if path == at or not within(path, at) then failed(name .. " is not below " .. at, "invalid_path") end
    if paths[path] then failed(path .. " is there twice", "invalid_path") end
    paths[path] = data
  end
  for path in pairs(paths) do
    if is_directory(self, path) then failed(path .. " is a directory") end
    local above = parent_of(path)
    while above do
      if self.files[above] then failed(above .. " is a file") end
      if paths[above] then failed(above .. " is to be a file", "invalid_path") end
      above = parent_of(above)
    end
  end
  return paths
end

function Session:mount(files, at, options)
  at = begin(self, "mount", at)
  local paths = mounted(self, files, at)
  make_directories(self, at)
  for path, data in pairs(paths) do put(self, path, data) end
  self.read_only[at] = options and options.read_only or nil
end

local function copy(map)
  local out = {}
  for key, value in pairs(map) do out[key] = value end
  return out
end

function Session:snapshot()
  begin(self, "snapshot", "/")
  return setmetatable({ copy(self.files), copy(self.directories), copy(self.read_only) }, Snapshot)
end

function Session:restore(snapshot)
  begin(self, "restore", "/")
  if getmetatable(snapshot) ~= Snapshot then
    errors.raise("VALIDATION_ERROR", "this is no snapshot", { where = "sandbox" })
  end
  self.files, self.directories, self.read_only = copy(snapshot[1]), copy(snapshot[2]), copy(snapshot[3])
end

function Session:exec(command, options)
  begin(self, "exec", "/" .. command)
  if self.executor ~= "available" then
    errors.raise("SANDBOX_NO_EXECUTOR", "this sandbox runs no commands", { session_id = "table" })
  end
  return self.commands(command, options)
end

function Session:close()
  self.closings = (self.closings or 0) + 1
  if self.close_ms then task.sleep(self.close_ms) end
  self.closed = true
end

--- A session with these files: path -> content.
---@param files? table<string, string>
function M.session(files)
  return setmetatable({
    files = files or {}, directories = {}, read_only = {}, sizes = {}, calls = {}, executor = "unavailable",
  }, Session)
end

--- A sandbox whose sessions are all this one.
function M.new(session)
  return { capabilities = { "sandbox.fs" }, open = function() return session end }
end

return M
