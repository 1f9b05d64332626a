--- Reads the arguments of the subcommands: `--name value`, `--name=value`, `--flag`, and the rest.

local nearest = require "harness.nearest"

local M = {}

---@class harness.cli.Usage
local Usage = {}
Usage.__index = Usage

--- A mistake in the arguments: the command prints it and exits with 2.
---@param message string
function M.fail(message)
  error(setmetatable({ message = message }, Usage), 0)
end

--- A mistake that is best explained by how the command is used.
---@param message string
---@param usage string
function M.fail_with_usage(message, usage)
  M.fail(message .. "\n" .. usage:gsub("\n$", ""))
end

---@param err any
---@return boolean
function M.is_usage_error(err)
  return getmetatable(err) == Usage
end

local UNITS <const> = { ms = 1, s = 1000, m = 60000, h = 3600000 }

--- "500ms", "30s", "2m", "1h" or a number of seconds, as milliseconds.
---@param text string
---@param name string
---@return integer
function M.duration(text, name)
  local number, unit = text:match "^(%d+%.?%d*)(%a*)$"
  local factor = UNITS[unit == "" and "s" or unit]
  if not number or not factor then
    M.fail(("%s: %q is not a time; write 500ms, 30s, 2m or 1h"):format(name, text))
  end
  return math.ceil(tonumber(number) * factor)
end

local function unknown_option(name, spec)
  local names = {}
  for known in pairs(spec) do names[#names + 1] = known end
  table.sort(names)
  local meant = nearest.find(name, names)
  M.fail(("there is no option --%s; %s"):format(name, meant and ("did you mean --%s?"):format(meant)
    or "there are: --" .. table.concat(names, ", --")))
end

--- Splits argv (from index `from`) by the specification: name -> "value" or "flag". What follows `--`
--- is no option.
---@param argv string[]
---@param from integer
---@param spec table<string, "value"|"flag">
---@return table<string, string|true> options
---@return string[] rest
function M.parse(argv, from, spec)
  local options, rest, i = {}, {}, from
  while argv[i] do
    local arg = argv[i]
    if arg == "--" then return options, table.move(argv, i + 1, #argv, #rest + 1, rest) end
    local name, value = arg:match "^%-%-([^=]+)=(.*)$"
    name = name or arg:match "^%-%-(.+)$"
    local kind = name and spec[name]
    if not name then
      rest[#rest + 1] = arg
    elseif not kind then
      unknown_option(name, spec)
    elseif kind == "flag" then
      if value then M.fail(("option --%s takes no value"):format(name)) end
      options[name] = true
    else
      if not value then
        i = i + 1
        value = argv[i]
      end
      options[name] = value or M.fail(("option --%s needs a value"):format(name))
    end
    i = i + 1
  end
  return options, rest
end

return M
