--- Near misses: which known name somebody most likely meant.
---
---   nearest.find("find_ordr", { "find_order", "cancel" })   --> "find_order"
---   nearest.find("maxSteps", { "max_steps" })               --> "max_steps"
---   nearest.find("bash", { "find_order" })                  --> nil

local M = {}

-- Longer names are not compared: the cost is the product of the lengths.
local LONGEST <const> = 64

local function bare(name)
  return (name:lower():gsub("[%s_%-.]", ""))
end

-- Edits from a to b: insertions, deletions, replacements, swaps of neighbours (optimal string
-- alignment). Three rows of the matrix are enough.
local function distance(a, b)
  local before, last, row = {}, {}, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    row[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      local swapped = i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j)
      if swapped then best = math.min(best, before[j - 2] + 1) end
      row[j] = best
    end
    before, last, row = last, row, before
  end
  return last[#b]
end

-- A third of the letters may be wrong, but never all of a short name.
local function allowed(word)
  return math.max(1, (#word + 1) // 3)
end

-- How far the candidate is from the word, or nil when it is another word. The beginning of a long
-- name counts as close ("instr" for "instructions").
local function closeness(word, candidate)
  local other = bare(candidate)
  local edits = distance(word, other)
  if edits <= allowed(word) and edits < #other then return edits end
  if #word >= 4 and other:sub(1, #word) == word then return allowed(word) + 1 end
  return nil
end

---The candidate nearest to the word, or nil when none is near. Case and separators do not count.
---Among equally near ones the first in byte order.
---@param word string
---@param candidates string[]
---@return string?
function M.find(word, candidates)
  if type(word) ~= "string" or #word > LONGEST then return nil end
  local plain = bare(word)
  if plain == "" then return nil end
  local best, best_score
  for _, candidate in ipairs(candidates) do
    local score = #candidate <= LONGEST and closeness(plain, candidate)
    if score and (not best or score < best_score or score == best_score and candidate < best) then
      best, best_score = candidate, score
    end
  end
  return best
end

local MANY <const> = 16

local function quoted_list(names)
  local sorted = table.move(names, 1, #names, 1, {})
  table.sort(sorted)
  local shown = {}
  for i = 1, math.min(#sorted, MANY) do shown[i] = '"' .. sorted[i] .. '"' end
  if #sorted > MANY then shown[MANY + 1] = ("%d more"):format(#sorted - MANY) end
  return table.concat(shown, ", ")
end

---The end of an error message about an unknown name: `; did you mean "find_order"?`, or what there
---is to choose from, or that there is nothing.
---@param word string
---@param candidates string[]
---@param what string what the candidates are, in the plural ("tools")
---@return string
function M.hint(word, candidates, what)
  local near = M.find(word, candidates)
  if near then return ('; did you mean "%s"?'):format(near) end
  if #candidates == 0 then return ("; there are no %s"):format(what) end
  return ("; the %s are %s"):format(what, quoted_list(candidates))
end

return M
