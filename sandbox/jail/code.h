/* code.h - `harness-jail code`: runs one Lua program that a model wrote, and ends.
 *
 * It is the child's half of the built-in tool `lua` (lua/harness/builtin/lua.lua has the other).
 * Both talk in lines of JSON over standard input and output (code_frame.h):
 *
 *     to us    {"code": text, "tools": [name, ...], "cpu_ms": n, "memory_bytes": n}     once
 *     from us  {"calls": [{"tool": name, "input": {...}}, ...]}      the program waits for
 *     to us    {"results": [{"value": v} or {"error": text}, ...]}   as many, in that order
 *     from us  {"result": v, "printed": text?}                       the end, or
 *              {"failed": text, "reason": word, "printed": text?}
 *
 * reason: "syntax", "error" (the program raised it), "cpu", "memory", "result" (it returned what JSON
 * cannot hold), "request" (ours was not understood).
 *
 * The program sees Lua without os, io, package, debug, bytecode, finalizers. That is for
 * clarity; what protects the host is that this process can do nothing: before the program starts,
 * a seccomp filter leaves it its two pipes and memory (code_limits.c), inside whatever it was
 * started in. So nothing here relies on the Lua library being without mistakes. */
#ifndef HARNESS_JAIL_CODE_H
#define HARNESS_JAIL_CODE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../engine/buf.h"
#include "code_frame.h"

enum {
    CODE_MAX_IN = 16 << 20,   /* a line to us: a program, or what tools have answered */
    CODE_MAX_OUT = 1 << 20,   /* a line from us: the inputs of calls, or a result */
    CODE_MAX_PRINTED = 16384, /* what is kept of the program's output */
    CODE_MAX_MESSAGE = 4096   /* of an error */
};

/* One process runs one program. It is what the allocator of the Lua state is given. */
struct code {
    struct frame_reader in;
    size_t memory; /* bytes in use by the Lua state */
    size_t memory_max;
    uint32_t cpu_ms;
    struct buf printed;
    size_t not_printed; /* bytes that were more than is kept */
};

/* The code of a Lua state. */
struct code *code_of(lua_State *L);

/* ---- code_limits.c ---- */

/* The allocator: refuses what would go beyond memory_max. ud is a struct code. */
void *code_alloc(void *ud, void *block, size_t old_size, size_t size);

/* Ends with the host, and keeps nothing open but the standard streams. Called at the start. */
bool code_enter(void);

/* From here on the process has its limits, and may do nothing but read standard input, write
 * standard output, and use memory. When the time is up, the program ends where it is, with
 * reason "cpu". Returns false, with *what telling what failed, when it is not so. */
bool code_lock(struct code *code, lua_State *L, const char **what);

/* ---- code_lua.c ---- */

/* Opens what the program sees, but for its tools. May raise. */
void code_open(lua_State *L);

/* Sets the global `tools` and `parallel` from the list of names at index. May raise. */
void code_set_tools(lua_State *L, int index);

/* ---- code.c ---- */

/* Writes the end of a program that failed, and ends the process. L: where it failed; the text is
 * cut to CODE_MAX_MESSAGE. */
void code_fail(lua_State *L, const char *reason, const char *text, size_t len)
    __attribute__((noreturn));

/* Writes a line; when nobody reads it, ends the process. */
void code_write(const char *bytes, size_t len);

/* The next line to us; ends the process when there is none. Valid until the next call. */
const char *code_read(struct code *code, size_t *len);

#endif
