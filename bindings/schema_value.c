/* schema_value.c - what kind of JSON a Lua value is, when two of them are equal, and the little
 * arithmetic that JSON Schema needs.
 *
 * Tables are read raw: metatables of users have no say. Hashes are sums over the members of an
 * object, so that the order of `pairs` does not matter; equal values have equal hashes, and
 * uniqueItems compares only items whose hashes are equal, so it is linear.
 *
 * multipleOf is decided on the shortest decimal text of both numbers, as a person reads them: 0.3
 * is a multiple of 0.1, which no division of doubles would say. */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "schema.h"

/* ---- kinds --------------------------------------------------------------------------------- */

static int number_types(lua_State *L, int idx) {
    if (lua_isinteger(L, idx)) return SCHEMA_INTEGER | SCHEMA_NUMBER;
    lua_Number n = lua_tonumber(L, idx);
    if (n - n != 0) return 0; /* NaN or infinite */
    return floor(n) == n ? SCHEMA_INTEGER | SCHEMA_NUMBER : SCHEMA_NUMBER;
}

static int table_types(lua_State *L, int idx, size_t *size) {
    lua_Integer len = (lua_Integer)lua_rawlen(L, idx);
    lua_Integer items = 0, names = 0;
    luaL_checkstack(L, 4, "schema");
    idx = lua_absindex(L, idx);
    for (lua_pushnil(L); lua_next(L, idx);) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            names++;
            continue;
        }
        lua_Integer i = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        if (i < 1 || i > len || names) {
            lua_pop(L, 1);
            return 0;
        }
        items++;
    }
    *size = (size_t)(items + names);
    if (items) return names || items != len ? 0 : SCHEMA_ARRAY;
    bool marked = json_is_marked_array(L, idx);
    if (names) return marked ? 0 : SCHEMA_OBJECT;
    return marked ? SCHEMA_ARRAY : SCHEMA_ARRAY | SCHEMA_OBJECT;
}

int schema_types(lua_State *L, int idx, size_t *size) {
    size_t ignored = 0;
    if (!size) size = &ignored;
    *size = 0;
    switch (lua_type(L, idx)) {
    case LUA_TBOOLEAN: return SCHEMA_BOOLEAN;
    case LUA_TNUMBER: return number_types(L, idx);
    case LUA_TSTRING: return SCHEMA_STRING;
    case LUA_TTABLE: return table_types(L, idx, size);
    case LUA_TUSERDATA: return json_is_null(L, idx) ? SCHEMA_NULL : 0;
    default: return 0;
    }
}

bool schema_plain(lua_State *L, int idx) {
    luaL_checkstack(L, 8, "schema");
    if (lua_type(L, idx) != LUA_TUSERDATA || !lua_getmetatable(L, idx)) return false;
    const void *mt = lua_topointer(L, -1);
    const struct json_state *json = json_push_state(L);
    lua_pop(L, 2);
    if (mt != json->ordered_mt) return false;
    lua_newtable(L);
    lua_getiuservalue(L, idx, 1); /* {k1, v1, k2, v2, ...} */
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i < n; i += 2) {
        lua_rawgeti(L, -1, i);
        lua_rawgeti(L, -2, i + 1);
        lua_rawset(L, -4);
    }
    lua_pop(L, 1);
    lua_replace(L, idx);
    return true;
}

/* ---- equality and hashes ------------------------------------------------------------------- */

static bool too_deep(struct schema_check *c, int depth) {
    if (depth < SCHEMA_MAX_NESTING) return false;
    lua_pushfstring(c->L, "the value has more than %d levels", SCHEMA_MAX_NESTING);
    schema_give_up(c, NULL);
    return true;
}

static bool equal_arrays(struct schema_check *c, int a, int b, size_t len, int depth) {
    lua_State *L = c->L;
    for (size_t i = 1; i <= len; i++) {
        lua_rawgeti(L, a, (lua_Integer)i);
        lua_rawgeti(L, b, (lua_Integer)i);
        int top = lua_gettop(L);
        bool same = schema_equal(c, top - 1, top, depth + 1);
        lua_pop(L, 2);
        if (!same) return false;
    }
    return true;
}

static bool equal_objects(struct schema_check *c, int a, int b, int depth) {
    lua_State *L = c->L;
    for (lua_pushnil(L); lua_next(L, a);) {
        lua_pushvalue(L, -2);
        lua_rawget(L, b);
        int top = lua_gettop(L);
        bool same = schema_equal(c, top - 1, top, depth + 1);
        lua_pop(L, same ? 2 : 3);
        if (!same) return false;
    }
    return true;
}

/* schema_types, with `{}` an object only where the schema wants it so. */
static int seen_types(const struct schema_check *c, int idx, size_t *size) {
    int types = schema_types(c->L, idx, size);
    bool both = types == (SCHEMA_ARRAY | SCHEMA_OBJECT);
    return both && c->schema->exact_empty ? SCHEMA_OBJECT : types;
}

bool schema_equal(struct schema_check *c, int a, int b, int depth) {
    lua_State *L = c->L;
    if (!schema_step(c, 1)) return false;
    if (lua_rawequal(L, a, b)) return true;
    if (!lua_istable(L, a) || !lua_istable(L, b) || too_deep(c, depth)) return false;
    luaL_checkstack(L, 8, "schema");
    size_t size_a, size_b;
    int types_a = seen_types(c, a, &size_a), types_b = seen_types(c, b, &size_b);
    if (!schema_step_keys(c, types_a, size_a) || !schema_step_keys(c, types_b, size_b))
        return false;
    if (size_a != size_b || (types_a & types_b) == 0) return false;
    if (types_a & SCHEMA_ARRAY) return equal_arrays(c, a, b, size_a, depth);
    return equal_objects(c, a, b, depth);
}

