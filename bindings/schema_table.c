/* schema_table.c - the keywords about arrays and objects.
 *
 * Keys that a schema does not name are visited in byte order, so that the list of problems is the
 * same on every run; lua_next is used only where the order cannot be seen. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "schema.h"

/* ---- what was looked at ----------------------------------------------------------------------- */

void schema_seen_open(struct schema_check *c, struct schema_seen *seen) {
    lua_pushnil(c->L);
    *seen = (struct schema_seen){lua_gettop(c->L), 0, false};
}

static void seen_table(struct schema_check *c, struct schema_seen *seen) {
    if (!lua_isnil(c->L, seen->set)) return;
    lua_newtable(c->L);
    lua_replace(c->L, seen->set);
}

void schema_seen_add(struct schema_check *c, struct schema_seen *seen) {
    if (!seen || seen->all) {
        lua_pop(c->L, 1);
        return;
    }
    seen_table(c, seen);
    lua_pushboolean(c->L, 1);
    lua_rawset(c->L, seen->set);
}

void schema_seen_merge(struct schema_check *c, struct schema_seen *to,
                       const struct schema_seen *from) {
    lua_State *L = c->L;
    to->all |= from->all;
    if (from->prefix > to->prefix) to->prefix = from->prefix;
    if (to->all || lua_isnil(L, from->set)) return;
    seen_table(c, to);
    lua_Integer count = 0;
    for (lua_pushnil(L); lua_next(L, from->set); count++) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, to->set);
    }
    schema_step(c, count / 4);
}

static bool was_seen(struct schema_check *c, const struct schema_seen *seen, int key) {
    if (seen->all) return true;
    if (lua_isnil(c->L, seen->set)) return false;
    lua_pushvalue(c->L, key);
    bool found = lua_rawget(c->L, seen->set) != LUA_TNIL;
    lua_pop(c->L, 1);
    return found;
}

/* ---- sizes --------------------------------------------------------------------------------------- */

/* The members of the object at idx; of a schema that drops undeclared keys only the declared ones,
 * since the others will be gone. */
static lua_Integer count_members(struct schema_check *c, const struct schema_node *node, int idx,
                                 const struct schema_path *path) {
    lua_State *L = c->L;
    const struct schema_members *members = node->members;
    lua_Integer count = 0, seen = 0;
    for (lua_pushnil(L); lua_next(L, idx); seen++) {
        lua_pop(L, 1);
        if (!members || !members->drop || schema_declares(c, members, lua_gettop(L), path)) count++;
    }
    schema_step(c, seen / 8);
    return count;
}

bool schema_check_count(struct schema_check *c, const struct schema_node *node,
                        const struct schema_rule *rule, int idx, int types,
                        const struct schema_path *path, struct schema_seen *seen) {
    (void)types, (void)seen;
    bool array = rule->kind == RULE_MIN_ITEMS || rule->kind == RULE_MAX_ITEMS;
    bool least = rule->kind == RULE_MIN_ITEMS || rule->kind == RULE_MIN_PROPERTIES;
    lua_Integer count =
        array ? (lua_Integer)lua_rawlen(c->L, idx) : count_members(c, node, idx, path);
    if (c->stopped) return false;
    if (least ? count >= rule->as.count : count <= rule->as.count) return true;
    const char *noun = array ? rule->as.count == 1 ? "item" : "items"
                             : rule->as.count == 1 ? "key" : "keys";
    lua_pushfstring(c->L, "expected at %s %I %s, got %I", least ? "least" : "most", rule->as.count,
                    noun, count);
    return schema_fail(c, path, false);
}

/* ---- arrays --------------------------------------------------------------------------------------- */

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
        schema_fail(c, &here, false);
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
        return schema_fail(c, path, false);
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
    return schema_fail(c, path, false);
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
        bool known = was_seen(c, seen, lua_gettop(L));
        lua_pop(L, 1);
        if (known || schema_is_true(rule->as.node)) continue;
        ok &= check_item(c, rule->as.node, idx, i, path);
        if (!ok && c->quiet) break;
    }
    seen->all = true;
    return ok;
}

/* ---- objects --------------------------------------------------------------------------------------- */

struct key {
    const char *text;
    size_t len;
};

static int compare_keys(const void *left, const void *right) {
    const struct key *a = left, *b = right;
    size_t n = a->len < b->len ? a->len : b->len;
    int order = n ? memcmp(a->text, b->text, n) : 0;
    if (order) return order;
    return a->len < b->len ? -1 : a->len > b->len;
}

static bool is_named(struct schema_check *c, const struct schema_members *members, int key) {
    if (!members || !members->names.count) return false;
    lua_rawgeti(c->L, c->values, members->index);
    lua_pushvalue(c->L, key);
    bool found = lua_rawget(c->L, -2) != LUA_TNIL;
    lua_pop(c->L, 2);
    return found;
}

/* Pushes the keys of the object at idx in byte order, without those that members names, as a
 * userdata. The keys stay valid as long as the object has them. */
