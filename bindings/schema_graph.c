/* schema_graph.c - what can only be said of a schema as a whole, once all nodes are there.
 *
 * Progress: a reference may come back to where it started only by way of a smaller part of the
 * value. A walk along the edges that stay at the same value ($ref, allOf, ... but not properties or
 * items) must find no circle, so that every check ends.
 *
 * Work: which nodes lead to a default, to a schema that drops keys or that takes arrays only. That
 * flows backwards along all edges; a few sweeps reach the end of any schema that people write, and
 * for others everything counts as work, which costs time and changes nothing.
 *
 * Defaults: each is checked and filled in like a value (so nested defaults are there at once),
 * until it comes to rest. One that its own schema does not allow is not filled in. */
#include <lauxlib.h>
#include <string.h>

#include "schema_compile.h"

enum { SWEEPS = 12, DEFAULT_ROUNDS = 10, SAME_VALUE_DEPTH = 500 };
enum { UNVISITED, OPEN, DONE };

/* Edges of a rule: to schemas for the same value, and to schemas for parts of it. Keywords that
 * fill in nothing are left out where fills is set. */
typedef void edge_fn(void *context, struct schema_node *to, bool same_value);

static void each(edge_fn *fn, void *context, struct schema_node *const *list, size_t n,
                 bool same_value) {
    for (size_t i = 0; i < n; i++) {
        if (list[i]) fn(context, list[i], same_value);
    }
}

/* Edges to schemas whose defaults count. */
static void filling_edges(const struct schema_rule *rule, edge_fn *fn, void *context) {
    switch (rule->kind) {
    case RULE_REFERENCE: each(fn, context, &rule->as.reference->node, 1, true); break;
    case RULE_ALL_OF:
    case RULE_ANY_OF:
    case RULE_ONE_OF: each(fn, context, rule->as.nodes.list, rule->as.nodes.count, true); break;
    case RULE_CONDITION:
        each(fn, context, &rule->as.condition->yes, 1, true);
        each(fn, context, &rule->as.condition->no, 1, true);
        break;
    case RULE_DEPENDENTS:
        for (size_t i = 0; i < rule->as.dependents->count; i++) {
            each(fn, context, &rule->as.dependents->list[i].node, 1, true);
        }
        break;
    case RULE_MEMBERS: {
        const struct schema_members *members = rule->as.members;
        each(fn, context, members->nodes, members->names.count, false);
        each(fn, context, members->pattern_nodes, members->pattern_count, false);
        each(fn, context, &members->additional, 1, false);
        break;
    }
    case RULE_ITEMS:
        each(fn, context, rule->as.items->prefix.list, rule->as.items->prefix.count, false);
        each(fn, context, &rule->as.items->rest, 1, false);
        break;
    default: break;
    }
}

/* ---- progress ------------------------------------------------------------------------------------- */

struct walk {
    struct schema_compile *c;
    const char *place; /* of the last $ref on the way */
    int depth;
};

static void refuse_walk(struct walk *walk, const char *why) {
    const char *place = walk->place ? walk->place : "$";
    struct schema_path path = {NULL, place, strlen(place), SCHEMA_PLACE};
    schema_refuse(walk->c, &path, "%s", why);
}

static void visit(struct walk *walk, struct schema_node *node);

static void visit_edge(void *context, struct schema_node *to, bool same_value) {
    if (same_value) visit(context, to);
}

static void visit(struct walk *walk, struct schema_node *node) {
    if (node->mark == DONE) return;
    if (node->mark == OPEN) {
        refuse_walk(walk, "the reference leads back to itself without getting further into the "
                          "value");
    }
    if (walk->depth >= SAME_VALUE_DEPTH) {
        refuse_walk(walk, "too many schemas, one within the other, for the same value");
    }
    node->mark = OPEN;
    walk->depth++;
    const char *place = walk->place;
    for (size_t i = 0; i < node->rule_count; i++) {
        const struct schema_rule *rule = &node->rules[i];
        walk->place = rule->kind == RULE_REFERENCE ? rule->as.reference->place : place;
        filling_edges(rule, visit_edge, walk);
        if (rule->kind == RULE_NOT) visit(walk, rule->as.node);
        if (rule->kind == RULE_CONDITION) visit(walk, rule->as.condition->test);
    }
    walk->place = place;
    walk->depth--;
    node->mark = DONE;
}

