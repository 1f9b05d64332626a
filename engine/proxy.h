/* proxy.h - which proxy, if any, a request goes through; the rules of curl(1).
 *
 *     struct proxy_rules rules;
 *     proxy_rules_init(&rules, true);                     // from the environment
 *     const char *proxy = proxy_for(&rules, &url);        // NULL: dial the host itself
 *     proxy_rules_free(&rules);
 *
 * Evaluated by us and not by libcurl, because the host that is dialled is resolved by us first.
 * The variables are http_proxy (never HTTP_PROXY, which a CGI client could set), https_proxy,
 * all_proxy and no_proxy, the last three in capitals too; lower case wins; an empty one counts as
 * not set.
 *
 * no_proxy: names and addresses, separated by commas or spaces; `*` alone means every host; a name
 * matches itself and what is below it (`example.com` and `.example.com` alike); an address may
 * carry a prefix length (`10.0.0.0/8`, `fd00::/8`). Ports in it are not looked at. */
#ifndef HARNESS_ENGINE_PROXY_H
#define HARNESS_ENGINE_PROXY_H

#include <stdbool.h>

#include "url.h"

/* Each owned, NULL: not set. */
struct proxy_rules {
    char *http;
    char *https;
    char *all;
    char *except;
};

/* Reads the environment, or with environment = false starts empty. Returns false when there is no
 * memory; the rules can be freed all the same. */
bool proxy_rules_init(struct proxy_rules *rules, bool environment);
void proxy_rules_free(struct proxy_rules *rules);

/* Replaces what the environment said: one proxy for every scheme (NULL or "": none), and the hosts
 * that are dialled directly. Copies both. Returns false when there is no memory. */
bool proxy_rules_set(struct proxy_rules *rules, const char *proxy, const char *except);

/* The proxy's URL, borrowed from rules; NULL: none. */
const char *proxy_for(const struct proxy_rules *rules, const struct url *url);

/* Does the list of a no_proxy variable name this host? */
bool proxy_excepts(const char *except, const char *host);

#endif
