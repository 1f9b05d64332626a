/* grep.c - core.grep: engine/grep.h.
 *
 *     local g, why = core.grep.compile("error|warning", ignore_case)   -- nil and why: no expression
 *     local hits, more = g:scan(text, most)
 *
 * `hits` is a flat list, four integers for each line that matches, at most `most` lines: its number,
 * its first and last byte, the first byte of the match. `more` tells that there is another one, or is
 * "limit" when matching was given up. */
#include "../engine/grep.h"

#include "bind_pcre2.h"
#include "bindings.h"
#include "grep.h"

#define CLASS "harness.grep"

struct holder {
    struct grep *grep; /* NULL: collected */
};

/* compile(pattern, ignore_case?) */
static int l_compile(lua_State *L) {
    size_t len;
    const char *pattern = luaL_checklstring(L, 1, &len);
    unsigned flags = lua_toboolean(L, 2) ? GREP_IGNORE_CASE : 0;
    const struct pcre2_api *api = bind_pcre2_api(L);
    if (!api) return lua_error(L);
    struct holder *h = lua_newuserdatauv(L, sizeof *h, 0);
    h->grep = NULL;
    luaL_setmetatable(L, CLASS);
    char why[GREP_WHY_SIZE];
    int rc = grep_compile(api, pattern, len, flags, &h->grep, why);
    if (rc == GREP_OK) return 1;
    if (rc == GREP_ENOMEM) return luaL_error(L, "not enough memory");
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static void add_hit(lua_State *L, const struct grep_hit *hit, lua_Integer i) {
    const size_t values[] = {hit->line, hit->start + 1, hit->end, hit->match + 1};
    for (int k = 0; k < 4; k++) {
        lua_pushinteger(L, (lua_Integer)values[k]);
        lua_rawseti(L, -2, 4 * i + k + 1);
    }
}

struct grep *bind_grep_check(lua_State *L, int index) {
    const struct holder *h = luaL_checkudata(L, index, CLASS);
    luaL_argcheck(L, h->grep, index, "the grep has been collected");
    return h->grep;
}

static int l_scan(lua_State *L) {
    struct grep *grep = bind_grep_check(L, 1);
    struct grep_scan scan = {0};
    scan.text = luaL_checklstring(L, 2, &scan.len);
    lua_Integer most = luaL_checkinteger(L, 3);
    lua_settop(L, 3);
    lua_newtable(L);
    struct grep_hit hit;
    int rc;
    for (lua_Integer i = 0; (rc = grep_next(grep, &scan, &hit)) == GREP_HIT; i++) {
        if (i >= most) break;
        hit.match = hit.match < hit.end - hit.start ? hit.match + hit.start : hit.end;
        add_hit(L, &hit, i);
    }
    if (rc == GREP_ENOMEM) return luaL_error(L, "not enough memory");
    if (rc == GREP_LIMIT) lua_pushliteral(L, "limit");
    else lua_pushboolean(L, rc == GREP_HIT);
    return 2;
}

static int l_gc(lua_State *L) {
    struct holder *h = luaL_checkudata(L, 1, CLASS);
    grep_free(h->grep);
    h->grep = NULL;
    return 0;
}

int bind_grep(lua_State *L) {
    static const luaL_Reg META[] = {{"__gc", l_gc}, {"scan", l_scan}, {NULL, NULL}};
    bind_class(L, CLASS, META);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_compile);
    lua_setfield(L, -2, "compile");
    return 1;
}
