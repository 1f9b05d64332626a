--- Measures the rows of rows.lua, ours and its peers one after the other in the same run, and prints
--- the table. Run by `make bench`, with stock Lua, from the top of the repository.
---
---   lua5.4 spec/bench/run.lua [ROW]...
---
--- VERBOSE=1 prints each command and what it said; INSTRUCTIONS=1 adds valgrind's counts of
--- instructions for our Lua programs that use measure.batches, which do not depend on the machine's
--- mood. A peer that did not run is `missing`; a line whose target needs it counts as not shown.
--- The status is 0 unless something of ours did not run: a missed target is said, not hidden.

package.path = "./?.lua;" .. package.path
local rows = require "spec.bench.rows"

local verbose = os.getenv "VERBOSE"
local WORDS = { lua = "build/harness-lua", node = "build/peers/bench/node/node", bin = "build/bench" }
local CC = "gcc -std=c11 -D_GNU_SOURCE -O2 -I/usr/include/cjson -o build/bench/%s %s"

local function say(text)
  io.stderr:write(text, "\n")
end

---Runs a command; its output, or nil and what it said.
local function output_of(command)
  command = command:gsub("{(%l+)}", WORDS)
  if verbose then say("$ " .. command) end
  local quoted = "'" .. command:gsub("'", [['\'']]) .. "'"
  local pipe = assert(io.popen("LUA_PATH='./?.lua;;' timeout 600 sh -c " .. quoted .. " 2>&1"))
  local output = pipe:read "a"
  local ok = pipe:close()
  if verbose then io.stderr:write(output) end
  if not ok then return nil, output end
  return output
end

---The results that the commands print: metric -> { wall =, cpu =, value = }; and what went wrong.
local function results_of(commands)
  local results, failure = {}, nil
  for _, command in ipairs(type(commands) == "table" and commands or { commands }) do
    local output, said = output_of(command)
    if not output then
      failure = ("%s: %s"):format(command, said:match "^%s*([^\n]*)")
    end
    for metric, figures in (output or ""):gmatch "RESULT (%S+) ([^\n]+)" do
      local result = {}
      for name, figure in figures:gmatch "(%l+)=(%S+)" do result[name] = tonumber(figure) end
      results[metric] = result
    end
  end
  return next(results) and results, failure
end

local function figure_of(results, line, metric)
  local result = results and results[metric or line[1]]
  if not result then return nil end
  if line.show == "rate" then return 1 / result.wall end
  return result[line.show] * (line.scale or 1)
end

local function text_of(figure)
  if not figure then return "-" end
  if figure == 0 then return "0" end
  if math.abs(figure) >= 100 then return ("%.0f"):format(figure) end
  return ("%.3g"):format(figure)
end

---What a line's target says in words, and whether it is met (nil: that cannot be told).
local function judge(line, mine, results, peers)
  local target = line.target
  if not target then return "-", nil end
  if target.at_most then return "<= " .. text_of(target.at_most), mine and mine <= target.at_most end
  if target.at_least then return ">= " .. text_of(target.at_least), mine and mine >= target.at_least end
  local other = figure_of(target.peer and peers[target.peer] or results, line, target.metric)
  local words = ("%s x %s"):format(text_of(target.times), target.peer or target.metric)
  if not mine or not other then return words, nil end
  return ("%s (%s)"):format(words, text_of(other)), mine <= target.times * other
end

local counts = { met = 0, missed = 0, ["not shown"] = 0 }

local FORMAT <const> = "%-32s %10s %-10s  %-20s %10s  %8s  %-28s %s"
local function print_line(...)
  print((FORMAT:format(...):gsub("%s+$", "")))
end

local function print_row(row, results, peers)
  for _, line in ipairs(row.lines) do
    local mine = figure_of(results, line)
    local words, met = judge(line, mine, results, peers)
    local verdict = ""
    if line.target then
      verdict = met == nil and "not shown" or met and "met" or "missed"
      counts[verdict] = counts[verdict] + 1
    end
    local printed = false
    for _, peer in ipairs(row.peers) do
      local theirs = figure_of(peers[peer[1]], line)
      local missing = not peers[peer[1]]
      if theirs or missing then
        local ratio = theirs and mine and theirs ~= 0 and text_of(mine / theirs) or "-"
        local figure = missing and "missing" or text_of(theirs)
        if printed then
          print_line("", "", "", peer[1], figure, ratio, "", "")
        else
          print_line(line[2], text_of(mine), line.unit, peer[1], figure, ratio, words, verdict)
        end
        printed = true
      end
    end
    if not printed then print_line(line[2], text_of(mine), line.unit, "-", "-", "-", words, verdict) end
  end
end

---Instructions of one operation: the count for 2n less that for n, so that start-up cancels out.
local function instructions(row)
  for _, command in ipairs(type(row.ours) == "table" and row.ours or { row.ours }) do
    local script = command:match "^{lua} (spec/bench/ours/[%l_]+%.lua)%s*$"
    for _, line in ipairs(script and row.lines or {}) do
      local function count(n)
        local output = output_of(("BENCH_METRIC=%s BENCH_COUNT=%d valgrind --tool=callgrind " ..
          "--callgrind-out-file=/dev/null build/harness-lua %s"):format(line[1], n, script))
        return tonumber(output and output:match "Collected : (%d+)")
      end
      local once, twice = count(2000), count(4000)
      if once and twice and twice > once then
        print(("%-32s %10.0f instructions"):format(line[2], (twice - once) / 2000))
      end
    end
  end
end

local function prepare(row)
  for name, arguments in pairs(row.programs or {}) do
    local ok, said = output_of(CC:format(name, arguments))
    if not ok then return nil, said end
  end
  if row.prepare then row.prepare() end
  return true
end

local function measure(row)
  local results
  local ready, failure = prepare(row)
  if ready then results, failure = results_of(row.ours) end
  if failure then say(("%s: ours did not run: %s"):format(row.name, failure)) end
  local peers = {}
  for _, peer in ipairs(row.peers) do
    local said
    peers[peer[1]], said = results_of(peer[2])
    if said then say(("%s: peer missing: %s: %s"):format(row.name, peer[1], said)) end
  end
  print_row(row, results, peers)
  if os.getenv "INSTRUCTIONS" and results then instructions(row) end
  return failure == nil
end

local function wanted(row)
  if #arg == 0 then return true end
  for _, name in ipairs(arg) do
    if name == row.name then return true end
  end
  return false
end

local function main()
  os.execute "mkdir -p build/bench"
  assert(output_of(CC:format("timeit", "spec/bench/timeit.c")))
  local machine = output_of "echo $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), $({node} -v)"
  print("machine: " .. (machine or "?"):gsub("\n", ""))
  print_line("what", "ours", "", "peer", "its figure", "ours/its", "target", "")
  local all, some = true, false
  for _, row in ipairs(rows) do
    if wanted(row) then
      some = true
      all = measure(row) and all
    end
  end
  if not some then
    local names = {}
    for _, row in ipairs(rows) do names[#names + 1] = row.name end
    say("no such row; there are: " .. table.concat(names, " "))
    os.exit(2)
  end
  print(("targets: %d met, %d missed, %d not shown"):format(counts.met, counts.missed, counts["not shown"]))
  os.exit(all and 0 or 1)
end

main()
