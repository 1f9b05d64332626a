/* relay.c - core.relay: engine/relay.h with Lua values as events.
 *
 *     local r = core.relay.new { capacity = 1024, terminal = { "run.finished" }, merge = false }
 *     r:push(event) -> boolean             false after the end
 *     r:take() -> event                    or {type = "stream.overflow", dropped = n}
 *              -> nil, "empty"             or nil, "end", error given to finish
 *     r:finish(error?)  r:len()  r:stats()  r:arm(token)  r:disarm(token?)
 *     core.relay.class                     the metatable, to which lua/harness/relay.lua adds
 *
 * Unread events stand in a table (the first user value) at the place that the engine gives them,
 * plus one; so an event costs one array store and no reference. An empty slot holds false and not
 * nil, so that Lua never shrinks the table and storing never allocates. An event's class is decided by its
 * `type`, compared with the few names that matter (kept alive by the second user value).
 *
 * Joined deltas: the text is gathered in a C buffer that hangs on the first event's item, so that a
 * join copies only the new text and cannot raise; the joined event is made when it is taken, as a
 * copy, since other readers may hold the same first event. */
#include <stdlib.h>
#include <string.h>

#include "../engine/buf.h"
#include "../engine/relay.h"
#include "bindings.h"

#define CLASS "harness.relay"

enum { UP_CLASS = 1, UP_TYPE, UP_CALL_ID, UP_DELTA, UP_SEQ, UP_LAST = UP_SEQ };
enum { VALUE_EVENTS = 1, VALUE_KEPT = 2, VALUES = 2 };
enum { KEPT_ERROR = 1, KEPT_NAMES = 2 }; /* in the second user value */

struct name {
    const char *at;
    size_t len;
};

struct queue {
    struct relay relay;
    struct waiter waiter;
    struct core *core;
    lua_State *L;      /* of the push that runs now, its event at 2 and the events at 3 */
    struct buf *taken; /* the text of an event that is being made */
    uint32_t slots;    /* of the events table; an empty one holds false */
    size_t terminal_count;
    struct name terminal[]; /* anchored in VALUE_KEPT */
};

static struct queue *check_queue(lua_State *L) {
    struct queue *q = bind_object(L, 1, UP_CLASS);
    if (!q) luaL_checkudata(L, 1, CLASS); /* raises with the right words */
    return q;
}

static bool is_name(struct name name, const char *at, size_t len) {
    return name.len == len && (name.at == at || memcmp(name.at, at, len) == 0);
}

static void text_free(struct buf *text) {
    if (!text) return;
    buf_free(text);
    free(text);
}

/* ---- what the engine calls ------------------------------------------------------------- */

static void on_release(void *user, struct relay_item *item) {
    struct queue *q = user;
    text_free(item->event);
    if (!q->L || item->place == RELAY_NOWHERE) return;
    lua_pushboolean(q->L, 0);
    lua_rawseti(q->L, 3, (lua_Integer)item->place + 1);
}

static void on_notify(void *user) {
    struct queue *q = user;
    if (!q->core->closing) waiter_wake(&q->waiter);
}

/* Pushes a field of the table at index, raw. */
static int push_field(lua_State *L, int index, int upvalue) {
    lua_pushvalue(L, lua_upvalueindex(upvalue));
    return lua_rawget(L, index);
}

