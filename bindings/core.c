/* core.c - `require "harness.core"`: one engine per Lua state, and what lua/harness/task.lua needs
 * of it: tokens, timers, abort signals, the ready queue, turning the loop.
 *
 * The core is a userdata in the registry, so opening the module again (busted does) gives the same
 * one. It is marked for finalisation before anything that hangs on it, so it is finalised last.
 *
 * Signals and tokens are plain integers in Lua: cheap to make, and a stale one is recognised. */
#include "bindings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char CORE_KEY = 0;    /* address: registry key of the core userdata */
static const char MODULE_KEY = 0;  /* of the module table */
static const char HOST_KEY = 0;    /* of the host's wishes, a light userdata */
static const char FACTORY_KEY = 0; /* of the function that makes errors */

enum { TIMER_CHUNK = 64, MAX_ERROR_TEXT = 1024 };

/* The timers of one task: its sleep, and the end of its grace after an abort. */
struct task_timers {
    struct timer sleep;
    struct timer reap;
    bool reap_due;
    uint64_t token;
};

struct core *core_get(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &CORE_KEY);
    struct core *core = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!core) luaL_error(L, "harness.core has not been opened in this Lua state");
    return core;
}

void core_set_host(lua_State *L, const struct core_host *host) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)host);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &HOST_KEY);
}

