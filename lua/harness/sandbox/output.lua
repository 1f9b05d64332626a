--- A stream of output of which the head and the tail are kept, each up to half of a limit.

local M = {}

---@class harness.OutputTail
local Output = {}
Output.__index = Output

--- Takes the next piece.
---@param bytes string
function Output:add(bytes)
  local room = self.most // 2 - self.head_bytes
  if room > 0 then
    local part = #bytes <= room and bytes or bytes:sub(1, room)
    self.head[#self.head + 1] = part
    self.head_bytes = self.head_bytes + #part
    if #part == #bytes then return end
    bytes = bytes:sub(#part + 1)
  end
  self.tail[self.last + 1] = bytes
  self.last = self.last + 1
  self.tail_bytes = self.tail_bytes + #bytes
  local most = self.most - self.most // 2
  while self.tail_bytes - #self.tail[self.first] >= most do
    local dropped = #self.tail[self.first]
    self.tail[self.first] = nil
    self.first = self.first + 1
    self.tail_bytes, self.missing = self.tail_bytes - dropped, self.missing + dropped
  end
end

--- What was kept, and how many bytes between head and tail are missing (nil: none).
---@return string
---@return integer?
function Output:text()
  local tail = table.concat(self.tail, "", self.first, self.last)
  local over = #tail - (self.most - self.most // 2)
  if over > 0 then
    tail = tail:sub(over + 1)
    self.missing, self.tail_bytes = self.missing + over, #tail
    self.tail, self.first, self.last = { tail }, 1, 1
  end
  return table.concat(self.head) .. tail, self.missing > 0 and self.missing or nil
end

---@param most integer bytes
---@return harness.OutputTail
function M.new(most)
  return setmetatable({
    most = most, head = {}, head_bytes = 0, tail = {}, first = 1, last = 0, tail_bytes = 0, missing = 0,
  }, Output)
end

return M
