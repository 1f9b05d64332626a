# file: bindings/schema_fill.c
# A copy on write that forgets to copy: defaults are written into the caller's table.
/^static void copy_set/,/^}/s/schema_push_shallow(L, copy->slot);/lua_pushvalue(L, copy->slot);/
