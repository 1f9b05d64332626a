/* abort.c - the tree is first-child / next-sibling with a back link, so that every unlinking is
 * O(1); it is walked without recursion, children before parents. Signals live in chunks that never
 * move and are reused through a free list; a generation makes old handles stale. */
#include "abort.h"

#include <stdlib.h>

enum { CHUNK = 64 };

struct abort_signal {
    struct abort_pool *pool;
    struct abort_signal *parent;
    struct abort_signal *first_child;
    struct abort_signal *next; /* sibling, or next free */
    struct abort_signal *prev;
    struct abort_listener *listeners;
    struct abort_reason *reason; /* NULL while not aborted */
    struct timer deadline;
    uint64_t deadline_ms;
    const char *deadline_scope;
    uint64_t token;
    uint32_t index; /* 1-based */
    uint32_t generation;
    bool used;
};

struct abort_pool {
    struct loop *loop;
    struct abort_signal **chunks;
    uint32_t chunk_count;
    struct abort_signal *free_list;
    size_t live;
    struct abort_reason nameless; /* stands in when there is no memory for a reason */
};

struct abort_pool *abort_pool_new(struct loop *loop) {
    struct abort_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->loop = loop;
    pool->nameless = (struct abort_reason){.refs = 1, .scope = "task"};
    return pool;
}

void abort_pool_free(struct abort_pool *pool) {
    if (!pool) return;
    for (uint32_t c = 0; c < pool->chunk_count; c++) {
        for (int i = 0; i < CHUNK; i++) {
            struct abort_signal *signal = &pool->chunks[c][i];
            if (!signal->used) continue;
            timer_stop(pool->loop, &signal->deadline);
            abort_reason_unref(signal->reason);
        }
        free(pool->chunks[c]);
    }
    free(pool->chunks);
    free(pool);
}

size_t abort_pool_live(const struct abort_pool *pool) {
    return pool->live;
}

static bool pool_grow(struct abort_pool *pool) {
    struct abort_signal **chunks =
        realloc(pool->chunks, (pool->chunk_count + 1) * sizeof(struct abort_signal *));
    if (!chunks) return false;
    pool->chunks = chunks;
    struct abort_signal *chunk = calloc(CHUNK, sizeof *chunk);
    if (!chunk) return false;
    for (int i = CHUNK - 1; i >= 0; i--) {
        chunk[i].index = pool->chunk_count * CHUNK + (uint32_t)i + 1;
        chunk[i].next = pool->free_list;
        pool->free_list = &chunk[i];
    }
    pool->chunks[pool->chunk_count++] = chunk;
    return true;
}

static void link_child(struct abort_signal *parent, struct abort_signal *child) {
    child->parent = parent;
    child->prev = NULL;
    child->next = parent ? parent->first_child : NULL;
    if (!parent) return;
    if (child->next) child->next->prev = child;
    parent->first_child = child;
}

static void unlink_child(struct abort_signal *child) {
    if (!child->parent) return;
    if (child->prev) child->prev->next = child->next;
    else child->parent->first_child = child->next;
    if (child->next) child->next->prev = child->prev;
    child->parent = child->next = child->prev = NULL;
}

struct abort_signal *abort_new(struct abort_pool *pool, struct abort_signal *parent) {
    if (!pool->free_list && !pool_grow(pool)) return NULL;
    struct abort_signal *signal = pool->free_list;
    pool->free_list = signal->next;
    *signal = (struct abort_signal){
        .pool = pool,
        .index = signal->index,
        .generation = signal->generation,
        .used = true,
    };
    link_child(parent, signal);
    pool->live++;
    if (parent && parent->reason) {
        signal->reason = parent->reason;
        abort_reason_ref(signal->reason);
    }
    return signal;
}

void abort_free(struct abort_signal *signal) {
    if (!signal) return;
    struct abort_pool *pool = signal->pool;
    timer_stop(pool->loop, &signal->deadline);
    while (signal->listeners) abort_unlisten(signal->listeners);
    while (signal->first_child) {
        struct abort_signal *child = signal->first_child;
        unlink_child(child);
        link_child(signal->parent, child);
    }
    unlink_child(signal);
    abort_reason_unref(signal->reason);
    signal->reason = NULL;
    signal->used = false;
    signal->generation = (signal->generation + 1) & 0x7fffffff;
    signal->next = pool->free_list;
    pool->free_list = signal;
    pool->live--;
}

