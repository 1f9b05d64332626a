/* schema_compile.c - from a schema table to nodes: the driver, and the keywords about single values.
 *
 * A scan (schema_ref.c) first learns the base URI and the draft of each subschema. Then the root
 * gets its node, and whatever schema a keyword leads to gets a node at once and its rules later,
 * from a list of tables still to be read: so references may go in circles, and nothing recurses.
 * Definitions that nothing refers to are not read. At the end schema_finish looks at the whole.
 *
 * A keyword with a value that it cannot have is refused; a keyword that the draft does not know is
 * an annotation and says nothing. */
#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bindings.h"
#include "schema_compile.h"

/* ---- refusing ----------------------------------------------------------------------------------- */

int schema_refuse(struct schema_compile *c, const struct schema_path *path, const char *format,
                  ...) {
    lua_State *L = c->L;
    luaL_checkstack(L, 16, "schema");
    va_list args;
    va_start(args, format);
    const char *text = lua_pushvfstring(L, format, args);
    va_end(args);
    const char *place = schema_push_path(L, path);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "invalid_schema");
    lua_setfield(L, -2, "reason");
    lua_pushstring(L, place);
    lua_setfield(L, -2, "path");
    return bind_raise(L, "HARNESS_CONFIG_ERROR", "invalid schema at %s: %s", place, text);
}

int schema_wrong(struct schema_reading *r, const char *name, const char *expected) {
    struct schema_path here = {&r->place, name, strlen(name), 0};
    const char *got = schema_push_shown(r->c->L, -1, true);
    return schema_refuse(r->c, &here, "expected %s, got %s", expected, got);
}

/* ---- nodes ---------------------------------------------------------------------------------------- */

int schema_keep(struct schema_compile *c) {
    lua_rawseti(c->L, c->values, ++c->value_count);
    return c->value_count;
}

static struct schema_node *new_node(struct schema_compile *c, const struct schema_path *path) {
    struct schema *schema = c->schema;
    if (schema->node_count >= SCHEMA_MAX_NODES) {
        schema_refuse(c, path, "more than %d subschemas", SCHEMA_MAX_NODES);
    }
    struct schema_node *node = schema_alloc(c->L, schema, 1, sizeof *node);
    *node = (struct schema_node){.next = schema->nodes, .types = SCHEMA_ANY};
    schema->nodes = node;
    schema->node_count++;
    return node;
}

static const char *keep_place(struct schema_compile *c, const struct schema_path *path) {
    const char *text = schema_push_path(c->L, path);
    size_t size = strlen(text) + 1;
    char *place = schema_alloc(c->L, c->schema, size, 1);
    memcpy(place, text, size);
    lua_pop(c->L, 1);
    return place;
}

/* All booleans of a document share two nodes. */
static struct schema_node *boolean_node(struct schema_compile *c, bool value,
                                        const struct schema_path *path) {
    struct schema_node *known = value ? c->anything : c->nothing;
    if (known) return known;
    struct schema_node *node = new_node(c, path);
    if (value) {
        c->anything = node;
    } else {
        node->types = 0;
        c->nothing = node;
    }
    return node;
}

struct schema_node *schema_node_for(struct schema_compile *c, int idx,
                                    const struct schema_path *path) {
    lua_State *L = c->L;
    luaL_checkstack(L, 12, "schema");
    if (lua_isboolean(L, idx)) return boolean_node(c, lua_toboolean(L, idx), path);
    if (!lua_istable(L, idx) || lua_rawlen(L, idx) > 0) {
        schema_refuse(c, path, "expected a schema (an object or a boolean), got %s",
                      schema_push_shown(L, idx, true));
    }
    idx = lua_absindex(L, idx);
    lua_pushvalue(L, idx);
    lua_rawget(L, c->memo);
    struct schema_node *node = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (node) return node;
    node = new_node(c, path);
    node->place = keep_place(c, path);
    lua_pushvalue(L, idx);
    lua_pushlightuserdata(L, node);
    lua_rawset(L, c->memo);
    lua_pushvalue(L, idx);
    lua_rawseti(L, c->pending, ++c->pending_count);
    return node;
}

/* ---- one schema object ------------------------------------------------------------------------------ */

bool schema_field(struct schema_reading *r, const char *name) {
    lua_State *L = r->c->L;
    lua_pushstring(L, name);
    if (lua_rawget(L, r->schema) != LUA_TNIL) return true;
    lua_pop(L, 1);
    return false;
}

struct schema_rule *schema_add_rule(struct schema_reading *r, enum schema_rule_kind kind,
                                    int types) {
    struct schema_rule *rule = &r->rules[r->count++];
    *rule = (struct schema_rule){.kind = kind, .types = types};
    return rule;
}

