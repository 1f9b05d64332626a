/* process.c - pipes by uv_poll and plain read and write, exits by the starter.
 *
 * Not uv_pipe_t: it would raise SIGPIPE in a host that has not ignored it, and has no bound on what
 * it queues. Our ends are non-blocking; the child's ends are ordinary pipes, so that /dev/stdin and
 * friends work there (they do not on sockets).
 *
 * A process goes through running, exited (draining), done. Whoever spawned it may close it in each
 * of them: its struct lives until it is both done and closed. */
#include "process.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "process_start.h"

enum { OUTPUTS = 3, READ_SIZE = 64 << 10, AFTER_EXIT_MAX = PROCESS_UNREAD_MAX + (256 << 10) };

struct process_host {
    struct loop *loop;
    struct process_starter starter;
    struct process *processes; /* those that are not done */
    size_t running;
};

/* Our end of a pipe; freed by libuv's close callback. */
struct pipe_end {
    uv_poll_t poll;
    struct process *process;
    enum process_stream stream;
    int fd;
};

struct output {
    struct pipe_end *end; /* NULL: ended, or no pipe */
    struct buf buf;
    size_t taken;
    bool paused;
    bool ignored;
};

struct process {
    struct process_host *host;
    struct process *next, **prev_next;
    void *handle; /* the starter's */
    int pid;
    process_notify_fn notify; /* NULL: the owner has closed it */
    void *user;
    struct pipe_end *input; /* NULL: closed */
    struct buf pending;
    bool input_closing;
    struct output output[OUTPUTS]; /* of stdout, stderr, and what a jail reports */
    int orders;                    /* our end; -1: none */
    struct timer timer;            /* of the drain, or of the KILL after a TERM */
    bool is_jail, is_gentle;
    bool stopping;
    bool exited;
    bool done;
    struct process_result result;
};

static void tell(struct process *p) {
    if (p->notify) p->notify(p->user);
}

static struct output *output_of(struct process *p, enum process_stream stream) {
    assert(stream != PROCESS_STDIN);
    return &p->output[stream - PROCESS_STDOUT];
}

/* ---- pipes --------------------------------------------------------------------------------- */

static void on_end_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void end_close(struct pipe_end **place) {
    struct pipe_end *end = *place;
    if (!end) return;
    *place = NULL;
    uv_poll_stop(&end->poll);
    uv_close((uv_handle_t *)&end->poll, on_end_closed);
    close(end->fd);
}

/* Takes over fd, whatever comes of it. Returns 0 or a UV_ error. */
static int end_open(struct process *p, enum process_stream stream, int fd,
                    struct pipe_end **place) {
    struct pipe_end *end = calloc(1, sizeof *end);
    int rc = end ? uv_poll_init(loop_uv(p->host->loop), &end->poll, fd) : UV_ENOMEM;
    if (rc != 0) {
        free(end);
        close(fd);
        return rc;
    }
    end->poll.data = end;
    end->process = p;
    end->stream = stream;
    end->fd = fd;
    *place = end;
    return 0;
}

static void check_done(struct process *p);

static size_t unread(const struct output *out) {
    return out->buf.len - out->taken;
}

static size_t room_limit(const struct process *p) {
    return p->exited ? AFTER_EXIT_MAX : PROCESS_UNREAD_MAX;
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct pipe_end *end = poll->data;
    struct process *p = end->process;
    struct output *out = output_of(p, end->stream);
    ssize_t n = -1;
    if (status == 0 && buf_reserve(&out->buf, READ_SIZE) == BUF_OK) {
        n = read(end->fd, out->buf.data + out->buf.len, READ_SIZE);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    }
    if (n <= 0) { /* its end; or an error, after which nothing more can come either */
        end_close(&out->end);
    } else if (!out->ignored) {
        out->buf.len += (size_t)n;
        if (unread(out) >= room_limit(p)) {
            uv_poll_stop(poll);
            out->paused = true;
        }
    }
    tell(p);
    check_done(p);
}

