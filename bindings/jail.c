/* jail.c - core.jail: harness-jail and what it is told, as anonymous files for a child to inherit.
 *
 *     program() -> file            harness-jail; a child executes /proc/self/fd/N
 *     text(bytes) -> file          a file with these bytes, to be read from its beginning
 *     file:close()
 *     spawn's option `fds` takes such files (process.c)
 *     open(path) -> file | nil, why              what is at a path, with no link on the way
 *
 * and what there is on this machine:
 *
 *     machine() -> { uid, gid, landlock (version, 0: none), seccomp, user_namespaces (their number) }
 *     user(name or uid) -> { name?, uid, gid } | nil
 *     owner(path) -> { uid, gid } | nil, why
 *     find(program) -> path | nil                in PATH
 *     entries(path) -> { name, ... }             directories and files of a directory, in byte order
 *     make_root(root, uid?, gid?) -> true | nil, why      see sandbox/jail_root.h
 *     fill_tree(tree, uid?, gid?) -> true | nil, why
 *     place(root, tree, name) -> true | nil, why */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../sandbox/jail_image.h"
#include "../sandbox/jail_root.h"
#include "bindings.h"

#define FILE_CLASS "harness.anonymous_file"

struct anonymous_file {
    int fd; /* -1: closed */
};

static struct anonymous_file *push_file(lua_State *L) {
    struct anonymous_file *file = lua_newuserdatauv(L, sizeof *file, 0);
    file->fd = -1;
    luaL_setmetatable(L, FILE_CLASS);
    return file;
}

static int failed(lua_State *L, const char *what, int error) {
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "anonymous_file");
    lua_setfield(L, -2, "reason");
    return bind_raise(L, "SANDBOX_ERROR", "%s: %s", what, strerror(error));
}

static int program(lua_State *L) {
    struct anonymous_file *file = push_file(L);
    file->fd = jail_image_open();
    if (file->fd < 0) return failed(L, "cannot make a file in memory for harness-jail", -file->fd);
    return 1;
}

static int write_all(int fd, const char *bytes, size_t len) {
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        bytes += n;
        len -= (size_t)n;
    }
    return lseek(fd, 0, SEEK_SET) == 0 ? 0 : -1;
}

static int text(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    struct anonymous_file *file = push_file(L);
    file->fd = memfd_create("harness-jail arguments", MFD_CLOEXEC);
    if (file->fd >= 0 && write_all(file->fd, bytes, len) == 0) return 1;
    return failed(L, "cannot make a file in memory", errno);
}

static int file_close(lua_State *L) {
    struct anonymous_file *file = luaL_checkudata(L, 1, FILE_CLASS);
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
    return 0;
}

int bind_file_descriptor(lua_State *L, int index) {
    const struct anonymous_file *file = luaL_checkudata(L, index, FILE_CLASS);
    if (file->fd < 0) luaL_error(L, "this anonymous file was closed");
    return file->fd;
}

static int nothing(lua_State *L, const char *why) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static int open_path(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    struct anonymous_file *file = push_file(L);
    file->fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    return file->fd >= 0 ? 1 : nothing(L, strerror(errno));
}

/* ---- the machine ---------------------------------------------------------------------------- */

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static long user_namespaces(void) {
    long count = -1;
    FILE *file = fopen("/proc/sys/user/max_user_namespaces", "re");
    if (!file) return -1;
    if (fscanf(file, "%ld", &count) != 1) count = -1;
    fclose(file);
    return count;
}

static int machine(lua_State *L) {
    unsigned action = SECCOMP_RET_ERRNO;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    lua_createtable(L, 0, 5);
    set_integer(L, "uid", (lua_Integer)geteuid());
    set_integer(L, "gid", (lua_Integer)getegid());
    set_integer(L, "landlock", abi > 0 ? abi : 0);
    set_integer(L, "user_namespaces", user_namespaces());
    lua_pushboolean(L, syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0);
    lua_setfield(L, -2, "seccomp");
    return 1;
}

