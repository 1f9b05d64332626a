/* files_memory_node.c - a directory is a sorted array of pointers. Freeing does not recurse: what
 * is to be freed waits in a list that is threaded through the nodes themselves. */
#include "files_memory_node.h"

#include <stdlib.h>
#include <string.h>

static struct node *new_node(const char *name, size_t name_len, size_t n, uint64_t now_ms) {
    if (n > SIZE_MAX / 2) return NULL;
    struct node *node = malloc(sizeof *node + name_len + n);
    if (!node) return NULL;
    *node = (struct node){
        .refs = 1, .name_len = (uint8_t)name_len, .modified_ms = now_ms, .bytes = n, .nodes = 1};
    memcpy(node->text, name, name_len);
    return node;
}

struct node *node_new_file(const char *name, size_t name_len, const char *bytes, size_t n,
                           uint64_t now_ms) {
    struct node *node = new_node(name, name_len, n, now_ms);
    if (node && n) memcpy(node->text + name_len, bytes, n);
    return node;
}

struct node *node_new_directory(const char *name, size_t name_len, uint64_t now_ms) {
    struct node *node = new_node(name, name_len, 0, now_ms);
    if (node) node->is_directory = true;
    return node;
}

const char *node_bytes(const struct node *file) {
    return file->text + file->name_len;
}

static void push(struct node **waiting, struct node *node) {
    node->next = *waiting;
    *waiting = node;
}

void node_unref(struct node *node) {
    struct node *waiting = NULL;
    if (node && --node->refs == 0) push(&waiting, node);
    while (waiting) {
        node = waiting;
        waiting = node->next;
        for (size_t i = 0; i < node->count; i++)
            if (--node->items[i]->refs == 0) push(&waiting, node->items[i]);
        free(node->items);
        free(node);
    }
}

static int name_cmp(const struct node *node, const char *name, size_t len) {
    size_t shorter = node->name_len < len ? node->name_len : len;
    int order = memcmp(node->text, name, shorter);
    return order ? order : (node->name_len > len) - (node->name_len < len);
}

bool node_find(const struct node *directory, const char *name, size_t len, size_t *at) {
    size_t low = 0, high = directory->count;
    /* What is written in order goes to the end. */
    if (high && name_cmp(directory->items[high - 1], name, len) < 0) low = high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = name_cmp(directory->items[middle], name, len);
        if (order == 0) {
            *at = middle;
            return true;
        }
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    *at = low;
    return false;
}

bool node_own(struct node **slot) {
    struct node *shared = *slot;
    if (shared->refs == 1) return true;
    struct node *own = node_new_directory(shared->text, shared->name_len, shared->modified_ms);
    struct node **items = shared->count ? malloc(shared->count * sizeof(struct node *)) : NULL;
    if (!own || (shared->count && !items)) {
        free(own);
        free(items);
        return false;
    }
    for (size_t i = 0; i < shared->count; i++) items[i] = node_ref(shared->items[i]);
    own->items = items;
    own->count = own->cap = shared->count;
    own->bytes = shared->bytes;
    own->nodes = shared->nodes;
    shared->refs--;
    *slot = own;
    return true;
}

bool node_reserve(struct node *directory) {
    if (directory->count < directory->cap) return true;
    size_t cap = directory->cap ? 2 * directory->cap : 4;
    struct node **items = realloc(directory->items, cap * sizeof(struct node *));
    if (!items) return false;
    directory->items = items;
    directory->cap = cap;
    return true;
}

void node_insert(struct node *directory, size_t at, struct node *item) {
    struct node **place = directory->items + at;
    memmove(place + 1, place, (directory->count - at) * sizeof(struct node *));
    *place = item;
    directory->count++;
}

struct node *node_take(struct node *directory, size_t at) {
    struct node **place = directory->items + at, *item = *place;
    directory->count--;
    memmove(place, place + 1, (directory->count - at) * sizeof(struct node *));
    return item;
}
