/* grep.c - most lines are passed over without asking PCRE2.
 *
 * Expressions without special characters are searched as text. In others there may be a piece of
 * text that every match holds (`needed`): only lines that contain it are matched. Else PCRE2
 * knows, mostly, with which bytes a match can begin (`first`): only lines that contain one are
 * matched, from that byte on. Lines are counted on the way, by memchr. */
#include "grep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEPS_FREE = 10000000, /* for the whole grep, and for each byte of text that it passes */
    STEPS_PER_BYTE = 20,
    MATCH_LIMIT = 10000000, /* PCRE2's own, at one place */
    DEPTH_LIMIT = 100000,
    HEAP_LIMIT_KIB = 20000
};

struct grep {
    const struct pcre2_api *api;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    struct pcre2_meter meter;
    char *literal; /* the expression, if it is plain text */
    size_t literal_len;
    char *needed; /* a text without which there is no match, or NULL */
    size_t needed_len;
    bool has_first; /* a match begins with one of these bytes */
    int only_first; /* the one byte, if there is just one; else -1 */
    bool first[256];
};

/* ---- compiling ------------------------------------------------------------------------------ */

static bool is_literal(const char *pattern, size_t len, unsigned flags) {
    if (len == 0 || flags & GREP_IGNORE_CASE) return false;
    for (size_t i = 0; i < len; i++)
        if (pattern[i] == '\0' || pattern[i] == '\n' || strchr("\\^$.[]|()?*+{}", pattern[i]))
            return false;
    return true;
}

static void count_first(struct grep *g) {
    int count = 0;
    for (int byte = 0; byte < 256; byte++) {
        if (!g->first[byte]) continue;
        g->only_first = byte;
        count++;
    }
    if (count != 1) g->only_first = -1;
}

