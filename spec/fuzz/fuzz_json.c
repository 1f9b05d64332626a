/* fuzz_json.c - the JSON codec and the picker on any bytes.
 *
 *   - decode takes a text exactly when the small validator below does, and json_check with it; a
 *     refusal names a byte of the text, or the one behind it
 *   - what decode gives is what cJSON gives (as far as cJSON keeps it)
 *   - encode(value) is taken by the validator, decodes to an equal value, also when pretty, and
 *     that one encodes to the very same bytes
 *   - the picker gives what decode gives, and gives up only where it has to
 *   - if memory ends at some allocation, the answer is "not enough memory" or the right one
 *
 * Values stand for themselves: no harness errors here, bind_raise raises the fault's offset. */
#include <cJSON.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../bindings/bindings.h"
#include "../../bindings/json.h"

#define CHECK(condition, what) ((condition) ? (void)0 : broken(what))

static void broken(const char *what) {
    fprintf(stderr, "property broken: %s\n", what);
    abort();
}

static long allocations_left = -1; /* negative: no limit */

static void *allocate(void *user, void *block, size_t old_size, size_t size) {
    (void)user;
    if (size == 0) {
        free(block);
        return NULL;
    }
    if (!block || size > old_size) {
        if (allocations_left == 0) return NULL;
        if (allocations_left > 0) allocations_left--;
    }
    return realloc(block, size);
}

int bind_raise(lua_State *L, const char *code, const char *format, ...) {
    (void)code;
    (void)format;
    if (lua_getfield(L, -1, "offset") == LUA_TNIL) lua_pushliteral(L, "encode");
    return lua_error(L);
}

/* ---- the validator: a state machine over bytes, written unlike the decoder ---------------- */

enum { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_COLON, WANT_MORE };

struct validator {
    const uint8_t *p, *end;
    uint8_t open[JSON_MAX_DEPTH];
    int depth;
    bool long_number; /* cJSON reads at most 63 characters of a number */
};

static bool valid_utf8(const uint8_t **at, const uint8_t *end) {
    const uint8_t *p = *at;
    int more = *p < 0x80 ? 0 : *p >> 5 == 6 ? 1 : *p >> 4 == 14 ? 2 : *p >> 3 == 30 ? 3 : -1;
    if (more < 0 || end - p <= more) return false;
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    uint32_t c = more == 0 ? *p : (uint32_t)(*p & (0x3F >> more));
    for (int i = 1; i <= more; i++) {
        if (p[i] >> 6 != 2) return false;
        c = c << 6 | (p[i] & 0x3F);
    }
    *at = p + more + 1;
    return c >= least[more] && c <= 0x10FFFF && c >> 11 != 27;
}

static int hex4(const uint8_t *p, const uint8_t *end) {
    char digits[5] = {0};
    if (end - p < 4) return -1;
    memcpy(digits, p, 4);
    if (strspn(digits, "0123456789abcdefABCDEF") != 4) return -1;
    return (int)strtol(digits, NULL, 16);
}

static bool valid_string(struct validator *v) {
    for (v->p++; v->p < v->end;) {
        if (*v->p == '"') return v->p++, true;
        if (*v->p < 32) return false;
        if (*v->p != '\\') {
            if (!valid_utf8(&v->p, v->end)) return false;
            continue;
        }
        if (++v->p == v->end) return false;
        if (*v->p != 'u') {
            if (*v->p == 0 || !strchr("\"\\/bfnrt", *v->p++)) return false;
            continue;
        }
        int unit = hex4(++v->p, v->end);
        v->p += 4;
        if (unit < 0 || unit >> 10 == 55) return false;
        if (unit >> 10 != 54) continue;
        if (v->end - v->p < 6 || v->p[0] != '\\' || v->p[1] != 'u') return false;
        if (hex4(v->p + 2, v->end) >> 10 != 55) return false;
        v->p += 6;
    }
    return false;
}

static bool valid_number(struct validator *v) {
    const uint8_t *from = v->p;
    while (v->p < v->end && *v->p && strchr("+-0123456789.eE", *v->p)) v->p++;
    size_t len = (size_t)(v->p - from);
    char *text = malloc(len + 1);
    if (!text) abort();
    memcpy(text, from, len);
    text[len] = 0;
    char *p = text;
    bool ok = true;
    if (*p == '-') p++;
    size_t digits = strspn(p, "0123456789");
    ok = digits == 1 || (digits > 1 && *p != '0');
    p += digits;
    if (ok && *p == '.') ok = (digits = strspn(++p, "0123456789")) > 0, p += digits;
    if (ok && (*p == 'e' || *p == 'E')) {
        p += strspn(p + 1, "+-") == 1 ? 2 : 1;
        ok = (digits = strspn(p, "0123456789")) > 0;
        p += digits;
    }
    ok = ok && *p == 0;
    if (ok) {
        double d = strtod(text, NULL);
        ok = d - d == 0;
    }
    if (len > 60) v->long_number = true;
    free(text);
    return ok;
}

