/* event_list.c - core.store.event_shape and core.store.event_list: a run's events on their way to a
 * storage, as the rows that the storage keeps, and no Lua table in between.
 *
 *     local shape = core.store.event_shape("tool.started", "agent_id call_id input!", false)
 *     local list = core.store.event_list(run_id)
 *     list:add(shape, seq, at, ...) -> how many are in it   at: a timestamp; nil: now
 *     storage:append_events(run_id, list)                  for a storage of ours
 *     list:records() -> records                             for others: tables, made anew
 *     list:count()  list:clear()
 *     core.store.add_event                                  list.add
 *
 * A shape says of a type of events which values add gets, in this order. What is marked ! is content:
 * without `with_content` (the third argument) "[redacted]" stands in its place. nil is left out.
 * add raises for a value that JSON cannot hold, and the list is as it was.
 *
 * The texts of an event are appended to one buffer, and its row points at them by offset, as in a
 * storage call under way (store.h), which takes over both as they are. */
#include <string.h>

#include "../engine/ulid.h"
#include "json.h"
#include "store.h"
#include "text.h"

#define LIST_CLASS "harness.event_list"
#define SHAPE_CLASS "harness.event_shape"

enum { UP_LIST = 1, UP_SHAPE, UP_GENERATOR };
enum { FIELDS_MAX = 12, FIRST_TEXT = 1 << 10, FIRST_ROWS = 8 };

struct field {
    const char *name;
    size_t len;
    int argument; /* of add: 5 is the first */
    bool hidden;
};

/* Its fields, sorted by name. The strings are its user values. */
struct shape {
    const char *type;
    size_t type_len;
    int count;
    struct field fields[FIELDS_MAX];
};

/* Its user value is the run's id. */
struct event_list {
    struct buf text;
    struct buf rows;
    size_t text_len;  /* without what an add that failed has left */
    uint64_t changes; /* how often it was added to or cleared */
    struct core *core;
};

static struct event_list *list_arg(lua_State *L) {
    struct event_list *list = bind_object(L, 1, UP_LIST);
    if (!list) luaL_argerror(L, 1, "a list of events expected");
    return list;
}

static size_t count_of(const struct event_list *list) {
    return list->rows.len / sizeof(struct store_event);
}

static struct store_event row_at(const struct buf *rows, size_t i) {
    struct store_event row;
    memcpy(&row, rows->data + i * sizeof row, sizeof row);
    return row;
}

/* The texts of the row begin so much further on. */
static void move_texts(struct store_event *row, uintptr_t by) {
    struct store_str *texts[] = {&row->id, &row->at, &row->type, &row->payload};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        texts[i]->data = (const char *)((uintptr_t)texts[i]->data + by);
}

/* ---- shapes ---------------------------------------------------------------------------- */

static bool goes_before(const struct field *a, const struct field *b) {
    return store_str_cmp((struct store_str){a->name, a->len}, (struct store_str){b->name, b->len}) <
           0;
}

static void add_field(lua_State *L, struct shape *shape, struct field field) {
    if (shape->count == FIELDS_MAX) luaL_argerror(L, 2, "too many fields");
    int at = shape->count++;
    for (; at > 0 && goes_before(&field, &shape->fields[at - 1]); at--)
        shape->fields[at] = shape->fields[at - 1];
    shape->fields[at] = field;
}

/* event_shape(type, fields, with_content) */
static int l_shape(lua_State *L) {
    lua_settop(L, 3);
    const char *names = luaL_checkstring(L, 2);
    luaL_checkstring(L, 1);
    struct shape *shape = lua_newuserdatauv(L, sizeof *shape, 2);
    *shape = (struct shape){0};
    shape->type = lua_tolstring(L, 1, &shape->type_len);
    for (int argument = 5; *names; argument++) {
        size_t len = strcspn(names, " !");
        bool hidden = names[len] == '!' && !lua_toboolean(L, 3);
        add_field(L, shape, (struct field){names, len, argument, hidden});
        names += len + strspn(names + len, " !");
    }
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 4, 1);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 4, 2);
    luaL_setmetatable(L, SHAPE_CLASS);
    return 1;
}

