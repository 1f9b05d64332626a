/* schema_array.c - the keywords about arrays.
 *
 * uniqueItems puts the items into buckets by hash and compares within a bucket, so it is linear. */
#include <lauxlib.h>

#include "schema.h"

bool schema_check_item_count(struct schema_check *c, const struct schema_node *node,
                             const struct schema_rule *rule, int idx, int types,
                             const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types, (void)seen;
    bool least = rule->kind == RULE_MIN_ITEMS;
    lua_Integer count = (lua_Integer)lua_rawlen(c->L, idx);
    if (least ? count >= rule->as.count : count <= rule->as.count) return true;
    lua_pushfstring(c->L, "expected at %s %I item%s, got %I", least ? "least" : "most",
                    rule->as.count, rule->as.count == 1 ? "" : "s", count);
    return schema_fail(c, path, HINT_NONE);
}

/* Looks for an item equal to the one at stack index item among those of the same hash, whose
 * indices are a list in the table at buckets; joins them when there is none. Returns its index. */
static lua_Integer find_equal(struct schema_check *c, int array, int buckets, int item,
                              lua_Integer index) {
    lua_State *L = c->L;
    lua_Integer hash = (lua_Integer)schema_hash(c, item, 0);
    if (c->stopped) return 0;
    if (lua_rawgeti(L, buckets, hash) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, buckets, hash);
    }
    int list = lua_gettop(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, list), found = 0;
    for (lua_Integer i = 1; i <= n && !found && !c->stopped; i++) {
        lua_rawgeti(L, list, i);
        lua_Integer other = lua_tointeger(L, -1);
        lua_rawgeti(L, array, other);
        if (schema_equal(c, item, lua_gettop(L), 0)) found = other;
        lua_pop(L, 2);
    }
    lua_pushinteger(L, index);
    lua_rawseti(L, list, n + 1);
    lua_settop(L, list - 1);
    return found;
}

bool schema_check_unique(struct schema_check *c, const struct schema_node *node,
                         const struct schema_rule *rule, int idx, int types,
                         const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)rule, (void)types, (void)seen;
    lua_State *L = c->L;
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
    lua_newtable(L);
    int buckets = lua_gettop(L);
    lua_Integer same = 0;
    for (lua_Integer i = 1; i <= n && !same && !c->stopped; i++) {
        lua_rawgeti(L, idx, i);
        same = find_equal(c, idx, buckets, lua_gettop(L), i);
        lua_pop(L, 1);
        if (!same) continue;
        struct schema_path here = {path, NULL, 0, i};
        lua_pushfstring(L, "is equal to item %I, and items must be unique", same);
        schema_fail(c, &here, HINT_NONE);
    }
    lua_pop(L, 1);
    return !same && !c->stopped;
}

static bool check_item(struct schema_check *c, const struct schema_node *node, int idx,
                       lua_Integer i, const struct schema_path *path) {
    struct schema_path here = {path, NULL, 0, i};
    lua_rawgeti(c->L, idx, i);
    bool ok = schema_check_node(c, node, lua_gettop(c->L), 0, &here, NULL);
    lua_pop(c->L, 1);
    return ok;
}

/* The items behind position from. */
static bool check_rest(struct schema_check *c, const struct schema_node *rest, int idx,
                       lua_Integer from, const struct schema_path *path) {
    lua_Integer n = (lua_Integer)lua_rawlen(c->L, idx);
    if (schema_is_true(rest) || from >= n) return true;
    if (schema_is_false(rest)) {
        lua_pushfstring(c->L, "expected at most %I items, got %I", from, n);
        return schema_fail(c, path, HINT_NONE);
    }
    bool ok = true;
    for (lua_Integer i = from + 1; i <= n && !c->stopped; i++) {
        ok &= check_item(c, rest, idx, i, path);
        if (!ok && (c->quiet || c->count >= c->cap)) break;
    }
    return ok;
}

bool schema_check_items(struct schema_check *c, const struct schema_node *node,
                        const struct schema_rule *rule, int idx, int types,
                        const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types;
    const struct schema_items *items = rule->as.items;
    lua_Integer n = (lua_Integer)lua_rawlen(c->L, idx), named = (lua_Integer)items->prefix.count;
    bool ok = true;
    for (lua_Integer i = 1; i <= n && i <= named && !c->stopped; i++) {
        ok &= check_item(c, items->prefix.list[i - 1], idx, i, path);
        if (!ok && c->quiet) break;
    }
    if (seen && named > seen->prefix) seen->prefix = named;
    if (!items->rest || c->stopped) return ok;
    if (seen) seen->all = true;
    return check_rest(c, items->rest, idx, named, path) && ok;
}

bool schema_check_contains(struct schema_check *c, const struct schema_node *node,
                           const struct schema_rule *rule, int idx, int types,
                           const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types;
    lua_State *L = c->L;
    const struct schema_contains *contains = rule->as.contains;
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx), found = 0;
    bool note = seen && contains->evaluates;
    for (lua_Integer i = 1; i <= n && !c->stopped; i++) {
        if (found >= contains->min && contains->max < 0 && !note) break;
        lua_rawgeti(L, idx, i);
        bool fits = schema_matches(c, contains->node, lua_gettop(L), 0, NULL);
        lua_pop(L, 1);
        if (!fits) continue;
        found++;
        if (!note) continue;
        lua_pushinteger(L, i);
        schema_seen_add(c, seen);
    }
    if (c->stopped) return false;
    bool few = found < contains->min;
    if (!few && (contains->max < 0 || found <= contains->max)) return true;
    lua_Integer wanted = few ? contains->min : contains->max;
    lua_pushfstring(L, "expected at %s %I item%s that fit \"contains\", got %I",
                    few ? "least" : "most", wanted, wanted == 1 ? "" : "s", found);
    return schema_fail(c, path, HINT_NONE);
}

bool schema_check_unevaluated_items(struct schema_check *c, const struct schema_node *node,
                                    const struct schema_rule *rule, int idx, int types,
                                    const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types;
    lua_State *L = c->L;
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
    bool ok = true;
    for (lua_Integer i = seen->prefix + 1; i <= n && !seen->all && !c->stopped; i++) {
        lua_pushinteger(L, i);
        bool known = schema_was_seen(c, seen, lua_gettop(L));
        lua_pop(L, 1);
        if (known || schema_is_true(rule->as.node)) continue;
        ok &= check_item(c, rule->as.node, idx, i, path);
        if (!ok && c->quiet) break;
    }
    seen->all = true;
    return ok;
}
