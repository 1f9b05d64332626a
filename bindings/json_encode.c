/* json_encode.c - writes Lua values as JSON text.
 *
 * Bytes go straight into a struct buf. A Lua string result is built in a scratch buffer that the
 * state keeps from call to call; a __tojson method that encodes by itself finds it busy and gets
 * one of its own, and so does the next call after one that ended in an error.
 *
 * Objects: keys and values are put on the Lua stack (long objects: into a Lua table), where no
 * finalizer or method that changes the table can take them away. A list of struct member in the
 * scratch points at them, and is sorted by the first eight bytes as one number, then by the rest.
 *
 * Arrays are written while lua_next walks the table, as long as the keys come as 1, 2, 3, ...;
 * if not, which is rare, the rest is written by index after all keys have been counted. */
#include "json.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_writer.h"

enum {
    STACK_MEMBERS = 64,     /* members of an object that wait on the Lua stack; more: in a table */
    INSERTION_MEMBERS = 24, /* up to here insertion sort beats qsort */
    SCRATCH_KEPT = 1 << 18  /* bytes of scratch that are kept between calls */
};

struct scratch {
    struct buf text;
    struct buf members;
    bool busy;
};

struct member {
    uint64_t prefix; /* the first eight bytes of the key, the first one highest */
    const char *key;
    size_t len;
    int number; /* 0, 1, ... in the order of the table */
};

static void encode_value(struct json_writer *w, int index);

/* ---- arrays ------------------------------------------------------------------------------- */

static void encode_item(struct json_writer *w, lua_Integer i) {
    w->top->index = i;
    json_put_separator(w, i == 1);
    encode_value(w, lua_gettop(w->L));
    lua_pop(w->L, 1);
}

/* Refuses the key on the stack below its value. */
static void fail_key(struct json_writer *w) {
    lua_State *L = w->L;
    const char *key = lua_type(L, -2) == LUA_TNUMBER
                          ? luaL_tolstring(L, -2, NULL)
                          : lua_pushfstring(L, "that is a %s", luaL_typename(L, -2));
    json_fail(w, "found a key %s; an array has the keys 1..n, an object only strings", key);
}

/* Refuses the table unless its keys are 1..n, and returns n. */
static lua_Integer count_items(struct json_writer *w, int table) {
    lua_State *L = w->L;
    lua_Integer count = 0, highest = 0;
    bool named = false;
    w->top->index = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            named = true;
            continue;
        }
        if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1) fail_key(w);
        count++;
        if (lua_tointeger(L, -2) > highest) highest = lua_tointeger(L, -2);
    }
    if (named)
        json_fail(w, "found %s named keys; an array has the keys 1..n, an object only strings",
                  count ? "a table with both list items and" : "an array with");
    if (count != highest)
        json_fail(w, "found a list with holes: %I items up to index %I; fill holes with null",
                  count, highest);
    return count;
}

/* Writes the items from the first one on. */
static void encode_scattered(struct json_writer *w, int table, lua_Integer first) {
    lua_Integer n = count_items(w, table);
    for (lua_Integer i = first; i <= n; i++) {
        lua_rawgeti(w->L, table, i);
        encode_item(w, i);
    }
}

/* The first key and its value are on the stack, unless the table is empty. */
static void encode_array(struct json_writer *w, int table, bool empty) {
    lua_State *L = w->L;
    json_put_open(w, '[');
    bool more = !empty;
    for (lua_Integer i = 1; more; i++) {
        if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != i) {
            lua_pop(L, 2);
            encode_scattered(w, table, i);
            break;
        }
        encode_item(w, i);
        more = lua_next(L, table) != 0;
    }
    json_put_close(w, ']', empty);
}

/* ---- objects ------------------------------------------------------------------------------ */

static uint64_t key_prefix(const char *key, size_t len) {
    uint64_t prefix = 0;
    size_t n = len < 8 ? len : 8;
    for (size_t i = 0; i < n; i++) prefix |= (uint64_t)(unsigned char)key[i] << (56 - 8 * i);
    return prefix;
}