static int type_bit(const char *name) {
    static const char *const NAMES[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    for (int i = 0; name && i < 7; i++) {
        if (strcmp(name, NAMES[i]) == 0) return 1 << i;
    }
    return 0;
}

static const char *string_at(lua_State *L, int idx) {
    return lua_type(L, idx) == LUA_TSTRING ? lua_tostring(L, idx) : NULL;
}

static void read_type(struct schema_reading *r) {
    static const char EXPECTED[] =
        "null, boolean, integer, number, string, array, object, or a list of these";
    lua_State *L = r->c->L;
    if (!schema_field(r, "type")) return;
    int types = type_bit(string_at(L, -1));
    lua_Integer n = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        int bit = type_bit(string_at(L, -1));
        if (!bit) schema_wrong(r, "type", EXPECTED);
        lua_pop(L, 1);
        types |= bit;
    }
    if (!types) schema_wrong(r, "type", EXPECTED);
    lua_pop(L, 1);
    r->node->types = types;
}

/* Copies the value on top of the stack, so that the caller may change his schema later. */
static void copy_top(struct schema_reading *r, const char *name) {
    lua_State *L = r->c->L;
    int64_t steps = SCHEMA_DEFAULT_STEPS;
    if (!schema_push_copy(L, -1, 0, &steps)) {
        struct schema_path here = {&r->place, name, strlen(name), 0};
        schema_refuse(r->c, &here, "the value is too large, or has more than %d levels",
                      SCHEMA_MAX_NESTING);
    }
    lua_remove(L, -2);
}

/* A table among the values allowed makes what is filled in matter. */
static void note_constant(struct schema_reading *r, int idx) {
    if (lua_istable(r->c->L, idx)) r->c->schema->interplay = true;
}

static void read_enum(struct schema_reading *r) {
    struct schema_compile *c = r->c;
    lua_State *L = c->L;
    if (!schema_field(r, "enum")) return;
    if (!(schema_types(L, -1, NULL) & SCHEMA_ARRAY)) schema_wrong(r, "enum", "a list of values");
    copy_top(r, "enum");
    int list = lua_gettop(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, list);
    struct schema_choice *choice = schema_alloc(L, c->schema, 1, sizeof *choice);
    *choice = (struct schema_choice){0};
    choice->complex = schema_alloc(L, c->schema, (size_t)n, sizeof *choice->complex);
    lua_newtable(L);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, list, i);
        note_constant(r, -1);
        if (lua_istable(L, -1)) {
            choice->complex[choice->complex_count++] = schema_keep(c);
        } else if (schema_types(L, -1, NULL)) {
            lua_pushboolean(L, 1);
            lua_rawset(L, -3);
        } else {
            schema_wrong(r, "enum", "a list of JSON values");
        }
    }
    choice->set = schema_keep(c);
    choice->all = schema_keep(c);
    schema_add_rule(r, RULE_ENUM, SCHEMA_ANY)->as.choice = choice;
}

static void read_const(struct schema_reading *r) {
    lua_State *L = r->c->L;
    if (r->c->dialect < DRAFT_06 || !schema_field(r, "const")) return;
    if (!schema_types(L, -1, NULL)) schema_wrong(r, "const", "a JSON value");
    note_constant(r, -1);
    copy_top(r, "const");
    schema_add_rule(r, RULE_CONST, SCHEMA_ANY)->as.value = schema_keep(r->c);
}

static void read_default(struct schema_reading *r) {
    if (!schema_field(r, "default")) return;
    copy_top(r, "default");
    r->node->default_value = schema_keep(r->c);
}

/* ---- numbers and strings ------------------------------------------------------------------------------ */

static void add_limit(struct schema_reading *r, enum schema_rule_kind kind) {
    schema_add_rule(r, kind, SCHEMA_NUMBER | SCHEMA_INTEGER)->as.value = schema_keep(r->c);
}

static void read_limit(struct schema_reading *r, const char *name, enum schema_rule_kind kind) {
    lua_State *L = r->c->L;
    if (!schema_field(r, name)) return;
    if (!(schema_types(L, -1, NULL) & SCHEMA_NUMBER)) schema_wrong(r, name, "a number");
    add_limit(r, kind);
}

/* exclusiveMaximum is a number; in draft-04 it is a boolean that changes what maximum means. */
static void read_exclusive(struct schema_reading *r, const char *name, enum schema_rule_kind kind,
                           const char *limit) {
    lua_State *L = r->c->L;
    enum schema_dialect dialect = r->c->dialect;
    if (!schema_field(r, name)) return;
    if (!lua_isboolean(L, -1) || (dialect != DRAFT_04 && dialect != DRAFT_DEFAULT)) {
        lua_pop(L, 1);
        read_limit(r, name, kind);
        return;
    }
    bool exclusive = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (!exclusive || !schema_field(r, limit)) return;
    if (!(schema_types(L, -1, NULL) & SCHEMA_NUMBER)) schema_wrong(r, limit, "a number");
    add_limit(r, kind);
}

