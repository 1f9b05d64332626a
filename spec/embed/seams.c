/* seams.c - HTTP and child processes by the host's own functions, and a host without threads. */
#include <errno.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "check.h"

#define MODEL_SCRIPT                                                                                \
    "local harness = require 'harness'\n"                                                           \
    "local model = harness.providers.openai { api_key = 'k', base_url = 'http://model.test/v1' }\n" \
    "return harness.define {\n"                                                                     \
    "  models = { fast = { provider = model, model = 'm' } },\n"                                    \
    "  agents = { guard = { model = 'fast', instructions = 'x' } },\n"                              \
    "  workflows = { length = { run = function(ctx)\n"                                              \
    "    return #ctx.models.fast:text({ prompt = 'x' }).text end } },\n"                            \
    "}\n"

static void rest(void) {
    struct timespec moment = {.tv_nsec = 1000000};
    nanosleep(&moment, NULL);
}

/* ---- HTTP ---------------------------------------------------------------------------------- */

/* A transport that keeps one request and answers it when it is told to. */
struct transport {
    harness_http_transfer *transfer;
    int started, stopped, resumed;
    bool refuses;
    char url[200];
    char body[4000];
    char key[100];
};

static void *transport_start(void *user, const harness_http_request *request,
                             harness_http_transfer *transfer) {
    struct transport *t = user;
    if (t->refuses) return NULL;
    t->started++;
    t->transfer = transfer;
    snprintf(t->url, sizeof t->url, "%s %s", request->method, request->url);
    snprintf(t->body, sizeof t->body, "%.*s", (int)request->body_len, request->body);
    for (size_t i = 0; i < request->header_count; i++)
        if (strcmp(request->headers[2 * i], "authorization") == 0)
            snprintf(t->key, sizeof t->key, "%s", request->headers[2 * i + 1]);
    return t;
}

static void transport_stop(void *user, void *handle) {
    struct transport *t = user;
    CHECK(handle == user);
    t->stopped++;
    t->transfer = NULL;
}

static void transport_resume(void *user, void *handle) {
    struct transport *t = user;
    CHECK(handle == user);
    t->resumed++;
}

/* loop: the host's, or NULL. */
static harness_engine *engine_on(struct transport *transport, uv_loop_t *loop) {
    static harness_http http;
    http = (harness_http){.size = sizeof http,
                          .user = transport,
                          .start = transport_start,
                          .stop = transport_stop,
                          .resume = transport_resume};
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http = &http;
    options.uv_loop = loop;
    return engine_with(&options, MODEL_SCRIPT);
}

static void pump_until_started(harness_engine *engine, const struct transport *transport,
                               int count) {
    for (int i = 0; i < 1000 && transport->started < count; i++) {
        harness_pump(engine, 1000);
        rest();
    }
    CHECK_INT(count, transport->started);
}

static void answers_over_the_transport(void) {
    static const char *const HEADERS[] = {"Content-Type", "text/event-stream"};
    static const char PARTS[][160] = {
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Who go\"}}]}\n\nda",
        "ta: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"es there?\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    };
    struct transport transport = {0};
    harness_engine *engine = engine_on(&transport, NULL);
    struct seen seen = {0};
    start_seen(engine, NULL, "guard", "\"hello\"", &seen);
    pump_until_started(engine, &transport, 1);
    CHECK(strcmp(transport.url, "POST http://model.test/v1/chat/completions") == 0);
    CHECK_HAS("\"hello\"", transport.body);
    CHECK(strcmp(transport.key, "Bearer k") == 0);
    CHECK_INT(0, harness_http_head(transport.transfer, 200, HEADERS, 1));
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        CHECK_INT(0, harness_http_body(transport.transfer, PARTS[i], strlen(PARTS[i])));
        harness_pump(engine, 10000);
    }
    if (transport.transfer) harness_http_end(transport.transfer, NULL);
    wait_done(engine, &seen);
    CHECK(strcmp(seen.last, "\"Who goes there?\"") == 0);
    harness_free(engine);
}

