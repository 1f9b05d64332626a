-- harness.h: the C programs beside this file, case by case; what the libraries export; a stock lua5.4.

local process = require "harness.process"

local BUILD <const> = os.getenv("HARNESS_LUA"):match "^(.*)/harness%-lua$"
local PROGRAMS <const> = { "basics", "endings", "loops", "no_memory", "remove", "seams", "slab", "threads" }

-- A stock lua5.4 cannot load a library that was built with the sanitizers.
local IS_SANITIZED <const> = BUILD:find "/asan$" ~= nil

local function run(file, ...)
  return process.run { file = file, args = { ... } }
end

local function sh(script)
  return process.run { file = "sh", args = { "-c", script } }
end

-- Writable data that all engines of a process share: the one libcurl of the process, loaded under pthread_once
-- and never changed afterwards (engine/curl_api.c).
local SHARED <const> = { "api", "failure", "once" }

describe("harness.h", function()
  for _, name in ipairs(PROGRAMS) do
    local program = ("%s/spec/embed/%s"):format(BUILD, name)
    local list <close> = assert(io.popen(("'%s' --list"):format(program)))
    for case in list:lines() do
      it(("%s: %s"):format(name, case), function()
        local result = run(program, case)
        assert.equal(0, result.exit_code, result.stdout .. result.stderr)
        assert.equal("ok " .. case, result.stdout:match "([^\n]*)\n$", result.stderr)
        local told = result.stdout:gsub("ok [^\n]*\n$", "")
        if told ~= "" then io.write(told) end
      end)
    end
  end

  it("is C11 and C++17 without a warning", function()
    for _, how in ipairs { "gcc -x c -std=c11", "g++ -x c++ -std=c++17" } do
      local result = sh(how .. " -Wall -Wextra -Wpedantic -Werror -fsyntax-only bindings/harness.h 2>&1")
      -- A header as the main file: the pragma-once warning does not apply, everything else does.
      assert.equal("", result.stdout, how)
    end
  end)

  it("exports nothing but its own names", function()
    local names = sh(("nm -D --defined-only '%s/libharness.so'"):format(BUILD)).stdout
    local n = 0
    for name in names:gmatch "%x+ %a ([%w_]+)" do
      n = n + 1
      assert.equal("harness_", name:sub(1, 8), name)
    end
    assert.is_true(n >= 20)
  end)

  it("takes no other name from a program that is linked with it", function()
    local names = sh(("nm -g --defined-only '%s/libharness.a'"):format(BUILD)).stdout
    local n = 0
    for name in names:gmatch "%x+ %a ([%w_]+)" do
      n = n + 1
      assert.equal("harness_", name:sub(1, 8), name)
    end
    assert.is_true(n >= 20)
  end)

  if not IS_SANITIZED then it("has no writable global data but what is listed", function()
    local found = {}
    for line in sh(("objdump -t '%s/libharness.a'"):format(BUILD)).stdout:gmatch "[^\n]+" do
      local section, name = line:match " O ([%w_.*]+)%s+%x+ ([%w_.]+)$" -- .data.rel.ro is read-only when it runs
      local writable = section and (section:find "^%.t?bss" or section:find "^%.t?data" or section == "*COM*")
      if writable and not section:find "^%.data%.rel%.ro" then found[#found + 1] = name end
    end
    table.sort(found)
    assert.same(SHARED, found)
  end) end
end)

if not IS_SANITIZED then describe("a stock lua5.4", function()
  local function stock(script, env)
    return sh(("cd / && %s lua5.4 -e '%s' 2>&1"):format(env, script))
  end
  local cpath = ("LUA_CPATH='%s/?.so'"):format(BUILD)

  it("has the harness from one file, and runs what waits in harness.run", function()
    local result = stock([[local h = require "harness"
      print(h.run(function() h.sleep(1) return "slept", h.version end))]], cpath)
    assert.matches("^slept\t%d+%.%d+%.%d+\n$", result.stdout)
  end)

  it("has it from the Lua files and harness/core.so", function()
    local root = io.popen("pwd"):read "l"
    local result = stock([[print(require("harness").run(function() return 7 end), (require "harness.core").version)]],
      ("LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua' %s"):format(root, root, cpath))
    assert.matches("^7\t", result.stdout)
  end)

  it("says where waiting is possible", function()
    local result = stock([[require("harness").sleep(1)]], cpath)
    assert.matches("harness%.run", result.stdout)
  end)

  it("gets errors and results through harness.run", function()
    local result = stock([[local h = require "harness"
      print(pcall(h.run, function() h.error("MINE", "x") end))
      print(h.run(function(a, b) return b, a end, 1, 2))]], cpath)
    assert.equal("false\tMINE: x\n2\t1\n", result.stdout)
  end)
end) end
