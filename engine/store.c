/* store.c - what all storage engines share: names, errors, the columns of the records, and a walk
 * over compact JSON. Nothing here keeps state. */
#include "store.h"

#include <assert.h>
#include <string.h>

/* ---- Calls and replies --------------------------------------------------------------- */

void store_submit(struct store *store, const struct store_call *call, struct store_reply *reply) {
    reply->finished = false;
    reply->error = STORE_OK;
    reply->count = 0;
    reply->detail[0] = '\0';
    reply->store = store;
    reply->rows = NULL;
    reply->rows_size = 0;
    store->ops->submit(store, call, reply);
}

void store_cancel(struct store *store, struct store_reply *reply) {
    if (reply->finished || !store->ops->cancel) return;
    store->ops->cancel(store, reply);
}

void store_row(const struct store_reply *reply, size_t i, union store_row *row) {
    assert(reply->finished && i < reply->count);
    reply->store->ops->row(reply, i, row);
}

void store_reply_clear(struct store_reply *reply) {
    if (!reply->finished || reply->count == 0) return;
    reply->store->ops->clear(reply);
    reply->count = 0;
}

void store_reply_finish(struct store_reply *reply) {
    assert(!reply->finished);
    reply->finished = true;
    if (reply->done) reply->done(reply);
}

void store_close(struct store *store) {
    store->ops->close(store);
}

/* ---- Names --------------------------------------------------------------------------- */

static const char *const OP_NAMES[STORE_OP_COUNT] = {
    [STORE_GET_SESSION] = "get_session",
    [STORE_UPSERT_SESSION] = "upsert_session",
    [STORE_DELETE_SESSION] = "delete_session",
    [STORE_LIST_SESSIONS] = "list_sessions",
    [STORE_APPEND_MESSAGES] = "append_messages",
    [STORE_LIST_MESSAGES] = "list_messages",
    [STORE_CLEAR_MESSAGES] = "clear_messages",
    [STORE_REPLACE_MESSAGES] = "replace_messages",
    [STORE_CREATE_RUN] = "create_run",
    [STORE_GET_RUN] = "get_run",
    [STORE_LIST_RUNS] = "list_runs",
    [STORE_FINISH_RUN] = "finish_run",
    [STORE_APPEND_EVENTS] = "append_events",
    [STORE_LIST_EVENTS] = "list_events",
    [STORE_ACQUIRE_RUN] = "acquire_run",
    [STORE_RENEW_LEASE] = "renew_lease",
    [STORE_RELEASE_RUN] = "release_run",
    [STORE_START_STEP] = "start_step",
    [STORE_COMMIT_STEP] = "commit_step",
    [STORE_GET_STEP] = "get_step",
    [STORE_LIST_STEPS] = "list_steps",
    [STORE_REQUEST_CANCEL] = "request_cancel",
    [STORE_ENQUEUE_RUN] = "enqueue_run",
    [STORE_CLAIM_RUN] = "claim_run",
    [STORE_PUT_WAIT] = "put_wait",
    [STORE_SIGNAL_WAIT] = "signal_wait",
    [STORE_LIST_WAITS] = "list_waits",
    [STORE_MEMORY_GET] = "memory_get",
    [STORE_MEMORY_PUT] = "memory_put",
    [STORE_MEMORY_DELETE] = "memory_delete",
    [STORE_MEMORY_LIST] = "memory_list",
    [STORE_MEMORY_SEARCH] = "memory_search",
    [STORE_START_WORKSPACE] = "start_workspace",
    [STORE_PAUSE_WORKSPACE] = "pause_workspace",
    [STORE_RESUME_WORKSPACE] = "resume_workspace",
    [STORE_ABORT_WORKSPACE] = "abort_workspace",
    [STORE_CLEANUP_WORKSPACE] = "cleanup_workspace",
    [STORE_INSPECT_WORKSPACE] = "inspect_workspace",
    [STORE_PUT_BLOB] = "put_blob",
    [STORE_GET_BLOB] = "get_blob",
    [STORE_SWEEP] = "sweep",
};

