/* http.c - the half of the HTTP client that is the same whatever moves the bytes.
 *
 * A transfer is a small state machine that its driver pushes forward (http_on_...) and its owner
 * pulls from. Body bytes, or whole events, wait in one buffer behind a read position. Each phase
 * has a limit on one timer; since the idle clock restarts with every piece, restarting only notes
 * the time, and the timer looks at that when it fires. */
#include "http.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "buf_pool.h"
#include "sse.h"
#include "url.h"

enum { COMPACT_AT = 64 << 10 };

/* How much memory of bodies is kept for the next ones, while transfers are open and when none is. */
enum { SPARE_BUSY = BUF_POOL_MAX, SPARE_IDLE = 32 };

struct http_client {
    struct loop *loop;
    struct http_driver driver;
    bool has_driver;
    bool no_environment;
    bool no_threads;
    char *proxy, *no_proxy, *ca_file; /* owned settings */
    struct http_transfer *transfers;  /* those that are not closed */
    size_t transfers_live;            /* those of them that have not ended */
    size_t transfers_open;
    struct buf_pool spare;
};

struct http_transfer {
    struct http_client *client; /* NULL: it was freed */
    struct http_transfer *next, **prev_next;
    void *handle; /* the driver's; NULL: it has let go */
    http_notify_fn notify;
    void *user;

    uint64_t limit_ms[HTTP_TOTAL + 1];
    enum http_phase phase;
    uint64_t since_ms; /* start of the phase, or the last sign of life */
    struct timer clock;
    struct timer total;

    int status; /* of the head that is coming in */
    bool head_done;
    struct buf head; /* name NUL value NUL ... */
    enum http_events want_events;
    bool takes_encoding; /* the request has an Accept-Encoding of its own */
    bool events;
    bool paused;
    bool ended;
    struct http_failure failure;
    size_t max_body;
    size_t received;
    struct buf body; /* bytes, or records of events */
    size_t taken;
    struct sse sse;
    char origin[URL_ORIGIN_MAX];
};

/* An event in the buffer: this, then data NUL type NUL id NUL. */
struct record {
    size_t data_len, type_len, id_len;
};

static size_t unread(const struct http_transfer *t) {
    return t->body.len - t->taken;
}

/* ---- ending ------------------------------------------------------------------------------ */

static void finish(struct http_transfer *t) {
    struct http_client *client = t->client;
    t->ended = true;
    t->handle = NULL;
    timer_stop(client->loop, &t->clock);
    timer_stop(client->loop, &t->total);
    client->transfers_live--;
    loop_op_end(client->loop);
}

/* Keeps the first failure: what comes after it follows from it. */
static enum http_verdict fail(struct http_transfer *t, enum http_error error, const char *what) {
    if (t->failure.error == HTTP_OK)
        http_failure_set(&t->failure, error, "%s: %.200s", t->origin, what);
    return HTTP_STOP;
}

static enum http_verdict fail_memory(struct http_transfer *t) {
    return fail(t, HTTP_ENOMEM, "not enough memory");
}

static void stop_driver(struct http_transfer *t) {
    if (!t->handle) return;
    t->client->driver.stop(t->client->driver.self, t->handle);
    t->handle = NULL;
}

/* ---- clocks ------------------------------------------------------------------------------ */

static void time_out(struct http_transfer *t, enum http_phase phase) {
    static const char *const WORDS[] = {"no connection", "no response", "nothing more came",
                                        "not finished"};
    uint64_t ms = t->limit_ms[phase];
    http_failure_set(&t->failure, HTTP_ETIMEOUT, "%s: %s within %llu ms", t->origin, WORDS[phase],
                     (unsigned long long)ms);
    t->failure.phase = phase;
    t->failure.timeout_ms = ms;
    stop_driver(t);
    finish(t);
    t->notify(t->user);
}

static void on_clock(struct timer *timer, void *user) {
    struct http_transfer *t = user;
    uint64_t now = loop_now_ms(t->client->loop);
    uint64_t limit = t->limit_ms[t->phase];
    if (t->phase == HTTP_BODY && unread(t)) t->since_ms = now; /* it is the reader who is slow */
    uint64_t passed = now - t->since_ms;
    bool over = passed >= limit;
    /* without a clock it could hang for ever, so a timer that cannot start is a timeout too */
    if (!over) over = timer_start(t->client->loop, timer, limit - passed, on_clock, t) != 0;
    if (over) time_out(t, t->phase);
}

static void on_total(struct timer *timer, void *user) {
    (void)timer;
    time_out(user, HTTP_TOTAL);
}

