/* basics.c - harness.h as a host uses it, and misuses it. */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "check.h"

static void runs_an_agent(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    struct seen seen = {0};
    harness_run *run = start_seen(engine, "s", "guard", "\"door\"", &seen);
    CHECK_INT(HARNESS_RUNNING, harness_run_status(run));
    wait_done(engine, &seen);
    CHECK_INT(HARNESS_SUCCEEDED, seen.state);
    CHECK_INT(HARNESS_SUCCEEDED, harness_run_status(run));
    CHECK(strcmp(seen.last, "\"hi\"") == 0);
    CHECK_HAS("run.started agent.started model.started model.completed tool.started tool.finished "
              "model.started model.delta",
              seen.types);
    CHECK_HAS("agent.finished run.finished ", seen.types);
    CHECK_INT(0, harness_run_release(run));
    struct seen flow = {0};
    run = start_seen(engine, NULL, "flow", "{\"mail\":\"x\",\"n\":9007199254740993}", &flow);
    wait_done(engine, &flow);
    CHECK(strcmp(flow.last, "{\"n\":9007199254740993,\"said\":\"hi\"}") == 0);
    CHECK_INT(0, harness_run_release(run));
    CHECK_INT(0, harness_free(engine));
}

static void tells_of_failures(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    struct seen seen = {0};
    harness_run *run = start_seen(engine, "s", "guard", "\"fail\"", &seen);
    struct seen busy = {0};
    harness_run *second = start_seen(engine, "s", "guard", "\"door\"", &busy);
    wait_done(engine, &busy);
    CHECK_INT(HARNESS_FAILED, busy.state);
    CHECK_HAS("SESSION_BUSY", busy.last);
    wait_done(engine, &seen);
    CHECK_INT(HARNESS_FAILED, seen.state);
    CHECK_HAS("\"code\":\"MODEL_ERROR\"", seen.last);
    harness_run_release(run);
    harness_run_release(second);
    harness_free(engine);
}

static void cancels(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    struct seen seen = {0}, early = {0};
    harness_run *run = start_seen(engine, "s", "guard", "\"slow\"", &seen);
    harness_run *other = start_seen(engine, "t", "guard", "\"slow\"", &early);
    CHECK_INT(0, harness_cancel(other, NULL)); /* before it has begun */
    harness_pump(engine, 10000);
    CHECK_INT(0, harness_cancel(run, "player left"));
    CHECK_INT(0, harness_cancel(run, "again"));
    wait_done(engine, &seen);
    wait_done(engine, &early);
    CHECK_INT(HARNESS_CANCELLED, seen.state);
    CHECK_INT(HARNESS_CANCELLED, early.state);
    CHECK_HAS("player left", seen.last);
    CHECK_INT(0, harness_cancel(run, "late"));
    harness_run_release(run);
    harness_run_release(other);
    struct seen freed = {0};
    start_seen(engine, "s", "guard", "\"slow\"", &freed);
    harness_pump(engine, 10000);
    harness_free(engine);
    CHECK_INT(1, freed.done);
    CHECK_INT(HARNESS_CANCELLED, freed.state);
}

static void releases_what_runs(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    struct seen seen = {0};
    harness_run *run = start_seen(engine, "s", "guard", "\"door\"", &seen);
    harness_pump(engine, 1000);
    int before = seen.events;
    CHECK_INT(0, harness_run_release(run));
    CHECK_INT(HARNESS_EINVAL, harness_run_release(run));
    CHECK_INT(HARNESS_EINVAL, harness_cancel(run, NULL));
    CHECK_INT(HARNESS_EINVAL, harness_run_status(run));
    for (int i = 0; i < 50; i++) harness_wait(engine, 5);
    CHECK_INT(before, seen.events);
    CHECK_INT(0, seen.done);
    struct seen again = {0}; /* the session is free: the run went on without its handle */
    run = start_seen(engine, "s", "guard", "\"door\"", &again);
    wait_done(engine, &again);
    CHECK_INT(HARNESS_SUCCEEDED, again.state);
    harness_free(engine); /* with a handle that was never released */
}

