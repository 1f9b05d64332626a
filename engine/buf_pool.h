/* buf_pool.h - memory of buffers that are done with, kept for the next ones.
 *
 *     struct buf_pool pool = {0};
 *     struct buf body;
 *     buf_pool_take(&pool, &body);                  // empty; perhaps with memory of an earlier one
 *     body.max = limit;
 *     buf_pool_give(&pool, &body);                  // instead of buf_free
 *     buf_pool_trim(&pool, 0);
 *
 * Growing a buffer anew for each response cost a quarter of the time of a stream of events, most of
 * it in page faults. Holds at most BUF_POOL_MAX pieces of BUF_POOL_PIECE_MAX bytes; how many it
 * shall keep at a given time its owner says by buf_pool_trim. Never fails. One thread only. */
#ifndef HARNESS_ENGINE_BUF_POOL_H
#define HARNESS_ENGINE_BUF_POOL_H

#include "buf.h"

enum { BUF_POOL_MAX = 512, BUF_POOL_PIECE_MIN = 4 << 10, BUF_POOL_PIECE_MAX = 64 << 10 };

/* All zero at first. */
struct buf_pool {
    struct buf pieces[BUF_POOL_MAX];
    size_t count;
};

/* Initialises b as an empty buffer without a maximum worth the name: set b->max. */
void buf_pool_take(struct buf_pool *pool, struct buf *b);
/* Takes over the memory of b, or frees it. b is empty afterwards. */
void buf_pool_give(struct buf_pool *pool, struct buf *b);
/* Frees all but so many pieces. */
void buf_pool_trim(struct buf_pool *pool, size_t most);

#endif
