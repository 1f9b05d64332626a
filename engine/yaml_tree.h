/* yaml_tree.h - a small YAML document as a tree of maps, lists and text: front matter, not data.
 *
 *     struct yaml_tree tree;
 *     struct yaml_fault fault;
 *     if (yaml_tree_parse(text, len, &tree, &fault) != YAML_TREE_OK) ...    // fault.line, .column, .what
 *     for (size_t i = 1; i < tree.nodes[0].next; i = tree.nodes[i].next) ... // children of the root
 *     yaml_tree_free(&tree);
 *
 * Every scalar is the text that its author wrote: `version: 1.10`, `answer: on` and `id: 007` are the texts
 * "1.10", "on" and "007", whatever YAML 1.1 would make of them; whoever knows the schema knows the type.
 * Only a plain `null`, `~` or nothing at all is null.
 *
 * The text comes from strangers. Refused, with line and column: more than one document, aliases, anchors
 * and tags (so nothing is larger than its text), equal keys in a map, keys that are no text, invalid UTF-8
 * and control characters, and what exceeds the limits below. */
#ifndef HARNESS_ENGINE_YAML_TREE_H
#define HARNESS_ENGINE_YAML_TREE_H

#include <stddef.h>

#include "buf.h"

enum { YAML_TREE_OK = 0, YAML_TREE_EINVAL = -1, YAML_TREE_ENOMEM = -2 };

enum { YAML_TREE_MAX_BYTES = 64 << 10, YAML_TREE_MAX_DEPTH = 16, YAML_TREE_MAX_NODES = 4096 };

enum yaml_kind { YAML_KIND_NULL, YAML_KIND_TEXT, YAML_KIND_LIST, YAML_KIND_MAP };

/* The children of node i are i + 1 and then always the `next` of the one before, up to nodes[i].next. Those
 * of a map are key, value, key, value, ...; a key is always text. */
struct yaml_node {
    enum yaml_kind kind;
    size_t count;  /* children */
    size_t next;   /* the node behind this one and all that is inside of it */
    size_t offset; /* of the text, in texts */
    size_t len;
};

struct yaml_tree {
    struct yaml_node *nodes; /* the first is the root; an empty document is one null */
    size_t count;
    size_t cap;
    struct buf texts;
};

struct yaml_fault {
    size_t line;   /* from 1 */
    size_t column; /* from 1, in characters */
    char what[128];
};

/* Reads the text. YAML_TREE_EINVAL: *fault tells why. The tree is the caller's to free, whatever is
 * returned. */
int yaml_tree_parse(const char *text, size_t len, struct yaml_tree *tree, struct yaml_fault *fault);
void yaml_tree_free(struct yaml_tree *tree);

/* The text of a node, node->len bytes. */
static inline const char *yaml_tree_text(const struct yaml_tree *tree,
                                         const struct yaml_node *node) {
    return node->len ? tree->texts.data + node->offset : "";
}

#endif
