--- A sandbox session as a plain Lua table, as someone could write one: a tree of files in memory.
---
---     local sandbox = table_sandbox.session { ["/workspace/a.txt"] = "hi" }
---     sandbox.executor = "available"
---     sandbox.commands = function(command, options) return { stdout = "", stderr = "", exit_code = 0 } end
---     sandbox.close_ms = 100                     -- how long closing it takes
---     table_sandbox.new(sandbox):open {…}        -- the sandbox itself: every session is this one

local core = require "harness.core"
local errors = require "harness.errors"
local task = require "harness.task"

local M = {}

local Session = {}
Session.__index = Session

-- Every call lets others run, as one that waits for a disk does.
local function begin(self, name, path)
  self.calls[#self.calls + 1] = name .. " " .. path
  if task.current() then task.pause() end
  if path:sub(1, 1) ~= "/" then errors.raise("SANDBOX_ERROR", "relative path " .. path, { reason = "invalid_path" }) end
end

local function failed(message)
  errors.raise("SANDBOX_ERROR", message, { reason = "fs_failed" })
end

local function is_directory(self, path)
  if path == "/" then return true end
  for name in pairs(self.files) do
    if name:sub(1, #path + 1) == path .. "/" then return true end
  end
  return false
end

function Session:read(path)
  begin(self, "read", path)
  local data = self.files[path]
  if type(data) == "table" then failed(path .. " cannot be read") end
  return data or failed("there is no file " .. path)
end

local function check_change(self, path)
  for at in pairs(self.read_only) do
    if path:sub(1, #at + 1) == at .. "/" then failed(path .. " cannot be changed: it is in a read-only mount") end
  end
end

function Session:write(path, data)
  begin(self, "write", path)
  check_change(self, path)
  self.files[path] = data
end

function Session:remove(path)
  begin(self, "remove", path)
  check_change(self, path)
  self.files[path] = nil
end

function Session:exists(path)
  begin(self, "exists", path)
  return self.files[path] ~= nil or is_directory(self, path)
end

function Session:stat(path)
  begin(self, "stat", path)
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
      local parent = name:match "^(.+)/"
      while parent and #parent >= #base do
        found[parent] = { name = parent:match "[^/]+$", path = parent, kind = "directory" }
        parent = parent:match "^(.+)/"
      end
    end
  end
  return found, base
end

function Session:list(path, options)
  begin(self, "list", path)
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

-- Only `write` and `remove` mind a mount that is read-only.
function Session:mount(files, at, options)
  begin(self, "mount", at)
  for name, data in pairs(files) do self.files[at .. "/" .. name] = data end
  if options and options.read_only then self.read_only[at] = true end
end

function Session:exec(command, options)
  begin(self, "exec", "/" .. command)
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
  return setmetatable({ files = files or {}, sizes = {}, read_only = {}, calls = {}, executor = "unavailable" },
    Session)
end

--- A sandbox whose sessions are all this one.
function M.new(session)
  return { capabilities = { "sandbox.fs" }, open = function() return session end }
end

return M
