/* sse.c - lines are found with memchr, both kinds of line end ahead of time and each byte looked at
 * once for each kind, so a stream that uses only one of them stays linear.
 *
 * A value is not copied while it stands in the bytes being fed: `data` and `type` point there, and
 * only when the feed ends before the event does, or a second data line comes, they move into their
 * own buffers. A line that is cut is gathered in `line` and used there; it is only written to again
 * at the end of a feed, when nothing points into it any more. */
#include "sse.h"

#include <string.h>

static const char BOM[] = "\xef\xbb\xbf";

enum { BOM_LEN = 3, PAST_BOM = 4, DATA_PREFIX = 6 /* "data: " */ };

void sse_init(struct sse *p, size_t max_event, sse_event_fn fn, void *user) {
    const size_t largest = SIZE_MAX / 2 - DATA_PREFIX;
    if (max_event == 0) max_event = SSE_DEFAULT_MAX_EVENT;
    if (max_event > largest) max_event = largest;
    *p = (struct sse){.fn = fn, .user = user, .retry_ms = -1};
    p->max_line = max_event + DATA_PREFIX;
    buf_init(&p->line, p->max_line);
    buf_init(&p->id, p->max_line);
    buf_init(&p->last_id, p->max_line);
    buf_init(&p->type.own, p->max_line);
    buf_init(&p->data.own, max_event);
}

void sse_free(struct sse *p) {
    buf_free(&p->line);
    buf_free(&p->id);
    buf_free(&p->last_id);
    buf_free(&p->type.own);
    buf_free(&p->data.own);
    p->type.len = p->data.len = 0;
    p->has_data = false;
}

static void value_borrow(struct sse_value *value, const char *at, size_t len) {
    value->at = at;
    value->len = len;
    value->borrowed = true;
}

/* Moves a borrowed value into its own buffer. */
static int value_keep(struct sse_value *value) {
    if (!value->borrowed) return SSE_OK;
    buf_clear(&value->own);
    int rc = buf_add(&value->own, value->at, value->len);
    if (rc != BUF_OK) return rc;
    value->at = value->own.data;
    value->borrowed = false;
    return SSE_OK;
}

static int add_data(struct sse *p, const char *at, size_t len) {
    struct sse_value *data = &p->data;
    if (!p->has_data) {
        if (len > data->own.max) return SSE_ETOOBIG;
        value_borrow(data, at, len);
        p->has_data = true;
        return SSE_OK;
    }
    int rc = value_keep(data);
    if (rc == SSE_OK) rc = buf_add_char(&data->own, '\n');
    if (rc == SSE_OK) rc = buf_add(&data->own, at, len);
    data->at = data->own.data;
    data->len = data->own.len;
    return rc;
}

static int set_id(struct sse *p, const char *at, size_t len) {
    if (memchr(at, '\0', len)) return SSE_OK;
    p->id_pending = true;
    buf_clear(&p->id);
    return buf_add(&p->id, at, len);
}

/* Only digits count; a number too large stands for the largest. */
static void set_retry(struct sse *p, const char *at, size_t len) {
    if (len == 0) return;
    int64_t ms = 0;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9') return;
        int digit = at[i] - '0';
        ms = ms > (INT64_MAX - digit) / 10 ? INT64_MAX : ms * 10 + digit;
    }
    p->retry_ms = ms;
}

/* A blank line: the event ends. */
static int dispatch(struct sse *p) {
    if (p->id_pending) {
        struct buf old = p->last_id;
        p->last_id = p->id;
        p->id = old;
        p->id_pending = false;
        p->id_changed = true;
    }
    struct sse_event event = {
        .type = p->type.len ? p->type.at : "message",
        .type_len = p->type.len ? p->type.len : strlen("message"),
        .data = p->data.at,
        .data_len = p->data.len,
        .id = p->last_id.data ? p->last_id.data : "",
        .id_len = p->last_id.len,
        .id_changed = p->id_changed,
    };
    bool told = p->has_data;
    p->has_data = false;
    p->type.len = 0;
    if (!told) return SSE_OK;
    p->id_changed = false;
    return p->fn(p->user, &event) ? SSE_OK : SSE_ESTOPPED;
}

