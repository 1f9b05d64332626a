--- The output handler of busted that our runs use.
--
-- It prints nothing for a test that passes, a line with the reason for a pending one, and place,
-- message and traceback for one that failed. Without run.sh above it the last line is
-- `N passed, N failed`, and `, N skipped` when there are any.
--
-- Under run.sh (HARNESS_SPEC_RESULT names a file) every start and end of a test goes to that file
-- at once, so that totals are right and the culprit is known even when the process dies or hangs:
--   start <name>
--   end <success|pending|failure|error> <seconds> <name>
--   done
--
-- busted's loader subscribes the returned handler; subscribing here as well would count twice.

---The text of whatever was raised: a string, one of our errors, an object, any table.
local function text_of(message)
  if message == nil then return "error(nil)" end
  if type(message) ~= "table" then return tostring(message) end
  local mt = getmetatable(message)
  if type(mt) == "table" and mt.__tostring then
    local trace = rawget(message, "traceback")
    return tostring(message) .. (type(trace) == "string" and "\n" .. trace or "")
  end
  return require "pl.pretty".write(message)
end

local function place_of(item)
  local trace = item.element and item.element.trace or item.trace
  if not trace or not trace.short_src then return "?" end
  return ("%s:%d"):format(trace.short_src, trace.currentline or 0)
end

local function indent(text)
  return "  " .. text:gsub("\n", "\n  ")
end

---Why a test is pending; busted puts the place before it, which we print anyway.
local function reason_of(item)
  if item.message == nil then return "no reason given" end
  return (text_of(item.message):gsub("^[^\n]-:%d+: ", ""))
end

---Opens the file that run.sh reads, or returns a function that does nothing.
local function recorder()
  local path = os.getenv "HARNESS_SPEC_RESULT"
  if not path then return function() end, false end
  local file = assert(io.open(path, "a"))
  file:setvbuf "no"
  return function(...) file:write(table.concat({ ... }, " "), "\n") end, true
end

return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local record, recorded = recorder()
  local counts = { success = 0, pending = 0, failure = 0, error = 0 }

  local function one_line(element)
    return (handler.getFullName(element):gsub("%s+", " "))
  end

  local function print_failure(kind, item)
    io.write(kind, " ", place_of(item), " ", item.name or "?", "\n")
    io.write(indent(text_of(item.message)), "\n")
    local trace = item.trace and item.trace.traceback
    if type(trace) == "string" then io.write(indent((trace:match "^%s*(.-)%s*$")), "\n") end
  end

  local started = 0

  local function test_start(element)
    record("start", one_line(element))
    started = busted.monotime()
    return nil, true
  end

  local function test_end(element, _, status)
    counts[status] = counts[status] + 1
    record("end", status, ("%.4f"):format(busted.monotime() - started), one_line(element))
    return nil, true
  end

  ---What fails outside a test: a file that does not load, a describe block, setup or teardown.
  local function outside(element)
    if element.descriptor == "it" then return nil, true end
    counts.error = counts.error + 1
    record("end", "error", "0", one_line(element))
    return nil, true
  end

  local function suite_end()
    for _, item in ipairs(handler.pendings) do
      io.write("SKIPPED ", place_of(item), " ", item.name, ": ", reason_of(item), "\n")
    end
    for _, item in ipairs(handler.failures) do print_failure("FAILED", item) end
    for _, item in ipairs(handler.errors) do print_failure("ERROR", item) end
    record "done"
    if not recorded then
      local failed = counts.failure + counts.error
      local skipped = counts.pending > 0 and (", %d skipped"):format(counts.pending) or ""
      io.write(("%d passed, %d failed%s\n"):format(counts.success, failed, skipped))
    end
    io.flush()
    return nil, true
  end

  busted.subscribe({ "test", "start" }, test_start)
  busted.subscribe({ "test", "end" }, test_end)
  busted.subscribe({ "error" }, outside)
  busted.subscribe({ "failure" }, outside)
  busted.subscribe({ "suite", "end" }, suite_end)
  return handler
end
