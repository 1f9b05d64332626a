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

struct job {
    struct store_box *box;
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
 * Texts are collected in job->text. As that may move, they are kept as offsets (text_mark) until
 * all is read; text_settle then makes the pointer. An absent text stays absent. */

struct store_str text_mark(size_t offset, size_t len);
void text_settle(const struct job *job, struct store_str *text);

/* A string argument, borrowed from the Lua stack. */
struct store_str job_text_arg(lua_State *L, const struct job *job, int arg, const char *name);
/* The record at index, as a row of that shape; marks its texts. owner_field ("session_id") may name
 * whose record it is; what it says becomes *owner (marked), which must not change once set. */
void job_read_record(lua_State *L, struct job *job, int index, const struct store_shape *shape,
                     void *row, const char *owner_field, struct store_str *owner);
void job_settle_record(const struct job *job, const struct store_shape *shape, void *row);
/* The list of records at index into job->rows; returns how many. */
size_t job_read_list(lua_State *L, struct job *job, int index, const char *name,
                     const struct store_shape *shape, const char *owner_field,
                     struct store_str *owner);
void job_settle_list(const struct job *job, const struct store_shape *shape, size_t count);
/* Raises unless what a record says of its owner agrees. */
void job_check_owner(lua_State *L, const struct job *job, const char *field, struct store_str said,
                     struct store_str owner);
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
/* Appends the JSON of the value at index to job->text and marks it. */
struct store_str job_read_json(lua_State *L, struct job *job, int index);

/* ---- C to Lua (store_push.c) ---- */

/* Pushes the record as a table. owner_index, if not 0, is the stack index of what goes into its
 * owner_field. */
void push_record(lua_State *L, const struct store_shape *shape, const void *row,
                 const char *owner_field, int owner_index);
/* Pushes a list with all rows of the reply. */
void push_records(lua_State *L, const struct job *job, const struct store_shape *shape,
                  const char *owner_field, int owner_index);
/* Pushes a value that the store keeps as JSON. */
void push_json(lua_State *L, struct store_str json);
/* Pushes the rows of memory_list and memory_search as a list. */
void push_entries(lua_State *L, const struct job *job);

#endif