static bool start_phase(struct http_transfer *t, enum http_phase phase) {
    struct loop *loop = t->client->loop;
    t->phase = phase;
    t->since_ms = loop_now_ms(loop);
    timer_stop(loop, &t->clock);
    if (!t->limit_ms[phase]) return true;
    return timer_start(loop, &t->clock, t->limit_ms[phase], on_clock, t) == 0;
}

void http_alive(struct http_transfer *t) {
    if (!t->ended && t->phase == HTTP_BODY) t->since_ms = loop_now_ms(t->client->loop);
}

/* ---- what the driver reports --------------------------------------------------------------- */

enum http_verdict http_on_connected(struct http_transfer *t) {
    if (t->phase != HTTP_CONNECTING) return HTTP_GO_ON; /* a second try on a fresh connection */
    return start_phase(t, HTTP_FIRST_BYTE) ? HTTP_GO_ON : fail_memory(t);
}

enum http_verdict http_on_status(struct http_transfer *t, int status) {
    if (t->head_done) return HTTP_GO_ON;
    t->status = status;
    buf_clear(&t->head);
    return HTTP_GO_ON;
}

enum http_verdict http_on_header(struct http_transfer *t, const char *name, size_t name_len,
                                 const char *value, size_t value_len) {
    if (t->head_done) return HTTP_GO_ON; /* a trailer */
    size_t start = t->head.len;
    int rc = buf_add(&t->head, name, name_len);
    if (rc == BUF_OK) rc = buf_add_char(&t->head, '\0');
    if (rc == BUF_OK) rc = buf_add(&t->head, value, value_len);
    if (rc == BUF_OK) rc = buf_add_char(&t->head, '\0');
    if (rc == BUF_ETOOBIG)
        return fail(t, HTTP_ETOOBIG, "the headers of the response are too large");
    if (rc != BUF_OK) return fail_memory(t);
    char *at = t->head.data + start;
    for (size_t i = 0; i < name_len; i++) at[i] = (char)tolower((unsigned char)at[i]);
    return HTTP_GO_ON;
}

static bool starts_with(const char *text, const char *prefix) {
    return text && strncasecmp(text, prefix, strlen(prefix)) == 0;
}

static bool answers_with_events(const struct http_transfer *t) {
    if (t->want_events == HTTP_EVENTS_OFF || t->status / 100 != 2) return false;
    const char *type = http_header(t, "content-type");
    if (t->want_events == HTTP_EVENTS_ON) return !starts_with(type, "application/json");
    return starts_with(type, "text/event-stream");
}

enum http_verdict http_on_head_end(struct http_transfer *t) {
    if (t->head_done || t->status / 100 == 1) return HTTP_GO_ON;
    t->head_done = true;
    buf_pool_take(&t->client->spare, &t->body);
    t->body.max = SIZE_MAX / 2; /* bounded by HTTP_UNREAD_MAX and one event */
    t->events = answers_with_events(t);
    const char *encoding = http_header(t, "content-encoding");
    if (encoding && *encoding && strcasecmp(encoding, "identity") != 0 && !t->takes_encoding)
        return fail(t, HTTP_EPROTOCOL, "the response is compressed, which was not asked for");
    const char *length = http_header(t, "content-length");
    if (length && !t->events && strtoull(length, NULL, 10) > t->max_body)
        return fail(t, HTTP_ETOOBIG, "the body of the response is larger than the limit");
    if (!start_phase(t, HTTP_BODY)) return fail_memory(t);
    t->notify(t->user);
    return HTTP_GO_ON;
}

/* sse_event_fn; false stops the parser. */
static bool on_event(void *user, const struct sse_event *event) {
    struct http_transfer *t = user;
    struct record record = {event->data_len, event->type_len, event->id_len};
    size_t size = sizeof record + event->data_len + event->type_len + event->id_len + 3;
    if (buf_reserve(&t->body, size) != BUF_OK) {
        fail_memory(t);
        return false;
    }
    buf_add(&t->body, (const char *)&record, sizeof record); /* these cannot fail: there is room */
    buf_add(&t->body, event->data, event->data_len);
    buf_add_char(&t->body, '\0');
    buf_add(&t->body, event->type, event->type_len);
    buf_add_char(&t->body, '\0');
    buf_add(&t->body, event->id, event->id_len);
    buf_add_char(&t->body, '\0');
    return true;
}

static enum http_verdict take_events(struct http_transfer *t, const char *bytes, size_t n) {
    size_t before = t->body.len;
    int rc = sse_feed(&t->sse, bytes, n);
    if (t->body.len != before) t->notify(t->user);
    if (rc == SSE_OK) return HTTP_GO_ON;
    if (rc == SSE_ETOOBIG)
        return fail(t, HTTP_ETOOBIG, "an event of the stream is larger than the limit");
    return fail_memory(t);
}

