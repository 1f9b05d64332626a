-- make install and uninstall, the rockspec, the man page and the completions.

local command = require "spec.support.command"
local process = require "harness.process"

local IS_RELEASE <const> = command.HARNESS_LUA:find "build/harness%-lua$" ~= nil

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function sh(script)
  local result = process.run { file = "sh", args = { "-c", script } }
  assert.equal(0, result.exit_code, script .. "\n" .. result.stdout .. result.stderr)
  return result.stdout
end

-- The options that the help of a subcommand names.
local function options_of(name)
  local list, text = {}, command.run({ name, "--help" }).stdout
  for option in text:gmatch "%-%-[%l]+" do list[option] = true end
  assert.truthy(next(list) or name == "inspect", name)
  return list
end

describe("the man page and the completions", function()
  local man = read("bindings/harness-lua.1"):gsub("\\%-", "-")
  local bash, zsh = read "bindings/completion.bash", read "bindings/_harness-lua"

  for _, name in ipairs { "run", "chat", "inspect", "runs" } do
    it("know all options of harness-lua " .. name, function()
      for option in pairs(options_of(name)) do
        for where, text in pairs { man = man, bash = bash, zsh = zsh } do
          assert.truthy(text:find(option, 1, true), ("%s of %s in %s"):format(option, name, where))
        end
      end
    end)
  end

  it("know all commands of harness-lua", function()
    for name in command.run({ "help" }).stdout:gmatch "harness%-lua (%l+) [F%[]" do
      assert.truthy(man:find("harness-lua " .. name, 1, true), name)
      assert.truthy(bash:find("%f[%w]" .. name .. "%f[%W]"), name)
      assert.truthy(zsh:find("%f[%w]" .. name .. "%f[%W]"), name)
    end
    for name in command.run({ "chat", "--help" }).stdout:gmatch "\n(/%l+)" do
      assert.truthy(man:find(name, 1, true), name)
    end
  end)

  it("are laid out without a warning", function()
    local result = process.run { file = "groff", args = { "-man", "-Tutf8", "-ww", "-z", "bindings/harness-lua.1" } }
    assert.same({ 0, "" }, { result.exit_code, result.stderr })
  end)

  it("are the version's", function()
    local version = read("bindings/bindings.h"):match '#define HARNESS_VERSION "([%d.]+)"'
    assert.truthy(man:find("harness-lua " .. version, 1, true))
  end)

  it("complete subcommands, options and what a file defines", function()
    local function complete(words, at)
      local script = [[
        source bindings/completion.bash
        COMP_WORDS=(%s) COMP_CWORD=%d
        _harness_lua
        printf '%%s\n' "${COMPREPLY[@]}"]]
      return process.run { file = "bash", args = { "-c", script:format(words, at) } }.stdout
    end
    assert.equal("run\nruns\n", complete("harness-lua ru", 1))
    assert.equal("chat\n", complete("harness-lua help ch", 2))
    assert.equal("--stream\n", complete("harness-lua run x.lua y --st", 4))
    local line = ("'%s' run examples/review.lua ''"):format(command.HARNESS_LUA)
    assert.equal("editor\ngrammarian\nspeller\nreview\n", complete(line, 3))
    assert.equal("review\n", complete(line:gsub("''", "re"), 3))
  end)
end)

-- What a sanitizer builds is not for installation.
if IS_RELEASE then describe("make install", function()
  local place

  before_each(function() place = command.directory() end)
  after_each(function() place:close() end)

  it("puts everything where it belongs, and uninstall leaves nothing", function()
    local to = ("PREFIX=/opt/h DESTDIR=%s"):format(place.path)
    sh("make install " .. to)
    local at = place.path .. "/opt/h"
    for _, path in ipairs {
      "bin/harness-lua", "include/harness.h", "lib/libharness.a", "lib/libharness.so", "lib/libharness.so.0",
      "lib/pkgconfig/harness.pc", "share/man/man1/harness-lua.1", "share/lua/5.4/harness/init.lua",
      "share/lua/5.4/harness/types.lua", "lib/lua/5.4/harness/core.so", "share/doc/harness-lua/README.md",
      "share/bash-completion/completions/harness-lua", "share/zsh/site-functions/_harness-lua",
    } do
      assert(io.open(at .. "/" .. path), path):close()
    end
    assert.equal("7\n", sh(("cd / && %s/bin/harness-lua -e 'print(require[[harness]].run and 7)'"):format(at)))
    assert.equal("8\n", sh(([[cd / && LUA_PATH='%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua' \
      LUA_CPATH='%s/lib/lua/5.4/?.so' lua5.4 -e 'print(require("harness").run(function() return 8 end))']])
      :format(at, at, at)))
    assert.matches("^prefix=/opt/h\n", read(at .. "/lib/pkgconfig/harness.pc"))
    sh("make uninstall " .. to)
    assert.equal("", sh(("find '%s' -type f -o -type l -o -name harness"):format(place.path)))
  end)

  it("builds a program with pkg-config, against the shared and the static library", function()
    sh(("make install PREFIX=%s/h"):format(place.path))
    for how, flags in pairs { shared = "--libs", static = "--static --libs" } do
      local static = how == "static" and "-Wl,-Bstatic -lharness -Wl,-Bdynamic" or ""
      local line = ([[export PKG_CONFIG_PATH=%s/h/lib/pkgconfig
        gcc -o %s/game examples/game.c $(pkg-config --cflags harness) -L%s/h/lib %s $(pkg-config %s harness) &&
        LD_LIBRARY_PATH=%s/h/lib %s/game]]):format(place.path, place.path, place.path, static, flags, place.path,
        place.path)
      assert.matches("^guard: Who goes there%?\n", sh(line), how)
    end
  end)

  it("is what the rockspec asks for", function()
    local rock = {}
    assert(loadfile("harness-scm-1.rockspec", "t", rock))()
    assert.same({ "harness", "scm-1", "make" }, { rock.package, rock.version, rock.build.type })
    local variables = rock.build.install_variables
    local line = ("make %s LUADIR=%s/lua LIBDIR=%s/lib"):format(rock.build.install_target, place.path, place.path)
    assert.same({ LUADIR = "$(LUADIR)", LIBDIR = "$(LIBDIR)" }, variables)
    sh(("make %s && %s"):format(rock.build.build_target, line))
    assert.equal("9\n", sh(([[cd / && LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua' LUA_CPATH='%s/lib/?.so' \
      lua5.4 -e 'print(require("harness").run(function() return 9 end))']]):format(place.path, place.path, place.path)))
  end)
end) end
