/* bindings.h - what the files of bindings/ share: one core per Lua state, and the waiting protocol.
 *
 * Each file binds one part: `int bind_xxx(lua_State *L)` pushes the part's table of functions, and
 * core.c puts it into `require "harness.core"` under its name.
 *
 * Waiting. C never yields and never calls Lua from a libuv or curl callback. A C object that one
 * can wait for (a transfer, a process, a storage call) is a userdata with the two methods
 *     :arm(token) -> boolean    true when there is something to take now; else it remembers the
 *                               token of the waiting task, and queues it once there is something
 *     :disarm()                 forgets the token
 * and what is there is then pulled by ordinary methods. lua/harness/task.lua parks on such an
 * object with task.wait(object). Embed a struct waiter, and call waiter_wake when something came.
 *
 * Errors. bind_raise makes a harness error ({code, message, meta, ...}, see lua/harness/errors.lua)
 * and raises it. No Lua error may cross a libuv, curl or storage callback. */
#ifndef HARNESS_BINDINGS_H
#define HARNESS_BINDINGS_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "../engine/abort.h"
#include "../engine/loop.h"

#define HARNESS_VERSION "0.1.0"

struct http_client;
struct http_driver;
struct process_starter;
struct task_timers;
struct ulid;

/* What a host may want otherwise (harness.h). Set before harness.core is opened; outlives the state. */
struct core_host {
    uv_loop_t *uv; /* NULL: a loop of its own */
    bool no_environment;
    bool no_threads;
    bool no_signals;                       /* nothing that installs a signal handler */
    const struct http_driver *http;        /* NULL: libcurl */
    const struct process_starter *process; /* NULL: uv_spawn */
};
void core_set_host(lua_State *L, const struct core_host *host);

/* One per Lua state; lives as a userdata in the registry and ends with the state. */
struct core {
    struct loop *loop;
    const struct core_host *host; /* NULL: none */
    lua_State *main;              /* the main thread of the state */
    lua_State *running;           /* the coroutine that runs now, NULL between tasks */
    struct abort_pool *signals;
    struct task_timers **timers; /* by the slot index of the task's token, in chunks */
    uint32_t timer_chunks;
    struct http_client *http; /* made at the first HTTP call */
    volatile int interrupts;  /* Ctrl-C, counted by the interpreter's signal handler */
    bool was_interrupted;
    bool closing;
    uint64_t stamp_ms; /* the last timestamp made, and its text */
    char stamp[32];
};

/* The core of this state; raises if harness.core has not been opened. */
struct core *core_get(lua_State *L);

/* The time as text (text.h), valid until the next call. */
const char *core_timestamp(struct core *core, uint64_t ms);

/* Pushes the userdata that owns the engine's generator of ids, and returns the generator. */
struct ulid *ulid_push_generator(lua_State *L);

struct waiter {
    struct loop *loop;
    uint64_t token; /* 0: nobody waits */
};

static inline void waiter_wake(struct waiter *w) {
    if (!w->token) return;
    ready_push(loop_ready(w->loop), w->token);
    w->token = 0;
    loop_keep_turning(w->loop,
                      false); /* what came may be the last thing that a host's loop lived for */
}

/* Raises a harness error. The table (or nil) on top of the stack becomes its meta and is popped.
 * Never returns; typed int so that bindings can `return bind_raise(...)`. */
int bind_raise(lua_State *L, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes the metatable of a class of userdata : the methods, which are also what an object
 * of it is indexed by, and no way for scripts to get hold of it. */
void bind_class(lua_State *L, const char *name, const luaL_Reg *methods);

/* The userdata at index if its metatable is that upvalue of the running function, else NULL: for
 * what is called so often that luaL_checkudata, which looks the class up by name, is too slow. */
static inline void *bind_object(lua_State *L, int index, int upvalue) {
    void *object = lua_touserdata(L, index);
    if (!object || !lua_getmetatable(L, index)) return NULL;
    bool same = lua_rawequal(L, -1, lua_upvalueindex(upvalue));
    lua_pop(L, 1);
    return same ? object : NULL;
}

/* Functions of core_info.c, with the core as upvalue. */
extern const luaL_Reg CORE_INFO[];

/* Parts. */
int bind_json(lua_State *L);
int bind_schema(lua_State *L);
int bind_glob(lua_State *L);
int bind_grep(lua_State *L);
int bind_relay(lua_State *L);
int bind_http(lua_State *L);
int bind_sse(lua_State *L);
int bind_store(lua_State *L);
int bind_process(lua_State *L);
int bind_jail(lua_State *L);
int bind_ulid(lua_State *L);
int bind_text(lua_State *L);
int bind_sha256(lua_State *L);
int bind_yaml(lua_State *L);
int bind_folder(lua_State *L);
int bind_sandbox(lua_State *L);

/* The descriptor of an anonymous file (jail.c) on the stack, which keeps it; raises when it is none,
 * or closed. */
int bind_file_descriptor(lua_State *L, int index);

/* Ends all transfers and frees the HTTP client, if there is one. Part of bindings/http.c. */
void core_close_http(struct core *core);

/* `require "harness.core"`; opening it again in the same state gives the same module. */
__attribute__((visibility("default"))) int luaopen_harness_core(lua_State *L);

#endif
