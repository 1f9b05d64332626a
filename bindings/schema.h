/* schema.h - JSON Schema over Lua values: what the schema_*.c files share.
 *
 *     local compiled = core.schema.compile({ type = "object", required = { "id" } }, options)
 *     local ok, value = compiled:check(input)     -- true, the value with its defaults
 *     local ok, problems = compiled:check(input)  -- false, { { path = "$.id", message = "..." } }
 *
 * A schema is read once into nodes (schema_compile.c, schema_ref.c), one for each place of the
 * document that is used as a schema. A node is a short list of rules, one for each keyword or group
 * of keywords that work together, in the order in which they are checked. A value is first checked
 * without touching it (schema_check.c, schema_table.c); when the schema has defaults, or drops
 * undeclared keys, a second walk makes the checked copy (schema_fill.c).
 *
 * Lua values. null is the sentinel of json.h. A table with string keys is an object, a sequence is
 * an array, `{}` without a mark of json.h is an empty object and, for a schema that takes arrays
 * and no objects, an empty array (and then marked as one in the checked copy). Anything else that
 * is no JSON (functions, NaN, tables that are both) fails every schema.
 *
 * Ownership. The schema userdata owns all nodes through its arena, which __gc frees; strings and
 * other Lua values of the schema live in its user value, `values`, and rules hold their index. So
 * a Lua error may leave any of these functions at any time. Nothing here is thread-safe. */
#ifndef HARNESS_BINDINGS_SCHEMA_H
#define HARNESS_BINDINGS_SCHEMA_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* JSON types as bits. A number without a fraction is INTEGER and NUMBER, `{}` ARRAY and OBJECT. */
enum {
    SCHEMA_NULL = 1,
    SCHEMA_BOOLEAN = 2,
    SCHEMA_INTEGER = 4,
    SCHEMA_NUMBER = 8,
    SCHEMA_STRING = 16,
    SCHEMA_ARRAY = 32,
    SCHEMA_OBJECT = 64,
    SCHEMA_ANY = 127
};

enum {
    SCHEMA_MAX_PROBLEMS = 50,  /* reported by one check */
    SCHEMA_MAX_NESTING = 512,  /* levels of a schema document */
    SCHEMA_MAX_NODES = 100000, /* of one compiled schema */
    SCHEMA_MAX_DEPTH = 1600,   /* checks inside checks; a value of 512 levels needs up to 3 each */
    SCHEMA_DEFAULT_STEPS = 10000000 /* of one check: a second at most */
};

/* ---- compiled form ----------------------------------------------------------------------- */

struct schema_node;
struct schema_pattern;

/* A key that a schema names: its bytes, owned by `values`, and the index of the Lua string. */
struct schema_name {
    const char *text;
    size_t len;
    int value;
};

struct schema_names {
    struct schema_name *list;
    size_t count;
};

struct schema_nodes {
    struct schema_node **list;
    size_t count;
};

/* properties, patternProperties and additionalProperties of one schema. */
struct schema_members {
    struct schema_names names; /* of properties, in byte order */
    struct schema_node **nodes;
    int index; /* in values: a table from name to its position, from 1 */
    struct schema_pattern **patterns;
    struct schema_node **pattern_nodes;
    size_t pattern_count;
    struct schema_node *additional; /* NULL: anything */
    bool drop;                      /* undeclared keys are left out of the checked copy */
    int listed;                     /* in values: the names as a list */
};

/* prefixItems and items (or items and additionalItems before 2020-12). */
struct schema_items {
    struct schema_nodes prefix;
    struct schema_node *rest; /* NULL: anything */
};

struct schema_contains {
    struct schema_node *node;
    lua_Integer min;
    lua_Integer max; /* -1: no limit */
    bool evaluates;  /* what it matches counts for unevaluatedItems (2020-12) */
};

struct schema_choice {
    int set;      /* in values: a table whose keys are the scalars allowed */
    int *complex; /* in values: the arrays and objects allowed */
    size_t complex_count;
    int all; /* in values: the list as written, for messages */
};

struct schema_condition {
    struct schema_node *test, *yes, *no; /* yes and no may be NULL */
};

struct schema_dependent {
    struct schema_name name;
    struct schema_names required; /* empty when node is set */
    struct schema_node *node;     /* or NULL */
};

