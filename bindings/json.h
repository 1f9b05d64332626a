/* json.h - JSON text to Lua values and back without loss, and a picker of single fields.
 *
 *     json_push_decoded(L, text, len, NULL);             // pushes the value, or raises
 *     json_push_encoded(L, -1, NULL);                    // pushes the text as a Lua string
 *
 *     struct buf *out = json_push_buf(L, 1 << 20);       // a buffer that the Lua stack owns
 *     json_encode(L, 1, out, NULL);                      // appends; no Lua string in between
 *     write(fd, out->data, out->len);
 *     lua_pop(L, 1);
 *
 * What JSON is in Lua:
 *
 *     null            the sentinel json_push_null, one per Lua state (nil cannot stand in a table)
 *     true, false     booleans
 *     number          an integer where the text has no fraction and no exponent and the value fits
 *                     64 bits (-0 is the integer 0), else a float; a float is written so that it
 *                     reads back as a float (1.0, 1e+15), with the fewest digits that give it back
 *     string          a byte string of valid UTF-8, NUL included
 *     array           a sequence 1..n; the empty one carries the array mark (json_mark_array), which
 *                     decoding sets on it, since an empty table without a mark is an object
 *     object          a table with string keys only, written in byte order of the keys
 *
 * A value whose metatable has __tojson is replaced by what that method returns. Everything else is
 * refused: nil, NaN, infinities, functions, threads, other userdata, tables that mix list items
 * and named keys or have holes, cycles, more than JSON_MAX_DEPTH levels. Decoding is strict RFC
 * 8259: no byte order mark, no trailing bytes, no lone surrogate, valid UTF-8; of equal keys the
 * last counts.
 *
 * Errors are harness errors VALIDATION_ERROR; their meta has where = "json" and either offset (of
 * decoding: the 1-based byte at fault) or path (of encoding: "$.a[3].b", as Lua would index it).
 * All functions that take a lua_State may raise (also for lack of memory) and may run the
 * garbage collector; they need no free stack slots beforehand. */
#ifndef HARNESS_BINDINGS_JSON_H
#define HARNESS_BINDINGS_JSON_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "../engine/buf.h"

/* Levels of arrays and objects; a scalar has none. */
#define JSON_MAX_DEPTH 512

/* The longest text, where json_options does not say otherwise. */
#define JSON_MAX_BYTES ((size_t)64 << 20)

/* Zero means the default for each; NULL instead of a struct means all defaults. */
struct json_options {
    bool pretty;               /* encode: one member a line, two spaces a level */
    bool replace_invalid_utf8; /* encode: U+FFFD for each maximal subpart, instead of an error */
    bool lone_surrogates;      /* decode: take them, as their three bytes of WTF-8 */
    size_t max_bytes;          /* decode, json_push_encoded: the longest text; 0: JSON_MAX_BYTES */
};

/* Pushes the value that the text holds. The text needs no NUL at its end, and must stay as it is
 * until the call returns. */
void json_push_decoded(lua_State *L, const char *text, size_t len,
                       const struct json_options *options);

/* Appends the JSON text of the value at index to out, up to out->max bytes in all. When this
 * raises, out holds the text up to somewhere before the mistake, and must still be freed: let it
 * be owned by a userdata (json_push_buf, or a field of your own). May call __tojson methods, which
 * must not touch out. max_bytes is not looked at. */
void json_encode(lua_State *L, int index, struct buf *out, const struct json_options *options);

/* The same as a Lua string, pushed. */
void json_push_encoded(lua_State *L, int index, const struct json_options *options);

/* Pushes a userdata that owns an empty buffer, frees it when collected or closed, and returns the
 * buffer, valid as long as the userdata. */
struct buf *json_push_buf(lua_State *L, size_t max);

/* The sentinel that stands for null. */
void json_push_null(lua_State *L);
bool json_is_null(lua_State *L, int index);

/* Marks the table at index as an array, so that it encodes as [] when empty. Returns false, and
 * leaves the table alone, if it has another metatable. */
bool json_mark_array(lua_State *L, int index);
bool json_is_marked_array(lua_State *L, int index);

/* Whether the text is one JSON value that json_push_decoded takes with default options, without
 * building it. Never raises; facts and fault may be NULL. */
struct json_facts {
    int depth;           /* levels of arrays and objects */
    bool nul_escape;     /* a string has \u0000 */
    bool inexact_number; /* a number has a fraction, an exponent or more than 15 digits */
};
struct json_fault {
    size_t offset;    /* 0-based */
    const char *rule; /* what is allowed there, a static string */
};
bool json_check(const char *text, size_t len, struct json_facts *facts, struct json_fault *fault);

/* The picker: the values at a few paths of a text, in one pass over it and without any Lua table.
 * Made in Lua by core.json.picker{"choices.0.delta.content", ...}: keys joined by dots, and where
 * the value is an array a number as 0-based index.
 *
 * The picker is valid as long as its userdata is. json_pick pushes one value a path (nil for
 * absent and for null) and returns true; or it pushes nothing and returns false, when the text has
 * to take the exact way (json_push_decoded): it is not valid, a wanted value is an array, an object
 * or a number with a fraction, an exponent or more than 15 digits, or a string of the text, wanted
 * or not, has \u0000. What is pushed is what decoding gives. */
struct json_picker;
struct json_picker *json_check_picker(lua_State *L, int arg);
int json_picker_count(const struct json_picker *picker);
bool json_pick(lua_State *L, struct json_picker *picker, const char *text, size_t len);

/* ---- shared by the json*.c files ---- */

/* One per Lua state, a userdata in the registry; its user values are the things themselves, its
 * fields their identities, to compare with. */
struct json_state {
    const void *null;       /* lua_touserdata */
    const void *array_mt;   /* lua_topointer of the metatables */
    const void *raw_mt;     /* raw: user value 1 is the text, the block is a struct json_raw */
    const void *ordered_mt; /* ordered: user value 1 is the list {k1, v1, k2, v2, ...} */
};
enum { JSON_NULL = 1, JSON_ARRAY_MT, JSON_RAW_MT, JSON_ORDERED_MT, JSON_SCRATCH, JSON_VALUES = 5 };

struct json_raw {
    int depth; /* levels inside the text */
};

/* Pushes the state's userdata, made at the first call. */
const struct json_state *json_push_state(lua_State *L);

/* The end of the run at p that stands in a JSON string as it is: valid UTF-8 without control
 * characters, quotes and backslashes. */
const unsigned char *json_plain_run(const unsigned char *p, const unsigned char *end);

/* The length of the valid UTF-8 sequence at p (p < end), or 0. */
size_t json_utf8_length(const unsigned char *p, const unsigned char *end);

/* The length of the maximal subpart of an invalid sequence at p (Unicode 15, 3.9, table 3-8). */
size_t json_utf8_subpart(const unsigned char *p, const unsigned char *end);

/* Raises the VALIDATION_ERROR for a fault of the text. */
int json_raise_fault(lua_State *L, const char *text, size_t len, const struct json_fault *fault);

/* Lua: picker(paths) -> picker */
int json_new_picker(lua_State *L);

#endif