static int start_reading(struct output *out) {
    out->paused = false;
    return uv_poll_start(&out->end->poll, UV_READABLE, on_readable);
}

static void input_end(struct process *p) {
    buf_clear(&p->pending);
    end_close(&p->input);
}

static void on_writable(uv_poll_t *poll, int status, int events);

/* Writes what it can; keeps the poll running while something is left. */
static void flush_input(struct process *p) {
    while (p->pending.len) {
        ssize_t n = stream_write(p->input->fd, p->pending.data, p->pending.len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            if (uv_poll_start(&p->input->poll, UV_WRITABLE, on_writable) != 0) input_end(p);
            return;
        }
        if (n < 0) { /* it reads no more */
            input_end(p);
            return;
        }
        buf_consume(&p->pending, (size_t)n);
    }
    uv_poll_stop(&p->input->poll);
    if (p->input_closing) input_end(p);
}

static void on_writable(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct pipe_end *end = poll->data;
    struct process *p = end->process;
    if (status < 0) input_end(p); /* POLLERR: nobody holds the other end */
    else flush_input(p);
    tell(p);
}

/* ---- the end ------------------------------------------------------------------------------- */

static void process_free(struct process *p) {
    buf_free(&p->pending);
    for (int i = 0; i < OUTPUTS; i++) buf_free(&p->output[i].buf);
    free(p);
}

static void outputs_end(struct process *p) {
    for (int i = 0; i < OUTPUTS; i++) end_close(&p->output[i].end);
}

static bool outputs_have_ended(const struct process *p) {
    for (int i = 0; i < OUTPUTS; i++)
        if (p->output[i].end) return false;
    return true;
}

static void orders_end(struct process *p) {
    if (p->orders >= 0) close(p->orders);
    p->orders = -1;
}

/* It has exited and been drained. */
static void become_done(struct process *p) {
    struct process_host *host = p->host;
    p->done = true;
    timer_stop(host->loop, &p->timer);
    input_end(p);
    outputs_end(p);
    orders_end(p);
    host->starter.signal(host->starter.self, p->handle, SIGKILL);
    host->starter.release(host->starter.self, p->handle);
    p->handle = NULL;
    *p->prev_next = p->next;
    if (p->next) p->next->prev_next = p->prev_next;
    loop_op_end(host->loop);
    tell(p);
    if (!p->notify) process_free(p);
}

static void on_drained(struct timer *timer, void *user) {
    (void)timer;
    become_done(user);
}

static bool group_is_empty(const struct process *p) {
    return kill(-p->pid, 0) != 0 && errno == ESRCH;
}

/* Done, when it has exited and its outputs have ended. After a TERM the rest of the group keeps
 * the time that it was given: the timer of the KILL decides. */
static void check_done(struct process *p) {
    if (!p->exited || p->done || !outputs_have_ended(p)) return;
    if (!p->stopping || group_is_empty(p)) become_done(p);
}

void process_exited(struct process *p, int exit_code, int signal) {
    assert(!p->exited);
    p->exited = true;
    p->host->running--;
    p->result = (struct process_result){signal ? 0 : exit_code, signal};
    input_end(p);
    if (p->stopping) {
        if (group_is_empty(p) || !timer_running(&p->timer)) p->stopping = false;
        else return;
    }
    for (int i = 0; i < OUTPUTS; i++)
        if (p->output[i].paused && p->output[i].end) start_reading(&p->output[i]);
    int rc = timer_start(p->host->loop, &p->timer, PROCESS_DRAIN_MS, on_drained, p);
    if (rc != 0) become_done(p); /* no memory for a timer: what has not come by now is lost */
    else check_done(p);
}

static void signal_group(struct process *p, int signum) {
    if (!p->done) p->host->starter.signal(p->host->starter.self, p->handle, signum);
}

void process_kill(struct process *p, int signum) {
    if (p->orders < 0) {
        if (!p->is_jail) signal_group(p, signum);
        return;
    }
    const char order = (char)signum;
    stream_write(p->orders, &order, 1); /* fails only when nobody is left to be signalled */
}

