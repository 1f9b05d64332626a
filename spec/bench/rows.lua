--- What `make bench` measures. A row has our command and those of its peers, which print results
--- under the same metrics; a line of the table is one metric.
---
---@class Row
---@field name string  for ROW=name
---@field prepare fun()?
---@field programs table<string, string>?  C programs to build: name -> what gcc is given
---@field ours string|string[]  commands; {lua} is our interpreter, {node} Node 22, {bin} build/bench
---@field peers {[1]: string, [2]: string|string[]}[]  name and commands
---@field lines Line[]
---
---@class Line
---@field [1] string  metric
---@field [2] string  what it is
---@field unit string
---@field scale number?  what the measured figure is multiplied by to have the unit
---@field show "cpu"|"wall"|"value"|"rate"  which figure; rate: millions a second of wall time
---@field target Target?
---
---@class Target
---@field at_most number?   in the unit
---@field at_least number?
---@field times number?     at most so many times...
---@field peer string?      ...this peer's figure
---@field metric string?    ...our own figure of this other metric

local function timeit(metric, command) return "{bin}/timeit " .. metric .. " 11 " .. command end

local function node(file, arguments) return ("{node} spec/bench/peers/%s %s"):format(file, arguments or "") end

local function ours(file, arguments) return ("{lua} spec/bench/ours/%s %s"):format(file, arguments or "") end

-- Concurrency and responses of a batch; Node is slow enough to do with fewer.
local STREAMS = { { 1, 200 }, { 64, 256 }, { 512, 1024 } }
local STREAMS_IN_NODE = { { 1, 50 }, { 64, 128 }, { 512, 512 } }

local function each_stream(command, sizes)
  local commands = {}
  for i, size in ipairs(sizes or STREAMS) do
    commands[i] = ("spec/bench/with_server.sh %s %d %d"):format(command, size[1], size[2])
  end
  return commands
end

local function relay_lines()
  local regimes = {
    { "keep_up", "reader keeps up" },
    { "full", "queue full" },
    { "full_terminal", "full of terminal events" },
  }
  local lines = {}
  for _, regime in ipairs(regimes) do
    lines[#lines + 1] = {
      regime[1], "relay, " .. regime[2], unit = "M events/s", show = "rate", target = { at_least = 5 },
    }
  end
  for _, regime in ipairs(regimes) do
    lines[#lines + 1] = {
      "engine_" .. regime[1], "relay in C, " .. regime[2], unit = "M events/s", show = "rate",
      target = { at_least = 5 },
    }
  end
  return lines
end

