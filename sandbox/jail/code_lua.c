/* code_lua.c - what a program of a model sees: Lua without what reaches outside, `tools`, `parallel`,
 * `json`, `null`, and a `print` that is kept for the answer.
 *
 * A call of a tool writes a line and waits for the answer right there, in C. So it works wherever Lua
 * runs: in coroutines, in iterators, in the comparison of a table.sort. */
#include "code.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "../../bindings/bindings.h"
#include "../../bindings/json.h"

/* ---- print ----------------------------------------------------------------------------------- */

static void keep_printed(struct code *code, const char *text, size_t len) {
    size_t room = code->printed.max - code->printed.len;
    size_t kept = len < room ? len : room;
    if (buf_add(&code->printed, text, kept) != BUF_OK) kept = 0;
    code->not_printed += len - kept;
}

static int l_print(lua_State *L) {
    struct code *code = code_of(L);
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        size_t len;
        const char *text = luaL_tolstring(L, i, &len);
        if (i > 1) keep_printed(code, "\t", 1);
        keep_printed(code, text, len);
        lua_pop(L, 1);
    }
    keep_printed(code, "\n", 1);
    return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void add_text(lua_State *L, struct buf *out, const char *text) {
    if (buf_add(out, text, strlen(text)) != BUF_OK) luaL_error(L, "the calls are too long");
}

/* Appends a call of the tool whose name is at `name`, with the input at `input`. */
static void add_call(lua_State *L, struct buf *out, int name, int input) {
    add_text(L, out, "{\"tool\":");
    json_encode(L, name, out, NULL);
    add_text(L, out, ",\"input\":");
    json_encode(L, input, out, NULL);
    add_text(L, out, "}");
}

/* Nothing is an input without fields; else it must be a table. */
static void check_input(lua_State *L, int input, const char *tool) {
    if (lua_isnil(L, input)) {
        lua_newtable(L);
        lua_replace(L, input);
    }
    if (lua_type(L, input) == LUA_TTABLE) return;
    luaL_error(L, "tools.%s takes one table of named arguments, got a %s", tool,
               luaL_typename(L, input));
}

/* Sends the line and pushes the list of answers, of which there are `count`. */
static void exchange(lua_State *L, struct buf *out, lua_Integer count) {
    add_text(L, out, "]}\n");
    code_write(out->data, out->len);
    size_t len;
    const char *text = code_read(code_of(L), &len);
    json_push_decoded(L, text, len, NULL);
    if (lua_istable(L, -1)) lua_getfield(L, -1, "results");
    if (!lua_istable(L, -1) || (lua_Integer)lua_rawlen(L, -1) != count)
        luaL_error(L, "the answer to a call was not understood");
    lua_remove(L, -2);
}

/* Pushes the value of the answer on top of the stack, or raises its error. */
static void take_answer(lua_State *L, const char *tool) {
    if (!lua_istable(L, -1)) luaL_error(L, "the answer to a call was not understood");
    if (lua_getfield(L, -1, "error") == LUA_TSTRING)
        luaL_error(L, "tools.%s: %s", tool, lua_tostring(L, -1));
    lua_pop(L, 1);
    lua_getfield(L, -1, "value");
    lua_remove(L, -2);
}

/* tools.NAME(input) -> value. Upvalue 1: the name */
static int l_call(lua_State *L) {
    const char *tool = lua_tostring(L, lua_upvalueindex(1));
    if (lua_gettop(L) > 1)
        return luaL_error(L, "tools.%s takes one table of named arguments, got %d values", tool,
                          lua_gettop(L));
    lua_settop(L, 1);
    check_input(L, 1, tool);
    struct buf *out = json_push_buf(L, CODE_MAX_OUT);
    add_text(L, out, "{\"calls\":[");
    add_call(L, out, lua_upvalueindex(1), 1);
    exchange(L, out, 1);
    lua_rawgeti(L, -1, 1);
    take_answer(L, tool);
    return 1;
}

/* Replaces the function or name on top of the stack by the name of the tool. */
static const char *to_tool(lua_State *L, lua_Integer i) {
    if (lua_isnil(L, -1) || lua_gettable(L, lua_upvalueindex(1)) != LUA_TSTRING)
        luaL_error(L, "call %I of parallel must be {tools.NAME, {...}}", i);
    return lua_tostring(L, -1);
}

/* parallel{{tools.NAME, input}, ...} -> list of values, null for nothing. Raises the first error of
 * the list once all have ended. Upvalue 1: function or name -> name */
