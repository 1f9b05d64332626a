--- lua-cjson on the document of ours/json.lua.

local cjson = require "cjson"
local measure = require "spec.bench.measure"
local text = require "spec.bench.response"

local decode, encode = cjson.decode, cjson.encode
local value = decode(text)
measure.batches("decode", 20000, function(n)
  for _ = 1, n do decode(text) end
end)
measure.batches("encode", 20000, function(n)
  for _ = 1, n do encode(value) end
end)