static void refuse_circles(struct schema_compile *c) {
    struct walk walk = {.c = c};
    for (struct schema_node *node = c->schema->nodes; node; node = node->next) visit(&walk, node);
}

/* ---- work ------------------------------------------------------------------------------------------- */

static uint8_t own_fills(const struct schema_node *node) {
    uint8_t fills = 0;
    if (node->members && node->members->drop) fills |= SCHEMA_FILLS_DROPS;
    bool array_only = (node->types & SCHEMA_ARRAY) && !(node->types & SCHEMA_OBJECT);
    if (array_only) fills |= SCHEMA_FILLS_ARRAYS;
    return fills;
}

static void gather(void *context, struct schema_node *to, bool same_value) {
    uint8_t *fills = context;
    *fills |= to->fills;
    /* A default is filled in where the property is absent, so only there it is work. */
    if (!same_value && to->default_value) *fills |= SCHEMA_FILLS_DEFAULTS;
}

static bool sweep(struct schema *schema) {
    bool changed = false;
    for (struct schema_node *node = schema->nodes; node; node = node->next) {
        uint8_t fills = node->fills | own_fills(node);
        for (size_t i = 0; i < node->rule_count; i++) {
            filling_edges(&node->rules[i], gather, &fills);
        }
        changed |= fills != node->fills;
        node->fills = fills;
    }
    return changed;
}

static void find_work(struct schema *schema) {
    for (int i = 0; i < SWEEPS; i++) {
        if (!sweep(schema)) return;
    }
    uint8_t all = 0;
    for (struct schema_node *node = schema->nodes; node; node = node->next) all |= node->fills;
    for (struct schema_node *node = schema->nodes; node; node = node->next) node->fills = all;
}

/* ---- defaults ----------------------------------------------------------------------------------------- */

static bool settle_default(struct schema_check *c, const struct schema_node *node, int slot) {
    for (int round = 0; round < DEFAULT_ROUNDS; round++) {
        int top = lua_gettop(c->L);
        lua_pushvalue(c->L, slot);
        bool ok = schema_matches(c, node, slot, 0, NULL) && schema_fill(c, node, slot, 0, NULL);
        bool same = ok && lua_rawequal(c->L, slot, -1);
        lua_settop(c->L, top);
        if (!ok || same) return ok;
    }
    return false;
}

/* All defaults together may take the steps of one check. */
static void settle_defaults_of(struct schema_compile *compile, struct schema_check *c,
                               struct schema_node *node) {
    lua_State *L = compile->L;
    lua_rawgeti(L, c->values, node->default_value);
    int slot = lua_gettop(L);
    if (settle_default(c, node, slot)) {
        lua_rawseti(L, c->values, node->default_value);
        return;
    }
    if (compile->strict_defaults) {
        struct schema_path place = {NULL, node->place, strlen(node->place), SCHEMA_PLACE};
        struct schema_path here = {&place, "default", strlen("default"), 0};
        schema_refuse(compile, &here,
                      c->stopped ? "%s takes too long to be checked"
                                 : "%s is not allowed by the schema itself",
                      schema_push_shown(L, slot, true));
    }
    node->default_value = 0;
    lua_pop(L, 1);
}

void schema_finish(struct schema_compile *compile) {
    lua_State *L = compile->L;
    refuse_circles(compile);
    find_work(compile->schema);
    luaL_checkstack(L, 16, "schema");
    lua_newtable(L);
    struct schema_check c = {.L = L,
                             .schema = compile->schema,
                             .values = compile->values,
                             .problems = lua_gettop(L),
                             .cap = 1,
                             .steps = compile->schema->max_steps,
                             .wanted = SCHEMA_FILLS_DEFAULTS | SCHEMA_FILLS_DROPS};
    for (struct schema_node *node = compile->schema->nodes; node; node = node->next) {
        if (node->default_value) settle_defaults_of(compile, &c, node);
    }
    lua_pop(L, 1);
}
