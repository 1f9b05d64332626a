-- luacheck: the same rules for the product, its specs and its examples.
std = "lua54"
max_line_length = 120
color = false
exclude_files = { "build/" }
files["spec/**/*_spec.lua"] = { std = "+busted" }
-- Specs read better with the unused names of callbacks written out.
files["spec"] = { unused_args = false }
-- These replace library functions on purpose: waiting inside user coroutines, os.exit in a task.
files["lua/harness/chain.lua"] = { globals = { "coroutine" } }
files["lua/harness/cli.lua"] = { globals = { "os" } }
files["lua/harness/host.lua"] = { globals = { "os" } }
-- A table of rows, one line each.
files["spec/bench/rows.lua"] = { max_line_length = false }
