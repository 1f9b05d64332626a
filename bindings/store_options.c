/* store_options.c - the arguments of storage calls that are no records: pages, the end of a run,
 * memory scopes and options. An unknown name in such a table is a mistake, never skipped. */
#include <string.h>

#include "json.h"
#include "store.h"

static const char SCOPES[] = "run, session, agent, user, tenant";

/* ---- Options ------------------------------------------------------------------------- */

static void check_allowed(lua_State *L, const struct job *job, const char *name,
                          const char *const *allowed) {
    for (const char *const *a = allowed; *a; a++) {
        if (strcmp(*a, name) == 0) return;
    }
    job_invalid(L, job, name, "is not an option");
}

static void read_page_option(lua_State *L, struct job *job, const char *name, int index) {
    struct store_page *page = &job->call.in.page;
    if (strcmp(name, "limit") == 0) {
        page->limit = job_read_integer(L, job, index, name, 0);
    } else if (strcmp(name, "after_seq") == 0) {
        page->after_seq = job_read_integer(L, job, index, name, 0);
    } else if (strcmp(name, "before") == 0) {
        page->before = job_read_text(L, job, index, name);
    } else if (strcmp(name, "session_id") == 0) {
        page->session_id = job_read_text(L, job, index, name);
    } else if (strcmp(name, "harness") == 0) {
        page->harness = job_read_text(L, job, index, name);
    } else {
        page->status = job_read_word(L, job, index, name, store_status_of, STORE_STATUSES);
    }
}

