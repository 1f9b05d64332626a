/* sandbox.c - core.sandbox: trees of files (sandbox/files.h), and the file calls of sessions on
 * them.
 *
 *     memory(quota_bytes) -> tree
 *     directory{root?, base, quota_bytes?, no_system_names?, uid?, gid?} -> tree | nil, why, reason
 *     real_directory(path) -> absolute path without links | nil, why
 *     sweep(base)                    private directories that killed engines have left
 *     calls = { read, write, remove, list, stat, exists, mount, snapshot, restore, search }
 *         functions whose first argument is a session: a table whose [1] is its tree
 *
 *     tree:close()
 *     tree:host(make?) -> { private?, workspace?, read_only = { path, ... } } | nil: not on the host
 *     tree:measure() -> bytes        of a tree on the host that others have written to
 *
 * What does not work is raised as SANDBOX_ERROR: meta.reason, meta.path, meta.error (ENOENT,
 * ...). Wrong arguments are VALIDATION_ERROR, where = "sandbox". */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../sandbox/files_directory.h"
#include "../sandbox/files_memory.h"
#include "bindings.h"
#include "sandbox.h"

/* ---- trees ---------------------------------------------------------------------------------- */

static struct sandbox_tree *new_tree(lua_State *L) {
    struct sandbox_tree *tree = lua_newuserdatauv(L, sizeof *tree, 0);
    tree->files = NULL;
    luaL_setmetatable(L, SANDBOX_TREE);
    return tree;
}

static struct files *check_tree(lua_State *L) {
    const struct sandbox_tree *tree = luaL_checkudata(L, 1, SANDBOX_TREE);
    luaL_argcheck(L, tree->files, 1, "the tree has been collected");
    return tree->files;
}

static uint64_t now_ms(void *user) {
    return loop_wall_ms(user);
}

static int l_memory(lua_State *L) {
    lua_Integer quota = luaL_checkinteger(L, 1);
    struct sandbox_tree *tree = new_tree(L);
    tree->files = files_memory_new((uint64_t)quota, now_ms, core_get(L)->loop);
    return tree->files ? 1 : luaL_error(L, "not enough memory");
}

static const char *text_field(lua_State *L, const char *name) {
    size_t len;
    lua_getfield(L, 1, name); /* stays on the stack, and so the text is kept */
    const char *text = luaL_optlstring(L, -1, NULL, &len);
    if (text && strlen(text) != len) luaL_error(L, "%s holds a NUL byte", name);
    return text;
}

static lua_Integer integer_field(lua_State *L, const char *name, lua_Integer otherwise) {
    lua_getfield(L, 1, name);
    lua_Integer value = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

static int l_directory(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct files_directory_options options = {.root = text_field(L, "root")};
    options.base = text_field(L, "base");
    luaL_argcheck(L, options.base, 1, "base is missing");
    options.quota_bytes = (uint64_t)integer_field(L, "quota_bytes", 0);
    lua_Integer uid = integer_field(L, "uid", -1);
    options.has_owner = uid >= 0;
    options.uid = (uid_t)uid;
    options.gid = (gid_t)integer_field(L, "gid", uid);
    lua_getfield(L, 1, "no_system_names");
    options.no_system_names = lua_toboolean(L, -1);
    struct sandbox_tree *tree = new_tree(L);
    char why[FILES_DETAIL_SIZE];
    enum files_error rc = files_directory_new(&options, &tree->files, why);
    if (rc == FILES_OK) return 1;
    if (rc == FILES_ENOMEM) return luaL_error(L, "not enough memory");
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushstring(L, files_reason(rc));
    return 3;
}

/* The absolute path of a directory, without links. */
static int l_real_directory(lua_State *L) {
    size_t len;
    struct stat st;
    const char *given = luaL_checklstring(L, 1, &len);
    errno = EINVAL;
    char real[PATH_MAX];
    bool found = strlen(given) == len && realpath(given, real) && stat(real, &st) == 0;
    if (found && S_ISDIR(st.st_mode)) {
        lua_pushstring(L, real);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, strerror(found ? ENOTDIR : errno));
    return 2;
}

static int l_sweep(lua_State *L) {
    files_directory_sweep(luaL_checkstring(L, 1));
    return 0;
}

static int tree_close(lua_State *L) {
    files_close(check_tree(L));
    return 0;
}

static int tree_host(lua_State *L) {
    struct files *f = check_tree(L);
    struct files_directory_host host;
    enum files_error rc;
    if (!files_directory_host(f, lua_toboolean(L, 2), &host, &rc)) {
        lua_pushnil(L);
        return 1;
    }
    sandbox_check(L, f, rc, NULL, 0);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, host.private_path);
    lua_setfield(L, -2, "private");
    lua_pushstring(L, host.workspace);
    lua_setfield(L, -2, "workspace");
    lua_createtable(L, (int)f->read_only_count, 0);
    for (size_t i = 0; i < f->read_only_count; i++) {
        lua_pushlstring(L, f->read_only[i].path, f->read_only[i].len);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "read_only");
    return 1;
}

static int tree_measure(lua_State *L) {
    struct files *f = check_tree(L);
    uint64_t bytes = 0;
    luaL_argcheck(L, strcmp(f->ops->kind, "directory") == 0, 1, "the tree is not on the host");
    sandbox_check(L, f, files_directory_measure(f, &bytes), NULL, 0);
    lua_pushinteger(L, (lua_Integer)bytes);
    return 1;
}

static int tree_gc(lua_State *L) {
    struct sandbox_tree *tree = luaL_checkudata(L, 1, SANDBOX_TREE);
    files_free(tree->files);
    tree->files = NULL;
    return 0;
}

int bind_sandbox(lua_State *L) {
    static const luaL_Reg TREE_METHODS[] = {{"__gc", tree_gc},
                                            {"close", tree_close},
                                            {"host", tree_host},
                                            {"measure", tree_measure},
                                            {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {{"memory", l_memory},
                                         {"directory", l_directory},
                                         {"sweep", l_sweep},
                                         {"real_directory", l_real_directory},
                                         {NULL, NULL}};
    bind_class(L, SANDBOX_TREE, TREE_METHODS);
    sandbox_calls_classes(L);
    sandbox_search_class(L);
    luaL_newlib(L, FUNCTIONS);
    lua_newtable(L);
    luaL_setfuncs(L, SANDBOX_CALLS, 0);
    lua_setfield(L, -2, "calls");
    return 1;
}
