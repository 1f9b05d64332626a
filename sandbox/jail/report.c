/* report.c - one write for each line: lines are shorter than PIPE_BUF, so none is torn. */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jail.h"

static int report_fd = -1;
static volatile int has_failed;

void report_to(int fd) {
    report_fd = fd;
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void write_line(int fd, const char *format, va_list arguments) {
    char line[512];
    int len = vsnprintf(line, sizeof line - 1, format, arguments);
    if (len < 0) return;
    if (len > (int)sizeof line - 2) len = (int)sizeof line - 2;
    line[len++] = '\n';
    while (write(fd, line, (size_t)len) < 0 && errno == EINTR) continue;
}

void report(const char *format, ...) {
    if (report_fd < 0) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(report_fd, format, arguments);
    va_end(arguments);
}

void report_failure(const char *what) {
    int error = errno;
    has_failed = 1;
    report("error %s: %s", what, strerror(error));
    if (report_fd < 0) dprintf(STDERR_FILENO, "harness-jail: %s: %s\n", what, strerror(error));
    _exit(JAIL_FAILED);
}

int report_has_failed(void) {
    return has_failed;
}
