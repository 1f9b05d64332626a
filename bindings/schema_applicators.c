/* schema_applicators.c - reading the keywords that hold other schemas.
 *
 * Some keywords only mean something together (properties, patternProperties and
 * additionalProperties; prefixItems and items; contains and its limits; if, then and else): they
 * become one rule. Keys of a map are taken in byte order, so that nothing depends on `pairs`. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "schema_compile.h"

/* ---- helpers -------------------------------------------------------------------------------------- */

static struct schema_path keyword_path(const struct schema_reading *r, const char *name) {
    return (struct schema_path){&r->place, name, strlen(name), 0};
}

/* The node for the schema that a keyword holds, NULL when the keyword is not there. */
static struct schema_node *read_schema(struct schema_reading *r, const char *name) {
    if (!schema_field(r, name)) return NULL;
    struct schema_path here = keyword_path(r, name);
    struct schema_node *node = schema_node_for(r->c, -1, &here);
    lua_pop(r->c->L, 1);
    return node;
}

static bool read_schema_list(struct schema_reading *r, const char *name,
                             struct schema_nodes *nodes) {
    lua_State *L = r->c->L;
    if (!schema_field(r, name)) return false;
    if (!(schema_types(L, -1, NULL) & SCHEMA_ARRAY)) schema_wrong(r, name, "a list of schemas");
    struct schema_path here = keyword_path(r, name);
    size_t n = lua_rawlen(L, -1);
    *nodes = (struct schema_nodes){schema_alloc(L, r->c->schema, n, sizeof(void *)), n};
    for (size_t i = 0; i < n; i++) {
        struct schema_path item = {&here, NULL, 0, (lua_Integer)i + 1};
        lua_rawgeti(L, -1, item.index);
        nodes->list[i] = schema_node_for(r->c, -1, &item);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

static int compare_names(const void *left, const void *right) {
    const struct schema_name *a = left, *b = right;
    size_t n = a->len < b->len ? a->len : b->len;
    int order = n ? memcmp(a->text, b->text, n) : 0;
    if (order) return order;
    return a->len < b->len ? -1 : a->len > b->len;
}

/* The keys of the map that a keyword holds, in byte order; the map is pushed. False, with nothing
 * pushed, when the keyword is not there. */
static bool read_keys(struct schema_reading *r, const char *name, struct schema_names *keys) {
    lua_State *L = r->c->L;
    if (!schema_field(r, name)) return false;
    if (!(schema_types(L, -1, NULL) & SCHEMA_OBJECT)) schema_wrong(r, name, "an object");
    size_t n = 0, used = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) n++;
    *keys = (struct schema_names){schema_alloc(L, r->c->schema, n, sizeof *keys->list), n};
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pop(L, 1);
        keys->list[used++] = schema_keep_name(r->c, -1);
    }
    qsort(keys->list, n, sizeof *keys->list, compare_names);
    return true;
}

/* Pushes the value of a key of the map on top of the stack. */
static void push_entry(struct schema_reading *r, const struct schema_name *key) {
    lua_rawgeti(r->c->L, r->c->values, key->value);
    lua_rawget(r->c->L, -2);
}

/* The nodes for the values of the map on top of the stack, which is popped. */
static struct schema_node **read_values(struct schema_reading *r, const char *name,
                                        const struct schema_names *keys) {
    lua_State *L = r->c->L;
    struct schema_path here = keyword_path(r, name);
    struct schema_node **nodes = schema_alloc(L, r->c->schema, keys->count, sizeof(void *));
    for (size_t i = 0; i < keys->count; i++) {
        struct schema_path entry = {&here, keys->list[i].text, keys->list[i].len, 0};
        push_entry(r, &keys->list[i]);
        nodes[i] = schema_node_for(r->c, -1, &entry);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return nodes;
}

/* Keywords whose meaning may change with what is filled in or dropped. */
static void note_interplay(struct schema_reading *r) {
    r->c->schema->interplay = true;
}

/* ---- objects ---------------------------------------------------------------------------------------- */

static void index_names(struct schema_reading *r, struct schema_members *members) {
    struct schema_compile *c = r->c;
    lua_State *L = c->L;
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = 0; i < members->names.count; i++) {
        lua_rawgeti(L, c->values, members->names.list[i].value);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)i + 1);
        lua_pushinteger(L, (lua_Integer)i + 1);
        lua_rawset(L, -4);
    }
    members->listed = schema_keep(c);
    members->index = schema_keep(c);
}

