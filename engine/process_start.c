/* process_start.c - uv_spawn with a group of its own. libuv reaps the child when it has exited;
 * the handle is closed only then, or the child would stay a zombie. */
#include "process_start.h"

#include <signal.h>
#include <stdlib.h>

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

static int child_start(void *self, uv_loop_t *loop, const struct process_options *options,
                       const int fds[3], struct process *process, int *pid, void **handle) {
    (void)self;
    struct child *child = calloc(1, sizeof *child);
    if (!child) return UV_ENOMEM;
    child->process = process;
    uv_stdio_container_t stdio[3];
    for (int i = 0; i < 3; i++) {
        stdio[i].flags = UV_INHERIT_FD;
        stdio[i].data.fd = fds[i];
    }
    uv_process_options_t how = {
        .exit_cb = on_child_exit,
        .file = options->file,
        .args = unconst(options->args),
        .env = unconst(options->env),
        .cwd = options->cwd,
        .flags = UV_PROCESS_DETACHED, /* setsid: a group of its own */
        .stdio_count = 3,
        .stdio = stdio,
    };
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
