/* store_read.c - Lua arguments of storage calls as the rows and options of engine/store.h.
 *
 * A record is read in one pass over its table, which finds unknown fields on the way. Values that
 * the engines do not look into are encoded to JSON right into the job's text buffer: once, without
 * a Lua string in between. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "store.h"

enum { MAX_PROBLEM = 400 };

/* ---- Errors ----------------------------------------------------------------------------------- */

/* "messages[2].role", "run.status", "limit". */
static void push_place(lua_State *L, const struct job *job, const char *field) {
    if (job->list && job->item > 0) {
        lua_pushfstring(L, "%s[%d]", job->list, (int)job->item);
    } else {
        lua_pushstring(L, job->list ? job->list : "");
    }
    if (!field) return;
    lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1), job->list ? "." : "", field);
    lua_remove(L, -2);
}

int job_invalid(lua_State *L, const struct job *job, const char *field, const char *format, ...) {
    char problem[MAX_PROBLEM];
    va_list args;
    va_start(args, format);
    vsnprintf(problem, sizeof problem, format, args);
    va_end(args);
    const char *op = store_op_name(job->call.op);
    push_place(L, job, field);
    const char *place = lua_tostring(L, -1);
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, "storage");
    lua_setfield(L, -2, "where");
    lua_pushstring(L, op);
    lua_setfield(L, -2, "op");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "field");
    return bind_raise(L, "VALIDATION_ERROR", "storage:%s: %s %s", op, place, problem);
}

static int wrong_type(lua_State *L, const struct job *job, const char *field, const char *wanted,
                      int index) {
    return job_invalid(L, job, field, "must be %s, got %s", wanted, luaL_typename(L, index));
}

static void check_table(lua_State *L, const struct job *job, int index, const char *field) {
    if (!lua_istable(L, index)) wrong_type(L, job, field, "a table", index);
}

/* The name of the field whose key is at index. */
static const char *key_name(lua_State *L, const struct job *job, int index, size_t *len) {
    if (lua_type(L, index) != LUA_TSTRING) {
        job_invalid(L, job, NULL, "must have named fields only, got a %s as key",
                    luaL_typename(L, index));
    }
    return lua_tolstring(L, index, len);
}

/* ---- Texts ------------------------------------------------------------------------------------ */

/* While marked, data holds the offset + 1. */
struct store_str text_mark(size_t offset, size_t len) {
    return (struct store_str){(const char *)(uintptr_t)(offset + 1), len};
}

void text_settle(const struct job *job, struct store_str *text) {
    if (text->data) text->data = job->text.data + ((uintptr_t)text->data - 1);
}

/* A byte stands behind the text, so that an empty text points into the buffer too. */
static struct store_str text_added(lua_State *L, struct job *job, size_t offset) {
    size_t len = job->text.len - offset;
    if (buf_add_char(&job->text, '\0') != BUF_OK) luaL_error(L, "not enough memory");
    return text_mark(offset, len);
}

static struct store_str add_text(lua_State *L, struct job *job, int index) {
    size_t len, offset = job->text.len;
    const char *bytes = lua_tolstring(L, index, &len);
    if (buf_add(&job->text, bytes, len) != BUF_OK) luaL_error(L, "not enough memory");
    return text_added(L, job, offset);
}

struct store_str job_read_json(lua_State *L, struct job *job, int index) {
    size_t offset = job->text.len;
    json_encode(L, index, &job->text, NULL);
    return text_added(L, job, offset);
}

static struct store_str read_text(lua_State *L, struct job *job, int index, const char *field) {
    if (lua_type(L, index) != LUA_TSTRING) wrong_type(L, job, field, "a string", index);
    return add_text(L, job, index);
}

static int64_t read_integer(lua_State *L, const struct job *job, int index, const char *field,
                            int64_t least) {
    int is_integer = 0;
    lua_Integer value = lua_tointegerx(L, index, &is_integer);
    if (!is_integer || lua_type(L, index) != LUA_TNUMBER) {
        wrong_type(L, job, field, "an integer", index);
    }
    if (value < least) {
        job_invalid(L, job, field, "must be at least %lld, got %lld", (long long)least,
                    (long long)value);
    }
    return value;
}

