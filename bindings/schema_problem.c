/* schema_problem.c - places and values as text: what a person or a model reads when a value does
 * not fit.
 *
 * A path lives as a chain of small structs on the C stack and costs nothing until something is
 * wrong. What is shown of a value is short: long strings are cut at a character, tables are named,
 * control characters escaped, so that a message stays one line. */
#include <lauxlib.h>
#include <stdio.h>

#include "json.h"
#include "schema.h"

enum { SHOWN_BYTES = 60, SHOWN_VALUES = 12 };

/* ---- text ----------------------------------------------------------------------------------- */

/* Messages end up in JSON, so bytes that are no UTF-8 become U+FFFD. */
static void add_escaped(luaL_Buffer *b, const char *text, size_t len) {
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    while (p < end) {
        size_t n = json_utf8_length(p, end);
        char escape[8];
        if (n == 0) {
            luaL_addstring(b, "\xEF\xBF\xBD");
            n = json_utf8_subpart(p, end);
        } else if (*p < 0x20 || *p == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", *p);
            luaL_addstring(b, escape);
        } else {
            if (*p == '"' || *p == '\\') luaL_addchar(b, '\\');
            luaL_addlstring(b, (const char *)p, n);
        }
        p += n;
    }
}

/* The bytes of text to show: all, or whole characters up to max. */
static size_t shown_length(const char *text, size_t len, size_t max) {
    if (len <= max) return len;
    size_t n = max;
    while (n > max - 4 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    return n;
}

void schema_shorten(lua_State *L, size_t max) {
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    size_t n = shown_length(text, len, max);
    if (n == len) return;
    lua_pushlstring(L, text, n);
    lua_pushliteral(L, "…");
    lua_concat(L, 2);
    lua_remove(L, -2);
}

static void add_quoted(luaL_Buffer *b, const char *text, size_t len) {
    size_t n = shown_length(text, len, SHOWN_BYTES);
    luaL_addchar(b, '"');
    add_escaped(b, text, n);
    luaL_addstring(b, n < len ? "…\"" : "\"");
}

const char *schema_push_quoted(lua_State *L, const char *text, size_t len) {
    luaL_Buffer b;
    luaL_checkstack(L, 8, "schema");
    luaL_buffinit(L, &b);
    add_quoted(&b, text, len);
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

static bool is_plain_key(const char *key, size_t len) {
    if (len == 0 || (key[0] >= '0' && key[0] <= '9')) return false;
    for (size_t i = 0; i < len; i++) {
        char ch = key[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
        if (!letter && !(ch >= '0' && ch <= '9')) return false;
    }
    return len <= SHOWN_BYTES;
}

static void add_segment(luaL_Buffer *b, const struct schema_path *path) {
    char index[32];
    if (path->index == SCHEMA_PLACE) {
        luaL_addlstring(b, path->key, path->len);
    } else if (!path->key) {
        snprintf(index, sizeof index, "[%lld]", (long long)path->index);
        luaL_addstring(b, index);
    } else if (is_plain_key(path->key, path->len)) {
        luaL_addchar(b, '.');
        luaL_addlstring(b, path->key, path->len);
    } else {
        luaL_addchar(b, '[');
        add_quoted(b, path->key, path->len);
        luaL_addchar(b, ']');
    }
}

/* The chain leads outwards, the text inwards: the way back of the recursion writes it. */
static void add_path(luaL_Buffer *b, const struct schema_path *path) {
    if (!path) return;
    add_path(b, path->up);
    add_segment(b, path);
}

const char *schema_push_path(lua_State *L, const struct schema_path *path) {
    luaL_Buffer b;
    luaL_checkstack(L, 8, "schema");
    luaL_buffinit(L, &b);
    const struct schema_path *top = path;
    while (top && top->up) top = top->up;
    if (!top || top->index != SCHEMA_PLACE) luaL_addchar(&b, '$');
    add_path(&b, path);
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

/* ---- values ----------------------------------------------------------------------------------- */

static const char *push_table_shown(lua_State *L, int idx) {
    size_t size;
    switch (schema_types(L, idx, &size)) {
    case SCHEMA_OBJECT: return lua_pushliteral(L, "object");
    case SCHEMA_ARRAY:
        if (size == 1) return lua_pushliteral(L, "array of 1 item");
        return lua_pushfstring(L, "array of %I items", (lua_Integer)size);
    case SCHEMA_ARRAY | SCHEMA_OBJECT: return lua_pushliteral(L, "empty object");
    default: return lua_pushliteral(L, "a table that is neither a list nor an object");
    }
}

static const char *push_number_shown(lua_State *L, int idx, bool typed) {
    int types = schema_types(L, idx, NULL);
    lua_pushstring(L, !typed || !types ? "" : types & SCHEMA_INTEGER ? "integer " : "number ");
    lua_pushvalue(L, idx);
    lua_tostring(L, -1);
    lua_pushstring(L, types ? "" : ", which is no JSON value");
    lua_concat(L, 3);
    return lua_tostring(L, -1);
}

const char *schema_push_shown(lua_State *L, int idx, bool typed) {
    size_t len;
    const char *text;
    luaL_checkstack(L, 8, "schema");
    idx = lua_absindex(L, idx);
    switch (lua_type(L, idx)) {
    case LUA_TBOOLEAN:
        return lua_pushfstring(L, "%s%s", typed ? "boolean " : "",
                               lua_toboolean(L, idx) ? "true" : "false");
    case LUA_TNUMBER: return push_number_shown(L, idx, typed);
    case LUA_TSTRING:
        text = lua_tolstring(L, idx, &len);
        lua_pushstring(L, typed ? "string " : "");
        schema_push_quoted(L, text, len);
        lua_concat(L, 2);
        return lua_tostring(L, -1);
    case LUA_TTABLE: return push_table_shown(L, idx);
    default:
        if (json_is_null(L, idx)) return lua_pushliteral(L, "null");
        return lua_pushfstring(L, "a %s, which is no JSON value", luaL_typename(L, idx));
    }
}

const char *schema_push_types(lua_State *L, int types) {
    static const struct {
        int bit;
        const char *name;
    } TYPES[] = {{SCHEMA_BOOLEAN, "boolean"}, {SCHEMA_INTEGER, "integer"},
                 {SCHEMA_NUMBER, "number"},   {SCHEMA_STRING, "string"},
                 {SCHEMA_ARRAY, "array"},     {SCHEMA_OBJECT, "object"},
                 {SCHEMA_NULL, "null"}};
    if (types & SCHEMA_NUMBER) types &= ~SCHEMA_INTEGER;
    luaL_Buffer b;
    luaL_checkstack(L, 8, "schema");
    luaL_buffinit(L, &b);
    bool first = true;
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (!(types & TYPES[i].bit)) continue;
        types &= ~TYPES[i].bit;
        if (!first) luaL_addstring(&b, types ? ", " : " or ");
        luaL_addstring(&b, TYPES[i].name);
        first = false;
    }
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

const char *schema_push_list(lua_State *L, int idx) {
    luaL_checkstack(L, 8, "schema");
    idx = lua_absindex(L, idx);
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
    lua_pushliteral(L, "");
    for (lua_Integer i = 1; i <= n && i <= SHOWN_VALUES; i++) {
        if (i > 1) lua_pushliteral(L, ", ");
        lua_rawgeti(L, idx, i);
        schema_push_shown(L, -1, false);
        lua_remove(L, -2);
        lua_concat(L, i > 1 ? 3 : 2);
    }
    if (n <= SHOWN_VALUES) return lua_tostring(L, -1);
    lua_pushfstring(L, ", ... (%I in all)", n);
    lua_concat(L, 2);
    return lua_tostring(L, -1);
}

/* ---- the list of problems ----------------------------------------------------------------------- */

static int path_depth(const struct schema_path *path) {
    int depth = 0;
    for (; path; path = path->up) depth++;
    return depth;
}

/* Turns the message on top into an entry of the list, at position at. */
static void set_problem(struct schema_check *c, int at, const struct schema_path *path) {
    lua_State *L = c->L;
    luaL_checkstack(L, 8, "schema");
    lua_createtable(L, 0, 2);
    lua_insert(L, -2);
    lua_setfield(L, -2, "message");
    schema_push_path(L, path);
    lua_setfield(L, -2, "path");
    lua_rawseti(L, c->problems, at);
}

bool schema_fail(struct schema_check *c, const struct schema_path *path, enum schema_hint hint) {
    if (c->quiet || c->stopped || c->count >= c->cap) {
        lua_pop(c->L, 1);
        return false;
    }
    c->info[c->count++] = (struct schema_problem){path_depth(path), hint};
    set_problem(c, c->count, path);
    return false;
}

bool schema_give_up(struct schema_check *c, const struct schema_path *path) {
    if (c->stopped) {
        lua_pop(c->L, 1);
        return false;
    }
    for (; c->count > 1; c->count--) {
        lua_pushnil(c->L);
        lua_rawseti(c->L, c->problems, c->count);
    }
    c->stopped = true;
    c->count = 1;
    set_problem(c, 1, path);
    return false;
}

/* Items lie side by side in memory, keys do not. */
bool schema_step_keys(struct schema_check *c, int types, size_t size) {
    return schema_step(c, (int64_t)(types & SCHEMA_ARRAY ? size / 8 : size));
}

bool schema_step(struct schema_check *c, int64_t n) {
    if (c->stopped) return false;
    c->steps -= n;
    if (c->steps >= 0) return true;
    lua_pushfstring(c->L,
                    "the check was given up after %I steps: schema and value together are too "
                    "complex",
                    (lua_Integer)c->schema->max_steps);
    return schema_give_up(c, NULL);
}
