/* glob.c - two ways to match, neither of which can go back more than once over the same ground.
 *
 * GLOB_PATH: where a star takes anything, the parts between stars can be placed from left to right,
 * each as early as possible, without ever moving one again: an earlier place only leaves more room.
 * The first part is tied to the start and the last one to the end, both checked first, since most
 * subjects fail there. Question marks next to a star are moved in front of it ("*?" = "?*"), so
 * that every part that is searched for begins with literal bytes.
 *
 * Bytes that are equal and begin and end on character boundaries are equal characters. In literal
 * text that is whole characters the boundaries come for free; only text with stray bytes at its
 * edges (a pattern that is not UTF-8) has to look.
 *
 * GLOB_PERMISSION: a star that stops at '/' breaks that greedy argument, so here the parts between
 * the leading and the trailing literal run through a bit-parallel automaton: bit i is set while the
 * first i literal bytes have been matched, and stays set over bytes that a star at place i takes. */
#include "glob.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* Literal bytes, then `wild` question marks, then perhaps a star. */
struct piece {
    const char *text;
    size_t len;
    size_t wild;
    bool star;
    bool check_start; /* text begins, or ends, with a stray byte that could be */
    bool check_end;   /* the inside of a character of the subject */
};

struct automaton {
    size_t prefix; /* literal bytes before the first star, and after the last one */
    size_t suffix;
    bool literal; /* no star at all: the whole pattern is the prefix */
    size_t states;
    size_t words;
    uint16_t class_of[256]; /* bytes that the pattern does not contain are of class 0 */
    uint64_t *step;         /* [class][word]: states that the byte moves on from */
    uint64_t *stay;         /* [word]: states with a star of any kind */
    uint64_t *stay_slash;   /* [word]: states with a double star */
    uint64_t *now;          /* [word]: scratch */
};

struct glob {
    enum glob_dialect dialect;
    char *pattern;
    size_t len;
    size_t min_len; /* bytes that any match has */
    struct piece *pieces;
    size_t count;
    size_t head; /* pieces up to and with the first that has a star; count if none has */
    size_t tail; /* the first piece after the last star */
    struct automaton machine;
};

/* ---- GLOB_PATH: compiling -------------------------------------------------------------- */

static bool is_wild(char c) {
    return c == '*' || c == '?';
}

/* Whether text, alone, ends with a lead byte whose character could go on behind it. */
static bool ends_open(const char *text, size_t len) {
    size_t most = len < 3 ? len : 3;
    for (size_t back = 1; back <= most; back++) {
        unsigned char byte = (unsigned char)text[len - back];
        if ((byte & 0xc0) == 0x80) continue;
        return byte >= 0xc2 && utf8_length(text + len - back, back) == 0;
    }
    return false;
}

static bool starts_inside(const char *text, size_t len) {
    return len && ((unsigned char)text[0] & 0xc0) == 0x80;
}

/* Reads one piece at *at, and moves *at behind it. */
static struct piece next_piece(const char **at, const char *end) {
    struct piece piece = {.text = *at};
    while (*at < end && !is_wild(**at)) ++*at;
    piece.len = (size_t)(*at - piece.text);
    for (; *at < end && is_wild(**at); ++*at) {
        if (**at == '*') piece.star = true;
        else piece.wild++;
    }
    piece.check_start = starts_inside(piece.text, piece.len);
    piece.check_end = ends_open(piece.text, piece.len);
    return piece;
}

static size_t count_pieces(const char *pattern, size_t len) {
    size_t count = 1;
    for (size_t i = 1; i < len; i++) count += is_wild(pattern[i - 1]) && !is_wild(pattern[i]);
    return count + (len && is_wild(pattern[len - 1])); /* an empty one behind the last wildcard */
}

static int compile_path(struct glob *g) {
    g->count = count_pieces(g->pattern, g->len);
    g->pieces = calloc(g->count, sizeof *g->pieces);
    if (!g->pieces) return GLOB_ENOMEM;
    const char *at = g->pattern, *end = g->pattern + g->len;
    g->head = g->count;
    for (size_t i = 0; i < g->count; i++) {
        struct piece *piece = &g->pieces[i];
        *piece = next_piece(&at, end);
        g->min_len += piece->len + piece->wild;
        if (!piece->star) continue;
        if (g->head == g->count) g->head = i + 1;
        g->tail = i + 1;
    }
    return GLOB_OK;
}

