/* json_pick.c - a few values out of a JSON text, without a Lua table for the rest of it.
 *
 * A streamed answer is thousands of small texts of which one string each is wanted. The strict
 * reader goes once over the text, as it does to check it, and notes where the wanted values stand;
 * nothing is allocated for it. Then the values are read again, by the same code as decoding has, to
 * the Lua stack. The paths are a tree of keys, so that each key of the text is looked up only among
 * those that may stand there. */
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

#include "json_reader.h"

static const char PICKER_TYPE[] = "harness.json.picker";

enum { MAX_PATHS = 64, MAX_STEPS = 16 };

static const size_t NO_INDEX = SIZE_MAX;

struct json_picker {
    int count;
    int spans;                               /* paths that differ */
    const struct json_node *ends[MAX_PATHS]; /* of the paths */
    size_t used;
    struct json_node nodes[]; /* the root first; the text of the keys behind them */
};

/* ---- picking ------------------------------------------------------------------------------ */

/* Arrays, objects, and numbers with more than an integer's few digits take the exact way. */
static bool is_plain(const struct json_span *span) {
    if (!span->start) return true;
    unsigned char c = *span->start;
    if (c == '{' || c == '[') return false;
    if (c != '-' && !json_is_digit(c)) return true;
    struct json_reader number = {.p = span->start, .end = span->end};
    return json_read_number(&number) && !number.facts.inexact_number;
}

static void push_span(lua_State *L, const struct json_span *span) {
    unsigned char c = span->start ? *span->start : 'n';
    if (c == 'n') {
        lua_pushnil(L);
    } else if (c == 't' || c == 'f') {
        lua_pushboolean(L, c == 't');
    } else {
        struct json_reader r = {.L = L, .p = span->start, .end = span->end};
        if (c == '"') json_read_string(&r);
        else json_read_number(&r);
    }
}

bool json_pick(lua_State *L, struct json_picker *picker, const char *text, size_t len) {
    struct json_span spans[MAX_PATHS];
    const unsigned char *start = (const unsigned char *)text;
    struct json_reader r = {
        .p = start, .end = start + len, .wanted = picker->nodes, .spans = spans};
    luaL_checkstack(L, picker->count + 4, "JSON");
    if (len > JSON_MAX_BYTES || !json_read_text(&r) || r.facts.nul_escape) return false;
    for (int i = 0; i < picker->spans; i++)
        if (!is_plain(&spans[i])) return false;
    for (int i = 0; i < picker->count; i++) push_span(L, &spans[picker->ends[i]->first]);
    return true;
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

/* The child of the node with this key, made if there is none. */
static struct json_node *add_key(struct json_picker *picker, struct json_node *node,
                                 const char *key) {
    struct json_node **place = &node->child;
    for (; *place; place = &(*place)->sibling)
        if (strcmp((*place)->key, key) == 0) return *place;
    struct json_node *made = &picker->nodes[picker->used++];
    *made = (struct json_node){.key = key, .key_len = strlen(key), .index = index_of(key)};
    *place = made;
    return made;
}

/* Adds a path. Splits its text, which it changes, at the dots. Returns what is wrong with it, or
 * NULL. */
static const char *add_path(struct json_picker *picker, int i, char *text) {
    struct json_node *node = picker->nodes;
    int steps = 0;
    for (char *key = text; key; steps++) {
        if (steps == MAX_STEPS) return "has more than 16 keys";
        char *dot = strchr(key, '.');
        if (dot) *dot = '\0';
        if (*key == '\0') return "has an empty key";
        node = add_key(picker, node, key);
        key = dot ? dot + 1 : NULL;
    }
    node->wanted = true;
    picker->ends[i] = node;
    return NULL;
}

/* Gives their spans to the node and all below it. */
static void number_spans(struct json_picker *picker, struct json_node *node) {
    node->first = picker->spans;
    if (node->wanted) picker->spans++;
    for (struct json_node *child = node->child; child; child = child->sibling)
        number_spans(picker, child);
    node->past = picker->spans;
}

static int fail_path(lua_State *L, int i, const char *wrong) {
    return luaL_argerror(L, 1, lua_pushfstring(L, "path %d %s", i, wrong));
}

static size_t count_steps(const char *text) {
    size_t n = 1;
    for (; *text; text++) n += *text == '.';
    return n;
}

/* Checks the list at 1; returns how many paths it has, how many bytes they take with a NUL, and how
 * many nodes at most. */
static int measure(lua_State *L, size_t *bytes, size_t *nodes) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer n = luaL_len(L, 1);
    luaL_argcheck(L, n >= 1 && n <= MAX_PATHS, 1, "a picker takes 1 to 64 paths");
    *bytes = 0;
    *nodes = 1;
    for (int i = 1; i <= (int)n; i++) {
        lua_rawgeti(L, 1, i);
        if (lua_type(L, -1) != LUA_TSTRING) fail_path(L, i, "is not a string");
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        if (strlen(text) != len) fail_path(L, i, "contains a NUL");
        *bytes += len + 1;
        *nodes += count_steps(text);
        lua_pop(L, 1);
    }
    return (int)n;
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
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

int json_new_picker(lua_State *L) {
    size_t bytes, nodes;
    int count = measure(L, &bytes, &nodes);
    struct json_picker *picker =
        lua_newuserdatauv(L, sizeof *picker + nodes * sizeof picker->nodes[0] + bytes, 0);
    *picker = (struct json_picker){.count = count, .used = 1};
    picker->nodes[0] = (struct json_node){.index = NO_INDEX};
    set_picker_metatable(L);
    char *text = (char *)(picker->nodes + nodes);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 1, i + 1);
        size_t len;
        const char *source = lua_tolstring(L, -1, &len);
        memcpy(text, source, len + 1);
        lua_pop(L, 1);
        const char *wrong = add_path(picker, i, text);
        if (wrong) fail_path(L, i + 1, wrong);
        text += len + 1;
    }
    number_spans(picker, picker->nodes);
    return 1;
}
