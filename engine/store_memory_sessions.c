/* store_memory_sessions.c - the memory engine's sessions and messages.
 *
 * A session is made by the first thing that is stored under its id, be it a record, a message or a
 * run, and goes with delete_session. Its messages are an array sorted by (timestamp, id), so a new
 * one normally goes to the end. Staging puts new messages into the room behind the end and their
 * ids into the map; committing merges them in. */
#include <stddef.h>
#include <string.h>

#include "store_memory_impl.h"

struct session *session_find(const struct memory *m, struct store_str id) {
    return map_get(&m->sessions, id.data, id.len);
}

struct session *session_ensure(struct memory *m, struct store_str id) {
    struct session *session = session_find(m, id);
    if (session) return session;
    if (map_reserve(&m->sessions, 1) != 0) return NULL;
    session = allocator_resize(&m->allocator, NULL, 0, sizeof *session + id.len);
    if (!session) return NULL;
    *session = (struct session){.id_len = id.len};
    memcpy(session->id, id.data, id.len);
    map_init(&session->message_ids, &m->env, record_key);
    map_put(&m->sessions, session);
    return session;
}

void session_free(struct memory *m, struct session *session) {
    record_unref(m, session->record);
    records_free(m, &session->messages);
    map_deinit(&session->message_ids);
    allocator_free(&m->allocator, session, sizeof *session + session->id_len);
}

void session_drop_if_empty(struct memory *m, struct session *session) {
    if (session->record || session->messages.count > 0 || session->runs.newest) return;
    map_remove(&m->sessions, session->id, session->id_len);
    session_free(m, session);
}

static struct record *record_of_node(const struct order_node *node) {
    char *session = (char *)(uintptr_t)node - offsetof(struct session, in_all);
    return ((struct session *)session)->record;
}

void session_commit_record(struct memory *m, struct session *session, struct record *record) {
    if (session->record) order_remove(&m->all_sessions, &session->in_all);
    record_set(m, &session->record, record);
    order_insert(m, &m->all_sessions, &session->in_all, record_of_node);
}

/* ---- Sessions ------------------------------------------------------------------------ */

enum store_error memory_get_session(struct memory *m, const struct store_call *call,
                                    struct store_reply *reply) {
    const struct session *session = session_find(m, call->id);
    if (!session || !session->record) return STORE_OK;
    return reply_add(m, reply, session->record);
}

enum store_error memory_upsert_session(struct memory *m, const struct store_call *call,
                                       struct store_reply *reply) {
    (void)reply;
    struct record *record = record_new(m, &store_session_shape, call->in.session);
    if (!record) return STORE_ENOMEM;
    struct session *session = session_ensure(m, call->in.session->id);
    if (!session) {
        record_unref(m, record);
        return STORE_ENOMEM;
    }
    session_commit_record(m, session, record);
    return STORE_OK;
}

enum store_error memory_delete_session(struct memory *m, const struct store_call *call,
                                       struct store_reply *reply) {
    (void)reply;
    scope_delete(m, STORE_SCOPE_SESSION, call->id.data, call->id.len);
    struct session *session = map_remove(&m->sessions, call->id.data, call->id.len);
    if (!session) return STORE_OK;
    if (session->record) order_remove(&m->all_sessions, &session->in_all);
    for (struct order_node *node; (node = session->runs.newest) != NULL;) {
        order_remove(&session->runs, node);
        run_delete(m, run_of_session_node(node));
    }
    session_free(m, session);
    return STORE_OK;
}

enum store_error memory_list_sessions(struct memory *m, const struct store_call *call,
                                      struct store_reply *reply) {
    const struct store_page *page = &call->in.page;
    const struct order_node *node = m->all_sessions.newest;
    if (page->before.data) {
        const struct session *before = session_find(m, page->before);
        if (before && before->record) node = order_older(&before->in_all);
    }
    for (; node; node = order_older(node)) {
        if (page->limit >= 0 && reply->count >= (uint64_t)page->limit) break;
        if (reply_add(m, reply, record_of_node(node)) != STORE_OK) return STORE_ENOMEM;
    }
    return STORE_OK;
}

/* ---- Messages ------------------------------------------------------------------------ */

/* Undoes the first `count` messages of a staging. */
static void unstage(struct memory *m, struct session *session, size_t count) {
    struct record **staged = session->messages.items + session->messages.count;
    for (size_t i = 0; i < count; i++) {
        struct map_key key = record_key(staged[i]);
        map_remove(&session->message_ids, key.data, key.len);
        record_unref(m, staged[i]);
    }
}