static void read_multiple(struct schema_reading *r) {
    lua_State *L = r->c->L;
    if (!schema_field(r, "multipleOf")) return;
    bool number = (schema_types(L, -1, NULL) & SCHEMA_NUMBER) != 0;
    if (!number || lua_tonumber(L, -1) <= 0) schema_wrong(r, "multipleOf", "a number above 0");
    add_limit(r, RULE_MULTIPLE_OF);
}

static void read_numbers(struct schema_reading *r) {
    read_multiple(r);
    read_limit(r, "maximum", RULE_MAXIMUM);
    read_exclusive(r, "exclusiveMaximum", RULE_EXCLUSIVE_MAXIMUM, "maximum");
    read_limit(r, "minimum", RULE_MINIMUM);
    read_exclusive(r, "exclusiveMinimum", RULE_EXCLUSIVE_MINIMUM, "minimum");
}

bool schema_read_count(struct schema_reading *r, const char *name, lua_Integer *count) {
    lua_State *L = r->c->L;
    if (!schema_field(r, name)) return false;
    bool whole = (schema_types(L, -1, NULL) & SCHEMA_INTEGER) != 0;
    lua_Number n = lua_tonumber(L, -1);
    if (!whole || n < 0) schema_wrong(r, name, "a whole number, 0 or more");
    /* Beyond 2^53 no size comes: then any large number does. */
    *count = n < 9007199254740992.0 ? (lua_Integer)n : LUA_MAXINTEGER;
    lua_pop(L, 1);
    return true;
}

static void read_size(struct schema_reading *r, const char *name, enum schema_rule_kind kind,
                      int types) {
    lua_Integer count;
    if (!schema_read_count(r, name, &count)) return;
    schema_add_rule(r, kind, types)->as.count = count;
    if (types == SCHEMA_OBJECT) r->c->schema->interplay = true;
}

struct schema_pattern *schema_read_pattern(struct schema_reading *r, int idx,
                                           const struct schema_path *path) {
    lua_State *L = r->c->L;
    size_t len;
    const char *text = lua_tolstring(L, idx, &len);
    struct schema_pattern *pattern = schema_pattern_new(L, r->c->schema, text, len);
    if (!pattern) schema_refuse(r->c, path, "%s", lua_tostring(L, -1));
    return pattern;
}

static void read_pattern(struct schema_reading *r) {
    lua_State *L = r->c->L;
    if (!schema_field(r, "pattern")) return;
    if (lua_type(L, -1) != LUA_TSTRING) schema_wrong(r, "pattern", "a string");
    struct schema_path here = {&r->place, "pattern", strlen("pattern"), 0};
    schema_add_rule(r, RULE_PATTERN, SCHEMA_STRING)->as.pattern = schema_read_pattern(r, -1, &here);
    lua_pop(L, 1);
}

static void read_unique(struct schema_reading *r) {
    lua_State *L = r->c->L;
    if (!schema_field(r, "uniqueItems")) return;
    if (!lua_isboolean(L, -1)) schema_wrong(r, "uniqueItems", "a boolean");
    if (lua_toboolean(L, -1)) {
        schema_add_rule(r, RULE_UNIQUE_ITEMS, SCHEMA_ARRAY);
        r->c->schema->interplay = true;
    }
    lua_pop(L, 1);
}

/* ---- names ---------------------------------------------------------------------------------------------- */

struct schema_name schema_keep_name(struct schema_compile *c, int idx) {
    struct schema_name name;
    name.text = lua_tolstring(c->L, idx, &name.len);
    lua_pushvalue(c->L, idx);
    name.value = schema_keep(c);
    return name;
}

bool schema_read_names(struct schema_reading *r, int idx, struct schema_names *names) {
    lua_State *L = r->c->L;
    if (!(schema_types(L, idx, NULL) & SCHEMA_ARRAY)) return false;
    idx = lua_absindex(L, idx);
    size_t n = lua_rawlen(L, idx);
    *names = (struct schema_names){schema_alloc(L, r->c->schema, n, sizeof *names->list), n};
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, idx, (lua_Integer)i + 1) != LUA_TSTRING) return false;
        names->list[i] = schema_keep_name(r->c, -1);
        lua_pop(L, 1);
    }
    return true;
}

