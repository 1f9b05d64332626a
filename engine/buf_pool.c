/* buf_pool.c - a stack of buffers, so that the memory used last, which is in the cache, goes first. */
#include "buf_pool.h"

#include <stdbool.h>
#include <stdint.h>

void buf_pool_take(struct buf_pool *pool, struct buf *b) {
    buf_init(b, SIZE_MAX / 2);
    if (!pool->count) return;
    *b = pool->pieces[--pool->count];
    buf_clear(b);
}

void buf_pool_give(struct buf_pool *pool, struct buf *b) {
    bool fits = b->cap >= BUF_POOL_PIECE_MIN && b->cap <= BUF_POOL_PIECE_MAX;
    if (!fits || pool->count == BUF_POOL_MAX) buf_free(b);
    else pool->pieces[pool->count++] = *b;
    buf_init(b, 0);
}

void buf_pool_trim(struct buf_pool *pool, size_t most) {
    while (pool->count > most) buf_free(&pool->pieces[--pool->count]);
}
