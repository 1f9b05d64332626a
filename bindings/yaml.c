/* yaml.c - core.yaml: engine/yaml_tree.h as Lua values.
 *
 *     core.yaml.decode(text) -> value | nil, why, line, column
 *
 * A map is a table, a list a table that JSON knows as an array, null JSON's null, all else a string. */
#include "../engine/yaml_tree.h"

#include "bindings.h"
#include "json.h"

#define CLASS "harness.yaml"

static int tree_gc(lua_State *L) {
    yaml_tree_free(luaL_checkudata(L, 1, CLASS));
    return 0;
}

static void push_node(lua_State *L, const struct yaml_tree *tree, size_t index);

/* The keys of a map are strings, the places of a list numbers. */
static void push_children(lua_State *L, const struct yaml_tree *tree, size_t index) {
    const struct yaml_node *nodes = tree->nodes;
    bool is_map = nodes[index].kind == YAML_KIND_MAP;
    int size = (int)nodes[index].count;
    lua_createtable(L, is_map ? 0 : size, is_map ? size / 2 : 0);
    if (!is_map) json_mark_array(L, -1);
    lua_Integer place = 1;
    for (size_t i = index + 1; i < nodes[index].next; i = nodes[i].next) {
        if (is_map) {
            push_node(L, tree, i);
            i = nodes[i].next;
        }
        push_node(L, tree, i);
        if (is_map) lua_rawset(L, -3);
        else lua_rawseti(L, -2, place++);
    }
}

/* Its depth is that of the tree, which is bounded. */
static void push_node(lua_State *L, const struct yaml_tree *tree, size_t index) {
    const struct yaml_node *node = &tree->nodes[index];
    luaL_checkstack(L, 8, "yaml");
    if (node->kind == YAML_KIND_NULL) json_push_null(L);
    else if (node->kind == YAML_KIND_TEXT)
        lua_pushlstring(L, yaml_tree_text(tree, node), node->len);
    else push_children(L, tree, index);
}

static int decode(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct yaml_tree *tree = lua_newuserdatauv(L, sizeof *tree, 0);
    *tree = (struct yaml_tree){0};
    luaL_setmetatable(L, CLASS);
    struct yaml_fault fault;
    int rc = yaml_tree_parse(text, len, tree, &fault);
    if (rc == YAML_TREE_ENOMEM) return luaL_error(L, "not enough memory");
    if (rc == YAML_TREE_OK) {
        push_node(L, tree, 0);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, fault.what);
    lua_pushinteger(L, (lua_Integer)fault.line);
    lua_pushinteger(L, (lua_Integer)fault.column);
    return 4;
}

int bind_yaml(lua_State *L) {
    static const luaL_Reg META[] = {{"__gc", tree_gc}, {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {{"decode", decode}, {NULL, NULL}};
    bind_class(L, CLASS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
