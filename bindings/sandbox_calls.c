/* sandbox_calls.c - the file calls of sessions. What they are given is checked here, and what they
 * return is made an error or a Lua value; what they mean is told by sandbox/files.h. */
#include <string.h>

#include "../engine/utf8.h"
#include "bindings.h"
#include "sandbox.h"
#include "text.h"

#define SNAPSHOT "harness.files.snapshot"

enum { SHOWN_PATH = 200 };

struct snapshot {
    struct files_snapshot *snapshot;
};

/* ---- arguments and errors ------------------------------------------------------------------- */

int sandbox_refuse(lua_State *L, const char *message) {
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "sandbox");
    lua_setfield(L, -2, "where");
    return bind_raise(L, "VALIDATION_ERROR", "%s", message);
}

struct files *sandbox_session(lua_State *L, int index) {
    struct files *files = NULL;
    if (lua_istable(L, index)) {
        lua_rawgeti(L, index, 1);
        const struct sandbox_tree *tree = luaL_testudata(L, -1, SANDBOX_TREE);
        if (tree) files = tree->files;
        lua_pop(L, 1);
    }
    if (!files)
        luaL_argerror(L, 1, "a sandbox session expected; call its functions as methods, with ':'");
    return files;
}

/* A path as a message shows it: at most so many bytes, one line, UTF-8. */
static void show_path(const char *path, size_t len, char out[SHOWN_PATH + 8]) {
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        size_t unit = utf8_length(path + i, len - i);
        if (n + (unit ? unit : 1) > SHOWN_PATH) {
            memcpy(out + n, "\xe2\x80\xa6", 3);
            n += 3;
            break;
        }
        if (unit > 1 || (unit == 1 && (unsigned char)path[i] >= ' '))
            memcpy(out + n, path + i, unit);
        else out[n] = '?', unit = 1;
        n += unit;
        i += unit;
    }
    out[n] = '\0';
}

/* Raises what a call returned, unless it is FILES_OK. path NULL: the call was about the whole
 * tree. */
void sandbox_check(lua_State *L, struct files *f, enum files_error rc, const char *path,
                   size_t len) {
    char shown[SHOWN_PATH + 8], text[FILES_DETAIL_SIZE];
    if (rc == FILES_OK) return;
    if (rc == FILES_ENOMEM) luaL_error(L, "not enough memory");
    show_path(path ? path : "", path ? len : 0, shown);
    files_message(f, rc, text, sizeof text);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, files_reason(rc));
    lua_setfield(L, -2, "reason");
    lua_pushstring(L, files_error_name(rc));
    lua_setfield(L, -2, "error");
    if (path) {
        lua_pushstring(L, shown);
        lua_setfield(L, -2, "path");
        bind_raise(L, "SANDBOX_ERROR", "\"%s\" %s", shown, text);
    }
    bind_raise(L, "SANDBOX_ERROR", "the sandbox %s", text);
}

const char *sandbox_check_path(lua_State *L, size_t *len) {
    if (lua_type(L, 2) != LUA_TSTRING) {
        const char *found = luaL_typename(L, 2);
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "invalid_path");
        lua_setfield(L, -2, "reason");
        bind_raise(L, "SANDBOX_ERROR", "a path is a string, got %s", found);
    }
    return lua_tolstring(L, 2, len);
}

/* Checks that a table of options (or nil) has no others than these. */
static void check_options(lua_State *L, int index, const char *const allowed[], const char *which) {
    if (lua_isnoneornil(L, index)) return;
    if (!lua_istable(L, index)) {
        sandbox_refuse(L, lua_pushfstring(L, "the options of a sandbox call are a table, got %s",
                                          luaL_typename(L, index)));
    }
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        bool known = false;
        for (int i = 0; allowed[i] && lua_type(L, -1) == LUA_TSTRING; i++)
            known = known || strcmp(lua_tostring(L, -1), allowed[i]) == 0;
        if (!known) {
            const char *name = luaL_tolstring(L, -1, NULL);
            sandbox_refuse(L, lua_pushfstring(L, "there is no option \"%s\"; the options are %s",
                                              name, which));
        }
    }
}

