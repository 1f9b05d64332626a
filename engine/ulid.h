/* ulid.h - identifiers that sort by the time of their making (github.com/ulid/spec).
 *
 *     struct ulid ids;
 *     ulid_init(&ids, NULL, NULL, NULL);                 // the system's clock and random source
 *     char id[ULID_LEN + 1];
 *     if (ulid_next(&ids, id) != ULID_OK) ...            // no randomness to be had
 *
 * 26 characters of Crockford's base32: 10 for the milliseconds since the Unix epoch, 16 for 80
 * random bits. The ids of one generator are strictly ascending as strings, in bursts and when the
 * clock goes back too: within a millisecond the random part counts up, and when it would overflow,
 * the time part goes on by one (it may then run ahead of the clock). No generator shares anything
 * with another. One thread only; not to be used on both sides of a fork. */
#ifndef HARNESS_ENGINE_ULID_H
#define HARNESS_ENGINE_ULID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ULID_LEN = 26 };
enum { ULID_OK = 0, ULID_ERANDOM = -1 };

/* Milliseconds since the Unix epoch. */
typedef uint64_t (*ulid_clock_fn)(void *user);
/* Fills n bytes from a cryptographic source; false: it could not. */
typedef bool (*ulid_random_fn)(void *user, void *bytes, size_t n);

struct ulid {
    ulid_clock_fn clock;
    ulid_random_fn random;
    void *user;
    bool started;
    uint64_t ms; /* the time and random parts of the last id */
    uint16_t high;
    uint64_t low;
    size_t unused; /* bytes at the end of pool that no id has used */
    unsigned char pool[320];
};

/* NULL for clock: the real-time clock; for random: getrandom(2), in batches. */
void ulid_init(struct ulid *u, ulid_clock_fn clock, ulid_random_fn random, void *user);

/* Writes the next id and a NUL to out. ULID_ERANDOM: the random source failed, nothing was
 * written, and the generator is as it was; ids are never made of anything weaker. */
int ulid_next(struct ulid *u, char out[ULID_LEN + 1]);

/* The same for a moment that the caller names, by the same rules: if it is not after the last
 * id's time, the id still follows the last one. Of ms the low 50 bits are encoded. */
int ulid_at(struct ulid *u, uint64_t ms, char out[ULID_LEN + 1]);

#endif
