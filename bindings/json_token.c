/* json_token.c - strings and numbers of a JSON text: read to the Lua stack, or only checked.
 *
 * A string without escapes, the usual one, is one run that json_plain_run finds. Numbers of up to
 * 18 digits without fraction and exponent are plain arithmetic; for others see json_number.c. */
#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "json_number.h"
#include "json_reader.h"

enum { EXACT_DIGITS = 15 /* digits that a double holds for sure */ };

static const int64_t EXPONENT_CAP = INT64_C(1000000000000000);

/* ---- strings ---------------------------------------------------------------------------- */

static int hex_digit(unsigned char c) {
    if (json_is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The code unit of the four digits at p, or -1. */
static long hex_unit(const struct json_reader *r, const unsigned char *p) {
    if (r->end - p < 4) return -1;
    long unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static char *put_utf8(char *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3F));
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
    }
    *out++ = (char)(0x80 | (c & 0x3F));
    return out;
}

/* Reads \uXXXX, and the low half of a surrogate pair behind it; r->p is at the backslash. */
static bool read_unicode(struct json_reader *r, uint32_t *code) {
    long unit = hex_unit(r, r->p + 2);
    if (unit < 0)
        return json_reader_fail(r, r->p, "\\u must be followed by four hexadecimal digits");
    bool high = unit >= 0xD800 && unit <= 0xDBFF;
    if (high && r->end - r->p >= 12 && r->p[6] == '\\' && r->p[7] == 'u') {
        long low = hex_unit(r, r->p + 8);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *code = 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
            r->p += 12;
            return true;
        }
    }
    if (unit >= 0xD800 && unit <= 0xDFFF && !r->lone_surrogates)
        return json_reader_fail(r, r->p,
                                "a surrogate escape must be one of a pair, as in \\ud83d\\ude80");
    if (unit == 0) r->facts.nul_escape = true;
    *code = (uint32_t)unit;
    r->p += 6;
    return true;
}

/* Reads one escape; out takes up to 4 bytes. */
static bool read_escape(struct json_reader *r, char **out) {
    static const char FROM[] = "\"\\/bfnrt";
    static const char TO[] = "\"\\/\b\f\n\r\t";
    unsigned char c = r->end - r->p < 2 ? 0 : r->p[1];
    if (c == 'u') {
        uint32_t code;
        if (!read_unicode(r, &code)) return false;
        *out = put_utf8(*out, code);
        return true;
    }
    const char *at = c ? strchr(FROM, c) : NULL;
    if (!at)
        return json_reader_fail(r, r->p,
                                "escapes are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\uXXXX");
    *(*out)++ = TO[at - FROM];
    r->p += 2;
    return true;
}

/* What stopped the plain run inside a string was neither a quote nor a backslash. */
static bool fail_in_string(struct json_reader *r) {
    if (r->p == r->end) return json_reader_fail(r, r->p, "a string must end with '\"'");
    if (*r->p < 0x20)
        return json_reader_fail(r, r->p, "a control character in a string must be escaped");
    return json_reader_fail(r, r->p, "a string must be valid UTF-8");
}

/* Checks from r->p to behind the closing quote. */
static bool skip_escaped(struct json_reader *r) {
    char scratch[4];
    while (json_peek(r) == '\\') {
        char *out = scratch;
        if (!read_escape(r, &out)) return false;
        r->p = json_plain_run(r->p, r->end);
    }
    if (json_peek(r) != '"') return fail_in_string(r);
    r->p++;
    return true;
}

/* The string from start has an escape at r->p. It was checked already, to `past` behind its quote.
 * No escape is shorter than what it stands for. */
static void push_escaped(struct json_reader *r, const unsigned char *start,
                         const unsigned char *past) {
    char small[512];
    size_t size = (size_t)(past - start);
    char *text = size <= sizeof small ? small : lua_newuserdatauv(r->L, size, 0);
    size_t plain = (size_t)(r->p - start);
    memcpy(text, start, plain);
    char *out = text + plain;
    while (*r->p == '\\') {
        read_escape(r, &out);
        const unsigned char *run = r->p;
        r->p = json_plain_run(run, r->end);
        memcpy(out, run, (size_t)(r->p - run));
        out += r->p - run;
    }
    r->p++;
    lua_pushlstring(r->L, text, (size_t)(out - text));
    if (text != small) lua_remove(r->L, -2);
}

