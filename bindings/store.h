/* store.h - what the store*.c files of bindings/ share: one storage call on its way from Lua
 * arguments to rows in Lua.
 *
 *     struct job *job = job_begin(L, STORE_GET_RUN);     // checks self, pushes the job
 *     job->call.id = job_text_arg(L, job, 2, "run_id");
 *     job_run(L, job);                                   // raises the storage's error
 *     ...                                                // push what job->reply holds
 *     return job_end(L, job, 1);
 *
 * A job is a userdata that owns all that a call needs: the JSON texts made of its arguments, the
 * rows that point at them, and the reply. It stands on the Lua stack while in use, so nothing leaks
 * when Lua raises. The storage keeps one idle job for the next call; a call that comes while that
 * one is in use (from a finaliser or a __tojson method) makes its own. */
#ifndef HARNESS_BINDINGS_STORE_H
#define HARNESS_BINDINGS_STORE_H

#include "../engine/buf.h"
#include "../engine/store_memory.h"
#include "bindings.h"

/* The storage in Lua. Its user value 1 is the idle job, or nil. */
struct store_box {
    struct store *store; /* NULL: closed */
    /* The allocator of the memory engine: what it holds, and the allocation that is to fail. */
    size_t blocks;
    size_t bytes;
    uint64_t fail_in; /* 1: the next one; 0: none */
};

/* A kind of record, with the identities (lua_topointer) of its field names: a short string exists
 * once in a state, so a key is a field when these agree. */
struct record_type {
    const struct store_shape *shape;
    const char *owner_field; /* that says whose record it is, and has no column; or NULL */
    const void *owner_name;
    const void *names[STORE_COLUMNS_MAX];
};

/* One a Lua state, in the registry. */
struct record_types {
    struct record_type session, message, run, event;
};

struct job {
    struct store_box *box;
    const struct record_types *types;
    struct store_call call;
    struct store_reply reply;
    struct buf text; /* the texts of the call */
    struct buf rows; /* the records of a list */
    struct store_session session;
    struct store_run run;
    struct store_event event;
    int index; /* of the job on the stack */
    /* Where the argument at hand stands, for errors: "messages", 2; list NULL: no list. */
    const char *list;
    size_t item;
};

/* Checks argument 1 and that it is open, and pushes the job, with call.op set. */
struct job *job_begin(lua_State *L, enum store_op op);
/* Submits the call and raises its error. */
void job_run(lua_State *L, struct job *job);
/* Gives the job back; returns results, which stand on top of the stack. */
int job_end(lua_State *L, struct job *job, int results);

/* Raises VALIDATION_ERROR (where = "storage") about a field, NULL: about the item itself. */
int job_invalid(lua_State *L, const struct job *job, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- Lua to C (store_read.c) ----
 *
 * Texts are collected in job->text. As that may move, they are kept as offsets ("marked") until all
 * is read; settling makes pointers of them. An absent text stays absent. */

/* Makes the record types, anchored in the registry. */
void record_types_open(lua_State *L);
const struct record_types *record_types_get(lua_State *L);

struct store_str text_mark(size_t offset, size_t len);
void text_settle(const struct job *job, struct store_str *text);
/* Where n more bytes of text may be written; whoever writes them adds to text->len. */
char *text_room(lua_State *L, struct buf *text, size_t n);
/* A string argument, borrowed from the Lua stack. */
struct store_str job_text_arg(lua_State *L, const struct job *job, int arg, const char *name);
/* Appends the JSON of the value at index to text (store_json.c). Raises the VALIDATION_ERROR of
 * json_encode for what JSON cannot hold. */
void text_put_json(lua_State *L, struct buf *text, int index);
/* The same to job->text, marked. */
struct store_str job_read_json(lua_State *L, struct job *job, int index);

/* The record at index as a row of that type, its texts marked. What the records of one call say of
 * their owner must agree; it becomes *owner, marked (owner may be NULL where the type has none). */
void job_read_record(lua_State *L, struct job *job, int index, const struct record_type *type,
                     void *row, struct store_str *owner);
/* The list of records at index, into job->rows; returns how many. */
size_t job_read_list(lua_State *L, struct job *job, int index, const char *name,
                     const struct record_type *type, struct store_str *owner);
void job_settle_record(const struct job *job, const struct record_type *type, void *row);
void job_settle_list(const struct job *job, const struct record_type *type, size_t count);
/* Raises unless what the records say of their owner (settled) is call.id. */
void job_check_owner(lua_State *L, const struct job *job, const struct record_type *type,
                     struct store_str said);

/* What the readers share: checks with their errors, and single values. */
int job_wrong_type(lua_State *L, const struct job *job, const char *field, const char *wanted,
                   int index);
void job_check_table(lua_State *L, const struct job *job, int index, const char *field);
const char *job_key(lua_State *L, const struct job *job, int index);
struct store_str job_read_text(lua_State *L, struct job *job, int index, const char *field);
int64_t job_read_integer(lua_State *L, const struct job *job, int index, const char *field,
                         int64_t least);
int64_t job_read_word(lua_State *L, const struct job *job, int index, const char *field,
                      int64_t (*of)(struct store_str), const char *allowed);
extern const char STORE_STATUSES[];

/* ---- A run's events (event_list.c) ---- */

/* Adds event_shape and event_list to the table on top of the stack. */
void event_list_open(lua_State *L);
/* The list of events at index into job->rows, and how many they are; false: there is none. */
bool job_read_events(lua_State *L, struct job *job, int index, size_t *count);
/* The same for a list of one. */
bool job_read_event(lua_State *L, struct job *job, int index, struct store_event *row);

/* ---- Lua to C, options (store_options.c) ---- */

/* Fills call.in.page from the table (or nothing) at index, which may have the named fields only. */
void job_read_page(lua_State *L, struct job *job, int index, const char *const *allowed);
/* Fills call.in.finish. */
void job_read_finish(lua_State *L, struct job *job, int index);
/* Fills scope and scope_id of call.in.memory; key. */
void job_read_scope(lua_State *L, struct job *job, int index);
/* Fills the options of memory_put, memory_list or memory_search (the named fields only). */
void job_read_memory_options(lua_State *L, struct job *job, int index, const char *const *allowed);
/* Fills call.in.sweep from {now?} or nothing. */
void job_read_sweep(lua_State *L, struct job *job, int index);

/* ---- C to Lua (store_push.c) ---- */

/* Pushes the record as a table. Its owner_field gets what stands at index owner, unless 0. */
void push_record(lua_State *L, const struct record_type *type, const void *row, int owner);
/* Pushes a list with all rows of the reply. */
void push_records(lua_State *L, const struct job *job, const struct record_type *type, int owner);
/* Pushes a value that the store keeps as JSON. */
void push_json(lua_State *L, struct store_str json);
/* Pushes the rows of memory_list and memory_search as a list. */
void push_entries(lua_State *L, const struct job *job);

#endif