enum http_verdict http_on_body(struct http_transfer *t, const char *bytes, size_t n) {
    if (unread(t) >= HTTP_UNREAD_MAX) {
        t->paused = true;
        return HTTP_PAUSE;
    }
    if (t->events) return take_events(t, bytes, n);
    if (n > t->max_body - t->received)
        return fail(t, HTTP_ETOOBIG, "the body of the response is larger than the limit");
    if (buf_add(&t->body, bytes, n) != BUF_OK) return fail_memory(t);
    t->received += n;
    t->since_ms = loop_now_ms(t->client->loop);
    t->notify(t->user);
    return HTTP_GO_ON;
}

void http_on_end(struct http_transfer *t, enum http_error error, const char *message) {
    if (error != HTTP_OK) fail(t, error, message && *message ? message : http_error_name(error));
    if (error == HTTP_OK && !t->head_done) fail(t, HTTP_EPROTOCOL, "no response came");
    finish(t);
    t->notify(t->user);
}

/* ---- what the owner pulls ------------------------------------------------------------------ */

int http_status(const struct http_transfer *t) {
    return t->head_done ? t->status : 0;
}

const char *http_header_next(const struct http_transfer *t, const char *name, const char **value) {
    const char *end = t->head.data + t->head.len;
    const char *at = t->head.data;
    if (name) { /* past the name and its value */
        at = name + strlen(name) + 1;
        at += strlen(at) + 1;
    }
    if (!at || at == end) return NULL;
    *value = at + strlen(at) + 1;
    return at;
}

const char *http_header(const struct http_transfer *t, const char *name) {
    const char *value = NULL;
    for (const char *at = NULL; (at = http_header_next(t, at, &value));)
        if (strcmp(at, name) == 0) return value;
    return NULL;
}

bool http_is_events(const struct http_transfer *t) {
    return t->events;
}

bool http_ended(const struct http_transfer *t) {
    return t->ended;
}

const struct http_failure *http_failed(const struct http_transfer *t) {
    return t->ended && t->failure.error != HTTP_OK ? &t->failure : NULL;
}

const char *http_peek(const struct http_transfer *t, size_t *len) {
    *len = t->events ? 0 : unread(t);
    return *len ? t->body.data + t->taken : "";
}

/* Moves the read position; lets the peer go on once half of the room is free. */
static void taken(struct http_transfer *t, size_t len) {
    t->taken += len;
    if (t->taken == t->body.len) {
        buf_clear(&t->body);
        t->taken = 0;
    } else if (t->taken >= COMPACT_AT && t->taken >= t->body.len / 2) {
        buf_consume(&t->body, t->taken);
        t->taken = 0;
    }
    if (!t->paused || t->ended || unread(t) > HTTP_UNREAD_MAX / 2) return;
    t->paused = false;
    t->since_ms = loop_now_ms(t->client->loop);
    t->client->driver.resume(t->client->driver.self, t->handle); /* may call http_on_body */
}

void http_take(struct http_transfer *t, size_t len) {
    assert(!t->events && len <= unread(t));
    taken(t, len);
}

bool http_event(const struct http_transfer *t, struct http_event *event) {
    if (!t->events || !unread(t)) return false;
    struct record record;
    const char *at = t->body.data + t->taken;
    memcpy(&record, at, sizeof record);
    event->data = at + sizeof record;
    event->data_len = record.data_len;
    event->type = event->data + record.data_len + 1;
    event->type_len = record.type_len;
    event->id = event->type + record.type_len + 1;
    event->id_len = record.id_len;
    return true;
}

void http_event_take(struct http_transfer *t) {
    struct record record;
    assert(t->events && unread(t) >= sizeof record);
    memcpy(&record, t->body.data + t->taken, sizeof record);
    taken(t, sizeof record + record.data_len + record.type_len + record.id_len + 3);
}

/* ---- opening and closing ------------------------------------------------------------------- */

static bool has_header(const struct http_request *request, const char *name) {
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[2 * i], name) == 0) return true;
    return false;
}

static struct http_transfer *transfer_new(const struct http_request *request, http_notify_fn fn,
                                          void *user) {
    struct http_transfer *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    struct url url;
    url_parse(&url, request->url); /* http_request_check took it */
    url_origin(&url, t->origin);
    t->notify = fn;
    t->user = user;
    t->limit_ms[HTTP_CONNECTING] = request->connect_ms;
    t->limit_ms[HTTP_FIRST_BYTE] = request->first_byte_ms;
    t->limit_ms[HTTP_BODY] = request->idle_ms;
    t->limit_ms[HTTP_TOTAL] = request->total_ms;
    t->want_events = request->events;
    t->takes_encoding = has_header(request, "accept-encoding");
    t->max_body = request->max_body;
    buf_init(&t->head, HTTP_HEAD_MAX);
    sse_init(&t->sse, request->max_event, on_event, t);
    return t;
}

