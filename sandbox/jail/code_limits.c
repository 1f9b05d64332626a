/* code_limits.c - what holds a program of a model: memory, processor time, system calls.
 *
 * Processor time has two stages. A timer of the process (SIGPROF) sets a flag, which a count hook
 * looks at; it ends the program with the line at which it was. Where no hook is called, since a
 * library function runs on and on (a pattern, table.move), the next tick of the timer writes an end
 * that was made ready before, and RLIMIT_CPU is behind that. Neither is an error in the program, which
 * could catch it.
 *
 * The filter is an allowlist; everything else, and reading or writing elsewhere, ends the process. */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <lauxlib.h>

#include "code.h"

enum {
    HOOK_INSTRUCTIONS = 10000,
    TICK_MS = 100,               /* between the stages */
    OUTSIDE_LUA = 4 * (32 << 20) /* address space for buffers, stack and the program itself */
};

/* Of the process, since a signal handler has nothing else. */
static volatile sig_atomic_t is_late;
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
    if (size > old_size && size - old_size > code->memory_max - code->memory) return NULL;
    void *moved = realloc(block, size);
    if (moved) code->memory = code->memory - old_size + size;
    return moved;
}

bool code_enter(void) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return false;
    signal(SIGPIPE, SIG_IGN);
    return syscall(SYS_close_range, 3U, ~0U, 0U) == 0 || errno == ENOSYS;
}

/* ---- processor time -------------------------------------------------------------------------- */

static void on_tick(int signum) {
    (void)signum;
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
    struct itimerval timer = {
        .it_value = {code->cpu_ms / 1000, (suseconds_t)(code->cpu_ms % 1000) * 1000},
        .it_interval = {0, TICK_MS * 1000},
    };
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

static int allow(scmp_filter_ctx filter, int number, struct scmp_arg_cmp arg) {
    return seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, number, 1, &arg);
}

static int add_rules(scmp_filter_ctx filter) {
    /* brk to munmap: malloc. restart_syscall: read goes on after a stopped process continues. */
    static const int FREE[] = {SCMP_SYS(exit_group),      SCMP_SYS(exit),          SCMP_SYS(brk),
                               SCMP_SYS(mremap),          SCMP_SYS(madvise),       SCMP_SYS(munmap),
                               SCMP_SYS(rt_sigreturn),    SCMP_SYS(clock_gettime), SCMP_SYS(time),
                               SCMP_SYS(restart_syscall), SCMP_SYS(gettimeofday)};
    int failed = allow(filter, SCMP_SYS(read), SCMP_A0(SCMP_CMP_EQ, STDIN_FILENO));
    failed |= allow(filter, SCMP_SYS(write), SCMP_A0(SCMP_CMP_EQ, STDOUT_FILENO));
    failed |= allow(filter, SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    for (size_t i = 0; i < sizeof FREE / sizeof *FREE; i++)
        failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, FREE[i], 0);
    return failed;
}

/* Another architecture's calls, and x32, end the process too: libseccomp does that by itself. */
static bool filter_calls(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter) return false;
    bool ok = add_rules(filter) == 0 && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return ok;
}

bool code_lock(struct code *code, lua_State *L, const char **what) {
    *what = "the limits of its process";
    if (!limit_process(code)) return false;
    *what = "the limit of its processor time";
    if (!limit_time(code, L)) return false;
    *what = "the filter of its system calls";
    return filter_calls();
}