int bind_raise(lua_State *L, const char *code, const char *format, ...) {
    char text[MAX_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int meta = lua_gettop(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &FACTORY_KEY);
    if (lua_isnil(L, -1)) return luaL_error(L, "%s: %s", code, text);
    lua_pushstring(L, code);
    lua_pushstring(L, text);
    lua_pushvalue(L, meta);
    lua_call(L, 3, 1);
    return lua_error(L);
}

void bind_class(lua_State *L, const char *name, const luaL_Reg *methods) {
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

static struct core *self(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int no_memory(lua_State *L) {
    return luaL_error(L, "not enough memory");
}

/* ---- tasks and their timers ------------------------------------------------------------ */

/* The timers of the task whose token is the first argument. */
static struct task_timers *timers_arg(lua_State *L, const struct core *core) {
    uint64_t token = (uint64_t)lua_tointeger(L, 1);
    uint32_t index = ready_index(token) - 1; /* of token 0: beyond all chunks */
    if (index / TIMER_CHUNK >= core->timer_chunks) luaL_argerror(L, 1, "not the token of a task");
    return &core->timers[index / TIMER_CHUNK][index % TIMER_CHUNK];
}

static bool timers_reserve(struct core *core, uint64_t token) {
    uint32_t chunk = (ready_index(token) - 1) / TIMER_CHUNK;
    if (chunk < core->timer_chunks) return true;
    struct task_timers **chunks = realloc(core->timers, (chunk + 1) * sizeof(struct task_timers *));
    if (!chunks) return false;
    core->timers = chunks;
    chunks[chunk] = calloc(TIMER_CHUNK, sizeof(struct task_timers));
    if (!chunks[chunk]) return false;
    core->timer_chunks = chunk + 1;
    return true;
}

static struct abort_signal *signal_arg(lua_State *L, struct core *core, int arg) {
    return abort_find(core->signals, (uint64_t)lua_tointeger(L, arg));
}

/* A scope's name lives as long as the state: signals keep the pointer only. */
static const char *scope_arg(lua_State *L, int arg) {
    static const char *const SCOPES[] = {"run",    "model",     "tool",  "sandbox", "sandbox_run",
                                         "memory", "workspace", "skill", "task",    "workflow",
                                         "agent",  "http",      NULL};
    return SCOPES[luaL_checkoption(L, arg, "task", SCOPES)];
}

/* A deadline that a function was given; read before anything is made that an error would leave. */
struct deadline {
    bool given;
    uint64_t ms;
    const char *scope;
};

static struct deadline deadline_arg(lua_State *L, int arg) {
    if (lua_isnoneornil(L, arg)) return (struct deadline){0};
    lua_Integer ms = luaL_checkinteger(L, arg);
    return (struct deadline){true, ms > 0 ? (uint64_t)ms : 0, scope_arg(L, arg + 1)};
}

static bool set_deadline(struct abort_signal *signal, struct deadline deadline) {
    return !deadline.given || abort_deadline(signal, deadline.ms, deadline.scope) == 0;
}

/* task_open(parent_signal or 0, deadline_ms?, scope?) -> token, signal */
static int task_open(lua_State *L) {
    struct core *core = self(L);
    struct abort_signal *parent = signal_arg(L, core, 1);
    struct deadline deadline = deadline_arg(L, 2);
    uint64_t token = ready_slot_new(loop_ready(core->loop));
    if (!token) return no_memory(L);
    struct abort_signal *signal =
        timers_reserve(core, token) ? abort_new(core->signals, parent) : NULL;
    if (!signal || !set_deadline(signal, deadline)) {
        abort_free(signal);
        ready_slot_free(loop_ready(core->loop), token);
        return no_memory(L);
    }
    abort_token(signal, token);
    lua_pushinteger(L, (lua_Integer)token);
    lua_pushinteger(L, (lua_Integer)abort_handle(signal));
    return 2;
}

/* task_close(token, signal) -> was it aborted? */
static int task_close(lua_State *L) {
    struct core *core = self(L);
    uint64_t token = (uint64_t)lua_tointeger(L, 1);
    struct task_timers *timers = timers_arg(L, core);
    timer_stop(core->loop, &timers->sleep);
    timer_stop(core->loop, &timers->reap);
    timers->reap_due = false;
    struct abort_signal *signal = signal_arg(L, core, 2);
    lua_pushboolean(L, signal && abort_fired(signal));
    abort_free(signal);
    ready_slot_free(loop_ready(core->loop), token);
    return 1;
}

static void on_sleep_over(struct timer *timer, void *user) {
    (void)timer;
    struct core *core = user;
    struct task_timers *timers = (struct task_timers *)timer; /* its first member */
    ready_push(loop_ready(core->loop), timers->token);
}

/* sleep(token, ms): queues the token after ms */
static int task_sleep(lua_State *L) {
    struct core *core = self(L);
    uint64_t token = (uint64_t)lua_tointeger(L, 1);
    lua_Integer ms = lua_tointeger(L, 2);
    struct task_timers *timers = timers_arg(L, core);
    timers->token = token;
    if (timer_start(core->loop, &timers->sleep, ms > 0 ? (uint64_t)ms : 0, on_sleep_over, core))
        return no_memory(L);
    return 0;
}

/* sleeping(token) -> boolean */
static int task_sleeping(lua_State *L) {
    struct core *core = self(L);
    lua_pushboolean(L, timer_running(&timers_arg(L, core)->sleep));
    return 1;
}

static int task_sleep_stop(lua_State *L) {
    struct core *core = self(L);
    timer_stop(core->loop, &timers_arg(L, core)->sleep);
    return 0;
}

static void on_reap(struct timer *timer, void *user) {
    struct core *core = user;
    struct task_timers *timers =
        (struct task_timers *)((char *)timer - offsetof(struct task_timers, reap));
    timers->reap_due = true;
    ready_push(loop_ready(core->loop), timers->token);
}

/* reap_start(token, ms): after ms, reap_due(token) is true and the token is queued */
static int task_reap_start(lua_State *L) {
    struct core *core = self(L);
    uint64_t token = (uint64_t)lua_tointeger(L, 1);
    struct task_timers *timers = timers_arg(L, core);
    timers->token = token;
    timers->reap_due = false;
    lua_Integer ms = lua_tointeger(L, 2);
    if (timer_start(core->loop, &timers->reap, ms > 0 ? (uint64_t)ms : 0, on_reap, core))
        return no_memory(L);
    return 0;
}

static int task_reap_due(lua_State *L) {
    struct core *core = self(L);
    lua_pushboolean(L, timers_arg(L, core)->reap_due);
    return 1;
}

/* push(token) */
static int ready_push_token(lua_State *L) {
    ready_push(loop_ready(self(L)->loop), (uint64_t)lua_tointeger(L, 1));
    return 0;
}

/* take() -> token, its slot's index; nothing when the queue is empty */
static int ready_take_token(lua_State *L) {
    uint64_t token = ready_take(loop_ready(self(L)->loop));
    if (!token) return 0;
    lua_pushinteger(L, (lua_Integer)token);
    lua_pushinteger(L, (lua_Integer)ready_index(token));
    return 2;
}

/* slot_open() -> token; slot_close(token): a token without timers and signal */
static int slot_open(lua_State *L) {
    uint64_t token = ready_slot_new(loop_ready(self(L)->loop));
    if (!token) return no_memory(L);
    lua_pushinteger(L, (lua_Integer)token);
    return 1;
}

static int slot_close(lua_State *L) {
    ready_slot_free(loop_ready(self(L)->loop), (uint64_t)lua_tointeger(L, 1));
    return 0;
}

/* ready_count() -> how many tokens are queued */
static int ready_count(lua_State *L) {
    lua_pushinteger(L, loop_ready(self(L)->loop)->ring_len);
    return 1;
}

/* ---- signals --------------------------------------------------------------------------- */

/* signal_open(parent or 0, token or 0, deadline_ms?, scope?) -> signal */
static int signal_open(lua_State *L) {
    struct core *core = self(L);
    struct deadline deadline = deadline_arg(L, 3);
    struct abort_signal *signal = abort_new(core->signals, signal_arg(L, core, 1));
    if (!signal || !set_deadline(signal, deadline)) {
        abort_free(signal);
        return no_memory(L);
    }
    abort_token(signal, (uint64_t)lua_tointeger(L, 2));
    lua_pushinteger(L, (lua_Integer)abort_handle(signal));
    return 1;
}

static int signal_close(lua_State *L) {
    abort_free(signal_arg(L, self(L), 1));
    return 0;
}

/* signal_deadline(signal, ms or nil, scope?) */
static int signal_deadline(lua_State *L) {
    struct abort_signal *signal = signal_arg(L, self(L), 1);
    if (!signal) return 0;
    if (lua_isnil(L, 2)) abort_deadline_clear(signal);
    else if (!set_deadline(signal, deadline_arg(L, 2))) return no_memory(L);
    return 0;
}

/* signal_aborted(signal) -> boolean; a signal that is gone was not aborted */
static int signal_aborted(lua_State *L) {
    struct abort_signal *signal = signal_arg(L, self(L), 1);
    lua_pushboolean(L, signal && abort_fired(signal));
    return 1;
}

static void release_reason(struct abort_reason *reason) {
    struct core *core = reason->owner;
    if (!core->closing) luaL_unref(core->main, LUA_REGISTRYINDEX, (int)reason->payload);
}

/* Pops the Lua value on top, which stands for the reason from now on. */
static void keep_reason_value(lua_State *L, struct core *core, struct abort_reason *reason) {
    reason->payload = luaL_ref(L, LUA_REGISTRYINDEX);
    reason->owner = core;
    reason->release = release_reason;
}

/* signal_abort(signal, reason): reason is any Lua value but nil */
static int signal_abort(lua_State *L) {
    struct core *core = self(L);
    struct abort_signal *signal = signal_arg(L, core, 1);
    if (!signal || abort_fired(signal)) return 0;
    luaL_checkany(L, 2);
    struct abort_reason *reason = abort_reason_new(ABORT_CANCELLED, "task", 0);
    if (!reason) return no_memory(L);
    lua_settop(L, 2);
    keep_reason_value(L, core, reason);
    abort_fire(signal, reason);
    return 0;
}

/* signal_reason(signal) -> the Lua value, made at the first question when a deadline was the
 * cause; nil when it is not aborted */
static int signal_reason(lua_State *L) {
    struct core *core = self(L);
    struct abort_signal *signal = signal_arg(L, core, 1);
    if (!signal || !abort_fired(signal)) return 0;
    struct abort_reason *reason = abort_reason(signal);
    if (!reason->release) {
        bool timeout = reason->kind == ABORT_TIMEOUT;
        bool is_command = strcmp(reason->scope, "sandbox_run") == 0;
        lua_rawgetp(L, LUA_REGISTRYINDEX, &FACTORY_KEY);
        lua_pushstring(L, timeout ? "OPERATION_TIMEOUT" : "OPERATION_CANCELLED");
        if (timeout)
            lua_pushfstring(L, "the %s took longer than %I ms",
                            is_command ? "command" : reason->scope,
                            (LUAI_UACINT)reason->timeout_ms);
        else lua_pushstring(L, "the operation was cancelled");
        lua_createtable(L, 0, 2);
        lua_pushstring(L, reason->scope);
        lua_setfield(L, -2, "scope");
        if (timeout) {
            lua_pushinteger(L, (lua_Integer)reason->timeout_ms);
            lua_setfield(L, -2, "timeout_ms");
        }
        lua_call(L, 3, 1);
        lua_pushvalue(L, -1);
        keep_reason_value(L, core, reason);
        return 1;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, (lua_Integer)reason->payload);
    return 1;
}

/* watch(signal, token) -> userdata that queues token when signal aborts; :detach() */
struct watch {
    struct abort_listener listener;
    struct core *core;
    uint64_t token;
};

static void on_watched_abort(struct abort_listener *listener, struct abort_reason *reason) {
    (void)reason;
    struct watch *watch = listener->user;
    ready_push(loop_ready(watch->core->loop), watch->token);
}

static int watch_detach(lua_State *L) {
    struct watch *watch = luaL_checkudata(L, 1, "harness.watch");
    abort_unlisten(&watch->listener);
    return 0;
}

static int signal_watch(lua_State *L) {
    struct core *core = self(L);
    struct abort_signal *signal = signal_arg(L, core, 1);
    struct watch *watch = lua_newuserdatauv(L, sizeof *watch, 0);
    *watch = (struct watch){.core = core, .token = (uint64_t)lua_tointeger(L, 2)};
    luaL_setmetatable(L, "harness.watch");
    if (signal && abort_fired(signal)) ready_push(loop_ready(core->loop), watch->token);
    else if (signal) abort_listen(signal, &watch->listener, on_watched_abort, watch);
    return 1;
}

/* ---- resuming, turning, time ----------------------------------------------------------- */

/* resume(co, ...) as coroutine.resume; notes which thread runs, for the interpreter's Ctrl-C. */
static int resume(lua_State *L) {
    struct core *core = self(L);
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    int nargs = lua_gettop(L) - 1;
    if (!lua_checkstack(co, nargs)) {
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "too many arguments to resume");
        return 2;
    }
    lua_xmove(L, co, nargs);
    lua_State *outer = core->running;
    core->running = co;
    int nresults = 0;
    int status = lua_resume(co, L, nargs, &nresults);
    core->running = outer;
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        lua_pushboolean(L, 0);
        lua_insert(L, -2); /* and not before the move: a coroutine may try to resume itself */
        return 2;
    }
    if (!lua_checkstack(L, nresults + 1)) {
        lua_pop(co, nresults);
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "too many results to resume");
        return 2;
    }
    lua_pushboolean(L, 1);
    lua_xmove(co, L, nresults);
    return nresults + 1;
}

