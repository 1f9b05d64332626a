/* sha256.c - core.sha256: engine/sha256.h.
 *
 *     core.sha256("a", "bc") -> "ba7816bf...f20015ad"      of the texts, one after another */
#include "../engine/sha256.h"

#include "bindings.h"

static int l_sha256(lua_State *L) {
    int count = lua_gettop(L);
    struct sha256 sha;
    sha256_begin(&sha);
    for (int i = 1; i <= count; i++) {
        size_t len;
        const char *text = luaL_checklstring(L, i, &len);
        sha256_add(&sha, text, len);
    }
    unsigned char digest[SHA256_SIZE];
    char hex[SHA256_HEX_SIZE];
    sha256_end(&sha, digest);
    sha256_hex(digest, hex);
    lua_pushlstring(L, hex, SHA256_HEX_SIZE - 1);
    return 1;
}

int bind_sha256(lua_State *L) {
    lua_pushcfunction(L, l_sha256);
    return 1;
}
