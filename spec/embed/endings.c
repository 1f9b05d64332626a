/* endings.c - how engines end: freed at any time, out of memory, with something posted still. */
#include <pthread.h>

#include "check.h"

static void keeps_a_memory_limit(void) {
    harness_options options = HARNESS_OPTIONS_INIT;
    options.memory_limit = 8 << 20;
    static const char HOG[] =
        "local harness = require 'harness'\n"
        "return harness.define {\n"
        "  models = { m = { provider = harness.providers.scripted {}, model = 'm' } }, workflows = {\n"
        "  hog = { run = function(_, n)\n"
        "    local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(n) .. i end end },\n"
        "  fine = { run = function() return 'fine' end } } }\n";
    harness_engine *engine = engine_with(&options, HOG);
    /* However little is left when it strikes, the engine goes on. */
    static const char *const SIZES[] = {"1", "30", "100", "500", "1000", "3000", "10000", "100000"};
    enum { COUNT = sizeof SIZES / sizeof *SIZES };
    for (size_t i = 0; i < COUNT; i++) {
        struct seen seen = {0};
        start_seen(engine, NULL, "hog", SIZES[i], &seen);
        wait_done(engine, &seen);
        CHECK_INT(HARNESS_FAILED, seen.state);
        CHECK_HAS("not enough memory", seen.last);
    }
    struct seen after = {0};
    start_seen(engine, NULL, "fine", NULL, &after);
    wait_done(engine, &after);
    CHECK(strcmp(after.last, "\"fine\"") == 0);
    harness_memory_figures figures = HARNESS_MEMORY_FIGURES_INIT;
    CHECK_INT(0, harness_memory(engine, &figures));
    CHECK(figures.lua_peak <= options.memory_limit && figures.lua_bytes > 100000);
    CHECK(figures.lua_bytes <= figures.lua_peak && figures.limit == options.memory_limit);
    CHECK_INT(COUNT + 1, figures.runs);
    harness_free(engine);
    options.memory_limit = 100000;
    harness_error error = HARNESS_ERROR_INIT;
    CHECK(!harness_new(&options, &error));
    CHECK_INT(HARNESS_ENOMEM, error.status);
}

static void is_made_and_freed_often(void) {
    int count = check_count(300, 10000);
    for (int i = 0; i < count; i++) {
        harness_engine *engine = i % 10 ? harness_new(NULL, NULL) : engine_with(NULL, SCRIPT);
        CHECK(engine != NULL);
        struct seen seen = {0};
        if (i % 10 == 0) start_seen(engine, NULL, "guard", "\"slow\"", &seen);
        if (i % 20 == 0) harness_pump(engine, 1000);
        harness_free(engine);
    }
    printf("engines made and freed: %d\n", count);
}

/* ---- an engine that has failed ------------------------------------------------------------- */

/* Gives memory until it is told not to. */
static void *moody_allocate(void *user, void *block, size_t old_size, size_t new_size) {
    (void)old_size;
    if (!new_size) {
        free(block);
        return NULL;
    }
    return *(bool *)user ? NULL : realloc(block, new_size);
}

static void release_other(harness_run *run, enum harness_run_state state, const char *json,
                          size_t len, void *user) {
    struct seen *seen = user;
    seen_done(run, state, json, len, user);
    if (seen->other) CHECK_INT(0, harness_run_release(seen->other));
}

static void *free_elsewhere(void *user) {
    return harness_free(user) == HARNESS_ETHREAD ? user : NULL;
}

static void tells_all_runs_when_it_has_failed(void) {
    bool mood = false;
    harness_options options = HARNESS_OPTIONS_INIT;
    options.allocate = moody_allocate;
    options.allocate_user = &mood;
    harness_engine *engine = engine_with(&options, SCRIPT);
    struct seen seen[4] = {0};
    harness_run *runs[4];
    for (int i = 0; i < 4; i++) {
        harness_request request = HARNESS_REQUEST_INIT;
        request.target = "guard";
        request.input_json = "\"slow\"";
        request.on_done = release_other;
        request.user = &seen[i];
        runs[i] = harness_start(engine, &request, NULL);
        CHECK(runs[i] != NULL);
    }
    seen[0].other = runs[1]; /* the one that would be told next */
    mood = true;
    int rc = 0;
    for (int i = 0; i < 1000 && rc >= 0; i++) rc = harness_pump(engine, 1000);
    CHECK_INT(HARNESS_ENOMEM, rc);
    static const int TOLD[] = {1, 0, 1, 1};
    for (int i = 0; i < 4; i++) CHECK_INT(TOLD[i], seen[i].done);
    CHECK_INT(HARNESS_FAILED, seen[3].state);
    CHECK_HAS("OUT_OF_MEMORY", seen[3].last);
    CHECK_INT(HARNESS_ENOMEM, harness_pump(engine, 1000));
    pthread_t thread;
    void *refused = NULL;
    CHECK_INT(0, pthread_create(&thread, NULL, free_elsewhere, engine));
    CHECK_INT(0, pthread_join(thread, &refused));
    CHECK(refused == engine);
    CHECK_INT(0, harness_free(engine));
}

/* ---- what is posted at the end ------------------------------------------------------------- */

static void count_post(harness_engine *engine, void *user) {
    (void)engine;
    (*(int *)user)++;
}

struct at_end {
    harness_engine *engine;
    int done, posted;
};

static void post_at_end(harness_run *run, enum harness_run_state state, const char *json,
                        size_t len, void *user) {
    (void)run;
    (void)json;
    (void)len;
    struct at_end *end = user;
    CHECK_INT(HARNESS_CANCELLED, state);
    end->done++;
    CHECK_INT(0, harness_post(end->engine, count_post, &end->posted));
}

static void calls_what_callbacks_post_at_the_end(void) {
    struct at_end end = {.engine = engine_with(NULL, SCRIPT)};
    harness_request request = HARNESS_REQUEST_INIT;
    request.target = "guard";
    request.input_json = "\"slow\"";
    request.on_done = post_at_end;
    request.user = &end;
    CHECK(harness_start(end.engine, &request, NULL) != NULL);
    harness_pump(end.engine, 10000);
    int before = 0;
    CHECK_INT(0, harness_post(end.engine, count_post, &before));
    CHECK_INT(0, harness_free(end.engine));
    CHECK_INT(1, before);
    CHECK_INT(1, end.done);
    CHECK_INT(1, end.posted);
}

static const struct check_case CASES[] = {
    {"keeps a memory limit", keeps_a_memory_limit},
    {"is made and freed often", is_made_and_freed_often},
    {"tells all runs when it has failed", tells_all_runs_when_it_has_failed},
    {"calls what callbacks post at the end", calls_what_callbacks_post_at_the_end},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return check_main(argc, argv, CASES);
}