---@type Row[]
return {
  {
    name = "startup",
    ours = timeit("start", "build/harness-lua -e ''"),
    peers = {
      { "lua5.4", timeit("start", "lua5.4 -e ''") },
      { "node -e 0", timeit("start", "{node} -e 0") },
      { "node, import ai", timeit("start", "{node} build/bench/import-ai.mjs") },
    },
    prepare = function()
      local file <close> = assert(io.open("build/bench/import-ai.mjs", "w"))
      file:write "import '../peers/bench/node_modules/ai/dist/index.js';\n"
    end,
    lines = {
      { "start", "start-up, wall", unit = "ms", scale = 1e-3, show = "wall", target = { times = 2, peer = "lua5.4" } },
      { "start", "start-up, processor", unit = "ms", scale = 1e-3, show = "cpu" },
      { "start_peak", "start-up, memory", unit = "MiB", show = "value", target = { at_most = 8 } },
    },
  },
  {
    name = "step",
    ours = ours "steps.lua",
    peers = {
      { "pi-agent-core", node("steps.mjs", "pi") },
      { "ai", node("steps.mjs", "ai") },
      { "@openai/agents", node("steps.mjs", "agents") },
      { "langchain", node("steps.mjs", "langchain") },
    },
    lines = {
      { "cold", "model step, first 5,000 runs", unit = "us", show = "cpu", target = { times = 1, peer = "pi-agent-core" } },
      { "warm", "model step, warm", unit = "us", show = "cpu", target = { times = 1, peer = "pi-agent-core" } },
      { "ten", "model step, runs of 10", unit = "us", show = "cpu", target = { times = 1, peer = "pi-agent-core" } },
      { "thousand", "model step, 901 to 1,000", unit = "us", show = "cpu", target = { times = 1.2, metric = "ten" } },
    },
  },
  {
    name = "concurrent",
    ours = ours "concurrent.lua",
    peers = { { "pi-agent-core", node("concurrent.mjs", "pi") } },
    lines = {
      { "all", "1,000 runs of 11 steps", unit = "s", scale = 1e-6, show = "wall", target = { at_most = 0.5 } },
      { "all", "1,000 runs, processor", unit = "s", scale = 1e-6, show = "cpu" },
      { "peak", "1,000 runs, memory", unit = "MiB", show = "value", target = { at_most = 60 } },
    },
  },
  {
    name = "waiting",
    ours = ours "waiting.lua",
    peers = {
      { "pi-agent-core", "{node} --expose-gc spec/bench/peers/waiting.mjs pi 10000" },
      { "ai", "{node} --expose-gc spec/bench/peers/waiting.mjs ai 10000" },
      { "@openai/agents", "{node} --expose-gc spec/bench/peers/waiting.mjs agents 10000" },
      { "langchain (2,000)", "{node} --expose-gc spec/bench/peers/waiting.mjs langchain 2000" },
      { "a bare promise", "{node} --expose-gc spec/bench/peers/waiting.mjs bare 10000" },
    },
    lines = {
      { "each", "10,000 runs waiting, each", unit = "KiB", show = "value", target = { at_most = 10 } },
    },
  },
  {
    name = "relay",
    programs = { relay = "spec/bench/ours/relay.c build/obj/rel/engine/relay.o" },
    ours = { ours "relay.lua", "{bin}/relay" },
    peers = { { "reference in node", node "relay.mjs" } },
    lines = relay_lines(),
  },
  {
    name = "glob",
    programs = {
      glob = "spec/bench/ours/glob.c build/obj/rel/engine/glob.o build/obj/rel/engine/utf8.o",
      fnmatch = "spec/bench/peers/fnmatch.c",
    },
    prepare = function() require "spec.bench.paths" "build/bench/paths.txt" end,
    ours = "{bin}/glob",
    peers = {
      { "libc fnmatch", "{bin}/fnmatch" },
      { "reference in node", node("glob.mjs", "reference") },
      { "picomatch", node("glob.mjs", "picomatch") },
    },
    lines = {
      { "path", "glob, a path", unit = "ns", scale = 1e3, show = "cpu", target = { at_most = 30 } },
      { "hostile_128", "glob *a*a*a*a*a*b, 128 a", unit = "us", show = "wall" },
      { "hostile_end_128", "glob *a*a*a*a*c*b, 127 a, b", unit = "us", show = "wall" },
      { "hostile_4096", "the first, 4,096 bytes", unit = "us", show = "wall", target = { times = 10, metric = "hostile_512" } },
      { "hostile_end_4096", "the second, 4,096 bytes", unit = "us", show = "wall", target = { times = 10, metric = "hostile_end_512" } },
    },
  },
  {
    name = "files",
    prepare = function() require "spec.bench.tree" "build/bench/tree" end,
    ours = {
      timeit("grep", "build/harness-lua spec/bench/ours/files.lua grep needle_[0-9]+"),
      timeit("grep_text", "build/harness-lua spec/bench/ours/files.lua grep needle_7"),
      timeit("glob", "build/harness-lua spec/bench/ours/files.lua glob '*/file_1?.lua'"),
    },
    peers = {
      { "GNU grep and find", {
        timeit("grep", "grep -rnE needle_[0-9]+ build/bench/tree"),
        timeit("grep_text", "grep -rnF needle_7 build/bench/tree"),
        timeit("glob", "find build/bench/tree -path '*/file_1?.lua'"),
      } },
    },
    lines = {
      { "grep", "tool grep, 10,000 files, start-up included", unit = "ms", scale = 1e-3, show = "wall",
        target = { times = 1.2, peer = "GNU grep and find" } },
      { "grep_text", "the same, plain text", unit = "ms", scale = 1e-3, show = "wall",
        target = { times = 1.2, peer = "GNU grep and find" } },
      { "glob", "tool glob, 10,000 files, start-up included", unit = "ms", scale = 1e-3, show = "wall",
        target = { times = 2, peer = "GNU grep and find" } },
    },
  },
  {
    name = "memory_files",
    ours = ours "memory_files.lua",
    peers = { { "reference in node", node "memory_files.mjs" } },
    lines = {
      { "write", "memory(): write one of 10,000 files", unit = "us", show = "cpu",
        target = { times = 1, peer = "reference in node" } },
      { "read", "memory(): read one", unit = "us", show = "cpu" },
      { "list", "memory(): list 10,000 files", unit = "ms", scale = 1e-3, show = "cpu",
        target = { times = 1, peer = "reference in node" } },
      { "glob", "memory(): list the 100 of 10,000 that match", unit = "ms", scale = 1e-3, show = "cpu",
        target = { times = 1, peer = "reference in node" } },
      { "snapshot", "memory(): snapshot of 10,000 files, then a write", unit = "us", show = "cpu",
        target = { times = 1, peer = "reference in node" } },
    },
  },
  {
    name = "lua",
    ours = ours "programs.lua",
    peers = {
      { "lua5.4 in bwrap", timeit("cold", "bwrap --ro-bind / / --unshare-all --die-with-parent --proc /proc --dev /dev "
        .. "lua5.4 -e 'return 1'") },
    },
    lines = {
      { "warm", "tool lua, a program", unit = "ms", scale = 1e-3, show = "wall", target = { at_most = 2 } },
      { "cold", "the same without a spare process", unit = "ms", scale = 1e-3, show = "wall" },
      { "call", "a call of a tool in it", unit = "us", show = "wall" },
    },
  },
  {
    name = "abort",
    ours = ours "abort.lua",
    peers = {},
    lines = {
      { "abort", "abort of 10,000 waiting tasks", unit = "ms", scale = 1e-3, show = "wall", target = { at_most = 20 } },
      { "left", "what is left afterwards", unit = "things", show = "value", target = { at_most = 0 } },
    },
  },
  {
    name = "stream",
    programs = {
      mock_openai = "spec/bench/mock_openai.c",
      curl_stream = "spec/bench/peers/curl_stream.c -lcurl -lcjson",
    },
    ours = each_stream(ours "stream.lua"),
    peers = {
      { "libcurl + cJSON", each_stream "{bin}/curl_stream" },
      { "openai", each_stream(node("stream.mjs", "openai"), STREAMS_IN_NODE) },
      { "ai", each_stream(node("stream.mjs", "ai"), STREAMS_IN_NODE) },
      { "fetch in node", each_stream(node("stream.mjs", "fetch"), STREAMS_IN_NODE) },
    },
    lines = {
      { "c1", "text delta, 1 stream", unit = "us", show = "cpu", target = { at_most = 2 } },
      { "c64", "text delta, 64 streams", unit = "us", show = "cpu", target = { at_most = 2 } },
      { "c512", "text delta, 512 streams", unit = "us", show = "cpu", target = { at_most = 2 } },
    },
  },
  {
    name = "json",
    ours = ours "json.lua",
    peers = { { "lua-cjson", "lua5.4 spec/bench/peers/cjson.lua" } },
    lines = {
      { "decode", "JSON decode, 1.8 KB", unit = "us", show = "cpu", target = { times = 2, peer = "lua-cjson" } },
      { "encode", "JSON encode, 1.8 KB", unit = "us", show = "cpu", target = { times = 2, peer = "lua-cjson" } },
    },
  },
  {
    name = "ulid",
    ours = ours "ulid.lua",
    peers = { { "ulid (npm)", node "ulid.mjs" } },
    lines = {
      { "ulid", "ULID, monotonic", unit = "ns", scale = 1e3, show = "cpu", target = { times = 1, peer = "ulid (npm)" } },
    },
  },
  {
    name = "exec",
    ours = ours "exec.lua",
    peers = {
      { "bwrap, same flags", "{lua} spec/bench/peers/bwrap.lua" },
      { "just-bash", node "just_bash.mjs" },
    },
    lines = {
      { "exec", "sandboxed `echo hi`", unit = "ms", scale = 1e-3, show = "wall" },
      -- Measured in turns with it, since a machine is not equally busy all the time.
      { "over", "the same over bwrap", unit = "ms", show = "value", target = { at_most = 1 } },
    },
  },
  {
    name = "embed",
    programs = {
      embed = "spec/bench/ours/embed.c build/libharness.a $(pkg-config --libs lua5.4 libuv libcjson yaml-0.1) -ldl -lm -lpthread",
      lua_state = "spec/bench/peers/lua_state.c $(pkg-config --cflags --libs lua5.4)",
    },
    ours = "{bin}/embed",
    peers = { { "a bare lua_State, a loop", "{bin}/lua_state" }, { "a worker of node", node "isolate.mjs" } },
    lines = {
      { "pump_idle", "pump with nothing to do", unit = "us", show = "wall" },
      { "pump_99", "pump, 99 %, 100 streaming", unit = "us", show = "value", target = { at_most = 1000 } },
      -- Beside the longest time for which the machine itself stops a loop.
      { "pump_longest", "longest pump, 100 streaming", unit = "us", show = "value" },
      { "engine_memory", "memory of an engine", unit = "KiB", show = "value", target = { times = 1, peer = "a worker of node" } },
      { "session_memory", "memory of a session", unit = "KiB", show = "value" },
      { "run_memory", "memory of a run that waits", unit = "KiB", show = "value", target = { at_most = 10 } },
    },
  },
}
