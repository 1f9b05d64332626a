/* utf8.c - the second byte of a sequence decides all special cases (overlong, surrogate, too
 * large), so its allowed range depends on the lead byte: table 3-7 of the Unicode standard. */
#include "utf8.h"

static bool is_continuation(unsigned char byte) {
    return (byte & 0xc0) == 0x80;
}

static bool second_byte_fits(unsigned char lead, unsigned char second) {
    switch (lead) {
    case 0xe0: return second >= 0xa0 && second <= 0xbf;
    case 0xed: return second >= 0x80 && second <= 0x9f;
    case 0xf0: return second >= 0x90 && second <= 0xbf;
    case 0xf4: return second >= 0x80 && second <= 0x8f;
    default: return is_continuation(second);
    }
}

static size_t length_by_lead(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0;
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}

size_t utf8_length(const char *s, size_t n) {
    if (n == 0) return 0;
    const unsigned char *bytes = (const unsigned char *)s;
    size_t length = length_by_lead(bytes[0]);
    if (length < 2) return length;
    if (length > n || !second_byte_fits(bytes[0], bytes[1])) return 0;
    for (size_t i = 2; i < length; i++) {
        if (!is_continuation(bytes[i])) return 0;
    }
    return length;
}

size_t utf8_next(const char *s, size_t n, size_t i) {
    size_t length = utf8_length(s + i, n - i);
    return i + (length ? length : 1);
}

size_t utf8_prev(const char *s, size_t i) {
    size_t most = i < 4 ? i : 4;
    for (size_t back = 1; back <= most; back++) {
        if (is_continuation((unsigned char)s[i - back])) continue;
        return utf8_length(s + i - back, back) == back ? i - back : i - 1;
    }
    return i - 1;
}

bool utf8_boundary(const char *s, size_t n, size_t i) {
    if (i == 0 || i >= n || !is_continuation((unsigned char)s[i])) return true;
    size_t most = i < 3 ? i : 3;
    for (size_t back = 1; back <= most; back++) {
        if (is_continuation((unsigned char)s[i - back])) continue;
        return utf8_length(s + i - back, n - (i - back)) <= back;
    }
    return true;
}
