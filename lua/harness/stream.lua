--- Streams: readers of a run's events, each with its own queue and position.
---
---     for event in stream do … end      -- raises the run's error after the last event
---     local output = stream:result()

local core = require "harness.core"
local errors = require "harness.errors"
local events = require "harness.events"
local task = require "harness.task"

local M = {}

local CAPACITY <const> = 1024

---@class harness.Stream
---@operator call: table?
local Stream = {}
Stream.__index = Stream
Stream.__name = "harness.Stream"

--- A queue for a run's events: adjacent deltas are joined before anything is dropped.
function M.new_queue()
  return core.relay.new { capacity = CAPACITY, terminal = events.TERMINAL, merge = true }
end

--- A stream that reads from the queue of a run.
---@param run harness.Run
---@param queue userdata
---@return harness.Stream
function M.of_run(run, queue)
  return setmetatable({ run_id = run.id, _run = run, _queue = queue }, Stream)
end

local ENDED <const> = { succeeded = true, failed = true, cancelled = true }

-- A stored run ended long ago: its error is made anew from its record. One that has not ended is not
-- in this harness, which cannot know when it does.
local function recorded_error(record)
  local err = record.error
  if not ENDED[record.status] then
    local message = "run %q is %s, but not in this harness: these were its events so far; "
      .. "follow it again when it has ended"
    return errors.new("STATE_ERROR", message:format(record.id, record.status), { op = "follow", reason = "not_here" })
  end
  if record.status == "succeeded" or not err then return nil end
  return errors.new(err.code, err.message, err.meta)
end

--- A stream on a run that has ended, or is not in this harness, out of storage.
---@param record table the run's record
---@param backlog table[] its events
---@return harness.Stream
function M.of_record(record, backlog)
  return setmetatable({
    run_id = record.id, _record = record, _error = recorded_error(record), _backlog = backlog, _next = 1,
  }, Stream)
end

--- A stream on a run in flight: first the stored events, then on live without a gap or a repeat.
---@param stream harness.Stream on the run
---@param backlog table[] its stored events
---@param after_seq integer
---@return harness.Stream the same
function M.following(stream, backlog, after_seq)
  stream._backlog, stream._next = backlog, 1
  local last = backlog[#backlog]
  stream._after = math.max(after_seq, last and last.seq or 0)
  return stream
end

local function from_backlog(self, backlog)
  local event = backlog[self._next]
  if not event then
    self._backlog = nil
    return nil
  end
  backlog[self._next] = nil
  self._next = self._next + 1
  return event
end

-- The queue's notice that this reader has missed events; made for it alone, so it has no seq.
local function overflow(self, event)
  event.run_id, event.attempt, event.at = self.run_id, self._run.attempt, core.timestamp()
  return event
end

local function at_end(self)
  local err = self._error
  if self._run then err = self._run.failed and self._run.error or nil end
  if err ~= nil then error(err, 0) end
  return nil
end

-- The next event that is there, else nil and "empty" or "end".
local function take(self)
  local backlog, event = self._backlog, nil
  if backlog then event = from_backlog(self, backlog) end
  if event then return event end
  local queue = self._queue
  if not queue then return nil, "end" end
  while true do
    local state
    event, state = queue:take()
    if not event then return nil, state end
    if not event.seq then return overflow(self, event) end
    if not self._after or event.seq > self._after then return event end
  end
end

--- For those who do not wait, such as a host in its frame loop: the next event; or nil and "empty", then
--- token is queued once there is one; or nil and "end".
---@param token integer
---@return table? event
---@return string? state
function Stream:poll(token)
  while true do
    local event, state = take(self)
    if event or state == "end" or not self._queue:arm(token) then return event, state end
  end
end

--- The next event, waiting for it; nil after the last one. Raises the run's error after the last.
---@return table?
function Stream:next()
  while true do
    local event, state = take(self)
    if event then return event end
    if state == "end" then return at_end(self) end
    task.wait(self._queue)
  end
end

Stream.__call = Stream.next

--- The run's output, once it has ended; raises its error. Needs no reading of events.
function Stream:result()
  if self._run then return self._run:result() end
  at_end(self)
  return self._record.output
end

--- Asks the run to stop; the events go on to run.finished.
---@param reason any?
function Stream:cancel(reason)
  if self._run then self._run:cancel(reason) end
end

--- Lets go of the queue; the run goes on.
function Stream:close()
  local queue, run = self._queue, self._run
  self._queue, self._backlog = nil, nil
  if not queue then return end
  for i, reader in ipairs(run.readers) do
    if reader == queue then
      table.remove(run.readers, i)
      break
    end
  end
  queue:finish() -- wakes who is reading it now
end

Stream.__close = Stream.close

return M
