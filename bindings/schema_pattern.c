/* schema_pattern.c - `pattern` and `patternProperties`: ECMA-262 expressions run by PCRE2.
 *
 * JSON Schema means the regular expressions of ECMA-262 in Unicode mode. Options bring PCRE2 close
 * to them; translate() rewrites what is left and means something else in PCRE2: \s, \v, `[` in a
 * class, pairs of \uXXXX surrogates, long names of Unicode categories. What PCRE2 has beyond
 * ECMA-262 (\A, \z, possessive quantifiers, ...) is taken as PCRE2 means it.
 *
 * A pattern can take exponential time: the meter of engine/pcre2_api.h takes steps of the check and
 * ends the match when none are left. */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "bind_pcre2.h"
#include "schema.h"

enum {
    MAX_PATTERN = 64 << 10, /* bytes */
    MATCH_HEAP_KIB = 20000
};

static const char LIBRARY_KEY = 0; /* its address: registry key of the struct library */

/* PCRE2 and the contexts that all schemas of a Lua state share. */
struct library {
    const struct pcre2_api *api;
    pcre2_compile_context *compiling;
    pcre2_match_context *matching;
};

struct schema_pattern {
    struct schema_pattern *next; /* of the schema */
    const struct library *library;
    pcre2_code *code;
    const char *source; /* as written */
    size_t source_len;
};

/* ---- the library ---------------------------------------------------------------------------- */

static int library_free(lua_State *L) {
    struct library *lib = lua_touserdata(L, 1);
    if (lib->compiling) lib->api->compile_context_free(lib->compiling);
    if (lib->matching) lib->api->match_context_free(lib->matching);
    lib->compiling = NULL;
    lib->matching = NULL;
    /* The rest stays: schemas that are finalised later still free their patterns. */
    return 0;
}

static bool make_contexts(struct library *lib) {
    lib->compiling = lib->api->compile_context_create(NULL);
    lib->matching = lib->api->match_context_create(NULL);
    if (!lib->compiling || !lib->matching) return false;
    lib->api->set_extra_options(lib->compiling, PCRE2_EXTRA_ALT_BSUX);
    lib->api->set_newline(lib->compiling, PCRE2_NEWLINE_ANYCRLF);
    lib->api->set_heap_limit(lib->matching, MATCH_HEAP_KIB);
    return true;
}

/* The library of this Lua state, or NULL with a message pushed. */
static const struct library *library_get(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &LIBRARY_KEY);
    struct library *lib = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (lib) return lib;
    const struct pcre2_api *api = bind_pcre2_api(L);
    if (!api) return NULL;
    lib = lua_newuserdatauv(L, sizeof *lib, 0);
    *lib = (struct library){.api = api};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, library_free);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    if (!make_contexts(lib)) {
        lua_pushliteral(L, "not enough memory");
        return NULL;
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &LIBRARY_KEY);
    return lib;
}

/* ---- from ECMA-262 to PCRE2 ------------------------------------------------------------------- */

struct translation {
    luaL_Buffer out;
    const char *p, *end;
    bool in_class;
};

/* White space and line ends of ECMA-262, as the inside of a class. */
#define ECMA_SPACES "\\t-\\r \\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"

static void add_space_class(struct translation *t, bool negated) {
    if (t->in_class && !negated) {
        luaL_addstring(&t->out, ECMA_SPACES);
    } else if (t->in_class) { /* a class cannot hold a negated one: PCRE2's own is the nearest */
        luaL_addstring(&t->out, "\\S");
    } else {
        luaL_addstring(&t->out, negated ? "[^" ECMA_SPACES "]" : "[" ECMA_SPACES "]");
    }
}

/* The value of four hexadecimal digits at p, or -1. */
static int hex4(const char *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char ch = p[i];
        int digit = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 0x20) - 'a' + 10;
        if (digit < 0 || digit > 15 || (digit > 9 && (ch | 0x20) < 'a')) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* \uD83D\uDE00 is one character. True when p (behind the backslash) is such a pair. */
