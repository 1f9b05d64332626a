/* relay.c - a doubly linked queue through an array of nodes that are named by index, so that an
 * event can leave from the middle in constant time, without holes to skip or close up. Plain and
 * mergeable events are also on one list each, in the queue's order: its head is what goes next.
 * A node that goes is the next one used, so a queue that stays short stays in the cache.
 *
 * Merging: `adjacent` says that some mergeable events may stand side by side. It is set only by
 * pushes below half of the capacity, and a full queue is then compacted once; so at least half a
 * capacity of pushes pays for each pass. Whatever becomes adjacent above that mark (by a push, or
 * because what stood between was dropped) is joined on the spot. */
#include "relay.h"

#include <assert.h>
#include <stdlib.h>

struct relay_node {
    struct relay_item item;
    uint32_t next; /* in the queue; node index + 1, 0: none */
    uint32_t prev;
    uint32_t next_droppable;
};

enum { FIRST_NODES = 8 };

void relay_init(struct relay *r, const struct relay_options *options) {
    *r = (struct relay){.options = *options};
    if (r->options.capacity == 0) r->options.capacity = RELAY_DEFAULT_CAPACITY;
}

static void release(struct relay *r, struct relay_item *item) {
    if (r->options.release) r->options.release(r->options.user, item);
}

static struct relay_node *node_at(const struct relay *r, uint32_t ref) {
    return &r->nodes[ref - 1];
}

void relay_free(struct relay *r) {
    for (uint32_t ref = r->queue.first; ref; ref = node_at(r, ref)->next)
        release(r, &node_at(r, ref)->item);
    free(r->nodes);
    *r = (struct relay){.options = r->options, .finished = true};
}

/* ---- nodes and lists ------------------------------------------------------------------- */

static bool grow(struct relay *r) {
    uint32_t cap = r->node_cap ? r->node_cap * 2 : FIRST_NODES;
    if (cap <= r->node_cap || cap > UINT32_MAX / 2) return false;
    struct relay_node *nodes = realloc(r->nodes, cap * sizeof *nodes);
    if (!nodes) return false;
    r->nodes = nodes;
    r->node_cap = cap;
    return true;
}

/* Makes sure that node_new has something to give. */
static bool node_reserve(struct relay *r) {
    return r->free_head || r->node_count < r->node_cap || grow(r);
}

static uint32_t node_new(struct relay *r) {
    uint32_t ref = r->free_head;
    if (ref) r->free_head = node_at(r, ref)->next;
    else ref = ++r->node_count;
    return ref;
}

static void node_free(struct relay *r, uint32_t ref) {
    node_at(r, ref)->next = r->free_head;
    r->free_head = ref;
}

static bool mergeable(const struct relay *r, const struct relay_item *item) {
    return item->class == RELAY_MERGEABLE && r->options.merge;
}

/* The list that the item goes on while it is unread; NULL: it is never dropped. */
static struct relay_list *droppable_list(struct relay *r, const struct relay_item *item) {
    if (item->class == RELAY_TERMINAL) return NULL;
    return &r->droppable[mergeable(r, item)];
}

static void append(struct relay *r, uint32_t ref) {
    struct relay_node *node = node_at(r, ref);
    node->next = 0;
    node->prev = r->queue.last;
    node->next_droppable = 0;
    if (node->prev) node_at(r, node->prev)->next = ref;
    else r->queue.first = ref;
    r->queue.last = ref;
    r->len++;
    struct relay_list *list = droppable_list(r, &node->item);
    if (!list) return;
    if (list->last) node_at(r, list->last)->next_droppable = ref;
    else list->first = ref;
    list->last = ref;
}

/* Takes the node out of the queue and frees it. Its item stays readable until the next push. */
static void unlink_node(struct relay *r, uint32_t ref) {
    struct relay_node *node = node_at(r, ref);
    if (node->prev) node_at(r, node->prev)->next = node->next;
    else r->queue.first = node->next;
    if (node->next) node_at(r, node->next)->prev = node->prev;
    else r->queue.last = node->prev;
    r->len--;
    node_free(r, ref);
}

/* The head of a droppable list leaves it: the oldest of its class. */
static void shift_droppable(struct relay *r, struct relay_list *list) {
    list->first = node_at(r, list->first)->next_droppable;
    if (!list->first) list->last = 0;
}

/* ---- merging --------------------------------------------------------------------------- */

