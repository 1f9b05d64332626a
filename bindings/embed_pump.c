/* embed_pump.c - harness.h: the host's loop. One round of a pump is: what was posted, ready Lua tasks,
 * callbacks, a look at the outside world; rounds go on until the budget is used or nothing is left. */
#include <lauxlib.h>
#include <stdlib.h>

#include "embed.h"

enum { WAIT_PUMP_US = 20000, MOST_LEFT = 1 << 20 };

/* ---- what is posted ------------------------------------------------------------------------ */

int harness_post(harness_engine *engine, harness_post_fn fn, void *user) {
    if (!engine || !fn) return HARNESS_EINVAL;
    struct post *post = malloc(sizeof *post); /* the engine's allocator is its thread's alone */
    if (!post) return HARNESS_ENOMEM;
    *post = (struct post){.fn = fn, .user = user};
    pthread_mutex_lock(&engine->post_lock);
    *engine->post_end = post;
    engine->post_end = &post->next;
    loop_wakeup(
        engine->core->loop); /* before it can be called, since it may lead to harness_free */
    pthread_mutex_unlock(&engine->post_lock);
    return HARNESS_OK;
}

void harness_wakeup(harness_engine *engine) {
    if (engine) loop_wakeup(engine->core->loop);
}

static struct post *take_posts(harness_engine *engine) {
    pthread_mutex_lock(&engine->post_lock);
    struct post *post = engine->posts;
    engine->posts = NULL;
    engine->post_end = &engine->posts;
    pthread_mutex_unlock(&engine->post_lock);
    return post;
}

bool embed_has_posts(harness_engine *engine) {
    pthread_mutex_lock(&engine->post_lock);
    bool posted = engine->posts != NULL;
    pthread_mutex_unlock(&engine->post_lock);
    return posted;
}

void embed_drop_posts(harness_engine *engine) {
    for (struct post *post = take_posts(engine), *next; post; post = next) {
        next = post->next;
        free(post);
    }
}

void embed_run_posts(harness_engine *engine) {
    struct post *post = take_posts(engine);
    while (post) {
        struct post *next = post->next;
        engine->in_callback = true;
        post->fn(engine, post->user);
        engine->in_callback = false;
        free(post);
        post = next;
    }
}

/* ---- pumping ------------------------------------------------------------------------------- */

void embed_note_resume(harness_engine *engine, lua_Integer us) {
    if (us > 0 && (uint64_t)us > engine->longest_resume_us)
        engine->longest_resume_us = (uint64_t)us;
}

struct step {
    uint32_t budget_us;
    lua_Integer ready;
    lua_Integer longest_us;
};

static int step_lua(lua_State *L) {
    struct step *step = lua_touserdata(L, 1);
    embed_host_function(L, "step");
    lua_pushinteger(L, step->budget_us);
    lua_call(L, 1, 2);
    step->ready = lua_tointeger(L, -2);
    step->longest_us = (lua_Integer)lua_tonumber(L, -1);
    return 0;
}

static uint32_t left_of(uint64_t until_us, uint64_t now_us) {
    return now_us < until_us ? (uint32_t)(until_us - now_us) : 0;
}

/* A round; sets *left to what is ready still. Returns whether it did anything, or an error. */
static int round_of_work(harness_engine *engine, uint64_t until_us, lua_Integer *left) {
    struct loop *loop = engine->core->loop;
    embed_run_posts(engine);
    struct step step = {left_of(until_us, loop_now_us(loop)), 0, 0};
    bool did = !ready_empty(loop_ready(loop));
    if (did && embed_protected(engine, step_lua, &step, NULL) != HARNESS_OK) return HARNESS_ENOMEM;
    embed_note_resume(engine, step.longest_us);
    int told;
    do {
        told = embed_deliver(engine);
        if (told < 0) return told;
        did |= told > 0;
    } while (told && loop_now_us(loop) < until_us);
    engine->more = told > 0;
    if (!engine->host_loop) loop_look(loop);
    *left = loop_ready(loop)->ring_len + (told ? 1 : 0) + (embed_has_posts(engine) ? 1 : 0);
    return did;
}

int embed_pump(harness_engine *engine, uint32_t budget_us) {
    struct loop *loop = engine->core->loop;
    uint64_t until_us = loop_now_us(loop) + budget_us;
    lua_Integer left = 0;
    int rc;
    do {
        rc = round_of_work(engine, until_us, &left);
        if (rc < 0) {
            engine->failed = true;
            embed_abandon_failed(engine);
            return HARNESS_ENOMEM;
        }
    } while ((rc || left) && loop_now_us(loop) < until_us);
    return left > MOST_LEFT ? MOST_LEFT : (int)left;
}

static int enter_loop(harness_engine *engine) {
    int rc = embed_enter(engine, NULL);
    if (rc != HARNESS_OK && rc != HARNESS_ENOMEM) return rc;
    if (engine->in_callback || engine->freeing) return HARNESS_EBUSY;
    if (rc) embed_abandon_failed(engine); /* failed in another call */
    return rc;
}

int harness_pump(harness_engine *engine, uint32_t budget_us) {
    int rc = enter_loop(engine);
    return rc ? rc : embed_pump(engine, budget_us);
}

int harness_wait(harness_engine *engine, int timeout_ms) {
    int rc = enter_loop(engine);
    if (rc) return rc;
    if (engine->host_loop) return HARNESS_EINVAL;
    int wait_ms = harness_next_timeout_ms(engine);
    if (wait_ms != 0) {
        uint64_t most_ms = timeout_ms < 0 ? UINT64_MAX / 4 : (uint64_t)timeout_ms;
        if (most_ms && embed_turn(engine, most_ms)) return HARNESS_ENOMEM;
    }
    return embed_pump(engine, WAIT_PUMP_US);
}

/* ---- for the host's own waiting ------------------------------------------------------------- */

int harness_poll_fd(harness_engine *engine) {
    int rc = embed_enter(engine, NULL);
    return rc ? rc : uv_backend_fd(loop_uv(engine->core->loop));
}

int harness_next_timeout_ms(harness_engine *engine) {
    int rc = embed_enter(engine, NULL);
    if (rc) return rc;
    struct loop *loop = engine->core->loop;
    if (engine->more || embed_has_posts(engine) || !ready_empty(loop_ready(loop))) return 0;
    uv_loop_t *uv = loop_uv(loop);
    uv_update_time(uv);
    return uv_loop_alive(uv) ? uv_backend_timeout(uv) : -1; /* of a dead one uv says 0 */
}

uint64_t harness_longest_resume_us(harness_engine *engine) {
    if (embed_enter(engine, NULL)) return 0;
    uint64_t longest = engine->longest_resume_us;
    engine->longest_resume_us = 0;
    return longest;
}
