/* child.c - the program leads a session of its own, so orders reach what it started, too. We hold
 * none of its standard streams, or their ends would never be seen. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail.h"
#include "report.h"

/* What the new process is told. */
struct start {
    const struct child *child;
    const sigset_t *mask;
};

/* In the new process, which has our memory until it executes: never returns. */
static int become(void *user) {
    const struct start *start = user;
    const struct child *child = start->child;
    setsid();
    /* Whatever else came down to us is not for it. */
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) report_failure("close_range");
    sigprocmask(SIG_SETMASK, start->mask, NULL);
    signal(SIGPIPE, SIG_DFL); /* ignored signals survive execve */
    if (child->cwd && chdir(child->cwd) != 0) report_failure("cwd");
    if (child->prepare) child->prepare();
    execvp(child->argv[0], child->argv);
    report_failure("program");
}

/* As vfork does, so that we wait until it executes, but on a stack of its own. */
static pid_t start_program(const struct child *child, const sigset_t *mask) {
    static char stack[64 << 10] __attribute__((aligned(16)));
    struct start start = {child, mask};
    return clone(become, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &start);
}

static void drop_streams(void) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2; fd++)
        if (null < 0 || dup2(null, fd) < 0) close(fd);
    if (null > 2) close(null);
}

enum reaped { NONE, SOMEBODY, THE_PROGRAM };

/* Reaps one who has ended. THE_PROGRAM: *status is its. */
static enum reaped reap(pid_t program, int *status) {
    int one;
    pid_t pid;
    do pid = waitpid(-1, &one, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid <= 0) return NONE;
    if (pid != program) return SOMEBODY;
    *status = one;
    return THE_PROGRAM;
}

/* Passes signals on. False: there will be no more orders. */
static bool obey(int orders, pid_t program) {
    unsigned char numbers[16];
    ssize_t n = read(orders, numbers, sizeof numbers);
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    for (ssize_t i = 0; i < n; i++) kill(-program, numbers[i]);
    return n > 0;
}

/* Waits for the program's end (true, with its status) or the end of the orders (false), which comes
 * through also when orphans end without end. */
static bool wait_for(const struct child *child, pid_t program, int signals, int *status) {
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN},
                            {.fd = child->orders, .events = POLLIN}};
    for (;;) {
        enum reaped reaped = reap(program, status);
        if (reaped == THE_PROGRAM) return true;
        if (poll(fds, 2, reaped == NONE ? -1 : 0) < 0 && errno != EINTR) return false;
        struct signalfd_siginfo info;
        if (fds[0].revents && read(signals, &info, sizeof info) < 0 && errno != EAGAIN)
            return false;
        if (fds[1].revents && !obey(child->orders, program)) return false;
    }
}

/* Has the engine changed its mind, or ended, before there is anything to end? */
static bool is_called_off(int orders) {
    struct pollfd fd = {.fd = orders};
    return orders >= 0 && poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

static int tell(int status) {
    if (WIFSIGNALED(status)) {
        report("signal %d", WTERMSIG(status));
        return 128 + WTERMSIG(status);
    }
    report("exit %d", WEXITSTATUS(status));
    return WEXITSTATUS(status);
}

int child_run(const struct child *child) {
    sigset_t all, before, ends;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    sigemptyset(
        &before); /* whoever started us may have blocked some: the program gets none of that */
    sigemptyset(&ends);
    sigaddset(&ends, SIGCHLD);
    int signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) report_failure("signalfd");
    if (is_called_off(child->orders)) return JAIL_FAILED;
    pid_t program = start_program(child, &before);
    if (program < 0) report_failure("clone");
    if (report_has_failed()) return JAIL_FAILED; /* it shares our memory, and has told already */
    report("started");
    drop_streams();
    int status = 0;
    bool ended = wait_for(child, program, signals, &status);
    if (!ended) kill(program, SIGKILL);
    int result = ended ? tell(status) : JAIL_FAILED;
    if (child->end_all) child->end_all();
    return result;
}