uint64_t abort_handle(const struct abort_signal *signal) {
    return (uint64_t)signal->generation << 32 | signal->index;
}

struct abort_signal *abort_find(struct abort_pool *pool, uint64_t handle) {
    uint32_t index = (uint32_t)handle;
    if (index == 0 || index > pool->chunk_count * CHUNK) return NULL;
    struct abort_signal *signal = &pool->chunks[(index - 1) / CHUNK][(index - 1) % CHUNK];
    return signal->used && signal->generation == handle >> 32 ? signal : NULL;
}

static void fire_one(struct abort_signal *signal, struct abort_reason *reason) {
    signal->reason = reason;
    abort_reason_ref(reason);
    timer_stop(signal->pool->loop, &signal->deadline);
    ready_push(loop_ready(signal->pool->loop), signal->token);
    while (signal->listeners) {
        struct abort_listener *listener = signal->listeners;
        abort_unlisten(listener);
        listener->fn(listener, reason);
    }
}

/* The first node below top in post-order: the deepest first descendant that is not aborted yet.
 * A subtree that was aborted before keeps its own reason, and is skipped as a whole. */
static struct abort_signal *deepest(struct abort_signal *top) {
    for (struct abort_signal *child = top->first_child; child;) {
        if (child->reason) {
            child = child->next;
        } else {
            top = child;
            child = top->first_child;
        }
    }
    return top;
}

void abort_fire(struct abort_signal *signal, struct abort_reason *reason) {
    if (!reason) {
        reason = &signal->pool->nameless;
        abort_reason_ref(reason);
    }
    if (!signal->reason) {
        struct abort_signal *at = deepest(signal);
        while (at != signal) {
            struct abort_signal *next = at->next;
            struct abort_signal *parent = at->parent;
            fire_one(at, reason);
            while (next && next->reason) next = next->next;
            at = next ? deepest(next) : parent;
        }
        fire_one(signal, reason);
    }
    abort_reason_unref(reason);
}

bool abort_fired(const struct abort_signal *signal) {
    return signal->reason != NULL;
}

struct abort_reason *abort_reason(const struct abort_signal *signal) {
    return signal->reason;
}

static void deadline_passed(struct timer *timer, void *user) {
    (void)timer;
    struct abort_signal *signal = user;
    abort_fire(signal,
               abort_reason_new(ABORT_TIMEOUT, signal->deadline_scope, signal->deadline_ms));
}

int abort_deadline(struct abort_signal *signal, uint64_t delay_ms, const char *scope) {
    if (signal->reason) return 0;
    signal->deadline_ms = delay_ms;
    signal->deadline_scope = scope;
    return timer_start(signal->pool->loop, &signal->deadline, delay_ms, deadline_passed, signal);
}

void abort_deadline_clear(struct abort_signal *signal) {
    timer_stop(signal->pool->loop, &signal->deadline);
}

void abort_token(struct abort_signal *signal, uint64_t token) {
    signal->token = token;
    if (signal->reason) ready_push(loop_ready(signal->pool->loop), token);
}

void abort_listen(struct abort_signal *signal, struct abort_listener *listener, abort_fn fn,
                  void *user) {
    abort_unlisten(listener);
    listener->fn = fn;
    listener->user = user;
    listener->next = signal->listeners;
    listener->prev_next = &signal->listeners;
    if (listener->next) listener->next->prev_next = &listener->next;
    signal->listeners = listener;
}

void abort_unlisten(struct abort_listener *listener) {
    if (!listener->prev_next) return;
    *listener->prev_next = listener->next;
    if (listener->next) listener->next->prev_next = listener->prev_next;
    listener->next = NULL;
    listener->prev_next = NULL;
}

struct abort_reason *abort_reason_new(enum abort_kind kind, const char *scope,
                                      uint64_t timeout_ms) {
    struct abort_reason *reason = calloc(1, sizeof *reason);
    if (!reason) return NULL;
    *reason =
        (struct abort_reason){.refs = 1, .kind = kind, .scope = scope, .timeout_ms = timeout_ms};
    return reason;
}

void abort_reason_ref(struct abort_reason *reason) {
    if (reason) reason->refs++;
}

void abort_reason_unref(struct abort_reason *reason) {
    if (!reason || --reason->refs) return;
    if (reason->release) reason->release(reason);
    free(reason);
}
