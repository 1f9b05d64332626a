--- harness-lua inspect FILE: what a harness defines, and what isolation its sandbox has on this machine.

local commands = require "harness.cli.command"
local inspect_skills = require "harness.cli.inspect_skills"
local json = require "harness.json"
local load_file = require "harness.cli.load"

local USAGE <const> = [=[
usage: %s inspect FILE [--json]
  FILE returns a harness; the isolation of its sandbox is tried
  --json            the same as JSON, with everything that is known
]=]

local function sorted(map)
  local ids = {}
  for id in pairs(map) do ids[#ids + 1] = id end
  table.sort(ids)
  return ids
end

local function section(out, title, map, describe)
  local ids = sorted(map)
  out:write(("%s (%d)\n"):format(title, #ids))
  for _, id in ipairs(ids) do out:write(("  %-20s %s\n"):format(id, describe(map[id]))) end
end

local function list(names)
  return #names > 0 and table.concat(names, ", ") or "none"
end

-- The tools of an agent, those that are not simply allowed with how they are.
local function tools_of(agent)
  local shown = {}
  for _, ids in ipairs { agent.builtin_tools, agent.tools } do
    for _, id in ipairs(ids) do
      local rule = agent.permissions[id]
      local how = rule.mode ~= "allow" and rule.mode or (rule.allow or rule.deny) and "by pattern"
      shown[#shown + 1] = how and ("%s (%s)"):format(id, how) or id
    end
  end
  return list(shown)
end

local function show(out, info)
  out:write("harness " .. info.name .. "\n")
  section(out, "models", info.models, function(m)
    return ("%s of %s: %s%s"):format(m.model, m.provider, list(m.capabilities),
      #m.fallback > 0 and "; then " .. list(m.fallback) or "")
  end)
  section(out, "tools", info.tools, function(t) return t.description end)
  inspect_skills.show(out, sorted(info.skills), info.skills, info.skill_diagnostics)
  section(out, "agents", info.agents, function(a)
    return ("model %s, tools: %s%s%s"):format(a.model, tools_of(a),
      #a.skills > 0 and ", skills: " .. list(a.skills) or "", a.description and "; " .. a.description or "")
  end)
  section(out, "workflows", info.workflows, function(w)
    local parts = { w.version and ("version %s"):format(w.version) }
    parts[#parts + 1] = w.description
    return table.concat(parts, "; ")
  end)
  out:write "adapters\n"
  for _, adapter in ipairs(info.adapters) do
    out:write(("  %-20s %s: %s\n"):format(adapter.kind, adapter.id, list(adapter.capabilities)))
  end
end

-- What isolation is in force here: it is tried, since much of it depends on the machine.
local function show_report(out, title, lines)
  out:write(title .. "\n")
  for _, line in ipairs(lines) do out:write(("  %-20s %s\n"):format(line[1], line[2])) end
end

local function execute(given, rest, out)
  local harness <close> = load_file.harness(rest[1])
  local info = harness:inspect()
  inspect_skills.survey(info.skills)
  if given.json then
    out:write(json.encode(info, { pretty = true }) .. "\n")
  else
    show(out, info)
    local def = harness.definition
    if def.sandbox then show_report(out, "sandbox", require("harness.sandbox.machine").report(def.sandbox)) end
    if info.programs then show_report(out, "programs", require("harness.program").report(def.programs)) end
  end
  return 0
end

return commands.new {
  usage = USAGE,
  expected = "FILE",
  options = { json = "flag" },
  fits = function(rest) return #rest == 1 end,
  execute = execute,
}