static bool same_field(lua_State *L, int a, int b, int upvalue) {
    push_field(L, a, upvalue);
    push_field(L, b, upvalue);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static void push_event(lua_State *L, const struct relay_item *item) {
    if (item->place == RELAY_NOWHERE) lua_pushvalue(L, 2);
    else lua_rawgeti(L, 3, (lua_Integer)item->place + 1);
}

/* Appends the text of an event (a table at index) to text. */
static bool add_text(lua_State *L, struct buf *text, const struct relay_item *item, int index) {
    const struct buf *joined = item->event;
    if (joined) return buf_add(text, joined->data, joined->len) == BUF_OK;
    if (push_field(L, index, UP_DELTA) != LUA_TSTRING) {
        lua_pop(L, 1);
        return false;
    }
    size_t len;
    const char *delta = lua_tolstring(L, -1, &len);
    bool added = buf_add(text, delta, len) == BUF_OK;
    lua_pop(L, 1);
    return added;
}

/* The text of `into`, moved to a buffer at its first join; NULL: cannot. */
static struct buf *gather(lua_State *L, const struct relay_item *into, int index) {
    if (into->event) return into->event;
    struct buf *text = malloc(sizeof *text);
    if (!text) return NULL;
    buf_init(text, SIZE_MAX / 2);
    if (add_text(L, text, into, index)) return text;
    text_free(text);
    return NULL;
}

/* Joins deltas of one type and one call. Uses only functions that cannot raise. */
static bool on_merge(void *user, struct relay_item *into, const struct relay_item *next) {
    struct queue *q = user;
    lua_State *L = q->L;
    int top = lua_gettop(L);
    push_event(L, into);
    push_event(L, next);
    bool joined = false;
    if (same_field(L, top + 1, top + 2, UP_TYPE) && same_field(L, top + 1, top + 2, UP_CALL_ID)) {
        struct buf *text = gather(L, into, top + 1);
        joined = text && add_text(L, text, next, top + 2);
        if (joined) into->event = text;
        else if (!into->event) text_free(text);
    }
    lua_settop(L, top);
    return joined;
}

/* ---- push ------------------------------------------------------------------------------ */

/* Makes sure that the events table (at 3) has a slot for whatever place comes next, so that nothing
 * can raise between the engine's push and the table's. */
static void reserve_slot(lua_State *L, struct queue *q) {
    if (relay_places(&q->relay) < q->slots) return;
    lua_pushboolean(L, 0);
    lua_rawseti(L, 3, (lua_Integer)q->slots + 1);
    q->slots++;
}

static bool is_delta(const char *type, size_t len) {
    static const struct name NAMES[] = {{"model.delta", 11}, {"model.reasoning", 15}};
    return is_name(NAMES[0], type, len) || is_name(NAMES[1], type, len);
}

/* Fills in the class of the event at 2, and the seq of a delta. */
static void classify(lua_State *L, const struct queue *q, struct relay_item *item) {
    if (!lua_istable(L, 2)) return;
    if (push_field(L, 2, UP_TYPE) == LUA_TSTRING) {
        size_t len;
        const char *type = lua_tolstring(L, -1, &len);
        for (size_t i = 0; i < q->terminal_count; i++)
            if (is_name(q->terminal[i], type, len)) item->class = RELAY_TERMINAL;
        if (q->relay.options.merge && item->class == RELAY_PLAIN && is_delta(type, len))
            item->class = RELAY_MERGEABLE;
    }
    lua_pop(L, 1);
    if (item->class != RELAY_MERGEABLE) return;
    push_field(L, 2, UP_SEQ);
    if (lua_isinteger(L, -1)) item->seq = (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
}

static int l_push(lua_State *L) {
    struct queue *q = check_queue(L);
    if (lua_isnoneornil(L, 2)) return luaL_argerror(L, 2, "an event expected, got nil");
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, VALUE_EVENTS);
    struct relay_item item = {.class = RELAY_PLAIN};
    classify(L, q, &item);
    reserve_slot(L, q);
    uint32_t place;
    q->L = L;
    int rc = relay_push(&q->relay, &item, &place);
    q->L = NULL;
    if (rc != 0) return luaL_error(L, "not enough memory");
    lua_pushboolean(L, !q->relay.finished);
    if (place == RELAY_NOWHERE) return 1;
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, (lua_Integer)place + 1);
    return 1;
}

/* ---- take ------------------------------------------------------------------------------ */

static int push_overflow(lua_State *L, uint64_t dropped) {
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "stream.overflow");
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, (lua_Integer)dropped);
    lua_setfield(L, -2, "dropped");
    return 1;
}

