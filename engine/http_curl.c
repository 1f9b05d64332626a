/* http_curl.c - the HTTP driver on libcurl.
 *
 * A transfer first resolves what it will dial (resolve.h), hands the addresses to curl, and only
 * then is added to the multi handle: curl's own resolver would block the whole loop when such a
 * transfer is removed. What it will dial is the host of the URL, or its proxy; behind a SOCKS proxy
 * that does not resolve itself, both.
 *
 * curl's callbacks only pass bytes on to http.c, which never calls curl from inside them. What curl
 * keeps for us over several transfers: connections, HTTP/2 sessions, TLS sessions, the loaded
 * certificates. What it shall not do: redirects, cookies, netrc, its own clocks, proxy variables.
 *
 * A transfer that is cut off closes its connection. On a connection that carries others too (HTTP/2)
 * its stream is reset, but curl before 8.1 keeps that frame until something else is sent: then
 * another stream of the connection is paused and resumed, which sends what waits. */
#include "http_curl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The version of curl that sends the reset of a stream at once. */
enum { RESETS_AT_ONCE = 0x080100 };

enum { KEY_MAX = URL_HOST_MAX + 8 };

/* ---- curl's callbacks ---------------------------------------------------------------------- */

/* CURLOPT_PREREQFUNCTION: connected, TLS and tunnels included. */
static int on_connected(void *user, char *ip, char *local_ip, int port, int local_port) {
    (void)ip;
    (void)local_ip;
    struct curl_transfer *transfer = user;
    if (!transfer->connected) {
        struct curl_driver *driver = transfer->driver;
        transfer->connected = true;
        transfer->next = driver->connected;
        if (transfer->next) transfer->next->prev_next = &transfer->next;
        transfer->prev_next = &driver->connected;
        driver->connected = transfer;
    }
    transfer->local_port = local_port;
    transfer->remote_port = port;
    return http_on_connected(transfer->owner) == HTTP_GO_ON ? CURL_PREREQFUNC_OK
                                                            : CURL_PREREQFUNC_ABORT;
}

static enum http_verdict take_header(struct http_transfer *owner, const char *line, size_t len) {
    const char *colon = memchr(line, ':', len);
    if (!colon || isspace((unsigned char)*line)) return HTTP_GO_ON; /* no field, or a folded one */
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
    return http_on_header(owner, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* CURLOPT_HEADERFUNCTION: one line, the status line and the empty one included. */
static size_t on_header(char *line, size_t size, size_t count, void *user) {
    struct curl_transfer *transfer = user;
    size_t len = size * count, given = len;
    while (len && (line[len - 1] == '\n' || line[len - 1] == '\r')) len--;
    enum http_verdict verdict;
    if (len == 0) {
        verdict = http_on_head_end(transfer->owner);
    } else if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        const char *space = memchr(line, ' ', len);
        char digits[4] = "";
        if (space && line + len - space >= 4) memcpy(digits, space + 1, 3);
        verdict = http_on_status(transfer->owner, atoi(digits));
    } else {
        verdict = take_header(transfer->owner, line, len);
    }
    return verdict == HTTP_GO_ON ? given : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    struct curl_transfer *transfer = user;
    size_t len = size * count;
    switch (http_on_body(transfer->owner, bytes, len)) {
    case HTTP_GO_ON: return len;
    case HTTP_PAUSE: transfer->paused = true; return CURL_WRITEFUNC_PAUSE;
    default: return CURL_WRITEFUNC_ERROR;
    }
}

/* ---- the end ------------------------------------------------------------------------------- */

static void transfer_free(struct curl_transfer *transfer) {
    const struct curl_api *curl = transfer->driver->curl;
    for (int i = 0; i < transfer->name_count; i++) lookup_stop(&transfer->names[i].lookup);
    if (transfer->started) curl_loop_stop(transfer->driver->connections, transfer->easy);
    if (transfer->connected) {
        *transfer->prev_next = transfer->next;
        if (transfer->next) transfer->next->prev_next = transfer->prev_next;
    }
    if (transfer->easy) curl->easy_cleanup(transfer->easy);
    curl->slist_free_all(transfer->headers);
    curl->slist_free_all(transfer->addresses);
    free(transfer);
}

static enum http_error classify(const struct curl_transfer *transfer, CURLcode code) {
    switch (code) {
    case CURLE_OK: return HTTP_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: return HTTP_ERESOLVE;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY: return HTTP_ECONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_USE_SSL_FAILED: return HTTP_ETLS;
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 is one */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING: return HTTP_EPROTOCOL;
    case CURLE_HTTP2: /* mostly a server that shuts down: GOAWAY, a stream refused or reset */
    case CURLE_HTTP2_STREAM: return HTTP_ENETWORK;
    case CURLE_OUT_OF_MEMORY: /* so says curl 7.88 of a header line above 100 kB, too */
        return http_status(transfer->owner) ? HTTP_ENOMEM : HTTP_ETOOBIG;
    default: return transfer->connected ? HTTP_ENETWORK : HTTP_ECONNECT;
    }
}

static void describe(const struct curl_transfer *transfer, CURLcode code, enum http_error error,
                     char *text, size_t size) {
    const struct curl_api *curl = transfer->driver->curl;
    long cause = 0;
    curl->easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &cause);
    if (code == CURLE_COULDNT_CONNECT && cause)
        snprintf(text, size, "could not connect (%s)", strerror((int)cause));
    else if (code == CURLE_PARTIAL_FILE)
        snprintf(text, size, "the connection was closed before the response was complete");
    else if (code == CURLE_GOT_NOTHING)
        snprintf(text, size, "the connection was closed before a response came");
    else if (code == CURLE_OUT_OF_MEMORY && error == HTTP_ETOOBIG)
        snprintf(text, size, "a header of the response is too large");
    else
        snprintf(text, size, "%s",
                 transfer->error[0] ? transfer->error : curl->easy_strerror(code));
}