static int l_parallel(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
    lua_newtable(L); /* 2: the values; before that, the names */
    struct buf *out = json_push_buf(L, CODE_MAX_OUT);
    add_text(L, out, "{\"calls\":[");
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1) add_text(L, out, ",");
        if (lua_rawgeti(L, 1, i) != LUA_TTABLE)
            return luaL_error(L, "call %I of parallel must be {tools.NAME, {...}}", i);
        lua_rawgeti(L, -1, 1);
        const char *tool = to_tool(L, i);
        lua_rawgeti(L, -2, 2);
        check_input(L, lua_gettop(L), tool);
        add_call(L, out, lua_gettop(L) - 1, lua_gettop(L));
        lua_pushvalue(L, -2);
        lua_rawseti(L, 2, i);
        lua_settop(L, 3);
    }
    if (count == 0) return lua_pushvalue(L, 2), 1;
    exchange(L, out, count);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 2, i);
        lua_rawgeti(L, 4, i);
        take_answer(L, lua_tostring(L, -2));
        if (lua_isnil(L, -1)) json_push_null(L);
        lua_rawseti(L, 2, i);
        lua_settop(L, 4);
    }
    lua_pushvalue(L, 2);
    return 1;
}

/* A name that is no tool. Upvalue 1: all names, in words */
static int l_no_tool(lua_State *L) {
    return luaL_error(L, "there is no tool %s; there are: %s", luaL_tolstring(L, 2, NULL),
                      lua_tostring(L, lua_upvalueindex(1)));
}

/* Pushes the names of the list, in words. */
static void push_names(lua_State *L, int list) {
    luaL_Buffer b;
    lua_Integer n = (lua_Integer)lua_rawlen(L, list);
    luaL_buffinit(L, &b);
    if (n == 0) luaL_addstring(&b, "none");
    for (lua_Integer i = 1; i <= n; i++) {
        if (i > 1) luaL_addstring(&b, ", ");
        lua_rawgeti(L, list, i);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
}

void code_set_tools(lua_State *L, int index) {
    lua_Integer n = (lua_Integer)lua_rawlen(L, index);
    lua_newtable(L); /* tools */
    int tools = lua_gettop(L);
    lua_newtable(L); /* function or name -> name */
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, index, i) != LUA_TSTRING) luaL_error(L, "tools must be a list of names");
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, l_call, 1);
        lua_pushvalue(L, -1);
        lua_pushvalue(L, -3);
        lua_settable(L, tools + 1);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -1);
        lua_settable(L, tools + 1);
        lua_settable(L, tools);
    }
    lua_pushcclosure(L, l_parallel, 1);
    lua_setglobal(L, "parallel");
    lua_newtable(L);
    push_names(L, index);
    lua_pushcclosure(L, l_no_tool, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, tools);
    lua_setglobal(L, "tools");
}

/* ---- the libraries --------------------------------------------------------------------------- */

/* load, for text only. Upvalue 1: Lua's */
static int l_load(lua_State *L) {
    luaL_checkany(L, 1);
    lua_settop(L, lua_gettop(L) < 3 ? 3 : lua_gettop(L) > 4 ? 4 : lua_gettop(L));
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* setmetatable without finalizers, during which no hook is called. Upvalue 1: Lua's */
static int l_setmetatable(lua_State *L) {
    if (lua_type(L, 2) == LUA_TTABLE) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "a metatable cannot have __gc here: a program ends without it");
        lua_pop(L, 1);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* Puts a function of ours, which has Lua's own as its upvalue, in place of a global. */
static void wrap(lua_State *L, const char *name, lua_CFunction fn) {
    lua_getglobal(L, name);
    lua_pushcclosure(L, fn, 1);
    lua_setglobal(L, name);
}

static void open_base(lua_State *L) {
    static const char *const HIDDEN[] = {"collectgarbage", "dofile", "loadfile", "warn"};
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof HIDDEN / sizeof *HIDDEN; i++) {
        lua_pushnil(L);
        lua_setglobal(L, HIDDEN[i]);
    }
    lua_register(L, "print", l_print);
    wrap(L, "load", l_load);
    wrap(L, "setmetatable", l_setmetatable);
}

/* The metatable of strings is everybody's. */
static void open_string(lua_State *L) {
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static void open_json(lua_State *L) {
    static const char *const SHOWN[] = {"encode", "decode", "array", "null"};
    bind_json(L);
    lua_createtable(L, 0, 4);
    for (size_t i = 0; i < sizeof SHOWN / sizeof *SHOWN; i++) {
        lua_getfield(L, -2, SHOWN[i]);
        lua_setfield(L, -2, SHOWN[i]);
    }
    lua_setglobal(L, "json");
    lua_pop(L, 1);
    json_push_null(L);
    lua_setglobal(L, "null");
}

void code_open(lua_State *L) {
    static const luaL_Reg LIBRARIES[] = {{LUA_TABLIBNAME, luaopen_table},
                                         {LUA_MATHLIBNAME, luaopen_math},
                                         {LUA_UTF8LIBNAME, luaopen_utf8},
                                         {LUA_COLIBNAME, luaopen_coroutine}};
    open_base(L);
    open_string(L);
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof *LIBRARIES; i++) {
        luaL_requiref(L, LIBRARIES[i].name, LIBRARIES[i].func, 1);
        lua_pop(L, 1);
    }
    open_json(L);
}
