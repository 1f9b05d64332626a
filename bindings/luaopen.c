/* luaopen.c - the module for a stock lua5.4: `require "harness"` and `require "harness.core"` from
 * harness/core.so, with the Lua modules compiled in. Under it the main chunk is no task: what waits runs
 * in harness.run(function() ... end). */
#include <lauxlib.h>

#include "bindings.h"
#include "modules.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int luaopen_harness(lua_State *L);

int luaopen_harness(lua_State *L) {
    modules_install(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    lua_rawgeti(L, -1, 2); /* the one that modules_install has put there */
    lua_pushliteral(L, "harness");
    lua_call(L, 1, 1);
    lua_pushliteral(L, "harness");
    lua_call(L, 1, 1);
    return 1;
}
