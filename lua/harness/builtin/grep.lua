--- The built-in tool `grep`: lines that match a regular expression (engine/grep.h), through the file calls
--- of the sandbox, never through a shell.

local core = require "harness.core"
local errors = require "harness.errors"
local files = require "harness.builtin.files"
local join = require "harness.join"
local json = require "harness.json"
local s = require "harness.schema"
local task = require "harness.task"

local M = {}

local DEFAULT_RESULTS <const> = 100
local MAX_FILE_BYTES <const> = 2000000   -- larger files are not searched
local MAX_TOTAL_BYTES <const> = 50000000 -- nor is more than this altogether
local LINE_BYTES <const> = 300           -- a longer line is shown around its match
local READ_AHEAD <const> = 16            -- files that are read side by side
local SCAN_BEFORE_PAUSE <const> = 1000000 -- bytes, then others have their turn

local function compile(input)
  local grep, why = core.grep.compile(input.pattern, input.ignore_case)
  if grep then return grep end
  return files.invalid("pattern is not a regular expression: " .. why, { { path = "$.pattern", message = why } })
end

local function too_long(path)
  local message = "matching it takes too long; avoid repetition inside of repetition, such as (a+)+"
  errors.raise("VALIDATION_ERROR", ("pattern was given up in %s: %s"):format(path, message),
    { where = "tool_input", reason = "match_limit", issues = { { path = "$.pattern", message = message } } })
end

