/* schema_fill.c - the checked copy: a second walk over a value that fits, which fills in defaults,
 * drops undeclared keys, and marks `{}` as an array where only an array fits.
 *
 * It runs after the verdict, so that the verdict is that of JSON Schema on the value as given. A
 * table is copied only when something in it changes; the original is never written to. Parts of a
 * schema that can change nothing are not visited (node->fills).
 *
 * Where alternatives are given, those of one count: of anyOf the first that fits, but one that
 * would drop nothing goes before one that would; of oneOf the one that fits; then or else as `if`
 * says. `not`, `if`, contains, propertyNames and the unevaluated keywords fill in nothing. */
#include <lauxlib.h>

#include "json.h"
#include "schema.h"

static bool has_work(const struct schema_check *c, const struct schema_node *node) {
    return ((node->fills | SCHEMA_FILLS_ORDERED) & c->wanted) != 0;
}

/* ---- copies on write --------------------------------------------------------------------------- */

/* The table being filled: it stays in its slot as it is until something is put into it. */
struct copy {
    int slot;
    bool made;
};

/* Pops the value on top of the stack (nil removes) into the copy, under the key at index key. */
static void copy_set(struct schema_check *c, struct copy *copy, int key) {
    lua_State *L = c->L;
    if (!copy->made) {
        schema_push_shallow(L, copy->slot);
        lua_replace(L, copy->slot);
        copy->made = true;
    }
    lua_pushvalue(L, key);
    lua_insert(L, -2);
    lua_rawset(L, copy->slot);
}

/* Fills the member under the key at stack index key. */
static void fill_member(struct schema_check *c, struct copy *copy, int key,
                        const struct schema_node *node, const struct schema_path *path) {
    lua_State *L = c->L;
    if (!has_work(c, node)) return;
    lua_pushvalue(L, key);
    lua_rawget(L, copy->slot);
    lua_pushvalue(L, -1);
    schema_fill(c, node, lua_gettop(L), 0, path);
    if (lua_rawequal(L, -1, -2)) {
        lua_pop(L, 2);
        return;
    }
    copy_set(c, copy, key);
    lua_pop(L, 1);
}

bool schema_push_default(struct schema_check *c, const struct schema_node *node) {
    lua_rawgeti(c->L, c->values, node->default_value);
    bool ok = schema_push_copy(c->L, -1, 0, &c->steps);
    lua_remove(c->L, ok ? -2 : -1);
    return ok || schema_step(c, 1);
}

/* ---- objects -------------------------------------------------------------------------------------- */

static void fill_named(struct schema_check *c, struct copy *copy,
                       const struct schema_members *members, const struct schema_path *path) {
    lua_State *L = c->L;
    for (size_t i = 0; i < members->names.count && !c->stopped; i++) {
        const struct schema_name *name = &members->names.list[i];
        const struct schema_node *node = members->nodes[i];
        lua_rawgeti(L, c->values, name->value);
        int key = lua_gettop(L);
        lua_pushvalue(L, key);
        bool there = lua_rawget(L, copy->slot) != LUA_TNIL;
        lua_pop(L, 1);
        struct schema_path here = {path, name->text, name->len, 0};
        if (there) {
            fill_member(c, copy, key, node, &here);
        } else if (node->default_value && schema_push_default(c, node)) {
            copy_set(c, copy, key);
        }
        lua_settop(L, key - 1);
    }
}

/* One key of the object, at stack index key: those of properties have been seen to, the rest is
 * for patterns, additionalProperties, or for nobody. */
static void fill_other(struct schema_check *c, struct copy *copy,
                       const struct schema_members *members, int key,
                       const struct schema_path *here) {
    lua_State *L = c->L;
    lua_rawgeti(L, c->values, members->index);
    lua_pushvalue(L, key);
    bool known = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 2);
    for (size_t i = 0; i < members->pattern_count && !c->stopped; i++) {
        if (!schema_pattern_match(c, members->patterns[i], here->key, here->len, here)) continue;
        known = true;
        fill_member(c, copy, key, members->pattern_nodes[i], here);
    }
    if (known || c->stopped) return;
    if (members->drop) {
        lua_pushnil(L);
        copy_set(c, copy, key);
    } else if (members->additional) {
        fill_member(c, copy, key, members->additional, here);
    }
}

static bool fills_others(const struct schema_check *c, const struct schema_members *members) {
    if (members->drop || members->pattern_count) return true;
    return members->additional && has_work(c, members->additional);
}

static void fill_members(struct schema_check *c, const struct schema_members *members, int idx,
                         const struct schema_path *path) {
    lua_State *L = c->L;
    struct copy copy = {idx, false};
    lua_pushvalue(L, idx); /* what is iterated over stays as it is */
    int original = lua_gettop(L);
    if (fills_others(c, members)) {
        for (lua_pushnil(L); lua_next(L, original) && schema_step(c, 1);) {
            lua_pop(L, 1);
            int key = lua_gettop(L);
            struct schema_path here = {path, NULL, 0, 0};
            here.key = lua_tolstring(L, key, &here.len);
            fill_other(c, &copy, members, key, &here);
            lua_settop(L, key);
        }
        lua_settop(L, original);
    }
    fill_named(c, &copy, members, path);
    lua_settop(L, original - 1);
}

/* ---- arrays ----------------------------------------------------------------------------------------- */