static struct key *push_keys(struct schema_check *c, const struct schema_members *members, int idx,
                             size_t *count) {
    lua_State *L = c->L;
    size_t n = 0, used = 0;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) n++;
    struct key *keys = lua_newuserdatauv(L, (n ? n : 1) * sizeof *keys, 0);
    for (lua_pushnil(L); lua_next(L, idx);) {
        lua_pop(L, 1);
        if (is_named(c, members, lua_gettop(L))) continue;
        keys[used].text = lua_tolstring(L, -1, &keys[used].len);
        used++;
    }
    schema_step(c, (int64_t)n / 2);
    qsort(keys, used, sizeof *keys, compare_keys);
    *count = used;
    return keys;
}

bool schema_declares(struct schema_check *c, const struct schema_members *members, int key,
                     const struct schema_path *path) {
    if (is_named(c, members, key)) return true;
    size_t len;
    const char *text = lua_tolstring(c->L, key, &len);
    for (size_t i = 0; i < members->pattern_count && !c->stopped; i++) {
        if (schema_pattern_match(c, members->patterns[i], text, len, path)) return true;
    }
    return false;
}

/* Pushes the member of the object at idx; false, with nothing pushed, when there is none. */
static bool push_member(struct schema_check *c, int idx, const struct schema_name *name) {
    lua_rawgeti(c->L, c->values, name->value);
    if (lua_rawget(c->L, idx) != LUA_TNIL) return true;
    lua_pop(c->L, 1);
    return false;
}

static bool has_member(struct schema_check *c, int idx, const struct schema_name *name) {
    if (!push_member(c, idx, name)) return false;
    lua_pop(c->L, 1);
    return true;
}

bool schema_check_required(struct schema_check *c, const struct schema_node *node,
                           const struct schema_rule *rule, int idx, int types,
                           const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types, (void)seen;
    bool ok = true;
    if (!schema_step(c, (int64_t)(rule->as.names.count / 8))) return false;
    for (size_t i = 0; i < rule->as.names.count; i++) {
        const struct schema_name *name = &rule->as.names.list[i];
        if (has_member(c, idx, name)) continue;
        ok = false;
        if (c->quiet) break;
        struct schema_path here = {path, name->text, name->len, 0};
        lua_pushliteral(c->L, "is required, but missing");
        schema_fail(c, &here, false);
    }
    return ok;
}

static bool fail_unknown(struct schema_check *c, const struct schema_members *members,
                         const struct schema_path *path) {
    lua_State *L = c->L;
    if (c->quiet) return false;
    if (!members || !members->names.count) {
        lua_pushliteral(L, "is not an allowed key");
        return schema_fail(c, path, false);
    }
    lua_pushliteral(L, "is not an allowed key; allowed: ");
    lua_rawgeti(L, c->values, members->listed);
    schema_push_list(L, -1);
    lua_remove(L, -2);
    lua_concat(L, 2);
    return schema_fail(c, path, false);
}

static bool check_named(struct schema_check *c, const struct schema_members *members, int idx,
                        const struct schema_path *path, struct schema_seen *seen) {
    bool ok = true;
    if (!schema_step(c, (int64_t)(members->names.count / 8))) return false;
    for (size_t i = 0; i < members->names.count && !c->stopped; i++) {
        const struct schema_name *name = &members->names.list[i];
        if (!push_member(c, idx, name)) continue;
        struct schema_path here = {path, name->text, name->len, 0};
        ok &= schema_check_node(c, members->nodes[i], lua_gettop(c->L), 0, &here, NULL);
        lua_pop(c->L, 1);
        if (!ok && c->quiet) break;
        if (!seen) continue;
        lua_rawgeti(c->L, c->values, name->value);
        schema_seen_add(c, seen);
    }
    return ok;
}

/* One key that properties does not name (or any key, when there are patterns). Its value is on top
 * of the stack. */
static bool check_other(struct schema_check *c, const struct schema_members *members, bool named,
                        const struct schema_path *here, struct schema_seen *seen) {
    int value = lua_gettop(c->L);
    bool known = named, ok = true;
    for (size_t i = 0; i < members->pattern_count && !c->stopped; i++) {
        if (!schema_pattern_match(c, members->patterns[i], here->key, here->len, here)) continue;
        known = true;
        ok &= schema_check_node(c, members->pattern_nodes[i], value, 0, here, NULL);
    }
    if (c->stopped) return false;
    if (!known && members->additional && !members->drop) {
        known = true;
        ok = schema_is_false(members->additional)
                 ? fail_unknown(c, members, here)
                 : schema_check_node(c, members->additional, value, 0, here, NULL);
    }
    if (known && seen) {
        lua_pushlstring(c->L, here->key, here->len);
        schema_seen_add(c, seen);
    }
    return ok;
}

