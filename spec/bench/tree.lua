--- Writes the 10,000 files of the files row: 100 directories of 100 Lua files, 4 KB each, the same ones
--- every time.

return function(root)
  local mark = root .. "/complete"
  if io.open(mark) then return end
  local line = "local value_%d = compute(value_%d, { option = %d }) -- a line of code as there are many\n"
  for d = 0, 99 do
    local directory = ("%s/dir_%d"):format(root, d)
    assert(os.execute(("mkdir -p %s"):format(directory)))
    for f = 0, 99 do
      local file <close> = assert(io.open(("%s/file_%d.lua"):format(directory, f), "w"))
      for i = 1, 50 do file:write(line:format(i, i + d, f)) end
      if (d * 100 + f) % 200 == 0 then file:write(("-- needle_%d\n"):format(d)) end
    end
  end
  assert(io.open(mark, "w")):close()
end
