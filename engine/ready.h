/* ready.h - the ready queue: who may run next.
 *
 * Whatever waits (a task) owns a slot, named by a token. A wake-up only queues the token; whoever
 * pumps the engine takes tokens in order and resumes their owners, so nothing is ever resumed from
 * inside a callback. A token stands in the queue at most once, and a token whose slot was freed
 * (or freed and given to another owner) is dropped when it is taken.
 *
 *     uint64_t token = ready_slot_new(&q);          // 0: out of memory
 *     ready_push(&q, token);                        // never fails, never allocates
 *     while ((token = ready_take(&q)) != 0) resume(token);
 *     ready_slot_free(&q, token);
 *
 * Tokens are never 0 and fit in a positive int64_t. One thread only. */
#ifndef HARNESS_ENGINE_READY_H
#define HARNESS_ENGINE_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ready_slot;

struct ready {
    struct ready_slot *slots;
    uint32_t slot_count;
    uint32_t slot_cap;
    uint32_t free_head; /* index + 1 of the first free slot, 0: none */
    uint64_t *ring;     /* as large as the slot array, so that a push always finds room */
    uint32_t ring_head;
    uint32_t ring_len;
    size_t live; /* slots in use */
};

void ready_init(struct ready *q);
void ready_deinit(struct ready *q);

/* A new slot; its token, or 0 when there is no memory. */
uint64_t ready_slot_new(struct ready *q);

/* Gives the slot back; a queued wake-up of it is forgotten. A stale token is ignored. */
void ready_slot_free(struct ready *q, uint64_t token);

/* Queues the token, once. Stale tokens and 0 are ignored. */
void ready_push(struct ready *q, uint64_t token);

/* The next token that is still valid, or 0. */
uint64_t ready_take(struct ready *q);

/* The slot's index: small, dense, reused; token & 0xffffffff. */
static inline uint32_t ready_index(uint64_t token) {
    return (uint32_t)token;
}

static inline bool ready_empty(const struct ready *q) {
    return q->ring_len == 0;
}

#endif
