/* url.h - takes http and https URLs apart, strictly.
 *
 *     struct url url;
 *     const char *why = url_parse(&url, "https://api.example.com:8443/v1/chat?x=1");
 *     if (why) ...                                   // a sentence that says what is allowed
 *     url.host                                       // "api.example.com", url.port 8443
 *
 * Strict on purpose: what we resolve, what a proxy rule is matched against and what the HTTP
 * library dials must be the same host, so anything two parsers could read differently (control
 * characters, backslashes, two `@`, percent escapes in the host) is refused. */
#ifndef HARNESS_ENGINE_URL_H
#define HARNESS_ENGINE_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { URL_SCHEME_MAX = 15, URL_HOST_MAX = 255, URL_ORIGIN_MAX = 300 };

struct url {
    char scheme[URL_SCHEME_MAX + 1]; /* lower case */
    char host[URL_HOST_MAX + 1];     /* lower case, an IPv6 address without its brackets */
    uint16_t port;                   /* the scheme's own when the URL names none */
    bool has_port;                   /* the URL names one */
    bool ipv6;
    const char *userinfo; /* in the text that was parsed; NULL: none */
    size_t userinfo_len;
    const char *path; /* in the text: path and query, without fragment */
    size_t path_len;
};

/* Parses an http or https URL. Returns NULL, or a sentence for a person (static) that never holds
 * a piece of the URL, since URLs may carry secrets. */
const char *url_parse(struct url *url, const char *text);

/* The same for the URL of a proxy: the scheme may be missing (then http) or be one of http, https,
 * socks4, socks4a, socks5, socks5h; without a port it is 1080 (https: 443), as curl has it. */
const char *url_parse_proxy(struct url *url, const char *text);

/* Writes "scheme://host:port" (the port only when the URL names one): fit for messages and logs,
 * free of credentials, paths and queries. Returns out. */
char *url_origin(const struct url *url, char out[URL_ORIGIN_MAX]);

#endif
