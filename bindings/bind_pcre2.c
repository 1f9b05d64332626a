/* bind_pcre2.c - the table is a userdata in the registry. Userdata are freed after all finalisers, so what
 * is finalised late (a schema, a grep) still frees its patterns through it. */
#include "bind_pcre2.h"

#include <lauxlib.h>

static const char API_KEY = 0; /* its address: registry key of the struct pcre2_api */

const struct pcre2_api *bind_pcre2_api(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &API_KEY);
    struct pcre2_api *api = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (api) return api;
    api = lua_newuserdatauv(L, sizeof *api, 0);
    char why[PCRE2_WHY_SIZE];
    if (!pcre2_api_load(api, why)) {
        lua_pushfstring(L, "patterns need PCRE2 (package libpcre2-8-0): %s", why);
        return NULL;
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &API_KEY);
    return api;
}