/* A word out of an enum. */
static int64_t read_word(lua_State *L, const struct job *job, int index, const char *field,
                         int64_t (*of)(struct store_str), const char *allowed) {
    if (lua_type(L, index) != LUA_TSTRING) wrong_type(L, job, field, "a string", index);
    struct store_str word;
    word.data = lua_tolstring(L, index, &word.len);
    int64_t value = of(word);
    if (!value) job_invalid(L, job, field, "must be one of %s, got \"%s\"", allowed, word.data);
    return value;
}

static const char ROLES[] = "system, user, assistant, tool";
static const char KINDS[] = "agent, workflow";
static const char STATUSES[] = "queued, running, waiting, succeeded, failed, cancelled";
static const char SCOPES[] = "run, session, agent, user, tenant";

struct store_str job_text_arg(lua_State *L, const struct job *job, int arg, const char *name) {
    if (lua_type(L, arg) != LUA_TSTRING) wrong_type(L, job, name, "a string", arg);
    struct store_str text;
    text.data = lua_tolstring(L, arg, &text.len);
    return text;
}

/* ---- Records ---------------------------------------------------------------------------------- */

static struct store_str *text_in(void *row, const struct store_column *column) {
    return (struct store_str *)((char *)row + column->offset);
}

static const struct store_column *find_column(const struct store_shape *shape, const char *name,
                                              size_t len) {
    size_t count = shape->texts + shape->ints;
    for (size_t i = 0; i < count; i++) {
        const struct store_column *column = &shape->columns[i];
        if (column->name[0] != name[0] || column->type == STORE_EXTRA) continue;
        if (strlen(column->name) == len && memcmp(column->name, name, len) == 0) return column;
    }
    return NULL;
}

static void read_column(lua_State *L, struct job *job, const struct store_column *column,
                        void *row, int index) {
    int64_t *number = (int64_t *)((char *)row + column->offset);
    switch (column->type) {
    case STORE_TEXT:
        *text_in(row, column) = read_text(L, job, index, column->name);
        break;
    case STORE_JSON:
    case STORE_EXTRA:
        *text_in(row, column) = job_read_json(L, job, index);
        break;
    case STORE_INT:
        *number = read_integer(L, job, index, column->name, column->required ? 0 : 1);
        break;
    case STORE_ROLE_WORD:
        *number = read_word(L, job, index, column->name, store_role_of, ROLES);
        break;
    case STORE_KIND_WORD:
        *number = read_word(L, job, index, column->name, store_kind_of, KINDS);
        break;
    case STORE_STATUS_WORD:
        *number = read_word(L, job, index, column->name, store_status_of, STATUSES);
        break;
    }
}

/* A field without a column: whose record it is, or one of the further fields, which are gathered
 * in a table at `extras` (made at the first of them, below the key and value on the stack). */
static void read_other(lua_State *L, struct job *job, const struct store_shape *shape,
                       const char *owner_field, struct store_str *owner, bool *has_extras) {
    size_t len;
    const char *name = lua_tolstring(L, -2, &len);
    if (owner_field && strcmp(name, owner_field) == 0) {
        struct store_str said = job_text_arg(L, job, lua_gettop(L), owner_field);
        if (!owner->data) {
            *owner = add_text(L, job, -1);
            return;
        }
        struct store_str before = *owner;
        text_settle(job, &before);
        job_check_owner(L, job, owner_field, said, before);
        return;
    }
    const struct store_column *last = &shape->columns[shape->texts - 1];
    if (last->type != STORE_EXTRA) {
        job_invalid(L, job, name, "is not a field of a %s", shape->name);
    }
    if (!*has_extras) {
        lua_newtable(L);
        lua_insert(L, -3);
        *has_extras = true;
    }
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
}

