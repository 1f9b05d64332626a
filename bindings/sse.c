/* sse.c - core.sse: engine/sse.h for Lua code (the HTTP binding uses the C parser itself).
 *
 *     local p = core.sse.parser { max_event_bytes = 4194304 }
 *     p:feed(bytes) -> list of {event, data, id?}       VALIDATION_ERROR when one is too large
 *     p:retry() -> milliseconds or nil
 *     p:last_id() -> string or nil                      what to send as Last-Event-ID
 *
 * No Lua function is called from the parser's callback: events are first laid one after another
 * into a buffer, and made into tables when the parser has returned. */
#include "../engine/sse.h"

#include <string.h>

#include "bindings.h"

#define CLASS "harness.sse"

struct parser {
    struct sse sse;
    struct buf events; /* struct record, type, data, id; again and again */
    size_t count;
    size_t max_event;
};

struct record {
    size_t type_len;
    size_t data_len;
    size_t id_len; /* 0 too when the id is that of the event before */
    bool id_changed;
};

static bool on_event(void *user, const struct sse_event *event) {
    struct parser *p = user;
    struct record record = {
        .type_len = event->type_len,
        .data_len = event->data_len,
        .id_len = event->id_changed ? event->id_len : 0,
        .id_changed = event->id_changed,
    };
    p->count++;
    return buf_add(&p->events, (const char *)&record, sizeof record) == BUF_OK &&
           buf_add(&p->events, event->type, record.type_len) == BUF_OK &&
           buf_add(&p->events, event->data, record.data_len) == BUF_OK &&
           buf_add(&p->events, event->id, record.id_len) == BUF_OK;
}

/* Makes the list of the events that were laid down. The id of the events before is at id_index. */
static void push_events(lua_State *L, const struct parser *p, int id_index) {
    lua_createtable(L, p->count < INT32_MAX ? (int)p->count : 0, 0);
    const char *at = p->events.data;
    for (size_t i = 1; i <= p->count; i++) {
        struct record record;
        memcpy(&record, at, sizeof record);
        at += sizeof record;
        lua_createtable(L, 0, 3);
        lua_pushlstring(L, at, record.type_len);
        lua_setfield(L, -2, "event");
        at += record.type_len;
        lua_pushlstring(L, at, record.data_len);
        lua_setfield(L, -2, "data");
        at += record.data_len;
        if (record.id_changed) {
            if (record.id_len) lua_pushlstring(L, at, record.id_len);
            else lua_pushnil(L);
            lua_replace(L, id_index);
            at += record.id_len;
        }
        lua_pushvalue(L, id_index);
        lua_setfield(L, -2, "id");
        lua_rawseti(L, -2, (lua_Integer)i);
    }
}

static int too_big(lua_State *L, const struct parser *p) {
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, "sse");
    lua_setfield(L, -2, "where");
    lua_pushliteral(L, "event_too_large");
    lua_setfield(L, -2, "reason");
    lua_pushinteger(L, (lua_Integer)p->max_event);
    lua_setfield(L, -2, "limit");
    return bind_raise(L, "VALIDATION_ERROR",
                      "an event of the stream is larger than max_event_bytes = %zu", p->max_event);
}

static int push_last_id(lua_State *L, const struct parser *p) {
    size_t len;
    const char *id = sse_last_id(&p->sse, &len);
    if (len) lua_pushlstring(L, id, len);
    else lua_pushnil(L);
    return 1;
}

static int l_feed(lua_State *L) {
    struct parser *p = luaL_checkudata(L, 1, CLASS);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    lua_settop(L, 2);
    push_last_id(L, p);
    buf_clear(&p->events);
    p->count = 0;
    int rc = sse_feed(&p->sse, bytes, len);
    if (rc == SSE_ETOOBIG) return too_big(L, p);
    if (rc != SSE_OK) return luaL_error(L, "not enough memory");
    push_events(L, p, 3);
    return 1;
}

static int l_retry(lua_State *L) {
    struct parser *p = luaL_checkudata(L, 1, CLASS);
    int64_t ms = sse_retry_ms(&p->sse);
    if (ms < 0) lua_pushnil(L);
    else lua_pushinteger(L, ms);
    return 1;
}

static int l_last_id(lua_State *L) {
    return push_last_id(L, luaL_checkudata(L, 1, CLASS));
}

static int l_gc(lua_State *L) {
    struct parser *p = luaL_checkudata(L, 1, CLASS);
    sse_free(&p->sse);
    buf_free(&p->events);
    return 0;
}

/* parser{max_event_bytes = integer?} */
static int l_parser(lua_State *L) {
    lua_Integer max_event = SSE_DEFAULT_MAX_EVENT;
    if (!lua_isnoneornil(L, 1)) {
        luaL_checktype(L, 1, LUA_TTABLE);
        if (lua_getfield(L, 1, "max_event_bytes") != LUA_TNIL) {
            max_event = lua_tointeger(L, -1);
            luaL_argcheck(L, lua_isinteger(L, -1) && max_event > 0, 1,
                          "max_event_bytes: a positive integer expected");
        }
    }
    struct parser *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct parser){.max_event = (size_t)max_event};
    sse_init(&p->sse, p->max_event, on_event, p);
    buf_init(&p->events, SIZE_MAX / 2);
    luaL_setmetatable(L, CLASS);
    return 1;
}

int bind_sse(lua_State *L) {
    static const luaL_Reg METHODS[] = {
        {"feed", l_feed}, {"retry", l_retry}, {"last_id", l_last_id}, {"__gc", l_gc}, {NULL, NULL},
    };
    bind_class(L, CLASS, METHODS);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_parser);
    lua_setfield(L, -2, "parser");
    return 1;
}