static void fill_items(struct schema_check *c, const struct schema_items *items, int idx,
                       const struct schema_path *path) {
    lua_State *L = c->L;
    struct copy copy = {idx, false};
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx), named = (lua_Integer)items->prefix.count;
    if (!items->rest || !has_work(c, items->rest)) n = n < named ? n : named;
    for (lua_Integer i = 1; i <= n && !c->stopped; i++) {
        struct schema_path here = {path, NULL, 0, i};
        lua_pushinteger(L, i);
        int key = lua_gettop(L);
        fill_member(c, &copy, key, i <= named ? items->prefix.list[i - 1] : items->rest, &here);
        lua_settop(L, key - 1);
    }
}

/* ---- schemas for the same value --------------------------------------------------------------------- */

/* Would this alternative drop a key of the value at idx, here and not further inside? */
static bool drops_here(struct schema_check *c, const struct schema_node *node, int idx, int types,
                       const struct schema_path *path) {
    lua_State *L = c->L;
    while (node->rule_count == 1 && node->rules[0].kind == RULE_REFERENCE) {
        node = node->rules[0].as.reference->node;
    }
    if (!node->members || !node->members->drop || !(types & SCHEMA_OBJECT)) return false;
    int top = lua_gettop(L);
    bool drops = false;
    for (lua_pushnil(L); !drops && schema_step(c, 1) && lua_next(L, idx);) {
        lua_pop(L, 1);
        drops = !schema_declares(c, node->members, lua_gettop(L), path);
    }
    lua_settop(L, top);
    return drops;
}

static void fill_alternative(struct schema_check *c, const struct schema_nodes *nodes, int idx,
                             int types, const struct schema_path *path) {
    const struct schema_node *best = NULL;
    for (size_t i = 0; i < nodes->count && !c->stopped; i++) {
        if (!schema_matches(c, nodes->list[i], idx, types, NULL)) continue;
        bool exact = !drops_here(c, nodes->list[i], idx, types, path);
        if (exact || !best) best = nodes->list[i];
        if (exact) break;
    }
    if (best) schema_fill(c, best, idx, types, path);
}

static void fill_condition(struct schema_check *c, const struct schema_condition *condition,
                           int idx, int types, const struct schema_path *path) {
    bool yes = schema_matches(c, condition->test, idx, types, NULL);
    const struct schema_node *next = yes ? condition->yes : condition->no;
    if (next) schema_fill(c, next, idx, types, path);
}

static void fill_dependents(struct schema_check *c, const struct schema_dependents *dependents,
                            int idx, int types, const struct schema_path *path) {
    lua_State *L = c->L;
    for (size_t i = 0; i < dependents->count && !c->stopped; i++) {
        const struct schema_dependent *dependent = &dependents->list[i];
        if (!dependent->node) continue;
        lua_rawgeti(L, c->values, dependent->name.value);
        bool there = lua_rawget(L, idx) != LUA_TNIL;
        lua_pop(L, 1);
        if (there) schema_fill(c, dependent->node, idx, types, path);
    }
}

static void fill_rule(struct schema_check *c, const struct schema_rule *rule, int idx, int types,
                      const struct schema_path *path) {
    switch (rule->kind) {
    case RULE_MEMBERS: fill_members(c, rule->as.members, idx, path); break;
    case RULE_ITEMS: fill_items(c, rule->as.items, idx, path); break;
    case RULE_REFERENCE: schema_fill(c, rule->as.reference->node, idx, types, path); break;
    case RULE_ALL_OF:
        for (size_t i = 0; i < rule->as.nodes.count; i++) {
            schema_fill(c, rule->as.nodes.list[i], idx, types, path);
        }
        break;
    case RULE_ANY_OF:
    case RULE_ONE_OF: fill_alternative(c, &rule->as.nodes, idx, types, path); break;
    case RULE_CONDITION: fill_condition(c, rule->as.condition, idx, types, path); break;
    case RULE_DEPENDENTS: fill_dependents(c, rule->as.dependents, idx, types, path); break;
    default: break;
    }
}

/* ---- nodes --------------------------------------------------------------------------------------------- */

static void fill_value(struct schema_check *c, const struct schema_node *node, int idx, int types,
                       const struct schema_path *path) {
    lua_State *L = c->L;
    schema_plain(L, idx);
    if (!types) {
        size_t size;
        types = schema_types(L, idx, &size);
        if (!schema_step_keys(c, types, size)) return;
    }
    int narrowed = schema_narrow(c->schema, node, types);
    if (narrowed != types && narrowed == SCHEMA_ARRAY) {
        lua_newtable(L);
        json_mark_array(L, -1);
        lua_replace(L, idx);
    }
    int counts_as = narrowed & SCHEMA_OBJECT ? narrowed & ~SCHEMA_ARRAY : narrowed;
    for (size_t i = 0; i < node->rule_count && !c->stopped; i++) {
        if (!(node->rules[i].types & counts_as)) continue;
        fill_rule(c, &node->rules[i], idx, narrowed, path);
    }
}

bool schema_fill(struct schema_check *c, const struct schema_node *node, int idx, int types,
                 const struct schema_path *path) {
    if (!has_work(c, node)) return true;
    if (!schema_enter(c, path)) return false;
    int top = lua_gettop(c->L);
    fill_value(c, node, idx, types, path);
    lua_settop(c->L, top);
    c->depth--;
    return !c->stopped;
}
