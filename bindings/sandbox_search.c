/* sandbox_search.c - the lines of a tree's files that match an expression, without making a Lua
 * value of each file: what the built-in tool grep needs.
 *
 *     local search = session:search(path, grep, { glob?, max_file_bytes? })
 *     repeat
 *       local hits, more = search:next(most, bytes)     -- at most so many lines, about so many bytes
 *     until not more
 *     search:counts() -> { files, searched, bytes, large, unreadable }
 *
 * `hits` is a flat list, four values a line: path, number of the line, its text, where in it the
 * first match begins. `more` is true, or "matches" when there is another one, or "limit" when
 * matching was given up: then a fifth value tells the path. Files are searched in the order of
 * their paths; those with a NUL byte near their start are passed over, larger ones and those that
 * cannot be read are counted. A path that names a file is that file. */
#include <string.h>

#include "bindings.h"
#include "grep.h"
#include "sandbox.h"

#define CLASS "harness.files.search"

enum { BINARY_PROBE = 8000 /* bytes that are looked at, as git does */ };

struct search {
    struct files_list list;
    size_t at; /* the file to be searched next */
    uint64_t max_file_bytes;
    lua_Integer files, searched, bytes, large, unreadable;
};

/* User values of a search. */
enum { SESSION = 1, GREP = 2 };

static void close_search(struct search *s) {
    files_list_free(&s->list);
    glob_free(s->list.glob);
    s->list.glob = NULL;
}

static int search_gc(lua_State *L) {
    close_search(luaL_checkudata(L, 1, CLASS));
    return 0;
}

static void read_options(lua_State *L, int index, struct search *s) {
    size_t len;
    s->max_file_bytes = UINT64_MAX;
    if (lua_isnoneornil(L, index)) return;
    luaL_checktype(L, index, LUA_TTABLE);
    if (lua_getfield(L, index, "max_file_bytes") != LUA_TNIL)
        s->max_file_bytes = (uint64_t)luaL_checkinteger(L, -1);
    if (lua_getfield(L, index, "glob") != LUA_TNIL) {
        const char *pattern = luaL_checklstring(L, -1, &len);
        if (glob_compile(pattern, len, GLOB_PATH, &s->list.glob) != GLOB_OK)
            luaL_error(L, "not enough memory");
    }
    lua_pop(L, 2);
}

/* Keeps the files of what was listed. */
static void drop_directories(struct files_list *list) {
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i].kind == FILES_FILE) list->entries[kept++] = list->entries[i];
    list->count = kept;
}

int sandbox_search(lua_State *L) {
    struct files *f = sandbox_session(L, 1);
    struct files_stat stat;
    size_t len;
    const char *path = sandbox_check_path(L, &len);
    (void)bind_grep_check(L, 3);
    lua_settop(L, 4);
    struct search *s = lua_newuserdatauv(L, sizeof *s, 2);
    *s = (struct search){.list = {.recursive = true, .no_sizes = true}};
    luaL_setmetatable(L, CLASS);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 5, SESSION);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 5, GREP);
    read_options(L, 4, s);
    sandbox_check(L, f, files_list(f, path, len, &s->list), path, len);
    if (s->list.count == 0 && files_stat(f, path, len, &stat) == FILES_OK &&
        stat.kind == FILES_FILE) {
        struct glob *glob = s->list.glob;
        s->list.glob = NULL; /* it was named itself */
        enum files_error rc = files_list_add(&s->list, path, len, FILES_FILE, 0);
        s->list.glob = glob;
        sandbox_check(L, f, rc, path, len);
    }
    drop_directories(&s->list);
    s->files = (lua_Integer)s->list.count;
    return 1;
}

/* Where the hits of one call go: the table on top of the stack. */
struct hits {
    lua_State *L;
    lua_Integer count, most;
};

static void add_hit(struct hits *hits, const struct files_list *list,
                    const struct files_entry *file, const char *text, const struct grep_hit *hit) {
    lua_State *L = hits->L;
    size_t len = hit->end - hit->start;
    lua_Integer at = 4 * hits->count++;
    lua_pushlstring(L, list->bytes.data + file->at, file->len);
    lua_rawseti(L, -2, at + 1);
    lua_pushinteger(L, (lua_Integer)hit->line);
    lua_rawseti(L, -2, at + 2);
    lua_pushlstring(L, text + hit->start, len);
    lua_rawseti(L, -2, at + 3);
    lua_pushinteger(L, (lua_Integer)(hit->match < len ? hit->match + 1 : len));
    lua_rawseti(L, -2, at + 4);
}

