/* main.c - the harness-lua command: a Lua state with the modules compiled in, signals, exit status.
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
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "../engine/slab.h"
#include "bindings.h"
#include "line_editor.h"
#include "modules.h"

enum { EXIT_SIGNALLED = 128, INTERRUPT_MS = 250 };

static struct core *volatile the_core; /* for the signal handlers, which take no argument */
static volatile sig_atomic_t times_interrupted;
static volatile sig_atomic_t stopped_by; /* the signal that asked to stop, 0: none */

/* ---- signals --------------------------------------------------------------------------- */

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
    struct core *core = the_core;
    if (times_interrupted++ || !core) {
        line_editor_restore();
        _exit(EXIT_SIGNALLED + signal_number);
    }
    stopped_by = signal_number;
    core->interrupts++;
    loop_wakeup(core->loop);
    struct itimerval in_a_moment = {.it_value = {.tv_usec = INTERRUPT_MS * 1000}};
    setitimer(ITIMER_REAL, &in_a_moment, NULL);
}

/* A write to a pipe or socket that nobody reads any more. That ends programs like ours when it was
 * their standard output (`harness-lua x.lua | head`), and is an error like any other elsewhere: of a
 * child's input, a connection. The signal does not say which, but the pipe does. */
static void on_broken_pipe(int signal_number) {
    int saved = errno;
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR)) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
    errno = saved;
}

static void handle(int signal_number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(signal_number, &action, NULL);
}

/* A signal that is ignored from the start stays so: nohup, a shell's background job. */
static void handle_unless_ignored(int signal_number, void (*handler)(int)) {
    struct sigaction now;
    if (sigaction(signal_number, NULL, &now) == 0 && now.sa_handler == SIG_IGN) return;
    handle(signal_number, handler);
}

/* ---- what lua/harness/cli.lua gets ----------------------------------------------------- */

/* forgive_interrupt(): Ctrl-C was answered, and the next one is a first one again */
static int forgive_interrupt(lua_State *L) {
    struct itimerval never = {.it_value = {0}};
    setitimer(ITIMER_REAL, &never, NULL);
    core_get(L)->interrupts = 0;
    stopped_by = 0;
    times_interrupted = 0;
    return 0;
}

/* leave_on_interrupt(): from now on Ctrl-C ends the program at once, until forgive_interrupt(); so
 * does one that came before */
static int leave_on_interrupt(lua_State *L) {
    (void)L;
    times_interrupted++;
    if (stopped_by) _exit(EXIT_SIGNALLED + stopped_by);
    return 0;
}

/* stop_on_terminate(): SIGTERM and SIGHUP are treated as Ctrl-C is */
static int stop_on_terminate(lua_State *L) {
    (void)L;
    handle_unless_ignored(SIGTERM, on_interrupt);
    handle_unless_ignored(SIGHUP, on_interrupt);
    return 0;
}

/* stop_status() -> the exit status of a program that was asked to stop; nil when it was not */
static int stop_status(lua_State *L) {
    if (!stopped_by) return 0;
    lua_pushinteger(L, EXIT_SIGNALLED + stopped_by);
    return 1;
}

/* leave(status): closes the Lua state, from wherever in it this is called, and ends the program */
static int leave(lua_State *L) {
    int status = (int)luaL_checkinteger(L, 1);
    the_core = NULL;
    lua_close(L);
    exit(status);
}

static int called(lua_State *L, int status, lua_KContext before) {
    if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - (int)before;
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

/* call(fn, handler, ...) does what xpcall does, but tracebacks have no name for it: what calls the
 * main chunk is "[C]: in ?" in lua5.4, too */
static int call(lua_State *L) {
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int arguments = lua_gettop(L) - 2;
    lua_pushboolean(L, 1); /* goes before the results */
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    return called(L, lua_pcallk(L, arguments, LUA_MULTRET, 2, 2, called), 2);
}

static int close_file(lua_State *L) {
    luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    return luaL_fileresult(L, fclose(stream->f) == 0, NULL);
}

/* take_stdout() -> a file that writes to standard output; whatever else the program and its
 * children write to descriptor 1 goes to standard error from now on. nil and a message when there
 * is none. */
static int take_stdout(lua_State *L) {
    luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
    *stream = (luaL_Stream){0};
    luaL_setmetatable(L, LUA_FILEHANDLE);
    fflush(stdout);
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return luaL_fileresult(L, 0, NULL);
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) errno = EBADF; /* it was closed, see below */
    else stream->f = fdopen(fd, "w");
    if (!stream->f || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        int error = errno;
        if (!stream->f) close(fd); /* else it is closed with the file */
        errno = error;
        return luaL_fileresult(L, 0, NULL);
    }
    setvbuf(stream->f, NULL, _IOFBF,
            BUFSIZ);                  /* where lines are flushed by write, its errors get lost */
    setvbuf(stdout, NULL, _IONBF, 0); /* as stderr, where it leads to now: lines keep their order */
    stream->closef = close_file;
    return 1;
}

