/* json.c - core.json: the functions that Lua sees, and the values that stand for null, arrays,
 * ready-made text and ordered objects.
 *
 * Their identities live in one userdata in the registry, so that they stay the same when the
 * module is opened again. null, raw and ordered are userdata: nobody takes them for a table, and a
 * script cannot change them. The array mark is an ordinary metatable without fields. */
#include "json.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bindings.h"

static const char STATE_KEY = 0; /* its address is the registry key */

/* ---- UTF-8 ------------------------------------------------------------------------------ */

/* The bytes that may follow a lead byte, by table 3-7 of the Unicode Standard; need 0: no lead. */
struct utf8_lead {
    size_t need;       /* bytes behind the lead */
    unsigned char low; /* of the first one */
    unsigned char high;
};

static struct utf8_lead utf8_lead(unsigned char c) {
    if (c >= 0xC2 && c <= 0xDF) return (struct utf8_lead){1, 0x80, 0xBF};
    if (c == 0xE0) return (struct utf8_lead){2, 0xA0, 0xBF};
    if (c == 0xED) return (struct utf8_lead){2, 0x80, 0x9F};
    if (c >= 0xE1 && c <= 0xEF) return (struct utf8_lead){2, 0x80, 0xBF};
    if (c == 0xF0) return (struct utf8_lead){3, 0x90, 0xBF};
    if (c >= 0xF1 && c <= 0xF3) return (struct utf8_lead){3, 0x80, 0xBF};
    if (c == 0xF4) return (struct utf8_lead){3, 0x80, 0x8F};
    return (struct utf8_lead){0};
}

/* The bytes from p that belong to a valid sequence so far. */
static size_t utf8_prefix(const unsigned char *p, const unsigned char *end,
                          const struct utf8_lead *lead) {
    size_t n = 1;
    if (n > lead->need || p + n == end || p[n] < lead->low || p[n] > lead->high) return n;
    for (n = 2; n <= lead->need && p + n < end && (p[n] & 0xC0) == 0x80;) n++;
    return n;
}

size_t json_utf8_length(const unsigned char *p, const unsigned char *end) {
    if (*p < 0x80) return 1;
    struct utf8_lead lead = utf8_lead(*p);
    if (lead.need == 0) return 0;
    return utf8_prefix(p, end, &lead) == lead.need + 1 ? lead.need + 1 : 0;
}

size_t json_utf8_subpart(const unsigned char *p, const unsigned char *end) {
    struct utf8_lead lead = utf8_lead(*p);
    return utf8_prefix(p, end, &lead);
}

/* The eight bytes at p, the first one lowest. */
static uint64_t load_bytes(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The top bit of each byte that is a control character, a quote, a backslash or not ASCII; above
 * the lowest such byte there may be false ones, by borrowing. */
static uint64_t special_bytes(uint64_t word) {
    static const uint64_t ONES = UINT64_C(0x0101010101010101);
    uint64_t control = word - ONES * 0x20;
    uint64_t quote = (word ^ ONES * '"') - ONES;
    uint64_t backslash = (word ^ ONES * '\\') - ONES;
    return (((control | quote | backslash) & ~word) | word) & (ONES * 0x80);
}

static bool is_tail(unsigned char c) {
    return (c & 0xC0) == 0x80;
}

/* As json_utf8_length, for p at no ASCII byte; quick for what most texts have. */
static size_t utf8_step(const unsigned char *p, const unsigned char *end) {
    unsigned char c = p[0];
    if (end - p < 3) return json_utf8_length(p, end);
    if (c >= 0xC2 && c <= 0xDF && is_tail(p[1])) return 2;
    if (c > 0xE0 && c < 0xF0 && c != 0xED && is_tail(p[1]) && is_tail(p[2])) return 3;
    return json_utf8_length(p, end);
}

const unsigned char *json_plain_run(const unsigned char *p, const unsigned char *end) {
    for (;;) {
        while (end - p >= 8) {
            uint64_t special = special_bytes(load_bytes(p));
            if (special) {
                p += __builtin_ctzll(special) / 8;
                break;
            }
            p += 8;
        }
        while (p < end && *p < 0x80) {
            if (*p < 0x20 || *p == '"' || *p == '\\') return p;
            p++;
        }
        if (p == end) return p;
        while (p < end && *p >= 0x80) {
            size_t n = utf8_step(p, end);
            if (n == 0) return p;
            p += n;
        }
    }
}

/* ---- the state: identities of the special values ----------------------------------------- */

static int null_tostring(lua_State *L) {
    lua_pushliteral(L, "null");
    return 1;
}

/* Pushes a metatable that scripts cannot get at. */
static void push_sealed_metatable(lua_State *L, const char *name) {
    lua_createtable(L, 0, 3);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

static void push_null_value(lua_State *L) {
    lua_newuserdatauv(L, 0, 0);
    push_sealed_metatable(L, "json.null");
    lua_pushcfunction(L, null_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, -2);
}

/* Pops the value, keeps it as a user value of the state on top, and returns its identity. */
static const void *keep(lua_State *L, int which) {
    const void *identity = lua_topointer(L, -1);
    lua_setiuservalue(L, -2, which);
    return identity;
}

static const struct json_state *push_new_state(lua_State *L) {
    luaL_checkstack(L, 8, "JSON");
    struct json_state *state = lua_newuserdatauv(L, sizeof *state, JSON_VALUES);
    *state = (struct json_state){0};
    push_null_value(L);
    state->null = keep(L, JSON_NULL);
    lua_createtable(L, 0, 0);
    state->array_mt = keep(L, JSON_ARRAY_MT);
    push_sealed_metatable(L, "json.raw");
    state->raw_mt = keep(L, JSON_RAW_MT);
    push_sealed_metatable(L, "json.ordered");
    state->ordered_mt = keep(L, JSON_ORDERED_MT);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &STATE_KEY);
    return state;
}

const struct json_state *json_push_state(lua_State *L) {
    luaL_checkstack(L, 2, "JSON");
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &STATE_KEY) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    return push_new_state(L);
}

