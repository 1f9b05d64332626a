--- Who the commands of bash{} run as on the host: never root. Root inside a user namespace is still root
--- outside of it: it reads root's files, and no limit of processes binds it.

local core = require "harness.core"
local fields = require "harness.definition_fields"

local M = {}

---@class harness.CommandUser
---@field uid integer
---@field gid integer
---@field name string
---@field switched boolean is it another one than the engine's own?

local function described(uid, gid, name, switched)
  return { uid = uid, gid = gid, name = name or tostring(uid), switched = switched }
end

local function look_up(uid, gid)
  local found = core.jail.user(uid)
  return described(uid, found and found.gid or gid, found and found.name, true)
end

-- The user that was asked for by name or number.
local function asked_for(problems, path, value)
  local wanted = math.tointeger(value) or value
  local found = (type(wanted) == "string" or math.type(wanted) == "integer" and wanted >= 0) and core.jail.user(wanted)
  if found then return described(found.uid, found.gid, found.name, true) end
  if math.type(wanted) == "integer" and wanted > 0 and wanted < (1 << 32) - 1 then
    return described(wanted, wanted, nil, true)
  end
  problems:add(path, "unknown_user", ("must be a user of this machine, by name or number, found %s")
    :format(fields.found(value)))
  return nil
end

local function as_root(problems, path, checked)
  if checked.run_as ~= nil then return asked_for(problems, path, checked.run_as) end
  if not checked.root then return asked_for(problems, path, "nobody") end
  local owner = core.jail.owner(checked.root)
  if owner and owner.uid ~= 0 then return look_up(owner.uid, owner.gid) end
  problems:add(path, "run_as_needed", ("%s belongs to root, and commands do not run as root: name the user that they "
    .. "run as, who has to have access to it"):format(checked.root))
  return nil
end

local function as_somebody(problems, path, checked, machine)
  local own = core.jail.user(machine.uid)
  if checked.run_as ~= nil then
    local asked = asked_for(problems, path, checked.run_as)
    if asked and asked.uid ~= machine.uid then
      problems:add(path, "not_root", "only root can run commands as another user; leave it out")
    end
  end
  return described(machine.uid, machine.gid, own and own.name, false)
end

--- The user; nil when there is none, with a problem added.
---@param problems harness.Problems
---@param checked { root?: string, run_as?: string|integer, without: table<string, true> }
---@return harness.CommandUser?
function M.find(problems, checked)
  local machine, path = core.jail.machine(), { "sandbox", "bash", "run_as" }
  if machine.uid ~= 0 then return as_somebody(problems, path, checked, machine) end
  if checked.without.run_as then return described(0, machine.gid, "root", false) end
  local found = as_root(problems, path, checked)
  if not found or found.uid ~= 0 then return found end
  problems:add(path, "run_as_root", "commands do not run as root; name another user")
  return nil
end

return M
