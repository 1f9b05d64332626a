-- Random permissions and calls against rules PERM-1 to PERM-6 of reference B 3.5, written down once more: patterns as
-- sets of positions, paths part by part from their end. The matcher alone, with any bytes, is fuzzed in C
-- (fuzz_glob.c does both dialects); this is about what is made of its answers.

local builtin = require "harness.builtin"
local definition_permissions = require "harness.definition_permissions"
local fields = require "harness.definition_fields"
local json = require "harness.json"
local permissions = require "harness.permissions"

-- ---- the oracle ---------------------------------------------------------------------------

-- The positions of the text that the pattern up to some point can have reached: 0 is before its first byte.
local function covers(pattern, text)
  local reached, at = { [0] = true }, 1
  while at <= #pattern do
    local next_reached, stars = {}, #pattern:match("^%**", at)
    if stars > 0 then
      local open = false
      for i = 0, #text do
        if i > 0 and stars == 1 and text:sub(i, i) == "/" then open = false end
        open = open or reached[i] or false
        next_reached[i] = open or nil
      end
      at = at + stars
    else
      for i = 1, #text do
        if reached[i - 1] and text:sub(i, i) == pattern:sub(at, at) then next_reached[i] = true end
      end
      at = at + 1
    end
    reached = next_reached
  end
  return reached[#text] or false
end

-- From the end: a `..` takes away the next part before it.
local function normal(path)
  if path:sub(1, 1) ~= "/" then return path end -- the tools refuse it
  local parts, all, drop = {}, {}, 0
  for part in path:gmatch "[^/]+" do all[#all + 1] = part end
  for i = #all, 1, -1 do
    if all[i] == ".." then
      drop = drop + 1
    elseif all[i] ~= "." then
      if drop == 0 then table.insert(parts, 1, all[i]) else drop = drop - 1 end
    end
  end
  return "/" .. table.concat(parts, "/")
end

local FIELD <const> = { bash = "command", write = "path", edit = "path" }

local function expected(id, rule, input, has_hook)
  if rule == nil or id == "read" or id == "list" then return "allow" end
  if type(rule) == "string" then rule = { mode = rule } end
  local target = FIELD[id] and input[FIELD[id]]
  if type(target) ~= "string" then target = nil end
  if target and FIELD[id] == "path" then target = normal(target) end
  local function any(list)
    for _, pattern in ipairs(target and list or {}) do
      if covers(pattern, target) then return true end
    end
    return false
  end
  if any(rule.deny) then return "mode_deny" end
  if rule.allow and #rule.allow > 0 and not any(rule.allow) then return "mode_deny" end
  if rule.mode == "deny" then return "mode_deny" end
  if rule.mode == "ask" then return has_hook and "ask" or "hook_deny" end
  return "allow"
end

-- ---- what is tried ------------------------------------------------------------------------

local function pick(list) return list[math.random(#list)] end

local PATTERN <const> = { "*", "*", "**", "/", "/", "a", "b", "..", ".", " ", "\n", "?", "é", "***", "/w", "rm " }
local TEXT <const> = { "/", "/", "a", "b", "..", ".", "./", "../", " ", "\n", "?", "é", "/w", "rm ", "-rf", "*" }
local IDS <const> = { "bash", "write", "edit", "read", "list", "refund" }
local MODES <const> = { "allow", "ask", "deny" }

local function join(pieces, most)
  local parts = {}
  for i = 1, math.random(1, most) do parts[i] = pick(pieces) end
  return table.concat(parts)
end

local function some_patterns()
  local list = {}
  for i = 1, math.random(0, 3) do list[i] = join(PATTERN, 5) end
  return list
end

local function some_rule()
  local kind = math.random(10)
  if kind == 1 then return nil end
  if kind == 2 then return pick(MODES) end
  return {
    mode = math.random(3) > 1 and pick(MODES) or nil, allow = math.random(2) == 1 and some_patterns() or nil,
    deny = math.random(2) == 1 and some_patterns() or nil,
  }
end

local function some_input()
  local kind = math.random(12)
  if kind == 1 then return {} end
  if kind == 2 then return { command = 5, path = {} } end
  local text = join(TEXT, 6)
  return { command = text, path = math.random(4) > 1 and "/" .. text or text }
end

local function decided(id, rule, input, hook)
  local rules = definition_permissions.check(fields.problems(), {}, { [id] = rule })
  local tool = builtin.traits(id) and builtin.get(id) or { id = id }
  local ok, result = pcall(permissions.decide, { id = "a", permissions = rules, on_permission = hook }, tool, input)
  return ok and result or result.meta.reason
end

describe("random permissions", function()
  it("decide as the rules say", function()
    local seed = tonumber(os.getenv "HARNESS_SPEC_SEED") or os.time()
    math.randomseed(seed)
    local seen, count = {}, 20000 // (tonumber(os.getenv "HARNESS_SPEC_FACTOR") or 1)
    for _ = 1, count do
      local id, rule, input = pick(IDS), some_rule(), some_input()
      local hook = math.random(2) == 1 and print or nil
      local right = expected(id, rule, input, hook ~= nil)
      local found = decided(id, rule, input, hook)
      if right ~= found then
        error(("seed %d: %s under %s for %s is %s, must be %s"):format(seed, id, rule and json.encode(rule) or "none",
          json.encode(input), found, right))
      end
      seen[right] = (seen[right] or 0) + 1
    end
    for _, decision in ipairs { "allow", "ask", "mode_deny", "hook_deny" } do
      assert.is_true((seen[decision] or 0) > count // 50, decision)
    end
  end)
end)
