/* embed.c - what the engine costs inside a program (harness.h): a pump with nothing to do, the longest
 * pump with 100 streaming agents, the memory of an engine, a session, a run that waits. */
#include <string.h>

#include "../../../bindings/harness.h"
#include "../measure.h"

enum { AGENTS = 100, BUDGET_US = 500, SESSIONS = 2000, MOST_PUMPS = 20000 };

static const char SCRIPT[] =
    "local harness = require 'harness'\n"
    "local chunks = {}\n"
    "for i = 1, 200 do chunks[i] = 'word ' end\n"
    "local talk = harness.providers.scripted(function() return { chunks = chunks, chunk_delay_ms = 2 } end)\n"
    "local wait = harness.providers.scripted(function() return { delay_ms = 3600000, text = 'x' } end)\n"
    "return harness.define {\n"
    "  models = { talk = { provider = talk, model = 'm' }, wait = { provider = wait, model = 'm' } },\n"
    "  agents = { talker = { model = 'talk', instructions = 'x' }, waiter = { model = 'wait', instructions = 'x' } },\n"
    "  workflows = { open = { run = function() return 'ok' end } },\n"
    "}\n";

static long events;

static void on_event(harness_run *run, const char *json, size_t len, void *user) {
    (void)run;
    (void)json;
    (void)len;
    (void)user;
    events++;
}

static void on_done(harness_run *run, enum harness_run_state state, const char *json, size_t len, void *user) {
    (void)len;
    if (state == HARNESS_FAILED) {
        fprintf(stderr, "%s\n", json);
        exit(1);
    }
    ++*(int *)user;
    harness_run_release(run);
}

static harness_engine *make(void) {
    harness_engine *engine = harness_new(NULL, NULL);
    if (!engine || harness_load_buffer(engine, SCRIPT, strlen(SCRIPT), "bench.lua", NULL)) exit(1);
    return engine;
}

static void start(harness_engine *engine, const char *target, int *done) {
    harness_request request = HARNESS_REQUEST_INIT;
    request.target = target;
    request.input_json = "\"x\"";
    request.on_event = on_event;
    request.on_done = on_done;
    request.user = done;
    if (!harness_start(engine, &request, NULL)) exit(1);
}

static double resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) exit(1);
    fclose(file);
    return (double)pages * 4;
}

static size_t held(harness_engine *engine) {
    harness_memory_figures figures = HARNESS_MEMORY_FIGURES_INIT;
    static const char COLLECT[] = "collectgarbage() collectgarbage()";
    if (harness_load_buffer(engine, COLLECT, strlen(COLLECT), "collect", NULL)) exit(1);
    harness_memory(engine, &figures);
    return figures.lua_bytes;
}

static void pump_idle(long n, void *user) {
    for (long i = 0; i < n; i++) harness_pump(user, BUDGET_US);
}

/* Frames of 4 ms, each with one pump. */
static void streaming(harness_engine *engine) {
    int done = 0;
    static double took[MOST_PUMPS];
    int pumps = 0;
    for (int i = 0; i < AGENTS; i++) start(engine, "talker", &done);
    while (done < AGENTS && pumps < MOST_PUMPS) {
        double from = wall_us();
        harness_pump(engine, BUDGET_US);
        took[pumps++] = wall_us() - from;
        struct timespec rest = {.tv_nsec = 4000000};
        nanosleep(&rest, NULL);
    }
    if (done < AGENTS) exit(1);
    qsort(took, (size_t)pumps, sizeof took[0], by_size);
    printf("RESULT pump_longest value=%.6g\n", took[pumps - 1]);
    printf("RESULT pump_99 value=%.6g\n", took[pumps * 99 / 100]);
}

static void memory(void) {
    harness_engine *engine = harness_new(NULL, NULL);
    printf("RESULT engine_memory value=%.6g\n", (double)held(engine) / 1024);
    harness_free(engine);
    engine = make();
    int done = 0;
    held(engine);
    double before = resident_kib();
    for (int i = 0; i < SESSIONS; i++) { /* each with a run that has ended */
        start(engine, "open", &done);
        while (done <= i) harness_pump(engine, 10000);
    }
    held(engine);
    printf("RESULT session_memory value=%.6g\n", (resident_kib() - before) / SESSIONS);
    before = resident_kib();
    for (int i = 0; i < SESSIONS; i++) start(engine, "waiter", &done);
    while (harness_pump(engine, 100000) > 0) {}
    held(engine);
    printf("RESULT run_memory value=%.6g\n", (resident_kib() - before) / SESSIONS);
    harness_free(engine);
}

int main(void) {
    memory(); /* first: later ones find memory that was freed */
    harness_engine *engine = make();
    measure("pump_idle", 100000, pump_idle, engine);
    streaming(engine);
    harness_free(engine);
    return 0;
}