/* Pushes one of the state's user values, and returns the state, which the registry keeps. */
static const struct json_state *push_special(lua_State *L, int which) {
    const struct json_state *state = json_push_state(L);
    lua_getiuservalue(L, -1, which);
    lua_remove(L, -2);
    return state;
}

void json_push_null(lua_State *L) {
    push_special(L, JSON_NULL);
}

bool json_is_null(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TUSERDATA) return false;
    const struct json_state *state = json_push_state(L);
    lua_pop(L, 1);
    return lua_touserdata(L, index) == state->null;
}

bool json_is_marked_array(lua_State *L, int index) {
    luaL_checkstack(L, 2, "JSON");
    if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
    const void *mt = lua_topointer(L, -1);
    const struct json_state *state = json_push_state(L);
    lua_pop(L, 2);
    return mt == state->array_mt;
}

bool json_mark_array(lua_State *L, int index) {
    index = lua_absindex(L, index);
    if (json_is_marked_array(L, index)) return true;
    luaL_checkstack(L, 2, "JSON");
    if (lua_getmetatable(L, index)) {
        lua_pop(L, 1);
        return false;
    }
    push_special(L, JSON_ARRAY_MT);
    lua_setmetatable(L, index);
    return true;
}

/* ---- faults ------------------------------------------------------------------------------- */

/* Pushes what stands at the fault, for a message. */
static const char *push_found(lua_State *L, const char *text, size_t len, size_t offset) {
    if (offset >= len) return lua_pushliteral(L, "the end of the text");
    unsigned char c = (unsigned char)text[offset];
    if (c == '\'') return lua_pushliteral(L, "\"'\"");
    if (c > 0x20 && c < 0x7F) return lua_pushfstring(L, "'%c'", c);
    if (len - offset >= 3 && memcmp(text + offset, "\xEF\xBB\xBF", 3) == 0)
        return lua_pushliteral(L, "a byte order mark");
    char hex[16];
    snprintf(hex, sizeof hex, "the byte 0x%02X", c);
    return lua_pushstring(L, hex);
}

int json_raise_fault(lua_State *L, const char *text, size_t len, const struct json_fault *fault) {
    const char *found = push_found(L, text, len, fault->offset);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "json");
    lua_setfield(L, -2, "where");
    lua_pushinteger(L, (lua_Integer)fault->offset + 1);
    lua_setfield(L, -2, "offset");
    return bind_raise(L, "VALIDATION_ERROR", "not valid JSON: byte %zu: found %s; %s",
                      fault->offset + 1, found, fault->rule);
}

/* ---- buffers ------------------------------------------------------------------------------ */

static int buf_collect(lua_State *L) {
    buf_free(lua_touserdata(L, 1));
    return 0;
}

struct buf *json_push_buf(lua_State *L, size_t max) {
    luaL_checkstack(L, 4, "JSON");
    struct buf *b = lua_newuserdatauv(L, sizeof *b, 0);
    buf_init(b, max);
    if (luaL_newmetatable(L, "harness.json.buf")) {
        lua_pushcfunction(L, buf_collect);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, buf_collect);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    return b;
}

/* ---- Lua functions ------------------------------------------------------------------------ */

/* Refuses options that do not exist, so that a misspelt one is not silently ignored. */
static void check_option_names(lua_State *L, int arg, const char *const names[]) {
    luaL_checktype(L, arg, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
        bool known = false;
        for (int i = 0; names[i] && lua_type(L, -2) == LUA_TSTRING; i++)
            known = known || strcmp(names[i], lua_tostring(L, -2)) == 0;
        if (known) continue;
        lua_pushfstring(L, "unknown option %s", luaL_tolstring(L, -2, NULL));
        luaL_argerror(L, arg, lua_tostring(L, -1));
    }
}