/* What the host's transport tells wakes an engine that lives on a uv loop of the host's. */
static void answers_on_a_uv_loop(void) {
    static const char *const HEADERS[] = {"content-type", "text/event-stream"};
    static const char TEXT[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Aye\"},\"finish_reason\":\"stop\"}]}\n\n"
        "data: [DONE]\n\n";
    struct transport transport = {0};
    uv_loop_t loop;
    uv_loop_init(&loop);
    harness_engine *engine = engine_on(&transport, &loop);
    struct seen seen = {0};
    start_seen(engine, NULL, "guard", "\"hello\"", &seen);
    while (!transport.started) uv_run(&loop, UV_RUN_ONCE);
    CHECK_INT(0, harness_http_head(transport.transfer, 200, HEADERS, 1));
    CHECK_INT(0, harness_http_body(transport.transfer, TEXT, strlen(TEXT)));
    harness_http_end(transport.transfer, NULL);
    while (!seen.done) uv_run(&loop, UV_RUN_ONCE);
    CHECK(strcmp(seen.last, "\"Aye\"") == 0);
    harness_free(engine);
    CHECK_INT(0, uv_loop_close(&loop));
}

static void fails_over_the_transport(void) {
    struct transport transport = {0};
    harness_engine *engine = engine_on(&transport, NULL);
    struct seen seen = {0};
    start_seen(engine, NULL, "guard", "\"hello\"", &seen);
    for (int attempt = 1; attempt <= 3; attempt++) { /* a broken connection is tried again */
        pump_until_started(engine, &transport, attempt);
        harness_http_end(transport.transfer, "the cable was cut");
    }
    wait_done(engine, &seen);
    CHECK_INT(HARNESS_FAILED, seen.state);
    CHECK_HAS("the cable was cut", seen.last);
    transport.refuses = true;
    struct seen refused = {0};
    start_seen(engine, NULL, "guard", "\"hello\"", &refused);
    wait_done(engine, &refused);
    CHECK_HAS("transport did not start", refused.last);
    harness_free(engine);
}

/* What the engine refuses is over at once for both sides: no stop, no clock that has to run out. */
static void ends_what_it_refuses(void) {
    static const char *const HEADERS[] = {"content-type", "application/json", "content-encoding",
                                          "gzip"};
    struct transport transport = {0};
    harness_engine *engine = engine_on(&transport, NULL);
    struct seen seen = {0};
    start_seen(engine, NULL, "guard", "\"hello\"", &seen);
    for (int attempt = 1; attempt <= 3; attempt++) {
        pump_until_started(engine, &transport, attempt);
        CHECK_INT(-1, harness_http_head(transport.transfer, 200, HEADERS, 2));
    }
    wait_done(engine, &seen);
    CHECK_INT(HARNESS_FAILED, seen.state);
    CHECK_HAS("compressed", seen.last);
    harness_free(engine);
    CHECK_INT(0, transport.stopped);
}

static void pauses_the_transport(void) {
    static const char *const HEADERS[] = {"content-type", "text/event-stream"};
    enum { TEXT = 60000, PIECES = 40 };
    static char piece[TEXT + 200];
    int len = snprintf(piece, sizeof piece,
                       "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%0*d\"}}]}\n\n",
                       TEXT, 7);
    struct transport transport = {0};
    harness_engine *engine = engine_on(&transport, NULL);
    struct seen seen = {0};
    start_seen(engine, NULL, "length", NULL, &seen);
    pump_until_started(engine, &transport, 1);
    CHECK_INT(0, harness_http_head(transport.transfer, 200, HEADERS, 1));
    int paused = 0;
    for (int i = 0; i < PIECES; i++) {
        int rc = harness_http_body(transport.transfer, piece, (size_t)len);
        while (rc == 1) {
            paused++;
            for (int k = 0; k < 1000 && transport.resumed < paused; k++) harness_pump(engine, 1000);
            CHECK_INT(paused, transport.resumed);
            rc = harness_http_body(transport.transfer, piece, (size_t)len);
        }
        CHECK_INT(0, rc);
    }
    CHECK(paused > 0);
    static const char END[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: [DONE]\n\n";
    while (harness_http_body(transport.transfer, END, strlen(END)) == 1) harness_pump(engine, 1000);
    harness_pump(engine, 10000);
    if (transport.transfer) harness_http_end(transport.transfer, NULL);
    wait_done(engine, &seen);
    CHECK_INT(TEXT * PIECES, atoi(seen.last));
    harness_free(engine);
}

static void refuses_half_a_table(void) {
    harness_http http = {.size = sizeof http, .start = transport_start};
    harness_options options = HARNESS_OPTIONS_INIT;
    harness_error error = HARNESS_ERROR_INIT;
    options.http = &http;
    CHECK(!harness_new(&options, &error));
    CHECK_HAS("options.http", error.message);
    http = (harness_http){.start = transport_start, .stop = transport_stop};
    CHECK(!harness_new(&options, &error));
    options.http = NULL;
    harness_process process = {.size = sizeof process};
    options.process = &process;
    CHECK(!harness_new(&options, &error));
    CHECK_HAS("options.process", error.message);
}

static void stops_the_transport(void) {
    struct transport transport = {0};
    harness_engine *engine = engine_on(&transport, NULL);
    struct seen seen = {0};
    harness_run *run = start_seen(engine, NULL, "guard", "\"hello\"", &seen);
    pump_until_started(engine, &transport, 1);
    harness_cancel(run, "enough");
    wait_done(engine, &seen);
    CHECK_INT(1, transport.stopped);
    struct seen freed = {0};
    start_seen(engine, NULL, "guard", "\"hello\"", &freed);
    pump_until_started(engine, &transport, 2);
    harness_free(engine);
    CHECK_INT(2, transport.stopped);
    CHECK_INT(1, freed.done);
}

static void resolves_no_names_without_threads(void) {
    harness_options options = HARNESS_OPTIONS_INIT;
    options.no_threads = 1; /* which no script can undo */
    harness_engine *engine =
        engine_with(&options, "require('harness.core').http.configure {}\n" MODEL_SCRIPT);
    struct seen seen = {0};
    start_seen(engine, NULL, "guard", "\"hello\"", &seen);
    wait_done(engine, &seen);
    CHECK_INT(HARNESS_FAILED, seen.state);
    CHECK_HAS("allows no threads", seen.last);
    harness_free(engine);
}

/* ---- processes ----------------------------------------------------------------------------- */

/* One child at a time, started by fork and looked after by the host's loop. */
struct starter {
    harness_child *child;
    pid_t pid;
    int signalled, signals, released;
};

static int starter_start(void *user, const harness_process_request *request, harness_child *child,
                         int *pid, void **handle) {
    struct starter *starter = user;
    if (strcmp(request->file, "/nothing") == 0) return ENOENT;
    pid_t made = fork();
    if (made < 0) return errno;
    if (made == 0) {
        setpgid(0, 0);
        for (int i = 0; i < 3; i++) dup2(request->fds[i], i);
        execvp(request->file, (char *const *)(uintptr_t)request->args);
        _exit(127);
    }
    starter->child = child;
    starter->pid = made;
    *pid = (int)made;
    *handle = starter;
    return 0;
}

static void starter_signal(void *user, void *handle, int signum) {
    struct starter *starter = handle;
    CHECK(user == handle);
    starter->signalled = signum;
    starter->signals++;
    kill(-starter->pid, signum);
}

static void starter_release(void *user, void *handle) {
    struct starter *starter = user;
    CHECK(user == handle);
    starter->released++;
}

static harness_engine *engine_started_by(struct starter *starter, const char *script) {
    harness_process process = {.size = sizeof process,
                               .user = starter,
                               .start = starter_start,
                               .signal = starter_signal,
                               .release = starter_release};
    harness_options options = HARNESS_OPTIONS_INIT;
    options.process = &process;
    return engine_with(&options, script);
}

static void look_after(struct starter *starter) {
    int status;
    if (!starter->child || waitpid(starter->pid, &status, WNOHANG) != starter->pid) return;
    harness_child *child = starter->child;
    starter->child = NULL;
    harness_process_exited(child, WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                           WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void starts_children_by_the_host(void) {
    static const char SCRIPT_TEXT[] =
        "local harness, process = require 'harness', require 'harness.process'\n"
        "return harness.define {\n"
        "  models = { m = { provider = harness.providers.scripted {}, model = 'm' } },\n"
        "  workflows = {\n"
        "    talk = { run = function()\n"
        "      local ok, err = pcall(process.run, { file = '/nothing' })\n"
        "      local p = process.run { file = 'sh', args = { '-c', 'cat; exit 3' }, stdin = 'hello' }\n"
        "      return { p.stdout, p.exit_code, err.meta.error } end },\n"
        "    stop = { run = function()\n"
        "      local p <close> = process.spawn { file = 'sleep', args = { '60' } }\n"
        "      return p:wait() end },\n"
        "  },\n"
        "}\n";
    struct starter starter = {0};
    harness_engine *engine = engine_started_by(&starter, SCRIPT_TEXT);
    struct seen seen = {0};
    start_seen(engine, NULL, "talk", NULL, &seen);
    for (int i = 0; i < 3000 && !seen.done; i++) {
        harness_pump(engine, 1000);
        look_after(&starter);
        rest();
    }
    CHECK(strcmp(seen.last, "[\"hello\",3,\"ENOENT\"]") == 0);
    struct seen stopped = {0};
    harness_run *run = start_seen(engine, NULL, "stop", NULL, &stopped);
    for (int i = 0; i < 100 && !starter.child; i++) {
        harness_pump(engine, 1000);
        rest();
    }
    harness_cancel(run, NULL);
    for (int i = 0; i < 3000 && (!stopped.done || starter.child); i++) {
        harness_pump(engine, 1000);
        look_after(&starter);
        rest();
    }
    CHECK_INT(HARNESS_CANCELLED, stopped.state);
    CHECK(starter.signalled != 0 && !starter.child);
    harness_free(engine);
    CHECK_INT(2, starter.released);
}

/* Whoever frees the engine is who would tell of exits: none is waited for. */
static void frees_with_children_of_the_host(void) {
    static const char SCRIPT_TEXT[] =
        "local harness, process = require 'harness', require 'harness.process'\n"
        "return harness.define {\n"
        "  models = { m = { provider = harness.providers.scripted {}, model = 'm' } },\n"
        "  workflows = { nap = { run = function()\n"
        "    local p <close> = process.spawn { file = 'sleep', args = { '60' } }\n"
        "    return p:wait() end } },\n"
        "}\n";
    struct starter starter = {0};
    harness_engine *engine = engine_started_by(&starter, SCRIPT_TEXT);
    struct seen seen = {0};
    start_seen(engine, NULL, "nap", NULL, &seen);
    for (int i = 0; i < 1000 && !starter.child; i++) harness_pump(engine, 1000);
    CHECK(starter.child != NULL);
    harness_free(engine);
    CHECK_INT(1, seen.done);
    CHECK_INT(1, starter.released);
    CHECK_INT(SIGKILL, starter.signalled);
    CHECK_INT(2, starter.signals); /* TERM when its task was cancelled, KILL at the end */
    int status;
    CHECK_INT(starter.pid, waitpid(starter.pid, &status, 0));
}

/* Without leave nothing is done that installs a handler; with it libuv does. */
static void starts_no_children_without_leave(void) {
    static const char SCRIPT_TEXT[] =
        "local harness, process = require 'harness', require 'harness.process'\n"
        "return harness.define {\n"
        "  models = { m = { provider = harness.providers.scripted {}, model = 'm' } },\n"
        "  workflows = { talk = { run = function()\n"
        "    return process.run { file = 'echo', args = { 'hello' } }.stdout end } },\n"
        "}\n";
    for (int allowed = 0; allowed < 2; allowed++) {
        harness_options options = HARNESS_OPTIONS_INIT;
        options.allow_signals = allowed;
        harness_engine *engine = engine_with(&options, SCRIPT_TEXT);
        struct seen seen = {0};
        start_seen(engine, NULL, "talk", NULL, &seen);
        wait_done(engine, &seen);
        CHECK_HAS(allowed ? "hello" : "\"reason\":\"no_signals\"", seen.last);
        struct sigaction action;
        CHECK_INT(0, sigaction(SIGCHLD, NULL, &action));
        if (!allowed) CHECK(action.sa_handler == SIG_DFL);
        harness_free(engine);
    }
}

static const struct check_case CASES[] = {
    {"answers over the host's transport", answers_over_the_transport},
    {"answers over the host's transport on the host's uv loop", answers_on_a_uv_loop},
    {"tells what fails on the host's transport", fails_over_the_transport},
    {"ends what it refuses of the host's transport", ends_what_it_refuses},
    {"pauses the host's transport", pauses_the_transport},
    {"refuses half a table", refuses_half_a_table},
    {"stops what the host's transport does", stops_the_transport},
    {"resolves no names without threads", resolves_no_names_without_threads},
    {"starts children by the host", starts_children_by_the_host},
    {"frees with children of the host", frees_with_children_of_the_host},
    {"starts no children without leave", starts_no_children_without_leave},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return check_main(argc, argv, CASES);
}
