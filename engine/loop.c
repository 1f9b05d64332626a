/* loop.c - all timers stand in one binary heap, served by one uv timer that is armed for the
 * earliest; it is re-armed only when an earlier timer comes, so starting and stopping timers costs
 * no system call and mostly no uv call. A manual clock leaves the uv timer out altogether. */
#include "loop.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

struct loop {
    uv_loop_t own;
    uv_loop_t *uv;
    uv_timer_t alarm;
    uv_async_t wakeup;
    uv_prepare_t before_wait;
    uv_idle_t no_wait; /* runs while somebody is ready, which makes libuv poll without waiting */
    uint64_t alarm_due_ms; /* UINT64_MAX: not armed */
    struct timer **heap;   /* heap[1] is the earliest */
    size_t heap_len;
    size_t heap_cap;
    uint64_t next_order;
    struct ready ready;
    size_t ops;
    loop_turn_fn on_turn;
    void *on_turn_user;
    int open_handles;
    bool manual;
    uint64_t manual_now_ms;
    uint64_t manual_wall_ms;
};

static void on_alarm(uv_timer_t *alarm);

static void on_wakeup(uv_async_t *async) {
    (void)async; /* its only work is to end uv_run's wait */
}

static void on_no_wait(uv_idle_t *idle) {
    (void)idle;
}

/* uv_run fires timers before it waits: whom they woke must not wait for the next I/O. */
static void on_before_wait(uv_prepare_t *prepare) {
    struct loop *loop = prepare->data;
    bool more = loop->on_turn && loop->on_turn(loop->on_turn_user);
    if (!more && ready_empty(&loop->ready)) uv_idle_stop(&loop->no_wait);
    else uv_idle_start(&loop->no_wait, on_no_wait);
}

struct loop *loop_new(uv_loop_t *host) {
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop) return NULL;
    if (!host && uv_loop_init(&loop->own) != 0) {
        free(loop);
        return NULL;
    }
    loop->uv = host ? host : &loop->own;
    loop->alarm_due_ms = UINT64_MAX;
    loop->alarm.data = loop;
    loop->wakeup.data = loop;
    uv_timer_init(loop->uv, &loop->alarm);
    loop->before_wait.data = loop;
    loop->no_wait.data = loop;
    uv_prepare_init(loop->uv, &loop->before_wait);
    uv_prepare_start(&loop->before_wait, on_before_wait);
    uv_unref((uv_handle_t *)&loop->before_wait);
    uv_idle_init(loop->uv, &loop->no_wait);
    loop->open_handles = 3;
    if (uv_async_init(loop->uv, &loop->wakeup, on_wakeup) == 0) {
        uv_unref((uv_handle_t *)&loop->wakeup);
        loop->open_handles = 4;
    }
    ready_init(&loop->ready);
    if (loop->open_handles == 4) return loop;
    loop_free(loop);
    return NULL;
}

static void on_closed(uv_handle_t *handle) {
    struct loop *loop = handle->data;
    loop->open_handles--;
}

int loop_free(struct loop *loop) {
    if (!loop) return 0;
    if (loop->open_handles == 4) uv_close((uv_handle_t *)&loop->wakeup, on_closed);
    uv_close((uv_handle_t *)&loop->alarm, on_closed);
    uv_close((uv_handle_t *)&loop->before_wait, on_closed);
    uv_close((uv_handle_t *)&loop->no_wait, on_closed);
    bool own = loop->uv == &loop->own;
    while (loop->open_handles) uv_run(loop->uv, own ? UV_RUN_DEFAULT : UV_RUN_NOWAIT);
    int rc = own ? uv_loop_close(loop->uv) : 0;
    ready_deinit(&loop->ready);
    free(loop->heap);
    free(loop);
    return rc;
}

uv_loop_t *loop_uv(struct loop *loop) {
    return loop->uv;
}

struct ready *loop_ready(struct loop *loop) {
    return &loop->ready;
}

uint64_t loop_now_us(const struct loop *loop) {
    return loop->manual ? loop->manual_now_ms * 1000 : uv_hrtime() / 1000;
}

uint64_t loop_now_ms(const struct loop *loop) {
    return loop_now_us(loop) / 1000;
}

