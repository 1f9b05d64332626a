/* json_decode.c - reads JSON text: into Lua values, or only to check it.
 *
 * One recursive descent does both; while it only checks, reader.L is NULL and the build_ functions
 * do nothing. It stops at the first fault, which is noted in the reader, and every function on the
 * way up returns false: nothing is raised in the middle, except by Lua itself for lack of memory,
 * and nothing but the Lua stack owns memory.
 *
 * The members of an array or object wait on the Lua stack until it ends, so that its table is made
 * with the right size at once; a long one is flushed to its table after BATCH_SLOTS.
 *
 * Numbers of up to 18 digits without fraction and exponent, the usual ones, are plain arithmetic;
 * for others see json_number.c. */
#include "json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bindings.h"
#include "json_number.h"

enum {
    BATCH_SLOTS = 48, /* stack slots of an array or object before it gets its table */
    EXACT_DIGITS = 15 /* digits that a double holds for sure */
};

_Static_assert(JSON_MAX_DEPTH == 512, "enter() names the limit");

static const int64_t EXPONENT_CAP = INT64_C(1000000000000000);

struct reader {
    lua_State *L; /* NULL: only check */
    int null;     /* stack index of the null sentinel */
    int array_mt; /* stack index of the array mark */
    const unsigned char *p;
    const unsigned char *end;
    bool lone_surrogates;
    int depth;
    struct json_facts facts;
    const unsigned char *fault; /* where, and what would be allowed there */
    const char *rule;
};

/* An array or object being read. */
struct batch {
    int table; /* stack index of its table, or of the slot kept for it */
    int slots; /* values that wait above it */
    bool made; /* the table is there, and takes members at once */
    lua_Integer count;
};

static bool read_value(struct reader *r);

static bool fail(struct reader *r, const unsigned char *where, const char *rule) {
    r->fault = where;
    r->rule = rule;
    return false;
}

