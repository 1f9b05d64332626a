/* store.h - the storage port: what every storage engine offers, and all that callers know of it.
 *
 *     static void got(struct store_reply *reply) { ... }     // maybe before store_submit returns
 *
 *     struct store_call call = {.op = STORE_LIST_MESSAGES, .id = session_id};
 *     call.in.page.limit = 20;
 *     struct store_reply reply = {.done = got};              // lives until done was called
 *     store_submit(store, &call, &reply);
 *     ...                                                    // in or after done:
 *     if (reply.error) fail(store_error_code(reply.error), store_error_reason(reply.error));
 *     union store_row row;
 *     for (size_t i = 0; i < reply.count; i++) { store_row(&reply, i, &row); use(&row.message); }
 *     store_reply_clear(&reply);
 *
 * One call is one operation, all or nothing: after an error nothing has changed, and nobody ever
 * sees half of it. Calls take effect in the order of their submission, as far as they touch the
 * same session or run.
 *
 * Arguments (the call and all it points at) must live until store_submit returns; an engine that
 * works later copies them. The reply belongs to the caller and must stay where it is until done was
 * called: exactly once, on the loop's thread. Its rows belong to the reply: they stay as they are
 * whatever happens to the store, and go with store_reply_clear (also after store_close).
 *
 * Values that only Lua understands (content, tool_calls, input, output, error, payload, metadata,
 * steps, memory values) cross the port as compact JSON text. No engine needs to parse it; an absent
 * value (data == NULL) is not the same as JSON null. Ids and times are text: ids any bytes, times
 * ISO 8601 UTC, compared as bytes. */
#ifndef HARNESS_ENGINE_STORE_H
#define HARNESS_ENGINE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_str {
    const char *data; /* NULL: absent. Not NUL-terminated */
    size_t len;
};

/* ---- Records: the columns that engines index, filter and sort by, and the rest ------- */

/* 0 stands for "not given" in each of these. */
enum store_role { STORE_SYSTEM = 1, STORE_USER, STORE_ASSISTANT, STORE_TOOL };
enum store_kind { STORE_AGENT = 1, STORE_WORKFLOW };
/* From STORE_SUCCEEDED on: terminal. */
enum store_status {
    STORE_QUEUED = 1,
    STORE_RUNNING,
    STORE_WAITING,
    STORE_SUCCEEDED,
    STORE_FAILED,
    STORE_CANCELLED,
};

struct store_session {
    struct store_str id, created_at, updated_at, harness;
    struct store_str metadata; /* JSON */
    int64_t run_count;
};

/* Whose messages they are is said by the call. */
struct store_message {
    struct store_str id, timestamp, run_id, tool_call_id;
    struct store_str content, tool_calls, provider; /* JSON */
    struct store_str extra;                         /* JSON object: all further fields */
    int64_t role;
};

struct store_run {
    struct store_str id, started_at, session_id, target, harness, finished_at;
    struct store_str input, output, error, metadata; /* JSON */
    struct store_str extra;                          /* JSON object: all further fields */
    int64_t kind, status;
    int64_t attempt; /* 0: not given */
};

/* Whose events they are is said by the call. */
struct store_event {
    struct store_str id, at, type;
    struct store_str payload; /* JSON */
    int64_t seq;              /* 1 or more, unique in its run; numbers may be missing */
};

struct store_lease {
    struct store_str run_id, session_id, worker_id, lease_id;
    struct store_str harness, workflow_id, version, input; /* input: JSON, that of the first call */
    int64_t attempt;                                       /* 1, 2, 3, ... */
    int64_t resumed;       /* 1: an earlier attempt committed a step */
    int64_t last_sequence; /* the highest committed, 0: none */
    int64_t steps;         /* how many are committed; they are read by get_step or list_steps */
    int64_t expires_ms;    /* epoch, by the clock that the engine's leases use */
    int64_t cancel_requested;
};

struct store_step {
    struct store_str run_id, step_id, started_at, committed_at; /* committed_at absent: in doubt */
    struct store_str output;                                    /* JSON; absent is kept absent */
    int64_t sequence, attempt;
};

struct store_wait {
    struct store_str run_id, name, event_id;
    struct store_str payload; /* JSON, once delivered */
    int64_t deadline_ms;      /* epoch, 0: none */
    int64_t delivered;
};

