/* grep.h - a compiled expression of core.grep, for other bindings. */
#ifndef HARNESS_BINDINGS_GREP_H
#define HARNESS_BINDINGS_GREP_H

#include <lua.h>

#include "../engine/grep.h"

/* The expression at that index of the stack, which lives as long as the value there; raises for
 * anything else. */
struct grep *bind_grep_check(lua_State *L, int index);

#endif
