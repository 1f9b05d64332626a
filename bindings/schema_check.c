/* schema_check.c - the checker: walks a value along the nodes of a schema, and the keywords about
 * single values.
 *
 * The value at a stack slot is looked at, never changed. Every node that is visited, every item
 * compared, every stretch of text matched takes steps of one budget, and the nesting is bounded: a
 * check ends in bounded time whatever schema and value are. When it is given up the verdict is
 * "does not fit", also inside `not` (c->stopped overrules everything).
 *
 * c->quiet > 0 means that only the verdict counts: no message is built and a node ends at its first
 * failing rule. */
#include <lauxlib.h>
#include <stdio.h>

#include "schema.h"

/* ---- limits ----------------------------------------------------------------------------------- */

bool schema_enter(struct schema_check *c, const struct schema_path *path) {
    if (!schema_step(c, 1)) return false;
    if (c->depth >= SCHEMA_MAX_DEPTH) {
        lua_pushliteral(c->L, "value or schema is nested too deeply to be checked");
        return schema_give_up(c, path);
    }
    luaL_checkstack(c->L, 16, "schema");
    c->depth++;
    return true;
}

/* ---- single values ------------------------------------------------------------------------------- */

/* Ends a message that is on top of the stack ("expected ...") with what was found, and adds it. */
static bool fail_got(struct schema_check *c, int idx, const struct schema_path *path,
                     enum schema_hint hint) {
    lua_State *L = c->L;
    lua_pushliteral(L, ", got ");
    if (c->absent && !path) lua_pushliteral(L, "nothing");
    else schema_push_shown(L, idx, hint == HINT_TYPE);
    lua_concat(L, 3);
    return schema_fail(c, path, hint);
}

static bool check_enum(struct schema_check *c, const struct schema_node *node,
                       const struct schema_rule *rule, int idx, int types,
                       const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types, (void)seen;
    lua_State *L = c->L;
    const struct schema_choice *choice = rule->as.choice;
    lua_rawgeti(L, c->values, choice->set);
    lua_pushvalue(L, idx);
    bool found = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 2);
    for (size_t i = 0; i < choice->complex_count && !found && !c->stopped; i++) {
        lua_rawgeti(L, c->values, choice->complex[i]);
        found = schema_equal(c, idx, lua_gettop(L), 0);
        lua_pop(L, 1);
    }
    if (found) return true;
    if (c->quiet || c->stopped) return false;
    lua_rawgeti(L, c->values, choice->all);
    bool many = lua_rawlen(L, -1) > 1;
    lua_pushstring(L, many ? "expected one of " : "expected ");
    schema_push_list(L, -2);
    lua_remove(L, -3);
    lua_concat(L, 2);
    return fail_got(c, idx, path, HINT_CONSTANT);
}

static bool check_const(struct schema_check *c, const struct schema_node *node,
                        const struct schema_rule *rule, int idx, int types,
                        const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types, (void)seen;
    lua_State *L = c->L;
    lua_rawgeti(L, c->values, rule->as.value);
    int constant = lua_gettop(L);
    bool same = schema_equal(c, idx, constant, 0);
    if (!same && !c->quiet && !c->stopped) {
        bool table = lua_istable(L, constant);
        lua_pushstring(L,
                       table ? "expected exactly the value given by the schema, an " : "expected ");
        schema_push_shown(L, constant, false);
        lua_concat(L, 2);
        fail_got(c, idx, path, HINT_CONSTANT);
    }
    lua_pop(L, 1);
    return same;
}

/* Is the number at idx on the right side of the limit on top of the stack? */
static bool within(lua_State *L, enum schema_rule_kind kind, int idx) {
    switch (kind) {
    case RULE_MAXIMUM: return lua_compare(L, idx, -1, LUA_OPLE);
    case RULE_MINIMUM: return lua_compare(L, -1, idx, LUA_OPLE);
    case RULE_EXCLUSIVE_MAXIMUM: return lua_compare(L, idx, -1, LUA_OPLT);
    case RULE_EXCLUSIVE_MINIMUM: return lua_compare(L, -1, idx, LUA_OPLT);
    default: return schema_multiple(L, idx, -1);
    }
}

