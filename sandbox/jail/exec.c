/* exec.c - harness-jail exec: confines itself, then runs one command.
 *
 *     harness-jail exec --report FD --orders FD [--cpu S] ... -- PROGRAM ARGUMENTS...
 *
 * It is the first process of its PID namespace (bwrap --as-pid-1): when it ends, the kernel ends
 * everything in there with it. It fails closed: what cannot be put in force is reported, and nothing
 * is run. */
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "arguments.h"
#include "child.h"
#include "jail.h"
#include "report.h"

int exec_main(int argc, char **argv) {
    struct child child = {.orders = -1};
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
    return child_run(&child);
}
