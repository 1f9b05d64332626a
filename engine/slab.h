/* slab.h - memory for a Lua state, which makes and frees small blocks by the million.
 *
 *     struct slabs *slabs = slabs_new();
 *     lua_State *L = lua_newstate(slabs_allocate, slabs);
 *     ...
 *     lua_close(L);
 *     slabs_free(slabs);
 *
 * Blocks of up to SLAB_BLOCK_MAX bytes lie side by side in pieces of SLAB_BYTES, each for one size,
 * without a header of their own; greater ones come from malloc. A piece in which nothing is in use
 * any more serves whatever size is asked for next, and when several are so, their memory goes back
 * to the system. A block of n bytes is aligned to 8 bytes, as Lua wants it, and no more.
 *
 * Built with AddressSanitizer every block comes from malloc, so that each is watched. One thread
 * only. */
#ifndef HARNESS_ENGINE_SLAB_H
#define HARNESS_ENGINE_SLAB_H

#include <stddef.h>

enum { SLAB_BYTES = 64 << 10, SLAB_BLOCK_MAX = 1024 };

struct slabs;

/* NULL: no memory. */
struct slabs *slabs_new(void);
/* Frees the slabs themselves; everything must have been given back before. NULL is ignored. */
void slabs_free(struct slabs *slabs);

/* A lua_Alloc: new_size 0 frees; block NULL allocates, whatever old_size is; else the block is
 * resized, and old_size is its size. NULL: no memory, and the block is as it was. */
void *slabs_allocate(void *slabs, void *block, size_t old_size, size_t new_size);

#endif
