/* schema_object.c - the keywords about objects.
 *
 * Keys that a schema does not name are visited in byte order, so that the list of problems is the
 * same on every run; lua_next is used only where the order cannot be seen. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "schema.h"

/* ---- keys --------------------------------------------------------------------------------------- */

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
    schema_step(c, 4 * (int64_t)n);
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
        schema_fail(c, &here, HINT_NONE);
    }
    return ok;
}

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
    schema_step(c, seen);
    return count;
}

bool schema_check_member_count(struct schema_check *c, const struct schema_node *node,
                               const struct schema_rule *rule, int idx, int types,
                               const struct schema_path *path, struct schema_seen *seen) {
    (void)types, (void)seen;
    bool least = rule->kind == RULE_MIN_PROPERTIES;
    lua_Integer count = count_members(c, node, idx, path);
    if (c->stopped) return false;
    if (least ? count >= rule->as.count : count <= rule->as.count) return true;
    lua_pushfstring(c->L, "expected at %s %I key%s, got %I", least ? "least" : "most",
                    rule->as.count, rule->as.count == 1 ? "" : "s", count);
    return schema_fail(c, path, HINT_NONE);
}

/* ---- members --------------------------------------------------------------------------------------- */

static bool fail_unknown(struct schema_check *c, const struct schema_members *members,
                         const struct schema_path *path) {
    lua_State *L = c->L;
    if (c->quiet) return false;
    if (!members || !members->names.count) {
        lua_pushliteral(L, "is not an allowed key");
        return schema_fail(c, path, HINT_NONE);
    }
    lua_pushliteral(L, "is not an allowed key; allowed: ");
    lua_rawgeti(L, c->values, members->listed);
    schema_push_list(L, -1);
    lua_remove(L, -2);
    lua_concat(L, 2);
    return schema_fail(c, path, HINT_NONE);
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
        schema_fail(c, &here, HINT_NONE);
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
        schema_fail(c, &here, HINT_NONE);
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
                                         const struct schema_path *path, struct schema_seen *seen) {
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
        bool known = schema_was_seen(c, seen, lua_gettop(L));
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
