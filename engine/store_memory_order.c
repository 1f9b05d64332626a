/* store_memory_order.c - a treap: a binary tree in the order of the records that is a heap by
 * random ranks, and so about balanced whatever comes in whatever order (Seidel and Aragon, 1996).
 *
 * What is new is nearly always the newest: then it goes below the node that was the newest so far,
 * and rises two steps on average. Nothing here allocates, so none of it can fail. */
#include <stddef.h>

#include "store_memory_impl.h"

/* xorshift64*, Vigna 2016; seeded with a secret. */
static uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* The pointer that leads to the node from above. */
static struct order_node **link_to(struct order *order, const struct order_node *node) {
    struct order_node *parent = node->parent;
    if (!parent) return &order->root;
    return parent->older == node ? &parent->older : &parent->newer;
}

/* Puts the child in the place of its parent, which becomes its child on the other side. */
static void rotate_up(struct order *order, struct order_node *child) {
    struct order_node *parent = child->parent;
    *link_to(order, parent) = child;
    child->parent = parent->parent;
    parent->parent = child;
    bool was_older = parent->older == child;
    struct order_node **inner = was_older ? &child->newer : &child->older;
    *(was_older ? &parent->older : &parent->newer) = *inner;
    if (*inner) (*inner)->parent = parent;
    *inner = parent;
}

void order_insert(struct memory *m, struct order *order, struct order_node *node,
                  order_record_fn record_of) {
    const struct record *record = record_of(node);
    struct order_node *parent = order->newest;
    struct order_node **place = parent ? &parent->newer : &order->root;
    bool newest = !parent || record_cmp(record, record_of(parent)) >= 0;
    if (newest) {
        order->newest = node;
    } else {
        place = &order->root;
        while (*place) {
            parent = *place;
            bool older = record_cmp(record, record_of(parent)) < 0;
            place = older ? &parent->older : &parent->newer;
        }
    }
    *node = (struct order_node){.parent = parent, .rank = next_random(&m->random)};
    *place = node;
    while (node->parent && node->rank > node->parent->rank) rotate_up(order, node);
}

void order_remove(struct order *order, struct order_node *node) {
    if (order->newest == node) order->newest = order_older(node);
    while (node->older && node->newer) {
        rotate_up(order, node->older->rank > node->newer->rank ? node->older : node->newer);
    }
    struct order_node *child = node->older ? node->older : node->newer;
    *link_to(order, node) = child;
    if (child) child->parent = node->parent;
}

struct order_node *order_older(const struct order_node *node) {
    if (node->older) {
        struct order_node *older = node->older;
        while (older->newer) older = older->newer;
        return older;
    }
    while (node->parent && node->parent->older == node) node = node->parent;
    return node->parent;
}
