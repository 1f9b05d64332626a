-- An agent that looks things up with a tool before it answers; it calls the tool twice at once.
--
--     build/harness-lua run examples/support.lua helper "Where are orders 7 and 8?"
--     --> Order 7 was shipped with Hermes; order 8 is being packed.
--
-- Without a key it runs offline on canned turns, which answer that question only. With OPENAI_API_KEY
-- (and OPENAI_BASE_URL for another server that speaks Chat Completions, OPENAI_MODEL for another model)
-- it runs on a real one.

local harness = require "harness"
local model = require "model" -- beside this file
local s = harness.schema

local ORDERS = {
  ["7"] = { status = "shipped", carrier = "Hermes", total = 42.5 },
  ["8"] = { status = "being packed", carrier = "none yet", total = 9.99 },
}

local CANNED = {
  {
    tool_calls = {
      { name = "find_order", arguments = { id = "7" } },
      { name = "find_order", arguments = { id = "8" } },
    },
  },
  {
    chunks = { "Order 7 ", "was shipped ", "with Hermes; ", "order 8 ", "is being ", "packed." },
    chunk_delay_ms = 60, usage = { input_tokens = 120, output_tokens = 18 },
  },
}

return harness.define {
  name = "support",
  models = { fast = model(CANNED) },
  tools = {
    find_order = {
      description = "Looks up an order by its number.",
      input = s.object { id = s.string { description = "order number" } },
      output = s.object { status = s.string(), carrier = s.string(), total = s.number() },
      run = function(_, input)
        harness.sleep(150) -- a database would take a while, too
        return ORDERS[input.id] or harness.error("ORDER_NOT_FOUND", "there is no order " .. input.id)
      end,
    },
  },
  agents = {
    helper = {
      model = "fast",
      instructions = "You answer questions about orders from the order data only, in one sentence.",
      tools = { "find_order" },
    },
  },
}