static void read_patterns(struct schema_reading *r, struct schema_members *members) {
    static const char NAME[] = "patternProperties";
    struct schema_names keys;
    if (!read_keys(r, NAME, &keys)) return;
    struct schema_path here = keyword_path(r, NAME);
    members->patterns = schema_alloc(r->c->L, r->c->schema, keys.count, sizeof(void *));
    members->pattern_count = keys.count;
    for (size_t i = 0; i < keys.count; i++) {
        struct schema_path entry = {&here, keys.list[i].text, keys.list[i].len, 0};
        lua_rawgeti(r->c->L, r->c->values, keys.list[i].value);
        members->patterns[i] = schema_read_pattern(r, -1, &entry);
        lua_pop(r->c->L, 1);
    }
    members->pattern_nodes = read_values(r, NAME, &keys);
    note_interplay(r);
}

static bool read_additional(struct schema_reading *r, struct schema_members *members) {
    if (!schema_field(r, "additionalProperties")) return false;
    members->drop = schema_is_drop(r->c->L, -1);
    lua_pop(r->c->L, 1);
    if (!members->drop) members->additional = read_schema(r, "additionalProperties");
    return true;
}

static void read_members(struct schema_reading *r) {
    lua_State *L = r->c->L;
    struct schema_members *members = schema_alloc(L, r->c->schema, 1, sizeof *members);
    *members = (struct schema_members){0};
    bool any = false;
    if (read_keys(r, "properties", &members->names)) {
        members->nodes = read_values(r, "properties", &members->names);
        any = true;
    }
    read_patterns(r, members);
    any |= members->pattern_count > 0;
    any |= read_additional(r, members);
    if (!any) return;
    index_names(r, members);
    schema_add_rule(r, RULE_MEMBERS, SCHEMA_OBJECT)->as.members = members;
    r->node->members = members;
}

static void read_property_names(struct schema_reading *r) {
    if (r->c->dialect < DRAFT_06) return;
    struct schema_node *node = read_schema(r, "propertyNames");
    if (!node) return;
    schema_add_rule(r, RULE_PROPERTY_NAMES, SCHEMA_OBJECT)->as.node = node;
    note_interplay(r);
}