static bool check_limit(struct schema_check *c, const struct schema_node *node,
                        const struct schema_rule *rule, int idx, int types,
                        const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types, (void)seen;
    lua_State *L = c->L;
    lua_rawgeti(L, c->values, rule->as.value);
    if (within(L, rule->kind, idx)) {
        lua_pop(L, 1);
        return true;
    }
    const char *what = "a multiple of";
    if (rule->kind == RULE_MAXIMUM) what = "at most";
    if (rule->kind == RULE_MINIMUM) what = "at least";
    if (rule->kind == RULE_EXCLUSIVE_MAXIMUM) what = "less than";
    if (rule->kind == RULE_EXCLUSIVE_MINIMUM) what = "more than";
    lua_pushfstring(L, "expected %s %s", what, lua_tostring(L, -1));
    lua_remove(L, -2);
    return fail_got(c, idx, path, HINT_NONE);
}

static bool check_length(struct schema_check *c, const struct schema_node *node,
                         const struct schema_rule *rule, int idx, int types,
                         const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types, (void)seen;
    size_t bytes;
    const char *text = lua_tolstring(c->L, idx, &bytes);
    if (!schema_step(c, (int64_t)(bytes / 64))) return false;
    lua_Integer length = (lua_Integer)schema_length(text, bytes);
    bool least = rule->kind == RULE_MIN_LENGTH;
    if (least ? length >= rule->as.count : length <= rule->as.count) return true;
    lua_pushfstring(c->L, "expected at %s %I character%s, got %I", least ? "least" : "most",
                    rule->as.count, rule->as.count == 1 ? "" : "s", length);
    return schema_fail(c, path, HINT_NONE);
}

static bool check_pattern(struct schema_check *c, const struct schema_node *node,
                          const struct schema_rule *rule, int idx, int types,
                          const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)types, (void)seen;
    size_t len;
    const char *text = lua_tolstring(c->L, idx, &len);
    if (schema_pattern_match(c, rule->as.pattern, text, len, path)) return true;
    if (c->quiet || c->stopped) return false;
    lua_pushliteral(c->L, "expected a string that matches the pattern ");
    schema_pattern_push(c->L, rule->as.pattern);
    lua_concat(c->L, 2);
    return fail_got(c, idx, path, HINT_NONE);
}

/* ---- nodes --------------------------------------------------------------------------------------- */

static schema_rule_fn *const RULES[RULE_COUNT] = {
    [RULE_ENUM] = check_enum,
    [RULE_CONST] = check_const,
    [RULE_MULTIPLE_OF] = check_limit,
    [RULE_MAXIMUM] = check_limit,
    [RULE_EXCLUSIVE_MAXIMUM] = check_limit,
    [RULE_MINIMUM] = check_limit,
    [RULE_EXCLUSIVE_MINIMUM] = check_limit,
    [RULE_MAX_LENGTH] = check_length,
    [RULE_MIN_LENGTH] = check_length,
    [RULE_PATTERN] = check_pattern,
    [RULE_MAX_ITEMS] = schema_check_item_count,
    [RULE_MIN_ITEMS] = schema_check_item_count,
    [RULE_UNIQUE_ITEMS] = schema_check_unique,
    [RULE_ITEMS] = schema_check_items,
    [RULE_CONTAINS] = schema_check_contains,
    [RULE_MAX_PROPERTIES] = schema_check_member_count,
    [RULE_MIN_PROPERTIES] = schema_check_member_count,
    [RULE_REQUIRED] = schema_check_required,
    [RULE_MEMBERS] = schema_check_members,
    [RULE_PROPERTY_NAMES] = schema_check_property_names,
    [RULE_DEPENDENTS] = schema_check_dependents,
    [RULE_REFERENCE] = schema_check_reference,
    [RULE_ALL_OF] = schema_check_all_of,
    [RULE_ANY_OF] = schema_check_any_of,
    [RULE_ONE_OF] = schema_check_one_of,
    [RULE_NOT] = schema_check_not,
    [RULE_CONDITION] = schema_check_condition,
    [RULE_UNEVALUATED_ITEMS] = schema_check_unevaluated_items,
    [RULE_UNEVALUATED_PROPERTIES] = schema_check_unevaluated_properties,
};

