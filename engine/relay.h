/* relay.h - the bounded event queue between a producer that never waits and one reader.
 *
 *     struct relay r;
 *     relay_init(&r, &(struct relay_options){.capacity = 1024, .release = drop_event});
 *     relay_push(&r, &(struct relay_item){.event = event, .seq = 7, .class = RELAY_PLAIN}, NULL);
 *     relay_finish(&r, NULL);
 *     while (relay_take(&r, &item, &dropped) != RELAY_END) ...
 *     relay_free(&r);
 *
 * It knows of an event no more than a pointer, a number and a class. At most `capacity` events wait
 * to be read. When one more comes, the oldest that is not RELAY_TERMINAL goes and is counted; if
 * all are terminal none goes, and the queue grows. Before its next event the reader is told once
 * how many it has missed since it was last told. Every call takes constant time (amortised over
 * growing and merging), whatever waits.
 *
 * With a merge function, events are joined before any is dropped: a mergeable one goes into the
 * mergeable one before it as soon as the queue is half full, and what stands adjacent is joined
 * when the queue first becomes full. Then plain events are dropped before mergeable ones, so that
 * no text is lost while there is anything else to lose.
 *
 * At all times: produced = delivered + dropped + merged + unread. One thread only; callbacks must
 * not call back into their relay. */
#ifndef HARNESS_ENGINE_RELAY_H
#define HARNESS_ENGINE_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum relay_class { RELAY_PLAIN, RELAY_MERGEABLE, RELAY_TERMINAL };

struct relay_item {
    void *event;    /* the owner's; may be changed by merge */
    uint64_t seq;   /* of the last event in it */
    uint32_t count; /* produced events that it stands for: 1, more after a merge */
    uint32_t place; /* small, and unlike that of any other unread event: an owner can keep what
                       belongs to an event in an array by place. Reused afterwards. */
    enum relay_class class;
};

enum { RELAY_DEFAULT_CAPACITY = 1024 };
/* The place of an event that is not in the queue (yet). */
#define RELAY_NOWHERE UINT32_MAX

struct relay_options {
    size_t capacity; /* 0: RELAY_DEFAULT_CAPACITY */
    /* The event is dropped, or was merged into another, or came after the end, or was unread in
     * relay_free. NULL: nothing to release. */
    void (*release)(void *user, struct relay_item *item);
    /* Joins next (which follows directly) into `into`, or returns false and changes nothing. NULL:
     * mergeable events are plain ones. */
    bool (*merge)(void *user, struct relay_item *into, const struct relay_item *next);
    /* There is something to take again: the queue was empty, or the end has come. May be NULL. */
    void (*notify)(void *user);
    void *user;
};

enum relay_taken {
    RELAY_EVENT,    /* *item; the reader owns its event now */
    RELAY_OVERFLOW, /* *dropped events were lost here */
    RELAY_EMPTY,    /* nothing now: notify will tell */
    RELAY_END,      /* nothing ever again */
};

struct relay_stats {
    uint64_t produced;
    uint64_t delivered; /* items taken */
    uint64_t dropped;   /* each event in a merged item counts */
    uint64_t merged;    /* events that live on in another one */
    uint64_t late;      /* pushed after the end: ignored, and not in produced */
};

struct relay_node;

struct relay_list {
    uint32_t first; /* node index + 1, 0: empty */
    uint32_t last;
};

/* Private to relay.c, but for its size. */
struct relay {
    struct relay_options options;
    struct relay_node *nodes;
    uint32_t node_cap;
    uint32_t node_count; /* ever used */
    uint32_t free_head;
    struct relay_list queue;
    struct relay_list droppable[2]; /* by class: plain, mergeable */
    size_t len;
    uint64_t missed; /* dropped since the reader was last told */
    bool adjacent;   /* mergeable events may stand next to each other */
    bool finished;
    void *error;
    struct relay_stats stats;
};

/* Allocates nothing. */
void relay_init(struct relay *r, const struct relay_options *options);
/* Releases what is unread and frees its memory. */
void relay_free(struct relay *r);

/* Appends an event; count and place of *item are ignored. *place (may be NULL) tells where it went,
 * RELAY_NOWHERE when it was merged or came after the end. Owns the event from then on. Returns 0,
 * or -1 when there is no memory: then nothing has changed, and the event is still the caller's. */
int relay_push(struct relay *r, const struct relay_item *item, uint32_t *place);

/* The end: later pushes are ignored. error is handed to the reader by relay_error after the last
 * event; it stays the caller's. A second end is ignored. */
void relay_finish(struct relay *r, void *error);

/* Takes what comes next. *item is written for RELAY_EVENT, *dropped for RELAY_OVERFLOW. */
enum relay_taken relay_take(struct relay *r, struct relay_item *item, uint64_t *dropped);

/* What relay_finish was given. */
void *relay_error(const struct relay *r);

/* Whether relay_take would give anything but RELAY_EMPTY. */
bool relay_ready(const struct relay *r);

/* All places given so far are below this number; the next one is at most equal to it. */
uint32_t relay_places(const struct relay *r);

/* Unread events. */
size_t relay_len(const struct relay *r);
const struct relay_stats *relay_stats(const struct relay *r);

#endif
