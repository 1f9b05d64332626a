/* ready.c - a token is generation << 32 | slot index + 1. Freeing a slot advances its generation,
 * which makes queued and remembered tokens of the old owner stale. The ring has as many places as
 * there are slots plus the stale tokens that may still stand in it: freeing a queued slot leaves
 * its place taken, so the ring is compacted before it would have to grow. */
#include "ready.h"

#include <assert.h>
#include <stdlib.h>

struct ready_slot {
    uint32_t generation; /* 31 bits used, so that tokens are positive */
    uint32_t next_free;
    bool used;
    bool queued;
};

void ready_init(struct ready *q) {
    *q = (struct ready){0};
}

void ready_deinit(struct ready *q) {
    free(q->slots);
    free(q->ring);
    ready_init(q);
}

static struct ready_slot *slot_of(const struct ready *q, uint64_t token) {
    uint32_t index = ready_index(token);
    if (index == 0 || index > q->slot_count) return NULL;
    struct ready_slot *slot = &q->slots[index - 1];
    if (!slot->used || slot->generation != token >> 32) return NULL;
    return slot;
}

/* Drops stale tokens from the ring, in place. Afterwards it holds at most one token per live slot. */
static void ring_compact(struct ready *q) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < q->ring_len; i++) {
        uint64_t token = q->ring[(q->ring_head + i) % q->slot_cap];
        if (slot_of(q, token)) q->ring[(q->ring_head + kept++) % q->slot_cap] = token;
    }
    q->ring_len = kept;
}

static bool grow(struct ready *q) {
    uint32_t cap = q->slot_cap ? q->slot_cap * 2 : 64;
    if (cap <= q->slot_cap) return false;
    struct ready_slot *slots = realloc(q->slots, cap * sizeof *slots);
    if (!slots) return false;
    q->slots = slots;
    uint64_t *ring = malloc(cap * sizeof *ring);
    if (!ring) return false;
    for (uint32_t i = 0, from = q->ring_head; i < q->ring_len; i++, from++) {
        if (from == q->slot_cap) from = 0;
        ring[i] = q->ring[from];
    }
    free(q->ring);
    q->ring = ring;
    q->ring_head = 0;
    q->slot_cap = cap;
    return true;
}

uint64_t ready_slot_new(struct ready *q) {
    uint32_t index = q->free_head;
    if (index) {
        q->free_head = q->slots[index - 1].next_free;
    } else {
        if (q->slot_count == q->slot_cap && !grow(q)) return 0;
        index = ++q->slot_count;
        q->slots[index - 1] = (struct ready_slot){0};
    }
    struct ready_slot *slot = &q->slots[index - 1];
    slot->used = true;
    slot->queued = false;
    q->live++;
    return (uint64_t)slot->generation << 32 | index;
}

void ready_slot_free(struct ready *q, uint64_t token) {
    struct ready_slot *slot = slot_of(q, token);
    if (!slot) return;
    slot->used = false;
    slot->generation = (slot->generation + 1) & 0x7fffffff;
    slot->next_free = q->free_head;
    q->free_head = ready_index(token);
    q->live--;
}

void ready_push(struct ready *q, uint64_t token) {
    struct ready_slot *slot = slot_of(q, token);
    if (!slot || slot->queued) return;
    if (q->ring_len == q->slot_cap) ring_compact(q);
    assert(q->ring_len < q->slot_cap);
    slot->queued = true;
    q->ring[(q->ring_head + q->ring_len++) % q->slot_cap] = token;
}

uint64_t ready_take(struct ready *q) {
    while (q->ring_len) {
        uint64_t token = q->ring[q->ring_head];
        q->ring_head = (q->ring_head + 1) % q->slot_cap;
        q->ring_len--;
        struct ready_slot *slot = slot_of(q, token);
        if (!slot) continue;
        slot->queued = false;
        return token;
    }
    return 0;
}