static bool named(const char *line, size_t name_len, const char *name) {
    return strlen(name) == name_len && memcmp(line, name, name_len) == 0;
}

static int one_line(struct sse *p, const char *line, size_t len) {
    if (len == 0) return dispatch(p);
    if (len > p->max_line) return SSE_ETOOBIG;
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : len;
    if (name_len == 0) return SSE_OK; /* a comment */
    const char *value = colon ? colon + 1 : line + len;
    size_t value_len = (size_t)(line + len - value);
    if (value_len && *value == ' ') {
        value++;
        value_len--;
    }

    if (named(line, name_len, "data")) return add_data(p, value, value_len);
    if (named(line, name_len, "id")) return set_id(p, value, value_len);
    if (named(line, name_len, "event")) value_borrow(&p->type, value, value_len);
    if (named(line, name_len, "retry")) set_retry(p, value, value_len);
    return SSE_OK;
}

/* The line ends with these bytes; its head may have come before. */
static int end_line(struct sse *p, const char *bytes, size_t n) {
    if (p->line.len == 0) return one_line(p, bytes, n);
    int rc = buf_add(&p->line, bytes, n);
    if (rc != BUF_OK) return rc;
    size_t len = p->line.len;
    p->line.len = 0; /* the bytes stay: values may point at them until this feed ends */
    return one_line(p, p->line.data, len);
}

/* The first c in [at, end), or end. */
static const char *find(const char *at, const char *end, char c) {
    const char *found = memchr(at, c, (size_t)(end - at));
    return found ? found : end;
}

/* Parses the lines that end in [at, end); *rest is where the one starts that does not. */
static int whole_lines(struct sse *p, const char *at, const char *end, const char **rest) {
    const char *lf = NULL, *cr = NULL; /* the next ones, NULL: look */
    while (at < end) {
        if (p->after_cr) {
            p->after_cr = false;
            if (*at == '\n') {
                at++;
                continue;
            }
        }
        if (!lf || lf < at) lf = find(at, end, '\n');
        if (!cr || cr < at) cr = find(at, end, '\r');
        const char *eol = lf < cr ? lf : cr;
        if (eol == end) break;
        int rc = end_line(p, at, (size_t)(eol - at));
        if (rc != SSE_OK) return rc;
        p->after_cr = *eol == '\r';
        at = eol + 1;
    }
    *rest = at;
    return SSE_OK;
}

/* The bytes that were fed go away: what is not finished moves into our own memory. */
static int keep_rest(struct sse *p, const char *rest, size_t n) {
    int rc = p->has_data ? value_keep(&p->data) : SSE_OK;
    if (rc == SSE_OK && p->type.len) rc = value_keep(&p->type);
    if (rc == SSE_OK && n) rc = buf_add(&p->line, rest, n);
    return rc;
}

/* Skips a BOM at the start of the stream, which may come byte by byte. Returns how many of the n
 * bytes belong to it. What began like a BOM and is none goes into the line. */
static size_t skip_bom(struct sse *p, const char *bytes, size_t n) {
    size_t used = 0;
    while (used < n && p->bom_len < BOM_LEN && bytes[used] == BOM[p->bom_len]) {
        used++;
        p->bom_len++;
    }
    bool whole = p->bom_len == BOM_LEN;
    if (used == n && !whole) return used;
    if (p->bom_len && !whole) p->status = buf_add(&p->line, BOM, p->bom_len);
    p->bom_len = PAST_BOM;
    return used;
}

int sse_feed(struct sse *p, const char *bytes, size_t n) {
    if (p->status != SSE_OK || n == 0) return p->status;
    size_t used = p->bom_len == PAST_BOM ? 0 : skip_bom(p, bytes, n);
    const char *rest = NULL;
    if (p->status == SSE_OK) p->status = whole_lines(p, bytes + used, bytes + n, &rest);
    if (p->status == SSE_OK) p->status = keep_rest(p, rest, (size_t)(bytes + n - rest));
    return p->status;
}

int64_t sse_retry_ms(const struct sse *p) {
    return p->retry_ms;
}

const char *sse_last_id(const struct sse *p, size_t *len) {
    *len = p->last_id.len;
    return p->last_id.data ? p->last_id.data : "";
}
