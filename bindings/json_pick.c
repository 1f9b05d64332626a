/* json_pick.c - a few values out of a JSON text, without a Lua table for the rest of it.
 *
 * A streamed answer is thousands of small texts of which one string each is wanted. The text is
 * first checked by our own strict reader, which also tells whether it has anything that cJSON does
 * not keep (NUL in strings, digits beyond 15); then cJSON parses it, and the paths are walked
 * in its tree. Consecutive paths with the same beginning share that part of the walk.
 *
 * Pushing a string may raise for lack of memory. So the tree hangs in the picker while values are
 * pushed; if that happens, the next pick or the collection of the picker frees it. */
#include <cJSON.h>
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

#include "json.h"

static const char PICKER_TYPE[] = "harness.json.picker";

enum { MAX_PATHS = 64, MAX_STEPS = 16 };

static const size_t NO_INDEX = SIZE_MAX;

struct step {
    const char *key; /* of an object; inside the picker's text */
    size_t index;    /* of an array, 0-based, if the key is a number; else NO_INDEX */
};

struct path {
    int shared; /* steps that the path before has too */
    int count;
    struct step steps[MAX_STEPS];
};

struct json_picker {
    cJSON *tree; /* of the pick under way */
    int count;
    struct path *paths; /* behind this struct, in the same userdata; their text behind them */
};

/* ---- picking ------------------------------------------------------------------------------ */

static const cJSON *find_key(const cJSON *object, const char *key) {
    const cJSON *found = NULL;
    const cJSON *member;
    cJSON_ArrayForEach(member, object) {
        if (strcmp(member->string, key) == 0) found = member; /* of equal keys the last counts */
    }
    return found;
}

static const cJSON *find_index(const cJSON *array, size_t index) {
    const cJSON *item = array->child;
    for (; item && index > 0; index--) item = item->next;
    return item;
}

static const cJSON *find_step(const cJSON *parent, const struct step *step) {
    if (cJSON_IsObject(parent)) return find_key(parent, step->key);
    if (cJSON_IsArray(parent) && step->index != NO_INDEX) return find_index(parent, step->index);
    return NULL;
}

/* Finds the value of each path. Returns false if one of them is not for the picker. */
static bool find_all(const struct json_picker *picker, bool inexact, const cJSON **found) {
    const cJSON *walk[MAX_STEPS + 1] = {picker->tree};
    for (int i = 0; i < picker->count; i++) {
        const struct path *path = &picker->paths[i];
        for (int d = path->shared; d < path->count; d++)
            walk[d + 1] = walk[d] ? find_step(walk[d], &path->steps[d]) : NULL;
        const cJSON *item = walk[path->count];
        if (cJSON_IsObject(item) || cJSON_IsArray(item)) return false;
        if (inexact && cJSON_IsNumber(item)) return false;
        found[i] = item;
    }
    return true;
}

static void push_item(lua_State *L, const cJSON *item) {
    if (cJSON_IsString(item)) lua_pushstring(L, item->valuestring);
    else if (cJSON_IsNumber(item)) lua_pushinteger(L, (lua_Integer)item->valuedouble);
    else if (cJSON_IsBool(item)) lua_pushboolean(L, cJSON_IsTrue(item));
    else lua_pushnil(L);
}

static void drop_tree(struct json_picker *picker) {
    cJSON_Delete(picker->tree);
    picker->tree = NULL;
}

bool json_pick(lua_State *L, struct json_picker *picker, const char *text, size_t len) {
    luaL_checkstack(L, picker->count + 4, "JSON");
    struct json_facts facts;
    if (len > JSON_MAX_BYTES || !json_check(text, len, &facts, NULL) || facts.nul_escape)
        return false;
    drop_tree(picker);
    picker->tree = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
    const cJSON *found[MAX_PATHS];
    bool ok = picker->tree && find_all(picker, facts.inexact_number, found);
    if (ok) {
        for (int i = 0; i < picker->count; i++) push_item(L, found[i]);
    }
    drop_tree(picker);
    return ok;
}

int json_picker_count(const struct json_picker *picker) {
    return picker->count;
}

