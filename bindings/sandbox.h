/* sandbox.h - what the sandbox*.c files of bindings/ share. */
#ifndef HARNESS_BINDINGS_SANDBOX_H
#define HARNESS_BINDINGS_SANDBOX_H

#include <lauxlib.h>
#include <lua.h>

#include "../sandbox/files.h"

/* The userdata of a tree. */
#define SANDBOX_TREE "harness.files"
struct sandbox_tree {
    struct files *files; /* NULL: not opened, or collected */
};

/* The file calls (sandbox_calls.c), and the classes of what they return. */
extern const luaL_Reg SANDBOX_CALLS[];
void sandbox_calls_classes(lua_State *L);

/* The tree of the session at that index of the stack; raises for anything else. */
struct files *sandbox_session(lua_State *L, int index);
/* The path that is the second argument. */
const char *sandbox_check_path(lua_State *L, size_t *len);
/* Raises what a call returned, unless it is FILES_OK. path NULL: the call was about the whole
 * tree. */
void sandbox_check(lua_State *L, struct files *f, enum files_error rc, const char *path,
                   size_t len);
/* Raises VALIDATION_ERROR, where = "sandbox". */
int sandbox_refuse(lua_State *L, const char *message);

/* session:search (sandbox_search.c) and its class. */
int sandbox_search(lua_State *L);
void sandbox_search_class(lua_State *L);

#endif