/* draft-03 said `required = true` inside the property; that is refused rather than ignored. */
static void read_required(struct schema_reading *r) {
    lua_State *L = r->c->L;
    struct schema_names names = {NULL, 0};
    if (!schema_field(r, "required")) return;
    int top = lua_gettop(L);
    bool ok = schema_read_names(r, -1, &names);
    lua_settop(L, top);
    if (!ok) schema_wrong(r, "required", "a list of key names");
    lua_pop(L, 1);
    if (names.count) schema_add_rule(r, RULE_REQUIRED, SCHEMA_OBJECT)->as.names = names;
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

static void read_rules(struct schema_reading *r) {
    if (schema_read_references(r)) return;
    read_type(r);
    read_default(r);
    read_enum(r);
    read_const(r);
    read_numbers(r);
    read_size(r, "maxLength", RULE_MAX_LENGTH, SCHEMA_STRING);
    read_size(r, "minLength", RULE_MIN_LENGTH, SCHEMA_STRING);
    read_pattern(r);
    read_size(r, "maxItems", RULE_MAX_ITEMS, SCHEMA_ARRAY);
    read_size(r, "minItems", RULE_MIN_ITEMS, SCHEMA_ARRAY);
    read_unique(r);
    read_size(r, "maxProperties", RULE_MAX_PROPERTIES, SCHEMA_OBJECT);
    read_size(r, "minProperties", RULE_MIN_PROPERTIES, SCHEMA_OBJECT);
    read_required(r);
    schema_read_applicators(r);
}

/* Does the schema require a key that it would drop? */
static bool drops_required(const struct schema_reading *r, const struct schema_names *required) {
    lua_State *L = r->c->L;
    bool drops = false;
    lua_rawgeti(L, r->c->values, r->node->members->index);
    for (size_t i = 0; i < required->count && !drops; i++) {
        lua_rawgeti(L, r->c->values, required->list[i].value);
        drops = lua_rawget(L, -2) == LUA_TNIL;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return drops;
}

/* Where what is filled in or dropped may change what a sibling says. Most keywords for which that
 * is so say it when they are read. */
static bool has_interplay(const struct schema_reading *r) {
    if (r->count > 1 && r->rules[0].kind == RULE_REFERENCE) return true;
    if (!r->node->members || !r->node->members->drop) return false;
    for (size_t i = 0; i < r->count; i++) {
        if (r->rules[i].kind == RULE_REQUIRED) return drops_required(r, &r->rules[i].as.names);
    }
    return false;
}

/* Reads the schema table on top of the stack into its node. */
static void read_node(struct schema_compile *c) {
    lua_State *L = c->L;
    struct schema_reading r = {.c = c, .schema = lua_gettop(L)};
    luaL_checkstack(L, 32, "schema");
    lua_pushvalue(L, r.schema);
    lua_rawget(L, c->memo);
    r.node = lua_touserdata(L, -1);
    lua_pushvalue(L, r.schema);
    lua_rawget(L, c->bases);
    c->base = lua_tostring(L, -1);
    lua_pushvalue(L, r.schema);
    lua_rawget(L, c->dialects);
    c->dialect = (enum schema_dialect)lua_tointeger(L, -1);
    r.place = (struct schema_path){NULL, r.node->place, strlen(r.node->place), SCHEMA_PLACE};
    read_rules(&r);
    lua_settop(L, r.schema);
    r.node->rules = schema_alloc(L, c->schema, r.count, sizeof *r.rules);
    memcpy(r.node->rules, r.rules, r.count * sizeof *r.rules);
    r.node->rule_count = r.count;
    if (has_interplay(&r)) c->schema->interplay = true;
}

static void make_tables(struct schema_compile *c) {
    int *const TABLES[] = {&c->memo,      &c->bases,   &c->dialects,
                           &c->resources, &c->anchors, &c->pending};
    luaL_checkstack(c->L, 32, "schema");
    for (size_t i = 0; i < sizeof TABLES / sizeof *TABLES; i++) {
        lua_newtable(c->L);
        *TABLES[i] = lua_gettop(c->L);
    }
}

/* A document without $id is known by the empty URI, and that is what "#/..." is resolved to. */
static void note_root(struct schema_compile *c, int idx) {
    lua_pushliteral(c->L, "");
    lua_pushvalue(c->L, idx);
    lua_rawset(c->L, c->resources);
}

void schema_compile(struct schema_compile *c, int idx, const char *at) {
    lua_State *L = c->L;
    make_tables(c);
    note_root(c, idx);
    schema_scan(c, idx, "", c->dialect, NULL);
    lua_pushvalue(L, idx);
    if (at && *at) {
        c->base = "";
        lua_pushfstring(L, "#%s", at);
        schema_resolve(c, lua_tostring(L, -1), NULL);
        lua_replace(L, -3);
        lua_pop(L, 1);
    }
    c->schema->root = schema_node_for(c, -1, NULL);
    for (lua_Integer i = 1; i <= c->pending_count; i++) {
        lua_rawgeti(L, c->pending, i);
        read_node(c);
        lua_pop(L, 1);
        lua_pushboolean(L, 0);
        lua_rawseti(L, c->pending, i);
    }
    schema_finish(c);
}
