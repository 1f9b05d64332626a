--- harness-lua inspect FILE: what a harness defines.

local errors = require "harness.errors"
local json = require "harness.json"
local load_file = require "harness.cli.load"
local options = require "harness.cli.options"

local M = {}

local function sorted(map)
  local ids = {}
  for id in pairs(map) do ids[#ids + 1] = id end
  table.sort(ids)
  return ids
end

local function section(title, map, describe)
  local ids = sorted(map)
  print(("%s (%d)"):format(title, #ids))
  for _, id in ipairs(ids) do print(("  %-20s %s"):format(id, describe(map[id]))) end
end

local function list(names)
  return #names > 0 and table.concat(names, ", ") or "none"
end

local function show(info)
  print("harness " .. info.name)
  section("models", info.models, function(m)
    return ("%s of %s: %s%s"):format(m.model, m.provider, list(m.capabilities),
      #m.fallback > 0 and "; then " .. list(m.fallback) or "")
  end)
  section("tools", info.tools, function(t) return t.description end)
  section("agents", info.agents, function(a)
    return ("model %s, tools: %s%s"):format(a.model, list(a.tools), a.description and "; " .. a.description or "")
  end)
  section("workflows", info.workflows, function(w) return w.description or "" end)
  print("adapters")
  for _, adapter in ipairs(info.adapters) do
    print(("  %-20s %s: %s"):format(adapter.kind, adapter.id, list(adapter.capabilities)))
  end
end

---@param argv string[]
---@return integer status
function M.main(argv)
  local ok, err = pcall(function()
    local given, rest = options.parse(argv, 2, { json = "flag" })
    if #rest ~= 1 then options.fail(("usage: %s inspect FILE [--json]"):format(argv[0])) end
    local harness <close> = load_file.harness(rest[1])
    local info = harness:inspect()
    if given.json then print(json.encode(info, { pretty = true })) else show(info) end
  end)
  if ok then return 0 end
  if options.is_usage_error(err) then
    io.stderr:write(argv[0], ": ", err.message, "\n")
    return 2
  end
  io.stderr:write(argv[0], ": ", errors.is(err) and tostring(err) or errors.serialize(err).message, "\n")
  return 1
end

return M
