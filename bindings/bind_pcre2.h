/* bind_pcre2.h - the PCRE2 of a Lua state: engine/pcre2_api.h, loaded at its first use and kept. */
#ifndef HARNESS_BINDINGS_BIND_PCRE2_H
#define HARNESS_BINDINGS_BIND_PCRE2_H

#include <lua.h>

#include "../engine/pcre2_api.h"

/* The table of this state, or NULL with a message pushed. It stays valid until the state's last
 * finaliser has run. */
const struct pcre2_api *bind_pcre2_api(lua_State *L);

#endif
