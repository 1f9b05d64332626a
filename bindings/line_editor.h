/* line_editor.h - what main.c takes from line_editor.c. */
#ifndef HARNESS_LINE_EDITOR_H
#define HARNESS_LINE_EDITOR_H

#include <lua.h>

/* line_editor(file) -> editor | nil, why */
int line_editor_new(lua_State *L);

#endif