int schema_narrow(const struct schema *schema, const struct schema_node *node, int types) {
    if (types != (SCHEMA_ARRAY | SCHEMA_OBJECT)) return types;
    if (schema->exact_empty) return SCHEMA_OBJECT;
    return types & node->types ? types & node->types : types;
}

static bool fail_type(struct schema_check *c, const struct schema_node *node, int idx,
                      const struct schema_path *path) {
    if (c->quiet || c->stopped) return false;
    lua_State *L = c->L;
    if (schema_is_false(node)) {
        lua_pushliteral(L, "expected no value at all");
    } else if (node->types == SCHEMA_ANY) {
        lua_pushliteral(L, "expected a JSON value");
    } else {
        lua_pushliteral(L, "expected ");
        schema_push_types(L, node->types);
        lua_concat(L, 2);
    }
    return fail_got(c, idx, path, HINT_TYPE);
}

/* Runs the rules that say something about the value. types may say array and object at once, for
 * `{}` where the node takes both; then it counts as an object, but the schemas that rules apply to
 * the same value may still see an array in it. */
static bool check_rules(struct schema_check *c, const struct schema_node *node, int idx, int types,
                        const struct schema_path *path, struct schema_seen *seen) {
    int counts_as = types & SCHEMA_OBJECT ? types & ~SCHEMA_ARRAY : types;
    bool ok = true;
    for (size_t i = 0; i < node->rule_count; i++) {
        const struct schema_rule *rule = &node->rules[i];
        if (!(rule->types & counts_as)) continue;
        if (RULES[rule->kind](c, node, rule, idx, types, path, seen) && !c->stopped) continue;
        ok = false;
        if (c->quiet || c->stopped || c->count >= c->cap) break;
    }
    return ok;
}

static bool check_value(struct schema_check *c, const struct schema_node *node, int idx, int types,
                        const struct schema_path *path, struct schema_seen *seen) {
    if (!types) {
        size_t size;
        if (schema_plain(c->L, idx)) c->wanted |= SCHEMA_FILLS_ORDERED;
        types = schema_types(c->L, idx, &size);
        if (!schema_step_keys(c, types, size)) return false;
    }
    int narrowed = schema_narrow(c->schema, node, types);
    if (!(narrowed & node->types)) return fail_type(c, node, idx, path);
    if (narrowed != types && narrowed == SCHEMA_ARRAY) c->wanted |= SCHEMA_FILLS_ARRAYS;
    types = narrowed;
    if (!node->tracks) return check_rules(c, node, idx, types, path, seen);
    struct schema_seen own;
    schema_seen_open(c, &own);
    bool ok = check_rules(c, node, idx, types, path, &own);
    if (ok && seen) schema_seen_merge(c, seen, &own);
    return ok;
}

bool schema_check_node(struct schema_check *c, const struct schema_node *node, int idx, int types,
                       const struct schema_path *path, struct schema_seen *seen) {
    if (!schema_enter(c, path)) return false;
    int top = lua_gettop(c->L);
    bool ok = check_value(c, node, idx, types, path, seen);
    lua_settop(c->L, top);
    c->depth--;
    return ok && !c->stopped;
}

bool schema_matches(struct schema_check *c, const struct schema_node *node, int idx, int types,
                    struct schema_seen *seen) {
    c->quiet++;
    bool ok = schema_check_node(c, node, idx, types, NULL, seen);
    c->quiet--;
    return ok;
}
