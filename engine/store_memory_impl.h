/* store_memory_impl.h - what the store_memory*.c files share. Nobody else includes it.
 *
 * Data structure. A record (one session, message, run, event or memory entry) is one block: a head,
 * the numbers, the lengths of the texts, the bytes of the texts. Records never change and count
 * their references: a reply holds the records of its rows, and an update puts a new record in the
 * place of the old one. So rows stay valid for free, and an operation can make all its new records
 * and reserve all its room first, and then commit by moving pointers, which cannot fail.
 *
 *     memory -> sessions (map by id) -> session -> messages, sorted; their ids in a map
 *                                               -> its runs, newest first
 *            -> runs (map by id)     -> run     -> events, sorted
 *            -> all runs, all sessions, newest first
 *            -> scopes (map by id, one a kind) -> scope -> entries, sorted by key */
#ifndef HARNESS_ENGINE_STORE_MEMORY_IMPL_H
#define HARNESS_ENGINE_STORE_MEMORY_IMPL_H

#include "store_memory.h"

struct record {
    uint32_t refs;
    const struct store_shape *shape;
    int64_t ints[]; /* then uint32_t lengths[shape->texts], then the bytes */
};

/* A sorted array of records. */
struct records {
    struct record **items;
    uint32_t count;
    uint32_t cap;
};

/* Records by (second column, id), to be walked from the newest to the oldest. The node is embedded
 * in what it stands for. */
struct order_node {
    struct order_node *older;
    struct order_node *newer;
    struct order_node *parent;
    uint64_t rank;
};

typedef struct record *(*order_record_fn)(const struct order_node *node);

struct order {
    struct order_node *root;
    struct order_node *newest;
};

struct session {
    struct record *record;    /* NULL: it has only messages or runs */
    struct order_node in_all; /* while it has a record */
    struct records messages;
    struct map message_ids; /* id -> record */
    struct order runs;
    size_t id_len;
    char id[];
};

struct run {
    struct record *record;   /* NULL: it has only events */
    struct session *session; /* NULL as long as record is */
    struct order_node in_session;
    struct order_node in_all;
    struct records events;
    size_t id_len;
    char id[];
};

struct scope {
    struct records entries;
    size_t id_len;
    char id[];
};

enum { MEMORY_SCOPES = STORE_SCOPE_TENANT + 1 };

struct memory {
    struct store base;
    struct allocator allocator;
    struct map_env env;
    struct loop *loop;
    size_t refs; /* the store itself while open, and each reply that has rows */
    struct map sessions;
    struct map runs;
    struct map scopes[MEMORY_SCOPES];
    struct order all_sessions;
    struct order all_runs;
    uint64_t random; /* for the ranks of order nodes */
};

/* A row of a reply. */
struct memory_row {
    struct record *record; /* NULL: the row is a count */
    union {
        double score;
        int64_t count;
    };
};

/* ---- records ---- */

/* A record with one reference, made of a row (a struct of that shape). NULL: no memory, or a text
 * of 4 GiB or more. */
struct record *record_new(struct memory *m, const struct store_shape *shape, const void *row);
void record_unref(struct memory *m, struct record *record);
/* Puts the record in the place of the one in *slot, which loses a reference. */
void record_set(struct memory *m, struct record **slot, struct record *record);
/* The first two columns. */
struct store_str record_id(const struct record *record);
struct store_str record_order(const struct record *record);
/* Fills the struct of the record's shape; its texts point into the record. */
void record_row(const struct record *record, void *row);
/* By the second column, then the id. */
int record_cmp(const struct record *a, const struct record *b);
struct map_key record_key(const void *record);

/* Room for `more` further items. STORE_OK or STORE_ENOMEM. */
enum store_error records_reserve(struct memory *m, struct records *records, size_t more);
void records_insert(struct records *records, uint32_t at, struct record *record);
/* Lets go of all items and the array. */
void records_free(struct memory *m, struct records *records);

/* ---- order (store_memory_order.c) ---- */

void order_insert(struct memory *m, struct order *order, struct order_node *node,
                  order_record_fn record_of);
void order_remove(struct order *order, struct order_node *node);
/* The next older one, NULL at the end. */
struct order_node *order_older(const struct order_node *node);

/* ---- replies ---- */

