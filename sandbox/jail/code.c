/* code.c - one program from its request to its end.
 *
 * The Lua state is made before the request is read, so that a spare process has nothing left to do
 * but wait. It is never closed: the process ends with the last line it writes. Whatever goes wrong on
 * the way out, such as a lack of memory for its message, still ends with a line. */
#include "code.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../bindings/bindings.h"
#include "../../bindings/json.h"
#include "jail.h"

enum {
    OPENING_MAX = 4 << 20,   /* memory of the Lua state before a request has said how much */
    REQUEST_ROOM = 64 << 20, /* more while the request is being read: it is ours */
    FAILING_ROOM = 1 << 20,  /* more for the message about a failure, which may be a lack of it */
    MAX_CPU_MS = 3600000,
};

struct code *code_of(lua_State *L) {
    void *ud;
    lua_getallocf(L, &ud);
    return ud;
}

/* What the codec raises its errors with (bindings.h). A program sees errors as text. */
int bind_raise(lua_State *L, const char *error_code, const char *format, ...) {
    char text[512];
    va_list args;
    (void)error_code;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return luaL_error(L, "%s", text);
}

/* ---- lines ----------------------------------------------------------------------------------- */

void code_write(const char *bytes, size_t len) {
    if (!frame_write(STDOUT_FILENO, bytes, len)) _exit(0);
}

const char *code_read(struct code *code, size_t *len) {
    const char *text;
    enum frame_status status = frame_read(&code->in, STDIN_FILENO, &text, len);
    if (status == FRAME_OK) return text;
    if (status == FRAME_TOO_BIG) {
        static const char TOO_BIG[] = "{\"failed\":\"what the tools have answered is more than a "
                                      "program can take in at once\",\"reason\":\"request\"}\n";
        code_write(TOO_BIG, sizeof TOO_BIG - 1);
    }
    _exit(status == FRAME_FAILED ? 1 : 0);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static int add(struct buf *out, const char *text) {
    return buf_add(out, text, strlen(text));
}

/* Appends the member "printed", if anything was. May raise. */
static void add_printed(lua_State *L, struct buf *out) {
    static const struct json_options REPLACE = {.replace_invalid_utf8 = true};
    struct code *code = code_of(L);
    if (code->printed.len == 0) return;
    if (code->not_printed > 0) {
        char more[64];
        snprintf(more, sizeof more, "\n[... %zu more bytes were printed ...]\n", code->not_printed);
        lua_pushlstring(L, code->printed.data, code->printed.len);
        lua_pushstring(L, more);
        lua_concat(L, 2);
    } else {
        lua_pushlstring(L, code->printed.data, code->printed.len);
    }
    if (add(out, ",\"printed\":") != BUF_OK) luaL_error(L, "not enough memory");
    json_encode(L, -1, out, &REPLACE);
    lua_pop(L, 1);
}

static void end_line(lua_State *L, struct buf *out) {
    add_printed(L, out);
    if (add(out, "}\n") != BUF_OK) luaL_error(L, "not enough memory");
}

struct failure {
    const char *reason;
    const char *text;
    size_t len;
};

/* Writes the line of the struct failure at 1. */
static int write_failure(lua_State *L) {
    static const struct json_options REPLACE = {.replace_invalid_utf8 = true};
    const struct failure *failure = lua_touserdata(L, 1);
    struct buf *out = json_push_buf(L, CODE_MAX_OUT);
    lua_pushlstring(L, failure->text, failure->len);
    int rc = add(out, "{\"failed\":");
    json_encode(L, -1, out, &REPLACE);
    rc |= add(out, ",\"reason\":\"") | add(out, failure->reason) | add(out, "\"");
    if (rc != BUF_OK) return luaL_error(L, "not enough memory");
    end_line(L, out);
    code_write(out->data, out->len);
    _exit(0);
}

void code_fail(lua_State *L, const char *reason, const char *text, size_t len) {
    struct failure failure = {reason, text, len < CODE_MAX_MESSAGE ? len : CODE_MAX_MESSAGE};
    code_of(L)->memory_max += FAILING_ROOM;
    lua_sethook(L, NULL, 0, 0);
    lua_checkstack(L, 8);
    lua_pushcfunction(L, write_failure);
    lua_pushlightuserdata(L, &failure);
    lua_pcall(L, 1, 0, 0);
    /* It does not come back but for an error. */
    char line[128];
    int n = snprintf(line, sizeof line,
                     "{\"failed\":\"(no memory for the message)\",\"reason\":\"%s\"}\n", reason);
    code_write(line, (size_t)n);
    _exit(0);
}

/* ---- the program ----------------------------------------------------------------------------- */

/* The text of an error that nobody caught, in place of it: a table without __tostring as JSON. */
static int error_text(lua_State *L) {
    if (lua_type(L, 1) == LUA_TTABLE && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL) {
        json_push_encoded(L, 1, NULL);
    } else {
        luaL_tolstring(L, 1, NULL);
    }
    return 1;
}

/* The error value on top becomes text; when even that fails, it is told what it is. */
static void to_text(lua_State *L) {
    if (lua_type(L, -1) == LUA_TSTRING) return;
    const char *type = luaL_typename(L, -1);
    lua_checkstack(L, 4);
    lua_pushcfunction(L, error_text);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) return;
    code_of(L)->memory_max += FAILING_ROOM;
    lua_pushfstring(L, "(error object is a %s value)", type);
}

