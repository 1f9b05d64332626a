/* folder.c - core.folder: engine/folder.h, and the real path of something.
 *
 *     list(path) -> { { name, kind, size? }, ... } | nil, code, message
 *         kind: "file", "directory", "link", "other"
 *     scan(path, most_files, most_bytes) -> { { name, size }, ..., bytes =, links =, others = }
 *                                         | nil, code, message, name
 *     read(path, name, offset, most) -> bytes, size | nil, code, message
 *     real(path) -> the absolute path, without links | nil, code, message
 *
 * code: "LIMIT", "NOFILE", or the name of an errno. */
#include "../engine/folder.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"
#include "json.h"

#define CLASS "harness.folder"

static int list_gc(lua_State *L) {
    folder_list_free(luaL_checkudata(L, 1, CLASS));
    return 0;
}

/* A list that the Lua stack owns. */
static struct folder_list *push_list(lua_State *L) {
    struct folder_list *list = lua_newuserdatauv(L, sizeof *list, 0);
    *list = (struct folder_list){0};
    luaL_setmetatable(L, CLASS);
    return list;
}

static const char *check_path(lua_State *L, int index) {
    size_t len;
    const char *path = luaL_checklstring(L, index, &len);
    luaL_argcheck(L, strlen(path) == len, index, "a path holds no NUL character");
    return path;
}

/* Pushes nil, code, message. */
static int push_failure(lua_State *L, int rc) {
    if (rc == ENOMEM) return luaL_error(L, "not enough memory");
    lua_pushnil(L);
    if (rc > 0) {
        lua_pushstring(L, uv_err_name(-rc));
        lua_pushstring(L, uv_strerror(-rc));
    } else {
        lua_pushstring(L, rc == FOLDER_ELIMIT ? "LIMIT" : "NOFILE");
        lua_pushstring(L, rc == FOLDER_ELIMIT ? "there is too much in it" : "not a regular file");
    }
    return 3;
}

static void push_entries(lua_State *L, const struct folder_list *list, bool with_kind) {
    static const char *const KINDS[] = {"file", "directory", "link", "other"};
    lua_createtable(L, (int)list->count, 3);
    for (size_t i = 0; i < list->count; i++) {
        const struct folder_entry *entry = &list->entries[i];
        lua_createtable(L, 0, 3);
        lua_pushstring(L, entry->name);
        lua_setfield(L, -2, "name");
        if (with_kind) {
            lua_pushstring(L, KINDS[entry->kind]);
            lua_setfield(L, -2, "kind");
        }
        if (entry->kind == FOLDER_FILE) {
            lua_pushinteger(L, (lua_Integer)entry->size);
            lua_setfield(L, -2, "size");
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int l_list(lua_State *L) {
    const char *path = check_path(L, 1);
    struct folder_list *list = push_list(L);
    int rc = folder_list(path, list);
    if (rc != 0) return push_failure(L, rc);
    push_entries(L, list, true);
    return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static int l_scan(lua_State *L) {
    const char *path = check_path(L, 1);
    lua_Integer files = luaL_checkinteger(L, 2), bytes = luaL_checkinteger(L, 3);
    luaL_argcheck(L, files >= 0, 2, "not negative");
    luaL_argcheck(L, bytes >= 0, 3, "not negative");
    struct folder_limits limits = {.files = (size_t)files, .bytes = (uint64_t)bytes};
    struct folder_list *list = push_list(L);
    int rc = folder_scan(path, &limits, list);
    if (rc != 0) {
        push_failure(L, rc);
        lua_pushstring(L, list->failed);
        return 4;
    }
    push_entries(L, list, false);
    set_count(L, "bytes", list->bytes);
    set_count(L, "links", list->links);
    set_count(L, "others", list->others);
    return 1;
}

static int l_read(lua_State *L) {
    const char *path = check_path(L, 1), *name = check_path(L, 2);
    lua_Integer offset = luaL_checkinteger(L, 3), most = luaL_checkinteger(L, 4);
    luaL_argcheck(L, offset >= 0, 3, "not negative");
    luaL_argcheck(L, most >= 0, 4, "not negative");
    struct buf *bytes = json_push_buf(L, (size_t)most + 1);
    uint64_t size = 0;
    int rc = folder_read(path, name, (uint64_t)offset, (size_t)most, bytes, &size);
    if (rc != 0) return push_failure(L, rc);
    lua_pushlstring(L, bytes->data ? bytes->data : "", bytes->len);
    lua_pushinteger(L, (lua_Integer)size);
    return 2;
}

static int l_real(lua_State *L) {
    const char *path = check_path(L, 1);
    char real[PATH_MAX];
    if (!realpath(path, real)) return push_failure(L, errno);
    lua_pushstring(L, real);
    return 1;
}

int bind_folder(lua_State *L) {
    static const luaL_Reg META[] = {{"__gc", list_gc}, {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {
        {"list", l_list}, {"scan", l_scan}, {"read", l_read}, {"real", l_real}, {NULL, NULL},
    };
    bind_class(L, CLASS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
