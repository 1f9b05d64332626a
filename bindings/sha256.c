/* sha256.c - core.sha256: the SHA-256 digest of texts, by OpenSSL's libcrypto, which comes with libcurl
 * and is loaded at the first question.
 *
 *     core.sha256("a", "bc") -> "ba7816bf...f20015ad"      of the texts, one after another
 *     core.sha256(...) -> nil                              there is no libcrypto */
#include <dlfcn.h>
#include <lauxlib.h>
#include <string.h>

#include "bindings.h"

enum { SIZE = 32 };

typedef unsigned char *digest_fn(const unsigned char *data, size_t len, unsigned char *digest);

/* Kept as the function's upvalue, so that it is looked up once in a state. */
static digest_fn *find(lua_State *L) {
    void *symbol = lua_touserdata(L, lua_upvalueindex(1));
    if (!symbol) {
        void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
        symbol = library ? dlsym(library, "SHA256") : NULL;
        lua_pushlightuserdata(L, symbol);
        lua_replace(L, lua_upvalueindex(1));
    }
    digest_fn *digest = NULL;
    memcpy(&digest, &symbol, sizeof digest);
    return digest;
}

static int l_sha256(lua_State *L) {
    static const char HEX[] = "0123456789abcdef";
    int count = lua_gettop(L);
    for (int i = 1; i <= count; i++) luaL_checklstring(L, i, NULL);
    lua_pushliteral(L, "");
    lua_insert(L, 1);
    lua_concat(L, count + 1);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    digest_fn *digest = find(L);
    if (!digest) return 0;
    unsigned char bytes[SIZE];
    digest((const unsigned char *)text, len, bytes);
    char hex[2 * SIZE];
    for (int i = 0; i < SIZE; i++) {
        hex[2 * i] = HEX[bytes[i] >> 4];
        hex[2 * i + 1] = HEX[bytes[i] & 15];
    }
    lua_pushlstring(L, hex, sizeof hex);
    return 1;
}

int bind_sha256(lua_State *L) {
    lua_pushlightuserdata(L, NULL);
    lua_pushcclosure(L, l_sha256, 1);
    return 1;
}