static void skip_space(struct reader *r) {
    while (r->p < r->end && *r->p <= ' ' &&
           (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

/* The byte at p, or 0 at the end: a NUL is allowed nowhere, so the two need not be told apart. */
static unsigned char peek(const struct reader *r) {
    return r->p < r->end ? *r->p : 0;
}

static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}

/* ---- strings ---------------------------------------------------------------------------- */

static int hex_digit(unsigned char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The code unit of the four digits at p, or -1. */
static long hex_unit(const struct reader *r, const unsigned char *p) {
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
static bool read_unicode(struct reader *r, uint32_t *code) {
    long unit = hex_unit(r, r->p + 2);
    if (unit < 0) return fail(r, r->p, "\\u must be followed by four hexadecimal digits");
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
        return fail(r, r->p, "a surrogate escape must be one of a pair, as in \\ud83d\\ude80");
    if (unit == 0) r->facts.nul_escape = true;
    *code = (uint32_t)unit;
    r->p += 6;
    return true;
}

/* Reads one escape; out takes up to 4 bytes. */
static bool read_escape(struct reader *r, char **out) {
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
    if (!at) return fail(r, r->p, "escapes are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\uXXXX");
    *(*out)++ = TO[at - FROM];
    r->p += 2;
    return true;
}

/* What stopped the plain run inside a string was neither a quote nor a backslash. */
static bool fail_in_string(struct reader *r) {
    if (r->p == r->end) return fail(r, r->p, "a string must end with '\"'");
    if (*r->p < 0x20) return fail(r, r->p, "a control character in a string must be escaped");
    return fail(r, r->p, "a string must be valid UTF-8");
}

/* Checks from r->p to behind the closing quote. */
static bool skip_escaped(struct reader *r) {
    char scratch[4];
    while (peek(r) == '\\') {
        char *out = scratch;
        if (!read_escape(r, &out)) return false;
        r->p = json_plain_run(r->p, r->end);
    }
    if (peek(r) != '"') return fail_in_string(r);
    r->p++;
    return true;
}

/* The string from start has an escape at r->p. It was checked already, to `past` behind its quote.
 * No escape is shorter than what it stands for. */
static void push_escaped(struct reader *r, const unsigned char *start, const unsigned char *past) {
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

/* r->p is at the opening quote. */
static bool read_string(struct reader *r) {
    const unsigned char *start = r->p + 1;
    r->p = json_plain_run(start, r->end);
    unsigned char c = peek(r);
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

/* ---- numbers ---------------------------------------------------------------------------- */

/* Reads digits into the decimal; at least one must stand there. */
static bool read_digits(struct reader *r, struct json_decimal *d) {
    if (!is_digit(peek(r))) return fail(r, r->p, "a digit must stand here");
    do {
        if (d->count == 0 && *r->p == '0') {
            d->digits = r->p + 1;
            continue;
        }
        d->mantissa = d->mantissa * 10 + (uint64_t)(*r->p - '0');
        d->count++;
    } while (++r->p < r->end && is_digit(*r->p));
    return true;
}

static bool read_exponent(struct reader *r, struct json_decimal *d) {
    r->p++;
    bool negative = peek(r) == '-';
    if (negative || peek(r) == '+') r->p++;
    if (!is_digit(peek(r))) return fail(r, r->p, "a digit must stand here");
    int64_t value = 0;
    for (; r->p < r->end && is_digit(*r->p); r->p++)
        if (value < EXPONENT_CAP) value = value * 10 + (*r->p - '0');
    d->exponent += negative ? -value : value;
    return true;
}

/* A number that the short way cannot do; r->p is behind the sign, start at it. */
static bool read_long_number(struct reader *r, const unsigned char *start) {
    struct json_decimal d = {.digits = r->p, .negative = *start == '-'};
    bool integral = true;
    if (!read_digits(r, &d)) return false;
    if (peek(r) == '.') {
        integral = false;
        const unsigned char *fraction = ++r->p;
        if (!read_digits(r, &d)) return false;
        d.exponent = -(int64_t)(r->p - fraction);
    }
    d.end = r->p;
    if ((peek(r) | 0x20) == 'e') {
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
    if (isinf(value)) return fail(r, start, "a number must fit a 64-bit float");
    if (r->L) lua_pushnumber(r->L, d.negative ? -value : value);
    return true;
}

/* r->p is at the sign or the first digit. */
static bool read_number(struct reader *r) {
    const unsigned char *start = r->p;
    bool negative = *start == '-';
    if (negative) r->p++;
    const unsigned char *digits = r->p;
    int64_t value = 0;
    while (r->p < r->end && is_digit(*r->p) && r->p - digits < 18)
        value = value * 10 + (*r->p++ - '0');
    unsigned char next = peek(r);
    if (r->p - digits > 1 && *digits == '0')
        return fail(r, digits, "a number must not begin with 0 and have more digits");
    if (r->p == digits || is_digit(next) || next == '.' || (next | 0x20) == 'e') {
        r->p = digits;
        return read_long_number(r, start);
    }
    if (r->p - digits > EXACT_DIGITS) r->facts.inexact_number = true;
    if (r->L) lua_pushinteger(r->L, negative ? -value : value);
    return true;
}

/* ---- arrays and objects ----------------------------------------------------------------- */

static bool enter(struct reader *r) {
    if (r->depth == JSON_MAX_DEPTH) return fail(r, r->p, "at most 512 levels may be nested");
    r->depth++;
    if (r->depth > r->facts.depth) r->facts.depth = r->depth;
    r->p++;
    skip_space(r);
    return true;
}

static struct batch build_begin(struct reader *r) {
    if (!r->L) return (struct batch){0};
    luaL_checkstack(r->L, BATCH_SLOTS + 8, "JSON");
    lua_pushnil(r->L);
    return (struct batch){.table = lua_gettop(r->L)};
}

/* Makes the table, and moves the waiting items to it. */
static void flush_items(struct reader *r, struct batch *b, int room) {
    lua_createtable(r->L, room, 0);
    lua_replace(r->L, b->table);
    for (int i = b->slots; i > 0; i--) lua_rawseti(r->L, b->table, i);
    b->count = b->slots;
    b->slots = 0;
    b->made = true;
}

/* Takes in the item on top of the stack. */
static void build_item(struct reader *r, struct batch *b) {
    if (!r->L) return;
    if (b->made) {
        lua_rawseti(r->L, b->table, ++b->count);
        return;
    }
    if (++b->slots == BATCH_SLOTS) flush_items(r, b, 2 * BATCH_SLOTS);
}

static void build_array(struct reader *r, struct batch *b) {
    if (!r->L) return;
    if (!b->made) flush_items(r, b, b->slots);
    if (b->count > 0) return;
    lua_pushvalue(r->L, r->array_mt);
    lua_setmetatable(r->L, b->table);
}

/* Moves the waiting members in their order, so that of equal keys the last one stays. */
static void flush_members(struct reader *r, struct batch *b, int room) {
    lua_createtable(r->L, 0, room);
    lua_replace(r->L, b->table);
    for (int i = 1; i <= b->slots; i += 2) {
        lua_pushvalue(r->L, b->table + i);
        lua_pushvalue(r->L, b->table + i + 1);
        lua_rawset(r->L, b->table);
    }
    lua_settop(r->L, b->table);
    b->slots = 0;
    b->made = true;
}

/* Takes in the key and the value on top of the stack. */
static void build_member(struct reader *r, struct batch *b) {
    if (!r->L) return;
    if (b->made) {
        lua_rawset(r->L, b->table);
        return;
    }
    b->slots += 2;
    if (b->slots == BATCH_SLOTS) flush_members(r, b, BATCH_SLOTS);
}

static void build_object(struct reader *r, struct batch *b) {
    if (r->L && !b->made) flush_members(r, b, b->slots / 2);
}

static bool read_array(struct reader *r) {
    if (!enter(r)) return false;
    struct batch b = build_begin(r);
    bool more = peek(r) != ']';
    while (more) {
        if (!read_value(r)) return false;
        build_item(r, &b);
        skip_space(r);
        if (peek(r) == ']') break;
        if (peek(r) != ',') return fail(r, r->p, "',' or ']' must follow an item");
        r->p++;
    }
    r->p++;
    r->depth--;
    build_array(r, &b);
    return true;
}

static bool read_member(struct reader *r) {
    skip_space(r);
    if (peek(r) != '"') return fail(r, r->p, "a key in double quotes must stand here");
    if (!read_string(r)) return false;
    skip_space(r);
    if (peek(r) != ':') return fail(r, r->p, "':' must follow a key");
    r->p++;
    return read_value(r);
}

static bool read_object(struct reader *r) {
    if (!enter(r)) return false;
    struct batch b = build_begin(r);
    bool more = peek(r) != '}';
    while (more) {
        if (!read_member(r)) return false;
        build_member(r, &b);
        skip_space(r);
        if (peek(r) == '}') break;
        if (peek(r) != ',') return fail(r, r->p, "',' or '}' must follow a member");
        r->p++;
    }
    r->p++;
    r->depth--;
    build_object(r, &b);
    return true;
}

/* ---- values ----------------------------------------------------------------------------- */

static bool read_word(struct reader *r, const char *word, size_t len) {
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0)
        return fail(r, r->p, "names that may stand here are true, false and null");
    r->p += len;
    return true;
}

static bool read_boolean(struct reader *r, bool value) {
    if (!read_word(r, value ? "true" : "false", value ? 4 : 5)) return false;
    if (r->L) lua_pushboolean(r->L, value);
    return true;
}

static bool read_null(struct reader *r) {
    if (!read_word(r, "null", 4)) return false;
    if (r->L) lua_pushvalue(r->L, r->null);
    return true;
}

static bool read_value(struct reader *r) {
    skip_space(r);
    unsigned char c = peek(r);
    switch (c) {
    case '"': return read_string(r);
    case '{': return read_object(r);
    case '[': return read_array(r);
    case 't': return read_boolean(r, true);
    case 'f': return read_boolean(r, false);
    case 'n': return read_null(r);
    default: break;
    }
    if (c == '-' || is_digit(c)) return read_number(r);
    return fail(r, r->p,
                "a value must stand here (object, array, string, number, true, false, null)");
}

static bool read_text(struct reader *r) {
    if (!read_value(r)) return false;
    skip_space(r);
    if (r->p < r->end) return fail(r, r->p, "only white space may follow the value");
    return true;
}

bool json_check(const char *text, size_t len, struct json_facts *facts, struct json_fault *fault) {
    const unsigned char *start = (const unsigned char *)text;
    struct reader r = {.p = start, .end = start + len};
    bool ok = read_text(&r);
    if (facts) *facts = r.facts;
    if (!ok && fault) *fault = (struct json_fault){(size_t)(r.fault - start), r.rule};
    return ok;
}

static void raise_too_long(lua_State *L, size_t len, size_t max) {
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "json");
    lua_setfield(L, -2, "where");
    lua_pushinteger(L, (lua_Integer)max + 1);
    lua_setfield(L, -2, "offset");
    bind_raise(L, "VALIDATION_ERROR", "JSON text of %zu bytes; at most %zu are taken", len, max);
}

void json_push_decoded(lua_State *L, const char *text, size_t len,
                       const struct json_options *options) {
    size_t max = options && options->max_bytes ? options->max_bytes : JSON_MAX_BYTES;
    luaL_checkstack(L, 16, "JSON");
    if (len > max) raise_too_long(L, len, max);
    json_push_state(L);
    int base = lua_gettop(L);
    lua_getiuservalue(L, base, JSON_NULL);
    lua_getiuservalue(L, base, JSON_ARRAY_MT);
    const unsigned char *start = (const unsigned char *)text;
    struct reader r = {.L = L,
                       .null = base + 1,
                       .array_mt = base + 2,
                       .p = start,
                       .end = start + len,
                       .lone_surrogates = options && options->lone_surrogates};
    if (!read_text(&r)) {
        lua_settop(L, base);
        json_raise_fault(L, text, len, &(struct json_fault){(size_t)(r.fault - start), r.rule});
    }
    lua_replace(L, base);
    lua_settop(L, base);
}
