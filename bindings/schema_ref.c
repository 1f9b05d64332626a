/* schema_ref.c - $schema, $id, $anchor and the references between schemas of one document.
 *
 * The scan visits every place where a keyword holds a schema and notes three things: which base URI
 * and which draft hold there, which URI names which schema, and which anchor. A reference is then a
 * look-up, plus a walk along a JSON Pointer. A document is all there is: a URI that no $id in it
 * names is refused, so nothing is ever loaded from anywhere.
 *
 * $dynamicRef and $recursiveRef mean what $ref would as long as only one schema bears the name;
 * with several the answer would depend on the way that led there, and the schema is refused. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "schema_compile.h"

/* ---- drafts --------------------------------------------------------------------------------------- */

bool schema_dialect_named(const char *uri, enum schema_dialect *dialect) {
    static const struct {
        const char *part;
        enum schema_dialect dialect;
    } NAMES[] = {{"draft-04", DRAFT_04},
                 {"draft-06", DRAFT_06},
                 {"draft-07", DRAFT_07},
                 {"2019-09", DRAFT_2019},
                 {"2020-12", DRAFT_2020}};
    bool whole = strchr(uri, ':') == NULL; /* an option, not a URI */
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const char *found = strstr(uri, NAMES[i].part);
        if (!found || (whole && strcmp(uri, NAMES[i].part) != 0)) continue;
        *dialect = NAMES[i].dialect;
        return true;
    }
    for (const char *old = "0123"; *old; old++) {
        const char part[] = {'d', 'r', 'a', 'f', 't', '-', '0', *old, 0};
        if (strstr(uri, part)) return false;
    }
    return !whole;
}

/* ---- the scan ------------------------------------------------------------------------------------- */

enum shape { ONE, LIST, MAP, ONE_OR_LIST, MAP_OF_SOME };

static const struct {
    const char *name;
    enum shape shape;
} PLACES[] = {{"$defs", MAP},
              {"definitions", MAP},
              {"properties", MAP},
              {"patternProperties", MAP},
              {"dependentSchemas", MAP},
              {"dependencies", MAP_OF_SOME},
              {"items", ONE_OR_LIST},
              {"prefixItems", LIST},
              {"allOf", LIST},
              {"anyOf", LIST},
              {"oneOf", LIST},
              {"additionalItems", ONE},
              {"additionalProperties", ONE},
              {"contains", ONE},
              {"else", ONE},
              {"if", ONE},
              {"not", ONE},
              {"propertyNames", ONE},
              {"then", ONE},
              {"unevaluatedItems", ONE},
              {"unevaluatedProperties", ONE}};

/* Pushes the string that a keyword of the schema at idx holds; NULL, with nothing pushed, when it
 * holds none. */
static const char *push_string(lua_State *L, int idx, const char *name) {
    lua_pushstring(L, name);
    if (lua_rawget(L, idx) == LUA_TSTRING) return lua_tostring(L, -1);
    lua_pop(L, 1);
    return NULL;
}

/* table[key on top of the stack] = schema at idx; a key that is there already becomes ambiguous,
 * which false stands for. Pops the key. */
static void note(lua_State *L, int table, int idx) {
    lua_pushvalue(L, -1);
    bool twice = lua_rawget(L, table) != LUA_TNIL && !lua_rawequal(L, -1, idx);
    lua_pop(L, 1);
    if (twice) lua_pushboolean(L, 0);
    if (!twice) lua_pushvalue(L, idx);
    lua_rawset(L, table);
}

static void note_anchor(struct schema_compile *c, int idx, const char *base, const char *name) {
    lua_pushfstring(c->L, "%s#%s", base, name);
    note(c->L, c->anchors, idx);
}

