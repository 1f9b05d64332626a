/* process.c - core.process: child processes as userdata, and views of them to wait for.
 *
 *     spawn{file, args?, env?, cwd?, stdin?, stdout?, stderr?} -> process | nil, code, message
 *         args: list, without the name; env: list of "NAME=value"; the streams: "null", "pipe",
 *         "inherit", and for stderr "stdout"; jail: true for harness-jail, gentle, see engine/process.h;
 *         fds: list of anonymous files (jail.c) that it gets; uid, gid: who it runs as
 *     running() -> number of processes that have not exited
 *
 *     process:read(stream) -> bytes | nil, "wait" | nil, "end"      stream: "stdout", "stderr", "report"
 *     process:write(bytes) -> true | nil, "wait" | nil, "closed"
 *     process:ignore(stream)                                        what comes is thrown away
 *     process:close_stdin(), process:kill(signal name), process:stop(), process:close()
 *     process:result() -> exit_code or nil, signal or nil | nil, "wait"
 *     process:pid()
 *     process:view(what) -> view          "stdin", "stdout", "stderr", "exit"
 *     view:arm(token), view:disarm()      a task for each view may wait at the same time */
#include <signal.h>
#include <string.h>

#include "../engine/process.h"
#include "bindings.h"

#define PROCESS "harness.process"
#define VIEW "harness.process.view"
#define HOST "harness.process.host"

static const char *const VIEWS[] = {"stdin", "stdout", "stderr", "report", "exit", NULL};
enum { VIEW_EXIT = 4, VIEW_COUNT = 5 };

struct lua_process {
    struct process *process; /* NULL: closed */
    struct waiter waiters[VIEW_COUNT];
};

/* Its user value is the process. */
struct view {
    struct lua_process *owner;
    int what;
};

struct lua_host {
    struct process_host *host;
};

static bool has_news(const struct lua_process *owner, int what) {
    const struct process *p = owner->process;
    size_t len;
    if (!p || what == VIEW_EXIT) return !p || process_done(p, NULL);
    if (what == PROCESS_STDIN) return process_writable(p);
    process_peek(p, (enum process_stream)what, &len);
    return len > 0 || process_ended(p, (enum process_stream)what);
}

static void on_news(void *user) {
    struct lua_process *owner = user;
    for (int what = 0; what < VIEW_COUNT; what++)
        if (owner->waiters[what].token && has_news(owner, what)) waiter_wake(&owner->waiters[what]);
}

static struct lua_process *check_process(lua_State *L) {
    struct lua_process *owner = luaL_checkudata(L, 1, PROCESS);
    if (!owner->process) luaL_error(L, "this process was closed");
    return owner;
}

/* ---- spawn --------------------------------------------------------------------------------- */

/* Ends the children that are left when the state is closed: made after the core, so finalised
 * before it. */
static int host_gc(lua_State *L) {
    struct lua_host *owner = luaL_checkudata(L, 1, HOST);
    process_host_free(owner->host);
    owner->host = NULL;
    return 0;
}

static struct process_host *host_of(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, HOST ".one") == LUA_TNIL) {
        lua_pop(L, 1);
        struct lua_host *owner = lua_newuserdatauv(L, sizeof *owner, 0);
        owner->host = NULL;
        luaL_setmetatable(L, HOST);
        const struct core *core = core_get(L);
        owner->host = process_host_new(core->loop, core->host ? core->host->process : NULL);
        if (!owner->host) luaL_error(L, "not enough memory");
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, HOST ".one");
    }
    struct lua_host *owner = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return owner->host;
}

static const char *check_text(lua_State *L, int index, const char *name) {
    size_t len;
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "process option %s must be a string", name);
    const char *text = lua_tolstring(L, index, &len);
    if (strlen(text) != len) luaL_error(L, "process option %s holds a NUL character", name);
    return text;
}

/* The strings of options[name] as an array that ends with NULL, after `first` (may be NULL); NULL
 * when there is no such list. The array is a userdata that stays on the stack, the strings are kept
 * alive by the list. */
static const char *const *text_list(lua_State *L, const char *name, const char *first) {
    int type = lua_getfield(L, 1, name);
    if (type == LUA_TNIL && !first) return NULL;
    if (type != LUA_TNIL) luaL_checktype(L, -1, LUA_TTABLE);
    size_t count = type == LUA_TNIL ? 0 : (size_t)lua_rawlen(L, -1);
    const char **list = lua_newuserdatauv(L, (count + 2) * sizeof *list, 0);
    size_t n = 0;
    if (first) list[n++] = first;
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i);
        list[n++] = check_text(L, -1, name);
        lua_pop(L, 1);
    }
    list[n] = NULL;
    return list;
}

