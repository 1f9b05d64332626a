--- Permissions of an agent's tools: may this call run, must somebody be asked, is it denied?
---
---     permissions = {
---       bash = { mode = "ask", deny = { "rm **" } },
---       write = { mode = "allow", allow = { "/workspace/out/**" } },
---       refund = "ask",
---     },
---     on_permission = function(request) return confirm(request) and "allow" or "deny" end,
---
--- Rules PERM-1 to PERM-10 of reference B 3.5. Patterns are matched against the command of `bash` and the
--- normalised path of `write` and `edit`; other tools have nothing to match. A pattern that denies wins,
--- then a list of patterns that allow must have one that fits, then the mode decides. Tools that only read
--- (read list glob grep) need no permission, whatever is configured.

local core = require "harness.core"
local errors = require "harness.errors"
local files = require "harness.builtin.files"

local M = {}

M.MODES = { "allow", "ask", "deny" }

-- What patterns are matched against; nil: nothing. A relative path stays as it is: the tools refuse it.
local function target_of(tool, input)
  local target = tool.target and input[tool.target]
  if type(target) ~= "string" then return nil end
  return tool.target == "path" and files.normalise(target) or target
end

local function fits(patterns, target)
  if not target then return false end
  for _, pattern in ipairs(patterns) do
    if pattern:match(target) then return true end
  end
  return false
end

--- A PERMISSION_DENIED error.
---@param agent table
---@param tool table
---@param reason "mode_deny"|"hook_deny"|"hook_failed"
---@param why string
---@param cause any?
---@return harness.Error
function M.denied(agent, tool, reason, why, cause)
  return errors.new("PERMISSION_DENIED", ("the call of %s was denied: %s"):format(tool.id, why),
    { tool_name = tool.id, agent_id = agent.id, reason = reason }, cause)
end

--- May the call run ("allow"), or must somebody be asked ("ask")? Raises PERMISSION_DENIED when it may not.
---@param agent table its definition
---@param tool table
---@param input any as the model gave it
---@return "allow"|"ask"
function M.decide(agent, tool, input)
  local rule = agent.permissions and agent.permissions[tool.id]
  if not rule or tool.read_only then return "allow" end
  local function deny(why) error(M.denied(agent, tool, "mode_deny", why), 0) end
  local target = target_of(tool, input)
  if fits(rule.deny, target) then deny "a pattern of this agent's permissions forbids it" end
  if #rule.allow > 0 and not fits(rule.allow, target) then
    deny(("this agent may use %s only for %s"):format(tool.id, table.concat(rule.allow_text, ", ")))
  end
  if rule.mode == "deny" then deny "this agent may not use it" end
  if rule.mode == "ask" and not agent.on_permission then
    error(M.denied(agent, tool, "hook_deny", "it needs a person's consent, and nobody can be asked here"), 0)
  end
  return rule.mode
end

--- What on_permission gets.
---@class harness.PermissionRequest
---@field tool_id string
---@field input any a copy of what the model gave
---@field agent_id string
---@field run_id string
---@field session_id string
---@field call_id string

--- The error for what on_permission returned; nil when it allowed the call. Only "allow" does.
---@param agent table
---@param tool table
---@param answer any
---@return harness.Error?
function M.refusal(agent, tool, answer)
  if answer == "allow" then return nil end
  return M.denied(agent, tool, "hook_deny", "the person or program that was asked did not allow it")
end

--- The patterns of a rule, compiled.
---@param texts string[]
---@return userdata[]
function M.compile(texts)
  local list = {}
  for i, text in ipairs(texts) do list[i] = core.glob.compile(text, "permission") end
  return list
end

--- The rule of a tool as plain data, for h:inspect().
---@param agent table
---@param tool_id string
---@param read_only boolean?
---@return { mode: string, allow?: string[], deny?: string[] }
function M.describe(agent, tool_id, read_only)
  local rule = agent.permissions and agent.permissions[tool_id]
  if not rule or read_only then return { mode = "allow" } end
  local function texts(list) return #list > 0 and table.move(list, 1, #list, 1, {}) or nil end
  return { mode = rule.mode, allow = texts(rule.allow_text), deny = texts(rule.deny_text) }
end

return M
