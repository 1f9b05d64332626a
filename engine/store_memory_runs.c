/* store_memory_runs.c - the memory engine's runs and events, and the terminal commit.
 *
 * A run is made by create_run, or by the first event that is stored under its id. It stands in its
 * session's list and in the list of all runs, both by (started_at, id); neither ever changes, so
 * finishing a run only swaps its record. */
#include <stddef.h>
#include <string.h>

#include "store_memory_impl.h"

static struct run *run_find(const struct memory *m, struct store_str id) {
    return map_get(&m->runs, id.data, id.len);
}

/* An empty run of an id that is not there yet; NULL: no memory. */
static struct run *run_new(struct memory *m, struct store_str id) {
    if (map_reserve(&m->runs, 1) != 0) return NULL;
    struct run *run = allocator_resize(&m->allocator, NULL, 0, sizeof *run + id.len);
    if (!run) return NULL;
    *run = (struct run){.id_len = id.len};
    memcpy(run->id, id.data, id.len);
    map_put(&m->runs, run);
    return run;
}

void run_free(struct memory *m, struct run *run) {
    record_unref(m, run->record);
    records_free(m, &run->events);
    allocator_free(&m->allocator, run, sizeof *run + run->id_len);
}

void run_delete(struct memory *m, struct run *run) {
    scope_delete(m, STORE_SCOPE_RUN, run->id, run->id_len);
    map_remove(&m->runs, run->id, run->id_len);
    if (run->record) order_remove(&m->all_runs, &run->in_all);
    run_free(m, run);
}

/* Frees a run that run_new made for an operation that then failed. */
static void run_drop_if_empty(struct memory *m, struct run *run) {
    if (run->record || run->events.count > 0) return;
    map_remove(&m->runs, run->id, run->id_len);
    run_free(m, run);
}

static struct run *run_of_all_node(const struct order_node *node) {
    return (struct run *)((char *)(uintptr_t)node - offsetof(struct run, in_all));
}

struct run *run_of_session_node(const struct order_node *node) {
    return (struct run *)((char *)(uintptr_t)node - offsetof(struct run, in_session));
}

static struct record *record_of_all(const struct order_node *node) {
    return run_of_all_node(node)->record;
}

static struct record *record_of_session(const struct order_node *node) {
    return run_of_session_node(node)->record;
}

/* ---- Runs ---------------------------------------------------------------------------- */

/* What create_run says of a run that is there already. */
static enum store_error create_again(const struct run *run, const struct store_run *wanted,
                                     struct store_reply *reply) {
    struct store_run old;
    record_row(run->record, &old);
    bool same = store_str_eq(old.session_id, wanted->session_id) && old.kind == wanted->kind &&
                store_str_eq(old.target, wanted->target);
    if (same && old.status < STORE_SUCCEEDED) return STORE_OK;
    return reply_fail(reply, STORE_ERUN_EXISTS, wanted->id);
}

enum store_error memory_create_run(struct memory *m, const struct store_call *call,
                                   struct store_reply *reply) {
    const struct store_run *row = call->in.run;
    struct run *run = run_find(m, row->id);
    if (run && run->record) return create_again(run, row, reply);

    struct record *record = record_new(m, &store_run_shape, row);
    if (!record) return STORE_ENOMEM;
    struct session *session = session_ensure(m, row->session_id);
    if (session && !run) run = run_new(m, row->id);
    if (!session || !run) {
        if (session) session_drop_if_empty(m, session);
        record_unref(m, record);
        return STORE_ENOMEM;
    }
    run->record = record;
    run->session = session;
    order_insert(m, &session->runs, &run->in_session, record_of_session);
    order_insert(m, &m->all_runs, &run->in_all, record_of_all);
    return STORE_OK;
}

enum store_error memory_get_run(struct memory *m, const struct store_call *call,
                                struct store_reply *reply) {
    const struct run *run = run_find(m, call->id);
    if (!run || !run->record) return STORE_OK;
    return reply_add(m, reply, run->record);
}

