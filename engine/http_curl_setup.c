/* http_curl_setup.c - one easy handle's options. Everything that curl would otherwise take from the
 * environment or decide by itself is set: proxies, certificates, redirects, protocols. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_curl.h"

enum { A_DAY_MS = 24 * 3600 * 1000 };

bool curl_list_add(const struct curl_api *curl, struct curl_slist **list, const char *text) {
    struct curl_slist *longer = curl->slist_append(*list, text);
    if (!longer) return false; /* the list is still the caller's */
    *list = longer;
    return true;
}

static bool has_header(const struct http_request *request, const char *name) {
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[2 * i], name) == 0) return true;
    return false;
}

/* "Name: value"; curl wants "Name;" for an empty value and takes "Name:" as "do not send". */
static bool add_header(struct curl_transfer *transfer, const char *name, const char *value) {
    size_t size = strlen(name) + strlen(value) + 3;
    char *line = malloc(size);
    if (!line) return false;
    if (*value) snprintf(line, size, "%s: %s", name, value);
    else snprintf(line, size, "%s;", name);
    bool ok = curl_list_add(transfer->driver->curl, &transfer->headers, line);
    free(line);
    return ok;
}

static bool set_headers(struct curl_transfer *transfer, const struct http_request *request) {
    const struct curl_api *curl = transfer->driver->curl;
    for (size_t i = 0; i < request->header_count; i++)
        if (!add_header(transfer, request->headers[2 * i], request->headers[2 * i + 1]))
            return false;
    /* curl would wait a second for "100 Continue", and call every body a form */
    if (!curl_list_add(curl, &transfer->headers, "Expect:")) return false;
    if (!has_header(request, "content-type") &&
        !curl_list_add(curl, &transfer->headers, "Content-Type:"))
        return false;
    return curl->easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

static CURLcode set_method(const struct curl_api *curl, CURL *easy,
                           const struct http_request *request) {
    const char *method = request->method ? request->method : request->body ? "POST" : "GET";
    CURLcode rc = CURLE_OK;
    bool post = strcmp(method, "POST") == 0;
    if (request->body || post) {
        rc |= curl->easy_setopt(easy, CURLOPT_POST, 1L);
        rc |= curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
        rc |= curl->easy_setopt(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
    }
    bool usual = post || (strcmp(method, "GET") == 0 && !request->body);
    if (strcmp(method, "HEAD") == 0) rc |= curl->easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (!usual) rc |= curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    return rc;
}

/* Without a CAPATH beside it, curl can keep the parsed certificates for the next connection, which
 * saves 10 ms of CPU each. */
static CURLcode set_tls(const struct curl_driver *driver, CURL *easy, const char *ca_file) {
    const struct curl_api *curl = driver->curl;
    if (!ca_file) ca_file = driver->ca_file;
    bool has_file = ca_file || driver->curl->version->cainfo;
    CURLcode rc = CURLE_OK;
    rc |= curl->easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    rc |= curl->easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    rc |= curl->easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (ca_file) {
        rc |= curl->easy_setopt(easy, CURLOPT_CAINFO, ca_file);
        rc |= curl->easy_setopt(easy, CURLOPT_PROXY_CAINFO, ca_file);
    }
    if (has_file || driver->ca_dir) {
        rc |= curl->easy_setopt(easy, CURLOPT_CAPATH, driver->ca_dir);
        rc |= curl->easy_setopt(easy, CURLOPT_PROXY_CAPATH, driver->ca_dir);
    }
    return rc;
}

static CURLcode set_connection(const struct curl_driver *driver, CURL *easy, bool secure) {
    const struct curl_api *curl = driver->curl;
    CURLcode rc = CURLE_OK;
    rc |= curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    rc |= curl->easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    rc |= curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    rc |= curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    rc |= curl->easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    rc |= curl->easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    rc |= curl->easy_setopt(easy, CURLOPT_USERAGENT, "harness-lua");
    rc |= curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)A_DAY_MS); /* ours is shorter */
    /* Over plain TCP nobody speaks HTTP/2 to us, and a transfer that waits to share a connection
     * would wait for the first one's answer. */
    bool http2 = secure && (curl->version->features & CURL_VERSION_HTTP2);
    rc |= curl->easy_setopt(easy, CURLOPT_HTTP_VERSION,
                            (long)(http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    rc |= curl->easy_setopt(easy, CURLOPT_PIPEWAIT, http2 ? 1L : 0L);
    return rc;
}

static void add_name(struct curl_transfer *transfer, const struct url *url) {
    struct curl_name *name = &transfer->names[transfer->name_count++];
    memcpy(name->host, url->host, sizeof name->host);
    name->port = url->port;
}

/* Chooses the proxy, and notes the names that are to be resolved. */
static bool set_route(struct curl_transfer *transfer, const struct http_request *request,
                      const struct url *url, struct http_failure *failure) {
    const struct curl_driver *driver = transfer->driver;
    const struct curl_api *curl = driver->curl;
    const char *proxy = request->proxy ? request->proxy : proxy_for(&driver->rules, url);
    if (proxy && !*proxy) proxy = NULL;
    /* both set, so that curl looks at no variable */
    CURLcode rc = curl->easy_setopt(transfer->easy, CURLOPT_PROXY, proxy ? proxy : "");
    rc |= curl->easy_setopt(transfer->easy, CURLOPT_NOPROXY, "");
    if (rc != CURLE_OK) return http_failure_set(failure, HTTP_ENOMEM, "not enough memory");
    if (!proxy) {
        add_name(transfer, url);
        return true;
    }
    struct url proxy_url;
    const char *why = url_parse_proxy(&proxy_url, proxy);
    if (why)
        return http_failure_set(failure, HTTP_EREQUEST, "cannot use the configured proxy: %s", why);
    add_name(transfer, &proxy_url);
    bool names_here =
        strcmp(proxy_url.scheme, "socks4") == 0 || strcmp(proxy_url.scheme, "socks5") == 0;
    if (names_here) add_name(transfer, url);
    return true;
}

bool curl_transfer_setup(struct curl_transfer *transfer, const struct http_request *request,
                         struct http_failure *failure) {
    const struct curl_driver *driver = transfer->driver;
    CURL *easy = transfer->easy;
    struct url url;
    const char *why = url_parse(&url, request->url);
    if (why) return http_failure_set(failure, HTTP_EREQUEST, "cannot use this URL: %s", why);
    CURLcode rc = driver->curl->easy_setopt(easy, CURLOPT_URL, request->url);
    rc |= set_connection(driver, easy, strcmp(url.scheme, "https") == 0);
    rc |= set_tls(driver, easy, request->ca_file);
    rc |= set_method(driver->curl, easy, request);
    if (rc != CURLE_OK || !set_headers(transfer, request))
        return http_failure_set(failure, HTTP_ENOMEM, "the HTTP library refused the request");
    return set_route(transfer, request, &url, failure);
}
