/* glob.h - compiled matching of whole paths (and of commands) against patterns with wildcards.
 *
 *     struct glob *g;
 *     if (glob_compile("/src/" "*.c", 8, GLOB_PATH, &g) != GLOB_OK) ...     // out of memory
 *     if (glob_match(g, path, strlen(path))) ...
 *     glob_free(g);
 *
 * Two dialects; in both a pattern covers the whole subject, and there are no classes, braces,
 * escapes or special dotfiles:
 *
 *                  GLOB_PATH (sandbox lists)                    GLOB_PERMISSION (permissions)
 *     *            any run of characters, '/' too               any run without '/'
 *     **           the same                                     any run
 *     ?            one character of UTF-8, or one stray byte     itself
 *     the rest     itself                                       itself
 *
 * "Any run" includes newlines and the empty run. Every pattern is valid. A match takes time
 * proportional to the subject's length for ordinary patterns, subject times pattern at worst.
 * A matcher belongs to one thread. */
#ifndef HARNESS_ENGINE_GLOB_H
#define HARNESS_ENGINE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

enum { GLOB_OK = 0, GLOB_ENOMEM = -1 };

enum glob_dialect { GLOB_PATH, GLOB_PERMISSION };

struct glob;

/* Compiles the pattern, which is copied. *out is the caller's to free; NULL unless GLOB_OK. */
int glob_compile(const char *pattern, size_t len, enum glob_dialect dialect, struct glob **out);
void glob_free(struct glob *g);

/* Never fails, allocates nothing. */
bool glob_match(struct glob *g, const char *subject, size_t len);

#endif
