/* schema_combine.c - keywords that apply other schemas to the same value ($ref, allOf, anyOf,
 * oneOf, not, if), and the sets of what they have looked at, for the unevaluated keywords.
 *
 * Alternatives are first tried quietly. Only when none fits are they tried again to say why: when
 * the value gets past type, enum and const of exactly one alternative, that one was meant, and its
 * problems are reported as they are; else one problem lists what each alternative missed. */
#include <lauxlib.h>

#include "schema.h"

enum { EXPLAINED = 6, TRIED = 32 }; /* alternatives: named in a message; looked at for it */
enum { REASON_BYTES = 200 };

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

bool schema_was_seen(struct schema_check *c, const struct schema_seen *seen, int key) {
    if (seen->all) return true;
    if (lua_isnil(c->L, seen->set)) return false;
    lua_pushvalue(c->L, key);
    bool found = lua_rawget(c->L, seen->set) != LUA_TNIL;
    lua_pop(c->L, 1);
    return found;
}

/* ---- schemas for the same value --------------------------------------------------------------- */

/* A quiet try whose sightings count only when it fits. */
static bool fits(struct schema_check *c, const struct schema_node *node, int idx, int types,
                 struct schema_seen *seen) {
    if (!seen) return schema_matches(c, node, idx, types, NULL);
    struct schema_seen own;
    schema_seen_open(c, &own);
    bool ok = schema_matches(c, node, idx, types, &own);
    if (ok) schema_seen_merge(c, seen, &own);
    lua_pop(c->L, 1);
    return ok;
}

bool schema_check_reference(struct schema_check *c, const struct schema_node *node,
                            const struct schema_rule *rule, int idx, int types,
                            const struct schema_path *path, struct schema_seen *seen) {
    (void)node;
    return schema_check_node(c, rule->as.reference->node, idx, types, path, seen);
}

bool schema_check_all_of(struct schema_check *c, const struct schema_node *node,
                         const struct schema_rule *rule, int idx, int types,
                         const struct schema_path *path, struct schema_seen *seen) {
    (void)node;
    bool ok = true;
    for (size_t i = 0; i < rule->as.nodes.count && !c->stopped; i++) {
        if (schema_check_node(c, rule->as.nodes.list[i], idx, types, path, seen)) continue;
        ok = false;
        if (c->quiet) break;
    }
    return ok;
}

/* ---- why no alternative fits ----------------------------------------------------------------- */

static void forget_problems(struct schema_check *c, int mark) {
    for (; c->count > mark; c->count--) {
        lua_pushnil(c->L);
        lua_rawseti(c->L, c->problems, c->count);
    }
}

/* The problem after mark that says that another alternative was meant, or 0: the value got past
 * what tells alternatives apart. */
static int telling_problem(const struct schema_check *c, int mark, int depth) {
    for (int i = mark; i < c->count; i++) {
        int limit = c->info[i].hint == HINT_CONSTANT ? depth + 1 : depth;
        if (c->info[i].hint != HINT_NONE && c->info[i].depth <= limit) return i + 1;
    }
    return 0;
}

/* Appends "1. $.kind: expected ..." to the text on top, from the given problem. */
static void add_reason(struct schema_check *c, int problem, size_t i,
                       const struct schema_path *path) {
    lua_State *L = c->L;
    lua_pushfstring(L, "%s%I. ", i ? "; " : "", (lua_Integer)i + 1);
    lua_rawgeti(L, c->problems, problem);
    lua_getfield(L, -1, "path");
    schema_push_path(L, path);
    bool here = lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    lua_getfield(L, -2, "message");
    schema_shorten(L, REASON_BYTES);
    lua_pushfstring(L, "%s%s%s", here ? "" : lua_tostring(L, -2), here ? "" : ": ",
                    lua_tostring(L, -1));
    lua_insert(L, -4);
    lua_pop(L, 3);
    lua_concat(L, 3);
}

static bool all_want_other_types(const struct schema_nodes *nodes, int types, int *wanted) {
    *wanted = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        if (nodes->list[i]->types & types) return false;
        *wanted |= nodes->list[i]->types;
    }
    return *wanted != 0;
}

/* Tries all alternatives again. Returns how many may have been meant. When it is one, its problems
 * are in the list; else the text of the one problem is on top of the stack. */
