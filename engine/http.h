/* http.h - the HTTP client: transfers that are pulled, bounded in memory and in time.
 *
 *     struct http_client *client = http_client_new(loop, NULL);
 *     struct http_failure failure;
 *     struct http_request request = {.url = "https://api.example.com/v1/x", .body = json,
 *                                    .body_len = n, .headers = pairs, .header_count = 2};
 *     http_request_defaults(&request);
 *     struct http_transfer *t = http_open(client, &request, on_news, user, &failure);
 *     // on_news: something came; look at the transfer from the outside, not from in there
 *     if (http_status(t)) ...                       // the head of the response is there
 *     const char *bytes = http_peek(t, &n);         // what has come and was not taken yet
 *     http_take(t, n);
 *     if (http_ended(t) && http_failed(t)) puts(http_failed(t)->message);
 *     http_close(t);                                // at any time; an unfinished one is cut off
 *     http_client_free(client);
 *
 * A transfer ends by itself in success or with one http_failure. It stays readable until
 * http_close. What came before a failure can be read before the failure is looked at.
 *
 * Memory: at most HTTP_UNREAD_MAX bytes wait for the reader (then the peer is made to wait), one
 * response at most max_body, one event at most max_event, all headers at most HTTP_HEAD_MAX.
 * Time: the clocks of struct http_request, all on the engine's clock.
 *
 * A response whose Content-Type is text/event-stream is taken apart into events (see sse.h), which
 * are pulled by http_event.
 *
 * The client is made of two halves. This one (http.c) holds what every HTTP library would have to
 * do the same way: limits, clocks, buffering, events, errors. Below it a driver moves bytes; ours
 * is http_curl.c, and a host may bring its own: see struct http_driver. One thread only. */
#ifndef HARNESS_ENGINE_HTTP_H
#define HARNESS_ENGINE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

enum {
    HTTP_CONNECT_MS = 10000,
    HTTP_FIRST_BYTE_MS = 120000,
    HTTP_IDLE_MS = 90000,
    HTTP_MAX_BODY = 64 << 20,
    HTTP_MAX_EVENT = 4 << 20,
    HTTP_UNREAD_MAX = 1 << 20,
    HTTP_HEAD_MAX = 256 << 10,
};

struct http_client;
struct http_transfer;

enum http_error {
    HTTP_OK,
    HTTP_EREQUEST,     /* refused before anything was sent: URL, method or header */
    HTTP_EUNAVAILABLE, /* no HTTP library */
    HTTP_ERESOLVE,
    HTTP_ECONNECT,
    HTTP_ETLS,
    HTTP_ETIMEOUT,  /* failure.phase and failure.timeout_ms tell which clock */
    HTTP_ENETWORK,  /* the connection broke */
    HTTP_EPROTOCOL, /* what came is not HTTP */
    HTTP_ETOOBIG,
    HTTP_ENOMEM,
};

/* What a transfer is waiting for; each has its clock. */
enum http_phase { HTTP_CONNECTING, HTTP_FIRST_BYTE, HTTP_BODY, HTTP_TOTAL };

struct http_failure {
    enum http_error error;
    enum http_phase phase;
    uint64_t timeout_ms;
    char message[300]; /* one line for a person; names scheme, host and port of the URL at most */
};