/* ---- bad input ----------------------------------------------------------------------------- */

static void refuses_bad_options(void) {
    harness_error error = HARNESS_ERROR_INIT;
    harness_options options = HARNESS_OPTIONS_INIT;
    options.size = 0;
    CHECK(!harness_new(&options, &error));
    CHECK_INT(HARNESS_EINVAL, error.status);
    CHECK_HAS("HARNESS_OPTIONS_INIT", error.message);
    options.size = sizeof options;
    options.log_level = "loud";
    CHECK(!harness_new(&options, &error));
    CHECK_HAS("loud", error.message);
    CHECK(!harness_new(&options, NULL));
    harness_engine *engine = harness_new(NULL, &error);
    CHECK(engine != NULL);
    harness_memory_figures figures = {0};
    CHECK_INT(HARNESS_EINVAL, harness_memory(engine, &figures));
    CHECK_INT(HARNESS_EINVAL, harness_memory(engine, NULL));
    harness_free(engine);
    CHECK_INT(0, harness_free(NULL));
    CHECK_INT(HARNESS_EINVAL, harness_pump(NULL, 1));
    CHECK_INT(HARNESS_EINVAL, harness_wait(NULL, 1));
    CHECK_INT(HARNESS_EINVAL, harness_load_file(NULL, "x", &error));
    CHECK_INT(HARNESS_EINVAL, harness_post(NULL, NULL, NULL));
    harness_wakeup(NULL);
}

static void refuses_bad_requests(void) {
    harness_error error = HARNESS_ERROR_INIT;
    harness_request request = HARNESS_REQUEST_INIT;
    harness_engine *engine = harness_new(NULL, &error);
    request.target = "guard";
    CHECK(!harness_start(engine, &request, &error));
    CHECK_HAS("no harness was loaded", error.message);
    CHECK(!harness_start(engine, NULL, &error));
    CHECK_HAS("request is NULL", error.message);
    CHECK_INT(0, harness_load_buffer(engine, SCRIPT, strlen(SCRIPT), "x", &error));
    request.target = "gurd";
    CHECK(!harness_start(engine, &request, &error));
    CHECK_INT(HARNESS_ENOTFOUND, error.status);
    CHECK_HAS("did you mean \"guard\"", error.message);
    CHECK_HAS("\"code\":\"AGENT_NOT_FOUND\"", error.json);
    request.target = NULL;
    CHECK(!harness_start(engine, &request, &error));
    CHECK_INT(HARNESS_EINVAL, error.status);
    request.target = "guard";
    request.input_json = "{nonsense";
    CHECK(!harness_start(engine, &request, &error));
    CHECK_HAS("input_json is not valid JSON", error.message);
    request.input_json = "\"x\"";
    request.options_json = "[1]";
    CHECK(!harness_start(engine, &request, &error) || true);
    request.options_json = "7";
    CHECK(!harness_start(engine, &request, &error));
    CHECK_HAS("options_json must be an object", error.message);
    request.size = 8;
    CHECK(!harness_start(engine, &request, &error));
    CHECK_HAS("too small", error.message);
    CHECK(!harness_start(engine, &request, NULL));
    struct seen seen = {0}; /* what the run itself refuses comes by on_done */
    request = (harness_request)HARNESS_REQUEST_INIT;
    request.target = "guard";
    request.input_json = "\"x\"";
    request.options_json = "{\"timeout\": 5}";
    request.on_done = seen_done;
    request.user = &seen;
    harness_run *run = harness_start(engine, &request, &error);
    CHECK(run != NULL);
    wait_done(engine, &seen);
    CHECK_HAS("timeout_ms", seen.last);
    harness_free(engine);
}

