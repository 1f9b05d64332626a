--- JSON: exact both ways (the codec is C, bindings/json*.c).
---
---     json.encode({ id = 7, tags = json.array {} })      --> {"id":7,"tags":[]}
---     json.decode '{"big": 9007199254740993}'.big        --> 9007199254740993

---@class harness.json
---@field encode fun(value: any, options?: { pretty?: boolean, invalid_utf8?: "error"|"replace" }): string
---@field decode fun(text: string, options?: { lone_surrogates?: "error"|"wtf8" }): any
---@field raw fun(text: string): userdata one JSON value that is embedded as it is
---@field null userdata
---@field array fun(t: table): table marks t, so that it encodes as an array even when it is empty
---@field ordered fun(pairs: table[]): table an object whose keys keep this order
---@field picker fun(paths: string[]): userdata picks a few fields out of a JSON text without a table
return require("harness.core").json