struct json_picker *json_check_picker(lua_State *L, int arg) {
    return luaL_checkudata(L, arg, PICKER_TYPE);
}

/* ---- making one --------------------------------------------------------------------------- */

/* The number that the key is, or NO_INDEX: digits without leading zeros, as in "0" and "12". */
static size_t index_of(const char *key) {
    size_t len = strlen(key);
    if (strspn(key, "0123456789") != len || len > 9 || (key[0] == '0' && len > 1)) return NO_INDEX;
    size_t index = 0;
    for (const char *p = key; *p; p++) index = index * 10 + (size_t)(*p - '0');
    return index;
}

/* Splits the text, which it changes, at its dots. Returns what is wrong with it, or NULL. */
static const char *split(struct path *path, char *text) {
    for (char *key = text; key; path->count++) {
        if (path->count == MAX_STEPS) return "has more than 16 keys";
        char *dot = strchr(key, '.');
        if (dot) *dot = '\0';
        if (*key == '\0') return "has an empty key";
        path->steps[path->count] = (struct step){key, index_of(key)};
        key = dot ? dot + 1 : NULL;
    }
    return NULL;
}

static int shared_steps(const struct path *a, const struct path *b) {
    int n = 0;
    while (n < a->count && n < b->count && strcmp(a->steps[n].key, b->steps[n].key) == 0) n++;
    return n;
}

static int fail_path(lua_State *L, int i, const char *wrong) {
    return luaL_argerror(L, 1, lua_pushfstring(L, "path %d %s", i, wrong));
}

/* Checks the list at 1; returns how many paths it has, and how many bytes they take with a NUL. */
static int measure(lua_State *L, size_t *bytes) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer n = luaL_len(L, 1);
    luaL_argcheck(L, n >= 1 && n <= MAX_PATHS, 1, "a picker takes 1 to 64 paths");
    *bytes = 0;
    for (int i = 1; i <= (int)n; i++) {
        lua_rawgeti(L, 1, i);
        if (lua_type(L, -1) != LUA_TSTRING) fail_path(L, i, "is not a string");
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        if (strlen(text) != len) fail_path(L, i, "contains a NUL");
        *bytes += len + 1;
        lua_pop(L, 1);
    }
    return (int)n;
}

static int picker_collect(lua_State *L) {
    drop_tree(lua_touserdata(L, 1));
    return 0;
}

/* picker:pick(text) -> true, values... or false */
static int picker_pick(lua_State *L) {
    struct json_picker *picker = json_check_picker(L, 1);
    luaL_checktype(L, 2, LUA_TSTRING);
    size_t len;
    const char *text = lua_tolstring(L, 2, &len);
    lua_pushboolean(L, 1);
    if (json_pick(L, picker, text, len)) return 1 + picker->count;
    lua_pushboolean(L, 0);
    return 1;
}

static void set_picker_metatable(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"pick", picker_pick}, {NULL, NULL}};
    if (luaL_newmetatable(L, PICKER_TYPE)) {
        lua_pushcfunction(L, picker_collect);
        lua_setfield(L, -2, "__gc");
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

int json_new_picker(lua_State *L) {
    size_t bytes;
    int count = measure(L, &bytes);
    size_t paths = (size_t)count * sizeof(struct path);
    struct json_picker *picker = lua_newuserdatauv(L, sizeof *picker + paths + bytes, 0);
    *picker = (struct json_picker){.count = count, .paths = (struct path *)(picker + 1)};
    memset(picker->paths, 0, paths);
    set_picker_metatable(L);
    char *text = (char *)(picker->paths + count);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 1, i + 1);
        size_t len;
        const char *source = lua_tolstring(L, -1, &len);
        memcpy(text, source, len + 1);
        lua_pop(L, 1);
        const char *wrong = split(&picker->paths[i], text);
        if (wrong) fail_path(L, i + 1, wrong);
        if (i > 0) picker->paths[i].shared = shared_steps(&picker->paths[i - 1], &picker->paths[i]);
        text += len + 1;
    }
    return 1;
}