struct schema_dependents {
    struct schema_dependent *list;
    size_t count;
};

struct schema_reference {
    struct schema_node *node;
    const char *place; /* where the $ref stands, for messages */
};

enum schema_rule_kind {
    RULE_ENUM,
    RULE_CONST,
    RULE_MULTIPLE_OF,
    RULE_MAXIMUM,
    RULE_EXCLUSIVE_MAXIMUM,
    RULE_MINIMUM,
    RULE_EXCLUSIVE_MINIMUM,
    RULE_MAX_LENGTH,
    RULE_MIN_LENGTH,
    RULE_PATTERN,
    RULE_MAX_ITEMS,
    RULE_MIN_ITEMS,
    RULE_UNIQUE_ITEMS,
    RULE_ITEMS,
    RULE_CONTAINS,
    RULE_MAX_PROPERTIES,
    RULE_MIN_PROPERTIES,
    RULE_REQUIRED,
    RULE_MEMBERS,
    RULE_PROPERTY_NAMES,
    RULE_DEPENDENTS,
    RULE_REFERENCE,
    RULE_ALL_OF,
    RULE_ANY_OF,
    RULE_ONE_OF,
    RULE_NOT,
    RULE_CONDITION,
    RULE_UNEVALUATED_ITEMS,
    RULE_UNEVALUATED_PROPERTIES,
    RULE_COUNT
};

struct schema_rule {
    enum schema_rule_kind kind;
    int types; /* the types of value that it says something about */
    union {
        int value; /* an index of values: a limit, a constant */
        lua_Integer count;
        struct schema_node *node;
        struct schema_nodes nodes;
        struct schema_names names;
        struct schema_pattern *pattern;
        struct schema_choice *choice;
        struct schema_items *items;
        struct schema_contains *contains;
        struct schema_members *members;
        struct schema_dependents *dependents;
        struct schema_condition *condition;
        struct schema_reference *reference;
    } as;
};

struct schema_node {
    struct schema_node *next; /* all nodes of the schema, newest first */
    struct schema_rule *rules;
    size_t rule_count;
    struct schema_members *members; /* those of its RULE_MEMBERS, or NULL */
    int types;                      /* allowed; 0 for the schema `false` */
    int default_value;              /* in values: what to fill in, or 0 */
    const char *place;              /* where it stands, for messages; NULL for booleans */
    bool tracks;                    /* has unevaluatedItems or unevaluatedProperties */
    uint8_t fills;                  /* SCHEMA_FILLS bits of it and all that it leads to */
    uint8_t mark;                   /* for walks over the graph */
};

/* Why a checked value may have to differ from what was given. */
enum {
    SCHEMA_FILLS_DEFAULTS = 1,
    SCHEMA_FILLS_DROPS = 2,
    SCHEMA_FILLS_ARRAYS = 4, /* `{}` where only an array fits */
    SCHEMA_FILLS_ORDERED = 8 /* a json.ordered object, which becomes a table */
};

struct schema_chunk;

struct schema {
    struct schema_chunk *arena;
    struct schema_pattern *patterns;
    struct schema_node *nodes;
    struct schema_node *root;
    size_t node_count;
    int64_t max_steps;
    bool exact_empty; /* unmarked `{}` is an object and never an array */
    bool interplay;   /* what is filled in or dropped may change what other keywords say */
};

/* Is the value at idx core.schema.drop, the additionalProperties that drops undeclared keys? */
bool schema_is_drop(lua_State *L, int idx);

/* Zeroed memory that lives as long as the schema; raises when there is none. */
void *schema_alloc(lua_State *L, struct schema *schema, size_t count, size_t size);

/* ---- places and messages (schema_problem.c) ------------------------------------------------ */

/* A place in a value or in a schema, from the inside out; lives on the C stack. */
struct schema_path {
    const struct schema_path *up; /* NULL: the top */
    const char *key;              /* or NULL for an item */
    size_t len;
    lua_Integer index; /* from 1, as Lua counts; SCHEMA_PLACE: key is a whole path already */
};
enum { SCHEMA_PLACE = -1 };

/* Pushes the path as text: $.items[1]["odd key"], counted from 1. */
const char *schema_push_path(lua_State *L, const struct schema_path *path);

