/* modules.c - finds the compiled-in modules by binary search; they are kept as text, since loading
 * bytecode is not safe, and compiling the few that are needed costs well under a millisecond. */
#include "modules.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"

static int by_name(const void *key, const void *module) {
    return strcmp(key, ((const struct module *)module)->name);
}

static int search(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    const struct module *found = bsearch(name, MODULES, MODULE_COUNT, sizeof MODULES[0], by_name);
    if (!found) {
        if (strncmp(name, "harness", strlen("harness")) != 0) return 0;
        lua_pushfstring(L, "no module '%s' is compiled in", name);
        return 1;
    }
    size_t len = (size_t)(found->end - found->text);
    if (luaL_loadbufferx(L, found->text, len, found->chunk, "t") != LUA_OK) return lua_error(L);
    lua_pushstring(L, found->chunk);
    return 2;
}

void modules_install(lua_State *L) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_harness_core);
    lua_setfield(L, -2, "harness.core");
    lua_getfield(L, -2, "searchers");
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 3);
}
