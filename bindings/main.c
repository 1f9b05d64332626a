/* main.c - the harness-lua command: a Lua state with the modules compiled in, Ctrl-C, exit status.
 * What the arguments mean is in lua/harness/cli.lua.
 *
 * Ctrl-C only counts and wakes the loop; the program sees it at its next turn. If it does not come
 * there within INTERRUPT_MS, Lua code is spinning: a hook then raises an error in the coroutine
 * that runs. A second Ctrl-C leaves at once. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "bindings.h"
#include "modules.h"

enum { EXIT_INTERRUPTED = 130, INTERRUPT_MS = 250 };

static struct core *volatile the_core; /* for the signal handlers, which take no argument */
static volatile sig_atomic_t times_interrupted;

static void raise_interrupted(lua_State *L, lua_Debug *ar) {
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "task");
    lua_setfield(L, -2, "scope");
    lua_pushliteral(L, "interrupted");
    lua_setfield(L, -2, "reason");
    bind_raise(L, "OPERATION_CANCELLED", "interrupted while Lua code was running");
}

static void on_alarm(int signal_number) {
    (void)signal_number;
    struct core *core = the_core;
    if (!core || !core->interrupts) return;
    lua_State *L = core->running ? core->running : core->main;
    lua_sethook(L, raise_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (times_interrupted++) _exit(EXIT_INTERRUPTED);
    struct core *core = the_core;
    if (!core) _exit(EXIT_INTERRUPTED);
    core->interrupts++;
    loop_wakeup(core->loop);
    struct itimerval in_a_moment = {.it_value = {.tv_usec = INTERRUPT_MS * 1000}};
    setitimer(ITIMER_REAL, &in_a_moment, NULL);
}

/* forgive_interrupt(): Ctrl-C was answered, and the next one is a first one again */
static int forgive_interrupt(lua_State *L) {
    (void)L;
    times_interrupted = 0;
    return 0;
}

static int close_file(lua_State *L) {
    luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    return luaL_fileresult(L, fclose(stream->f) == 0, NULL);
}

/* take_stdout() -> a file that writes to standard output; whatever else the program and its
 * children write to descriptor 1 goes to standard error from now on */
static int take_stdout(lua_State *L) {
    luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
    *stream = (luaL_Stream){0};
    luaL_setmetatable(L, LUA_FILEHANDLE);
    fflush(stdout);
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    stream->f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!stream->f || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        if (fd >= 0 && !stream->f) close(fd);
        return luaL_error(L, "standard output cannot be set up: %s", strerror(errno));
    }
    stream->closef = close_file;
    return 1;
}

static void install_signals(void) {
    struct sigaction interrupt = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    struct sigaction alarm_action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGALRM, &alarm_action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int start(lua_State *L) {
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    luaL_openlibs(L);
    modules_install(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "harness.cli");
    lua_call(L, 1, 1);
    the_core = core_get(L);
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    static const luaL_Reg NATIVE[] = {
        {"forgive_interrupt", forgive_interrupt}, {"take_stdout", take_stdout}, {NULL, NULL}};
    luaL_newlib(L, NATIVE);
    lua_call(L, 2, 1); /* cli(arg, native) -> exit status */
    return 1;
}

int main(int argc, char **argv) {
    lua_State *L = luaL_newstate();
    if (!L) {
        fprintf(stderr, "%s: not enough memory\n", argv[0]);
        return EXIT_FAILURE;
    }
    install_signals();
    lua_pushcfunction(L, start);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int failed = lua_pcall(L, 2, 1, 0);
    int status = failed ? EXIT_FAILURE : (int)lua_tointeger(L, -1);
    if (failed) fprintf(stderr, "%s: %s\n", argv[0], luaL_tolstring(L, -1, NULL));
    lua_close(L);
    the_core = NULL;
    return status;
}
