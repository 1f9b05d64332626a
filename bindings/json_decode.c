/* json_decode.c - reads JSON text: into Lua values, or only to check it.
 *
 * One recursive descent does both; while it only checks, reader.L is NULL and the build_ functions
 * do nothing. It stops at the first fault, which is noted in the reader, and every function on the
 * way up returns false: nothing is raised in the middle, except by Lua itself for lack of memory,
 * and nothing but the Lua stack owns memory.
 *
 * The members of an array or object wait on the Lua stack until it ends, so that its table is made
 * with the right size at once; a long one is flushed to its table after BATCH_SLOTS.
 *
 * While the picker reads, the keys that it wants go down with the reader: each array and object
 * looks its members up among the children of its own node, and the value of a node that is wanted
 * is noted as a span of the text. Strings and numbers are read by json_token.c. */
#include <lauxlib.h>
#include <string.h>

#include "bindings.h"
#include "json.h"
#include "json_reader.h"

enum { BATCH_SLOTS = 48 }; /* stack slots of an array or object before it gets its table */

_Static_assert(JSON_MAX_DEPTH == 512, "enter() names the limit");

/* An array or object being read. */
struct batch {
    int table; /* stack index of its table, or of the slot kept for it */
    int slots; /* values that wait above it */
    bool made; /* the table is there, and takes members at once */
    lua_Integer count;
};

static bool read_value(struct json_reader *r);

/* ---- arrays and objects ----------------------------------------------------------------- */

static bool enter(struct json_reader *r) {
    if (r->depth == JSON_MAX_DEPTH)
        return json_reader_fail(r, r->p, "at most 512 levels may be nested");
    r->depth++;
    if (r->depth > r->facts.depth) r->facts.depth = r->depth;
    r->p++;
    json_skip_space(r);
    return true;
}

static struct batch build_begin(struct json_reader *r) {
    if (!r->L) return (struct batch){0};
    luaL_checkstack(r->L, BATCH_SLOTS + 8, "JSON");
    lua_pushnil(r->L);
    return (struct batch){.table = lua_gettop(r->L)};
}

/* Makes the table, and moves the waiting items to it. */
static void flush_items(struct json_reader *r, struct batch *b, int room) {
    lua_createtable(r->L, room, 0);
    lua_replace(r->L, b->table);
    for (int i = b->slots; i > 0; i--) lua_rawseti(r->L, b->table, i);
    b->count = b->slots;
    b->slots = 0;
    b->made = true;
}

/* Takes in the item on top of the stack. */
static void build_item(struct json_reader *r, struct batch *b) {
    if (!r->L) return;
    if (b->made) {
        lua_rawseti(r->L, b->table, ++b->count);
        return;
    }
    if (++b->slots == BATCH_SLOTS) flush_items(r, b, 2 * BATCH_SLOTS);
}

static void build_array(struct json_reader *r, struct batch *b) {
    if (!r->L) return;
    if (!b->made) flush_items(r, b, b->slots);
    if (b->count > 0) return;
    lua_pushvalue(r->L, r->array_mt);
    lua_setmetatable(r->L, b->table);
}

/* Moves the waiting members in their order, so that of equal keys the last one stays. */
static void flush_members(struct json_reader *r, struct batch *b, int room) {
    lua_createtable(r->L, 0, room);
    lua_replace(r->L, b->table);
    for (int i = 1; i <= b->slots; i += 2) {
        lua_pushvalue(r->L, b->table + i);
        lua_pushvalue(r->L, b->table + i + 1);
        lua_rawset(r->L, b->table);
    }
    lua_settop(r->L, b->table);
    b->slots = 0;
    b->made = true;
}

/* Takes in the key and the value on top of the stack. */
static void build_member(struct json_reader *r, struct batch *b) {
    if (!r->L) return;
    if (b->made) {
        lua_rawset(r->L, b->table);
        return;
    }
    b->slots += 2;
    if (b->slots == BATCH_SLOTS) flush_members(r, b, BATCH_SLOTS);
}

static void build_object(struct json_reader *r, struct batch *b) {
    if (r->L && !b->made) flush_members(r, b, b->slots / 2);
}

/* What is wanted of the members of the array or object that begins; of others nothing is. */
static const struct json_node *wanted_members(struct json_reader *r) {
    const struct json_node *members = r->wanted ? r->wanted->child : NULL;
    r->wanted = NULL;
    return members;
}

static const struct json_node *find_index(const struct json_node *node, size_t index) {
    while (node && node->index != index) node = node->sibling;
    return node;
}

/* The node of the key that was read last, from start to its quote. */
static const struct json_node *find_key(const struct json_node *node, const struct json_reader *r,
                                        const unsigned char *start, const unsigned char *quote) {
    size_t len = (size_t)(quote - start);
    for (; node; node = node->sibling) {
        bool same = r->escaped ? json_string_is(start, quote, node->key, node->key_len)
                               : node->key_len == len && memcmp(node->key, start, len) == 0;
        if (same) return node;
    }
    return NULL;
}

