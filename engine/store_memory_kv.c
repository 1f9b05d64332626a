/* store_memory_kv.c - the memory engine's memory: values under keys, in scopes.
 *
 * A scope is an array of entries sorted by key, which serves lookups, prefixes and cursors alike.
 * It exists while it has entries. An entry whose time is over is absent to every reader; its room
 * is taken back when the scope needs room, and by sweep. */
#include <string.h>

#include "store_memory_impl.h"

int64_t memory_now(const struct memory *m) {
    return (int64_t)loop_wall_ms(m->loop);
}

bool entry_expired(const struct record *entry, int64_t now_ms) {
    struct store_entry row;
    record_row(entry, &row);
    return row.expires_ms != 0 && row.expires_ms <= now_ms;
}

struct scope *scope_find(const struct memory *m, const struct store_memory_call *in) {
    return map_get(&m->scopes[in->scope], in->scope_id.data, in->scope_id.len);
}

static struct scope *scope_ensure(struct memory *m, const struct store_memory_call *in) {
    struct scope *scope = scope_find(m, in);
    if (scope) return scope;
    struct map *scopes = &m->scopes[in->scope];
    if (map_reserve(scopes, 1) != 0) return NULL;
    scope = allocator_resize(&m->allocator, NULL, 0, sizeof *scope + in->scope_id.len);
    if (!scope) return NULL;
    *scope = (struct scope){.id_len = in->scope_id.len};
    memcpy(scope->id, in->scope_id.data, in->scope_id.len);
    map_put(scopes, scope);
    return scope;
}

void scope_free(struct memory *m, struct scope *scope) {
    records_free(m, &scope->entries);
    allocator_free(&m->allocator, scope, sizeof *scope + scope->id_len);
}

void scope_delete(struct memory *m, enum store_scope_kind kind, const char *id, size_t id_len) {
    struct scope *scope = map_remove(&m->scopes[kind], id, id_len);
    if (scope) scope_free(m, scope);
}

static void drop_if_empty(struct memory *m, enum store_scope_kind kind, struct scope *scope) {
    if (scope->entries.count == 0) scope_delete(m, kind, scope->id, scope->id_len);
}

