/* fuzz_schema.c - JSON Schema on any schema and any value.
 *
 * Input: a byte of flags; then, by its lowest bit, either a JSON text, a newline and a JSON text
 * (schema and value), or bytes that a small generator reads as choices: such schemas are nearly
 * always well-formed and go deep. The other bits choose compile's options, and a lack of memory.
 *
 *   - compile makes a schema or refuses it with a harness error, nothing else; check gives a
 *     verdict within its steps
 *   - the caller's value is never changed
 *   - a checked value fits again, and comes back as it is
 *   - the same schema and value, with all keys put into their tables the other way round, give the
 *     same verdict, the same problems and the same checked value
 *   - not-not, allOf, anyOf, oneOf and if-then-else around a schema give the verdict of the schema
 *   - if memory ends at some allocation, the answer is "not enough memory" or the right one
 *
 * bind_raise raises the code of the error here, no table. */
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../bindings/json.h"

/* As in bindings.h, whose weak declaration would not pull the part out of the archive. */
int bind_schema(lua_State *L);
int bind_raise(lua_State *L, const char *code, const char *format, ...);

#define CHECK(condition, what) ((condition) ? (void)0 : broken(what))

enum { TEXT = 1, EXACT = 2, DROPS = 4, LITTLE_MEMORY = 8 };
enum { MAX_STEPS = 20000, MAX_LEVELS = 6, FUEL = 400 };

static lua_State *state;
static const char *push_text(lua_State *L, int idx);

static void broken(const char *what) {
    fprintf(stderr, "property broken: %s\n", what);
    for (int i = 1; state && i <= lua_gettop(state) && i <= 8; i++) {
        fprintf(stderr, "  %d: %s %s\n", i, luaL_typename(state, i), push_text(state, i));
        lua_pop(state, 1);
    }
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
    (void)format;
    lua_pushstring(L, code);
    return lua_error(L);
}

/* ---- schemas and values from choices ----------------------------------------------------------- */

struct choices {
    const uint8_t *p, *end;
    int fuel; /* nodes still to be made */
    bool drops;
};

static unsigned choose(struct choices *in, unsigned n) {
    return in->p < in->end ? *in->p++ % n : 0;
}

static const char *const KEYS[] = {"a", "b", "c", "aa", "x-1", "", "\xC3\xB6"};
static const char *const STRINGS[] = {
    "", "a", "ab", "abc", "b1", "\xC3\xA4\xC3\xB6", "a\nb", "aaaaaaaaaaaaaaaaaaaab"};
static const double NUMBERS[] = {0, 1, -1, 2, 3, 1.5, 0.1, -2.25, 1e15, 1e300};
static const char *const PATTERNS[] = {"^a",         "b$", "^(a+)+$", "\\d",   "^.$",
                                       "[a-z]{2,3}", "(",  "\\s*",    "(a)\\1"};
static const char *const TYPES[] = {"null",   "boolean", "integer", "number",
                                    "string", "array",   "object",  "nonsense"};
#define PICK(in, list) (list)[choose(in, sizeof(list) / sizeof *(list))]

static void push_number(lua_State *L, struct choices *in) {
    double n = PICK(in, NUMBERS);
    if (choose(in, 2) && n < 100 && n == (double)(int)n) lua_pushinteger(L, (int)n);
    else lua_pushnumber(L, n);
}

static void push_value(lua_State *L, struct choices *in, int level) {
    luaL_checkstack(L, 10, NULL);
    unsigned kind = choose(in, level < MAX_LEVELS && in->fuel-- > 0 ? 9 : 5);
    if (kind == 0) json_push_null(L);
    if (kind == 1) lua_pushboolean(L, choose(in, 2) == 1);
    if (kind == 2) push_number(L, in);
    if (kind == 3 || kind == 4) lua_pushstring(L, PICK(in, STRINGS));
    if (kind <= 4) return;
    lua_newtable(L);
    unsigned n = choose(in, 5);
    if (kind <= 6) {
        for (unsigned i = 1; i <= n; i++) {
            push_value(L, in, level + 1);
            lua_rawseti(L, -2, i);
        }
        if (n == 0 && kind == 6) json_mark_array(L, -1);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        lua_pushstring(L, PICK(in, KEYS));
        push_value(L, in, level + 1);
        lua_rawset(L, -3);
    }
}

