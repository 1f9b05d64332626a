/* basics.c - harness.h as a host uses it, and misuses it. */
#include <pthread.h>
#include <unistd.h>

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

/* What is due to be told after a script was loaded is due now. */
static void tells_what_a_load_has_done(void) {
    static const char FINE[] =
        "local harness = require 'harness'\n"
        "return harness.define {\n"
        "  models = { m = { provider = harness.providers.scripted {}, model = 'm' } },\n"
        "  workflows = { fine = { run = function() return 1 end } } }\n";
    harness_engine *engine = engine_with(NULL, FINE);
    struct seen seen = {0};
    start_seen(engine, NULL, "fine", NULL, &seen);
    for (int i = 0; i < 50; i++)
        CHECK_INT(0, harness_load_buffer(engine, "return 1", 8, "one.lua", NULL));
    CHECK_INT(0, harness_next_timeout_ms(engine));
    CHECK(harness_longest_resume_us(engine) > 0);
    wait_done(engine, &seen);
    harness_free(engine);
}

static void minds_the_environment_only_with_leave(void) {
    setenv("LUA_PATH_5_4", "/from/the/environment/?.lua", 1);
    setenv("HARNESS_LOG_LEVEL", "debug", 1);
    static const char SAYS[] =
        "require('harness.logger').new {}:debug 'I say'\n"
        "return package.path:find '/from/the/environment' and 1 or error 'no'";
    for (int allowed = 0; allowed < 2; allowed++) {
        harness_options options = HARNESS_OPTIONS_INIT;
        options.allow_environment = allowed;
        options.log = count_log;
        log_lines = 0;
        harness_engine *engine = harness_new(&options, NULL);
        int rc = harness_load_buffer(engine, SAYS, strlen(SAYS), "says.lua", NULL);
        CHECK_INT(allowed ? HARNESS_OK : HARNESS_ESCRIPT, rc);
        CHECK_INT(allowed, log_lines);
        harness_free(engine);
    }
    unsetenv("LUA_PATH_5_4");
    unsetenv("HARNESS_LOG_LEVEL");
}

static void takes_bytecode_only_with_leave(void) {
    char path[] = "/tmp/harness-bytecode-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    char script[300];
    snprintf(script, sizeof script,
             "local f <close> = assert(io.open('%s', 'wb'))\n"
             "f:write(string.dump(function() return 1 end))",
             path);
    for (int allowed = 0; allowed < 2; allowed++) {
        harness_options options = HARNESS_OPTIONS_INIT;
        options.allow_bytecode = allowed;
        harness_engine *engine = engine_with(&options, script);
        harness_error error = HARNESS_ERROR_INIT;
        CHECK_INT(allowed ? HARNESS_OK : HARNESS_ESCRIPT, harness_load_file(engine, path, &error));
        if (!allowed) CHECK_HAS("binary", error.message);
        harness_free(engine);
    }
    close(fd);
    remove(path);
}

static void finds_modules_on_its_path(void) {
    char directory[] = "/tmp/harness-modules-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    char file[100], pattern[100];
    snprintf(file, sizeof file, "%s/items.lua", directory);
    snprintf(pattern, sizeof pattern, "%s/?.lua", directory);
    FILE *out = fopen(file, "w");
    CHECK(out && fputs("return { answer = 42 }", out) >= 0 && fclose(out) == 0);
    harness_options options = HARNESS_OPTIONS_INIT;
    options.module_path = pattern;
    harness_free(engine_with(&options, "assert(require('items').answer == 42)"));
    remove(file);
    remove(directory);
}

static void leaves_an_error_alone_that_is_none(void) {
    harness_error error = HARNESS_ERROR_INIT;
    error.size = 0;
    harness_engine *engine = harness_new(NULL, &error);
    CHECK_INT(HARNESS_ESCRIPT, harness_load_buffer(engine, "error 'x'", 9, "x.lua", &error));
    CHECK_INT(HARNESS_ENOTFOUND, harness_load_file(engine, "/nowhere/x.lua", &error));
    CHECK(error.status == 0 && !error.message[0]);
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
    static const harness_function NO_SCHEMA[] = {{"look", host_look, "Looks.", "[1"},
                                                 {NULL, NULL, NULL, NULL}};
    CHECK_INT(HARNESS_EINVAL, harness_register(engine, "w", NO_SCHEMA, NULL, &error));
    CHECK_HAS("w.look: input_schema is not valid JSON", error.message);
    CHECK_INT(HARNESS_EINVAL, harness_register(engine, "string", FUNCTIONS, NULL, &error));
    CHECK_HAS("choose another name", error.message);
    CHECK_INT(0, harness_register(engine, "world", FUNCTIONS, &calls, &error));
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

static const struct check_case CASES[] = {
    {"runs an agent and a workflow", runs_an_agent},
    {"tells of failures", tells_of_failures},
    {"cancels", cancels},
    {"lets go of what runs", releases_what_runs},
    {"refuses bad options", refuses_bad_options},
    {"refuses bad requests", refuses_bad_requests},
    {"refuses bad scripts", refuses_bad_scripts},
    {"loads scripts that wait", loads_scripts_that_wait},
    {"tells what a load has done", tells_what_a_load_has_done},
    {"minds the environment only with leave", minds_the_environment_only_with_leave},
    {"takes bytecode only with leave", takes_bytecode_only_with_leave},
    {"finds modules on its path", finds_modules_on_its_path},
    {"leaves an error alone that is none", leaves_an_error_alone_that_is_none},
    {"allows most calls in callbacks", allows_most_calls_in_callbacks},
    {"refuses other threads", refuses_other_threads},
    {"offers functions of the host", offers_functions_of_the_host},
    {"finds modules of the host", finds_modules_of_the_host},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return check_main(argc, argv, CASES);
}
