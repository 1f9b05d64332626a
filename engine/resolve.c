/* resolve.c - one detached thread per name that is being asked for.
 *
 * Not uv_getaddrinfo: libuv lets two lookups run at once in its process-wide pool, so two names
 * whose server does not answer would hold up every other name, and the pool's threads are joined
 * when the process ends, so a stuck name would hold up even the exit. A detached thread is simply
 * left behind.
 *
 * A thread shares one thing with the engine, the mailbox: counted, locked, and marked closed when
 * the resolver goes, so that a late answer finds nobody and is freed. */
#include "resolve.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "buf.h"

enum { MAX_REMEMBERED = 256, MAX_ADDRESSES = 8, THREAD_STACK = 512 * 1024 };

/* What a thread works on; owned by the thread, then by the mailbox. */
struct question {
    struct question *next;
    struct mailbox *mailbox;
    struct host_entry *entry; /* compared only: the thread never looks into it */
    char *addresses;          /* NULL: failed */
    int rc;                   /* of getaddrinfo */
    char host[];
};

struct mailbox {
    pthread_mutex_t lock;
    size_t refs;      /* the resolver's, and one for each thread */
    uv_async_t *bell; /* NULL: the resolver is gone */
    struct question *answered;
};

enum entry_state { ENTRY_IDLE, ENTRY_QUEUED, ENTRY_ASKED };

struct host_entry {
    struct host_entry *next;
    struct resolver *resolver;
    enum entry_state state;
    bool telling; /* its lookups are being called: not to be forgotten */
    struct lookup *waiting;
    char *addresses; /* NULL: unknown */
    uint64_t known_until_ms;
    char host[];
};

struct resolver {
    struct loop *loop;
    bool forbidden;
    struct mailbox *mailbox;
    uv_async_t bell;
    struct host_entry *entries; /* the newest first */
    size_t entry_count;
    size_t threads;
};

/* ---- the thread -------------------------------------------------------------------------- */

static void mailbox_unref(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    bool last = --mailbox->refs == 0;
    pthread_mutex_unlock(&mailbox->lock);
    if (!last) return;
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

static void question_free(struct question *question) {
    free(question->addresses);
    free(question);
}

static bool add_address(struct buf *list, const struct addrinfo *info) {
    char text[INET6_ADDRSTRLEN];
    const void *address =
        info->ai_family == AF_INET6
            ? (const void *)&((const struct sockaddr_in6 *)(const void *)info->ai_addr)->sin6_addr
            : (const void *)&((const struct sockaddr_in *)(const void *)info->ai_addr)->sin_addr;
    if (!inet_ntop(info->ai_family, address, text, sizeof text)) return true;
    if (list->len && buf_add_char(list, ',') != BUF_OK) return false;
    if (info->ai_family == AF_INET) return buf_add(list, text, strlen(text)) == BUF_OK;
    return buf_add_char(list, '[') == BUF_OK && buf_add(list, text, strlen(text)) == BUF_OK &&
           buf_add_char(list, ']') == BUF_OK;
}

/* The list of addresses as text, or NULL with question->rc telling why. */
static char *ask(struct question *question) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    hints.ai_flags = AI_ADDRCONFIG;
    struct addrinfo *list = NULL;
    question->rc = getaddrinfo(question->host, NULL, &hints, &list);
    if (question->rc != 0) return NULL;
    struct buf text;
    buf_init(&text, 4096);
    int count = 0;
    bool ok = true;
    for (struct addrinfo *at = list; ok && at && count < MAX_ADDRESSES; at = at->ai_next) {
        if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
        ok = add_address(&text, at);
        count++;
    }
    freeaddrinfo(list);
    if (ok && text.len) return text.data;
    question->rc = ok ? EAI_NODATA : EAI_MEMORY;
    buf_free(&text);
    return NULL;
}

static void *run(void *argument) {
    struct question *question = argument;
    struct mailbox *mailbox = question->mailbox;
    question->addresses = ask(question);
    pthread_mutex_lock(&mailbox->lock);
    bool wanted = mailbox->bell != NULL;
    if (wanted) {
        question->next = mailbox->answered;
        mailbox->answered = question;
        uv_async_send(mailbox->bell);
    }
    pthread_mutex_unlock(&mailbox->lock);
    if (!wanted) question_free(question);
    mailbox_unref(mailbox);
    return NULL;
}

/* A detached thread that no signal is delivered to: those are for the host's threads. */
static int start_thread(struct question *question) {
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) return UV_ENOMEM;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int rc = pthread_create(&thread, &attr, run, question);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rc == 0 ? 0 : UV_ENOMEM;
}

