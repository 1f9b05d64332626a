--- Writes the 10,000 paths of the glob row, the same ones every time.

local DIRECTORIES = { "src", "lib", "test", "docs", "packages", "node_modules", "dist", ".git" }
local EXTENSIONS = { "ts", "js", "tsx", "md", "json", "lua", "c", "h" }

return function(file_name)
  local state = 12345
  local function random(n) -- 0 to n - 1
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return (state >> 8) % n
  end
  local file <close> = assert(io.open(file_name, "w"))
  for _ = 1, 10000 do
    for _ = 1, 1 + random(5) do file:write("/", DIRECTORIES[1 + random(8)]) end
    file:write("/file", random(1000), ".", EXTENSIONS[1 + random(8)], "\n")
  end
end
