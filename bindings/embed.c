/* embed.c - harness.h: making and freeing an engine, loading scripts, errors, memory.
 *
 * Whatever uses the Lua API is a C function that embed_protected calls, so lack of memory is an error
 * here and never a panic. Only calls that were let in by embed_enter touch the engine. */
#include "embed.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/slab.h"
#include "modules.h"

static const char HOST_TABLE = 0; /* address: registry key of lua/harness/host.lua */

enum {
    FREE_MS = 4000,
    FREE_STEP_US = 20000,
    MOST_SCRIPT = 64 << 20,
    READ_BYTES = 64 << 10,
    SCHEDULER_RESERVE = 64 << 10
};

/* ---- errors -------------------------------------------------------------------------------- */

/* Is there room for an error? One that was not made by HARNESS_ERROR_INIT is left alone. */
static bool takes_error(const harness_error *error) {
    return error && error->size >= sizeof *error;
}

int embed_error(harness_error *error, int status, const char *code, const char *format, ...) {
    if (!takes_error(error)) return status;
    error->status = status;
    error->json[0] = '\0';
    snprintf(error->code, sizeof error->code, "%s", code);
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return status;
}

static int no_memory(harness_error *error) {
    return embed_error(error, HARNESS_ENOMEM, "OUT_OF_MEMORY", "not enough memory");
}

int embed_enter(harness_engine *engine, harness_error *error) {
    if (!engine) return embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR", "engine is NULL");
    if (!pthread_equal(engine->thread, pthread_self()))
        return embed_error(error, HARNESS_ETHREAD, "VALIDATION_ERROR",
                           "an engine belongs to the thread that made it; from others only "
                           "harness_wakeup and harness_post are allowed");
    if (engine->in_lua)
        return embed_error(error, HARNESS_EBUSY, "VALIDATION_ERROR",
                           "not possible inside a host function: use harness_post");
    if (engine->failed) return no_memory(error);
    if (takes_error(error)) error->status = HARNESS_OK;
    return HARNESS_OK;
}

/* Reads the error object at 1 into what light userdata at 2 points to. Raises for lack of memory. */
static int read_error(lua_State *L) {
    harness_error *error = lua_touserdata(L, 2);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, "harness.errors") != LUA_TTABLE) { /* an engine that is not made yet */
        snprintf(error->message, sizeof error->message, "%s", luaL_tolstring(L, 1, NULL));
        return 0;
    }
    lua_remove(L, -2);
    lua_getfield(L, -1, "serialize");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "code");
    lua_getfield(L, -2, "message");
    snprintf(error->code, sizeof error->code, "%s", luaL_tolstring(L, -2, NULL));
    snprintf(error->message, sizeof error->message, "%s", luaL_tolstring(L, -2, NULL));
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "harness.json");
    lua_getfield(L, -1, "encode");
    lua_pushvalue(L, 4); /* the serialised error */
    lua_call(L, 1, 1);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (text && len < sizeof error->json) memcpy(error->json, text, len + 1);
    return 0;
}

/* What is raised for want of memory of the engine's own, in C. */
static bool ends_for_memory(const char *message) {
    static const char WORDS[] = "not enough memory";
    size_t len = strlen(message), tail = sizeof WORDS - 1;
    return len >= tail && strcmp(message + len - tail, WORDS) == 0;
}

/* The error object on top of the stack, which is popped, as an error of ours. */
static int lua_error_of(harness_engine *engine, int status, harness_error *error) {
    lua_State *L = engine->L;
    if (status ==
        LUA_ERRMEM) { /* not in a script's task: the scheduler may be in the middle of something */
        lua_pop(L, 1);
        engine->failed = true;
        return no_memory(error);
    }
    harness_error scratch = HARNESS_ERROR_INIT;
    if (!takes_error(error)) error = &scratch;
    embed_error(error, HARNESS_ESCRIPT, "INTERNAL_ERROR", "there is no memory to tell the error");
    lua_pushcfunction(L, read_error);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, error);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        return no_memory(error);
    }
    if (ends_for_memory(error->message)) error->status = HARNESS_ENOMEM;
    else if (strcmp(error->code, "AGENT_NOT_FOUND") == 0) error->status = HARNESS_ENOTFOUND;
    else if (strcmp(error->code, "VALIDATION_ERROR") == 0) error->status = HARNESS_EINVAL;
    return error->status;
}

/* ---- calling Lua --------------------------------------------------------------------------- */