/* What is remembered under a key. */
struct store_entry {
    struct store_str key;
    struct store_str value;    /* JSON; absent in the rows of memory_list */
    struct store_str tags;     /* JSON list of strings */
    struct store_str metadata; /* JSON object */
    int64_t created_ms, updated_ms;
    int64_t expires_ms; /* 0: never */
    double score;       /* of memory_search: above 0, at most 1 */
};

/* Handle, checkpoint, result and inspection of a workspace in one: methods fill what they say. */
struct store_workspace {
    struct store_str workspace_ref, run_id, session_id, state, checkpoint_ref, snapshot_ref;
    struct store_str step_id, created_at, updated_at, committed_at, expires_at;
    struct store_str cleanup_eligible_at, metadata; /* metadata: JSON */
    int64_t sequence, attempt, size_bytes, deleted_bytes, deleted_files, retry_after_ms, partial;
};

/* ---- Calls --------------------------------------------------------------------------- */

enum store_op {
    /* Sessions. */
    STORE_GET_SESSION,    /* id -> 0 or 1 session */
    STORE_UPSERT_SESSION, /* in.session: inserts, or replaces the record of that id */
    STORE_DELETE_SESSION, /* id: its record, messages, runs, their events, steps and waits, and the
                             memory of the session and of its runs. Unknown: nothing happens */
    STORE_LIST_SESSIONS,  /* in.page (limit, before) -> sessions, newest created_at first, then id
                             descending; before is a session id */
    /* Messages of the session `id`, which need not have a record. Sorted by (timestamp, id). */
    STORE_APPEND_MESSAGES,  /* in.messages. STORE_EDUPLICATE_MESSAGE: an id is there already, or
                               twice in the list */
    STORE_LIST_MESSAGES,    /* in.page (limit: the last n; before: a message id) -> messages */
    STORE_CLEAR_MESSAGES,   /* id */
    STORE_REPLACE_MESSAGES, /* in.messages instead of those that are there */
    /* Runs. Newest started_at first, then id descending. */
    STORE_CREATE_RUN, /* in.run. Insert only: where a run of that id is there already, it stays as
                         it is, and the call succeeds if that one is not terminal and of the same
                         session, kind and target; else STORE_ERUN_EXISTS */
    STORE_GET_RUN,    /* id -> 0 or 1 run */
    STORE_LIST_RUNS,  /* in.page (session_id, harness, status, limit, before: a run id) -> runs */
    STORE_FINISH_RUN, /* id, in.finish: the terminal commit, see struct store_finish */
    /* Events of the run `id`, which need not have a record. Sorted by seq. */
    STORE_APPEND_EVENTS, /* in.events. STORE_EDUPLICATE_EVENT: a seq is there already */
    STORE_LIST_EVENTS,   /* in.page (limit: the first n; after_seq) -> events */
    /* Durable runs. A run and its durable state are one record. */
    STORE_ACQUIRE_RUN,    /* in.acquire -> 1 lease. Makes the run (queued or not), or takes over one
                          whose lease is over, or is held by the same worker, whose older lease is
                          void then. STORE_ERUN_FINISHED (succeeded, cancelled), STORE_ERUN_CONFLICT
                          (other input, workflow or session), STORE_ELEASE (held elsewhere) */
    STORE_RENEW_LEASE,    /* id, in.lease (lease_id, ttl_ms) -> 1 lease. STORE_ELEASE: lost */
    STORE_RELEASE_RUN,    /* id, in.lease. The run stays as it is; a lease that is lost: nothing */
    STORE_START_STEP,     /* id, in.step: recorded as started; it is in doubt until committed */
    STORE_COMMIT_STEP,    /* id, in.step: output, event and workspace checkpoint in one commit.
                          STORE_ELEASE, STORE_ESTEP (committed before with another output) */
    STORE_GET_STEP,       /* id, in.step.step_id -> 0 or 1 step */
    STORE_LIST_STEPS,     /* id -> steps by sequence, those in doubt last */
    STORE_REQUEST_CANCEL, /* id: seen by its owner at the next renewal; without one, cancels it */
    /* Waits and work. */
    STORE_ENQUEUE_RUN, /* in.enqueue -> 1 run: the new one, or the one of that id that exists */
    STORE_CLAIM_RUN,   /* in.claim -> 0 or 1 lease of a run that is queued and due, woken, or whose
                          lease is over */
    STORE_PUT_WAIT,    /* id, in.wait: parks the run (waiting), releases its lease, in one commit */
    STORE_SIGNAL_WAIT, /* id, in.wait (name, payload, event_id): delivers; the run may be claimed.
                          The same event_id counts once. Kept when it comes before the wait */
    STORE_LIST_WAITS,  /* in.waits -> waits by deadline */
    /* Memory, by scope. An entry whose time is over is absent for all of them. */
    STORE_MEMORY_GET,    /* in.memory (scope, key) -> 0 or 1 entry */
    STORE_MEMORY_PUT,    /* (scope, key, value, tags?, metadata?, ttl_ms): tags and metadata that
                            are not given stay as they were, the time to live does not */
    STORE_MEMORY_DELETE, /* (scope, key). Unknown: nothing happens */
    STORE_MEMORY_LIST,   /* (scope, prefix?, cursor?, limit) -> entries by key, behind the cursor */
    STORE_MEMORY_SEARCH, /* (scope, text, tags?, metadata?, limit) -> entries, best first, that hold
                            at least one word of the text, all the tags and all the metadata */
    /* Workspaces: the file tree of a durable run. Each call has an idempotency key: the same key
       again gives the same answer, for another run or session STORE_EWORKSPACE_CONFLICT. */
    STORE_START_WORKSPACE,   /* in.workspace -> 1 workspace (active) */
    STORE_PAUSE_WORKSPACE,   /* -> 1 workspace: the checkpoint */
    STORE_RESUME_WORKSPACE,  /* -> 1 workspace (active) */
    STORE_ABORT_WORKSPACE,   /* -> 1 workspace (aborted) */
    STORE_CLEANUP_WORKSPACE, /* -> 1 workspace (cleaned or cleanup_pending) */
    STORE_INSPECT_WORKSPACE, /* -> the workspace, then its checkpoints */
    /* Blobs, named by the lower-case hex SHA-256 of their bytes. */
    STORE_PUT_BLOB, /* in.blob -> 1 text, the name */
    STORE_GET_BLOB, /* id -> 0 or 1 text, the bytes */
    /* Retention. */
    STORE_SWEEP, /* in.sweep: removes what is over or orphaned -> 1 swept */
    STORE_OP_COUNT
};

