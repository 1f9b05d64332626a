/* grep.h - finding the lines of a text that match a regular expression, within limits.
 *
 *     char why[GREP_WHY_SIZE];
 *     struct grep *g;
 *     if (grep_compile(api, "error|warning", 13, 0, &g, why) != GREP_OK) ...   // why: what is wrong
 *     struct grep_scan scan = {.text = text, .len = len};
 *     struct grep_hit hit;
 *     int rc;
 *     while ((rc = grep_next(g, &scan, &hit)) == GREP_HIT)
 *         printf("%zu: %.*s\n", hit.line, (int)(hit.end - hit.start), text + hit.start);
 *     if (rc != GREP_END) ...                                               // GREP_LIMIT, GREP_ENOMEM
 *     grep_free(g);
 *
 * Expressions are PCRE2's, over UTF-8; bytes that are no UTF-8 match nothing
 * (and behind them an expression that begins with `.*` finds nothing). Each line is matched by
 * itself: an expression never sees a line end (LF), `^` and `$` are the ends of the line, and a CR
 * before the LF does not keep `$` from matching. A text that ends with LF has no line behind it.
 *
 * One grep may scan any number of texts. All its matching together is bounded: what it may do grows
 * with the text that it has seen, so an ordinary expression never comes near the bound, and one that
 * takes exponential time ends with GREP_LIMIT, after which the grep is of no more use. Depth and heap
 * of a match are bounded too. A grep belongs to one thread. */
#ifndef HARNESS_ENGINE_GREP_H
#define HARNESS_ENGINE_GREP_H

#include <stddef.h>

#include "pcre2_api.h"

enum {
    GREP_HIT = 1,
    GREP_END = 0,
    GREP_OK = 0,
    GREP_EPATTERN = -1,
    GREP_LIMIT = -2,
    GREP_ENOMEM = -3
};

enum { GREP_WHY_SIZE = 200, GREP_MAX_PATTERN = 1000 /* bytes */ };

enum { GREP_IGNORE_CASE = 1 };

struct grep;

/* Compiles the expression, which is copied; the api has to outlive the grep. *out is the caller's to
 * free; NULL unless GREP_OK. With GREP_EPATTERN `why` says what is wrong with the expression. */
int grep_compile(const struct pcre2_api *api, const char *pattern, size_t len, unsigned flags,
                 struct grep **out, char why[GREP_WHY_SIZE]);
void grep_free(struct grep *g);

/* Where a scan is. The text must stay as it is meanwhile. */
struct grep_scan {
    const char *text;
    size_t len;
    size_t at;   /* 0 at first: the line to look at next begins here */
    size_t line; /* lines before it */
};

/* Offsets into the text. */
struct grep_hit {
    size_t line; /* the first one is 1 */
    size_t start, end;
    size_t match; /* where in the line its first match begins */
};

/* The next line that matches: GREP_HIT, or GREP_END behind the last one, or an error. */
int grep_next(struct grep *g, struct grep_scan *scan, struct grep_hit *hit);

#endif
