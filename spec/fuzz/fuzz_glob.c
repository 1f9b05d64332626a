/* fuzz_glob.c - the matcher agrees, in both dialects, with a table of which prefix of the pattern
 * matches which prefix of the subject, over characters that are decoded here once more.
 *
 * Input: a byte of flags (1: permission dialect, 2: few different bytes), one for the length of the
 * pattern, the pattern, the subject. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/glob.h"

enum { HEAD = 2, MAX_PATTERN = 255, MAX_SUBJECT = 256 };

struct unit { /* one character, or one stray byte */
    const uint8_t *at;
    size_t len;
};

static void check(bool ok) {
    if (!ok) abort();
}

/* The length of the UTF-8 character at s, or 1 when there is none: decoded to a code point, and
 * refused when another form would have been right. */
static size_t unit_len(const uint8_t *s, size_t n) {
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 1;
    if (len == 1 || len > n || s[0] >= 0xf8) return 1;
    uint32_t code = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (s[i] >> 6 != 2) return 1;
        code = code << 6 | (s[i] & 0x3f);
    }
    bool fits = code >= SMALLEST[len] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return fits ? len : 1;
}

static size_t split(const uint8_t *s, size_t n, bool by_byte, struct unit *units) {
    size_t count = 0;
    for (size_t i = 0; i < n; i += units[count++].len)
        units[count] = (struct unit){s + i, by_byte ? 1 : unit_len(s + i, n - i)};
    return count;
}

static bool unit_is(struct unit unit, char c) {
    return unit.len == 1 && *unit.at == (uint8_t)c;
}

static bool naive(const uint8_t *pattern, size_t pn, const uint8_t *subject, size_t sn,
                  bool permission) {
    static struct unit p[MAX_PATTERN + 1], s[MAX_SUBJECT + 1];
    static bool table[MAX_PATTERN + 2][MAX_SUBJECT + 2];
    size_t plen = split(pattern, pn, permission, p), slen = split(subject, sn, permission, s);
    for (size_t j = 0; j <= slen; j++) table[0][j] = j == 0;
    for (size_t i = 1; i <= plen; i++) {
        bool star = unit_is(p[i - 1], '*');
        bool twice = (i < plen && unit_is(p[i], '*')) || (i > 1 && unit_is(p[i - 2], '*'));
        for (size_t j = 0; j <= slen; j++) {
            if (star) {
                bool takes = j && (!permission || twice || !unit_is(s[j - 1], '/'));
                table[i][j] = table[i - 1][j] || (takes && table[i][j - 1]);
                continue;
            }
            bool same = j && p[i - 1].len == s[j - 1].len &&
                        memcmp(p[i - 1].at, s[j - 1].at, p[i - 1].len) == 0;
            bool any = j && !permission && unit_is(p[i - 1], '?');
            table[i][j] = j && table[i - 1][j - 1] && (same || any);
        }
    }
    return table[plen][slen];
}

/* A copy that ends where its memory does; with few, of an alphabet that makes matches likely. */
static uint8_t *copy(const uint8_t *bytes, size_t n, bool few) {
    static const uint8_t ALPHABET[] = "aab/*?\xc3\xa9\xe8\xaa\x9e\n**a";
    uint8_t *own = malloc(n ? n : 1);
    check(own != NULL);
    for (size_t i = 0; i < n; i++)
        own[i] = few ? ALPHABET[bytes[i] % (sizeof ALPHABET - 1)] : bytes[i];
    return own;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < HEAD) return 0;
    bool permission = bytes[0] & 1, few = bytes[0] & 2;
    size_t pn = bytes[1] < size - HEAD ? bytes[1] : size - HEAD;
    size_t sn = size - HEAD - pn;
    if (sn > MAX_SUBJECT) return 0;
    uint8_t *pattern = copy(bytes + HEAD, pn, few), *subject = copy(bytes + HEAD + pn, sn, few);

    struct glob *g;
    enum glob_dialect dialect = permission ? GLOB_PERMISSION : GLOB_PATH;
    check(glob_compile((const char *)pattern, pn, dialect, &g) == GLOB_OK);
    bool wanted = naive(pattern, pn, subject, sn, permission);
    for (int again = 0; again < 2; again++) /* a match leaves no trace in the matcher */
        check(glob_match(g, (const char *)subject, sn) == wanted);
    glob_free(g);
    free(pattern);
    free(subject);
    return 0;
}