static void ask_to_end(struct process *p) {
    if (p->is_jail && !p->is_gentle) orders_end(p);
    else process_kill(p, SIGTERM);
}

/* Whoever supervises others is not killed before it had its chance to end them. True when that is what
 * happens now. */
static bool force_by_orders(struct process *p) {
    if (!p->is_jail || p->orders < 0) return false;
    orders_end(p);
    return true;
}

static void on_grace_over(struct timer *timer, void *user) {
    struct process *p = user;
    if (!p->exited && force_by_orders(p) &&
        timer_start(p->host->loop, timer, PROCESS_GRACE_MS, on_grace_over, p) == 0)
        return;
    signal_group(p, SIGKILL);
    if (p->exited) become_done(p); /* it was waited for for the sake of its group */
}

void process_stop(struct process *p) {
    if (p->exited || p->stopping) return;
    p->stopping = true;
    ask_to_end(p);
    if (timer_start(p->host->loop, &p->timer, PROCESS_GRACE_MS, on_grace_over, p) != 0)
        signal_group(p, SIGKILL);
}

/* ---- spawning ------------------------------------------------------------------------------ */

/* Our ends become pipe_ends; each is taken over even when an earlier one failed. */
static int watch_streams(struct process *p, struct stream_fds fds[STREAM_FDS]) {
    struct pipe_end **places[] = {&p->input, &p->output[0].end, &p->output[1].end,
                                  &p->output[2].end};
    int rc = 0;
    p->orders = fds[STREAM_ORDERS].ours;
    fds[STREAM_ORDERS].ours = -1;
    for (int i = 0; i < STREAM_ORDERS; i++) {
        if (fds[i].ours < 0) continue;
        int opened = end_open(p, (enum process_stream)i, fds[i].ours, places[i]);
        fds[i].ours = -1;
        if (opened == 0 && i > 0) opened = start_reading(&p->output[i - 1]);
        if (rc == 0) rc = opened;
    }
    return rc;
}

static int start(struct process *p, const struct process_options *options) {
    struct stream_fds fds[STREAM_FDS];
    struct process_starter *starter = &p->host->starter;
    int rc = stream_fds_open(fds, options);
    if (rc == 0) rc = watch_streams(p, fds);
    if (rc == 0) {
        int child_fds[STREAM_FDS];
        for (int i = 0; i < STREAM_FDS; i++) child_fds[i] = fds[i].child;
        rc = starter->start(starter->self, loop_uv(p->host->loop), options, child_fds, p, &p->pid,
                            &p->handle);
    }
    stream_fds_close(fds);
    if (rc == 0) return 0;
    end_close(&p->input);
    outputs_end(p);
    orders_end(p);
    return rc;
}

struct process *process_spawn(struct process_host *host, const struct process_options *options,
                              process_notify_fn fn, void *user, int *error) {
    *error = UV_ENOMEM;
    struct process *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->host = host;
    p->notify = fn;
    p->user = user;
    buf_init(&p->pending, SIZE_MAX / 2); /* bounded by process_write */
    for (int i = 0; i < OUTPUTS; i++)
        buf_init(&p->output[i].buf, SIZE_MAX / 2); /* bounded by room_limit and one read */
    p->is_jail = options->is_jail;
    p->is_gentle = options->is_gentle;
    p->orders = -1;
    *error = start(p, options);
    if (*error != 0) {
        process_free(p);
        return NULL;
    }
    p->next = host->processes;
    if (p->next) p->next->prev_next = &p->next;
    p->prev_next = &host->processes;
    host->processes = p;
    host->running++;
    loop_op_begin(host->loop);
    return p;
}

void process_close(struct process *p) {
    if (!p) return;
    p->notify = NULL;
    if (p->done) {
        process_free(p);
        return;
    }
    input_end(p);
    outputs_end(p);
    if (p->exited && !p->stopping) become_done(p);
    else process_stop(p);
}

/* ---- streams ------------------------------------------------------------------------------- */

int process_pid(const struct process *p) {
    return p->pid;
}

