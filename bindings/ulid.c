/* ulid.c - core.ulid: engine/ulid.h.
 *
 *     core.ulid.next() -> id               of the engine's generator, by the engine's clock
 *     core.ulid.at(ms) -> id               the same for a moment that the caller names
 *     local g = core.ulid.generator { now = fn() -> ms, random = fn(n) -> n bytes }
 *     g:next() -> id; g:at(ms) -> id       a generator of its own, for specs
 *
 * The engine's generator is a userdata that next and at hold. */
#include "../engine/ulid.h"

#include <string.h>

#include "bindings.h"

#define CLASS "harness.ulid"

enum { VALUE_NOW = 1, VALUE_RANDOM = 2, VALUES = 2 };

struct generator {
    struct ulid ulid;
    struct core *core;
    lua_State *L; /* of the call that runs now; the generator is at 1 */
};

static uint64_t engine_clock(void *user) {
    return loop_wall_ms(((struct generator *)user)->core->loop);
}

static int finish(lua_State *L, int rc, const char *id) {
    if (rc == ULID_OK) {
        lua_pushlstring(L, id, ULID_LEN);
        return 1;
    }
    lua_pushnil(L);
    return bind_raise(L, "INTERNAL_ERROR",
                      "no id could be made: the system's random source (getrandom) failed");
}

static struct generator *engine_generator(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int l_next(lua_State *L) {
    char id[ULID_LEN + 1];
    int rc = ulid_next(&engine_generator(L)->ulid, id);
    return finish(L, rc, id);
}

static int l_at(lua_State *L) {
    char id[ULID_LEN + 1];
    lua_Integer ms = luaL_checkinteger(L, 1);
    luaL_argcheck(L, ms >= 0, 1, "milliseconds since the epoch expected");
    int rc = ulid_at(&engine_generator(L)->ulid, (uint64_t)ms, id);
    return finish(L, rc, id);
}

/* Calls the generator's Lua random function. An error of it stays on the stack. */
static bool lua_random(void *user, void *bytes, size_t n) {
    lua_State *L = ((struct generator *)user)->L;
    lua_getiuservalue(L, 1, VALUE_RANDOM);
    lua_pushinteger(L, (lua_Integer)n);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) return false;
    size_t len;
    const char *given = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (!given || len != n) {
        lua_pop(L, 1);
        lua_pushnil(L);
        return false;
    }
    memcpy(bytes, given, n);
    lua_pop(L, 1);
    return true;
}

static int own_id(lua_State *L, struct generator *g, uint64_t ms) {
    char id[ULID_LEN + 1];
    int top = lua_gettop(L);
    g->L = L;
    int rc = ulid_at(&g->ulid, ms, id);
    g->L = NULL;
    if (rc == ULID_OK || lua_gettop(L) == top) return finish(L, rc, id);
    if (lua_isnil(L, -1))
        return luaL_error(L, "random must return as many bytes as it was asked for");
    return lua_error(L);
}

static int l_own_next(lua_State *L) {
    struct generator *g = luaL_checkudata(L, 1, CLASS);
    if (lua_getiuservalue(L, 1, VALUE_NOW) == LUA_TNIL) return own_id(L, g, engine_clock(g));
    lua_call(L, 0, 1);
    lua_Integer ms = lua_tointeger(L, -1);
    if (!lua_isinteger(L, -1) || ms < 0)
        return luaL_error(L, "now must return milliseconds since the epoch");
    return own_id(L, g, (uint64_t)ms);
}

static int l_own_at(lua_State *L) {
    struct generator *g = luaL_checkudata(L, 1, CLASS);
    lua_Integer ms = luaL_checkinteger(L, 2);
    luaL_argcheck(L, ms >= 0, 2, "milliseconds since the epoch expected");
    return own_id(L, g, (uint64_t)ms);
}

static struct generator *new_generator(lua_State *L, ulid_random_fn random) {
    struct core *core = core_get(L);
    struct generator *g = lua_newuserdatauv(L, sizeof *g, VALUES);
    *g = (struct generator){.core = core};
    ulid_init(&g->ulid, engine_clock, random, g);
    return g;
}

/* generator{now = function?, random = function?} */
static int l_generator(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    int now = lua_getfield(L, 1, "now");
    int random = lua_getfield(L, 1, "random");
    luaL_argcheck(L, now == LUA_TNIL || now == LUA_TFUNCTION, 1, "now: a function expected");
    luaL_argcheck(L, random == LUA_TNIL || random == LUA_TFUNCTION, 1,
                  "random: a function expected");
    new_generator(L, random == LUA_TNIL ? NULL : lua_random);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, VALUE_NOW);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, VALUE_RANDOM);
    luaL_setmetatable(L, CLASS);
    return 1;
}

static const char ENGINE_KEY = 0; /* address: registry key of the engine's generator */

struct ulid *ulid_push_generator(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ENGINE_KEY);
    return &((struct generator *)lua_touserdata(L, -1))->ulid;
}

int bind_ulid(lua_State *L) {
    static const luaL_Reg ENGINE[] = {{"next", l_next}, {"at", l_at}, {NULL, NULL}};
    static const luaL_Reg METHODS[] = {{"next", l_own_next}, {"at", l_own_at}, {NULL, NULL}};
    bind_class(L, CLASS, METHODS);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, l_generator);
    lua_setfield(L, -2, "generator");
    new_generator(L, NULL);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ENGINE_KEY);
    luaL_setfuncs(L, ENGINE, 1);
    return 1;
}
