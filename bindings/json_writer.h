/* json_writer.h - what json_encode.c writes with: the bytes of a text under construction, and
 * errors that know their path.
 *
 *     struct json_level level;
 *     json_enter(w, &level, identity_of_the_table);    // raises when too deep, or for a cycle
 *     level.key = key, level.key_len = len;            // or level.index = i
 *     json_put_string(w, text, text_len);              // an error in here names the path
 *     json_leave(w);
 *
 * The functions raise harness errors (see json.h) and "not enough memory"; the buffer belongs to
 * whoever made the writer, and must be freed by someone else when that happens. */
#ifndef HARNESS_BINDINGS_JSON_WRITER_H
#define HARNESS_BINDINGS_JSON_WRITER_H

#include <string.h>

#include "json.h"

/* An array, object or __tojson call under way, on the C stack. */
struct json_level {
    struct json_level *up;
    const void *identity; /* of the table, to recognise a cycle */
    const char *key;      /* what is being written now: a member, */
    size_t key_len;
    lua_Integer index; /* or an item; or neither */
};

struct json_writer {
    lua_State *L;
    struct buf *out;
    struct buf *members; /* json_encode.c: the members of the objects under way */
    const struct json_state *state;
    struct json_level *top; /* NULL outside of all levels */
    int depth;
    int indent;
    bool pretty;
    bool replace_invalid_utf8;
};

/* Raises VALIDATION_ERROR about what is being written; the format is that of lua_pushfstring. */
int json_fail(struct json_writer *w, const char *format, ...);

/* Raises because of a limit; when the cause is a table that contains itself, that is the error. */
int json_fail_limit(struct json_writer *w, const char *reason);
extern const char JSON_TOO_DEEP[];

/* Begins and ends a level. There are 12 free stack slots afterwards. */
void json_enter(struct json_writer *w, struct json_level *level, const void *identity);
void json_leave(struct json_writer *w);

/* Makes room for n bytes and a NUL. */
void json_grow(struct json_writer *w, size_t n);

/* Where n more bytes may be written; whoever writes them adds to out->len. */
static inline char *json_room(struct json_writer *w, size_t n) {
    struct buf *out = w->out;
    if (n >= out->cap - out->len || n > out->max - out->len) json_grow(w, n);
    return out->data + out->len;
}

static inline void json_put(struct json_writer *w, const char *bytes, size_t n) {
    char *p = json_room(w, n);
    memcpy(p, bytes, n);
    w->out->len += n;
}

static inline void json_put_char(struct json_writer *w, char c) {
    *json_room(w, 1) = c;
    w->out->len++;
}

/* '[' or '{', and the end of it; in pretty text with line ends and indentation. */
void json_put_open(struct json_writer *w, char c);
void json_put_close(struct json_writer *w, char c, bool empty);

/* What stands before member or item i of the level (1 is the first): a comma, a new line. */
void json_put_separator(struct json_writer *w, bool first);

/* Scalars. A key is put with its colon. */
void json_put_string(struct json_writer *w, const char *text, size_t len);
void json_put_key(struct json_writer *w, const char *key, size_t len);
void json_put_integer(struct json_writer *w, lua_Integer value);
void json_put_float(struct json_writer *w, lua_Number value);

#endif
