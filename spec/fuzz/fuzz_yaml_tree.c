/* fuzz_yaml_tree.c - front matter on any bytes.
 *
 *   - a tree that was made is one: each `next` and `count` is right, keys are text and all different, and
 *     it is within the limits
 *   - a refusal names a place in the text, and why
 *   - written out in the plainest form of YAML, a tree reads as the very same tree, unless that is too long
 *   - a text with a byte that YAML does not allow is refused
 *
 * With the flag byte's first bit, the rest is made of words that front matter is made of. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/utf8.h"
#include "../../engine/yaml_tree.h"

#define CHECK(condition) ((condition) ? (void)0 : broken(#condition))

static void broken(const char *what) {
    fprintf(stderr, "property broken: %s\n", what);
    abort();
}

static bool utf8_valid(const char *text, size_t len) {
    for (size_t i = 0, n; i < len; i += n)
        if ((n = utf8_length(text + i, len - i)) == 0) return false;
    return true;
}

/* ---- the text ------------------------------------------------------------------------------ */

static void add(struct buf *out, const char *bytes, size_t len) {
    CHECK(buf_add(out, bytes, len) == BUF_OK);
}

static void add_text(struct buf *out, const char *text) {
    add(out, text, strlen(text));
}

static void add_words(struct buf *out, const uint8_t *bytes, size_t size) {
    static const char *const WORDS[] = {
        "name: ",   "description: ",
        "a",        "b",
        ": ",       "\n",
        "- ",       "  ",
        "[",        "]",
        "{",        "}",
        ", ",       "'",
        "\"",       "|",
        ">",        "# ",
        "&x ",      "*x",
        "!t ",      "? ",
        "---\n",    "...\n",
        "\xC3\xA9", "~",
        "null",     "\\n",
        "\r\n",     "a: b\n",
        "1.10",     "\t",
    };
    for (size_t i = 0; i < size; i++)
        add_text(out, WORDS[bytes[i] % (sizeof WORDS / sizeof *WORDS)]);
}

/* ---- the tree ------------------------------------------------------------------------------ */

static bool is_same_text(const struct yaml_tree *tree, size_t a, size_t b) {
    const struct yaml_node *x = &tree->nodes[a], *y = &tree->nodes[b];
    return x->len == y->len &&
           memcmp(yaml_tree_text(tree, x), yaml_tree_text(tree, y), x->len) == 0;
}

static void check_key(const struct yaml_tree *tree, size_t map, size_t key) {
    CHECK(tree->nodes[key].kind == YAML_KIND_TEXT);
    for (size_t i = map + 1; i < key; i = tree->nodes[tree->nodes[i].next].next)
        CHECK(!is_same_text(tree, i, key));
}

static void check_node(const struct yaml_tree *tree, size_t index, int depth) {
    const struct yaml_node *node = &tree->nodes[index];
    CHECK(node->next > index && node->next <= tree->count);
    if (node->kind == YAML_KIND_NULL || node->kind == YAML_KIND_TEXT) {
        CHECK(node->next == index + 1 && node->count == 0);
        CHECK(node->kind == YAML_KIND_TEXT || node->len == 0);
        CHECK(node->offset + node->len <= tree->texts.len);
        CHECK(utf8_valid(yaml_tree_text(tree, node), node->len));
        return;
    }
    CHECK(depth < YAML_TREE_MAX_DEPTH);
    size_t children = 0, i = index + 1;
    for (; i < node->next; i = tree->nodes[i].next, children++) {
        if (node->kind == YAML_KIND_MAP && children % 2 == 0) check_key(tree, index, i);
        check_node(tree, i, depth + 1);
    }
    CHECK(i == node->next && children == node->count);
    CHECK(node->kind == YAML_KIND_LIST || children % 2 == 0);
}

/* ---- written and read again ---------------------------------------------------------------- */

static void write_text(struct buf *out, const char *text, size_t len) {
    add_text(out, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[8];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7F) {
            snprintf(escape, sizeof escape, "\\x%02x", c);
            add_text(out, escape);
        } else if (c == 0xC2 && (unsigned char)text[i + 1] < 0xA0) { /* C1, NEL among them */
            snprintf(escape, sizeof escape, "\\x%02x", (unsigned char)text[++i]);
            add_text(out, escape);
        } else if (c == 0xE2 && (unsigned char)text[i + 1] == 0x80 &&
                   ((unsigned char)text[i + 2] & 0xFE) == 0xA8) { /* U+2028, U+2029 */
            add_text(out, (unsigned char)text[i + 2] == 0xA8 ? "\\L" : "\\P");
            i += 2;
        } else if (c == 0xEF && (unsigned char)text[i + 1] == 0xBF &&
                   (unsigned char)text[i + 2] >=
                       0xBE) { /* U+FFFE, U+FFFF: allowed as escapes only */
            add_text(out, (unsigned char)text[i + 2] == 0xBE ? "\\ufffe" : "\\uffff");
            i += 2;
        } else {
            add(out, text + i, 1);
        }
    }
    add_text(out, "\"");
}