/* Of the list methods. A cursor excludes its own row. One that is not in the list is ignored; one
 * that only fails the filters still marks its place. */
struct store_page {
    int64_t limit;               /* negative: no limit */
    struct store_str before;     /* absent: none */
    int64_t after_seq;           /* of events; 0: from the first */
    struct store_str session_id; /* of runs; absent: of all sessions */
    struct store_str harness;    /* of runs */
    int64_t status;              /* of runs; 0: any */
};

struct store_messages {
    const struct store_message *items;
    size_t count;
};

struct store_events {
    const struct store_event *items;
    size_t count;
};

/* The end of a run, one transaction: the run gets what is given here and keeps its other fields,
 * its session gets the messages and (replacing) the record, the run the event, and the lease is
 * released. STORE_ERUN_NOT_FOUND, STORE_ERUN_FINISHED (it is terminal already), STORE_EMISMATCH
 * (session_id or session->id is not that of the run), STORE_ELEASE (lease_id given and not held),
 * and the errors of append_messages and append_events. */
struct store_finish {
    int64_t status; /* a terminal one */
    struct store_str finished_at;
    struct store_str output, error; /* JSON */
    struct store_str session_id;    /* what the caller believes; absent: not checked */
    struct store_str lease_id;
    const struct store_session *session; /* may be NULL */
    const struct store_event *event;     /* may be NULL */
    struct store_messages messages;
};

struct store_acquire {
    struct store_str session_id, harness, workflow_id, version, worker_id, started_at;
    struct store_str input, metadata; /* JSON */
    int64_t lease_ttl_ms;
};

struct store_lease_call {
    struct store_str lease_id;
    int64_t ttl_ms;
};

struct store_workspace_call {
    struct store_str workspace_ref, run_id, session_id, workflow_id, agent_id, worker_id;
    struct store_str checkpoint_ref, snapshot_ref, step_id, reason, idempotency_key;
    struct store_str manifest, metadata, policy; /* JSON; manifest: path, mode, size, hash */
    int64_t sequence, attempt;
};

