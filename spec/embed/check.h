/* check.h - what the C programs of spec/embed share. Each program is a list of cases; `PROGRAM` runs all
 * of them, `PROGRAM NAME` one, `PROGRAM --list` names them; it prints a line for each: "ok NAME" or "FAILED NAME: file:line: what". */
#ifndef SPEC_EMBED_CHECK_H
#define SPEC_EMBED_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

struct check_case {
    const char *name;
    void (*run)(void);
};

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) check_failed(__FILE__, __LINE__, #condition);                            \
    } while (0)
#define CHECK_INT(expected, got) check_int(__FILE__, __LINE__, #got, (long)(expected), (long)(got))
#define CHECK_HAS(part, text) check_has(__FILE__, __LINE__, part, text)

static const char *check_name; /* of the case that runs */

static inline void check_failed(const char *file, int line, const char *what) {
    printf("FAILED %s: %s:%d: %s\n", check_name, file, line, what);
    exit(1);
}

static inline void check_int(const char *file, int line, const char *what, long expected,
                             long got) {
    if (expected == got) return;
    char text[400];
    snprintf(text, sizeof text, "%s is %ld, expected %ld", what, got, expected);
    check_failed(file, line, text);
}

static inline void check_has(const char *file, int line, const char *part, const char *text) {
    if (text && strstr(text, part)) return;
    printf("FAILED %s: %s:%d: expected \"%s\" in \"%s\"\n", check_name, file, line, part,
           text ? text : "(NULL)");
    exit(1);
}

static inline int check_main(int argc, char **argv, const struct check_case *cases) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    bool list = argc > 1 && strcmp(argv[1], "--list") == 0;
    for (const struct check_case *one = cases; list && one->name; one++) printf("%s\n", one->name);
    for (const struct check_case *one = cases; one->name; one++) {
        if (argc > 1 && strcmp(argv[1], one->name) != 0) continue;
        check_name = one->name;
        one->run();
        printf("ok %s\n", one->name);
    }
    return 0;
}

/* The counts of heavy cases, reduced under the sanitizers. */
static inline int check_count(int full, int soak) {
    const char *factor = getenv("HARNESS_SPEC_FACTOR");
    const char *how = getenv("HARNESS_SOAK");
    if (how && strcmp(how, "full") == 0) full = soak;
    return factor ? full / atoi(factor) : full;
}

/* What happened to a run. */
struct seen {
    int events;
    int done;
    enum harness_run_state state;
    void *loop; /* of a case that needs one */
    harness_run *other;
    char last[4096]; /* the output or error, or the last event */
    char types[8192];
};

static inline void seen_event(harness_run *run, const char *json, size_t len, void *user) {
    (void)run;
    struct seen *seen = user;
    CHECK(strlen(json) == len && !seen->done);
    seen->events++;
    const char *type = strstr(json, "\"type\":\"");
    size_t used = strlen(seen->types);
    if (type && used < sizeof seen->types - 64) {
        type += strlen("\"type\":\"");
        snprintf(seen->types + used, 64, "%.*s ", (int)strcspn(type, "\""), type);
    }
    snprintf(seen->last, sizeof seen->last, "%s", json);
}

static inline void seen_done(harness_run *run, enum harness_run_state state, const char *json,
                             size_t len, void *user) {
    (void)run;
    struct seen *seen = user;
    CHECK(strlen(json) == len);
    seen->done++;
    seen->state = state;
    snprintf(seen->last, sizeof seen->last, "%s", json);
}

/* An engine that has loaded a script; the case fails when it cannot. */
static inline harness_engine *engine_with(const harness_options *options, const char *script) {
    harness_error error = HARNESS_ERROR_INIT;
    harness_engine *engine = harness_new(options, &error);
    if (!engine ||
        harness_load_buffer(engine, script, strlen(script), "case.lua", &error) != HARNESS_OK)
        check_failed(__FILE__, __LINE__, error.message);
    return engine;
}

static inline harness_run *start_seen(harness_engine *engine, const char *session,
                                      const char *target, const char *input, struct seen *seen) {
    harness_error error = HARNESS_ERROR_INIT;
    harness_request request = HARNESS_REQUEST_INIT;
    request.session = session;
    request.target = target;
    request.input_json = input;
    request.on_event = seen_event;
    request.on_done = seen_done;
    request.user = seen;
    harness_run *run = harness_start(engine, &request, &error);
    if (!run) check_failed(__FILE__, __LINE__, error.message);
    return run;
}

static inline void wait_done(harness_engine *engine, const struct seen *seen) {
    for (int i = 0; i < 10000 && !seen->done; i++) CHECK(harness_wait(engine, 1000) >= 0);
    CHECK_INT(1, seen->done);
}

/* An agent, `guard`, that answers "hi" after a tool call; `slow` waits for ever; `flow` is a workflow. */
#define SCRIPT                                                                                     \
    "local harness = require 'harness'\n"                                                          \
    "local s = harness.schema\n"                                                                   \
    "local function answer(request)\n"                                                             \
    "  local last = request.messages[#request.messages]\n"                                         \
    "  if last.role == 'tool' then return { chunks = { 'h', 'i' }, chunk_delay_ms = 1 } end\n"     \
    "  if last.content == 'slow' then return { delay_ms = 3600000, text = 'never' } end\n"         \
    "  if last.content == 'fail' then return { error = { status = 400, message = 'no' } } end\n"   \
    "  return { tool_calls = { { name = 'look', arguments = { at = last.content } } } }\n"         \
    "end\n"                                                                                        \
    "return harness.define {\n"                                                                    \
    "  models = { fast = { provider = harness.providers.scripted(answer), model = 'm' } },\n"      \
    "  tools = { look = { description = 'Looks.', input = s.object { at = s.string() },\n"         \
    "    run = function(_, input) harness.sleep(1) return 'seen ' .. input.at end } },\n"          \
    "  agents = { guard = { model = 'fast', instructions = 'x', tools = { 'look' } } },\n"         \
    "  workflows = { flow = { run = function(ctx, input)\n"                                        \
    "    return { said = ctx.agents.guard:run(input.mail), n = input.n } end } },\n"               \
    "}\n"

#endif