static enum store_error stage_one(struct memory *m, struct session *session,
                                  const struct store_message *message, struct record **staged,
                                  struct store_reply *reply) {
    *staged = record_new(m, &store_message_shape, message);
    if (!*staged) return STORE_ENOMEM;
    if (!map_put(&session->message_ids, *staged)) return STORE_OK;
    record_unref(m, *staged);
    return reply_fail(reply, STORE_EDUPLICATE_MESSAGE, message->id);
}

enum store_error messages_stage(struct memory *m, struct session *session,
                                const struct store_messages *messages, struct store_reply *reply) {
    if (records_reserve(m, &session->messages, messages->count) != STORE_OK) return STORE_ENOMEM;
    if (map_reserve(&session->message_ids, messages->count) != 0) return STORE_ENOMEM;
    struct record **staged = session->messages.items + session->messages.count;
    for (size_t i = 0; i < messages->count; i++) {
        enum store_error error = stage_one(m, session, &messages->items[i], &staged[i], reply);
        if (error) {
            unstage(m, session, i);
            return error;
        }
    }
    return STORE_OK;
}

/* The first of the sorted messages that comes after this one. */
static uint32_t upper_bound(const struct records *messages, const struct record *message) {
    uint32_t low = 0, high = messages->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (record_cmp(messages->items[middle], message) > 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

void messages_commit(struct session *session, size_t count) {
    struct records *messages = &session->messages;
    for (size_t i = 0; i < count; i++) {
        struct record *message = messages->items[messages->count];
        uint32_t end = messages->count;
        bool in_order = end == 0 || record_cmp(messages->items[end - 1], message) <= 0;
        records_insert(messages, in_order ? end : upper_bound(messages, message), message);
    }
}

enum store_error memory_append_messages(struct memory *m, const struct store_call *call,
                                        struct store_reply *reply) {
    const struct store_messages *messages = &call->in.messages;
    if (messages->count == 0) return STORE_OK;
    struct session *session = session_ensure(m, call->id);
    if (!session) return STORE_ENOMEM;
    enum store_error error = messages_stage(m, session, messages, reply);
    if (error) {
        session_drop_if_empty(m, session);
        return error;
    }
    messages_commit(session, messages->count);
    return STORE_OK;
}

/* Where the message of this id stands; the number of messages if it is not there. */
static uint32_t place_of(const struct session *session, struct store_str id) {
    const struct record *message = map_get(&session->message_ids, id.data, id.len);
    if (!message) return session->messages.count;
    return upper_bound(&session->messages, message) - 1;
}

enum store_error memory_list_messages(struct memory *m, const struct store_call *call,
                                      struct store_reply *reply) {
    const struct store_page *page = &call->in.page;
    const struct session *session = session_find(m, call->id);
    if (!session) return STORE_OK;
    uint32_t end = page->before.data ? place_of(session, page->before) : session->messages.count;
    uint32_t start = 0;
    if (page->limit >= 0 && (uint64_t)page->limit < end) start = end - (uint32_t)page->limit;
    if (reply_reserve(m, reply, end - start) != STORE_OK) return STORE_ENOMEM;
    for (uint32_t i = start; i < end; i++) {
        if (reply_add(m, reply, session->messages.items[i]) != STORE_OK) return STORE_ENOMEM;
    }
    return STORE_OK;
}

enum store_error memory_clear_messages(struct memory *m, const struct store_call *call,
                                       struct store_reply *reply) {
    (void)reply;
    struct session *session = session_find(m, call->id);
    if (!session) return STORE_OK;
    records_free(m, &session->messages);
    map_deinit(&session->message_ids);
    session_drop_if_empty(m, session);
    return STORE_OK;
}

enum store_error memory_replace_messages(struct memory *m, const struct store_call *call,
                                         struct store_reply *reply) {
    const struct store_messages *messages = &call->in.messages;
    if (messages->count == 0) return memory_clear_messages(m, call, reply);
    struct session *session = session_ensure(m, call->id);
    if (!session) return STORE_ENOMEM;
    struct records old = session->messages;
    struct map old_ids = session->message_ids;
    session->messages = (struct records){0};
    map_init(&session->message_ids, &m->env, record_key);
    enum store_error error = messages_stage(m, session, messages, reply);
    if (error) {
        records_free(m, &session->messages);
        map_deinit(&session->message_ids);
        session->messages = old;
        session->message_ids = old_ids;
        session_drop_if_empty(m, session);
        return error;
    }
    messages_commit(session, messages->count);
    records_free(m, &old);
    map_deinit(&old_ids);
    return STORE_OK;
}