static const luaL_Reg NATIVE[] = {
    {"forgive_interrupt", forgive_interrupt},
    {"leave_on_interrupt", leave_on_interrupt},
    {"stop_on_terminate", stop_on_terminate},
    {"stop_status", stop_status},
    {"leave", leave},
    {"call", call},
    {"take_stdout", take_stdout},
    {"line_editor", line_editor_new},
    {NULL, NULL},
};

/* ---- start ----------------------------------------------------------------------------- */

/* Descriptors 0 to 2 that are closed would be given to the next pipe or socket, which print and
 * error messages would then write into. They are taken by what fails as a closed one does. */
static void occupy_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) continue;
        int got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (got >= 0 && got != fd) close(got); /* there is no /dev/null below it: leave it closed */
    }
}

/* Is the option -E among the arguments? It has to be known before the libraries are opened. The
 * options are passed over as in lua/harness/cli/interpreter.lua. */
static bool ignores_environment(char **argv) {
    for (int i = 1; argv[i] && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-E") == 0) return true;
        if (strcmp(argv[i], "-") == 0 || strcmp(argv[i], "--") == 0) return false;
        bool takes_next = strcmp(argv[i], "-e") == 0 || strcmp(argv[i], "-l") == 0;
        if (takes_next && argv[i + 1]) i++;
    }
    return false;
}

struct warnings {
    bool on;
    bool in_the_middle; /* of a message that is given in pieces */
};

/* start(argc, argv) -> exit status */
static int start(lua_State *L) {
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    if (argc > 0 && ignores_environment(argv)) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); /* luaopen_package asks for it */
    }
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
    luaL_newlib(L, NATIVE);
    lua_call(L, 2, 1); /* cli(arg, native) -> exit status */
    return 1;
}

/* What the function `warn` of Lua does, as in lua5.4: nothing until warn "@on". */
static void on_warning(void *user, const char *message, int to_continue) {
    struct warnings *warnings = user;
    if (!warnings->in_the_middle && !to_continue && message[0] == '@') {
        if (strcmp(message, "@on") == 0) warnings->on = true;
        if (strcmp(message, "@off") == 0) warnings->on = false;
        return;
    }
    if (warnings->on)
        fprintf(stderr, "%s%s%s", warnings->in_the_middle ? "" : "Lua warning: ", message,
                to_continue ? "" : "\n");
    warnings->in_the_middle = to_continue;
}

int main(int argc, char **argv) {
    const char *name = argc > 0 ? argv[0] : "harness-lua";
    occupy_standard_streams();
    struct warnings warnings = {0};
    struct slabs *memory = slabs_new();
    lua_State *L = memory ? lua_newstate(slabs_allocate, memory) : NULL;
    if (!L) {
        fprintf(stderr, "%s: not enough memory\n", name);
        return EXIT_FAILURE;
    }
    lua_setwarnf(L, on_warning, &warnings);
    handle_unless_ignored(SIGINT, on_interrupt);
    handle(SIGALRM, on_alarm);
    handle_unless_ignored(SIGPIPE, on_broken_pipe);
    lua_pushcfunction(L, start);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int failed = lua_pcall(L, 2, 1, 0);
    int status = failed ? EXIT_FAILURE : (int)lua_tointeger(L, -1);
    if (failed) fprintf(stderr, "%s: %s\n", name, luaL_tolstring(L, -1, NULL));
    the_core = NULL;
    lua_close(L);
    slabs_free(memory);
    return status;
}