/* Fills it in; returns false, for `return http_failure_set(...)`. */
bool http_failure_set(struct http_failure *failure, enum http_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "resolve", "connect", "tls", ...; "connect", "first_byte", "idle", "total". */
const char *http_error_name(enum http_error error);
const char *http_phase_name(enum http_phase phase);

enum http_events {
    HTTP_EVENTS_AUTO, /* by the Content-Type of a response with status 2xx */
    HTTP_EVENTS_ON,   /* 2xx responses are event streams, unless they are application/json */
    HTTP_EVENTS_OFF,
};

struct http_request {
    const char *method; /* NULL: GET, with a body POST */
    const char *url;
    const char *const *headers; /* name, value, name, value, ... */
    size_t header_count;        /* of pairs */
    const char *body;           /* borrowed until http_close; NULL: none */
    size_t body_len;
    enum http_events events;
    /* The clocks, in milliseconds, 0: none. Resolving, connecting and TLS; from there to the end
     * of the response's head; between two pieces of the body (of an event stream: between two calls
     * of http_alive; a reader that has unread data stops this clock); and all in all. */
    uint64_t connect_ms;
    uint64_t first_byte_ms;
    uint64_t idle_ms;
    uint64_t total_ms;
    size_t max_body;     /* of a response that is no event stream */
    size_t max_event;    /* bytes of data of one event */
    const char *ca_file; /* PEM file to trust instead of the system's; NULL: the client's */
    const char *proxy;   /* NULL: as the client's rules say; "": none; else a proxy's URL */
};

/* Sets clocks and limits that are 0 to the values at the top of this file (total_ms stays 0). For
 * "no clock" set them to 0 afterwards. */
void http_request_defaults(struct http_request *request);
/* Could it be sent? http_open asks first. Refused are what is no http or https URL, a method that is
 * no token, header names that are none, values with control characters (CR and LF would smuggle in
 * another header), and the headers that the client itself sets. */
bool http_request_check(const struct http_request *request, struct http_failure *failure);

/* Something came: head, bytes, an event, the end. Called from within the loop, possibly from
 * inside the HTTP library: it may note that and queue tokens, not call functions of this file. */
typedef void (*http_notify_fn)(void *user);

/* Settings of a client; all zero is what a program wants. Copied. */
struct http_settings {
    bool no_environment;  /* ignore *_proxy, no_proxy, SSL_CERT_FILE, CURL_CA_BUNDLE */
    bool no_threads;      /* resolve no names: libuv does that on threads. Addresses work */
    const char *proxy;    /* for every request; NULL: none but the environment's; "": none */
    const char *no_proxy; /* hosts that are dialled directly, only together with proxy */
    const char *ca_file;
};

struct http_driver;

/* driver: NULL for libcurl, which is loaded at the first http_open; else it is copied, and freed
 * with the client. Returns NULL when there is no memory. */
struct http_client *http_client_new(struct loop *loop, const struct http_driver *driver);
/* Ends all transfers (they stay readable, and their owners close them, before or after), frees all
 * else. */
void http_client_free(struct http_client *client);
/* Only before the first http_open: returns false afterwards, or when there is no memory. */
bool http_client_configure(struct http_client *client, const struct http_settings *settings);

/* Transfers under way, and sockets held open, idle ones included. */
size_t http_client_transfers(const struct http_client *client);
size_t http_client_sockets(const struct http_client *client);

/* Starts a transfer. Returns NULL, with failure filled in, when it is refused. */
struct http_transfer *http_open(struct http_client *client, const struct http_request *request,
                                http_notify_fn fn, void *user, struct http_failure *failure);
/* Ends and frees it; NULL is allowed. The socket of an unfinished one is closed at once, the
 * connection of a finished one is kept for the next. */
void http_close(struct http_transfer *t);

/* The status, 0 until the whole head has come. */
int http_status(const struct http_transfer *t);
/* Walks the headers: pass NULL first, then what was returned before. Names are in lower case.
 * Returns the name, or NULL at the end; *value is set. */
const char *http_header_next(const struct http_transfer *t, const char *name, const char **value);
/* The first header of that (lower-case) name, or NULL. */
const char *http_header(const struct http_transfer *t, const char *name);
bool http_is_events(const struct http_transfer *t);

bool http_ended(const struct http_transfer *t);
/* NULL when it ended well, or has not ended. */
const struct http_failure *http_failed(const struct http_transfer *t);

/* Body bytes that have come and were not taken; valid until the next call on t or turn of the
 * loop. */
const char *http_peek(const struct http_transfer *t, size_t *len);
void http_take(struct http_transfer *t, size_t len);

/* The next event of an event stream; false: none is there. Valid until http_event_take (which
 * removes it) or the next turn of the loop. Strings are followed by a NUL that is not theirs. */
struct http_event {
    const char *data;
    size_t data_len;
    const char *type; /* "message" when the event names none */
    size_t type_len;
    const char *id;
    size_t id_len;
};
bool http_event(const struct http_transfer *t, struct http_event *event);
void http_event_take(struct http_transfer *t);

/* The reader says that what it took was content (a comment or a ping is not): the idle clock starts
 * anew. */
void http_alive(struct http_transfer *t);

/* ---- the seam: a driver moves the bytes ---------------------------------------------------- */

/* What the driver's functions get to know; the request is borrowed until start returns (but its
 * body until the transfer has ended). */
struct http_driver {
    void *self;
    /* Starts a transfer and returns a handle for it, or NULL with failure filled in. It reports by
     * the http_on_ functions below, never from inside start. Never follows redirects, keeps no
     * cookies, verifies TLS. Need not look at clocks and limits. */
    void *(*start)(void *self, const struct http_request *request, struct http_transfer *t,
                   struct http_failure *failure);
    /* Ends an unfinished transfer at once, without reporting. */
    void (*stop)(void *self, void *handle);
    /* After http_on_body has said HTTP_PAUSE: there is room again; deliver the same bytes again,
     * now or later. */
    void (*resume)(void *self, void *handle);
    void (*free)(void *self);      /* after all transfers have ended */
    size_t (*sockets)(void *self); /* for leak checks; may be NULL */
};

enum http_verdict {
    HTTP_GO_ON,
    HTTP_PAUSE, /* nothing was taken */
    HTTP_STOP,  /* the transfer has failed: end it and report http_on_end */
};

/* Connected, TLS included; the request goes out. */
enum http_verdict http_on_connected(struct http_transfer *t);
/* A status line; then each header; then the end of that head. A 1xx head may come before. */
enum http_verdict http_on_status(struct http_transfer *t, int status);
enum http_verdict http_on_header(struct http_transfer *t, const char *name, size_t name_len,
                                 const char *value, size_t value_len);
enum http_verdict http_on_head_end(struct http_transfer *t);
enum http_verdict http_on_body(struct http_transfer *t, const char *bytes, size_t n);
/* The last report: HTTP_OK, or why not (message may be NULL). The handle is gone. */
void http_on_end(struct http_transfer *t, enum http_error error, const char *message);

/* The driver on libcurl (http_curl.c): fills *driver, or failure and returns false. */
bool http_curl_driver(struct loop *loop, const struct http_settings *settings,
                      struct http_driver *driver, struct http_failure *failure);

#endif
