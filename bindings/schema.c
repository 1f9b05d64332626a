/* schema.c - core.schema: compile(schema, options?) and compiled:check(value), and what a compiled
 * schema owns.
 *
 * A check is a walk for the verdict (schema_check.c) and, when there is something to fill in or to
 * drop, a walk for the checked copy (schema_fill.c). What is filled in may matter to keywords such
 * as maxProperties or anyOf. For schemas that have such keywords (schema->interplay) the copy is
 * checked again until it stays as it is; when that fails, a schema that drops keys reports why, and
 * any other keeps the value as given: in JSON Schema a default is a hint and decides nothing. */
#include "schema.h"

#include <lauxlib.h>
#include <stddef.h>
#include <stdlib.h>

#include "bindings.h"
#include "json.h"
#include "schema_compile.h"

enum { ROUNDS = 4, CHUNK_BYTES = 4096 };

static const char DROP_KEY = 0; /* its address is core.schema.drop */
static const char TYPE_NAME[] = "harness.schema";

/* ---- memory of a compiled schema --------------------------------------------------------------- */

struct schema_chunk {
    struct schema_chunk *next;
    size_t used, size;
    max_align_t data[];
};

static void *no_memory(lua_State *L) {
    luaL_error(L, "not enough memory");
    return NULL; /* never reached */
}

void *schema_alloc(lua_State *L, struct schema *schema, size_t count, size_t size) {
    if (size && count > SIZE_MAX / 2 / size) return no_memory(L);
    size_t need = (count * size + sizeof(max_align_t) - 1) / sizeof(max_align_t);
    need *= sizeof(max_align_t);
    struct schema_chunk *chunk = schema->arena;
    if (!chunk || chunk->size - chunk->used < need) {
        size_t room = need > CHUNK_BYTES ? need : CHUNK_BYTES;
        chunk = calloc(1, sizeof *chunk + room);
        if (!chunk) return no_memory(L);
        *chunk = (struct schema_chunk){schema->arena, 0, room};
        schema->arena = chunk;
    }
    void *memory = (char *)chunk->data + chunk->used;
    chunk->used += need;
    return memory;
}

