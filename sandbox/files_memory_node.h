/* files_memory_node.h - the nodes of a tree in memory; for files_memory.c only.
 *
 * A node is a file or a directory with its name, and counts who points to it: its directory, a
 * tree (of a root), snapshots. A node with more than one reference never changes: whoever wants
 * to change a directory makes it their own first, which copies it unless it is theirs alone.
 * Files never change at all, they are replaced. */
#ifndef HARNESS_SANDBOX_FILES_MEMORY_NODE_H
#define HARNESS_SANDBOX_FILES_MEMORY_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node {
    uint32_t refs;
    bool is_directory;
    uint8_t name_len;
    uint64_t modified_ms;
    uint64_t bytes; /* of the file, or of all files below */
    uint64_t nodes; /* it and all below */
    /* Of a directory: sorted by name. */
    struct node **items;
    size_t count, cap;
    struct node *next; /* while it is being freed */
    char text[];       /* the name, then what is in the file */
};

/* NULL: no memory. The name has at most 255 bytes. */
struct node *node_new_file(const char *name, size_t name_len, const char *bytes, size_t n,
                           uint64_t now_ms);
struct node *node_new_directory(const char *name, size_t name_len, uint64_t now_ms);
const char *node_bytes(const struct node *file);

static inline struct node *node_ref(struct node *node) {
    node->refs++;
    return node;
}

/* Frees the node, and what is below, once nobody points to it. NULL is allowed. */
void node_unref(struct node *node);

/* The place of a name in a directory, or where it would be. */
bool node_find(const struct node *directory, const char *name, size_t len, size_t *at);

/* Makes *slot a directory that is pointed to from there only. False: no memory, nothing changed. */
bool node_own(struct node **slot);
/* Room for one more item in a directory of one's own. */
bool node_reserve(struct node *directory);
/* Cannot fail: there is room. Takes the reference. */
void node_insert(struct node *directory, size_t at, struct node *item);
/* Takes an item out; the reference is the caller's. */
struct node *node_take(struct node *directory, size_t at);

#endif