static enum process_mode mode_field(lua_State *L, const char *name, const char *otherwise) {
    static const char *const MODES[] = {"null", "pipe", "inherit", "stdout", NULL};
    lua_getfield(L, 1, name);
    int mode = luaL_checkoption(L, lua_gettop(L), otherwise, MODES);
    lua_pop(L, 1);
    if (mode == PROCESS_MERGE && strcmp(name, "stderr") != 0)
        luaL_error(L, "process option %s cannot be \"stdout\"", name);
    return (enum process_mode)mode;
}

/* The descriptors of options.fds, kept open by the list. */
static void descriptors_field(lua_State *L, int *fds, struct process_options *options) {
    options->more_fds = fds;
    if (lua_getfield(L, 1, "fds") == LUA_TNIL) return;
    luaL_checktype(L, -1, LUA_TTABLE);
    size_t count = lua_rawlen(L, -1);
    if (count > PROCESS_MORE_MAX) luaL_error(L, "process option fds is too long");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        fds[i] = bind_file_descriptor(L, -1);
        lua_pop(L, 1);
    }
    options->more_count = count;
}

static void user_field(lua_State *L, struct process_options *options) {
    options->other_user = lua_getfield(L, 1, "uid") != LUA_TNIL;
    if (!options->other_user) return;
    options->uid = (uint32_t)luaL_checkinteger(L, -1);
    lua_getfield(L, 1, "gid");
    options->gid = (uint32_t)luaL_checkinteger(L, -1);
}

static int spawn(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, 24, NULL);
    const struct core_host *hosted = core_get(L)->host;
    if (hosted && hosted->no_signals && !hosted->process) {
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "no_signals");
        lua_setfield(L, -2, "reason");
        return bind_raise(
            L, "PROCESS_ERROR",
            "child processes need a handler for SIGCHLD, which the host of this "
            "engine has not allowed (allow_signals, or a process starter of its own)");
    }
    struct process_host *host = host_of(L);
    struct process_options options = {0};
    lua_getfield(L, 1, "file");
    options.file = check_text(L, -1, "file");
    if (lua_getfield(L, 1, "cwd") != LUA_TNIL) options.cwd = check_text(L, -1, "cwd");
    options.args = text_list(L, "args", options.file);
    options.env = text_list(L, "env", NULL);
    int fds[PROCESS_MORE_MAX];
    descriptors_field(L, fds, &options);
    user_field(L, &options);
    lua_getfield(L, 1, "jail");
    options.is_jail = lua_toboolean(L, -1);
    lua_getfield(L, 1, "gentle");
    options.is_gentle = lua_toboolean(L, -1);
    options.stdin_mode = mode_field(L, "stdin", "null");
    options.stdout_mode = mode_field(L, "stdout", "pipe");
    options.stderr_mode = mode_field(L, "stderr", "pipe");

    struct lua_process *owner = lua_newuserdatauv(L, sizeof *owner, 0);
    *owner = (struct lua_process){0};
    for (int i = 0; i < VIEW_COUNT; i++) owner->waiters[i].loop = core_get(L)->loop;
    luaL_setmetatable(L, PROCESS);
    int error;
    owner->process = process_spawn(host, &options, on_news, owner, &error);
    if (owner->process) return 1;
    lua_pushnil(L);
    lua_pushstring(L, uv_err_name(error));
    lua_pushstring(L, uv_strerror(error));
    return 3;
}

static int running(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)process_host_running(host_of(L)));
    return 1;
}

/* ---- streams ------------------------------------------------------------------------------- */

static int push_nothing(lua_State *L, const char *state) {
    lua_pushnil(L);
    lua_pushstring(L, state);
    return 2;
}

static enum process_stream check_output(lua_State *L, int arg) {
    static const char *const OUTPUTS[] = {"stdout", "stderr", "report", NULL};
    return (enum process_stream)(PROCESS_STDOUT + luaL_checkoption(L, arg, "stdout", OUTPUTS));
}

static int process_ignore_lua(lua_State *L) {
    process_ignore(check_process(L)->process, check_output(L, 2));
    return 0;
}

static int process_read_lua(lua_State *L) {
    struct process *p = check_process(L)->process;
    enum process_stream stream = check_output(L, 2);
    size_t len;
    const char *bytes = process_peek(p, stream, &len);
    if (!len) return push_nothing(L, process_ended(p, stream) ? "end" : "wait");
    lua_pushlstring(L, bytes, len);
    process_take(p, stream, len);
    return 1;
}