static int push_end(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "end");
    lua_getiuservalue(L, 1, VALUE_KEPT);
    lua_rawgeti(L, -1, KEPT_ERROR);
    lua_remove(L, -2);
    return 3;
}

/* Replaces the event on top of the stack by the joined one. q->taken is its text. */
static void make_joined(lua_State *L, struct queue *q, const struct relay_item *item) {
    int first = lua_gettop(L);
    lua_createtable(L, 0, 8);
    lua_pushnil(L);
    while (lua_next(L, first)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, first + 1);
    }
    lua_pushlstring(L, q->taken->data, q->taken->len);
    lua_setfield(L, first + 1, "delta");
    lua_pushinteger(L, item->count);
    lua_setfield(L, first + 1, "merged");
    if (item->seq) {
        lua_pushinteger(L, (lua_Integer)item->seq);
        lua_setfield(L, first + 1, "seq");
    }
    text_free(q->taken);
    q->taken = NULL;
}

static int l_take(lua_State *L) {
    struct queue *q = check_queue(L);
    struct relay_item item;
    uint64_t dropped;
    enum relay_taken taken = relay_take(&q->relay, &item, &dropped);
    if (taken == RELAY_OVERFLOW) return push_overflow(L, dropped);
    if (taken == RELAY_END) return push_end(L);
    if (taken == RELAY_EMPTY) {
        lua_pushnil(L);
        lua_pushliteral(L, "empty");
        return 2;
    }
    lua_getiuservalue(L, 1, VALUE_EVENTS);
    lua_rawgeti(L, -1, (lua_Integer)item.place + 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -3, (lua_Integer)item.place + 1);
    if (!item.event) return 1;
    text_free(q->taken); /* left by a take that ran out of memory */
    q->taken = item.event;
    make_joined(L, q, &item);
    return 1;
}

/* ---- the rest -------------------------------------------------------------------------- */

static int l_finish(lua_State *L) {
    struct queue *q = check_queue(L);
    if (q->relay.finished) return 0;
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, VALUE_KEPT);
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, KEPT_ERROR);
    relay_finish(&q->relay, NULL);
    return 0;
}