/* turn(wait) -> true while something can still happen */
static int turn(lua_State *L) {
    lua_pushboolean(L, loop_turn(self(L)->loop, lua_toboolean(L, 1)));
    return 1;
}

/* list(n) -> an empty table with room for n items: growing one item by item costs a rehash at
 * every power of two */
static int list(lua_State *L) {
    lua_Integer n = luaL_checkinteger(L, 1);
    lua_createtable(L, n > 0 && n < 1 << 20 ? (int)n : 0, 0);
    return 1;
}

/* interrupted() -> how often the interpreter was asked to stop since the last question */
static int interrupted(lua_State *L) {
    struct core *core = self(L);
    lua_pushinteger(L, core->interrupts);
    core->was_interrupted |= core->interrupts > 0;
    core->interrupts = 0;
    return 1;
}

/* interrupted_ever() -> was the program ever asked to stop? */
static int interrupted_ever(lua_State *L) {
    lua_pushboolean(L, self(L)->was_interrupted);
    return 1;
}

/* set_error_factory(fn(code, message, meta)) */
static int set_error_factory(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &FACTORY_KEY);
    return 0;
}

static const luaL_Reg FUNCTIONS[] = {
    {"task_open", task_open},
    {"task_close", task_close},
    {"sleep", task_sleep},
    {"sleeping", task_sleeping},
    {"sleep_stop", task_sleep_stop},
    {"reap_start", task_reap_start},
    {"reap_due", task_reap_due},
    {"push", ready_push_token},
    {"take", ready_take_token},
    {"ready_count", ready_count},
    {"slot_open", slot_open},
    {"slot_close", slot_close},
    {"signal_open", signal_open},
    {"signal_close", signal_close},
    {"signal_deadline", signal_deadline},
    {"signal_aborted", signal_aborted},
    {"signal_abort", signal_abort},
    {"signal_reason", signal_reason},
    {"signal_watch", signal_watch},
    {"resume", resume},
    {"turn", turn},
    {"list", list},
    {"interrupted", interrupted},
    {"interrupted_ever", interrupted_ever},
    {"set_error_factory", set_error_factory},
    {NULL, NULL},
};

