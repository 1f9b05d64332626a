/* store_push.c - rows of engine/store.h as Lua tables. Every table is new: a copy that belongs to
 * the caller. Values are decoded from their JSON text only here, when somebody asks for them. */
#include <string.h>

#include "json.h"
#include "store.h"
#include "text.h"

/* The text is what json_encode wrote, so a string without escapes stands in it as it is. */
void push_json(lua_State *L, struct store_str json) {
    if (json.len >= 2 && json.data[0] == '"' && !memchr(json.data, '\\', json.len)) {
        lua_pushlstring(L, json.data + 1, json.len - 2);
        return;
    }
    const struct json_options unlimited = {.max_bytes = SIZE_MAX / 2};
    json_push_decoded(L, json.data, json.len, &unlimited);
}

/* Copies the fields of the object on top of the stack into the table below it, and pops it. */
static void merge(lua_State *L) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
}

static void push_text_column(lua_State *L, const struct store_column *column,
                             const struct store_str *text) {
    if (!text->data) return;
    if (column->type == STORE_TEXT) {
        lua_pushlstring(L, text->data, text->len);
    } else {
        push_json(L, *text);
    }
    if (column->type == STORE_EXTRA) {
        merge(L);
    } else {
        lua_setfield(L, -2, column->name);
    }
}

static void push_int_column(lua_State *L, const struct store_column *column, int64_t value) {
    switch (column->type) {
    case STORE_ROLE_WORD: lua_pushstring(L, store_role_name(value)); break;
    case STORE_KIND_WORD: lua_pushstring(L, store_kind_name(value)); break;
    case STORE_STATUS_WORD: lua_pushstring(L, store_status_name(value)); break;
    default:
        if (value == 0 && !column->required) return;
        lua_pushinteger(L, value);
    }
    lua_setfield(L, -2, column->name);
}

void push_record(lua_State *L, const struct record_type *type, const void *row, int owner) {
    const struct store_shape *shape = type->shape;
    lua_createtable(L, 0, 8);
    for (size_t i = 0; i < shape->texts; i++) {
        const struct store_column *column = &shape->columns[i];
        push_text_column(L, column, (const struct store_str *)((const char *)row + column->offset));
    }
    for (size_t i = shape->texts; i < shape->texts + shape->ints; i++) {
        const struct store_column *column = &shape->columns[i];
        push_int_column(L, column, *(const int64_t *)((const char *)row + column->offset));
    }
    if (owner == 0) return;
    lua_pushvalue(L, owner);
    lua_setfield(L, -2, type->owner_field);
}

void push_records(lua_State *L, const struct job *job, const struct record_type *type, int owner) {
    size_t count = job->reply.count;
    lua_createtable(L, count < INT32_MAX ? (int)count : 0, 0);
    for (size_t i = 0; i < count; i++) {
        union store_row row;
        store_row(&job->reply, i, &row);
        push_record(L, type, &row, owner);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void set_json(lua_State *L, const char *name, struct store_str json) {
    if (!json.data) return;
    push_json(L, json);
    lua_setfield(L, -2, name);
}

static void set_time(lua_State *L, const char *name, int64_t epoch_ms) {
    if (epoch_ms <= 0) return;
    char text[TEXT_TIMESTAMP_LEN + 1];
    text_timestamp((uint64_t)epoch_ms, text);
    lua_pushlstring(L, text, TEXT_TIMESTAMP_LEN);
    lua_setfield(L, -2, name);
}

static void push_entry(lua_State *L, const struct store_entry *entry, bool found) {
    lua_createtable(L, 0, 8);
    lua_pushlstring(L, entry->key.data, entry->key.len);
    lua_setfield(L, -2, "key");
    set_json(L, "tags", entry->tags);
    set_json(L, "metadata", entry->metadata);
    set_time(L, "created_at", entry->created_ms);
    set_time(L, "updated_at", entry->updated_ms);
    set_time(L, "expires_at", entry->expires_ms);
    if (!found) return;
    set_json(L, "value", entry->value);
    lua_pushnumber(L, entry->score);
    lua_setfield(L, -2, "score");
}

void push_entries(lua_State *L, const struct job *job) {
    size_t count = job->reply.count;
    lua_createtable(L, count < INT32_MAX ? (int)count : 0, 0);
    for (size_t i = 0; i < count; i++) {
        union store_row row;
        store_row(&job->reply, i, &row);
        push_entry(L, &row.entry, job->call.op == STORE_MEMORY_SEARCH);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}
