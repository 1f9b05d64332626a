/* store_json.c - values as JSON text, with a short cut for what a storage is mostly given: plain
 * strings, and small objects of strings, integers and booleans (the payload of an event).
 *
 * Such an object is read in one pass into an array on the C stack, sorted by its keys there, and
 * written with the room for all of it made once; that is half the cost of the general way. The
 * strings are pointed at where they are: nothing in between allocates in Lua, so nothing moves.
 * Whatever does not fit goes to json_encode, which writes the same text for the same value. */
#include <string.h>

#include "json.h"
#include "json_number.h"
#include "store.h"

enum { MEMBERS_MAX = 12 };

struct member {
    const char *key;
    size_t key_len;
    const char *text; /* NULL: a number or boolean */
    size_t len;
    lua_Integer number;
    int type;
};

static bool is_plain(const char *bytes, size_t len) {
    const unsigned char *end = (const unsigned char *)bytes + len;
    return json_plain_run((const unsigned char *)bytes, end) == end;
}

/* The member on top of the stack, if it is a plain one. */
static bool read_member(lua_State *L, struct member *member) {
    if (lua_type(L, -2) != LUA_TSTRING) return false;
    *member = (struct member){.type = lua_type(L, -1)};
    member->key = lua_tolstring(L, -2, &member->key_len);
    if (!is_plain(member->key, member->key_len)) return false;
    if (member->type == LUA_TSTRING) {
        member->text = lua_tolstring(L, -1, &member->len);
        return is_plain(member->text, member->len);
    }
    if (member->type == LUA_TBOOLEAN) {
        member->number = lua_toboolean(L, -1);
        return true;
    }
    if (member->type != LUA_TNUMBER || !lua_isinteger(L, -1)) return false;
    member->number = lua_tointeger(L, -1);
    return true;
}

/* By the bytes of the key. */
static bool goes_before(const struct member *a, const struct member *b) {
    return store_str_cmp((struct store_str){a->key, a->key_len},
                         (struct store_str){b->key, b->key_len}) < 0;
}

/* The members of the table, sorted; -1: it is not of the small plain kind. */
static int read_members(lua_State *L, int table, struct member *members) {
    int count = 0;
    struct member member;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (count == MEMBERS_MAX || !read_member(L, &member)) {
            lua_pop(L, 2);
            return -1;
        }
        int at = count++;
        for (; at > 0 && goes_before(&member, &members[at - 1]); at--)
            members[at] = members[at - 1];
        members[at] = member;
    }
    return count;
}

static char *put(char *to, const char *bytes, size_t len) {
    memcpy(to, bytes, len);
    return to + len;
}

static char *put_quoted(char *to, const char *bytes, size_t len) {
    *to = '"';
    to = put(to + 1, bytes, len);
    *to = '"';
    return to + 1;
}

static char *put_member(char *to, const struct member *member) {
    to = put_quoted(to, member->key, member->key_len);
    *to++ = ':';
    if (member->text) return put_quoted(to, member->text, member->len);
    if (member->type == LUA_TNUMBER) return to + json_format_integer(to, member->number);
    return member->number ? put(to, "true", 4) : put(to, "false", 5);
}

static bool write_object(lua_State *L, struct buf *text, int table) {
    struct member members[MEMBERS_MAX];
    if (lua_getmetatable(L, table)) {
        lua_pop(L, 1);
        return false;
    }
    int count = read_members(L, table, members);
    if (count < 0) return false;
    size_t room = 2;
    for (int i = 0; i < count; i++) {
        room += members[i].key_len + members[i].len + JSON_NUMBER_SIZE + 6;
    }
    char *start = text_room(L, text, room), *to = start;
    *to++ = '{';
    for (int i = 0; i < count; i++) {
        if (i > 0) *to++ = ',';
        to = put_member(to, &members[i]);
    }
    *to++ = '}';
    text->len += (size_t)(to - start);
    return true;
}

static bool write_string(lua_State *L, struct buf *text, int index) {
    size_t len;
    const char *bytes = lua_tolstring(L, index, &len);
    if (!is_plain(bytes, len)) return false;
    char *start = text_room(L, text, len + 2);
    text->len += (size_t)(put_quoted(start, bytes, len) - start);
    return true;
}

static bool write_number(lua_State *L, struct buf *text, int index) {
    if (!lua_isinteger(L, index)) return false;
    text->len += json_format_integer(text_room(L, text, JSON_NUMBER_SIZE), lua_tointeger(L, index));
    return true;
}

void text_put_json(lua_State *L, struct buf *text, int index) {
    bool done = false;
    switch (lua_type(L, index)) {
    case LUA_TSTRING: done = write_string(L, text, index); break;
    case LUA_TTABLE: done = write_object(L, text, lua_absindex(L, index)); break;
    case LUA_TNUMBER: done = write_number(L, text, index); break;
    default: break;
    }
    if (!done) json_encode(L, index, text, NULL);
}

struct store_str job_read_json(lua_State *L, struct job *job, int index) {
    size_t offset = job->text.len;
    text_put_json(L, &job->text, index);
    return text_mark(offset, job->text.len - offset);
}
