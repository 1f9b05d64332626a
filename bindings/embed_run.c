/* embed_run.c - harness.h: runs. A handle is a struct in one of two lists of its engine: live ones, and
 * those that were released, which are kept for a while so that a call with one is recognised. */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "embed.h"

/* ---- the lists ----------------------------------------------------------------------------- */

static void list_append(struct run_list *list, struct harness_run *run) {
    run->prev = list->last;
    run->next = NULL;
    if (list->last) list->last->next = run;
    else list->first = run;
    list->last = run;
    list->count++;
}

static void list_remove(struct run_list *list, struct harness_run *run) {
    if (run->prev) run->prev->next = run->next;
    else list->first = run->next;
    if (run->next) run->next->prev = run->prev;
    else list->last = run->prev;
    list->count--;
}

static void run_free(harness_engine *engine, struct run_list *list, struct harness_run *run) {
    list_remove(list, run);
    embed_allocate(&engine->memory, run, sizeof *run, 0);
}

static void quarantine(harness_engine *engine, struct harness_run *run) {
    list_remove(&engine->runs, run);
    run->live = false;
    list_append(&engine->released, run);
    if (engine->released.count > RUN_QUARANTINE)
        run_free(engine, &engine->released, engine->released.first);
}

void embed_free_runs(harness_engine *engine) {
    while (engine->runs.first) run_free(engine, &engine->runs, engine->runs.first);
    while (engine->released.first) run_free(engine, &engine->released, engine->released.first);
}

/* ---- starting ------------------------------------------------------------------------------ */

struct start {
    const harness_request *request;
    struct harness_run *run;
};

static int start_run(lua_State *L) {
    const struct start *start = lua_touserdata(L, 1);
    const harness_request *request = start->request;
    embed_host_function(L, "start");
    lua_pushlightuserdata(L, start->run);
    lua_pushstring(L, request->session);
    lua_pushstring(L, request->target);
    lua_pushstring(L, request->input_json);
    lua_pushstring(L, request->options_json);
    lua_pushboolean(L, request->on_event != NULL);
    lua_call(L, 6, 0);
    return 0;
}

harness_run *harness_start(harness_engine *engine, const harness_request *request,
                           harness_error *error) {
    if (embed_enter(engine, error)) return NULL;
    if (!request || request->size < sizeof *request) {
        embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR",
                    "request is %s: begin with HARNESS_REQUEST_INIT",
                    request ? "too small" : "NULL");
        return NULL;
    }
    if (engine->freeing) {
        embed_error(error, HARNESS_EBUSY, "VALIDATION_ERROR", "the engine is being freed");
        return NULL;
    }
    struct harness_run *run = embed_allocate(&engine->memory, NULL, 0, sizeof *run);
    if (!run) {
        embed_error(error, HARNESS_ENOMEM, "OUT_OF_MEMORY", "not enough memory");
        return NULL;
    }
    *run = (struct harness_run){.engine = engine,
                                .live = true,
                                .on_event = request->on_event,
                                .on_done = request->on_done,
                                .user = request->user};
    list_append(&engine->runs, run);
    struct start start = {request, run};
    if (embed_protected(engine, start_run, &start, error) == HARNESS_OK) return run;
    run_free(engine, &engine->runs, run);
    return NULL;
}

/* ---- handles ------------------------------------------------------------------------------- */

static int enter_run(const harness_run *run) {
    if (!run || !run->live) return HARNESS_EINVAL;
    return embed_enter(run->engine, NULL);
}

struct cancel {
    harness_run *run;
    const char *reason;
};

static int cancel_run(lua_State *L) {
    const struct cancel *cancel = lua_touserdata(L, 1);
    embed_host_function(L, "cancel");
    lua_pushlightuserdata(L, cancel->run);
    lua_pushstring(L, cancel->reason);
    lua_call(L, 2, 0);
    return 0;
}

int harness_cancel(harness_run *run, const char *reason) {
    int rc = enter_run(run);
    if (rc || run->state != HARNESS_RUNNING) return rc;
    struct cancel cancel = {run, reason};
    return embed_protected(run->engine, cancel_run, &cancel, NULL);
}

static int release_run(lua_State *L) {
    void *run = lua_touserdata(L, 1);
    embed_host_function(L, "release");
    lua_pushlightuserdata(L, run);
    lua_call(L, 1, 0);
    return 0;
}

int harness_run_release(harness_run *run) {
    int rc = enter_run(run);
    if (rc && rc != HARNESS_ENOMEM) return rc;
    harness_engine *engine = run->engine;
    if (!rc && run->state == HARNESS_RUNNING) {
        rc = embed_protected(engine, release_run, run, NULL);
        if (rc) engine->failed = true; /* Lua may still hold what is about to go */
    }
    quarantine(engine, run);
    return HARNESS_OK;
}

int harness_run_status(const harness_run *run) {
    int rc = enter_run(run);
    if (rc && rc != HARNESS_ENOMEM && rc != HARNESS_EBUSY) return rc;
    return (int)run->state;
}

/* ---- telling ------------------------------------------------------------------------------- */

struct delivery {
    struct harness_run *run; /* NULL: there is none */
    bool is_end;
    enum harness_run_state state;
};

/* Leaves the text on the stack of the engine's state, where it stays until it was told. */
static int take_delivery(lua_State *L) {
    struct delivery *delivery = lua_touserdata(L, 1);
    embed_host_function(L, "take");
    lua_call(L, 0, 3);
    delivery->run = lua_touserdata(L, -3);
    delivery->is_end = !lua_isnil(L, -2);
    delivery->state = (enum harness_run_state)lua_tointeger(L, -2);
    return 1;
}

int embed_deliver(harness_engine *engine) {
    lua_State *L = engine->L;
    struct delivery delivery = {0};
    lua_pushcfunction(L, take_delivery);
    lua_pushlightuserdata(L, &delivery);
    engine->in_lua = true;
    int status = lua_pcall(L, 1, 1, 0);
    engine->in_lua = false;
    if (status != LUA_OK) { /* take raises for lack of memory only */
        lua_pop(L, 1);
        engine->failed = true;
        return HARNESS_ENOMEM;
    }
    struct harness_run *run = delivery.run;
    size_t len = 0;
    const char *text = lua_tolstring(L, -1, &len);
    bool tell = run && run->live && text;
    if (run && delivery.is_end) run->state = delivery.state;
    engine->in_callback = true;
    if (tell && delivery.is_end && run->on_done)
        run->on_done(run, delivery.state, text, len, run->user);
    else if (tell && !delivery.is_end && run->on_event) run->on_event(run, text, len, run->user);
    engine->in_callback = false;
    lua_pop(L, 1);
    return run != NULL;
}

/* The first that is not over, in the list as it is now: a callback may release any run. */
static struct harness_run *unfinished(const harness_engine *engine) {
    struct harness_run *run = engine->runs.first;
    while (run && run->state != HARNESS_RUNNING) run = run->next;
    return run;
}

void embed_abandon_runs(harness_engine *engine, enum harness_run_state state, const char *code,
                        const char *message) {
    char text[256];
    int len = snprintf(text, sizeof text, "{\"code\":\"%s\",\"message\":\"%s\"}", code, message);
    engine->in_callback = true;
    for (struct harness_run *run; (run = unfinished(engine));) {
        run->state = state;
        if (run->on_done) run->on_done(run, state, text, (size_t)len, run->user);
    }
    engine->in_callback = false;
}

void embed_abandon_failed(harness_engine *engine) {
    embed_abandon_runs(engine, HARNESS_FAILED, "OUT_OF_MEMORY", "not enough memory");
}
