/* text.c - core.text: what is done to text on hot paths and has no part of its own. */
#include "text.h"

#include <string.h>
#include <time.h>

#include "bindings.h"

static void digits(char *out, unsigned value, int width) {
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void text_timestamp(uint64_t epoch_ms, char *out) {
    static const uint64_t LAST_MS = 253402300799999; /* 9999-12-31T23:59:59.999Z */
    if (epoch_ms > LAST_MS) epoch_ms = LAST_MS;
    time_t seconds = (time_t)(epoch_ms / 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    memcpy(out, "0000-00-00T00:00:00.000Z", TEXT_TIMESTAMP_LEN + 1);
    digits(out, (unsigned)t.tm_year + 1900, 4);
    digits(out + 5, (unsigned)t.tm_mon + 1, 2);
    digits(out + 8, (unsigned)t.tm_mday, 2);
    digits(out + 11, (unsigned)t.tm_hour, 2);
    digits(out + 14, (unsigned)t.tm_min, 2);
    digits(out + 17, (unsigned)t.tm_sec, 2);
    digits(out + 20, (unsigned)(epoch_ms % 1000), 3);
}

static bool is_surrogate(const unsigned char *s, size_t left, unsigned char low,
                         unsigned char high) {
    return left >= 3 && s[0] == 0xED && s[1] >= low && s[1] <= high && (s[2] & 0xC0) == 0x80;
}

static bool ends_in_high_surrogate(const unsigned char *s, size_t len) {
    return len >= 3 && is_surrogate(s + len - 3, 3, 0xA0, 0xAF);
}

/* How many bytes at the end of s are the beginning of a character that is not complete yet: of a
 * UTF-8 sequence, or a high surrogate in its three-byte form, which waits for its low one, of which
 * a part may be there. */
static size_t unfinished(const unsigned char *s, size_t len) {
    if (ends_in_high_surrogate(s, len)) return 3;
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char c = s[len - back];
        if (c < 0x80) return 0;
        if (c < 0xC0) continue;
        size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
        if (need <= back) return 0;
        return c == 0xED && ends_in_high_surrogate(s, len - back) ? back + 3 : back;
    }
    return 0;
}

static unsigned surrogate_bits(const unsigned char *s) {
    return ((unsigned)(s[1] & 0x0F) << 6) | (s[2] & 0x3Fu);
}

/* Copies s, joining surrogate pairs in their three-byte forms to one character each; a lone one
 * becomes U+FFFD. */
static void add_joined(luaL_Buffer *out, const unsigned char *s, size_t len) {
    size_t from = 0;
    for (size_t at = 0; at < len;) {
        const unsigned char *found = memchr(s + at, 0xED, len - at);
        if (!found) break;
        at = (size_t)(found - s);
        if (!is_surrogate(s + at, len - at, 0xA0, 0xBF)) {
            at++;
            continue;
        }
        luaL_addlstring(out, (const char *)s + from, at - from);
        bool pair = is_surrogate(s + at, len - at, 0xA0, 0xAF) &&
                    is_surrogate(s + at + 3, len - at - 3, 0xB0, 0xBF);
        if (pair) {
            unsigned cp = 0x10000 + (surrogate_bits(s + at) << 10) + surrogate_bits(s + at + 3);
            char utf8[4] = {(char)(0xF0 | cp >> 18), (char)(0x80 | (cp >> 12 & 0x3F)),
                            (char)(0x80 | (cp >> 6 & 0x3F)), (char)(0x80 | (cp & 0x3F))};
            luaL_addlstring(out, utf8, 4);
        } else {
            luaL_addlstring(out, "\xEF\xBF\xBD", 3);
        }
        at += pair ? 6 : 3;
        from = at;
    }
    luaL_addlstring(out, (const char *)s + from, len - from);
}

/* text.whole(held, piece, last) -> text, held: gives out held .. piece up to its last complete
 * character and keeps the rest for the next piece; with last, everything, lone halves replaced. */
static int whole(lua_State *L) {
    size_t held_len, len;
    luaL_checklstring(L, 1, &held_len);
    const char *piece = luaL_checklstring(L, 2, &len);
    bool last = lua_toboolean(L, 3);
    size_t tail = last ? 0 : unfinished((const unsigned char *)piece, len);
    if (held_len == 0 && tail == 0 && !memchr(piece, 0xED, len)) {
        lua_pushvalue(L, 2);
        lua_pushliteral(L, "");
        return 2;
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_concat(L, 2);
    const unsigned char *s = (const unsigned char *)lua_tolstring(L, -1, &len);
    tail = last ? 0 : unfinished(s, len);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    add_joined(&out, s, len - tail);
    luaL_pushresult(&out);
    lua_pushlstring(L, (const char *)s + len - tail, tail);
    return 2;
}

int bind_text(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"whole", whole}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