static void refuses_bad_scripts(void) {
    harness_error error = HARNESS_ERROR_INIT;
    harness_engine *engine = harness_new(NULL, &error);
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"return {", "case.lua:1:"},
        {"error 'broken'", "broken"},
        {"error({ code = 1 })", "table value"},
        {"local t = nil; t.x = 1", "attempt to index"},
        {"require 'nothing.here'", "module 'nothing.here' not found"},
        {"return require('harness').define { models = {}, agent = {} }", "agents"},
        {"os.exit(3)", "the host's to call"},
        {"os.setlocale('C')", "the host's to call"},
        {"\x1bLua", "attempt to load a binary chunk"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int rc =
            harness_load_buffer(engine, CASES[i].text, strlen(CASES[i].text), "case.lua", &error);
        CHECK(rc < 0);
        CHECK_INT(rc, error.status);
        CHECK_HAS(CASES[i].expected, error.message);
    }
    CHECK_INT(HARNESS_ENOTFOUND, harness_load_file(engine, "/does/not/exist.lua", &error));
    CHECK_HAS("/does/not/exist.lua", error.message);
    CHECK(harness_load_file(engine, "/", &error) < 0);
    CHECK_INT(HARNESS_EINVAL, harness_load_file(engine, NULL, &error));
    CHECK_INT(HARNESS_EINVAL, harness_load_buffer(engine, NULL, 0, "x", &error));
    CHECK_INT(0,
              harness_load_buffer(engine, "return 5", 8, "x", &error)); /* no harness, no mistake */
    harness_free(engine);
}

static int log_lines;
static char log_last[2000];

static void count_log(void *user, const char *line, size_t len) {
    (void)user;
    log_lines++;
    snprintf(log_last, sizeof log_last, "%.*s", (int)len, line);
}

static void loads_scripts_that_wait(void) {
    harness_options options = HARNESS_OPTIONS_INIT;
    options.log = count_log;
    harness_engine *engine = harness_new(&options, NULL);
    static const char WAITS[] = "require('harness').sleep(20)\n" SCRIPT;
    CHECK_INT(0, harness_load_buffer(engine, WAITS, strlen(WAITS), "waits.lua", NULL));
    harness_request request = HARNESS_REQUEST_INIT;
    request.target = "guard";
    CHECK(!harness_start(engine, &request, NULL)); /* not there yet */
    for (int i = 0; i < 100; i++) harness_wait(engine, 2);
    struct seen seen = {0};
    start_seen(engine, NULL, "guard", "\"x\"", &seen);
    wait_done(engine, &seen);
    log_lines = 0;
    static const char FAILS[] = "require('harness').sleep(1)\nerror 'too late'";
    CHECK_INT(0, harness_load_buffer(engine, FAILS, strlen(FAILS), "fails.lua", NULL));
    for (int i = 0; i < 100 && !log_lines; i++) harness_wait(engine, 5);
    CHECK_INT(1, log_lines);
    CHECK_HAS("too late", log_last);
    harness_free(engine);
}

/* ---- where calls are allowed --------------------------------------------------------------- */

struct from_callback {
    harness_engine *engine;
    int pump, freed, wait;
    harness_run *next;
    struct seen seen;
};

static void try_everything(harness_run *run, enum harness_run_state state, const char *json,
                           size_t len, void *user) {
    (void)state;
    (void)json;
    (void)len;
    struct from_callback *from = user;
    from->pump = harness_pump(from->engine, 10);
    from->wait = harness_wait(from->engine, 10);
    from->freed = harness_free(from->engine);
    harness_run_release(run);
    from->next = start_seen(from->engine, "next", "guard", "\"x\"", &from->seen);
}

static void allows_most_calls_in_callbacks(void) {
    struct from_callback from = {.engine = engine_with(NULL, SCRIPT)};
    harness_request request = HARNESS_REQUEST_INIT;
    request.target = "guard";
    request.input_json = "\"x\"";
    request.on_done = try_everything;
    request.user = &from;
    CHECK(harness_start(from.engine, &request, NULL) != NULL);
    for (int i = 0; i < 1000 && !from.next; i++) harness_wait(from.engine, 10);
    CHECK_INT(HARNESS_EBUSY, from.pump);
    CHECK_INT(HARNESS_EBUSY, from.wait);
    CHECK_INT(HARNESS_EBUSY, from.freed);
    wait_done(from.engine, &from.seen);
    harness_free(from.engine);
}

