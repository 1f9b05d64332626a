/* json_number.h - numbers of JSON as text, both ways, whatever the locale is.
 *
 *     char text[JSON_NUMBER_SIZE];
 *     size_t n = json_format_float(text, 0.1);                  // "0.1", 3
 *
 * Reading a number is in two steps: json_decode.c finds its digits, which is grammar, and
 * json_decimal_value makes the nearest double of them. */
#ifndef HARNESS_BINDINGS_JSON_NUMBER_H
#define HARNESS_BINDINGS_JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_NUMBER_SIZE = 64 };

/* Write the number without a NUL, and return its length. A float must be finite; its text has the
 * fewest of 15, 16 or 17 digits that read back as the same double, and a point or an exponent. */
size_t json_format_integer(char *out, int64_t value);
size_t json_format_float(char *out, double value);

/* A number as text: digits with an optional point inside, times ten to the exponent. */
struct json_decimal {
    const unsigned char *digits; /* without leading zeros; may contain the point */
    const unsigned char *end;
    uint64_t mantissa; /* of all digits, if there are at most 19 */
    size_t count;      /* of digits, without the point and leading zeros */
    int64_t exponent;  /* of the last digit */
    bool negative;
};

/* The double nearest to it; infinite if there is none. */
double json_decimal_value(const struct json_decimal *d);

#endif
