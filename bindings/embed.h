/* embed.h - what the files behind harness.h share. Everything of an engine that is not Lua's hangs on its
 * struct harness_engine; nothing here is global. */
#ifndef HARNESS_BINDINGS_EMBED_H
#define HARNESS_BINDINGS_EMBED_H

#include <lua.h>
#include <pthread.h>
#include <stdbool.h>

#include "../engine/http.h"
#include "../engine/process.h"
#include "bindings.h"
#include "harness.h"

enum { RUN_QUARANTINE = 1024 }; /* released handles that are still recognised */

/* Memory that is counted and limited: what Lua allocates, and our handles. */
struct embed_memory {
    harness_allocate_fn allocate;
    struct slabs *own; /* NULL: the host gave an allocator */
    void *user;
    size_t now;
    size_t peak;
    size_t limit; /* 0: none */
    uint64_t allocations;
    lua_State *const *running; /* points to the coroutine that runs now; NULL: not known yet */
};
/* A lua_Alloc; user is the struct. */
void *embed_allocate(void *user, void *block, size_t old_size, size_t new_size);

struct harness_run {
    harness_engine *engine;
    struct harness_run *next; /* in one of the engine's lists */
    struct harness_run *prev;
    enum harness_run_state state;
    bool live; /* false: released, in quarantine */
    harness_event_fn on_event;
    harness_done_fn on_done;
    void *user;
};

struct run_list {
    struct harness_run *first;
    struct harness_run *last;
    size_t count;
};

struct post {
    struct post *next;
    harness_post_fn fn;
    void *user;
};

/* A host function, in a list. */
struct host_function {
    struct host_function *next;
    harness_host_fn fn;
    void *user;
};

struct harness_engine {
    lua_State *L;
    struct core *core;
    struct embed_memory memory;
    struct core_host host;
    struct http_driver http_driver;
    struct process_starter process_starter;
    harness_http http; /* copies of the host's tables */
    harness_process process;
    uv_loop_t *host_loop;
    uint32_t host_pump_us;
    pthread_t thread;
    bool in_callback; /* one of the host's callbacks runs */
    bool in_lua;      /* Lua runs: a host function must not come back */
    bool failed;      /* out of memory in the scheduler: only harness_free works */
    bool allow_bytecode;
    bool freeing;
    bool more; /* the last pump left something to deliver */
    uint64_t longest_resume_us;
    harness_log_fn log;
    void *log_user;
    harness_module_fn module;
    void *module_user;
    struct run_list runs;     /* live handles */
    struct run_list released; /* oldest first */
    struct host_function *functions;
    pthread_mutex_t post_lock;
    struct post *posts; /* oldest first */
    struct post **post_end;
};

/* Fills in an error, and returns its status. error may be NULL. */
int embed_error(harness_error *error, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Is the call allowed here and now? 0, or the error. */
int embed_enter(harness_engine *engine, harness_error *error);
/* Runs fn(L) protected, with `argument` as its only one, a light userdata: everything that uses the Lua
 * API goes through here, so that lack of memory is an error. Results come back in what argument points to. */
int embed_protected(harness_engine *engine, lua_CFunction fn, void *argument, harness_error *error);
/* Inside of it: pushes a function of lua/harness/host.lua. */
void embed_host_function(lua_State *L, const char *name);

/* Of embed_run.c: calls the callbacks of one delivery. Returns 1, 0 when there is none, or an error. */
int embed_deliver(harness_engine *engine);
/* All unfinished runs are over, as far as the host is concerned: their on_done gets this state and error. */
void embed_abandon_runs(harness_engine *engine, enum harness_run_state state, const char *code,
                        const char *message);
/* The same, after the engine has failed. */
void embed_abandon_failed(harness_engine *engine);
void embed_free_runs(harness_engine *engine);

/* Of embed_host.c. */
void embed_install_modules(lua_State *L, harness_engine *engine);
void embed_free_functions(harness_engine *engine);

/* Of embed_seams.c: what is wrong with the host's tables (NULL: nothing); the engine's drivers on them. */
const char *embed_seams_problem(const harness_options *options);
void embed_seams(harness_engine *engine, const harness_options *options);

/* A resume of Lua code has taken so long. */
void embed_note_resume(harness_engine *engine, lua_Integer us);

/* Waits for something to happen, at most so long. */
int embed_turn(harness_engine *engine, uint64_t most_ms);
/* Of embed_pump.c: harness_pump, for whoever was let in; what is posted. */
int embed_pump(harness_engine *engine, uint32_t budget_us);
void embed_run_posts(harness_engine *engine);
bool embed_has_posts(harness_engine *engine);
/* Forgets what is posted. */
void embed_drop_posts(harness_engine *engine);

#endif
