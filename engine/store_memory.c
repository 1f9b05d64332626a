/* store_memory.c - the memory engine's frame: opening, closing, dispatch, replies, and the records
 * that the other store_memory*.c files work with (store_memory_impl.h shows the data structure). */
#include "store_memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "store_memory_impl.h"

/* ---- Records ------------------------------------------------------------------------- */

static const uint32_t ABSENT = UINT32_MAX;

static uint32_t *record_lengths(const struct record *record) {
    return (uint32_t *)(record->ints + record->shape->ints);
}

static char *record_bytes(const struct record *record) {
    return (char *)(record_lengths(record) + record->shape->texts);
}

static size_t head_size(const struct store_shape *shape) {
    return sizeof(struct record) + shape->ints * sizeof(int64_t) + shape->texts * sizeof(uint32_t);
}

static size_t record_size(const struct record *record) {
    size_t size = head_size(record->shape);
    const uint32_t *lengths = record_lengths(record);
    for (size_t i = 0; i < record->shape->texts; i++) {
        if (lengths[i] != ABSENT) size += lengths[i];
    }
    return size;
}

static struct store_str *text_at(const struct store_column *column, const void *row) {
    return (struct store_str *)((char *)(uintptr_t)row + column->offset);
}

static int64_t *int_at(const struct store_column *column, const void *row) {
    return (int64_t *)((char *)(uintptr_t)row + column->offset);
}

struct record *record_new(struct memory *m, const struct store_shape *shape, const void *row) {
    size_t size = head_size(shape);
    for (size_t i = 0; i < shape->texts; i++) {
        size_t len = text_at(&shape->columns[i], row)->len;
        if (len >= ABSENT) return NULL;
        size += len;
    }
    struct record *record = allocator_resize(&m->allocator, NULL, 0, size);
    if (!record) return NULL;
    record->refs = 1;
    record->shape = shape;
    for (size_t i = 0; i < shape->ints; i++) {
        record->ints[i] = *int_at(&shape->columns[shape->texts + i], row);
    }
    uint32_t *lengths = record_lengths(record);
    char *bytes = record_bytes(record);
    for (size_t i = 0; i < shape->texts; i++) {
        const struct store_str *text = text_at(&shape->columns[i], row);
        lengths[i] = text->data ? (uint32_t)text->len : ABSENT;
        if (!text->data) continue;
        memcpy(bytes, text->data, text->len);
        bytes += text->len;
    }
    return record;
}

void record_unref(struct memory *m, struct record *record) {
    if (!record || --record->refs > 0) return;
    allocator_free(&m->allocator, record, record_size(record));
}

void record_set(struct memory *m, struct record **slot, struct record *record) {
    record_unref(m, *slot);
    *slot = record;
}

struct store_str record_id(const struct record *record) {
    return (struct store_str){record_bytes(record), record_lengths(record)[0]};
}

struct store_str record_order(const struct record *record) {
    const uint32_t *lengths = record_lengths(record);
    return (struct store_str){record_bytes(record) + lengths[0], lengths[1]};
}

void record_row(const struct record *record, void *row) {
    const struct store_shape *shape = record->shape;
    const uint32_t *lengths = record_lengths(record);
    const char *bytes = record_bytes(record);
    for (size_t i = 0; i < shape->texts; i++) {
        struct store_str *text = text_at(&shape->columns[i], row);
        *text = (struct store_str){0};
        if (lengths[i] == ABSENT) continue;
        *text = (struct store_str){bytes, lengths[i]};
        bytes += lengths[i];
    }
    for (size_t i = 0; i < shape->ints; i++) {
        *int_at(&shape->columns[shape->texts + i], row) = record->ints[i];
    }
}

int record_cmp(const struct record *a, const struct record *b) {
    int order = store_str_cmp(record_order(a), record_order(b));
    return order != 0 ? order : store_str_cmp(record_id(a), record_id(b));
}

struct map_key record_key(const void *record) {
    struct store_str id = record_id(record);
    return (struct map_key){id.data, id.len};
}

