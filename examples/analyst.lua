-- A data agent in bash(): it looks at a table with head and awk, sums it up into a file, and answers from that. Its
-- commands see the files of the session and the programs of this machine, and nothing else: no network, no
-- other file, no process.
--
--     build/harness-lua run examples/analyst.lua report "Which region sold most?"
--     --> The north sold most: 455 of 830.
--     --> north 455
--     --> south 375
--
-- It needs bubblewrap (apt-get install bubblewrap). `harness-lua inspect examples/analyst.lua` shows what isolation
-- is in force.

local harness = require "harness"
local model = require "model" -- beside this file

local SALES <const> = [[
region,month,amount
north,1,200
south,1,125
north,2,255
south,2,250
]]

local CANNED <const> = {
  { tool_calls = { { name = "bash", arguments = { command = "head -n 3 sales.csv; wc -l < sales.csv" } } } },
  { tool_calls = { { name = "bash", arguments = {
    command = "awk -F, 'NR > 1 { sum[$1] += $3 } END { for (r in sum) print r, sum[r] }' sales.csv | sort -k2nr "
      .. "| tee totals.txt",
  } } } },
  { text = "The north sold most: 455 of 830." },
}

return harness.define {
  name = "analyst",
  models = { main = model(CANNED) },
  sandbox = harness.sandbox.bash { limits = { wall_ms = 10000, memory_bytes = 256 << 20 }, quota_bytes = 10 << 20 },
  agents = {
    analyst = {
      model = "main",
      instructions = "You answer questions about /workspace/sales.csv with short commands. Write the totals by region, "
        .. "largest first, to /workspace/totals.txt, and answer in one sentence.",
      builtin_tools = { "bash", "read" },
    },
  },
  workflows = {
    report = {
      run = function(ctx, question)
        ctx.sandbox:write("/workspace/sales.csv", SALES)
        local answer = ctx.agents.analyst:run(question)
        return answer .. "\n" .. ctx.sandbox:read("/workspace/totals.txt"):gsub("\n$", "")
      end,
    },
  },
}
