/* sse.h - incremental parser for text/event-stream (WHATWG HTML, 9.2.5 and 9.2.6).
 *
 *     static bool on_event(void *user, const struct sse_event *event) {
 *         printf("%.*s\n", (int)event->data_len, event->data);
 *         return true;                                    // false: stop here
 *     }
 *     struct sse sse;
 *     sse_init(&sse, 0, on_event, user);                  // 0: at most 4 MiB an event
 *     while ((n = read_some(bytes)) > 0)
 *         if (sse_feed(&sse, bytes, n) != SSE_OK) ...
 *     sse_free(&sse);
 *
 * Bytes come in pieces of any size; each event is told by one callback, from within sse_feed. Lines
 * end by CR, LF or CRLF; a BOM at the very start is skipped; comments and unknown fields are
 * ignored; what stands after the last blank line is never told. Bytes are passed on as they came:
 * whoever needs UTF-8 checks it, on whole events, never on pieces.
 *
 * Owned by whoever embeds it. One thread only; the callback must not feed or free its parser. */
#ifndef HARNESS_ENGINE_SSE_H
#define HARNESS_ENGINE_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum {
    SSE_OK = 0,
    SSE_ENOMEM = BUF_ENOMEM,
    SSE_ETOOBIG = BUF_ETOOBIG, /* an event's data or a single line above the limit */
    SSE_ESTOPPED = -3,         /* the callback said so */
};

enum { SSE_DEFAULT_MAX_EVENT = 4 << 20 };

/* Strings are not NUL-terminated, and valid until the callback returns. */
struct sse_event {
    const char *type; /* "message" when the event names none */
    size_t type_len;
    const char *data;
    size_t data_len;
    const char *id; /* the last id that the stream has set, here or before; empty: none */
    size_t id_len;
    bool id_changed; /* since the event before */
};

typedef bool (*sse_event_fn)(void *user, const struct sse_event *event);

/* A value that stands in the bytes being fed (borrowed), or else in the parser's own buffer. */
struct sse_value {
    const char *at;
    size_t len;
    bool borrowed;
    struct buf own;
};

/* Private to sse.c, but for its size. */
struct sse {
    sse_event_fn fn;
    void *user;
    int status; /* sticky */
    size_t max_line;
    size_t bom_len; /* bytes of a BOM seen at the start; 4: past it */
    bool after_cr;  /* a LF that comes next belongs to the CR before it */
    bool has_data;
    bool id_pending; /* id holds one that the next blank line makes valid */
    bool id_changed;
    int64_t retry_ms;
    struct buf line; /* the head of a line whose end has not come */
    struct buf id;
    struct buf last_id;
    struct sse_value type;
    struct sse_value data;
};

/* max_event: the most bytes of data of one event; 0: SSE_DEFAULT_MAX_EVENT. No line may be longer
 * than "data: " with that much, so the five buffers stay within ten times the limit however the
 * peer behaves. Allocates nothing. */
void sse_init(struct sse *p, size_t max_event, sse_event_fn fn, void *user);
/* Frees its memory. May be called twice. */
void sse_free(struct sse *p);

/* Parses n more bytes. Returns SSE_OK, or why it ended for good: every later call says the same. */
int sse_feed(struct sse *p, const char *bytes, size_t n);

/* The reconnection time that the stream asked for, in milliseconds; -1: it did not. */
int64_t sse_retry_ms(const struct sse *p);

/* The id to send as Last-Event-ID when reconnecting; empty: none. Valid until the next feed. */
const char *sse_last_id(const struct sse *p, size_t *len);

#endif