const char *process_peek(const struct process *p, enum process_stream stream, size_t *len) {
    const struct output *out = &p->output[stream - PROCESS_STDOUT];
    *len = unread(out);
    return *len ? out->buf.data + out->taken : "";
}

void process_take(struct process *p, enum process_stream stream, size_t len) {
    struct output *out = output_of(p, stream);
    assert(len <= unread(out));
    out->taken += len;
    if (out->taken == out->buf.len) {
        buf_clear(&out->buf);
        out->taken = 0;
    } else if (out->taken >= out->buf.len / 2) {
        buf_consume(&out->buf, out->taken);
        out->taken = 0;
    }
    if (!out->paused || !out->end || unread(out) > PROCESS_UNREAD_MAX / 2) return;
    if (start_reading(out) != 0) end_close(&out->end);
}

void process_ignore(struct process *p, enum process_stream stream) {
    struct output *out = output_of(p, stream);
    out->ignored = true;
    process_take(p, stream, unread(out));
}

bool process_ended(const struct process *p, enum process_stream stream) {
    const struct output *out = &p->output[stream - PROCESS_STDOUT];
    return !out->end && unread(out) == 0;
}

int process_write(struct process *p, const char *bytes, size_t len) {
    if (!p->input || p->input_closing) return UV_EPIPE;
    if (p->pending.len >= PROCESS_UNREAD_MAX) return UV_EAGAIN;
    if (buf_add(&p->pending, bytes, len) != BUF_OK) return UV_ENOMEM;
    flush_input(p);
    return p->input || len == 0 ? 0 : UV_EPIPE;
}

bool process_writable(const struct process *p) {
    return !p->input || p->pending.len < PROCESS_UNREAD_MAX;
}

void process_close_stdin(struct process *p) {
    if (!p->input) return;
    p->input_closing = true;
    flush_input(p);
}

bool process_done(const struct process *p, struct process_result *result) {
    if (p->done && result) *result = p->result;
    return p->done;
}

/* ---- the host ------------------------------------------------------------------------------ */

struct process_host *process_host_new(struct loop *loop, const struct process_starter *starter) {
    struct process_host *host = calloc(1, sizeof *host);
    if (!host) return NULL;
    host->loop = loop;
    host->starter = starter ? *starter : process_uv_starter();
    return host;
}

size_t process_host_running(const struct process_host *host) {
    return host->running;
}

static void on_deadline(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

static void on_deadline_closed(uv_handle_t *handle) {
    handle->data = NULL;
}

/* Turns the loop until all have exited, or for so long (on the real clock: this is the end). */
static void await_exits(struct process_host *host, uint64_t ms) {
    uv_loop_t *uv = loop_uv(host->loop);
    bool late = false;
    uv_timer_t timer;
    uv_timer_init(uv, &timer);
    timer.data = &late;
    uv_update_time(uv);
    uv_timer_start(&timer, on_deadline, ms, 0);
    while (host->running && !late) uv_run(uv, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, on_deadline_closed);
    while (timer.data) uv_run(uv, UV_RUN_NOWAIT);
}

static void ask_all_to_end(struct process_host *host) {
    for (struct process *p = host->processes; p; p = p->next) ask_to_end(p);
}

static void force_all(struct process_host *host) {
    for (struct process *p = host->processes; p; p = p->next)
        if (!force_by_orders(p)) signal_group(p, SIGKILL);
}

void process_host_free(struct process_host *host) {
    if (!host) return;
    if (host->running && !host->starter.told_from_outside) {
        ask_all_to_end(host);
        await_exits(host, PROCESS_GRACE_MS);
        force_all(host);
        await_exits(host, PROCESS_GRACE_MS);
        force_all(host);
        await_exits(host, PROCESS_GRACE_MS);
    }
    for (struct process *p = host->processes, *next; p; p = next) {
        next = p->next;
        if (!p->exited) host->running--; /* the kernel does not let go of it; neither do we wait */
        p->exited = true;
        become_done(p);
    }
    free(host);
}