static bool check_others(struct schema_check *c, const struct schema_members *members, int idx,
                         const struct schema_path *path, struct schema_seen *seen) {
    lua_State *L = c->L;
    size_t count;
    bool ok = true;
    bool all = members->pattern_count > 0;
    const struct key *keys = push_keys(c, all ? NULL : members, idx, &count);
    for (size_t i = 0; i < count && !c->stopped; i++) {
        struct schema_path here = {path, keys[i].text, keys[i].len, 0};
        lua_pushlstring(L, keys[i].text, keys[i].len);
        bool named = all && is_named(c, members, lua_gettop(L));
        lua_rawget(L, idx);
        ok &= check_other(c, members, named, &here, seen);
        lua_pop(L, 1);
        if (!ok && (c->quiet || c->count >= c->cap)) break;
    }
    lua_pop(L, 1);
    return ok;
}

bool schema_check_members(struct schema_check *c, const struct schema_node *node,
                          const struct schema_rule *rule, int idx, int types,
                          const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types;
    const struct schema_members *members = rule->as.members;
    bool ok = check_named(c, members, idx, path, seen);
    if (c->stopped || (!ok && c->quiet)) return false;
    bool limited = members->additional && !members->drop && !schema_is_true(members->additional);
    if (members->pattern_count || limited) ok &= check_others(c, members, idx, path, seen);
    if (seen && (members->additional || members->drop)) seen->all = true;
    return ok;
}

bool schema_check_property_names(struct schema_check *c, const struct schema_node *node,
                                 const struct schema_rule *rule, int idx, int types,
                                 const struct schema_path *path, struct schema_seen *seen) {
    (void)types, (void)seen;
    lua_State *L = c->L;
    size_t count;
    bool ok = true;
    const struct key *keys = push_keys(c, NULL, idx, &count);
    for (size_t i = 0; i < count && !c->stopped; i++) {
        struct schema_path here = {path, keys[i].text, keys[i].len, 0};
        lua_pushlstring(L, keys[i].text, keys[i].len);
        const struct schema_members *members = node->members;
        bool dropped =
            members && members->drop && !schema_declares(c, members, lua_gettop(L), &here);
        bool fits = dropped || schema_matches(c, rule->as.node, lua_gettop(L), SCHEMA_STRING, NULL);
        lua_pop(L, 1);
        if (fits || c->stopped) continue;
        ok = false;
        if (c->quiet) break;
        lua_pushliteral(L, "is not an allowed key: its name does not fit \"propertyNames\"");
        schema_fail(c, &here, false);
    }
    lua_pop(L, 1);
    return ok && !c->stopped;
}

static bool check_dependent(struct schema_check *c, const struct schema_dependent *dependent,
                            int idx, const struct schema_path *path) {
    bool ok = true;
    for (size_t i = 0; i < dependent->required.count; i++) {
        const struct schema_name *name = &dependent->required.list[i];
        if (has_member(c, idx, name)) continue;
        ok = false;
        if (c->quiet) break;
        struct schema_path here = {path, name->text, name->len, 0};
        lua_pushliteral(c->L, "is required, since there is ");
        schema_push_quoted(c->L, dependent->name.text, dependent->name.len);
        lua_concat(c->L, 2);
        schema_fail(c, &here, false);
    }
    return ok && schema_step(c, (int64_t)(dependent->required.count / 8));
}

bool schema_check_dependents(struct schema_check *c, const struct schema_node *node,
                             const struct schema_rule *rule, int idx, int types,
                             const struct schema_path *path, struct schema_seen *seen) {
    (void)node;
    const struct schema_dependents *dependents = rule->as.dependents;
    bool ok = true;
    if (!schema_step(c, (int64_t)(dependents->count / 8))) return false;
    for (size_t i = 0; i < dependents->count && !c->stopped; i++) {
        const struct schema_dependent *dependent = &dependents->list[i];
        if (!has_member(c, idx, &dependent->name)) continue;
        ok &= dependent->node ? schema_check_node(c, dependent->node, idx, types, path, seen)
                              : check_dependent(c, dependent, idx, path);
        if (!ok && c->quiet) break;
    }
    return ok;
}

bool schema_check_unevaluated_properties(struct schema_check *c, const struct schema_node *node,
                                         const struct schema_rule *rule, int idx, int types,
                                         const struct schema_path *path,
                                         struct schema_seen *seen) {
    (void)types;
    lua_State *L = c->L;
    size_t count = 0;
    bool ok = true;
    if (seen->all || schema_is_true(rule->as.node)) {
        seen->all = true;
        return true;
    }
    const struct key *keys = push_keys(c, NULL, idx, &count);
    for (size_t i = 0; i < count && !c->stopped; i++) {
        struct schema_path here = {path, keys[i].text, keys[i].len, 0};
        lua_pushlstring(L, keys[i].text, keys[i].len);
        bool known = was_seen(c, seen, lua_gettop(L));
        lua_rawget(L, idx);
        if (!known) {
            ok &= schema_is_false(rule->as.node)
                      ? fail_unknown(c, node->members, &here)
                      : schema_check_node(c, rule->as.node, lua_gettop(L), 0, &here, NULL);
        }
        lua_pop(L, 1);
        if (!ok && c->quiet) break;
    }
    lua_pop(L, 1);
    seen->all = true;
    return ok;
}
