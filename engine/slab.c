/* slab.c - one list of slabs with free blocks for each size class; the block at hand comes from the
 * head of its class.
 *
 * A slab is SLAB_BYTES large and aligned to that, so a block's slab is known from its address, and
 * begins with a struct slab. Its free blocks are linked through themselves; those that were never
 * used lie behind `fresh`, so memory is touched only as it is needed. Slabs are cut from regions,
 * which are mapped once and given back at the end; the pages of an empty slab, but for its first one,
 * go back earlier when there are more than a few of them, measured by those in use, so that a load
 * that goes up and down does not map all the time. */
#include "slab.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Every block by itself, so that a sanitizer sees it: gcc's and clang's ways to say that there is one. */
#if !defined(SLAB_WATCHED) && defined(__SANITIZE_ADDRESS__)
#define SLAB_WATCHED 1
#elif !defined(SLAB_WATCHED) && defined(__has_feature)
#define SLAB_WATCHED __has_feature(address_sanitizer)
#elif !defined(SLAB_WATCHED)
#define SLAB_WATCHED 0
#endif

enum {
    FINE_MAX = 128, /* classes are 8 bytes apart up to here, then COARSE */
    COARSE = 32,
    CLASSES = FINE_MAX / 8 + (SLAB_BLOCK_MAX - FINE_MAX) / COARSE,
    REGION_SLABS = 16,
    REGION_BYTES = (REGION_SLABS + 1) * SLAB_BYTES, /* one more, to align them */
    SPARE_MIN = 16,
    SPARE_SHARE = 4,
};

struct free_block {
    struct free_block *next;
};

struct slab {
    struct free_block *free;
    char *fresh; /* from here to the end nothing was ever used */
    uint32_t used;
    uint32_t class;
    struct slab *prev; /* in the list of its class, when it has free blocks; or of the empty */
    struct slab *next;
};

struct region {
    struct region *next;
    void *mapped;
};

struct slabs {
    struct slab *usable[CLASSES]; /* those with free blocks */
    struct slab *empty;           /* with their pages */
    struct slab *bare;            /* empty, and without them */
    uint32_t empty_count;
    uint32_t count; /* of all that have their pages */
    uint32_t uncut; /* slabs that were not cut from the newest region yet */
    char *cut_at;
    size_t page; /* of the system */
    struct region *regions;
};

static uint32_t class_of(size_t size) {
    if (size <= FINE_MAX) return (uint32_t)((size - 1) / 8);
    return (uint32_t)(FINE_MAX / 8 + (size - FINE_MAX - 1) / COARSE);
}

static size_t class_size(uint32_t class) {
    if (class < FINE_MAX / 8) return (class + 1) * 8;
    return FINE_MAX + (class + 1 - FINE_MAX / 8) * COARSE;
}

static struct slab *slab_of(void *block) {
    return (struct slab *)((uintptr_t)block & ~(uintptr_t)(SLAB_BYTES - 1));
}

static void list_push(struct slab **list, struct slab *slab) {
    slab->prev = NULL;
    slab->next = *list;
    if (*list) (*list)->prev = slab;
    *list = slab;
}

static void list_remove(struct slab **list, struct slab *slab) {
    if (slab->prev) slab->prev->next = slab->next;
    else *list = slab->next;
    if (slab->next) slab->next->prev = slab->prev;
}

/* ---- slabs ------------------------------------------------------------------------------- */

static bool region_new(struct slabs *s) {
    struct region *region = malloc(sizeof *region);
    if (!region) return false;
    region->mapped =
        mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region->mapped == MAP_FAILED) {
        free(region);
        return false;
    }
    region->next = s->regions;
    s->regions = region;
    s->cut_at = (char *)slab_of((char *)region->mapped + SLAB_BYTES - 1);
    s->uncut = REGION_SLABS;
    return true;
}

static struct slab *slab_take(struct slabs *s) {
    struct slab *slab = s->empty;
    if (slab) {
        list_remove(&s->empty, slab);
        s->empty_count--;
        return slab;
    }
    if (s->bare) {
        slab = s->bare;
        list_remove(&s->bare, slab);
        s->count++;
        return slab;
    }
    if (!s->uncut && !region_new(s)) return NULL;
    slab = (struct slab *)(void *)s->cut_at;
    s->cut_at += SLAB_BYTES;
    s->uncut--;
    s->count++;
    return slab;
}