/* GREP_END: on to the next file; GREP_HIT: there is a line too many; else an error. */
static int search_text(struct hits *hits, const struct files_list *list,
                       const struct files_entry *file, struct grep *grep,
                       const struct files_data *data) {
    struct grep_scan scan = {.text = data->bytes, .len = data->len};
    struct grep_hit hit;
    int rc;
    if (memchr(data->bytes, '\0', data->len < BINARY_PROBE ? data->len : BINARY_PROBE))
        return GREP_END;
    while ((rc = grep_next(grep, &scan, &hit)) == GREP_HIT) {
        if (hits->count >= hits->most) return GREP_HIT;
        add_hit(hits, list, file, data->bytes, &hit);
    }
    return rc;
}

/* Searches one file: as search_text. */
static int search_file(struct hits *hits, struct search *s, struct files *f, struct grep *grep) {
    const struct files_entry *file = &s->list.entries[s->at];
    const char *path = s->list.bytes.data + file->at;
    struct files_data data;
    enum files_error rc = files_read_most(f, path, file->len, s->max_file_bytes, &data);
    if (rc == FILES_ENOMEM || rc == FILES_ECLOSED) sandbox_check(hits->L, f, rc, path, file->len);
    s->searched++;
    if (rc == FILES_ETOOBIG) s->large++;
    else if (rc != FILES_OK) s->unreadable++;
    if (rc != FILES_OK) return GREP_END;
    s->bytes += (lua_Integer)data.len;
    return search_text(hits, &s->list, file, grep, &data);
}

/* The rest of next, protected, so that the batch always ends. */
static int next_batch(lua_State *L) {
    struct search *s = lua_touserdata(L, 1);
    struct files *f = lua_touserdata(L, 2);
    struct grep *grep = lua_touserdata(L, 3);
    struct hits hits = {.L = L, .most = lua_tointeger(L, 4)};
    lua_Integer until = s->bytes + lua_tointeger(L, 5), files = 0;
    int rc = GREP_END;
    lua_newtable(L);
    while (rc == GREP_END && s->at < s->list.count && s->bytes < until && files++ < 1000) {
        rc = search_file(&hits, s, f, grep);
        if (rc == GREP_END) s->at++;
    }
    if (rc == GREP_ENOMEM) return luaL_error(L, "not enough memory");
    if (rc == GREP_HIT) lua_pushliteral(L, "matches");
    else if (rc == GREP_LIMIT) lua_pushliteral(L, "limit");
    else lua_pushboolean(L, s->at < s->list.count);
    if (rc != GREP_LIMIT) return 2;
    lua_pushlstring(L, s->list.bytes.data + s->list.entries[s->at].at, s->list.entries[s->at].len);
    return 3;
}

/* search:next(most, bytes). The collector stands still meanwhile: a finalizer could change the
 * tree whose bytes are being looked at. */
static int search_next(lua_State *L) {
    struct search *s = luaL_checkudata(L, 1, CLASS);
    lua_Integer most = luaL_checkinteger(L, 2), bytes = luaL_checkinteger(L, 3);
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, GREP);
    struct grep *grep = bind_grep_check(L, 2);
    lua_getiuservalue(L, 1, SESSION);
    struct files *f = sandbox_session(L, 3);
    lua_pushcfunction(L, next_batch);
    lua_pushlightuserdata(L, s);
    lua_pushlightuserdata(L, f);
    lua_pushlightuserdata(L, grep);
    lua_pushinteger(L, most);
    lua_pushinteger(L, bytes);
    bool collects = lua_gc(L, LUA_GCISRUNNING) != 0;
    lua_gc(L, LUA_GCSTOP);
    files_batch_begin(f);
    int status = lua_pcall(L, 5, 3, 0);
    files_batch_end(f);
    if (collects) lua_gc(L, LUA_GCRESTART);
    return status == LUA_OK ? 3 : lua_error(L);
}

static int search_counts(lua_State *L) {
    const struct search *s = luaL_checkudata(L, 1, CLASS);
    const struct {
        const char *name;
        lua_Integer value;
    } COUNTS[] = {{"files", s->files},
                  {"searched", s->searched},
                  {"bytes", s->bytes},
                  {"large", s->large},
                  {"unreadable", s->unreadable}};
    lua_createtable(L, 0, 5);
    for (size_t i = 0; i < sizeof COUNTS / sizeof *COUNTS; i++) {
        lua_pushinteger(L, COUNTS[i].value);
        lua_setfield(L, -2, COUNTS[i].name);
    }
    return 1;
}

void sandbox_search_class(lua_State *L) {
    static const luaL_Reg METHODS[] = {
        {"__gc", search_gc}, {"next", search_next}, {"counts", search_counts}, {NULL, NULL}};
    bind_class(L, CLASS, METHODS);
}
