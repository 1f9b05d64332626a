/* loops.c - an engine in a frame loop, an epoll loop, a uv loop of the host's; what other threads post. */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "check.h"

/* ---- loops --------------------------------------------------------------------------------- */

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void lives_in_a_frame_loop(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    struct seen seen[20] = {0};
    for (int i = 0; i < 20; i++) {
        char session[16];
        snprintf(session, sizeof session, "s%d", i);
        start_seen(engine, session, "guard", "\"x\"", &seen[i]);
    }
    int done = 0;
    for (int frame = 0; frame < 2000 && done < 20; frame++) {
        CHECK(harness_pump(engine, 500) >= 0);
        usleep(1000);
        done = 0;
        for (int i = 0; i < 20; i++) done += seen[i].done;
    }
    CHECK_INT(20, done);
    CHECK(harness_longest_resume_us(engine) > 0);
    CHECK_INT(0, harness_longest_resume_us(engine));
    CHECK_INT(0, harness_pump(engine, 500));
    harness_free(engine);
}

static void ignore_post(harness_engine *engine, void *user) {
    (void)engine;
    (void)user;
}

static void lives_in_an_epoll_loop(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(harness_poll_fd(engine) >= 0);
    CHECK_INT(0, epoll_ctl(epoll, EPOLL_CTL_ADD, harness_poll_fd(engine), &event));
    struct seen seen = {0};
    start_seen(engine, "s", "guard", "\"x\"", &seen);
    int turns = 0;
    while (!seen.done && turns++ < 1000) {
        int timeout = harness_next_timeout_ms(engine);
        CHECK(timeout >= -1 && timeout <= 10);
        epoll_wait(epoll, &event, 1, timeout);
        CHECK(harness_pump(engine, 1000) >= 0);
    }
    CHECK_INT(1, seen.done);
    CHECK(turns < 100); /* it waits, it does not spin */
    harness_wakeup(engine);
    CHECK_INT(1, epoll_wait(epoll, &event, 1, 1000));
    harness_free(engine);
    close(epoll);
}

/* Nothing is under way, so only what comes from elsewhere can wake the host: the kernel has to watch for
 * that from the start, and it must be over with one pump. */
static void wakes_a_host_that_sleeps(void) {
    harness_engine *engine = engine_with(NULL, "");
    struct pollfd fd = {.fd = harness_poll_fd(engine), .events = POLLIN};
    for (int i = 0; i < 3; i++) {
        CHECK_INT(-1, harness_next_timeout_ms(engine));
        CHECK_INT(0, poll(&fd, 1, 0));
        CHECK_INT(HARNESS_OK, harness_post(engine, ignore_post, NULL));
        CHECK_INT(1, poll(&fd, 1, 60000));
        CHECK_INT(0, harness_pump(engine, 1000));
        CHECK_INT(0, poll(&fd, 1, 0));
        harness_wakeup(engine);
        CHECK_INT(1, poll(&fd, 1, 60000));
        CHECK_INT(0, harness_pump(engine, 1000));
    }
    harness_free(engine);
}

static void stop_loop(harness_run *run, enum harness_run_state state, const char *json, size_t len,
                      void *user) {
    struct seen *seen = user;
    seen_done(run, state, json, len, user);
    uv_stop(seen->loop);
}

static void lives_on_a_uv_loop(void) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    harness_options options = HARNESS_OPTIONS_INIT;
    options.uv_loop = &loop;
    harness_engine *engine = engine_with(&options, SCRIPT);
    struct seen seen = {0}, slow = {0};
    seen.loop = &loop;
    harness_request request = HARNESS_REQUEST_INIT;
    request.session = "s";
    request.target = "guard";
    request.input_json = "\"x\"";
    request.on_event = seen_event;
    request.on_done = stop_loop;
    request.user = &seen;
    CHECK(harness_start(engine, &request, NULL) != NULL);
    start_seen(engine, "t", "guard", "\"slow\"", &slow);
    CHECK_INT(HARNESS_EINVAL, harness_wait(engine, 1));
    uv_run(&loop, UV_RUN_DEFAULT); /* until the end of the run stops it */
    CHECK_INT(1, seen.done);
    CHECK_INT(HARNESS_SUCCEEDED, seen.state);
    harness_free(engine);
    CHECK_INT(1, slow.done);
    CHECK_INT(0, uv_loop_close(&loop));
}

/* The script of the budget: each run streams 500 pieces, without waiting. */
static const char BUSY[] =
    "local harness = require 'harness'\n"
    "local model = harness.providers.scripted(function() local c = {} for i = 1, 500 do c[i] = 'x' end "
    "return { chunks = c } end)\n"
    "return harness.define { models = { m = { provider = model, model = 'm' } },\n"
    "  agents = { talker = { model = 'm', instructions = 'x' } } }\n";