/* Tells the owner and is gone. */
static void transfer_end(struct curl_transfer *transfer, enum http_error error, const char *text) {
    struct http_transfer *owner = transfer->owner;
    transfer_free(transfer);
    http_on_end(owner, error, text);
}

static void end_with_code(struct curl_transfer *transfer, CURLcode code) {
    char text[CURL_ERROR_SIZE + 64] = "";
    enum http_error error = classify(transfer, code);
    if (error != HTTP_OK) describe(transfer, code, error, text, sizeof text);
    transfer_end(transfer, error, text);
}

/* curl_done_fn: it is off the multi handle already. */
static void on_done(void *private_data, CURL *easy, CURLcode code) {
    (void)easy;
    struct curl_transfer *transfer = private_data;
    transfer->started = false;
    end_with_code(transfer, code);
}

/* ---- resolving and starting ---------------------------------------------------------------- */

/* All names are known: hands them to curl, and the transfer starts. */
static bool launch(struct curl_transfer *transfer) {
    const struct curl_api *curl = transfer->driver->curl;
    if (transfer->addresses &&
        curl->easy_setopt(transfer->easy, CURLOPT_RESOLVE, transfer->addresses) != CURLE_OK)
        return false;
    transfer->started = curl_loop_start(transfer->driver->connections, transfer->easy);
    return transfer->started;
}

/* "host:port:address,address", for CURLOPT_RESOLVE */
static bool note_addresses(struct curl_transfer *transfer, const struct curl_name *name) {
    const char *addresses = name->lookup.addresses;
    if (!*addresses) return true;
    size_t size = KEY_MAX + strlen(addresses) + 2;
    char *line = malloc(size);
    if (!line) return false;
    snprintf(line, size, "%s:%u:%s", name->host, name->port, addresses);
    bool ok = curl_list_add(transfer->driver->curl, &transfer->addresses, line);
    free(line);
    return ok;
}

/* lookup_fn */
static void on_found(struct lookup *lookup, void *user) {
    struct curl_transfer *transfer = user;
    struct curl_name *name = (struct curl_name *)lookup; /* its first member */
    if (lookup->error) {
        char text[URL_HOST_MAX + 100];
        snprintf(text, sizeof text, "could not resolve the name %.200s (%s)", name->host,
                 lookup->error);
        transfer_end(transfer, HTTP_ERESOLVE, text);
        return;
    }
    bool ok = note_addresses(transfer, name);
    transfer->names_missing--;
    if (ok && transfer->names_missing == 0) ok = launch(transfer);
    if (!ok) transfer_end(transfer, HTTP_ENOMEM, "not enough memory");
}

/* False: failure tells why, when it is not lack of memory. */
static bool resolve_names(struct curl_transfer *transfer, struct http_failure *failure) {
    for (int i = 0; i < transfer->name_count; i++) {
        struct curl_name *name = &transfer->names[i];
        int rc = resolver_find(transfer->driver->resolver, &name->lookup, name->host, on_found,
                               transfer);
        if (rc == RESOLVE_ENOMEM) return false;
        if (rc == RESOLVE_FORBIDDEN)
            return http_failure_set(
                failure, HTTP_ERESOLVE,
                "could not resolve the name %.200s (the host allows no threads: "
                "use an address, or a transport of its own)",
                name->host);
        if (rc == RESOLVE_LATER) transfer->names_missing++;
        else if (!note_addresses(transfer, name)) return false;
    }
    return transfer->names_missing > 0 || launch(transfer);
}

