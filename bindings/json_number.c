/* json_number.c - short numbers by exact arithmetic, the others by the C library.
 *
 * Reading: a mantissa of at most 2^53 and a power of ten of at most 10^22 are both exact doubles,
 * so one multiplication or division rounds once, which gives the nearest double (W. Clinger, "How
 * to Read Floating Point Numbers Accurately", 1990). Others go to strtod as digits and exponent,
 * without a decimal point, so that the locale does not matter.
 *
 * Writing: value = m / 10^k with m < 10^15 is what %.15g would print, since a decimal of at most
 * 15 digits survives being a double, and the quotient of two exact doubles is the double nearest to
 * that decimal. Others are printed with 15, 16 and 17 digits until they read back. */
#include "json_number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGNIFICANT_DIGITS = 800 }; /* more than 767 never change the nearest double */

/* ---- writing ------------------------------------------------------------------------------ */

/* Writes the digits so that they end before end, at least `least` of them; returns the first. */
static char *digits_before(char *end, uint64_t value, int least) {
    char *p = end;
    while (value || end - p < least) {
        *--p = (char)('0' + value % 10);
        value /= 10;
    }
    return p;
}

size_t json_format_integer(char *out, int64_t value) {
    char text[24];
    char *end = text + sizeof text;
    char *p = digits_before(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 1);
    if (value < 0) *--p = '-';
    size_t n = (size_t)(end - p);
    memcpy(out, p, n);
    return n;
}

/* Numbers with few digits, such as 0.7 and 12.5. Returns the first byte of the text, which ends
 * before end, or NULL. */
static char *format_short(char *end, double value) {
    if (FLT_EVAL_METHOD != 0 || value < 1e-4 || value >= 1e15) return NULL;
    double power = 1;
    for (int k = 0; k <= 18; k++, power *= 10) {
        double scaled = value * power;
        if (scaled >= 1e15) return NULL;
        uint64_t m = (uint64_t)(scaled + 0.5);
        if ((double)m / power != value) continue;
        uint64_t unit = (uint64_t)power;
        char *p = digits_before(end, m % unit, k > 0 ? k : 1);
        *--p = '.';
        return digits_before(p, m / unit, 1);
    }
    return NULL;
}

/* The fewest of 15, 16 or 17 digits that read back as the value. */
static size_t format_long(char *out, double value) {
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, JSON_NUMBER_SIZE, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    return (size_t)n;
}

/* Replaces the locale's decimal point, which may be several bytes, by '.', and marks a number
 * without point and exponent as a float by ".0". Returns the new length. */
static size_t normalise(char *text, size_t len) {
    size_t n = 0;
    bool is_float = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == 'e') is_float = true;
        if ((c >= '0' && c <= '9') || c == '-' || c == '+' || c == 'e') {
            text[n++] = c;
        } else if (!is_float) {
            text[n++] = '.';
            is_float = true;
        }
    }
    if (is_float) return n;
    text[n++] = '.';
    text[n++] = '0';
    return n;
}

size_t json_format_float(char *out, double value) {
    char text[JSON_NUMBER_SIZE];
    char *end = text + sizeof text;
    char *p = format_short(end, fabs(value));
    if (!p) return normalise(out, format_long(out, value));
    if (value < 0) *--p = '-';
    size_t n = (size_t)(end - p);
    memcpy(out, p, n);
    return n;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Digits that cannot matter are replaced by a single 1, if they are not all zeros. */
static double value_by_strtod(const struct json_decimal *d) {
    char text[SIGNIFICANT_DIGITS + 32];
    size_t n = 0;
    int64_t exponent = d->exponent;
    bool sticky = false;
    for (const unsigned char *p = d->digits; p < d->end; p++) {
        if (*p == '.') continue;
        if (n < SIGNIFICANT_DIGITS) {
            text[n++] = (char)*p;
            continue;
        }
        exponent++;
        if (*p != '0') sticky = true;
    }
    if (sticky) {
        text[n++] = '1';
        exponent--;
    }
    snprintf(text + n, sizeof text - n, "e%lld", (long long)exponent);
    return strtod(text, NULL);
}

double json_decimal_value(const struct json_decimal *d) {
    static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (d->count == 0) return 0.0;
    bool exact = FLT_EVAL_METHOD == 0 && d->count <= 19 && d->mantissa <= UINT64_C(1) << 53;
    if (exact && d->exponent >= 0 && d->exponent <= 22)
        return (double)d->mantissa * POWERS[d->exponent];
    if (exact && d->exponent < 0 && d->exponent >= -22)
        return (double)d->mantissa / POWERS[-d->exponent];
    return value_by_strtod(d);
}
