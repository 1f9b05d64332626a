/* json_writer.c - bytes go straight into the struct buf, with room made for whole strings.
 *
 * Nothing is spent on paths until there is an error: then the chain of levels on the C stack tells
 * the path, and whether a table stands inside itself. */
#include "json_writer.h"

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "bindings.h"
#include "json_number.h"

enum { PATH_SHOWN = 200 }; /* bytes of a path that its message shows; meta has it all */

const char JSON_TOO_DEEP[] = "at most 512 levels may be nested";
_Static_assert(JSON_MAX_DEPTH == 512, "JSON_TOO_DEEP names the limit");

/* ---- errors ------------------------------------------------------------------------------- */

static bool is_name(const char *key, size_t len) {
    if (len == 0 || (key[0] >= '0' && key[0] <= '9')) return false;
    for (size_t i = 0; i < len; i++) {
        char c = key[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(c >= '0' && c <= '9')) return false;
    }
    return true;
}

/* Adds the key as a Lua string literal of printable characters. */
static void add_quoted(luaL_Buffer *path, const char *key, size_t len) {
    const unsigned char *p = (const unsigned char *)key;
    const unsigned char *end = p + len;
    luaL_addchar(path, '"');
    while (p < end) {
        size_t n = json_utf8_length(p, end);
        if (n == 0 || *p < 0x20 || *p == 0x7F) {
            char hex[8];
            snprintf(hex, sizeof hex, "\\x%02X", *p++);
            luaL_addstring(path, hex);
            continue;
        }
        if (*p == '"' || *p == '\\') luaL_addchar(path, '\\');
        luaL_addlstring(path, (const char *)p, n);
        p += n;
    }
    luaL_addchar(path, '"');
}

static void add_step(luaL_Buffer *path, const struct json_level *level) {
    if (level->key && is_name(level->key, level->key_len)) {
        luaL_addchar(path, '.');
        luaL_addlstring(path, level->key, level->key_len);
    } else if (level->key) {
        luaL_addchar(path, '[');
        add_quoted(path, level->key, level->key_len);
        luaL_addchar(path, ']');
    } else if (level->index > 0) {
        char index[32];
        snprintf(index, sizeof index, "[%lld]", (long long)level->index);
        luaL_addstring(path, index);
    }
}

/* Pushes the path of what is being written inside level; NULL: the whole value. */
static void push_path(lua_State *L, const struct json_level *level) {
    const struct json_level *chain[JSON_MAX_DEPTH + 1];
    int n = 0;
    for (; level; level = level->up) chain[n++] = level;
    luaL_Buffer path;
    luaL_buffinit(L, &path);
    luaL_addchar(&path, '$');
    while (n > 0) add_step(&path, chain[--n]);
    luaL_pushresult(&path);
}

/* How much of the path its message shows: never half a character. */
static int shown_length(const char *path, size_t len) {
    if (len <= PATH_SHOWN) return (int)len;
    int n = PATH_SHOWN;
    while (n > 0 && ((unsigned char)path[n] & 0xC0) == 0x80) n--;
    return n;
}

/* Raises with the reason on top of the stack, about what is written inside level. */
static int raise_reason(struct json_writer *w, const struct json_level *level) {
    lua_State *L = w->L;
    push_path(L, level);
    size_t len;
    const char *path = lua_tolstring(L, -1, &len);
    int shown = shown_length(path, len);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "json");
    lua_setfield(L, -2, "where");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "path");
    return bind_raise(L, "VALIDATION_ERROR", "cannot be written as JSON: %.*s%s: %s", shown, path,
                      (size_t)shown < len ? "..." : "", lua_tostring(L, -3));
}

int json_fail(struct json_writer *w, const char *format, ...) {
    luaL_checkstack(w->L, 16, "JSON");
    va_list args;
    va_start(args, format);
    lua_pushvfstring(w->L, format, args);
    va_end(args);
    return raise_reason(w, w->top);
}

/* The outermost level whose table stands also further out, or NULL. */
static const struct json_level *find_cycle(const struct json_writer *w) {
    const struct json_level *found = NULL;
    for (const struct json_level *a = w->top; a; a = a->up)
        for (const struct json_level *b = a->up; b; b = b->up)
            if (a->identity == b->identity) found = a;
    return found;
}