/* Ends with the error on top of the stack. */
static void fail_with(lua_State *L, const char *reason, int status) {
    struct code *code = code_of(L);
    size_t len;
    if (status == LUA_ERRMEM) {
        char text[96];
        code->memory_max += FAILING_ROOM;
        int n = snprintf(text, sizeof text, "not enough memory: a program may use %zu bytes",
                         code->memory_max - FAILING_ROOM);
        code_fail(L, "memory", text, (size_t)n);
    }
    to_text(L);
    const char *text = lua_tolstring(L, -1, &len);
    code_fail(L, reason, text, len);
}

/* The result on top of the stack, as the last line. */
static int write_result(lua_State *L) {
    static const struct json_options REPLACE = {.replace_invalid_utf8 = true};
    struct buf *out = json_push_buf(L, CODE_MAX_OUT);
    if (add(out, "{\"result\":") != BUF_OK) return luaL_error(L, "not enough memory");
    if (lua_isnil(L, 1)) {
        json_push_null(L);
        lua_replace(L, 1);
    }
    json_encode(L, 1, out, &REPLACE);
    /* What was printed has room beside the longest result. */
    out->max += 8 * CODE_MAX_PRINTED;
    end_line(L, out);
    code_write(out->data, out->len);
    _exit(0);
}

/* Runs the function on top of the stack. */
static void run(lua_State *L) {
    int base = lua_gettop(L);
    int status = lua_pcall(L, 0, LUA_MULTRET, 0);
    if (status != LUA_OK) fail_with(L, "error", status);
    int count = lua_gettop(L) - base + 1;
    if (count > 1) {
        lua_pushfstring(L, "the program returned %d values; return one, such as a table of them",
                        count);
        fail_with(L, "result", LUA_OK);
    }
    lua_settop(L, base); /* the result, or nil */
    lua_pushcfunction(L, write_result);
    lua_insert(L, -2);
    status = lua_pcall(L, 1, 0, 0);
    fail_with(L, "result", status);
}

/* ---- the request ----------------------------------------------------------------------------- */

static lua_Integer integer_field(lua_State *L, const char *name, lua_Integer min, lua_Integer max) {
    lua_getfield(L, 1, name);
    lua_Integer value = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : min - 1;
    lua_pop(L, 1);
    if (value < min || value > max)
        luaL_error(L, "%s must be an integer from %I to %I", name, min, max);
    return value;
}

/* The request, a table at 1, is taken over; leaves the code on the stack. */
static int take_request(lua_State *L) {
    struct code *code = code_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    code->cpu_ms = (uint32_t)integer_field(L, "cpu_ms", 1, MAX_CPU_MS);
    size_t memory_max = (size_t)integer_field(L, "memory_bytes", 1 << 20, (lua_Integer)1 << 40);
    lua_getfield(L, 1, "tools");
    luaL_checktype(L, -1, LUA_TTABLE);
    code_set_tools(L, lua_gettop(L));
    lua_getfield(L, 1, "code");
    luaL_checktype(L, -1, LUA_TSTRING);
    lua_pushinteger(L, (lua_Integer)memory_max);
    return 2;
}

static int open_state(lua_State *L) {
    code_open(L);
    return 0;
}

/* Reads the request; leaves the text of the program on the stack. */
static int read_request(lua_State *L) {
    size_t len;
    const char *text = code_read(code_of(L), &len);
    json_push_decoded(L, text, len, NULL);
    lua_replace(L, 1);
    lua_settop(L, 1);
    return take_request(L);
}

/* Calls fn for what is ours to do: what it raises is a failure of the request. */
static void prepare(lua_State *L, lua_CFunction fn, int results) {
    lua_pushcfunction(L, fn);
    lua_pushnil(L);
    if (lua_pcall(L, 1, results, 0) != LUA_OK) fail_with(L, "request", LUA_OK);
}

/* Sets the limits, and compiles the text on top of the stack. */
static void start(struct code *code, lua_State *L, size_t memory_max) {
    const char *what;
    code->memory_max = memory_max;
    if (!code_lock(code, L, &what)) {
        lua_pushfstring(L, "cannot set %s", what);
        fail_with(L, "request", LUA_OK);
    }
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    int status = luaL_loadbufferx(L, text, len, "=code", "t");
    lua_remove(L, -2);
    if (status != LUA_OK) fail_with(L, "syntax", status);
}

int code_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        static const char USAGE[] = "harness-jail code takes no arguments\n";
        frame_write(STDERR_FILENO, USAGE, sizeof USAGE - 1);
        return JAIL_FAILED;
    }
    struct code code = {.memory_max = OPENING_MAX};
    frame_init(&code.in, CODE_MAX_IN);
    buf_init(&code.printed, CODE_MAX_PRINTED);
    lua_State *L = lua_newstate(code_alloc, &code);
    if (!L || !code_enter()) return JAIL_FAILED;
    prepare(L, open_state, 0);
    code.memory_max += REQUEST_ROOM;
    prepare(L, read_request, 2);
    size_t memory_max = (size_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_gc(L, LUA_GCCOLLECT);
    start(&code, L, memory_max);
    run(L);
    return 0;
}
