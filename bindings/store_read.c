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

/* ---- Errors -------------------------------------------------------------------------- */

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
static const char *key_name(lua_State *L, const struct job *job, int index) {
    if (lua_type(L, index) != LUA_TSTRING) {
        job_invalid(L, job, NULL, "must have named fields only, got a %s as key",
                    luaL_typename(L, index));
    }
    return lua_tostring(L, index);
}

/* ---- Texts --------------------------------------------------------------------------- */

/* While marked, data holds the offset + 1. */
static struct store_str text_mark(size_t offset, size_t len) {
    return (struct store_str){(const char *)(uintptr_t)(offset + 1), len};
}

void text_settle(const struct job *job, struct store_str *text) {
    if (text->data) text->data = job->text.data + ((uintptr_t)text->data - 1);
}

/* Where n more bytes of text may be written. */
static char *text_room(lua_State *L, struct job *job, size_t n) {
    struct buf *text = &job->text;
    if (n >= text->cap - text->len && buf_reserve(text, n) != BUF_OK) {
        luaL_error(L, "not enough memory");
    }
    return text->data + text->len;
}

static struct store_str add_text(lua_State *L, struct job *job, const char *bytes, size_t len) {
    size_t offset = job->text.len;
    memcpy(text_room(L, job, len), bytes, len);
    job->text.len += len;
    return text_mark(offset, len);
}

/* Strings that need no escapes, which most are, are only put in quotes. */
struct store_str job_read_json(lua_State *L, struct job *job, int index) {
    size_t len, offset = job->text.len;
    if (lua_type(L, index) == LUA_TSTRING) {
        const char *bytes = lua_tolstring(L, index, &len);
        const unsigned char *end = (const unsigned char *)bytes + len;
        if (json_plain_run((const unsigned char *)bytes, end) == end) {
            char *room = text_room(L, job, len + 2);
            room[0] = '"';
            memcpy(room + 1, bytes, len);
            room[len + 1] = '"';
            job->text.len += len + 2;
            return text_mark(offset, len + 2);
        }
    }
    json_encode(L, index, &job->text, NULL);
    return text_mark(offset, job->text.len - offset);
}

static struct store_str read_text(lua_State *L, struct job *job, int index, const char *field) {
    if (lua_type(L, index) != LUA_TSTRING) wrong_type(L, job, field, "a string", index);
    size_t len;
    const char *bytes = lua_tolstring(L, index, &len);
    return add_text(L, job, bytes, len);
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

/* ---- Records ------------------------------------------------------------------------- */

static const char TYPES_KEY = 0; /* address: registry key of the types */

/* Pushes the name, to be anchored by the caller, and returns its identity. */
static const void *push_name(lua_State *L, const char *name) {
    lua_pushstring(L, name);
    return lua_topointer(L, -1);
}

/* The names go into the table on top of the stack. */
static void open_type(lua_State *L, struct record_type *type, const struct store_shape *shape,
                      const char *owner_field) {
    *type = (struct record_type){.shape = shape, .owner_field = owner_field};
    for (size_t i = 0; i < shape->texts + shape->ints; i++) {
        if (shape->columns[i].type == STORE_EXTRA) {
            type->names[i] = type; /* not a field by itself: no key is this */
            continue;
        }
        type->names[i] = push_name(L, shape->columns[i].name);
        luaL_ref(L, -2);
    }
    if (!owner_field) return;
    type->owner_name = push_name(L, owner_field);
    luaL_ref(L, -2);
}

void record_types_open(lua_State *L) {
    struct record_types *types = lua_newuserdatauv(L, sizeof *types, 1);
    lua_newtable(L);
    open_type(L, &types->session, &store_session_shape, NULL);
    open_type(L, &types->message, &store_message_shape, "session_id");
    open_type(L, &types->run, &store_run_shape, NULL);
    open_type(L, &types->event, &store_event_shape, "run_id");
    lua_setiuservalue(L, -2, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &TYPES_KEY);
}

const struct record_types *record_types_get(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &TYPES_KEY);
    const struct record_types *types = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return types;
}