static void write_node(struct buf *out, const struct yaml_tree *tree, size_t index) {
    const struct yaml_node *node = &tree->nodes[index];
    if (node->kind == YAML_KIND_NULL) {
        add_text(out, "~");
        return;
    }
    if (node->kind == YAML_KIND_TEXT) {
        write_text(out, yaml_tree_text(tree, node), node->len);
        return;
    }
    bool is_map = node->kind == YAML_KIND_MAP;
    size_t place = 0;
    add_text(out, is_map ? "{" : "[");
    for (size_t i = index + 1; i < node->next; i = tree->nodes[i].next, place++) {
        /* Lines: a key is looked for within one line, of at most 1,024 characters. */
        if (is_map && place % 2 == 0) add_text(out, place ? ",\n? " : "? ");
        else if (place) add_text(out, is_map ? "\n: " : ",\n");
        write_node(out, tree, i);
    }
    add_text(out, is_map ? "}" : "]");
}

static void check_round_trip(const struct yaml_tree *tree) {
    struct buf text;
    buf_init(&text, 8 << 20);
    write_node(&text, tree, 0);
    struct yaml_tree again = {0};
    if (text.len <= YAML_TREE_MAX_BYTES) {
        struct yaml_fault fault;
        int rc = yaml_tree_parse(text.data, text.len, &again, &fault);
        if (rc != YAML_TREE_OK)
            fprintf(stderr, "%zu:%zu: %s in\n%s\n", fault.line, fault.column, fault.what,
                    text.data);
        CHECK(rc == YAML_TREE_OK);
        CHECK(again.count == tree->count && again.texts.len == tree->texts.len);
        for (size_t i = 0; i < tree->count; i++) {
            const struct yaml_node *a = &tree->nodes[i], *b = &again.nodes[i];
            CHECK(a->kind == b->kind && a->count == b->count && a->next == b->next &&
                  a->len == b->len);
        }
        CHECK(tree->texts.len == 0 ||
              memcmp(tree->texts.data, again.texts.data, tree->texts.len) == 0);
        yaml_tree_free(&again);
    }
    buf_free(&text);
}

/* ---- one input ----------------------------------------------------------------------------- */

static bool has_forbidden_byte(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 ? c != '\n' && c != '\r' && c != '\t' : c == 0x7F) return true;
    }
    return !utf8_valid(text, len);
}

static size_t lines_of(const char *text, size_t len) {
    size_t lines = 1; /* YAML 1.1 knows more line ends than \n: CR, NEL, LS, PS */
    for (size_t i = 0; i < len; i++)
        if (memchr("\n\r\x85\xA8\xA9", text[i], 5)) lines++;
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size == 0 || size > YAML_TREE_MAX_BYTES / 16) return 0;
    struct buf text;
    buf_init(&text, 1 << 20);
    if (bytes[0] & 1) add_words(&text, bytes + 1, size - 1);
    else add(&text, (const char *)bytes + 1, size - 1);
    char *exact = malloc(text.len ? text.len : 1); /* ends where its memory does */
    CHECK(exact != NULL);
    if (text.len) memcpy(exact, text.data, text.len);

    struct yaml_tree tree;
    struct yaml_fault fault;
    int rc = yaml_tree_parse(exact, text.len, &tree, &fault);
    if (rc == YAML_TREE_OK) {
        CHECK(tree.count > 0 && tree.count <= YAML_TREE_MAX_NODES &&
              tree.nodes[0].next == tree.count);
        CHECK(!has_forbidden_byte(exact, text.len));
        check_node(&tree, 0, 0);
        check_round_trip(&tree);
    } else {
        CHECK(rc == YAML_TREE_EINVAL && fault.what[0]);
        CHECK(fault.line >= 1 && fault.column >= 1 && fault.line <= lines_of(exact, text.len) + 1);
    }
    yaml_tree_free(&tree);
    free(exact);
    buf_free(&text);
    return 0;
}
