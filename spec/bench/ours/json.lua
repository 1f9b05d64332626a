--- Decoding and encoding a chat response; the same document goes to peers/cjson.lua.

local harness = require "harness"
local measure = require "spec.bench.measure"
local text = require "spec.bench.response"

local decode, encode = harness.json.decode, harness.json.encode
local value = decode(text)
measure.batches("decode", 20000, function(n)
  for _ = 1, n do decode(text) end
end)
measure.batches("encode", 20000, function(n)
  for _ = 1, n do encode(value) end
end)