static bool is_letter(uint32_t byte) {
    return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

/* PCRE2 does not tell whether its first byte stands for both cases of a letter. */
static void learn_first(struct grep *g) {
    uint32_t kind = 0, byte = 0;
    const uint8_t *bitmap = NULL;
    g->api->pattern_info(g->code, PCRE2_INFO_FIRSTCODETYPE, &kind);
    if (kind == 1 && g->api->pattern_info(g->code, PCRE2_INFO_FIRSTCODEUNIT, &byte) == 0) {
        g->first[byte & 0xff] = true;
        if (is_letter(byte)) g->first[byte ^ 0x20] = true;
        g->has_first = true;
    } else if (g->api->pattern_info(g->code, PCRE2_INFO_FIRSTBITMAP, &bitmap) == 0 && bitmap) {
        for (int i = 0; i < 256; i++) g->first[i] = bitmap[i / 8] >> (i % 8) & 1;
        g->has_first = true;
    }
    count_first(g);
}

/* Where a class that begins at `at` ends (behind its ']'); 0: it is one of the rarer kinds. */
static size_t class_end(const char *p, size_t len, size_t at) {
    at += at + 1 < len && p[at + 1] == '^' ? 2 : 1;
    if (at < len && p[at] == ']') at++;
    for (; at < len && p[at] != ']'; at++) {
        if (p[at] == '[' || p[at] == '\n') return 0;
        if (p[at] == '\\' && (++at >= len || strchr("QEcxoNpP", p[at]))) return 0;
    }
    return at < len ? at + 1 : 0;
}

/* Where a group that begins at `at` ends; 0: it has options, or is one of the rarer kinds. */
static size_t group_end(const char *p, size_t len, size_t at) {
    for (size_t depth = 0; at < len;) {
        if (p[at] == '\\' && (at + 1 >= len || p[at + 1] == 'Q')) return 0;
        if (p[at] == '(' && at + 1 < len && (p[at + 1] == '?' || p[at + 1] == '*')) return 0;
        if (p[at] == '(') depth++;
        if (p[at] == ')' && --depth == 0) return at + 1;
        if (p[at] == '[') at = class_end(p, len, at);
        else at += p[at] == '\\' ? 2 : 1;
        if (at == 0) return 0;
    }
    return 0;
}

/* A text that is being collected, and the longest so far. */
struct run {
    char text[GREP_MAX_PATTERN], best[GREP_MAX_PATTERN];
    size_t len, best_len;
};

static void end_run(struct run *run) {
    if (run->len > run->best_len) {
        memcpy(run->best, run->text, run->len);
        run->best_len = run->len;
    }
    run->len = 0;
}

/* The last character need not be there. */
static void drop_last(struct run *run) {
    while (run->len > 0 && ((unsigned char)run->text[--run->len] & 0xC0) == 0x80) {}
    end_run(run);
}

/* Takes one item of the pattern; where the next one begins, or 0: no text is known to be needed. */
static size_t take_item(const char *p, size_t len, size_t at, struct run *run) {
    char c = p[at];
    if (strchr("*?{", c)) drop_last(run);
    if (strchr("*?{+.^$)}]", c)) {
        end_run(run);
        const char *brace = c == '{' ? memchr(p + at, '}', len - at) : NULL;
        return c == '{' && !brace ? 0 : (brace ? (size_t)(brace - p) : at) + 1;
    }
    if (c == '|' || c == '\0' || c == '\n') return 0;
    if (c == '(' || c == '[') {
        end_run(run);
        return c == '(' ? group_end(p, len, at) : class_end(p, len, at);
    }
    if (c == '\\') {
        if (++at >= len) return 0;
        c = p[at];
        if (strchr("dDwWsSbB", c)) end_run(run);
        if (strchr("dDwWsSbB", c)) return at + 1;
        if ((unsigned char)c >= 0x80 || is_letter((unsigned char)c) || (c >= '0' && c <= '9'))
            return 0;
    }
    run->text[run->len++] = c;
    return at + 1;
}

/* Finds the longest text outside of groups, classes and alternatives. False: no memory. */
static bool learn_needed(struct grep *g, const char *pattern, size_t len, unsigned flags) {
    enum { SHORTEST = 3 };
    struct run run = {.len = 0};
    size_t at = 0;
    if (flags & GREP_IGNORE_CASE) return true;
    while (at < len) {
        at = take_item(pattern, len, at, &run);
        if (at == 0) return true;
    }
    end_run(&run);
    if (run.best_len < SHORTEST) return true;
    g->needed = malloc(run.best_len);
    if (!g->needed) return false;
    memcpy(g->needed, run.best, run.best_len);
    g->needed_len = run.best_len;
    return true;
}

static int compile_code(struct grep *g, const char *pattern, size_t len, unsigned flags,
                        char *why) {
    pcre2_compile_context *context = g->api->compile_context_create(NULL);
    if (!context) return GREP_ENOMEM;
    g->api->set_newline(context, PCRE2_NEWLINE_ANYCRLF); /* `$` in front of a CR */
    uint32_t options =
        PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_AUTO_CALLOUT | PCRE2_NEVER_BACKSLASH_C;
    if (flags & GREP_IGNORE_CASE) options |= PCRE2_CASELESS;
    int code;
    size_t offset;
    g->code = g->api->compile((PCRE2_SPTR)pattern, len, options, &code, &offset, context);
    g->api->compile_context_free(context);
    if (g->code) return GREP_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED) return GREP_ENOMEM;
    PCRE2_UCHAR text[GREP_WHY_SIZE - 40] = {0};
    g->api->error_message(code, text, sizeof text);
    snprintf(why, GREP_WHY_SIZE, "%s, at byte %zu", (char *)text, offset + 1);
    return GREP_EPATTERN;
}

static int prepare(struct grep *g, const char *pattern, size_t len, unsigned flags) {
    g->data = g->api->match_data_create(1, NULL);
    g->context = g->api->match_context_create(NULL);
    if (!g->data || !g->context) return GREP_ENOMEM;
    g->api->set_match_limit(g->context, MATCH_LIMIT);
    g->api->set_depth_limit(g->context, DEPTH_LIMIT);
    g->api->set_heap_limit(g->context, HEAP_LIMIT_KIB);
    g->api->set_callout(g->context, pcre2_take_steps, &g->meter);
    g->meter.left = STEPS_FREE;
    if (!is_literal(pattern, len, flags)) {
        /* \G is where a match is begun: that has to be the start of the line. */
        if (!memmem(pattern, len, "\\G", 2)) learn_first(g);
        return learn_needed(g, pattern, len, flags) ? GREP_OK : GREP_ENOMEM;
    }
    g->literal = malloc(len);
    if (!g->literal) return GREP_ENOMEM;
    memcpy(g->literal, pattern, len);
    g->literal_len = len;
    return GREP_OK;
}

