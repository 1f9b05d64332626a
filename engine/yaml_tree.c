/* yaml_tree.c - libyaml's events, appended to a flat list of nodes in the order of the document.
 *
 * libyaml's own documents are not used: they resolve aliases, and know no limits. Its parser keeps its
 * state on the heap and looks ahead by at most a line, so neither depth nor length of a text within our
 * limits can hurt it. */
#include "yaml_tree.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct builder {
    yaml_parser_t parser;
    struct yaml_tree *tree;
    struct yaml_fault *fault;
    const char *text;
    size_t len;
    size_t open[YAML_TREE_MAX_DEPTH]; /* the maps and lists that are not complete */
    size_t depth;
    size_t documents;
};

/* ---- faults -------------------------------------------------------------------------------- */

static int refuse(struct builder *b, yaml_mark_t mark, const char *what) {
    b->fault->line = mark.line + 1;
    b->fault->column = mark.column + 1;
    snprintf(b->fault->what, sizeof b->fault->what, "%s", what);
    return YAML_TREE_EINVAL;
}

/* libyaml's reader knows the place of a byte only. */
static yaml_mark_t mark_of(const struct builder *b, size_t offset) {
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < b->len; i++) {
        unsigned char c = (unsigned char)b->text[i];
        if (c == '\n') {
            mark.line++;
            mark.column = 0;
        } else if ((c & 0xC0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static int refuse_syntax(struct builder *b) {
    const yaml_parser_t *parser = &b->parser;
    if (parser->error == YAML_MEMORY_ERROR) return YAML_TREE_ENOMEM;
    const char *problem = parser->problem ? parser->problem : "this is no YAML";
    if (parser->error != YAML_READER_ERROR) return refuse(b, parser->problem_mark, problem);
    bool is_control = strstr(problem, "control characters") != NULL;
    return refuse(b, mark_of(b, parser->problem_offset),
                  is_control ? "control characters are not allowed"
                             : "the text is not valid UTF-8");
}

/* ---- nodes --------------------------------------------------------------------------------- */

static struct yaml_node *innermost(const struct builder *b) {
    return b->depth ? &b->tree->nodes[b->open[b->depth - 1]] : NULL;
}

static bool is_key_next(const struct builder *b) {
    const struct yaml_node *owner = innermost(b);
    return owner && owner->kind == YAML_KIND_MAP && owner->count % 2 == 0;
}

/* Appends a node; *index is its place. */
static int add_node(struct builder *b, yaml_mark_t mark, enum yaml_kind kind, size_t *index) {
    struct yaml_tree *tree = b->tree;
    if (tree->count == YAML_TREE_MAX_NODES) return refuse(b, mark, "this has too many parts");
    if (tree->count == tree->cap) {
        size_t cap = tree->cap ? 2 * tree->cap : 16;
        struct yaml_node *nodes = realloc(tree->nodes, cap * sizeof *nodes);
        if (!nodes) return YAML_TREE_ENOMEM;
        tree->nodes = nodes;
        tree->cap = cap;
    }
    *index = tree->count++;
    tree->nodes[*index] = (struct yaml_node){.kind = kind, .next = tree->count};
    struct yaml_node *owner = innermost(b);
    if (owner) owner->count++;
    return YAML_TREE_OK;
}

/* Is the key, the last child of the innermost map, there already? */
static bool is_repeated(const struct builder *b, size_t index) {
    const struct yaml_tree *tree = b->tree;
    const struct yaml_node *key = &tree->nodes[index];
    for (size_t i = b->open[b->depth - 1] + 1; i < index;
         i = tree->nodes[tree->nodes[i].next].next) {
        const struct yaml_node *other = &tree->nodes[i];
        if (other->len == key->len &&
            memcmp(yaml_tree_text(tree, other), yaml_tree_text(tree, key), key->len) == 0)
            return true;
    }
    return false;
}

static bool means_null(const char *text, size_t len) {
    static const char *const NULLS[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof NULLS / sizeof *NULLS; i++)
        if (strlen(NULLS[i]) == len && memcmp(NULLS[i], text, len) == 0) return true;
    return false;
}

static int add_scalar(struct builder *b, const yaml_event_t *event) {
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length, index = 0;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, is_key = is_key_next(b);
    if (is_key && is_plain && len == 0)
        return refuse(b, event->start_mark, "a key is missing here");
    bool is_null = !is_key && is_plain && means_null(text, len);
    int rc = add_node(b, event->start_mark, is_null ? YAML_KIND_NULL : YAML_KIND_TEXT, &index);
    if (rc != YAML_TREE_OK || is_null) return rc;
    b->tree->nodes[index].offset = b->tree->texts.len;
    b->tree->nodes[index].len = len;
    if (buf_add(&b->tree->texts, text, len) != BUF_OK) return YAML_TREE_ENOMEM;
    if (!is_key || !is_repeated(b, index)) return YAML_TREE_OK;
    return refuse(b, event->start_mark, "this key is there already");
}

static int open_node(struct builder *b, const yaml_event_t *event, enum yaml_kind kind) {
    size_t index = 0;
    if (is_key_next(b)) return refuse(b, event->start_mark, "a key must be text");
    if (b->depth == YAML_TREE_MAX_DEPTH)
        return refuse(b, event->start_mark, "this is nested too deeply");
    int rc = add_node(b, event->start_mark, kind, &index);
    if (rc == YAML_TREE_OK) b->open[b->depth++] = index;
    return rc;
}

static int close_node(struct builder *b) {
    innermost(b)->next = b->tree->count;
    b->depth--;
    return YAML_TREE_OK;
}

/* ---- events -------------------------------------------------------------------------------- */

/* What the author wrote beside a value: an anchor or a tag is refused. */
static int check_properties(struct builder *b, const yaml_event_t *event) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor) return refuse(b, event->start_mark, "anchors (&name) are not allowed");
    if (tag) return refuse(b, event->start_mark, "tags (!name) are not allowed");
    return YAML_TREE_OK;
}

static int take_event(struct builder *b, const yaml_event_t *event) {
    int rc = check_properties(b, event);
    if (rc != YAML_TREE_OK) return rc;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->documents++ == 0) return YAML_TREE_OK;
        return refuse(b, event->start_mark, "there must be one document only");
    case YAML_ALIAS_EVENT:
        return refuse(b, event->start_mark,
                      "aliases (*name) are not allowed; write quotes around text");
    case YAML_SCALAR_EVENT: return add_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT: return open_node(b, event, YAML_KIND_LIST);
    case YAML_MAPPING_START_EVENT: return open_node(b, event, YAML_KIND_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return close_node(b);
    default: return YAML_TREE_OK;
    }
}