static CURLcode set_callbacks(struct curl_transfer *transfer) {
    const struct curl_api *curl = transfer->driver->curl;
    CURL *easy = transfer->easy;
    CURLcode rc = CURLE_OK;
    rc |= curl->easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    rc |= curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    rc |= curl->easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
    rc |= curl->easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    rc |= curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    rc |= curl->easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    rc |= curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    rc |= curl->easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    return rc;
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void *driver_start(void *self, const struct http_request *request, struct http_transfer *t,
                          struct http_failure *failure) {
    struct curl_driver *driver = self;
    http_failure_set(failure, HTTP_ENOMEM, "not enough memory");
    struct curl_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer) return NULL;
    transfer->driver = driver;
    transfer->owner = t;
    transfer->easy = driver->curl->easy_init();
    if (transfer->easy && set_callbacks(transfer) == CURLE_OK &&
        curl_transfer_setup(transfer, request, failure) && resolve_names(transfer, failure))
        return transfer;
    transfer_free(transfer);
    return NULL;
}

/* Another transfer on the same connection that can be paused and resumed, or NULL. */
static struct curl_transfer *find_sibling(const struct curl_transfer *transfer) {
    if (!transfer->connected) return NULL;
    for (struct curl_transfer *at = transfer->driver->connected; at; at = at->next)
        if (at != transfer && !at->paused && at->local_port == transfer->local_port &&
            at->remote_port == transfer->remote_port)
            return at;
    return NULL;
}

static void driver_stop(void *self, void *handle) {
    struct curl_driver *driver = self;
    struct curl_transfer *transfer = handle;
    const struct curl_api *curl = driver->curl;
    struct curl_transfer *sibling = find_sibling(transfer);
    curl->easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, 1L); /* close it if nobody shares it */
    transfer_free(transfer);
    if (!sibling || curl->version->version_num >= RESETS_AT_ONCE) return;
    CURLcode code = curl->easy_pause(sibling->easy, CURLPAUSE_RECV);
    if (code == CURLE_OK) code = curl->easy_pause(sibling->easy, CURLPAUSE_CONT);
    if (code != CURLE_OK) end_with_code(sibling, code);
}

/* Calls on_body for what curl has kept, right here. */
static void driver_resume(void *self, void *handle) {
    struct curl_driver *driver = self;
    struct curl_transfer *transfer = handle;
    transfer->paused = false;
    CURLcode code = driver->curl->easy_pause(transfer->easy, CURLPAUSE_CONT);
    if (code != CURLE_OK) end_with_code(transfer, code);
}

static size_t driver_sockets(void *self) {
    struct curl_driver *driver = self;
    return curl_loop_sockets(driver->connections);
}

static void driver_free(void *self) {
    struct curl_driver *driver = self;
    curl_loop_free(driver->connections);
    resolver_free(driver->resolver);
    proxy_rules_free(&driver->rules);
    free(driver->ca_file);
    free(driver->ca_dir);
    free(driver);
}

/* A setting, or else the variable; *out stays NULL when there is neither. */
static bool choose(char **out, const char *setting, const char *variable) {
    if (!setting && variable) setting = getenv(variable);
    if (!setting || !*setting) return true;
    *out = strdup(setting);
    return *out != NULL;
}

static bool apply_settings(struct curl_driver *driver, const struct http_settings *settings) {
    bool environment = !settings->no_environment;
    if (!proxy_rules_init(&driver->rules, environment)) return false;
    if (settings->proxy && !proxy_rules_set(&driver->rules, settings->proxy, settings->no_proxy))
        return false;
    if (!choose(&driver->ca_file, settings->ca_file, environment ? "CURL_CA_BUNDLE" : NULL))
        return false;
    if (!environment || driver->ca_file) return true;
    return choose(&driver->ca_file, NULL, "SSL_CERT_FILE") &&
           choose(&driver->ca_dir, NULL, "SSL_CERT_DIR");
}

bool http_curl_driver(struct loop *loop, const struct http_settings *settings,
                      struct http_driver *out, struct http_failure *failure) {
    const char *why;
    const struct curl_api *curl = curl_api_get(&why);
    if (!curl) return http_failure_set(failure, HTTP_EUNAVAILABLE, "%s", why);
    http_failure_set(failure, HTTP_ENOMEM, "not enough memory");
    struct curl_driver *driver = calloc(1, sizeof *driver);
    if (!driver) return false;
    driver->loop = loop;
    driver->curl = curl;
    driver->connections = curl_loop_new(loop, curl, on_done);
    driver->resolver = resolver_new(loop);
    if (driver->resolver && settings->no_threads) resolver_forbid(driver->resolver);
    if (!driver->connections || !driver->resolver || !apply_settings(driver, settings)) {
        driver_free(driver);
        return false;
    }
    *out = (struct http_driver){
        .self = driver,
        .start = driver_start,
        .stop = driver_stop,
        .resume = driver_resume,
        .free = driver_free,
        .sockets = driver_sockets,
    };
    return true;
}
