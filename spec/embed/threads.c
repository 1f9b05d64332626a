/* threads.c - eight engines in eight threads, each posted to from another one. Made for ThreadSanitizer
 * (`make test-tsan`), and run by the specs as well. */
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"

enum { ENGINES = 8 };

struct worker {
    pthread_t thread;
    harness_engine *engine;
    atomic_bool ready;
    atomic_bool over;
    int posts;
    int runs;
};

static void on_post(harness_engine *engine, void *user) {
    struct worker *worker = user;
    CHECK(engine == worker->engine);
    worker->posts++;
}

static void *work(void *user) {
    struct worker *worker = user;
    worker->engine = engine_with(NULL, SCRIPT);
    atomic_store(&worker->ready, true);
    for (int i = 0; i < check_count(20, 400); i++) {
        struct seen seen = {0};
        harness_run *run = start_seen(worker->engine, NULL, i % 2 ? "guard" : "flow",
                                      i % 2 ? "\"x\"" : "{\"mail\":\"x\",\"n\":1}", &seen);
        wait_done(worker->engine, &seen);
        CHECK_INT(HARNESS_SUCCEEDED, seen.state);
        harness_run_release(run);
        worker->runs++;
    }
    struct seen slow = {0};
    start_seen(worker->engine, NULL, "guard", "\"slow\"", &slow);
    harness_pump(worker->engine, 1000);
    while (!atomic_load(&worker->over)) harness_wait(worker->engine, 10);
    harness_free(worker->engine);
    CHECK_INT(1, slow.done);
    return NULL;
}

static void eight_engines(void) {
    static struct worker workers[ENGINES];
    for (int i = 0; i < ENGINES; i++) pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    int posted = check_count(200, 2000);
    for (int i = 0; i < ENGINES; i++)
        while (!atomic_load(&workers[i].ready)) sched_yield();
    for (int n = 0; n < posted; n++)
        for (int i = 0; i < ENGINES; i++) {
            CHECK_INT(0, harness_post(workers[i].engine, on_post, &workers[i]));
            harness_wakeup(workers[i].engine);
        }
    for (int i = 0; i < ENGINES; i++) atomic_store(&workers[i].over, true);
    int runs = 0;
    for (int i = 0; i < ENGINES; i++) {
        pthread_join(workers[i].thread, NULL);
        CHECK_INT(posted, workers[i].posts);
        runs += workers[i].runs;
    }
    printf("%d runs, %d posts\n", runs, posted * ENGINES);
}

static const struct check_case CASES[] = {
    {"eight engines in eight threads", eight_engines},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return check_main(argc, argv, CASES);
}