static bool flag_option(lua_State *L, int index, const char *name) {
    if (lua_isnoneornil(L, index)) return false;
    int type = lua_getfield(L, index, name);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        sandbox_refuse(L, lua_pushfstring(L, "the option %s is true or false, got %s", name,
                                          luaL_typename(L, -1)));
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* ---- reading and writing -------------------------------------------------------------------- */

static int l_read(lua_State *L) {
    struct files *f = sandbox_session(L, 1);
    struct files_data data;
    size_t len;
    const char *path = sandbox_check_path(L, &len);
    sandbox_check(L, f, files_read(f, path, len, &data), path, len);
    lua_pushlstring(L, data.bytes, data.len);
    return 1;
}

static int l_write(lua_State *L) {
    struct files *f = sandbox_session(L, 1);
    size_t len, n;
    const char *path = sandbox_check_path(L, &len);
    if (lua_type(L, 3) != LUA_TSTRING)
        return sandbox_refuse(
            L, lua_pushfstring(L, "what is written is a string, got %s", luaL_typename(L, 3)));
    const char *bytes = lua_tolstring(L, 3, &n);
    sandbox_check(L, f, files_write(f, path, len, bytes, n), path, len);
    return 0;
}

static int l_remove(lua_State *L) {
    static const char *const OPTIONS[] = {"recursive", NULL};
    struct files *f = sandbox_session(L, 1);
    size_t len;
    const char *path = sandbox_check_path(L, &len);
    check_options(L, 3, OPTIONS, "recursive");
    bool recursive = flag_option(L, 3, "recursive");
    sandbox_check(L, f, files_remove(f, path, len, recursive), path, len);
    return 0;
}

static const char *const KINDS[] = {
    [FILES_FILE] = "file", [FILES_DIRECTORY] = "directory", [FILES_OTHER] = "other"};

static int l_stat(lua_State *L) {
    struct files *f = sandbox_session(L, 1);
    struct files_stat stat;
    size_t len;
    char at[TEXT_TIMESTAMP_LEN + 1];
    const char *path = sandbox_check_path(L, &len);
    sandbox_check(L, f, files_stat(f, path, len, &stat), path, len);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, KINDS[stat.kind]);
    lua_setfield(L, -2, "kind");
    lua_pushinteger(L, (lua_Integer)stat.size);
    lua_setfield(L, -2, "size");
    text_timestamp(stat.modified_ms, at);
    lua_pushstring(L, at);
    lua_setfield(L, -2, "modified_at");
    return 1;
}

static int l_exists(lua_State *L) {
    struct files *f = sandbox_session(L, 1);
    bool exists;
    size_t len;
    const char *path = sandbox_check_path(L, &len);
    sandbox_check(L, f, files_exists(f, path, len, &exists), path, len);
    lua_pushboolean(L, exists);
    return 1;
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* A list while Lua values are made of it, which may raise. */
struct lua_list {
    struct files_list list;
};

#define LIST "harness.files.list"

static int list_gc(lua_State *L) {
    struct lua_list *own = luaL_checkudata(L, 1, LIST);
    files_list_free(&own->list);
    glob_free(own->list.glob);
    own->list.glob = NULL;
    return 0;
}

static void push_entry(lua_State *L, const struct files_list *list,
                       const struct files_entry *entry) {
    const char *path = list->bytes.data + entry->at;
    size_t name_at = path_name_at(path, entry->len);
    lua_createtable(L, 0, 4);
    lua_pushlstring(L, path + name_at, entry->len - name_at);
    lua_setfield(L, -2, "name");
    lua_pushlstring(L, path, entry->len);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, KINDS[entry->kind]);
    lua_setfield(L, -2, "kind");
    if (entry->kind == FILES_FILE && !list->no_sizes) {
        lua_pushinteger(L, (lua_Integer)entry->size);
        lua_setfield(L, -2, "size");
    }
}

static void take_glob(lua_State *L, int index, struct files_list *list) {
    size_t len;
    if (lua_isnoneornil(L, index) || lua_getfield(L, index, "glob") == LUA_TNIL) return;
    if (lua_type(L, -1) != LUA_TSTRING)
        sandbox_refuse(
            L, lua_pushfstring(L, "the option glob is a pattern, got %s", luaL_typename(L, -1)));
    const char *pattern = lua_tolstring(L, -1, &len);
    if (glob_compile(pattern, len, GLOB_PATH, &list->glob) != GLOB_OK)
        luaL_error(L, "not enough memory");
    lua_pop(L, 1);
}

