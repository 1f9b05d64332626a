/* supervise.c - harness-jail supervise: a program on the host that leaves nothing behind.
 *
 *     harness-jail supervise --report FD --orders FD -- PROGRAM ARGUMENTS...
 *
 * We are the subreaper: whoever is orphaned below us becomes our child, however it has daemonised. In
 * the end all children are killed until none is left. One that forks faster than we kill is first
 * stopped, and its children with it. The program's death of its own ends the rest, too. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.h"
#include "child.h"
#include "jail.h"
#include "report.h"

/* The parent of a process, 0 when it is gone. */
static pid_t parent_of(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = '\0';
    const char *after_name =
        text + n; /* a name may hold anything, parentheses too: the last one counts */
    while (after_name > text && *after_name != ')') after_name--;
    int parent = 0;
    return sscanf(after_name, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool is_below(pid_t pid, pid_t top) {
    for (int depth = 0; pid > 1 && depth < 4096; depth++) {
        pid = parent_of(pid);
        if (pid == top) return true;
    }
    return false;
}

/* Signals every process below us. */
static void signal_descendants(int signum) {
    DIR *processes = opendir("/proc");
    if (!processes) return;
    pid_t self = getpid();
    for (struct dirent *entry; (entry = readdir(processes));) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 1 && is_below(pid, self)) kill(pid, signum);
    }
    closedir(processes);
}

/* Reaps who has ended. False: there is no child left, so nobody can be orphaned any more either. */
static bool reap_some(void) {
    pid_t pid;
    do pid = waitpid(-1, NULL, WNOHANG);
    while (pid > 0 || (pid < 0 && errno == EINTR));
    return pid == 0;
}

/* Less and less often: one that is another user's by now (sudo) cannot be killed, only waited for. */
static void end_descendants(void) {
    for (useconds_t pause_us = 500; reap_some();
         pause_us = pause_us < 64000 ? pause_us * 2 : pause_us) {
        signal_descendants(SIGSTOP);
        signal_descendants(SIGKILL);
        usleep(pause_us);
    }
}

int supervise_main(int argc, char **argv) {
    struct child child = {.orders = -1, .end_all = end_descendants};
    int report_fd = -1;
    const struct argument known[] = {
        {.name = "--report", .fd = &report_fd},
        {.name = "--orders", .fd = &child.orders},
        {.name = "--cwd", .text = &child.cwd},
        {0},
    };
    child.argv = arguments_read(argc, argv, known);
    report_to(report_fd);
    if (child.orders >= 0) fcntl(child.orders, F_SETFD, FD_CLOEXEC);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) report_failure("becoming a subreaper");
    return child_run(&child);
}
