/* jail.c - core.jail: harness-jail and what it is told, as anonymous files for a child to inherit.
 *
 *     program() -> file            harness-jail; a child executes /proc/self/fd/N
 *     text(bytes) -> file          a file with these bytes, to be read from its beginning
 *     file:close()
 *     spawn's option `fds` takes such files (process.c) */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../sandbox/jail_image.h"
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

static const luaL_Reg METHODS[] = {
    {"close", file_close},
    {"__gc", file_close},
    {"__close", file_close},
    {NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
    {"program", program},
    {"text", text},
    {NULL, NULL},
};

int bind_jail(lua_State *L) {
    bind_class(L, FILE_CLASS, METHODS);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
