/* exec.c - harness-jail exec: confines itself, then runs one command.
 *
 *     harness-jail exec --report FD --orders FD [--cpu S] ... -- PROGRAM ARGUMENTS...
 *
 * It is the first process of its PID namespace (bwrap --as-pid-1): when it ends, the kernel ends
 * everything in there with it. It fails closed: what cannot be put in force is reported, and nothing
 * is run. `--without NAME` leaves a protection out; the engine says so wherever it tells what is in
 * force. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "arguments.h"
#include "child.h"
#include "confine.h"
#include "jail.h"
#include "report.h"

static struct limits limits;

static struct {
    const char *name;
    bool left_out;
} protections[] = {{.name = "pids"},
                   {.name = "hidden_jail"},
                   {.name = "capabilities"},
                   {.name = "landlock"},
                   {.name = "seccomp"}};

static int leave_out(const char *name) {
    for (size_t i = 0; i < sizeof protections / sizeof protections[0]; i++) {
        if (strcmp(protections[i].name, name) != 0) continue;
        protections[i].left_out = true;
        return 0;
    }
    return -1;
}

static bool wants(const char *name) {
    for (size_t i = 0; i < sizeof protections / sizeof protections[0]; i++)
        if (strcmp(protections[i].name, name) == 0) return !protections[i].left_out;
    return true;
}

/* When the machine runs out of memory, it is we whom the kernel ends first, since shared memory is
 * held by no limit. While we are still dumpable: later the file is root's. */
static void become_victim(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == EROFS && !wants("pids")) return; /* the host's /proc, read-only */
    if (fd < 0 || write(fd, "1000", 4) != 4) report_failure("oom_score_adj");
    close(fd);
}

static void confine(void) {
    errno = EPERM;
    if (wants("pids") && getpid() != 1) report_failure("a PID namespace of its own");
    become_victim();
    /* Nobody in there reads our memory or our descriptors through /proc. */
    if (wants("hidden_jail") && prctl(PR_SET_DUMPABLE, 0) != 0) report_failure("PR_SET_DUMPABLE");
    if (wants("capabilities")) privileges_drop();
    else privileges_keep();
    if (wants("landlock")) landlock_apply();
    if (wants("seccomp")) filter_apply();
    /* Should we not come to read our orders: bubblewrap is killed then. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) report_failure("PR_SET_PDEATHSIG");
}

static void limit(void) {
    limits_apply(&limits);
}

int exec_main(int argc, char **argv) {
    struct child child = {.orders = -1, .prepare = limit};
    int report_fd = -1;
    const struct argument known[] = {
        {.name = "--report", .fd = &report_fd},
        {.name = "--orders", .fd = &child.orders},
        {.name = "--cwd", .text = &child.cwd},
        {.name = "--cpu", .number = &limits.cpu_s},
        {.name = "--data", .number = &limits.data},
        {.name = "--file", .number = &limits.file},
        {.name = "--processes", .number = &limits.processes},
        {.name = "--files", .number = &limits.files},
        {.name = "--write", .add = landlock_allow},
        {.name = "--without", .add = leave_out},
        {0},
    };
    child.argv = arguments_read(argc, argv, known);
    report_to(report_fd);
    if (child.orders >= 0) fcntl(child.orders, F_SETFD, FD_CLOEXEC);
    confine();
    return child_run(&child);
}