static const luaL_Reg PARTS[] = {
    {"json", bind_json},
    {"schema", bind_schema},
    {"glob", bind_glob},
    {"grep", bind_grep},
    {"relay", bind_relay},
    {"ulid", bind_ulid},
    {"sse", bind_sse},
    {"http", bind_http},
    {"process", bind_process},
    {"store", bind_store},
    {"text", bind_text},
    {"sha256", bind_sha256},
    {"yaml", bind_yaml},
    {"folder", bind_folder},
    {"jail", bind_jail},
    {"sandbox", bind_sandbox},
    {NULL, NULL},
};

static int core_gc(lua_State *L) {
    struct core *core = lua_touserdata(L, 1);
    core->closing = true;
    core_close_http(core);
    if (core->signals) abort_pool_free(core->signals);
    for (uint32_t i = 0; i < core->timer_chunks; i++) free(core->timers[i]);
    free(core->timers);
    loop_free(core->loop);
    *core = (struct core){.closing = true};
    return 0;
}

static struct core *core_new(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &HOST_KEY);
    const struct core_host *host = lua_touserdata(L, -1);
    lua_pop(L, 1);
    struct core *core = lua_newuserdatauv(L, sizeof *core, 0);
    *core = (struct core){.host = host};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, core_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    core->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    core->loop = loop_new(host ? host->uv : NULL);
    core->signals = core->loop ? abort_pool_new(core->loop) : NULL;
    if (!core->signals) luaL_error(L, "cannot start the engine's loop: not enough memory");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &CORE_KEY);
    return core;
}

static const luaL_Reg WATCH[] = {{"__gc", watch_detach}, {"detach", watch_detach}, {NULL, NULL}};

int luaopen_harness_core(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &MODULE_KEY) == LUA_TTABLE) return 1;
    lua_pop(L, 1);
    core_new(L);
    bind_class(L, "harness.watch", WATCH);
    lua_createtable(L, 0, 64);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, FUNCTIONS, 1);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, CORE_INFO, 1);
    lua_pushliteral(L, HARNESS_VERSION);
    lua_setfield(L, -2, "version");
    for (const luaL_Reg *part = PARTS; part->name; part++) {
        lua_pushcfunction(L, part->func);
        lua_call(L, 0, 1);
        lua_setfield(L, -2, part->name);
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &MODULE_KEY);
    return 1;
}
