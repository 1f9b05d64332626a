/* lua_state.c - floors: what a bare Lua state with its libraries holds, and the longest time for which the
 * machine stops a loop that does nothing but look at the clock. */
#include <lauxlib.h>
#include <lualib.h>

#include "../measure.h"

enum { LOOK_US = 2000000 };

int main(void) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_gc(L, LUA_GCCOLLECT);
    printf("RESULT engine_memory value=%.6g\n", lua_gc(L, LUA_GCCOUNT) + lua_gc(L, LUA_GCCOUNTB) / 1024.0);
    lua_close(L);
    double longest = 0, last = wall_us(), until = last + LOOK_US;
    while (last < until) {
        double now = wall_us();
        if (now - last > longest) longest = now - last;
        last = now;
    }
    printf("RESULT pump_longest value=%.6g\n", longest);
    return 0;
}
