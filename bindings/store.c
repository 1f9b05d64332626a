/* store.c - storages in Lua: core.store.memory() and the methods of a storage.
 *
 * Each method reads its arguments into a store_call (store_read.c), submits it, raises its error,
 * and pushes its rows (store_push.c). The memory engine answers before submit returns, so its
 * methods return at once and never wait.
 *
 * The memory engine's allocator is here: it counts what the storage holds, for leak checks, and can
 * be told to fail, for specs: core.store.usage(storage) -> {blocks, bytes},
 * core.store.fail_allocation(storage, k) makes the k-th next allocation fail (0: none). */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"

static const char METATABLE[] = "harness.storage.memory";
static const char JOB_METATABLE[] = "harness.storage_job";

/* Above this a job's buffers are given back after the call. */
enum { KEEP_BYTES = 64 << 10 };

/* ---- The box ------------------------------------------------------------------------- */

static void *box_allocator(void *user, void *block, size_t old_size, size_t new_size) {
    struct store_box *box = user;
    if (new_size == 0) {
        free(block);
        box->blocks--;
        box->bytes -= old_size;
        return NULL;
    }
    if (new_size > old_size && box->fail_in > 0 && --box->fail_in == 0) return NULL;
    void *moved = block ? realloc(block, new_size) : malloc(new_size);
    if (!moved) return NULL;
    if (!block) box->blocks++;
    box->bytes += new_size - old_size;
    return moved;
}

static struct store_box *box_at(lua_State *L, int index) {
    return luaL_checkudata(L, index, METATABLE);
}

static int box_close(lua_State *L) {
    struct store_box *box = box_at(L, 1);
    if (box->store) store_close(box->store);
    box->store = NULL;
    return 0;
}

/* ---- Jobs ---------------------------------------------------------------------------- */

static int job_gc(lua_State *L) {
    struct job *job = lua_touserdata(L, 1);
    store_reply_clear(&job->reply);
    buf_free(&job->text);
    buf_free(&job->rows);
    return 0;
}