/* Pushes a short text for a value: "text", 12.5, null, array of 3 items. typed: with the name of
 * the type before it where the value does not show it (string "text", integer 12). Returns it. */
const char *schema_push_shown(lua_State *L, int idx, bool typed);

/* Cuts the string on top of the stack to at most max bytes and an ellipsis, between characters. */
void schema_shorten(lua_State *L, size_t max);

/* Pushes a key as it is shown in messages: quoted, long ones cut. Returns it. */
const char *schema_push_quoted(lua_State *L, const char *text, size_t len);

/* Pushes the list of names of a types bit set: "integer or null". Returns it. */
const char *schema_push_types(lua_State *L, int types);

/* Pushes up to twelve values of the list at idx: `"a", "b"`, or `"a", ... (30 in all)`. */
const char *schema_push_list(lua_State *L, int idx);

/* ---- checking ------------------------------------------------------------------------------ */

/* What unevaluatedItems and unevaluatedProperties must know of their siblings: which parts of the
 * value a keyword has looked at. One value is an array or an object, so one set serves both. */
struct schema_seen {
    int set;            /* stack index of a table of keys or indices, or of nil: none yet */
    lua_Integer prefix; /* items 1..prefix */
    bool all;
};

/* What a problem says about the alternative it was found in: that another one was meant? */
enum schema_hint {
    HINT_NONE,
    HINT_TYPE,    /* it does, when this is the type of the value itself */
    HINT_CONSTANT /* and also when this is a member, as one that names the kind of an object */
};

struct schema_problem {
    int depth; /* of the place in the value */
    enum schema_hint hint;
};

struct schema_check {
    lua_State *L;
    const struct schema *schema;
    int values;   /* stack index of the schema's values */
    int problems; /* stack index of the list of problems */
    int count;    /* problems in it */
    int cap;      /* none is added beyond; below the array's size */
    int quiet;    /* > 0: nobody will read the problems, the first one ends a node */
    int depth;
    int64_t steps; /* left */
    bool stopped;  /* gave up: steps, depth, or a pattern; the one problem says why */
    int wanted;    /* SCHEMA_FILLS bits that schema and value ask for */
    bool absent;   /* the whole value is nil, which is checked as null */
    struct schema_problem info[SCHEMA_MAX_PROBLEMS * 4];
};

/* Checks the value at stack index idx. types: its bits when the caller knows them, else 0. seen:
 * where to note what was looked at, NULL when nobody asks. False when it does not fit; problems
 * have then been added unless c->quiet. Leaves the stack as it was. */
bool schema_check_node(struct schema_check *c, const struct schema_node *node, int idx, int types,
                       const struct schema_path *path, struct schema_seen *seen);

/* The same for callers that only want the verdict. */
bool schema_matches(struct schema_check *c, const struct schema_node *node, int idx, int types,
                    struct schema_seen *seen);

/* Takes the steps of a walk over the keys of a table of these types. */
bool schema_step_keys(struct schema_check *c, int types, size_t size);

/* Takes n steps; false when the check was given up. */
bool schema_step(struct schema_check *c, int64_t n);

/* Adds the message on top of the stack as a problem and pops it. Always false. */
bool schema_fail(struct schema_check *c, const struct schema_path *path, enum schema_hint hint);

/* Gives up: the message on top of the stack, popped, becomes the only problem. Always false. */
bool schema_give_up(struct schema_check *c, const struct schema_path *path);

/* Keywords about arrays (schema_array.c) and objects (schema_object.c); every rule's function has
 * this signature. */
typedef bool schema_rule_fn(struct schema_check *c, const struct schema_node *node,
                            const struct schema_rule *rule, int idx, int types,
                            const struct schema_path *path, struct schema_seen *seen);
schema_rule_fn schema_check_item_count, schema_check_unique, schema_check_items;
schema_rule_fn schema_check_contains, schema_check_unevaluated_items;
schema_rule_fn schema_check_member_count, schema_check_required, schema_check_members;
schema_rule_fn schema_check_property_names, schema_check_dependents;
schema_rule_fn schema_check_unevaluated_properties;

/* Keywords that apply other schemas to the same value (schema_combine.c). */
schema_rule_fn schema_check_reference, schema_check_all_of, schema_check_any_of;
schema_rule_fn schema_check_one_of, schema_check_not, schema_check_condition;