static void check_required(lua_State *L, const struct job *job, const struct store_shape *shape,
                           uint32_t seen) {
    for (size_t i = 0; i < shape->texts + shape->ints; i++) {
        if (!shape->columns[i].required || seen & (UINT32_C(1) << i)) continue;
        job_invalid(L, job, shape->columns[i].name, "is missing");
    }
}

void job_read_record(lua_State *L, struct job *job, int index, const struct store_shape *shape,
                     void *row, const char *owner_field, struct store_str *owner) {
    index = lua_absindex(L, index);
    check_table(L, job, index, NULL);
    memset(row, 0, shape->size);
    uint32_t seen = 0;
    bool has_extras = false;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t len;
        const char *name = key_name(L, job, -2, &len);
        const struct store_column *column = find_column(shape, name, len);
        if (column) {
            read_column(L, job, column, row, lua_gettop(L));
            seen |= UINT32_C(1) << (column - shape->columns);
        } else {
            read_other(L, job, shape, owner_field, owner, &has_extras);
        }
        lua_pop(L, 1);
    }
    check_required(L, job, shape, seen);
    if (!has_extras) return;
    *text_in(row, &shape->columns[shape->texts - 1]) = job_read_json(L, job, -1);
    lua_pop(L, 1);
}

void job_settle_record(const struct job *job, const struct store_shape *shape, void *row) {
    for (size_t i = 0; i < shape->texts; i++) text_settle(job, text_in(row, &shape->columns[i]));
}

void job_check_owner(lua_State *L, const struct job *job, const char *field, struct store_str said,
                     struct store_str owner) {
    if (!said.data || store_str_eq(said, owner)) return;
    job_invalid(L, job, field, "is \"%.*s\", but the record is stored for \"%.*s\"",
                (int)(said.len < 100 ? said.len : 100), said.data,
                (int)(owner.len < 100 ? owner.len : 100), owner.data);
}

size_t job_read_list(lua_State *L, struct job *job, int index, const char *name,
                     const struct store_shape *shape, const char *owner_field,
                     struct store_str *owner) {
    check_table(L, job, index, name);
    size_t count = lua_rawlen(L, index);
    buf_clear(&job->rows);
    if (count > job->rows.max / shape->size || buf_reserve(&job->rows, count * shape->size) != 0) {
        luaL_error(L, "not enough memory");
    }
    job->list = name;
    for (size_t i = 0; i < count; i++) {
        job->item = i + 1;
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        void *row = job->rows.data + i * shape->size;
        job_read_record(L, job, -1, shape, row, owner_field, owner);
        lua_pop(L, 1);
    }
    job->list = NULL;
    job->item = 0;
    return count;
}

void job_settle_list(const struct job *job, const struct store_shape *shape, size_t count) {
    for (size_t i = 0; i < count; i++) {
        job_settle_record(job, shape, job->rows.data + i * shape->size);
    }
}

/* ---- Options ---------------------------------------------------------------------------------- */

static void check_allowed(lua_State *L, const struct job *job, const char *name,
                          const char *const *allowed) {
    for (const char *const *a = allowed; *a; a++) {
        if (strcmp(*a, name) == 0) return;
    }
    job_invalid(L, job, name, "is not an option");
}

static void read_page_option(lua_State *L, struct job *job, const char *name, int index) {
    struct store_page *page = &job->call.in.page;
    if (strcmp(name, "limit") == 0) {
        page->limit = read_integer(L, job, index, name, 0);
    } else if (strcmp(name, "after_seq") == 0) {
        page->after_seq = read_integer(L, job, index, name, 0);
    } else if (strcmp(name, "before") == 0) {
        page->before = read_text(L, job, index, name);
    } else if (strcmp(name, "session_id") == 0) {
        page->session_id = read_text(L, job, index, name);
    } else if (strcmp(name, "harness") == 0) {
        page->harness = read_text(L, job, index, name);
    } else {
        page->status = read_word(L, job, index, name, store_status_of, STATUSES);
    }
}