static int explain(struct schema_check *c, const struct schema_nodes *nodes, int idx, int types,
                   const struct schema_path *path) {
    lua_State *L = c->L;
    int before = c->count, cap = c->cap, depth = 0, candidates = 0;
    for (const struct schema_path *p = path; p; p = p->up) depth++;
    lua_pushfstring(L, "fits none of the %I alternatives: ", (lua_Integer)nodes->count);
    for (size_t i = 0; i < nodes->count && i < TRIED && !c->stopped; i++) {
        int mark = c->count;
        c->cap = cap > mark + 4 ? cap : mark + 4;
        schema_check_node(c, nodes->list[i], idx, types, path, NULL);
        if (c->stopped) break;
        if (c->count == mark) continue;
        int telling = telling_problem(c, mark, depth);
        if (i < EXPLAINED) add_reason(c, telling ? telling : mark + 1, i, path);
        if (telling || candidates++) forget_problems(c, mark);
    }
    c->cap = cap;
    if (candidates == 1) {
        lua_pop(L, 1);
        return 1;
    }
    if (!c->stopped) forget_problems(c, before);
    if (nodes->count <= EXPLAINED) return candidates;
    lua_pushliteral(L, "; ...");
    lua_concat(L, 2);
    return candidates;
}

static bool fail_alternatives(struct schema_check *c, const struct schema_nodes *nodes, int idx,
                              int types, const struct schema_path *path) {
    lua_State *L = c->L;
    if (c->quiet || c->stopped || c->count >= c->cap) return false;
    int wanted;
    if (all_want_other_types(nodes, types, &wanted)) {
        lua_pushliteral(L, "expected ");
        schema_push_types(L, wanted);
        lua_pushliteral(L, ", got ");
        schema_push_shown(L, idx, true);
        lua_concat(L, 4);
        return schema_fail(c, path, HINT_TYPE);
    }
    /* Alternatives inside alternatives need room for their own tries. */
    if (c->count + 5 > (int)(sizeof c->info / sizeof *c->info)) {
        lua_pushfstring(L, "fits none of the %I alternatives", (lua_Integer)nodes->count);
        return schema_fail(c, path, HINT_NONE);
    }
    int meant = explain(c, nodes, idx, types, path);
    if (meant == 1) return false;
    return schema_fail(c, path, meant ? HINT_NONE : HINT_TYPE);
}

/* ---- alternatives --------------------------------------------------------------------------------- */

bool schema_check_any_of(struct schema_check *c, const struct schema_node *node,
                         const struct schema_rule *rule, int idx, int types,
                         const struct schema_path *path, struct schema_seen *seen) {
    (void)node;
    const struct schema_nodes *nodes = &rule->as.nodes;
    bool ok = false;
    for (size_t i = 0; i < nodes->count && !c->stopped; i++) {
        ok |= fits(c, nodes->list[i], idx, types, seen);
        if (ok && !seen) return true;
    }
    return ok || fail_alternatives(c, nodes, idx, types, path);
}

bool schema_check_one_of(struct schema_check *c, const struct schema_node *node,
                         const struct schema_rule *rule, int idx, int types,
                         const struct schema_path *path, struct schema_seen *seen) {
    (void)node;
    const struct schema_nodes *nodes = &rule->as.nodes;
    size_t first = 0;
    for (size_t i = 0; i < nodes->count && !c->stopped; i++) {
        if (!fits(c, nodes->list[i], idx, types, seen)) continue;
        if (!first) {
            first = i + 1;
            continue;
        }
        lua_pushfstring(c->L, "fits alternatives %I and %I, but must fit exactly one",
                        (lua_Integer)first, (lua_Integer)i + 1);
        return schema_fail(c, path, HINT_NONE);
    }
    return first || fail_alternatives(c, nodes, idx, types, path);
}

bool schema_check_not(struct schema_check *c, const struct schema_node *node,
                      const struct schema_rule *rule, int idx, int types,
                      const struct schema_path *path, struct schema_seen *seen) {
    (void)node, (void)seen;
    if (!schema_matches(c, rule->as.node, idx, types, NULL)) return !c->stopped;
    lua_pushliteral(c->L, "fits what the schema excludes by \"not\"");
    return schema_fail(c, path, HINT_NONE);
}

bool schema_check_condition(struct schema_check *c, const struct schema_node *node,
                            const struct schema_rule *rule, int idx, int types,
                            const struct schema_path *path, struct schema_seen *seen) {
    (void)node;
    const struct schema_condition *condition = rule->as.condition;
    bool yes = fits(c, condition->test, idx, types, seen);
    const struct schema_node *next = yes ? condition->yes : condition->no;
    return !next || schema_check_node(c, next, idx, types, path, seen);
}