struct store_step_call {
    struct store_str lease_id, step_id, at;
    struct store_str output; /* JSON */
    int64_t sequence;
    const struct store_event *event;              /* may be NULL */
    const struct store_workspace_call *workspace; /* a checkpoint to go with it; may be NULL */
};

struct store_enqueue {
    struct store_run run; /* status queued */
    int64_t at_ms;        /* epoch; 0: at once */
};

struct store_claim {
    struct store_str worker_id, harness;
    const struct store_str *workflows; /* NULL: any */
    size_t workflow_count;
    int64_t lease_ttl_ms;
    int64_t wait_ms; /* the reply waits this long for work to come (and can be cancelled); 0: not */
};

struct store_wait_call {
    struct store_str lease_id, name, event_id;
    struct store_str payload; /* JSON */
    int64_t deadline_ms;      /* epoch; 0: none */
};

struct store_waits {
    struct store_str run_id; /* absent: of all runs */
    int64_t due_before_ms;   /* epoch; 0: all */
};

/* Whose memory: the kind and that kind's id, nothing else, tell one scope from another. */
enum store_scope_kind {
    STORE_SCOPE_RUN = 1,
    STORE_SCOPE_SESSION,
    STORE_SCOPE_AGENT,
    STORE_SCOPE_USER,
    STORE_SCOPE_TENANT,
};

struct store_memory_call {
    enum store_scope_kind scope;
    struct store_str scope_id;
    struct store_str key;
    struct store_str value, tags, metadata; /* JSON; in memory_search tags and metadata filter */
    int64_t ttl_ms;                         /* 0: for ever */
    int64_t limit;                          /* negative: no limit */
    struct store_str prefix, cursor, text;
};

struct store_sweep {
    int64_t now_ms; /* epoch; 0: the engine's clock */
};

struct store_swept {
    int64_t memory, runs, workspaces, blobs; /* what was removed */
};

struct store_call {
    enum store_op op;
    struct store_str id; /* the session, run or blob that it is about */
    union {
        struct store_page page;
        const struct store_session *session;
        struct store_messages messages;
        const struct store_run *run;
        struct store_finish finish;
        struct store_events events;
        struct store_acquire acquire;
        struct store_lease_call lease;
        struct store_step_call step;
        struct store_enqueue enqueue;
        struct store_claim claim;
        struct store_wait_call wait;
        struct store_waits waits;
        struct store_memory_call memory;
        struct store_workspace_call workspace;
        struct store_str blob;
        struct store_sweep sweep;
    } in;
};

/* ---- Replies ------------------------------------------------------------------------- */

enum store_error {
    STORE_OK,
    STORE_ENOMEM,
    STORE_ENOTSUP, /* this engine does not offer the method */
    STORE_ECLOSED,
    STORE_ECANCELLED,
    STORE_EBACKEND, /* disk, network, server: see detail */
    STORE_ETOOBIG,  /* a value above what the engine can hold */
    STORE_EMISMATCH,
    STORE_EDUPLICATE_MESSAGE,
    STORE_EDUPLICATE_EVENT,
    STORE_ERUN_EXISTS,
    STORE_ERUN_NOT_FOUND,
    STORE_ERUN_FINISHED,
    STORE_ERUN_CONFLICT,
    STORE_ELEASE,
    STORE_ESTEP,
    STORE_EWORKSPACE_CONFLICT,
    STORE_EWORKSPACE_NOT_FOUND,
    STORE_EWORKSPACE_ABORTED,
    STORE_EWORKSPACE_EXPIRED,
    STORE_EWORKSPACE_CHECKPOINT,
    STORE_EWORKSPACE_QUOTA,
    STORE_ERROR_COUNT
};

union store_row {
    struct store_session session;
    struct store_message message;
    struct store_run run;
    struct store_event event;
    struct store_lease lease;
    struct store_step step;
    struct store_wait wait;
    struct store_entry entry;
    struct store_workspace workspace;
    struct store_str text;
    struct store_swept swept;
};

struct store;
struct store_reply;
typedef void (*store_done_fn)(struct store_reply *reply);

enum { STORE_REPLY_FEW = 16, STORE_DETAIL_MAX = 160 };