void job_read_page(lua_State *L, struct job *job, int index, const char *const *allowed) {
    struct store_page *page = &job->call.in.page;
    page->limit = -1;
    if (lua_isnoneornil(L, index)) return;
    check_table(L, job, index, "options");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t len;
        const char *name = key_name(L, job, -2, &len);
        check_allowed(L, job, name, allowed);
        read_page_option(L, job, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    text_settle(job, &page->before);
    text_settle(job, &page->session_id);
    text_settle(job, &page->harness);
}

/* ---- The end of a run -------------------------------------------------------------------------- */

static void read_finish_record(lua_State *L, struct job *job, const char *name, int index) {
    struct store_finish *finish = &job->call.in.finish;
    job->list = name;
    job->item = 0;
    if (strcmp(name, "session") == 0) {
        job_read_record(L, job, index, &store_session_shape, &job->session, NULL, NULL);
        finish->session = &job->session;
    } else {
        struct store_str run_id = job->call.id, said = {0};
        job_read_record(L, job, index, &store_event_shape, &job->event, "run_id", &said);
        text_settle(job, &said);
        job_check_owner(L, job, "run_id", said, run_id);
        finish->event = &job->event;
    }
    job->list = NULL;
}

static void read_finish_field(lua_State *L, struct job *job, const char *name, int index) {
    struct store_finish *finish = &job->call.in.finish;
    if (strcmp(name, "status") == 0) {
        finish->status = read_word(L, job, index, name, store_status_of, STATUSES);
    } else if (strcmp(name, "finished_at") == 0) {
        finish->finished_at = read_text(L, job, index, name);
    } else if (strcmp(name, "output") == 0) {
        finish->output = job_read_json(L, job, index);
    } else if (strcmp(name, "error") == 0) {
        finish->error = job_read_json(L, job, index);
    } else if (strcmp(name, "lease_id") == 0) {
        finish->lease_id = read_text(L, job, index, name);
    } else if (strcmp(name, "messages") == 0) {
        finish->messages.count = job_read_list(L, job, index, name, &store_message_shape,
                                               "session_id", &finish->session_id);
    } else if (strcmp(name, "session") == 0 || strcmp(name, "event") == 0) {
        read_finish_record(L, job, name, index);
    } else {
        job_invalid(L, job, name, "is not a field of the end of a run");
    }
}

void job_read_finish(lua_State *L, struct job *job, int index) {
    struct store_finish *finish = &job->call.in.finish;
    check_table(L, job, index, "patch");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t len;
        const char *name = key_name(L, job, -2, &len);
        read_finish_field(L, job, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    if (finish->status < STORE_SUCCEEDED) {
        job_invalid(L, job, "status", "must be one of succeeded, failed, cancelled");
    }
    if (!finish->finished_at.data) job_invalid(L, job, "finished_at", "is missing");
    text_settle(job, &finish->finished_at);
    text_settle(job, &finish->output);
    text_settle(job, &finish->error);
    text_settle(job, &finish->lease_id);
    text_settle(job, &finish->session_id);
    job_settle_list(job, &store_message_shape, finish->messages.count);
    finish->messages.items = (const struct store_message *)(void *)job->rows.data;
    if (finish->session) job_settle_record(job, &store_session_shape, &job->session);
    if (finish->event) job_settle_record(job, &store_event_shape, &job->event);
}

/* ---- Memory ----------------------------------------------------------------------------------- */

void job_read_scope(lua_State *L, struct job *job, int index) {
    static const char *const ID_FIELDS[] = {NULL,       "run_id",  "session_id",
                                            "agent_id", "user_id", "tenant_id"};
    static const char *const FIELDS[] = {"kind",     "run_id",    "session_id",  "agent_id",
                                         "user_id", "tenant_id", "workflow_id", NULL};
    struct store_memory_call *in = &job->call.in.memory;
    check_table(L, job, index, "scope");
    job->list = "scope";
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t len;
        check_allowed(L, job, key_name(L, job, -2, &len), FIELDS);
        lua_pop(L, 1);
    }
    lua_pushliteral(L, "kind");
    lua_rawget(L, index);
    int64_t kind = read_word(L, job, lua_gettop(L), "kind", store_scope_of, SCOPES);
    lua_pop(L, 1);
    in->scope = (enum store_scope_kind)kind;
    lua_pushstring(L, ID_FIELDS[kind]);
    lua_rawget(L, index);
    in->scope_id = read_text(L, job, lua_gettop(L), ID_FIELDS[kind]);
    lua_pop(L, 1);
    job->list = NULL;
}

static struct store_str read_tags(lua_State *L, struct job *job, int index) {
    check_table(L, job, index, "tags");
    size_t offset = job->text.len, count = lua_rawlen(L, index);
    bool ok = buf_add_char(&job->text, '[') == BUF_OK;
    for (size_t i = 1; ok && i <= count; i++) {
        if (i > 1) ok = buf_add_char(&job->text, ',') == BUF_OK;
        lua_rawgeti(L, index, (lua_Integer)i);
        if (lua_type(L, -1) != LUA_TSTRING) wrong_type(L, job, "tags", "a list of strings", -1);
        json_encode(L, -1, &job->text, NULL);
        lua_pop(L, 1);
    }
    if (!ok || buf_add_char(&job->text, ']') != BUF_OK) luaL_error(L, "not enough memory");
    return text_added(L, job, offset);
}

static struct store_str read_metadata(lua_State *L, struct job *job, int index) {
    check_table(L, job, index, "metadata");
    struct store_str json = job_read_json(L, job, index), text = json;
    text_settle(job, &text);
    if (text.data[0] != '{') job_invalid(L, job, "metadata", "must be an object, not a list");
    return json;
}

static void read_memory_option(lua_State *L, struct job *job, const char *name, int index) {
    struct store_memory_call *in = &job->call.in.memory;
    if (strcmp(name, "ttl_ms") == 0) {
        in->ttl_ms = read_integer(L, job, index, name, 1);
    } else if (strcmp(name, "limit") == 0) {
        in->limit = read_integer(L, job, index, name, 0);
    } else if (strcmp(name, "prefix") == 0) {
        in->prefix = read_text(L, job, index, name);
    } else if (strcmp(name, "cursor") == 0) {
        in->cursor = read_text(L, job, index, name);
    } else if (strcmp(name, "text") == 0) {
        in->text = read_text(L, job, index, name);
    } else if (strcmp(name, "tags") == 0) {
        in->tags = read_tags(L, job, index);
    } else {
        in->metadata = read_metadata(L, job, index);
    }
}

void job_read_memory_options(lua_State *L, struct job *job, int index,
                             const char *const *allowed) {
    struct store_memory_call *in = &job->call.in.memory;
    in->limit = -1;
    if (!lua_isnoneornil(L, index)) {
        check_table(L, job, index, "options");
        lua_pushnil(L);
        while (lua_next(L, index)) {
            size_t len;
            const char *name = key_name(L, job, -2, &len);
            check_allowed(L, job, name, allowed);
            read_memory_option(L, job, name, lua_gettop(L));
            lua_pop(L, 1);
        }
    }
    text_settle(job, &in->scope_id);
    text_settle(job, &in->value);
    text_settle(job, &in->prefix);
    text_settle(job, &in->cursor);
    text_settle(job, &in->text);
    text_settle(job, &in->tags);
    text_settle(job, &in->metadata);
}

void job_read_sweep(lua_State *L, struct job *job, int index) {
    static const char *const OPTIONS[] = {"now", NULL};
    if (lua_isnoneornil(L, index)) return;
    check_table(L, job, index, "options");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t len;
        const char *name = key_name(L, job, -2, &len);
        check_allowed(L, job, name, OPTIONS);
        job->call.in.sweep.now_ms = read_integer(L, job, lua_gettop(L), name, 1);
        lua_pop(L, 1);
    }
}