static const struct {
    const char *code, *reason, *text;
} ERRORS[STORE_ERROR_COUNT] = {
    [STORE_OK] = {"", "", ""},
    [STORE_ENOMEM] = {"STATE_ERROR", "out_of_memory", "there is no memory left"},
    [STORE_ENOTSUP] = {"STATE_ERROR", "not_available", "this storage does not offer the method"},
    [STORE_ECLOSED] = {"STATE_ERROR", "closed", "the storage is closed"},
    [STORE_ECANCELLED] = {"OPERATION_CANCELLED", "cancelled", "the operation was cancelled"},
    [STORE_EBACKEND] = {"STATE_ERROR", "backend_failure", "the storage failed"},
    [STORE_ETOOBIG] = {"STATE_ERROR", "too_big", "a value is larger than the storage can hold"},
    [STORE_EMISMATCH] = {"STATE_ERROR", "session_mismatch",
                         "the run belongs to another session than the records given"},
    [STORE_EDUPLICATE_MESSAGE] = {"STATE_ERROR", "duplicate_message_id",
                                  "the session would hold two messages with one id"},
    [STORE_EDUPLICATE_EVENT] = {"STATE_ERROR", "duplicate_event_seq",
                                "the run would hold two events with one seq"},
    [STORE_ERUN_EXISTS] = {"STATE_ERROR", "run_exists",
                           "a run with this id exists and has ended, or is another one"},
    [STORE_ERUN_NOT_FOUND] = {"STATE_ERROR", "run_not_found", "there is no run with this id"},
    [STORE_ERUN_FINISHED] = {"STATE_ERROR", "run_finished", "the run has ended already"},
    [STORE_ERUN_CONFLICT] = {"DURABLE_RUN_CONFLICT", "run_conflict",
                             "the run began with another input, workflow or session"},
    [STORE_ELEASE] = {"DURABLE_LEASE_CONFLICT", "lease_conflict", "the lease is held elsewhere"},
    [STORE_ESTEP] = {"DURABLE_STEP_ERROR", "step_conflict",
                     "the step was committed before with another result"},
    [STORE_EWORKSPACE_CONFLICT] = {"WORKSPACE_ERROR", "idempotency_conflict",
                                   "the idempotency key was used for something else"},
    [STORE_EWORKSPACE_NOT_FOUND] = {"WORKSPACE_ERROR", "not_found", "there is no such workspace"},
    [STORE_EWORKSPACE_ABORTED] = {"WORKSPACE_ERROR", "aborted", "the workspace is aborted"},
    [STORE_EWORKSPACE_EXPIRED] = {"WORKSPACE_ERROR", "expired", "the workspace has expired"},
    [STORE_EWORKSPACE_CHECKPOINT] = {"WORKSPACE_ERROR", "missing_checkpoint",
                                     "there is no such checkpoint"},
    [STORE_EWORKSPACE_QUOTA] = {"WORKSPACE_QUOTA_EXCEEDED", "quota", "a quota is used up"},
};

const char *store_op_name(enum store_op op) {
    return OP_NAMES[op];
}

const char *store_error_code(enum store_error error) {
    return ERRORS[error].code;
}

const char *store_error_reason(enum store_error error) {
    return ERRORS[error].reason;
}

const char *store_error_text(enum store_error error) {
    return ERRORS[error].text;
}

static const char *const ROLES[] = {NULL, "system", "user", "assistant", "tool"};
static const char *const KINDS[] = {NULL, "agent", "workflow"};
static const char *const STATUSES[] = {NULL,        "queued", "running",  "waiting",
                                       "succeeded", "failed", "cancelled"};
static const char *const SCOPES[] = {NULL, "run", "session", "agent", "user", "tenant"};

enum { ROLE_COUNT = 5, KIND_COUNT = 3, STATUS_COUNT = 7, SCOPE_COUNT = 6 };