/* ---- lists ----------------------------------------------------------------------------- */

static struct store_str put_text(lua_State *L, struct buf *text, const char *bytes, size_t len) {
    size_t offset = text->len;
    memcpy(text_room(L, text, len), bytes, len);
    text->len += len;
    return text_mark(offset, len);
}

static void put_payload(lua_State *L, struct buf *text, const struct shape *shape) {
    char before = '{';
    for (int i = 0; i < shape->count; i++) {
        const struct field *field = &shape->fields[i];
        if (lua_isnoneornil(L, field->argument)) continue;
        char *to = text_room(L, text, field->len + 4);
        *to++ = before;
        *to++ = '"';
        memcpy(to, field->name, field->len);
        to[field->len] = '"';
        to[field->len + 1] = ':';
        text->len += field->len + 4;
        before = ',';
        static const char HIDDEN[] = "\"[redacted]\"";
        if (field->hidden) put_text(L, text, HIDDEN, sizeof HIDDEN - 1);
        else text_put_json(L, text, field->argument);
    }
    put_text(L, text, before == '{' ? "{}" : "}", before == '{' ? 2 : 1);
}

static struct store_str put_time(lua_State *L, struct event_list *list) {
    if (lua_isnoneornil(L, 4)) {
        const char *now = core_timestamp(list->core, loop_wall_ms(list->core->loop));
        return put_text(L, &list->text, now, TEXT_TIMESTAMP_LEN);
    }
    size_t len;
    const char *at = luaL_checklstring(L, 4, &len);
    return put_text(L, &list->text, at, len);
}

static struct store_str put_id(lua_State *L, struct buf *text) {
    char id[ULID_LEN + 1];
    if (ulid_next(lua_touserdata(L, lua_upvalueindex(UP_GENERATOR)), id) != ULID_OK) {
        lua_pushnil(L);
        bind_raise(L, "INTERNAL_ERROR", "no id could be made: the random source failed");
    }
    return put_text(L, text, id, ULID_LEN);
}

/* Makes room for one more row, a few at a time. */
static void reserve_row(lua_State *L, struct buf *rows) {
    if (rows->cap - rows->len > sizeof(struct store_event)) return;
    if (buf_reserve(rows, FIRST_ROWS * sizeof(struct store_event)) != BUF_OK)
        luaL_error(L, "not enough memory");
}

static int l_add(lua_State *L) {
    struct event_list *list = list_arg(L);
    const struct shape *shape = bind_object(L, 2, UP_SHAPE);
    if (!shape) luaL_argerror(L, 2, "the shape of an event expected");
    struct store_event row = {.seq = luaL_checkinteger(L, 3)};
    luaL_checkstack(L, 20, "event");
    uint64_t changes = ++list->changes;
    list->text.len = list->text_len;
    if (!list->text.cap) text_room(L, &list->text, FIRST_TEXT);
    reserve_row(L, &list->rows);
    row.id = put_id(L, &list->text);
    row.at = put_time(L, list);
    row.type = put_text(L, &list->text, shape->type, shape->type_len);
    size_t offset = list->text.len;
    put_payload(L, &list->text, shape);
    if (list->changes != changes) /* by a __tojson method: what was written so far is lost */
        return luaL_error(L, "an event cannot be added to a list while another one is");
    row.payload = text_mark(offset, list->text.len - offset);
    list->text_len = list->text.len;
    memcpy(list->rows.data + list->rows.len, &row, sizeof row);
    list->rows.len += sizeof row;
    lua_pushinteger(L, (lua_Integer)count_of(list));
    return 1;
}

static int l_count(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)count_of(list_arg(L)));
    return 1;
}

static int l_clear(lua_State *L) {
    struct event_list *list = list_arg(L);
    list->changes++;
    buf_free(&list->text); /* what waits long, waits without it */
    buf_free(&list->rows);
    list->text_len = 0;
    return 0;
}

