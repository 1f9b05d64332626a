/* schema_compile.h - reading a schema table into nodes: what schema_compile.c, schema_applicators.c,
 * schema_ref.c, schema_uri.c and schema_graph.c share.
 *
 *     struct schema_compile c = {.L = L, .schema = schema, .values = 3, .dialect = DRAFT_DEFAULT};
 *     schema_compile(&c, 1, NULL);      // schema->root is there, or an error was raised
 *
 * All tables of struct schema_compile stand on the Lua stack while it runs; what it allocates
 * belongs to the schema. Nothing is kept of the given table but copies of values. */
#ifndef HARNESS_BINDINGS_SCHEMA_COMPILE_H
#define HARNESS_BINDINGS_SCHEMA_COMPILE_H

#include "schema.h"

/* Versions of JSON Schema, as far as they differ here. */
enum schema_dialect {
    DRAFT_04 = 4,
    DRAFT_06 = 6,
    DRAFT_07 = 7,
    DRAFT_2019 = 19,
    DRAFT_2020 = 20,
    DRAFT_DEFAULT = 21 /* 2020-12, and forms of older drafts that mean nothing in it */
};

struct schema_compile {
    lua_State *L;
    struct schema *schema;
    int values;    /* stack index of the schema's values */
    int memo;      /* of a table: schema table -> its node */
    int bases;     /* schema table -> base URI */
    int dialects;  /* schema table -> dialect */
    int resources; /* URI -> schema table */
    int anchors;   /* URI#anchor -> schema table, or false when it is there twice */
    int pending;   /* list: schema tables whose node has no rules yet */
    lua_Integer pending_count;
    int value_count;
    bool strict_defaults;
    struct schema_node *anything, *nothing; /* for true and false, made at first use */
    enum schema_dialect dialect;            /* of the document, then of the schema being read */
    const char *base;                       /* base URI of the schema being read */
};

/* Reads the schema at stack index idx into schema->root; raises HARNESS_CONFIG_ERROR. `at` names
 * the part of the document to start from by a JSON Pointer; NULL: all of it. Needs c->L, schema,
 * values, dialect and strict_defaults. */
void schema_compile(struct schema_compile *c, int idx, const char *at);

/* The node for the schema at stack index idx, made now; its rules may follow later. */
struct schema_node *schema_node_for(struct schema_compile *c, int idx,
                                    const struct schema_path *path);

/* One schema object being read into its node. */
struct schema_reading {
    struct schema_compile *c;
    struct schema_node *node;
    int schema; /* stack index of its table */
    struct schema_path place;
    struct schema_rule rules[RULE_COUNT + 2]; /* references may be there three times */
    size_t count;
};

/* Pushes the value of a keyword; false, with nothing pushed, when it is not there. */
bool schema_field(struct schema_reading *r, const char *name);
/* Raises: the keyword has a value that it cannot have. */
int schema_wrong(struct schema_reading *r, const char *name, const char *expected);
/* Adds a rule about values of these types, to be filled in. */
struct schema_rule *schema_add_rule(struct schema_reading *r, enum schema_rule_kind kind,
                                    int types);

/* Keeps the Lua string at idx. */
struct schema_name schema_keep_name(struct schema_compile *c, int idx);
/* Reads the list of strings at idx; false when it is none (the stack is not cleaned up then). */
bool schema_read_names(struct schema_reading *r, int idx, struct schema_names *names);
/* Reads a size; false, with *count as it was, when the keyword is not there. */
bool schema_read_count(struct schema_reading *r, const char *name, lua_Integer *count);
/* Compiles the string at idx as a pattern; raises when it is none. */
struct schema_pattern *schema_read_pattern(struct schema_reading *r, int idx,
                                           const struct schema_path *path);

/* Reads the keywords that hold other schemas (schema_applicators.c). */
void schema_read_applicators(struct schema_reading *r);
/* Reads $ref and its like; true when, by the rules of an older draft, nothing beside it counts. */
bool schema_read_references(struct schema_reading *r);

/* Raises HARNESS_CONFIG_ERROR, reason invalid_schema, at the given place. */
int schema_refuse(struct schema_compile *c, const struct schema_path *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends the value on top of the stack to values, pops it, returns its index. */
int schema_keep(struct schema_compile *c);

/* Notes $id, $anchor and $schema of the schema at idx and of all its subschemas. */
void schema_scan(struct schema_compile *c, int idx, const char *base, enum schema_dialect dialect,
                 const struct schema_path *path);

/* Pushes the schema that the reference text means, seen from c->base; raises when there is none. */
void schema_resolve(struct schema_compile *c, const char *text, const struct schema_path *path);

/* Reads the dialect that a $schema URI or an option names; false for one that is not supported.
 * Unknown URIs mean 2020-12 (DRAFT_DEFAULT stays as it is). */
bool schema_dialect_named(const char *uri, enum schema_dialect *dialect);

/* Walks over the graph of nodes once all are there (schema_graph.c): refuses references that lead
 * back to themselves without getting anywhere, sees what is filled in where, settles defaults. */
void schema_finish(struct schema_compile *c);

/* Pushes reference resolved against base (RFC 3986, 5.2), without its fragment; returns where the
 * fragment begins in reference, or NULL. */
const char *schema_push_resolved(lua_State *L, const char *base, const char *reference);

#endif