static void transfer_free(struct http_transfer *t) {
    buf_free(&t->head);
    buf_free(&t->body);
    sse_free(&t->sse);
    free(t);
}

static bool start(struct http_client *client, struct http_transfer *t,
                  const struct http_request *request, struct http_failure *failure) {
    struct loop *loop = client->loop;
    t->client = client;
    if (!start_phase(t, HTTP_CONNECTING) ||
        (request->total_ms && timer_start(loop, &t->total, request->total_ms, on_total, t) != 0)) {
        http_failure_set(failure, HTTP_ENOMEM, "not enough memory");
    } else {
        t->handle = client->driver.start(client->driver.self, request, t, failure);
    }
    if (!t->handle) {
        timer_stop(loop, &t->clock);
        timer_stop(loop, &t->total);
        return false;
    }
    t->next = client->transfers;
    if (t->next) t->next->prev_next = &t->next;
    t->prev_next = &client->transfers;
    client->transfers = t;
    client->transfers_live++;
    client->transfers_open++;
    loop_op_begin(loop);
    return true;
}

static bool load_driver(struct http_client *client, struct http_failure *failure) {
    if (client->has_driver) return true;
    struct http_settings settings = {
        .no_environment = client->no_environment,
        .no_threads = client->no_threads,
        .proxy = client->proxy,
        .no_proxy = client->no_proxy,
        .ca_file = client->ca_file,
    };
    client->has_driver = http_curl_driver(client->loop, &settings, &client->driver, failure);
    return client->has_driver;
}

struct http_transfer *http_open(struct http_client *client, const struct http_request *request,
                                http_notify_fn fn, void *user, struct http_failure *failure) {
    if (!http_request_check(request, failure) || !load_driver(client, failure)) return NULL;
    struct http_transfer *t = transfer_new(request, fn, user);
    if (!t) {
        http_failure_set(failure, HTTP_ENOMEM, "not enough memory");
        return NULL;
    }
    if (start(client, t, request, failure)) return t;
    transfer_free(t);
    return NULL;
}

void http_close(struct http_transfer *t) {
    if (!t) return;
    if (!t->ended) {
        stop_driver(t);
        finish(t);
    }
    if (t->client) {
        *t->prev_next = t->next;
        if (t->next) t->next->prev_next = t->prev_next;
        buf_pool_give(&t->client->spare, &t->body);
        bool busy = --t->client->transfers_open > 0;
        buf_pool_trim(&t->client->spare, busy ? SPARE_BUSY : SPARE_IDLE);
    }
    transfer_free(t);
}

/* ---- the client ---------------------------------------------------------------------------- */

struct http_client *http_client_new(struct loop *loop, const struct http_driver *driver) {
    struct http_client *client = calloc(1, sizeof *client);
    if (!client) return NULL;
    client->loop = loop;
    client->has_driver = driver != NULL;
    if (driver) client->driver = *driver;
    return client;
}

static bool replace(char **place, const char *text) {
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy) return false;
    free(*place);
    *place = copy;
    return true;
}

bool http_client_configure(struct http_client *client, const struct http_settings *settings) {
    if (client->has_driver) return false;
    client->no_environment = settings->no_environment;
    client->no_threads = settings->no_threads;
    return replace(&client->proxy, settings->proxy) &&
           replace(&client->no_proxy, settings->no_proxy) &&
           replace(&client->ca_file, settings->ca_file);
}

void http_client_free(struct http_client *client) {
    if (!client) return;
    while (client->transfers) {
        struct http_transfer *t = client->transfers;
        client->transfers = t->next;
        if (!t->ended) {
            fail(t, HTTP_ENETWORK, "the engine was closed");
            stop_driver(t);
            finish(t);
        }
        t->client = NULL;
    }
    buf_pool_trim(&client->spare, 0);
    if (client->has_driver) client->driver.free(client->driver.self);
    free(client->proxy);
    free(client->no_proxy);
    free(client->ca_file);
    free(client);
}

size_t http_client_transfers(const struct http_client *client) {
    return client->transfers_live;
}

size_t http_client_sockets(const struct http_client *client) {
    if (!client->has_driver || !client->driver.sockets) return 0;
    return client->driver.sockets(client->driver.self);
}