-- A long line becomes what is around its match.
local function shown_line(text, first, last, match)
  if last - first < LINE_BYTES then return (files.clean(text:sub(first, last))) end
  local from = math.max(first, math.min(match - LINE_BYTES // 4, last - LINE_BYTES + 1))
  if from > first then from = files.character_end(text, from - 1) + 1 end
  local to = math.min(last, files.character_end(text, from + LINE_BYTES - 1))
  return (from > first and "…" or "") .. files.clean(text:sub(from, to)) .. (to < last and "…" or "")
end

-- The files to search, by path. A path that names a file is that file.
local function candidates(sandbox, path, glob)
  if not sandbox:exists(path) then return {}, ("There is no %s."):format(path) end
  local stat = sandbox:stat(path)
  if stat.kind ~= "directory" then return { { path = path, size = stat.size } } end
  local list = {}
  for _, entry in ipairs(sandbox:list(path, { recursive = true, glob = glob })) do
    if entry.kind == "file" then list[#list + 1] = entry end
  end
  return list
end

---@class harness.builtin.Search
local Search = {}
Search.__index = Search

-- Takes a line that matches, from `first` to `last` of the text; true when the result is full.
function Search:add(path, line, text, first, last, match)
  local shown = shown_line(text, first, last, match)
  self.bytes_shown = self.bytes_shown + #shown + #path
  if self.bytes_shown > files.MAX_TEXT_BYTES and #self.matches > 0 then
    self.truncated = true
    return true
  end
  self.matches[#self.matches + 1] = { path = (files.clean(path)), line = line, text = shown }
  return false
end

-- In one of ours: the files are read and searched in C (bindings/sandbox_search.c), some at a time.
function Search:run_in_core(path, glob)
  if not self.sandbox:exists(path) then self.missing = ("There is no %s."):format(path) end
  local search = self.sandbox:search(path, self.grep, { glob = glob, max_file_bytes = MAX_FILE_BYTES })
  local more = true
  while more == true do
    local bytes = math.min(SCAN_BEFORE_PAUSE, MAX_TOTAL_BYTES - self.bytes)
    local hits, state, where = search:next(self.most - #self.matches, bytes)
    for name, count in pairs(search:counts()) do self[name] = count end
    for i = 1, #hits, 4 do
      if self:add(hits[i], hits[i + 1], hits[i + 2], 1, #hits[i + 2], hits[i + 3]) then return end
    end
    if state == "limit" then too_long(where) end
    more = state
    self.over_total = more == true and self.bytes >= MAX_TOTAL_BYTES
    if self.over_total then return end
    task.pause()
  end
  self.truncated = more == "matches"
end

-- Scans one file. True when the search is over.
function Search:scan(path, text)
  if files.is_binary(text) then return false end
  local hits, more = self.grep:scan(text, self.most - #self.matches)
  for i = 1, #hits, 4 do
    if self:add(path, hits[i], text, hits[i + 1], hits[i + 2], hits[i + 3]) then return true end
  end
  if more == "limit" then too_long(path) end
  self.truncated = more
  return more
end

-- The next files, read side by side: `READ_AHEAD` of them, of at most a pause's bytes together.
function Search:next_batch()
  local batch, bytes = {}, 0
  while self.searched < self.files and #batch < READ_AHEAD and bytes < SCAN_BEFORE_PAUSE do
    local entry = self.list[self.searched + 1]
    local size = entry.size or 0
    if size > MAX_FILE_BYTES then
      self.large = self.large + 1
    elseif self.bytes + size > MAX_TOTAL_BYTES then
      self.over_total = true
      break
    else
      batch[#batch + 1] = entry
      self.bytes, bytes = self.bytes + size, bytes + size
    end
    self.searched = self.searched + 1
  end
  return batch
end

-- A file that has gone, or that cannot be read, is counted and passed over.
function Search:read(entry)
  local ok, text = pcall(self.sandbox.read, self.sandbox, entry.path)
  if ok then return text end
  task.check()
  if not errors.is(text, "SANDBOX_ERROR") then error(text, 0) end
  return false
end

-- In a sandbox of one's own: by its calls, a few files side by side.
function Search:run_by_calls(path, glob)
  self.list, self.missing = candidates(self.sandbox, path, glob)
  self.files = #self.list
  while self.searched < self.files and not self.over_total do
    local batch = self:next_batch()
    local texts = join.map(batch, function(entry) return self:read(entry) end)
    for i, text in ipairs(texts) do
      if not text then
        self.unreadable = self.unreadable + 1
      elseif self:scan(batch[i].path, text) then
        return
      end
    end
    task.pause()
  end
end

-- What was not searched, and how to go on.
function Search:said()
  local said = { self.missing }
  if self.over_total then
    self.truncated = true
    said[#said + 1] = ("Only %d of %d files were searched, %d bytes; search a smaller path."):format(self.searched,
      self.files, self.bytes)
  elseif self.truncated then
    said[#said + 1] = ("There are more matches than these %d; use a narrower pattern or path, or a higher max_results.")
      :format(#self.matches)
  end
  local function skipped(n, what)
    if n > 0 then said[#said + 1] = ("%s not searched."):format(files.count(n, what)) end
  end
  skipped(self.large, ("file over %d bytes was"):format(MAX_FILE_BYTES))
  skipped(self.unreadable, "file that cannot be read was")
  return said
end

local function run(ctx, input)
  local grep = compile(input)
  local path, sandbox = files.path(input.path or "/"), ctx.sandbox
  local search = setmetatable({
    sandbox = sandbox, grep = grep, most = input.max_results or DEFAULT_RESULTS, matches = json.array {},
    files = 0, searched = 0, bytes = 0, bytes_shown = 0, large = 0, unreadable = 0,
    over_total = false, truncated = false,
  }, Search)
  if sandbox.search == core.sandbox.calls.search then
    search:run_in_core(path, input.glob)
  else
    search:run_by_calls(path, input.glob)
  end
  local notice = files.notice(search:said())
  return { matches = search.matches, truncated = search.truncated or nil, notice = notice }
end

--- The tool's definition.
M.tool = {
  description = "Searches the lines of files with a Perl-compatible regular expression. Binary files and those over "
    .. "2 MB are passed over. Escape what is meant literally: foo\\(bar\\) finds foo(bar).",
  input = s.object {
    { "pattern", s.string { min_length = 1, description = "the regular expression, matched against each line" } },
    { "path", s.string { description = "the file or directory to search, absolute; default /" }:optional() },
    { "glob", s.string { min_length = 1, description = "search only files whose whole absolute path matches, "
      .. "such as *.lua" }:optional() },
    { "ignore_case", s.boolean { description = "default false" }:optional() },
    { "max_results", s.integer { minimum = 1, description = "how many matches at most; default 100" }:optional() },
  },
  returns = "{ matches: { line: integer, path: string, text: string }[], truncated?: boolean }",
  run = run,
}

return M