/* Dynamic anchors are counted under a key that no URI has. */
static void count_dynamic(struct schema_compile *c, const char *name) {
    lua_State *L = c->L;
    lua_pushfstring(L, "\n%s", name);
    lua_pushvalue(L, -1);
    lua_rawget(L, c->anchors);
    lua_pushinteger(L, lua_tointeger(L, -1) + 1);
    lua_remove(L, -2);
    lua_rawset(L, c->anchors);
}

static void scan_anchors(struct schema_compile *c, int idx, const char *base,
                         enum schema_dialect dialect) {
    lua_State *L = c->L;
    int top = lua_gettop(L);
    const char *name = dialect >= DRAFT_2019 ? push_string(L, idx, "$anchor") : NULL;
    if (name) note_anchor(c, idx, base, name);
    name = dialect >= DRAFT_2020 ? push_string(L, idx, "$dynamicAnchor") : NULL;
    if (name) note_anchor(c, idx, base, name);
    if (name) count_dynamic(c, name);
    lua_pushliteral(L, "$recursiveAnchor");
    lua_rawget(L, idx);
    if (dialect == DRAFT_2019 && lua_toboolean(L, -1)) count_dynamic(c, "");
    lua_settop(L, top);
}

/* Pushes the base URI of the schema at idx, and notes it when it is a new one. */
static const char *scan_id(struct schema_compile *c, int idx, const char *base,
                           enum schema_dialect dialect) {
    lua_State *L = c->L;
    bool beside_ref = dialect <= DRAFT_07 && push_string(L, idx, "$ref");
    if (beside_ref) lua_pop(L, 1);
    const char *id = beside_ref ? NULL : push_string(L, idx, dialect == DRAFT_04 ? "id" : "$id");
    if (!id) {
        lua_pushstring(L, base);
        return base;
    }
    if (id[0] == '#' && id[1]) { /* the anchors of draft-07 and before */
        if (dialect <= DRAFT_07) note_anchor(c, idx, base, id + 1);
        lua_pop(L, 1);
        lua_pushstring(L, base);
        return base;
    }
    schema_push_resolved(L, base, id);
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    note(L, c->resources, idx);
    return lua_tostring(L, -1);
}

static enum schema_dialect scan_dialect(struct schema_compile *c, int idx,
                                        enum schema_dialect dialect,
                                        const struct schema_path *path) {
    const char *uri = push_string(c->L, idx, "$schema");
    if (!uri) return dialect;
    if (!schema_dialect_named(uri, &dialect)) {
        schema_refuse(c, path, "$schema names %s; supported are draft-04 to 2020-12", uri);
    }
    lua_pop(c->L, 1);
    return dialect;
}

/* The schemas in the table on top of the stack: a list or a map. */
static void scan_entries(struct schema_compile *c, const char *base, enum schema_dialect dialect,
                         const struct schema_path *path) {
    lua_State *L = c->L;
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        struct schema_path here = {path, NULL, 0, 0};
        if (lua_type(L, -2) == LUA_TSTRING) {
            here.key = lua_tolstring(L, -2, &here.len);
        } else {
            here.index = lua_tointeger(L, -2);
        }
        schema_scan(c, lua_gettop(L), base, dialect, &here);
    }
}

static void scan_place(struct schema_compile *c, int idx, size_t place, const char *base,
                       enum schema_dialect dialect, const struct schema_path *path) {
    lua_State *L = c->L;
    const char *name = PLACES[place].name;
    enum shape shape = PLACES[place].shape;
    lua_pushstring(L, name);
    if (lua_rawget(L, idx) != LUA_TTABLE) {
        lua_pop(L, 1);
        return;
    }
    struct schema_path here = {path, name, strlen(name), 0};
    bool list = lua_rawlen(L, -1) > 0;
    bool one = shape == ONE || (shape == ONE_OR_LIST && !list);
    if (one) schema_scan(c, lua_gettop(L), base, dialect, &here);
    if (!one) scan_entries(c, base, dialect, &here);
    lua_pop(L, 1);
}

static int path_length(const struct schema_path *path) {
    int n = 0;
    for (; path; path = path->up) n++;
    return n;
}