/* ---- GLOB_PATH: matching --------------------------------------------------------------- */

/* The characters of `wild` question marks from *at on. */
static bool skip_characters(const char *s, size_t end, size_t wild, size_t *at) {
    for (; wild; wild--) {
        if (*at >= end) return false;
        *at = utf8_next(s, end, *at);
    }
    return true;
}

/* Matches pieces [first, last) from *at on; *at moves behind them. `end` is a boundary. */
static bool match_forward(const struct piece *first, const struct piece *last, const char *s,
                          size_t end, size_t *at) {
    for (const struct piece *p = first; p < last; p++) {
        if (p->len > end - *at || memcmp(s + *at, p->text, p->len) != 0) return false;
        *at += p->len;
        if (p->check_end && !utf8_boundary(s, end, *at)) return false;
        if (p->wild && !skip_characters(s, end, p->wild, at)) return false;
    }
    return true;
}

/* Matches pieces [first, last) so that they end at *end, but not before `start`; *end moves to
 * where they begin. */
static bool match_backward(const struct piece *first, const struct piece *last, const char *s,
                           size_t start, size_t *end) {
    size_t whole = *end;
    for (const struct piece *p = last; p-- > first;) {
        for (size_t wild = p->wild; wild; wild--) {
            if (*end <= start) return false;
            *end = utf8_prev(s, *end);
        }
        if (p->len > *end - start || memcmp(s + *end - p->len, p->text, p->len) != 0) return false;
        *end -= p->len;
        if (p->check_start && !utf8_boundary(s, whole, *end)) return false;
    }
    return true;
}

/* The first place in [at, end) where the bytes of text stand, or NULL. */
static const char *find_text(const char *at, const char *end, const char *text, size_t len) {
    while ((size_t)(end - at) >= len) {
        at = memchr(at, text[0], (size_t)(end - at) - len + 1);
        if (!at || memcmp(at, text, len) == 0) return at;
        at++;
    }
    return NULL;
}

/* Finds the first place from *at on where pieces [first, last) match; *at moves behind them. */
static bool find_part(const struct piece *first, const struct piece *last, const char *s,
                      size_t end, size_t *at) {
    const char *from = s + *at;
    while ((from = find_text(from, s + end, first->text, first->len)) != NULL) {
        size_t place = (size_t)(from - s);
        bool aligned = !first->check_start || utf8_boundary(s, end, place);
        if (aligned && match_forward(first, last, s, end, &place)) {
            *at = place;
            return true;
        }
        from++;
    }
    return false;
}

static bool match_path(const struct glob *g, const char *s, size_t len) {
    const struct piece *pieces = g->pieces, *end = pieces + g->count;
    size_t at = 0, rest = len;
    if (!match_forward(pieces, pieces + g->head, s, len, &at)) return false;
    if (g->tail == 0) return at == len;
    if (!match_backward(pieces + g->tail, end, s, at, &rest)) return false;
    for (const struct piece *first = pieces + g->head; first < pieces + g->tail;) {
        const struct piece *last = first;
        while (!last++->star) continue;
        if (!find_part(first, last, s, rest, &at)) return false;
        first = last;
    }
    return true;
}

/* ---- GLOB_PERMISSION: compiling -------------------------------------------------------- */

static void set_bit(uint64_t *words, size_t bit) {
    words[bit / 64] |= UINT64_C(1) << bit % 64;
}

/* Numbers the byte values of text, from 1 on; returns how many classes there are with class 0. */
static size_t number_classes(struct automaton *m, const char *text, size_t len) {
    uint16_t classes = 1;
    for (size_t i = 0; i < len; i++) {
        uint16_t *class = &m->class_of[(unsigned char)text[i]];
        if (text[i] != '*' && *class == 0) *class = classes++;
    }
    return classes;
}

/* Fills in the masks from the pattern's middle: text begins and ends with a star. */
static void fill_masks(struct automaton *m, const char *text, size_t len) {
    size_t state = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '*') {
            set_bit(m->step + m->class_of[(unsigned char)text[i]] * m->words, state++);
            continue;
        }
        set_bit(m->stay, state);
        bool twice = i + 1 < len && text[i + 1] == '*';
        if (twice) set_bit(m->stay_slash, state);
    }
}