static bool run_matches(const struct run *run, const struct store_page *page) {
    if (!page->harness.data && page->status == 0) return true;
    struct store_run row;
    record_row(run->record, &row);
    if (page->status != 0 && row.status != page->status) return false;
    if (!page->harness.data) return true;
    return row.harness.data && store_str_eq(row.harness, page->harness);
}

enum store_error memory_list_runs(struct memory *m, const struct store_call *call,
                                  struct store_reply *reply) {
    const struct store_page *page = &call->in.page;
    bool of_session = page->session_id.data != NULL;
    const struct session *session = of_session ? session_find(m, page->session_id) : NULL;
    if (of_session && !session) return STORE_OK;

    const struct order_node *node = of_session ? session->runs.newest : m->all_runs.newest;
    const struct run *before = page->before.data ? run_find(m, page->before) : NULL;
    if (before && before->record && (!of_session || before->session == session)) {
        node = order_older(of_session ? &before->in_session : &before->in_all);
    }
    for (; node; node = order_older(node)) {
        if (page->limit >= 0 && reply->count >= (uint64_t)page->limit) break;
        const struct run *run = of_session ? run_of_session_node(node) : run_of_all_node(node);
        if (!run_matches(run, page)) continue;
        if (reply_add(m, reply, run->record) != STORE_OK) return STORE_ENOMEM;
    }
    return STORE_OK;
}

/* ---- Events -------------------------------------------------------------------------- */

static int64_t seq_of(const struct record *event) {
    return event->ints[0];
}