struct store_reply {
    /* The caller's. */
    store_done_fn done; /* NULL: the caller looks at `finished` */
    void *user;
    /* The engine's answer. */
    bool finished;
    enum store_error error;
    size_t count;                  /* rows */
    char detail[STORE_DETAIL_MAX]; /* what it was about (an id, a server's message), or "" */
    /* The engine's own. */
    struct store *store;
    void *rows;
    size_t rows_size;
    void *few[STORE_REPLY_FEW]; /* room, so that a small answer needs no memory of its own */
};

/* What an engine implements. submit fills the reply and calls store_reply_finish, now or later;
 * row and clear serve finished replies, with clear also after close. */
struct store_ops {
    const char *name;                /* "memory", "sqlite", "postgres" */
    const char *const *capabilities; /* "memory.kv", ..., NULL */
    void (*submit)(struct store *store, const struct store_call *call, struct store_reply *reply);
    void (*cancel)(struct store *store, struct store_reply *reply); /* NULL: never under way */
    void (*row)(const struct store_reply *reply, size_t i, union store_row *row);
    void (*clear)(struct store_reply *reply);
    void (*close)(struct store *store);
};

/* The head of each engine's own struct. */
struct store {
    const struct store_ops *ops;
};

/* Starts one operation. The caller's part of the reply must be set, the rest is overwritten. */
void store_submit(struct store *store, const struct store_call *call, struct store_reply *reply);

/* Asks for an early end of what is under way: done is still called, once, maybe with
 * STORE_ECANCELLED (then nothing was changed). Harmless when it has finished. */
void store_cancel(struct store *store, struct store_reply *reply);

/* Fills row with the i-th row (i < count), of the type that the operation says. What it points at
 * belongs to the reply. */
void store_row(const struct store_reply *reply, size_t i, union store_row *row);

/* Lets go of the rows of a finished reply. May be called twice. */
void store_reply_clear(struct store_reply *reply);

/* For engines: marks the reply as finished and calls done, after which it may be gone. */
void store_reply_finish(struct store_reply *reply);

/* Answers what is under way (STORE_ECLOSED where it did not happen) and frees the store. */
void store_close(struct store *store);

/* "get_session", ...: the method's name in Lua, in errors and in metrics. */
const char *store_op_name(enum store_op op);
/* "STATE_ERROR", ...; "duplicate_message_id", ...; a sentence for people. Never NULL. */
const char *store_error_code(enum store_error error);
const char *store_error_reason(enum store_error error);
const char *store_error_text(enum store_error error);

/* The word of an enum's value and back: 0 / NULL for what is none. */
const char *store_role_name(int64_t role);
const char *store_kind_name(int64_t kind);
const char *store_status_name(int64_t status);
const char *store_scope_name(int64_t scope);
int64_t store_role_of(struct store_str word);
int64_t store_kind_of(struct store_str word);
int64_t store_status_of(struct store_str word);
int64_t store_scope_of(struct store_str word);

/* ---- Records by table, for engines and bindings that treat all columns alike --------- */

enum store_column_type {
    STORE_TEXT,  /* struct store_str */
    STORE_JSON,  /* struct store_str */
    STORE_EXTRA, /* struct store_str, JSON object of the fields that have no column */
    STORE_INT,   /* int64_t */
    STORE_ROLE_WORD,
    STORE_KIND_WORD,
    STORE_STATUS_WORD,
};

struct store_column {
    const char *name;
    enum store_column_type type;
    bool required;
    size_t offset; /* in the record's struct */
    int64_t least; /* of an integer */
};

enum { STORE_COLUMNS_MAX = 16 };

/* The columns that are texts come first: the id, then what rows are sorted by. */
struct store_shape {
    const char *name; /* "session", ... */
    const struct store_column *columns;
    size_t texts;
    size_t ints;
    size_t size; /* of the struct */
};

extern const struct store_shape store_session_shape;
extern const struct store_shape store_message_shape;
extern const struct store_shape store_run_shape;
extern const struct store_shape store_event_shape;
extern const struct store_shape store_entry_shape;

/* Bytewise, a shorter one before what it begins. Absent counts as empty. */
int store_str_cmp(struct store_str a, struct store_str b);
bool store_str_eq(struct store_str a, struct store_str b);

/* Steps through a compact JSON array or object: start with *at = 0; each call gives the next value
 * and (of an object) its key, quotes included, as they stand in the text. False at the end. */
bool store_json_next(struct store_str json, size_t *at, struct store_str *key,
                     struct store_str *value);

#endif
