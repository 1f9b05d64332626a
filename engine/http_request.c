/* http_request.c - what may be sent at all, and the names of errors. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http.h"
#include "url.h"

enum { MAX_METHOD = 20 };

bool http_failure_set(struct http_failure *failure, enum http_error error, const char *format,
                      ...) {
    *failure = (struct http_failure){.error = error};
    va_list args;
    va_start(args, format);
    vsnprintf(failure->message, sizeof failure->message, format, args);
    va_end(args);
    return false;
}

const char *http_error_name(enum http_error error) {
    static const char *const NAMES[] = {
        [HTTP_OK] = "ok",
        [HTTP_EREQUEST] = "request",
        [HTTP_EUNAVAILABLE] = "unavailable",
        [HTTP_ERESOLVE] = "resolve",
        [HTTP_ECONNECT] = "connect",
        [HTTP_ETLS] = "tls",
        [HTTP_ETIMEOUT] = "timeout",
        [HTTP_ENETWORK] = "network",
        [HTTP_EPROTOCOL] = "protocol",
        [HTTP_ETOOBIG] = "too_big",
        [HTTP_ENOMEM] = "no_memory",
    };
    return NAMES[error];
}

const char *http_phase_name(enum http_phase phase) {
    static const char *const NAMES[] = {"connect", "first_byte", "idle", "total"};
    return NAMES[phase];
}

void http_request_defaults(struct http_request *request) {
    if (!request->connect_ms) request->connect_ms = HTTP_CONNECT_MS;
    if (!request->first_byte_ms) request->first_byte_ms = HTTP_FIRST_BYTE_MS;
    if (!request->idle_ms) request->idle_ms = HTTP_IDLE_MS;
    if (!request->max_body) request->max_body = HTTP_MAX_BODY;
    if (!request->max_event) request->max_event = HTTP_MAX_EVENT;
}

/* RFC 9110 5.6.2 */
static bool is_token(const char *text) {
    if (!*text) return false;
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("!#$%&'*+-.^_`|~", *p)) return false;
    return true;
}

/* What a header's value may not hold: RFC 9110 5.5 leaves printable characters, space and tab. */
static bool is_field_value(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f) return false;
    return true;
}

/* The framing of the message is the client's, or two readers could see two messages in it. */
static bool is_ours(const char *name) {
    static const char *const OURS[] = {
        "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te"};
    for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++)
        if (strcasecmp(name, OURS[i]) == 0) return true;
    return false;
}

static bool check_header(const char *name, const char *value, struct http_failure *failure) {
    if (!is_token(name))
        return http_failure_set(
            failure, HTTP_EREQUEST,
            "a header's name may hold letters, digits and !#$%%&'*+-.^_`|~ only");
    if (is_ours(name))
        return http_failure_set(failure, HTTP_EREQUEST,
                                "the header %.40s is set by the HTTP client itself", name);
    if (!is_field_value(value))
        return http_failure_set(failure, HTTP_EREQUEST,
                                "the value of the header %.40s holds a line break or another "
                                "control character",
                                name);
    return true;
}

bool http_request_check(const struct http_request *request, struct http_failure *failure) {
    struct url url;
    const char *why = url_parse(&url, request->url);
    if (why) return http_failure_set(failure, HTTP_EREQUEST, "cannot use this URL: %s", why);
    if (request->proxy && *request->proxy && (why = url_parse_proxy(&url, request->proxy)))
        return http_failure_set(failure, HTTP_EREQUEST, "cannot use this proxy: %s", why);
    const char *method = request->method;
    if (method && (!is_token(method) || strlen(method) > MAX_METHOD))
        return http_failure_set(failure, HTTP_EREQUEST,
                                "an HTTP method is a word of at most %d letters", MAX_METHOD);
    if (method && strcasecmp(method, "CONNECT") == 0)
        return http_failure_set(failure, HTTP_EREQUEST, "the method CONNECT is for proxies only");
    for (size_t i = 0; i < request->header_count; i++)
        if (!check_header(request->headers[2 * i], request->headers[2 * i + 1], failure))
            return false;
    return true;
}