static bool valid_word(struct validator *v) {
    static const char *const WORDS[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t len = strlen(WORDS[i]);
        if ((size_t)(v->end - v->p) < len || memcmp(v->p, WORDS[i], len) != 0) continue;
        v->p += len;
        return true;
    }
    return false;
}

/* Takes one token; false if it may not stand here. */
static bool valid_token(struct validator *v, int *want) {
    uint8_t c = *v->p;
    bool key = *want == WANT_KEY || *want == WANT_KEY_OR_END;
    bool value = *want == WANT_VALUE || *want == WANT_VALUE_OR_END;
    bool may_end = *want == WANT_MORE || *want == WANT_KEY_OR_END || *want == WANT_VALUE_OR_END;
    if (c == ']' || c == '}') {
        if (!may_end || v->depth == 0 || v->open[v->depth - 1] != (c == ']' ? '[' : '{'))
            return false;
        v->depth--;
        *want = WANT_MORE;
        return v->p++, true;
    }
    if (*want == WANT_COLON) return *want = WANT_VALUE, c == ':' && v->p++;
    if (*want == WANT_MORE) {
        if (c != ',' || v->depth == 0) return false;
        *want = v->open[v->depth - 1] == '[' ? WANT_VALUE : WANT_KEY;
        return v->p++, true;
    }
    if (key) return *want = WANT_COLON, c == '"' && valid_string(v);
    if (!value) return false;
    if (c == '[' || c == '{') {
        if (v->depth == JSON_MAX_DEPTH) return false;
        v->open[v->depth++] = c;
        *want = c == '[' ? WANT_VALUE_OR_END : WANT_KEY_OR_END;
        return v->p++, true;
    }
    *want = WANT_MORE;
    if (c == '"') return valid_string(v);
    return c == '-' || (c >= '0' && c <= '9') ? valid_number(v) : valid_word(v);
}

static bool validate(const uint8_t *text, size_t len, bool *long_number) {
    struct validator v = {.p = text, .end = text + len};
    int want = WANT_VALUE;
    bool ok = true;
    while (ok && v.p < v.end) {
        if (*v.p == ' ' || *v.p == '\t' || *v.p == '\n' || *v.p == '\r') v.p++;
        else ok = valid_token(&v, &want);
    }
    *long_number = v.long_number;
    return ok && want == WANT_MORE && v.depth == 0;
}

/* ---- comparing ---------------------------------------------------------------------------- */

static bool same(lua_State *L, int a, int b);

static bool same_tables(lua_State *L, int a, int b) {
    if (json_is_marked_array(L, a) != json_is_marked_array(L, b)) return false;
    int balance = 0;
    luaL_checkstack(L, 8, NULL);
    for (lua_pushnil(L); lua_next(L, b); lua_pop(L, 1)) balance--;
    bool equal = true;
    for (lua_pushnil(L); equal && lua_next(L, a); balance++) {
        lua_pushvalue(L, -2);
        lua_rawget(L, b);
        equal = same(L, lua_gettop(L) - 1, lua_gettop(L));
        lua_pop(L, 2);
    }
    if (!equal) lua_pop(L, 1);
    return equal && balance == 0;
}

static bool same(lua_State *L, int a, int b) {
    if (lua_type(L, a) != lua_type(L, b)) return false;
    if (lua_istable(L, a)) return same_tables(L, a, b);
    if (lua_type(L, a) != LUA_TNUMBER) return lua_rawequal(L, a, b);
    if (lua_isinteger(L, a) || lua_isinteger(L, b))
        return lua_isinteger(L, a) && lua_isinteger(L, b) &&
               lua_tointeger(L, a) == lua_tointeger(L, b);
    double x = lua_tonumber(L, a), y = lua_tonumber(L, b);
    return memcmp(&x, &y, sizeof x) == 0;
}

static bool as_cjson(lua_State *L, const cJSON *item);

