/* code_limits.c - what holds a program of a model: memory, processor time, system calls.
 *
 * A timer of the process's own time (SIGPROF) ticks while it computes. When the limit is reached, it
 * sets a flag, which a count hook looks at; that ends the program with the line at which it was.
 * Where no hook is called, since a library function runs on and on (a pattern, table.move), the next
 * tick writes an end that was made ready before, and RLIMIT_CPU is behind that. Neither is an error in
 * the program, which could catch it.
 *
 * Each tick also looks whether anybody reads what we write. Whoever starts us ends us by PR_SET_PDEATHSIG,
 * which is too late for a parent that has died before it was set.
 *
 * The filter is that of filter/code_rules.c. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>

#include "code.h"
#include "code_filter_data.h"

enum {
    HOOK_INSTRUCTIONS = 10000,
    TICK_MS = 50,
    OUTSIDE_LUA = 4 * (32 << 20) /* address space for buffers, stack and the program itself */
};

/* Of the process, since a signal handler has nothing else. */
static volatile sig_atomic_t is_late;
static uint32_t late_ms;
static char late_text[512];
static size_t late_len;

void *code_alloc(void *ud, void *block, size_t old_size, size_t size) {
    struct code *code = ud;
    if (!block) old_size = 0; /* it is a type then */
    if (size == 0) {
        free(block);
        code->memory -= old_size;
        return NULL;
    }
    if (size > old_size && code->memory - old_size + size > code->memory_max) return NULL;
    void *moved = realloc(block, size);
    if (moved) code->memory = code->memory - old_size + size;
    return moved;
}

bool code_enter(void) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return false;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NAME, "harness-jail"); /* in lists of processes, instead of a number */
    return syscall(SYS_close_range, 3U, ~0U, 0U) == 0 || errno == ENOSYS;
}

/* ---- processor time -------------------------------------------------------------------------- */

static bool has_reader(void) {
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 0;
}

static uint64_t used_ms(void) {
    struct timespec used = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

static void on_tick(int signum) {
    (void)signum;
    if (!has_reader()) _exit(0);
    if (used_ms() < late_ms) return;
    if (!is_late) {
        is_late = 1;
        return;
    }
    /* Begins with a line end: if a message was being written, it is broken, and this one is not. */
    if (write(STDOUT_FILENO, late_text, late_len) < 0) _exit(1);
    _exit(0);
}

static void on_count(lua_State *L, lua_Debug *debug) {
    (void)debug;
    if (!is_late) return;
    char text[128];
    luaL_checkstack(L, 8, NULL);
    luaL_where(L, 0);
    int len = snprintf(text, sizeof text, "%sthe program has used its %u ms of processor time",
                       lua_tostring(L, -1), code_of(L)->cpu_ms);
    code_fail(L, "cpu", text, (size_t)len);
}

static bool limit_time(const struct code *code, lua_State *L) {
    int len =
        snprintf(late_text, sizeof late_text,
                 "\n{\"failed\":\"the program has used its %u ms of processor time, the last "
                 "of it within one call of a library function, such as a pattern that fits in "
                 "very many ways\",\"reason\":\"cpu\"}\n",
                 code->cpu_ms);
    late_len = (size_t)len;
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    const suseconds_t first_ms = code->cpu_ms < TICK_MS ? (suseconds_t)code->cpu_ms : TICK_MS;
    struct itimerval timer = {.it_value = {0, first_ms * 1000}, .it_interval = {0, TICK_MS * 1000}};
    late_ms = code->cpu_ms;
    lua_sethook(L, on_count, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
    return sigaction(SIGPROF, &action, NULL) == 0 && setitimer(ITIMER_PROF, &timer, NULL) == 0;
}

/* ---- the process ----------------------------------------------------------------------------- */

static bool limit(int resource, rlim_t most) {
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) != 0) return false;
    if (now.rlim_max < most) most = now.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &(struct rlimit){most, most}) == 0;
}

static bool limit_process(const struct code *code) {
    return limit(RLIMIT_AS, (rlim_t)code->memory_max + OUTSIDE_LUA) &&
           limit(RLIMIT_CPU, code->cpu_ms / 1000 + 2) && limit(RLIMIT_CORE, 0) &&
           limit(RLIMIT_FSIZE, 0) && limit(RLIMIT_NOFILE, 3) && limit(RLIMIT_NPROC, 0);
}

static bool filter_calls(void) {
    union { /* the kernel only reads it */
        const struct sock_filter *from;
        struct sock_filter *to;
    } filter = {.from = FILTER};
    const struct sock_fprog program = {.len = sizeof FILTER / sizeof *FILTER, .filter = filter.to};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

bool code_lock(struct code *code, lua_State *L, const char **what) {
    *what = "the limits of its process";
    if (!limit_process(code)) return false;
    *what = "the limit of its processor time";
    if (!limit_time(code, L)) return false;
    *what = "the filter of its system calls";
    return filter_calls();
}
