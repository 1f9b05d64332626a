/* glob.c - core.glob: engine/glob.h.
 *
 *     local g = core.glob.compile("/src/" .. "*.lua")             -- or (pattern, "permission")
 *     g:match(path) -> boolean
 *     tostring(g)                                                 -- glob /src/...
 *
 * The userdata holds one pointer; its user value is the pattern. */
#include "../engine/glob.h"

#include "bindings.h"

#define CLASS "harness.glob"

struct matcher {
    struct glob *glob; /* NULL: collected */
};

static struct matcher *check_matcher(lua_State *L) {
    struct matcher *m = lua_touserdata(L, 1);
    if (m && lua_getmetatable(L, 1)) {
        bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
        if (same) return m;
    }
    return luaL_checkudata(L, 1, CLASS); /* raises with the right words */
}

static int l_match(lua_State *L) {
    struct matcher *m = check_matcher(L);
    size_t len;
    const char *subject = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, m->glob, 1, "the matcher has been collected");
    lua_pushboolean(L, glob_match(m->glob, subject, len));
    return 1;
}

static int l_tostring(lua_State *L) {
    check_matcher(L);
    lua_pushliteral(L, "glob ");
    lua_getiuservalue(L, 1, 1);
    lua_concat(L, 2);
    return 1;
}

static int l_gc(lua_State *L) {
    struct matcher *m = check_matcher(L);
    glob_free(m->glob);
    m->glob = NULL;
    return 0;
}

/* compile(pattern, dialect = "path" or "permission") */
static int l_compile(lua_State *L) {
    static const char *const NAMES[] = {"path", "permission", NULL};
    static const enum glob_dialect DIALECTS[] = {GLOB_PATH, GLOB_PERMISSION};
    size_t len;
    const char *pattern = luaL_checklstring(L, 1, &len);
    enum glob_dialect dialect = DIALECTS[luaL_checkoption(L, 2, "path", NAMES)];
    struct matcher *m = lua_newuserdatauv(L, sizeof *m, 1);
    m->glob = NULL;
    luaL_setmetatable(L, CLASS);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (glob_compile(pattern, len, dialect, &m->glob) != GLOB_OK)
        return luaL_error(L, "not enough memory");
    return 1;
}

static const luaL_Reg META[] = {
    {"__gc", l_gc},
    {"__tostring", l_tostring},
    {"match", l_match},
    {NULL, NULL},
};

int bind_glob(lua_State *L) {
    luaL_newmetatable(L, CLASS);
    lua_pushvalue(L, -1);
    luaL_setfuncs(L, META, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_compile);
    lua_setfield(L, -2, "compile");
    return 1;
}