static int compare_members(const void *left, const void *right) {
    const struct member *a = left, *b = right;
    if (a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
    int order = memcmp(a->key, b->key, a->len < b->len ? a->len : b->len);
    if (order != 0) return order;
    return a->len < b->len ? -1 : a->len > b->len;
}

static void sort_members(struct member *list, size_t n) {
    if (n > INSERTION_MEMBERS) {
        qsort(list, n, sizeof *list, compare_members);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct member moving = list[i];
        size_t j = i;
        for (; j > 0 && compare_members(&moving, &list[j - 1]) < 0; j--) list[j] = list[j - 1];
        list[j] = moving;
    }
}

static void add_member(struct json_writer *w, int key_index, int number) {
    struct member m = {.number = number};
    m.key = lua_tolstring(w->L, key_index, &m.len);
    m.prefix = key_prefix(m.key, m.len);
    if (buf_add(w->members, (const char *)&m, sizeof m) != BUF_OK)
        luaL_error(w->L, "not enough memory");
}

/* Moves the member on top of the stack to the table below it that holds the late members; what
 * lua_next needs, the key, stays. */
static void stow_member(lua_State *L, int late, int number) {
    lua_Integer at = 2 * (lua_Integer)(number - STACK_MEMBERS);
    lua_rawseti(L, late, at + 2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, late, at + 1);
}

/* Lists the members of the table; the first key and its value are on the stack. Keys and values
 * end up on the stack from base on; those after STACK_MEMBERS in a table behind. Returns how many. */
static int collect_members(struct json_writer *w, int table, int base) {
    lua_State *L = w->L;
    int late = base + 2 * STACK_MEMBERS;
    int n = 0;
    do {
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pop(L, 1);
            count_items(w, table);
        }
        add_member(w, -2, n);
        if (n == STACK_MEMBERS) {
            lua_newtable(L);
            lua_insert(L, late);
        }
        if (n >= STACK_MEMBERS) {
            stow_member(L, late, n);
        } else {
            luaL_checkstack(L, 8, "JSON");
            lua_pushvalue(L, -2);
        }
        n++;
    } while (lua_next(L, table));
    return n;
}

static void encode_member(struct json_writer *w, const struct member *m, int base) {
    lua_State *L = w->L;
    w->top->key = m->key;
    w->top->key_len = m->len;
    json_put_key(w, m->key, m->len);
    if (m->number < STACK_MEMBERS) {
        encode_value(w, base + 2 * m->number + 1);
        return;
    }
    lua_rawgeti(L, base + 2 * STACK_MEMBERS, 2 * (lua_Integer)(m->number - STACK_MEMBERS) + 2);
    encode_value(w, lua_gettop(L));
    lua_pop(L, 1);
}

/* The first key and its value are on the stack, unless the table is empty. */
static void encode_object(struct json_writer *w, int table, bool empty) {
    lua_State *L = w->L;
    json_put_open(w, '{');
    if (!empty) {
        int base = lua_gettop(L) - 1;
        size_t start = w->members->len;
        size_t n = (size_t)collect_members(w, table, base);
        sort_members((struct member *)(void *)(w->members->data + start), n);
        for (size_t i = 0; i < n; i++) {
            struct member m;
            memcpy(&m, w->members->data + start + i * sizeof m, sizeof m);
            json_put_separator(w, i == 0);
            encode_member(w, &m, base);
        }
        w->members->len = start;
        lua_settop(L, base - 1);
    }
    json_put_close(w, '}', empty);
}

/* The list {k1, v1, k2, v2, ...} is on top of the stack. */
static void encode_ordered(struct json_writer *w) {
    lua_State *L = w->L;
    int list = lua_gettop(L);
    lua_Unsigned n = lua_rawlen(L, list);
    json_put_open(w, '{');
    for (lua_Unsigned i = 1; i < n; i += 2) {
        json_put_separator(w, i == 1);
        lua_rawgeti(L, list, (lua_Integer)i);
        w->top->key = lua_tolstring(L, -1, &w->top->key_len);
        json_put_key(w, w->top->key, w->top->key_len);
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        encode_value(w, list + 2);
        lua_settop(L, list);
    }
    json_put_close(w, '}', n == 0);
}

/* ---- values ------------------------------------------------------------------------------- */

/* The method is on top of the stack: writes what it makes of the value at index. */
static void encode_replacement(struct json_writer *w, int index) {
    lua_State *L = w->L;
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    encode_value(w, lua_gettop(L));
}

/* Pushes the metatable's __tojson, if there is one. The metatable is on top of the stack. */
static bool push_tojson(lua_State *L) {
    lua_pushliteral(L, "__tojson");
    if (lua_rawget(L, -2) != LUA_TNIL) return true;
    lua_pop(L, 1);
    return false;
}

static void encode_table(struct json_writer *w, int index) {
    lua_State *L = w->L;
    struct json_level level;
    json_enter(w, &level, lua_topointer(L, index));
    int top = lua_gettop(L);
    bool marked = false;
    if (lua_getmetatable(L, index)) {
        marked = lua_topointer(L, -1) == w->state->array_mt;
        if (!marked && push_tojson(L)) {
            encode_replacement(w, index);
            lua_settop(L, top);
            json_leave(w);
            return;
        }
        lua_settop(L, top);
    }
    lua_pushnil(L);
    bool empty = lua_next(L, index) == 0;
    if (marked || (!empty && lua_isinteger(L, -2))) encode_array(w, index, empty);
    else encode_object(w, index, empty);
    json_leave(w);
}

/* The text counts with the levels that it has inside. */
static void encode_raw(struct json_writer *w, int index) {
    const struct json_raw *raw = lua_touserdata(w->L, index);
    if (w->depth + raw->depth > JSON_MAX_DEPTH) json_fail_limit(w, JSON_TOO_DEEP);
    luaL_checkstack(w->L, 8, "JSON");
    lua_getiuservalue(w->L, index, 1);
    size_t len;
    const char *text = lua_tolstring(w->L, -1, &len);
    json_put(w, text, len);
}

