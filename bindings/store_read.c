/* store_read.c - Lua tables as the rows of engine/store.h, and what all readers of arguments share.
 *
 * A record is read in one pass over its table, which finds unknown fields on the way. Values that
 * the engines do not look into are encoded to JSON right into the job's text buffer: once, without
 * a Lua string in between. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

int job_wrong_type(lua_State *L, const struct job *job, const char *field, const char *wanted,
                   int index) {
    return job_invalid(L, job, field, "must be %s, got %s", wanted, luaL_typename(L, index));
}

void job_check_table(lua_State *L, const struct job *job, int index, const char *field) {
    if (!lua_istable(L, index)) job_wrong_type(L, job, field, "a table", index);
}

/* The name of the field whose key is at index. */
const char *job_key(lua_State *L, const struct job *job, int index) {
    if (lua_type(L, index) != LUA_TSTRING) {
        job_invalid(L, job, NULL, "must have named fields only, got a %s as key",
                    luaL_typename(L, index));
    }
    return lua_tostring(L, index);
}

/* ---- Texts --------------------------------------------------------------------------- */

/* While marked, data holds the offset + 1. */
struct store_str text_mark(size_t offset, size_t len) {
    return (struct store_str){(const char *)(uintptr_t)(offset + 1), len};
}

void text_settle(const struct job *job, struct store_str *text) {
    if (text->data) text->data = job->text.data + ((uintptr_t)text->data - 1);
}

char *text_room(lua_State *L, struct buf *text, size_t n) {
    if (n >= text->cap - text->len && buf_reserve(text, n) != BUF_OK) {
        luaL_error(L, "not enough memory");
    }
    return text->data + text->len;
}

static struct store_str add_text(lua_State *L, struct job *job, const char *bytes, size_t len) {
    size_t offset = job->text.len;
    memcpy(text_room(L, &job->text, len), bytes, len);
    job->text.len += len;
    return text_mark(offset, len);
}

struct store_str job_read_text(lua_State *L, struct job *job, int index, const char *field) {
    if (lua_type(L, index) != LUA_TSTRING) job_wrong_type(L, job, field, "a string", index);
    size_t len;
    const char *bytes = lua_tolstring(L, index, &len);
    return add_text(L, job, bytes, len);
}

int64_t job_read_integer(lua_State *L, const struct job *job, int index, const char *field,
                         int64_t least) {
    int is_integer = 0;
    lua_Integer value = lua_tointegerx(L, index, &is_integer);
    if (!is_integer || lua_type(L, index) != LUA_TNUMBER) {
        job_wrong_type(L, job, field, "an integer", index);
    }
    if (value < least) {
        job_invalid(L, job, field, "must be at least %lld, got %lld", (long long)least,
                    (long long)value);
    }
    return value;
}

/* A word out of an enum. */
int64_t job_read_word(lua_State *L, const struct job *job, int index, const char *field,
                      int64_t (*of)(struct store_str), const char *allowed) {
    if (lua_type(L, index) != LUA_TSTRING) job_wrong_type(L, job, field, "a string", index);
    struct store_str word;
    word.data = lua_tolstring(L, index, &word.len);
    int64_t value = of(word);
    if (!value) job_invalid(L, job, field, "must be one of %s, got \"%s\"", allowed, word.data);
    return value;
}

static const char ROLES[] = "system, user, assistant, tool";
static const char KINDS[] = "agent, workflow";
const char STORE_STATUSES[] = "queued, running, waiting, succeeded, failed, cancelled";

struct store_str job_text_arg(lua_State *L, const struct job *job, int arg, const char *name) {
    if (lua_type(L, arg) != LUA_TSTRING) job_wrong_type(L, job, name, "a string", arg);
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
    case STORE_TEXT: *text_in(row, column) = job_read_text(L, job, index, column->name); break;
    case STORE_JSON:
    case STORE_EXTRA: *text_in(row, column) = job_read_json(L, job, index); break;
    case STORE_INT: *number = job_read_integer(L, job, index, column->name, column->least); break;
    case STORE_ROLE_WORD:
        *number = job_read_word(L, job, index, column->name, store_role_of, ROLES);
        break;
    case STORE_KIND_WORD:
        *number = job_read_word(L, job, index, column->name, store_kind_of, KINDS);
        break;
    case STORE_STATUS_WORD:
        *number = job_read_word(L, job, index, column->name, store_status_of, STORE_STATUSES);
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
    const char *name = job_key(L, job, -2);
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
    job_check_table(L, job, index, NULL);
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
    job_check_table(L, job, index, name);
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