/* The first of the events whose seq is above this one. */
static uint32_t first_after(const struct records *events, int64_t seq) {
    uint32_t low = 0, high = events->count;
    if (high > 0 && seq_of(events->items[high - 1]) <= seq) return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (seq_of(events->items[middle]) > seq) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static bool seq_stored(const struct records *events, int64_t seq) {
    uint32_t after = first_after(events, seq);
    return after > 0 && seq_of(events->items[after - 1]) == seq;
}

/* The first new event whose seq is stored already, or stands earlier in the list; NULL: none. Looks
 * at pairs only when the list is not in order, which producers do not do. */
static const struct store_event *seq_twice(const struct records *events,
                                           const struct store_events *new) {
    bool in_order = true;
    for (size_t i = 0; i < new->count; i++) {
        int64_t seq = new->items[i].seq;
        if (seq_stored(events, seq)) return &new->items[i];
        if (i > 0 && seq <= new->items[i - 1].seq) in_order = false;
        for (size_t j = 0; j < i && !in_order; j++) {
            if (new->items[j].seq == seq) return &new->items[i];
        }
    }
    return NULL;
}

/* Like messages_stage: the new events stand behind the last one until events_commit. */
static enum store_error events_stage(struct memory *m, struct run *run,
                                     const struct store_events *new, struct store_reply *reply) {
    struct records *events = &run->events;
    const struct store_event *twice = seq_twice(events, new);
    if (twice) return reply_fail(reply, STORE_EDUPLICATE_EVENT, twice->id);
    if (records_reserve(m, events, new->count) != STORE_OK) return STORE_ENOMEM;
    struct record **staged = events->items + events->count;
    for (size_t i = 0; i < new->count; i++) {
        staged[i] = record_new(m, &store_event_shape, &new->items[i]);
        if (staged[i]) continue;
        while (i > 0) record_unref(m, staged[--i]);
        return STORE_ENOMEM;
    }
    return STORE_OK;
}

static void events_unstage(struct memory *m, struct run *run, size_t count) {
    struct record **staged = run->events.items + run->events.count;
    for (size_t i = 0; i < count; i++) record_unref(m, staged[i]);
}

static void events_commit(struct run *run, size_t count) {
    struct records *events = &run->events;
    for (size_t i = 0; i < count; i++) {
        struct record *event = events->items[events->count];
        records_insert(events, first_after(events, seq_of(event)), event);
    }
}

enum store_error memory_append_events(struct memory *m, const struct store_call *call,
                                      struct store_reply *reply) {
    const struct store_events *events = &call->in.events;
    if (events->count == 0) return STORE_OK;
    struct run *run = run_find(m, call->id);
    if (!run) run = run_new(m, call->id);
    if (!run) return STORE_ENOMEM;
    enum store_error error = events_stage(m, run, events, reply);
    if (error) {
        run_drop_if_empty(m, run);
        return error;
    }
    events_commit(run, events->count);
    return STORE_OK;
}

enum store_error memory_list_events(struct memory *m, const struct store_call *call,
                                    struct store_reply *reply) {
    const struct store_page *page = &call->in.page;
    const struct run *run = run_find(m, call->id);
    if (!run) return STORE_OK;
    uint32_t start = page->after_seq ? first_after(&run->events, page->after_seq) : 0;
    uint32_t end = run->events.count;
    if (page->limit >= 0 && (uint64_t)page->limit < end - start) {
        end = start + (uint32_t)page->limit;
    }
    if (reply_reserve(m, reply, end - start) != STORE_OK) return STORE_ENOMEM;
    for (uint32_t i = start; i < end; i++) {
        if (reply_add(m, reply, run->events.items[i]) != STORE_OK) return STORE_ENOMEM;
    }
    return STORE_OK;
}

/* ---- The end of a run ---------------------------------------------------------------- */

static enum store_error finish_check(const struct run *run, const struct store_run *old,
                                     const struct store_call *call, struct store_reply *reply) {
    const struct store_finish *finish = &call->in.finish;
    if (old->status >= STORE_SUCCEEDED) return reply_fail(reply, STORE_ERUN_FINISHED, call->id);
    if (finish->lease_id.data) return reply_fail(reply, STORE_ELEASE, call->id);
    struct store_str session_id = {run->session->id, run->session->id_len};
    if (finish->session_id.data && !store_str_eq(finish->session_id, session_id)) {
        return reply_fail(reply, STORE_EMISMATCH, finish->session_id);
    }
    if (finish->session && !store_str_eq(finish->session->id, session_id)) {
        return reply_fail(reply, STORE_EMISMATCH, finish->session->id);
    }
    return STORE_OK;
}

/* The run's record with the fields of its end. */
static struct record *finished_record(struct memory *m, struct store_run run,
                                      const struct store_finish *finish) {
    run.status = finish->status;
    run.finished_at = finish->finished_at;
    if (finish->output.data) run.output = finish->output;
    if (finish->error.data) run.error = finish->error;
    return record_new(m, &store_run_shape, &run);
}

enum store_error memory_finish_run(struct memory *m, const struct store_call *call,
                                   struct store_reply *reply) {
    const struct store_finish *finish = &call->in.finish;
    struct run *run = run_find(m, call->id);
    if (!run || !run->record) return reply_fail(reply, STORE_ERUN_NOT_FOUND, call->id);
    struct store_run old;
    record_row(run->record, &old);
    enum store_error error = finish_check(run, &old, call, reply);
    if (error) return error;

    struct store_events events = {finish->event, finish->event ? 1 : 0};
    size_t staged_events = 0;
    struct record *session_record = NULL;
    struct record *record = finished_record(m, old, finish);
    error = STORE_ENOMEM;
    if (!record) goto fail;
    if (finish->session) {
        session_record = record_new(m, &store_session_shape, finish->session);
        if (!session_record) goto fail;
    }
    error = events_stage(m, run, &events, reply);
    if (error) goto fail;
    staged_events = events.count;
    error = messages_stage(m, run->session, &finish->messages, reply);
    if (error) goto fail;

    record_set(m, &run->record, record);
    if (session_record) session_commit_record(m, run->session, session_record);
    events_commit(run, events.count);
    messages_commit(run->session, finish->messages.count);
    return STORE_OK;

fail:
    events_unstage(m, run, staged_events);
    record_unref(m, session_record);
    record_unref(m, record);
    return error;
}