static int compile_permission(struct glob *g) {
    struct automaton *m = &g->machine;
    const char *first = memchr(g->pattern, '*', g->len);
    m->literal = !first;
    m->prefix = first ? (size_t)(first - g->pattern) : g->len;
    g->min_len = m->prefix;
    if (m->literal) return GLOB_OK;
    const char *last = memrchr(g->pattern, '*', g->len);
    assert(last);
    m->suffix = (size_t)(g->pattern + g->len - 1 - last);
    size_t len = g->len - m->prefix - m->suffix;
    size_t classes = number_classes(m, first, len);
    for (size_t i = 0; i < len; i++) m->states += first[i] != '*';
    g->min_len = m->prefix + m->states + m->suffix;
    m->words = m->states / 64 + 1; /* bit `states` is the accepting one */
    m->step = calloc((classes + 3) * m->words, sizeof *m->step);
    if (!m->step) return GLOB_ENOMEM;
    m->stay = m->step + classes * m->words;
    m->stay_slash = m->stay + m->words;
    m->now = m->stay_slash + m->words;
    fill_masks(m, first, len);
    return GLOB_OK;
}

/* ---- GLOB_PERMISSION: matching --------------------------------------------------------- */

static bool run_short(const struct automaton *m, const char *s, size_t len) {
    uint64_t now = 1;
    for (size_t i = 0; i < len && now; i++) {
        uint64_t stay = s[i] == '/' ? m->stay_slash[0] : m->stay[0];
        now = (now & m->step[m->class_of[(unsigned char)s[i]]]) << 1 | (now & stay);
    }
    return now >> m->states & 1;
}

static bool run_long(const struct automaton *m, const char *s, size_t len) {
    uint64_t *now = m->now;
    memset(now, 0, m->words * sizeof *now);
    now[0] = 1;
    for (size_t i = 0; i < len; i++) {
        const uint64_t *stay = s[i] == '/' ? m->stay_slash : m->stay;
        const uint64_t *step = m->step + m->class_of[(unsigned char)s[i]] * m->words;
        uint64_t carry = 0;
        for (size_t w = 0; w < m->words; w++) {
            uint64_t moved = now[w] & step[w];
            now[w] = moved << 1 | carry | (now[w] & stay[w]);
            carry = moved >> 63;
        }
    }
    return now[m->states / 64] >> m->states % 64 & 1;
}

static bool match_permission(const struct glob *g, const char *s, size_t len) {
    const struct automaton *m = &g->machine;
    if (memcmp(s, g->pattern, m->prefix) != 0) return false;
    if (m->literal) return len == m->prefix;
    if (memcmp(s + len - m->suffix, g->pattern + g->len - m->suffix, m->suffix) != 0) return false;
    s += m->prefix;
    len -= m->prefix + m->suffix;
    return m->words == 1 ? run_short(m, s, len) : run_long(m, s, len);
}

/* ---- both ------------------------------------------------------------------------------ */

int glob_compile(const char *pattern, size_t len, enum glob_dialect dialect, struct glob **out) {
    *out = NULL;
    struct glob *g = calloc(1, sizeof *g);
    if (!g) return GLOB_ENOMEM;
    g->dialect = dialect;
    g->len = len;
    g->pattern = malloc(len + 1);
    int rc = GLOB_ENOMEM;
    if (g->pattern) {
        if (len) memcpy(g->pattern, pattern, len);
        g->pattern[len] = '\0';
        rc = dialect == GLOB_PATH ? compile_path(g) : compile_permission(g);
    }
    if (rc != GLOB_OK) glob_free(g);
    else *out = g;
    return rc;
}

void glob_free(struct glob *g) {
    if (!g) return;
    free(g->pattern);
    free(g->pieces);
    free(g->machine.step);
    free(g);
}

bool glob_match(struct glob *g, const char *subject, size_t len) {
    if (len < g->min_len) return false;
    if (g->dialect == GLOB_PATH) return match_path(g, subject, len);
    return match_permission(g, subject, len);
}