enum store_error records_reserve(struct memory *m, struct records *records, size_t more) {
    if (more > UINT32_MAX / 2 - records->count) return STORE_ENOMEM;
    size_t need = records->count + more;
    if (need <= records->cap) return STORE_OK;
    size_t cap = records->cap ? (size_t)records->cap * 2 : 4;
    if (cap < need) cap = need;
    size_t item = sizeof(struct record *);
    void *items = allocator_resize(&m->allocator, records->items, records->cap * item, cap * item);
    if (!items) return STORE_ENOMEM;
    records->items = items;
    records->cap = (uint32_t)cap;
    return STORE_OK;
}

void records_insert(struct records *records, uint32_t at, struct record *record) {
    assert(records->count < records->cap);
    struct record **place = records->items + at;
    memmove(place + 1, place, (records->count - at) * sizeof(struct record *));
    *place = record;
    records->count++;
}

void records_free(struct memory *m, struct records *records) {
    for (uint32_t i = 0; i < records->count; i++) record_unref(m, records->items[i]);
    allocator_free(&m->allocator, records->items, records->cap * sizeof(struct record *));
    *records = (struct records){0};
}

/* ---- Replies ------------------------------------------------------------------------- */

static void memory_free(struct memory *m) {
    if (--m->refs > 0) return;
    struct allocator allocator = m->allocator;
    allocator_free(&allocator, m, sizeof *m);
}

struct memory_row *reply_rows(struct store_reply *reply) {
    return reply->rows;
}

enum store_error reply_reserve(struct memory *m, struct store_reply *reply, size_t rows) {
    if (!reply->rows) {
        reply->rows = reply->few;
        reply->rows_size = sizeof reply->few;
    }
    if (rows <= reply->rows_size / sizeof(struct memory_row)) return STORE_OK;
    bool few = reply->rows == reply->few;
    size_t size = rows * sizeof(struct memory_row);
    void *block =
        allocator_resize(&m->allocator, few ? NULL : reply->rows, few ? 0 : reply->rows_size, size);
    if (!block) return STORE_ENOMEM;
    if (few) memcpy(block, reply->few, reply->count * sizeof(struct memory_row));
    reply->rows = block;
    reply->rows_size = size;
    return STORE_OK;
}

enum store_error reply_add(struct memory *m, struct store_reply *reply, struct record *record) {
    size_t cap = reply->rows_size / sizeof(struct memory_row);
    if (reply->count == cap && reply_reserve(m, reply, cap ? cap * 2 : 1) != STORE_OK) {
        return STORE_ENOMEM;
    }
    if (record) record->refs++;
    reply_rows(reply)[reply->count++] = (struct memory_row){.record = record};
    return STORE_OK;
}

void reply_truncate(struct memory *m, struct store_reply *reply, size_t rows) {
    while (reply->count > rows) record_unref(m, reply_rows(reply)[--reply->count].record);
}

enum store_error reply_fail(struct store_reply *reply, enum store_error error,
                            struct store_str id) {
    size_t len = id.len < STORE_DETAIL_MAX - 1 ? id.len : STORE_DETAIL_MAX - 1;
    for (size_t i = 0; i < len; i++) {
        char c = id.data[i];
        reply->detail[i] = c < ' ' || c == 0x7f ? '?' : c;
    }
    reply->detail[len] = '\0';
    return error;
}

static void reply_release(struct memory *m, struct store_reply *reply) {
    reply_truncate(m, reply, 0);
    if (reply->rows != reply->few) allocator_free(&m->allocator, reply->rows, reply->rows_size);
    reply->rows = NULL;
    reply->rows_size = 0;
}

static void memory_clear(struct store_reply *reply) {
    struct memory *m = (struct memory *)reply->store;
    reply_release(m, reply);
    memory_free(m);
}

static void memory_row(const struct store_reply *reply, size_t i, union store_row *row) {
    const struct memory_row *r = (const struct memory_row *)reply->rows + i;
    if (!r->record) {
        row->swept = (struct store_swept){.memory = r->count};
        return;
    }
    record_row(r->record, row);
    if (r->record->shape == &store_entry_shape) row->entry.score = r->score;
}

/* ---- The store ----------------------------------------------------------------------- */

