/* process.h - child processes: bounded pipes, a group that dies together, no zombies.
 *
 *     struct process_host *host = process_host_new(loop, NULL);
 *     const char *const args[] = {"grep", "x", NULL};
 *     struct process_options options = {.file = "grep", .args = args, .stdin_mode = PROCESS_PIPE};
 *     int error;
 *     struct process *p = process_spawn(host, &options, on_news, user, &error);
 *     process_write(p, "axb\n", 4);
 *     process_close_stdin(p);
 *     const char *bytes = process_peek(p, PROCESS_STDOUT, &n);    // what came and was not taken
 *     process_take(p, PROCESS_STDOUT, n);
 *     if (process_done(p, &result)) ...                           // exited, output drained
 *     process_close(p);                                           // ends it if it still runs
 *     process_host_free(host);
 *
 * A process leads a group (and session) of its own, so that what it started is reached by one
 * signal. It is done when it has exited and its output has been drained: until the ends of both
 * pipes, or for PROCESS_DRAIN_MS, since whoever it left in the background may hold them open for
 * ever. Then what is left of its group is killed.
 *
 * Stopping is: TERM to the group, PROCESS_GRACE_MS later KILL, on the engine's clock.
 *
 * Memory: at most PROCESS_UNREAD_MAX bytes wait in each direction; then the child is made to wait,
 * and process_write takes no more. One thread only. */
#ifndef HARNESS_ENGINE_PROCESS_H
#define HARNESS_ENGINE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

enum { PROCESS_DRAIN_MS = 200, PROCESS_GRACE_MS = 2000, PROCESS_UNREAD_MAX = 1 << 20 };

struct process_host;
struct process;

enum process_stream { PROCESS_STDIN, PROCESS_STDOUT, PROCESS_STDERR, PROCESS_REPORT };

enum process_mode {
    PROCESS_NULL,    /* /dev/null */
    PROCESS_PIPE,    /* to us */
    PROCESS_INHERIT, /* that of our own process */
    PROCESS_MERGE,   /* stderr only: where stdout goes */
};

/* Borrowed until process_spawn returns. */
struct process_options {
    const char *file;        /* looked up in PATH unless it holds a slash */
    const char *const *args; /* args[0] is the name it sees itself under; ends with NULL */
    const char *const *env;  /* "NAME=value", ends with NULL; NULL: our own environment */
    const char *cwd;         /* NULL: ours */
    enum process_mode stdin_mode;
    enum process_mode stdout_mode;
    enum process_mode stderr_mode;
    /* For harness-jail: its descriptor 3 is what it reports on (PROCESS_REPORT), 4 brings it orders:
     * each byte is a signal for what it runs, the end means that all of it has to end. Then stopping
     * is the end of the orders instead of a TERM; with `is_gentle` a TERM, and the end of the orders
     * where otherwise a KILL would be. */
    bool is_jail;
    bool is_gentle;
    /* Descriptors that it gets, besides, numbered on from 3, or from 5 of a jail. */
    const int *more_fds;
    size_t more_count;
    /* Only for root: who it runs as, without other groups. */
    bool other_user;
    uint32_t uid, gid;
};
enum { PROCESS_MORE_MAX = 64 };

struct process_result {
    int exit_code; /* 0 when it ended by a signal */
    int signal;    /* 0 when it exited */
};

/* Something came: output, an end of output, room for input, the end. Called from within the loop:
 * may note that and queue tokens, not call functions of this file. */
typedef void (*process_notify_fn)(void *user);

/* The seam: how a process is started and signalled. A host may bring its own (a broker, a sandbox
 * helper); ours is uv_spawn. */
struct process_starter {
    void *self;
    /* Starts options->file with fds[0..2] as its standard streams, for a jail fds[3] and fds[4], too
     * (-1 otherwise), and options->more_fds (the caller closes its copies),
     * as the leader of a process group. When it has exited, process_exited(process, ...) is called
     * once, from the loop and not from inside start. *pid is set. Returns 0 or a UV_ error. What it
     * cannot do of is_jail, more_fds and other_user is UV_ENOTSUP, never left out. */
    int (*start)(void *self, uv_loop_t *uv, const struct process_options *options, const int fds[5],
                 struct process *process, int *pid, void **handle);
    /* Signals the whole group; also after the leader has exited. */
    void (*signal)(void *self, void *handle, int signum);
    /* The process is over and nobody signals it any more: frees the handle, and reports nothing more. */
    void (*release)(void *self, void *handle);
    bool
        told_from_outside; /* exits come from who turns the loop, so whoever frees cannot wait for them */
};

/* What a starter reports. */
void process_exited(struct process *p, int exit_code, int signal);

/* starter: NULL for ours; else copied. NULL: no memory. */
struct process_host *process_host_new(struct loop *loop, const struct process_starter *starter);
/* Stops all processes, waits until they are gone (at most PROCESS_GRACE_MS of real time for those
 * that mind TERM), frees all else. Those that were not closed stay readable until they are. With a
 * starter whose exits are told from outside they are killed and not waited for. */
void process_host_free(struct process_host *host);
/* Processes that have not exited. */
size_t process_host_running(const struct process_host *host);

/* Starts a process. NULL: *error is a UV_ error (UV_ENOENT: no such program or directory). */
struct process *process_spawn(struct process_host *host, const struct process_options *options,
                              process_notify_fn fn, void *user, int *error);
/* Stops it if it still runs, and frees it. The exit is waited for in the background, so no zombie
 * is left. NULL is allowed. */
void process_close(struct process *p);

int process_pid(const struct process *p);

/* Output that has come and was not taken (len 0: none); valid until the next call on p or turn of
 * the loop. */
const char *process_peek(const struct process *p, enum process_stream stream, size_t *len);
void process_take(struct process *p, enum process_stream stream, size_t len);
/* What comes on that stream from now on is thrown away. */
void process_ignore(struct process *p, enum process_stream stream);
/* No more will come: the pipe has ended, or the process is done. */
bool process_ended(const struct process *p, enum process_stream stream);

/* Queues a copy for its standard input. Returns 0, UV_EAGAIN (too much waits already, nothing was
 * taken), UV_EPIPE (it reads no more), or UV_ENOMEM. */
int process_write(struct process *p, const char *bytes, size_t len);
/* Is there room for a write? True as well when none would succeed any more. */
bool process_writable(const struct process *p);
/* Closes its standard input once what was queued is written. */
void process_close_stdin(struct process *p);

/* Signals the group, of a jail what it runs; harmless when it is over. */
void process_kill(struct process *p, int signum);
/* TERM, or the end of a jail's orders, now; KILL after PROCESS_GRACE_MS. */
void process_stop(struct process *p);

/* True when it has exited and its output was drained; result may be NULL. */
bool process_done(const struct process *p, struct process_result *result);

#endif
