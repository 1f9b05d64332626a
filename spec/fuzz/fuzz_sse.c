/* fuzz_sse.c - the SSE parser gives the same events however its bytes are cut, and they are those
 * of the plainest parser that one can write: one byte after another, everything copied.
 *
 * Input: a byte for the size limit, two for the sizes of the pieces, then the stream. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/sse.h"

enum { HEAD = 3, MAX_STREAM = 1024, DATA_PREFIX = 6 };

static void check(bool ok) {
    if (!ok) abort();
}

static void put(struct buf *log, const void *bytes, size_t n) {
    check(buf_add(log, bytes, n) == BUF_OK);
}

static void put_text(struct buf *log, const char *text, size_t n) {
    put(log, &n, sizeof n);
    put(log, text, n);
}

static bool log_event(void *user, const struct sse_event *event) {
    struct buf *log = user;
    put_text(log, event->type, event->type_len);
    put_text(log, event->data, event->data_len);
    put_text(log, event->id, event->id_len);
    put(log, event->id_changed ? "+" : "-", 1);
    return true;
}

static void log_end(struct buf *log, int status, int64_t retry, const char *id, size_t id_len) {
    put(log, &status, sizeof status);
    if (status != SSE_OK) return;
    put(log, &retry, sizeof retry);
    put_text(log, id, id_len);
}

/* ---- the plain parser ------------------------------------------------------------------ */

struct plain {
    size_t limit;
    char line[MAX_STREAM + 1], type[MAX_STREAM], data[2 * MAX_STREAM], id[MAX_STREAM],
        last_id[MAX_STREAM];
    size_t line_len, type_len, data_len, id_len, last_id_len;
    bool has_data, id_pending, id_changed;
    int64_t retry;
    struct buf *log;
};

static bool field_is(const struct plain *p, size_t colon, const char *name) {
    return colon == strlen(name) && memcmp(p->line, name, colon) == 0;
}

static void plain_blank(struct plain *p) {
    if (p->id_pending) {
        memcpy(p->last_id, p->id, p->id_len);
        p->last_id_len = p->id_len;
        p->id_pending = false;
        p->id_changed = true;
    }
    if (p->has_data) {
        const char *type = p->type_len ? p->type : "message";
        struct sse_event event = {type,         p->type_len ? p->type_len : 7,
                                  p->data,      p->data_len - 1,
                                  p->last_id,   p->last_id_len,
                                  p->id_changed};
        log_event(p->log, &event);
        p->id_changed = false;
    }
    p->has_data = false;
    p->data_len = p->type_len = 0;
}

static void plain_retry(struct plain *p, const char *value, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (value[i] < '0' || value[i] > '9') return;
    if (n == 0) return;
    unsigned __int128 ms = 0;
    for (size_t i = 0; i < n && ms <= INT64_MAX; i++) ms = ms * 10 + (unsigned)(value[i] - '0');
    p->retry = ms > INT64_MAX ? INT64_MAX : (int64_t)ms;
}

static bool plain_line(struct plain *p) {
    if (p->line_len > p->limit + DATA_PREFIX) return false;
    if (p->line_len == 0) {
        plain_blank(p);
        return true;
    }
    size_t colon = 0;
    while (colon < p->line_len && p->line[colon] != ':') colon++;
    size_t start = colon < p->line_len ? colon + 1 : colon;
    if (start < p->line_len && p->line[start] == ' ') start++;
    const char *value = p->line + start;
    size_t n = p->line_len - start;
    if (field_is(p, colon, "data")) {
        memcpy(p->data + p->data_len, value, n);
        p->data[p->data_len + n] = '\n';
        p->data_len += n + 1;
        p->has_data = true;
        return p->data_len - 1 <= p->limit;
    }
    if (field_is(p, colon, "event")) {
        memcpy(p->type, value, n);
        p->type_len = n;
    }
    if (field_is(p, colon, "id") && !memchr(value, 0, n)) {
        memcpy(p->id, value, n);
        p->id_len = n;
        p->id_pending = true;
    }
    if (field_is(p, colon, "retry")) plain_retry(p, value, n);
    return true;
}

static int plain_parse(struct plain *p, const char *s, size_t n) {
    size_t i = n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (; i < n; i++) {
        if (s[i] != '\r' && s[i] != '\n') {
            p->line[p->line_len++] = s[i];
            continue;
        }
        if (!plain_line(p)) return SSE_ETOOBIG;
        p->line_len = 0;
        if (s[i] == '\r' && i + 1 < n && s[i + 1] == '\n') i++;
    }
    return p->line_len > p->limit + DATA_PREFIX ? SSE_ETOOBIG : SSE_OK;
}

/* ---- the comparison -------------------------------------------------------------------- */

/* Feeds the stream in pieces whose sizes follow from seed (most = 0: all at once). Each stands at
 * the very end of its memory, so that looking beyond it is seen, and takes the place of the one
 * before, so that looking back is seen too. */
static void feed(struct buf *log, const char *s, size_t n, size_t limit, uint32_t seed,
                 size_t most) {
    struct sse sse;
    sse_init(&sse, limit, log_event, log);
    int status = SSE_OK;
    char *memory = malloc(n + 1);
    check(memory != NULL);
    for (size_t at = 0; at < n && status == SSE_OK;) {
        seed = seed * 1664525 + 1013904223;
        size_t step = most ? 1 + (seed >> 16) % most : n;
        if (step > n - at) step = n - at;
        char *piece = memory + n + 1 - step;
        memcpy(piece, s + at, step);
        status = sse_feed(&sse, piece, step);
        at += step;
    }
    free(memory);
    size_t id_len;
    const char *id = sse_last_id(&sse, &id_len);
    log_end(log, status, sse_retry_ms(&sse), id, id_len);
    sse_free(&sse);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < HEAD || size > HEAD + MAX_STREAM) return 0;
    size_t limit = bytes[0] < 128 ? 1 + bytes[0] : MAX_STREAM;
    const char *s = (const char *)bytes + HEAD;
    size_t n = size - HEAD;

    struct buf expected;
    buf_init(&expected, SIZE_MAX / 2);
    struct plain *plain = calloc(1, sizeof *plain);
    check(plain != NULL);
    plain->limit = limit;
    plain->retry = -1;
    plain->log = &expected;
    int status = plain_parse(plain, s, n);
    log_end(&expected, status, plain->retry, plain->last_id, plain->last_id_len);
    free(plain);

    const size_t most[] = {0, 1, 1 + bytes[2] % 32u};
    for (int way = 0; way < 3; way++) {
        struct buf log;
        buf_init(&log, SIZE_MAX / 2);
        feed(&log, s, n, limit, bytes[1], most[way]);
        check(log.len == expected.len && memcmp(log.data, expected.data, log.len) == 0);
        buf_free(&log);
    }
    buf_free(&expected);
    return 0;
}