static bool add_surrogate_pair(struct translation *t) {
    if (t->end - t->p < 11 || t->p[0] != 'u' || t->p[5] != '\\' || t->p[6] != 'u') return false;
    int high = hex4(t->p + 1), low = hex4(t->p + 7);
    if (high < 0xD800 || high > 0xDBFF || low < 0xDC00 || low > 0xDFFF) return false;
    char text[16];
    lua_Integer code = 0x10000 + ((lua_Integer)(high - 0xD800) << 10) + (low - 0xDC00);
    snprintf(text, sizeof text, "\\u{%llx}", (long long)code);
    luaL_addstring(&t->out, text);
    t->p += 11;
    return true;
}

/* ECMA-262 allows the long names of general categories, PCRE2 only the short ones. */
static bool add_category(struct translation *t) {
    static const char *const NAMES[][2] = {
        {"Letter", "L"},
        {"Uppercase_Letter", "Lu"},
        {"Lowercase_Letter", "Ll"},
        {"Titlecase_Letter", "Lt"},
        {"Modifier_Letter", "Lm"},
        {"Other_Letter", "Lo"},
        {"Mark", "M"},
        {"Nonspacing_Mark", "Mn"},
        {"Spacing_Mark", "Mc"},
        {"Number", "N"},
        {"Decimal_Number", "Nd"},
        {"digit", "Nd"},
        {"Letter_Number", "Nl"},
        {"Punctuation", "P"},
        {"punct", "P"},
        {"Dash_Punctuation", "Pd"},
        {"Symbol", "S"},
        {"Math_Symbol", "Sm"},
        {"Currency_Symbol", "Sc"},
        {"Separator", "Z"},
        {"Space_Separator", "Zs"},
        {"Other", "C"},
        {"Control", "Cc"},
        {"cntrl", "Cc"},
    };
    if ((t->p[0] != 'p' && t->p[0] != 'P') || t->end - t->p < 3 || t->p[1] != '{') return false;
    const char *name = t->p + 2;
    const char *close = memchr(name, '}', (size_t)(t->end - name));
    for (size_t i = 0; close && i < sizeof NAMES / sizeof *NAMES; i++) {
        size_t len = strlen(NAMES[i][0]);
        if (len != (size_t)(close - name) || memcmp(name, NAMES[i][0], len) != 0) continue;
        char text[8];
        snprintf(text, sizeof text, "\\%c{%s}", t->p[0], NAMES[i][1]);
        luaL_addstring(&t->out, text);
        t->p = close + 1;
        return true;
    }
    return false;
}

/* p stands behind a backslash. */
static void translate_escape(struct translation *t) {
    if (add_surrogate_pair(t) || add_category(t)) return;
    char ch = *t->p++;
    switch (ch) {
    case 's': add_space_class(t, false); return;
    case 'S': add_space_class(t, true); return;
    case 'v': luaL_addstring(&t->out, "\\x0b"); return;
    default: luaL_addchar(&t->out, '\\'); luaL_addchar(&t->out, ch);
    }
}

static void translate_char(struct translation *t, char ch) {
    if (ch == '[' && t->in_class) luaL_addchar(&t->out, '\\');
    if (ch == '[' && !t->in_class) {
        t->in_class = true;
        luaL_addchar(&t->out, '[');
        if (t->p < t->end && *t->p == '^') luaL_addchar(&t->out, *t->p++);
        return;
    }
    if (ch == ']') t->in_class = false;
    luaL_addchar(&t->out, ch);
}

static const char *push_translated(lua_State *L, const char *text, size_t len) {
    struct translation t = {.p = text, .end = text + len};
    luaL_buffinit(L, &t.out);
    while (t.p < t.end) {
        char ch = *t.p++;
        if (ch == '\\' && t.p < t.end) {
            translate_escape(&t);
        } else {
            translate_char(&t, ch);
        }
    }
    luaL_pushresult(&t.out);
    return lua_tostring(L, -1);
}

