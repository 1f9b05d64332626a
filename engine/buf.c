/* buf.c - doubles its memory, so that n appends cost O(n); one spare byte holds the NUL. */
#include "buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max) {
    *b = (struct buf){.max = max};
}

void buf_free(struct buf *b) {
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b) {
    b->len = 0;
    if (b->data) b->data[0] = '\0';
}

int buf_reserve(struct buf *b, size_t n) {
    if (n > b->max - b->len) return BUF_ETOOBIG;
    size_t need = b->len + n + 1;
    if (need <= b->cap) return BUF_OK;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data) return BUF_ENOMEM;
    b->data = data;
    b->cap = cap;
    return BUF_OK;
}

int buf_add(struct buf *b, const char *bytes, size_t n) {
    int rc = buf_reserve(b, n);
    if (rc != BUF_OK) return rc;
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
    return BUF_OK;
}

int buf_add_char(struct buf *b, char c) {
    return buf_add(b, &c, 1);
}

void buf_consume(struct buf *b, size_t n) {
    assert(n <= b->len);
    if (n == 0) return;
    b->len -= n;
    memmove(b->data, b->data + n, b->len + 1);
}
