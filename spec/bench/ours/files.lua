--- The tools grep and glob over build/bench/tree, through a session that lists with find and reads with
--- io.open: what is measured is the tools.
---
---     harness-lua spec/bench/ours/files.lua grep|glob PATTERN

local builtin = require "harness.builtin"
local core = require "harness.core"
local process = require "harness.process"

local ROOT <const> = "build/bench/tree"
local KINDS <const> = { f = "file", d = "directory" }

local session = { executor = "unavailable" }

function session:exists() return self ~= nil end

function session.stat() return { kind = "directory", size = 0 } end

function session.read(_, path)
  local file <close> = assert(io.open(ROOT .. path, "rb"))
  return file:read "a"
end

function session.list(_, _, options)
  local found = process.run {
    file = "find", args = { ROOT, "-mindepth", "1", "-printf", "%y %s /%P\\n" }, max_output = 16 << 20,
  }
  local matcher, list = options.glob and core.glob.compile(options.glob), {}
  for kind, size, path in found.stdout:gmatch "(%a) (%d+) ([^\n]+)" do
    if not matcher or matcher:match(path) then
      list[#list + 1] = { name = path:match "[^/]+$", path = path, kind = KINDS[kind], size = tonumber(size) }
    end
  end
  table.sort(list, function(a, b) return a.path < b.path end)
  return list
end

local result = builtin.get(arg[1]).run({ sandbox = session }, { pattern = arg[2], max_results = 1000 })
print(#(result.matches or result.paths), result.notice)