/* Whether the option has its second value; absent means the first. */
static bool second_choice(lua_State *L, int arg, const char *name, const char *const choices[]) {
    int type = lua_getfield(L, arg, name);
    const char *found = type == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    bool second = found && strcmp(found, choices[1]) == 0;
    if (type != LUA_TNIL && !second && !(found && strcmp(found, choices[0]) == 0)) {
        lua_pushfstring(L, "%s must be \"%s\" or \"%s\", not %s", name, choices[0], choices[1],
                        luaL_tolstring(L, -1, NULL));
        luaL_argerror(L, arg, lua_tostring(L, -1));
    }
    lua_pop(L, 1);
    return second;
}

/* encode(value, {pretty?, invalid_utf8?}) -> text */
static int l_encode(lua_State *L) {
    static const char *const NAMES[] = {"pretty", "invalid_utf8", NULL};
    static const char *const CHOICES[] = {"error", "replace"};
    luaL_checkany(L, 1);
    struct json_options options = {0};
    if (!lua_isnoneornil(L, 2)) {
        check_option_names(L, 2, NAMES);
        lua_getfield(L, 2, "pretty");
        options.pretty = lua_toboolean(L, -1);
        options.replace_invalid_utf8 = second_choice(L, 2, "invalid_utf8", CHOICES);
    }
    json_push_encoded(L, 1, &options);
    return 1;
}

/* decode(text, {lone_surrogates?}) -> value */
static int l_decode(lua_State *L) {
    static const char *const NAMES[] = {"lone_surrogates", NULL};
    static const char *const CHOICES[] = {"error", "wtf8"};
    luaL_checktype(L, 1, LUA_TSTRING);
    struct json_options options = {0};
    if (!lua_isnoneornil(L, 2)) {
        check_option_names(L, 2, NAMES);
        options.lone_surrogates = second_choice(L, 2, "lone_surrogates", CHOICES);
    }
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    json_push_decoded(L, text, len, &options);
    return 1;
}

/* raw(text) -> value that is encoded as this text */
static int l_raw(lua_State *L) {
    luaL_checktype(L, 1, LUA_TSTRING);
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    struct json_facts facts;
    struct json_fault fault;
    if (!json_check(text, len, &facts, &fault)) return json_raise_fault(L, text, len, &fault);
    struct json_raw *raw = lua_newuserdatauv(L, sizeof *raw, 1);
    raw->depth = facts.depth;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    push_special(L, JSON_RAW_MT);
    lua_setmetatable(L, -2);
    return 1;
}

/* array(t?) -> t */
static int l_array(lua_State *L) {
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!json_mark_array(L, 1))
        return luaL_argerror(L, 1, "the table has another metatable, so it cannot be marked");
    return 1;
}

/* Pushes key and value of pair i of the list at 1. */
static void push_pair(lua_State *L, lua_Integer i) {
    if (lua_geti(L, 1, i) == LUA_TTABLE) {
        lua_geti(L, -1, 1);
        lua_geti(L, -2, 2);
        lua_remove(L, -3);
        if (lua_type(L, -2) == LUA_TSTRING && !lua_isnil(L, -1)) return;
    }
    lua_pushfstring(L, "pair %I must be {string, value}, with a value other than nil", i);
    luaL_argerror(L, 1, lua_tostring(L, -1));
}

static int raise_twice(lua_State *L, lua_Integer first, lua_Integer second) {
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "json");
    lua_setfield(L, -2, "where");
    lua_pushliteral(L, "$");
    lua_setfield(L, -2, "path");
    return bind_raise(L, "VALIDATION_ERROR",
                      "ordered: pairs %lld and %lld have the same key; each key may stand once",
                      (long long)first, (long long)second);
}

/* ordered({{key, value}, ...}) -> value that is encoded as an object in this order */
static int l_ordered(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer n = luaL_len(L, 1);
    lua_newtable(L); /* 2: the list */
    lua_newtable(L); /* 3: where each key was */
    for (lua_Integer i = 1; i <= n; i++) {
        push_pair(L, i);
        lua_pushvalue(L, -2);
        if (lua_rawget(L, 3) != LUA_TNIL) return raise_twice(L, lua_tointeger(L, -1), i);
        lua_pop(L, 1);
        lua_rawseti(L, 2, 2 * i);
        lua_pushvalue(L, -1);
        lua_rawseti(L, 2, 2 * i - 1);
        lua_pushinteger(L, i);
        lua_rawset(L, 3);
    }
    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    push_special(L, JSON_ORDERED_MT);
    lua_setmetatable(L, -2);
    return 1;
}

int bind_json(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {
        {"encode", l_encode},   {"decode", l_decode},        {"raw", l_raw}, {"array", l_array},
        {"ordered", l_ordered}, {"picker", json_new_picker}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    json_push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