static void *call_from_elsewhere(void *user) {
    harness_engine *engine = user;
    harness_error error = HARNESS_ERROR_INIT;
    harness_request request = HARNESS_REQUEST_INIT;
    request.target = "guard";
    CHECK(!harness_start(engine, &request, &error));
    CHECK_INT(HARNESS_ETHREAD, error.status);
    CHECK_INT(HARNESS_ETHREAD, harness_pump(engine, 1));
    CHECK_INT(HARNESS_ETHREAD, harness_free(engine));
    harness_wakeup(engine);
    return NULL;
}

static void refuses_other_threads(void) {
    harness_engine *engine = engine_with(NULL, SCRIPT);
    pthread_t thread;
    pthread_create(&thread, NULL, call_from_elsewhere, engine);
    pthread_join(thread, NULL);
    harness_free(engine);
}

/* ---- functions of the host ----------------------------------------------------------------- */

static void host_look(void *user, const char *json, size_t len, harness_reply *reply) {
    (*(int *)user)++;
    if (strstr(json, "wall")) harness_reply_error(reply, "NO_SUCH_THING", "there is a wall");
    else if (strstr(json, "nothing")) return;
    else harness_reply_json(reply, json, len);
}

static harness_engine *reentered;
static int reentry_status;

static void host_reenters(void *user, const char *json, size_t len, harness_reply *reply) {
    (void)user;
    (void)json;
    (void)len;
    (void)reply;
    reentry_status = harness_pump(reentered, 1);
}

