/* map.c - open addressing with linear probing, at most three quarters full.
 *
 * A slot keeps the hash beside the object, so that growing never looks at keys and a probe compares
 * bytes only where the hashes agree. Removing shifts the following slots back into the gap instead
 * of leaving a tombstone, so lookups do not slow down over time. */
#include "map.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum { MIN_SLOTS = 8 };
static const uint32_t MAX_SLOTS = UINT32_C(1) << 31;

static inline uint64_t rotate(uint64_t x, int bits) {
    return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* Aumasson and Bernstein, "SipHash: a fast short-input PRF", with 1 and 3 rounds as in the tables
 * of Rust and Python. Words are read in the machine's byte order: hashes stay in the process. */
uint32_t map_hash(const struct map_env *env, const char *bytes, size_t len) {
    uint64_t v[4] = {
        env->secret[0] ^ UINT64_C(0x736f6d6570736575),
        env->secret[1] ^ UINT64_C(0x646f72616e646f6d),
        env->secret[0] ^ UINT64_C(0x6c7967656e657261),
        env->secret[1] ^ UINT64_C(0x7465646279746573),
    };
    size_t i = 0;
    uint64_t word;
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, bytes + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    unsigned char tail[8] = {0};
    if (i < len) memcpy(tail, bytes + i, len - i);
    tail[7] = (unsigned char)len;
    memcpy(&word, tail, 8);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int round = 0; round < 3; round++) sip_round(v);
    uint64_t h = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(h ^ (h >> 32));
}

void map_init(struct map *m, const struct map_env *env, map_key_fn key_of) {
    *m = (struct map){.env = env, .key_of = key_of};
}

void map_deinit(struct map *m) {
    allocator_free(m->env->allocator, m->slots, m->slot_count * sizeof *m->slots);
    m->slots = NULL;
    m->slot_count = m->len = 0;
}

static void place(struct map *m, uint32_t hash, void *object) {
    uint32_t mask = m->slot_count - 1;
    uint32_t i = hash & mask;
    while (m->slots[i].object) i = (i + 1) & mask;
    m->slots[i] = (struct map_slot){hash, object};
}

static int resize(struct map *m, uint32_t slot_count) {
    size_t size = slot_count * sizeof(struct map_slot);
    struct map_slot *slots = allocator_resize(m->env->allocator, NULL, 0, size);
    if (!slots) return -1;
    memset(slots, 0, size);
    struct map old = *m;
    m->slots = slots;
    m->slot_count = slot_count;
    for (uint32_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i].object) place(m, old.slots[i].hash, old.slots[i].object);
    }
    allocator_free(m->env->allocator, old.slots, old.slot_count * sizeof *old.slots);
    return 0;
}

static inline bool fits(uint32_t slot_count, size_t len) {
    return len <= slot_count - slot_count / 4;
}

int map_reserve(struct map *m, size_t more) {
    if (more > MAX_SLOTS / 2 || m->len > MAX_SLOTS / 2 - more) return -1;
    size_t len = m->len + more;
    if (fits(m->slot_count, len)) return 0;
    uint32_t slot_count = m->slot_count ? m->slot_count * 2 : MIN_SLOTS;
    while (!fits(slot_count, len)) slot_count *= 2;
    return resize(m, slot_count);
}

/* The slot that holds the key, or the free one where it belongs. There is at least one slot. */
static struct map_slot *find(const struct map *m, uint32_t hash, const char *key, size_t len) {
    uint32_t mask = m->slot_count - 1;
    uint32_t i = hash & mask;
    for (; m->slots[i].object; i = (i + 1) & mask) {
        if (m->slots[i].hash != hash) continue;
        struct map_key other = m->key_of(m->slots[i].object);
        if (other.len == len && (len == 0 || memcmp(other.data, key, len) == 0)) break;
    }
    return &m->slots[i];
}

void *map_get(const struct map *m, const char *key, size_t len) {
    if (m->len == 0) return NULL;
    return find(m, map_hash(m->env, key, len), key, len)->object;
}

void *map_put(struct map *m, void *object) {
    assert(fits(m->slot_count, (size_t)m->len + 1));
    struct map_key key = m->key_of(object);
    uint32_t hash = map_hash(m->env, key.data, key.len);
    struct map_slot *slot = find(m, hash, key.data, key.len);
    if (slot->object) return slot->object;
    *slot = (struct map_slot){hash, object};
    m->len++;
    return NULL;
}

void *map_remove(struct map *m, const char *key, size_t len) {
    if (m->len == 0) return NULL;
    struct map_slot *slot = find(m, map_hash(m->env, key, len), key, len);
    void *object = slot->object;
    if (!object) return NULL;
    uint32_t mask = m->slot_count - 1;
    uint32_t gap = (uint32_t)(slot - m->slots);
    for (uint32_t i = (gap + 1) & mask; m->slots[i].object; i = (i + 1) & mask) {
        /* It may move into the gap unless its home lies between the gap and itself. */
        uint32_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask)) continue;
        m->slots[gap] = m->slots[i];
        gap = i;
    }
    m->slots[gap].object = NULL;
    m->len--;
    return object;
}

void *map_next(const struct map *m, uint32_t *at) {
    while (*at < m->slot_count) {
        void *object = m->slots[(*at)++].object;
        if (object) return object;
    }
    return NULL;
}
