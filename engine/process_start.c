/* process_start.c - plain pipes, so that /dev/stdin and friends can be opened in the child (they
 * cannot on sockets), and uv_spawn with a group of its own. libuv reaps the child when it has exited;
 * the handle is closed only then, or the child would stay a zombie. */
#include "process_start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- streams ------------------------------------------------------------------------------- */

static int open_pipe(struct stream_fds *fds, bool child_reads) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -errno;
    fds->child = ends[child_reads ? 0 : 1];
    fds->ours = ends[child_reads ? 1 : 0];
    return fcntl(fds->ours, F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;
}

static int open_stream(struct stream_fds *fds, enum process_mode mode, int number, int merge_with) {
    switch (mode) {
    case PROCESS_PIPE: return open_pipe(fds, number == STDIN_FILENO);
    case PROCESS_NULL:
        fds->child = open("/dev/null", O_RDWR | O_CLOEXEC);
        return fds->child >= 0 ? 0 : -errno;
    case PROCESS_INHERIT: fds->child = number; break;
    case PROCESS_MERGE: fds->child = merge_with; break;
    }
    fds->borrowed = true;
    return 0;
}

int stream_fds_open(struct stream_fds fds[STREAM_FDS], const struct process_options *options) {
    for (int i = 0; i < STREAM_FDS; i++) fds[i] = (struct stream_fds){.child = -1, .ours = -1};
    int rc = open_stream(&fds[0], options->stdin_mode, STDIN_FILENO, -1);
    if (rc == 0) rc = open_stream(&fds[1], options->stdout_mode, STDOUT_FILENO, -1);
    if (rc == 0) rc = open_stream(&fds[2], options->stderr_mode, STDERR_FILENO, fds[1].child);
    if (rc == 0 && options->is_jail) rc = open_pipe(&fds[PROCESS_REPORT], false);
    if (rc == 0 && options->is_jail) rc = open_pipe(&fds[STREAM_ORDERS], true);
    return rc;
}

void stream_fds_close(struct stream_fds fds[STREAM_FDS]) {
    for (int i = 0; i < STREAM_FDS; i++) {
        if (fds[i].child >= 0 && !fds[i].borrowed) close(fds[i].child);
        if (fds[i].ours >= 0) close(fds[i].ours);
    }
}

ssize_t stream_write(int fd, const char *bytes, size_t len) {
    sigset_t pipe_signal, before, waiting;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t n = write(fd, bytes, len);
    int error = errno;
    if (n < 0 && error == EPIPE && !sigismember(&before, SIGPIPE)) {
        sigpending(&waiting);
        struct timespec now = {0};
        if (sigismember(&waiting, SIGPIPE)) sigtimedwait(&pipe_signal, NULL, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return n;
}

/* ---- the starter --------------------------------------------------------------------------- */

struct child {
    uv_process_t uv;
    struct process *process;
};

static void on_child_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void on_child_exit(uv_process_t *uv, int64_t exit_code, int signum) {
    struct child *child = uv->data;
    process_exited(child->process, (int)exit_code, signum);
}

/* libuv has no const, but only reads. */
static char **unconst(const char *const *list) {
    union {
        const char *const *from;
        char **to;
    } cast = {.from = list};
    return cast.to;
}

static int list_streams(uv_stdio_container_t *stdio, const struct process_options *options,
                        const int *fds) {
    int count = 0;
    for (int i = 0; i < (options->is_jail ? STREAM_FDS : 3); i++) stdio[count++].data.fd = fds[i];
    for (size_t i = 0; i < options->more_count; i++) stdio[count++].data.fd = options->more_fds[i];
    for (int i = 0; i < count; i++) stdio[i].flags = UV_INHERIT_FD;
    return count;
}

static int child_start(void *self, uv_loop_t *loop, const struct process_options *options,
                       const int fds[STREAM_FDS], struct process *process, int *pid,
                       void **handle) {
    (void)self;
    if (options->more_count > PROCESS_MORE_MAX) return UV_EINVAL;
    struct child *child = calloc(1, sizeof *child);
    if (!child) return UV_ENOMEM;
    child->process = process;
    uv_stdio_container_t stdio[STREAM_FDS + PROCESS_MORE_MAX];
    uv_process_options_t how = {
        .exit_cb = on_child_exit,
        .file = options->file,
        .args = unconst(options->args),
        .env = unconst(options->env),
        .cwd = options->cwd,
        .flags = UV_PROCESS_DETACHED, /* setsid: a group of its own */
        .stdio_count = list_streams(stdio, options, fds),
        .stdio = stdio,
        .uid = options->uid,
        .gid = options->gid,
    };
    if (options->other_user) how.flags |= UV_PROCESS_SETUID | UV_PROCESS_SETGID;
    int rc = uv_spawn(loop, &child->uv, &how);
    child->uv.data = child;
    if (rc != 0) { /* the handle has to be closed all the same */
        uv_close((uv_handle_t *)&child->uv, on_child_closed);
        return rc;
    }
    *pid = child->uv.pid;
    *handle = child;
    return 0;
}

static void child_signal(void *self, void *handle, int signum) {
    (void)self;
    struct child *child = handle;
    kill(-child->uv.pid, signum);
}

static void child_release(void *self, void *handle) {
    (void)self;
    struct child *child = handle;
    uv_close((uv_handle_t *)&child->uv, on_child_closed);
}

struct process_starter process_uv_starter(void) {
    return (struct process_starter){
        .start = child_start,
        .signal = child_signal,
        .release = child_release,
    };
}