static int schema_collect(lua_State *L) {
    struct schema *schema = lua_touserdata(L, 1);
    schema_patterns_free(schema);
    for (struct schema_chunk *chunk = schema->arena, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *schema = (struct schema){0};
    return 0;
}

/* ---- check --------------------------------------------------------------------------------------- */

/* Checks the value in slot and replaces it by its checked copy. */
static bool check_once(struct schema_check *c, int slot) {
    const struct schema_node *root = c->schema->root;
    if (!schema_check_node(c, root, slot, 0, NULL, NULL)) return false;
    return !c->wanted || schema_fill(c, root, slot, 0, NULL);
}

/* Takes over the value in slot once checking it again changes nothing. */
static bool settle(struct schema_check *c, int slot) {
    lua_State *L = c->L;
    for (int round = 1; round < ROUNDS; round++) {
        lua_pushvalue(L, slot);
        int before = lua_gettop(L);
        bool ok = check_once(c, slot), same = ok && lua_rawequal(L, before, slot);
        lua_settop(L, before - 1);
        if (!ok || same) return ok;
    }
    lua_pushliteral(L, "the schema's defaults and dropped keys do not come to rest");
    return schema_fail(c, NULL, HINT_NONE);
}

/* The value at index 2 was checked, its copy is in slot; they differ. */
static bool recheck(struct schema_check *c, int slot) {
    if (!c->schema->interplay || settle(c, slot)) return true;
    bool drops = (c->schema->root->fills & SCHEMA_FILLS_DROPS) != 0;
    if (drops || c->stopped) return false;
    lua_pushvalue(c->L, 2);
    lua_replace(c->L, slot);
    return true;
}

/* Cuts the list at problems to what is reported, and returns false, list. */
static int push_problems(struct schema_check *c) {
    lua_State *L = c->L;
    for (int i = c->count; i > SCHEMA_MAX_PROBLEMS; i--) {
        lua_pushnil(L);
        lua_rawseti(L, c->problems, i);
    }
    lua_pushboolean(L, 0);
    lua_pushvalue(L, c->problems);
    return 2;
}

/* compiled:check(value) -> true, checked | false, { {path, message}, ... }
 * nil counts as absent when the schema has a default, and else as null. */
static int l_check(lua_State *L) {
    const struct schema *schema = luaL_checkudata(L, 1, TYPE_NAME);
    lua_settop(L, 2);
    bool absent = lua_isnil(L, 2);
    lua_getiuservalue(L, 1, 1);
    lua_newtable(L);
    if (absent) json_push_null(L);
    if (absent) lua_replace(L, 2);
    lua_pushvalue(L, 2);
    struct schema_check c = {.L = L,
                             .schema = schema,
                             .values = 3,
                             .problems = 4,
                             .cap = SCHEMA_MAX_PROBLEMS,
                             .steps = schema->max_steps,
                             .absent = absent,
                             .wanted = schema->root->fills &
                                       (SCHEMA_FILLS_DEFAULTS | SCHEMA_FILLS_DROPS)};
    if (absent && schema->root->default_value && schema_push_default(&c, schema->root)) {
        lua_pushboolean(L, 1);
        lua_insert(L, -2);
        return 2;
    }
    if (!check_once(&c, 5)) return push_problems(&c);
    if (!lua_rawequal(L, 2, 5) && !recheck(&c, 5)) return push_problems(&c);
    lua_pushboolean(L, 1);
    if (absent) lua_pushnil(L);
    if (!absent) lua_pushvalue(L, 5);
    return 2;
}

/* ---- compile --------------------------------------------------------------------------------------- */

struct compile_options {
    enum schema_dialect dialect;
    lua_Integer max_steps;
    bool strict_defaults;
    bool exact_empty;
    const char *at;
};

static bool flag(lua_State *L, int idx, const char *name) {
    lua_getfield(L, idx, name);
    bool set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

/* The strings stay on the stack. */
static struct compile_options read_options(lua_State *L, int idx) {
    struct compile_options o = {.dialect = DRAFT_DEFAULT, .max_steps = SCHEMA_DEFAULT_STEPS};
    if (lua_isnoneornil(L, idx)) return o;
    luaL_checktype(L, idx, LUA_TTABLE);
    o.strict_defaults = flag(L, idx, "strict_defaults");
    o.exact_empty = flag(L, idx, "exact_empty");
    lua_getfield(L, idx, "max_steps");
    o.max_steps = luaL_optinteger(L, -1, SCHEMA_DEFAULT_STEPS);
    luaL_argcheck(L, o.max_steps > 0, idx, "max_steps must be positive");
    lua_getfield(L, idx, "at");
    o.at = luaL_optstring(L, -1, NULL);
    lua_getfield(L, idx, "dialect");
    const char *dialect = luaL_optstring(L, -1, NULL);
    if (dialect && !schema_dialect_named(dialect, &o.dialect)) {
        luaL_argerror(L, idx, "dialect must be draft-04, draft-06, draft-07, 2019-09 or 2020-12");
    }
    return o;
}

/* compile(schema, options?) -> compiled. The schema is a table as json.decode makes it, or a
 * boolean; it is not kept. Options:
 *   dialect          "draft-04" .. "2020-12": what a schema without $schema means
 *   max_steps        of one check
 *   strict_defaults  refuse a default that its own schema does not allow (else it is not filled in)
 *   exact_empty      {} without a mark is an object only
 *   at               a JSON Pointer: check against this part of the schema */
static int l_compile(lua_State *L) {
    if (!lua_isboolean(L, 1)) luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    struct compile_options options = read_options(L, 2);
    struct schema *schema = lua_newuserdatauv(L, sizeof *schema, 1);
    int self = lua_gettop(L);
    *schema = (struct schema){.max_steps = options.max_steps, .exact_empty = options.exact_empty};
    luaL_setmetatable(L, TYPE_NAME);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, self, 1);
    struct schema_compile c = {.L = L,
                               .schema = schema,
                               .values = self + 1,
                               .dialect = options.dialect,
                               .strict_defaults = options.strict_defaults};
    schema_compile(&c, 1, options.at);
    lua_settop(L, self);
    return 1;
}

bool schema_is_drop(lua_State *L, int idx) {
    return lua_touserdata(L, idx) == (const void *)&DROP_KEY;
}

int bind_schema(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"compile", l_compile}, {NULL, NULL}};
    static const luaL_Reg METHODS[] = {{"check", l_check}, {NULL, NULL}};
    if (luaL_newmetatable(L, TYPE_NAME)) {
        lua_pushcfunction(L, schema_collect);
        lua_setfield(L, -2, "__gc");
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    /* As additionalProperties: undeclared keys are dropped. No JSON text can say it, so it can
     * neither come from outside nor be shown to anybody. */
    lua_pushlightuserdata(L, (void *)&DROP_KEY);
    lua_setfield(L, -2, "drop");
    return 1;
}
