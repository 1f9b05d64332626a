/* ulid.c - the last id is kept as numbers; the next one is that plus one, or fresh random bits when
 * the time has moved. Random bytes are fetched for many ids at once, since a system call costs more
 * than all the rest, and used bytes are wiped, so that memory does not tell ids of the past. */
#include "ulid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { RANDOM_LEN = 10, TIME_CHARS = 10 };

static uint64_t system_clock(void *user) {
    (void)user;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool system_random(void *user, void *bytes, size_t n) {
    (void)user;
    unsigned char *at = bytes;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

void ulid_init(struct ulid *u, ulid_clock_fn clock, ulid_random_fn random, void *user) {
    *u = (struct ulid){
        .clock = clock ? clock : system_clock,
        .random = random ? random : system_random,
        .user = user,
    };
}

/* 80 fresh bits, or false with nothing changed. */
static bool draw(struct ulid *u, uint16_t *high, uint64_t *low) {
    if (u->unused < RANDOM_LEN) {
        if (!u->random(u->user, u->pool, sizeof u->pool)) return false;
        u->unused = sizeof u->pool;
    }
    unsigned char *bytes = u->pool + sizeof u->pool - u->unused;
    *high = (uint16_t)(bytes[0] << 8 | bytes[1]);
    *low = 0;
    for (int i = 2; i < RANDOM_LEN; i++) *low = *low << 8 | bytes[i];
    memset(bytes, 0, RANDOM_LEN);
    u->unused -= RANDOM_LEN;
    return true;
}

/* Moves the generator to its next id. */
static bool advance(struct ulid *u, uint64_t ms) {
    bool later = !u->started || ms > u->ms;
    bool overflow = u->low == UINT64_MAX && u->high == UINT16_MAX;
    if (!later && !overflow) {
        u->low++;
        if (u->low == 0) u->high++;
        return true;
    }
    uint16_t high;
    uint64_t low;
    if (!draw(u, &high, &low)) return false;
    u->ms = later ? ms : u->ms + 1;
    u->high = high;
    u->low = low;
    u->started = true;
    return true;
}

/* Writes the low 5 * n bits of value, most significant first. */
static void encode(uint64_t value, char *out, int n) {
    static const char DIGITS[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    for (int i = n - 1; i >= 0; i--) {
        out[i] = DIGITS[value & 31];
        value >>= 5;
    }
}

int ulid_at(struct ulid *u, uint64_t ms, char out[ULID_LEN + 1]) {
    if (!advance(u, ms)) return ULID_ERANDOM;
    encode(u->ms, out, TIME_CHARS);
    /* The 80 bits in two halves of 40: 16 + 24, and the low 40. */
    encode((uint64_t)u->high << 24 | u->low >> 40, out + TIME_CHARS, 8);
    encode(u->low, out + TIME_CHARS + 8, 8);
    out[ULID_LEN] = '\0';
    return ULID_OK;
}

int ulid_next(struct ulid *u, char out[ULID_LEN + 1]) {
    return ulid_at(u, u->clock(u->user), out);
}
