/* map.h - a hash map from byte strings to objects that know their own key, and the allocator that
 * the memory store lives on.
 *
 *     static struct map_key key_of(const void *object) { ... }
 *     static const struct map_env env = {&allocator, {k0, k1}};
 *
 *     struct map m;
 *     map_init(&m, &env, key_of);
 *     if (map_reserve(&m, 1) != 0) ...              // no memory: nothing changed
 *     map_put(&m, object);                          // cannot fail any more
 *     object = map_get(&m, "key", 3);
 *     map_remove(&m, "key", 3);
 *     map_deinit(&m);                               // the objects are the caller's
 *
 * Reserving and putting are apart, so that an operation can first get all the memory it needs and
 * then commit without a way to fail. Keys come from outside: the hash is SipHash-1-3 with a secret.
 * One thread only. */
#ifndef HARNESS_ENGINE_MAP_H
#define HARNESS_ENGINE_MAP_H

#include <stddef.h>
#include <stdint.h>

/* Like lua_Alloc: new_size 0 frees; block NULL allocates; NULL: no memory, block unchanged. The old
 * size is always told. Shrinking never fails. */
typedef void *(*allocator_fn)(void *user, void *block, size_t old_size, size_t new_size);

struct allocator {
    allocator_fn fn;
    void *user;
};

static inline void *allocator_resize(const struct allocator *a, void *block, size_t old_size,
                                     size_t new_size) {
    return a->fn(a->user, block, old_size, new_size);
}

static inline void allocator_free(const struct allocator *a, void *block, size_t size) {
    if (block) (void)a->fn(a->user, block, size, 0);
}

struct map_key {
    const char *data;
    size_t len;
};

/* The key of an object in the map. It must not change while the object is there. */
typedef struct map_key (*map_key_fn)(const void *object);

/* What several maps share. Outlives them. */
struct map_env {
    const struct allocator *allocator;
    uint64_t secret[2];
};

struct map_slot {
    uint32_t hash;
    void *object; /* NULL: free */
};

struct map {
    const struct map_env *env;
    map_key_fn key_of;
    struct map_slot *slots; /* a power of two of them, or NULL */
    uint32_t slot_count;
    uint32_t len;
};

void map_init(struct map *m, const struct map_env *env, map_key_fn key_of);
void map_deinit(struct map *m);

/* Makes room for `more` further objects. Returns 0, or -1 (no memory, or above 2^30 objects). */
int map_reserve(struct map *m, size_t more);

/* The object of this key, or NULL. */
void *map_get(const struct map *m, const char *key, size_t len);

/* Adds an object, in room that was reserved. If there is one with the same key, that one stays and
 * is returned; else NULL. */
void *map_put(struct map *m, void *object);

/* Takes the object of this key out and returns it, or NULL. */
void *map_remove(struct map *m, const char *key, size_t len);

/* Steps through all objects in no order: start with *at = 0, until it returns NULL. Meanwhile
 * nothing may be put in; the object that was returned last may be removed, and then (*at)-- steps
 * back to what took its place. Keys are not looked at. */
void *map_next(const struct map *m, uint32_t *at);

/* SipHash-1-3 of the bytes, folded to 32 bits. */
uint32_t map_hash(const struct map_env *env, const char *bytes, size_t len);

#endif
