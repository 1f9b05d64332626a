/* json_reader.h - the strict reader of JSON text that decoding, checking and picking share.
 *
 *     struct json_reader r = {.p = text, .end = text + len};      // without L: only check
 *     if (!json_read_text(&r)) ...                                // r.fault, r.rule say why
 *
 * With L it leaves the value on the Lua stack. Every json_read_ function returns false at the first
 * fault, which it notes in the reader; nothing is raised but by Lua itself for lack of memory. */
#ifndef HARNESS_BINDINGS_JSON_READER_H
#define HARNESS_BINDINGS_JSON_READER_H

#include <stdint.h>

#include "json.h"

/* A value in the text; start is NULL when there is none. */
struct json_span {
    const unsigned char *start;
    const unsigned char *end;
};

/* What is looked for: a tree of keys, its root without one. The spans of a node and of all below it stand side by side,
 * so that of equal keys the last one can take back what an earlier one has found. */
struct json_node {
    const char *key;
    size_t key_len;
    size_t index; /* in an array; SIZE_MAX: the key is no number */
    struct json_node *child;
    struct json_node *sibling;
    int first;   /* its own span, or the first one below it */
    int past;    /* behind the last span below it */
    bool wanted; /* it has a span */
};

struct json_reader {
    lua_State *L; /* NULL: only check */
    int null;     /* stack index of the null sentinel */
    int array_mt; /* stack index of the array mark */
    const unsigned char *p;
    const unsigned char *end;
    bool lone_surrogates;
    int depth;
    struct json_facts facts;
    bool escaped;                   /* the string read last has an escape */
    const struct json_node *wanted; /* of the value that comes next; NULL: nothing in it is */
    struct json_span *spans;        /* where to note what was found */
    const unsigned char *fault;     /* where, and what would be allowed there */
    const char *rule;
};

static inline bool json_reader_fail(struct json_reader *r, const unsigned char *where,
                                    const char *rule) {
    r->fault = where;
    r->rule = rule;
    return false;
}

static inline void json_skip_space(struct json_reader *r) {
    while (r->p < r->end && *r->p <= ' ' &&
           (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

/* The byte at p, or 0 at the end: a NUL is allowed nowhere, so the two need not be told apart. */
static inline unsigned char json_peek(const struct json_reader *r) {
    return r->p < r->end ? *r->p : 0;
}

static inline bool json_is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}

/* r->p is at the opening quote. */
bool json_read_string(struct json_reader *r);

/* r->p is at the sign or the first digit. */
bool json_read_number(struct json_reader *r);

/* Whether the string between the quotes, which was read before, stands for these bytes. */
bool json_string_is(const unsigned char *start, const unsigned char *quote, const char *bytes,
                    size_t len);

/* A whole text: one value, with white space around it. */
bool json_read_text(struct json_reader *r);

#endif
