--- A session of one of our sandboxes: a tree of files (sandbox/files.h) with the methods of the port.
---
---     local session = sessions.new(core.sandbox.memory(1 << 20), request)
---     session:write("/notes/a.txt", "hi")
---     session:list("/", { recursive = true, glob = "*.txt" })  --> { { name, path, kind, size } }
---     session:mount({ ["SKILL.md"] = text }, "/skills/pdf", { read_only = true })
---     local before = session:snapshot()
---     session:restore(before)
---     session:close()
---
--- session[1] is the tree. A sandbox that runs commands makes a class of its own from `Session`, with executor,
--- exec, spawn and close.

local core = require "harness.core"
local errors = require "harness.errors"

local M = {}

---@class harness.SandboxEntry
---@field name string
---@field path string absolute
---@field kind "file"|"directory"|"other" other: a special file of the host, or a link that leads nowhere
---@field size? integer of a file

---@class harness.SandboxStat
---@field kind "file"|"directory"|"other"
---@field size integer 0 unless a file
---@field modified_at string ISO 8601

---@class harness.SandboxSession
---@field executor "available"|"unavailable" does it run commands?
---@field read fun(self, path: string): string
---@field write fun(self, path: string, data: string) its directories are made
---@field remove fun(self, path: string, options?: { recursive?: boolean }) also of what is not there
---@field list fun(self, path: string, options?: harness.SandboxList): harness.SandboxEntry[] in byte order
---@field stat fun(self, path: string): harness.SandboxStat
---@field exists fun(self, path: string): boolean
---@field mount fun(self, files: table<string, string>, at: string, options?: { read_only?: boolean })
---@field snapshot fun(self): any
---@field restore fun(self, snapshot: any)
local Session = {}
Session.__index = Session
for name, call in pairs(core.sandbox.calls) do Session[name] = call end
M.Session = Session

---@class harness.SandboxList
---@field recursive? boolean all that is below, not only what is in the directory itself
---@field glob? string for the whole absolute path
---@field sizes? boolean false: sizes are not needed

Session.executor = "unavailable"

local function no_executor(self)
  self:exists "/" -- raises when it is closed
  errors.raise("SANDBOX_NO_EXECUTOR", "this sandbox runs no commands; work with its files instead",
    { session_id = self.session_id })
end

Session.exec, Session.spawn = no_executor, no_executor

--- Ends it; every call afterwards is SANDBOX_ERROR, reason session_closed. May be called twice.
function Session:close() self[1]:close() end

--- A session on a tree, which ends with it.
---@param tree userdata of core.sandbox
---@param request { session_id?: string } what open was given
---@return harness.SandboxSession
function M.new(tree, request)
  return setmetatable({ tree, session_id = request and request.session_id }, Session)
end

return M