/* Adds rows to a reply; on an error the caller returns it, and the rows are let go. */
enum store_error reply_reserve(struct memory *m, struct store_reply *reply, size_t rows);
enum store_error reply_add(struct memory *m, struct store_reply *reply, struct record *record);
/* Cuts the reply to its first `rows` rows. */
void reply_truncate(struct memory *m, struct store_reply *reply, size_t rows);
struct memory_row *reply_rows(struct store_reply *reply);
/* Says what the error was about; always returns error. */
enum store_error reply_fail(struct store_reply *reply, enum store_error error, struct store_str id);

/* ---- sessions and messages (store_memory_sessions.c) ---- */

struct session *session_find(const struct memory *m, struct store_str id);
/* Finds or makes it; NULL: no memory. */
struct session *session_ensure(struct memory *m, struct store_str id);
/* Frees a session that session_ensure made for an operation that then failed. */
void session_drop_if_empty(struct memory *m, struct session *session);
/* Takes the record (with its reference) for the session's own. */
void session_commit_record(struct memory *m, struct session *session, struct record *record);
void session_free(struct memory *m, struct session *session);

/* Makes the messages' records and keeps them behind the last message, unseen. After an error
 * nothing is kept; after STORE_OK the caller commits. */
enum store_error messages_stage(struct memory *m, struct session *session,
                                const struct store_messages *messages, struct store_reply *reply);
void messages_commit(struct session *session, size_t count);

/* ---- runs and events (store_memory_runs.c) ---- */

/* Takes a run out of the maps and lists but its session's, and frees it with its events. */
void run_delete(struct memory *m, struct run *run);
void run_free(struct memory *m, struct run *run);
/* The run of a session's list. */
struct run *run_of_session_node(const struct order_node *node);

/* ---- memory (store_memory_kv.c) ---- */

void scope_delete(struct memory *m, enum store_scope_kind kind, const char *id, size_t id_len);
void scope_free(struct memory *m, struct scope *scope);
/* The epoch milliseconds by which entries expire, and whether this one has. */
int64_t memory_now(const struct memory *m);
bool entry_expired(const struct record *entry, int64_t now_ms);
/* The entry's scope, NULL: nothing is remembered there. */
struct scope *scope_find(const struct memory *m, const struct store_memory_call *in);

/* ---- operations ---- */

typedef enum store_error (*memory_fn)(struct memory *m, const struct store_call *call,
                                      struct store_reply *reply);

enum store_error memory_get_session(struct memory *, const struct store_call *,
                                    struct store_reply *);
enum store_error memory_upsert_session(struct memory *, const struct store_call *,
                                       struct store_reply *);
enum store_error memory_delete_session(struct memory *, const struct store_call *,
                                       struct store_reply *);
enum store_error memory_list_sessions(struct memory *, const struct store_call *,
                                      struct store_reply *);
enum store_error memory_append_messages(struct memory *, const struct store_call *,
                                        struct store_reply *);
enum store_error memory_list_messages(struct memory *, const struct store_call *,
                                      struct store_reply *);
enum store_error memory_clear_messages(struct memory *, const struct store_call *,
                                       struct store_reply *);
enum store_error memory_replace_messages(struct memory *, const struct store_call *,
                                         struct store_reply *);
enum store_error memory_create_run(struct memory *, const struct store_call *,
                                   struct store_reply *);
enum store_error memory_get_run(struct memory *, const struct store_call *, struct store_reply *);
enum store_error memory_list_runs(struct memory *, const struct store_call *, struct store_reply *);
enum store_error memory_finish_run(struct memory *, const struct store_call *,
                                   struct store_reply *);
enum store_error memory_append_events(struct memory *, const struct store_call *,
                                      struct store_reply *);
enum store_error memory_list_events(struct memory *, const struct store_call *,
                                    struct store_reply *);
enum store_error memory_kv_get(struct memory *, const struct store_call *, struct store_reply *);
enum store_error memory_kv_put(struct memory *, const struct store_call *, struct store_reply *);
enum store_error memory_kv_delete(struct memory *, const struct store_call *, struct store_reply *);
enum store_error memory_kv_list(struct memory *, const struct store_call *, struct store_reply *);
enum store_error memory_kv_search(struct memory *, const struct store_call *, struct store_reply *);
enum store_error memory_kv_sweep(struct memory *, const struct store_call *, struct store_reply *);

#endif