static int process_write_lua(lua_State *L) {
    struct process *p = check_process(L)->process;
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    int rc = process_write(p, bytes, len);
    if (rc == UV_EAGAIN) return push_nothing(L, "wait");
    if (rc == UV_EPIPE) return push_nothing(L, "closed");
    if (rc != 0) return luaL_error(L, "not enough memory");
    lua_pushboolean(L, 1);
    return 1;
}

static int process_close_stdin_lua(lua_State *L) {
    process_close_stdin(check_process(L)->process);
    return 0;
}

static int process_result_lua(lua_State *L) {
    struct process_result result;
    if (!process_done(check_process(L)->process, &result)) return push_nothing(L, "wait");
    if (result.signal) {
        lua_pushnil(L);
        lua_pushinteger(L, result.signal);
    } else {
        lua_pushinteger(L, result.exit_code);
        lua_pushnil(L);
    }
    return 2;
}

static int process_pid_lua(lua_State *L) {
    lua_pushinteger(L, process_pid(check_process(L)->process));
    return 1;
}

static int process_kill_lua(lua_State *L) {
    static const char *const NAMES[] = {"TERM", "KILL", "INT",  "HUP",  "QUIT",
                                        "USR1", "USR2", "STOP", "CONT", NULL};
    static const int NUMBERS[] = {SIGTERM, SIGKILL, SIGINT,  SIGHUP, SIGQUIT,
                                  SIGUSR1, SIGUSR2, SIGSTOP, SIGCONT};
    struct process *p = check_process(L)->process;
    process_kill(p, NUMBERS[luaL_checkoption(L, 2, "TERM", NAMES)]);
    return 0;
}

static int process_stop_lua(lua_State *L) {
    process_stop(check_process(L)->process);
    return 0;
}

static int process_close_lua(lua_State *L) {
    struct lua_process *owner = luaL_checkudata(L, 1, PROCESS);
    process_close(owner->process);
    owner->process = NULL;
    for (int i = 0; i < VIEW_COUNT; i++) waiter_wake(&owner->waiters[i]);
    return 0;
}

/* ---- views --------------------------------------------------------------------------------- */

static int process_view(lua_State *L) {
    struct lua_process *owner = check_process(L);
    int what = luaL_checkoption(L, 2, NULL, VIEWS);
    struct view *view = lua_newuserdatauv(L, sizeof *view, 1);
    *view = (struct view){.owner = owner, .what = what};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, VIEW);
    return 1;
}

static int view_arm(lua_State *L) {
    struct view *view = luaL_checkudata(L, 1, VIEW);
    uint64_t token = (uint64_t)luaL_checkinteger(L, 2);
    struct waiter *waiter = &view->owner->waiters[view->what];
    bool ready = has_news(view->owner, view->what);
    if (!ready && waiter->token && waiter->token != token)
        return luaL_error(L, "another task is waiting for the %s of this process already",
                          VIEWS[view->what]);
    waiter->token = ready ? 0 : token;
    lua_pushboolean(L, ready);
    return 1;
}

static int view_disarm(lua_State *L) {
    struct view *view = luaL_checkudata(L, 1, VIEW);
    view->owner->waiters[view->what].token = 0;
    return 0;
}

/* ---- the part ------------------------------------------------------------------------------ */

static const luaL_Reg PROCESS_METHODS[] = {
    {"read", process_read_lua},
    {"write", process_write_lua},
    {"ignore", process_ignore_lua},
    {"close_stdin", process_close_stdin_lua},
    {"result", process_result_lua},
    {"pid", process_pid_lua},
    {"kill", process_kill_lua},
    {"stop", process_stop_lua},
    {"close", process_close_lua},
    {"view", process_view},
    {"__gc", process_close_lua},
    {"__close", process_close_lua},
    {NULL, NULL},
};

static const luaL_Reg VIEW_METHODS[] = {
    {"arm", view_arm},
    {"disarm", view_disarm},
    {NULL, NULL},
};

static const luaL_Reg HOST_METHODS[] = {
    {"__gc", host_gc},
    {NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
    {"spawn", spawn},
    {"running", running},
    {NULL, NULL},
};

int bind_process(lua_State *L) {
    bind_class(L, PROCESS, PROCESS_METHODS);
    bind_class(L, VIEW, VIEW_METHODS);
    bind_class(L, HOST, HOST_METHODS);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