static const char *word_name(const char *const *words, int64_t count, int64_t value) {
    return value > 0 && value < count ? words[value] : NULL;
}

static int64_t word_of(const char *const *words, int64_t count, struct store_str word) {
    for (int64_t i = 1; i < count; i++) {
        if (strlen(words[i]) == word.len && memcmp(words[i], word.data, word.len) == 0) return i;
    }
    return 0;
}

const char *store_role_name(int64_t role) {
    return word_name(ROLES, ROLE_COUNT, role);
}

const char *store_kind_name(int64_t kind) {
    return word_name(KINDS, KIND_COUNT, kind);
}

const char *store_status_name(int64_t status) {
    return word_name(STATUSES, STATUS_COUNT, status);
}

const char *store_scope_name(int64_t scope) {
    return word_name(SCOPES, SCOPE_COUNT, scope);
}

int64_t store_role_of(struct store_str word) {
    return word_of(ROLES, ROLE_COUNT, word);
}

int64_t store_kind_of(struct store_str word) {
    return word_of(KINDS, KIND_COUNT, word);
}

int64_t store_status_of(struct store_str word) {
    return word_of(STATUSES, STATUS_COUNT, word);
}

int64_t store_scope_of(struct store_str word) {
    return word_of(SCOPES, SCOPE_COUNT, word);
}

/* ---- Columns ------------------------------------------------------------------------- */

static const struct store_column SESSION_COLUMNS[] = {
    {"id", STORE_TEXT, true, offsetof(struct store_session, id), 0},
    {"created_at", STORE_TEXT, true, offsetof(struct store_session, created_at), 0},
    {"updated_at", STORE_TEXT, true, offsetof(struct store_session, updated_at), 0},
    {"harness", STORE_TEXT, false, offsetof(struct store_session, harness), 0},
    {"metadata", STORE_JSON, false, offsetof(struct store_session, metadata), 0},
    {"run_count", STORE_INT, true, offsetof(struct store_session, run_count), 0},
};

static const struct store_column MESSAGE_COLUMNS[] = {
    {"id", STORE_TEXT, true, offsetof(struct store_message, id), 0},
    {"timestamp", STORE_TEXT, true, offsetof(struct store_message, timestamp), 0},
    {"run_id", STORE_TEXT, false, offsetof(struct store_message, run_id), 0},
    {"tool_call_id", STORE_TEXT, false, offsetof(struct store_message, tool_call_id), 0},
    {"content", STORE_JSON, false, offsetof(struct store_message, content), 0},
    {"tool_calls", STORE_JSON, false, offsetof(struct store_message, tool_calls), 0},
    {"provider", STORE_JSON, false, offsetof(struct store_message, provider), 0},
    {"extra", STORE_EXTRA, false, offsetof(struct store_message, extra), 0},
    {"role", STORE_ROLE_WORD, true, offsetof(struct store_message, role), 0},
};

static const struct store_column RUN_COLUMNS[] = {
    {"id", STORE_TEXT, true, offsetof(struct store_run, id), 0},
    {"started_at", STORE_TEXT, true, offsetof(struct store_run, started_at), 0},
    {"session_id", STORE_TEXT, true, offsetof(struct store_run, session_id), 0},
    {"target", STORE_TEXT, true, offsetof(struct store_run, target), 0},
    {"harness", STORE_TEXT, false, offsetof(struct store_run, harness), 0},
    {"finished_at", STORE_TEXT, false, offsetof(struct store_run, finished_at), 0},
    {"input", STORE_JSON, false, offsetof(struct store_run, input), 0},
    {"output", STORE_JSON, false, offsetof(struct store_run, output), 0},
    {"error", STORE_JSON, false, offsetof(struct store_run, error), 0},
    {"metadata", STORE_JSON, false, offsetof(struct store_run, metadata), 0},
    {"extra", STORE_EXTRA, false, offsetof(struct store_run, extra), 0},
    {"kind", STORE_KIND_WORD, true, offsetof(struct store_run, kind), 0},
    {"status", STORE_STATUS_WORD, true, offsetof(struct store_run, status), 0},
    {"attempt", STORE_INT, false, offsetof(struct store_run, attempt), 1},
};