/* The first entry whose key is not below this one. */
static uint32_t lower_bound(const struct records *entries, struct store_str key) {
    uint32_t low = 0, high = entries->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (store_str_cmp(record_id(entries->items[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The place of the key's entry, expired or not; the number of entries if it has none. */
static uint32_t place_of(const struct records *entries, struct store_str key) {
    uint32_t at = lower_bound(entries, key);
    if (at < entries->count && store_str_eq(record_id(entries->items[at]), key)) return at;
    return entries->count;
}

/* Lets go of the entries whose time is over and says how many they were. */
static uint32_t purge(struct memory *m, struct records *entries, int64_t now_ms) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < entries->count; i++) {
        struct record *entry = entries->items[i];
        if (entry_expired(entry, now_ms)) {
            record_unref(m, entry);
        } else {
            entries->items[kept++] = entry;
        }
    }
    uint32_t gone = entries->count - kept;
    entries->count = kept;
    return gone;
}

/* Room for one more entry. Grows also when purging freed little of it, so that a full scope is not
 * purged for every put. */
static enum store_error entries_reserve(struct memory *m, struct records *entries, int64_t now_ms) {
    if (entries->count < entries->cap) return STORE_OK;
    purge(m, entries, now_ms);
    if (entries->count < entries->cap - entries->cap / 4) return STORE_OK;
    return records_reserve(m, entries, entries->cap - entries->count + 1);
}

enum store_error memory_kv_get(struct memory *m, const struct store_call *call,
                               struct store_reply *reply) {
    const struct scope *scope = scope_find(m, &call->in.memory);
    if (!scope) return STORE_OK;
    uint32_t at = place_of(&scope->entries, call->in.memory.key);
    if (at == scope->entries.count) return STORE_OK;
    if (entry_expired(scope->entries.items[at], memory_now(m))) return STORE_OK;
    return reply_add(m, reply, scope->entries.items[at]);
}

/* The entry that a put leaves behind; old: the one that is there, or NULL. */
static struct record *entry_new(struct memory *m, const struct store_memory_call *in,
                                const struct record *old, int64_t now_ms) {
    struct store_entry row = {.created_ms = now_ms};
    if (old && !entry_expired(old, now_ms)) record_row(old, &row);
    row.key = in->key;
    row.value = in->value;
    if (in->tags.data) row.tags = in->tags;
    if (in->metadata.data) row.metadata = in->metadata;
    row.updated_ms = now_ms;
    row.expires_ms = 0;
    if (in->ttl_ms > 0) {
        row.expires_ms = in->ttl_ms < INT64_MAX - now_ms ? now_ms + in->ttl_ms : INT64_MAX;
    }
    return record_new(m, &store_entry_shape, &row);
}

enum store_error memory_kv_put(struct memory *m, const struct store_call *call,
                               struct store_reply *reply) {
    (void)reply;
    const struct store_memory_call *in = &call->in.memory;
    int64_t now_ms = memory_now(m);
    struct scope *scope = scope_ensure(m, in);
    if (!scope) return STORE_ENOMEM;
    struct records *entries = &scope->entries;
    uint32_t at = place_of(entries, in->key);
    struct record *old = at < entries->count ? entries->items[at] : NULL;
    struct record *entry = entry_new(m, in, old, now_ms);
    if (entry && old) {
        record_set(m, &entries->items[at], entry);
        return STORE_OK;
    }
    if (!entry || entries_reserve(m, entries, now_ms) != STORE_OK) {
        record_unref(m, entry);
        drop_if_empty(m, in->scope, scope);
        return STORE_ENOMEM;
    }
    records_insert(entries, lower_bound(entries, in->key), entry);
    return STORE_OK;
}

enum store_error memory_kv_delete(struct memory *m, const struct store_call *call,
                                  struct store_reply *reply) {
    (void)reply;
    struct scope *scope = scope_find(m, &call->in.memory);
    if (!scope) return STORE_OK;
    struct records *entries = &scope->entries;
    uint32_t at = place_of(entries, call->in.memory.key);
    if (at == entries->count) return STORE_OK;
    record_unref(m, entries->items[at]);
    entries->count--;
    memmove(entries->items + at, entries->items + at + 1,
            (entries->count - at) * sizeof(struct record *));
    drop_if_empty(m, call->in.memory.scope, scope);
    return STORE_OK;
}

static bool has_prefix(struct store_str key, struct store_str prefix) {
    return key.len >= prefix.len &&
           (prefix.len == 0 || memcmp(key.data, prefix.data, prefix.len) == 0);
}

enum store_error memory_kv_list(struct memory *m, const struct store_call *call,
                                struct store_reply *reply) {
    const struct store_memory_call *in = &call->in.memory;
    const struct scope *scope = scope_find(m, in);
    if (!scope) return STORE_OK;
    const struct records *entries = &scope->entries;
    int64_t now_ms = memory_now(m);
    bool by_cursor = in->cursor.data && store_str_cmp(in->cursor, in->prefix) >= 0;
    uint32_t at = lower_bound(entries, by_cursor ? in->cursor : in->prefix);
    if (by_cursor && at < entries->count &&
        store_str_eq(record_id(entries->items[at]), in->cursor)) {
        at++;
    }
    for (; at < entries->count; at++) {
        struct record *entry = entries->items[at];
        if (in->limit >= 0 && reply->count >= (uint64_t)in->limit) break;
        if (!has_prefix(record_id(entry), in->prefix)) break;
        if (entry_expired(entry, now_ms)) continue;
        if (reply_add(m, reply, entry) != STORE_OK) return STORE_ENOMEM;
    }
    return STORE_OK;
}

enum store_error memory_kv_sweep(struct memory *m, const struct store_call *call,
                                 struct store_reply *reply) {
    int64_t now_ms = call->in.sweep.now_ms ? call->in.sweep.now_ms : memory_now(m);
    if (reply_add(m, reply, NULL) != STORE_OK) return STORE_ENOMEM;
    int64_t gone = 0;
    for (int kind = 0; kind < MEMORY_SCOPES; kind++) {
        struct scope *scope;
        for (uint32_t at = 0; (scope = map_next(&m->scopes[kind], &at)) != NULL;) {
            gone += purge(m, &scope->entries, now_ms);
            if (scope->entries.count > 0) continue;
            scope_delete(m, (enum store_scope_kind)kind, scope->id, scope->id_len);
            at--;
        }
    }
    reply_rows(reply)[0].count = gone;
    return STORE_OK;
}
