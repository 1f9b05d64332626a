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

static int is_below(pid_t pid, pid_t top) {
    for (int depth = 0; pid > 1 && depth < 4096; depth++) {
        pid = parent_of(pid);
        if (pid == top) return 1;
    }
    return 0;
}

/* Signals every process below us; returns how many there were. */
static int signal_descendants(int signum) {
    DIR *processes = opendir("/proc");
    if (!processes) return 0;
    int count = 0;
    pid_t self = getpid();
    for (struct dirent *entry; (entry = readdir(processes));) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 1 || !is_below(pid, self)) continue;
        kill(pid, signum);
        count++;
    }
    closedir(processes);
    return count;
}

static void end_descendants(void) {
    for (;;) {
        signal_descendants(SIGSTOP);
        signal_descendants(SIGKILL);
        pid_t pid;
        do pid = waitpid(-1, NULL, WNOHANG);
        while (pid > 0 || (pid < 0 && errno == EINTR));
        if (pid < 0) return; /* ECHILD: none is left, and none can be orphaned any more */
        usleep(1000);
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
