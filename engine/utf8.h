/* utf8.h - where one character of UTF-8 ends and the next begins, in bytes nobody has checked.
 *
 *     for (size_t i = 0; i < n; i = utf8_next(s, n, i)) ...     // one turn per character
 *
 * A byte that is not part of a well-formed sequence (RFC 3629: no overlong forms, no surrogates,
 * nothing above U+10FFFF) is a character of its own, a "stray" byte. No lead byte is a continuation
 * byte, so boundaries can be found from anywhere by looking at most three bytes back.
 * Pure functions. */
#ifndef HARNESS_ENGINE_UTF8_H
#define HARNESS_ENGINE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The length of the well-formed sequence at the start of s, of which n bytes are there: 1 to 4,
 * or 0 when there is none. */
size_t utf8_length(const char *s, size_t n);

/* The end of the character that starts at i (i < n). */
size_t utf8_next(const char *s, size_t n, size_t i);

/* The start of the character that ends at i (0 < i, and i is a boundary). */
size_t utf8_prev(const char *s, size_t i);

/* Whether no character of s reaches across i. */
bool utf8_boundary(const char *s, size_t n, size_t i);

#endif