static bool members_as_cjson(lua_State *L, const cJSON *tree) {
    const cJSON *item;
    int i = 0;
    cJSON_ArrayForEach(item, tree) {
        bool shadowed = false;
        for (const cJSON *later = item->next; later && item->string && !shadowed;
             later = later->next)
            shadowed = strcmp(later->string, item->string) == 0;
        i++;
        if (shadowed) continue;
        if (item->string) lua_pushstring(L, item->string);
        else lua_pushinteger(L, i);
        lua_rawget(L, -2);
        bool equal = as_cjson(L, item);
        lua_pop(L, 1);
        if (!equal) return false;
    }
    return true;
}

/* Whether the value on top of the stack is what cJSON made of the same text. */
static bool as_cjson(lua_State *L, const cJSON *item) {
    luaL_checkstack(L, 8, NULL);
    switch (item->type & 0xFF) {
    case cJSON_NULL: return json_is_null(L, -1);
    case cJSON_True: return lua_isboolean(L, -1) && lua_toboolean(L, -1);
    case cJSON_False: return lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    case cJSON_Number:
        return lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) == item->valuedouble;
    case cJSON_String:
        return lua_type(L, -1) == LUA_TSTRING &&
               strcmp(lua_tostring(L, -1), item->valuestring) == 0;
    case cJSON_Array:
        return lua_istable(L, -1) && (int)lua_rawlen(L, -1) == cJSON_GetArraySize(item) &&
               json_is_marked_array(L, -1) == !item->child && members_as_cjson(L, item);
    case cJSON_Object:
        return lua_istable(L, -1) && !json_is_marked_array(L, -1) && members_as_cjson(L, item);
    default: return false;
    }
}

/* ---- the properties ------------------------------------------------------------------------ */

struct input {
    const uint8_t *bytes;
    size_t len;
};

static int decode_input(lua_State *L) {
    const struct input *in = lua_touserdata(L, 1);
    json_push_decoded(L, (const char *)in->bytes, in->len, NULL);
    return 1;
}

static int encode_value(lua_State *L) {
    json_push_encoded(L, 1, &(struct json_options){.pretty = lua_toboolean(L, 2)});
    return 1;
}

/* Pushes the text of the value at index, or of what it decodes to. */
static const char *push_text(lua_State *L, int index, bool pretty, size_t *len) {
    index = lua_absindex(L, index);
    lua_pushcfunction(L, encode_value);
    lua_pushvalue(L, index);
    lua_pushboolean(L, pretty);
    CHECK(lua_pcall(L, 2, 1, 0) == LUA_OK, "a decoded value encodes");
    return lua_tolstring(L, -1, len);
}

/* The value is at index. */
static void check_round_trip(lua_State *L, int index, bool pretty) {
    size_t len, again_len;
    bool long_number;
    const char *text = push_text(L, index, pretty, &len);
    CHECK(validate((const uint8_t *)text, len, &long_number), "an encoded text is valid");
    json_push_decoded(L, text, len, NULL);
    CHECK(same(L, index, lua_gettop(L)), "the value comes back");
    const char *again = push_text(L, -1, pretty, &again_len);
    CHECK(len == again_len && memcmp(text, again, len) == 0, "the text comes back");
    lua_pop(L, 3);
}

static void check_against_cjson(lua_State *L, const struct input *in, bool long_number) {
    cJSON *tree = cJSON_ParseWithLengthOpts((const char *)in->bytes, in->len, NULL, 0);
    struct json_facts facts;
    json_check((const char *)in->bytes, in->len, &facts, NULL);
    CHECK(tree || long_number, "cJSON takes what decode takes");
    if (!facts.nul_escape) CHECK(!tree || as_cjson(L, tree), "decode gives what cJSON gives");
    cJSON_Delete(tree);
}

static const char *const PATHS[] = {"a", "a.0", "a.b", "0", "0.a", "1", "b"};
enum { PATH_COUNT = sizeof PATHS / sizeof PATHS[0] };

/* Pushes the value at the path of the decoded value at index; nil for null. */
static void push_at(lua_State *L, int index, const char *path) {
    lua_pushvalue(L, index);
    for (; *path; path += strcspn(path, ".")) {
        path += *path == '.';
        if (!lua_istable(L, -1)) {
            lua_pushnil(L);
        } else if (lua_rawlen(L, -1) > 0) {
            char *end;
            long i = strtol(path, &end, 10);
            lua_rawgeti(L, -1, end == path ? 0 : i + 1);
        } else {
            lua_pushlstring(L, path, strcspn(path, "."));
            lua_rawget(L, -2);
        }
        lua_remove(L, -2);
    }
    if (!json_is_null(L, -1)) return;
    lua_pop(L, 1);
    lua_pushnil(L);
}

