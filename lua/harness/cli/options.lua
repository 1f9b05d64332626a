--- Reads the arguments of the subcommands: `--name value`, `--name=value`, `--flag`, and the rest.

local M = {}

---@class harness.cli.Usage
local Usage = {}
Usage.__index = Usage

--- A mistake in the arguments: the command prints it and exits with 2.
function M.fail(message)
  error(setmetatable({ message = message }, Usage), 0)
end

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

--- Splits argv (from index `from`) by the specification: name -> "value" or "flag".
---@param argv string[]
---@param from integer
---@param spec table<string, "value"|"flag">
---@return table<string, string|true> options
---@return string[] rest
function M.parse(argv, from, spec)
  local options, rest, i, only_rest = {}, {}, from, false
  while argv[i] do
    local arg = argv[i]
    local name, value = arg:match "^%-%-([^=]+)=(.*)$"
    name = name or arg:match "^%-%-(.+)$"
    if only_rest or not name and arg:sub(1, 2) ~= "--" then
      rest[#rest + 1] = arg
    elseif arg == "--" then
      only_rest = true
    else
      local kind = spec[name]
      if not kind then
        local names = {}
        for known in pairs(spec) do names[#names + 1] = "--" .. known end
        table.sort(names)
        M.fail(("there is no option --%s; there are: %s"):format(name, table.concat(names, ", ")))
      end
      if kind == "flag" then
        if value then M.fail(("option --%s takes no value"):format(name)) end
        options[name] = true
      else
        if not value then
          i = i + 1
          value = argv[i]
        end
        if not value then M.fail(("option --%s needs a value"):format(name)) end
        options[name] = value
      end
    end
    i = i + 1
  end
  return options, rest
end

return M
