--- harness-lua help [COMMAND], harness-lua --help: how it is used.

local interpreter = require "harness.cli.interpreter"
local nearest = require "harness.nearest"

local M = {}

local COMMANDS <const> = { "run", "chat", "inspect", "runs" }

---@param argv string[]
---@param native harness.cli.Native
---@return integer status
function M.main(argv, native)
  local name = argv[2]
  if not name then
    io.stdout:write(interpreter.usage(argv[0]), ("`%s help COMMAND` tells more about one.\n"):format(argv[0]))
    return 0
  end
  for _, known in ipairs(COMMANDS) do
    if name == known then
      return require("harness.cli." .. name).main({ [0] = argv[0], name, "--help" }, native)
    end
  end
  io.stderr:write(("%s: there is no command %q%s\n"):format(argv[0], name, nearest.hint(name, COMMANDS, "commands")))
  return 2
end

return M
