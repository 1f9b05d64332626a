-- A workflow of three agents: two reviewers read a text side by side, an editor joins what they say.
--
--     build/harness-lua run examples/review.lua review '{"text": "Their are two mistake."}'
--     --> {"text":"There are two mistakes.","remarks":2}

local harness = require "harness"
local model = require "model"
local s = harness.schema

local ANSWERS <const> = {
  ["You check spelling."] = { text = "Their: There" },
  ["You check grammar."] = { text = "mistake: mistakes" },
  ["You mend a text."] = { object = { text = "There are two mistakes.", remarks = 2 } },
}

local function canned(request) return ANSWERS[request.messages[1].content] end

return harness.define {
  models = { fast = model(canned) },
  agents = {
    speller = { model = "fast", instructions = "You check spelling." },
    grammarian = { model = "fast", instructions = "You check grammar." },
    editor = {
      model = "fast", instructions = "You mend a text.",
      output = s.object { { "text", s.string() }, { "remarks", s.integer { description = "how many were heeded" } } },
    },
  },
  workflows = {
    review = {
      input = s.object { text = s.string() },
      run = function(ctx, input)
        -- Both at once; when one fails, the other is stopped, and the workflow with them.
        local remarks = ctx:step("remarks", function()
          return harness.all {
            function() return ctx.agents.speller:run(input.text) end,
            function() return ctx.agents.grammarian:run(input.text, { timeout_ms = 60000 }) end,
          }
        end)
        local mended = ctx:step("mend", function()
          return ctx.agents.editor:run(("Text: %s\nRemarks:\n%s"):format(input.text, table.concat(remarks, "\n")))
        end, { retry = { max_attempts = 2 } })
        return harness.ordered { { "text", mended.text }, { "remarks", mended.remarks } }
      end,
    },
  },
}