/* Starts an empty set, in a stack slot that it pushes. */
void schema_seen_open(struct schema_check *c, struct schema_seen *seen);
/* Notes the key or index on top of the stack as looked at, and pops it. seen may be NULL. */
void schema_seen_add(struct schema_check *c, struct schema_seen *seen);
/* Adds what `from` has seen to `to`. */
void schema_seen_merge(struct schema_check *c, struct schema_seen *to,
                       const struct schema_seen *from);

/* Whether the key or index at stack index key was noted. */
bool schema_was_seen(struct schema_check *c, const struct schema_seen *seen, int key);

/* True when members names the key at stack index key, or has a pattern that it matches. */
bool schema_declares(struct schema_check *c, const struct schema_members *members, int key,
                     const struct schema_path *path);

/* A schema that says nothing: no need to visit what it is applied to. */
static inline bool schema_is_true(const struct schema_node *node) {
    return node->types == SCHEMA_ANY && node->rule_count == 0;
}
static inline bool schema_is_false(const struct schema_node *node) {
    return node->types == 0;
}

/* Which of array and object an empty table is for this node; other types unchanged. */
int schema_narrow(const struct schema *schema, const struct schema_node *node, int types);

/* Enters one more level of checks: takes a step, sees to depth and stack. False: given up. Each
 * call that returned true is paired with c->depth--. */
bool schema_enter(struct schema_check *c, const struct schema_path *path);

/* ---- the checked copy (schema_fill.c) -------------------------------------------------------- */

/* Pushes a copy of the node's default; false, with nothing pushed, when the check was given up. */
bool schema_push_default(struct schema_check *c, const struct schema_node *node);

/* Replaces the value at idx, which fits the node, by its copy with defaults filled in and
 * undeclared keys dropped; what stays as it is is shared with the original, so the slot holds the
 * very same value when nothing changed. False when the check was given up. */
bool schema_fill(struct schema_check *c, const struct schema_node *node, int idx, int types,
                 const struct schema_path *path);

/* ---- values (schema_value.c) ----------------------------------------------------------------- */

/* The types bits of a value; 0 when it is no JSON value. Reads every key of a table, whose number
 * goes to *size (may be NULL). */
int schema_types(lua_State *L, int idx, size_t *size);

/* Turns a json.ordered object at idx into an ordinary table; true when it was one. */
bool schema_plain(lua_State *L, int idx);

/* JSON equality: 1 equals 1.0, the order of keys does not matter, unmarked `{}` equals both [] and
 * an empty object. Takes steps of c. False too when the check was given up. */
bool schema_equal(struct schema_check *c, int a, int b, int depth);

/* A hash that equal values share. Takes steps of c. */
uint64_t schema_hash(struct schema_check *c, int idx, int depth);

/* Is number at a a multiple of the one at b (> 0), in exact decimal arithmetic? */
bool schema_multiple(lua_State *L, int a, int b);

/* Pushes a copy of the value at idx, deep and with its marks; true. False, with nothing pushed,
 * when it has more than SCHEMA_MAX_NESTING levels or takes more than *steps. */
bool schema_push_copy(lua_State *L, int idx, int depth, int64_t *steps);

/* The same of one table only: its items are shared. */
void schema_push_shallow(lua_State *L, int idx);

/* Characters of UTF-8 text; each byte that no character starts or continues counts as well. */
size_t schema_length(const char *text, size_t len);

/* ---- patterns (schema_pattern.c) --------------------------------------------------------------- */

/* Compiles text as an ECMA-262 regular expression. Returns NULL with a message pushed. PCRE2 is
 * loaded at the first call. */
struct schema_pattern *schema_pattern_new(lua_State *L, struct schema *schema, const char *text,
                                          size_t len);

/* Is there a match in text? Takes steps of c, gives up when there are none left or the text is no
 * UTF-8; false then as well. */
bool schema_pattern_match(struct schema_check *c, const struct schema_pattern *pattern,
                          const char *text, size_t len, const struct schema_path *path);

/* Pushes the pattern as written, quoted, a long one cut. Returns it. */
const char *schema_pattern_push(lua_State *L, const struct schema_pattern *pattern);
void schema_patterns_free(struct schema *schema);

#endif