bool json_read_string(struct json_reader *r) {
    const unsigned char *start = r->p + 1;
    r->p = json_plain_run(start, r->end);
    unsigned char c = json_peek(r);
    r->escaped = c == '\\';
    if (c == '"') {
        if (r->L) lua_pushlstring(r->L, (const char *)start, (size_t)(r->p - start));
        r->p++;
        return true;
    }
    const unsigned char *escape = r->p;
    if (!skip_escaped(r)) return false;
    if (!r->L) return true;
    const unsigned char *past = r->p;
    r->p = escape;
    push_escaped(r, start, past);
    return true;
}

bool json_string_is(const unsigned char *start, const unsigned char *quote, const char *bytes,
                    size_t len) {
    struct json_reader r = {.p = start, .end = quote};
    while (r.p < quote) {
        char text[4];
        char *past = text;
        if (*r.p != '\\') *past++ = (char)*r.p++;
        else if (!read_escape(&r, &past)) return false;
        size_t n = (size_t)(past - text);
        if (n > len || memcmp(text, bytes, n) != 0) return false;
        bytes += n;
        len -= n;
    }
    return len == 0;
}

/* ---- numbers ---------------------------------------------------------------------------- */

/* Reads digits into the decimal; at least one must stand there. */
static bool read_digits(struct json_reader *r, struct json_decimal *d) {
    if (!json_is_digit(json_peek(r))) return json_reader_fail(r, r->p, "a digit must stand here");
    do {
        if (d->count == 0 && *r->p == '0') {
            d->digits = r->p + 1;
            continue;
        }
        d->mantissa = d->mantissa * 10 + (uint64_t)(*r->p - '0');
        d->count++;
    } while (++r->p < r->end && json_is_digit(*r->p));
    return true;
}

static bool read_exponent(struct json_reader *r, struct json_decimal *d) {
    r->p++;
    bool negative = json_peek(r) == '-';
    if (negative || json_peek(r) == '+') r->p++;
    if (!json_is_digit(json_peek(r))) return json_reader_fail(r, r->p, "a digit must stand here");
    int64_t value = 0;
    for (; r->p < r->end && json_is_digit(*r->p); r->p++)
        if (value < EXPONENT_CAP) value = value * 10 + (*r->p - '0');
    d->exponent += negative ? -value : value;
    return true;
}

/* A number that the short way cannot do; r->p is behind the sign, start at it. */
static bool read_long_number(struct json_reader *r, const unsigned char *start) {
    struct json_decimal d = {.digits = r->p, .negative = *start == '-'};
    bool integral = true;
    if (!read_digits(r, &d)) return false;
    if (json_peek(r) == '.') {
        integral = false;
        const unsigned char *fraction = ++r->p;
        if (!read_digits(r, &d)) return false;
        d.exponent = -(int64_t)(r->p - fraction);
    }
    d.end = r->p;
    if ((json_peek(r) | 0x20) == 'e') {
        integral = false;
        if (!read_exponent(r, &d)) return false;
    }
    r->facts.inexact_number = true;
    if (integral && d.count <= 19 && d.mantissa <= (uint64_t)INT64_MAX + d.negative) {
        uint64_t value = d.negative ? 0 - d.mantissa : d.mantissa;
        if (r->L) lua_pushinteger(r->L, (lua_Integer)value);
        return true;
    }
    double value = json_decimal_value(&d);
    if (isinf(value)) return json_reader_fail(r, start, "a number must fit a 64-bit float");
    if (r->L) lua_pushnumber(r->L, d.negative ? -value : value);
    return true;
}

bool json_read_number(struct json_reader *r) {
    const unsigned char *start = r->p;
    bool negative = *start == '-';
    if (negative) r->p++;
    const unsigned char *digits = r->p;
    int64_t value = 0;
    while (r->p < r->end && json_is_digit(*r->p) && r->p - digits < 18)
        value = value * 10 + (*r->p++ - '0');
    unsigned char next = json_peek(r);
    if (r->p - digits > 1 && *digits == '0')
        return json_reader_fail(r, digits, "a number must not begin with 0 and have more digits");
    if (r->p == digits || json_is_digit(next) || next == '.' || (next | 0x20) == 'e') {
        r->p = digits;
        return read_long_number(r, start);
    }
    if (r->p - digits > EXACT_DIGITS) r->facts.inexact_number = true;
    if (r->L) lua_pushinteger(r->L, negative ? -value : value);
    return true;
}