/* The finalizer of splitmix64: spreads every bit over all others. */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t hash_bytes(const char *text, size_t len) {
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ len;
    for (; len >= 8; text += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        h = mix(h ^ word);
    }
    for (; len; text++, len--) h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return mix(h);
}

/* 1 and 1.0 must meet: a float that is an integer is hashed as one. */
static uint64_t hash_number(lua_State *L, int idx) {
    int exact;
    lua_Integer i = lua_tointegerx(L, idx, &exact);
    if (exact) return mix((uint64_t)i + 11);
    lua_Number n = lua_tonumber(L, idx);
    uint64_t bits;
    memcpy(&bits, &n, sizeof bits);
    return mix(bits ^ UINT64_C(0x5bd1e995));
}

static uint64_t hash_table(struct schema_check *c, int idx, int depth) {
    lua_State *L = c->L;
    if (too_deep(c, depth)) return 0;
    luaL_checkstack(L, 6, "schema");
    uint64_t h = 17;
    int top = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, idx) && !c->stopped; lua_pop(L, 1)) {
        uint64_t key = schema_hash(c, top + 1, depth + 1);
        h += mix(key * 31 + schema_hash(c, top + 2, depth + 1));
        if (c->stopped) break;
    }
    lua_settop(L, top);
    return mix(h);
}

uint64_t schema_hash(struct schema_check *c, int idx, int depth) {
    lua_State *L = c->L;
    if (!schema_step(c, 1)) return 0;
    switch (lua_type(L, idx)) {
    case LUA_TBOOLEAN: return lua_toboolean(L, idx) ? 3 : 5;
    case LUA_TNUMBER: return hash_number(L, idx);
    case LUA_TTABLE: return hash_table(c, idx, depth);
    case LUA_TSTRING: {
        size_t len;
        const char *text = lua_tolstring(L, idx, &len);
        return schema_step(c, (int64_t)(len / 64)) ? hash_bytes(text, len) : 0;
    }
    default: return 7; /* null, or no JSON at all */
    }
}

/* ---- decimal arithmetic --------------------------------------------------------------------- */

/* digits * 10^exponent; digits has no trailing zeros. */
struct decimal {
    uint64_t digits;
    int exponent;
};

/* The shortest text that reads back as n; the decimal point may be that of any locale. */
static void shortest_text(lua_Number n, char *text, size_t size) {
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, size, "%.*e", precision - 1, n);
        if (strtod(text, NULL) == n) return;
    }
}

static struct decimal strip_zeros(struct decimal d) {
    while (d.digits && d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent++;
    }
    return d;
}

/* The magnitude of the number at idx. */
static struct decimal to_decimal(lua_State *L, int idx) {
    int exact;
    lua_Integer i = lua_tointegerx(L, idx, &exact);
    if (exact) return strip_zeros((struct decimal){i < 0 ? -(uint64_t)i : (uint64_t)i, 0});
    char text[40];
    shortest_text(fabs(lua_tonumber(L, idx)), text, sizeof text);
    struct decimal d = {0, 0};
    bool fraction = false;
    const char *p = text;
    for (; *p && *p != 'e'; p++) {
        if (*p < '0' || *p > '9') {
            fraction = true;
            continue;
        }
        d.digits = d.digits * 10 + (uint64_t)(*p - '0');
        if (fraction) d.exponent--;
    }
    if (*p == 'e') d.exponent += (int)strtol(p + 1, NULL, 10);
    return strip_zeros(d);
}

static uint64_t multiply_modulo(uint64_t a, uint64_t b, uint64_t m) {
    return (uint64_t)((unsigned __int128)a * b % m);
}

bool schema_multiple(lua_State *L, int a, int b) {
    struct decimal value = to_decimal(L, a), step = to_decimal(L, b);
    if (value.digits == 0) return true;
    /* The value has no trailing zero, so it cannot be a multiple of anything with a larger
     * exponent, which is a multiple of ten times its last place. */
    if (value.exponent < step.exponent) return false;
    uint64_t rest = value.digits % step.digits;
    uint64_t power = 10 % step.digits;
    for (unsigned n = (unsigned)(value.exponent - step.exponent); n; n >>= 1) {
        if (n & 1) rest = multiply_modulo(rest, power, step.digits);
        power = multiply_modulo(power, power, step.digits);
    }
    return rest == 0;
}

/* ---- copies and lengths ----------------------------------------------------------------------- */

static void keep_mark(lua_State *L, int from, int to) {
    if (json_is_marked_array(L, from)) json_mark_array(L, to);
}

void schema_push_shallow(lua_State *L, int idx) {
    luaL_checkstack(L, 6, "schema");
    idx = lua_absindex(L, idx);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, idx);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    keep_mark(L, idx, -1);
}

bool schema_push_copy(lua_State *L, int idx, int depth, int64_t *steps) {
    luaL_checkstack(L, 6, "schema");
    if (--*steps < 0) return false;
    if (!lua_istable(L, idx)) {
        lua_pushvalue(L, idx);
        return true;
    }
    if (depth >= SCHEMA_MAX_NESTING) return false;
    idx = lua_absindex(L, idx);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, idx);) {
        lua_pushvalue(L, -2);
        if (!schema_push_copy(L, -2, depth + 1, steps)) {
            lua_pop(L, 4);
            return false;
        }
        lua_rawset(L, -5);
        lua_pop(L, 1);
    }
    keep_mark(L, idx, -1);
    return true;
}

size_t schema_length(const char *text, size_t len) {
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    size_t count = 0;
    while (p < end) {
        size_t n = json_utf8_length(p, end);
        p += n ? n : 1;
        count++;
    }
    return count;
}
