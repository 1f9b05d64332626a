/* loop.h - one engine's heart: its uv loop, its one clock, its timers and its ready queue.
 *
 *     struct loop *loop = loop_new(NULL);           // NULL: a uv loop of its own
 *     struct timer t = {0};
 *     timer_start(loop, &t, 250, on_timer, user);
 *     loop_turn(loop, true);                        // waits for something to happen, once
 *     timer_stop(loop, &t);
 *     loop_free(loop);
 *
 * All times come from the engine's one clock, in milliseconds. loop_clock_manual() stops it for
 * specs; then it moves by loop_clock_advance() only, and every timer, deadline and timestamp moves
 * with it. One thread only, but for loop_wakeup(). No function here calls back into its caller but
 * loop_turn() and loop_clock_advance(), which run timer callbacks. */
#ifndef HARNESS_ENGINE_LOOP_H
#define HARNESS_ENGINE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "ready.h"

struct loop;
struct timer;

typedef void (*timer_fn)(struct timer *timer, void *user);

/* Embedded in its owner, all zero before the first use. Stop it before its memory goes. */
struct timer {
    uint64_t due_ms; /* on the engine's monotonic clock */
    uint64_t order;  /* timers that are due together fire in the order of their start */
    size_t place;    /* 1-based place in the heap, 0: not running */
    timer_fn fn;
    void *user;
};

/* A loop of its own, or one on the host's uv loop (which must outlive it, and which the host
 * runs). NULL: no memory or no uv loop. */
struct loop *loop_new(uv_loop_t *host);

/* Closes all its uv handles and frees it. Every handle that others put on the uv loop must have
 * been closed (uv_close called) before. Returns 0, or UV_EBUSY if handles were left open. */
int loop_free(struct loop *loop);

uv_loop_t *loop_uv(struct loop *loop);
struct ready *loop_ready(struct loop *loop);

/* Milliseconds on the monotonic clock, and since the Unix epoch. */
uint64_t loop_now_ms(const struct loop *loop);
uint64_t loop_wall_ms(const struct loop *loop);
/* Microseconds on the monotonic clock. */
uint64_t loop_now_us(const struct loop *loop);

/* From now on the clock stands still at the given epoch time; false gives the real one back. */
void loop_clock_manual(struct loop *loop, bool manual, uint64_t wall_ms);
bool loop_clock_is_manual(const struct loop *loop);
/* Moves a manual clock forward to the next timer that is due within ms, or by ms if there is none;
 * fires what is due; returns the milliseconds that are left. */
uint64_t loop_clock_advance(struct loop *loop, uint64_t ms);

/* Runs fn once, after delay_ms. A running timer is started anew. Returns 0 or UV_ENOMEM. */
int timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_fn fn, void *user);
void timer_stop(struct loop *loop, struct timer *timer);
static inline bool timer_running(const struct timer *timer) {
    return timer->place != 0;
}
/* Timers that are running. */
size_t loop_timers(const struct loop *loop);

/* One turn of the uv loop: I/O and timers. With wait, blocks until something happened, but never
 * when the ready queue holds something. Returns false when nothing is left that could happen. */
bool loop_turn(struct loop *loop, bool wait);

/* One look at I/O and timers that never waits: a turn even when nothing of ours could happen, which
 * loop_turn leaves out. From then on the kernel watches all that is to be watched, loop_wakeup
 * included, which whoever sleeps on the loop's descriptor relies on. */
void loop_look(struct loop *loop);

/* For an engine on the host's loop: fn is called in each of its turns, before it waits; true keeps it
 * from waiting. */
typedef bool (*loop_turn_fn)(void *user);
void loop_on_turn(struct loop *loop, loop_turn_fn fn, void *user);

/* After something was made ready from outside of the loop's turns, or when `more` is known to wait: keeps a
 * host's loop alive and from waiting until the queue is empty. A loop of our own needs no such thing. */
void loop_keep_turning(struct loop *loop, bool more);

/* Wakes a loop_turn that waits. The one function that any thread may call. */
void loop_wakeup(struct loop *loop);

/* Operations under way (transfers, processes, storage calls): each adds itself while it lives, so
 * that specs can see that none is left, and so that loop_turn knows that there is something to
 * wait for. */
void loop_op_begin(struct loop *loop);
void loop_op_end(struct loop *loop);
size_t loop_ops(const struct loop *loop);

#endif