static bool ask_in_thread(struct resolver *resolver, struct host_entry *entry) {
    size_t len = strlen(entry->host);
    struct question *question = calloc(1, sizeof *question + len + 1);
    if (!question) return false;
    memcpy(question->host, entry->host, len + 1);
    question->entry = entry;
    question->mailbox = resolver->mailbox;
    pthread_mutex_lock(&resolver->mailbox->lock);
    resolver->mailbox->refs++;
    pthread_mutex_unlock(&resolver->mailbox->lock);
    if (start_thread(question) == 0) {
        entry->state = ENTRY_ASKED;
        resolver->threads++;
        return true;
    }
    mailbox_unref(resolver->mailbox);
    question_free(question);
    return false;
}

/* ---- entries ----------------------------------------------------------------------------- */

static struct host_entry *entry_find(const struct resolver *resolver, const char *host) {
    for (struct host_entry *at = resolver->entries; at; at = at->next)
        if (strcasecmp(at->host, host) == 0) return at;
    return NULL;
}

static void entry_free(struct host_entry *entry) {
    free(entry->addresses);
    free(entry);
}

/* Forgets the oldest entry that nobody waits for. */
static void forget_one(struct resolver *resolver) {
    struct host_entry **oldest = NULL;
    for (struct host_entry **at = &resolver->entries; *at; at = &(*at)->next)
        if ((*at)->state == ENTRY_IDLE && !(*at)->telling) oldest = at;
    if (!oldest) return;
    struct host_entry *entry = *oldest;
    *oldest = entry->next;
    entry_free(entry);
    resolver->entry_count--;
}

static struct host_entry *entry_new(struct resolver *resolver, const char *host) {
    if (resolver->entry_count >= MAX_REMEMBERED) forget_one(resolver);
    size_t len = strlen(host);
    struct host_entry *entry = calloc(1, sizeof *entry + len + 1);
    if (!entry) return NULL;
    memcpy(entry->host, host, len + 1);
    entry->resolver = resolver;
    entry->next = resolver->entries;
    resolver->entries = entry;
    resolver->entry_count++;
    return entry;
}

/* The bell keeps the loop alive only while somebody waits for an answer. */
static void update_bell(struct resolver *resolver) {
    bool wanted = false;
    for (struct host_entry *at = resolver->entries; at && !wanted; at = at->next)
        wanted = at->waiting != NULL;
    if (wanted) uv_ref((uv_handle_t *)&resolver->bell);
    else uv_unref((uv_handle_t *)&resolver->bell);
}

static void lookup_unlink(struct lookup *lookup) {
    *lookup->prev_next = lookup->next;
    if (lookup->next) lookup->next->prev_next = lookup->prev_next;
    lookup->entry = NULL;
    lookup->next = NULL;
    lookup->prev_next = NULL;
}

/* Tells everybody who waited when the answer came; whoever joins meanwhile sees the new state. */
static void tell(struct host_entry *entry, const char *error) {
    struct lookup *list = entry->waiting;
    entry->waiting = NULL;
    if (list) list->prev_next = &list;
    entry->telling = true;
    while (list) {
        struct lookup *lookup = list;
        lookup_unlink(lookup);
        lookup->addresses = error ? NULL : entry->addresses;
        lookup->error = error;
        lookup->fn(lookup, lookup->user);
    }
    entry->telling = false;
}

static void start_queued(struct resolver *resolver) {
    struct host_entry *first = NULL; /* the oldest, which stands last in the list */
    for (struct host_entry *at = resolver->entries; at; at = at->next)
        if (at->state == ENTRY_QUEUED) first = at;
    if (!first || resolver->threads >= RESOLVE_MAX_THREADS) return;
    if (ask_in_thread(resolver, first)) return;
    first->state = ENTRY_IDLE;
    tell(first, "no thread could be started to resolve it");
}

static const char *error_text(const struct question *question) {
    return question->rc == EAI_SYSTEM ? "system error" : gai_strerror(question->rc);
}

/* An entry that is being asked for is never freed before its answer, so the pointer is good. */
static void take_answer(struct resolver *resolver, struct question *question) {
    struct host_entry *entry = question->entry;
    resolver->threads--;
    entry->state = ENTRY_IDLE;
    if (question->addresses) {
        free(entry->addresses);
        entry->addresses = question->addresses;
        question->addresses = NULL;
        entry->known_until_ms = loop_now_ms(resolver->loop) + RESOLVE_TTL_MS;
        tell(entry, NULL);
    } else {
        tell(entry, error_text(question));
    }
    question_free(question);
    start_queued(resolver);
}