static void count_turn(uv_prepare_t *handle) {
    ++*(int *)handle->data;
}

/* How often the host's loop turns until 50 runs are over. */
static int turns_with_budget(uint32_t host_pump_us) {
    uv_loop_t loop;
    uv_prepare_t prepare;
    int turns = 0;
    uv_loop_init(&loop);
    uv_prepare_init(&loop, &prepare);
    prepare.data = &turns;
    uv_prepare_start(&prepare, count_turn);
    uv_unref((uv_handle_t *)&prepare);
    harness_options options = HARNESS_OPTIONS_INIT;
    options.uv_loop = &loop;
    options.host_pump_us = host_pump_us;
    harness_engine *engine = engine_with(&options, BUSY);
    struct seen *seen = calloc(50, sizeof *seen);
    for (int i = 0; i < 50; i++) start_seen(engine, NULL, "talker", "\"x\"", &seen[i]);
    int done = 0;
    while (done < 50) {
        uv_run(&loop, UV_RUN_ONCE);
        done = 0;
        for (int i = 0; i < 50; i++) done += seen[i].done;
    }
    harness_free(engine);
    uv_close((uv_handle_t *)&prepare, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(0, uv_loop_close(&loop));
    free(seen);
    return turns;
}

static void leaves_the_uv_loop_its_turns(void) {
    int all_at_once = turns_with_budget(60000000);
    CHECK(all_at_once < 10);
    CHECK(turns_with_budget(1) > 10 * all_at_once);
}

static void survives_a_host_that_never_pumps(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    struct seen seen[50] = {0};
    for (int i = 0; i < 50; i++) start_seen(engine, NULL, "guard", "\"x\"", &seen[i]);
    harness_free(engine);
    for (int i = 0; i < 50; i++) {
        CHECK_INT(1, seen[i].done);
        CHECK_INT(HARNESS_CANCELLED, seen[i].state);
    }
}

static void keeps_to_its_budget(void) {
    harness_engine *engine = engine_with(NULL, BUSY);
    struct seen *seen = calloc(200, sizeof *seen);
    for (int i = 0; i < 200; i++) start_seen(engine, NULL, "talker", "\"x\"", &seen[i]);
    int left = harness_pump(engine, 0);
    CHECK(left > 0); /* one round is never all of it */
    int pumps = 1;
    while (harness_pump(engine, 200) > 0) pumps++;
    CHECK(pumps > 5);
    for (int i = 0; i < 200; i++) CHECK_INT(1, seen[i].done);
    /* Text is joined while nobody reads: a backlog does not become a flood of callbacks. */
    CHECK(seen[0].events < 520);
    free(seen);
    harness_free(engine);
}

/* ---- other threads ------------------------------------------------------------------------- */

struct posted {
    int count;
    uint64_t at_us;
};

static void on_post(harness_engine *engine, void *user) {
    struct posted *posted = user;
    posted->count++;
    posted->at_us = now_us();
    CHECK_INT(HARNESS_EBUSY, harness_pump(engine, 1));
}

struct poster {
    harness_engine *engine;
    struct posted *posted;
};

static void *post_some(void *user) {
    struct poster *poster = user;
    for (int i = 0; i < 100; i++)
        CHECK_INT(0, harness_post(poster->engine, on_post, poster->posted));
    return NULL;
}

static void takes_posts_from_other_threads(void) {
    harness_engine *engine = harness_new(NULL, NULL);
    struct posted posted = {0};
    struct poster poster = {engine, &posted};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, post_some, &poster);
    for (int i = 0; i < 1000 && posted.count < 400; i++) CHECK(harness_wait(engine, 1000) >= 0);
    CHECK_INT(400, posted.count);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    harness_post(engine, on_post, &posted);
    harness_free(engine);
    CHECK_INT(401, posted.count);
}

static const struct check_case CASES[] = {
    {"lives in a frame loop", lives_in_a_frame_loop},
    {"lives in an epoll loop", lives_in_an_epoll_loop},
    {"wakes a host that sleeps", wakes_a_host_that_sleeps},
    {"lives on a uv loop of the host", lives_on_a_uv_loop},
    {"leaves the uv loop of the host its turns", leaves_the_uv_loop_its_turns},
    {"survives a host that never pumps", survives_a_host_that_never_pumps},
    {"keeps to its budget", keeps_to_its_budget},
    {"takes posts from other threads", takes_posts_from_other_threads},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return check_main(argc, argv, CASES);
}
