/* abort.h - one tree of abort signals: stopping, deadlines, timeouts.
 *
 *     struct abort_signal *run = abort_new(pool, NULL);
 *     struct abort_signal *tool = abort_new(pool, run);     // aborted when run is
 *     abort_deadline(tool, 120000, "tool");                 // or by itself, after two minutes
 *     abort_token(tool, token);                             // queued in the ready queue on abort
 *     abort_fire(run, abort_reason_new(ABORT_CANCELLED, "run", 0));
 *     abort_free(tool);
 *     abort_free(run);
 *
 * A signal is aborted once, with one reason, which all its descendants get too, unless they were
 * aborted before. The children are told before their parent. The cost is proportional to the live
 * descendants. Listeners are called from within abort_fire: they may queue tokens, close handles
 * and remove themselves, but not free signals.
 *
 * The maker of a signal frees it. Children that are left then belong to its parent. Signals are
 * also known by handles (never 0, never reused), for owners that cannot hold a pointer safely.
 * One thread only. */
#ifndef HARNESS_ENGINE_ABORT_H
#define HARNESS_ENGINE_ABORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

enum abort_kind { ABORT_CANCELLED, ABORT_TIMEOUT };

struct abort_reason {
    size_t refs;
    enum abort_kind kind;
    const char *scope;   /* a string that lives for ever: "run", "tool", ... */
    uint64_t timeout_ms; /* of a timeout */
    intptr_t payload;    /* the owner's, 0 at first (the bindings keep a Lua reference in it) */
    void (*release)(struct abort_reason *reason); /* called before it is freed; may be NULL */
    void *owner;                                  /* for release */
};

struct abort_pool;
struct abort_signal;
struct abort_listener;

typedef void (*abort_fn)(struct abort_listener *listener, struct abort_reason *reason);

/* Embedded in its owner, all zero before the first use. */
struct abort_listener {
    struct abort_listener *next;
    struct abort_listener **prev_next; /* NULL: not listening */
    abort_fn fn;
    void *user;
};

struct abort_pool *abort_pool_new(struct loop *loop);
/* Frees the pool and all signals that are left in it. */
void abort_pool_free(struct abort_pool *pool);
/* Signals that are alive. */
size_t abort_pool_live(const struct abort_pool *pool);

/* A new signal under parent (NULL: a root). Under an aborted parent it is aborted from the start,
 * with the same reason. NULL: no memory. */
struct abort_signal *abort_new(struct abort_pool *pool, struct abort_signal *parent);
void abort_free(struct abort_signal *signal);

uint64_t abort_handle(const struct abort_signal *signal);
/* The signal of a handle, NULL when it is gone. */
struct abort_signal *abort_find(struct abort_pool *pool, uint64_t handle);

/* Aborts signal and all below it. Takes over the reference to reason, which may be NULL after a
 * failed abort_reason_new: then a built-in reason without details stands in. */
void abort_fire(struct abort_signal *signal, struct abort_reason *reason);
bool abort_fired(const struct abort_signal *signal);
/* The reason, borrowed; NULL while not aborted. */
struct abort_reason *abort_reason(const struct abort_signal *signal);

/* Aborts by a timeout after delay_ms, with this scope; a second call replaces the first.
 * Returns 0 or UV_ENOMEM. */
int abort_deadline(struct abort_signal *signal, uint64_t delay_ms, const char *scope);
void abort_deadline_clear(struct abort_signal *signal);

/* The ready-queue token to queue on abort; 0: none. Queued at once if already aborted. */
void abort_token(struct abort_signal *signal, uint64_t token);

/* Not called when already aborted: ask abort_fired first. Forgotten when the signal is freed. */
void abort_listen(struct abort_signal *signal, struct abort_listener *listener, abort_fn fn,
                  void *user);
/* O(1); harmless when it is not listening. */
void abort_unlisten(struct abort_listener *listener);

/* A reason with one reference; NULL: no memory. */
struct abort_reason *abort_reason_new(enum abort_kind kind, const char *scope, uint64_t timeout_ms);
void abort_reason_ref(struct abort_reason *reason);
void abort_reason_unref(struct abort_reason *reason);

#endif
