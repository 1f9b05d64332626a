/* core_info.c - what the core tells of itself and of where it runs: time, versions, what is under way.
 * Functions of `require "harness.core"`, beside those of core.c. */
#include "bindings.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <unistd.h>
#include <yaml.h>

#include "../engine/pcre2_api.h"
#include "text.h"

static struct core *self(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* is_terminal(fd) -> boolean */
static int is_terminal(lua_State *L) {
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* PCRE2 is loaded for it, as at the first pattern. */
static void pcre2_version(char *text, size_t size) {
    struct pcre2_api pcre2;
    char why[PCRE2_WHY_SIZE];
    char version[64] = "is not installed";
    if (pcre2_api_load(&pcre2, why)) pcre2.config(PCRE2_CONFIG_VERSION, version);
    snprintf(text, size, "%s", version);
}

/* versions() -> {harness, lua, libuv, cjson, pcre2, yaml} */
static int versions(lua_State *L) {
    char pcre2[64];
    pcre2_version(pcre2, sizeof pcre2);
    lua_createtable(L, 0, 6);
    lua_pushliteral(L, HARNESS_VERSION);
    lua_setfield(L, -2, "harness");
    lua_pushliteral(L, LUA_RELEASE);
    lua_setfield(L, -2, "lua");
    lua_pushstring(L, uv_version_string());
    lua_setfield(L, -2, "libuv");
    lua_pushstring(L, cJSON_Version());
    lua_setfield(L, -2, "cjson");
    lua_pushstring(L, pcre2);
    lua_setfield(L, -2, "pcre2");
    lua_pushstring(L, yaml_get_version_string());
    lua_setfield(L, -2, "yaml");
    return 1;
}

static int now_ms(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)loop_now_ms(self(L)->loop));
    return 1;
}

static int now_us(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)loop_now_us(self(L)->loop));
    return 1;
}

static int wall_ms(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)loop_wall_ms(self(L)->loop));
    return 1;
}

const char *core_timestamp(struct core *core, uint64_t ms) {
    if (ms != core->stamp_ms || !core->stamp[0]) {
        text_timestamp(ms, core->stamp);
        core->stamp_ms = ms;
    }
    return core->stamp;
}

/* timestamp(ms?) -> ISO 8601 UTC with milliseconds; of now without an argument */
static int timestamp(lua_State *L) {
    struct core *core = self(L);
    uint64_t ms =
        lua_isnoneornil(L, 1) ? loop_wall_ms(core->loop) : (uint64_t)luaL_checkinteger(L, 1);
    lua_pushlstring(L, core_timestamp(core, ms), TEXT_TIMESTAMP_LEN);
    return 1;
}

/* clock_manual(epoch_ms or nil): stops the clock at that time, or lets it run again */
static int clock_manual(lua_State *L) {
    bool manual = !lua_isnoneornil(L, 1);
    uint64_t wall = manual ? (uint64_t)luaL_checkinteger(L, 1) : 0;
    loop_clock_manual(self(L)->loop, manual, wall);
    return 0;
}

/* clock_advance(ms) -> ms left: to the next timer, or by ms */
static int clock_advance(lua_State *L) {
    struct loop *loop = self(L)->loop;
    lua_Integer ms = luaL_checkinteger(L, 1);
    luaL_argcheck(L, ms >= 0, 1, "time only moves forward");
    if (!loop_clock_is_manual(loop)) return luaL_error(L, "the clock was not stopped");
    lua_pushinteger(L, (lua_Integer)loop_clock_advance(loop, (uint64_t)ms));
    return 1;
}

static void count_handle(uv_handle_t *handle, void *user) {
    (void)handle;
    (*(lua_Integer *)user)++;
}

static void set_count(lua_State *L, const char *name, size_t count) {
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

/* live() -> {ops, timers, signals, tasks, handles}: what is under way, for leak checks */
static int live(lua_State *L) {
    struct core *core = self(L);
    lua_Integer handles = 0;
    uv_walk(loop_uv(core->loop), count_handle, &handles);
    lua_createtable(L, 0, 5);
    set_count(L, "ops", loop_ops(core->loop));
    set_count(L, "timers", loop_timers(core->loop));
    set_count(L, "signals", abort_pool_live(core->signals));
    set_count(L, "tasks", loop_ready(core->loop)->live);
    set_count(L, "handles", (size_t)handles);
    return 1;
}

const luaL_Reg CORE_INFO[] = {
    {"is_terminal", is_terminal},
    {"versions", versions},
    {"now_ms", now_ms},
    {"now_us", now_us},
    {"wall_ms", wall_ms},
    {"timestamp", timestamp},
    {"clock_manual", clock_manual},
    {"clock_advance", clock_advance},
    {"live", live},
    {NULL, NULL},
};
