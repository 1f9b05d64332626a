--- Definitions for specs: right ones, and ways to make one mistake in them.

local errors = require "harness.errors"
local logger = require "harness.logger"
local options = require "harness.definition_options"
local s = require "harness.schema"

local M = {}

--- Takes a field away: build{ models = NONE }.
local NONE <const> = {}
M.NONE = NONE

local function overlay(base, changes)
  for key, value in pairs(changes or {}) do
    if value == NONE then base[key] = nil else base[key] = value end
  end
  return base
end

--- A provider that declares these capabilities.
function M.provider(...)
  return { id = "fake", capabilities = { ... }, generate = function() end }
end

function M.tool(changes)
  local input = s.object { id = s.string() }
  return overlay({ description = "Look up an order.", input = input, run = function() end }, changes)
end

function M.agent(changes)
  return overlay({ model = "fast", instructions = "Be brief." }, changes)
end

local function with_methods(names, without)
  local t = {}
  for _, name in ipairs(names) do t[name] = function() end end
  for _, name in ipairs(without or {}) do t[name] = nil end
  return t
end

--- A storage without some of its methods; a logger likewise.
function M.storage(without) return with_methods(options.STORAGE_METHODS, without) end

function M.logger(without) return with_methods(logger.METHODS, without) end

--- A right definition, overlaid by the changes.
function M.build(changes)
  local able = M.provider("text", "text_stream", "object", "tool_use")
  return overlay({
    models = { fast = { provider = able, model = "m" } },
    tools = { find_order = M.tool() },
    agents = { helper = M.agent { tools = { "find_order" } } },
  }, changes)
end

--- What to overlay for a change in the one model, tool or agent.
function M.model(changes)
  return { models = { fast = overlay({ provider = M.provider("text", "object", "tool_use"), model = "m" },
    changes) } }
end

--- A memory of one's own that does nothing.
function M.memory(changes)
  local function nothing() end
  local t = { id = "mine", capabilities = { "memory.kv" } }
  for _, name in ipairs { "get", "put", "delete", "list" } do t["memory_" .. name] = nothing end
  for key, value in pairs(changes) do t[key] = value end
  return t
end

function M.with_tool(changes)
  return { tools = { find_order = M.tool(changes) } }
end

function M.with_agent(changes)
  return { agents = { helper = M.agent(changes) } }
end

--- The error of a definition that is refused.
function M.failure(check, t)
  local ok, err = pcall(check, t)
  assert(not ok, "the definition was taken")
  assert(errors.is(err, "HARNESS_CONFIG_ERROR"), tostring(err))
  return err
end

return M