static int take_all(struct builder *b) {
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b->parser, &event)) return refuse_syntax(b);
        bool is_end = event.type == YAML_STREAM_END_EVENT;
        int rc = take_event(b, &event);
        yaml_event_delete(&event);
        if (rc != YAML_TREE_OK || is_end) return rc;
    }
}

int yaml_tree_parse(const char *text, size_t len, struct yaml_tree *tree,
                    struct yaml_fault *fault) {
    *tree = (struct yaml_tree){0};
    *fault = (struct yaml_fault){0};
    buf_init(&tree->texts,
             2 * YAML_TREE_MAX_BYTES); /* no escape is less than two thirds of its text */
    struct builder b = {.tree = tree, .fault = fault, .text = text, .len = len};
    yaml_mark_t start = {0};
    if (len > YAML_TREE_MAX_BYTES) return refuse(&b, start, "this is too long");
    if (!yaml_parser_initialize(&b.parser)) return YAML_TREE_ENOMEM;
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
    int rc = take_all(&b);
    size_t root = 0;
    if (rc == YAML_TREE_OK && tree->count == 0) rc = add_node(&b, start, YAML_KIND_NULL, &root);
    yaml_parser_delete(&b.parser);
    return rc;
}

void yaml_tree_free(struct yaml_tree *tree) {
    free(tree->nodes);
    buf_free(&tree->texts);
    *tree = (struct yaml_tree){0};
}
