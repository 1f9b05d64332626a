/* embed_host.c - harness.h: what a host gives to scripts: functions, and the text of modules. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"

/* ---- functions ----------------------------------------------------------------------------- */

struct harness_reply {
    char *json; /* malloc'ed; NULL: null */
    size_t len;
    char code[64];
    char message[512];
    bool failed;
    bool no_memory;
};

void harness_reply_json(harness_reply *reply, const char *json, size_t len) {
    if (!reply || !json) return;
    char *copy = malloc(len ? len : 1);
    if (copy) memcpy(copy, json, len);
    else reply->no_memory = true;
    free(reply->json);
    reply->json = copy;
    reply->len = len;
}

static void put_text(char *to, size_t size, const char *from) {
    size_t len = strlen(from);
    if (len >= size) len = size - 1;
    memcpy(to, from, len);
    to[len] = '\0';
}

void harness_reply_error(harness_reply *reply, const char *code, const char *message) {
    if (!reply) return;
    reply->failed = true;
    put_text(reply->code, sizeof reply->code, code ? code : "HOST_ERROR");
    put_text(reply->message, sizeof reply->message, message ? message : "the host function failed");
}

/* Frees the answer when pushing it raises. */
static int reply_gc(lua_State *L) {
    harness_reply *reply = lua_touserdata(L, 1);
    free(reply->json);
    reply->json = NULL;
    return 0;
}

/* call(json) -> json; upvalues: the host function, the metatable of replies */
static int call_host(lua_State *L) {
    const struct host_function *function = lua_touserdata(L, lua_upvalueindex(1));
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    harness_reply *reply = lua_newuserdatauv(L, sizeof *reply, 0);
    *reply = (harness_reply){0};
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_setmetatable(L, -2);
    function->fn(function->user, text, len, reply);
    if (reply->no_memory) return luaL_error(L, "not enough memory");
    if (reply->failed) {
        lua_pushnil(L);
        return bind_raise(L, reply->code, "%s", reply->message);
    }
    if (!reply->json) {
        lua_pushliteral(L, "null");
        return 1;
    }
    lua_pushlstring(L, reply->json, reply->len);
    free(reply->json); /* now, and not when it is collected */
    reply->json = NULL;
    return 1;
}

struct registration {
    harness_engine *engine;
    const char *table;
    const harness_function *functions;
    void *user;
};

/* Copied, in front of the engine's list; freed with the engine. */
static struct host_function *keep_function(lua_State *L, harness_engine *engine,
                                           const harness_function *given, void *user) {
    struct host_function *kept = embed_allocate(&engine->memory, NULL, 0, sizeof *kept);
    if (!kept) {
        luaL_error(L, "not enough memory");
        return NULL; /* never: for the analyzer */
    }
    *kept = (struct host_function){.next = engine->functions, .fn = given->fn, .user = user};
    engine->functions = kept;
    return kept;
}

static int register_functions(lua_State *L) {
    const struct registration *given = lua_touserdata(L, 1);
    embed_host_function(L, "register");
    lua_pushstring(L, given->table);
    lua_newtable(L);
    lua_createtable(L, 0, 1); /* the metatable of replies */
    lua_pushcfunction(L, reply_gc);
    lua_setfield(L, -2, "__gc");
    int replies = lua_gettop(L);
    for (int i = 0; given->functions[i].name; i++) {
        const harness_function *function = &given->functions[i];
        lua_createtable(L, 0, 4);
        lua_pushstring(L, function->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, function->description);
        lua_setfield(L, -2, "description");
        lua_pushstring(L, function->input_schema);
        lua_setfield(L, -2, "input");
        lua_pushlightuserdata(L, keep_function(L, given->engine, function, given->user));
        lua_pushvalue(L, replies);
        lua_pushcclosure(L, call_host, 2);
        lua_setfield(L, -2, "call");
        lua_rawseti(L, replies - 1, i + 1);
    }
    lua_settop(L, replies - 1);
    lua_call(L, 2, 0);
    return 0;
}

static bool is_name(const char *name) {
    if (!name || name[0] < 'a' || name[0] > 'z') return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

int harness_register(harness_engine *engine, const char *table, const harness_function *functions,
                     void *user, harness_error *error) {
    int rc = embed_enter(engine, error);
    if (rc) return rc;
    if (!functions)
        return embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR", "functions is NULL");
    const char *wrong = is_name(table) ? NULL : table ? table : "(NULL)";
    for (int i = 0; functions[i].name && !wrong; i++)
        if (!is_name(functions[i].name)) wrong = functions[i].name;
    if (wrong)
        return embed_error(
            error, HARNESS_EINVAL, "VALIDATION_ERROR",
            "\"%.60s\" is no name: it begins with a to z, and goes on with a to z, 0 to 9 and _",
            wrong);
    for (int i = 0; functions[i].name; i++)
        if (!functions[i].fn)
            return embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR", "%s.%s: fn is NULL",
                               table, functions[i].name);
    struct registration registration = {engine, table, functions, user};
    return embed_protected(engine, register_functions, &registration, error);
}

void embed_free_functions(harness_engine *engine) {
    while (engine->functions) {
        struct host_function *function = engine->functions;
        engine->functions = function->next;
        embed_allocate(&engine->memory, function, sizeof *function, 0);
    }
}

/* ---- modules ------------------------------------------------------------------------------- */

static int search_host(lua_State *L) {
    const harness_engine *engine = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = luaL_checkstring(L, 1);
    size_t len = 0;
    const char *text = engine->module ? engine->module(engine->module_user, name, &len) : NULL;
    if (!text) {
        lua_pushfstring(L, "the host has no module '%s'", name);
        return 1;
    }
    const char *chunk = lua_pushfstring(L, "@%s", name);
    if (luaL_loadbufferx(L, text, len, chunk, engine->allow_bytecode ? "bt" : "t") != LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, -2);
    return 2;
}

void embed_install_modules(lua_State *L, harness_engine *engine) {
    if (!engine->module) return;
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    lua_pushlightuserdata(L, engine);
    lua_pushcclosure(L, search_host, 1);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
}