static const void *metatable_identity(lua_State *L, int index) {
    luaL_checkstack(L, 8, "JSON");
    if (!lua_getmetatable(L, index)) return NULL;
    const void *identity = lua_topointer(L, -1);
    lua_pop(L, 1);
    return identity;
}

static void encode_userdata(struct json_writer *w, int index) {
    lua_State *L = w->L;
    if (lua_touserdata(L, index) == w->state->null) {
        json_put(w, "null", 4);
        return;
    }
    int top = lua_gettop(L);
    const void *mt = metatable_identity(L, index);
    if (mt && mt == w->state->raw_mt) {
        encode_raw(w, index);
        lua_settop(L, top);
        return;
    }
    struct json_level level;
    json_enter(w, &level, lua_touserdata(L, index));
    if (mt && mt == w->state->ordered_mt) {
        lua_getiuservalue(L, index, 1);
        encode_ordered(w);
    } else if (lua_getmetatable(L, index) && push_tojson(L)) {
        encode_replacement(w, index);
    } else {
        json_fail(
            w, "found a userdata; JSON has null, booleans, numbers, strings, arrays and objects");
    }
    lua_settop(L, top);
    json_leave(w);
}

static void encode_value(struct json_writer *w, int index) {
    lua_State *L = w->L;
    size_t len;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        json_put_string(w, text, len);
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) json_put_integer(w, lua_tointeger(L, index));
        else json_put_float(w, lua_tonumber(L, index));
        return;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, index)) json_put(w, "true", 4);
        else json_put(w, "false", 5);
        return;
    case LUA_TTABLE: encode_table(w, index); return;
    case LUA_TUSERDATA: encode_userdata(w, index); return;
    case LUA_TNIL: json_fail(w, "found nil; null is written by harness.null"); return;
    default:
        json_fail(w, "found a %s; JSON has null, booleans, numbers, strings, arrays and objects",
                  luaL_typename(L, index));
    }
}

/* ---- entry -------------------------------------------------------------------------------- */

static int scratch_collect(lua_State *L) {
    struct scratch *s = lua_touserdata(L, 1);
    buf_free(&s->text);
    buf_free(&s->members);
    return 0;
}

static struct scratch *push_new_scratch(lua_State *L, int state) {
    struct scratch *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct scratch){0};
    buf_init(&s->text, JSON_MAX_BYTES);
    buf_init(&s->members, SIZE_MAX / 2);
    if (luaL_newmetatable(L, "harness.json.scratch")) {
        lua_pushcfunction(L, scratch_collect);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, state, JSON_SCRATCH);
    return s;
}

/* Pushes the scratch of the state at index, empty and busy from now on. */
static struct scratch *push_scratch(lua_State *L, int state) {
    lua_getiuservalue(L, state, JSON_SCRATCH);
    struct scratch *s = lua_touserdata(L, -1);
    if (!s || s->busy) {
        lua_pop(L, 1);
        s = push_new_scratch(L, state);
    }
    s->busy = true;
    buf_clear(&s->text);
    buf_clear(&s->members);
    return s;
}

static void scratch_done(struct scratch *s) {
    if (s->text.cap > SCRATCH_KEPT) buf_free(&s->text);
    if (s->members.cap > SCRATCH_KEPT) buf_free(&s->members);
    s->busy = false;
}

static void encode_to(lua_State *L, int index, struct buf *out, struct scratch *s,
                      const struct json_state *state, const struct json_options *options) {
    struct json_writer w = {.L = L, .out = out, .members = &s->members, .state = state};
    if (options) {
        w.pretty = options->pretty;
        w.replace_invalid_utf8 = options->replace_invalid_utf8;
    }
    encode_value(&w, index);
    *json_room(&w, 0) = '\0';
}

void json_encode(lua_State *L, int index, struct buf *out, const struct json_options *options) {
    index = lua_absindex(L, index);
    luaL_checkstack(L, 16, "JSON");
    int top = lua_gettop(L);
    const struct json_state *state = json_push_state(L);
    struct scratch *s = push_scratch(L, top + 1);
    encode_to(L, index, out, s, state, options);
    scratch_done(s);
    lua_settop(L, top);
}

void json_push_encoded(lua_State *L, int index, const struct json_options *options) {
    index = lua_absindex(L, index);
    luaL_checkstack(L, 16, "JSON");
    int top = lua_gettop(L);
    const struct json_state *state = json_push_state(L);
    struct scratch *s = push_scratch(L, top + 1);
    s->text.max = options && options->max_bytes ? options->max_bytes : JSON_MAX_BYTES;
    encode_to(L, index, &s->text, s, state, options);
    lua_pushlstring(L, s->text.data, s->text.len);
    scratch_done(s);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}
