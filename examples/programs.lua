-- An agent that writes programs: one call of the tool `lua` looks up every order, and returns what matters.
--
--     build/harness-lua run examples/programs.lua helper "Which orders are late, and what are they worth?"
--     --> Orders 8 and 11 are late; together they are worth 77.24.
--
-- Each program runs in an isolated process that can only call the agent's other tools; here one step of the
-- model makes thirteen calls. Without a key it runs offline on canned turns, which answer that question only; with
-- OPENAI_API_KEY it runs on a real model.
--
-- It needs bubblewrap (apt-get install bubblewrap), as harness-lua inspect examples/programs.lua says.

local harness = require "harness"
local model = require "model" -- beside this file
local s = harness.schema

local TOTALS = { 12.5, 99, 3.2, 45, 8, 17, 42.5, 9.99, 60, 5, 67.25, 31 }
local LATE = { [8] = true, [11] = true }

local PROGRAM = [[
local calls = {}
for i, id in ipairs(tools.list_orders{}) do calls[i] = { tools.find_order, { id = id } } end
local late, total = {}, 0
for _, order in ipairs(parallel(calls)) do
  if order.status == "late" then
    late[#late + 1] = order.id
    total = total + order.total
  end
end
return { late = late, total = total }]]

-- The last turn is made of what the program has returned, as a model would do it.
local function canned(request)
  local last = request.messages[#request.messages]
  if last.role ~= "tool" then return { tool_calls = { { name = "lua", arguments = { code = PROGRAM } } } } end
  local found = harness.json.decode(last.content).result
  if not found then return { text = "The program has not run: " .. last.content } end
  return { text = ("Orders %s are late; together they are worth %s."):format(table.concat(found.late, " and "),
    found.total) }
end

return harness.define {
  name = "programs",
  models = { fast = model(canned) },
  tools = {
    list_orders = {
      description = "The numbers of all orders.",
      input = s.object {}, output = s.array(s.string()),
      run = function()
        local ids = {}
        for i = 1, #TOTALS do ids[i] = tostring(i) end
        return ids
      end,
    },
    find_order = {
      description = "Looks up an order by its number.",
      input = s.object { id = s.string { description = "order number" } },
      output = s.object { id = s.string(), status = s.enum { "late", "in time" }, total = s.number() },
      run = function(_, input)
        harness.sleep(20) -- a database would take a while, too
        local n = tonumber(input.id)
        return { id = input.id, status = LATE[n] and "late" or "in time", total = TOTALS[n] }
      end,
    },
  },
  agents = {
    helper = {
      model = "fast",
      instructions = "You answer questions about orders from the order data only, in one sentence. When you need more "
        .. "than two orders, write a program.",
      tools = { "list_orders", "find_order" },
      builtin_tools = { "lua" },
    },
  },
}