static struct store_str *text_in(void *row, const struct store_column *column) {
    return (struct store_str *)((char *)row + column->offset);
}

static void read_column(lua_State *L, struct job *job, const struct store_column *column, void *row,
                        int index) {
    int64_t *number = (int64_t *)((char *)row + column->offset);
    switch (column->type) {
    case STORE_TEXT: *text_in(row, column) = read_text(L, job, index, column->name); break;
    case STORE_JSON:
    case STORE_EXTRA: *text_in(row, column) = job_read_json(L, job, index); break;
    case STORE_INT: *number = read_integer(L, job, index, column->name, column->least); break;
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

static void read_owner(lua_State *L, struct job *job, const char *field, struct store_str *owner) {
    struct store_str said = job_text_arg(L, job, lua_gettop(L), field);
    struct store_str before = *owner;
    text_settle(job, &before);
    if (!before.data) {
        *owner = add_text(L, job, said.data, said.len);
    } else if (!store_str_eq(said, before)) {
        job_invalid(L, job, field, "must be the same in all records of a call");
    }
}

/* Puts the field, whose key and value are on top of the stack, into the table of further fields
 * right below them, which is made at the first of them. */
static void add_extra(lua_State *L, bool *has_extras) {
    if (!*has_extras) {
        lua_newtable(L);
        lua_insert(L, -3);
        *has_extras = true;
    }
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
}

static bool takes_extras(const struct store_shape *shape) {
    return shape->columns[shape->texts - 1].type == STORE_EXTRA;
}

/* A field without a column. */
static void read_other(lua_State *L, struct job *job, const struct record_type *type,
                       struct store_str *owner, bool *has_extras) {
    const char *name = key_name(L, job, -2);
    if (lua_topointer(L, -2) == type->owner_name) {
        read_owner(L, job, name, owner);
    } else if (takes_extras(type->shape)) {
        add_extra(L, has_extras);
    } else {
        job_invalid(L, job, name, "is not a field of a %s", type->shape->name);
    }
}

static void check_required(lua_State *L, const struct job *job, const struct store_shape *shape,
                           uint32_t seen) {
    for (size_t i = 0; i < shape->texts + shape->ints; i++) {
        if (!shape->columns[i].required || seen & (UINT32_C(1) << i)) continue;
        job_invalid(L, job, shape->columns[i].name, "is missing");
    }
}

/* The number of the column whose name is that string, or of columns if there is none. */
static size_t column_of(const struct record_type *type, const void *name) {
    size_t count = type->shape->texts + type->shape->ints, i = 0;
    while (i < count && type->names[i] != name) i++;
    return i;
}

void job_read_record(lua_State *L, struct job *job, int index, const struct record_type *type,
                     void *row, struct store_str *owner) {
    const struct store_shape *shape = type->shape;
    index = lua_absindex(L, index);
    check_table(L, job, index, NULL);
    memset(row, 0, shape->size);
    uint32_t seen = 0;
    bool has_extras = false;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t column = column_of(type, lua_topointer(L, -2));
        if (column < shape->texts + shape->ints) {
            read_column(L, job, &shape->columns[column], row, -1);
            seen |= UINT32_C(1) << column;
        } else {
            read_other(L, job, type, owner, &has_extras);
        }
        lua_pop(L, 1);
    }
    check_required(L, job, shape, seen);
    if (!has_extras) return;
    *text_in(row, &shape->columns[shape->texts - 1]) = job_read_json(L, job, -1);
    lua_pop(L, 1);
}

void job_settle_record(const struct job *job, const struct record_type *type, void *row) {
    const struct store_shape *shape = type->shape;
    for (size_t i = 0; i < shape->texts; i++) text_settle(job, text_in(row, &shape->columns[i]));
}

void job_check_owner(lua_State *L, const struct job *job, const struct record_type *type,
                     struct store_str said) {
    struct store_str id = job->call.id;
    if (!said.data || store_str_eq(said, id)) return;
    job_invalid(L, job, type->owner_field, "is \"%.*s\", but the call is about \"%.*s\"",
                (int)(said.len < 100 ? said.len : 100), said.data,
                (int)(id.len < 100 ? id.len : 100), id.data);
}

size_t job_read_list(lua_State *L, struct job *job, int index, const char *name,
                     const struct record_type *type, struct store_str *owner) {
    check_table(L, job, index, name);
    size_t count = lua_rawlen(L, index), size = type->shape->size;
    buf_clear(&job->rows);
    if (count > job->rows.max / size || buf_reserve(&job->rows, count * size) != BUF_OK) {
        luaL_error(L, "not enough memory");
    }
    job->list = name;
    for (size_t i = 0; i < count; i++) {
        job->item = i + 1;
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        job_read_record(L, job, -1, type, job->rows.data + i * size, owner);
        lua_pop(L, 1);
    }
    job->list = NULL;
    job->item = 0;
    return count;
}

void job_settle_list(const struct job *job, const struct record_type *type, size_t count) {
    for (size_t i = 0; i < count; i++) {
        job_settle_record(job, type, job->rows.data + i * type->shape->size);
    }
}

/* ---- Options ------------------------------------------------------------------------- */

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
        const char *name = key_name(L, job, -2);
        check_allowed(L, job, name, allowed);
        read_page_option(L, job, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    text_settle(job, &page->before);
    text_settle(job, &page->session_id);
    text_settle(job, &page->harness);
}

/* ---- The end of a run ---------------------------------------------------------------- */

static void read_finish_record(lua_State *L, struct job *job, const char *name, int index) {
    struct store_finish *finish = &job->call.in.finish;
    job->list = name;
    job->item = 0;
    if (strcmp(name, "session") == 0) {
        job_read_record(L, job, index, &job->types->session, &job->session, NULL);
        finish->session = &job->session;
    } else {
        struct store_str said = {0};
        job_read_record(L, job, index, &job->types->event, &job->event, &said);
        text_settle(job, &said);
        job_check_owner(L, job, &job->types->event, said);
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
        finish->messages.count =
            job_read_list(L, job, index, name, &job->types->message, &finish->session_id);
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
        const char *name = key_name(L, job, -2);
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
    job_settle_list(job, &job->types->message, finish->messages.count);
    finish->messages.items = (const struct store_message *)(void *)job->rows.data;
    if (finish->session) job_settle_record(job, &job->types->session, &job->session);
    if (finish->event) job_settle_record(job, &job->types->event, &job->event);
}

/* ---- Memory -------------------------------------------------------------------------- */

void job_read_scope(lua_State *L, struct job *job, int index) {
    static const char *const ID_FIELDS[] = {NULL,       "run_id",  "session_id",
                                            "agent_id", "user_id", "tenant_id"};
    static const char *const FIELDS[] = {"kind",    "run_id",    "session_id",  "agent_id",
                                         "user_id", "tenant_id", "workflow_id", NULL};
    struct store_memory_call *in = &job->call.in.memory;
    check_table(L, job, index, "scope");
    job->list = "scope";
    lua_pushnil(L);
    while (lua_next(L, index)) {
        check_allowed(L, job, key_name(L, job, -2), FIELDS);
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
    return text_mark(offset, job->text.len - offset);
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

void job_read_memory_options(lua_State *L, struct job *job, int index, const char *const *allowed) {
    struct store_memory_call *in = &job->call.in.memory;
    in->limit = -1;
    if (!lua_isnoneornil(L, index)) {
        check_table(L, job, index, "options");
        lua_pushnil(L);
        while (lua_next(L, index)) {
            const char *name = key_name(L, job, -2);
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
        const char *name = key_name(L, job, -2);
        check_allowed(L, job, name, OPTIONS);
        job->call.in.sweep.now_ms = read_integer(L, job, lua_gettop(L), name, 1);
        lua_pop(L, 1);
    }
}