uint64_t loop_wall_ms(const struct loop *loop) {
    if (loop->manual) return loop->manual_wall_ms;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- timers ---------------------------------------------------------------------------- */

static bool earlier(const struct timer *a, const struct timer *b) {
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->order < b->order;
}

static void heap_put(struct loop *loop, size_t place, struct timer *timer) {
    loop->heap[place] = timer;
    timer->place = place;
}

static void heap_up(struct loop *loop, struct timer *timer) {
    size_t place = timer->place;
    while (place > 1 && earlier(timer, loop->heap[place / 2])) {
        heap_put(loop, place, loop->heap[place / 2]);
        place /= 2;
    }
    heap_put(loop, place, timer);
}

static void heap_down(struct loop *loop, struct timer *timer) {
    size_t place = timer->place;
    for (;;) {
        size_t child = place * 2;
        if (child > loop->heap_len) break;
        if (child < loop->heap_len && earlier(loop->heap[child + 1], loop->heap[child])) child++;
        if (!earlier(loop->heap[child], timer)) break;
        heap_put(loop, place, loop->heap[child]);
        place = child;
    }
    heap_put(loop, place, timer);
}

static void arm(struct loop *loop) {
    if (loop->manual || loop->heap_len == 0) {
        uv_timer_stop(&loop->alarm);
        loop->alarm_due_ms = UINT64_MAX;
        return;
    }
    uint64_t due = loop->heap[1]->due_ms;
    if (due >= loop->alarm_due_ms) return; /* it fires too early, then, and is armed anew */
    uint64_t now = loop_now_ms(loop);
    uv_update_time(loop->uv);
    uv_timer_start(&loop->alarm, on_alarm, due > now ? due - now : 0, 0);
    loop->alarm_due_ms = due;
}

int timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_fn fn,
                void *user) {
    timer_stop(loop, timer);
    if (loop->heap_len + 2 > loop->heap_cap) {
        size_t cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
        struct timer **heap = realloc(loop->heap, cap * sizeof(struct timer *));
        if (!heap) return UV_ENOMEM;
        loop->heap = heap;
        loop->heap_cap = cap;
    }
    uint64_t now = loop_now_ms(loop);
    timer->due_ms = delay_ms > UINT64_MAX / 2 - now ? UINT64_MAX / 2 : now + delay_ms;
    timer->order = loop->next_order++;
    timer->fn = fn;
    timer->user = user;
    timer->place = ++loop->heap_len;
    heap_up(loop, timer);
    arm(loop);
    return 0;
}

void timer_stop(struct loop *loop, struct timer *timer) {
    if (!timer->place) return;
    size_t place = timer->place;
    timer->place = 0;
    struct timer *last = loop->heap[loop->heap_len--];
    if (last != timer) {
        heap_put(loop, place, last);
        heap_up(loop, last);
        heap_down(loop, last);
    }
    if (loop->heap_len == 0) arm(loop); /* an idle engine keeps no alarm that would keep it alive */
}

size_t loop_timers(const struct loop *loop) {
    return loop->heap_len;
}

/* Fires what was due when the call began; a timer that a callback starts waits for the next one. */
static void fire_due(struct loop *loop) {
    uint64_t now = loop_now_ms(loop);
    uint64_t last_order = loop->next_order;
    while (loop->heap_len) {
        struct timer *timer = loop->heap[1];
        if (timer->due_ms > now || timer->order >= last_order) break;
        timer_stop(loop, timer);
        timer->fn(timer, timer->user);
    }
}

static void on_alarm(uv_timer_t *alarm) {
    struct loop *loop = alarm->data;
    loop->alarm_due_ms = UINT64_MAX;
    fire_due(loop);
    arm(loop);
}

bool loop_clock_is_manual(const struct loop *loop) {
    return loop->manual;
}

void loop_clock_manual(struct loop *loop, bool manual, uint64_t wall_ms) {
    uint64_t before = loop_now_ms(loop);
    loop->manual = manual;
    loop->manual_now_ms = before;
    loop->manual_wall_ms = wall_ms;
    uint64_t after = loop_now_ms(loop);
    /* What was left to wait stays left to wait. An overdue timer stays overdue by as much, or the
     * heap would lose its order. */
    for (size_t i = 1; i <= loop->heap_len; i++) {
        struct timer *timer = loop->heap[i];
        uint64_t late = before > timer->due_ms ? before - timer->due_ms : 0;
        if (!late) timer->due_ms = after + (timer->due_ms - before);
        else timer->due_ms = after > late ? after - late : 0;
    }
    arm(loop);
}

uint64_t loop_clock_advance(struct loop *loop, uint64_t ms) {
    assert(loop->manual);
    uint64_t step = ms;
    if (loop->heap_len) {
        uint64_t due = loop->heap[1]->due_ms;
        uint64_t wait = due > loop->manual_now_ms ? due - loop->manual_now_ms : 0;
        if (wait < step) step = wait;
    }
    loop->manual_now_ms += step;
    loop->manual_wall_ms += step;
    fire_due(loop);
    return ms - step;
}

/* ---- turning --------------------------------------------------------------------------- */

bool loop_turn(struct loop *loop, bool wait) {
    bool may_wait = wait && ready_empty(&loop->ready);
    int more = uv_run(loop->uv, may_wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    return more != 0 || !ready_empty(&loop->ready);
}

/* uv_run looks at nothing while only unreferenced handles are left. */
void loop_look(struct loop *loop) {
    uv_ref((uv_handle_t *)&loop->wakeup);
    uv_run(loop->uv, UV_RUN_NOWAIT);
    uv_unref((uv_handle_t *)&loop->wakeup);
}

void loop_on_turn(struct loop *loop, loop_turn_fn fn, void *user) {
    loop->on_turn = fn;
    loop->on_turn_user = user;
}

void loop_keep_turning(struct loop *loop, bool more) {
    if (loop->on_turn && (more || !ready_empty(&loop->ready)))
        uv_idle_start(&loop->no_wait, on_no_wait);
}

void loop_wakeup(struct loop *loop) {
    uv_async_send(&loop->wakeup);
}

void loop_op_begin(struct loop *loop) {
    loop->ops++;
}

void loop_op_end(struct loop *loop) {
    assert(loop->ops > 0);
    loop->ops--;
}

size_t loop_ops(const struct loop *loop) {
    return loop->ops;
}
