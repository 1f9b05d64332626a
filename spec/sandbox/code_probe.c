/* code_probe.c - does what a program that has got out of Lua might, under the limits of `harness-jail code`:
 *
 *     code_probe NAME        exits with 0 when it was done, 1 when it was refused; what is not allowed kills it
 *
 * It is linked with sandbox/jail/code_limits.c itself. spec/sandbox/code_spec.lua runs it. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../sandbox/jail/code.h"

/* What code_limits.c calls; nothing gets that far here. */
struct code *code_of(lua_State *L) {
    void *ud;
    lua_getallocf(L, &ud);
    return ud;
}

void code_fail(lua_State *L, const char *reason, const char *text, size_t len) {
    (void)L, (void)reason, (void)text, (void)len;
    _exit(3);
}

static char page[4096];

static long do_nothing(void) {
    return write(STDOUT_FILENO, "x", 1) == 1 ? 0 : -1;
}
static long do_memory(void) {
    return malloc(8 << 20) ? 0 : -1;
}
static long do_open(void) {
    return open("/proc/self/maps", O_RDONLY);
}
static long do_create(void) {
    return open("/tmp/code_probe", O_WRONLY | O_CREAT, 0600);
}
static long do_read_other(void) {
    return read(STDERR_FILENO, page, 1);
}
static long do_write_other(void) {
    return write(STDERR_FILENO, "x", 1);
}
static long do_fork(void) {
    return fork();
}
static long do_exec(void) {
    return execl("/bin/true", "true", (char *)NULL);
}
static long do_socket(void) {
    return socket(AF_INET, SOCK_STREAM, 0);
}
static long do_kill(void) {
    return kill(getppid(), 0);
}
static long do_signal_self(void) {
    return raise(SIGUSR1);
}
static long do_ptrace(void) {
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}
static long do_pipe(void) {
    return pipe((int[2]){0});
}
static long do_dup(void) {
    return dup(0);
}
static long do_memfd(void) {
    return (long)memfd_create("x", 0);
}
static long do_setuid(void) {
    return setuid(0);
}
static long do_unshare(void) {
    return syscall(SYS_unshare, 0x10000000);
}
static long do_chdir(void) {
    return chdir("/");
}
static long do_stat(void) {
    return access("/", F_OK);
}
static long do_prctl(void) {
    return syscall(SYS_prctl, 15, "x");
}
static long do_rlimit(void) {
    return syscall(SYS_prlimit64, 0, 0, NULL, NULL);
}
static long do_io_uring(void) {
    return syscall(SYS_io_uring_setup, 1, page);
}
static long do_mprotect(void) {
    return mprotect(page, 1, PROT_READ | PROT_EXEC);
}
static long do_executable(void) {
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
           MAP_FAILED;
}
/* The same number means another call for 32-bit programs. */
static long do_other_architecture(void) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
    return result;
#else
    raise(SIGSYS);
    return -1;
#endif
}

static const struct {
    const char *name;
    long (*run)(void);
} PROBES[] = {
    {"nothing", do_nothing},
    {"memory", do_memory},
    {"open", do_open},
    {"create", do_create},
    {"read_other", do_read_other},
    {"write_other", do_write_other},
    {"fork", do_fork},
    {"exec", do_exec},
    {"socket", do_socket},
    {"kill", do_kill},
    {"signal_self", do_signal_self},
    {"ptrace", do_ptrace},
    {"pipe", do_pipe},
    {"dup", do_dup},
    {"memfd", do_memfd},
    {"setuid", do_setuid},
    {"unshare", do_unshare},
    {"chdir", do_chdir},
    {"stat", do_stat},
    {"prctl", do_prctl},
    {"rlimit", do_rlimit},
    {"io_uring", do_io_uring},
    {"mprotect", do_mprotect},
    {"executable", do_executable},
    {"other_architecture", do_other_architecture},
};

int main(int argc, char **argv) {
    struct code code = {.memory_max = 64 << 20, .cpu_ms = 1000};
    lua_State *L = lua_newstate(code_alloc, &code);
    const char *what;
    long (*probe)(void) = NULL;
    for (size_t i = 0; i < sizeof PROBES / sizeof *PROBES; i++)
        if (argc == 2 && strcmp(argv[1], PROBES[i].name) == 0) probe = PROBES[i].run;
    if (!probe || !L || !code_enter() || !code_lock(&code, L, &what)) return 2;
    _exit(probe() >= 0 ? 0 : 1);
}