static int user(lua_State *L) {
    struct passwd entry, *found = NULL;
    char text[4096];
    if (lua_type(L, 1) == LUA_TNUMBER)
        getpwuid_r((uid_t)luaL_checkinteger(L, 1), &entry, text, sizeof text, &found);
    else getpwnam_r(luaL_checkstring(L, 1), &entry, text, sizeof text, &found);
    if (!found) return 0;
    lua_createtable(L, 0, 3);
    lua_pushstring(L, entry.pw_name);
    lua_setfield(L, -2, "name");
    set_integer(L, "uid", (lua_Integer)entry.pw_uid);
    set_integer(L, "gid", (lua_Integer)entry.pw_gid);
    return 1;
}

static int owner(lua_State *L) {
    struct stat st;
    if (stat(luaL_checkstring(L, 1), &st) != 0) return nothing(L, strerror(errno));
    lua_createtable(L, 0, 2);
    set_integer(L, "uid", (lua_Integer)st.st_uid);
    set_integer(L, "gid", (lua_Integer)st.st_gid);
    return 1;
}

static int find(lua_State *L) {
    const char *name = luaL_checkstring(L, 1), *at = getenv("PATH");
    while (at && *at) {
        size_t len = strcspn(at, ":");
        struct stat st;
        if (len > 0 && at[0] == '/') {
            lua_pushlstring(L, at, len);
            const char *path = lua_pushfstring(L, "%s/%s", lua_tostring(L, -1), name);
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0) return 1;
            lua_settop(L, 1);
        }
        at += len + (at[len] == ':');
    }
    return 0;
}

static int wanted_entry(const struct dirent *entry) {
    return (entry->d_type == DT_DIR || entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN) &&
           strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int entries(lua_State *L) {
    struct dirent **list = NULL;
    luaL_Buffer names;
    int count = scandir(luaL_checkstring(L, 1), &list, wanted_entry, by_bytes);
    if (count < 0) return nothing(L, strerror(errno));
    size_t size = 0;
    for (int i = 0; i < count; i++) size += strlen(list[i]->d_name) + 1;
    /* One string with a NUL behind each name: nothing that may raise while the list is held. */
    char *all = malloc(size + 1), *at = all;
    for (int i = 0; i < count; i++) {
        if (all) at = stpcpy(at, list[i]->d_name) + 1;
        free(list[i]);
    }
    free(list);
    if (!all) return luaL_error(L, "not enough memory");
    char *copy = luaL_buffinitsize(L, &names, size + 1);
    memcpy(copy, all, size);
    free(all);
    luaL_pushresultsize(&names, size);
    lua_createtable(L, count, 0);
    const char *name = lua_tostring(L, -2);
    for (int i = 0; i < count; i++, name += strlen(name) + 1) {
        lua_pushstring(L, name);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

typedef int (*prepare_fn)(const char *path, uid_t uid, gid_t gid, char why[JAIL_WHY_SIZE]);

static int prepare(lua_State *L, prepare_fn fn) {
    char why[JAIL_WHY_SIZE];
    uid_t uid = (uid_t)luaL_optinteger(L, 2, -1);
    gid_t gid = (gid_t)luaL_optinteger(L, 3, -1);
    if (fn(luaL_checkstring(L, 1), uid, gid, why) != 0) return nothing(L, why);
    lua_pushboolean(L, 1);
    return 1;
}

static int make_root(lua_State *L) {
    return prepare(L, jail_root_make);
}

static int fill_tree(lua_State *L) {
    return prepare(L, jail_root_fill_tree);
}

static int place(lua_State *L) {
    int error =
        jail_root_place(luaL_checkstring(L, 1), luaL_checkstring(L, 2), luaL_checkstring(L, 3));
    if (error) return nothing(L, strerror(error));
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- the part ------------------------------------------------------------------------------- */

static const luaL_Reg METHODS[] = {
    {"close", file_close},
    {"__gc", file_close},
    {"__close", file_close},
    {NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
    {"program", program},     {"text", text},           {"open", open_path}, {"machine", machine},
    {"user", user},           {"owner", owner},         {"find", find},      {"entries", entries},
    {"make_root", make_root}, {"fill_tree", fill_tree}, {"place", place},    {NULL, NULL},
};

int bind_jail(lua_State *L) {
    bind_class(L, FILE_CLASS, METHODS);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