int json_fail_limit(struct json_writer *w, const char *reason) {
    const struct json_level *cycle = find_cycle(w);
    luaL_checkstack(w->L, 16, "JSON");
    lua_pushstring(w->L, cycle ? "found a table that contains itself (a cycle)" : reason);
    return raise_reason(w, cycle ? cycle->up : w->top);
}

void json_enter(struct json_writer *w, struct json_level *level, const void *identity) {
    if (w->depth == JSON_MAX_DEPTH) json_fail_limit(w, JSON_TOO_DEEP);
    w->depth++;
    *level = (struct json_level){.up = w->top, .identity = identity};
    w->top = level;
    luaL_checkstack(w->L, 12, "JSON");
}

void json_leave(struct json_writer *w) {
    w->top = w->top->up;
    w->depth--;
}

/* ---- bytes -------------------------------------------------------------------------------- */

void json_grow(struct json_writer *w, size_t n) {
    int rc = buf_reserve(w->out, n);
    if (rc == BUF_OK) return;
    if (rc == BUF_ENOMEM) luaL_error(w->L, "not enough memory");
    char reason[80];
    snprintf(reason, sizeof reason, "the text would be longer than %zu bytes", w->out->max);
    json_fail_limit(w, reason);
}

/* A line end and the indentation. */
static void put_newline(struct json_writer *w) {
    size_t n = 1 + 2 * (size_t)w->indent;
    char *p = json_room(w, n);
    p[0] = '\n';
    memset(p + 1, ' ', n - 1);
    w->out->len += n;
}

void json_put_open(struct json_writer *w, char c) {
    json_put_char(w, c);
    w->indent++;
}

void json_put_close(struct json_writer *w, char c, bool empty) {
    w->indent--;
    if (w->pretty && !empty) put_newline(w);
    json_put_char(w, c);
}

void json_put_separator(struct json_writer *w, bool first) {
    if (!first) json_put_char(w, ',');
    if (w->pretty) put_newline(w);
}

/* ---- scalars ------------------------------------------------------------------------------ */

static void put_escape(struct json_writer *w, unsigned char c) {
    static const char SHORT[] = "\b\t\n\f\r\"\\";
    static const char LETTER[] = "btnfr\"\\";
    static const char HEX[] = "0123456789abcdef";
    const char *at = c ? strchr(SHORT, c) : NULL;
    if (at) json_put(w, (const char[]){'\\', LETTER[at - SHORT]}, 2);
    else json_put(w, (const char[]){'\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15]}, 6);
}

void json_put_string(struct json_writer *w, const char *text, size_t len) {
    const unsigned char *start = (const unsigned char *)text;
    const unsigned char *end = start + len;
    json_put_char(w, '"');
    for (const unsigned char *p = start; p < end;) {
        const unsigned char *run = p;
        p = json_plain_run(p, end);
        if (p > run) json_put(w, (const char *)run, (size_t)(p - run));
        if (p == end) break;
        if (*p < 0x80) {
            put_escape(w, *p++);
            continue;
        }
        if (!w->replace_invalid_utf8)
            json_fail(w,
                      "found a string that is not valid UTF-8 at its byte %I; strings must be "
                      "UTF-8 (invalid_utf8 = \"replace\" writes U+FFFD)",
                      (lua_Integer)(p - start) + 1);
        json_put(w, "\xEF\xBF\xBD", 3);
        p += json_utf8_subpart(p, end);
    }
    json_put_char(w, '"');
}

void json_put_key(struct json_writer *w, const char *key, size_t len) {
    json_put_string(w, key, len);
    json_put(w, ": ", w->pretty ? 2 : 1);
}

void json_put_integer(struct json_writer *w, lua_Integer value) {
    char text[JSON_NUMBER_SIZE];
    size_t n = json_format_integer(text, value);
    json_put(w, text, n);
}

void json_put_float(struct json_writer *w, lua_Number value) {
    if (isnan(value)) json_fail(w, "found NaN; JSON numbers are finite");
    if (isinf(value)) json_fail(w, "found an infinite number; JSON numbers are finite");
    char text[JSON_NUMBER_SIZE];
    size_t n = json_format_float(text, value);
    json_put(w, text, n);
}