static void on_bell(uv_async_t *bell) {
    struct resolver *resolver = bell->data;
    struct mailbox *mailbox = resolver->mailbox;
    pthread_mutex_lock(&mailbox->lock);
    struct question *list = mailbox->answered;
    mailbox->answered = NULL;
    pthread_mutex_unlock(&mailbox->lock);
    while (list) {
        struct question *question = list;
        list = question->next;
        take_answer(resolver, question);
    }
    update_bell(resolver);
}

/* ---- what others call ---------------------------------------------------------------------- */

static struct mailbox *mailbox_new(uv_async_t *bell) {
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (!mailbox) return NULL;
    if (pthread_mutex_init(&mailbox->lock, NULL) != 0) {
        free(mailbox);
        return NULL;
    }
    mailbox->refs = 1;
    mailbox->bell = bell;
    return mailbox;
}

struct resolver *resolver_new(struct loop *loop) {
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver) return NULL;
    resolver->loop = loop;
    resolver->mailbox = mailbox_new(&resolver->bell);
    if (!resolver->mailbox || uv_async_init(loop_uv(loop), &resolver->bell, on_bell) != 0) {
        if (resolver->mailbox) mailbox_unref(resolver->mailbox);
        free(resolver);
        return NULL;
    }
    resolver->bell.data = resolver;
    uv_unref((uv_handle_t *)&resolver->bell);
    return resolver;
}

static void on_bell_closed(uv_handle_t *handle) {
    free(handle->data);
}

void resolver_free(struct resolver *resolver) {
    if (!resolver) return;
    struct mailbox *mailbox = resolver->mailbox;
    pthread_mutex_lock(&mailbox->lock);
    mailbox->bell = NULL;
    struct question *late = mailbox->answered;
    mailbox->answered = NULL;
    pthread_mutex_unlock(&mailbox->lock);
    while (late) {
        struct question *next = late->next;
        question_free(late);
        late = next;
    }
    mailbox_unref(mailbox);
    while (resolver->entries) {
        struct host_entry *entry = resolver->entries;
        resolver->entries = entry->next;
        for (struct lookup *at = entry->waiting, *next; at; at = next) {
            next = at->next;
            *at = (struct lookup){0};
        }
        entry_free(entry);
    }
    uv_close((uv_handle_t *)&resolver->bell, on_bell_closed);
}

/* Addresses, and the names that RFC 6761 reserves for this machine. */
static bool needs_no_resolving(const char *host) {
    unsigned char address[16];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return true;
    size_t len = strlen(host), tail = strlen(".localhost");
    return strcasecmp(host, "localhost") == 0 ||
           (len > tail && strcasecmp(host + len - tail, ".localhost") == 0);
}

void resolver_forbid(struct resolver *resolver) {
    resolver->forbidden = true;
}

int resolver_find(struct resolver *resolver, struct lookup *lookup, const char *host, lookup_fn fn,
                  void *user) {
    assert(!lookup->entry);
    *lookup = (struct lookup){.fn = fn, .user = user};
    lookup->addresses = "";
    if (needs_no_resolving(host)) return RESOLVE_NOW;
    if (resolver->forbidden) return RESOLVE_FORBIDDEN;
    struct host_entry *entry = entry_find(resolver, host);
    if (!entry) entry = entry_new(resolver, host);
    if (!entry) return RESOLVE_ENOMEM;
    lookup->addresses = entry->addresses;
    if (entry->addresses && loop_now_ms(resolver->loop) < entry->known_until_ms) return RESOLVE_NOW;
    lookup->addresses = NULL;
    if (entry->state == ENTRY_IDLE) {
        if (resolver->threads >= RESOLVE_MAX_THREADS) entry->state = ENTRY_QUEUED;
        else if (!ask_in_thread(resolver, entry)) return RESOLVE_ENOMEM;
    }
    lookup->entry = entry;
    lookup->next = entry->waiting;
    if (lookup->next) lookup->next->prev_next = &lookup->next;
    lookup->prev_next = &entry->waiting;
    entry->waiting = lookup;
    uv_ref((uv_handle_t *)&resolver->bell);
    return RESOLVE_LATER;
}

void lookup_stop(struct lookup *lookup) {
    if (!lookup->entry) return;
    struct resolver *resolver = lookup->entry->resolver;
    lookup_unlink(lookup);
    update_bell(resolver);
}