void embed_host_function(lua_State *L, const char *name) {
    luaL_checkstack(L, 12, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &HOST_TABLE);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

int embed_protected(harness_engine *engine, lua_CFunction fn, void *argument,
                    harness_error *error) {
    lua_State *L = engine->L;
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, argument);
    bool outer = engine->in_lua;
    engine->in_lua = true;
    int status = lua_pcall(L, 1, 0, 0);
    engine->in_lua = outer;
    if (engine->core) loop_keep_turning(engine->core->loop, engine->more);
    return status == LUA_OK ? HARNESS_OK : lua_error_of(engine, status, error);
}

/* ---- memory -------------------------------------------------------------------------------- */

/* What a script's task may have: less than all, so that the scheduler can end it and tell of its error. */
static size_t limit_now(const struct embed_memory *memory) {
    if (!memory->running || !*memory->running) return memory->limit;
    size_t reserve = memory->limit / 8 < SCHEDULER_RESERVE ? memory->limit / 8 : SCHEDULER_RESERVE;
    return memory->limit - reserve;
}

void *embed_allocate(void *user, void *block, size_t old_size, size_t new_size) {
    struct embed_memory *memory = user;
    if (!block) old_size = 0; /* Lua says there what kind of object it is for */
    bool grows = new_size > old_size;
    if (grows && memory->limit && memory->now + (new_size - old_size) > limit_now(memory))
        return NULL;
    if (grows) memory->allocations++;
    if (!block && !new_size) return NULL;
    void *moved = memory->allocate(memory->user, block, old_size, new_size);
    if (!moved && new_size) return NULL;
    memory->now += new_size;
    memory->now -= old_size;
    if (memory->now > memory->peak) memory->peak = memory->now;
    return moved;
}

int harness_memory(harness_engine *engine, harness_memory_figures *figures) {
    int rc = embed_enter(engine, NULL);
    if (rc && rc != HARNESS_ENOMEM) return rc;
    if (!figures || figures->size < sizeof *figures) return HARNESS_EINVAL;
    figures->lua_bytes = engine->memory.now;
    figures->lua_peak = engine->memory.peak;
    figures->limit = engine->memory.limit;
    figures->allocations = engine->memory.allocations;
    figures->runs = engine->runs.count;
    return HARNESS_OK;
}

/* ---- the Lua state ------------------------------------------------------------------------- */

static int log_line(lua_State *L) {
    const harness_engine *engine = lua_touserdata(L, lua_upvalueindex(1));
    size_t len;
    const char *line = luaL_checklstring(L, 1, &len);
    if (engine->log) engine->log(engine->log_user, line, len);
    return 0;
}

/* What set_up reads: an engine and the options it is made with. */
struct set_up {
    harness_engine *engine;
    const harness_options *options;
};

static void set_package_path(lua_State *L, const harness_options *options) {
    lua_getglobal(L, "package");
    if (options->module_path || !options->allow_environment) {
        lua_pushstring(L, options->module_path ? options->module_path : "");
        lua_setfield(L, -2, "path");
        lua_pushliteral(L, "");
        lua_setfield(L, -2, "cpath");
    }
    lua_pop(L, 1);
}

static int set_up(lua_State *L) {
    const struct set_up *given = lua_touserdata(L, 1);
    harness_engine *engine = given->engine;
    if (!given->options->allow_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); /* luaopen_package asks for it */
    }
    luaL_openlibs(L);
    set_package_path(L, given->options);
    core_set_host(L, &engine->host);
    modules_install(L);
    embed_install_modules(L, engine);
    lua_getglobal(L, "require");
    lua_pushvalue(L, -1);
    lua_pushliteral(L, "harness.core");
    lua_call(L, 1, 0);
    engine->core = core_get(L);
    engine->memory.running = &engine->core->running;
    lua_pushliteral(L, "harness.host");
    lua_call(L, 1, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &HOST_TABLE);
    lua_getfield(L, -1, "setup");
    lua_createtable(L, 0, 3);
    lua_pushlightuserdata(L, engine);
    lua_pushcclosure(L, log_line, 1);
    lua_setfield(L, -2, "log");
    lua_pushstring(L, given->options->log_level);
    lua_setfield(L, -2, "log_level");
    lua_pushboolean(L, given->options->allow_environment);
    lua_setfield(L, -2, "allow_environment");
    lua_call(L, 1, 0);
    return 0;
}

static bool turn_of_host(void *user) {
    harness_engine *engine = user;
    if (engine->in_callback || engine->in_lua || engine->freeing) return false;
    if (engine->failed) {
        embed_abandon_failed(engine);
        return false;
    }
    return embed_pump(engine, engine->host_pump_us) > 0;
}

/* ---- making and freeing -------------------------------------------------------------------- */

/* The options as this version knows them: what a newer program gives beyond them is not looked at. False:
 * they are none. */
