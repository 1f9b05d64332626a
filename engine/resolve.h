/* resolve.h - host names to addresses, without ever making anybody wait for a name server.
 *
 *     struct resolver *resolver = resolver_new(loop);
 *     struct lookup lookup = {0};
 *     int rc = resolver_find(resolver, &lookup, "api.example.com", on_found, user);
 *     if (rc == RESOLVE_NOW) use(lookup.addresses);      // known already; on_found is not called
 *     if (rc == RESOLVE_LATER) ...                       // on_found comes, from loop_turn
 *     lookup_stop(&lookup);                              // at any time: returns at once
 *     resolver_free(resolver);                           // also at once
 *
 * Each name is asked for once at a time, however many wait for it, and remembered for a minute of
 * the engine's clock; failures are not remembered. At most 32 names are asked for at once, the
 * others queue. One thread only. */
#ifndef HARNESS_ENGINE_RESOLVE_H
#define HARNESS_ENGINE_RESOLVE_H

#include "loop.h"

enum { RESOLVE_NOW, RESOLVE_LATER, RESOLVE_ENOMEM, RESOLVE_FORBIDDEN };
enum { RESOLVE_TTL_MS = 60000, RESOLVE_MAX_THREADS = 32 };

struct resolver;
struct lookup;
struct host_entry;

/* lookup->addresses or lookup->error is set. May start and stop lookups, but not free the
 * resolver. */
typedef void (*lookup_fn)(struct lookup *lookup, void *user);

/* Embedded in its owner, all zero before the first use. Stop it before its memory goes. */
struct lookup {
    struct host_entry *entry; /* NULL: not waiting */
    struct lookup *next;
    struct lookup **prev_next;
    /* "192.0.2.1,[2001:db8::1]" in the order of preference; valid in on_found, and after
     * RESOLVE_NOW until control returns to the loop. Empty: the name needs no resolving (an
     * address, or localhost, which the HTTP library knows itself). */
    const char *addresses;
    const char *error; /* the resolver's words; NULL: found */
    lookup_fn fn;
    void *user;
};

/* NULL: no memory. */
struct resolver *resolver_new(struct loop *loop);
/* Forgets all lookups without calling anybody. What a name server still owes is thrown away. */
void resolver_free(struct resolver *resolver);

/* From now on names are RESOLVE_FORBIDDEN, since asking for one takes a thread; addresses are not. */
void resolver_forbid(struct resolver *resolver);

int resolver_find(struct resolver *resolver, struct lookup *lookup, const char *host, lookup_fn fn,
                  void *user);
/* Harmless when it is not waiting. */
void lookup_stop(struct lookup *lookup);

#endif