static const struct store_column EVENT_COLUMNS[] = {
    {"id", STORE_TEXT, true, offsetof(struct store_event, id), 0},
    {"at", STORE_TEXT, true, offsetof(struct store_event, at), 0},
    {"type", STORE_TEXT, true, offsetof(struct store_event, type), 0},
    {"payload", STORE_JSON, false, offsetof(struct store_event, payload), 0},
    {"seq", STORE_INT, true, offsetof(struct store_event, seq), 1},
};

static const struct store_column ENTRY_COLUMNS[] = {
    {"key", STORE_TEXT, true, offsetof(struct store_entry, key), 0},
    {"value", STORE_JSON, true, offsetof(struct store_entry, value), 0},
    {"tags", STORE_JSON, false, offsetof(struct store_entry, tags), 0},
    {"metadata", STORE_JSON, false, offsetof(struct store_entry, metadata), 0},
    {"created_ms", STORE_INT, true, offsetof(struct store_entry, created_ms), 0},
    {"updated_ms", STORE_INT, true, offsetof(struct store_entry, updated_ms), 0},
    {"expires_ms", STORE_INT, false, offsetof(struct store_entry, expires_ms), 0},
};

const struct store_shape store_session_shape = {"session", SESSION_COLUMNS, 5, 1,
                                                sizeof(struct store_session)};
const struct store_shape store_message_shape = {"message", MESSAGE_COLUMNS, 8, 1,
                                                sizeof(struct store_message)};
const struct store_shape store_run_shape = {"run", RUN_COLUMNS, 11, 3, sizeof(struct store_run)};
const struct store_shape store_event_shape = {"event", EVENT_COLUMNS, 4, 1,
                                              sizeof(struct store_event)};
const struct store_shape store_entry_shape = {"memory entry", ENTRY_COLUMNS, 4, 3,
                                              sizeof(struct store_entry)};

/* ---- Text and JSON ------------------------------------------------------------------- */

int store_str_cmp(struct store_str a, struct store_str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    if (order != 0) return order;
    return (a.len > b.len) - (a.len < b.len);
}

bool store_str_eq(struct store_str a, struct store_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The place behind the string whose opening quote stands at i. */
static size_t string_end(struct store_str json, size_t i) {
    for (i++; i < json.len && json.data[i] != '"'; i++) {
        if (json.data[i] == '\\') i++;
    }
    return i < json.len ? i + 1 : json.len;
}

/* The place behind the value that begins at i: the comma or bracket that follows it. */
static size_t value_end(struct store_str json, size_t i) {
    size_t depth = 0;
    while (i < json.len) {
        char c = json.data[i];
        if (c == '"') {
            i = string_end(json, i);
            continue;
        }
        if (depth == 0 && (c == ',' || c == ']' || c == '}')) return i;
        if (c == '[' || c == '{') depth++;
        if (c == ']' || c == '}') depth--;
        i++;
    }
    return i;
}

bool store_json_next(struct store_str json, size_t *at, struct store_str *key,
                     struct store_str *value) {
    if (json.len < 2 || (json.data[0] != '[' && json.data[0] != '{')) return false;
    size_t i = *at + 1; /* behind the bracket or the comma */
    if (i >= json.len - 1) return false;
    *key = (struct store_str){0};
    if (json.data[0] == '{') {
        size_t end = string_end(json, i);
        *key = (struct store_str){json.data + i, end - i};
        i = end + 1;
    }
    if (i >= json.len) return false;
    size_t end = value_end(json, i);
    *value = (struct store_str){json.data + i, end - i};
    *at = end;
    return true;
}