void schema_scan(struct schema_compile *c, int idx, const char *base, enum schema_dialect dialect,
                 const struct schema_path *path) {
    lua_State *L = c->L;
    luaL_checkstack(L, 16, "schema");
    if (!lua_istable(L, idx) || lua_rawlen(L, idx) > 0) return;
    if (path_length(path) > SCHEMA_MAX_NESTING) {
        schema_refuse(c, NULL, "more than %d levels", SCHEMA_MAX_NESTING);
    }
    lua_pushvalue(L, idx);
    bool known = lua_rawget(L, c->bases) != LUA_TNIL;
    lua_pop(L, 1);
    if (known) return;
    dialect = scan_dialect(c, idx, dialect, path);
    lua_pushvalue(L, idx);
    base = scan_id(c, idx, base, dialect);
    lua_rawset(L, c->bases);
    lua_pushvalue(L, idx);
    lua_pushinteger(L, dialect);
    lua_rawset(L, c->dialects);
    scan_anchors(c, idx, base, dialect);
    for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES; i++) {
        scan_place(c, idx, i, base, dialect, path);
    }
}

/* ---- looking up ---------------------------------------------------------------------------------------- */

static int hex_digit(char ch) {
    if (ch >= '0' && ch <= '9') return ch - '0';
    if (ch >= 'a' && ch <= 'f') return ch - 'a' + 10;
    return ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
}

/* Pushes the fragment with %XX decoded. */
static const char *push_decoded(lua_State *L, const char *text, size_t *len) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (const char *p = text; *p; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;
        luaL_addchar(&b, low < 0 ? *p : (char)(high * 16 + low));
        if (low >= 0) p += 2;
    }
    luaL_pushresult(&b);
    return lua_tolstring(L, -1, len);
}

/* Pushes one token of a JSON Pointer, ~1 and ~0 decoded (RFC 6901). */
static void push_token(lua_State *L, const char *text, size_t len) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < len; i++) {
        bool escape = text[i] == '~' && i + 1 < len && (text[i + 1] == '0' || text[i + 1] == '1');
        luaL_addchar(&b, !escape ? text[i] : text[i + 1] == '0' ? '~' : '/');
        if (escape) i++;
    }
    luaL_pushresult(&b);
}