int grep_compile(const struct pcre2_api *api, const char *pattern, size_t len, unsigned flags,
                 struct grep **out, char why[GREP_WHY_SIZE]) {
    *out = NULL;
    if (len > GREP_MAX_PATTERN) {
        snprintf(why, GREP_WHY_SIZE, "it is longer than %d bytes", GREP_MAX_PATTERN);
        return GREP_EPATTERN;
    }
    struct grep *g = calloc(1, sizeof *g);
    if (!g) return GREP_ENOMEM;
    g->api = api;
    int rc = compile_code(g, pattern, len, flags, why);
    if (rc == GREP_OK) rc = prepare(g, pattern, len, flags);
    if (rc == GREP_OK) *out = g;
    else grep_free(g);
    return rc;
}

void grep_free(struct grep *g) {
    if (!g) return;
    if (g->data) g->api->match_data_free(g->data);
    if (g->context) g->api->match_context_free(g->context);
    if (g->code) g->api->code_free(g->code);
    free(g->literal);
    free(g->needed);
    free(g);
}

/* ---- scanning ------------------------------------------------------------------------------- */

/* A place of the first line from `at` on where a match could be, unless a text is needed the
 * first where one could begin; NULL: nowhere. */
static const char *find_candidate(const struct grep *g, const char *at, const char *end) {
    if (g->literal) return memmem(at, (size_t)(end - at), g->literal, g->literal_len);
    if (g->needed) return memmem(at, (size_t)(end - at), g->needed, g->needed_len);
    if (!g->has_first) return at;
    if (g->only_first >= 0) return memchr(at, g->only_first, (size_t)(end - at));
    for (; at < end; at++)
        if (g->first[(unsigned char)*at]) return at;
    return NULL;
}

/* Moves the scan to the line that contains `place`. */
static void move_to_line(struct grep_scan *scan, const char *place) {
    const char *at = scan->text + scan->at, *lf;
    while ((lf = memchr(at, '\n', (size_t)(place - at))) != NULL) {
        scan->line++;
        at = lf + 1;
    }
    scan->at = (size_t)(at - scan->text);
}

/* Matches one line from `from` on (an offset into it): the place of the match, or an error, or
 * GREP_END. */
static int match_line(struct grep *g, const char *line, size_t len, size_t from, size_t *match) {
    g->meter.position = 0;
    int rc = g->api->match(g->code, (PCRE2_SPTR)line, len, from, 0, g->data, g->context);
    if (rc >= 0) {
        *match = g->api->get_ovector_pointer(g->data)[0];
        return GREP_HIT;
    }
    if (rc == PCRE2_ERROR_NOMATCH) return GREP_END;
    return rc == PCRE2_ERROR_NOMEMORY ? GREP_ENOMEM : GREP_LIMIT;
}

/* A match may begin at the candidate, when it was found by known first bytes, else anywhere.
 * PCRE2 does not want to begin inside of a character. */
static int try_line(struct grep *g, const char *line, size_t len, size_t candidate, size_t *match) {
    if (g->literal) {
        *match = candidate;
        return GREP_HIT;
    }
    size_t from = g->has_first && !g->needed ? candidate : 0;
    while (from > 0 && from < len && ((unsigned char)line[from] & 0xC0) == 0x80) from--;
    return match_line(g, line, len, from, match);
}

int grep_next(struct grep *g, struct grep_scan *scan, struct grep_hit *hit) {
    const char *end = scan->text + scan->len;
    while (scan->at < scan->len) {
        size_t before = scan->at;
        const char *candidate = find_candidate(g, scan->text + scan->at, end);
        if (!candidate) {
            scan->at = scan->len;
            g->meter.left += (int64_t)(scan->len - before) * STEPS_PER_BYTE;
            return GREP_END;
        }
        move_to_line(scan, candidate);
        const char *line = scan->text + scan->at;
        const char *lf = memchr(candidate, '\n', (size_t)(end - candidate));
        size_t len = (size_t)((lf ? lf : end) - line);
        g->meter.left += (int64_t)(scan->at + len - before) * STEPS_PER_BYTE;
        *hit = (struct grep_hit){.line = ++scan->line, .start = scan->at, .end = scan->at + len};
        scan->at += len + (lf != NULL);
        int rc = try_line(g, line, len, (size_t)(candidate - line), &hit->match);
        if (rc != GREP_END) return rc;
    }
    return GREP_END;
}