void job_read_page(lua_State *L, struct job *job, int index, const char *const *allowed) {
    struct store_page *page = &job->call.in.page;
    page->limit = -1;
    if (lua_isnoneornil(L, index)) return;
    job_check_table(L, job, index, "options");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        const char *name = job_key(L, job, -2);
        check_allowed(L, job, name, allowed);
        read_page_option(L, job, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    text_settle(job, &page->before);
    text_settle(job, &page->session_id);
    text_settle(job, &page->harness);
}

/* ---- The end of a run ---------------------------------------------------------------- */

static void read_finish_record(lua_State *L, struct job *job, const char *name, int index) {
    struct store_finish *finish = &job->call.in.finish;
    job->list = name;
    job->item = 0;
    if (strcmp(name, "session") == 0) {
        job_read_record(L, job, index, &job->types->session, &job->session, NULL);
        finish->session = &job->session;
    } else {
        struct store_str said = {0};
        if (!job_read_event(L, job, index, &job->event))
            job_read_record(L, job, index, &job->types->event, &job->event, &said);
        text_settle(job, &said);
        job_check_owner(L, job, &job->types->event, said);
        finish->event = &job->event;
    }
    job->list = NULL;
}

static void read_finish_field(lua_State *L, struct job *job, const char *name, int index) {
    struct store_finish *finish = &job->call.in.finish;
    if (strcmp(name, "status") == 0) {
        finish->status = job_read_word(L, job, index, name, store_status_of, STORE_STATUSES);
    } else if (strcmp(name, "finished_at") == 0) {
        finish->finished_at = job_read_text(L, job, index, name);
    } else if (strcmp(name, "output") == 0) {
        finish->output = job_read_json(L, job, index);
    } else if (strcmp(name, "error") == 0) {
        finish->error = job_read_json(L, job, index);
    } else if (strcmp(name, "lease_id") == 0) {
        finish->lease_id = job_read_text(L, job, index, name);
    } else if (strcmp(name, "messages") == 0) {
        finish->messages.count =
            job_read_list(L, job, index, name, &job->types->message, &finish->session_id);
    } else if (strcmp(name, "session") == 0 || strcmp(name, "event") == 0) {
        read_finish_record(L, job, name, index);
    } else {
        job_invalid(L, job, name, "is not a field of the end of a run");
    }
}

void job_read_finish(lua_State *L, struct job *job, int index) {
    struct store_finish *finish = &job->call.in.finish;
    job_check_table(L, job, index, "patch");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        const char *name = job_key(L, job, -2);
        read_finish_field(L, job, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    if (finish->status < STORE_SUCCEEDED) {
        job_invalid(L, job, "status", "must be one of succeeded, failed, cancelled");
    }
    if (!finish->finished_at.data) job_invalid(L, job, "finished_at", "is missing");
    text_settle(job, &finish->finished_at);
    text_settle(job, &finish->output);
    text_settle(job, &finish->error);
    text_settle(job, &finish->lease_id);
    text_settle(job, &finish->session_id);
    job_settle_list(job, &job->types->message, finish->messages.count);
    finish->messages.items = (const struct store_message *)(void *)job->rows.data;
    if (finish->session) job_settle_record(job, &job->types->session, &job->session);
    if (finish->event) job_settle_record(job, &job->types->event, &job->event);
}

/* ---- Memory -------------------------------------------------------------------------- */

void job_read_scope(lua_State *L, struct job *job, int index) {
    static const char *const ID_FIELDS[] = {NULL,       "run_id",  "session_id",
                                            "agent_id", "user_id", "tenant_id"};
    static const char *const FIELDS[] = {"kind",    "run_id",    "session_id",  "agent_id",
                                         "user_id", "tenant_id", "workflow_id", NULL};
    struct store_memory_call *in = &job->call.in.memory;
    job_check_table(L, job, index, "scope");
    job->list = "scope";
    lua_pushnil(L);
    while (lua_next(L, index)) {
        check_allowed(L, job, job_key(L, job, -2), FIELDS);
        lua_pop(L, 1);
    }
    lua_pushliteral(L, "kind");
    lua_rawget(L, index);
    int64_t kind = job_read_word(L, job, lua_gettop(L), "kind", store_scope_of, SCOPES);
    lua_pop(L, 1);
    in->scope = (enum store_scope_kind)kind;
    lua_pushstring(L, ID_FIELDS[kind]);
    lua_rawget(L, index);
    in->scope_id = job_read_text(L, job, lua_gettop(L), ID_FIELDS[kind]);
    lua_pop(L, 1);
    job->list = NULL;
}

/* A marked copy, so that no tags are [] and not {}. */
static struct store_str read_tags(lua_State *L, struct job *job, int index) {
    job_check_table(L, job, index, "tags");
    size_t count = lua_rawlen(L, index);
    lua_newtable(L);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i);
        if (lua_type(L, -1) != LUA_TSTRING) job_wrong_type(L, job, "tags", "a list of strings", -1);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    json_mark_array(L, -1);
    struct store_str tags = job_read_json(L, job, -1);
    lua_pop(L, 1);
    return tags;
}

static struct store_str read_metadata(lua_State *L, struct job *job, int index) {
    job_check_table(L, job, index, "metadata");
    struct store_str json = job_read_json(L, job, index), text = json;
    text_settle(job, &text);
    if (text.data[0] != '{') job_invalid(L, job, "metadata", "must be an object, not a list");
    return json;
}

static void read_memory_option(lua_State *L, struct job *job, const char *name, int index) {
    struct store_memory_call *in = &job->call.in.memory;
    if (strcmp(name, "ttl_ms") == 0) {
        in->ttl_ms = job_read_integer(L, job, index, name, 1);
    } else if (strcmp(name, "limit") == 0) {
        in->limit = job_read_integer(L, job, index, name, 0);
    } else if (strcmp(name, "prefix") == 0) {
        in->prefix = job_read_text(L, job, index, name);
    } else if (strcmp(name, "cursor") == 0) {
        in->cursor = job_read_text(L, job, index, name);
    } else if (strcmp(name, "text") == 0) {
        in->text = job_read_text(L, job, index, name);
    } else if (strcmp(name, "tags") == 0) {
        in->tags = read_tags(L, job, index);
    } else {
        in->metadata = read_metadata(L, job, index);
    }
}

void job_read_memory_options(lua_State *L, struct job *job, int index, const char *const *allowed) {
    struct store_memory_call *in = &job->call.in.memory;
    in->limit = -1;
    if (!lua_isnoneornil(L, index)) {
        job_check_table(L, job, index, "options");
        lua_pushnil(L);
        while (lua_next(L, index)) {
            const char *name = job_key(L, job, -2);
            check_allowed(L, job, name, allowed);
            read_memory_option(L, job, name, lua_gettop(L));
            lua_pop(L, 1);
        }
    }
    text_settle(job, &in->scope_id);
    text_settle(job, &in->value);
    text_settle(job, &in->prefix);
    text_settle(job, &in->cursor);
    text_settle(job, &in->text);
    text_settle(job, &in->tags);
    text_settle(job, &in->metadata);
}

void job_read_sweep(lua_State *L, struct job *job, int index) {
    static const char *const OPTIONS[] = {"now", NULL};
    if (lua_isnoneornil(L, index)) return;
    job_check_table(L, job, index, "options");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        const char *name = job_key(L, job, -2);
        check_allowed(L, job, name, OPTIONS);
        job->call.in.sweep.now_ms = job_read_integer(L, job, lua_gettop(L), name, 1);
        lua_pop(L, 1);
    }
}