/* One of dependentRequired (lists), dependentSchemas (schemas), dependencies (either). */
static void read_dependent_map(struct schema_reading *r, const char *name, bool lists, bool schemas,
                               struct schema_dependents *all) {
    lua_State *L = r->c->L;
    struct schema_names keys;
    if (!read_keys(r, name, &keys)) return;
    struct schema_path here = keyword_path(r, name);
    struct schema_dependent *list =
        schema_alloc(L, r->c->schema, all->count + keys.count, sizeof *list);
    if (all->count) memcpy(list, all->list, all->count * sizeof *list);
    for (size_t i = 0; i < keys.count; i++) {
        struct schema_dependent *dependent = &list[all->count + i];
        struct schema_path entry = {&here, keys.list[i].text, keys.list[i].len, 0};
        *dependent = (struct schema_dependent){.name = keys.list[i]};
        push_entry(r, &keys.list[i]);
        int types = schema_types(L, -1, NULL);
        bool list_form = lists && (types & SCHEMA_ARRAY) && !(schemas && (types & SCHEMA_OBJECT));
        int top = lua_gettop(L);
        if (list_form && !schema_read_names(r, -1, &dependent->required)) list_form = false;
        lua_settop(L, top);
        if (!list_form && !schemas) schema_refuse(r->c, &entry, "expected a list of key names");
        if (!list_form) dependent->node = schema_node_for(r->c, -1, &entry);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    *all = (struct schema_dependents){list, all->count + keys.count};
}

static void read_dependents(struct schema_reading *r) {
    struct schema_dependents all = {NULL, 0};
    if (r->c->dialect >= DRAFT_2019) {
        read_dependent_map(r, "dependentRequired", true, false, &all);
        read_dependent_map(r, "dependentSchemas", false, true, &all);
    }
    read_dependent_map(r, "dependencies", true, true, &all);
    if (!all.count) return;
    struct schema_dependents *kept = schema_alloc(r->c->L, r->c->schema, 1, sizeof *kept);
    *kept = all;
    schema_add_rule(r, RULE_DEPENDENTS, SCHEMA_OBJECT)->as.dependents = kept;
    note_interplay(r);
}

/* ---- arrays ------------------------------------------------------------------------------------------ */

static bool holds_list(struct schema_reading *r, const char *name) {
    if (!schema_field(r, name)) return false;
    bool list = schema_types(r->c->L, -1, NULL) == SCHEMA_ARRAY;
    lua_pop(r->c->L, 1);
    return list;
}

/* Before 2020-12 `items` may be a list, which is now prefixItems, and additionalItems what is now
 * items. Without a $schema that form is understood too: it has no other meaning. */
static void read_items(struct schema_reading *r) {
    struct schema_items found = {0};
    bool list_form = r->c->dialect != DRAFT_2020 && holds_list(r, "items");
    if (list_form) {
        read_schema_list(r, "items", &found.prefix);
        found.rest = read_schema(r, "additionalItems");
    } else {
        if (r->c->dialect >= DRAFT_2020) read_schema_list(r, "prefixItems", &found.prefix);
        found.rest = read_schema(r, "items");
    }
    if (!found.prefix.count && !found.rest) return;
    struct schema_items *items = schema_alloc(r->c->L, r->c->schema, 1, sizeof *items);
    *items = found;
    schema_add_rule(r, RULE_ITEMS, SCHEMA_ARRAY)->as.items = items;
}

static void read_contains(struct schema_reading *r) {
    enum schema_dialect dialect = r->c->dialect;
    struct schema_contains found = {.min = 1, .max = -1, .evaluates = dialect >= DRAFT_2020};
    if (dialect < DRAFT_06) return;
    bool limits = dialect >= DRAFT_2019;
    if (limits) schema_read_count(r, "minContains", &found.min);
    if (limits) schema_read_count(r, "maxContains", &found.max);
    found.node = read_schema(r, "contains");
    if (!found.node) return;
    struct schema_contains *contains = schema_alloc(r->c->L, r->c->schema, 1, sizeof *contains);
    *contains = found;
    schema_add_rule(r, RULE_CONTAINS, SCHEMA_ARRAY)->as.contains = contains;
    note_interplay(r);
}

/* ---- schemas for the same value ------------------------------------------------------------------------ */

static void read_combination(struct schema_reading *r, const char *name,
                             enum schema_rule_kind kind) {
    struct schema_nodes nodes;
    if (!read_schema_list(r, name, &nodes)) return;
    if (!nodes.count) {
        struct schema_path here = keyword_path(r, name);
        schema_refuse(r->c, &here, "expected at least one schema");
    }
    schema_add_rule(r, kind, SCHEMA_ANY)->as.nodes = nodes;
    note_interplay(r);
}

static void read_condition(struct schema_reading *r) {
    if (r->c->dialect < DRAFT_07) return;
    struct schema_condition found = {read_schema(r, "if"), read_schema(r, "then"),
                                     read_schema(r, "else")};
    if (!found.test) return;
    struct schema_condition *condition = schema_alloc(r->c->L, r->c->schema, 1, sizeof *condition);
    *condition = found;
    schema_add_rule(r, RULE_CONDITION, SCHEMA_ANY)->as.condition = condition;
    note_interplay(r);
}

static void read_unevaluated(struct schema_reading *r) {
    if (r->c->dialect < DRAFT_2019) return;
    struct schema_node *items = read_schema(r, "unevaluatedItems");
    struct schema_node *properties = read_schema(r, "unevaluatedProperties");
    if (items) schema_add_rule(r, RULE_UNEVALUATED_ITEMS, SCHEMA_ARRAY)->as.node = items;
    if (properties) {
        schema_add_rule(r, RULE_UNEVALUATED_PROPERTIES, SCHEMA_OBJECT)->as.node = properties;
    }
    if (!items && !properties) return;
    r->node->tracks = true;
    note_interplay(r);
}

void schema_read_applicators(struct schema_reading *r) {
    read_items(r);
    read_contains(r);
    read_members(r);
    read_property_names(r);
    read_dependents(r);
    read_combination(r, "allOf", RULE_ALL_OF);
    read_combination(r, "anyOf", RULE_ANY_OF);
    read_combination(r, "oneOf", RULE_ONE_OF);
    struct schema_node *excluded = read_schema(r, "not");
    if (excluded) {
        schema_add_rule(r, RULE_NOT, SCHEMA_ANY)->as.node = excluded;
        note_interplay(r);
    }
    read_condition(r);
    read_unevaluated(r);
}