static void push_schema(lua_State *L, struct choices *in, int level);

static void push_schemas(lua_State *L, struct choices *in, int level) {
    lua_newtable(L);
    unsigned n = 1 + choose(in, 3);
    for (unsigned i = 1; i <= n; i++) {
        push_schema(L, in, level + 1);
        lua_rawseti(L, -2, i);
    }
}

static void push_schema_map(lua_State *L, struct choices *in, int level, bool patterns) {
    lua_newtable(L);
    unsigned n = 1 + choose(in, 3);
    for (unsigned i = 0; i < n; i++) {
        lua_pushstring(L, patterns ? PICK(in, PATTERNS) : PICK(in, KEYS));
        push_schema(L, in, level + 1);
        lua_rawset(L, -3);
    }
}

static void push_names(lua_State *L, struct choices *in) {
    lua_newtable(L);
    unsigned n = choose(in, 3);
    for (unsigned i = 1; i <= n; i++) {
        lua_pushstring(L, PICK(in, KEYS));
        lua_rawseti(L, -2, i);
    }
    if (n == 0) json_mark_array(L, -1);
}

static void push_values(lua_State *L, struct choices *in) {
    lua_newtable(L);
    unsigned n = 1 + choose(in, 3);
    for (unsigned i = 1; i <= n; i++) {
        push_value(L, in, MAX_LEVELS - 2);
        lua_rawseti(L, -2, i);
    }
}

static void push_reference(lua_State *L, struct choices *in) {
    static const char *const TARGETS[] = {"#",       "#/$defs/a", "#/$defs/b", "#/properties/a",
                                          "#/items", "#a",        "x"};
    lua_pushstring(L, PICK(in, TARGETS));
}

static void push_names_map(lua_State *L, struct choices *in) {
    lua_newtable(L);
    lua_pushstring(L, PICK(in, KEYS));
    push_names(L, in);
    lua_rawset(L, -3);
}

enum shape {
    TYPE,
    NUMBER,
    COUNT,
    STRING_PATTERN,
    BOOLEAN,
    ANY,
    VALUES,
    NAMES,
    NAMES_MAP,
    ONE,
    LIST,
    MAP,
    PATTERN_MAP,
    REFERENCE,
    ANCHOR
};

static const struct {
    const char *name;
    enum shape shape;
} KEYWORDS[] = {
    {"type", TYPE},
    {"type", TYPE},
    {"properties", MAP},
    {"properties", MAP},
    {"items", ONE},
    {"required", NAMES},
    {"default", ANY},
    {"default", ANY},
    {"enum", VALUES},
    {"const", ANY},
    {"multipleOf", NUMBER},
    {"maximum", NUMBER},
    {"minimum", NUMBER},
    {"exclusiveMaximum", NUMBER},
    {"exclusiveMinimum", NUMBER},
    {"maxLength", COUNT},
    {"minLength", COUNT},
    {"pattern", STRING_PATTERN},
    {"maxItems", COUNT},
    {"minItems", COUNT},
    {"uniqueItems", BOOLEAN},
    {"prefixItems", LIST},
    {"contains", ONE},
    {"minContains", COUNT},
    {"maxContains", COUNT},
    {"maxProperties", COUNT},
    {"minProperties", COUNT},
    {"patternProperties", PATTERN_MAP},
    {"additionalProperties", ONE},
    {"propertyNames", ONE},
    {"dependentRequired", NAMES_MAP},
    {"dependentSchemas", MAP},
    {"dependencies", MAP},
    {"allOf", LIST},
    {"anyOf", LIST},
    {"oneOf", LIST},
    {"not", ONE},
    {"if", ONE},
    {"then", ONE},
    {"else", ONE},
    {"$ref", REFERENCE},
    {"$defs", MAP},
    {"$anchor", ANCHOR},
    {"unevaluatedItems", ONE},
    {"unevaluatedProperties", ONE},
};

