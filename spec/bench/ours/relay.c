/* relay.c - the engine's relay by itself in the three regimes of relay.lua. */
#include "../../../engine/relay.h"

#include "../measure.h"

static int event; /* what every item points to */

static void push(struct relay *r, uint64_t seq, enum relay_class class) {
    struct relay_item item = {.event = &event, .seq = seq, .class = class};
    if (relay_push(r, &item, NULL) != 0) exit(1);
}

static void keep_up(long n, void *user) {
    (void)user;
    struct relay r;
    struct relay_item item;
    uint64_t dropped;
    long got = 0;
    relay_init(&r, &(struct relay_options){.capacity = 1024});
    for (long i = 1; i <= n; i++) {
        push(&r, (uint64_t)i, RELAY_PLAIN);
        if (i % 100 && i != n) continue;
        while (relay_take(&r, &item, &dropped) == RELAY_EVENT) got++;
    }
    if (got != n) exit(1);
    relay_free(&r);
}

static void full(long n, enum relay_class class) {
    struct relay r;
    struct relay_item item;
    uint64_t dropped;
    relay_init(&r, &(struct relay_options){.capacity = 1024});
    for (int i = 1; i <= 1024; i++) push(&r, (uint64_t)i, class);
    for (long i = 1; i <= n; i++) {
        push(&r, (uint64_t)i, class);
        if (i % 1000 == 0) relay_take(&r, &item, &dropped);
    }
    relay_free(&r);
}

static void full_plain(long n, void *user) {
    (void)user;
    full(n, RELAY_PLAIN);
}

static void full_terminal(long n, void *user) {
    (void)user;
    full(n, RELAY_TERMINAL);
}

int main(void) {
    measure("engine_keep_up", 1000000, keep_up, NULL);
    measure("engine_full", 1000000, full_plain, NULL);
    measure("engine_full_terminal", 20000, full_terminal, NULL);
    return 0;
}
