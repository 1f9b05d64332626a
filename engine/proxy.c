/* proxy.c - a host that is an address is compared as an address, a name by its labels. */
#include "proxy.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The first of two variables that is set and not empty, copied into *out. */
static bool read_variable(char **out, const char *lower, const char *upper) {
    const char *value = getenv(lower);
    if ((!value || !*value) && upper) value = getenv(upper);
    if (!value || !*value) return true;
    *out = strdup(value);
    return *out != NULL;
}

bool proxy_rules_init(struct proxy_rules *rules, bool environment) {
    *rules = (struct proxy_rules){0};
    if (!environment) return true;
    return read_variable(&rules->http, "http_proxy", NULL) &&
           read_variable(&rules->https, "https_proxy", "HTTPS_PROXY") &&
           read_variable(&rules->all, "all_proxy", "ALL_PROXY") &&
           read_variable(&rules->except, "no_proxy", "NO_PROXY");
}

void proxy_rules_free(struct proxy_rules *rules) {
    free(rules->http);
    free(rules->https);
    free(rules->all);
    free(rules->except);
    *rules = (struct proxy_rules){0};
}

bool proxy_rules_set(struct proxy_rules *rules, const char *proxy, const char *except) {
    proxy_rules_free(rules);
    if (proxy && *proxy && !(rules->all = strdup(proxy))) return false;
    if (except && *except && !(rules->except = strdup(except))) return false;
    return true;
}

static bool same_network(const unsigned char *a, const unsigned char *b, unsigned bits) {
    unsigned bytes = bits / CHAR_BIT, rest = bits % CHAR_BIT;
    if (memcmp(a, b, bytes) != 0) return false;
    if (rest == 0) return true;
    unsigned char mask = (unsigned char)(0xff << (CHAR_BIT - rest));
    return ((a[bytes] ^ b[bytes]) & mask) == 0;
}

/* Splits "address/bits" (and brackets off an IPv6 address); false when it is too long or the bits
 * are no number within the family's range. */
static bool parse_network(const char *token, size_t len, int family, unsigned char address[16],
                          unsigned *bits) {
    char text[INET6_ADDRSTRLEN + 1];
    *bits = family == AF_INET ? 32 : 128;
    const char *slash = memchr(token, '/', len);
    if (slash) {
        char *end;
        unsigned long wanted = strtoul(slash + 1, &end, 10);
        if (end != token + len || end == slash + 1 || wanted > *bits) return false;
        *bits = (unsigned)wanted;
        len = (size_t)(slash - token);
    }
    if (len >= 2 && token[0] == '[' && token[len - 1] == ']') {
        token++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof text) return false;
    memcpy(text, token, len);
    text[len] = '\0';
    return inet_pton(family, text, address) == 1;
}

static bool address_matches(const char *token, size_t len, int family,
                            const unsigned char *address) {
    unsigned char network[16];
    unsigned bits;
    return parse_network(token, len, family, network, &bits) &&
           same_network(network, address, bits);
}

/* "example.com" matches itself and "api.example.com", never "notexample.com". */
static bool name_matches(const char *token, size_t len, const char *host, size_t host_len) {
    if (len && token[0] == '.') {
        token++;
        len--;
    }
    if (len && token[len - 1] == '.') len--;
    if (len == 0 || len > host_len) return false;
    const char *tail = host + (host_len - len);
    if (strncasecmp(tail, token, len) != 0) return false;
    return tail == host || tail[-1] == '.';
}

bool proxy_excepts(const char *except, const char *host) {
    if (strcmp(except, "*") == 0) return true;
    unsigned char address[16];
    int family = 0;
    if (inet_pton(AF_INET, host, address) == 1) family = AF_INET;
    else if (inet_pton(AF_INET6, host, address) == 1) family = AF_INET6;
    size_t host_len = strlen(host);
    if (host_len && host[host_len - 1] == '.') host_len--;
    for (const char *at = except; *at;) {
        size_t len = strcspn(at, ", \t");
        bool hit = family ? address_matches(at, len, family, address)
                          : name_matches(at, len, host, host_len);
        if (hit) return true;
        at += len;
        at += strspn(at, ", \t");
    }
    return false;
}

const char *proxy_for(const struct proxy_rules *rules, const struct url *url) {
    const char *proxy = strcmp(url->scheme, "https") == 0 ? rules->https : rules->http;
    if (!proxy) proxy = rules->all;
    if (!proxy) return NULL;
    if (rules->except && proxy_excepts(rules->except, url->host)) return NULL;
    return proxy;
}
