/* buf.h - a growable byte buffer with a hard maximum.
 *
 *     struct buf b;
 *     buf_init(&b, 64 << 20);
 *     if (buf_add(&b, bytes, n) != 0) ...          // BUF_ETOOBIG or BUF_ENOMEM, b unchanged
 *     use(b.data, b.len);                           // always NUL-terminated once not empty
 *     buf_free(&b);
 *
 * Every buffer that a peer fills has a maximum, so that a peer cannot fill the memory.
 * A buf is owned by whoever embeds it; buf_free may be called twice. Not thread-safe. */
#ifndef HARNESS_ENGINE_BUF_H
#define HARNESS_ENGINE_BUF_H

#include <stddef.h>

enum { BUF_OK = 0, BUF_ENOMEM = -1, BUF_ETOOBIG = -2 };

struct buf {
    char *data; /* NULL while nothing was added */
    size_t len;
    size_t cap;
    size_t max; /* the most bytes it may hold; SIZE_MAX / 2 for "no limit" */
};

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);

/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);

/* Appends n bytes. Returns BUF_OK, or an error with b unchanged. */
int buf_add(struct buf *b, const char *bytes, size_t n);
int buf_add_char(struct buf *b, char c);

/* Makes room for n more bytes, to be written at data + len by the caller, who then adds to len. */
int buf_reserve(struct buf *b, size_t n);

/* Removes the first n bytes (n <= len). Costs a move of the rest. */
void buf_consume(struct buf *b, size_t n);

#endif