/* The picker is at 1; the decoded value on top, if decode took the text. */
static void check_picker(lua_State *L, const struct input *in, bool valid, bool long_number) {
    int value = lua_gettop(L);
    struct json_picker *picker = json_check_picker(L, 1);
    struct json_facts facts = {0};
    json_check((const char *)in->bytes, in->len, &facts, NULL);
    bool picked = json_pick(L, picker, (const char *)in->bytes, in->len);
    CHECK(valid || !picked, "the picker refuses what decode refuses");
    CHECK(lua_gettop(L) == value + (picked ? PATH_COUNT : 0), "the picker pushes one value a path");
    if (!valid) return;
    bool may_give_up = facts.nul_escape || long_number;
    for (int i = 0; i < PATH_COUNT; i++) {
        push_at(L, value, PATHS[i]);
        if (lua_istable(L, -1) || (lua_isnumber(L, -1) && facts.inexact_number)) may_give_up = true;
        CHECK(!picked || same(L, value + 1 + i, lua_gettop(L)),
              "the picker picks what decode gives");
        lua_pop(L, 1);
    }
    CHECK(picked || may_give_up, "the picker picks where it can");
    lua_settop(L, value);
}

static int all_of_it(lua_State *L) {
    const struct input *in = lua_touserdata(L, 1);
    json_push_decoded(L, (const char *)in->bytes, in->len, NULL);
    json_push_encoded(L, -1, NULL);
    json_pick(L, json_check_picker(L, 2), (const char *)in->bytes, in->len);
    lua_settop(L, 4);
    return 1;
}

/* The picker is at 1, the value of the text on top. */
static void check_out_of_memory(lua_State *L, const struct input *in) {
    int value = lua_gettop(L);
    size_t len, got_len;
    const char *want = push_text(L, value, false, &len);
    lua_pushcfunction(L, all_of_it);
    lua_pushlightuserdata(L, (void *)(uintptr_t)in);
    lua_pushvalue(L, 1);
    allocations_left = in->bytes[in->len / 2] % 32;
    int status = lua_pcall(L, 2, 1, 0);
    allocations_left = -1;
    const char *got = lua_tolstring(L, -1, &got_len);
    if (status == LUA_OK)
        CHECK(got_len == len && memcmp(got, want, len) == 0, "the right answer with little memory");
    else CHECK(got && strcmp(got, "not enough memory") == 0, "a lack of memory is named so");
    lua_settop(L, value);
}

static void check_input(lua_State *L, const struct input *in) {
    bool long_number;
    bool valid = validate(in->bytes, in->len, &long_number);
    struct json_fault fault = {0};
    CHECK(json_check((const char *)in->bytes, in->len, NULL, &fault) == valid, "check is strict");
    CHECK(valid || fault.offset <= in->len, "a fault is in the text");
    lua_pushcfunction(L, decode_input);
    lua_pushlightuserdata(L, (void *)(uintptr_t)in);
    bool ok = lua_pcall(L, 1, 1, 0) == LUA_OK;
    CHECK(ok == valid, "decode is strict");
    if (ok) {
        check_against_cjson(L, in, long_number);
        check_round_trip(L, lua_gettop(L), false);
        check_round_trip(L, lua_gettop(L), true);
        check_out_of_memory(L, in);
    } else {
        CHECK(lua_tointeger(L, -1) == (lua_Integer)fault.offset + 1, "both name the same byte");
    }
    check_picker(L, in, valid, long_number);
}

static lua_State *new_state(void) {
    lua_State *L = lua_newstate(allocate, NULL);
    CHECK(L, "a state");
    lua_pushcfunction(L, json_new_picker);
    lua_newtable(L);
    for (int i = 0; i < PATH_COUNT; i++) {
        lua_pushstring(L, PATHS[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_call(L, 1, 1);
    return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* The bytes are a copy, so that the sanitizer sees one read too many; the state is a new one, so
 * that a leak belongs to its input (libFuzzer looks for one only when blocks are left). */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy) abort();
    if (len) memcpy(copy, bytes, len);
    lua_State *L = new_state();
    check_input(L, &(struct input){copy, len});
    lua_close(L);
    free(copy);
    return 0;
}