/* Pushes a new job for the storage at index 1. */
static struct job *job_new(lua_State *L, struct store_box *box) {
    struct job *job = lua_newuserdatauv(L, sizeof *job, 1);
    *job = (struct job){.box = box, .types = record_types_get(L)};
    buf_init(&job->text, SIZE_MAX / 2);
    buf_init(&job->rows, SIZE_MAX / 2);
    if (luaL_newmetatable(L, JOB_METATABLE)) {
        lua_pushcfunction(L, job_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the reply's memory is the box's */
    return job;
}

struct job *job_begin(lua_State *L, enum store_op op) {
    /* The methods share their metatable as upvalue: quicker than a look into the registry. */
    lua_settop(L, 5);
    bool ours = lua_getmetatable(L, 1) && lua_rawequal(L, -1, lua_upvalueindex(1));
    if (!ours) luaL_checkudata(L, 1, METATABLE);
    lua_settop(L, 5);
    luaL_checkstack(L, 20, "storage");
    struct store_box *box = lua_touserdata(L, 1);
    if (lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA) {
        lua_pushnil(L);
        lua_setiuservalue(L, 1, 1);
    } else {
        lua_pop(L, 1);
        job_new(L, box);
    }
    struct job *job = lua_touserdata(L, -1);
    job->index = lua_gettop(L);
    job->list = NULL;
    job->item = 0;
    job->call = (struct store_call){.op = op};
    job->reply.done = NULL;
    return job;
}

static int raise_error(lua_State *L, const char *op, enum store_error error, const char *detail) {
    lua_createtable(L, 0, 4);
    lua_pushstring(L, op);
    lua_setfield(L, -2, "op");
    lua_pushstring(L, store_error_reason(error));
    lua_setfield(L, -2, "reason");
    if (!detail[0]) {
        return bind_raise(L, store_error_code(error), "storage:%s: %s", op,
                          store_error_text(error));
    }
    lua_pushstring(L, detail);
    lua_setfield(L, -2, "id");
    return bind_raise(L, store_error_code(error), "storage:%s: %s: %s", op, store_error_text(error),
                      detail);
}

void job_run(lua_State *L, struct job *job) {
    const char *op = store_op_name(job->call.op);
    if (!job->box->store) raise_error(L, op, STORE_ECLOSED, "");
    store_submit(job->box->store, &job->call, &job->reply);
    if (job->reply.error) raise_error(L, op, job->reply.error, job->reply.detail);
}

static void keep_small(struct buf *buf) {
    if (buf->cap > KEEP_BYTES) buf_free(buf);
    buf_clear(buf);
}

int job_end(lua_State *L, struct job *job, int results) {
    store_reply_clear(&job->reply);
    keep_small(&job->text);
    keep_small(&job->rows);
    lua_pushvalue(L, job->index);
    lua_setiuservalue(L, 1, 1);
    return results;
}

/* A method whose only argument is an id and whose answer is nothing. */
static int by_id(lua_State *L, enum store_op op, const char *name) {
    struct job *job = job_begin(L, op);
    job->call.id = job_text_arg(L, job, 2, name);
    job_run(L, job);
    return job_end(L, job, 0);
}

/* Asks for the record of the id. */
static struct job *get_by_id(lua_State *L, enum store_op op, const char *name) {
    struct job *job = job_begin(L, op);
    job->call.id = job_text_arg(L, job, 2, name);
    job_run(L, job);
    return job;
}

/* The record that the reply has, or nil. */
static int end_with_record(lua_State *L, struct job *job, const struct record_type *type) {
    if (job->reply.count == 0) {
        lua_pushnil(L);
        return job_end(L, job, 1);
    }
    union store_row row;
    store_row(&job->reply, 0, &row);
    push_record(L, type, &row, 0);
    return job_end(L, job, 1);
}

/* ---- Sessions ------------------------------------------------------------------------ */

static int l_get_session(lua_State *L) {
    struct job *job = get_by_id(L, STORE_GET_SESSION, "id");
    return end_with_record(L, job, &job->types->session);
}

static int l_upsert_session(lua_State *L) {
    struct job *job = job_begin(L, STORE_UPSERT_SESSION);
    job->list = "session";
    job_read_record(L, job, 2, &job->types->session, &job->session, NULL);
    job_settle_record(job, &job->types->session, &job->session);
    job->call.in.session = &job->session;
    job_run(L, job);
    return job_end(L, job, 0);
}

static int l_delete_session(lua_State *L) {
    return by_id(L, STORE_DELETE_SESSION, "id");
}

static int l_list_sessions(lua_State *L) {
    static const char *const OPTIONS[] = {"limit", "before", NULL};
    struct job *job = job_begin(L, STORE_LIST_SESSIONS);
    job_read_page(L, job, 2, OPTIONS);
    job_run(L, job);
    push_records(L, job, &job->types->session, 0);
    return job_end(L, job, 1);
}

/* ---- Messages ------------------------------------------------------------------------ */

static int store_messages(lua_State *L, enum store_op op) {
    struct job *job = job_begin(L, op);
    struct store_str said = {0};
    job->call.id = job_text_arg(L, job, 2, "session_id");
    size_t count = job_read_list(L, job, 3, "messages", &job->types->message, &said);
    job_settle_list(job, &job->types->message, count);
    text_settle(job, &said);
    job->list = "messages";
    job_check_owner(L, job, &job->types->message, said);
    job->call.in.messages.items = (const struct store_message *)(void *)job->rows.data;
    job->call.in.messages.count = count;
    job_run(L, job);
    return job_end(L, job, 0);
}

static int l_append_messages(lua_State *L) {
    return store_messages(L, STORE_APPEND_MESSAGES);
}

static int l_replace_messages(lua_State *L) {
    return store_messages(L, STORE_REPLACE_MESSAGES);
}

static int l_list_messages(lua_State *L) {
    static const char *const OPTIONS[] = {"limit", "before", NULL};
    struct job *job = job_begin(L, STORE_LIST_MESSAGES);
    job->call.id = job_text_arg(L, job, 2, "session_id");
    job_read_page(L, job, 3, OPTIONS);
    job_run(L, job);
    push_records(L, job, &job->types->message, 2);
    return job_end(L, job, 1);
}

static int l_clear_messages(lua_State *L) {
    return by_id(L, STORE_CLEAR_MESSAGES, "session_id");
}

/* ---- Runs and events ----------------------------------------------------------------- */

static int l_create_run(lua_State *L) {
    struct job *job = job_begin(L, STORE_CREATE_RUN);
    job->list = "run";
    job_read_record(L, job, 2, &job->types->run, &job->run, NULL);
    job_settle_record(job, &job->types->run, &job->run);
    job->call.in.run = &job->run;
    job_run(L, job);
    return job_end(L, job, 0);
}

static int l_get_run(lua_State *L) {
    struct job *job = get_by_id(L, STORE_GET_RUN, "run_id");
    return end_with_record(L, job, &job->types->run);
}

static int l_list_runs(lua_State *L) {
    static const char *const OPTIONS[] = {"session_id", "harness", "status",
                                          "limit",      "before",  NULL};
    struct job *job = job_begin(L, STORE_LIST_RUNS);
    job_read_page(L, job, 2, OPTIONS);
    job_run(L, job);
    push_records(L, job, &job->types->run, 0);
    return job_end(L, job, 1);
}

static int l_finish_run(lua_State *L) {
    struct job *job = job_begin(L, STORE_FINISH_RUN);
    job->call.id = job_text_arg(L, job, 2, "run_id");
    job_read_finish(L, job, 3);
    job_run(L, job);
    return job_end(L, job, 0);
}

static int l_append_events(lua_State *L) {
    struct job *job = job_begin(L, STORE_APPEND_EVENTS);
    struct store_str said = {0};
    job->call.id = job_text_arg(L, job, 2, "run_id");
    size_t count;
    if (!job_read_events(L, job, 3, &count))
        count = job_read_list(L, job, 3, "events", &job->types->event, &said);
    job_settle_list(job, &job->types->event, count);
    text_settle(job, &said);
    job->list = "events";
    job_check_owner(L, job, &job->types->event, said);
    job->call.in.events.items = (const struct store_event *)(void *)job->rows.data;
    job->call.in.events.count = count;
    job_run(L, job);
    return job_end(L, job, 0);
}

static int l_list_events(lua_State *L) {
    static const char *const OPTIONS[] = {"limit", "after_seq", NULL};
    struct job *job = job_begin(L, STORE_LIST_EVENTS);
    job->call.id = job_text_arg(L, job, 2, "run_id");
    job_read_page(L, job, 3, OPTIONS);
    job_run(L, job);
    push_records(L, job, &job->types->event, 2);
    return job_end(L, job, 1);
}

/* ---- Memory -------------------------------------------------------------------------- */

static struct job *memory_begin(lua_State *L, enum store_op op) {
    struct job *job = job_begin(L, op);
    job_read_scope(L, job, 2);
    return job;
}

static int l_memory_get(lua_State *L) {
    static const char *const OPTIONS[] = {NULL};
    struct job *job = memory_begin(L, STORE_MEMORY_GET);
    job->call.in.memory.key = job_text_arg(L, job, 3, "key");
    job_read_memory_options(L, job, 4, OPTIONS);
    job_run(L, job);
    lua_pushnil(L);
    if (job->reply.count > 0) {
        union store_row row;
        store_row(&job->reply, 0, &row);
        push_json(L, row.entry.value);
    }
    return job_end(L, job, 1);
}

static int l_memory_put(lua_State *L) {
    static const char *const OPTIONS[] = {"ttl_ms", "tags", "metadata", NULL};
    struct job *job = memory_begin(L, STORE_MEMORY_PUT);
    job->call.in.memory.key = job_text_arg(L, job, 3, "key");
    if (lua_isnil(L, 4)) job_invalid(L, job, "value", "is missing; null is harness.null");
    job->call.in.memory.value = job_read_json(L, job, 4);
    job_read_memory_options(L, job, 5, OPTIONS);
    job_run(L, job);
    return job_end(L, job, 0);
}

static int l_memory_delete(lua_State *L) {
    static const char *const OPTIONS[] = {NULL};
    struct job *job = memory_begin(L, STORE_MEMORY_DELETE);
    job->call.in.memory.key = job_text_arg(L, job, 3, "key");
    job_read_memory_options(L, job, 4, OPTIONS);
    job_run(L, job);
    return job_end(L, job, 0);
}

static int l_memory_list(lua_State *L) {
    static const char *const OPTIONS[] = {"prefix", "limit", "cursor", NULL};
    struct job *job = memory_begin(L, STORE_MEMORY_LIST);
    job_read_memory_options(L, job, 3, OPTIONS);
    job_run(L, job);
    push_entries(L, job);
    return job_end(L, job, 1);
}

static int l_memory_search(lua_State *L) {
    static const char *const OPTIONS[] = {"text", "limit", "tags", "metadata", NULL};
    struct job *job = memory_begin(L, STORE_MEMORY_SEARCH);
    job_read_memory_options(L, job, 3, OPTIONS);
    if (!job->call.in.memory.text.data) job_invalid(L, job, "text", "is missing");
    job_run(L, job);
    push_entries(L, job);
    return job_end(L, job, 1);
}

/* ---- The rest ------------------------------------------------------------------------ */

static int l_sweep(lua_State *L) {
    struct job *job = job_begin(L, STORE_SWEEP);
    job_read_sweep(L, job, 2);
    job_run(L, job);
    union store_row row;
    store_row(&job->reply, 0, &row);
    lua_createtable(L, 0, 4);
    const struct {
        const char *name;
        int64_t count;
    } counts[] = {{"memory", row.swept.memory},
                  {"runs", row.swept.runs},
                  {"workspaces", row.swept.workspaces},
                  {"blobs", row.swept.blobs}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        lua_pushinteger(L, counts[i].count);
        lua_setfield(L, -2, counts[i].name);
    }
    return job_end(L, job, 1);
}

/* A method that no engine of this build serves: upvalue 2 is its number. The engine says so. */
static int l_other(lua_State *L) {
    struct job *job = job_begin(L, (enum store_op)lua_tointeger(L, lua_upvalueindex(2)));
    job_run(L, job);
    return job_end(L, job, 0);
}

static const luaL_Reg METHODS[] = {
    {"get_session", l_get_session},
    {"upsert_session", l_upsert_session},
    {"delete_session", l_delete_session},
    {"list_sessions", l_list_sessions},
    {"append_messages", l_append_messages},
    {"list_messages", l_list_messages},
    {"clear_messages", l_clear_messages},
    {"replace_messages", l_replace_messages},
    {"create_run", l_create_run},
    {"get_run", l_get_run},
    {"list_runs", l_list_runs},
    {"finish_run", l_finish_run},
    {"append_events", l_append_events},
    {"list_events", l_list_events},
    {"memory_get", l_memory_get},
    {"memory_put", l_memory_put},
    {"memory_delete", l_memory_delete},
    {"memory_list", l_memory_list},
    {"memory_search", l_memory_search},
    {"sweep", l_sweep},
    {"close", box_close},
    {NULL, NULL},
};

/* The fields `id` and `capabilities`, which the harness shows and checks `requires` against. */
static void set_description(lua_State *L, const struct store_ops *ops) {
    lua_pushstring(L, ops->name);
    lua_setfield(L, -2, "id");
    lua_newtable(L);
    for (lua_Integer i = 0; ops->capabilities[i]; i++) {
        lua_pushstring(L, ops->capabilities[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "capabilities");
}

static void push_methods(lua_State *L, int metatable) {
    lua_newtable(L);
    for (int op = 0; op < STORE_OP_COUNT; op++) {
        lua_pushvalue(L, metatable);
        lua_pushinteger(L, op);
        lua_pushcclosure(L, l_other, 2);
        lua_setfield(L, -2, store_op_name((enum store_op)op));
    }
    lua_pushvalue(L, metatable);
    luaL_setfuncs(L, METHODS, 1);
    set_description(L, &store_memory_ops);
}

/* memory() -> storage */
static int new_memory(lua_State *L) {
    struct core *core = core_get(L);
    struct store_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct store_box){0};
    luaL_setmetatable(L, METATABLE);
    const struct store_memory_options options = {.loop = core->loop,
                                                 .allocator = {box_allocator, box}};
    box->store = store_memory_new(&options);
    if (!box->store) return raise_error(L, "memory", STORE_ENOMEM, "");
    return 1;
}

/* takes_event_lists(storage) -> boolean: is it one of ours, which take a list of events as it is? */
static int takes_event_lists(lua_State *L) {
    lua_pushboolean(L, luaL_testudata(L, 1, METATABLE) != NULL);
    return 1;
}

static int usage(lua_State *L) {
    const struct store_box *box = box_at(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, (lua_Integer)box->blocks);
    lua_setfield(L, -2, "blocks");
    lua_pushinteger(L, (lua_Integer)box->bytes);
    lua_setfield(L, -2, "bytes");
    return 1;
}

static int fail_allocation(lua_State *L) {
    struct store_box *box = box_at(L, 1);
    lua_Integer k = luaL_checkinteger(L, 2);
    luaL_argcheck(L, k >= 0, 2, "must not be negative");
    lua_pushboolean(L, box->fail_in == 0);
    box->fail_in = (uint64_t)k;
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {
    {"memory", new_memory}, {"takes_event_lists", takes_event_lists},
    {"usage", usage},       {"fail_allocation", fail_allocation},
    {NULL, NULL},
};

int bind_store(lua_State *L) {
    record_types_open(L);
    luaL_newmetatable(L, METATABLE);
    int metatable = lua_gettop(L);
    lua_pushcfunction(L, box_close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, box_close);
    lua_setfield(L, -2, "__close");
    push_methods(L, metatable);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    event_list_open(L);
    return 1;
}