static bool copy_options(harness_options *to, const harness_options *from, harness_error *error) {
    harness_options defaults = HARNESS_OPTIONS_INIT;
    *to = defaults;
    if (!from) return true;
    if (from->size < sizeof *to) {
        embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR",
                    "options.size is %zu, at least %zu is wanted: begin with HARNESS_OPTIONS_INIT",
                    from->size, sizeof *to);
        return false;
    }
    memcpy(to, from, sizeof *to);
    static const char *const LEVELS[] = {"trace", "debug", "info", "warn", "error", "fatal"};
    bool known = !to->log_level;
    for (size_t i = 0; i < sizeof LEVELS / sizeof LEVELS[0] && !known; i++)
        known = strcmp(to->log_level, LEVELS[i]) == 0;
    if (!known)
        embed_error(
            error, HARNESS_EINVAL, "VALIDATION_ERROR",
            "options.log_level is \"%.40s\"; it is one of trace, debug, info, warn, error, fatal",
            to->log_level);
    const char *problem = known ? embed_seams_problem(to) : NULL;
    if (problem) embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR", "%s", problem);
    return known && !problem;
}

static void engine_free_memory(harness_engine *engine) {
    struct embed_memory memory = engine->memory;
    embed_free_functions(engine);
    embed_free_runs(engine);
    embed_drop_posts(engine);
    pthread_mutex_destroy(&engine->post_lock);
    memory.allocate(memory.user, engine, sizeof *engine, 0);
    slabs_free(memory.own);
}

/* Where the engine's memory comes from; without an allocate function: there is none. */
static struct embed_memory memory_of(const harness_options *options) {
    if (options->allocate)
        return (struct embed_memory){.allocate = options->allocate, .user = options->allocate_user};
    struct slabs *own = slabs_new();
    return (struct embed_memory){.allocate = own ? slabs_allocate : NULL, .user = own, .own = own};
}

harness_engine *harness_new(const harness_options *given, harness_error *error) {
    harness_options options;
    if (!copy_options(&options, given, error)) return NULL;
    struct embed_memory memory = memory_of(&options);
    harness_engine *engine =
        memory.allocate ? memory.allocate(memory.user, NULL, 0, sizeof *engine) : NULL;
    if (!engine) {
        slabs_free(memory.own);
        no_memory(error);
        return NULL;
    }
    *engine = (harness_engine){.memory = {.allocate = memory.allocate,
                                          .user = memory.user,
                                          .own = memory.own,
                                          .now = sizeof *engine,
                                          .limit = options.memory_limit}};
    engine->log = options.log;
    engine->log_user = options.log_user;
    engine->module = options.module;
    engine->module_user = options.module_user;
    engine->allow_bytecode = options.allow_bytecode != 0;
    engine->host_loop = options.uv_loop;
    engine->host_pump_us = options.host_pump_us ? options.host_pump_us : 2000;
    engine->thread = pthread_self();
    engine->post_end = &engine->posts;
    pthread_mutex_init(&engine->post_lock, NULL);
    engine->host = (struct core_host){.uv = options.uv_loop,
                                      .no_environment = !options.allow_environment,
                                      .no_threads = options.no_threads != 0,
                                      .no_signals = !options.allow_signals};
    embed_seams(engine, &options);
    engine->L = lua_newstate(embed_allocate, &engine->memory);
    struct set_up argument = {engine, &options};
    int rc = engine->L ? embed_protected(engine, set_up, &argument, error) : no_memory(error);
    if (rc == HARNESS_OK) {
        if (engine->host_loop) loop_on_turn(engine->core->loop, turn_of_host, engine);
        else
            loop_look(
                engine->core->loop); /* from now on harness_wakeup and harness_post are seen */
        return engine;
    }
    engine->memory.running = NULL;
    if (engine->L) lua_close(engine->L);
    engine_free_memory(engine);
    return NULL;
}

static int close_host(lua_State *L) {
    embed_host_function(L, "close");
    lua_call(L, 0, 0);
    return 0;
}

static int ask_closed(lua_State *L) {
    bool *closed = lua_touserdata(L, 1);
    embed_host_function(L, "closed");
    lua_call(L, 0, 1);
    *closed = lua_toboolean(L, -1);
    return 0;
}

static void on_waited(struct timer *timer, void *user) {
    (void)timer;
    (void)user; /* its only work is to end the wait */
}

int embed_turn(harness_engine *engine, uint64_t most_ms) {
    struct loop *loop = engine->core->loop;
    struct timer alarm = {0};
    if (timer_start(loop, &alarm, most_ms, on_waited, NULL)) return HARNESS_ENOMEM;
    loop_turn(loop, true);
    timer_stop(loop, &alarm);
    return HARNESS_OK;
}