static bool merge(struct relay *r, struct relay_item *into, const struct relay_item *next) {
    if (!mergeable(r, into) || !mergeable(r, next)) return false;
    if (next->count > UINT32_MAX - into->count) return false;
    if (!r->options.merge(r->options.user, into, next)) return false;
    into->count += next->count;
    into->seq = next->seq;
    return true;
}

/* Joins the node after ref into it, if the two can be joined. */
static bool join_next(struct relay *r, uint32_t ref) {
    struct relay_node *node = node_at(r, ref);
    uint32_t next_ref = node->next;
    if (!next_ref) return false;
    struct relay_node *next = node_at(r, next_ref);
    if (!merge(r, &node->item, &next->item)) return false;
    r->stats.merged++;
    /* Neighbours in the queue are neighbours on the list of mergeable ones. */
    assert(node->next_droppable == next_ref);
    node->next_droppable = next->next_droppable;
    struct relay_list *list = droppable_list(r, &next->item);
    if (list->last == next_ref) list->last = ref;
    struct relay_item gone = next->item;
    unlink_node(r, next_ref);
    release(r, &gone);
    return true;
}

static void compact(struct relay *r) {
    for (uint32_t ref = r->queue.first; ref; ref = node_at(r, ref)->next) {
        while (join_next(r, ref)) continue;
    }
    r->adjacent = false;
}

/* Whether the item went into the newest unread one. */
static bool join_newest(struct relay *r, const struct relay_item *item) {
    if (!mergeable(r, item) || !r->queue.last) return false;
    struct relay_node *newest = node_at(r, r->queue.last);
    if (!mergeable(r, &newest->item)) return false;
    if (r->len < r->options.capacity / 2) {
        r->adjacent = true;
        return false;
    }
    return merge(r, &newest->item, item);
}

/* ---- the queue ------------------------------------------------------------------------- */

static void drop_oldest(struct relay *r) {
    struct relay_list *list = &r->droppable[r->droppable[0].first == 0];
    uint32_t ref = list->first;
    if (!ref) return;
    struct relay_item gone = node_at(r, ref)->item;
    uint32_t before = node_at(r, ref)->prev;
    shift_droppable(r, list);
    unlink_node(r, ref);
    r->missed += gone.count;
    r->stats.dropped += gone.count;
    r->stats.merged -= gone.count - 1;
    release(r, &gone);
    if (before && r->options.merge) join_next(r, before);
}

static void make_room(struct relay *r) {
    if (r->len < r->options.capacity) return;
    if (r->adjacent) compact(r);
    if (r->len >= r->options.capacity) drop_oldest(r);
}

static void notify(struct relay *r) {
    if (r->options.notify) r->options.notify(r->options.user);
}

int relay_push(struct relay *r, const struct relay_item *item, uint32_t *place) {
    struct relay_item fresh = *item;
    fresh.count = 1;
    fresh.place = RELAY_NOWHERE;
    if (place) *place = RELAY_NOWHERE;
    if (r->finished) {
        r->stats.late++;
        release(r, &fresh);
        return 0;
    }
    if (join_newest(r, &fresh)) {
        r->stats.produced++;
        r->stats.merged++;
        release(r, &fresh);
        return 0;
    }
    if (!node_reserve(r)) return -1;
    make_room(r);
    uint32_t ref = node_new(r);
    fresh.place = ref - 1;
    node_at(r, ref)->item = fresh;
    append(r, ref);
    r->stats.produced++;
    if (place) *place = fresh.place;
    if (r->len == 1) notify(r);
    return 0;
}

void relay_finish(struct relay *r, void *error) {
    if (r->finished) return;
    r->finished = true;
    r->error = error;
    notify(r);
}

enum relay_taken relay_take(struct relay *r, struct relay_item *item, uint64_t *dropped) {
    if (r->missed) {
        *dropped = r->missed;
        r->missed = 0;
        return RELAY_OVERFLOW;
    }
    uint32_t ref = r->queue.first;
    if (!ref) return r->finished ? RELAY_END : RELAY_EMPTY;
    *item = node_at(r, ref)->item;
    struct relay_list *list = droppable_list(r, item);
    if (list) shift_droppable(r, list);
    unlink_node(r, ref);
    r->stats.delivered++;
    return RELAY_EVENT;
}

void *relay_error(const struct relay *r) {
    return r->error;
}

bool relay_ready(const struct relay *r) {
    return r->len || r->missed || r->finished;
}

uint32_t relay_places(const struct relay *r) {
    return r->node_count;
}

size_t relay_len(const struct relay *r) {
    return r->len;
}

const struct relay_stats *relay_stats(const struct relay *r) {
    return &r->stats;
}
