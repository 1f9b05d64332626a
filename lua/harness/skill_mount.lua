--- The files of skills in the sandbox of a session: mounted once, read-only, before an agent that lists them
--- begins.

local adapter = require "harness.adapter"
local core = require "harness.core"
local errors = require "harness.errors"
local fields = require "harness.definition_fields"
local locks = require "harness.locks"
local session_sandbox = require "harness.session_sandbox"
local task = require "harness.task"

local M = {}

M.MAX_FILES = 5000
M.MAX_BYTES = 100000000

-- After so much has been read others have their turn.
local SLICE_BYTES <const> = 1 << 20
local SLICE_FILES <const> = 64

local mounted = setmetatable({}, { __mode = "k" }) -- session of a sandbox -> skill -> true

local function refuse(skill, reason, message)
  errors.raise("SKILL_MANIFEST_ERROR", ("the skill %q in %s %s"):format(skill.id, skill.directory, message),
    { reason = reason, skill_id = skill.id, directory = skill.directory, source = skill.source })
end

--- The regular files of a skill, { name, size } in byte order, with `bytes` and the number of `links` and
--- `others` that are passed over; or nil, a reason of SKILL_MANIFEST_ERROR, and what is wrong with the skill.
---@param skill harness.Skill
---@return table? list
---@return string? reason
---@return string? message
function M.survey(skill)
  local list, code, message, name = core.folder.scan(skill.directory, M.MAX_FILES, M.MAX_BYTES)
  if list then return list end
  if code == "LIMIT" then
    return nil, "scan_limit_reached", ("has more than %d files or %d bytes, or is nested too deeply"):format(
      M.MAX_FILES, M.MAX_BYTES)
  end
  if name then return nil, "unreadable", ("cannot be read: %s: %s"):format(name, message) end
  return nil, "directory_missing", "cannot be read: " .. message
end

-- The bytes of a file, which must still be what the survey saw.
local function read_file(skill, entry)
  local parts, at = {}, 0
  repeat
    local bytes, size, message = core.folder.read(skill.directory, entry.name, at, SLICE_BYTES)
    if not bytes then refuse(skill, "unreadable", ("cannot be read: %s: %s"):format(entry.name, message)) end
    if size ~= entry.size or #bytes == 0 and at < size then
      refuse(skill, "unreadable", ("was changed while it was read: %s"):format(entry.name))
    end
    parts[#parts + 1] = bytes
    at = at + #bytes
    if at < size then task.pause() end
  until at == size
  return table.concat(parts)
end

local function read_all(skill)
  local list, reason, message = M.survey(skill)
  if not list then return refuse(skill, reason, message) end
  local files, since_pause = {}, 0
  for i, entry in ipairs(list) do
    files[entry.name] = read_file(skill, entry)
    since_pause = since_pause + entry.size
    if since_pause >= SLICE_BYTES or i % SLICE_FILES == 0 then
      since_pause = 0
      task.pause()
    end
  end
  return files
end

local function mount_one(sandbox, skill)
  sandbox:mount(read_all(skill), skill.mount_path, { read_only = true })
end

local function skill_of(run, agent, id)
  local skill = run.definition.skills[id]
  if skill then return skill end
  local why = {}
  for i, one in ipairs(run.definition.skipped_skills[id] or {}) do why[i] = one.message end
  errors.raise("SKILL_NOT_FOUND", ("agent %q needs the skill %q, which was left out: %s"):format(agent.id, id,
    table.concat(why, "; ")), { skill_id = id, agent_id = agent.id })
end

--- Mounts the skills of an agent that are not in the sandbox of the run's session yet. Each may take
--- `skill_timeout_ms`.
---@param run harness.Run
---@param agent table its definition, with skills
function M.for_agent(run, agent)
  local skills = {}
  for i, id in ipairs(agent.skills) do skills[i] = skill_of(run, agent, id) end
  local sandbox = session_sandbox.for_run(run)
  if not fields.is_callable(adapter.field(sandbox, "mount")) then
    errors.raise("SKILL_MANIFEST_ERROR", ("agent %q has skills, but the sandbox of its session has no method mount")
      :format(agent.id), { reason = "skill_sandbox_unsupported" })
  end
  local _ <close> = locks.take(run.session, "skills")
  local done = mounted[sandbox] or {}
  mounted[sandbox] = done
  for _, skill in ipairs(skills) do
    if not done[skill] then
      local ok, err = task.deadline(run.definition.defaults.skill_timeout_ms, "skill", mount_one, sandbox, skill)
      if not ok then error(err, 0) end
      done[skill] = true
    end
  end
end

return M
