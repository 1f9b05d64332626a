/* line_editor.h - what main.c takes from line_editor.c. */
#ifndef HARNESS_LINE_EDITOR_H
#define HARNESS_LINE_EDITOR_H

#include <lua.h>

/* line_editor(file) -> editor | nil, why */
int line_editor_new(lua_State *L);

/* Gives the terminal the mode that it had before a line was begun, if one was, so that a program that
 * leaves at once leaves a terminal that works. For signal handlers, too. */
void line_editor_restore(void);

#endif