/* Ends what runs, for as long as it takes but not longer than FREE_MS. */
static void join_all(harness_engine *engine) {
    if (engine->failed || embed_protected(engine, close_host, NULL, NULL) != HARNESS_OK) return;
    struct loop *loop = engine->core->loop;
    uint64_t until = loop_now_ms(loop) + FREE_MS;
    bool closed = false;
    for (uint64_t now = 0; now < until;) {
        int left = embed_pump(engine, FREE_STEP_US);
        if (left < 0 || embed_protected(engine, ask_closed, &closed, NULL) != HARNESS_OK || closed)
            break;
        now = loop_now_ms(loop);
        if (left == 0 && now < until && embed_turn(engine, until - now)) break;
    }
    while (closed && embed_pump(engine, FREE_STEP_US) > 0) {} /* what is still to be told */
}

int harness_free(harness_engine *engine) {
    if (!engine) return HARNESS_OK;
    int rc = embed_enter(engine, NULL);
    if (rc && rc != HARNESS_ENOMEM) return rc; /* ENOMEM: it has failed, and can be freed */
    if (engine->in_callback) return HARNESS_EBUSY;
    engine->freeing = true;
    loop_on_turn(engine->core->loop, NULL, NULL);
    join_all(engine);
    embed_run_posts(engine);
    embed_abandon_runs(engine, HARNESS_CANCELLED, "OPERATION_CANCELLED", "the engine was freed");
    embed_run_posts(engine); /* of those callbacks, and of threads that did not know yet */
    engine->in_lua = true;   /* a finalizer that calls a host function */
    lua_close(engine->L);
    engine_free_memory(engine);
    return HARNESS_OK;
}

const char *harness_version(void) {
    return HARNESS_VERSION;
}

/* ---- scripts ------------------------------------------------------------------------------- */

struct script {
    harness_engine *engine;
    const char *text;
    size_t len;
    const char *name;
};

static int load_script(lua_State *L) {
    const struct script *script = lua_touserdata(L, 1);
    embed_host_function(L, "load");
    lua_pushlstring(L, script->text, script->len);
    lua_pushfstring(L, "@%s", script->name);
    lua_pushstring(L, script->engine->allow_bytecode ? "bt" : "t");
    lua_call(L, 3, 2);
    script->engine->more |= lua_toboolean(L, -2) != 0; /* others may have got ahead meanwhile */
    embed_note_resume(script->engine, lua_tointeger(L, -1));
    return 0;
}

int harness_load_buffer(harness_engine *engine, const char *text, size_t len, const char *name,
                        harness_error *error) {
    int rc = embed_enter(engine, error);
    if (rc) return rc;
    if (!text || !name)
        return embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR", "%s is NULL",
                           text ? "name" : "text");
    struct script script = {engine, text, len, name};
    return embed_protected(engine, load_script, &script, error);
}

/* The whole file in memory that the caller frees, or NULL with the error filled in. A first line that
 * begins with # is made empty, as Lua does for scripts that a shell can run. */
static char *read_file(const char *path, size_t *len, harness_error *error) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        embed_error(error, HARNESS_ENOTFOUND, "HARNESS_CONFIG_ERROR", "cannot open %s: %s", path,
                    strerror(errno));
        return NULL;
    }
    size_t size = 0, got;
    char *text = NULL;
    do {
        char *more = size < MOST_SCRIPT ? realloc(text, size + READ_BYTES) : NULL;
        if (!more) {
            free(text);
            fclose(file);
            embed_error(error, size < MOST_SCRIPT ? HARNESS_ENOMEM : HARNESS_EINVAL,
                        "HARNESS_CONFIG_ERROR", "%s is too large", path);
            return NULL;
        }
        text = more;
        got = fread(text + size, 1, READ_BYTES, file);
        size += got;
    } while (got == READ_BYTES);
    bool failed = ferror(file) != 0;
    int number = errno;
    fclose(file);
    if (failed) {
        free(text);
        embed_error(error, HARNESS_ESYSTEM, "HARNESS_CONFIG_ERROR", "cannot read %s: %s", path,
                    strerror(number));
        return NULL;
    }
    for (size_t i = 0; size && text[0] == '#' && i < size && text[i] != '\n'; i++)
        text[i] = i < 2 ? '-' : ' ';
    *len = size;
    return text;
}

int harness_load_file(harness_engine *engine, const char *path, harness_error *error) {
    int rc = embed_enter(engine, error);
    if (rc) return rc;
    if (!path) return embed_error(error, HARNESS_EINVAL, "VALIDATION_ERROR", "path is NULL");
    harness_error scratch = HARNESS_ERROR_INIT;
    if (!takes_error(error)) error = &scratch;
    size_t len;
    char *text = read_file(path, &len, error);
    if (!text) return error->status;
    rc = harness_load_buffer(engine, text, len, path, error);
    free(text);
    return rc;
}