static void push_keyword(lua_State *L, struct choices *in, enum shape shape, int level) {
    switch (shape) {
    case TYPE: lua_pushstring(L, PICK(in, TYPES)); break;
    case NUMBER: push_number(L, in); break;
    case COUNT: lua_pushinteger(L, choose(in, 5)); break;
    case STRING_PATTERN: lua_pushstring(L, PICK(in, PATTERNS)); break;
    case BOOLEAN: lua_pushboolean(L, choose(in, 2) == 1); break;
    case ANY: push_value(L, in, MAX_LEVELS - 2); break;
    case VALUES: push_values(L, in); break;
    case NAMES: push_names(L, in); break;
    case NAMES_MAP: push_names_map(L, in); break;
    case ONE: push_schema(L, in, level + 1); break;
    case LIST: push_schemas(L, in, level); break;
    case MAP: push_schema_map(L, in, level, false); break;
    case PATTERN_MAP: push_schema_map(L, in, level, true); break;
    case REFERENCE: push_reference(L, in); break;
    case ANCHOR: lua_pushliteral(L, "a"); break;
    }
}

static void push_drop(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "core.schema");
    lua_getfield(L, -1, "drop");
    lua_remove(L, -2);
}

static void push_schema(lua_State *L, struct choices *in, int level) {
    luaL_checkstack(L, 10, NULL);
    if (level >= MAX_LEVELS || in->fuel-- <= 0 || choose(in, 12) == 11) {
        lua_pushboolean(L, choose(in, 4) != 0);
        return;
    }
    lua_newtable(L);
    unsigned n = 1 + choose(in, 4);
    for (unsigned i = 0; i < n; i++) {
        unsigned k = choose(in, sizeof KEYWORDS / sizeof *KEYWORDS);
        push_keyword(L, in, KEYWORDS[k].shape, level);
        lua_setfield(L, -2, KEYWORDS[k].name);
    }
    if (!in->drops || choose(in, 2)) return;
    push_drop(L);
    lua_setfield(L, -2, "additionalProperties");
}

/* ---- copies with the keys in the other order ----------------------------------------------------- */

static void push_reversed(lua_State *L, int idx);

static void push_reversed_table(lua_State *L, int idx) {
    lua_newtable(L); /* the keys as a list */
    int keys = lua_gettop(L);
    lua_Integer n = 0;
    for (lua_pushnil(L); lua_next(L, idx);) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, keys, ++n);
    }
    lua_createtable(L, 0, (int)(2 * n)); /* another size: another order of the hash part */
    for (; n > 0; n--) {
        lua_rawgeti(L, keys, n);
        lua_pushvalue(L, -1);
        lua_rawget(L, idx);
        push_reversed(L, lua_gettop(L));
        lua_remove(L, -2);
        lua_rawset(L, -3);
    }
    if (json_is_marked_array(L, idx)) json_mark_array(L, -1);
    lua_remove(L, keys);
}

static void push_reversed(lua_State *L, int idx) {
    luaL_checkstack(L, 12, NULL);
    if (lua_istable(L, idx)) push_reversed_table(L, idx);
    else lua_pushvalue(L, idx);
}

/* ---- calling what is tested -------------------------------------------------------------------------- */

static int encode(lua_State *L) {
    json_push_encoded(L, 1, NULL);
    return 1;
}

/* Pushes the text of the value at idx; a value that is no JSON gives the empty one. */
static const char *push_text(lua_State *L, int idx) {
    idx = lua_absindex(L, idx);
    lua_pushcfunction(L, encode);
    lua_pushvalue(L, idx);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) return lua_tostring(L, -1);
    lua_pop(L, 1);
    return lua_pushliteral(L, "");
}

