/* game.c - an agent inside a game: a frame loop at 60 frames a second pumps the engine with what a frame
 * can spare, and prints what that cost.
 *
 *     make programs && build/examples/game
 *     --> guard: Who goes there?
 *     --> 30 frames, none of them late; longest pump … us, longest resume … us
 */
#include <harness.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FRAME_US = 1000000 / 60, BUDGET_US = 500, FRAMES = 30 };

static const char SCRIPT[] =
    "local harness = require 'harness'\n"
    "local model = harness.providers.scripted {\n"
    "  { tool_calls = { { name = 'look', arguments = { at = 'door' } } } },\n"
    "  { chunks = { 'Who ', 'goes ', 'there?' }, chunk_delay_ms = 50 },\n"
    "}\n"
    "return harness.define {\n"
    "  models = { fast = { provider = model, model = 'canned' } },\n"
    "  tools = { look = world.look },\n"
    "  agents = { guard = { model = 'fast', instructions = 'You guard a door.', tools = { 'look' } } },\n"
    "}\n";

/* A function of the game that the agent calls as a tool. */
static void look(void *user, const char *json, size_t len, harness_reply *reply) {
    (void)user;
    (void)json;
    (void)len;
    static const char SEEN[] = "{\"someone\": true}";
    harness_reply_json(reply, SEEN, strlen(SEEN));
}

static void on_event(harness_run *run, const char *json, size_t len, void *user) {
    (void)run;
    (void)len;
    (void)user;
    const char *delta = strstr(json, "\"delta\":\"");
    if (!delta || !strstr(json, "\"model.delta\"")) return;
    delta += strlen("\"delta\":\"");
    printf("%.*s", (int)strcspn(delta, "\""), delta);
    fflush(stdout);
}

static void on_done(harness_run *run, enum harness_run_state state, const char *json, size_t len,
                    void *user) {
    (void)run;
    (void)len;
    *(int *)user = state == HARNESS_SUCCEEDED;
    if (state != HARNESS_SUCCEEDED) printf("(%s)", json);
}

static long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int main(void) {
    static const harness_function WORLD[] = {
        {"look", look, "Looks at something and says whether someone is there.",
         "{\"type\":\"object\",\"properties\":{\"at\":{\"type\":\"string\"}},\"required\":[\"at\"]}"},
        {NULL, NULL, NULL, NULL},
    };
    harness_error error = HARNESS_ERROR_INIT;
    harness_engine *engine = harness_new(NULL, &error);
    int succeeded = 0;
    harness_request request = HARNESS_REQUEST_INIT;
    request.session = "npc-12";
    request.target = "guard";
    request.input_json = "\"Someone comes.\"";
    request.on_event = on_event;
    request.on_done = on_done;
    request.user = &succeeded;
    if (!engine || harness_register(engine, "world", WORLD, NULL, &error) ||
        harness_load_buffer(engine, SCRIPT, strlen(SCRIPT), "npc.lua", &error) ||
        !harness_start(engine, &request, &error)) {
        fprintf(stderr, "%s: %s\n", error.code, error.message);
        harness_free(engine);
        return 1;
    }
    printf("guard: ");
    long longest_us = 0;
    int late = 0;
    for (int frame = 0; frame < FRAMES; frame++) {
        long frame_began = now_us();
        harness_pump(engine, BUDGET_US);
        long pumped = now_us() - frame_began;
        if (pumped > longest_us) longest_us = pumped;
        if (pumped > FRAME_US) late++;
        struct timespec rest = {.tv_nsec = pumped < FRAME_US ? (FRAME_US - pumped) * 1000 : 0};
        nanosleep(&rest, NULL); /* a game would draw here */
    }
    printf("\n%d frames, %s of them late; longest pump %ld us, longest resume %lu us\n", FRAMES,
           late ? "some" : "none", longest_us, (unsigned long)harness_longest_resume_us(engine));
    harness_free(engine);
    return succeeded ? 0 : 1;
}