static int l_len(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)relay_len(&check_queue(L)->relay));
    return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t count) {
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static int l_stats(lua_State *L) {
    const struct relay_stats *stats = relay_stats(&check_queue(L)->relay);
    lua_createtable(L, 0, 5);
    set_count(L, "produced", stats->produced);
    set_count(L, "delivered", stats->delivered);
    set_count(L, "dropped", stats->dropped);
    set_count(L, "merged", stats->merged);
    set_count(L, "late", stats->late);
    return 1;
}

static int l_arm(lua_State *L) {
    struct queue *q = check_queue(L);
    uint64_t token = (uint64_t)luaL_checkinteger(L, 2);
    bool ready = relay_ready(&q->relay);
    if (!ready && q->waiter.token && q->waiter.token != token)
        return luaL_error(L, "another task is waiting for the next event of this relay: "
                             "a relay has one reader");
    if (!ready) q->waiter.token = token;
    lua_pushboolean(L, ready);
    return 1;
}

/* disarm(token?): with a token, only if that is the one that waits */
static int l_disarm(lua_State *L) {
    struct queue *q = check_queue(L);
    bool mine = lua_isnoneornil(L, 2) || (uint64_t)luaL_checkinteger(L, 2) == q->waiter.token;
    if (mine) q->waiter.token = 0;
    return 0;
}

static int l_gc(lua_State *L) {
    struct queue *q = check_queue(L);
    relay_free(&q->relay);
    text_free(q->taken);
    q->taken = NULL;
    return 0;
}

/* ---- new ------------------------------------------------------------------------------- */

static size_t option_capacity(lua_State *L) {
    if (lua_getfield(L, 1, "capacity") == LUA_TNIL) return RELAY_DEFAULT_CAPACITY;
    lua_Integer capacity = lua_tointeger(L, -1);
    luaL_argcheck(L, lua_isinteger(L, -1) && capacity > 0, 1,
                  "capacity: a positive integer expected");
    return (size_t)capacity;
}

/* Leaves a new list of the terminal names on the stack, at their places in VALUE_KEPT. */
static size_t option_terminal(lua_State *L) {
    lua_newtable(L);
    int names = lua_gettop(L);
    if (lua_getfield(L, 1, "terminal") == LUA_TNIL) {
        lua_pushliteral(L, "run.finished");
        lua_rawseti(L, names, KEPT_NAMES);
        lua_pushliteral(L, "agent.finished");
        lua_rawseti(L, names, KEPT_NAMES + 1);
        lua_settop(L, names);
        return 2;
    }
    luaL_argcheck(L, lua_istable(L, -1), 1, "terminal: a list of event types expected");
    size_t count = lua_rawlen(L, -1);
    for (size_t i = 0; i < count; i++) {
        lua_Integer place = (lua_Integer)i;
        bool text = lua_rawgeti(L, names + 1, place + 1) == LUA_TSTRING;
        luaL_argcheck(L, text, 1, "terminal: a list of event types expected");
        lua_rawseti(L, names, KEPT_NAMES + place);
    }
    lua_settop(L, names);
    return count;
}

static bool option_merge(lua_State *L) {
    int type = lua_getfield(L, 1, "merge");
    luaL_argcheck(L, type == LUA_TBOOLEAN || type == LUA_TNIL, 1, "merge: a boolean expected");
    return lua_toboolean(L, -1);
}

/* Sets the terminal names of the queue from the list at index. */
static void set_names(lua_State *L, struct queue *q, int list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, KEPT_NAMES + (lua_Integer)i);
        q->terminal[i].at = lua_tolstring(L, -1, &q->terminal[i].len);
        lua_pop(L, 1);
    }
    q->terminal_count = count;
}

/* new(options?) */
static int l_new(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t capacity = option_capacity(L);
    bool merge = option_merge(L);
    lua_settop(L, 1);
    size_t count = option_terminal(L);
    struct core *core = core_get(L);
    struct queue *q = lua_newuserdatauv(L, sizeof *q + count * sizeof q->terminal[0], VALUES);
    *q = (struct queue){.core = core, .waiter = {.loop = core->loop}};
    relay_init(&q->relay, &(struct relay_options){
                              .capacity = capacity,
                              .release = on_release,
                              .merge = merge ? on_merge : NULL,
                              .notify = on_notify,
                              .user = q,
                          });
    set_names(L, q, 2, count);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 3, VALUE_KEPT);
    lua_newtable(L);
    lua_setiuservalue(L, 3, VALUE_EVENTS);
    luaL_setmetatable(L, CLASS);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"push", l_push},   {"take", l_take}, {"finish", l_finish}, {"len", l_len},
    {"stats", l_stats}, {"arm", l_arm},   {"disarm", l_disarm}, {NULL, NULL},
};

static void push_upvalues(lua_State *L, int class) {
    lua_pushvalue(L, class);
    lua_pushliteral(L, "type");
    lua_pushliteral(L, "call_id");
    lua_pushliteral(L, "delta");
    lua_pushliteral(L, "seq");
}

int bind_relay(lua_State *L) {
    luaL_newmetatable(L, CLASS);
    int class = lua_gettop(L);
    push_upvalues(L, class);
    lua_pushcclosure(L, l_gc, UP_LAST);
    lua_setfield(L, class, "__gc");
    lua_newtable(L);
    push_upvalues(L, class);
    luaL_setfuncs(L, METHODS, UP_LAST);
    lua_setfield(L, class, "__index");

    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, l_new);
    lua_setfield(L, -2, "new");
    lua_pushvalue(L, class);
    lua_setfield(L, -2, "class");
    return 1;
}