static int l_list(lua_State *L) {
    static const char *const OPTIONS[] = {"recursive", "glob", "sizes", NULL};
    struct files *f = sandbox_session(L, 1);
    size_t len;
    const char *path = sandbox_check_path(L, &len);
    check_options(L, 3, OPTIONS, "recursive, glob and sizes");
    lua_settop(L, 3);
    struct lua_list *own = lua_newuserdatauv(L, sizeof *own, 0);
    *own = (struct lua_list){0};
    luaL_setmetatable(L, LIST);
    struct files_list *list = &own->list;
    list->recursive = flag_option(L, 3, "recursive");
    if (!lua_isnoneornil(L, 3)) {
        list->no_sizes = lua_getfield(L, 3, "sizes") == LUA_TBOOLEAN && !lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    take_glob(L, 3, list);
    enum files_error rc = files_list(f, path, len, list);
    if (rc != FILES_OK) files_list_free(list);
    sandbox_check(L, f, rc, path, len);
    lua_createtable(L, list->count < INT32_MAX ? (int)list->count : INT32_MAX, 0);
    for (size_t i = 0; i < list->count; i++) {
        push_entry(L, list, &list->entries[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    files_list_free(list); /* not only when the collector comes */
    return 1;
}

/* ---- mounts --------------------------------------------------------------------------------- */

static size_t count_files(lua_State *L, int index) {
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            sandbox_refuse(
                L, "the files of a mount are a table: relative path -> content, both strings");
        lua_pop(L, 1);
        count++;
    }
    return count;
}

/* session:mount(files, at, {read_only}) */
static int l_mount(lua_State *L) {
    static const char *const OPTIONS[] = {"read_only", NULL};
    struct files *f = sandbox_session(L, 1);
    lua_settop(L, 4);
    if (!lua_istable(L, 2))
        return sandbox_refuse(
            L, "the files of a mount are a table: relative path -> content, both strings");
    lua_pushvalue(L, 2); /* the files, behind the path, which becomes the second argument */
    lua_pushvalue(L, 3);
    lua_replace(L, 2);
    size_t len, count = count_files(L, 5), i = 0;
    const char *at = sandbox_check_path(L, &len);
    check_options(L, 4, OPTIONS, "read_only");
    bool read_only = flag_option(L, 4, "read_only");
    struct files_new_file *list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    lua_pushnil(L);
    while (lua_next(L, 5) && i < count) {
        list[i].name = lua_tolstring(L, -2, &list[i].name_len);
        list[i].bytes = lua_tolstring(L, -1, &list[i].len);
        lua_pop(L, 1);
        i++;
    }
    sandbox_check(L, f, files_mount(f, at, len, list, i, read_only), at, len);
    return 0;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static int l_snapshot(lua_State *L) {
    struct files *f = sandbox_session(L, 1);
    struct snapshot *own = lua_newuserdatauv(L, sizeof *own, 0);
    own->snapshot = NULL;
    luaL_setmetatable(L, SNAPSHOT);
    sandbox_check(L, f, files_take_snapshot(f, &own->snapshot), NULL, 0);
    return 1;
}

static int l_restore(lua_State *L) {
    struct files *f = sandbox_session(L, 1);
    const struct snapshot *own = luaL_testudata(L, 2, SNAPSHOT);
    if (!own || !own->snapshot)
        return sandbox_refuse(L, "restore takes what snapshot of a sandbox session has given");
    sandbox_check(L, f, files_restore(f, own->snapshot), NULL, 0);
    return 0;
}

static int snapshot_gc(lua_State *L) {
    struct snapshot *own = luaL_checkudata(L, 1, SNAPSHOT);
    files_snapshot_free(own->snapshot);
    own->snapshot = NULL;
    return 0;
}

void sandbox_calls_classes(lua_State *L) {
    static const luaL_Reg SNAPSHOT_METHODS[] = {{"__gc", snapshot_gc}, {NULL, NULL}};
    static const luaL_Reg LIST_METHODS[] = {{"__gc", list_gc}, {NULL, NULL}};
    bind_class(L, SNAPSHOT, SNAPSHOT_METHODS);
    bind_class(L, LIST, LIST_METHODS);
}

const luaL_Reg SANDBOX_CALLS[] = {
    {"read", l_read},       {"write", l_write},
    {"remove", l_remove},   {"list", l_list},
    {"stat", l_stat},       {"exists", l_exists},
    {"mount", l_mount},     {"snapshot", l_snapshot},
    {"restore", l_restore}, {"search", sandbox_search},
    {NULL, NULL},
};