static bool read_array(struct json_reader *r) {
    const struct json_node *wanted = wanted_members(r);
    if (!enter(r)) return false;
    struct batch b = build_begin(r);
    bool more = json_peek(r) != ']';
    for (size_t i = 0; more; i++) {
        if (wanted) r->wanted = find_index(wanted, i);
        if (!read_value(r)) return false;
        build_item(r, &b);
        json_skip_space(r);
        if (json_peek(r) == ']') break;
        if (json_peek(r) != ',') return json_reader_fail(r, r->p, "',' or ']' must follow an item");
        r->p++;
    }
    r->p++;
    r->depth--;
    build_array(r, &b);
    return true;
}

static bool read_member(struct json_reader *r, const struct json_node *wanted) {
    json_skip_space(r);
    if (json_peek(r) != '"')
        return json_reader_fail(r, r->p, "a key in double quotes must stand here");
    const unsigned char *start = r->p + 1;
    if (!json_read_string(r)) return false;
    if (wanted) r->wanted = find_key(wanted, r, start, r->p - 1);
    json_skip_space(r);
    if (json_peek(r) != ':') return json_reader_fail(r, r->p, "':' must follow a key");
    r->p++;
    return read_value(r);
}

static bool read_object(struct json_reader *r) {
    const struct json_node *wanted = wanted_members(r);
    if (!enter(r)) return false;
    struct batch b = build_begin(r);
    bool more = json_peek(r) != '}';
    while (more) {
        if (!read_member(r, wanted)) return false;
        build_member(r, &b);
        json_skip_space(r);
        if (json_peek(r) == '}') break;
        if (json_peek(r) != ',')
            return json_reader_fail(r, r->p, "',' or '}' must follow a member");
        r->p++;
    }
    r->p++;
    r->depth--;
    build_object(r, &b);
    return true;
}

/* ---- values ----------------------------------------------------------------------------- */

static bool read_word(struct json_reader *r, const char *word, size_t len) {
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0)
        return json_reader_fail(r, r->p, "names that may stand here are true, false and null");
    r->p += len;
    return true;
}

static bool read_boolean(struct json_reader *r, bool value) {
    if (!read_word(r, value ? "true" : "false", value ? 4 : 5)) return false;
    if (r->L) lua_pushboolean(r->L, value);
    return true;
}

static bool read_null(struct json_reader *r) {
    if (!read_word(r, "null", 4)) return false;
    if (r->L) lua_pushvalue(r->L, r->null);
    return true;
}

/* r->p is at the value. */
static bool read_here(struct json_reader *r) {
    unsigned char c = json_peek(r);
    switch (c) {
    case '"': return json_read_string(r);
    case '{': return read_object(r);
    case '[': return read_array(r);
    case 't': return read_boolean(r, true);
    case 'f': return read_boolean(r, false);
    case 'n': return read_null(r);
    default: break;
    }
    if (c == '-' || json_is_digit(c)) return json_read_number(r);
    return json_reader_fail(
        r, r->p, "a value must stand here (object, array, string, number, true, false, null)");
}

/* A value that is wanted, or something in it is: what a value of the same key before had is gone. */
static bool read_wanted(struct json_reader *r) {
    const struct json_node *node = r->wanted;
    const unsigned char *start = r->p;
    for (int i = node->first; i < node->past; i++) r->spans[i].start = NULL;
    if (!read_here(r)) return false;
    if (node->wanted) r->spans[node->first] = (struct json_span){start, r->p};
    return true;
}

static bool read_value(struct json_reader *r) {
    json_skip_space(r);
    return r->wanted ? read_wanted(r) : read_here(r);
}

bool json_read_text(struct json_reader *r) {
    if (!read_value(r)) return false;
    json_skip_space(r);
    if (r->p < r->end) return json_reader_fail(r, r->p, "only white space may follow the value");
    return true;
}

bool json_check(const char *text, size_t len, struct json_facts *facts, struct json_fault *fault) {
    const unsigned char *start = (const unsigned char *)text;
    struct json_reader r = {.p = start, .end = start + len};
    bool ok = json_read_text(&r);
    if (facts) *facts = r.facts;
    if (!ok && fault) *fault = (struct json_fault){(size_t)(r.fault - start), r.rule};
    return ok;
}

static void raise_too_long(lua_State *L, size_t len, size_t max) {
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "json");
    lua_setfield(L, -2, "where");
    lua_pushinteger(L, (lua_Integer)max + 1);
    lua_setfield(L, -2, "offset");
    bind_raise(L, "VALIDATION_ERROR", "JSON text of %zu bytes; at most %zu are taken", len, max);
}

void json_push_decoded(lua_State *L, const char *text, size_t len,
                       const struct json_options *options) {
    size_t max = options && options->max_bytes ? options->max_bytes : JSON_MAX_BYTES;
    luaL_checkstack(L, 16, "JSON");
    if (len > max) raise_too_long(L, len, max);
    json_push_state(L);
    int base = lua_gettop(L);
    lua_getiuservalue(L, base, JSON_NULL);
    lua_getiuservalue(L, base, JSON_ARRAY_MT);
    const unsigned char *start = (const unsigned char *)text;
    struct json_reader r = {.L = L,
                            .null = base + 1,
                            .array_mt = base + 2,
                            .p = start,
                            .end = start + len,
                            .lone_surrogates = options && options->lone_surrogates};
    if (!json_read_text(&r)) {
        lua_settop(L, base);
        json_raise_fault(L, text, len, &(struct json_fault){(size_t)(r.fault - start), r.rule});
    }
    lua_replace(L, base);
    lua_settop(L, base);
}