/* Replaces the table and the token on top of it by the entry, nil when there is none. */
static void step_into(lua_State *L) {
    if (!lua_istable(L, -2)) {
        lua_pop(L, 2);
        lua_pushnil(L);
        return;
    }
    const char *token = lua_tostring(L, -1);
    char *end;
    long long index = strtoll(token, &end, 10);
    if (lua_rawlen(L, -2) > 0 && *token >= '0' && *token <= '9' && !*end) {
        lua_rawgeti(L, -2, (lua_Integer)index + 1);
    } else {
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* Replaces the schema on top of the stack by what the pointer leads to from there. Where that is no
 * place of a schema, it becomes one now, with the base URI and the draft of what is around it. */
static void follow_pointer(struct schema_compile *c, const char *pointer, size_t len,
                           const struct schema_path *path) {
    lua_State *L = c->L;
    const char *end = pointer + len;
    const char *base = "";
    enum schema_dialect dialect = c->dialect;
    for (const char *p = pointer; p <= end;) {
        lua_pushvalue(L, -1);
        if (lua_rawget(L, c->bases) == LUA_TSTRING) {
            base = lua_tostring(L, -1);
            lua_pushvalue(L, -2);
            lua_rawget(L, c->dialects);
            dialect = (enum schema_dialect)lua_tointeger(L, -1);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
        if (p == end) break;
        const char *slash = memchr(p + 1, '/', (size_t)(end - p - 1));
        const char *stop = slash ? slash : end;
        push_token(L, p + 1, (size_t)(stop - p - 1));
        step_into(L);
        if (lua_isnil(L, -1)) return;
        p = stop;
    }
    schema_scan(c, lua_gettop(L), base, dialect, path);
}

/* Pushes the schema that has the URI on top of the stack, which stays. */
static void push_resource(struct schema_compile *c, const char *text,
                          const struct schema_path *path) {
    lua_State *L = c->L;
    lua_pushvalue(L, -1);
    int found = lua_rawget(L, c->resources);
    if (found == LUA_TTABLE) return;
    if (found == LUA_TBOOLEAN) schema_refuse(c, path, "%s is the $id of several schemas", text);
    schema_refuse(c, path, "%s is not in this document, and schemas are not loaded from elsewhere",
                  text);
}

void schema_resolve(struct schema_compile *c, const char *text, const struct schema_path *path) {
    lua_State *L = c->L;
    luaL_checkstack(L, 16, "schema");
    int top = lua_gettop(L);
    const char *fragment = schema_push_resolved(L, c->base, text);
    push_resource(c, text, path);
    if (fragment && *fragment) {
        size_t len;
        const char *decoded = push_decoded(L, fragment, &len);
        if (*decoded == '/') {
            lua_pushvalue(L, -2);
            follow_pointer(c, decoded, len, path);
        } else {
            lua_pushfstring(L, "%s#%s", lua_tostring(L, top + 1), decoded);
            if (lua_rawget(L, c->anchors) == LUA_TBOOLEAN) {
                schema_refuse(c, path, "%s is the anchor of several schemas", text);
            }
        }
    }
    if (!lua_istable(L, -1) && !lua_isboolean(L, -1)) {
        schema_refuse(c, path, "%s leads nowhere", text);
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

/* ---- references -------------------------------------------------------------------------------------------- */

/* Where a target stands, as text: #/a/b is $.a.b. */
static struct schema_path target_path(lua_State *L, const char *text) {
    if (text[0] == '#' && text[1] == '/') {
        lua_pushfstring(L, "$%s", text + 1);
        text = luaL_gsub(L, lua_tostring(L, -1), "/", ".");
    }
    return (struct schema_path){NULL, text, strlen(text), SCHEMA_PLACE};
}

static void refuse_dynamic(struct schema_reading *r, const char *text,
                           const struct schema_path *path) {
    lua_State *L = r->c->L;
    const char *fragment = strchr(text, '#');
    lua_pushfstring(L, "\n%s", fragment ? fragment + 1 : "");
    lua_rawget(L, r->c->anchors);
    if (lua_tointeger(L, -1) > 1) {
        schema_refuse(r->c, path, "%s may mean several schemas, which is not supported", text);
    }
    lua_pop(L, 1);
}

static void read_reference(struct schema_reading *r, const char *name, bool dynamic) {
    struct schema_compile *c = r->c;
    lua_State *L = c->L;
    if (!schema_field(r, name)) return;
    if (lua_type(L, -1) != LUA_TSTRING) schema_wrong(r, name, "a string");
    int top = lua_gettop(L);
    const char *text = lua_tostring(L, -1);
    struct schema_path here = {&r->place, name, strlen(name), 0};
    if (dynamic) refuse_dynamic(r, text, &here);
    schema_resolve(c, text, &here);
    struct schema_path target = target_path(L, text);
    struct schema_reference *reference = schema_alloc(L, c->schema, 1, sizeof *reference);
    reference->place = r->node->place;
    reference->node = schema_node_for(c, top + 1, &target);
    schema_add_rule(r, RULE_REFERENCE, SCHEMA_ANY)->as.reference = reference;
    lua_settop(L, top - 1);
}

bool schema_read_references(struct schema_reading *r) {
    read_reference(r, "$ref", false);
    if (r->c->dialect <= DRAFT_07) return r->count > 0;
    if (r->c->dialect >= DRAFT_2020) read_reference(r, "$dynamicRef", true);
    if (r->c->dialect == DRAFT_2019) read_reference(r, "$recursiveRef", true);
    return false;
}