/* Pushes the compiled schema; false, with nothing pushed, when it is refused. */
static bool compile(lua_State *L, int schema, unsigned flags) {
    schema = lua_absindex(L, schema);
    lua_getfield(L, LUA_REGISTRYINDEX, "core.schema");
    lua_getfield(L, -1, "compile");
    lua_remove(L, -2);
    lua_pushvalue(L, schema);
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, MAX_STEPS);
    lua_setfield(L, -2, "max_steps");
    lua_pushboolean(L, (flags & EXACT) != 0);
    lua_setfield(L, -2, "exact_empty");
    if (lua_pcall(L, 2, 1, 0) == LUA_OK) return true;
    const char *why = lua_tostring(L, -1);
    CHECK(why && strcmp(why, "HARNESS_CONFIG_ERROR") == 0, "compile refuses with a harness error");
    lua_pop(L, 1);
    return false;
}

/* Pushes the checked value or the problems; the verdict. */
static bool check(lua_State *L, int compiled, int value) {
    compiled = lua_absindex(L, compiled);
    value = lua_absindex(L, value);
    lua_getfield(L, compiled, "check");
    lua_pushvalue(L, compiled);
    lua_pushvalue(L, value);
    CHECK(lua_pcall(L, 2, 2, 0) == LUA_OK, "check does not raise");
    bool ok = lua_toboolean(L, -2);
    CHECK(ok || lua_rawlen(L, -1) > 0, "a value is refused for a reason");
    CHECK(ok || lua_rawlen(L, -1) <= 50, "at most 50 problems");
    lua_remove(L, -2);
    return ok;
}

/* Was the check given up, by the problems on top of the stack? Then nothing can be said. */
static bool given_up(lua_State *L, bool ok) {
    if (ok) return false;
    lua_rawgeti(L, -1, 1);
    lua_getfield(L, -1, "message");
    const char *message = lua_tostring(L, -1);
    CHECK(message, "a problem has a message");
    bool gave_up = strstr(message, "given up") || strstr(message, "too deeply") ||
                   strstr(message, "cannot be checked") || strstr(message, "levels");
    lua_pop(L, 2);
    return gave_up;
}

/* ---- the properties -------------------------------------------------------------------------------------- */

/* Stack: 1 schema, 2 value, 3 compiled, 4 the answer; ok: the verdict. */
static void check_again(lua_State *L) {
    bool ok = check(L, 3, 4);
    if (!given_up(L, ok)) {
        CHECK(ok, "a checked value fits again");
        CHECK(lua_rawequal(L, 4, -1), "a checked value comes back as it is");
    }
    lua_settop(L, 4);
}

static void check_reversed(lua_State *L, unsigned flags, bool ok) {
    push_reversed(L, 1);
    CHECK(compile(L, -1, flags), "the order of keys does not matter to compile");
    push_reversed(L, 2);
    bool other = check(L, -2, -1);
    if (!given_up(L, other)) {
        CHECK(ok == other, "the order of keys does not matter to the verdict");
        const char *a = push_text(L, 4);
        const char *b = push_text(L, -2);
        CHECK(strcmp(a, b) == 0, "the order of keys does not matter to the answer");
    }
    lua_settop(L, 4);
}

/* Replaces the schema on top of the stack by one around it. */
static void wrap(lua_State *L, const char *keyword, bool list) {
    lua_newtable(L);
    lua_insert(L, -2);
    if (list) {
        lua_newtable(L);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    lua_setfield(L, -2, keyword);
}

/* A schema that means the same; $id keeps its references its own. */
static void push_equivalent(lua_State *L, int which) {
    push_reversed(L, 1);
    lua_pushliteral(L, "fuzz:schema");
    lua_setfield(L, -2, "$id");
    if (which == 0) wrap(L, "allOf", true);
    if (which == 1) wrap(L, "anyOf", true);
    if (which == 2) wrap(L, "oneOf", true);
    if (which == 3) wrap(L, "not", false), wrap(L, "not", false);
    if (which == 4) {
        wrap(L, "if", false);
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "else");
    }
}

/* Only for schemas without an $id or a draft of their own, which a wrapper would change. */
static bool can_wrap(lua_State *L) {
    if (!lua_istable(L, 1)) return false;
    const char *text = push_text(L, 1);
    bool plain =
        *text && !strstr(text, "$id") && !strstr(text, "\"id\"") && !strstr(text, "$schema");
    lua_pop(L, 1);
    return plain;
}