/* A slab for the class, at the head of its list. */
static struct slab *slab_new(struct slabs *s, uint32_t class) {
    struct slab *slab = slab_take(s);
    if (!slab) return NULL;
    *slab = (struct slab){.fresh = (char *)(slab + 1), .class = class};
    list_push(&s->usable[class], slab);
    return slab;
}

/* Gives the pages of an empty slab back. */
static void strip(struct slabs *s) {
    struct slab *slab = s->empty;
    list_remove(&s->empty, slab);
    if (s->page < SLAB_BYTES)
        (void)madvise((char *)slab + s->page, SLAB_BYTES - s->page, MADV_DONTNEED);
    list_push(&s->bare, slab);
    s->empty_count--;
    s->count--;
}

static void slab_emptied(struct slabs *s, struct slab *slab) {
    list_remove(&s->usable[slab->class], slab);
    list_push(&s->empty, slab);
    s->empty_count++;
    for (int i = 0; i < 2; i++) { /* one for this one, one for those that may stay no longer */
        uint32_t in_use = s->count - s->empty_count;
        if (s->empty_count > SPARE_MIN + in_use / SPARE_SHARE) strip(s);
    }
}

/* ---- blocks ------------------------------------------------------------------------------ */

static bool is_full(const struct slab *slab) {
    return !slab->free && slab->fresh + class_size(slab->class) > (const char *)slab + SLAB_BYTES;
}

static void *block_new(struct slabs *s, size_t size) {
    uint32_t class = class_of(size);
    struct slab *slab = s->usable[class];
    if (!slab && !(slab = slab_new(s, class))) return NULL;
    void *block = slab->free;
    if (block) {
        slab->free = slab->free->next;
    } else {
        block = slab->fresh;
        slab->fresh += class_size(class);
    }
    slab->used++;
    if (!slab->free && is_full(slab)) list_remove(&s->usable[class], slab);
    return block;
}

static void block_free(struct slabs *s, void *block) {
    struct slab *slab = slab_of(block);
    if (!slab->free && is_full(slab)) list_push(&s->usable[slab->class], slab);
    struct free_block *freed = block;
    freed->next = slab->free;
    slab->free = freed;
    if (--slab->used == 0 && (slab->prev || slab->next)) slab_emptied(s, slab);
}

/* Between the slabs and malloc, or from one class to another. */
static void *block_move(struct slabs *s, void *block, size_t old_size, size_t new_size) {
    void *moved = new_size <= SLAB_BLOCK_MAX ? block_new(s, new_size) : malloc(new_size);
    if (!moved) return NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    if (old_size <= SLAB_BLOCK_MAX) block_free(s, block);
    else free(block);
    return moved;
}

static void *slab_allocate(struct slabs *s, void *block, size_t old_size, size_t new_size) {
    if (!block) {
        if (!new_size) return NULL;
        return new_size <= SLAB_BLOCK_MAX ? block_new(s, new_size) : malloc(new_size);
    }
    if (new_size == 0) {
        if (old_size <= SLAB_BLOCK_MAX) block_free(s, block);
        else free(block);
        return NULL;
    }
    if (old_size > SLAB_BLOCK_MAX && new_size > SLAB_BLOCK_MAX) return realloc(block, new_size);
    if (old_size <= SLAB_BLOCK_MAX && new_size <= SLAB_BLOCK_MAX &&
        class_of(old_size) == class_of(new_size))
        return block;
    return block_move(s, block, old_size, new_size);
}

static void *malloc_allocate(void *block, size_t new_size) {
    if (new_size) return realloc(block, new_size);
    free(block);
    return NULL;
}

void *slabs_allocate(void *slabs, void *block, size_t old_size, size_t new_size) {
    if (SLAB_WATCHED) return malloc_allocate(block, new_size);
    return slab_allocate(slabs, block, old_size, new_size);
}

struct slabs *slabs_new(void) {
    struct slabs *s = calloc(1, sizeof *s);
    if (s) s->page = (size_t)sysconf(_SC_PAGESIZE);
    return s;
}

void slabs_free(struct slabs *s) {
    if (!s) return;
    while (s->regions) {
        struct region *region = s->regions;
        s->regions = region->next;
        munmap(region->mapped, REGION_BYTES);
        free(region);
    }
    free(s);
}
