rockspec_format = "3.0"
package = "harness"
version = "scm-1"
source = { url = "." }
description = {
  summary = "Runs LLM agents, their tools and workflows, written in Lua",
  detailed = [[
A C engine with Lua on top: agents, tools and workflows as coroutines over libuv, structured concurrency,
streams, cancellation that reaches the socket. `require "harness"` in a stock lua5.4, with harness.run.]],
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4" }
external_dependencies = {
  LIBUV = { header = "uv.h" },
  CJSON = { header = "cjson/cJSON.h" },
  YAML = { header = "yaml.h" },
}
build = {
  type = "make",
  build_target = "libraries",
  install_target = "install-rock",
  install_variables = { LUADIR = "$(LUADIR)", LIBDIR = "$(LIBDIR)" },
}