static void offers_functions_of_the_host(void) {
    static const harness_function FUNCTIONS[] = {
        {"look", host_look, "Looks at a thing.",
         "{\"type\":\"object\",\"properties\":{\"at\":{\"type\":\"string\"}},\"required\":[\"at\"]}"},
        {"reenter", host_reenters, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int calls = 0;
    harness_error error = HARNESS_ERROR_INIT;
    harness_engine *engine = harness_new(NULL, NULL);
    CHECK_INT(0, harness_register(engine, "world", FUNCTIONS, &calls, &error));
    static const char CALLS[] =
        "local got = world.look { at = 'door', n = 1 << 60, list = { 1.5, true } }\n"
        "assert(got.at == 'door' and got.n == 1 << 60 and got.list[1] == 1.5)\n"
        "local ok, err = pcall(world.look, { at = 'wall' })\n"
        "assert(not ok and err.code == 'NO_SUCH_THING' and err.message == 'there is a wall')\n"
        "assert(world.look 'nothing' == require('harness').null)\n"
        "world.reenter()\n";
    reentered = engine;
    CHECK_INT(0, harness_load_buffer(engine, CALLS, strlen(CALLS), "calls.lua", &error));
    CHECK_INT(3, calls);
    CHECK_INT(HARNESS_EBUSY, reentry_status);
    static const char TOOL[] =
        "local harness = require 'harness'\n"
        "local model = harness.providers.scripted { { tool_calls = { { name = 'look', arguments = { at = 'sky' } } } },\n"
        "  function(request) return { text = request.messages[#request.messages].content } end }\n"
        "return harness.define { models = { m = { provider = model, model = 'm' } }, tools = { look = world.look },\n"
        "  agents = { guard = { model = 'm', instructions = 'x', tools = { 'look' } } } }\n";
    CHECK_INT(0, harness_load_buffer(engine, TOOL, strlen(TOOL), "tool.lua", &error));
    struct seen seen = {0};
    start_seen(engine, NULL, "guard", "\"x\"", &seen);
    wait_done(engine, &seen);
    CHECK_HAS("sky", seen.last);
    CHECK_INT(4, calls);
    static const harness_function BAD[] = {{"Look", host_look, NULL, NULL},
                                           {NULL, NULL, NULL, NULL}};
    static const harness_function EMPTY[] = {{"look", NULL, NULL, NULL}, {NULL, NULL, NULL, NULL}};
    CHECK_INT(HARNESS_EINVAL, harness_register(engine, "w", BAD, NULL, &error));
    CHECK_HAS("Look", error.message);
    CHECK_INT(HARNESS_EINVAL, harness_register(engine, "w", EMPTY, NULL, &error));
    CHECK_INT(HARNESS_EINVAL, harness_register(engine, NULL, FUNCTIONS, NULL, &error));
    CHECK_INT(HARNESS_EINVAL, harness_register(engine, "w", NULL, NULL, &error));
    harness_free(engine);
}

static const char *find_module(void *user, const char *name, size_t *len) {
    (void)user;
    static const char TEXT[] = "return { answer = 42 }";
    if (strcmp(name, "game.items") != 0) return NULL;
    *len = strlen(TEXT);
    return TEXT;
}

static void finds_modules_of_the_host(void) {
    harness_options options = HARNESS_OPTIONS_INIT;
    options.module = find_module;
    static const char USES[] = "assert(require('game.items').answer == 42)\n"
                               "assert(package.path == '' and package.cpath == '')\n"
                               "local ok, err = pcall(require, 'game.monsters')\n"
                               "assert(not ok and err:find 'the host has no module')";
    harness_engine *engine = engine_with(&options, USES);
    harness_free(engine);
}

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
    static const char BUSY[] =
        "local harness = require 'harness'\n"
        "local model = harness.providers.scripted(function() local c = {} for i = 1, 500 do c[i] = 'x' end "
        "return { chunks = c } end)\n"
        "return harness.define { models = { m = { provider = model, model = 'm' } },\n"
        "  agents = { talker = { model = 'm', instructions = 'x' } } }\n";
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

/* ---- memory -------------------------------------------------------------------------------- */

static void keeps_a_memory_limit(void) {
    harness_options options = HARNESS_OPTIONS_INIT;
    options.memory_limit = 8 << 20;
    static const char HOG[] =
        "local harness = require 'harness'\n"
        "return harness.define {\n"
        "  models = { m = { provider = harness.providers.scripted {}, model = 'm' } }, workflows = {\n"
        "  hog = { run = function() local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end end },\n"
        "  fine = { run = function() return 'fine' end } } }\n";
    harness_engine *engine = engine_with(&options, HOG);
    struct seen seen = {0};
    start_seen(engine, NULL, "hog", NULL, &seen);
    wait_done(engine, &seen);
    CHECK_INT(HARNESS_FAILED, seen.state);
    CHECK_HAS("not enough memory", seen.last);
    struct seen after = {0};
    start_seen(engine, NULL, "fine", NULL, &after);
    wait_done(engine, &after);
    CHECK(strcmp(after.last, "\"fine\"") == 0);
    harness_memory_figures figures = HARNESS_MEMORY_FIGURES_INIT;
    CHECK_INT(0, harness_memory(engine, &figures));
    CHECK(figures.lua_peak <= options.memory_limit && figures.lua_bytes > 100000);
    CHECK(figures.lua_bytes <= figures.lua_peak && figures.limit == options.memory_limit);
    CHECK_INT(2, figures.runs);
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

static const struct check_case CASES[] = {
    {"runs an agent and a workflow", runs_an_agent},
    {"tells of failures", tells_of_failures},
    {"cancels", cancels},
    {"lets go of what runs", releases_what_runs},
    {"refuses bad options", refuses_bad_options},
    {"refuses bad requests", refuses_bad_requests},
    {"refuses bad scripts", refuses_bad_scripts},
    {"loads scripts that wait", loads_scripts_that_wait},
    {"allows most calls in callbacks", allows_most_calls_in_callbacks},
    {"refuses other threads", refuses_other_threads},
    {"offers functions of the host", offers_functions_of_the_host},
    {"finds modules of the host", finds_modules_of_the_host},
    {"lives in a frame loop", lives_in_a_frame_loop},
    {"lives in an epoll loop", lives_in_an_epoll_loop},
    {"wakes a host that sleeps", wakes_a_host_that_sleeps},
    {"lives on a uv loop of the host", lives_on_a_uv_loop},
    {"survives a host that never pumps", survives_a_host_that_never_pumps},
    {"keeps to its budget", keeps_to_its_budget},
    {"takes posts from other threads", takes_posts_from_other_threads},
    {"keeps a memory limit", keeps_a_memory_limit},
    {"is made and freed often", is_made_and_freed_often},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return check_main(argc, argv, CASES);
}