/* Works on a copy: a finaliser that runs meanwhile may add to the list. */
static int l_records(lua_State *L) {
    const struct event_list *list = list_arg(L);
    const struct record_types *types = record_types_get(L);
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    lua_newtable(L);
    struct buf *copy = json_push_buf(L, SIZE_MAX / 2);
    size_t count = count_of(list), texts = list->rows.len;
    if (buf_add(copy, list->rows.data, texts) != BUF_OK ||
        buf_add(copy, list->text.data, list->text_len) != BUF_OK)
        return luaL_error(L, "not enough memory");
    for (size_t i = 0; i < count; i++) {
        struct store_event row = row_at(copy, i);
        move_texts(&row, (uintptr_t)copy->data + texts - 1);
        push_record(L, &types->event, &row, 2);
        lua_rawseti(L, 3, (lua_Integer)i + 1);
    }
    lua_settop(L, 3);
    return 1;
}

static int l_gc(lua_State *L) {
    struct event_list *list = lua_touserdata(L, 1);
    buf_free(&list->text);
    buf_free(&list->rows);
    return 0;
}

/* event_list(run_id) */
static int l_list(lua_State *L) {
    luaL_checkstring(L, 1);
    struct event_list *list = lua_newuserdatauv(L, sizeof *list, 1);
    *list = (struct event_list){.core = core_get(L)};
    buf_init(&list->text, SIZE_MAX / 2);
    buf_init(&list->rows, SIZE_MAX / 2);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LIST_CLASS);
    return 1;
}

/* ---- into a storage call --------------------------------------------------------------- */

/* The list at index, its texts appended to those of the job. NULL: there is none. */
static const struct event_list *take_list(lua_State *L, struct job *job, int index,
                                          size_t *offset) {
    const struct event_list *list = luaL_testudata(L, index, LIST_CLASS);
    if (!list) return NULL;
    lua_getiuservalue(L, index, 1);
    struct store_str run_id;
    run_id.data = lua_tolstring(L, -1, &run_id.len);
    job_check_owner(L, job, &job->types->event, run_id);
    lua_pop(L, 1);
    *offset = job->text.len;
    if (list->text_len)
        memcpy(text_room(L, &job->text, list->text_len), list->text.data, list->text_len);
    job->text.len += list->text_len;
    return list;
}

bool job_read_events(lua_State *L, struct job *job, int index, size_t *count) {
    size_t offset;
    const struct event_list *list = take_list(L, job, index, &offset);
    if (!list) return false;
    buf_clear(&job->rows);
    if (buf_reserve(&job->rows, list->rows.len) != BUF_OK) luaL_error(L, "not enough memory");
    struct store_event *rows = (struct store_event *)(void *)job->rows.data;
    *count = count_of(list);
    for (size_t i = 0; i < *count; i++) {
        rows[i] = row_at(&list->rows, i);
        move_texts(&rows[i], offset);
    }
    return true;
}

bool job_read_event(lua_State *L, struct job *job, int index, struct store_event *row) {
    size_t offset;
    const struct event_list *list = take_list(L, job, index, &offset);
    if (!list) return false;
    if (count_of(list) != 1) job_invalid(L, job, NULL, "must be one event");
    *row = row_at(&list->rows, 0);
    move_texts(row, offset);
    return true;
}

/* ---- opening --------------------------------------------------------------------------- */

static const luaL_Reg METHODS[] = {
    {"add", l_add},         {"count", l_count}, {"clear", l_clear},
    {"records", l_records}, {"__gc", l_gc},     {NULL, NULL},
};

void event_list_open(lua_State *L) {
    int functions = lua_gettop(L);
    static const luaL_Reg NONE[] = {{NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {
        {"event_shape", l_shape}, {"event_list", l_list}, {NULL, NULL}};
    bind_class(L, SHAPE_CLASS, NONE);
    bind_class(L, LIST_CLASS, NONE);
    luaL_getmetatable(L, LIST_CLASS);
    lua_pushvalue(L, -1);
    luaL_getmetatable(L, SHAPE_CLASS);
    ulid_push_generator(L);
    luaL_setfuncs(L, METHODS, 3);
    lua_getfield(L, functions + 1, "add");
    lua_setfield(L, functions, "add_event");
    lua_settop(L, functions);
    luaL_setfuncs(L, FUNCTIONS, 0);
}
