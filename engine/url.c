/* url.c - one pass over the authority, by RFC 3986 with the lenient parts left out. */
#include "url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_host_char(unsigned char c) {
    return isalnum(c) || c == '.' || c == '-' || c == '_';
}

static const char *check_bytes(const char *text) {
    for (const char *p = text; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f)
            return "a URL may hold printable ASCII characters only: percent-encode the others";
        if (*p == '\\') return "a URL may not hold a backslash";
    }
    return NULL;
}

static const char *take_scheme(struct url *url, const char **at) {
    const char *colon = strstr(*at, "://");
    size_t len = colon ? (size_t)(colon - *at) : 0;
    if (!colon || len == 0 || len > URL_SCHEME_MAX) return "a URL starts with http:// or https://";
    for (size_t i = 0; i < len; i++) url->scheme[i] = (char)tolower((unsigned char)(*at)[i]);
    url->scheme[len] = '\0';
    *at = colon + 3;
    return NULL;
}

static const char *take_host(struct url *url, const char *from, const char *end,
                             const char **rest) {
    const char *stop = from;
    if (from < end && *from == '[') {
        const char *bracket = memchr(from, ']', (size_t)(end - from));
        if (!bracket) return "an IPv6 address in a URL ends with ]";
        url->ipv6 = true;
        from++;
        stop = bracket;
        *rest = bracket + 1;
    } else {
        while (stop < end && is_host_char((unsigned char)*stop)) stop++;
        *rest = stop;
    }
    size_t len = (size_t)(stop - from);
    if (len == 0) return "a URL names a host after ://";
    if (len > URL_HOST_MAX) return "the host name of the URL is too long";
    for (size_t i = 0; i < len; i++) url->host[i] = (char)tolower((unsigned char)from[i]);
    url->host[len] = '\0';
    struct in6_addr address;
    if (url->ipv6 && inet_pton(AF_INET6, url->host, &address) != 1)
        return "the address in brackets is not an IPv6 address";
    return NULL;
}

static const char *take_port(struct url *url, const char *at, const char *end) {
    if (at == end) return NULL;
    if (*at++ != ':') return "the host of a URL is made of letters, digits, '.', '-' and '_'";
    if (at == end) return NULL; /* "host:" is the scheme's own port */
    unsigned port = 0;
    for (; at < end; at++) {
        if (!isdigit((unsigned char)*at)) return "the port of a URL is a number";
        port = port * 10 + (unsigned)(*at - '0');
        if (port > 65535) return "the port of a URL is at most 65535";
    }
    if (port == 0) return "the port of a URL is at least 1";
    url->port = (uint16_t)port;
    url->has_port = true;
    return NULL;
}

/* [userinfo@]host[:port] up to the path */
static const char *take_authority(struct url *url, const char *at) {
    const char *end = at + strcspn(at, "/?#");
    const char *sign = memchr(at, '@', (size_t)(end - at));
    if (sign) {
        url->userinfo = at;
        url->userinfo_len = (size_t)(sign - at);
        at = sign + 1;
        if (memchr(at, '@', (size_t)(end - at))) return "a URL may hold one @ before its path";
    }
    const char *rest = at;
    const char *why = take_host(url, at, end, &rest);
    if (!why) why = take_port(url, rest, end);
    if (why) return why;
    url->path = end;
    url->path_len = strcspn(end, "#");
    return NULL;
}

const char *url_parse(struct url *url, const char *text) {
    *url = (struct url){0};
    const char *why = check_bytes(text);
    if (!why) why = take_scheme(url, &text);
    if (why) return why;
    bool secure = strcmp(url->scheme, "https") == 0;
    if (!secure && strcmp(url->scheme, "http") != 0) return "a URL starts with http:// or https://";
    url->port = secure ? 443 : 80;
    return take_authority(url, text);
}

const char *url_parse_proxy(struct url *url, const char *text) {
    static const char *const SCHEMES[] = {"http",    "https",  "socks4",
                                          "socks4a", "socks5", "socks5h"};
    *url = (struct url){0};
    const char *why = check_bytes(text);
    if (why) return why;
    if (!strstr(text, "://")) strcpy(url->scheme, "http");
    else if ((why = take_scheme(url, &text))) return why;
    url->port = strcmp(url->scheme, "https") == 0 ? 443 : 1080;
    for (size_t i = 0; i < sizeof SCHEMES / sizeof *SCHEMES; i++)
        if (strcmp(url->scheme, SCHEMES[i]) == 0) return take_authority(url, text);
    return "a proxy is http://, https://, socks4://, socks4a://, socks5:// or socks5h://";
}

char *url_origin(const struct url *url, char out[URL_ORIGIN_MAX]) {
    int n =
        snprintf(out, URL_ORIGIN_MAX, url->ipv6 ? "%s://[%s]" : "%s://%s", url->scheme, url->host);
    if (url->has_port && n > 0 && n < URL_ORIGIN_MAX)
        snprintf(out + n, URL_ORIGIN_MAX - (size_t)n, ":%u", (unsigned)url->port);
    return out;
}
