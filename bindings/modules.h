/* modules.h - the Lua modules that are compiled in, and the searcher that finds them. */
#ifndef HARNESS_MODULES_H
#define HARNESS_MODULES_H

#include <lua.h>
#include <stddef.h>

struct module {
    const char *name;  /* "harness.task" */
    const char *chunk; /* its name in tracebacks */
    const char *text;
    const char *end;
};

/* Sorted by name. */
extern const struct module MODULES[];
extern const size_t MODULE_COUNT;

/* Puts a searcher for them right behind package.preload, and harness.core into package.preload. */
void modules_install(lua_State *L);

#endif