/* ---- patterns ----------------------------------------------------------------------------------- */

/* Without the offset: it is one of the translated text. */
static void push_error(lua_State *L, const struct library *lib, int code) {
    PCRE2_UCHAR text[160] = {0};
    lib->api->error_message(code, text, sizeof text);
    lua_pushfstring(L, "is not a regular expression: %s", (char *)text);
}

struct schema_pattern *schema_pattern_new(lua_State *L, struct schema *schema, const char *text,
                                          size_t len) {
    luaL_checkstack(L, 12, "schema");
    if (len > MAX_PATTERN) {
        lua_pushfstring(L, "is longer than %d bytes", MAX_PATTERN);
        return NULL;
    }
    const struct library *lib = library_get(L);
    if (!lib) return NULL;
    struct schema_pattern *pattern = schema_alloc(L, schema, 1, sizeof *pattern);
    char *source = schema_alloc(L, schema, len + 1, 1);
    memcpy(source, text, len);
    push_translated(L, text, len);
    size_t size;
    const char *translated = lua_tolstring(L, -1, &size);
    const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX |
                             PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                             PCRE2_AUTO_CALLOUT | PCRE2_NEVER_BACKSLASH_C;
    int code;
    size_t offset;
    *pattern = (struct schema_pattern){NULL, lib, NULL, source, len};
    pattern->code =
        lib->api->compile((PCRE2_SPTR)translated, size, options, &code, &offset, lib->compiling);
    lua_pop(L, 1);
    if (!pattern->code) {
        push_error(L, lib, code);
        return NULL;
    }
    pattern->next = schema->patterns;
    schema->patterns = pattern;
    return pattern;
}

const char *schema_pattern_push(lua_State *L, const struct schema_pattern *pattern) {
    return schema_push_quoted(L, pattern->source, pattern->source_len);
}

void schema_patterns_free(struct schema *schema) {
    for (struct schema_pattern *p = schema->patterns; p; p = p->next)
        p->library->api->code_free(p->code);
    schema->patterns = NULL;
}

/* ---- matching ------------------------------------------------------------------------------------ */

static bool no_answer(struct schema_check *c, const struct schema_pattern *pattern, int rc,
                      const struct schema_path *path) {
    lua_State *L = c->L;
    luaL_checkstack(L, 8, "schema");
    if (rc == PCRE2_ERROR_NOMEMORY) {
        lua_pushliteral(L, "not enough memory");
        return lua_error(L);
    }
    const char *source = schema_pattern_push(L, pattern);
    if (rc <= PCRE2_ERROR_UTF8_ERR1 && rc >= PCRE2_ERROR_UTF8_ERR21) {
        lua_pushfstring(L, "the pattern %s cannot be checked: the string is no valid UTF-8",
                        source);
    } else {
        lua_pushfstring(L, "the pattern %s was given up: matching it here takes too long", source);
    }
    lua_remove(L, -2);
    return schema_give_up(c, path);
}

bool schema_pattern_match(struct schema_check *c, const struct schema_pattern *pattern,
                          const char *text, size_t len, const struct schema_path *path) {
    if (!schema_step(c, 4 + (int64_t)(len / 64))) return false;
    const struct library *lib = pattern->library;
    pcre2_match_data *data = lib->api->match_data_create(1, NULL);
    if (!data) return no_answer(c, pattern, PCRE2_ERROR_NOMEMORY, path);
    struct pcre2_meter meter = {c->steps, 0};
    lib->api->set_callout(lib->matching, pcre2_take_steps, &meter);
    int rc = lib->api->match(pattern->code, (PCRE2_SPTR)text, len, 0, 0, data, lib->matching);
    lib->api->match_data_free(data);
    c->steps = meter.left > 0 ? meter.left : 0;
    if (rc >= 0) return true;
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    return no_answer(c, pattern, rc, path);
}