static void check_equivalents(lua_State *L, unsigned flags, bool ok) {
    if (!can_wrap(L)) return;
    for (int which = 0; which <= 4; which++) {
        push_equivalent(L, which);
        if (compile(L, -1, flags)) {
            bool other = check(L, -1, 2);
            CHECK(given_up(L, other) || ok == other, "an equivalent schema gives the same verdict");
        }
        lua_settop(L, 4);
    }
}

static int all_of_it(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "core.schema");
    lua_getfield(L, -1, "compile");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "check");
    lua_insert(L, -2);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    return 1;
}

static void check_out_of_memory(lua_State *L, long allocations, bool ok, unsigned flags) {
    lua_pushcfunction(L, all_of_it);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_gc(L, LUA_GCSTOP); /* a finalizer that gets no memory for its call would not run at all */
    allocations_left = allocations;
    int status = lua_pcall(L, 2, 1, 0);
    allocations_left = -1;
    lua_gc(L, LUA_GCRESTART);
    if (status == LUA_OK) {
        bool same = lua_toboolean(L, -1) == ok;
        CHECK((flags & EXACT) || same, "the right answer with little memory");
    } else {
        const char *why = lua_tostring(L, -1);
        CHECK(why && strstr(why, "not enough memory"), "a lack of memory is named so");
    }
    lua_settop(L, 4);
}

static void check_input(lua_State *L, unsigned flags, long allocations) {
    luaL_checkstack(L, 20, NULL);
    const char *before = push_text(L, 2);
    if (!compile(L, 1, flags)) return;
    lua_insert(L, 3); /* the text moves to 4 */
    bool ok = check(L, 3, 2);
    const char *after = push_text(L, 2);
    CHECK(strcmp(before, after) == 0, "the caller's value is not changed");
    lua_remove(L, 4);
    lua_settop(L, 4);
    if (given_up(L, ok)) return;
    if (ok) check_again(L);
    check_reversed(L, flags, ok);
    if (!(flags & DROPS)) check_equivalents(L, flags, ok);
    if (flags & LITTLE_MEMORY) check_out_of_memory(L, allocations, ok, flags);
}

/* ---- input -------------------------------------------------------------------------------------------------- */

struct input {
    const uint8_t *bytes;
    size_t len;
};

static int decode(lua_State *L) {
    const struct input *in = lua_touserdata(L, 1);
    json_push_decoded(L, (const char *)in->bytes, in->len, NULL);
    return 1;
}

static bool push_decoded(lua_State *L, const uint8_t *bytes, size_t len) {
    lua_pushcfunction(L, decode);
    lua_pushlightuserdata(L, &(struct input){bytes, len});
    return lua_pcall(L, 1, 1, 0) == LUA_OK;
}

/* Pushes schema and value; false when the input has none. */
static bool push_input(lua_State *L, const uint8_t *bytes, size_t len, unsigned flags) {
    if (!(flags & TEXT)) {
        struct choices in = {bytes, bytes + len, FUEL, (flags & DROPS) != 0};
        push_schema(L, &in, 0);
        push_value(L, &in, 0);
        return true;
    }
    const uint8_t *line = memchr(bytes, '\n', len);
    if (!line) return false;
    size_t n = (size_t)(line - bytes);
    if (!push_decoded(L, bytes, n) || !push_decoded(L, line + 1, len - n - 1)) return false;
    return lua_istable(L, 1) || lua_isboolean(L, 1);
}

/* A state for each input: what it leaves behind is a leak at once. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    if (len < 2) return 0;
    state = lua_newstate(allocate, NULL);
    CHECK(state, "a state");
    bind_schema(state);
    lua_setfield(state, LUA_REGISTRYINDEX, "core.schema");
    unsigned flags = bytes[0];
    if (push_input(state, bytes + 2, len - 2, flags)) check_input(state, flags, bytes[1]);
    lua_close(state);
    state = NULL;
    return 0;
}