static const memory_fn OPERATIONS[STORE_OP_COUNT] = {
    [STORE_GET_SESSION] = memory_get_session,
    [STORE_UPSERT_SESSION] = memory_upsert_session,
    [STORE_DELETE_SESSION] = memory_delete_session,
    [STORE_LIST_SESSIONS] = memory_list_sessions,
    [STORE_APPEND_MESSAGES] = memory_append_messages,
    [STORE_LIST_MESSAGES] = memory_list_messages,
    [STORE_CLEAR_MESSAGES] = memory_clear_messages,
    [STORE_REPLACE_MESSAGES] = memory_replace_messages,
    [STORE_CREATE_RUN] = memory_create_run,
    [STORE_GET_RUN] = memory_get_run,
    [STORE_LIST_RUNS] = memory_list_runs,
    [STORE_FINISH_RUN] = memory_finish_run,
    [STORE_APPEND_EVENTS] = memory_append_events,
    [STORE_LIST_EVENTS] = memory_list_events,
    [STORE_MEMORY_GET] = memory_kv_get,
    [STORE_MEMORY_PUT] = memory_kv_put,
    [STORE_MEMORY_DELETE] = memory_kv_delete,
    [STORE_MEMORY_LIST] = memory_kv_list,
    [STORE_MEMORY_SEARCH] = memory_kv_search,
    [STORE_SWEEP] = memory_kv_sweep,
};

static void memory_submit(struct store *store, const struct store_call *call,
                          struct store_reply *reply) {
    struct memory *m = (struct memory *)store;
    memory_fn fn = OPERATIONS[call->op];
    reply->error = fn ? fn(m, call, reply) : STORE_ENOTSUP;
    if (reply->error || reply->count == 0) {
        reply_release(m, reply);
    } else {
        m->refs++;
    }
    store_reply_finish(reply);
}

static void memory_close(struct store *store) {
    struct memory *m = (struct memory *)store;
    void *object;
    for (uint32_t at = 0; (object = map_next(&m->runs, &at)) != NULL;) run_free(m, object);
    for (uint32_t at = 0; (object = map_next(&m->sessions, &at)) != NULL;) session_free(m, object);
    for (int kind = 0; kind < MEMORY_SCOPES; kind++) {
        struct map *scopes = &m->scopes[kind];
        for (uint32_t at = 0; (object = map_next(scopes, &at)) != NULL;) scope_free(m, object);
        map_deinit(scopes);
    }
    map_deinit(&m->runs);
    map_deinit(&m->sessions);
    memory_free(m);
}

static const char *const CAPABILITIES[] = {
    "memory.kv",      "memory.list",  "memory.delete", "memory.search", "memory.ttl", "memory.run",
    "memory.session", "memory.agent", "memory.user",   "memory.tenant", NULL,
};

const struct store_ops store_memory_ops = {
    .name = "memory",
    .capabilities = CAPABILITIES,
    .submit = memory_submit,
    .row = memory_row,
    .clear = memory_clear,
    .close = memory_close,
};

static void *system_allocator(void *user, void *block, size_t old_size, size_t new_size) {
    (void)user;
    (void)old_size;
    if (new_size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, new_size);
}

static struct map_key session_key(const void *object) {
    const struct session *session = object;
    return (struct map_key){session->id, session->id_len};
}

static struct map_key run_key(const void *object) {
    const struct run *run = object;
    return (struct map_key){run->id, run->id_len};
}

static struct map_key scope_key(const void *object) {
    const struct scope *scope = object;
    return (struct map_key){scope->id, scope->id_len};
}

struct store *store_memory_new(const struct store_memory_options *options) {
    struct allocator allocator = options->allocator;
    if (!allocator.fn) allocator.fn = system_allocator;
    uint64_t secret[2];
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) return NULL;
    struct memory *m = allocator_resize(&allocator, NULL, 0, sizeof *m);
    if (!m) return NULL;
    *m = (struct memory){.base = {&store_memory_ops},
                         .allocator = allocator,
                         .env = {&m->allocator, {secret[0], secret[1]}},
                         .loop = options->loop,
                         .refs = 1,
                         .random = secret[0] | 1};
    map_init(&m->sessions, &m->env, session_key);
    map_init(&m->runs, &m->env, run_key);
    for (int kind = 0; kind < MEMORY_SCOPES; kind++) {
        map_init(&m->scopes[kind], &m->env, scope_key);
    }
    return &m->base;
}
